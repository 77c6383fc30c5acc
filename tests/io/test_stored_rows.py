"""Indexing stored arrays with arrays of other libraries, and lazy arrays as their input."""

from __future__ import annotations

import importlib
import pickle

import numpy as np
import polars
import pytest

from numpack import InvalidIndexError, NumPack

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "one": ROWS[:, 0].copy(), "flags": ROWS[:, 0] > 4})
        yield opened


@pytest.mark.parametrize("name", ["torch", "pandas", "pyarrow", "polars"])
def test_rows_are_selected_by_indexes_of_other_libraries(store, name):
    library = importlib.import_module(name)
    make = {"torch": "tensor", "pandas": "Series", "pyarrow": "array", "polars": "Series"}[name]
    lazy = store.load("x", lazy=True)
    for values in ([0, 5, 2], [-1, 1], [True, False, True, False, False, True]):
        index = getattr(library, make)(values)
        assert np.array_equal(store.getitem("x", index), ROWS[np.array(values)])
        assert np.array_equal(lazy[index], ROWS[np.array(values)])
    for wrong in ([0.5], [True, False]):
        with pytest.raises((InvalidIndexError, IndexError)):
            store.getitem("x", getattr(library, make)(wrong))
    store.replace({"x": -ROWS[:2]}, getattr(library, make)([4, 5]))
    store.drop("x", getattr(library, make)([0, 1, 2, 3]))
    assert np.array_equal(store["x"], -ROWS[:2])


def test_polars_accepts_lazy_arrays(store):
    for name in store:
        lazy = store.load(name, lazy=True)
        assert polars.Series(name, lazy).to_list() == np.asarray(lazy).tolist()
        store.drop(name, [1, 3])
        lazy = store.load(name, lazy=True)
        assert polars.Series(name, lazy).to_list() == np.asarray(lazy).tolist()


def test_arrays_of_other_libraries_are_written_in_parallel(store):
    import ml_dtypes
    import torch

    for name, values in (
        ("bfloat16", np.arange(6).astype(ml_dtypes.bfloat16)),
        ("float8", np.arange(6).astype(ml_dtypes.float8_e4m3fn)),
        ("torch", torch.arange(6)),
        ("polars", polars.Series([1.5, 2, 3, 4, 5, 6])),
    ):
        expected = np.asarray(values)
        with store.begin(name, 6, expected.dtype) as plan:
            pickle.loads(pickle.dumps(plan))[:2] = values[:2]
            plan[2:] = values[2:]
        assert store.load(name).dtype == expected.dtype
        assert np.array_equal(store.load(name), expected)
