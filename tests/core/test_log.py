"""The commit log: its bytes, its damage, its folding."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from support.files import contents

from numpack import CorruptStoreError, NumPack, StoreError

LOG = Path("s.npk/commits.log")
ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        yield opened


@pytest.fixture
def history():
    """A closed store of a few commits of every kind."""
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "y": np.zeros(3, "u1")})
        store.append({"x": ROWS})
        store.drop("y")
        store.save({"z": ROWS})


def shapes() -> dict[str, tuple[int, ...]]:
    """What a new handle sees; every array is read."""
    with NumPack("s.npk") as store:
        return {name: store.load(name).shape for name in store}


def data_files() -> set[str]:
    return set(os.listdir("s.npk/data"))


def line(content: dict) -> bytes:
    """A line of the log, written by hand from the format."""
    body = json.dumps(content, separators=(",", ":")).encode()[:-1]
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


# The format


def test_each_line_is_json_that_ends_with_the_checksum_of_what_stands_before(history):
    lines = LOG.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    for each in lines:
        body, check, rest = each.partition(b',"crc32":"')
        assert check
        assert rest == b'%08x"}\n' % zlib.crc32(body)
        assert json.loads(each)["crc32"] == f"{zlib.crc32(body):08x}"
        assert each.isascii()


def test_the_lines_tell_the_history(history):
    first, *commits = map(json.loads, LOG.read_bytes().splitlines())
    token = first["store"]
    assert re.fullmatch("[0-9a-f]{8}", token)
    assert first.keys() == {"store", "commit", "next_id", "arrays", "crc32"}
    assert (first["commit"], first["next_id"], first["arrays"]) == (0, 1, {})
    assert [commit["commit"] for commit in commits] == [1, 2, 3, 4]
    times = [commit["time_us"] for commit in commits]
    assert times == sorted(times)
    assert commits[0]["put"] == {
        "x": {"id": f"00000001-{token}", "dtype": "<f8", "shape": [3, 2]},
        "y": {"id": f"00000002-{token}", "dtype": "|u1", "shape": [3]},
    }
    assert commits[1]["rows"] == {"x": 6}
    assert commits[2]["drop"] == ["y"]
    assert commits[3]["put"]["z"]["id"] == f"00000003-{token}"


@pytest.mark.parametrize(
    ("dtype", "code"),
    [
        (">i4", "<i4"),
        ("?", "|b1"),
        ("M8[25ms]", "<M8[25ms]"),
        ("S3", "|S3"),
        ("U3", "<U3"),
        (
            np.dtype([("a", ">i4"), ("b", "u1", (2, 3))]),
            {
                "names": ["a", "b"],
                "formats": ["<i4", ["|u1", [2, 3]]],
                "offsets": [0, 4],
                "itemsize": 10,
            },
        ),
    ],
)
def test_dtypes_are_named_little_endian(store, dtype, code):
    store.save({"x": np.zeros(1, dtype)})
    put = json.loads(LOG.read_bytes().splitlines()[1])["put"]
    assert put["x"]["dtype"] == code


def test_a_log_written_by_hand_is_a_store(store):
    Path("s.npk/data/00000007-0123abcd.bin").write_bytes(ROWS.tobytes())
    record = {"id": "00000007-0123abcd", "dtype": "<f8", "shape": [3, 2], "modified_us": 5}
    LOG.write_bytes(
        line({"store": "0123abcd", "commit": 4, "next_id": 9, "arrays": {"x": record}})
    )
    with NumPack("s.npk") as other:
        assert np.array_equal(other.load("x"), ROWS)
        assert other.get_modify_time("x") == 5
        other.save({"y": ROWS})
    assert data_files() == {"00000007-0123abcd.bin", "00000009-0123abcd.bin"}


# A torn last line


def test_a_torn_last_line_never_happened_and_is_cut_by_the_next_writer(history):
    whole = LOG.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(whole)):
        LOG.write_bytes(whole[:end])
        assert shapes() == {"x": (6, 2)}
        assert LOG.read_bytes() == whole[:end]
    with NumPack("s.npk") as store:
        store.append({"x": ROWS})
    assert LOG.read_bytes()[:start] == whole[:start]
    assert json.loads(LOG.read_bytes()[start:])["rows"] == {"x": 9}
    assert shapes() == {"x": (9, 2)}


def test_an_open_handle_reads_past_a_torn_line_that_another_cut(history):
    with NumPack("s.npk") as reader, NumPack("s.npk") as writer:
        assert reader.get_member_list() == ["x", "z"]
        with LOG.open("ab") as log:
            log.write(b'{"commit":5,"time_us":1,"drop":["x","z"]' + b" " * 500)
        assert reader.get_member_list() == ["x", "z"]
        writer.append({"x": ROWS})
        assert reader.get_shape("x") == (9, 2)


# Damage


def refused(phrase: str) -> None:
    """Opening names the damage and leaves every byte alone."""
    before = contents()
    with pytest.raises(CorruptStoreError, match=phrase) as raised:
        NumPack("s.npk").open()
    assert isinstance(raised.value, OSError)
    assert "commits.log" in str(raised.value)
    assert "restore it from a backup" in str(raised.value)
    assert contents() == before


def test_a_flipped_bit_anywhere_is_damage(history):
    whole = LOG.read_bytes()
    before = contents()
    for position in range(len(whole) - 1):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        LOG.write_bytes(flipped)
        with pytest.raises(CorruptStoreError, match="is damaged"):
            NumPack("s.npk").open()
        assert LOG.read_bytes() == flipped
    LOG.write_bytes(whole)
    assert contents() == before


def test_damage_is_told_with_what_is_still_readable(history):
    lines = LOG.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"drop", b"dorp")
    LOG.write_bytes(b"".join(lines))
    refused(r"byte \d+ cannot be read \(its checksum is wrong\); up to commit 2 .*'x', 'y'")


@pytest.mark.parametrize(
    ("damage", "phrase"),
    [
        (lambda lines: [], "first line is missing"),
        (lambda lines: [lines[0][:-5]], "first line is missing"),
        (lambda lines: lines[1:], "cannot be read"),
        (lambda lines: [lines[0], *lines[2:]], "commit 2 follows commit 0"),
        (lambda lines: [*lines, lines[-1]], "commit 4 follows commit 4"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "follows commit 0"),
        (lambda lines: [*lines, lines[0]], "cannot be read"),
        (lambda lines: [*lines, b"\n"], "checksum"),
        (lambda lines: [*lines, bytes(4096) + b"\n"], "checksum"),
        (lambda lines: [b"\xff" * 100 + b"\n", *lines], "checksum"),
        (lambda lines: [*lines[:2], lines[2][:-1] + b"\r\n", *lines[3:]], "checksum"),
        (lambda lines: [*lines, line({"commit": 5, "rows": {"w": 1}})], "cannot be read"),
        (lambda lines: [*lines, line({"commit": 5, "drop": ["w"]})], "cannot be read"),
        (lambda lines: [*lines, line({"commit": "5"})], "follows"),
        (lambda lines: [line({"store": "00", "commit": 0})], "cannot be read"),
        (lambda lines: [*lines, line([5])], "cannot be read"),
    ],
)
def test_lines_that_are_lost_repeated_or_wrong_are_damage(history, damage, phrase):
    LOG.write_bytes(b"".join(damage(LOG.read_bytes().splitlines(keepends=True))))
    refused(phrase)


def test_a_missing_log_is_damage_and_no_empty_store(history):
    LOG.unlink()
    refused("it is missing")


def test_a_log_that_is_a_folder_is_damage(history):
    LOG.unlink()
    LOG.mkdir()
    refused("damaged")


@pytest.mark.parametrize("cut", ["to nothing", "by a line", "inside a line"])
@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.get_member_list(),
        lambda s: s.load("x"),
        lambda s: s.save({"x": ROWS}),
        lambda s: s.append({"x": ROWS}),
        lambda s: s.drop("x"),
    ],
    ids=["list", "load", "save", "append", "drop"],
)
def test_an_open_handle_notices_that_the_log_was_cut(history, cut, call):
    with NumPack("s.npk") as store:
        store.save({"w": ROWS})
        whole = LOG.read_bytes()
        last = whole.rindex(b"\n", 0, -1) + 1
        os.truncate(LOG, {"to nothing": 0, "by a line": last, "inside a line": last - 9}[cut])
        before = contents()
        with pytest.raises(CorruptStoreError, match="it was cut to"):
            call(store)
        assert contents() == before


def test_a_handle_works_again_once_the_log_is_restored(history):
    whole = LOG.read_bytes()
    with NumPack("s.npk") as store:
        LOG.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CorruptStoreError):
            store.load("x")
        LOG.write_bytes(whole)
        assert store.load("x").shape == (6, 2)
        store.append({"x": ROWS})
    assert shapes() == {"x": (9, 2), "z": (3, 2)}


# Folding


def test_thousands_of_commits_are_folded_and_lose_nothing():
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
        assert largest < 70 * 1024
        assert LOG.read_bytes().count(b"\n") < 1500
    with NumPack("s.npk") as again:
        assert np.array_equal(again.load("x"), np.arange(3000))
        assert again.get_member_list() == ["x", "y"]


def test_opening_reads_in_proportion_to_the_arrays_and_not_to_the_history(monkeypatch):
    read = []
    pread = os.pread

    def counting(*args):
        read.append(len(data := pread(*args)))
        return data

    with NumPack("s.npk") as store:
        store.save({"x": np.zeros(0, "i8")})
        for number in range(5000):
            store.append({"x": np.array([number])})
    monkeypatch.setattr(os, "pread", counting)
    with NumPack("s.npk") as again:
        assert again.get_shape("x") == (5000,)
    assert 0 < sum(read) < 70 * 1024


def test_folding_costs_a_constant_share_of_the_writing(monkeypatch):
    written = []
    write_bytes = Path.write_bytes

    def counting(path, data):
        written.append(len(data))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", counting)
    with NumPack("s.npk") as store:
        store.save({f"array {number}": np.zeros(1, "u1") for number in range(1000)})
        for _ in range(4000):
            store.append({"array 0": np.zeros(1, "u1")})
    assert len(written) > 1, "the log was never folded"
    assert sum(written) < 4000 * 80


@pytest.fixture
def folding(monkeypatch):
    """Every few commits, the log is folded."""
    monkeypatch.setattr("numpack.store.log._FOLD_BYTES", 0)


def test_a_fold_keeps_everything_that_the_log_said(folding, store):
    struct = np.zeros(2, [("é", "<i4"), ("b", "u1", (2,))])
    store.save({"\ud800/\n": struct, "x": ROWS, "zero": np.array(1.5), "gone": ROWS})
    store.drop("gone")
    inode = LOG.stat().st_ino
    before = store.get_metadata()
    while LOG.stat().st_ino == inode:
        before = store.get_metadata()
        store.append({"x": ROWS})
    assert LOG.read_bytes().count(b"\n") == 1
    with NumPack("s.npk") as other:
        after = other.get_metadata()
        assert after == store.get_metadata()
        assert np.array_equal(other.load("\ud800/\n"), struct)
    assert list(after["arrays"]) == list(before["arrays"])
    rows = before["arrays"].pop("x")["shape"][0]
    assert after["arrays"].pop("x")["shape"] == (rows + 3, 2)
    assert after == before


def test_handles_write_in_turn_across_folds(folding):
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


def test_a_handle_that_slept_through_many_folds_loses_nothing(folding):
    with NumPack("s.npk") as sleeper, NumPack("s.npk") as writer:
        writer.save({"x": np.zeros(0, "i8")})
        assert sleeper.get_shape("x") == (0,)
        for number in range(100):
            writer.append({"x": np.array([number])})
        sleeper.append({"x": np.array([100])})
        assert np.array_equal(writer.load("x"), np.arange(101))


def test_a_fold_is_followed_though_the_old_log_has_a_second_name(folding):
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


def test_what_is_left_of_a_fold_that_died_does_no_harm(history):
    beside = Path("s.npk/commits.log.new")
    beside.write_bytes(LOG.read_bytes()[:50])
    assert shapes() == {"x": (6, 2), "z": (3, 2)}
    with NumPack("s.npk") as store:
        store.append({"x": ROWS})
    assert shapes() == {"x": (9, 2), "z": (3, 2)}


def test_a_commit_stands_though_the_fold_after_it_found_the_disk_full(
    folding, store, monkeypatch
):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    store.save({"x": np.zeros(0, "i8")})
    lines = LOG.read_bytes().count(b"\n")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        for number in range(50):
            store.append({"x": np.array([number])})
    assert LOG.read_bytes().count(b"\n") == lines + 50
    store.append({"x": np.array([50])})
    assert LOG.read_bytes().count(b"\n") == 1
    assert np.array_equal(store.load("x"), np.arange(51))
    assert not Path("s.npk/commits.log.new").exists()


# File names


def test_a_store_never_uses_a_file_name_twice(folding, store):
    seen: list[str] = []
    for _ in range(20):
        store.save({"x": ROWS, "y": ROWS})
        with NumPack("s.npk") as other:
            other.save({"x": ROWS})
            other.drop(["x"])
            seen += [other.get_metadata()["arrays"]["y"]["data_file"]]
            other.drop(["y"])
    assert len(set(seen)) == 20


@pytest.mark.parametrize("way", ["drop_if_exists", "folder removed", "everything dropped"])
def test_a_store_made_anew_in_the_same_folder_never_reuses_a_file_name(way):
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "y": ROWS})
    before = data_files()
    if way == "folder removed":
        shutil.rmtree("s.npk")
    with NumPack("s.npk", drop_if_exists=way == "drop_if_exists") as store:
        store.drop(["x", "y"])
        store.save({"x": ROWS, "y": ROWS})
    assert len(data_files()) == 2
    assert not data_files() & before


def test_an_open_handle_follows_a_store_that_was_emptied_and_filled_again(store):
    store.save({"x": ROWS, "y": ROWS})
    with NumPack("s.npk", drop_if_exists=True) as other:
        assert store.get_member_list() == []
        other.save({"x": -ROWS})
    assert np.array_equal(store.load("x"), -ROWS)
    store.save({"y": ROWS})
    assert shapes() == {"x": (3, 2), "y": (3, 2)}


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.get_member_list(),
        lambda s: s.load("x"),
        lambda s: s.save({"x": ROWS}),
        lambda s: s.append({"x": ROWS}),
        lambda s: s.drop("x"),
    ],
    ids=["list", "load", "save", "append", "drop"],
)
def test_a_store_whose_folder_was_removed_says_so_and_creates_nothing(store, call):
    store.save({"x": ROWS})
    shutil.rmtree("s.npk")
    with pytest.raises(StoreError, match="removed"):
        call(store)
    assert not Path("s.npk").exists()
