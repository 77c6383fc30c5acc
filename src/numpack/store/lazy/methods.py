"""`ArrayMethods`: the attributes and methods of ndarray, computed on the mapping.

Each method is a declaration, whose decorator adds a body that calls the method of ndarray.
"""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

import math
import operator
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from .declarations import documented, forwarded, in_place, reduction
from .operators import ArrayOperators

if TYPE_CHECKING:
    from types import FrameType

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from ..._core.policy import Obstacle
    from ..rows.deleted_rows import DeletedRows


class ArrayMethods(ArrayOperators):
    """Attributes and methods of an array that cannot be written.

    Views are read-only; other results are new ndarrays. Arguments and errors are NumPy's.
    """

    __slots__ = ()

    shape: tuple[int, ...]
    _stored: Array  # the rows of the file, including deleted ones
    _deleted: DeletedRows | None

    def _private_view(self, found: Any) -> Any:
        """Return a view of the mapping as one to hand out, and any other object unchanged."""
        raise NotImplementedError

    @property
    def _layout(self) -> Array:
        """An array of the same dtype, shape and strides, whose values are not read."""
        raise NotImplementedError

    def copied(self) -> Array:
        """Copy the array into independent, writable memory."""
        raise NotImplementedError

    def obstacle(self) -> Obstacle | None:
        """Return why the memory cannot be shared."""
        raise NotImplementedError

    def __getitem__(self, key: Any) -> Any:
        """Index as NumPy does."""
        raise NotImplementedError

    @property
    def dtype(self) -> DType:
        """Dtype of the elements."""
        return self._stored.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

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
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next along each axis."""
        return self._layout.strides

    @property
    def flags(self) -> Any:
        """Layout of the memory, as of a read-only ndarray that does not own it."""
        return self._layout.flags

    @property
    def device(self) -> str:
        """The device of the memory: ``"cpu"``."""
        return "cpu"

    @property
    def base(self) -> object:
        """Owner of the memory that views use; ``None`` if they are copied, not views."""
        return None if self.obstacle() else self._private_view(self._stored).base

    @property
    def data(self) -> memoryview:
        """The memory as a read-only memoryview."""
        view: memoryview = self._private_view(self._array).data
        return view

    @property
    def ctypes(self) -> Any:
        """The memory for `ctypes`; see `numpy.ndarray.ctypes`."""
        return self._private_view(self._array).ctypes

    @property
    def flat(self) -> Any:
        """Iterator over the elements in C order."""
        return self._private_view(self._array).flat

    @property
    def T(self) -> Array:  # noqa: N802 -- NumPy's name
        """Transposed array, a read-only view."""
        view: Array = self._private_view(self._array.T)
        return view

    @property
    def mT(self) -> Array:  # noqa: N802 -- NumPy's name
        """Array with the last two axes exchanged, a read-only view."""
        view: Array = self._private_view(self._array.mT)
        return view

    @property
    def real(self) -> Array:
        """Real part, a read-only view."""
        view: Array = self._private_view(self._array.real)
        return view

    @property
    def imag(self) -> Array:
        """Imaginary part, a read-only view; zeros for a real dtype."""
        view: Array = self._private_view(self._array.imag)
        return view

    @documented("x.copy()", "array([[1, 5, 3],\n       [4, 2, 6]])")
    def copy(self, order: Any = "C") -> Array:
        """Copy the array into independent, writable memory; changes of it are not stored."""
        if _is_from_array_of_dask(sys._getframe(1)):  # noqa: SLF001
            return self  # type: ignore[return-value]
        return self.copied() if order in ("C", "A", "K") else self._array.copy(order)

    @documented("x.astype('f4')", "array([[1., 5., 3.],\n       [4., 2., 6.]], dtype=float32)")
    def astype(
        self,
        dtype: Any,
        order: Any = "K",
        casting: Any = "unsafe",
        subok: bool = True,
        copy: bool = True,
    ) -> Array:
        """Return a copy of another dtype; a read-only view if it may be and is the same."""
        found = self._array.astype(dtype, order, casting, subok, copy)
        view: Array = self._private_view(found)
        return view

    @documented("x.view('u1').shape", "(2, 24)")
    def view(self, *args: Any, **options: Any) -> Any:
        """Return a read-only view of another dtype or type."""
        return self._private_view(self._array).view(*args, **options)

    @reduction("x.sum(axis=0)", "array([5, 7, 9])")
    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the sum of the elements."""

    @reduction("x.prod(axis=1)", "array([15, 48])")
    def prod(self, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the product of the elements."""

    @reduction("x.min(axis=0)", "array([1, 2, 3])")
    def min(self, axis: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the smallest element."""

    @reduction("int(x.max())", "6")
    def max(self, axis: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the largest element."""

    @reduction("bool(x.any())", "True")
    def any(self, axis: Any = None, out: Any = None, **options: Any) -> Any:
        """Return whether any element is true."""

    @reduction("bool(x.all())", "True")
    def all(self, axis: Any = None, out: Any = None, **options: Any) -> Any:
        """Return whether all elements are true."""

    @reduction("x.argmin(axis=1)", "array([0, 1])")
    def argmin(self, axis: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the index of the smallest element."""

    @reduction("int(x.argmax())", "5")
    def argmax(self, axis: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the index of the largest element."""

    @forwarded("x.mean(axis=0)", "array([2.5, 3.5, 4.5])")
    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the mean of the elements."""

    @forwarded("x.std(axis=0)", "array([1.5, 1.5, 1.5])")
    def std(self, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the standard deviation of the elements."""

    @forwarded("x.var(axis=0)", "array([2.25, 2.25, 2.25])")
    def var(self, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
        """Return the variance of the elements."""

    @forwarded("int(x.trace())", "3")
    def trace(self, *args: Any, **options: Any) -> Any:
        """Return the sum of the diagonal."""

    @forwarded("x.cumsum()", "array([ 1,  6,  9, 13, 15, 21])")
    def cumsum(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Array:
        """Return the sums of the elements up to each one."""

    @forwarded("x.cumprod()", "array([  1,   5,  15,  60, 120, 720])")
    def cumprod(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Array:
        """Return the products of the elements up to each one."""

    @forwarded("x.dot([1, 0, 1])", "array([ 4, 10])")
    def dot(self, b: Any, out: Any = None) -> Any:
        """Return the dot product with another array."""

    @forwarded("x.round(-1)", "array([[ 0,  0,  0],\n       [ 0,  0, 10]])")
    def round(self, decimals: Any = 0, out: Any = None) -> Array:
        """Return the elements rounded to a number of decimals."""

    @forwarded("x.clip(2, 4)", "array([[2, 4, 3],\n       [4, 2, 4]])")
    def clip(self, *args: Any, **options: Any) -> Array:
        """Return the elements limited to a range."""

    @forwarded("x.conj()", "array([[1, 5, 3],\n       [4, 2, 6]])")
    def conj(self, *args: Any, **options: Any) -> Array:
        """Return the complex conjugate of each element; of a real dtype a read-only view."""

    @forwarded("x.conjugate()", "array([[1, 5, 3],\n       [4, 2, 6]])")
    def conjugate(self, *args: Any, **options: Any) -> Array:
        """Return the complex conjugate of each element; of a real dtype a read-only view."""

    @forwarded("x.argsort(axis=1)", "array([[0, 2, 1],\n       [1, 0, 2]])")
    def argsort(self, *args: Any, **options: Any) -> Array:
        """Return the indexes that sort the array."""

    @forwarded("x.argpartition(1)[:, 0]", "array([0, 1])")
    def argpartition(self, *args: Any, **options: Any) -> Array:
        """Return the indexes that partition the array."""

    @forwarded("x.nonzero()[0]", "array([0, 0, 0, 1, 1, 1])")
    def nonzero(self) -> tuple[Array, ...]:
        """Return the indexes of the elements that are not zero, an array for each axis."""

    @forwarded("x[0].searchsorted(4)", "np.int64(1)")
    def searchsorted(self, *args: Any, **options: Any) -> Any:
        """Return where elements are to be inserted to keep the order."""

    @forwarded("x.choose([10, 20, 30, 40, 50, 60, 70])[0]", "array([20, 60, 40])")
    def choose(self, *args: Any, **options: Any) -> Array:
        """Return an array of elements chosen from others by number."""

    @forwarded("x.compress([True, False, True], axis=1)", "array([[1, 3],\n       [4, 6]])")
    def compress(self, condition: Any, axis: Any = None, out: Any = None) -> Array:
        """Return the slices along an axis that a mask selects."""

    @forwarded("x.repeat(2, axis=0).shape", "(4, 3)")
    def repeat(self, repeats: Any, axis: Any = None) -> Array:
        """Return the elements repeated."""

    @forwarded("x.reshape(3, 2)", "array([[1, 5],\n       [3, 4],\n       [2, 6]])")
    def reshape(self, *shape: Any, **options: Any) -> Array:
        """Return a read-only view of another shape."""

    @forwarded("x.ravel()", "array([1, 5, 3, 4, 2, 6])")
    def ravel(self, order: Any = "C") -> Array:
        """Return the elements in one axis, a read-only view in C order."""

    @forwarded("x.flatten()", "array([1, 5, 3, 4, 2, 6])")
    def flatten(self, order: Any = "C") -> Array:
        """Copy the elements into one axis of independent, writable memory."""

    @forwarded("x.transpose(1, 0).shape", "(3, 2)")
    def transpose(self, *axes: Any) -> Array:
        """Return a read-only view with permuted axes."""

    @forwarded("x.swapaxes(0, 1).shape", "(3, 2)")
    def swapaxes(self, axis1: Any, axis2: Any, /) -> Array:
        """Return a read-only view with two axes exchanged."""

    @forwarded("x.squeeze().shape", "(2, 3)")
    def squeeze(self, axis: Any = None) -> Array:
        """Return a read-only view without axes of length one."""

    @forwarded("x.diagonal()", "array([1, 2])")
    def diagonal(self, *args: Any, **options: Any) -> Array:
        """Return a read-only view of the diagonal."""

    @forwarded("x.byteswap()[0, 0]", "np.int64(72057594037927936)")
    def byteswap(self, inplace: bool = False) -> Array:
        """Return the elements with their bytes in reverse order."""

    @forwarded("x.getfield('i4')", "array([[1, 5, 3],\n       [4, 2, 6]], dtype=int32)")
    def getfield(self, dtype: Any, offset: Any = 0) -> Array:
        """Return a read-only view of a part of each element."""

    @forwarded("x.tolist()", "[[1, 5, 3], [4, 2, 6]]")
    def tolist(self) -> Any:
        """Return the elements as nested lists of Python objects."""

    @forwarded("x.tobytes()[:8]", "b'\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00'")
    def tobytes(self, order: Any = "C") -> bytes:
        """Return the bytes of the elements."""

    @documented("x.tofile('x.bin')", "")
    def tofile(self, fid: Any, /, *args: Any, **options: Any) -> None:
        """Write the elements to a file."""
        self._array.tofile(fid, *args, **options)

    @documented("x.item(1, 2)", "6")
    def item(self, *args: Any) -> Any:
        """Return an element as a Python object."""
        place = np.broadcast_to(np.int8(0), self.shape)
        place.item(*args)  # raises as NumPy does
        flat = args[0] if len(args) == 1 and not isinstance(args[0], tuple) else None
        if flat is None:
            index = args[0] if len(args) == 1 else args or (0,) * len(self.shape)
        else:
            index = np.unravel_index(operator.index(flat) % self.size, self.shape)
        return self[index].item()

    @documented("x.to_device('cpu')", "LazyArray(int64, shape=(2, 3), 48 bytes)")
    def to_device(self, device: Any, /, *, stream: Any = None) -> Any:
        """Return the array itself, if the device is the CPU."""
        self._layout.to_device(device, stream=stream)  # raises as NumPy does
        return self

    sort = in_place("sort", "np.sort(x)")
    partition = in_place("partition", "np.partition(x, kth)")
    fill = in_place("fill", "np.full_like(x, value)")
    put = in_place("put", "a copy, x.copy()")
    resize = in_place("resize", "np.resize(x, shape)")
    setfield = in_place("setfield", "a copy, x.copy()")
    setflags = in_place("setflags", "a copy, x.copy()")


def _is_from_array_of_dask(caller: FrameType) -> bool:
    """Return whether a frame is that of `dask.array.from_array`.

    It copies what it is given, so that tasks do not see later changes, and puts the copy into
    its graph. Nobody can write to a lazy array, and tasks are to receive it by reference.
    """
    is_named = caller.f_code.co_name == "from_array"
    return is_named and caller.f_globals.get("__name__") == "dask.array.core"
