"""`LazyArray`: a stored array that is mapped from its file."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

from ..._core.mapped_files import mapping_of
from ..._core.memory import aligned_copy, aligned_empty
from ..._core.policy import Obstacle
from ...errors import WrongTypeError, ZeroCopyError
from ..kernels.gather import gather_rows
from ..rows.indexing import CHUNK_ROWS, Selection, as_int64, fancy_index, gather, normalize_rows
from ..rows.live_rows import gather_live, index_live
from ..rows.reductions import reduce_live
from .buffer import UNLINKED_REASON
from .locating import map_reference
from .operators import read_only_error
from .protocols import ArrayProtocols
from .pytrees import register_pytree
from .reference import PickledReference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from ..rows.deleted_rows import DeletedRows

_ITERATED_NBYTES = 1 << 16  # of the rows that share a view while iterating
_BASIC_INDEXES = (int, slice)  # types of most indexes, which cannot be fancy ones
_ROW_NUMBERS = (int, np.integer)


class Origin(Protocol):
    """Where the rows of a lazy array are: what a `Reference` and its counterparts have."""

    def reduce(self, dtype: DType, rows: tuple[int, int] | None) -> tuple[Any, ...] | None:
        """Return what pickles the array; ``None`` if no other process finds the rows."""

    def token(self) -> tuple[Any, ...]:
        """Return a token that is equal only for equal values, at any time."""

    def hold(self) -> object:
        """Keep the rows as they are, as long as the result exists."""


class LazyArray(ArrayProtocols):
    """Read-only view of a stored array, mapped from its file.

    Created by ``NumPack.load(name, lazy=True)``. Nothing is read until elements are used, and
    the memory is the operating system's page cache, which all processes share. The view stays
    valid and unchanged whatever happens to the store: later saves, appends, drops, and
    closing it; only `NumPack.replace` and `NumPack.writable_batch_mode` are visible in it.
    While a `Loader` reads the array, in this or another process, they are not: rows are
    replaced in a copy of the file, which arrays that are loaded later map.

    It has the attributes and methods of ndarray, with the same arguments, results and errors,
    but for those that work in place, and for `take`. Indexing, `reshape`, `T` and other views
    are read-only ndarrays over the mapping; operators and all other methods return new
    ndarrays. In-place operators do not change the store but rebind the name to a new ndarray.
    Every framework accepts a lazy array without a copy, by `numpack.share`, by its DLPack
    methods, by the buffer protocol or by `numpy.asarray`. If a framework writes to such a view
    although it is read-only, the writes stay private to that view: they change neither the
    file nor what is read from the array later.

    A lazy array is pickled in a few hundred bytes, also a range of `rows`: the other process
    maps the same file. If the array has been dropped or saved again meanwhile, its file is
    found as long as this process has it mapped; otherwise unpickling raises `MovedError`,
    whose ``reason`` says what happened to the array.

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

    __slots__ = ("__weakref__", "_deleted", "_origin", "_pages", "_range", "_stored", "shape")

    def __init__(
        self, stored: Array, origin: Origin | None, deleted: DeletedRows | None
    ) -> None:
        register_pytree(LazyArray)
        self._origin = origin
        self._range: tuple[int, int] | None = None  # rows, of those that `origin` refers to
        span = None if deleted is None else deleted.live_span()
        if deleted is not None and span is not None:  # contiguous live rows are shared
            stored, deleted = stored[span], None
        self._stored = stored  # never returned to a caller, only views mapped again from it
        self._pages = mapping_of(stored)
        self._deleted = deleted
        self.shape: tuple[int, ...] = stored.shape
        if deleted is not None:
            self.shape = (len(stored) - len(deleted), *stored.shape[1:])

    @property
    def _array(self) -> Array:
        """The mapping itself, to compute with, or a copy of the live rows."""
        if self._deleted is None:
            return self._stored
        array = self._copy_live(range(len(self)))
        array.flags.writeable = False
        return array

    @property
    def _layout(self) -> Array:
        return self._stored[: len(self)] if self.shape else self._stored[...]

    def _reduce_live(self, method: str, options: Mapping[str, Any]) -> Any:
        if self._deleted is None:
            return None
        return reduce_live(self._stored, self._deleted, method, options)

    def _private_view(self, found: Any) -> Any:
        """Return a view of the mapping as one to hand out, and any other object unchanged.

        A framework that ignores the read-only flag writes to private pages of that view, which
        are never read again or handed out a second time. If no further private pages can be
        mapped because the file is unlinked, the rows are copied.
        """
        if self._pages is None:
            return found
        view = self._pages.private_view(found)
        if view is None:
            view = aligned_copy(found)
            view.flags.writeable = False
        return view

    def copied(self) -> Array:
        """Copy the array into independent, writable, 64-byte-aligned memory.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("copied.npk") as npk:
        ...     npk.save({"x": np.arange(3)})
        ...     npk.load("x", lazy=True).copied()
        array([0, 1, 2])
        """
        if self._deleted is None:
            return aligned_copy(self._stored)
        return self._copy_live(range(len(self)))

    def take(self, indexes: Any) -> Array:
        """Copy selected rows into newly allocated memory; a single row number keeps the axis.

        Parameters
        ----------
        indexes : int, list, tuple, slice, integer array or boolean mask
            Row numbers; negative ones count from the end.

        Raises
        ------
        IndexRangeError
            A row number is out of range.
        InvalidIndexError
            `indexes` is of another type.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("take.npk") as npk:
        ...     npk.save({"x": np.arange(5) * 10})
        ...     npk.load("x", lazy=True).take([4, 0])
        array([40,  0])
        """
        numbers = indexes
        if self._deleted is not None:
            numbers = self._deleted.stored_rows(indexes, CHUNK_ROWS)
        if (found := gather_rows(self._stored, numbers)) is not None:
            return found
        rows = normalize_rows(indexes, len(self))
        if self._deleted is None:
            if isinstance(rows, slice):
                return aligned_copy(self._stored[rows])
            if rows.dtype.kind != "b" and len(rows) <= CHUNK_ROWS:
                return gather(self._stored, as_int64(rows, len(self)))
        selection = Selection(rows, len(self))
        span = selection.span
        if self._deleted is not None and span is not None:
            return self._copy_live(span)
        return gather_live(self._stored, self._deleted, selection)

    def _copy_live(self, rows: range) -> Array:
        """Copy a range of the live rows of an array that has deleted rows."""
        fresh = aligned_empty((len(rows), *self.shape[1:]), self.dtype)
        if self._deleted is not None and len(rows):
            self._deleted.copy_live(self._stored, rows.start, fresh)
        return fresh

    def rows(self, start: int | None = None, stop: int | None = None) -> LazyArray:
        """Return a range of rows as a `LazyArray`, which is also pickled by reference.

        Parameters
        ----------
        start, stop : int, optional
            As in a slice: negative numbers count from the end, and numbers out of range are
            clipped.

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
        last, deleted = max(first, last), self._deleted
        low, high = first, last
        if deleted is not None and first < last:
            ends = deleted.to_stored(np.array([first, last - 1]))
            low, high = int(ends[0]), int(ends[1]) + 1
        deleted = None if deleted is None else deleted.between(low, high)
        part = LazyArray(self._stored[low:high], self._origin, deleted)
        before = 0 if self._range is None else self._range[0]
        part._range = before + first, before + last
        return part

    def obstacle(self) -> Obstacle | None:
        """Return why the mapping cannot be shared, if deleted rows interrupt the live ones.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("obstacle.npk") as npk:
        ...     npk.save({"x": np.arange(3)})
        ...     npk.drop("x", 1)
        ...     npk.load("x", lazy=True).obstacle().reason
        'rows were deleted, and the remaining ones are not contiguous'
        """
        if self._deleted is None:
            return None
        return Obstacle(
            "rows were deleted, and the remaining ones are not contiguous",
            "npk.update(name) rewrites them; load the array again after it",
        )

    def _take_fancy(self, key: Any) -> Any:
        """Index by row numbers or a row mask; ``None`` for other kinds of indexes."""
        index = fancy_index(key, len(self)) if self.ndim else None
        if index is None or (index.dtype.kind == "b" and index.ndim > 1):
            return None
        taken = self.take(index.reshape(-1))
        return taken if index.ndim == 1 else taken.reshape(index.shape + self.shape[1:])

    def __len__(self) -> int:
        """Return the number of rows."""
        if not self.shape:
            msg = "len() of unsized object: a 0-d LazyArray has no rows"
            raise WrongTypeError(msg)
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rows, as read-only views."""
        if self._deleted is None and self.ndim < 2:
            return iter(self._stored)
        if self._deleted is None:
            step = max(1, _ITERATED_NBYTES * len(self) // max(1, self.nbytes))
            runs = (self._stored[row : row + step] for row in range(0, len(self), step))
            return itertools.chain.from_iterable(self._private_view(rows) for rows in runs)
        return (self[row] for row in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        """Index as NumPy does.

        Rows and slices are read-only views of the mapping, unless rows in a slice are deleted.
        Row numbers and masks are gathered on several threads, as by `NumPack.getitem`.
        """
        if type(key) not in _BASIC_INDEXES and (taken := self._take_fancy(key)) is not None:
            return taken
        if self._deleted is None:
            return self._private_view(self._stored[key])
        return self._index_live(key, self._deleted)

    def _index_live(self, key: Any, deleted: DeletedRows) -> Any:
        """Index an array that has deleted rows, copying only the selected rows if necessary."""
        keys = key if isinstance(key, tuple) else (key,)
        if keys and isinstance(keys[0], _ROW_NUMBERS) and not isinstance(keys[0], bool):
            row = deleted.stored_number(int(keys[0]))
            return self._private_view(self._stored[(row, *keys[1:])])
        found = index_live(self._stored, deleted, len(self), keys)
        return self._array[key] if found is None else found

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        """Raise `UnsupportedError`: the rows of a store are changed by `NumPack.replace`."""
        fix = "it has no item assignment: change a copy, x.copy(), or call npk.replace"
        raise read_only_error(fix)

    def __repr__(self) -> str:
        """Return dtype, shape and size, without reading elements."""
        return f"LazyArray({self.dtype}, shape={self.shape}, {self.nbytes:,} bytes)"

    def _repr_html_(self) -> str:
        from .html import array_html  # noqa: PLC0415 -- needed in notebooks only

        return array_html(self)

    def __array__(self, dtype: DType | None = None, copy: bool | None = None) -> Array:
        """Return the mapping as a read-only ndarray, or a copy if requested or necessary."""
        if dtype is None and copy is None and self._deleted is None:  # the common case
            view: Array = self._private_view(self._stored)
            return view
        obstacle = self.obstacle()
        if obstacle is not None and copy is False:
            raise ZeroCopyError(f"a copy is needed: {obstacle.reason}; {obstacle.fix}")
        if not copy and (dtype is None or dtype == self.dtype):
            array: Array = self._private_view(self._array)
            if copy is False and self._pages is not None and mapping_of(array) is None:
                raise ZeroCopyError(UNLINKED_REASON)
            return array
        if obstacle is not None or dtype is None or dtype == self.dtype:
            return self.copied().astype(dtype or self.dtype, copy=False)
        return np.array(self._array, dtype=dtype, copy=copy)

    def __copy__(self) -> LazyArray:
        """Return itself: a shallow copy views the same rows."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyArray:
        """Return a copy in new memory, which no later `NumPack.replace` changes."""
        return _from_memory(self.copied())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a reference to the file and the rows, not their contents."""
        pickled = None if self._origin is None else self._origin.reduce(self.dtype, self._range)
        if pickled is None:  # there is no file that another process could open
            return _from_memory, (self.copied(),)
        return pickled

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Return a token that is equal only for equal values, at any time."""
        if self._origin is None:
            return "numpack", self.dtype.str, self.shape, bytes(self)
        return *self._origin.token(), self._range


def stored_rows(lazy: LazyArray) -> Array:
    """Return the mapping of a lazy array itself, deleted rows included.

    It is only to be read: a framework that writes to it would change what is read from the
    array later.
    """
    return lazy._stored  # noqa: SLF001 -- of this module


def deleted_rows(lazy: LazyArray) -> DeletedRows | None:
    """Return the deleted rows among the `stored_rows` of a lazy array."""
    return lazy._deleted  # noqa: SLF001 -- of this module


def hold_rows(lazy: LazyArray) -> object:
    """Keep the rows of a lazy array as they are, as long as the result exists.

    Meanwhile writers replace rows in a copy of the file.

    Raises
    ------
    MovedError
        Rows were replaced since the array was loaded or pickled.
    """
    return None if lazy._origin is None else lazy._origin.hold()  # noqa: SLF001 -- of this module


def _from_memory(array: Array) -> LazyArray:
    array.flags.writeable = False
    return LazyArray(array, None, None)


def _map_again(reference: Any, dtype: DType, rows: tuple[int, int] | None) -> LazyArray:
    """Map an array, or a range of its rows, that was pickled by reference.

    Raises
    ------
    MovedError
        The rows cannot be found; its ``reason`` says why.
    """
    lazy = LazyArray(*map_reference(PickledReference(*reference), dtype))
    return lazy if rows is None else lazy.rows(*rows)
