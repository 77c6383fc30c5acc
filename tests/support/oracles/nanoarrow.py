"""nanoarrow."""

from __future__ import annotations

import nanoarrow
import numpy as np
import pyarrow as pa

from . import arrow


def make(values: np.ndarray) -> nanoarrow.Array | None:
    made = arrow.make(values)
    return None if made is None else nanoarrow.Array(made)


def address(array: nanoarrow.Array) -> int:
    return arrow.address(_column(array))


def values(array: nanoarrow.Array) -> np.ndarray:
    return arrow.values(_column(array))


def _column(array: nanoarrow.Array) -> pa.ChunkedArray:
    found = pa.chunked_array(array)
    return pa.table(array).column(0) if pa.types.is_struct(found.type) else found
