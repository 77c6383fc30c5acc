"""Values of frameworks that use Arrow, and an owner of memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

NUMBERS = ["bool", "int8", "int32", "uint64", "float16", "float32", "float64", "complex64"]
TIMES = [
    *("M8[s]", "M8[ms]", "M8[ns]", "M8[D]", "M8[h]", "M8[Y]", "M8[ps]", "M8[7s]", "M8"),
    *("m8[s]", "m8[us]", "m8[D]", "m8[Y]", "m8[25ms]"),
]


def same_values(column: pa.Array | pa.ChunkedArray, array: np.ndarray) -> bool:
    """Compare in C order; exactly the masked values and NaT must be null."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    while pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    flat = np.ma.getdata(array).view(np.ndarray).ravel()
    hidden = np.ma.getmaskarray(array).ravel()
    if flat.dtype.kind in "mM":
        native = flat.dtype.newbyteorder("=")
        hidden = hidden | np.isnat(flat)
        found = column.to_numpy(zero_copy_only=False).astype(native).view("i8").tolist()
        wanted = flat.astype(native).view("i8").tolist()
    elif flat.dtype.kind in "SV":  # with trailing zeros
        found, wanted = column.to_pylist(), [each.tobytes() for each in flat.reshape(-1, 1)]
    else:
        found, wanted = column.to_pylist(), flat.tolist()
    nulls = column.is_null().to_pylist()
    return nulls == hidden.tolist() and all(
        mine == theirs
        for mine, theirs, null in zip(found, wanted, nulls, strict=True)
        if not null
    )


class Owner:
    """A memory owner whose lifetime a test can observe."""

    def __init__(self, count: int) -> None:
        self.array = np.arange(float(count))
        self.__array_interface__ = self.array.__array_interface__
