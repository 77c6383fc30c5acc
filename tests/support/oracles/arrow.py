"""Arrow, by pyarrow."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pyarrow as pa


def make(values: np.ndarray) -> pa.Array | None:
    if values.dtype.kind in "cVO" or values.dtype.char in "gG":
        return None
    if hasattr(ml_dtypes, values.dtype.name):
        return None
    try:
        return pa.array(values.ravel())
    except pa.ArrowException:
        return None


def address(array: pa.Array | pa.ChunkedArray) -> int:
    array = column(array)
    chunk = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    while not pa.types.is_primitive(chunk.type) and hasattr(chunk, "values"):
        chunk = chunk.values
    width = 0 if pa.types.is_boolean(chunk.type) else chunk.type.bit_width // 8
    return chunk.buffers()[1].address + chunk.offset * width


def values(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return column(array).to_numpy(zero_copy_only=False)


def column(array: pa.Array | pa.ChunkedArray | pa.Table) -> pa.Array | pa.ChunkedArray:
    """Return the only column of a table, the form of a query's result."""
    return array.column(0) if isinstance(array, pa.Table) else array
