"""`LazyArray`: its attributes and indexing, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each

from numpack import LazyArray, NumPack

ROWS = np.arange(1, 13).reshape(6, 2)
SHAPES = [(6, 2), (6,), (2, 3, 4), (1,), (), (0,), (0, 3), (3, 0)]


@pytest.fixture
def lazy(store):
    store.save({"x": ROWS})
    return store.load("x", lazy=True)


def mapped(store: NumPack, array: np.ndarray) -> LazyArray:
    """Save an array and return it mapped."""
    store.save({"mapped": array})
    return store.load("mapped", lazy=True)


@for_each("shape", SHAPES)
@for_each("dtype", ["f4", "S3", "M8[us]", "?"])
def test_attributes_agree_with_numpy(store, shape, dtype):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype("i8").astype(dtype)
    lazy = mapped(store, array)
    assert type(lazy) is LazyArray
    for name in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes"):
        assert getattr(lazy, name) == getattr(array, name)
    assert lazy.T.shape == array.T.shape
    assert np.array_equal(lazy.T, array.T)
    if shape:
        assert len(lazy) == len(array)
        assert [row.tolist() for row in lazy] == array.tolist()


def test_repr_shows_dtype_shape_and_size(store):
    assert repr(mapped(store, np.zeros((1000, 3), "f4"))) == (
        "LazyArray(float32, shape=(1000, 3), 12,000 bytes)"
    )


def test_0d_array_has_no_length_and_a_truth_value(store):
    lazy = mapped(store, np.array(5))
    with pytest.raises(TypeError, match="0-d LazyArray"):
        len(lazy)
    with pytest.raises(TypeError, match="0-d"):
        iter(lazy)
    assert lazy[()] == 5
    assert bool(lazy)
    assert not mapped(store, np.array([0]))


def test_truth_value_of_several_elements_is_ambiguous(lazy):
    with pytest.raises(ValueError, match="ambiguous"):
        bool(lazy)


def test_indexing_a_single_row_removes_its_axis(store, lazy):
    assert lazy[0].shape == (2,)
    assert store.getitem("x", 0).shape == (1, 2)


def test_fields_of_a_struct_are_views(store):
    struct = np.zeros(3, [("a", "i4"), ("b", "f8")])
    struct["a"] = [1, 2, 3]
    lazy = mapped(store, struct)
    assert lazy["a"].tolist() == [1, 2, 3]
    assert np.shares_memory(lazy["b"], np.asarray(lazy))


@for_each("shape", [(12,), (3, 4), (-1, 6), (2, -1, 3)])
def test_reshape_returns_a_view(lazy, shape):
    for found in (lazy.reshape(shape), lazy.reshape(*shape)):
        assert np.array_equal(found, ROWS.reshape(shape))
        assert np.shares_memory(found, np.asarray(lazy))


DROPPED = {
    "none": [],
    "first": [0],
    "last": [-1],
    "both ends": [0, 1, -1],
    "middle": [2],
    "several": [1, 3, 4],
    "first and middle": [0, 2],
    "all": slice(None),
}
DEEP = np.arange(1, 145).reshape(12, 4, 3)


def with_dropped_rows(
    store: NumPack, array: np.ndarray, hole: str
) -> tuple[LazyArray, np.ndarray]:
    """Return an array with dropped rows, as the store maps it and as NumPy computes it."""
    store.save({"holed": array})
    store.drop("holed", DROPPED[hole])
    return store.load("holed", lazy=True), np.delete(array, DROPPED[hole], 0)


@for_each("dtype", ["f4", "S3", "M8[us]", "?", "c16"])
@for_each("shape", [(6,), (6, 2), (6, 2, 3), (6, 0)])
@for_each("hole", DROPPED)
def test_attributes_with_dropped_rows_agree_with_numpy(store, hole, shape, dtype):
    lazy, left = with_dropped_rows(store, np.ones(shape, "i8").astype(dtype), hole)
    for name in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes"):
        assert getattr(lazy, name) == getattr(left, name)
    assert np.array_equal(lazy.T, left.T)
    assert len(lazy) == len(left)
    assert [row.tolist() for row in lazy] == left.tolist()
    assert np.array_equal(lazy.reshape(-1), left.reshape(-1))
    assert f"shape={left.shape}" in repr(lazy)
    for found in (lazy.T, lazy.reshape(-1), np.asarray(lazy)):
        assert not found.flags.writeable


def deep_keys(count: int) -> list[object]:
    """Return every form of index for an array of shape (count, 4, 3)."""
    rng = np.random.default_rng(count)
    return [
        0,
        -1,
        count - 1,
        np.uint8(1),
        np.array(2),
        slice(1, 4),
        slice(None, None, -1),
        slice(-100, 100, 3),
        slice(4, 2),
        ...,
        None,
        (),
        True,
        False,
        [0, 3, -1],
        [],
        [[0, 1], [2, 3]],
        (0, 1),
        (0, 1, 2),
        (0, ..., 1),
        (..., 0),
        (0, slice(None), [1, 0]),
        (0, None, [1, 0]),
        (0, [1, 0]),
        (0, [1, 0], slice(None)),
        (0, [1, 0], [2, 0]),
        (0, [[1], [0]], [2, 0]),
        (slice(1, 3), [1, 0]),
        (slice(1, 3), slice(None), [1, 0]),
        (slice(1, 3), 1, [1, 0]),
        (slice(1, 3), [1, 0], 1),
        (slice(None), None, 1),
        (None, 0, 1),
        (None, slice(2), np.newaxis, 0),
        ([0, 1], [1, 0]),
        ([0, 1], slice(None), [1, 0]),
        ([0, 1], ..., 2),
        ([0, 1], 1, [1, 0]),
        (np.array(0), slice(None), [1, 0]),
        (True, 0),
        (0, True),
        (0, np.array([True, False, True, False])),
        (slice(3), np.array([True, False, True, False])),
        (0, np.ones((4, 3), bool)),
        np.array([[0, 1], [2, -1]]),
        np.array([], int),
        np.array([2, 1], "u8"),
        np.array([2, 1], ">i2"),
        np.arange(count)[::-2],
        np.arange(count) % 2 == 0,
        np.zeros(count, bool),
        [True] * count,
        rng.random((count, 4)) > 0.5,
        rng.random((count, 4, 3)) > 0.5,
        (rng.random(count) > 0.5, 0),
        (rng.random(count) > 0.5, slice(None), [1]),
        (rng.random((count, 4)) > 0.5, 1),
    ]


@for_each("hole", [hole for hole in DROPPED if hole != "all"])
def test_indexing_with_dropped_rows_agrees_with_numpy(store, hole):
    lazy, left = with_dropped_rows(store, DEEP, hole)
    for key in deep_keys(len(left)):
        expected, found = left[key], lazy[key]
        assert type(found) is type(expected), key
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), key
        assert np.array_equal(found, expected), key


@for_each("dtype", ["f4", "U3", "i4,f8"])
@for_each("shape", [(9,), (9, 2), (9, 2, 3)])
def test_a_single_row_beside_dropped_ones_is_a_view_like_any_other(dtype, shape):
    array = np.arange(np.prod(shape)).reshape(shape).astype("i4").astype(dtype)
    with NumPack("s.npk", mode="w") as store:
        store.save({"x": array})
        before = store.load("x", lazy=True)
        store.drop("x", [2, 5])
        lazy = store.load("x", lazy=True)
    live = np.delete(array, [2, 5], axis=0)
    for row in (*range(-7, 7), np.int64(3), (3,), (4, Ellipsis), (np.uint8(1), None)):
        found, usual = lazy[row], before[row]
        assert type(found) is type(usual)
        assert np.array_equal(found, live[row])
        if isinstance(found, np.ndarray):
            assert found.flags.writeable == usual.flags.writeable is False
            assert found.strides == usual.strides
    for row in (7, -8, np.int64(7), (7,), 2**70):
        with pytest.raises(IndexError):
            lazy[row]


@for_each(
    "key",
    [12, -13, (0, 4), (0, 0, 0, 0), [0, 12], "a", 1.0, [0.5], ([0, 1], [0, 1, 2])]
    + [np.ones(5, bool), np.ones((12, 3), bool), np.array([2**63], "u8"), (0, "a"), (..., ...)],
)
@for_each("hole", ["none", "several"])
def test_invalid_index_fails_as_in_numpy(store, hole, key):
    lazy, left = with_dropped_rows(store, DEEP, hole)
    with pytest.raises(IndexError):
        left[key]
    with pytest.raises(IndexError):
        lazy[key]


@for_each("hole", DROPPED)
@for_each("key", [slice(None), slice(1, -1), slice(None, None, -1), [0, 0], ...])
def test_indexing_structs_with_dropped_rows(store, hole, key):
    struct = np.zeros(6, [("a", "i4"), ("b", "f8", (2,))])
    struct["a"] = np.arange(6)
    lazy, left = with_dropped_rows(store, struct, hole)
    assert np.array_equal(lazy["a"], left["a"])
    assert np.array_equal(lazy[["b", "a"]], left[["b", "a"]])
    if len(left):
        assert (lazy[key] == left[key]).all()
        assert lazy[0]["a"] == left[0]["a"]
        assert lazy[0, ...].shape == ()


COLUMN_KEYS = [
    (slice(None), 0),
    (slice(None), None, 2),
    (..., 1),
    (..., slice(1, 3)),
    (slice(2, 40, 3), slice(None, None, -1)),
    (slice(None), [0, 2]),
    (slice(5, 50), np.array([[0, 2], [1, 1]])),
    (slice(None), np.array([True, False, True, True])),
    (slice(None, None, -1), ..., 0),
    ([1, 5, -1], 2),
    ([1, 5, -1], slice(1, 3)),
    ([1, 5, -1], [0, 1, 2]),
    (np.arange(90) % 7 == 1, 1),
    (slice(3, 3), 1),
    (3, 1),
    (np.int8(3), slice(None)),
    slice(None, None, -1),
    slice(80, 10),
    (),
    None,
    (slice(None), slice(None), None),
]


@for_each("shape", [(100, 4), (100, 4, 3)])
def test_indexing_columns_with_dropped_rows_agrees_with_numpy(shape):
    array = np.arange(np.prod(shape), dtype="i4").reshape(shape)
    dropped_rows = [0, 3, 4, 50, 51, 52, 98, 99, 7, 11]
    with NumPack("s.npk") as store:
        store.save({"x": array})
        store.drop("x", dropped_rows)
        lazy, left = store.load("x", lazy=True), np.delete(array, dropped_rows, axis=0)
        for key in COLUMN_KEYS:
            found, expected = lazy[key], left[key]
            assert found.shape == expected.shape, key
            assert found.dtype == expected.dtype
            assert np.array_equal(found, expected), key
        for key in [(slice(None), 4), (slice(None), 0, 0, 0, 0), ([90], 0), (..., 0, ...)]:
            with pytest.raises(IndexError):
                lazy[key]


def test_conversion_of_a_single_element_to_a_number(store):
    store.save({"zero": np.array(2.5), "one": np.array([7]), "many": np.arange(3)})
    assert float(store.load("zero", lazy=True)) == 2.5
    assert int(store.load("one", lazy=True)[0]) == 7
    assert int(store.load("zero", lazy=True)) == 2
    with pytest.raises(TypeError):
        int(store.load("many", lazy=True))
