"""Replacement of rows in place, block by block, so that many rows need little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._core.memory import normalize_strides
from ..format import data_files, journal
from ..kernels.checksums import BLOCK
from ..kernels.patch import update_checksums
from .indexing import CHUNK_ROWS, Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._core.memory import Array
    from ..format.log.state import Entry
    from ..format.open_files import OpenFiles
    from .deleted_rows import DeletedRows, Numbers

_ROW_NUMBER = 8  # bytes


class Replacement:
    """New rows of one array, to be written to the journal and then to the data file.

    The caller's array is read once, when the journal is written: it may be a mapping of the
    file that is being changed, and another thread may be writing to it.

    Parameters
    ----------
    files : OpenFiles
    entry : Entry
    rows : Selection
        Of the live rows.
    deleted : DeletedRows or None
    array : ndarray
        One row for each selected row.

    Attributes
    ----------
    id, width, first, checksums
        As in `journal.Change`; the checksums are valid once `written` has been iterated over.
    count : int
        Number of rows that are replaced.
    offset : int
        Offset of their record in the journal, set when the journal is written; 0 before.
    """

    def __init__(
        self,
        files: OpenFiles,
        entry: Entry,
        rows: Selection,
        deleted: DeletedRows | None,
        array: Array,
    ) -> None:
        self._given = rows, deleted, array
        self.id, self.width, self.offset = entry.id, entry.row_nbytes, 0
        self._files, self._entry, self._deleted = files, entry, deleted
        array = normalize_strides(array)
        if array.ndim == len(entry.stored) - 1:  # a single row
            array = array.reshape(1, *array.shape)
        self._array = array
        self._rows, self._chosen = _last_values(rows)
        self.count = len(self._rows)
        self._chunk_rows = max(1, min(CHUNK_ROWS, BLOCK // self.width))
        self._few_rows: Numbers | None = None  # all stored numbers, if they are few
        self._few_values: Array | None = None  # their new rows, once they have been copied
        if self.count <= self._chunk_rows:
            self._few_rows = self._stored(self._rows.numbers())
        least, most = self._bounds()
        self.first = least * self.width // BLOCK
        self._stop = -(-(most + 1) * self.width // BLOCK)
        files.current(entry)
        self._sums = files.checksums(entry)

    def again(self, entry: Entry) -> Replacement:
        """Return the same replacement before it was written, of the array or of its copy."""
        return Replacement(self._files, entry, *self._given)

    @property
    def nbytes(self) -> int:
        """Bytes of the new rows."""
        return self.count * self.width

    @property
    def checksums(self) -> Array:
        """Checksums from the first changed block to the last one."""
        return self._sums[self.first : self._stop]

    def written(self) -> Iterator[Array]:
        """Iterate over the content of the journal: row numbers, new rows and checksums."""
        for rows in self._numbers():
            yield rows.astype("<i8", copy=False)
        for _, fresh in self._updated():
            yield fresh
        yield self.checksums.astype("<u4", copy=False)

    def _updated(self) -> Iterator[tuple[Numbers, Array]]:
        """Iterate over stored numbers and new rows, and update the checksums."""
        memory, done = self._files.memory(self._entry), 0
        shape = min(self._chunk_rows, self.count), *self._array.shape[1:]
        buffer = np.zeros(
            shape, self._entry.dtype
        )  # zeros, as nothing fills the padding of structs
        for rows in self._numbers():
            self._files.reserve(self._entry, rows, self.width)
            fresh = data_files.as_bytes(self._fill(buffer[: len(rows)], done))
            self._files.touch(self._entry, rows, self.width, fresh)
            update_checksums(self._sums, memory, rows, self.width, fresh)
            yield rows, fresh
            done += len(rows)
            if rows is self._few_rows:
                self._few_values = fresh

    def blocks(self) -> Iterator[tuple[Numbers, Array]]:
        """Iterate over stored numbers and new rows.

        Many rows are read from the journal, if they were written there.
        """
        if not self.offset:
            yield from self._updated()
            return
        if self._few_rows is not None and self._few_values is not None:
            yield self._few_rows, self._few_values
            return
        size = self._chunk_rows * self.width
        buffer = np.empty(min(size, self.nbytes), np.uint8)
        offset = self.offset + _ROW_NUMBER * self.count
        for rows in self._numbers():
            fresh = buffer[: len(rows) * self.width]
            data_files.read_exactly(self._files.named(journal.NAME), fresh, offset)
            yield rows, fresh
            offset += len(fresh)

    def _numbers(self) -> Iterator[Numbers]:
        """Iterate over the stored numbers of the rows."""
        if self._few_rows is not None:
            yield self._few_rows
            return
        for rows in self._rows.blocks(self._chunk_rows):
            yield self._stored(rows)

    def _stored(self, rows: Numbers) -> Numbers:
        return rows if self._deleted is None else self._deleted.to_stored(rows)

    def _bounds(self) -> tuple[int, int]:
        bounds = [(int(rows.min()), int(rows.max())) for rows in self._numbers()]
        return min(least for least, _ in bounds), max(most for _, most in bounds)

    def _fill(self, buffer: Array, done: int) -> Array:
        """Copy the next rows of the caller's array, in little-endian byte order."""
        part = slice(done, done + len(buffer))
        chosen = part if self._chosen is None else self._chosen[part]
        np.copyto(buffer, self._array[chosen], casting="equiv")
        return buffer


def _last_values(rows: Selection) -> tuple[Selection, Numbers | None]:
    """Choose the last of several values for the same row, as NumPy does.

    Returns
    -------
    Selection
        Each row once.
    ndarray of int64 or None
        Index of the value of each row; ``None`` if each row has one value, in this order.
    """
    if rows.is_unique:
        return rows, None
    numbers = rows.numbers()
    ordered = np.sort(numbers)
    if (ordered[1:] != ordered[:-1]).all():
        return rows, None
    unique, last = np.unique(numbers[::-1], return_index=True)
    return Selection(unique, rows.count), len(numbers) - 1 - last
