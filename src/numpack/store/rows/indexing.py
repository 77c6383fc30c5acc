"""Normalization of row indexes: int, list, tuple, slice, integer array or boolean mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.memory import aligned_empty
from ...errors import IndexRangeError
from ..format.data_files import as_bytes
from ..kernels.gather import take_rows
from .foreign_indexes import (
    invalid_index_error,
    is_array_like,
    out_of_range_error,
    to_row_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..._core.memory import Array

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Rows = np.ndarray[Any, np.dtype[np.integer[Any] | np.bool]]

CHUNK_ROWS = 1 << 16  # row numbers that are computed at a time

_NUMPY_INDEXES = (slice, int, tuple, np.ndarray, np.generic, str)


def normalize_rows(indexes: Any, count: int) -> slice | Rows:
    """Convert a row index to a slice, row numbers or a mask.

    Parameters
    ----------
    indexes : int, list, tuple, slice, integer array or boolean mask
        Negative numbers count from the end. A single int selects one row and keeps the
        axis.
    count : int
        Number of rows.

    Returns
    -------
    slice or ndarray
        Row numbers, which may be negative, or one bool per row.

    Raises
    ------
    IndexRangeError
        A mask has a length other than `count`.
    InvalidIndexError
        `indexes` is of another type.
    """
    if isinstance(indexes, slice):
        return _check_slice(indexes, count)
    if isinstance(indexes, list | tuple):
        indexes = _as_array(indexes, count)
    elif isinstance(indexes, int | np.integer) and not isinstance(indexes, bool):
        indexes = _as_array([indexes], count)
    elif type(indexes) is not np.ndarray or not indexes.ndim:
        indexes = to_row_numbers(indexes, count)
    if (
        not isinstance(indexes, np.ndarray)
        or indexes.ndim != 1
        or indexes.dtype.kind not in "iub"
    ):
        what = repr(indexes) if np.isscalar(indexes) else type(indexes).__name__
        if isinstance(indexes, np.ndarray):
            what = f"an array of {indexes.dtype} with {indexes.ndim} dimensions"
        raise invalid_index_error(what)
    if indexes.dtype.kind == "b" and len(indexes) != count:
        msg = f"a mask of {len(indexes)} booleans does not fit {count} rows"
        raise IndexRangeError(msg)
    return indexes


def fancy_index(key: Any, count: int) -> Rows | None:
    """Return an index as an array of row numbers or a mask, if NumPy treats it as one.

    Parameters
    ----------
    key : object
        Of any type, as passed to ``__getitem__``.
    count : int
        Number of rows.

    Returns
    -------
    ndarray or None
        Of any number of dimensions but 0; ``None`` for all other kinds of indexes.
    """
    index = np.asarray(key) if isinstance(key, list) else key
    if not isinstance(index, _NUMPY_INDEXES) and is_array_like(index):
        index = to_row_numbers(index, count)
    if isinstance(index, np.ndarray) and index.dtype.kind in "iub" and index.ndim:
        return index
    return None


class Selection:
    """Rows that an index selects; their numbers are computed in chunks.

    Parameters
    ----------
    indexes : int, list, tuple, slice, integer array or boolean mask
    count : int
        Number of rows.
    private : bool, default False
        Copy an index array, which another thread may change, and check all of its numbers.

    Raises
    ------
    IndexRangeError, InvalidIndexError
        As for `normalize_rows`.
    """

    __slots__ = ("_checked", "_length", "_rows", "count")

    def __init__(self, indexes: Any, count: int, *, private: bool = False) -> None:
        rows: range | Rows = _as_range(normalize_rows(indexes, count), count)
        is_mask = isinstance(rows, np.ndarray) and rows.dtype.kind == "b"
        self._checked: Numbers | None = None  # all numbers, once they have been checked
        if private and isinstance(rows, np.ndarray):
            rows = rows.copy()
            if not is_mask:
                rows = self._checked = _checked(rows, count)
        self._rows, self.count = rows, count
        self._length = int(np.count_nonzero(np.asarray(rows))) if is_mask else len(rows)

    def __len__(self) -> int:
        """Return the number of selected rows."""
        return self._length

    @property
    def is_range(self) -> bool:
        """Whether the index is a slice, so that no number is out of range."""
        return isinstance(self._rows, range)

    @property
    def is_unique(self) -> bool:
        """Whether each row is certainly selected at most once."""
        return isinstance(self._rows, range) or self._rows.dtype.kind == "b"

    @property
    def is_ascending(self) -> bool:
        """Whether the numbers are certainly ascending, without looking at them."""
        rows = self._rows
        return rows.step > 0 if isinstance(rows, range) else rows.dtype.kind == "b"

    @property
    def as_range(self) -> range | None:
        """The rows as a range, if the index is a slice."""
        return self._rows if isinstance(self._rows, range) else None

    @property
    def span(self) -> range | None:
        """The rows as a range of step 1, if the index is such a slice."""
        rows = self.as_range
        return rows if rows is not None and rows.step == 1 else None

    def numbers(self) -> Numbers:
        """Return all selected numbers, none of them negative."""
        if self._checked is not None:
            return self._checked
        blocks = list(self.blocks(max(1, len(self._rows))))
        return blocks[0] if blocks else np.empty(0, np.int64)

    def blocks(self, size: int = CHUNK_ROWS) -> Iterator[Numbers]:
        """Iterate over the selected numbers in chunks of at most `size`.

        Raises
        ------
        IndexRangeError
            A number is out of range.
        """
        if self._checked is not None:
            for start in range(0, len(self._checked), size):
                yield self._checked[start : start + size]
            return
        rows = self._rows
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            if isinstance(part, range):
                yield np.arange(part.start, part.stop, part.step, dtype=np.int64)
            elif part.dtype.kind != "b":
                yield _checked(part, self.count)
            elif len(found := np.flatnonzero(part)):
                found += start
                yield found


def gather(stored: Array, rows: Numbers) -> Array:
    """Copy selected rows into newly allocated memory.

    Parameters
    ----------
    stored : ndarray
        C-contiguous.
    rows : ndarray of int64
        1-d; negative numbers count from the end.

    Raises
    ------
    IndexRangeError
        A row number is out of range.
    """
    fresh = aligned_empty((len(rows), *stored.shape[1:]), stored.dtype)
    gather_into(stored, rows, fresh)
    return fresh


def gather_into(stored: Array, rows: Numbers, out: Array) -> None:
    """Copy selected rows into `out`, which has their shape; see `gather`."""
    width = out.nbytes // len(rows) if len(rows) else 0
    wrong = take_rows(as_bytes(stored), width, len(stored), rows, as_bytes(out))
    if wrong >= 0:
        raise out_of_range_error(rows[wrong], len(stored))


def _as_array(indexes: Sequence[Any], count: int) -> np.ndarray[Any, Any]:
    if not len(indexes):
        return np.empty(0, np.intp)
    for index in indexes:
        if isinstance(index, int) and not -(2**63) <= index < 2**63:
            raise out_of_range_error(index, count)
    try:
        array = np.asarray(indexes)
    except (ValueError, TypeError, RuntimeError):  # the last two are raised by elements
        raise invalid_index_error("a list of lists of different lengths") from None
    if array.dtype.kind in "iu" and any(isinstance(each, bool | np.bool_) for each in indexes):
        raise invalid_index_error("a list of integers and booleans")
    return array


def _check_slice(rows: slice, count: int) -> slice:
    try:
        rows.indices(count)
    except (TypeError, ValueError) as error:
        raise invalid_index_error(f"{rows} ({error})") from None
    return rows


def _as_range(rows: slice | Rows, count: int) -> range | Rows:
    return range(*rows.indices(count)) if isinstance(rows, slice) else rows


def as_int64(numbers: Rows, count: int) -> Numbers:
    """Convert row numbers to int64 without checking them."""
    if numbers.dtype == np.uint64 and (wrong := numbers >= np.uint64(count)).any():
        raise out_of_range_error(numbers[wrong][0], count)  # it may not fit an int64
    return np.ascontiguousarray(numbers, np.int64)


def _checked(numbers: Rows, count: int) -> Numbers:
    """Convert row numbers to int64, check them, and resolve negative ones."""
    rows = as_int64(numbers, count)
    if (
        not len(rows) or rows.view(np.uint64).max() < count
    ):  # negative numbers are huge as uint64
        return rows
    wrong = (rows < -count) | (rows >= count)
    if wrong.any():
        raise out_of_range_error(rows[wrong][0], count)
    return np.where(rows < 0, rows + count, rows)
