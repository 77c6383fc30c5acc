"""Row indexes other than slices, lists and NumPy arrays: ranges, tensors, columns."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from ..._core.memory import is_masked_array
from ...errors import IndexRangeError, InvalidIndexError, NumpackError
from ...io import share

_PROTOCOLS = ("__array__", "__dlpack__", "__arrow_c_array__", "__arrow_c_stream__")


def to_row_numbers(indexes: Any, count: int) -> np.ndarray[Any, Any]:
    """Convert an index of any other type to row numbers or a mask.

    Parameters
    ----------
    indexes : range, int-like, ndarray of any subclass, or array of any framework
    count : int
        Number of rows.

    Raises
    ------
    IndexRangeError
        A range reaches beyond the rows.
    InvalidIndexError
        The index has no row numbers, no order, or missing values.
    """
    if isinstance(indexes, range):
        return _from_range(indexes, count)
    _refuse(indexes)
    if not getattr(indexes, "ndim", 0) and hasattr(indexes, "__index__"):
        return _from_int(indexes, count)
    try:
        array: np.ndarray[Any, Any] = share(indexes, "numpy", copy=True)
    except NumpackError as error:
        raise invalid_index_error(f"{type(indexes).__name__} ({error})") from error
    if not array.ndim:
        raise invalid_index_error(f"an array of {array.dtype} with 0 dimensions")
    return array


def is_array_like(index: Any) -> bool:
    """Check whether an object is a range, or an array or column of some framework."""
    return isinstance(index, range) or any(hasattr(index, name) for name in _PROTOCOLS)


def _refuse(indexes: Any) -> None:
    """Refuse objects that are not ordered row numbers, before reading from them."""
    if isinstance(indexes, AbstractSet | Mapping | Iterator) or hasattr(indexes, "gi_frame"):
        fix = "sorted" if isinstance(indexes, AbstractSet) else "list"
        raise invalid_index_error(f"{type(indexes).__name__}; pass {fix}(indexes)")
    if isinstance(indexes, str | bytes | bytearray):
        raise invalid_index_error(
            f"{type(indexes).__name__}; pass row numbers, not text or bytes"
        )
    if indexes is None or isinstance(indexes, bool | np.bool_ | float):
        raise invalid_index_error(repr(indexes))
    if is_masked_array(indexes):
        raise invalid_index_error("a masked array; pass indexes.compressed(), or indexes.data")


def _from_int(number: Any, count: int) -> np.ndarray[Any, Any]:
    try:
        row = operator.index(number)
    except (TypeError, ValueError, RuntimeError) as error:
        raise invalid_index_error(f"{type(number).__name__} ({error})") from error
    if str(getattr(number, "dtype", "")).endswith("bool"):
        raise invalid_index_error(f"a single boolean of {type(number).__name__}")
    if not -(2**63) <= row < 2**63:
        raise out_of_range_error(row, count)
    return np.array([row], np.int64)


def _from_range(rows: range, count: int) -> np.ndarray[Any, Any]:
    for row in (rows[0], rows[-1]) if rows else ():
        if not -count <= row < count:
            raise out_of_range_error(row, count)
    if len(rows) < 2:  # the step may be any integer
        return np.array(rows, np.int64)
    beyond = rows[-1] + (1 if rows.step > 0 else -1)
    return np.arange(rows[0], beyond, rows.step, dtype=np.int64)


def invalid_index_error(what: str) -> InvalidIndexError:
    """Return the error for an object that is not a row index."""
    return InvalidIndexError(
        "The indexes must be int or list or numpy.ndarray or slice, of one dimension and of "
        f"integers or booleans, not {what}"
    )


def out_of_range_error(row: Any, count: int) -> IndexRangeError:
    """Return the error for a row number that does not exist."""
    return IndexRangeError(f"row {row} is out of range: there are {count} rows")
