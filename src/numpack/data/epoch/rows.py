"""Rows of one array, as background threads copy them and as they are shared."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.mapped_files import mapping_of
from ..._core.memory import normalize_strides
from ..._core.owner import base_view
from ...store.lazy.array import LazyArray, deleted_rows, stored_rows
from ..kernels.copying import PlainRows, RowsCopy, SegmentsCopy

if TYPE_CHECKING:
    from ..._core.memory import Array
    from ..kernels.buffers import BufferPool
    from ..kernels.copying import Copy
    from .order import Numbers


class Rows:
    """The rows of an array.

    Parameters
    ----------
    array : LazyArray or ndarray
        With at least one axis.
    stored : ndarray, optional
        The mapping of a `LazyArray`, deleted rows included; by default its own.

    Attributes
    ----------
    dtype : numpy.dtype
    shape : tuple of int
        Of a row.
    count : int
    """

    def __init__(self, array: Array | LazyArray, stored: Array | None = None) -> None:
        self.dtype, self.count, self.shape = array.dtype, array.shape[0], array.shape[1:]
        self._lazy = array if isinstance(array, LazyArray) else None
        self._deleted = None
        if isinstance(array, LazyArray):
            self._deleted = deleted_rows(array)
            self._stored = stored_rows(array) if stored is None else stored
        else:
            self._stored = normalize_strides(array)
        # Others are copied by NumPy: elements are more than bytes, or rows are not consecutive.
        self._is_native = self._stored.flags.c_contiguous and not self.dtype.hasobject
        self._is_file = not _is_allocated(self._stored)
        self._row_nbytes = math.prod(self.shape) * self.dtype.itemsize

    def plain(self) -> PlainRows | None:
        """Return the rows as `PlainRows`; ``None`` if they need more than a native copy."""
        if not self._is_native or self._deleted is not None or not self._stored.nbytes:
            return None
        return PlainRows(self._stored, self._is_file)

    def copy(self, rows: Numbers, length: int, pool: BufferPool) -> tuple[Array, Copy | None]:
        """Return an array for some rows, and the copy to be made into it.

        Parameters
        ----------
        rows : ndarray of int64
            Row numbers, in range.
        length : int
            Number of consecutive rows to copy for each; 0 for the row itself, without an axis.
        pool : BufferPool

        Returns
        -------
        array : ndarray
            ``(len(rows), *shape)``, or ``(len(rows), length, *shape)``.
        copy : Copy or None
            ``None`` if the array is complete.
        """
        shape = (len(rows), length, *self.shape) if length else (len(rows), *self.shape)
        if not self._is_native:
            taken = self._stored.take(spread(rows, length).reshape(-1), axis=0)
            return taken.reshape(shape), None
        out = pool.empty(shape, self.dtype)
        if out.nbytes == 0:
            return out, None
        return out, self._rows_copy(rows, length, out)

    def empty(self, shape: tuple[int, ...], pool: BufferPool) -> Array:
        """Return an uninitialized array of some rows."""
        if self.dtype.hasobject:
            return np.empty(shape, self.dtype)
        found: Array = pool.empty(shape, self.dtype)
        return found

    def request(self, rows: Numbers, length: int) -> Copy | None:
        """Return a copy that only requests the pages of some rows from the device."""
        if not self._is_native or not self._row_nbytes or not len(rows):
            return None
        return self._rows_copy(rows, length, None)

    def _rows_copy(self, rows: Numbers, length: int, out: Array | None) -> Copy:
        if self._deleted is not None:
            rows, length = self._deleted.to_stored(spread(rows, length).reshape(-1)), 0
        return RowsCopy(self._stored, rows, out, max(length, 1), self._is_file)

    def copy_segments(
        self, starts: Numbers, lengths: Numbers, places: Numbers, out: Array
    ) -> Copy | None:
        """Return the copy of samples of consecutive rows, of a different number each.

        Parameters
        ----------
        starts, lengths, places : ndarray of int64
            First row of each sample, its number of rows, and the row of `out` for the first.
        out : ndarray
            C-contiguous; its rows are those of the array.

        Returns
        -------
        Copy or None
            ``None`` if it has been made.
        """
        if out.nbytes == 0:
            return None
        if self._is_native and self._deleted is None:
            return SegmentsCopy(self._stored, starts, lengths, places, out, self._is_file)
        rows, at = consecutive(starts, lengths), consecutive(places, lengths)
        if self._deleted is not None:
            rows = self._deleted.to_stored(rows)
        out.reshape(-1, *self.shape)[at] = self._stored[rows]
        return None

    def unmap_pages(self) -> None:
        """Let the pages of a stored array no longer count as memory of this process."""
        mapping = None if self._lazy is None else mapping_of(self._stored)
        if mapping is not None:
            mapping.unmap_pages()

    def view(self, start: int, stop: int, hold: object) -> Array | None:
        """Return rows as a view of their file; ``None`` if they have to be copied.

        The view keeps `hold`, so that no writer changes the rows while it exists.
        """
        if self._lazy is None:  # a framework could write to the caller's array
            return None
        part = self._lazy.rows(start, stop)
        return base_view(np.asarray(part), hold) if part.obstacle() is None else None


def _is_allocated(array: Array) -> bool:
    """Return whether NumPy has allocated the memory of an array."""
    root: Any = array
    while isinstance(root, np.ndarray) and root.base is not None:
        root = root.base
    return isinstance(root, np.ndarray) and not isinstance(root, np.memmap)


def spread(rows: Numbers, length: int) -> Numbers:
    """Return the numbers of `length` consecutive rows from each row on."""
    if not length:
        return rows
    spread: Numbers = rows[:, None] + np.arange(length, dtype=np.int64)
    return spread


def consecutive(starts: Numbers, lengths: Numbers) -> Numbers:
    """Return the numbers of the rows of all segments, one after another."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    rows: Numbers = np.arange(total, dtype=np.int64)
    rows += np.repeat(starts - (ends - lengths), lengths)
    return rows
