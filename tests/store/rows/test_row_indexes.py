"""Row indexes of every kind, for reading, replacing and deleting rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.files import contents
from support.ids import stable_repr

from numpack import (
    IndexRangeError,
    InvalidIndexError,
    NumPack,
)

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


INDEXES = {
    "first": 0,
    "last": -1,
    "numpy int": np.int16(4),
    "unsigned": np.uint8(2),
    "list": [3, 0, 3],
    "negative list": [-1, -6],
    "tuple": (1, 2),
    "no list": [],
    "no tuple": (),
    "array": np.array([5, 0, -1]),
    "small ints": np.array([1, -1], "i1"),
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
}


@pytest.mark.parametrize("case", INDEXES)
@pytest.mark.parametrize("shape", [(6,), (6, 2), (6, 0), (6, 2, 3)])
def test_getitem_agrees_with_numpy(store, shape, case):
    array = np.arange(np.prod(shape)).reshape(shape)
    store.save({"x": array})
    index = INDEXES[case]
    selected = store.getitem("x", index)
    if isinstance(index, int | np.integer):
        index = [index]
    if not isinstance(index, slice):
        index = np.asarray(index) if np.size(index) else np.zeros(0, np.intp)
    assert selected.shape == array[index].shape
    assert np.array_equal(selected, array[index])
    assert selected.dtype == array.dtype
    assert selected.flags.writeable
    selected[...] = -1
    assert np.array_equal(store.load("x"), array)


@pytest.mark.parametrize(
    "index",
    [6, -7, [0, 6], (-7,), np.array([6]), np.array([2**63], "u8"), np.array([100], "i1")],
)
def test_row_out_of_range_is_an_index_error(filled, index):
    with pytest.raises(IndexRangeError, match="out of range: there are 6 rows") as raised:
        filled.getitem("x", index)
    assert isinstance(raised.value, IndexError)


@pytest.mark.parametrize("index", [2**70, -(2**70), [0, 2**70]])
def test_row_beyond_64_bits_is_an_index_error(filled, index):
    with pytest.raises(IndexRangeError, match="out of range"):
        filled.getitem("x", index)


@pytest.mark.parametrize("index", [[True], np.ones(5, bool), np.ones(7, bool)])
def test_mask_of_wrong_length_is_an_index_error(filled, index):
    with pytest.raises(IndexRangeError, match="does not fit 6 rows"):
        filled.getitem("x", index)


@pytest.mark.parametrize(
    "index",
    [
        None,
        ...,
        "0",
        1.0,
        [0.0],
        ["x"],
        {0},
        True,
        np.bool_(True),
        [[0, 1]],
        [[0], [1, 2]],
        np.zeros((0, 2), int),
        np.zeros(6),
        [None],
        slice("a", None),
        slice(0, 3, 0),
    ],
    ids=repr,
)
def test_invalid_index_is_refused(filled, index):
    phrase = "The indexes must be int or list or numpy.ndarray or slice"
    with pytest.raises(InvalidIndexError, match=phrase) as raised:
        filled.getitem("x", index)
    assert isinstance(raised.value, TypeError)
    assert isinstance(raised.value, ValueError)


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


ROWS = np.arange(1.0, 13.0).reshape(6, 2)


SHAPES = [(6,), (6, 2), (6, 2, 3), (6, 0)]


INDEXES = {
    "first": 0,
    "last": -1,
    "numpy int": np.int16(4),
    "unsigned": np.uint8(2),
    "list": [3, 0],
    "twice": [3, 0, 3, 3, 0],
    "twice by sign": [5, -1, 0, -6],
    "tuple": (1, 2),
    "none": [],
    "array": np.array([5, 0, -3]),
    "big-endian array": np.array([1, 2], ">i4"),
    "unsigned array": np.array([5], "u8"),
    "strided array": np.arange(6)[::-2],
    "mask": np.array([True, False, False, True, True, False]),
    "list of bools": [True, False, True, False, False, False],
    "mask of none": np.zeros(6, bool),
    "mask of all": np.ones(6, bool),
    "slice": slice(1, 4),
    "all": slice(None),
    "reversed": slice(None, None, -1),
    "stepped": slice(-1, 0, -2),
    "far slice": slice(-100, 100, 3),
    "empty slice": slice(4, 2),
}


OUT_OF_RANGE = [6, -7, [0, 6], (-7,), np.array([2**63], "u8"), 2**70, np.ones(5, bool), [True]]


NO_INDEXES = [..., "0", 1.0, [0.5], {0}, True, [[0, 1]], [[0], [1, 2]], slice("a", None)]


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


@pytest.mark.parametrize("case", INDEXES)
@pytest.mark.parametrize("shape", SHAPES)
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


CALLS = {
    "replace": lambda s, index: s.replace({"x": ROWS}, index),
    "drop": lambda s, index: s.drop("x", index),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("index", OUT_OF_RANGE, ids=repr)
def test_row_out_of_range_is_an_index_error(filled, call, index):
    before = contents()
    with pytest.raises(IndexRangeError):
        CALLS[call](filled, index)
    assert contents() == before


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("index", NO_INDEXES, ids=repr)
def test_invalid_index_is_refused_and_changes_nothing(filled, call, index):
    before = contents()
    phrase = "The indexes must be int or list or numpy.ndarray or slice"
    with pytest.raises(InvalidIndexError, match=phrase):
        CALLS[call](filled, index)
    assert contents() == before


@pytest.mark.parametrize("case", INDEXES)
@pytest.mark.parametrize("shape", SHAPES)
def test_drop_agrees_with_numpy_delete(store, shape, case):
    array, index = numbered(shape), selector(INDEXES[case])
    store.save({"x": array, "y": array})
    store.drop("x", INDEXES[case])
    left = np.delete(array, np.arange(6)[index], 0)
    with NumPack("s.npk", mode="r") as other:
        assert other.get_shape("x") == left.shape
        assert other.get_metadata()["arrays"]["x"]["shape"] == left.shape
        assert np.array_equal(other.load("x"), left)
        assert np.array_equal(np.asarray(other.load("x", lazy=True)), left)
        assert np.array_equal(other.getitem("x", slice(None, None, -1)), left[::-1])
        batches = list(other.stream_load("x", 2))
        assert np.array_equal(np.concatenate([left[:0], *batches]), left)
    assert np.array_equal(store.load("y"), array)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "y": ROWS})
        yield opened


class Indexable:
    def __index__(self) -> int:
        return 2


ROW_INDEXES = [range(4), range(5, 0, -2), range(0), range(3, 4), np.int8(-1), Indexable()]


ROW_INDEXES += [np.array(2), np.array([1, 1], "u1").view(np.ma.MaskedArray).data]


@pytest.mark.parametrize("index", ROW_INDEXES, ids=stable_repr)
def test_row_indexes_of_any_integer_kind_are_accepted(store, index):
    numbers = np.atleast_1d(
        np.asarray(index.__index__() if isinstance(index, Indexable) else index)
    )
    numbers = numbers.astype(int)
    assert np.array_equal(store.getitem("x", index), ROWS[numbers])
    if isinstance(index, range):
        assert np.array_equal(store.load("x", lazy=True)[index], ROWS[numbers])
    store.replace({"x": -ROWS[: len(numbers)]}, index)
    assert np.array_equal(store["x"][numbers[-1:]], -ROWS[: len(numbers)][-1:])
    store.drop("x", index)
    assert len(store["x"]) == 6 - len(set(numbers.tolist()))


REFUSED = [None, 1.5, True, "1", b"\x01", bytearray(b"\x01"), [1.0], ["a"], [None], [[0], [1]]]


REFUSED += [[True, 2], {1}, {1: 2}, iter([1]), (n for n in [1]), np.ones((2, 2), int), object()]


REFUSED += [np.array([1.0]), np.ma.MaskedArray([1, 2], [True, False]), np.array(True)]


@pytest.mark.parametrize("index", REFUSED, ids=lambda index: type(index).__name__)
def test_invalid_row_index_is_refused(store, index):
    for call in (
        lambda: store.getitem("x", index),
        lambda: store.replace({"x": ROWS[:1]}, index),
        lambda: store.drop("x", index),
    ):
        if index is None and call.__code__.co_names[-1] == "drop":
            continue
        with pytest.raises(InvalidIndexError, match="must be int or list or numpy.ndarray"):
            call()
    assert np.array_equal(store["x"], ROWS)


def test_range_beyond_the_rows_is_out_of_range(store):
    for index in (range(10**12), range(5, -10, -1), range(0, 2**70, 2**69)):
        with pytest.raises(IndexError, match="out of range"):
            store.getitem("x", index)
