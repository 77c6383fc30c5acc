"""arro3."""

from __future__ import annotations

import arro3.core
import numpy as np
import pyarrow as pa

from . import arrow


def make(values: np.ndarray) -> arro3.core.Array | None:
    made = arrow.make(values)
    return None if made is None else arro3.core.Array.from_arrow(made)


def address(array: arro3.core.Array | arro3.core.ChunkedArray) -> int:
    return arrow.address(
        pa.chunked_array(array) if hasattr(array, "num_chunks") else pa.array(array)
    )


def values(array: arro3.core.Array | arro3.core.ChunkedArray) -> np.ndarray:
    return arrow.values(
        pa.chunked_array(array) if hasattr(array, "num_chunks") else pa.array(array)
    )
