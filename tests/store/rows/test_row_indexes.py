"""Row indexes of every kind, for reading, replacing and deleting rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.each import for_each
from support.files import contents

from numpack import IndexRangeError, InvalidIndexError, NumPack

ROWS = np.arange(1.0, 13.0).reshape(6, 2)
SHAPES = [(6,), (6, 2), (6, 2, 3), (6, 0)]


class Indexable:
    def __index__(self) -> int:
        return 2


INDEXES = {
    "first": 0,
    "last": -1,
    "numpy int": np.int16(4),
    "negative numpy int": np.int8(-1),
    "unsigned": np.uint8(2),
    "0-d array": np.array(2),
    "object with __index__": Indexable(),
    "list": [3, 0],
    "list with duplicates": [3, 0, 3, 3, 0],
    "duplicates by sign": [5, -1, 0, -6],
    "negative list": [-1, -6],
    "tuple": (1, 2),
    "no list": [],
    "no tuple": (),
    "array": np.array([5, 0, -3]),
    "array with duplicates": np.array([5, 0, -1]),
    "small ints": np.array([1, -1], "i1"),
    "small unsigned ints with duplicates": np.array([1, 1], "u1"),
    "unsigned array": np.array([5], "u8"),
    "big-endian array": np.array([1, 2], ">i4"),
    "strided array": np.arange(6)[::-2],
    "empty array": np.zeros(0, np.intp),
    "mask": np.array([True, False, False, True, True, False]),
    "list of bools": [True, False, True, False, False, False],
    "mask of none": np.zeros(6, bool),
    "mask of all": np.ones(6, bool),
    "slice": slice(1, 4),
    "open slice": slice(None),
    "reversed": slice(None, None, -1),
    "stepped": slice(-1, 0, -2),
    "far slice": slice(-100, 100, 3),
    "empty slice": slice(4, 2),
    "numpy slice": slice(np.int64(1), np.int8(4)),
    "range": range(4),
    "reversed range": range(5, 0, -2),
    "range of one": range(3, 4),
    "empty range": range(0),
}
OUT_OF_RANGE = [6, -7, [0, 6], (-7,), np.array([6]), np.array([2**63], "u8")]
OUT_OF_RANGE += [np.array([100], "i1"), 2**70, -(2**70), [0, 2**70]]
OUT_OF_RANGE += [range(10**12), range(5, -10, -1), range(0, 2**70, 2**69)]
WRONG_MASKS = [[True], np.ones(5, bool), np.ones(7, bool)]
INVALID = [..., "0", "1", 1.0, 1.5, True, b"\x01", bytearray(b"\x01"), {0}, {1: 2}, object()]
INVALID += [[0.0], [0.5], [1.0], ["x"], [None], [[0, 1]], [[0], [1]], [[0], [1, 2]], [True, 2]]
INVALID += [iter([1]), (n for n in [1]), np.bool_(True), np.array(True), np.array([1.0])]
INVALID += [np.zeros(6), np.zeros((0, 2), int), np.ones((2, 2), int)]
INVALID += [np.ma.MaskedArray([1, 2], [True, False]), slice("a", None), slice(0, 3, 0)]


def selector(index: object) -> object:
    """Return the index for NumPy: a single row keeps its axis."""
    if isinstance(index, slice):
        return index
    index = np.atleast_1d(np.asarray(2 if isinstance(index, Indexable) else index))
    return index if index.size else np.zeros(0, np.intp)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape)


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


@for_each("case", INDEXES)
@for_each("shape", SHAPES)
def test_getitem_agrees_with_numpy(store, shape, case):
    array = numbered(shape)
    store.save({"x": array})
    expected = array[selector(INDEXES[case])]
    selected = store.getitem("x", INDEXES[case])
    assert selected.shape == expected.shape
    assert np.array_equal(selected, expected)
    assert selected.dtype == array.dtype
    assert selected.flags.writeable
    selected[...] = -1
    assert np.array_equal(store.load("x"), array)
    if isinstance(INDEXES[case], range):
        assert np.array_equal(store.load("x", lazy=True)[INDEXES[case]], expected)


@for_each("case", INDEXES)
@for_each("dtype", ["f8", [("a", "i2"), ("b", "f4")]])
@for_each("drops", [[[2, 5]], [[0, 1], [3]], [range(1, 8, 2), [0]]])
def test_getitem_of_an_array_with_deleted_rows_agrees_with_numpy(store, drops, dtype, case):
    array = numbered((6 + sum(map(len, drops)), 2)).astype(dtype)
    store.save({"x": array})
    for rows in drops:
        store.drop("x", list(rows))
        array = np.delete(array, list(rows), axis=0)
    selected = store.getitem("x", INDEXES[case])
    assert np.array_equal(selected, array[selector(INDEXES[case])])
    assert selected.dtype == array.dtype
    assert selected.flags.writeable
    for wrong in (6, -7):
        with pytest.raises(IndexRangeError, match="there are 6 rows"):
            store.getitem("x", np.array([0, wrong]))


@for_each("case", INDEXES)
@for_each("shape", SHAPES)
def test_replace_agrees_with_numpy_assignment(store, shape, case):
    array, index = numbered(shape), selector(INDEXES[case])
    store.save({"x": array, "y": array})
    rows = -numbered(array[index].shape)
    store.replace({"x": rows}, INDEXES[case])
    array[index] = rows
    for found in (store.load("x"), read_back()):
        assert np.array_equal(found, array)
    assert np.array_equal(read_back("y"), numbered(shape))
    assert store.verify().ok


@for_each("case", INDEXES)
@for_each("shape", SHAPES)
def test_drop_agrees_with_numpy_delete(store, shape, case):
    array, index = numbered(shape), selector(INDEXES[case])
    store.save({"x": array, "y": array})
    store.drop("x", INDEXES[case])
    left = np.delete(array, np.arange(6)[index], 0)
    with NumPack("s.npk", mode="r") as other:
        assert other.get_shape("x") == left.shape
        assert other.get_metadata()["arrays"]["x"]["shape"] == list(left.shape)
        assert np.array_equal(other.load("x"), left)
        assert np.array_equal(np.asarray(other.load("x", lazy=True)), left)
        assert np.array_equal(other.getitem("x", slice(None, None, -1)), left[::-1])
        batches = list(other.stream_load("x", 2))
        assert np.array_equal(np.concatenate([left[:0], *batches]), left)
    assert np.array_equal(store.load("y"), array)


CALLS = {
    "getitem": lambda s, index: s.getitem("x", index),
    "replace": lambda s, index: s.replace({"x": ROWS}, index),
    "replace of one": lambda s, index: s.replace({"x": ROWS[:1]}, index),
    "drop": lambda s, index: s.drop("x", index),
}


@for_each("call", CALLS)
@for_each("index", OUT_OF_RANGE)
def test_row_out_of_range_is_an_index_error(filled, call, index):
    before = contents()
    with pytest.raises(IndexRangeError, match="out of range") as raised:
        CALLS[call](filled, index)
    assert isinstance(raised.value, IndexError)
    assert contents() == before


@for_each("call", CALLS)
@for_each("index", WRONG_MASKS)
def test_mask_of_wrong_length_is_an_index_error(filled, call, index):
    before = contents()
    with pytest.raises(IndexRangeError, match="does not fit 6 rows"):
        CALLS[call](filled, index)
    assert contents() == before


@for_each("call", CALLS)
@for_each("index", [None, *INVALID])
def test_invalid_index_is_refused_and_changes_nothing(filled, call, index):
    if index is None and call == "drop":  # drops the array
        return
    before = contents()
    phrase = "The indexes must be int or list or numpy.ndarray or slice"
    with pytest.raises(InvalidIndexError, match=phrase) as raised:
        CALLS[call](filled, index)
    assert isinstance(raised.value, TypeError)
    assert isinstance(raised.value, ValueError)
    assert contents() == before


@given(
    st.slices(20)
    | st.lists(st.integers(-20, 19))
    | st.lists(st.booleans(), min_size=20, max_size=20)
)
def test_getitem_of_drawn_rows_agrees_with_numpy(tmp_path_factory, index):
    path = tmp_path_factory.getbasetemp() / "twenty"
    array = np.arange(40).reshape(20, 2)
    with NumPack(path) as store:
        if not store.has_array("x"):
            store.save({"x": array})
        expected = array[index] if isinstance(index, slice) or index else array[:0]
        assert np.array_equal(store.getitem("x", index), expected)
