"""Polars."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import polars as pl
import pyarrow as pa

from . import arrow

_UNITS = ("ms", "us", "ns", "D")


def make(values: np.ndarray) -> pl.Series | None:
    kind = values.dtype.kind
    if kind in "cSVOg" or values.dtype.char == "g" or hasattr(ml_dtypes, values.dtype.name):
        return None
    if kind == "m" and np.datetime_data(values.dtype) == ("D", 1):
        return None
    if kind in "mM" and np.datetime_data(values.dtype) not in [(unit, 1) for unit in _UNITS]:
        return None
    flat = values.ravel()
    return pl.Series(flat.tolist() if kind in "UT" else flat.copy())


def address(series: pl.Series) -> int:
    return arrow.address(pa.chunked_array(_column(series)))


def values(series: pl.Series) -> np.ndarray:
    return _column(series).to_numpy()


def _column(series: pl.Series | pl.DataFrame) -> pl.Series:
    return series.to_series(0) if isinstance(series, pl.DataFrame) else series
