"""Reductions over arrays with deleted rows, which copy only a part of them at a time."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each
from support.outcomes import outcome

from numpack import LazyArray, NumPack
from numpack.store.rows import reductions

DTYPES = ["?", "i1", "u1", "i4", "u8", "f2", "f4", "f8", "c8", "M8[s]", "m8[s]", "S3"]
SHAPES = [(40,), (40, 3), (40, 2, 3), (40, 1), (40, 0)]
METHODS = ["sum", "prod", "min", "max", "any", "all", "argmin", "argmax", "mean", "std"]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Make chunks of a few rows, so that all arrays have several."""
    monkeypatch.setattr(reductions, "_CHUNK_NBYTES", 64)


def holed(store: NumPack, array: np.ndarray) -> tuple[LazyArray, np.ndarray]:
    dropped = [0, 5, 6, 17, 39]
    store.save({"x": array})
    store.drop("x", dropped)
    lazy = store.load("x", lazy=True)
    assert lazy.obstacle() is not None
    return lazy, np.delete(array, dropped, axis=0)


def assert_same(found, expected, label) -> None:
    assert type(found) is type(expected), (label, found, expected)
    if isinstance(expected, tuple):
        assert found == expected, label
        return
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), label
    assert found.tobytes() == expected.tobytes(), (label, found, expected)


def arguments(ndim: int) -> list[dict[str, object]]:
    """Return arguments of every reduction."""
    axes = [None, 0, -1, ndim - 1, ndim, (0,), (), tuple(range(ndim)), "a", 1.0]
    found: list[dict[str, object]] = [{"axis": axis} for axis in axes]
    found += [{"axis": axis, "keepdims": True} for axis in axes]
    return [{}, {"keepdims": True}, {"out": None}, *found]


@for_each("dtype", DTYPES)
def test_results_and_errors_are_those_of_numpy(store, dtype):
    rng = np.random.default_rng(3)
    for shape in SHAPES:
        lazy, array = holed(store, np.asarray(rng.integers(-3, 9, shape)).astype(dtype))
        for method in METHODS:
            for given in arguments(array.ndim):
                found = outcome(lambda m=method, g=given, x=lazy: getattr(x, m)(**g))
                expected = outcome(lambda m=method, g=given, x=array: getattr(x, m)(**g))
                assert_same(found, expected, (shape, method, given))
                function = getattr(np, method)
                found = outcome(lambda f=function, g=given, x=lazy: f(x, **g))
                expected = outcome(lambda f=function, g=given, x=array: f(x, **g))
                assert_same(found, expected, (shape, f"np.{method}", given))


OTHERS = {
    "sum of a dtype": lambda x: x.sum(dtype="u1"),
    "sum of floats": lambda x: x.sum(dtype="f4"),
    "sum of no dtype": lambda x: x.sum(dtype="nothing"),
    "positional": lambda x: x.sum(0, "i2"),
    "too many": lambda x: x.sum(0, None, None, True, 1, 2, 3),
    "twice": lambda x: x.sum(0, axis=0),
    "unknown": lambda x: x.sum(nothing=1),
    "out": lambda x: x.max(0, out=np.zeros(x.shape[1:], x.dtype)),
    "initial": lambda x: x.min(initial=-9),
    "where": lambda x: x.sum(where=np.arange(x.shape[0])[:, None] % 2 == 0),
    "where without initial": lambda x: x.min(where=np.ones(x.shape, bool)),
    "argmax of two axes": lambda x: x.argmax(axis=(0, 1)),
    "argmin out": lambda x: x.argmin(0, np.zeros(x.shape[1:], np.intp)),
    "add.reduce": lambda x: np.add.reduce(x),
    "maximum.reduce": lambda x: np.maximum.reduce(x, axis=1, keepdims=True),
    "minimum.reduce": lambda x: np.minimum.reduce(x, axis=None),
    "multiply.reduce": lambda x: np.multiply.reduce(x, dtype="i8"),
    "logical_and.reduce": lambda x: np.logical_and.reduce(x),
    "bitwise_or.reduce": lambda x: np.bitwise_or.reduce(x),
    "ptp": lambda x: np.ptp(x, axis=0),
}


@for_each("name", OTHERS)
def test_other_arguments_are_those_of_numpy(store, name):
    lazy, array = holed(store, np.arange(120).reshape(40, 3) % 17)
    assert_same(outcome(lambda: OTHERS[name](lazy)), outcome(lambda: OTHERS[name](array)), name)


def test_nan_and_equal_extremes_are_found_where_numpy_finds_them(store):
    array = np.tile([3.0, 1.0, 7.0, 1.0, 7.0], 8).reshape(40, 1) * [1, -1]
    for place in (None, 3, 20, 33):
        if place is not None:
            array[place, 0] = np.nan
        lazy, left = holed(store, array)
        for method in ("min", "max", "argmin", "argmax"):
            for axis in (None, 0, 1):
                found, expected = (getattr(x, method)(axis) for x in (lazy, left))
                assert np.array_equal(found, expected, equal_nan=True), (place, method, axis)


def test_integer_overflow_wraps_as_in_numpy(store):
    lazy, array = holed(store, np.full((40, 2), 2**62 + 1))
    for axis in (None, 0, 1):
        assert_same(lazy.sum(axis), array.sum(axis), axis)
        assert_same(lazy.prod(axis), array.prod(axis), axis)
