"""Rows that were dropped: a list of their numbers in the data file, in the order of dropping.

The list only grows, and the log counts how many of its entries hold at which commit. So
dropping rows costs what appending does, and an array that was loaded before keeps its rows.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CorruptStoreError
from ._dropped import find_stored, merge
from ._sums import crc32
from .files import read_between, write_all

if TYPE_CHECKING:
    from .files import Folder
    from .state import Entry

Numbers = np.ndarray[Any, np.dtype[np.int64]]

NO_ROWS: Numbers = np.empty(0, np.int64)

_ITEM = 8  # bytes of a row number
_RECENT = 4096  # row numbers


class Dropped:
    """The dropped rows of an array at some commit; it never changes.

    Those that were dropped last are held apart, by their numbers among the rows that the
    others leave, so that dropping a few more costs the same however many are gone.

    Parameters
    ----------
    rows : ndarray of int64
        Their numbers in the data file, sorted.
    count : int
        How many rows there are in the data file.
    recent : ndarray of int64, optional
        Numbers of more of them, sorted, among the rows without `rows`.
    """

    __slots__ = ("count", "recent", "rows")

    def __init__(self, rows: Numbers, count: int, recent: Numbers | None = None) -> None:
        self.rows = rows
        self.count = count
        self.recent = NO_ROWS if recent is None else recent

    def __len__(self) -> int:
        """Tell how many rows were dropped."""
        return len(self.rows) + len(self.recent)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the row numbers."""
        return Dropped, (self.rows, self.count, self.recent)

    def stored(self, numbers: Numbers) -> Numbers:
        """Give the numbers in the data file of rows as the user numbers them."""
        for dropped in (self.recent, self.rows):
            if len(dropped):
                found = np.empty(len(numbers), np.int64)
                find_stored(dropped, numbers, found)
                numbers = found
        return numbers

    def kept_before(self, stored: int) -> int:
        """Tell how many rows are kept before a row of the data file."""
        return stored - int(np.searchsorted(self._all(), stored))

    def span(self) -> slice | None:
        """Give the kept rows as one range, if they lie without a gap."""
        rows = self._all()
        kept_before, kept = rows - np.arange(len(rows)), self.count - len(rows)
        first = int(np.searchsorted(kept_before, 0, side="right"))
        if len(rows) == first or kept_before[first] == kept:
            return slice(first, first + kept)
        return None

    def and_more(self, numbers: Numbers) -> tuple[Numbers, Dropped]:
        """Drop some more rows.

        Parameters
        ----------
        numbers : ndarray of int64
            As the user numbers them, sorted.

        Returns
        -------
        ndarray of int64
            Their numbers in the data file.
        Dropped
            All that are dropped then.

        Raises
        ------
        ValueError
            A number is told twice, or is out of range.
        """
        rows = self.rows
        stored, recent = _merged(self.recent, numbers, self.count - len(self))
        if len(rows):
            find_stored(rows, stored, stored)
        if len(recent) > _RECENT:
            rows = _merged(rows, recent, self.count - len(rows))[1]
            return stored, Dropped(rows, self.count)
        return stored, Dropped(rows, self.count, recent)

    def of_count(self, count: int) -> Dropped:
        """Give the same rows after the data file has grown, or when it was shorter."""
        return self if count == self.count else Dropped(self.rows, count, self.recent)

    def _all(self) -> Numbers:
        return _merged(self.rows, self.recent, self.count - len(self.rows))[1]


def _merged(dropped: Numbers, numbers: Numbers, kept: int) -> tuple[Numbers, Numbers]:
    """Give the numbers in the data file of rows that are dropped, and of all dropped then."""
    stored = np.empty(len(numbers), np.int64)
    merged = np.empty(len(dropped) + len(numbers), np.int64)
    merge(dropped, numbers, kept, stored, merged)
    return stored, merged


def write(descriptor: int, entry: Entry, rows: Numbers, *, durable: bool) -> int:
    """Write more row numbers behind those that are committed; give the list's CRC-32."""
    data = np.ascontiguousarray(rows, "<i8")
    write_all(descriptor, data, _ITEM * entry.dropped)
    if durable:
        os.fdatasync(descriptor)
    return crc32(data, entry.dropped_crc)


def read(folder: Folder, entry: Entry) -> Dropped:
    """Read the list up to what an entry counts.

    Raises
    ------
    CorruptStoreError
        It is cut or damaged.
    FileNotFoundError
        It is missing.
    """
    path = f"{folder.path}/{entry.dropped_file}"
    descriptor = folder.open(entry.dropped_file)
    try:
        data = read_between(descriptor, 0, _ITEM * entry.dropped)
    finally:
        os.close(descriptor)
    if len(data) < _ITEM * entry.dropped:
        raise _damaged(path, f"it has {len(data):,} bytes of {_ITEM * entry.dropped:,}")
    if crc32(data) != entry.dropped_crc:
        raise _damaged(path, "its checksum is wrong")
    return Dropped(np.sort(np.frombuffer(data, "<i8").astype(np.int64)), entry.stored[0])


def _damaged(path: str, what: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"the list of dropped rows {path} is damaged: {what}; restore it from a backup"
    )
