"""The buffer protocol: bytes, ``ctypes`` and ``array`` arrays, file maps, shared memory.

Source: the Python C API, "Buffer Protocol"; PEP 3118 and the documentation of ``struct`` for
the formats.
"""

from __future__ import annotations

import array
import ctypes
import math
import mmap
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict

import numpy as np

from .._core import dtypes
from .._core.memory import (
    aligned_empty,
    boolean_obstacle,
    own_copy,
    representation_obstacle,
    with_owner,
)
from .._core.owner import from_address
from .._core.plan_view import plan_view
from .._core.policy import Obstacle, Plan, describe, refuse, wrong_type
from .._dlpack.fast_table import register_export, register_import
from .._dlpack.memory_views import view_buffer
from ..errors import InvalidValueError
from ._fixes import objects_fix
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from .._core.dtypes import DType
    from .._core.memory import Array


class FromOptions(TypedDict, total=False):
    """Options of `to_numpy`."""

    format: npt.DTypeLike
    shape: int | Sequence[int] | None


LABEL = "buffer"
FROM_OPTIONS = FromOptions.__optional_keys__
TO_OPTIONS: frozenset[str] = frozenset()

_CTYPES = tuple(
    kind
    for base in (ctypes.c_int, ctypes.c_int * 1, ctypes.Structure, ctypes.Union)
    for kind in base.__mro__
    if kind.__module__ == "_ctypes" and kind.__name__ != "_CData"
)
_POINTERS = frozenset("PzZXO&")
_NATIVE = frozenset("?bBhHiIlLqQefd")  # codes that `struct` and NumPy read alike


def to_numpy(obj: Any, *, format: object = None, shape: Any = None) -> Plan[Array]:  # noqa: A002 -- the name in memoryview.cast
    """Plan the conversion from an object with a buffer to a NumPy array.

    A read-only buffer stays read-only. `format` and `shape` are those of `memoryview.cast`,
    and `format` may be any dtype too: the type that the bytes are read as.
    """
    view = _view(obj)
    if any(offset >= 0 for offset in view.suboffsets) and format is None and shape is None:
        return _plan_gather(view)
    shared = _array(view) if format is None and shape is None else _recast(view, format, shape)
    if isinstance(obj, SharedMemory):
        shared = _from_shared_memory(shared, view, obj)
    foreign = not isinstance(view.obj, np.ndarray)
    obstacle = boolean_obstacle(shared) if foreign else None

    def owned() -> Array:
        return own_copy(shared if obstacle is None else shared.view(np.uint8) != 0)

    return Plan(
        direction="from buffer",
        describe=lambda: f"{describe(shared)} in a {type(obj).__qualname__}",
        nbytes=shared.nbytes,
        result=owned if obstacle else lambda: with_owner(shared, obj),
        independent=owned,
        obstacle=obstacle,
        preview=lambda: shared,
    )


def from_numpy(array: Array) -> Plan[memoryview]:
    """Plan the conversion from a NumPy array to a `memoryview` of its format and strides."""
    array = base_array(array, LABEL)
    if array.dtype.hasobject:
        fix = objects_fix(array) or _fix_for(array)
        refuse("to buffer", describe(array), "its elements are references", fix)
    swapped = None
    if not _has_format(array.dtype):
        swapped = representation_obstacle(array)
        if swapped is None or not _has_format(dtypes.native(array.dtype)):
            why = "the buffer protocol has no format for its dtype"
            refuse("to buffer", describe(array), why, _fix_for(array))
    return plan_view(array, LABEL, _memoryview, obstacle=swapped)


register_import(
    "buffer", (memoryview, bytes, bytearray, array.array, mmap.mmap), view=view_buffer
)
register_export("buffer", memoryview, dtypes="?bBhHiIlLqQefdFD", order="K")


def _view(obj: Any) -> Any:
    source: Any = obj.buf if isinstance(obj, SharedMemory) else obj
    try:
        return memoryview(source)
    except TypeError:
        if isinstance(obj, SharedMemory):
            raise InvalidValueError("the SharedMemory is closed") from None
        wrong_type("share", "an object with a buffer", obj, "pass bytes or a memoryview")
    except (BufferError, ValueError) as error:
        msg = f"the {type(obj).__qualname__} exports no buffer: {error}"
        raise InvalidValueError(msg) from error


def _description(view: Any) -> str:
    nbytes = math.prod(view.shape) * view.itemsize
    return f"{type(view.obj).__qualname__} of {nbytes:,} bytes in format {view.format!r}"


def _array(view: Any) -> Array:
    dtype = _known_dtype(view)
    if dtype is None:
        return _read(view)
    if view.c_contiguous and not dtype.hasobject:
        return _view_bytes(view, dtype, view.shape)
    if dtype.names and not isinstance(view.obj, np.ndarray):
        _refuse_format(view)  # NumPy would guess the offsets of the fields
    array = _read(view)  # strided, or with references
    return array if array.dtype == dtype else array.view(dtype)


def _known_dtype(view: Any) -> DType | None:
    """Return the dtype of the buffer's owner if it describes more than the format.

    The format of a struct omits its trailing padding, and NumPy's format of void is padding
    alone; ctypes names wide characters and long double otherwise than NumPy.
    """
    owner: Any = view.obj
    kind: Any = type(owner)
    if not issubclass(kind, (np.ndarray, *_CTYPES)):
        return None
    if memoryview(owner).format != view.format:  # `memoryview.cast` changed it
        return None
    if issubclass(kind, np.ndarray):
        dtype: DType = np.ndarray.dtype.__get__(owner)
        return dtype
    while issubclass(kind, ctypes.Array):
        kind = kind._type_
    return _ctypes_dtype(kind, view)


def _ctypes_dtype(kind: Any, view: Any) -> DType:
    if issubclass(kind, ctypes.Array):
        return np.dtype((_ctypes_dtype(kind._type_, view), (kind._length_,)))
    if issubclass(kind, (ctypes.Structure, ctypes.Union)):
        return _struct_dtype(kind, view)
    code = getattr(kind, "_type_", "&")
    if not isinstance(code, str) or code in _POINTERS:
        _refuse_pointers(view)
    if code == "u":
        return np.dtype(f"U{ctypes.sizeof(kind) // 4}")
    try:
        dtype: DType = np.dtype(kind)
    except (TypeError, NotImplementedError):  # new types of ctypes, such as complex
        _refuse_format(view)
    return dtype


def _struct_dtype(kind: Any, view: Any) -> DType:
    """Return a structured dtype with the field offsets of ctypes, base classes first."""
    fields = [f for base in reversed(kind.__mro__) for f in vars(base).get("_fields_", ())]
    if any(len(field) > 2 for field in fields):
        fix = "pass format='u1' for the bytes, and take the bits out of them"
        refuse("from buffer", _description(view), "it has bit-fields, and NumPy has none", fix)
    spec: Any = {
        "names": [name for name, _ in fields],
        "formats": [_ctypes_dtype(field, view) for _, field in fields],
        "offsets": [getattr(kind, name).offset for name, _ in fields],
        "itemsize": ctypes.sizeof(kind),
    }
    try:
        dtype: DType = np.dtype(spec)
    except ValueError:  # a duplicate field name
        _refuse_format(view)
    return dtype


def _read(view: Any) -> Array:
    """View a buffer as NumPy reads its format."""
    code = view.format.lstrip("@=<>!^")
    owned = isinstance(view.obj, np.ndarray)
    complex_ = code[:1] == "Z" and len(code) > 1
    if code[:1] in _POINTERS and not complex_ and not (owned and code == "O"):
        _refuse_pointers(view)
    try:
        array: Array = np.asarray(view)
    except (ValueError, RuntimeError):
        _refuse_format(view)
    if array.dtype.itemsize != view.itemsize:
        _refuse_format(view)
    if array.dtype.hasobject and not owned:
        _refuse_pointers(view)
    return array


def _view_bytes(view: Any, dtype: DType, shape: tuple[int, ...]) -> Array:
    """View contiguous bytes through `frombuffer`, which alone keeps the export open."""
    if 0 in shape or dtype.itemsize == 0:
        empty = np.empty(shape, dtype)
        empty.flags.writeable = not view.readonly
        return empty
    return np.ndarray(shape, dtype, buffer=np.frombuffer(view, np.uint8))


def _recast(view: Any, wanted: object, shape: Any) -> Array:
    """View contiguous bytes with another dtype or shape."""
    dtype = _array(view).dtype if wanted is None else _checked_dtype(wanted)
    if not view.c_contiguous or dtype.hasobject or dtype.itemsize == 0:
        msg = f"format={wanted!r} and shape= need C-contiguous memory of nonempty elements"
        raise InvalidValueError(msg)
    count, rest = divmod(view.nbytes, dtype.itemsize)
    if rest:
        msg = f"{view.nbytes:,} bytes are not a whole number of {dtype.itemsize}-byte elements"
        raise InvalidValueError(msg)
    try:
        flat = _view_bytes(view, dtype, (count,))
        return flat if shape is None else flat.reshape(shape)
    except (TypeError, ValueError) as error:
        msg = f"shape={shape!r} does not fit {count:,} elements: {error}"
        raise InvalidValueError(msg) from error


def _checked_dtype(wanted: Any) -> DType:
    try:
        extension = dtypes.of_extension(wanted) if isinstance(wanted, str) else None
        return np.dtype(wanted) if extension is None else extension
    except TypeError as error:
        msg = f"format must be one of memoryview.cast or a dtype, not {wanted!r}"
        raise InvalidValueError(msg) from error


def _from_shared_memory(array: Array, view: Any, memory: SharedMemory) -> Array:
    """View the array with an owner that releases the export before the `SharedMemory`."""
    return from_address(
        array.ctypes.data,
        array.shape,
        None,
        array.dtype,
        owner=_Export(view, memory),
        readonly=view.readonly,
    )


class _Export:
    """An open export of a `SharedMemory`, which is released before it.

    `SharedMemory.__del__` unmaps the memory, and reports an error while an export is open.
    """

    __slots__ = ("memory", "view")

    def __init__(self, view: Any, memory: SharedMemory) -> None:
        self.view = view
        self.memory = memory

    def __del__(self) -> None:
        self.view.release()


def _plan_gather(view: Any) -> Plan[Array]:
    """Plan the copy of elements behind pointers (suboffsets), which NumPy does not follow."""
    if view.format.lstrip("@") not in _NATIVE:
        why, fix = "its rows are reached through pointers", "pass the bytes: x.tobytes()"
        refuse("from buffer", _description(view), why, fix)
    dtype, shape = np.dtype(view.format.lstrip("@")), view.shape

    def gather() -> Array:
        fresh = aligned_empty(shape, dtype)
        flat = fresh.reshape(-1).view(np.uint8)
        flat[:] = np.frombuffer(view.tobytes(), np.uint8)
        if dtype == np.bool_:
            flat[:] = flat != 0
        return fresh

    return Plan(
        direction="from buffer",
        describe=lambda: f"{dtype} buffer of shape {shape}",
        nbytes=math.prod(shape) * dtype.itemsize,
        result=gather,
        independent=gather,
        obstacle=Obstacle(
            "its rows are reached through pointers (suboffsets)",
            "keep all of it in one block of memory",
        ),
        result_spec=(shape, dtype),
    )


def _refuse_pointers(view: Any) -> NoReturn:
    refuse(
        "from buffer",
        _description(view),
        "it holds addresses, not values",
        "pass what they point to, as numpy.ctypeslib.as_array(pointer, shape)",
    )


def _refuse_format(view: Any) -> NoReturn:
    why, fix = "NumPy does not know its format", "pass the format to read it as: format='u1'"
    refuse("from buffer", _description(view), why, fix)


def _has_format(dtype: DType) -> bool:
    """Check whether NumPy exports a dtype, for which `struct` or PEP 3118 needs a format."""
    try:
        _memoryview(np.empty(0, dtype))
    except ValueError:
        return False
    return True


def _memoryview(array: Any) -> memoryview:
    return memoryview(array)


def _fix_for(array: Array) -> str:
    if array.dtype.kind in "mM":
        return "pass the counts since 1970 or the durations as array.view('i8')"
    if dtypes.is_extension(array.dtype):
        return f"pass the bits as array.view('u{array.dtype.itemsize}')"
    if array.dtype.kind == "T":
        return "pass np.array(array.tolist()), where all have one width"
    if array.dtype.kind == "O":
        return "convert it to numbers or strings of one width with array.astype(...) first"
    return f"pass the bytes: array.view('V{array.dtype.itemsize}')"
