"""`LazyArray`: an array that stays in its file until it is touched."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..._core.mapped_files import mapping_of
from ..._core.memory import aligned_copy, aligned_empty
from ..._core.policy import Obstacle
from ...errors import UnsupportedError, WrongTypeError, ZeroCopyError
from ...io import share
from ..rows.foreign_indexes import as_numbers, is_array_like
from ..rows.indexing import AT_ONCE, Selection, gathered, int64_of, rows_of
from ..rows.live_rows import part_of, picked
from .locating import found_again
from .reference import Sent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from ...io import Layout
    from ..rows.deleted_rows import Dropped
    from .reference import Reference


_BASIC = (slice, int, tuple, np.ndarray, np.generic, str)
_ITERATED = 1 << 16  # bytes of the rows that are lent at a time
_UNLINKED = (
    "the array's file has been deleted, and its pages were written to; load it from the store "
    "again, or pass copy=True"
)


class LazyArray(NDArrayOperatorsMixin):
    """A read-only view of a stored array, mapped from its file.

    Made by ``NumPack.load(name, lazy=True)``. Nothing is read until elements are used,
    and the memory is the operating system's page cache, shared by all processes. It stays
    valid and unchanged whatever happens to the store: later saves, appends, drops, and
    closing it.

    Indexing, `reshape` and `T` give read-only ndarrays over the mapping, operators give
    new ndarrays; in-place operators leave the store alone and rebind the name to a new
    ndarray. Every framework takes it by `numpack.share`, its DLPack methods or
    `numpy.asarray`, without a copy. What a framework writes to such a view all the same stays
    in that view: neither the file nor what is taken of the array later is changed.

    Pickling it costs a few hundred bytes, of a range of `rows` too: the other process maps
    the same file. If that has been dropped or saved anew it is found as long as this process
    has it mapped; else unpickling raises `MovedError`, which tells what became of it.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack
    >>> with NumPack("lazy.npk") as npk:
    ...     npk.save({"x": np.arange(6.0).reshape(3, 2)})
    ...     x = npk.load("x", lazy=True)
    >>> x
    LazyArray(float64, shape=(3, 2), 48 bytes)
    >>> x[1:] + 1
    array([[3., 4.],
           [5., 6.]])
    """

    __slots__ = ("__weakref__", "_dropped", "_origin", "_pages", "_range", "_stored", "shape")

    def __init__(
        self, stored: Array, origin: Reference | None, dropped: Dropped | None
    ) -> None:
        self._origin = origin
        self._range: tuple[int, int] | None = None  # of the rows that `origin` leads to
        span = None if dropped is None else dropped.span()
        if dropped is not None and span is not None:  # rows that lie together are shared
            stored, dropped = stored[span], None
        self._stored = stored  # which no view that anybody gets lies in
        self._pages = mapping_of(stored)
        self._dropped = dropped
        self.shape: tuple[int, ...] = stored.shape
        if dropped is not None:
            self.shape = (len(stored) - len(dropped), *stored.shape[1:])

    @property
    def dtype(self) -> DType:
        """Dtype of the elements."""
        return self._stored.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._stored.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._stored.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.size * self.itemsize

    @property
    def T(self) -> Array:  # noqa: N802 -- NumPy's name
        """The transposed array, a read-only view."""
        view: Array = self._lent(self._array.T)
        return view

    @property
    def _array(self) -> Array:
        """The mapping itself, to compute with, or a copy of the rows that were not dropped."""
        if self._dropped is None:
            return self._stored
        array = self._kept(range(len(self)))
        array.flags.writeable = False
        return array

    def reshape(self, *shape: Any, **options: Any) -> Array:
        """Give a read-only view of another shape; see `numpy.ndarray.reshape`."""
        view: Array = self._lent(self._array.reshape(*shape, **options))
        return view

    def _lent(self, found: Any) -> Any:
        """Return a view of the mapping as one that anybody may have, and all else as it is.

        A framework that ignores that it is read-only writes to private pages, of which
        nothing is read and lent again. Where there can be no more such pages, because the
        file has been unlinked, the rows are copied.
        """
        if self._pages is None:
            return found
        view = self._pages.private_view(found)
        if view is None:
            view = aligned_copy(found)
            view.flags.writeable = False
        return view

    def copied(self) -> Array:
        """Copy the rows into independent, writable, 64-byte-aligned memory."""
        if self._dropped is None:
            return aligned_copy(self._stored)
        return self._kept(range(len(self)))

    def take(self, indexes: Any) -> Array:
        """Copy some rows into memory of their own; a single number keeps the axis.

        Parameters
        ----------
        indexes : int, list, tuple, slice, integer array or boolean mask
            Of rows; negative numbers count from the end.

        Raises
        ------
        IndexRangeError
            A row number is out of range.
        InvalidIndexError
            `indexes` is something else.
        """
        rows = rows_of(indexes, len(self))
        if self._dropped is None:
            if isinstance(rows, slice):
                return aligned_copy(self._stored[rows])
            if rows.dtype.kind != "b" and len(rows) <= AT_ONCE:
                return gathered(self._stored, int64_of(rows, len(self)))
        selection = Selection(rows, len(self))
        span = selection.span
        if self._dropped is not None and span is not None:
            return self._kept(span)
        return picked(self._stored, self._dropped, selection)

    def _kept(self, rows: range) -> Array:
        """Copy some of the rows that were not dropped, of which there are some that were."""
        fresh = aligned_empty((len(rows), *self.shape[1:]), self.dtype)
        if self._dropped is not None and len(rows):
            self._dropped.copy(self._stored, rows.start, fresh)
        return fresh

    def rows(self, start: int | None = None, stop: int | None = None) -> LazyArray:
        """Return a range of rows as a `LazyArray`, which is pickled by reference as well.

        Parameters
        ----------
        start, stop : int, optional
            As in a slice: negative numbers count from the end, and what reaches beyond the
            rows is cut.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("lazy.npk") as npk:
        ...     npk.save({"x": np.arange(6)})
        ...     part = npk.load("x", lazy=True).rows(2, -1)
        >>> part, int(np.sum(part))
        (LazyArray(int64, shape=(3,), 24 bytes), 9)
        """
        first, last, _ = slice(start, stop).indices(len(self))
        last, gone = max(first, last), self._dropped
        low, high = first, last
        if gone is not None and first < last:
            ends = gone.stored(np.array([first, last - 1]))
            low, high = int(ends[0]), int(ends[1]) + 1
        part = LazyArray(
            self._stored[low:high], self._origin, None if gone is None else gone.part(low, high)
        )
        before = 0 if self._range is None else self._range[0]
        part._range = before + first, before + last
        return part

    def obstacle(self) -> Obstacle | None:
        """Tell what keeps the mapping from being shared: rows that were dropped in between."""
        if self._dropped is None:
            return None
        return Obstacle(
            "rows were dropped, and those that are left do not lie together",
            "npk.update(name) writes them anew; load it again then",
        )

    def _picked(self, key: Any) -> Any:
        """Index in the way that NumPy's fancy indexing does, if that is what it is."""
        index = np.asarray(key) if isinstance(key, list) else key
        if not isinstance(index, _BASIC) and is_array_like(index) and self.ndim:
            index = as_numbers(index, len(self))
        if not isinstance(index, np.ndarray) or index.dtype.kind not in "iub" or not self.ndim:
            return None
        if index.dtype.kind == "b":
            return self.take(index) if index.ndim == 1 else None
        if not index.ndim:
            return None
        picked = self.take(index.reshape(-1))
        return picked if index.ndim == 1 else picked.reshape(index.shape + self.shape[1:])

    def __len__(self) -> int:
        """Give the number of rows."""
        if not self.shape:
            msg = "len() of unsized object: a 0-d LazyArray has no rows"
            raise WrongTypeError(msg)
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rows, read-only views."""
        if self._dropped is None and self.ndim < 2:
            return iter(self._stored)
        if self._dropped is None:
            return itertools.chain.from_iterable(self._lent(rows) for rows in self._runs())
        return (self[row] for row in range(len(self)))

    def _runs(self) -> Iterator[Array]:
        step = max(1, _ITERATED * len(self) // max(1, self.nbytes))
        return (self._stored[row : row + step] for row in range(0, len(self), step))

    def __getitem__(self, key: Any) -> Any:
        """Index as NumPy does.

        Slices are read-only views of the mapping, if no row between them was dropped; row
        numbers and masks are gathered on several threads, as `NumPack.getitem` does.
        """
        if type(key) is not int and (picked := self._picked(key)) is not None:
            return picked
        if self._dropped is None:
            return self._lent(self._stored[key])
        return self._of_kept(key)

    def _of_kept(self, key: Any) -> Any:
        """Index where rows were dropped, reading only those that are meant if that is clear."""
        keys = key if isinstance(key, tuple) else (key,)
        if keys and isinstance(keys[0], int | np.integer) and not isinstance(keys[0], bool):
            return self.take(int(keys[0]))[(0, *keys[1:])]
        if self._dropped is not None:
            found = part_of(self._stored, self._dropped, len(self), keys)
            if found is not None:
                return found
        return self._array[key]

    def __bool__(self) -> bool:
        """Give the truth of a single element, as NumPy does."""
        return bool(self._array)

    def __int__(self) -> int:
        """Give a single element, as NumPy does."""
        return int(self._array)

    def __float__(self) -> float:
        """Give a single element, as NumPy does."""
        return float(self._array)

    def __repr__(self) -> str:
        """Tell dtype, shape and size without reading anything."""
        return f"LazyArray({self.dtype}, shape={self.shape}, {self.nbytes:,} bytes)"

    def __array__(self, dtype: DType | None = None, copy: bool | None = None) -> Array:
        """Give the mapping itself as a read-only ndarray; a copy only if asked for."""
        if dtype is None and copy is None and self._dropped is None:  # as nearly always
            view: Array = self._lent(self._stored)
            return view
        obstacle = self.obstacle()
        if obstacle is not None and copy is False:
            raise ZeroCopyError(f"a copy is needed: {obstacle.reason}; {obstacle.fix}")
        if not copy and (dtype is None or dtype == self.dtype):
            array: Array = self._lent(self._array)
            if copy is False and self._pages is not None and mapping_of(array) is None:
                raise ZeroCopyError(f"a copy is needed: {_UNLINKED}")
            return array
        if obstacle is not None:
            return self.copied().astype(dtype or self.dtype, copy=False)
        return np.array(self._array, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Compute on the mapping; an in-place operator gets a new array."""
        out = kwargs.get("out")
        if out is not None and any(isinstance(each, LazyArray) for each in out):
            if len(out) > 1 or out[0] is not inputs[0]:
                reason = "a LazyArray cannot be written"
                fix = "pass an ndarray as out="
                raise UnsupportedError(f"{reason}; {fix}", reason=reason, fix=fix)
            del kwargs["out"]
        if "where" in kwargs:
            kwargs["where"] = _plain(kwargs["where"])
        return getattr(ufunc, method)(*map(_plain, inputs), **kwargs)

    def __eq__(self, other: object) -> Any:
        """Compare as NumPy's arrays do, which know more than its ufunc: structs."""
        return self._array == _plain(other)

    def __ne__(self, other: object) -> Any:
        """Compare as NumPy's arrays do."""
        return self._array != _plain(other)

    __hash__ = NDArrayOperatorsMixin.__hash__  # none, as arrays have none

    def __contains__(self, value: object) -> bool:
        """Tell whether any element is equal to a value, as NumPy does."""
        return _plain(value) in self._array

    def __dlpack_device__(self) -> tuple[int, int]:
        """Give DLPack's device: the CPU, ``(1, 0)``."""
        return (1, 0)

    def __dlpack__(self, **options: Any) -> object:
        """Export the file's pages, mapped again copy-on-write; see `DLPackBuffer`.

        Writes of the consumer stay private to it.
        """
        copy = None if self._dropped is None else options.get("copy")
        return share(self, "dlpack", copy=copy).__dlpack__(**options)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export one chunk of Arrow values, of several axes as fixed-size lists.

        Polars and other consumers of the Arrow PyCapsule interface take it by this. Memory is
        shared where Arrow holds such values, and copied where it packs them or rows were
        dropped. Needs pyarrow.
        """
        if not self.ndim:
            reason, fix = "Arrow has no 0-d arrays", "pass lazy.reshape(1)"
            raise UnsupportedError(f"{reason}; {fix}", reason=reason, fix=fix)
        layout: Layout = "flat" if self.ndim == 1 else "list"
        try:
            array = share(self, "arrow", copy=False, layout=layout)
        except ZeroCopyError:
            array = share(self, "arrow", copy=True, layout=layout)
        import pyarrow as pa  # noqa: PLC0415

        capsule: object = pa.chunked_array([array]).__arrow_c_stream__(requested_schema)
        return capsule

    def __copy__(self) -> LazyArray:
        """Return itself: a shallow copy views the same rows."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyArray:
        """Return a copy in memory of its own, in which no later `NumPack.replace` shows."""
        array = self.copied()
        array.flags.writeable = False
        return LazyArray(array, None, None)

    def __bytes__(self) -> bytes:
        """Return the elements' bytes in C order, as `numpy.ndarray.tobytes` does."""
        return self._array.tobytes()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a reference to the file and the rows, not their contents."""
        sent = None if self._origin is None else self._origin.sent()
        if sent is None:  # in no file that another process could open
            return _in_memory, (self.copied(),)
        return _map_again, (tuple(sent), self.dtype, self._range)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Return a token that is equal for equal values alone, whenever it is asked for."""
        if self._origin is None:
            return "numpack", self.dtype.str, self.shape, bytes(self)
        return *self._origin.token(), self._range


def _plain(value: Any) -> Any:
    """Give the array behind a lazy one, and everything else as it is."""
    return value._array if isinstance(value, LazyArray) else value  # noqa: SLF001


def _in_memory(array: Array) -> LazyArray:
    array.flags.writeable = False
    return LazyArray(array, None, None)


def _map_again(sent: Any, dtype: DType, rows: tuple[int, int] | None) -> LazyArray:
    lazy = LazyArray(*found_again(Sent(*sent), dtype))
    return lazy if rows is None else lazy.rows(*rows)
