"""Compaction of the log."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from numpack import NumPack
from numpack.store.format.log import log

LOG = Path("s.npk/commits.log")
ROWS = np.arange(6.0).reshape(3, 2)


def shapes() -> dict[str, tuple[int, ...]]:
    """Read every array with a new handle; return the shapes."""
    with NumPack("s.npk") as store:
        return {name: store.load(name).shape for name in store}


def test_compaction_of_thousands_of_commits(monkeypatch):
    monkeypatch.setattr("numpack.store.format.log.log._COMPACT_BYTES", 100_000)
    with NumPack("s.npk") as writer, NumPack("s.npk") as reader:
        writer.save({"x": np.zeros(0, "i8"), "y": ROWS})
        largest = 0
        for number in range(3000):
            writer.append({"x": np.array([number])})
            largest = max(largest, LOG.stat().st_size)
            if number % 100 == 50:
                assert reader.get_shape("x") == (number + 1,)
                assert reader.load("y").tolist() == ROWS.tolist()
        assert np.array_equal(reader.load("x"), np.arange(3000))
        assert 90_000 < largest < 110_000
        assert LOG.stat().st_size < largest
    with NumPack("s.npk") as again:
        assert np.array_equal(again.load("x"), np.arange(3000))
        assert again.get_member_list() == ["x", "y"]


def test_snapshots_and_compaction_write_a_bounded_share(monkeypatch):
    compactions, write_new = [], log.write_new

    def counting(*args, **options):
        compactions.append(args)
        return write_new(*args, **options)

    with NumPack("s.npk") as store:
        store.save({f"array {number}": np.zeros(1, "u1") for number in range(1000)})
        monkeypatch.setattr(log, "write_new", counting)
        start = LOG.stat().st_size
        for _ in range(4000):
            store.append({"array 0": np.zeros(1, "u1")})
    assert not compactions
    assert LOG.stat().st_size - start < 4000 * 200


@pytest.fixture
def frequent_compaction(monkeypatch):
    """Make the log be compacted every few commits."""
    monkeypatch.setattr("numpack.store.format.log.log._COMPACT_BYTES", 0)
    monkeypatch.setattr("numpack.store.format.log.log._COMPACT_FACTOR", 0)
    monkeypatch.setattr("numpack.store.format.log.log._SNAPSHOT_EVERY", 100)


def test_compaction_keeps_the_state(frequent_compaction, store):
    struct = np.zeros(2, [("é", "<i4"), ("b", "u1", (2,))])
    store.save({"\ud800/\n": struct, "x": ROWS, "zero": np.array(1.5), "gone": ROWS})
    store.drop("gone")
    inode = LOG.stat().st_ino
    before = store.get_metadata()
    while LOG.stat().st_ino == inode:
        before = store.get_metadata()
        store.append({"x": ROWS})
    assert LOG.read_bytes().count(b"\n") == 2
    with NumPack("s.npk") as other:
        after = other.get_metadata()
        assert after == store.get_metadata()
        assert np.array_equal(other.load("\ud800/\n"), struct)
    assert list(after["arrays"]) == list(before["arrays"])
    rows = before["arrays"].pop("x")["shape"][0]
    assert after["arrays"].pop("x")["shape"] == [rows + 3, 2]
    assert after == before


def test_handles_write_in_turn_across_compactions(frequent_compaction):
    handles = [NumPack("s.npk") for _ in range(3)]
    for handle in handles:
        handle.open()
    handles[0].save({"x": np.zeros(0, "i8")})
    for number in range(100):
        handles[number % 3].append({"x": np.array([number])})
        assert handles[number % 2].get_shape("x") == (number + 1,)
    assert np.array_equal(handles[1].load("x"), np.arange(100))
    for handle in handles:
        handle.close()


def test_idle_handle_catches_up_after_many_compactions(frequent_compaction):
    with NumPack("s.npk") as idle, NumPack("s.npk") as writer:
        writer.save({"x": np.zeros(0, "i8")})
        assert idle.get_shape("x") == (0,)
        for number in range(100):
            writer.append({"x": np.array([number])})
        idle.append({"x": np.array([100])})
        assert np.array_equal(writer.load("x"), np.arange(101))


def test_compaction_is_noticed_although_the_old_log_is_still_linked(frequent_compaction):
    with NumPack("s.npk") as first, NumPack("s.npk") as second:
        first.save({"x": np.zeros(0, "i8")})
        assert second.get_shape("x") == (0,)
        os.link(LOG, "backup.log")
        inode, count = LOG.stat().st_ino, 0
        while count < 3 or LOG.stat().st_ino == inode:
            first.append({"x": np.array([count])})
            count += 1
        first.append({"x": np.array([count])})
        second.append({"x": np.array([count + 1])})
        assert np.array_equal(first.load("x"), np.arange(count + 2))


def test_leftover_of_an_interrupted_compaction_is_ignored(history):
    leftover = Path("s.npk/commits.log.new")
    leftover.write_bytes(LOG.read_bytes()[:50])
    assert shapes() == {"x": (6, 2), "z": (3, 2)}
    with NumPack("s.npk") as store:
        store.append({"x": ROWS})
    assert shapes() == {"x": (9, 2), "z": (3, 2)}


def test_commit_succeeds_although_compaction_finds_the_disk_full(
    frequent_compaction, store, monkeypatch
):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    store.save({"x": np.zeros(0, "i8")})
    lines = LOG.read_bytes().count(b"\n")
    with monkeypatch.context() as patched:
        patched.setattr(log, "write_new", full)
        for number in range(50):
            store.append({"x": np.array([number])})
    assert LOG.read_bytes().count(b"\n") == lines + 50
    while LOG.read_bytes().count(b"\n") > 2:
        store.append({"x": np.array([50])})
    assert np.array_equal(store.load("x")[:51], np.arange(51))
    assert not Path("s.npk/commits.log.new").exists()


STORE = Path("s.npk")


def test_compacted_log_keeps_its_permissions(monkeypatch):
    monkeypatch.setattr("numpack.store.format.log.log._COMPACT_BYTES", 1000)
    with NumPack(STORE) as store:
        store.save({"x": np.arange(3)})
        log = STORE / "commits.log"
        os.chmod(log, 0o640)
        group = next((g for g in os.getgroups() if g != log.stat().st_gid), log.stat().st_gid)
        os.chown(log, -1, group)
        before = log.stat()
        mask = os.umask(0o077)
        try:
            while log.stat().st_ino == before.st_ino:
                store.append({"x": np.arange(3)})
        finally:
            os.umask(mask)
        after = log.stat()
        assert stat.S_IMODE(after.st_mode) == 0o640
        assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
