"""Changes of a store: `replace`, `drop`, `update`, `clone` and `reset`."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import FIXED, LOWPREC, dtype_of, elements, values
from support.files import contents

from numpack import (
    IndexRangeError,
    InvalidIndexError,
    InvalidValueError,
    NotFoundError,
    NumPack,
    UnsupportedError,
    WrongTypeError,
)

ROWS = np.arange(1.0, 13.0).reshape(6, 2)
SHAPES = [(6,), (6, 2), (6, 2, 3), (6, 0)]
UNUSUAL = {
    "empty bytes": np.dtype("S0"),
    "empty void": np.dtype("V0"),
    "padded": np.dtype({"names": ["a", "b"], "formats": ["u1", "<i8"]}, align=True),
    "nested": np.dtype([("é", [("b", "<i4"), ("c", "<M8[us]", (2,))], (3,)), ("s", "S3")]),
    "empty field": np.dtype([("a", "S0"), ("b", "<i4")]),
}
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


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        yield opened


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


def data_files(store: NumPack) -> set[str]:
    return {each["data_file"] for each in store.get_metadata()["arrays"].values()}


def lines() -> int:
    return contents()["commits.log"].count(b'"time_us"')


# replace


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


@pytest.mark.parametrize("name", FIXED)
def test_replace_every_dtype(store, name):
    array = values(name)
    store.save({"x": array})
    swapped = array[[0, 1]].astype(array.dtype.newbyteorder(">"))
    store.replace({"x": swapped}, [3, 2])
    assert elements(read_back()) == elements(array[[0, 1, 1, 0]])


@pytest.mark.parametrize("name", ["uint8", *(LOWPREC if find_spec("ml_dtypes") else [])])
def test_replace_narrow_dtypes(store, name):
    array = np.array([1, 2, 3]).astype(dtype_of(name))
    store.save({"x": array})
    store.replace({"x": array[:1]}, -1)
    assert read_back().view("u1").tolist() == array[[0, 1, 0]].view("u1").tolist()


@pytest.mark.parametrize("name", UNUSUAL)
def test_replace_unusual_dtypes(store, name):
    dtype = UNUSUAL[name]
    memory = np.arange(1, 1 + max(1, 4 * dtype.itemsize), dtype="u1")
    array = np.ndarray((4,), dtype, memory)
    store.save({"x": array})
    store.replace({"x": array[::-1]}, slice(None))
    found = read_back()
    assert (found.dtype, found.shape) == (dtype, (4,))
    assert (found == array[::-1]).all()


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.astype(">f8"),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.array(a.tolist()).view(np.matrix),
        memoryview,
    ],
    ids=["fortran", "reversed", "swapped", "strided", "matrix", "buffer"],
)
def test_replace_accepts_any_layout(filled, layout):
    rows = layout(-ROWS[:3])
    filled.replace({"x": rows}, [4, 0, 2])
    assert np.array_equal(read_back()[[4, 0, 2]], -ROWS[:3])


class Foreign:
    """An array of a framework unknown to NumPy, which exports DLPack only."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def test_save_append_and_replace_accept_dlpack_producers(store):
    store.save({"x": Foreign(ROWS)})
    store.append({"x": Foreign(ROWS[:1])})
    store.replace({"x": Foreign(-ROWS[:2])}, [0, -1])
    expected = np.concatenate([ROWS, ROWS[:1]])
    expected[[0, -1]] = -ROWS[:2]
    assert np.array_equal(read_back(), expected)


@pytest.mark.parametrize("index", [2, -1, [2], np.array([5]), slice(3, 4), np.arange(6) == 1])
@pytest.mark.parametrize("shape", [(6,), (6, 2), (6, 2, 3)])
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


REFUSED = {
    "of pairs": (lambda s: s.replace([("x", ROWS)], 0), InvalidValueError, "be a dictionary"),
    "of None": (lambda s: s.replace(None, 0), InvalidValueError, "arrays must be a dictionary"),
    "of what is absent": (
        lambda s: s.replace({"x": ROWS, "nope": ROWS}, slice(None)),
        NotFoundError,
        "'nope'; the arrays are: 'x', 'number'",
    ),
    "of a 0-d array": (
        lambda s: s.replace({"number": np.array(1)}, 0),
        InvalidValueError,
        "0-d and has no rows",
    ),
    "by another dtype": (
        lambda s: s.replace({"x": ROWS.astype("f4")}, slice(None)),
        InvalidValueError,
        "float64.*float32.*astype",
    ),
    "by wider rows": (
        lambda s: s.replace({"x": np.zeros((1, 3))}, 0),
        InvalidValueError,
        r"\(2,\).*\(1, 3\)",
    ),
    "by a row without its axis for two": (
        lambda s: s.replace({"x": ROWS[0]}, [0, 1]),
        InvalidValueError,
        r"\(2,\)",
    ),
    "by a scalar": (lambda s: s.replace({"x": np.array(1.0)}, 0), InvalidValueError, "shape"),
    "by too few rows": (
        lambda s: s.replace({"x": ROWS[:2]}, [0, 1, 2]),
        InvalidValueError,
        "3 rows of 'x' are to be replaced, and 2 rows were passed",
    ),
    "by too many rows": (
        lambda s: s.replace({"x": ROWS}, [0, 1, 2]),
        InvalidValueError,
        "3 rows.*6 rows were passed",
    ),
    "by too many rows for one": (
        lambda s: s.replace({"x": ROWS}, 0),
        InvalidValueError,
        "1 rows.*6 rows were passed",
    ),
    "by rows for none": (lambda s: s.replace({"x": ROWS}, []), InvalidValueError, "0 rows"),
    "by a list": (lambda s: s.replace({"x": [[1.0, 2.0]]}, 0), WrongTypeError, "np.asarray"),
    "by objects": (
        lambda s: s.replace({"x": np.array([[1, "a"]], object)}, 0),
        UnsupportedError,
        "references",
    ),
    "by masked rows": (
        lambda s: s.replace({"x": np.ma.array(ROWS[:1], mask=[[True, False]])}, 0),
        UnsupportedError,
        "mask would be lost",
    ),
    "by wrong rows after right ones": (
        lambda s: s.replace({"x": ROWS[:1], "number": np.array(1)}, 0),
        InvalidValueError,
        "0-d",
    ),
    "drop of rows of what is absent": (
        lambda s: s.drop("nope", [0]),
        NotFoundError,
        "'nope'; the arrays are: 'x', 'number'",
    ),
    "drop of rows of one that is absent": (
        lambda s: s.drop(["x", "nope"], []),
        NotFoundError,
        "'nope'",
    ),
    "drop of rows of a 0-d array": (
        lambda s: s.drop(["x", "number"], [0]),
        InvalidValueError,
        "0-d",
    ),
    "update of what is absent": (lambda s: s.update("nope"), NotFoundError, "'nope'"),
    "clone of what is absent": (lambda s: s.clone("nope", "y"), NotFoundError, "'nope'"),
    "clone onto another": (
        lambda s: s.clone("x", "number"),
        InvalidValueError,
        "an array 'number' already",
    ),
    "clone onto itself": (lambda s: s.clone("x", "x"), InvalidValueError, "'x' already"),
    "clone without a name": (lambda s: s.clone("x", ""), InvalidValueError, "not be empty"),
    "clone to a number": (lambda s: s.clone("x", 5), WrongTypeError, "int"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_and_changes_nothing(filled, case):
    call, error, phrase = REFUSED[case]
    filled.replace({"x": ROWS[:1]}, 0)  # so that the journal exists already
    before = contents()
    with pytest.raises(error, match=phrase):
        call(filled)
    assert contents() == before
    assert np.array_equal(filled.load("x"), ROWS)


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


# drop of rows


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


@pytest.mark.parametrize("seed", range(3))
def test_many_random_changes_agree_with_a_model(store, seed):
    rng = np.random.default_rng(seed)
    model = np.arange(12_000)
    store.save({"x": model})
    with NumPack("s.npk") as other:
        for number in range(150):
            index = rng.integers(-len(model), len(model), rng.choice([1, 3, 100, 300]))
            if number % 10 == 9:
                start = int(rng.integers(0, len(model)))
                index = slice(start, start + 200, int(rng.choice([1, 3])))
            store.drop("x", index)
            model = np.delete(model, np.arange(len(model))[index])
            if number % 7 == 0:
                fresh = np.arange(300) + 100_000 * (number + 1)
                other.append({"x": fresh})
                model = np.concatenate([model, fresh])
            if number % 11 == 0:
                rows = rng.integers(-len(model), len(model), 50)
                other.replace({"x": -rows}, rows)
                model[rows] = -rows
            assert store.get_shape("x") == model.shape
            some = rng.integers(-len(model), len(model), 20)
            assert np.array_equal(store.getitem("x", some), model[some])
    assert np.array_equal(store.load("x"), model)
    assert np.array_equal(read_back(), model)
    stored = (Path("s.npk") / data_files(store).pop()).stat().st_size // 8
    assert stored - len(model) > 5000
    store.update("x")
    assert np.array_equal(read_back(), model)


@given(st.lists(st.lists(st.integers(0, 30), max_size=6) | st.integers(1, 5), max_size=12))
def test_drawn_drops_and_appends_agree_with_a_model(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("drops") / "s"
    model = np.arange(10)
    with NumPack(path) as store:
        store.save({"x": model})
        for step in steps:
            if isinstance(step, int):
                fresh = np.arange(step) + 1000 * len(model)
                store.append({"x": fresh})
                model = np.concatenate([model, fresh])
            elif len(model):
                rows = np.array(step, np.intp) % len(model)
                store.drop("x", rows)
                model = np.delete(model, rows)
            assert np.array_equal(store.load("x"), model)
            assert np.array_equal(store.load("x", lazy=True), model)
        with NumPack(path) as other:
            assert np.array_equal(other.load("x", verify=True), model)


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize("kind", [np.str_, Name])
@pytest.mark.parametrize("name", ["x", "é" * 500, '"\\\ud800\n', "n" * 5000])
def test_names_can_be_str_subclasses_of_any_length(store, name, kind):
    store.save({kind(name): np.arange(5)})
    store.append({kind(name): np.arange(2)})
    store.replace({kind(name): np.array([9])}, [0])
    store.drop(kind(name), [1, 2])
    assert store.load(kind(name)).tolist() == [9, 3, 4, 0, 1]
    with NumPack("s.npk") as other:
        assert other.get_member_list() == [name]
        assert other.load(name, verify=True).tolist() == [9, 3, 4, 0, 1]


def test_append_beyond_2_to_63_rows_is_refused(store):
    store.save({"x": np.empty((2**62, 0), "i1"), "y": np.zeros(1)})
    for rows in (
        {"x": np.empty((2**62, 0), "i1")},
        {"x": np.empty((2**62, 0), "i1"), "y": np.ones(1)},
    ):
        with pytest.raises(InvalidValueError, match="can be counted"):
            store.append(rows)
    assert store.get_shape("x") == (2**62, 0)
    assert store.load("y").tolist() == [0]
    store.append({"x": np.empty((2**62 - 1, 0), "i1")})
    assert store.get_shape("x") == (2**63 - 1, 0)


# update, clone and reset


def test_update_rewrites_the_live_rows(filled):
    before = contents()
    filled.update("x")
    assert contents() == before
    filled.drop("x", [1, 3])
    lazy, held = filled.load("x", lazy=True), data_files(filled)
    filled.update("x")
    assert not held <= data_files(filled)
    sizes = {(Path("s.npk") / file).stat().st_size for file in data_files(filled)}
    assert sizes == {4 * 16, 8}
    assert len(list(Path("s.npk/data").iterdir())) == 2
    left = np.delete(ROWS, [1, 3], 0)
    assert np.array_equal(lazy, left)
    assert np.array_equal(read_back(), left)
    assert filled.load("x", lazy=True).obstacle() is None
    assert filled.get_member_list() == ["x", "number"]


@pytest.mark.parametrize("dropped", [[], [0], [1, 3], slice(None)], ids=repr)
def test_clone_copies_the_live_rows_and_is_independent(filled, dropped):
    filled.drop("x", dropped)
    left = np.delete(ROWS, dropped, 0)
    filled.clone("x", "y")
    filled.append({"y": ROWS[:1]})
    filled.replace({"y": -ROWS[:1]}, -1)
    filled.drop("x")
    assert np.array_equal(read_back("y"), np.concatenate([left, -ROWS[:1]]))
    assert filled.get_member_list() == ["number", "y"]


@pytest.mark.parametrize("shape", [(), (0, 3), (5, 0)])
@pytest.mark.parametrize("dtype", ["f8", "S0", "U3"])
def test_clone_of_0d_and_empty_arrays(store, shape, dtype):
    array = np.zeros(shape, dtype)
    store.save({"x": array})
    store.clone("x", "y")
    found = read_back("y")
    assert (found.shape, found.dtype) == (array.shape, array.dtype)


def test_reset_drops_everything_in_one_commit_and_keeps_mappings(filled):
    lazy, before = filled.load("x", lazy=True), lines()
    filled.reset()
    assert lines() == before + 1
    assert filled.get_member_list() == []
    assert not list(Path("s.npk/data").iterdir())
    assert np.array_equal(lazy, ROWS)
    filled.reset()
    assert lines() == before + 1
    filled.save({"y": ROWS})
    assert np.array_equal(read_back("y"), ROWS)


# Metadata after each change

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
            shape,
            "float64",
            nbytes,
        )
        assert found["last_modified"] == handle.get_modify_time("x")
        changed = range(start, time.time_ns() // 1000 + 1)
        assert handle.get_modify_time("x") in ([saved] if step == "clone" else changed)
        assert handle.get_modify_time("number") <= start
    handle.close()
