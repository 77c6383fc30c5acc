"""Deleted rows: a list of their numbers in the data file, in the order of deletion.

The list only grows, and the log records how many of its entries are valid as of each commit. So
deleting rows costs as little as appending, and arrays that were loaded before are unchanged.

A *stored* number counts all rows of the data file, a *live* number only those that are not
deleted; users see live numbers.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CorruptStoreError
from ..format import data_files
from ..fs.directory import has_hole, write_all
from ..fs.errors import too_large_error
from ..fs.syscalls import size_of
from ..kernels.checksums import crc32
from ..kernels.deleted import (
    copy_live,
    live_span,
    map_live_to_stored,
    merge_deleted,
    row_numbers,
    stored_number,
    stored_rows,
)
from .foreign_indexes import out_of_range_error

if TYPE_CHECKING:
    from ..._core.memory import Array
    from ..format.log.state import Entry
    from ..fs.directory import Folder

Numbers = np.ndarray[Any, np.dtype[np.int64]]

NO_ROWS: Numbers = np.empty(0, np.int64)

_ITEM = 8  # bytes of a row number
_RECENT = 4096  # row numbers
_SHORT = 1 << 16  # bytes of a list that is read at once


class DeletedRows:
    """Immutable set of the deleted rows of an array as of a commit.

    Recently deleted rows are kept in a list of their own, numbered as if the others did not
    exist, so that the cost of deleting a few more does not depend on how many are deleted.

    Parameters
    ----------
    rows : ndarray of int64
        Stored numbers, sorted.
    count : int
        Number of rows in the data file.
    recent : ndarray of int64, optional
        Numbers of further deleted rows, sorted, counting the rows that are not in `rows`.
    """

    __slots__ = ("_lists", "count")

    def __init__(self, rows: Numbers, count: int, recent: Numbers | None = None) -> None:
        self._lists = rows, NO_ROWS if recent is None else recent
        self.count = count

    @property
    def rows(self) -> Numbers:
        """Stored numbers of the rows that are not in `recent`."""
        return self._lists[0]

    @property
    def recent(self) -> Numbers:
        """Numbers of recently deleted rows, counting the rows that are not in `rows`."""
        return self._lists[1]

    def __len__(self) -> int:
        """Return the number of deleted rows."""
        rows, recent = self._lists
        return len(rows) + len(recent)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the row numbers."""
        rows, recent = self._lists
        return DeletedRows, (rows, self.count, recent)

    def to_stored(self, numbers: Numbers) -> Numbers:
        """Convert live row numbers to stored ones."""
        rows, recent = self._lists
        for deleted in (recent, rows):
            if len(deleted):
                stored = np.empty(len(numbers), np.int64)
                map_live_to_stored(deleted, numbers, stored)
                numbers = stored
        return numbers

    def stored_number(self, number: int) -> int:
        """Convert one live row number, which may be negative.

        Raises
        ------
        IndexRangeError
            It is out of range.
        """
        rows, recent = self._lists
        live = self.count - len(rows) - len(recent)
        stored = stored_number(rows, recent, live, number)
        if stored < 0:
            raise out_of_range_error(number, live)
        return stored

    def stored_rows(self, index: object, most: int) -> Numbers | None:
        """Convert an index of live rows, if it is an array of at most `most` int64 in range."""
        rows, recent = self._lists
        return stored_rows(rows, recent, self.count - len(rows) - len(recent), index, most)

    def live_before(self, stored: int) -> int:
        """Return the number of live rows before a row of the data file."""
        return stored - int(np.searchsorted(self.stored_numbers(), stored))

    def live_span(self) -> slice | None:
        """Return the live rows as one range of stored rows, if they are contiguous."""
        found = live_span(self.stored_numbers(), self.count)
        return None if found is None else slice(*found)

    def copy_live(self, stored: Array, first: int, out: Array, offset: int = 0) -> None:
        """Copy consecutive live rows into `out`, as many as fit.

        Parameters
        ----------
        stored : ndarray
            Rows of the data file from stored row `offset` on, C-contiguous.
        first : int
            Live number of the first row to copy.
        out : ndarray
            C-contiguous.
        offset : int, default 0
        """
        if out.nbytes:
            width = out.nbytes // len(out)
            source, target = data_files.as_bytes(stored), data_files.as_bytes(out)
            copy_live(
                source,
                width,
                self.stored_numbers(),
                offset,
                first,
                target,
                data_files.thread_count(),
            )

    def stored_numbers(self) -> Numbers:
        """Return the stored numbers of all deleted rows, sorted."""
        rows, recent = self._lists
        if len(recent):
            rows = _merge(rows, recent, self.count - len(rows))[1]
            self._lists = rows, NO_ROWS  # one assignment: other threads may be reading both
        return rows

    def between(self, start: int, stop: int) -> DeletedRows | None:
        """Return the deleted rows in a range of stored rows; ``None`` if there are none."""
        rows = self.stored_numbers()
        first, last = np.searchsorted(rows, (start, stop))
        return DeletedRows(rows[first:last] - start, stop - start) if first < last else None

    def with_more(self, numbers: Numbers) -> tuple[Numbers, DeletedRows]:
        """Delete further rows.

        Parameters
        ----------
        numbers : ndarray of int64
            Live numbers, sorted.

        Returns
        -------
        ndarray of int64
            Stored numbers of these rows.
        DeletedRows
            All deleted rows afterwards.

        Raises
        ------
        ValueError
            A number is repeated, or is out of range.
        """
        rows, recent = self._lists
        stored, recent = _merge(recent, numbers, self.count - len(rows) - len(recent))
        if len(rows):
            map_live_to_stored(rows, stored, stored)
        if len(recent) > _RECENT:
            rows = _merge(rows, recent, self.count - len(rows))[1]
            return stored, DeletedRows(rows, self.count)
        return stored, DeletedRows(rows, self.count, recent)

    def resized(self, count: int) -> DeletedRows:
        """Return the same rows for a data file of another number of rows."""
        rows, recent = self._lists
        return self if count == self.count else DeletedRows(rows, count, recent)


def _merge(deleted: Numbers, numbers: Numbers, live: int) -> tuple[Numbers, Numbers]:
    """Return the stored numbers of rows to delete, and of all deleted rows afterwards."""
    stored = np.empty(len(numbers), np.int64)
    merged = np.empty(len(deleted) + len(numbers), np.int64)
    merge_deleted(deleted, numbers, live, stored, merged)
    return stored, merged


def write(descriptor: int, entry: Entry, rows: Numbers, *, durable: bool) -> int:
    """Write row numbers after the committed ones; return the CRC-32 of the list."""
    content = np.ascontiguousarray(rows, "<i8")
    write_all(descriptor, content, _ITEM * entry.dropped)
    if durable:
        os.fdatasync(descriptor)
    return crc32(content, entry.dropped_crc)


def read(folder: Folder, entry: Entry) -> DeletedRows:
    """Read the part of a deleted-row list that an entry refers to.

    A short list is read with fewer system calls; if anything is wrong with it, it is read again
    to say what.

    Raises
    ------
    CorruptStoreError
        The list is truncated or damaged.
    MissingFileError
        The list is missing.
    """
    needed = _ITEM * entry.dropped
    if needed <= _SHORT:
        content, count = folder.read_start(entry.dropped_file, needed), entry.stored[0]
        found = row_numbers(content, entry.dropped_crc, count)
        if found is not None and len(found) == entry.dropped:
            return DeletedRows(found, count)
    path = f"{folder.path}/{entry.dropped_file}"
    descriptor = folder.open(entry.dropped_file)
    try:
        size = size_of(descriptor)
        if size < needed:
            raise _damaged_error(path, f"it has {size:,} bytes of {needed:,}")
        if has_hole(descriptor, 0, needed):  # at most one number is 0
            raise _damaged_error(path, "it has holes where numbers should be")
        rows = np.empty(entry.dropped, "<i8")
        length = data_files.read_part(folder, entry.dropped_file, descriptor, rows, 0)
    except (MemoryError, ValueError):
        raise too_large_error(path, needed) from None
    finally:
        os.close(descriptor)
    if length < needed:
        raise _damaged_error(path, f"it has {length:,} bytes of {needed:,}")
    if crc32(rows) != entry.dropped_crc:
        raise _damaged_error(path, "its checksum is wrong")
    rows.sort()
    if len(rows) and (rows[0] < 0 or rows[-1] >= entry.stored[0]):
        raise _damaged_error(path, f"it has rows that are none of {entry.stored[0]:,}")
    if (rows[1:] == rows[:-1]).any():
        raise _damaged_error(path, "it has a row twice")
    return DeletedRows(rows.astype(np.int64, copy=False), entry.stored[0])


def _damaged_error(path: str, what: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"the deleted-row list {path} is damaged: {what}; restore it from a backup"
    )
