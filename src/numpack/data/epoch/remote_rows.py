"""Rows of an array in an object store, which are fetched before they are copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from ...store.lazy.array import LazyArray
from .rows import Rows, consecutive, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._core.memory import Array
    from ...store.remote.array import RemoteArray
    from ..kernels.buffers import BufferPool
    from ..kernels.copying import Copy, PlainRows
    from .order import Numbers


class RemoteRows(Rows):
    """The rows of an array whose blocks are fetched as samples need them.

    If the cache has room for the array, whole blocks are fetched, and rows copied from their
    mapping; otherwise the rows are fetched, by their ranges.

    Parameters
    ----------
    array : RemoteArray
    """

    def __init__(self, array: RemoteArray) -> None:
        self._array = array
        stored = array.unfetched() if array.has_room() else None
        self._is_mapped = stored is not None
        none = np.empty((0, *array.shape[1:]), array.dtype)
        super().__init__(array, none if stored is None else stored)

    def plain(self) -> PlainRows | None:
        """Return the rows as `PlainRows`, once all of them have been fetched."""
        return super().plain() if self._is_mapped and self._array.is_complete else None

    def needs_fetching(self) -> bool:
        """Return whether blocks are to be fetched before rows are copied."""
        return self._is_mapped and not self._array.is_complete

    def fetch(self, rows: Numbers, length: int) -> None:
        """Fetch rows, or windows of `length` rows from each, that will be copied."""
        if self.needs_fetching():
            self._array.fetch(self._stored_numbers(rows, length))

    def copy(self, rows: Numbers, length: int, pool: BufferPool) -> tuple[Array, Copy | None]:
        """Return an array for some rows, and the copy to be made into it; see `Rows`."""
        if self._is_mapped:
            self.fetch(rows, length)
            return super().copy(rows, length, pool)
        shape = (len(rows), length, *self.shape) if length else (len(rows), *self.shape)
        taken = self._array.take_stored(self._stored_numbers(rows, length))
        return taken.reshape(shape), None

    def request(self, rows: Numbers, length: int) -> Copy | None:
        """Return a copy that only requests pages, once there are all pages."""
        is_there = self._is_mapped and self._array.is_complete
        return super().request(rows, length) if is_there else None

    def copy_segments(
        self, starts: Numbers, lengths: Numbers, places: Numbers, out: Array
    ) -> Copy | None:
        """Return the copy of samples of consecutive rows; see `Rows`."""
        if out.nbytes == 0:
            return None
        if self._is_mapped and self._array.is_complete:
            return super().copy_segments(starts, lengths, places, out)
        rows = consecutive(starts, lengths)
        if self._is_mapped:
            self.fetch(rows, 0)
            return super().copy_segments(starts, lengths, places, out)
        taken = self._array.take_stored(self._stored_numbers(rows, 0))
        out.reshape(-1, *self.shape)[consecutive(places, lengths)] = taken
        return None

    def view(self, start: int, stop: int, hold: object) -> Array | None:
        """Return rows as a view of the cache; ``None`` if they have to be copied."""
        return super().view(start, stop, hold) if self._is_mapped else None

    def _stored_numbers(self, rows: Numbers, length: int) -> Numbers:
        numbers = spread(rows, length).reshape(-1)
        return numbers if self._deleted is None else self._deleted.to_stored(numbers)


def rows_of(array: Array | LazyArray) -> Rows:
    """Return the rows of an array of any kind."""
    if type(array) is LazyArray or not isinstance(array, LazyArray):
        return Rows(array)
    return RemoteRows(cast("RemoteArray", array))


def local(array: Array | LazyArray) -> Array | LazyArray:
    """Return an array of a few numbers as it is, or a copy if it is in an object store."""
    is_remote = isinstance(array, LazyArray) and type(array) is not LazyArray
    return cast("LazyArray", array).copied() if is_remote else array


def are_local(arrays: Mapping[str, Rows]) -> bool:
    """Return whether all arrays can be copied without fetching anything."""
    return not any(
        isinstance(array, RemoteRows) and array.needs_fetching() for array in arrays.values()
    )


def fetch_ahead(arrays: Iterable[Rows], rows: Numbers, length: int) -> None:
    """Fetch the rows of several arrays that are in an object store."""
    for array in arrays:
        if isinstance(array, RemoteRows):
            array.fetch(rows, length)
