"""NumPy's array interface: objects that describe their memory, and Pillow images.

Source: the NumPy reference, "The array interface protocol", version 3.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.lib.array_utils import byte_bounds

from .._core import dtypes
from .._core.memory import (
    aligned_copy,
    aligned_empty,
    boolean_obstacle,
    from_interface,
    own_copy,
)
from .._core.plan_view import plan_view
from .._core.policy import Obstacle, Plan, describe, refuse
from .._dlpack.fast_table import register_export, register_import
from .._dlpack.memory_views import view_interface
from ..errors import InvalidValueError
from .numpy import base_array

if TYPE_CHECKING:
    from .._core.dtypes import DType
    from .._core.memory import Array

LABEL = "array interface"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()


def to_numpy(obj: Any) -> Plan[Array]:
    """Plan the conversion from an object with the array interface to a NumPy array.

    No other protocol of the object is used; the array keeps the object alive.
    """
    if _is_image(obj):
        return _plan_image(obj)
    shared = _read(obj)
    obstacle = boolean_obstacle(shared)
    if _recomputes(obj, shared):
        return _plan_computed(obj, shared)
    _register(type(obj))

    def owned() -> Array:
        return own_copy(shared if obstacle is None else shared.view(np.uint8) != 0)

    return Plan(
        direction="from array interface",
        describe=lambda: f"{describe(shared)} of a {type(obj).__qualname__}",
        nbytes=shared.nbytes,
        result=owned if obstacle else lambda: shared,
        independent=owned,
        obstacle=obstacle,
        preview=lambda: shared,
    )


def from_numpy(array: Array) -> Plan[Array]:
    """Plan the conversion from a NumPy array to an ndarray with the array interface.

    The result is a base-class ndarray that its interface describes completely: no mask, and a
    dtype that has a type string.
    """
    array = base_array(array, LABEL)
    why = "the array interface has no name for its dtype"
    if dtypes.is_extension(array.dtype):
        fix = f"pass the bits as array.view('u{array.dtype.itemsize}')"
        refuse("to array interface", describe(array), why, fix)
    if array.dtype.kind == "T":
        fix = "pass np.array(array.tolist()), where all have one width"
        refuse("to array interface", describe(array), why, fix)
    return plan_view(array, LABEL, lambda memory: memory)


def _register(kind: type) -> None:
    """Register a type, an object of which described the same memory twice, as a fast one."""
    if kind not in _fast_types and len(_fast_types) < _MOST_TYPES:
        _fast_types.add(kind)
        register_import("array_interface", (kind,), view=view_interface)


_MOST_TYPES = 256  # the registry keeps types alive
_fast_types: set[type] = set()

register_export("array_interface", lambda array: array, dtypes="?bBhHiIlLqQefdFD", order="K")


def _read(obj: Any) -> Array:
    return _from_struct(obj) if _has_only_struct(obj) else _from_dict(obj)


def _recomputes(obj: Any, shared: Array) -> bool:
    """Check whether each access to the interface describes other memory."""
    if shared.size == 0 or "__array_interface__" in getattr(obj, "__dict__", ()):
        return False
    if _has_only_struct(obj):
        return bool(np.asarray(_Struct(obj)).ctypes.data != shared.ctypes.data)
    interface = obj.__array_interface__
    data = interface.get("data")
    if isinstance(data, tuple):
        return bool(data[0] != shared.ctypes.data)
    again = _memory_of(obj if data is None else data)
    return bool(again.ctypes.data + interface.get("offset", 0) != shared.ctypes.data)


def _plan_computed(obj: Any, shared: Array) -> Plan[Array]:
    """Plan to keep the result of one access in new memory.

    A write to it would not change the object.
    """
    given = f"{describe(shared)} of a {type(obj).__qualname__}"

    def compute() -> Array:
        values = _read(obj)
        return aligned_copy(
            values if boolean_obstacle(values) is None else values.view("u1") != 0
        )

    return Plan(
        direction="from array interface",
        describe=lambda: given,
        nbytes=shared.nbytes,
        result=compute,
        independent=compute,
        obstacle=Obstacle(
            "it computes its values at each access",
            "compute them once, and keep that: np.array(x)",
        ),
        result_spec=(shared.shape, shared.dtype),
    )


def _is_image(obj: Any) -> bool:
    return any(base.__module__ == "PIL.Image" for base in type(obj).__mro__)


def _plan_image(image: Any) -> Plan[Array]:
    """Plan the copy of an image's pixels, row by row, that Pillow makes."""
    dtype, shape = _pixel_spec(image)

    def pixels() -> Array:
        array = _from_dict(image)
        return array.view(np.uint8) != 0 if dtype == np.bool_ else array  # 0 and 255

    def writable() -> Array:
        fresh = aligned_empty(shape, dtype)  # Pillow returns immutable bytes
        fresh[...] = pixels()
        return fresh

    return Plan(
        direction="from array interface",
        describe=lambda: f"image of mode {image.mode} and size {image.size}",
        nbytes=math.prod(shape) * dtype.itemsize,
        result=writable,
        independent=lambda: aligned_copy(pixels()),
        obstacle=Obstacle(
            "Pillow's array interface is a copy of the pixels of the image",
            "keep them in an array, share that, and make the image of it: "
            "PIL.Image.fromarray(array)",
        ),
        result_spec=(shape, dtype),
    )


def _pixel_spec(image: Any) -> tuple[DType, tuple[int, ...]]:
    """Return the dtype and shape of an image's pixels without copying them."""
    from PIL.ImageMode import getmode  # noqa: PLC0415 -- imported already, as there is an image

    mode = getmode(image.mode)
    bands = (len(mode.bands),) if len(mode.bands) > 1 else ()
    return np.dtype(mode.typestr), (image.height, image.width, *bands)


def _has_only_struct(obj: Any) -> bool:
    """Check for ``__array_struct__`` alone without computing a possibly costly interface."""
    name = "__array_interface__"
    return not hasattr(type(obj), name) and name not in getattr(obj, "__dict__", ())


def _from_struct(obj: Any) -> Array:
    try:
        array: Array = np.asarray(_Struct(obj))
    except (TypeError, ValueError) as error:
        _invalid(obj, error)
    if array.dtype.kind in "mMUV":  # NumPy loses units and fields, and misreads widths
        kind = array.dtype.kind
        why = f"__array_struct__ describes a dtype of kind {kind!r} incompletely"
        fix = "give the object __array_interface__ as well"
        refuse("from array interface", type(obj).__name__, why, fix)
    _refuse_references(obj, array)
    return array


class _Struct:
    """An object with ``__array_struct__`` alone, which keeps `owner` alive."""

    __slots__ = ("__array_struct__", "owner")

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.__array_struct__ = owner.__array_struct__


def _from_dict(obj: Any) -> Array:
    interface = obj.__array_interface__
    if not isinstance(interface, dict):
        _invalid(obj, "it must be a dict")
    if interface.get("mask") is not None:
        fix = "pass the array that the mask belongs to, and the mask, as numpy.ma.array"
        refuse("from array interface", type(obj).__name__, "it has a mask", fix)
    data = interface.get("data")
    memory = None if isinstance(data, tuple) else _memory_of(obj if data is None else data)
    if memory is not None:
        offset = interface.get("offset", 0)
        if not isinstance(offset, int):
            _invalid(obj, f"offset must be an int, not {offset!r}")
        address = memory.ctypes.data + offset
        interface = interface | {"data": (address, not memory.flags.writeable)}
        interface.pop("offset", None)
    try:
        array = from_interface(interface, owner=(obj, memory))
        itemsize = np.dtype(interface["typestr"]).itemsize
    except (TypeError, ValueError) as error:
        _invalid(obj, error)
    if array.dtype.itemsize != itemsize:
        _invalid(obj, f"descr is of {array.dtype.itemsize} bytes, typestr of {itemsize}")
    if memory is not None and not _is_inside(array, memory):
        _invalid(obj, f"its shape and strides exceed its {memory.nbytes:,} bytes of data")
    _refuse_references(obj, array)
    return array


def _memory_of(data: Any) -> Array:
    """View a buffer as bytes and lock its size, which NumPy's own conversion does not."""
    try:
        view = memoryview(data)
        return np.frombuffer(view, np.uint8) if view.nbytes else np.empty(0, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        _invalid(data, error)


def _is_inside(array: Array, memory: Array) -> bool:
    """Check that all elements are inside the memory, which NumPy does not."""
    if array.size == 0:
        return True
    lowest, beyond = byte_bounds(array)
    begin, end = byte_bounds(memory)
    return memory.nbytes > 0 and begin <= lowest and beyond <= end


def _refuse_references(obj: Any, array: Array) -> None:
    if array.dtype.hasobject:
        why = "its elements are references to Python objects that its owner counts"
        fix = "pass numpy.array(x), which counts references of its own"
        refuse("from array interface", type(obj).__name__, why, fix)


def _invalid(obj: Any, why: object) -> NoReturn:
    msg = f"the array interface of {type(obj).__qualname__} is not valid: {why}"
    raise InvalidValueError(msg)
