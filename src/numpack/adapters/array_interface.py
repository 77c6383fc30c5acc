"""NumPy's array interface: objects that name their memory, and the images of Pillow.

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
from ..errors import InvalidValueError
from .numpy import base_array

if TYPE_CHECKING:
    from .._core.dtypes import DType
    from .._core.memory import Array

LABEL = "array interface"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()


def from_numpy(array: Array) -> Plan[Array]:
    """Plan the way from the hub: an ndarray has the interface itself.

    It is a plain one whose interface tells all of it: no mask, no dtype without a name.
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


def to_numpy(obj: Any) -> Plan[Array]:
    """Plan the way to the hub, by exactly this protocol; the array keeps the owner."""
    if _is_image(obj):
        return _of_image(obj)
    shared = _read(obj)
    obstacle = boolean_obstacle(shared)
    if _moves(obj, shared):
        return _of_computed(obj, shared)

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


def _read(obj: Any) -> Array:
    return _of_struct(obj) if _has_only_struct(obj) else _of_dict(obj)


def _moves(obj: Any, shared: Array) -> bool:
    """Tell whether the interface is of other memory each time that it is asked for."""
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


def _of_computed(obj: Any, shared: Array) -> Plan[Array]:
    """Plan to keep what one access computes: a write to it changes nothing of the object."""
    given = f"{describe(shared)} of a {type(obj).__qualname__}"

    def kept() -> Array:
        values = _read(obj)
        return aligned_copy(
            values if boolean_obstacle(values) is None else values.view("u1") != 0
        )

    return Plan(
        direction="from array interface",
        describe=lambda: given,
        nbytes=shared.nbytes,
        result=kept,
        independent=kept,
        obstacle=Obstacle(
            "it computes its values each time that it is asked for them",
            "compute them once, and keep that: np.array(x)",
        ),
        result_spec=(shared.shape, shared.dtype),
    )


def _is_image(obj: Any) -> bool:
    return any(base.__module__ == "PIL.Image" for base in type(obj).__mro__)


def _of_image(image: Any) -> Plan[Array]:
    """Plan the copy that Pillow makes of an image's pixels, row by row."""
    dtype, shape = _pixels(image)

    def pixels() -> Array:
        array = _of_dict(image)
        return array.view(np.uint8) != 0 if dtype == np.bool_ else array  # it gives 0 and 255

    def writable() -> Array:
        fresh = aligned_empty(shape, dtype)  # what Pillow gives are immutable bytes
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


def _pixels(image: Any) -> tuple[DType, tuple[int, ...]]:
    """Tell the dtype and shape of an image's pixels without copying them."""
    from PIL.ImageMode import getmode  # noqa: PLC0415 -- there is an image, so it is imported

    mode = getmode(image.mode)
    bands = (len(mode.bands),) if len(mode.bands) > 1 else ()
    return np.dtype(mode.typestr), (image.height, image.width, *bands)


def _of_struct(obj: Any) -> Array:
    try:
        array: Array = np.asarray(_Struct(obj))
    except (TypeError, ValueError) as error:
        _invalid(obj, error)
    if array.dtype.kind in "mMUV":  # NumPy forgets units and fields, and misreads widths
        why = f"__array_struct__ does not tell all of a dtype of kind {array.dtype.kind!r}"
        fix = "give the object __array_interface__ as well"
        refuse("from array interface", type(obj).__name__, why, fix)
    _refuse_references(obj, array)
    return array


class _Struct:
    """Shows NumPy one protocol of an object alone, and keeps the object alive."""

    __slots__ = ("__array_struct__", "owner")

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.__array_struct__ = owner.__array_struct__


def _of_dict(obj: Any) -> Array:
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
    if memory is not None and not _lies_inside(array, memory):
        _invalid(obj, f"its shape and strides lead out of its {memory.nbytes:,} bytes of data")
    _refuse_references(obj, array)
    return array


def _memory_of(data: Any) -> Array:
    """View a buffer as bytes, and keep it from being resized: NumPy itself would not."""
    try:
        view = memoryview(data)
        return np.frombuffer(view, np.uint8) if view.nbytes else np.empty(0, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        _invalid(data, error)


def _lies_inside(array: Array, memory: Array) -> bool:
    """Tell whether all elements are in the memory: NumPy does not look."""
    if array.size == 0:
        return True
    lowest, beyond = byte_bounds(array)
    begin, end = byte_bounds(memory)
    return memory.nbytes > 0 and begin <= lowest and beyond <= end


def _has_only_struct(obj: Any) -> bool:
    """Tell so without asking for an interface, which may be costly to make."""
    name = "__array_interface__"
    return not hasattr(type(obj), name) and name not in getattr(obj, "__dict__", ())


def _refuse_references(obj: Any, array: Array) -> None:
    if array.dtype.hasobject:
        why = "its elements are references to Python objects that somebody else counts"
        fix = "pass numpy.array(x), which takes references of its own"
        refuse("from array interface", type(obj).__name__, why, fix)


def _invalid(obj: Any, why: object) -> NoReturn:
    msg = f"the array interface of {type(obj).__qualname__} is not valid: {why}"
    raise InvalidValueError(msg)
