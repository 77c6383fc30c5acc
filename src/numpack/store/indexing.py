"""Row indexes: int, list, tuple, slice, integer array or boolean mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import IndexRangeError, InvalidIndexError

Rows = slice | np.ndarray[Any, np.dtype[np.intp]]


def rows_of(indexes: Any, count: int) -> Rows:
    """Bring an index of rows to a slice or to row numbers from 0 to `count` - 1.

    Parameters
    ----------
    indexes : int, list, tuple, slice, integer array or boolean mask
        Negative numbers count from the end. A single int selects one row and keeps the
        axis.
    count : int
        How many rows there are.

    Raises
    ------
    IndexRangeError
        A row number is out of range, or a mask has another length.
    InvalidIndexError
        `indexes` is something else.
    """
    if isinstance(indexes, slice):
        return indexes
    if isinstance(indexes, list | tuple):
        indexes = np.asarray(indexes) if len(indexes) else np.empty(0, np.intp)
    elif isinstance(indexes, int | np.integer) and not isinstance(indexes, bool):
        indexes = np.array([indexes])
    if (
        not isinstance(indexes, np.ndarray)
        or indexes.ndim != 1
        or indexes.dtype.kind not in "iub"
    ):
        what = repr(indexes) if np.isscalar(indexes) else type(indexes).__name__
        if isinstance(indexes, np.ndarray):
            what = f"an array of {indexes.dtype} with {indexes.ndim} dimensions"
        msg = (
            "The indexes must be int or list or numpy.ndarray or slice, of one dimension and "
            f"of integers or booleans, not {what}"
        )
        raise InvalidIndexError(msg)
    return (
        _of_mask(indexes, count) if indexes.dtype.kind == "b" else _of_numbers(indexes, count)
    )


def _of_mask(mask: np.ndarray[Any, Any], count: int) -> Rows:
    if len(mask) != count:
        msg = f"a mask of {len(mask)} booleans does not fit {count} rows"
        raise IndexRangeError(msg)
    return np.flatnonzero(mask)


def _of_numbers(numbers: np.ndarray[Any, Any], count: int) -> Rows:
    wrong = (numbers < -count) | (numbers >= count)
    if wrong.any():
        msg = f"row {numbers[wrong][0]} is out of range: there are {count} rows"
        raise IndexRangeError(msg)
    rows = numbers.astype(np.intp)
    return np.where(rows < 0, rows + count, rows)
