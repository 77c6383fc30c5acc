"""The option ``nulls=`` has the same meaning for all sources and representations of nulls."""

from __future__ import annotations

import arro3.core
import duckdb
import nanoarrow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
import xarray as xr
from support.each import for_each

from numpack import NullError, UnsupportedError, WrongTypeError, explain, share

DAYS = ["2020-01-01", None]
PANDAS = {
    "object None": pd.Series([1, None], dtype=object),
    "object NA": pd.Series(["a", pd.NA], dtype=object),
    "object NaT": pd.Series([1, pd.NaT], dtype=object),
    "object NaN": pd.Series(["a", np.nan], dtype=object),
    "float": pd.Series([1.0, np.nan]),
    "complex": pd.Series([1j, np.nan]),
    "datetime64": pd.Series(pd.to_datetime(DAYS)),
    "zoned": pd.Series(pd.to_datetime(DAYS).tz_localize("Asia/Tokyo")),
    "timedelta64": pd.Series(pd.to_timedelta([1, None])),
    "period": pd.Series(pd.PeriodIndex(DAYS, freq="D")),
    "interval": pd.Series(pd.arrays.IntervalArray([pd.Interval(0, 1), np.nan])),
    "sparse": pd.Series([1.0, np.nan], dtype="Sparse[float]"),
    "category": pd.Series(["a", None], dtype="category"),
    "category of times": pd.Series(pd.to_datetime(DAYS)).astype("category"),
    "category of numbers": pd.Series([2, None], dtype="category"),
    "str": pd.Series(["a", None], dtype="str"),
    "string[python]": pd.Series(["a", None], dtype="string[python]"),
    **{
        name: pd.Series([1, None], dtype=name)
        for name in ("Int64", "UInt8", "Float32", "boolean", "int64[pyarrow]", "bool[pyarrow]")
    },
    "dictionary[pyarrow]": pd.Series(
        pd.arrays.ArrowExtensionArray(pa.array(["a", None]).dictionary_encode())
    ),
}


@for_each("kind", PANDAS)
@for_each("form", ["series", "index", "array", "frame"])
def test_nulls_of_pandas(kind, form):
    series = PANDAS[kind]
    x = {
        "series": lambda: series,
        "index": lambda: pd.Index(series),
        "array": lambda: series.array,
        "frame": series.to_frame,
    }[form]()
    assert np.asarray(pd.isna(x)).ravel().tolist() == [False, True]
    for call in (lambda: share(x, "numpy", nulls="raise", copy=True), lambda: raising(x)):
        with pytest.raises(NullError, match=r"1 of its values"):
            call()
    plain, masked = (share(x, "numpy", nulls=n, copy=True) for n in ("convert", "mask"))
    assert isinstance(masked, np.ma.MaskedArray)
    assert masked.mask.ravel().tolist() == [False, True]
    assert masked.ravel()[0] == plain.ravel()[0]
    assert pd.isna(plain.ravel()[1])
    assert explain(x, "numpy", nulls="mask").supported
    whole = share(x[:1], "numpy", nulls="raise", copy=True)
    assert whole.tolist() == plain[:1].tolist()
    assert not np.ma.getmaskarray(share(x[:1], "numpy", nulls="mask", copy=True)).any()


def raising(x):
    return explain(x, "numpy", nulls="raise")


@pytest.mark.parametrize("kind", ["float", "datetime64", "timedelta64", "Int64", "object None"])
def test_masks_of_pandas_share_memory(kind):
    series = PANDAS[kind]
    assert explain(series, "numpy", nulls="mask").shares_memory
    one, other = (share(series, "numpy", nulls="mask", copy=False) for _ in range(2))
    assert np.shares_memory(one.data, other.data)
    assert not one.flags.writeable


def test_masks_are_passed_on_to_other_targets():
    for kind in ("Int64", "float", "datetime64", "category of numbers", "int64[pyarrow]"):
        column = share(PANDAS[kind], "arrow", nulls="mask", copy=True)
        assert column.null_count == 1, kind
    with pytest.raises(UnsupportedError, match="mask"):
        share(PANDAS["Int64"], "torch", nulls="mask", copy=True)
    with pytest.raises(NullError):
        share(PANDAS["float"], "torch", nulls="raise")
    assert share(PANDAS["float"][:1], "torch", nulls="raise", copy=True).tolist() == [1]


ARROW = pa.chunked_array([pa.array([1, None])])
OTHERS = {
    "polars": pl.Series([1, None]),
    "polars frame": pl.DataFrame({"a": [1, None]}),
    "duckdb": duckdb.sql("select unnest([1, null]) as a"),
    "nanoarrow": nanoarrow.Array(pa.array([1, None])),
    "arro3": arro3.core.ChunkedArray.from_arrow(ARROW),
    "xarray": xr.DataArray(pd.array([1, None]), dims="x"),
    "xarray of numbers": xr.DataArray(np.array([1, np.nan]), dims="x"),
    "dictionary": pa.array([1, None]).dictionary_encode(),
}


@for_each("kind", OTHERS)
def test_nulls_of_other_sources(kind):
    x = OTHERS[kind]
    with pytest.raises(NullError):
        share(x, "numpy", nulls="raise", copy=True)
    assert share(x, "numpy", nulls="mask", copy=True).ravel().tolist() == [1, None]
    assert np.isnan(share(x, "numpy", copy=True).ravel()[1])


def test_meaningless_option_is_refused():
    for x in (np.zeros(2), torch.zeros(2), bytes(2), np.ma.zeros(2)):
        for call in (share, explain):
            with pytest.raises(WrongTypeError, match="nulls"):
                call(x, "numpy", nulls="mask")
