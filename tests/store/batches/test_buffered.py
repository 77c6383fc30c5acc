"""`batch_mode`: what is written, when, and what other calls see."""

from __future__ import annotations

import numpy as np
import pytest
from support.files import contents
from support.store.batch_changes import CHANGED, CHANGES

from numpack import NumPack, StoreError

ROWS = np.arange(1.0, 13.0).reshape(6, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "y": ROWS, "z": np.array(5)})
        yield opened


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


def commits(store: NumPack) -> int:
    return store.get_io_stats()["commits"]


def test_load_returns_the_same_object_within_the_block(store):
    with store.batch_mode() as batch:
        assert batch is store
        first = store.load("x")
        assert store.load("x") is store["x"] is first
        store.save({"new": first})
        assert store.load("new") is first
    assert store.load("x") is not first


def test_all_changes_are_one_commit_at_the_end_of_the_block(store):
    before = commits(store)
    with store.batch_mode():
        store.load("x")[0] = -1
        y = store.load("y")
        y *= 2
        store.save({"new": ROWS})
        store.save({"new": ROWS[:1], "z": np.array(6)})
        assert commits(store) == before
        assert np.array_equal(read_back(), ROWS)
    assert commits(store) == before + 1
    assert read_back()[0].tolist() == [-1, -1]
    assert np.array_equal(read_back("y"), ROWS * 2)
    assert np.array_equal(read_back("new"), ROWS[:1])
    assert read_back("z") == 6


def test_unchanged_arrays_are_not_written(store):
    before = contents()
    with store.batch_mode():
        for name in store:
            store.load(name)
        x = store.load("x")
        x += 1
        x -= 1
    assert contents() == before


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -0.0])
def test_changes_are_detected_by_bytes(store, value):
    store.save({"x": np.full(3, value)})
    before = contents()
    with store.batch_mode():
        store.load("x")
    assert contents() == before
    with store.batch_mode():
        store.load("x")[1] = 0.0
    assert np.array_equal(read_back(), [value, 0.0, value], equal_nan=True)


def fail_in(store: NumPack) -> None:
    with store.batch_mode():
        store.load("x")[0] = -1
        store.save({"new": ROWS})
        raise ZeroDivisionError


def test_exception_in_the_block_still_writes_changes(store):
    with pytest.raises(ZeroDivisionError):
        fail_in(store)
    assert read_back()[0].tolist() == [-1, -1]
    assert np.array_equal(read_back("new"), ROWS)


def test_nested_block_writes_nothing_at_its_end(store):
    before = commits(store)
    with store.batch_mode():
        with store.batch_mode(memory_limit=10**9):
            x = store.load("x")
            x[0] = -1
        assert commits(store) == before
        assert store.load("x") is x
        x[1] = -2
    assert commits(store) == before + 1
    assert read_back()[:2, 0].tolist() == [-1, -2]


def test_close_in_the_block_writes_changes(store):
    with store.batch_mode():
        store.load("x")[0] = -1
        store.close()
    assert read_back()[0].tolist() == [-1, -1]
    store.open()
    assert store.load("x") is not store.load("x")


SEEN = {
    "get_shape": lambda s: s.get_shape("x") == (3, 2),
    "has_array": lambda s: s.has_array("new"),
    "in": lambda s: "new" in s,
    "len": lambda s: len(s) == 4,
    "iteration": lambda s: list(s) == ["x", "y", "z", "new"],
    "get_member_list": lambda s: s.get_member_list() == ["x", "y", "z", "new"],
    "get_metadata": lambda s: s.get_metadata()["total_arrays"] == 4,
    "get_modify_time": lambda s: s.get_modify_time("new") > 0,
    "getitem": lambda s: np.array_equal(s.getitem("x", [2, 0]), -ROWS[[2, 0]]),
    "stream_load": lambda s: np.array_equal(np.concatenate([*s.stream_load("x")]), -ROWS[:3]),
    "lazy load": lambda s: np.array_equal(s.load("x", lazy=True), -ROWS[:3]),
    "share": lambda s: np.array_equal(s.share("x", "numpy"), -ROWS[:3]),
    "items": lambda s: np.array_equal(dict(s.items())["x"], -ROWS[:3]),
    "verify": lambda s: s.verify().ok and s.has_array("new"),
}


@pytest.mark.parametrize("call", SEEN)
def test_calls_in_the_block_see_saved_arrays(store, call):
    with store.batch_mode():
        store.save({"x": -ROWS[:3], "new": ROWS})
        assert SEEN[call](store)
        kept = store.load("x")
        kept[0] = 7
    assert read_back()[0].tolist() == [7, 7]
    assert np.array_equal(read_back()[1:], -ROWS[1:3])


@pytest.mark.parametrize("change", CHANGES)
def test_other_changes_in_the_block_see_changes_in_place(store, change):
    call, expected = CHANGES[change]
    with store.batch_mode():
        store.load("x")[0] = -1
        call(store)
        assert ("x" in store) == ("x" in expected)
        if expected:
            assert np.array_equal(store.load("x"), expected["x"])
    with NumPack("s.npk") as other:
        assert [name for name in other if name not in "yz"] == list(expected)
        for name, rows in expected.items():
            assert np.array_equal(other.load(name, verify=True), rows)


OTHERS = {
    "append": (lambda s: s.append({"x": -ROWS}), np.concatenate([ROWS, -ROWS])),
    "replace": (lambda s: s.replace({"x": -ROWS[:1]}, 2), None),
    "save": (lambda s: s.save({"x": -ROWS}), -ROWS),
    "save of another shape": (lambda s: s.save({"x": np.arange(3)}), np.arange(3)),
    "drop of rows": (lambda s: s.drop("x", 0), ROWS[1:]),
}


@pytest.mark.parametrize("change", OTHERS)
def test_arrays_only_read_do_not_overwrite_commits_of_another_handle(store, change):
    call, expected = OTHERS[change]
    if expected is None:
        expected = ROWS.copy()
        expected[2] = -ROWS[0]
    with NumPack("s.npk") as other, store.batch_mode():
        store.load("x")
        call(other)
        store.load("x")
        store.load("y")[0] = -1
    assert np.array_equal(read_back(), expected)
    assert np.array_equal(read_back("y"), CHANGED)


def test_reading_does_not_restore_an_array_dropped_by_another_handle(store):
    with NumPack("s.npk") as other, store.batch_mode():
        store.load("x")
        other.drop("x")
    assert "x" not in store


def test_read_only_store_can_be_read_in_batch_mode(store):
    before = contents()
    with NumPack("s.npk", mode="r") as other, other.batch_mode(memory_limit=0):
        first = other.load("x")
        assert other.load("x") is first
        assert np.array_equal(other.getitem("x", 0), ROWS[:1])
        assert other.load("y", lazy=True).shape == (6, 2)
    assert contents() == before


def test_save_to_a_read_only_store_is_refused_at_once(store):
    refused = pytest.raises(StoreError, match="mode='r'")
    with NumPack("s.npk", mode="r") as other, other.batch_mode(), refused:
        other.save({"new": ROWS})
    assert other.is_closed
