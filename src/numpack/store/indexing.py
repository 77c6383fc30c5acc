"""Row indexes: int, list, tuple, slice, integer array or boolean mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._memory import aligned_empty
from ..errors import IndexRangeError, InvalidIndexError
from ._gather import take
from .data import as_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._memory import Array

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def rows_of(indexes: Any, count: int) -> slice | Numbers:
    """Bring an index of rows to a slice or to row numbers, which may be negative.

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
        A mask has another length, or a number none that a row can have.
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


def numbers_of(indexes: Any, count: int) -> Numbers:
    """Bring an index of rows to row numbers from 0 to `count` - 1.

    Raises
    ------
    IndexRangeError, InvalidIndexError
        As `rows_of`; and a row number is out of range.
    """
    rows = rows_of(indexes, count)
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count))
    if not len(rows) or (rows.min() >= 0 and rows.max() < count):
        return rows
    wrong = (rows < -count) | (rows >= count)
    if wrong.any():
        raise out_of_range(rows[wrong][0], count)
    return np.where(rows < 0, rows + count, rows)


def gathered(stored: Array, rows: Numbers, shape: tuple[int, ...] = (-1,)) -> Array:
    """Copy rows into memory of their own.

    Parameters
    ----------
    stored : ndarray
        C-contiguous.
    rows : ndarray of int64
        Of one dimension; negative numbers count from the end.
    shape : tuple of int
        What takes the place of the first axis.

    Raises
    ------
    IndexRangeError
        A row number is out of range.
    """
    count = len(stored)
    fresh = aligned_empty((len(rows), *stored.shape[1:]), stored.dtype)
    width = fresh.nbytes // len(rows) if len(rows) else 0
    wrong = take(as_bytes(stored), width, count, rows, as_bytes(fresh))
    if wrong >= 0:
        raise out_of_range(rows[wrong], count)
    return fresh if len(shape) == 1 else fresh.reshape(*shape, *stored.shape[1:])


def _as_array(indexes: Sequence[Any], count: int) -> np.ndarray[Any, Any]:
    if not len(indexes):
        return np.empty(0, np.intp)
    for index in indexes:
        if isinstance(index, int) and not -(2**63) <= index < 2**63:
            raise out_of_range(index, count)
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


def out_of_range(row: Any, count: int) -> IndexRangeError:
    """Make the error for a row that there is not."""
    return IndexRangeError(f"row {row} is out of range: there are {count} rows")


def _of_mask(mask: np.ndarray[Any, Any], count: int) -> Numbers:
    if len(mask) != count:
        msg = f"a mask of {len(mask)} booleans does not fit {count} rows"
        raise IndexRangeError(msg)
    return np.flatnonzero(mask)


def _of_numbers(numbers: np.ndarray[Any, Any], count: int) -> Numbers:
    if numbers.dtype == np.uint64 and (wrong := numbers >= np.uint64(count)).any():
        raise out_of_range(numbers[wrong][0], count)  # it may be none that fits an int64
    return np.ascontiguousarray(numbers, np.int64)
