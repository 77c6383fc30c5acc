"""`LazyArray`: an array that stays in its file until it is touched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..errors import CorruptStoreError, UnsupportedError
from ..io import share
from . import data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._dtypes import DType
    from .._memory import Array


class LazyArray(NDArrayOperatorsMixin):
    """A read-only view of a stored array, mapped from its file.

    Made by ``NumPack.load(name, lazy=True)``. Nothing is read until elements are used,
    and the memory is the operating system's page cache, shared by all processes. It stays
    valid and unchanged whatever happens to the store: later saves, appends, drops, and
    closing it.

    Indexing, `reshape` and `T` give read-only ndarrays over the mapping, operators give
    new ndarrays; in-place operators leave the store alone and rebind the name to a new
    ndarray. Every framework takes it by `numpack.share`, its DLPack methods or
    `numpy.asarray`, without a copy.

    Pickling it costs a few bytes: the other process maps the same file.

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

    __slots__ = ("_array", "_path")

    def __init__(self, path: Path, dtype: DType, shape: tuple[int, ...]) -> None:
        self._path = path
        self._array = data.mapped(path, dtype, shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._array.shape

    @property
    def dtype(self) -> DType:
        """Dtype of the elements."""
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._array.size

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._array.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self._array.nbytes

    @property
    def T(self) -> Array:  # noqa: N802 -- NumPy's name
        """The transposed array, a read-only view."""
        return self._array.T

    def reshape(self, *shape: Any) -> Array:
        """Give a read-only view of another shape; see `numpy.ndarray.reshape`."""
        return self._array.reshape(*shape)

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self._array)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rows, read-only views."""
        return iter(self._array)

    def __getitem__(self, key: Any) -> Any:
        """Index as NumPy does; slices are read-only views of the mapping."""
        return self._array[key]

    def __bool__(self) -> bool:
        """Give the truth of a single element, as NumPy does."""
        return bool(self._array)

    def __repr__(self) -> str:
        """Tell dtype, shape and size without reading anything."""
        return f"LazyArray({self.dtype}, shape={self.shape}, {self.nbytes:,} bytes)"

    def __array__(self, dtype: DType | None = None, copy: bool | None = None) -> Array:
        """Give the mapping itself as a read-only ndarray; a copy only if asked for."""
        if not copy and (dtype is None or dtype == self.dtype):
            return self._array
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
        arrays = (each._array if isinstance(each, LazyArray) else each for each in inputs)  # noqa: SLF001
        return getattr(ufunc, method)(*arrays, **kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Give DLPack's device: the CPU, ``(1, 0)``."""
        return (1, 0)

    def __dlpack__(self, **options: Any) -> object:
        """Export the file's pages, mapped again copy-on-write; see `DLPackBuffer`.

        Writes of the consumer stay private to it.
        """
        return share(self, "dlpack").__dlpack__(**options)

    def __copy__(self) -> LazyArray:
        """Give itself: it never changes."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyArray:
        """Give itself: it never changes."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the way to the file, not its contents."""
        return _map_again, (str(self._path), self.dtype, self.shape)


def _map_again(path: str, dtype: DType, shape: tuple[int, ...]) -> LazyArray:
    try:
        return LazyArray(Path(path), dtype, shape)
    except FileNotFoundError:
        msg = (
            f"the array's file {path} is gone: it was dropped or saved anew since the "
            "LazyArray was pickled; load it from the store again"
        )
        raise CorruptStoreError(msg) from None
