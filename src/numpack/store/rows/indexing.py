"""Row indexes: int, list, tuple, slice, integer array or boolean mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.memory import aligned_empty
from ...errors import IndexRangeError
from ..format.data_files import as_bytes
from ..kernels.gather import take_rows
from .foreign_indexes import as_numbers, invalid, out_of_range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..._core.memory import Array

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Rows = np.ndarray[Any, np.dtype[np.integer[Any] | np.bool]]

AT_ONCE = 1 << 16  # row numbers that are made at a time


def rows_of(indexes: Any, count: int) -> slice | Rows:
    """Bring an index of rows to a slice, row numbers or a mask.

    Parameters
    ----------
    indexes : int, list, tuple, slice, integer array or boolean mask
        Negative numbers count from the end. A single int selects one row and keeps the
        axis.
    count : int
        How many rows there are.

    Returns
    -------
    slice or ndarray
        Of numbers, which may be negative, or of one bool a row.

    Raises
    ------
    IndexRangeError
        A mask has another length.
    InvalidIndexError
        `indexes` is something else.
    """
    if isinstance(indexes, slice):
        return _checked_slice(indexes, count)
    if isinstance(indexes, list | tuple):
        indexes = _as_array(indexes, count)
    elif isinstance(indexes, int | np.integer) and not isinstance(indexes, bool):
        indexes = _as_array([indexes], count)
    elif type(indexes) is not np.ndarray or not indexes.ndim:
        indexes = as_numbers(indexes, count)
    if (
        not isinstance(indexes, np.ndarray)
        or indexes.ndim != 1
        or indexes.dtype.kind not in "iub"
    ):
        what = repr(indexes) if np.isscalar(indexes) else type(indexes).__name__
        if isinstance(indexes, np.ndarray):
            what = f"an array of {indexes.dtype} with {indexes.ndim} dimensions"
        raise invalid(what)
    if indexes.dtype.kind == "b" and len(indexes) != count:
        msg = f"a mask of {len(indexes)} booleans does not fit {count} rows"
        raise IndexRangeError(msg)
    return indexes


class Selection:
    """The rows that an index selects, whose numbers are made some at a time.

    Parameters
    ----------
    indexes : int, list, tuple, slice, integer array or boolean mask
    count : int
        How many rows there are.
    private : bool, default False
        Copy an array of indexes, which another thread may change, and check all its numbers.

    Raises
    ------
    IndexRangeError, InvalidIndexError
        As `rows_of`.
    """

    __slots__ = ("_checked", "_length", "_rows", "count")

    def __init__(self, indexes: Any, count: int, *, private: bool = False) -> None:
        rows: range | Rows = _range(rows_of(indexes, count), count)
        is_mask = isinstance(rows, np.ndarray) and rows.dtype.kind == "b"
        self._checked: Numbers | None = None  # all numbers, if they have been checked
        if private and isinstance(rows, np.ndarray):
            rows = rows.copy()
            if not is_mask:
                rows = self._checked = _checked(rows, count)
        self._rows, self.count = rows, count
        self._length = int(np.count_nonzero(np.asarray(rows))) if is_mask else len(rows)

    def __len__(self) -> int:
        """Return the number of rows that are selected."""
        return self._length

    @property
    def is_unique(self) -> bool:
        """Whether no row can be selected twice."""
        return isinstance(self._rows, range) or self._rows.dtype.kind == "b"

    @property
    def rises(self) -> bool:
        """Whether each number is greater than the one before, as far as that is plain."""
        rows = self._rows
        return rows.step > 0 if isinstance(rows, range) else rows.dtype.kind == "b"

    @property
    def span(self) -> range | None:
        """The rows as a range of step 1, if a slice selects them so."""
        is_span = isinstance(self._rows, range) and self._rows.step == 1
        return self._rows if is_span and isinstance(self._rows, range) else None

    def numbers(self) -> Numbers:
        """Return the numbers of all rows, from 0 to the number of rows less 1."""
        if self._checked is not None:
            return self._checked
        blocks = list(self.blocks(max(1, len(self._rows))))
        return blocks[0] if blocks else np.empty(0, np.int64)

    def blocks(self, size: int = AT_ONCE) -> Iterator[Numbers]:
        """Iterate over the numbers, no more than `size` at a time.

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


def gathered(stored: Array, rows: Numbers) -> Array:
    """Copy rows into memory of their own.

    Parameters
    ----------
    stored : ndarray
        C-contiguous.
    rows : ndarray of int64
        Of one dimension; negative numbers count from the end.

    Raises
    ------
    IndexRangeError
        A row number is out of range.
    """
    fresh = aligned_empty((len(rows), *stored.shape[1:]), stored.dtype)
    gather_into(stored, rows, fresh)
    return fresh


def gather_into(stored: Array, rows: Numbers, out: Array) -> None:
    """Copy rows into memory that has the room for them; see `gathered`."""
    width = out.nbytes // len(rows) if len(rows) else 0
    wrong = take_rows(as_bytes(stored), width, len(stored), rows, as_bytes(out))
    if wrong >= 0:
        raise out_of_range(rows[wrong], len(stored))


def _as_array(indexes: Sequence[Any], count: int) -> np.ndarray[Any, Any]:
    if not len(indexes):
        return np.empty(0, np.intp)
    for index in indexes:
        if isinstance(index, int) and not -(2**63) <= index < 2**63:
            raise out_of_range(index, count)
    try:
        array = np.asarray(indexes)
    except (ValueError, TypeError, RuntimeError):  # the latter two of the elements
        raise invalid("a list of lists of different lengths") from None
    if array.dtype.kind in "iu" and any(isinstance(each, bool | np.bool_) for each in indexes):
        raise invalid("a list of integers and booleans")
    return array


def _checked_slice(rows: slice, count: int) -> slice:
    try:
        rows.indices(count)
    except (TypeError, ValueError) as error:
        raise invalid(f"{rows} ({error})") from None
    return rows


def _range(rows: slice | Rows, count: int) -> range | Rows:
    return range(*rows.indices(count)) if isinstance(rows, slice) else rows


def int64_of(numbers: Rows, count: int) -> Numbers:
    """Convert row numbers to int64, as they are."""
    if numbers.dtype == np.uint64 and (wrong := numbers >= np.uint64(count)).any():
        raise out_of_range(numbers[wrong][0], count)  # it may be none that fits an int64
    return np.ascontiguousarray(numbers, np.int64)


def _checked(numbers: Rows, count: int) -> Numbers:
    """Convert row numbers to int64 and count all of them from the start."""
    rows = int64_of(numbers, count)
    if not len(rows) or rows.view(np.uint64).max() < count:  # negative ones are huge so
        return rows
    wrong = (rows < -count) | (rows >= count)
    if wrong.any():
        raise out_of_range(rows[wrong][0], count)
    return np.where(rows < 0, rows + count, rows)
