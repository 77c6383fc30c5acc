"""The fast path: results equal those of plans, and plain arrays need no plan."""

from __future__ import annotations

import contextlib
import gc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr
from support.arrays import NATIVE, elements, values
from support.each import for_each
from support.oracles import TARGETS, oracle

from numpack import ReadOnlyWarning, ZeroCopyArray, aligned_allocation, explain, share
from numpack._dlpack.fast_path import enable_fast_path
from numpack.io import routes

NO_MEMORY = {"duckdb"}  # queries
SOURCES = [name for name in TARGETS if name not in NO_MEMORY]
NUMBERS = [name for name in NATIVE if np.dtype(name).kind in "biufc"]
UNALIGNED = {"arro3", "polars", "buffer"}  # whose own memory may begin at any address
NEED_ALIGNMENT = {"jax", "tensorflow"}


def aligned(name: str) -> np.ndarray:
    return ZeroCopyArray(values(name).reshape(-1), copy=True).array


def made(source: str, name: str) -> object:
    """Return an object of a framework over aligned memory where it takes that."""
    array = aligned(name)
    if source == "numpy":
        return array
    with aligned_allocation():  # for frameworks that copy into an array of NumPy's
        return oracle(source).make(array)


def outcome(x: object, target: str) -> dict[str, object]:
    """Return what a caller sees of a conversion."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = share(x, target)
        except Exception as error:
            return {"error": (type(error), str(error))}
    contents = np.asarray(oracle(target).values(result))
    has_place = contents.size and explain(x, target).shares_memory
    return {
        "type": type(result),
        "address": oracle(target).address(result) if has_place else None,
        "name": getattr(result, "name", None),
        "dtype": str(getattr(result, "dtype", getattr(result, "type", None))),
        "layout": (result.flags.writeable, result.strides) if target == "numpy" else None,
        "chunks": result.n_chunks() if target == "polars" else None,
        "warnings": [(each.category, str(each.message), each.filename) for each in caught],
        "values": elements(contents),
    }


def planned(call):
    """Call a function while every conversion is planned."""
    previous = enable_fast_path(False)
    try:
        return call()
    finally:
        enable_fast_path(previous)


@pytest.mark.parametrize("source", SOURCES)
@for_each("target", TARGETS)
def test_result_equals_that_of_the_plan(source, target):
    wrong = {}
    for name in NUMBERS:
        for x in variants(source, name):
            imported(x, target)
            slow, fast = planned(lambda x=x: outcome(x, target)), outcome(x, target)
            different = {key for key in slow | fast if slow.get(key) != fast.get(key)}
            if different:
                wrong[name] = {key: (slow.get(key), fast.get(key)) for key in different}
    assert wrong == {}


def variants(source: str, name: str) -> list[object]:
    """Return arrays of a dtype: plain ones, and such as the fast path must leave to a plan."""
    array = aligned(name)
    arrays = [array, array[1:], array[:1], array[:0], array[::2], array[::-1], read_only(array)]
    if source in ("numpy", "torch", "xarray", "pandas"):
        arrays += [np.stack([array, array]), np.asfortranarray(np.stack([array, array, array]))]
    return [x for x in (make(source, each) for each in arrays) if x is not None]


def make(source: str, array: np.ndarray) -> object:
    try:
        return array if source == "numpy" else oracle(source).make(array)
    except (ValueError, TypeError, BufferError):
        return None  # the framework has no arrays of this layout


def read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def imported(x: object, target: str) -> None:
    """Convert once, so that the adapters are imported and have registered themselves."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        share(x, target)


class NoPlan:
    """In place of the pipeline: fails if a conversion is planned."""

    def __init__(self, x: object, target: object) -> None:
        raise AssertionError(f"{type(x).__name__} to {target} is planned")


@pytest.mark.parametrize("source", SOURCES)
@for_each("target", [name for name in TARGETS if name not in NO_MEMORY])
def test_plain_arrays_need_no_plan(monkeypatch, source, target):
    x = made(source, "float32")
    imported(x, target)
    if not explain(x, target).shares_memory:
        assert source in UNALIGNED
        assert target in NEED_ALIGNMENT
        return
    if source == target and source != "numpy":
        return  # a round trip that nobody asks for
    with monkeypatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patched.setattr(routes, "Pipeline", NoPlan)
        share(x, target, copy=False)


def test_switch_returns_the_previous_setting():
    assert enable_fast_path(False) is True
    assert enable_fast_path(True) is False


@for_each("target", ["pandas", "polars", "xarray"])
def test_names_are_taken_over(target):
    for x in (pd.Series([1.0, 2.0], name="n"), pl.Series("n", [1.0, 2.0]), named_data_array()):
        imported(x, target)
        assert share(x, target).name == "n"
        assert planned(lambda x=x: share(x, target)).name == "n"


def named_data_array() -> xr.DataArray:
    return xr.DataArray(np.arange(2.0), dims="k", name="n")


def test_warning_points_at_the_line_of_the_caller():
    column = pa.array([1.0, 2.0])
    imported(column, "torch")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        share(column, "torch")
        planned(lambda: share(column, "torch"))
    assert [each.filename for each in caught] == [__file__, __file__]
    assert str(caught[0].message) == str(caught[1].message)


def test_thread_that_runs_no_python_code_is_warned(run_python):
    """The function itself is what the thread runs, so there is no frame of Python."""
    run_python("""
import _thread, sys, time, warnings
import pyarrow as pa, numpack

column, failed = pa.array([1.0, 2.0]), []
warnings.simplefilter("ignore")
numpack.share(column, "torch")
sys.unraisablehook = failed.append
_thread.start_new_thread(numpack.share, (column, "torch"))
time.sleep(1)
assert not failed, failed[0].exc_value
""")


def test_warning_that_is_an_error_is_raised():
    column = pa.array([1.0, 2.0])
    imported(column, "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ReadOnlyWarning):
            share(column, "torch")


def test_results_keep_the_memory_alive():
    results = {}
    for source in SOURCES:
        for target in SOURCES:
            x = made(source, "float32")
            imported(x, target)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results[source, target] = share(x, target)
            del x
    gc.collect()
    others = [np.full(aligned("float32").nbytes, 0xFF, "u1") for _ in range(1000)]
    expected = elements(aligned("float32"))
    lost = [
        pair
        for pair, result in results.items()
        if elements(np.asarray(oracle(pair[1]).values(result))) != expected
    ]
    assert lost == []
    del others
