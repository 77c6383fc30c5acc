"""Row indexes: int, list, tuple, slice, integer array or boolean mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import IndexRangeError, InvalidIndexError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        return _checked_slice(indexes, count)
    if isinstance(indexes, list | tuple):
        indexes = _as_array(indexes, count)
    elif isinstance(indexes, int | np.integer) and not isinstance(indexes, bool):
        indexes = _as_array([indexes], count)
    if (
        not isinstance(indexes, np.ndarray)
        or indexes.ndim != 1
        or indexes.dtype.kind not in "iub"
    ):
        what = repr(indexes) if np.isscalar(indexes) else type(indexes).__name__
        if isinstance(indexes, np.ndarray):
            what = f"an array of {indexes.dtype} with {indexes.ndim} dimensions"
        raise _invalid(what)
    return (
        _of_mask(indexes, count) if indexes.dtype.kind == "b" else _of_numbers(indexes, count)
    )


def _as_array(indexes: Sequence[Any], count: int) -> np.ndarray[Any, Any]:
    if not len(indexes):
        return np.empty(0, np.intp)
    for index in indexes:
        if isinstance(index, int) and not -(2**63) <= index < 2**63:
            raise _out_of_range(index, count)
    try:
        return np.asarray(indexes)
    except ValueError:
        raise _invalid("a list of lists of different lengths") from None


def _checked_slice(rows: slice, count: int) -> slice:
    try:
        rows.indices(count)
    except (TypeError, ValueError) as error:
        raise _invalid(f"{rows} ({error})") from None
    return rows


def _invalid(what: str) -> InvalidIndexError:
    return InvalidIndexError(
        "The indexes must be int or list or numpy.ndarray or slice, of one dimension and of "
        f"integers or booleans, not {what}"
    )


def _out_of_range(row: Any, count: int) -> IndexRangeError:
    return IndexRangeError(f"row {row} is out of range: there are {count} rows")


def _of_mask(mask: np.ndarray[Any, Any], count: int) -> Rows:
    if len(mask) != count:
        msg = f"a mask of {len(mask)} booleans does not fit {count} rows"
        raise IndexRangeError(msg)
    return np.flatnonzero(mask)


def _of_numbers(numbers: np.ndarray[Any, Any], count: int) -> Rows:
    wrong = (numbers < -count) | (numbers >= count)
    if wrong.any():
        raise _out_of_range(numbers[wrong][0], count)
    rows = numbers.astype(np.intp)
    return np.where(rows < 0, rows + count, rows)
