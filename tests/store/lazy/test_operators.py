"""Operators and functions of lazy arrays, compared with NumPy."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from support.each import for_each
from support.files import contents

from numpack import LazyArray, NumPack, UnsupportedError

ROWS = np.arange(1, 13).reshape(6, 2)


@pytest.fixture
def lazy(store):
    store.save({"x": ROWS})
    return store.load("x", lazy=True)


def mapped(store: NumPack, array: np.ndarray) -> LazyArray:
    """Save an array and return it mapped."""
    store.save({"mapped": array})
    return store.load("mapped", lazy=True)


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


@for_each("operation", BINARY)
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


@for_each("operation", [operator.neg, operator.pos, operator.invert, operator.abs])
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


@for_each("operation", IN_PLACE)
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


@for_each("name", NUMPY_FUNCTIONS)
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


def with_dropped_rows(
    store: NumPack, array: np.ndarray, hole: str
) -> tuple[LazyArray, np.ndarray]:
    """Return an array with dropped rows, as the store maps it and as NumPy computes it."""
    store.save({"holed": array})
    store.drop("holed", DROPPED[hole])
    return store.load("holed", lazy=True), np.delete(array, DROPPED[hole], 0)


@for_each("hole", DROPPED)
@for_each("operation", [*BINARY, operator.matmul])
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


@for_each("hole", ["none", "several"])
@for_each("operation", [*IN_PLACE, operator.itruediv, operator.imatmul])
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
