"""Attributes in the log: valid and damaged ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.store.hostile import ID, OTHER_ID, TOKEN, checked, entry, line, snapshot, write

from numpack import CorruptStoreError, NumPack

DATA = {f"data/{ID}.bin": bytes(16)}
COMMIT = {"commit": 2, "time_us": 1}


def nested(levels: int) -> object:
    return {"a": nested(levels - 1)} if levels else 1


WRONG = [
    *(None, True, 1, "x", [], [["a", 1]]),
    {"a": 2**64},
    {"a": [-(2**63) - 1]},
    nested(33),
    nested(300),
    {"a": "x" * 1_048_576},
]


@for_each("attrs", WRONG, ids=lambda value: str(value)[:30])
def test_wrong_attributes_of_an_array_make_only_that_array_unreadable(attrs, tmp_path):
    other = entry(id=OTHER_ID)
    path = tmp_path / "s.npk"
    usual = snapshot({"x": entry(attrs=attrs), "y": other})
    put = {key: value for key, value in entry(attrs=attrs).items() if key != "modified_us"}
    put["id"], also = f"00000009-{TOKEN}", {**other, "id": f"00000010-{TOKEN}"}
    del also["modified_us"]
    for lines in ([usual], [snapshot({}), {**COMMIT, "put": {"x": put, "y": also}}]):
        ids = (ID, OTHER_ID, put["id"], also["id"])
        files = {f"data/{each}.bin": bytes(16) for each in ids}
        write(path, *lines, files=files)
        with NumPack(path) as store:
            assert list(store.attrs) == list(store)
            for call in (lambda: store.attrs["x"], lambda: store.load("x")):
                with pytest.raises(CorruptStoreError, match="the attribute"):
                    call()
            assert [each.array for each in store.verify().damaged] == ["x"]
            store.attrs["y"]["a"] = 1
            store.save({"x": np.arange(3)})
            assert store.attrs["x"] == {}
            assert store.verify().ok
        with NumPack(path) as store:
            assert store.attrs["y"] == {"a": 1}


@for_each("attrs", WRONG, ids=lambda value: str(value)[:30])
def test_wrong_attributes_elsewhere_are_damage_of_the_log(attrs, tmp_path):
    usual = snapshot({"x": entry()})
    for lines in (
        [usual | {"attrs": attrs}],
        [usual, COMMIT | {"attrs": attrs}],
        [usual, COMMIT | {"set": {"x": {"attrs": attrs}}}],
    ):
        write(tmp_path / "s.npk", *lines, files=DATA)
        with pytest.raises(CorruptStoreError, match="attribute"):
            NumPack(tmp_path / "s.npk", mode="r").open()


def test_attributes_of_any_line_are_read(tmp_path):
    path = tmp_path / "s.npk"
    first = snapshot({"x": entry(attrs={"a": 1})}, attrs={"t": 1})
    lines = [
        first,
        COMMIT | {"set": {"x": {"attrs": {"b": [2]}}}},
        {"commit": 3, "time_us": 2, "attrs": {"t": 2}},
        {"commit": 4, "time_us": 3, "set": {"x": {"dropped": 0}}},  # read natively
    ]
    found = ((1, {"a": 1}, {"t": 1}), (2, {"b": [2]}, {"t": 1}), (4, {"b": [2]}, {"t": 2}))
    for count, x, own in found:
        write(path, *lines[:count], files=DATA)
        with NumPack(path, mode="r") as store:
            assert store.attrs["x"] == x
            assert store.attrs.store == own
            assert store.verify().ok
    write(path, *lines[:1], files=DATA)
    with NumPack(path, mode="r") as store:  # reads each line as it is appended
        for each in lines[1:]:
            with Path(path, "commits.log").open("ab") as file:
                file.write(line(each))
            assert len(store) == 1
        assert store.attrs["x"] == {"b": [2]}
        assert store.attrs.store == {"t": 2}
    write(path, first, COMMIT | {"set": {"x": {"attrs": {}}}, "attrs": {}}, files=DATA)
    with NumPack(path, mode="r") as store:
        assert store.attrs["x"] == {}
        assert store.attrs.store == {}


def test_lines_are_as_the_format_describes(store):
    store.save({"x": np.zeros(2)})
    store.attrs["x"].update({"dims": ["é"], "n": 1.5})
    store.attrs.store["t"] = None
    store.save({"x": np.zeros(1)})
    store.attrs["x"].clear()
    lines = [json.loads(each) for each in Path("s.npk/commits.log").read_text().splitlines()]
    records = [each for each in lines if "time_us" in each]
    attrs = {"dims": ["é"], "n": 1.5}
    assert records[1]["set"] == {"x": {"attrs": attrs}}
    assert "attrs" not in records[0]
    assert records[2]["attrs"] == {"t": None}
    assert "set" not in records[2]
    assert records[3]["put"]["x"]["attrs"] == attrs
    assert records[4]["set"] == {"x": {"attrs": {}}}
    store.close()
    last = json.loads(Path("s.npk/commits.log").read_text().splitlines()[-1])
    assert last["attrs"] == {"t": None}
    assert "attrs" not in last["arrays"]["x"]


def test_a_number_that_cannot_be_written_again_is_damage_at_once(tmp_path):
    path = tmp_path / "s.npk"
    bad = line(snapshot({"x": entry(tail=12345678)})).replace(b"12345678", b"1e999")
    body = bad.rpartition(b',"crc32"')[0]
    write(path, checked(body), files=DATA)
    with pytest.raises(CorruptStoreError, match="the number 1e999 is too large"):
        NumPack(path).open()
