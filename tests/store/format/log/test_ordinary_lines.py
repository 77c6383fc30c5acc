"""Lines that are read natively, compared with the general reader, which reads all others."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.store.hostile import checked, entry, header_line, line, snapshot

from numpack import NumPack
from numpack.store.format.log import reader
from numpack.store.format.log.lines import decode
from numpack.store.format.log.ordinary.lines import (
    open_ordinary,
    read_commits,
    read_header_line,
    read_snapshot,
)
from numpack.store.format.log.records import CommitReader
from numpack.store.format.log.records import snapshot as general_snapshot
from numpack.store.fs.directory import Folder

LOG = Path("s.npk/commits.log")
ROWS = np.arange(600, dtype="f4").reshape(100, 6)
JSON_BYTES = b'{}[]",:0123456789-+eE.\\ \t\n\rtfnux\x00\x7f\xc3\xa9\xed\xb0\x80'


def write_history(*, replaces: bool = True) -> list[bytes]:
    """Make a store with commits of every frequent kind; return its lines but the first."""
    store = NumPack("s.npk", mode="w")
    store.open()
    store.save({"x": ROWS, "é": ROWS[:, 0], "0-d": np.float64(1), "one": np.zeros(1, "u1")})
    for i in range(12):
        store.append({"x": ROWS[: i + 1], "é": ROWS[:2, 0]})
        store.drop("x", [i, i + 3])
        if replaces:
            store.replace({"x": ROWS[:2]}, [1, 4])
    data = LOG.read_bytes()  # as long as the store is open, no snapshot ends the log
    store.close()
    return data.splitlines(keepends=True)[1:]


def described(catalog, arrays=None):
    """Return all that a catalog says."""
    found = catalog.arrays if arrays is None else arrays
    entries = {name: each.values() for name, each in found.items()}
    return catalog.token, catalog.commit, catalog.next_id, catalog.journal, entries


def natively(before, lines):
    """Read lines natively; return None if they are declined."""
    data = b"".join(lines)
    if before is None:
        found = read_snapshot(data, 0, len(data))
        return None if found is None else described(found)
    found = read_commits(before, data, 0, len(data))
    return None if found is None else described(found[0].catalog, found[0].changed)


def generally(before, lines):
    """Read lines by the general reader; return None if they are damaged."""
    try:
        if before is None:
            return described(general_snapshot(decode(lines[0])))
        commits = CommitReader(before)
        for each in lines:
            commits.read(decode(each))
        update = commits.update()
        return described(update.catalog, update.changed)
    except ValueError:
        return None


def test_ordinary_lines_are_read_natively_with_the_same_result():
    lines = write_history()
    starts = [at for at, each in enumerate(lines) if each.startswith(b'{"store":')]
    accepted = 0
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        found = natively(None, [lines[start]])
        assert found == generally(None, [lines[start]])
        assert found is not None
        catalog = general_snapshot(decode(lines[start]))
        for end in range(start + 2, stop + 1):
            known = natively(catalog, lines[start + 1 : end])
            if known is not None:
                accepted += 1
                assert known == generally(catalog, lines[start + 1 : end])
    assert accepted > 20


def mutated(body: bytes, rng: random.Random) -> bytes:
    """Change, insert, remove or repeat a few bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, some = rng.randrange(1, len(body)), bytes([rng.choice(JSON_BYTES)])
        end = min(len(body), at + rng.choice((1, 1, 2, 8, 30)))
        other = rng.randrange(1, len(body))
        changes = (
            body[:at] + some + body[at + 1 :],
            body[:at] + some + body[at:],
            body[:at] + body[end:],
            body[:end] + body[at:],
            body[:other] + body[at:end] + body[other:],
        )
        body = rng.choice(changes)
    return body


def test_mutated_lines_are_declined_or_read_with_the_same_result(thorough):
    lines, rng = write_history(), random.Random(5)
    at = max(i for i, each in enumerate(lines) if each.startswith(b'{"store":'))
    catalog = general_snapshot(decode(lines[at]))
    accepted = 0
    for _ in range(100_000 if thorough else 6_000):
        before = rng.choice((None, catalog))
        chosen = [lines[at]] if before is None else lines[at + 1 : at + 1 + rng.randint(1, 3)]
        body, _, _ = chosen[-1].rpartition(b',"crc32":"')
        chosen = [*chosen[:-1], checked(mutated(body, rng))]
        found = natively(before, chosen)
        if found is not None:
            accepted += 1
            assert found == generally(before, chosen), chosen
    assert accepted > 50


def test_a_wrong_checksum_is_declined():
    lines, rng = write_history(), random.Random(6)
    catalog = general_snapshot(decode(lines[0]))
    assert natively(None, [lines[0]])
    for each, before in ((lines[0], None), (lines[1], catalog)):
        for _ in range(300):
            at = rng.randrange(len(each))
            wrong = each[:at] + bytes([each[at] ^ rng.randrange(1, 256)]) + each[at + 1 :]
            assert natively(before, [wrong]) is None


UNUSUAL = {
    "escape": {"x\\y": entry()},
    "control character": {"x\n": entry()},
    "surrogate": {"\udc80": entry()},
    "no name": {"": entry()},
    "struct": {"x": entry(dtype={"names": [], "formats": [], "offsets": [], "itemsize": 1})},
    "unknown dtype": {"x": entry(dtype="<f5")},
    "writable": {"x": entry(writable=True)},
    "extent 0": {"x": entry(b"")},
    "negative extent": {"x": entry(shape=[-16])},
    "huge extents": {"x": entry(shape=[2**40, 2**40])},
    "float": {"x": entry(shape=[16.0])},
    "bool": {"x": entry(tail=True)},
    "another token": {"x": entry(id="00000001-deadbeef")},
    "id not below next_id": {"x": entry(id="00000009-00c0ffee")},
    "same id": {"x": entry(), "y": entry()},
    "tail of no bytes": {"x": entry(bytes(1 << 20), tail=5)},
    "tail too large": {"x": entry(tail=2**32)},
    "unknown member": {"x": entry(color=1)},
}


@for_each("arrays", UNUSUAL.values())
def test_rare_and_invalid_arrays_are_declined(arrays):
    assert natively(None, [line(snapshot(arrays))]) is None
    assert natively(None, [line(snapshot({"x": entry()}))])


@for_each(
    "members",
    [
        {"next_id": 2**62},
        {"commit": -1},
        {"store": "00C0FFEE"},
        {"journal": 2**32},
        {"more": 1},
    ],
)
def test_invalid_snapshots_are_declined(members):
    assert natively(None, [line(snapshot({"x": entry()}) | members)]) is None


def test_too_many_dimensions_are_declined():
    assert natively(None, [line(snapshot({"x": entry(shape=[16] + [1] * 63)}))])
    assert natively(None, [line(snapshot({"x": entry(shape=[16] + [1] * 64)}))]) is None


CHANGES = (
    {"rows": 15},
    {"rows": 2**62, "tail": 0},
    {"dropped": 17},
    {"tail": -1},
    {"dropped": 1, "dropped_crc32": 2**32},
    {"revision": 3},
    {"writable": True},
    {"dtype": "|u1"},
    {},
)


@for_each("fields", CHANGES)
def test_rare_and_invalid_changes_are_declined(fields):
    catalog = general_snapshot(decode(line(snapshot({"x": entry()}))))
    good = {"commit": 2, "time_us": 5, "set": {"x": {"rows": 17, "tail": 9, "revision": 2}}}
    assert natively(catalog, [line(good)]) == generally(catalog, [line(good)]) is not None
    assert natively(catalog, [line(good | {"set": {"x": fields}})]) is None
    for wrong in (
        {"commit": 3},
        {"time_us": -1},
        {"set": {"y": {}}},
        {"set": {}},
        {"drop": []},
    ):
        assert natively(catalog, [line(good | wrong)]) is None


def test_snapshot_of_another_commit_or_store_is_declined():
    first = snapshot({"x": entry()})
    catalog = general_snapshot(decode(line(first)))
    assert natively(catalog, [line(first)])
    assert natively(catalog, [line(first | {"commit": 2})]) is None
    assert natively(catalog, [line(first | {"store": "deadbeef"})]) is None


def test_header_line_is_read_or_declined():
    assert read_header_line(header_line(12)) == 12
    for text in ("", "-1", "1.0", "01", "1 2", "1" * 19, "true"):
        assert read_header_line(header_line(text)) == -1
    assert read_header_line(header_line(1)[:-1]) == read_header_line(b"") == -1


def state_of(cursor):
    """Return what was read of a log."""
    place = cursor.end, cursor.torn, cursor.snapshot, cursor.snapshot_length
    return *place, described(cursor.catalog)


@pytest.fixture
def opened():
    """Return a function that opens the log natively and generally."""

    def open_both():
        folder = Folder(str(Path("s.npk").absolute()))
        native = open_ordinary(folder.descriptor, b"commits.log", os.O_RDONLY)
        general = reader.LogReader(folder, writable=False)._open_other()
        os.close(general.descriptor)
        if native is None:
            return None, state_of(general)
        os.close(native.descriptor)
        return state_of(native), state_of(general)

    return open_both


def test_opening_natively_gives_the_same_state(opened):
    lines = write_history(replaces=False)
    whole = header_line(0) + b"".join(lines)
    ends = [64 + sum(map(len, lines[: at + 1])) for at in range(len(lines))]
    accepted = 0
    for end in (*ends, *(end - 5 for end in ends[1:])):  # the others end with a torn line
        LOG.write_bytes(whole[:end])
        native, general = opened()
        if native is not None:
            accepted += 1
            assert native == general
    assert accepted > len(ends)


def test_a_log_that_is_unusual_is_declined(opened, tmp_path):
    whole = header_line(0) + b"".join(write_history(replaces=False))
    for unusual in (whole + b"\n", whole.replace(b'"commits":0', b'"commits":x'), whole[64:]):
        LOG.write_bytes(unusual)
        assert opened()[0] is None
    folder = Folder(str(Path("s.npk").absolute()))
    for content in (b"", b"\n", whole[:64], whole[:40], header_line(999) + whole[64:]):
        LOG.write_bytes(content)
        assert open_ordinary(folder.descriptor, b"commits.log", 0) is None
    LOG.unlink()
    assert open_ordinary(folder.descriptor, b"commits.log", 0) is None
    LOG.symlink_to(tmp_path)
    assert open_ordinary(folder.descriptor, b"commits.log", 0) is None
