"""`SharedArray`: an ndarray whose memory other processes map."""

from __future__ import annotations

import functools
import math
import operator
import weakref
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.lib.array_utils import byte_bounds

from .._core.file_mapping import reference_at
from .._core.mapped_files import mapping_of
from .._core.policy import wrong_type
from .._core.view_layout import ViewLayout
from ..errors import InvalidValueError, MovedError, UnsupportedError
from . import memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from .._core.dtypes import DType
    from .._core.file_mapping import FileMapping, Reduced
    from .._core.memory import Array


class SharedArray(np.ndarray[tuple[int, ...], np.dtype[Any]]):
    """Array of zeros in memory that other processes of the machine map.

    It is an ndarray, and is used as one: everything that takes ndarrays takes it, and
    `numpack.share` shares it. Pickling it takes less than 300 bytes, whatever its size: the
    process that unpickles it maps the same memory, and each process sees what the others write.
    Views (``a[10:20]``, ``a.T``, ``a.reshape(…)``) are shared arrays too, and are pickled as
    the same part of the memory; those that are read-only stay read-only. Results of operators
    and copies are plain ndarrays. (Some functions, such as `numpy.empty_like`, return the type
    of their argument: such an array has memory of its own, and is pickled as a plain ndarray.)

    The memory has no name, neither in ``/dev/shm`` nor elsewhere, and no size limit but that of
    the machine's memory. It exists as long as any process has it mapped, and is freed with the
    last one, also if processes are killed: nothing is left behind. The process that has pickled
    an array has to keep it, or a view of it, until the other process has unpickled it; each
    process that has it can pickle it again.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : data-type, default float64
        Any dtype without Python objects.

    Raises
    ------
    UnsupportedError
        The dtype has Python objects, or is of another kind that refers to other memory.
    NoMemoryError
        A `MemoryError`: the machine does not have so much memory.
    SharedMemoryError
        An `OSError`: the system has no such memory (it needs Linux), or no more files can be
        open in this process. Each shared array has a file open, which its views have as well.

    See Also
    --------
    share_memory : a shared copy of any array.

    Notes
    -----
    Processes are not synchronized; use a `multiprocessing.Lock` or the like where one process
    reads what another writes at that time.

    Pages are allocated when they are first used. As with any memory, a process is killed that
    uses more of it than its cgroup may have, or the machine has; a page that cannot be
    allocated for another reason raises SIGBUS. Where the system never overcommits memory
    (``vm.overcommit_memory=2``), all pages are allocated at once, so that it cannot. The
    memory begins at a page, and huge pages are requested from 2 MiB on.

    Source: memfd_create(2) and "File Sealing" in fcntl(2).

    Examples
    --------
    >>> import pickle
    >>> import numpy as np
    >>> from numpack import SharedArray
    >>> a = SharedArray((3, 2), "f4")
    >>> a[:] = 1
    >>> b = pickle.loads(pickle.dumps(a[1:]))   # here, or in another process
    >>> b[0, 0] = 5
    >>> a
    SharedArray([[1., 1.],
                 [5., 1.],
                 [1., 1.]], dtype=float32)
    >>> a + 1
    array([[2., 2.],
           [6., 2.],
           [2., 2.]], dtype=float32)
    """

    __array_priority__ = (
        -100.0
    )  # what is made of it and of another array is of the other's type

    def __new__(cls, shape: int | Sequence[int], dtype: DTypeLike = float) -> Self:
        """Allocate memory of zeros."""
        return cls._allocate(shape, dtype, reserve=False)

    @classmethod
    def _allocate(cls, shape: int | Sequence[int], dtype: DTypeLike, *, reserve: bool) -> Self:
        """Create an array; `reserve` as of `memory.create`."""
        extents, found = _checked_layout(shape, dtype)
        nbytes = math.prod(extents) * found.itemsize
        if nbytes == 0:  # there is nothing to share
            return np.ndarray.__new__(cls, extents, found)
        mapping = _refer(memory.create(nbytes, reserve=reserve))
        return np.ndarray.__new__(cls, extents, found, mapping)  # type: ignore[arg-type]  # buffers are typed from 3.12 on

    def __array_wrap__(
        self, array: Any, context: Any = None, return_scalar: bool = False
    ) -> Any:
        """Return the result of an operator as a plain ndarray, unless it is in place."""
        if array is self:
            return array
        if return_scalar:
            return array[()]
        return _plain(array)

    def __getitem__(self, key: Any) -> Any:
        """Index as an ndarray; rows that are copied are a plain ndarray."""
        found = super().__getitem__(key)
        return found if type(found) is not SharedArray else _plain_if_copied(found)

    def __copy__(self) -> Array:  # type: ignore[override]  # a copy is not shared
        """Copy into a plain ndarray."""
        return np.array(self)

    def __deepcopy__(self, memo: dict[int, Any] | None) -> Array:  # type: ignore[override]
        """Copy into a plain ndarray."""
        return np.array(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle a reference to the memory; of a copy that is not shared, its values."""
        if self.nbytes == 0:
            return _empty, (self.dtype, self.shape, self.flags.writeable)
        found = reference_at(*byte_bounds(self)) if mapping_of(self) is not None else None
        reduced = None if found is None else found[1].reduce_view(self, found[0])
        return _plain(self).__reduce_ex__(protocol) if reduced is None else reduced

    def __reduce__(self) -> Any:
        """Pickle as `__reduce_ex__` does."""
        return self.__reduce_ex__(2)


class _Views:
    """What pickles views of shared memory by reference: a `ViewReference`."""

    __slots__ = ("_mapping",)

    def __init__(self, mapping: FileMapping) -> None:
        self._mapping = weakref.ref(mapping)

    def reduce_view(self, array: Array, offset: int) -> Reduced | None:
        """Return what pickles a view whose lowest address is at an offset."""
        mapping = self._mapping()
        location = None if mapping is None else memory.location_of(mapping)
        if location is None:
            return None
        is_shared = type(array) is SharedArray
        return _map_again, (
            *location,
            *ViewLayout.of(array, offset),
            array.flags.writeable,
            is_shared,
        )


def _map_again(*pickled: Any) -> Array:
    """Restore a pickled array over the same memory."""
    try:
        location = memory.Location(*pickled[:8]).checked()
        layout = ViewLayout(*pickled[8:-2])
        writable, is_shared = pickled[-2:]
        mapping = memory.open_memory(location)
        _refer(mapping)
        kind = SharedArray if is_shared else np.ndarray
        array = layout.view(mapping, location.length, kind)
    except (TypeError, ValueError):
        msg = "the pickle of a shared array is damaged; pickle the array again"
        raise MovedError(msg) from None
    if not writable:
        array.flags.writeable = False
    return array


def _refer(mapping: FileMapping) -> FileMapping:
    """Let views of a mapping be pickled by reference."""
    mapping.refer(_Views(mapping))
    return mapping


def _empty(dtype: DType, shape: tuple[int, ...], writable: bool) -> SharedArray:
    """Restore a pickled array that has no bytes."""
    array = SharedArray(shape, dtype)
    array.flags.writeable = writable
    return array


def _check_claims(
    location: memory.Location, dtype: DType, shape: Any, strides: Any, offset: Any
) -> None:
    """Check what a pickle claims in Python's integers, which do not overflow.

    Raises
    ------
    TypeError, ValueError
        A value is of another type, or the array would reach beyond the memory.
    """
    numbers = [*location[1:4], *location[5:], offset, *shape, *(strides or ())]
    if any(type(number) is not int for number in numbers) or type(location.boot) is not str:
        raise TypeError
    if type(location.name) is not str or dtype.hasobject or type(shape) is not tuple:
        raise TypeError
    if location.pid < 1 or location.descriptor < 0 or min(shape, default=1) < 1:
        raise ValueError
    lowest = highest = offset
    if strides is None:
        highest += math.prod(shape) * dtype.itemsize
    else:
        reach = [s * (n - 1) for n, s in zip(shape, strides, strict=True)]
        lowest += sum(each for each in reach if each < 0)
        highest += sum(each for each in reach if each > 0) + dtype.itemsize
    if lowest < 0 or highest > location.length:
        raise ValueError


def _checked_layout(
    shape: int | Sequence[int], dtype: DTypeLike
) -> tuple[tuple[int, ...], DType]:
    """Return the shape and the dtype of an array that is to be made."""
    try:
        extents = tuple(map(operator.index, shape if _is_sequence(shape) else [shape]))  # type: ignore[arg-type]
    except TypeError:
        wrong_type("SharedArray", "an int or a tuple of ints as shape", shape, "pass a.shape")
    if min(extents, default=0) < 0:
        msg = f"SharedArray takes no negative lengths, and the shape is {extents}; pass a.shape"
        raise InvalidValueError(msg)
    try:
        sample = np.empty(0, dtype)  # which gives a subarray its axes, and "S" its length
    except TypeError as error:
        wrong_type("SharedArray", "a dtype", dtype, f"NumPy says: {error}")
    found: DType = sample.dtype
    if found.hasobject:
        msg = (
            f"SharedArray of {found} is not possible: its items refer to memory of this "
            "process alone; use a dtype of fixed size, such as array.astype('U')"
        )
        raise UnsupportedError(msg, reason="items refer to memory of one process")
    return extents + sample.shape[1:], found


def _is_sequence(shape: object) -> bool:
    return hasattr(shape, "__len__") or hasattr(shape, "__iter__")


def _plain(array: Array) -> Array:
    return array.view(np.ndarray)


def _plain_if_copied(array: Array) -> Array:
    """Return an array as a plain one unless it is a view of shared memory."""
    return array if array.size == 0 or mapping_of(array) is not None else _plain(array)


def _override(name: str) -> None:
    """Let a method of ndarray that may copy return plain ndarrays where it does."""
    method = getattr(np.ndarray, name)

    @functools.wraps(method)
    def overridden(self: Array, *args: Any, **options: Any) -> Any:
        found = method(self, *args, **options)
        return found if type(found) is not SharedArray else _plain_if_copied(found)

    setattr(SharedArray, name, overridden)


for _name in ("astype", "byteswap", "copy", "flatten", "ravel", "repeat", "reshape", "take"):
    _override(_name)
