"""Names, shapes, sizes and times of the arrays of a store."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from numpack import NumPack

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


def test_member_list_is_in_order_of_insertion(store):
    assert store.get_member_list() == list(store) == []
    store.save({"b": ROWS, "a": ROWS})
    store.save({"c": ROWS})
    store.save({"b": ROWS})
    store.append({"a": ROWS})
    assert store.get_member_list() == list(store) == ["b", "a", "c"]
    store.drop("b")
    store.save({"b": ROWS})
    assert store.get_member_list() == ["a", "c", "b"]


def test_member_list_is_a_copy(filled):
    filled.get_member_list().clear()
    assert filled.get_member_list() == ["x", "number"]


def test_has_array(filled):
    assert filled.has_array("x")
    assert not filled.has_array("X")
    assert not filled.has_array("")
    filled.drop("x")
    assert not filled.has_array("x")


def test_metadata_describe_every_array(filled):
    metadata = filled.get_metadata()
    assert json.loads(json.dumps(metadata)) == metadata
    files = [each.pop("data_file") for each in metadata["arrays"].values()]
    assert metadata == {
        "arrays": {
            "x": {
                "shape": [6, 2],
                "dtype": "float64",
                "size_bytes": 96,
                "last_modified": filled.get_modify_time("x"),
            },
            "number": {
                "shape": [],
                "dtype": "int64",
                "size_bytes": 8,
                "last_modified": filled.get_modify_time("number"),
            },
        },
        "base_dir": "s.npk",
        "total_arrays": 2,
    }
    assert [(Path("s.npk") / file).stat().st_size for file in files] == [96, 8]


def test_modify_time_is_the_time_of_the_commit_in_microseconds(store):
    def commit(method: str, names: str) -> range:
        start = time.time_ns() // 1000
        getattr(store, method)(dict.fromkeys(names, ROWS))
        return range(start, time.time_ns() // 1000 + 1)

    assert store.get_modify_time("x") is None
    first = commit("save", "xy")
    saved = store.get_modify_time("x")
    assert saved in first
    assert store.get_modify_time("y") == saved
    commit("append", "y")
    assert store.get_modify_time("x") == saved
    second = commit("append", "x")
    with NumPack("s.npk") as other:
        assert other.get_modify_time("x") in second
        assert other.get_modify_time("y") >= saved
    store.drop("x")
    assert store.get_modify_time("x") is None


STEPS = {
    "replace": (lambda s: s.replace({"x": ROWS[:1]}, 0), (6, 2), 96, ["x", "number"]),
    "drop of rows": (lambda s: s.drop("x", [1, 2]), (4, 2), 64, ["x", "number"]),
    "update": (lambda s: (s.drop("x", 1), s.update("x")), (5, 2), 80, ["x", "number"]),
    "append": (lambda s: s.append({"x": ROWS}), (12, 2), 192, ["x", "number"]),
    "clone": (lambda s: s.clone("number", "x2"), (6, 2), 96, ["x", "number", "x2"]),
    "drop and save": (
        lambda s: (s.drop("x"), s.save({"x": ROWS})),
        (6, 2),
        96,
        ["number", "x"],
    ),
}


@pytest.mark.parametrize("step", STEPS)
def test_metadata_order_and_times_after_every_change(filled, step):
    change, shape, nbytes, names = STEPS[step]
    saved = filled.get_modify_time("x")
    start = time.time_ns() // 1000
    change(filled)
    for handle in (filled, NumPack("s.npk", mode="r")):
        handle.open()
        metadata = handle.get_metadata()
        assert list(metadata["arrays"]) == list(handle) == names
        assert metadata["total_arrays"] == len(handle) == len(names)
        found = metadata["arrays"]["x"]
        assert (found["shape"], found["dtype"], found["size_bytes"]) == (
            list(shape),
            "float64",
            nbytes,
        )
        assert found["last_modified"] == handle.get_modify_time("x")
        changed = range(start, time.time_ns() // 1000 + 1)
        assert handle.get_modify_time("x") in ([saved] if step == "clone" else changed)
        assert handle.get_modify_time("number") <= start
    handle.close()
