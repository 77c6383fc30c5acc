"""DLPack in and out of NumPy memory, and nothing else.

Capsules of both kinds of DLPack 1.x (``DLManagedTensor``, called ``dltensor``, and
``DLManagedTensorVersioned``, called ``dltensor_versioned``) are read and made here; the
structs are those of ``dlpack.h``. The memory that leaves is owned by a capsule that NumPy
makes, whose deleter is native and safe without the GIL, in a forked child and after the
interpreter has ended; only what NumPy cannot say (an ml_dtypes type code, a copy made on
the way) is written into the struct afterwards.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _dtypes
from ._memory import from_address
from .errors import InvalidValueError, ZeroCopyError

if TYPE_CHECKING:
    from ._dtypes import Row
    from ._memory import Array

CPU = (1, 0)  # kDLCPU
MAX_VERSION = (1, 1)
_HOST_DEVICES = frozenset({1, 3, 11, 13})  # kDLCPU, kDLCUDAHost, kDLROCMHost, kDLCUDAManaged

READ_ONLY, IS_COPIED, PADDED = 1, 2, 4  # DLPACK_FLAG_BITMASK_…
_MAX_NDIM = 64  # NumPy's

LEGACY, VERSIONED = b"dltensor", b"dltensor_versioned"


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Legacy(ctypes.Structure):
    _fields_ = (
        ("tensor", _Tensor),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]
_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype = ctypes.c_void_p
_get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_set_name = ctypes.pythonapi.PyCapsule_SetName
_set_name.restype, _set_name.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_void_p]
_DELETER = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)

# A capsule keeps the address of its name, not the name, and may outlive this module:
# these two are never freed.
_USED = {name: ctypes.create_string_buffer(b"used_" + name) for name in (LEGACY, VERSIONED)}
for _buffer in _USED.values():
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_buffer))


@dataclass(frozen=True, slots=True)
class Description:
    """What a capsule holds, read without taking it.

    Attributes
    ----------
    shape : tuple of int
    strides : tuple of int or None
        In elements; ``None`` for C order.
    code, bits, lanes : int
        DLPack's data type.
    device : tuple of int
        DLPack's device type and number.
    address : int
        Of the element at index (0, …, 0).
    readonly, copied, padded : bool
        The flags of a versioned capsule; false in a legacy one.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    code: int
    bits: int
    lanes: int
    device: tuple[int, int]
    address: int
    readonly: bool
    copied: bool
    padded: bool

    @property
    def row(self) -> Row | None:
        """The dtype in the table, or ``None`` if NumPy cannot hold it in place."""
        if self.lanes != 1 or (self.bits < 8 and not self.padded):
            return None
        return _dtypes.of_dlpack(self.code, self.bits)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, one after the other."""
        return math.prod(self.shape) * self.lanes * max(self.bits, 8) // 8

    @property
    def on_host(self) -> bool:
        """Whether the processor can read the memory."""
        return self.device[0] in _HOST_DEVICES

    def __str__(self) -> str:
        """Give the dtype and shape for messages."""
        row = _dtypes.of_dlpack(self.code, self.bits)
        name = row.numpy if row else f"DLPack type (code {self.code}, {self.bits} bits)"
        if self.lanes != 1:
            name += f" of {self.lanes} lanes"
        return f"{name} tensor of shape {self.shape}"


def is_capsule(obj: object) -> bool:
    """Tell whether `obj` is a raw capsule of whatever kind."""
    return type(obj).__name__ == "PyCapsule"


def describe(capsule: object) -> Description:
    """Read what a capsule holds and leave it to its producer.

    Raises
    ------
    InvalidValueError
        The capsule was consumed already, is no DLPack capsule, is of another major
        version, or holds a shape that no array has.
    """
    with _taking:  # or another thread may take it, and free it, while it is being read
        return _read(_open(capsule)[1])


def _read(managed: _Legacy | _Versioned) -> Description:
    tensor = managed.tensor
    flags = managed.flags if isinstance(managed, _Versioned) else 0
    ndim = tensor.ndim
    if not 0 <= ndim <= _MAX_NDIM or (ndim and not tensor.shape):
        msg = (
            f"the DLPack tensor has {ndim} dimensions and no usable shape; an array has 0 to 64"
        )
        raise InvalidValueError(msg)
    shape = tuple(tensor.shape[:ndim]) if ndim else ()
    if any(extent < 0 for extent in shape):
        msg = f"the DLPack tensor has a negative extent in its shape {shape}"
        raise InvalidValueError(msg)
    if math.prod(shape) * tensor.dtype.bits * tensor.dtype.lanes // 8 > sys.maxsize:
        msg = f"the DLPack tensor of shape {shape} is larger than any memory"
        raise InvalidValueError(msg)
    if not tensor.data and 0 not in shape:
        msg = f"the DLPack tensor of shape {shape} has no data: its pointer is NULL"
        raise InvalidValueError(msg)
    return Description(
        shape=shape,
        strides=_strides(tensor, shape),
        code=tensor.dtype.code,
        bits=tensor.dtype.bits,
        lanes=tensor.dtype.lanes,
        device=(tensor.device_type, tensor.device_id),
        address=(tensor.data or 0) + tensor.byte_offset,
        readonly=bool(flags & READ_ONLY),
        copied=bool(flags & IS_COPIED),
        padded=bool(flags & PADDED),
    )


def _strides(tensor: _Tensor, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Read the strides in elements; those that reach no other element are 0."""
    if not shape or not tensor.strides:
        return None
    strides = zip(shape, tensor.strides[: len(shape)], strict=True)
    used = tuple(stride if extent > 1 else 0 for extent, stride in strides)
    itemsize = max(tensor.dtype.bits * tensor.dtype.lanes, 8) // 8
    reach = (abs(s) * max(n - 1, 1) * itemsize for n, s in zip(shape, used, strict=True))
    if any(each > sys.maxsize for each in reach):
        msg = f"the DLPack tensor of shape {shape} has strides {used}, which leave any memory"
        raise InvalidValueError(msg)
    return used


def adopt(capsule: object, description: Description, row: Row) -> Array:
    """Take a capsule over as an array that shares its memory.

    The capsule is marked as used and its deleter runs once, when the last array over the
    memory is gone or if this call fails.
    """
    dtype = row.dtype  # may raise: before the capsule is taken
    with _taking:
        name, managed = _open(capsule)
        _set_name(capsule, ctypes.addressof(_USED[name]))
        owner = _Owner(managed)
    return _view(description, dtype, owner)


def borrow(capsule: object, description: Description, row: Row) -> Array:
    """View a capsule's memory without taking it over, for as long as nobody else does."""
    return _view(description, row.dtype, capsule)


def _view(description: Description, dtype: _dtypes.DType, owner: object) -> Array:
    if 0 in description.shape:
        return np.empty(description.shape, dtype)
    strides = description.strides
    return from_address(
        description.address,
        description.shape,
        strides and tuple(stride * dtype.itemsize for stride in strides),
        dtype,
        owner=owner,
        readonly=description.readonly,
    )


def export(array: Array, row: Row, *, versioned: bool, copied: bool) -> object:
    """Make a capsule over an array's memory.

    Parameters
    ----------
    array : ndarray
        Native, aligned, with usual strides that are multiples of the item size.
    row : Row
        Its dtype in the table.
    versioned : bool
        Whether the consumer takes ``dltensor_versioned``.
    copied : bool
        Whether the memory was copied for the consumer.

    Raises
    ------
    ZeroCopyError
        The array is read-only, or its values take less than a byte each, and a legacy
        capsule cannot say so. It is a `BufferError`, as the protocol asks for.
    """
    padded = row.bits < 8
    if not versioned and padded:
        msg = (
            "a legacy DLPack capsule cannot say that values of less than a byte are padded; "
            "ask for a versioned one with max_version=(1, 1)"
        )
        raise ZeroCopyError(msg)
    if not versioned and not array.flags.writeable:
        msg = (
            "a legacy DLPack capsule cannot say that memory is read-only; ask for a versioned "
            "one with max_version=(1, 0), or wrap a copy with copy=True"
        )
        raise ZeroCopyError(msg)
    carrier = array.view(row.carrier) if row.extension else array
    capsule = _numpy_capsule(carrier, versioned=versioned, must_tell=padded)
    _, managed = _open(capsule)
    if array.ndim and not managed.tensor.strides:
        capsule, managed = _with_strides(carrier, versioned=versioned)
    managed.tensor.dtype.code, managed.tensor.dtype.bits = row.code, row.bits
    if isinstance(managed, _Versioned):
        managed.minor = MAX_VERSION[1] if row.extension else managed.minor
        managed.flags |= (IS_COPIED if copied else 0) | (PADDED if padded else 0)
    return capsule


def _with_strides(array: Array, *, versioned: bool) -> tuple[object, _Legacy | _Versioned]:
    """Make a capsule with strides where NumPy 2.0 leaves them NULL, which DLPack 1.2 forbids.

    They live as long as the managed tensor: in the owner of the view that it holds.
    """
    strides = (ctypes.c_int64 * array.ndim)(*(each // array.itemsize for each in array.strides))
    view = from_address(
        array.ctypes.data,
        array.shape,
        array.strides,
        array.dtype,
        owner=(array, strides),
        readonly=not array.flags.writeable,
    )
    capsule = _numpy_capsule(view, versioned=versioned, must_tell=False)
    _, managed = _open(capsule)
    managed.tensor.strides = strides
    return capsule, managed


def _numpy_capsule(array: Array, *, versioned: bool, must_tell: bool) -> object:
    if not versioned:
        return array.__dlpack__()
    try:
        return array.__dlpack__(max_version=(1, 0))
    except TypeError:  # NumPy 2.0: legacy capsules alone, which a consumer must expect too
        if must_tell or not array.flags.writeable:
            msg = (
                "NumPy 2.0 makes legacy DLPack capsules alone, which can say neither that "
                "memory is read-only nor that narrow values are padded; install numpy>=2.1"
            )
            raise ZeroCopyError(msg) from None
        return array.__dlpack__()


def _open(capsule: object) -> tuple[bytes, _Legacy | _Versioned]:
    if _is_valid(capsule, VERSIONED):
        versioned = _Versioned.from_address(_get_pointer(capsule, VERSIONED))
        if versioned.major != MAX_VERSION[0]:
            msg = (
                f"the capsule is of DLPack {versioned.major}.{versioned.minor}, and this "
                f"version reads DLPack {MAX_VERSION[0]}; ask its producer for "
                f"max_version={MAX_VERSION}"
            )
            raise InvalidValueError(msg)
        return VERSIONED, versioned
    if _is_valid(capsule, LEGACY):
        return LEGACY, _Legacy.from_address(_get_pointer(capsule, LEGACY))
    if any(_is_valid(capsule, buffer.value) for buffer in _USED.values()):
        msg = "the DLPack capsule was consumed already; ask its producer for another one"
        raise InvalidValueError(msg)
    msg = f"expected a capsule named dltensor or dltensor_versioned, got {capsule!r}"
    raise InvalidValueError(msg)


_taking = threading.Lock()  # of two threads that take one capsule the second is refused


def _free_lock() -> None:
    """Make a new lock in a forked child: another thread may have held it."""
    global _taking  # noqa: PLW0603
    _taking = threading.Lock()


os.register_at_fork(after_in_child=_free_lock)


class _Owner:
    """Calls a managed tensor's deleter once, when it is dropped."""

    __slots__ = ("_address", "_deleter")

    def __init__(self, managed: _Legacy | _Versioned) -> None:
        self._address = ctypes.addressof(managed)
        self._deleter: Any = _DELETER(managed.deleter) if managed.deleter else None

    def __del__(self) -> None:
        if self._deleter is not None:
            self._deleter(self._address)
