"""`LazyArray`: NumPy's behaviour over a mapping that nothing can change."""

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

from numpack import CorruptStoreError, LazyArray, NumPack, UnsupportedError

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
    """The array as the store maps it."""
    store.save({"mapped": array})
    return store.load("mapped", lazy=True)


# It looks like an array


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["f4", "S3", "M8[us]", "?"])
def test_attributes_are_those_of_the_array(store, shape, dtype):
    array = np.ones(shape, "i8").astype(dtype)
    lazy = mapped(store, array)
    assert type(lazy) is LazyArray
    for name in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes"):
        assert getattr(lazy, name) == getattr(array, name)
    assert lazy.T.shape == array.T.shape
    assert np.array_equal(lazy.T, array.T)


def test_repr_tells_dtype_shape_and_size(store):
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


def test_a_0d_array_has_no_length_and_one_truth(store):
    lazy = mapped(store, np.array(5))
    with pytest.raises(TypeError, match="unsized"):
        len(lazy)
    with pytest.raises(TypeError, match="0-d"):
        iter(lazy)
    assert lazy[()] == 5
    assert bool(lazy)
    assert not mapped(store, np.array([0]))


def test_the_truth_of_several_elements_is_ambiguous(lazy):
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
def test_indexing_is_that_of_numpy(lazy, key):
    expected, found = ROWS[key], lazy[key]
    assert type(found) is type(expected)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_a_single_row_has_no_row_axis(store, lazy):
    assert lazy[0].shape == (2,)
    assert store.getitem("x", 0).shape == (1, 2)


@pytest.mark.parametrize(
    ("key", "error"), [(6, IndexError), ("a", IndexError), (1.0, IndexError)]
)
def test_indexing_fails_as_in_numpy(lazy, key, error):
    with pytest.raises(error):
        lazy[key]


def test_fields_of_a_struct_are_views(store):
    struct = np.zeros(3, [("a", "i4"), ("b", "f8")])
    struct["a"] = [1, 2, 3]
    lazy = mapped(store, struct)
    assert lazy["a"].tolist() == [1, 2, 3]
    assert np.shares_memory(lazy["b"], np.asarray(lazy))


@pytest.mark.parametrize("shape", [(12,), (3, 4), (-1, 6), (2, -1, 3)])
def test_reshape_gives_a_view(lazy, shape):
    for found in (lazy.reshape(shape), lazy.reshape(*shape)):
        assert np.array_equal(found, ROWS.reshape(shape))
        assert np.shares_memory(found, np.asarray(lazy))


# It computes like an array

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
def test_operators_give_new_arrays_from_either_side(store, lazy, operation):
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
def test_unary_operators_give_new_arrays(lazy, operation):
    found = operation(lazy)
    assert type(found) is np.ndarray
    assert np.array_equal(found, operation(ROWS))


def test_matrix_products_and_divmod(lazy):
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
def test_in_place_operators_leave_the_store_alone(store, lazy, operation):
    before = contents()
    found = operation(lazy, 3)
    assert type(found) is np.ndarray
    assert np.array_equal(found, operation(ROWS.copy(), 3))
    assert np.array_equal(lazy, ROWS)
    assert np.array_equal(store.load("x"), ROWS)
    assert contents() == before


def test_an_array_takes_a_lazy_one_in_place(lazy):
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
def test_functions_of_numpy_take_it(lazy, name):
    found, expected = NUMPY_FUNCTIONS[name](lazy), NUMPY_FUNCTIONS[name](ROWS)
    assert type(found) is type(expected)
    assert np.array_equal(found, expected)


def test_out_is_written_if_it_is_an_array_and_refused_if_it_is_lazy(lazy):
    out = np.zeros((6, 2), int)
    assert np.add(lazy, 1, out=out) is out
    assert np.array_equal(out, ROWS + 1)
    with pytest.raises(UnsupportedError, match="cannot be written; pass an ndarray as out="):
        np.add(1, lazy, out=lazy)
    with pytest.raises(ValueError, match="read-only"):
        np.add.at(lazy, 0, 1)
    assert np.array_equal(lazy, ROWS)


def test_no_output_of_a_function_with_two_is_ignored(store):
    lazy = mapped(store, np.array([1.5, -2.25]))
    whole = np.zeros(2)
    try:
        np.modf(lazy, out=(lazy, whole))
    except UnsupportedError:
        return
    assert whole.tolist() == [1.0, -2.0]


def test_it_has_no_hash_as_arrays_have_none(lazy):
    with pytest.raises(TypeError, match="unhashable"):
        hash(lazy)


# It is read-only


def test_views_cannot_be_made_writable(lazy):
    for view in (np.asarray(lazy), lazy[1:], lazy.T, lazy.reshape(-1), lazy[0], *lazy):
        assert not view.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0
        with pytest.raises(ValueError, match=r"cannot set WRITEABLE|cannot set writeable"):
            view.setflags(write=True)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_views_of_nothing_are_read_only_too(store, shape):
    assert not np.asarray(mapped(store, np.zeros(shape))).flags.writeable


def test_items_cannot_be_set(lazy):
    with pytest.raises(TypeError, match="item assignment"):
        lazy[0] = 1


# It becomes an array


def test_an_array_of_it_is_the_mapping_itself(lazy):
    array = np.asarray(lazy)
    assert address(np.asarray(lazy)) == address(array)
    assert address(np.asarray(lazy, ROWS.dtype)) == address(array)
    assert address(np.array(lazy, copy=None)) == address(array)
    assert address(np.array(lazy, copy=False)) == address(array)
    inode = next(Path("s.npk/data").iterdir()).stat().st_ino
    assert file_position(address(array)) == (inode, 0)


def test_a_copy_of_it_is_independent(lazy):
    for fresh in (np.array(lazy), np.array(lazy, copy=True), np.array(lazy, ROWS.dtype)):
        assert fresh.flags.writeable
        fresh[...] = 0
    assert np.array_equal(lazy, ROWS)


def test_another_dtype_takes_a_copy(lazy):
    assert np.asarray(lazy, "f4").dtype == np.float32
    assert np.array_equal(np.asarray(lazy, "f4"), ROWS)
    with pytest.raises(ValueError, match="copy"):
        np.array(lazy, "f4", copy=False)


# Nothing changes it

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
def test_it_stays_as_it_was_through(store, lazy, change, handle):
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
def test_it_stays_as_it_was_through_another_process(lazy, run_python, change):
    run_python(SCRIPT + REMOTE[change])
    assert lazy.shape == (6, 2)
    assert np.array_equal(lazy, ROWS)


def test_it_outlives_its_store(store, lazy, tmp_path):
    store.close()
    del store
    gc.collect()
    for file in Path("s.npk").rglob("*.*"):
        file.unlink()
    assert np.array_equal(lazy, ROWS)


def test_views_outlive_it(store, lazy):
    view = lazy[1:].T
    del lazy
    store.drop("x")
    gc.collect()
    assert np.array_equal(view, ROWS[1:].T)


def test_every_version_of_an_array_stays(store):
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


def test_a_mapping_ends_with_the_last_array_over_it(store, lazy):
    before = len(os.listdir("/dev/fd"))
    held = [store.load("x", lazy=True)[1:] for _ in range(10)]
    assert np.array_equal(held[-1], ROWS[1:])
    del held
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before


# It travels

MAP_AGAIN = """
import pickle, sys
import numpy as np
lazy = pickle.loads(bytes.fromhex(sys.argv[1]))
array = np.asarray(lazy)
print(type(lazy).__name__, lazy.shape, lazy.dtype, array.sum(), array.flags.writeable)
"""


@pytest.mark.parametrize("dtype", ["i8", "f4", "M8[ns]"])
def test_a_pickle_takes_a_few_bytes_and_maps_the_same_file(store, dtype):
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
def test_any_shape_is_pickled_by_every_protocol(store, shape, protocol):
    array = np.zeros(shape, [("a", "i4"), ("b", "S2")])
    again = pickle.loads(pickle.dumps(mapped(store, array), protocol))
    assert (again.shape, again.dtype) == (array.shape, array.dtype)
    assert np.array_equal(again, array)


def test_another_process_maps_it_again(store, lazy, run_python):
    pickled = pickle.dumps(lazy).hex()
    expected = f"LazyArray (6, 2) int64 {ROWS.sum()} False\n"
    assert run_python(MAP_AGAIN, pickled) == expected
    store.append({"x": ROWS})
    store.close()
    assert run_python(MAP_AGAIN, pickled) == expected


def test_another_process_maps_it_again_from_another_folder(lazy, run_python):
    Path("elsewhere").mkdir()
    script = "import os; os.chdir('elsewhere')" + MAP_AGAIN
    assert run_python(script, pickle.dumps(lazy).hex()).startswith("LazyArray (6, 2)")


@pytest.mark.parametrize("change", ["save", "drop", "drop_if_exists"])
def test_a_pickle_whose_file_is_gone_never_shows_other_rows(store, lazy, change):
    pickled = pickle.dumps(lazy)
    CHANGES[change](store)
    store.save({"x": -ROWS, "y": -ROWS})
    with pytest.raises(CorruptStoreError, match=r"is gone: .*load it from the store again"):
        pickle.loads(pickled)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_in_the_same_process_needs_no_file(store, lazy, duplicate):
    store.drop("x")
    assert np.array_equal(duplicate(lazy), ROWS)


# DLPack


def test_dlpack_shares_the_pages_of_the_file(lazy):
    assert lazy.__dlpack_device__() == (1, 0)
    exported = np.from_dlpack(lazy)
    assert np.array_equal(exported, ROWS)
    assert shares_pages(address(exported), address(np.asarray(lazy)))


@pytest.mark.parametrize("change", ["nothing", "append", "save", "drop", "close"])
def test_writes_of_a_dlpack_consumer_stay_private(store, lazy, change):
    CHANGES.get(change, lambda s: None)(store)
    before = contents()
    exported, second = np.from_dlpack(lazy), np.from_dlpack(lazy)
    ctypes.memset(address(exported), 0xFF, exported.nbytes)
    assert (exported == -1).all()
    assert np.array_equal(lazy, ROWS)
    assert np.array_equal(second, ROWS)
    assert np.array_equal(np.from_dlpack(lazy), ROWS)
    assert contents() == before


def test_a_dlpack_export_outlives_everything_else(store, lazy):
    exported = np.from_dlpack(lazy)
    store.drop("x")
    store.close()
    del lazy, store
    gc.collect()
    assert np.array_equal(exported, ROWS)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_any_shape_is_exported(store, shape):
    array = np.ones(shape, "f4")
    exported = np.from_dlpack(mapped(store, array))
    assert exported.shape == shape
    assert np.array_equal(exported, array)


class OldConsumer:
    """Asks for a capsule as consumers do that know DLPack 0 alone."""

    def __init__(self, lazy: LazyArray) -> None:
        self.lazy = lazy

    def __dlpack__(self, **options: object) -> object:
        return self.lazy.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.lazy.__dlpack_device__()


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_consumers_of_the_legacy_protocol_get_any_shape(store, shape):
    array = np.ones(shape, "f4")
    exported = np.from_dlpack(OldConsumer(mapped(store, array)))
    assert exported.shape == shape
    assert np.array_equal(exported, array)
