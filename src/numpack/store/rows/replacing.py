"""Rows to be replaced, taken block by block: many take no memory of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._core.memory import normalize_strides
from ..format import data_files, journal
from ..kernels.checksums import BLOCK
from ..kernels.patch import update_checksums
from .indexing import AT_ONCE, Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._core.memory import Array
    from ..format.catalog import Entry
    from ..format.open_files import OpenFiles
    from .deleted_rows import Dropped, Numbers

_ROW_NUMBER = 8  # bytes


class Replacement:
    """New rows of one array on their way to the journal, and from there to the data file.

    The caller's array is read once, when the journal is written: it may lie in the very file
    that is to be changed, and another thread may be writing to it.

    Parameters
    ----------
    files : OpenFiles
    entry : Entry
    rows : Selection
        Of the rows that were not dropped.
    dropped : Dropped or None
    array : ndarray
        A row for each that is selected.

    Attributes
    ----------
    id, width, first, checksums
        As those of `journal.Change`; the checksums are right once `written` has been
        iterated over.
    count : int
        How many rows are replaced.
    offset : int
        Where the record of them begins in the journal, which whoever writes it sets.
    """

    def __init__(
        self,
        files: OpenFiles,
        entry: Entry,
        rows: Selection,
        dropped: Dropped | None,
        array: Array,
    ) -> None:
        self.id, self.width, self.offset = entry.id, entry.row_nbytes, 0
        self._files, self._entry, self._dropped = files, entry, dropped
        array = normalize_strides(array)
        if array.ndim == len(entry.stored) - 1:  # the one row
            array = array.reshape(1, *array.shape)
        self._array = array
        self._rows, self._chosen = _last_of_each(rows)
        self.count = len(self._rows)
        self._size = max(1, min(AT_ONCE, BLOCK // self.width))
        self._all: Numbers | None = None  # in the data file, if they are few
        self._fresh: Array | None = None  # what they become, once it has been copied
        if self.count <= self._size:
            self._all = self._stored(self._rows.numbers())
        least, most = self._bounds()
        self.first = least * self.width // BLOCK
        self._stop = -(-(most + 1) * self.width // BLOCK)
        files.current(entry)
        self._sums = files.checksums(entry)

    @property
    def nbytes(self) -> int:
        """Bytes of the new rows."""
        return self.count * self.width

    @property
    def checksums(self) -> Array:
        """The checksums from the first block on that changes, up to the last one."""
        return self._sums[self.first : self._stop]

    def written(self) -> Iterator[Array]:
        """Iterate over what the journal has to hold: row numbers, new rows and checksums."""
        for rows in self._numbers():
            yield rows.astype("<i8", copy=False)
        memory, done = self._files.memory(self._entry), 0
        shape = min(self._size, self.count), *self._array.shape[1:]
        buffer = np.zeros(shape, self._entry.dtype)  # nobody fills the padding of a struct
        for rows in self._numbers():
            self._files.reserve(self._entry, rows, self.width)
            fresh = data_files.as_bytes(self._fill(buffer[: len(rows)], done))
            update_checksums(self._sums, memory, rows, self.width, fresh)
            yield fresh
            done += len(rows)
            if rows is self._all:
                self._fresh = fresh
        yield self.checksums.astype("<u4", copy=False)

    def blocks(self) -> Iterator[tuple[Numbers, Array]]:
        """Iterate over row numbers and new rows; many are read from the journal again."""
        if self._all is not None and self._fresh is not None:
            yield self._all, self._fresh
            return
        size = self._size * self.width
        buffer = np.empty(min(size, self.nbytes), np.uint8)
        offset = self.offset + _ROW_NUMBER * self.count
        for rows in self._numbers():
            fresh = buffer[: len(rows) * self.width]
            data_files.read_exactly(self._files.named(journal.NAME), fresh, offset)
            yield rows, fresh
            offset += len(fresh)

    def _numbers(self) -> Iterator[Numbers]:
        """Iterate over the numbers of the rows in the data file."""
        if self._all is not None:
            yield self._all
            return
        for rows in self._rows.blocks(self._size):
            yield self._stored(rows)

    def _stored(self, rows: Numbers) -> Numbers:
        return rows if self._dropped is None else self._dropped.stored(rows)

    def _bounds(self) -> tuple[int, int]:
        bounds = [(int(rows.min()), int(rows.max())) for rows in self._numbers()]
        return min(least for least, _ in bounds), max(most for _, most in bounds)

    def _fill(self, buffer: Array, done: int) -> Array:
        """Copy the next rows of the caller's array, in the byte order of the store."""
        part = slice(done, done + len(buffer))
        chosen = part if self._chosen is None else self._chosen[part]
        np.copyto(buffer, self._array[chosen], casting="equiv")
        return buffer


def _last_of_each(rows: Selection) -> tuple[Selection, Numbers | None]:
    """Keep the last of the values that are given for one row, as NumPy does.

    Returns
    -------
    Selection
        Each row once.
    ndarray of int64 or None
        The number of the value of each; ``None`` if there is one for each, in their order.
    """
    if rows.is_unique:
        return rows, None
    numbers = rows.numbers()
    ordered = np.sort(numbers)
    if (ordered[1:] != ordered[:-1]).all():
        return rows, None
    unique, last = np.unique(numbers[::-1], return_index=True)
    return Selection(unique, rows.count), len(numbers) - 1 - last
