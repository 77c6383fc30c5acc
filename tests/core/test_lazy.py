"""`LazyArray`: behaves as a NumPy array over an immutable mapping."""

from __future__ import annotations

import copy
import ctypes
import gc
import operator
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from support.files import contents
from support.memory import address, file_position, shares_pages

from numpack import (
    CopyWarning,
    LazyArray,
    NumPack,
    UnsupportedError,
    ZeroCopyArray,
    ZeroCopyError,
    explain,
    share,
)
from numpack.io import from_dlpack, to_dlpack

ROWS = np.arange(1, 13).reshape(6, 2)
SHAPES = [(6, 2), (6,), (2, 3, 4), (1,), (), (0,), (0, 3), (3, 0)]


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        yield opened


@pytest.fixture
def lazy(store):
    store.save({"x": ROWS})
    return store.load("x", lazy=True)


def mapped(store: NumPack, array: np.ndarray) -> LazyArray:
    """Save an array and return it mapped."""
    store.save({"mapped": array})
    return store.load("mapped", lazy=True)


# Attributes and indexing


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["f4", "S3", "M8[us]", "?"])
def test_attributes_agree_with_numpy(store, shape, dtype):
    array = np.ones(shape, "i8").astype(dtype)
    lazy = mapped(store, array)
    assert type(lazy) is LazyArray
    for name in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes"):
        assert getattr(lazy, name) == getattr(array, name)
    assert lazy.T.shape == array.T.shape
    assert np.array_equal(lazy.T, array.T)


def test_repr_shows_dtype_shape_and_size(store):
    assert repr(mapped(store, np.zeros((1000, 3), "f4"))) == (
        "LazyArray(float32, shape=(1000, 3), 12,000 bytes)"
    )


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape])
def test_length_and_iteration_are_over_rows(store, shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    lazy = mapped(store, array)
    assert len(lazy) == len(array)
    rows = list(lazy)
    assert len(rows) == len(array)
    assert all(np.array_equal(row, other) for row, other in zip(rows, array, strict=True))


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


KEYS = [
    0,
    -1,
    (2, 1),
    (..., 0),
    slice(1, 4),
    slice(None, None, -2),
    (slice(None), 1),
    None,
    ...,
    (),
    [0, 3, -1],
    ([0, 1], [1, 0]),
    np.array([[0, 1], [2, 3]]),
    np.arange(6) % 2 == 0,
    ROWS > 5,
    np.int8(3),
    (None, slice(2), np.newaxis, 0),
]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_indexing_agrees_with_numpy(lazy, key):
    expected, found = ROWS[key], lazy[key]
    assert type(found) is type(expected)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_indexing_a_single_row_removes_its_axis(store, lazy):
    assert lazy[0].shape == (2,)
    assert store.getitem("x", 0).shape == (1, 2)


@pytest.mark.parametrize(
    ("key", "error"), [(6, IndexError), ("a", IndexError), (1.0, IndexError)]
)
def test_invalid_index_is_an_index_error(lazy, key, error):
    with pytest.raises(error):
        lazy[key]


def test_fields_of_a_struct_are_views(store):
    struct = np.zeros(3, [("a", "i4"), ("b", "f8")])
    struct["a"] = [1, 2, 3]
    lazy = mapped(store, struct)
    assert lazy["a"].tolist() == [1, 2, 3]
    assert np.shares_memory(lazy["b"], np.asarray(lazy))


@pytest.mark.parametrize("shape", [(12,), (3, 4), (-1, 6), (2, -1, 3)])
def test_reshape_returns_a_view(lazy, shape):
    for found in (lazy.reshape(shape), lazy.reshape(*shape)):
        assert np.array_equal(found, ROWS.reshape(shape))
        assert np.shares_memory(found, np.asarray(lazy))


# Operators and functions

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.and_,
    operator.or_,
    operator.xor,
    operator.lshift,
    operator.rshift,
    operator.lt,
    operator.le,
    operator.eq,
    operator.ne,
    operator.gt,
    operator.ge,
]


@pytest.mark.parametrize("operation", BINARY)
def test_binary_operators_return_new_arrays(store, lazy, operation):
    other = np.array([[1, 3]])
    second = mapped(store, other)
    for left, right in [(lazy, other), (ROWS, second), (lazy, second), (lazy, 2), (3, lazy)]:
        found = operation(left, right)
        expected = operation(
            ROWS if left is lazy else left,
            {id(lazy): ROWS, id(second): other}.get(id(right), right),
        )
        assert type(found) is np.ndarray
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
        assert found.flags.writeable
        assert not np.shares_memory(found, np.asarray(lazy))


@pytest.mark.parametrize(
    "operation", [operator.neg, operator.pos, operator.invert, operator.abs], ids=str
)
def test_unary_operators_return_new_arrays(lazy, operation):
    found = operation(lazy)
    assert type(found) is np.ndarray
    assert np.array_equal(found, operation(ROWS))


def test_matmul_and_divmod(lazy):
    assert np.array_equal(lazy @ ROWS.T, ROWS @ ROWS.T)
    assert np.array_equal(ROWS.T @ lazy, ROWS.T @ ROWS)
    for found, expected in zip(divmod(lazy, 5), divmod(ROWS, 5), strict=True):
        assert np.array_equal(found, expected)
    for found, expected in zip(divmod(50, lazy), divmod(50, ROWS), strict=True):
        assert np.array_equal(found, expected)


IN_PLACE = [
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.ifloordiv,
    operator.imod,
    operator.ipow,
    operator.iand,
    operator.ior,
    operator.ixor,
    operator.ilshift,
    operator.irshift,
]


@pytest.mark.parametrize("operation", IN_PLACE)
def test_in_place_operators_do_not_change_the_store(store, lazy, operation):
    before = contents()
    found = operation(lazy, 3)
    assert type(found) is np.ndarray
    assert np.array_equal(found, operation(ROWS.copy(), 3))
    assert np.array_equal(lazy, ROWS)
    assert np.array_equal(store.load("x"), ROWS)
    assert contents() == before


def test_ndarray_in_place_operator_with_a_lazy_operand(lazy):
    array = ROWS.copy()
    kept = array
    array += lazy
    assert kept is array
    assert np.array_equal(array, 2 * ROWS)


NUMPY_FUNCTIONS = {
    "sum": lambda x: np.sum(x, axis=0),
    "mean": lambda x: np.mean(x),
    "sqrt": np.sqrt,
    "concatenate": lambda x: np.concatenate([x, x]),
    "reduce": lambda x: np.add.reduce(x),
    "accumulate": lambda x: np.multiply.accumulate(x),
    "outer": lambda x: np.subtract.outer(x, x),
    "where": lambda x: np.add(x, 1, where=np.asarray(x) > 5, out=np.zeros((6, 2), int)),
    "argsort": lambda x: np.argsort(x, axis=0),
    "isin": lambda x: np.isin(x, [3, 4]),
    "stack": lambda x: np.stack([x, x]),
    "max": np.max,
    "unique": np.unique,
    "array2string": np.array2string,
}


@pytest.mark.parametrize("name", NUMPY_FUNCTIONS)
def test_numpy_functions_accept_lazy_arrays(lazy, name):
    found, expected = NUMPY_FUNCTIONS[name](lazy), NUMPY_FUNCTIONS[name](ROWS)
    assert type(found) is type(expected)
    assert np.array_equal(found, expected)


def test_out_must_not_be_a_lazy_array(lazy):
    out = np.zeros((6, 2), int)
    assert np.add(lazy, 1, out=out) is out
    assert np.array_equal(out, ROWS + 1)
    with pytest.raises(UnsupportedError, match="cannot be written; pass an ndarray as out="):
        np.add(1, lazy, out=lazy)
    with pytest.raises(ValueError, match="read-only"):
        np.add.at(lazy, 0, 1)
    assert np.array_equal(lazy, ROWS)


def test_lazy_out_of_a_ufunc_with_two_outputs_is_refused(store):
    lazy = mapped(store, np.array([1.5, -2.25]))
    whole = np.zeros(2)
    try:
        np.modf(lazy, out=(lazy, whole))
    except UnsupportedError:
        return
    assert whole.tolist() == [1.0, -2.0]


def test_lazy_array_is_unhashable(lazy):
    with pytest.raises(TypeError, match="unhashable"):
        hash(lazy)


# Read-only


def test_views_cannot_be_made_writable(lazy):
    for view in (np.asarray(lazy), lazy[1:], lazy.T, lazy.reshape(-1), lazy[0], *lazy):
        assert not view.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0
        with pytest.raises(ValueError, match=r"cannot set WRITEABLE|cannot set writeable"):
            view.setflags(write=True)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_empty_views_are_read_only(store, shape):
    assert not np.asarray(mapped(store, np.zeros(shape))).flags.writeable


def test_item_assignment_is_refused(lazy):
    with pytest.raises(TypeError, match="item assignment"):
        lazy[0] = 1


# Conversion to ndarray


def test_asarray_returns_the_mapping(lazy):
    array = np.asarray(lazy)
    assert address(np.asarray(lazy)) == address(array)
    assert address(np.asarray(lazy, ROWS.dtype)) == address(array)
    assert address(np.array(lazy, copy=None)) == address(array)
    assert address(np.array(lazy, copy=False)) == address(array)
    inode = next(Path("s.npk/data").iterdir()).stat().st_ino
    assert file_position(address(array)) == (inode, 0)


def test_copy_is_independent(lazy):
    for fresh in (np.array(lazy), np.array(lazy, copy=True), np.array(lazy, ROWS.dtype)):
        assert fresh.flags.writeable
        fresh[...] = 0
    assert np.array_equal(lazy, ROWS)


def test_another_dtype_needs_a_copy(lazy):
    assert np.asarray(lazy, "f4").dtype == np.float32
    assert np.array_equal(np.asarray(lazy, "f4"), ROWS)
    with pytest.raises(ValueError, match="copy"):
        np.array(lazy, "f4", copy=False)


# Immutability and lifetime

CHANGES = {
    "save": lambda s: s.save({"x": -ROWS}),
    "save twice": lambda s: (s.save({"x": -ROWS}), s.save({"x": ROWS[:1]})),
    "save of another dtype": lambda s: s.save({"x": np.zeros(1000, "u1")}),
    "append": lambda s: s.append({"x": -ROWS}),
    "append of pages": lambda s: s.append({"x": np.zeros((5000, 2), int)}),
    "drop": lambda s: s.drop("x"),
    "drop and save": lambda s: (s.drop("x"), s.save({"x": -ROWS})),
    "drop_if_exists": lambda s: NumPack("s.npk", drop_if_exists=True).open(),
    "close": lambda s: s.close(),
}
SCRIPT = """
import numpy as np
from numpack import NumPack
ROWS = np.arange(1, 13).reshape(6, 2)
s = NumPack("s.npk"); s.open()
"""
REMOTE = {
    "save": 's.save({"x": -ROWS})',
    "append": 's.append({"x": -ROWS})',
    "drop": 's.drop("x")',
    "drop_if_exists": 'NumPack("s.npk", drop_if_exists=True).open()',
}


@pytest.mark.parametrize("handle", ["this", "another"])
@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_the_store_do_not_change_a_lazy_array(store, lazy, change, handle):
    view = np.asarray(lazy)
    if handle == "this":
        CHANGES[change](store)
    else:
        with NumPack("s.npk") as other:
            CHANGES[change](other)
    assert lazy.shape == (6, 2)
    assert np.array_equal(lazy, ROWS)
    assert np.array_equal(view, ROWS)
    assert np.array_equal(lazy + 1, ROWS + 1)


@pytest.mark.parametrize("change", REMOTE)
def test_changes_by_another_process_do_not_change_a_lazy_array(lazy, run_python, change):
    run_python(SCRIPT + REMOTE[change])
    assert lazy.shape == (6, 2)
    assert np.array_equal(lazy, ROWS)


def test_lazy_array_outlives_its_store(store, lazy, tmp_path):
    store.close()
    del store
    gc.collect()
    for file in Path("s.npk").rglob("*.*"):
        file.unlink()
    assert np.array_equal(lazy, ROWS)


def test_views_outlive_the_lazy_array(store, lazy):
    view = lazy[1:].T
    del lazy
    store.drop("x")
    gc.collect()
    assert np.array_equal(view, ROWS[1:].T)


def test_each_version_of_an_array_stays_readable(store):
    held = []
    for number in range(20):
        store.save({"x": np.full(100, number)})
        held.append(store.load("x", lazy=True))
        store.append({"x": np.full(100, -number)})
        held.append(store.load("x", lazy=True))
    for number in range(20):
        assert (held[2 * number] == np.full(100, number)).all()
        assert held[2 * number + 1].shape == (200,)
        assert (held[2 * number + 1][100:] == -number).all()


def test_mapping_ends_with_the_last_view(store, lazy):
    before = len(os.listdir("/dev/fd"))
    held = [store.load("x", lazy=True)[1:] for _ in range(10)]
    assert np.array_equal(held[-1], ROWS[1:])
    del held
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before


# Pickles and copies

MAP_AGAIN = """
import pickle, sys
import numpy as np
lazy = pickle.loads(bytes.fromhex(sys.argv[1]))
array = np.asarray(lazy)
print(type(lazy).__name__, lazy.shape, lazy.dtype, array.sum(), array.flags.writeable)
"""


@pytest.mark.parametrize("dtype", ["i8", "f4", "M8[ns]"])
def test_pickle_is_small_and_maps_the_same_file(store, dtype):
    array = np.arange(100_000).astype(dtype)
    lazy = mapped(store, array)
    pickled = pickle.dumps(lazy)
    assert len(pickled) < 500 + len(str(Path.cwd()))
    again = pickle.loads(pickled)
    assert type(again) is LazyArray
    assert np.array_equal(again, array)
    assert shares_pages(address(np.asarray(again)), address(np.asarray(lazy)))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("shape", SHAPES)
def test_pickle_any_shape_with_every_protocol(store, shape, protocol):
    array = np.zeros(shape, [("a", "i4"), ("b", "S2")])
    again = pickle.loads(pickle.dumps(mapped(store, array), protocol))
    assert (again.shape, again.dtype) == (array.shape, array.dtype)
    assert np.array_equal(again, array)


def test_unpickle_in_another_process(store, lazy, run_python):
    pickled = pickle.dumps(lazy).hex()
    expected = f"LazyArray (6, 2) int64 {ROWS.sum()} False\n"
    assert run_python(MAP_AGAIN, pickled) == expected
    store.append({"x": ROWS})
    store.close()
    assert run_python(MAP_AGAIN, pickled) == expected


def test_unpickle_in_another_working_directory(lazy, run_python):
    Path("elsewhere").mkdir()
    script = "import os; os.chdir('elsewhere')" + MAP_AGAIN
    assert run_python(script, pickle.dumps(lazy).hex()).startswith("LazyArray (6, 2)")


@pytest.mark.parametrize("change", ["save", "drop", "drop_if_exists"])
def test_pickle_of_a_removed_file_shows_the_original_rows(store, lazy, change):
    pickled = pickle.dumps(lazy)
    CHANGES[change](store)
    store.save({"x": -ROWS, "y": -ROWS})
    assert np.array_equal(pickle.loads(pickled), ROWS)  # this process still has the file mapped


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_copy_in_the_same_process_needs_no_file(store, lazy, duplicate):
    store.drop("x")
    assert np.array_equal(duplicate(lazy), ROWS)


# DLPack


def test_dlpack_export_shares_the_pages_of_the_file(lazy):
    assert lazy.__dlpack_device__() == (1, 0)
    exported = np.from_dlpack(lazy)
    assert np.array_equal(exported, ROWS)
    assert shares_pages(address(exported), address(np.asarray(lazy)))


@pytest.mark.parametrize("change", ["nothing", "append", "save", "drop", "close"])
def test_writes_by_a_dlpack_consumer_are_private(store, lazy, change):
    CHANGES.get(change, lambda s: None)(store)
    before = contents()
    exported, second = np.from_dlpack(lazy), np.from_dlpack(lazy)
    ctypes.memset(address(exported), 0xFF, exported.nbytes)
    assert (exported == -1).all()
    assert np.array_equal(lazy, ROWS)
    assert np.array_equal(second, ROWS)
    assert np.array_equal(np.from_dlpack(lazy), ROWS)
    assert contents() == before


def test_dlpack_export_outlives_lazy_array_and_store(store, lazy):
    exported = np.from_dlpack(lazy)
    store.drop("x")
    store.close()
    del lazy, store
    gc.collect()
    assert np.array_equal(exported, ROWS)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_dlpack_export_of_any_shape(store, shape):
    array = np.ones(shape, "f4")
    exported = np.from_dlpack(mapped(store, array))
    assert exported.shape == shape
    assert np.array_equal(exported, array)


class OldConsumer:
    """Requests a capsule as a consumer that knows only DLPack 0 does."""

    def __init__(self, lazy: LazyArray) -> None:
        self.lazy = lazy

    def __dlpack__(self, **options: object) -> object:
        return self.lazy.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.lazy.__dlpack_device__()


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_legacy_dlpack_export_of_any_shape(store, shape):
    array = np.ones(shape, "f4")
    exported = np.from_dlpack(OldConsumer(mapped(store, array)))
    assert exported.shape == shape
    assert np.array_equal(exported, array)


# Arrays with dropped rows

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
SHARED = ("none", "first", "last", "both ends", "all")
DEEP = np.arange(1, 145).reshape(12, 4, 3)


def with_dropped_rows(
    store: NumPack, array: np.ndarray, hole: str
) -> tuple[LazyArray, np.ndarray]:
    """Return an array with dropped rows, as the store maps it and as NumPy computes it."""
    store.save({"holed": array})
    store.drop("holed", DROPPED[hole])
    return store.load("holed", lazy=True), np.delete(array, DROPPED[hole], 0)


@pytest.mark.parametrize("dtype", ["f4", "S3", "M8[us]", "?", "c16"])
@pytest.mark.parametrize("shape", [(6,), (6, 2), (6, 2, 3), (6, 0)])
@pytest.mark.parametrize("hole", DROPPED)
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


@pytest.mark.parametrize("hole", [hole for hole in DROPPED if hole != "all"])
def test_indexing_with_dropped_rows_agrees_with_numpy(store, hole):
    lazy, left = with_dropped_rows(store, DEEP, hole)
    for key in deep_keys(len(left)):
        expected, found = left[key], lazy[key]
        assert type(found) is type(expected), key
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), key
        assert np.array_equal(found, expected), key


@pytest.mark.parametrize(
    "key",
    [12, -13, (0, 4), (0, 0, 0, 0), [0, 12], "a", 1.0, [0.5], ([0, 1], [0, 1, 2])]
    + [np.ones(5, bool), np.ones((12, 3), bool), np.array([2**63], "u8"), (0, "a"), (..., ...)],
    ids=repr,
)
@pytest.mark.parametrize("hole", ["none", "several"])
def test_invalid_index_fails_as_in_numpy(store, hole, key):
    lazy, left = with_dropped_rows(store, DEEP, hole)
    with pytest.raises(IndexError):
        left[key]
    with pytest.raises(IndexError):
        lazy[key]


@pytest.mark.parametrize("hole", DROPPED)
@pytest.mark.parametrize("key", [slice(None), slice(1, -1), slice(None, None, -1), [0, 0], ...])
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


@pytest.mark.parametrize("hole", DROPPED)
@pytest.mark.parametrize("operation", [*BINARY, operator.matmul])
def test_operators_with_dropped_rows_agree_with_numpy(store, hole, operation):
    lazy, left = with_dropped_rows(store, np.arange(1, 37).reshape(6, 6), hole)
    other = np.arange(1, 7)
    for found, expected in [
        (operation(lazy, other), operation(left, other)),
        (operation(lazy, lazy.T if operation is operator.matmul else lazy), None),
    ]:
        if expected is None:
            expected = operation(left, left.T if operation is operator.matmul else left)
        assert type(found) is np.ndarray
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("hole", ["none", "several"])
@pytest.mark.parametrize("operation", [*IN_PLACE, operator.itruediv, operator.imatmul])
def test_in_place_operators_with_dropped_rows_do_not_change_the_store(store, hole, operation):
    lazy, left = with_dropped_rows(store, np.arange(1.0, 37).reshape(6, 6).astype("i8"), hole)
    before = contents()
    other = np.eye(6) if operation is operator.imatmul else 3
    if operation in (operator.itruediv, operator.imatmul):
        expected = {operator.itruediv: left / 3, operator.imatmul: left @ np.eye(6)}[operation]
    else:
        expected = operation(left.copy(), 3)
    found = operation(lazy, other)
    assert np.array_equal(found, expected)
    assert np.array_equal(lazy, left)
    assert contents() == before


def test_comparison_of_structs(store):
    struct = np.zeros(3, [("a", "i4"), ("b", "f8")])
    struct["a"] = [1, 2, 3]
    lazy = mapped(store, struct)
    assert (lazy == struct).tolist() == (struct == lazy).tolist() == [True, True, True]
    assert (lazy != struct[0]).tolist() == [False, True, True]


@pytest.mark.parametrize("hole", ["none", "several"])
def test_where_of_a_ufunc_can_be_lazy(store, hole):
    mask, left = with_dropped_rows(store, np.arange(6) % 2 == 0, hole)
    ones = np.ones(len(left))
    assert np.sum(ones, where=mask) == left.sum()
    assert np.add(ones, 1, where=mask, out=np.zeros(len(left))).tolist() == (2 * left).tolist()


@pytest.mark.parametrize("hole", ["none", "several"])
def test_in_agrees_with_numpy(store, hole):
    lazy, left = with_dropped_rows(store, ROWS, hole)
    assert left[-1, 0] in lazy
    assert 99 not in lazy
    assert left[0] in lazy


@pytest.mark.parametrize("hole", DROPPED)
def test_asarray_shares_memory_if_live_rows_are_contiguous(store, hole):
    lazy, left = with_dropped_rows(store, ROWS, hole)
    if hole in SHARED:
        assert lazy.obstacle() is None
        assert np.array(lazy, copy=False).shape == left.shape
        assert np.array_equal(np.array(lazy, copy=False), left)
    else:
        assert "rows were deleted" in lazy.obstacle().reason
        with pytest.raises(ZeroCopyError, match=r"rows were deleted.*npk.update\(name\)"):
            np.array(lazy, copy=False)
        with pytest.raises(BufferError):
            lazy.__array__(copy=False)
    for dtype in (None, ROWS.dtype, "f4"):
        assert np.array_equal(np.asarray(lazy, dtype), left)
        for fresh in (np.array(lazy, dtype), np.array(lazy, dtype, copy=True)):
            assert fresh.dtype == (dtype or ROWS.dtype)
            assert fresh.flags.writeable
            fresh[...] = 0
    assert np.array_equal(lazy, left)


@pytest.mark.parametrize("target", ["numpy", "dlpack"])
@pytest.mark.parametrize("hole", DROPPED)
def test_copy_in_share_warns_and_is_explained(store, hole, target):
    lazy, left = with_dropped_rows(store, ROWS, hole)
    route = explain(lazy, target)
    assert route.supported
    assert route.shares_memory == (hole in SHARED)
    if hole in SHARED:
        found = [share(lazy, target), share(lazy, target, copy=False)]
    else:
        assert route.nbytes == left.nbytes
        assert "rows were deleted" in route.reason
        assert "npk.update(name)" in route.fix
        with pytest.raises(ZeroCopyError, match="rows were deleted"):
            share(lazy, target, copy=False)
        with pytest.warns(CopyWarning, match="rows were deleted") as caught:
            found = [share(lazy, target)]
        assert len(caught) == 1
    found.append(share(lazy, target, copy=True))
    for each in found:
        array = np.from_dlpack(each) if target == "dlpack" else each
        assert np.array_equal(array, left)


@pytest.mark.parametrize("function", [to_dlpack, ZeroCopyArray])
def test_copy_in_other_exports_warns(store, function):
    lazy, left = with_dropped_rows(store, ROWS, "several")
    with pytest.warns(CopyWarning, match="rows were deleted"):
        assert np.array_equal(np.from_dlpack(function(lazy)), left)


def test_copy_in_dlpack_export_warns_or_is_flagged(store):
    lazy, left = with_dropped_rows(store, ROWS, "several")
    with pytest.raises(BufferError, match="rows were deleted"):
        lazy.__dlpack__(max_version=(1, 0), copy=False)
    with pytest.warns(CopyWarning, match="rows were deleted"):
        assert np.array_equal(np.from_dlpack(lazy), left)
    capsule = lazy.__dlpack__(max_version=(1, 0), copy=True)
    with pytest.warns(CopyWarning, match="its producer made a copy"):
        assert np.array_equal(from_dlpack(capsule), left)


def test_saving_a_lazy_array_with_dropped_rows_does_not_warn(store):
    lazy, left = with_dropped_rows(store, ROWS, "several")
    store.save({"x": lazy})
    store.append({"x": lazy})
    store.replace({"x": lazy}, [0, 1, 2])
    assert np.array_equal(store.load("x"), np.concatenate([left, left]))


@pytest.mark.parametrize("hole", DROPPED)
def test_pickle_keeps_the_dropped_rows(store, run_python, hole):
    lazy, left = with_dropped_rows(store, ROWS, hole)
    pickled = pickle.dumps(lazy)
    store.append({"holed": ROWS})
    store.drop("holed", 0)
    for again in (pickle.loads(pickled), copy.copy(lazy), copy.deepcopy(lazy)):
        assert type(again) is LazyArray
        assert again.shape == left.shape
        assert np.array_equal(again, left)
    script = (
        "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])).reshape(-1).sum())"
    )
    assert run_python(script, pickled.hex()) == f"{left.sum()}\n"


@pytest.mark.parametrize("hole", DROPPED)
def test_later_changes_do_not_change_live_rows(store, hole):
    lazy, left = with_dropped_rows(store, ROWS, hole)
    store.append({"holed": ROWS})
    store.drop("holed", 0)
    store.update("holed")
    store.reset()
    store.close()
    gc.collect()
    assert np.array_equal(lazy, left)


def test_conversion_of_a_single_element_to_a_number(store):
    store.save({"zero": np.array(2.5), "one": np.array([7]), "many": np.arange(3)})
    assert float(store.load("zero", lazy=True)) == 2.5
    assert int(store.load("one", lazy=True)[0]) == 7
    assert int(store.load("zero", lazy=True)) == 2
    with pytest.raises(TypeError):
        int(store.load("many", lazy=True))
