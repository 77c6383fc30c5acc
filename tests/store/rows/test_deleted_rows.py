"""Deleting rows."""

from __future__ import annotations

import numpy as np
import pytest
from support.files import contents

from numpack import IndexRangeError, NumPack

ROWS = np.arange(1.0, 13.0).reshape(6, 2)


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


def numbered(shape: tuple[int, ...], dtype: object = float) -> np.ndarray:
    return np.arange(1, 1 + np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


def lines() -> int:
    return contents()["commits.log"].count(b'"time_us"')


def test_drop_of_rows_of_several_arrays_is_one_commit(store):
    store.save({"x": ROWS, "y": numbered((6,)), "z": ROWS})
    before = lines()
    store.drop(["x", "y", "x"], [0, -1, 0])
    assert lines() == before + 1
    assert np.array_equal(read_back("x"), ROWS[1:-1])
    assert read_back("y").tolist() == [2, 3, 4, 5]
    assert store.get_shape("z") == (6, 2)


def test_drop_of_no_rows_is_no_commit(filled):
    before = contents()
    filled.drop("x", [])
    filled.drop("x", np.zeros(6, bool))
    filled.drop("x", slice(3, 3))
    filled.drop([], [0])
    assert contents() == before


def test_row_numbers_count_live_rows(filled):
    filled.drop("x", [0, 2])
    filled.drop("x", 0)
    filled.replace({"x": -ROWS[:1]}, -1)
    filled.append({"x": ROWS[:1]})
    filled.replace({"x": -ROWS[1:2]}, 0)
    assert np.array_equal(read_back(), [-ROWS[1], ROWS[4], -ROWS[0], ROWS[0]])
    with pytest.raises(IndexRangeError, match="there are 4 rows"):
        filled.getitem("x", 4)
    assert filled.verify().ok


def test_append_does_not_restore_dropped_rows(filled):
    filled.drop("x", slice(None))
    assert filled.load("x").shape == (0, 2)
    filled.append({"x": ROWS[:2]})
    assert np.array_equal(read_back(), ROWS[:2])
    filled.drop("x", [0, 1])
    filled.update("x")
    assert read_back().shape == (0, 2)
    filled.append({"x": ROWS})
    assert np.array_equal(read_back(), ROWS)


@pytest.mark.parametrize(
    ("index", "is_shared"),
    [
        ([0, 1], True),
        ([5, 4], True),
        ([0, 5, 1], True),
        ([2], False),
        ([0, 2], False),
        (slice(1, 6), True),
    ],
    ids=repr,
)
def test_contiguous_live_rows_are_shared(filled, index, is_shared):
    filled.drop("x", index)
    left = np.delete(ROWS, index, 0)
    lazy = filled.load("x", lazy=True)
    assert (lazy.obstacle() is None) == is_shared
    assert np.shares_memory(np.asarray(lazy), np.asarray(lazy)) == is_shared
    assert np.array_equal(lazy, left)
    filled.drop("x", slice(None))
    assert np.array_equal(lazy, left)
    assert np.asarray(filled.load("x", lazy=True)).shape == (0, 2)
