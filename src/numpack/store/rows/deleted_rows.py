"""Rows that were dropped: a list of their numbers in the data file, in the order of dropping.

The list only grows, and the log counts how many of its entries hold at which commit. So
dropping rows costs what appending does, and an array that was loaded before keeps its rows.
"""

from __future__ import annotations

import bisect
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CorruptStoreError
from ..format import data_files
from ..fs.directory import has_hole, too_large_error, write_all
from ..fs.syscalls import size_of
from ..kernels.checksums import crc32
from ..kernels.deleted import copy_live, map_live_to_stored, merge_deleted

if TYPE_CHECKING:
    from ..._core.memory import Array
    from ..format.catalog import Entry
    from ..fs.directory import Folder

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

    __slots__ = ("_lists", "count")

    def __init__(self, rows: Numbers, count: int, recent: Numbers | None = None) -> None:
        self._lists = rows, NO_ROWS if recent is None else recent
        self.count = count

    @property
    def rows(self) -> Numbers:
        """Numbers in the data file of those that were not dropped last."""
        return self._lists[0]

    @property
    def recent(self) -> Numbers:
        """Numbers of those that were dropped last, among the rows without the others."""
        return self._lists[1]

    def __len__(self) -> int:
        """Tell how many rows were dropped."""
        rows, recent = self._lists
        return len(rows) + len(recent)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the row numbers."""
        rows, recent = self._lists
        return Dropped, (rows, self.count, recent)

    def stored(self, numbers: Numbers) -> Numbers:
        """Give the numbers in the data file of rows as the user numbers them."""
        rows, recent = self._lists
        for dropped in (recent, rows):
            if len(dropped):
                found = np.empty(len(numbers), np.int64)
                map_live_to_stored(dropped, numbers, found)
                numbers = found
        return numbers

    def live_before(self, stored: int) -> int:
        """Return how many rows are kept before a row of the data file."""
        return stored - int(np.searchsorted(self.all(), stored))

    def span(self) -> slice | None:
        """Return the kept rows as one range, if they lie without a gap."""
        rows, kept = self.all(), self.count - len(self)

        def live_before(index: int) -> int:
            return int(rows[index]) - index

        first = bisect.bisect_right(range(len(rows)), 0, key=live_before)
        if len(rows) == first or live_before(first) == kept:
            return slice(first, first + kept)
        return None

    def copy(self, stored: Array, first: int, out: Array, offset: int = 0) -> None:
        """Copy kept rows that follow each other into `out`, which has the room for them.

        Parameters
        ----------
        stored : ndarray
            Rows of the data file, C-contiguous, from the row number `offset` on.
        first : int
            Number of the first row to copy, as the user numbers them.
        out : ndarray
            C-contiguous.
        offset : int, default 0
        """
        if out.nbytes:
            width = out.nbytes // len(out)
            source, target = data_files.as_bytes(stored), data_files.as_bytes(out)
            copy_live(
                source, width, self.all(), offset, first, target, data_files.thread_count()
            )

    def all(self) -> Numbers:
        """Return the numbers in the data file of all dropped rows, sorted."""
        rows, recent = self._lists
        if len(recent):
            rows = _merged(rows, recent, self.count - len(rows))[1]
            self._lists = rows, NO_ROWS  # at once: others may be reading both
        return rows

    def part(self, start: int, stop: int) -> Dropped | None:
        """Return the dropped rows among some rows of the data file; ``None`` if none were."""
        rows = self.all()
        first, last = np.searchsorted(rows, (start, stop))
        return Dropped(rows[first:last] - start, stop - start) if first < last else None

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
        rows, recent = self._lists
        stored, recent = _merged(recent, numbers, self.count - len(rows) - len(recent))
        if len(rows):
            map_live_to_stored(rows, stored, stored)
        if len(recent) > _RECENT:
            rows = _merged(rows, recent, self.count - len(rows))[1]
            return stored, Dropped(rows, self.count)
        return stored, Dropped(rows, self.count, recent)

    def of_count(self, count: int) -> Dropped:
        """Give the same rows after the data file has grown, or when it was shorter."""
        rows, recent = self._lists
        return self if count == self.count else Dropped(rows, count, recent)


def _merged(dropped: Numbers, numbers: Numbers, kept: int) -> tuple[Numbers, Numbers]:
    """Give the numbers in the data file of rows that are dropped, and of all dropped then."""
    stored = np.empty(len(numbers), np.int64)
    merged = np.empty(len(dropped) + len(numbers), np.int64)
    merge_deleted(dropped, numbers, kept, stored, merged)
    return stored, merged


def write(descriptor: int, entry: Entry, rows: Numbers, *, durable: bool) -> int:
    """Write more row numbers behind those that are committed; give the list's CRC-32."""
    content = np.ascontiguousarray(rows, "<i8")
    write_all(descriptor, content, _ITEM * entry.dropped)
    if durable:
        os.fdatasync(descriptor)
    return crc32(content, entry.dropped_crc)


def read(folder: Folder, entry: Entry) -> Dropped:
    """Read the list up to what an entry counts.

    Raises
    ------
    CorruptStoreError
        It is cut or damaged.
    MissingFileError
        It is missing.
    """
    path, needed = f"{folder.path}/{entry.dropped_file}", _ITEM * entry.dropped
    descriptor = folder.open(entry.dropped_file)
    try:
        size = size_of(descriptor)
        if size < needed:
            raise _damaged(path, f"it has {size:,} bytes of {needed:,}")
        if has_hole(descriptor, 0, needed):  # no number but one is 0
            raise _damaged(path, "it has holes where numbers should be")
        rows = np.empty(entry.dropped, "<i8")
        length = data_files.read_part(folder, entry.dropped_file, descriptor, rows, 0)
    except (MemoryError, ValueError):
        raise too_large_error(path, needed) from None
    finally:
        os.close(descriptor)
    if length < needed:
        raise _damaged(path, f"it has {length:,} bytes of {needed:,}")
    if crc32(rows) != entry.dropped_crc:
        raise _damaged(path, "its checksum is wrong")
    rows.sort()
    if len(rows) and (rows[0] < 0 or rows[-1] >= entry.stored[0]):
        raise _damaged(path, f"it has rows that are none of {entry.stored[0]:,}")
    if (rows[1:] == rows[:-1]).any():
        raise _damaged(path, "it has a row twice")
    return Dropped(rows.astype(np.int64, copy=False), entry.stored[0])


def _damaged(path: str, what: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"the list of dropped rows {path} is damaged: {what}; restore it from a backup"
    )
