"""xarray: sharing, copies and refusals in both directions; written from docs/exchange.md."""

from __future__ import annotations

import datetime as dt

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from adapters.conformance import COPY, REFUSE, SHARE, FromNumpy, ToNumpy, quietly
from support.arrays import (
    TIMES,
    aligned,
    dtype_of,
    elements,
)
from support.memory import address

from numpack import (
    InvalidValueError,
    NotFoundError,
    NullError,
    NumPack,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)


def test_names_dimensions_and_coordinates():
    values = np.arange(6.0).reshape(2, 3)
    coords = {"x": [10, 20], "label": ("y", ["a", "b", "c"])}
    array = share(values, "xarray", dims=("x", "y"), coords=coords, name="heat", copy=False)
    assert array.identical(xr.DataArray(values, coords, ("x", "y"), name="heat"))
    array.loc[{"x": 20, "y": 0}] = 9
    assert values[1, 0] == 9
    assert share(values, "xarray", coords=[("p", [1, 2]), ("q", [1, 2, 3])]).dims == ("p", "q")
    assert share(values, "xarray").dims == ("dim_0", "dim_1")
    for wrong in ({"dims": ["x"]}, {"dims": ("x", "y"), "coords": {"x": [1]}}):
        with pytest.raises(InvalidValueError, match="dims and coords"):
            share(values, "xarray", **wrong)


def test_times_are_shared_although_xarray_would_copy_them():
    """xarray converts times with pandas, and copies strided or read-only arrays."""
    times = np.arange(6).astype("M8[s]").reshape(2, 3)
    times.flags.writeable = False
    for array in (times, times.T, times[:, ::-2]):
        held = share(array, "xarray", copy=False)
        assert address(held.data) == address(array)
        assert held.sel(dim_0=1).equals(xr.DataArray(array).sel(dim_0=1))


def test_objects_are_not_inferred():
    array = np.array([dt.datetime(2020, 1, 1), None], object)
    held = share(array, "xarray", copy=False)
    assert held.dtype == object
    assert held[0].item() is array[0]


def test_times_out_of_range_are_refused():
    with pytest.raises(UnsupportedError, match="out of the range"):
        share(np.array([2**61]).view("M8[h]"), "xarray")
    assert "datetime64[s]" in explain(np.zeros(2, "M8[D]"), "xarray").fix


def test_fixes_of_masks_work():
    array = np.ma.array([1, 2], mask=[0, 1])
    with pytest.raises(UnsupportedError, match="filled"):
        share(array, "xarray")
    assert share(array.filled(0), "xarray", copy=False).values.tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["memmap", "store"])
def test_mapped_files_are_shared_and_unchanged(kind):
    values = np.array([3.0, np.nan, 1.0])
    values.tofile("values.bin")
    with NumPack("values.npk") as npk:
        npk.save({"x": values})
        source = npk.load("x", lazy=True)
    if kind == "memmap":
        source = np.memmap("values.bin", "f8", "r")
    array = share(source, "xarray", copy=False)
    assert address(array.data) == address(np.asarray(source))
    for write in (
        lambda: array.__setitem__(0, 9.0),
        lambda: array.__iadd__(1),
        lambda: array.values.__setitem__(0, 9.0),
        lambda: array.values.setflags(write=True),
    ):
        with pytest.raises(ValueError, match=r"read-only|view|WRITEABLE"):
            write()
    assert np.array_equal(np.asarray(source), values, equal_nan=True)


# From xarray


@pytest.mark.parametrize("make_one", [xr.DataArray, lambda v: xr.Variable(("x", "y"), v)])
def test_values_are_shared(make_one):
    values = np.arange(6.0).reshape(2, 3)
    array = share(make_one(values.T), "numpy", copy=False)
    assert address(array) == address(values)
    array[2, 1] = 9
    assert values[1, 2] == 9
    assert not np.shares_memory(share(make_one(values), "numpy", copy=True), values)


def test_variables_of_a_dataset():
    data = xr.Dataset({"a": ("x", [1, 2]), "b": ("x", [1.0, 2.0])}, {"x": [5, 6]})
    assert share(data, "numpy", column="b", copy=False) is data["b"].data
    assert share(data, "numpy", column=-1, copy=False) is data["b"].data
    assert share(data, "numpy", column="x", copy=False).tolist() == [5, 6]
    with pytest.raises(UnsupportedError, match=r"column=.*'a'"):
        share(data, "numpy")
    with pytest.raises(NotFoundError, match="'a'"):
        share(data, "numpy", column="aa")
    for wrong, key in ((data["a"], "a"), (data, True)):
        with pytest.raises(WrongTypeError):
            share(wrong, "numpy", column=key)
    with pytest.raises(WrongTypeError):
        share(xr.DataTree(data), "numpy")


def coordinate(index: pd.Index) -> xr.DataArray:
    return xr.DataArray(np.zeros(len(index)), {"x": index}, ("x",))["x"]


def test_indexes_are_shared_read_only():
    source = coordinate(pd.Index([3.0, 4.0]))
    array = share(source, "numpy", copy=False)
    assert address(array) == address(source.to_index().to_numpy())
    assert not array.flags.writeable
    assert share(source, "numpy", copy=True).flags.writeable


def test_indexes_of_strings_are_copied():
    source = coordinate(pd.Index(["a", "bb"]))
    array, copied = quietly(source, "numpy")
    assert copied
    assert array.tolist() == ["a", "bb"]
    assert not explain(source, "numpy").shares_memory
    with pytest.raises(ZeroCopyError, match="to_index"):
        share(source, "numpy", copy=False)


def test_computed_indexes_are_copied():
    level = pd.MultiIndex.from_product([[1], ["a", "b"]], names=["p", "q"])
    coords = xr.Coordinates.from_pandas_multiindex(level, "t")
    several = xr.DataArray(np.zeros(2), dims="t").assign_coords(coords)
    for source, values in (
        (coordinate(pd.RangeIndex(3)), [0, 1, 2]),
        (several["p"], [1, 1]),
    ):
        assert not explain(source, "numpy").shares_memory
        array, copied = quietly(source, "numpy")
        assert copied
        assert array.tolist() == values
        with pytest.raises(ZeroCopyError):
            share(source, "numpy", copy=False)


def test_multi_indexes_are_refused():
    level = pd.MultiIndex.from_product([[1], ["a", "b"]], names=["p", "q"])
    coords = xr.Coordinates.from_pandas_multiindex(level, "t")
    source = xr.DataArray(np.zeros(2), dims="t").assign_coords(coords)
    assert not explain(source["t"], "numpy").supported
    with pytest.raises(UnsupportedError, match="level"):
        share(source["t"], "numpy")


def test_pandas_values_are_planned_by_pandas():
    source = xr.Dataset.from_dataframe(pd.DataFrame({"n": pd.array([1, None])}))["n"]
    array, copied = quietly(source, "numpy")
    assert copied
    assert np.array_equal(array, [1, np.nan], equal_nan=True)
    masked = share(source, "numpy", nulls="mask", copy=False)
    assert masked.tolist() == [1, None]
    with pytest.raises(NullError):
        share(source, "numpy", nulls="raise")
    column = share(source, "arrow", copy=False)
    assert column.to_pylist() == [1, None]
    assert column.buffers()[1].address == address(masked)
    zoned = coordinate(pd.date_range("2020", periods=2, tz="UTC"))
    assert share(zoned, "numpy", copy=False).dtype.kind == "M"


def test_values_of_other_frameworks_are_planned_by_them():
    held = jnp.arange(4.0)
    source = xr.DataArray(held)
    assert isinstance(source.data, type(held))
    assert explain(source, "numpy").shares_memory
    array = share(source, "numpy", copy=False)
    assert address(array) == held.unsafe_buffer_pointer()
    assert not array.flags.writeable


def test_unloaded_values_are_refused():
    class Backend(xr.backends.BackendArray):
        shape, dtype = (3,), np.dtype("f8")

        def __getitem__(self, key):
            raise AssertionError("read")

    class Loaded(Backend):
        def __getitem__(self, key):
            return np.arange(3.0)

    lazily = xr.core.indexing.LazilyIndexedArray
    cached = xr.core.indexing.MemoryCachedArray
    for lazy in (
        xr.Variable("x", lazily(Backend())),
        xr.Variable("x", cached(lazily(Backend()))),
    ):
        assert not explain(lazy, "numpy").supported
        with pytest.raises(UnsupportedError, match=r"load\(\)"):
            share(lazy, "numpy")
    loaded = xr.Variable("x", cached(lazily(Loaded()))).load()
    assert share(loaded, "numpy", copy=False).tolist() == [0, 1, 2]


def test_unknown_arrays_are_refused():
    class Duck:
        shape, ndim, dtype, size = (2,), 1, np.dtype("f8"), 2

        def __array_function__(self, *args):
            return NotImplemented

        def __array_ufunc__(self, *args):
            return NotImplemented

    with pytest.raises(UnsupportedError, match=r"Duck.*compute\(\)"):
        share(xr.Variable("x", Duck()), "numpy")


class TestFromNumpy(FromNumpy):
    target = "xarray"
    back_is_read_only = False

    def expected(self, name, layout, array):
        if layout == "masked":
            return REFUSE
        if name not in TIMES:
            return SHARE
        unit, count = np.datetime_data(dtype_of(name))
        exact = ["s", "ms", "us", "ns", "m", "h", "D", "W"]
        if dtype_of(name).kind == "M":
            exact += ["M", "Y"]
        if unit not in exact:
            return REFUSE
        if unit not in exact[:4] or count != 1 or layout == "swapped":
            return COPY
        return SHARE if aligned(name, layout) else COPY

    def has_values(self, result, array):
        return elements(result.data.astype(array.dtype)) == elements(array)

    def check_result(self, result, array):
        assert result.dtype == array.dtype

    def check_own(self, own, array):
        assert not np.may_share_memory(own.data, array)


class TestToNumpy(ToNumpy):
    source = "xarray"
    writable = True
