"""Extents: parts of an array's bytes that are in several objects."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.store import hostile
from support.store.hostile import ID, TOKEN, entry, header_line, line, snapshot

from numpack import CorruptStoreError, NumPack
from numpack.errors import PublishedStoreError
from numpack.store.format.extents import ObjectMap, Run, data_name
from numpack.store.format.log.past import newest_catalog
from numpack.store.format.log.state import Entry

STORE = Path("s.npk")
OLD, OTHER = 2**40 + 1, 2**40 + 2


def array(nbytes: int, number: int = 1, extents=None) -> Entry:
    return Entry(f"{number:08d}-{TOKEN}", "|u1", (nbytes,), 0, extents=extents)


def parsed(table, nbytes: int, number: int = 1) -> ObjectMap:
    content = np.array(table, "<u8").tobytes()
    extents = len(content) // 24, zlib.crc32(content)
    return ObjectMap.parse(content, array(nbytes, number, extents))


def read(extents: ObjectMap, objects: dict[str, bytes], starts, ends) -> bytes:
    """Return ranges of the data file from the objects, as a reader does."""
    out = np.zeros(int(np.sum(ends) - np.sum(starts)), np.uint8)
    filled = np.zeros(len(out), bool)
    names = []
    for name, begins, stops, places in extents.split(starts, ends):
        names.append(name)
        for begin, stop, place in zip(begins, stops, places, strict=True):
            assert begin < stop <= len(objects[name])
            assert not filled[place : place + stop - begin].any()
            filled[place : place + stop - begin] = True
            part = np.frombuffer(objects[name][begin:stop], np.uint8)
            out[place : place + stop - begin] = part
    assert filled.all()
    assert len(set(names)) == len(names)
    return out.tobytes()


def test_array_without_extents_is_in_its_data_file():
    for identifier in (ID, f"0000000000{ID}", f"{2**59}-{TOKEN}"):
        made = Entry(identifier, "|u1", (100,), 0)
        (pieces,) = ObjectMap.whole(made).split([7, 20, 3], [9, 20, 8])
        assert pieces.name == made.data_file
        assert (pieces.starts.tolist(), pieces.ends.tolist()) == ([7, 3], [9, 8])
        assert pieces.places.tolist() == [0, 2]
    empty = ObjectMap.whole(array(0))
    assert empty.split([0], [0]) == empty.split([], []) == []
    assert len(empty) == 0
    assert empty.object_names() == []
    assert empty.bytes_in_objects() == {}
    assert len(empty.lengths) == 0


def test_ranges_are_split_at_the_extents():
    objects = {
        data_name(OLD, TOKEN): b"-abcdefgh",
        data_name(OTHER, TOKEN): b"XY",
        data_name(1, TOKEN): b"12345",
    }
    found = parsed([(0, OLD, 1), (3, 1, 0), (5, OLD, 6), (7, OTHER, 1), (8, 1, 3)], 10)
    whole = b"abc12fgY45"
    assert read(found, objects, [0], [10]) == whole
    assert set(found.object_names()) == set(objects)
    assert found.bytes_in_objects() == {
        data_name(OLD, TOKEN): (5, 8),
        data_name(OTHER, TOKEN): (1, 2),
        data_name(1, TOKEN): (4, 5),
    }
    random = np.random.default_rng(3)
    for _ in range(200):
        starts, ends = np.sort(random.integers(0, 11, (2, random.integers(0, 6))), axis=0)
        expected = b"".join(whole[a:b] for a, b in zip(starts, ends, strict=True))
        assert read(found, objects, starts, ends) == expected


def test_maps_of_random_changes_hold_the_bytes_of_each_state():
    random = np.random.default_rng(5)
    data = random.integers(0, 256, 300, np.uint8)
    objects = {data_name(1, TOKEN): data.tobytes()}
    extents = ObjectMap.whole(array(len(data)))
    for number in range(2, 60):
        fresh = random.integers(0, 256, random.integers(200, 400), np.uint8)
        kept = min(len(fresh), len(data))
        bounds = np.unique(random.integers(0, kept, 2 * random.integers(0, 4)))
        bounds = bounds[: len(bounds) // 2 * 2].tolist()
        runs = [Run(*pair) for pair in zip(bounds[::2], bounds[1::2], strict=True)]
        if len(fresh) > kept:
            runs.append(Run(kept, len(fresh)))
        mask = np.ones(len(fresh), bool)
        for start, stop in runs:
            mask[start:stop] = False
        fresh[mask] = data[: len(fresh)][mask[: len(data)]]
        new = array(len(fresh), number)
        extents = ObjectMap.changed(new, extents, runs)
        objects[new.data_file] = b"".join(fresh[a:b].tobytes() for a, b in runs)
        data = fresh
        content = extents.to_bytes()
        extents = ObjectMap.parse(
            content, array(len(data), number, (len(extents), zlib.crc32(content)))
        )
        assert read(extents, objects, [0], [len(data)]) == data.tobytes()
        assert extents.bytes_in_objects().keys() == set(extents.object_names())
        same = (np.diff(extents.numbers) == 0) & (
            np.diff(extents.offsets) == extents.lengths[:-1]
        )
        assert not same.any(), "extents that continue each other are one"


def test_unchanged_array_refers_to_the_old_object_alone():
    found = ObjectMap.changed(array(100, 2), ObjectMap.whole(array(100, OLD)), [])
    assert found.object_names() == [data_name(OLD, TOKEN)]
    assert (len(found), len(found.to_bytes())) == (1, 24)


WRONG_LISTS = [
    [(1, 1, 0)],
    [(0, 1, 0), (0, 1, 5)],
    [(0, 1, 0), (5, 1, 5), (4, 1, 9)],
    [(0, 1, 0), (10, 1, 10)],
    [(0, 1, 0), (2**63, 1, 10)],
    [(0, 2**62, 0)],
    [(0, 2**64 - 1, 0)],
    [(0, 1, 2**63 - 10)],
    [(0, 1, 2**64 - 1)],
]


@for_each("table", WRONG_LISTS)
def test_impossible_extents_are_damage(table):
    with pytest.raises(CorruptStoreError, match=r"00000001-00c0ffee\.ext is damaged"):
        parsed(table, 10)
    parsed([(0, 2**62 - 1, 2**63 - 11), (9, 1, 7)], 10)


def test_list_of_another_length_or_checksum_is_damage():
    content = np.array([(0, 1, 0)], "<u8").tobytes()
    check = zlib.crc32(content)
    ObjectMap.parse(content, array(10, 1, (1, check)))
    for wrong, extents in (
        (content, (1, check ^ 1)),
        (content, (2, check)),
        (content[:-1], (1, zlib.crc32(content[:-1]))),
        (b"", (1, 0)),
    ):
        with pytest.raises(CorruptStoreError, match="damaged"):
            ObjectMap.parse(wrong, array(10, 1, extents))


# In the log ----------------------------------------------------------------------------------


def log_of(*records) -> bytes:
    return header_line(1) + b"".join(line(each) for each in records)


def test_member_of_the_log_is_kept():
    record = entry(extents=[4096, 2**32 - 1])
    catalog = newest_catalog(log_of(snapshot({"x": record, "y": entry(id=hostile.OTHER_ID)})))
    found = catalog.arrays["x"]
    assert found.extents == (4096, 2**32 - 1)
    assert found.extents_file == f"data/{ID}.ext"
    assert catalog.arrays["y"].extents is None
    assert catalog.snapshot()["arrays"]["x"] == record
    assert found.replace(extents=None).to_record().keys() == record.keys() - {
        "extents",
        "modified_us",
    }
    assert found.with_changes({}, 1).extents == found.extents


WRONG_MEMBERS = [
    *(each for each in hostile.BAD if str(each) not in ("inf", "nan")),  # not in JSON
    [1],
    [0, 0],
    [4097, 0],
    [1, -1],
    [1, 2**32],
    [1, 0, 0],
    [True, 0],
    [1.0, 0],
    ["1", 0],
    [1, None],
]


@for_each("value", WRONG_MEMBERS, ids=lambda value: str(value)[:30])
def test_wrong_member_makes_only_its_array_unreadable(value):
    arrays = {"x": entry(extents=value), "y": entry(id=hostile.OTHER_ID)}
    catalog = newest_catalog(log_of(snapshot(arrays)))
    assert catalog.arrays["x"].is_unusable
    assert not catalog.arrays["y"].is_unusable


def test_extents_of_writable_and_of_empty_arrays_are_wrong():
    for record in (entry(extents=[1, 0], writable=True), entry(b"", extents=[1, 0])):
        assert newest_catalog(log_of(snapshot({"x": record}))).arrays["x"].is_unusable


@for_each("change", [{"rows": 17}, {"tail": 1}, {"revision": 2}, {"attrs": {}}, {}])
def test_arrays_with_extents_are_not_changed(change):
    commit = {"commit": 2, "time_us": 1, "set": {"x": change}}
    with pytest.raises(ValueError, match="has extents"):
        newest_catalog(log_of(snapshot({"x": entry(extents=[1, 0])}), commit))


def test_damaged_logs_have_no_newest_catalog():
    whole = log_of(snapshot({"x": entry()}))
    assert list(newest_catalog(whole + b'\n{"torn').arrays) == ["x"]
    for wrong in (
        b"",
        b"\n",
        whole[:64],
        whole[:-2],
        whole + b"{}\n",
        header_line(2) + whole[64:],
        whole.replace(b'"x"', b'"z"'),
    ):
        with pytest.raises(ValueError, match="."):
            newest_catalog(wrong)


# On disk -------------------------------------------------------------------------------------

PUT = {key: value for key, value in entry(extents=[1, 0]).items() if key != "modified_us"}
PUT_ANEW = {**PUT, "id": f"00000009-{TOKEN}"}
PUBLISHED = [
    [snapshot({"x": entry(extents=[1, 0])})],
    [snapshot({"y": entry(id=hostile.OTHER_ID), "x": entry(extents=[1, 0])})],
    [
        snapshot({}),
        {"commit": 2, "time_us": 1, "put": {"x": {**PUT, "id": f"00000009-{TOKEN}"}}},
    ],
]


@for_each("version", [1, 3])
@for_each("lines", PUBLISHED, ids=lambda lines: str(len(lines[0]["arrays"])))
def test_copy_of_a_published_store_is_not_opened_from_disk(lines, version):
    hostile.write(STORE, *lines, files={f"data/{ID}.bin": bytes(16)})
    (STORE / "numpack.json").write_text(f'{{"format": "numpack", "version": {version}}}')
    before = {path: path.read_bytes() for path in STORE.rglob("*") if path.is_file()}
    calls = [
        lambda mode=mode: NumPack(STORE, mode=mode).open() for mode in ("a", "r", "r+", "w")
    ]
    calls.append(lambda: NumPack(STORE, drop_if_exists=True).open())
    commit = 1 + len(lines[1:])
    calls.append(lambda: NumPack(STORE, mode="r", at=commit).open())
    for call in calls:
        with pytest.raises(PublishedStoreError) as raised:
            call()
        assert f'NumPack("file://{STORE.absolute()}", mode="r")' in str(raised.value)
        assert ".backup(path)" in str(raised.value)
    assert before == {path: path.read_bytes() for path in STORE.rglob("*") if path.is_file()}


def test_commit_with_extents_is_noticed_in_an_open_store(store):
    store.save({"y": np.arange(3)})
    catalog = newest_catalog((STORE / "commits.log").read_bytes())
    identifier = f"{catalog.next_id:08d}-{catalog.token}"
    commit = {"commit": 2, "time_us": 1, "put": {"x": {**PUT, "id": identifier}}}
    with (STORE / "commits.log").open("ab") as file:
        file.write(line(commit))
    for call in (lambda: store.load("y"), lambda: store.save({"z": np.arange(2)})):
        with pytest.raises(PublishedStoreError):
            call()
    store.close()
    with pytest.raises(PublishedStoreError):
        NumPack(STORE, mode="r", at=2).open()


def test_store_of_version_3_without_extents_is_an_ordinary_one(store):
    store.save({"x": np.arange(3)})
    store.close()
    header = '{"format": "numpack", "version": 3}\n'
    (STORE / "numpack.json").write_text(header)
    (STORE / "data" / "left-over.ext").touch()
    token = newest_catalog((STORE / "commits.log").read_bytes()).token
    orphan = STORE / f"data/{2**59}-{token}.ext"
    orphan.touch()
    with NumPack(STORE) as again:
        again.attrs["x"]["a"] = 1
        assert again.load("x").tolist() == [0, 1, 2]
    assert not orphan.exists()
    assert (STORE / "data" / "left-over.ext").exists()
    assert (STORE / "numpack.json").read_text() == header
