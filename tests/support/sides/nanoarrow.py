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
    return arrow.address(pa.chunked_array(array))


def values(array: nanoarrow.Array) -> np.ndarray:
    return arrow.values(pa.chunked_array(array))
