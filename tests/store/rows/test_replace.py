"""Replacing rows."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from support.arrays import FIXED, LOWPREC, dtype_of, elements, values
from support.each import for_each
from support.files import contents

from numpack import NumPack

ROWS = np.arange(1.0, 13.0).reshape(6, 2)
UNUSUAL = {
    "empty bytes": np.dtype("S0"),
    "empty void": np.dtype("V0"),
    "padded": np.dtype({"names": ["a", "b"], "formats": ["u1", "<i8"]}, align=True),
    "nested": np.dtype([("é", [("b", "<i4"), ("c", "<M8[us]", (2,))], (3,)), ("s", "S3")]),
    "empty field": np.dtype([("a", "S0"), ("b", "<i4")]),
}


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


def selector(index: object) -> object:
    """Return the index for NumPy: a single row keeps its axis."""
    if isinstance(index, slice):
        return index
    index = np.atleast_1d(np.asarray(index))
    return index if index.size else np.zeros(0, np.intp)


def numbered(shape: tuple[int, ...], dtype: object = float) -> np.ndarray:
    return np.arange(1, 1 + np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


def lines() -> int:
    return contents()["commits.log"].count(b'"time_us"')


@for_each("name", FIXED)
def test_replace_every_dtype(store, name):
    array = values(name)
    store.save({"x": array})
    swapped = array[[0, 1]].astype(array.dtype.newbyteorder(">"))
    store.replace({"x": swapped}, [3, 2])
    assert elements(read_back()) == elements(array[[0, 1, 1, 0]])


@for_each("name", ["uint8", *(LOWPREC if find_spec("ml_dtypes") else [])])
def test_replace_narrow_dtypes(store, name):
    array = np.array([1, 2, 3]).astype(dtype_of(name))
    store.save({"x": array})
    store.replace({"x": array[:1]}, -1)
    assert read_back().view("u1").tolist() == array[[0, 1, 0]].view("u1").tolist()


@for_each("name", UNUSUAL)
def test_replace_unusual_dtypes(store, name):
    dtype = UNUSUAL[name]
    memory = np.arange(1, 1 + max(1, 4 * dtype.itemsize), dtype="u1")
    array = np.ndarray((4,), dtype, memory)
    store.save({"x": array})
    store.replace({"x": array[::-1]}, slice(None))
    found = read_back()
    assert (found.dtype, found.shape) == (dtype, (4,))
    assert (found == array[::-1]).all()


@for_each(
    "layout",
    [
        np.asfortranarray,
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.astype(">f8"),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.array(a.tolist()).view(np.matrix),
        memoryview,
    ],
)
def test_replace_accepts_any_layout(filled, layout):
    rows = layout(-ROWS[:3])
    filled.replace({"x": rows}, [4, 0, 2])
    assert np.array_equal(read_back()[[4, 0, 2]], -ROWS[:3])


@for_each("index", [2, -1, [2], np.array([5]), slice(3, 4), np.arange(6) == 1])
@for_each("shape", [(6,), (6, 2), (6, 2, 3)])
def test_replace_accepts_a_single_row_without_its_axis(store, shape, index):
    array = numbered(shape)
    store.save({"x": array})
    row = np.full(shape[1:], -5.0)
    store.replace({"x": row}, index)
    array[selector(index)] = row
    assert np.array_equal(read_back(), array)


def test_replace_accepts_a_numpy_scalar_as_a_row(store):
    store.save({"x": np.arange(3.0)})
    store.replace({"x": np.float64(7)}, 1)
    assert store.load("x").tolist() == [0, 7, 2]


def test_replace_of_several_arrays_is_one_commit(store):
    store.save({"x": ROWS, "y": numbered((6,), "i2"), "z": ROWS})
    before = lines()
    store.replace({"x": -ROWS[:2], "y": np.array([8, 9], "i2")}, [1, -1])
    assert lines() == before + 1
    assert np.array_equal(read_back()[[1, -1]], -ROWS[:2])
    assert read_back("y").tolist() == [1, 8, 3, 4, 5, 9]
    assert np.array_equal(read_back("z"), ROWS)


def test_replace_is_visible_in_lazy_arrays_and_their_views(filled):
    lazy = filled.load("x", lazy=True)
    view = lazy[2:]
    filled.replace({"x": -ROWS[3:4]}, 3)
    for found in (lazy[3], view[1], filled.load("x", lazy=True)[3], filled.load("x")[3]):
        assert np.array_equal(found, -ROWS[3])


@pytest.mark.parametrize("rows", [1, 3, 1000, 100_000])
def test_replace_many_rows_in_many_blocks(store, rows):
    rng = np.random.default_rng(rows)
    array = rng.random((150_001, 3))
    store.save({"x": array})
    for _ in range(3):
        index = rng.integers(-len(array), len(array), rows)
        fresh = rng.random((rows, 3))
        store.replace({"x": fresh}, index)
        array[index] = fresh
    assert np.array_equal(read_back(), array)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (5, 0)])
def test_replace_of_no_bytes_changes_nothing(store, shape):
    store.save({"x": np.zeros(shape)})
    before = contents()
    store.replace({"x": np.zeros(shape)}, slice(None))
    store.replace({"x": np.zeros((0, *shape[1:]))}, [])
    store.replace({}, [0])
    assert contents() == before
