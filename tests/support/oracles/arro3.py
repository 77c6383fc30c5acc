"""arro3."""

from __future__ import annotations

import arro3.core
import numpy as np
import pyarrow as pa

from . import arrow


def make(values: np.ndarray) -> arro3.core.Array | None:
    made = arrow.make(values)
    return None if made is None else arro3.core.Array.from_arrow(made)


def address(array: arro3.core.Array | arro3.core.ChunkedArray | arro3.core.Table) -> int:
    return arrow.address(_imported(array))


def values(array: arro3.core.Array | arro3.core.ChunkedArray | arro3.core.Table) -> np.ndarray:
    return arrow.values(_imported(array))


def _imported(array: object) -> pa.Array | pa.ChunkedArray | pa.Table:
    if isinstance(array, arro3.core.Table):
        return pa.table(array)
    return pa.chunked_array(array) if hasattr(array, "num_chunks") else pa.array(array)
