"""Torn last lines, and logs that are truncated and restored under an open handle."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from support.files import contents
from support.store import hostile
from support.store.hostile import TOKEN, entry, snapshot

from numpack import CorruptStoreError, NumPack

LOG = Path("s.npk/commits.log")
ROWS = np.arange(6.0).reshape(3, 2)


def shapes() -> dict[str, tuple[int, ...]]:
    """Read every array with a new handle; return the shapes."""
    with NumPack("s.npk") as store:
        return {name: store.load(name).shape for name in store}


def test_torn_last_line_is_ignored_and_truncated_by_the_next_writer(hand_written):
    whole = b"".join(hand_written)
    start = len(whole) - len(hand_written[-1])
    for end in range(start, len(whole)):
        LOG.write_bytes(whole[:end])
        assert shapes() == {"x": (6, 2)}
        assert LOG.read_bytes() == whole[:end]
    with NumPack("s.npk") as store:
        store.append({"x": ROWS})
        assert LOG.read_bytes()[:start] == whole[:start]
        added = json.loads(LOG.read_bytes()[start:].splitlines()[0])
        assert added["set"]["x"]["rows"] == 9
    assert shapes() == {"x": (9, 2)}


@pytest.mark.parametrize("cut", ["by a line", "inside a line"])
def test_log_truncated_after_close_is_damage(history, cut):
    lines = LOG.read_bytes().splitlines(keepends=True)
    last = max(number for number, each in enumerate(lines) if b'"time_us"' in each)
    kept = b"".join(lines[:last]) + (lines[last][:20] if cut == "inside a line" else b"")
    LOG.write_bytes(kept)
    check_refused("commits up to 4 were made, and it ends with 3")


def test_open_handle_reads_on_after_another_truncated_a_torn_line(history):
    with NumPack("s.npk") as reader, NumPack("s.npk") as writer:
        assert reader.get_member_list() == ["x", "z"]
        with LOG.open("ab") as log:
            log.write(b'{"commit":5,"time_us":1,"drop":["x","z"]' + b" " * 500)
        assert reader.get_member_list() == ["x", "z"]
        writer.append({"x": ROWS})
        assert reader.get_shape("x") == (9, 2)


def check_refused(phrase: str) -> None:
    """Check that opening reports the damage and changes no byte."""
    before = contents()
    with pytest.raises(CorruptStoreError, match=phrase) as raised:
        NumPack("s.npk").open()
    assert isinstance(raised.value, OSError)
    assert "commits.log" in str(raised.value)
    assert "restore it from a backup" in str(raised.value)
    assert contents() == before


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
def test_open_handle_detects_a_truncated_log(history, cut, call):
    with NumPack("s.npk") as store:
        store.save({"w": ROWS})
        whole = LOG.read_bytes()
        last = whole.rindex(b"\n", 0, -1) + 1
        os.truncate(LOG, {"to nothing": 0, "by a line": last, "inside a line": last - 9}[cut])
        before = contents()
        with pytest.raises(CorruptStoreError, match="it was truncated to"):
            call(store)
        assert contents() == before


def test_handle_recovers_when_the_log_is_restored(history):
    whole = LOG.read_bytes()
    with NumPack("s.npk") as store:
        LOG.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CorruptStoreError):
            store.load("x")
        LOG.write_bytes(whole)
        assert store.load("x").shape == (6, 2)
        store.append({"x": ROWS})
    assert shapes() == {"x": (9, 2), "z": (3, 2)}


STORE = Path("s.npk")


def write(*lines, **files: bytes) -> None:
    hostile.write(STORE, *lines, files=files.get("files"))


def test_torn_snapshot_does_not_hide_earlier_commits():
    arrays = {f"{n}": entry(id=f"{n + 1:08d}-{TOKEN}") for n in range(400)}
    files = {f"data/{each['id']}.bin": bytes(16) for each in arrays.values()}
    write(snapshot(arrays, next_id=500), files=files)
    log = STORE / "commits.log"
    whole = log.read_bytes()
    log.write_bytes(whole + whole[64:-5000])
    with NumPack(STORE) as store:
        assert len(store) == 400
        store.append({"0": np.ones(1, "u1")})
    with NumPack(STORE) as store:
        assert store.get_shape("0") == (17,)
        assert store.verify()
