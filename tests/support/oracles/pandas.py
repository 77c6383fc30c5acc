"""pandas: a Series, or the only column of a frame."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pandas as pd

_NULLABLE = (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray)


def make(values: np.ndarray) -> pd.Series | None:
    dtype = values.dtype
    if dtype.kind == "V" or hasattr(ml_dtypes, dtype.name) or not dtype.isnative:
        return None
    if dtype.kind in "mM" and np.datetime_data(dtype) not in [
        (unit, 1) for unit in ("s", "ms", "us", "ns")
    ]:
        return None  # pandas would convert them
    if dtype.kind == "T":
        values = values.astype(object)
    return pd.Series(values.ravel(), dtype=object if dtype.kind == "O" else None, copy=True)


def _one_column(array: pd.Series | pd.DataFrame) -> pd.Series:
    return array if isinstance(array, pd.Series) else array.iloc[:, 0]


def address(series: pd.Series | pd.DataFrame) -> int | None:
    series = _one_column(series)
    array = series.array
    if isinstance(array, pd.arrays.ArrowExtensionArray):
        chunk = array.__arrow_array__().chunk(0)
        buffers = chunk.buffers()
        width = 0 if len(buffers) > 2 else chunk.type.bit_width // 8
        return buffers[1].address + chunk.offset * width
    if isinstance(array, _NULLABLE):
        return array._data.__array_interface__["data"][0]
    return series.to_numpy(copy=False).__array_interface__["data"][0]


def values(series: pd.Series | pd.DataFrame) -> np.ndarray:
    return _one_column(series).to_numpy()
