"""`RemoteArray`: a lazy array of a store in an object store."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ..._core.mapped_files import mapping_of
from ..._core.memory import aligned_empty
from ..format import data_files
from ..kernels.checksums import BLOCK
from ..lazy.array import LazyArray
from ..lazy.pytrees import register_pytree
from ..rows.indexing import Selection
from .cache.pool import NoRoomError
from .rows import copy_rows, fetch_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._core.dtypes import DType
    from ..._core.file_mapping import FileMapping
    from ..._core.memory import Array
    from ..._core.view_layout import ViewLayout
    from ..rows.deleted_rows import DeletedRows
    from .cache.blocks import ArrayBlocks
    from .cache.file import Numbers
    from .reference import RemoteReference

_PART = 16 * BLOCK  # bytes that are fetched into memory at a time
_BASIC = (int, slice, np.integer)


class RemoteArray(LazyArray):
    """Read-only view of an array in an object store, whose blocks are fetched into the cache.

    It is a `LazyArray` in every respect. Rows, slices and row numbers fetch what they need;
    whatever uses all elements fetches all blocks first. Once they are all there, it costs what
    an array of a local store costs.

    Parameters
    ----------
    blocks : ArrayBlocks
    dtype : numpy.dtype
    shape : tuple of int
        Of the rows, deleted ones included.
    first : int
        Number in the data file of the first of them.
    origin : RemoteReference
    deleted : DeletedRows or None
    """

    __slots__ = ("_blocks", "_dtype", "_first", "_mapped", "_rows", "_shape", "_width")

    _origin: RemoteReference

    def __init__(
        self,
        blocks: ArrayBlocks,
        dtype: DType,
        shape: tuple[int, ...],
        first: int,
        origin: RemoteReference,
        deleted: DeletedRows | None,
    ) -> None:
        register_pytree(RemoteArray)
        span = None if deleted is None else deleted.live_span()
        if deleted is not None and span is not None:  # contiguous live rows are shared
            first, deleted = first + span.start, None
            shape = (span.stop - span.start, *shape[1:])
        self._blocks, self._dtype, self._shape, self._first = blocks, dtype, shape, first
        self._width = math.prod(shape[1:]) * dtype.itemsize
        self._origin, self._deleted = origin, deleted
        self._range: tuple[int, int] | None = None
        self._mapped: Array | None = None  # bytes of the file in the cache
        self._rows: Array | None = None
        self.shape: tuple[int, ...] = shape
        if deleted is not None:
            self.shape = (shape[0] - len(deleted), *shape[1:])

    @property
    def _stored(self) -> Array:  # type: ignore[override]  # an attribute of local arrays
        """The mapped rows, all of which are fetched first."""
        if not self._blocks.is_complete:
            start, stop = self._bounds(0, self._shape[0] if self._shape else 1)
            self._blocks.ensure_bytes(start, stop)
        return self._unfetched()

    @property
    def _pages(self) -> FileMapping | None:  # type: ignore[override]
        return mapping_of(self._unfetched())

    @property
    def dtype(self) -> DType:
        """Dtype of the elements."""
        return self._dtype

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._dtype.itemsize

    @property
    def _layout(self) -> Array:
        strides, step = [], self._dtype.itemsize
        for extent in reversed(self.shape):
            strides.append(step)
            step *= extent
        one = np.zeros((), self._dtype)
        return np.lib.stride_tricks.as_strided(one, self.shape, strides[::-1], writeable=False)

    @property
    def is_complete(self) -> bool:
        """Whether the mapping can be used without fetching anything."""
        return self._blocks.is_complete

    def has_room(self) -> bool:
        """Return whether the cache can hold all of the array."""
        return self._blocks.has_room()

    def unfetched(self) -> Array | None:
        """Return the mapped rows, deleted ones included, as far as they were fetched.

        ``None`` if the cache cannot hold them.
        """
        with contextlib.suppress(NoRoomError):
            return self._unfetched()
        return None

    def fetch(self, rows: Numbers) -> None:
        """Fetch the blocks of rows, by their numbers with deleted ones; or `NoRoomError`."""
        fetch_rows(self._blocks, rows + self._first, self._width)

    def take_stored(self, rows: Numbers) -> Array:
        """Copy rows, by their numbers with deleted ones, into new memory."""
        fresh = aligned_empty((len(rows), *self._shape[1:]), self._dtype)
        self._copy_rows(rows, fresh)
        return fresh

    def view_of(self, layout: ViewLayout) -> Array:
        """Return a view of the file in the cache, after its bytes have been fetched."""
        memory = self._memory()
        if memory is None:
            raise self._blocks.no_room_error()
        view = layout.view(memory, memory.nbytes)
        low, high = (at - memory.ctypes.data for at in byte_bounds(view))
        self._blocks.ensure_bytes(low, high)
        private: Array = self._private_view(view)
        return private

    def copied(self) -> Array:
        """Copy the array into independent, writable memory; see `LazyArray.copied`."""
        start, stop = self._bounds(0, self._shape[0] if self._shape else 1)
        if self._deleted is not None:
            with contextlib.suppress(NoRoomError):
                self._blocks.ensure_bytes(start, stop)
                return self._copy_live(range(len(self)))
            return self._copied_live(self._deleted)
        fresh = aligned_empty(self.shape, self._dtype)
        for _ in self._blocks.read(start, stop, data_files.as_bytes(fresh)):
            pass
        return fresh

    def take(self, indexes: Any) -> Array:
        """Copy selected rows into newly allocated memory; see `LazyArray.take`."""
        if self._blocks.is_complete:
            return super().take(indexes)
        selection = Selection(indexes, len(self))
        span = selection.span
        if span is not None:
            return self._copy_live(span)
        fresh = aligned_empty((len(selection), *self.shape[1:]), self._dtype)
        return self._fill(selection, fresh)

    def rows(self, start: int | None = None, stop: int | None = None) -> RemoteArray:
        """Return a range of rows as a `LazyArray`; see `LazyArray.rows`."""
        first, last, _ = slice(start, stop).indices(len(self))
        last, deleted = max(first, last), self._deleted
        low, high = first, last
        if deleted is not None and first < last:
            ends = deleted.to_stored(np.array([first, last - 1]))
            low, high = int(ends[0]), int(ends[1]) + 1
        deleted = None if deleted is None else deleted.between(low, high)
        shape, first_row = (high - low, *self._shape[1:]), self._first + low
        part = RemoteArray(self._blocks, self._dtype, shape, first_row, self._origin, deleted)
        before = 0 if self._range is None else self._range[0]
        part._range = before + first, before + last
        part._mapped = self._mapped
        return part

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rows, as read-only views; fetch some at a time."""
        if self._blocks.is_complete or not self.shape:
            return super().__iter__()
        step = max(1, BLOCK // max(1, self._width))
        parts = (self[row : row + step] for row in range(0, len(self), step))
        return (row for part in parts for row in part)

    def __getitem__(self, key: Any) -> Any:
        """Index as NumPy does; see `LazyArray.__getitem__`."""
        if self._blocks.is_complete:
            return super().__getitem__(key)
        if not isinstance(key, _BASIC) and (taken := self._take_fancy(key)) is not None:
            return taken
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) > 1 and _are_basic(keys[1:]) and self.shape:
            is_list = isinstance(keys[0], list | np.ndarray) and np.ndim(keys[0]) == 1
            taken = self._take_fancy(keys[0]) if is_list else None
            if taken is not None:
                return taken[(slice(None), *keys[1:])]
        rows = self._rows_of(keys)
        if rows is None:
            return super().__getitem__(key)
        if self._deleted is None:
            with contextlib.suppress(NoRoomError):
                self._fetch_range(rows)
                return self._private_view(self._unfetched()[key])
        return self._index_copy(keys)

    def _memory(self) -> Array | None:
        """Return the mapped file in the cache; ``None`` if there is none."""
        if self._mapped is None and (file := self._blocks.file) is not None:
            self._mapped = file.map()
            pages = mapping_of(self._mapped)
            if pages is not None:
                pages.refer(self._origin)
        return self._mapped

    def _unfetched(self) -> Array:
        found = self._rows
        if found is None:
            nbytes = math.prod(self._shape) * self._dtype.itemsize
            memory = self._memory() if nbytes else np.empty(0, np.uint8)
            if memory is None:
                raise self._blocks.no_room_error()
            start = self._bounds(0, 0)[0]
            found = data_files.as_rows(memory[start : start + nbytes], self._dtype, self._shape)
            found.flags.writeable = False
            self._rows = found
        return found

    def _bounds(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of bytes in the data file of some of the rows."""
        return (self._first + first) * self._width, (self._first + last) * self._width

    def _rows_of(self, keys: tuple[Any, ...]) -> range | None:
        """Return the rows that an index needs, by live numbers; ``None`` for all of them."""
        if not keys or not self.shape or isinstance(keys[0], bool):
            return None
        if not isinstance(keys[0], _BASIC) or not _are_basic(keys[1:]):
            return None
        if isinstance(keys[0], slice):
            return range(*keys[0].indices(len(self)))
        row, count = int(keys[0]), len(self)
        if not -count <= row < count:
            self._layout[row]  # raises NumPy's error
        return range(row % count, row % count + 1)

    def _fetch_range(self, rows: range) -> None:
        if not len(rows):
            return
        if abs(rows.step) * self._width > BLOCK:
            self.fetch(np.sort(np.arange(rows.start, rows.stop, rows.step, dtype=np.int64)))
            return
        start, stop = self._bounds(min(rows[0], rows[-1]), max(rows[0], rows[-1]) + 1)
        self._blocks.ensure_bytes(start, stop)

    def _index_copy(self, keys: tuple[Any, ...]) -> Any:
        """Index by rows, the first key, and within them, in a copy of these rows."""
        taken = self.take(keys[0])
        is_slice = isinstance(keys[0], slice)
        if self._deleted is None or not is_slice:  # as the views of a local array
            taken.flags.writeable = False
        if is_slice:
            return taken if len(keys) == 1 else taken[(slice(None), *keys[1:])]
        return taken[(0, *keys[1:])]

    def _copy_live(self, rows: range) -> Array:
        """Copy a range of the live rows."""
        if self._blocks.is_complete and self._deleted is not None:
            return super()._copy_live(rows)
        fresh = aligned_empty((len(rows), *self.shape[1:]), self._dtype)
        if self._deleted is not None:
            return self._fill(Selection(slice(rows.start, rows.stop), len(self)), fresh)
        start, stop = self._bounds(rows.start, rows.stop)
        if self._blocks.is_worth_reading(start, stop):
            for _ in self._blocks.read(start, stop, data_files.as_bytes(fresh)):
                pass
        else:
            self._copy_rows(np.arange(rows.start, rows.stop, dtype=np.int64), fresh)
        return fresh

    def _copied_live(self, deleted: DeletedRows) -> Array:
        """Copy all live rows, of blocks that are fetched into memory some at a time."""
        fresh = aligned_empty(self.shape, self._dtype)
        step = max(1, _PART // max(1, self._width))
        for row in range(0, self._shape[0] if fresh.nbytes else 0, step):
            end = min(row + step, self._shape[0])
            start, stop = self._bounds(row, end)
            part = aligned_empty((stop - start,), np.dtype(np.uint8))
            for _ in self._blocks.read(start, stop, part):
                pass
            first, last = deleted.live_before(row), deleted.live_before(end)
            deleted.copy_live(part, first, fresh[first:last], offset=row)
        return fresh

    def _fill(self, selection: Selection, fresh: Array) -> Array:
        """Copy selected live rows into `fresh`."""
        if selection.is_range and not fresh.nbytes:  # rows of no bytes may be any number
            return fresh
        at = 0
        for numbers in selection.blocks():
            rows = numbers if self._deleted is None else self._deleted.to_stored(numbers)
            self._copy_rows(rows, fresh[at : at + len(rows)])
            at += len(rows)
        return fresh[:at]

    def _copy_rows(self, rows: Numbers, out: Array) -> None:
        """Copy rows, by their numbers with deleted ones, into `out`."""
        numbers, memory = rows + self._first, self._memory() if out.nbytes else None
        copy_rows(self._blocks, memory, numbers, self._width, data_files.as_bytes(out))


def _are_basic(keys: tuple[Any, ...]) -> bool:
    """Return whether indexes of further axes select by position only."""
    return all(
        each is None
        or each is Ellipsis
        or (isinstance(each, _BASIC) and not isinstance(each, bool))
        for each in keys
    )
