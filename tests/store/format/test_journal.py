"""Journals with valid checksums and false numbers."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.store import hostile
from support.store.hostile import BLOCK, CALLS, ID, TOKEN, entry, line, raw_errors, snapshot

from numpack import CorruptStoreError, NumPack
from numpack.store import session
from numpack.store.format.journal import commit_to_come
from numpack.store.fs.directory import Folder

DATA = f"data/{ID}.bin"
STORE = Path("s.npk")


def write(*lines, **files: bytes) -> None:
    hostile.write(STORE, *lines, files=files.get("files"))


def journal(rows=(0,), fresh=b"abcd", sums=(), extent=(16, 4), **members) -> None:
    content = bytes(extent[0] * extent[1])
    head = {"id": ID, "width": 4, "rows": len(rows), "first": 0, "sums": len(sums), **members}
    record = line({"commit": 1, "arrays": [head]})
    record += np.array(rows, "<i8").tobytes() + fresh + np.array(sums, "<u4").tobytes()
    whole = len(content) // BLOCK
    files = {DATA: content, f"data/{ID}.sum": bytes(4 * whole), "journal": record}
    arrays = {"x": entry(content, shape=list(extent))}
    write(snapshot(arrays, journal=zlib.crc32(record)), files=files)


LARGE = (1 << 19, 4)
JOURNALS = {
    **{f"id {bad!r}": {"id": bad} for bad in (f"00000009-{TOKEN}", 5, None, [1], "../x", {})},
    **{f"width {bad}": {"width": bad} for bad in (0, -4, 3, 8, 2**62, 2**63, 4.0, True, "4")},
    **{f"row {bad}": {"rows": (bad,)} for bad in (-1, 16, 2**61, 2**63 - 1)},
    "a row twice": {"rows": (0, 0), "fresh": b"abcdefgh"},
    "more rows than there are": {"rows": range(17), "fresh": b"abcd" * 17},
    **{
        f"first {bad}": {"first": bad, "sums": (1,), "extent": LARGE}
        for bad in (-1, 2, 3, 2**40, -(2**40), 10**30, "1", 1.0, None, True)
    },
    "many sums": {"sums": range(1000), "extent": LARGE},
    "more members": {"more": 1},
}
COUNTS = {f"{key} {bad}": {key: bad} for key in ("rows", "sums") for bad in hostile.HUGE}


@for_each("case", JOURNALS)
@for_each("in_place", [True, False])
def test_journal_with_wrong_numbers_changes_nothing(monkeypatch, case, in_place):
    monkeypatch.setattr(
        "numpack.store.format.open_files.is_written_in_place", lambda _: in_place
    )
    for mode in ("a", "r"):
        journal(**JOURNALS[case])
        before = {path: path.stat().st_size for path in STORE.rglob("*") if path.is_file()}
        content = (STORE / DATA).read_bytes()
        assert raw_errors(STORE, mode, CALLS) == []
        with pytest.raises(CorruptStoreError, match="journal"):
            list(open_store(mode))
        after = {path: path.stat().st_size for path in STORE.rglob("*") if path.is_file()}
        assert after == before
        assert (STORE / DATA).read_bytes() == content


def open_store(mode: str) -> NumPack:
    store = NumPack(STORE, mode=mode)
    store.open()
    return store


def test_journal_counts_beyond_its_file_are_refused():
    for case in COUNTS.values():
        journal()
        head = {"id": ID, "width": 4, "rows": 1, "first": 0, "sums": 0, **case}
        record = line({"commit": 1, "arrays": [head]}) + bytes(8) + b"abcd"
        (STORE / "journal").write_bytes(record)
        state = snapshot({"x": entry(bytes(64), shape=[16, 4])}, journal=zlib.crc32(record))
        (STORE / "commits.log").write_bytes(hostile.header_line(1) + line(state))
        assert raw_errors(STORE, "a") == []
        with pytest.raises(CorruptStoreError, match="journal"):
            list(open_store("r"))


def test_valid_journal_is_applied():
    journal(rows=(3, 1), fresh=b"abcdefgh")
    with NumPack(STORE, mode="r") as store:
        assert bytes(store.load("x")[[1, 3]]) == b"efghabcd"
    with NumPack(STORE) as store:
        assert bytes(store.load("x")[[1, 3]]) == b"efghabcd"
    assert (STORE / DATA).read_bytes()[4:16] == b"efgh" + bytes(4) + b"abcd"
    assert issubclass(session.journal.Change, tuple)


def test_journal_of_a_commit_to_come_is_recognised():
    STORE.mkdir()
    folder, path = Folder(str(STORE.resolve())), STORE / "journal"
    assert not commit_to_come(folder, 0)
    for content in (b"", b"\n", b'\n"commit":9,"arrays":[]}', b"\0" * 9):
        path.write_bytes(content)
        assert not commit_to_come(folder, 0)
    path.write_bytes(line({"commit": 9, "arrays": [{"id": "x" * 9000}]}))
    assert [commit_to_come(folder, commit) for commit in (0, 8, 9, 10)] == [1, 1, 0, 0]
    path.write_bytes(b'{"comm')
    assert commit_to_come(folder, 10), "it is being written"
