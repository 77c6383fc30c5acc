"""One conversion to a framework that uses Arrow: `share` must do what `explain` reports."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from numpack import CopyWarning, UnsupportedError, ZeroCopyError, explain, share

SHARE, COPY, REFUSE = "share", "copy", "refuse"
NUMBERS = ["bool", "int8", "int32", "uint64", "float16", "float32", "float64", "complex64"]
TIMES = [
    *("M8[s]", "M8[ms]", "M8[ns]", "M8[D]", "M8[h]", "M8[Y]", "M8[ps]", "M8[7s]", "M8"),
    *("m8[s]", "m8[us]", "m8[D]", "m8[Y]", "m8[25ms]"),
]


def check_cell(
    array: np.ndarray, target: str, expected: str, oracle, listed, **options
) -> None:
    """Compare a conversion with the expected verdict, under each policy.

    `oracle` is a module of `support.oracles`; `listed` makes a pyarrow column of a result.
    """
    route = explain(array, target, **options)
    assert route.supported == (expected != REFUSE)
    if expected == REFUSE:
        assert route.reason
        assert route.fix
        for copy in (None, False, True):
            with pytest.raises(UnsupportedError):
                share(array, target, copy=copy, **options)
        return
    assert route.shares_memory == (expected == SHARE), route
    assert route.nbytes == (0 if expected == SHARE else array.nbytes)
    if expected == COPY:
        with pytest.raises(ZeroCopyError):
            share(array, target, copy=False, **options)
        with pytest.warns(CopyWarning, match=route.verdict.split()[1]):
            result = share(array, target, **options)
    else:
        result = share(array, target, copy=False, **options)
    assert same_values(listed(result), array)
    own = share(array, target, copy=True, **options)
    assert same_values(listed(own), array)
    if array.nbytes and array.dtype.kind not in ("OUT" if expected == SHARE else "OUTSV"):
        check_places(array, oracle.address(result), oracle.address(own), expected)


def check_places(array: np.ndarray, given: int | None, own: int | None, expected: str) -> None:
    begin = np.ma.getdata(array).__array_interface__["data"][0]
    if given is not None:
        assert (given == begin) == (expected == SHARE)
        assert own != begin


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
