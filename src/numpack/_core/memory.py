"""NumPy memory, the hub of every exchange: how it lies, and how to make it lie well."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .dtypes import native
from .owner import base_view
from .policy import Obstacle, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dtypes import DType

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

ALIGNMENT = 64  # bytes: an AVX-512 register, Arrow's recommendation, JAX's demand

_ALIGN = "keep it in a store or in numpack.ZeroCopyArray(array, copy=True), which align it"


def aligned_empty(shape: tuple[int, ...], dtype: DType) -> Array:
    """Make an uninitialised C-contiguous array whose data start on a 64-byte boundary.

    dtypes that hold references (object, `StringDType`) get NumPy's own alignment: their
    memory must come from NumPy.
    """
    if dtype.hasobject:
        return np.empty(shape, dtype)
    if dtype.names is not None:  # nobody fills a struct's padding
        return aligned_zeros(shape, dtype)
    return _aligned(np.empty, shape, dtype)


def aligned_zeros(shape: tuple[int, ...], dtype: DType) -> Array:
    """Make a C-contiguous array of zeros on a 64-byte boundary, which takes memory when read.

    Not of dtypes that hold references.
    """
    return _aligned(np.zeros, shape, dtype)


def _aligned(make: Callable[..., Array], shape: tuple[int, ...], dtype: DType) -> Array:
    raw = make(math.prod(shape) * dtype.itemsize + ALIGNMENT, np.uint8)
    return np.ndarray(shape, dtype, buffer=raw, offset=-raw.ctypes.data % ALIGNMENT)


def aligned_copy(array: Array) -> Array:
    """Copy into native byte order, C order and 64-byte alignment.

    A `MaskedArray` stays one; any other subclass becomes a plain array.
    """
    return _copied(array, native(normalize_strides(array).dtype))


def own_copy(array: Array) -> Array:
    """Copy as `aligned_copy` does, in the byte order that there is."""
    return _copied(array, normalize_strides(array).dtype)


def _copied(array: Array, dtype: DType) -> Array:
    values = normalize_strides(array)
    fresh = aligned_empty(values.shape, dtype)
    np.copyto(fresh, values, casting="no" if dtype == values.dtype else "equiv")
    if not is_masked_array(array):
        return fresh
    masked: Array = fresh.view(type(array))
    masked.__array_finalize__(array)  # the mask, a copy, and the fill value if one was set
    return masked


def preview(plan: Plan[Array], *, exactly: bool = False) -> Array:
    """Give what a plan will result in, or zeros that will lie as it, without moving data.

    `exactly` asks for the values too, whatever that costs.
    """
    if plan.result_spec is None or plan.obstacle is None:
        return (plan.preview or plan.result)()
    _, dtype = plan.result_spec
    return plan.result() if exactly or dtype.hasobject else aligned_zeros(*plan.result_spec)


def hides_values(array: Array) -> bool:
    """Check whether an array has a mask that masks something.

    Any subclass may have one. Whether its class has an attribute ``mask`` is looked up without
    running its code, and a mask that cannot be read counts as one that masks something.
    """
    if type(array) is np.ndarray:
        return False
    if is_masked_array(array):
        return _masks_something(np.ma.getmask(array))
    found = inspect.getattr_static(array, "mask", None)
    if found is None or inspect.isroutine(found):
        return False
    try:
        return _masks_something(array.mask)  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 -- whatever the class raises
        return True


def is_masked_array(array: Array) -> bool:
    """Check whether an array is one of `numpy.ma`, by its class alone."""
    return issubclass(type(array), np.ma.MaskedArray)


def _masks_something(mask: Any) -> bool:
    """Check whether any value of a mask is true, of whatever field."""
    if mask is None or mask is np.ma.nomask:
        return False
    values = normalize_strides(np.asarray(mask))
    if values.dtype.names is None:
        return bool(np.any(values))
    return bool(np.ascontiguousarray(values).view(np.bool_).any())


def normalize_strides(array: Array) -> Array:
    """View as a base-class array that keeps `array` alive, with strides that mean something.

    The stride of an axis of length 1, and every stride of an array without elements, is
    never used to reach an element, so NumPy lets it be anything; other frameworks refuse
    what they find there. Views of the result keep `array` alive too. No code of its class runs.
    """
    return base_view(array)


def with_owner(array: Array, given: object) -> Array:
    """View an array, of the base class or of `numpy.ma`, that keeps `given` alive too."""
    if not is_masked_array(array):
        return base_view(array, given)
    return np.ma.MaskedArray(base_view(array, given), mask=np.ma.getmask(array), copy=False)


def representation_obstacle(array: Array) -> Obstacle | None:
    """Find what keeps the elements from being read in place: byte order or alignment."""
    if not array.dtype.isnative:
        return Obstacle(
            "not in native byte order",
            "store it natively: array.astype(array.dtype.newbyteorder('='))",
        )
    if not array.flags.aligned:
        return Obstacle(
            f"not aligned to {array.dtype.alignment} bytes",
            "keep it in aligned memory: a field of an aligned struct, or array.copy()",
        )
    return None


def native_obstacle(array: Array) -> Obstacle | None:
    """Find what keeps elements from being read in place by compiled code of other frameworks.

    It loads a complex128 at once, from a 16-byte boundary, and ends the process elsewhere;
    NumPy puts it on any boundary of 8.
    """
    found = representation_obstacle(array)
    if found is not None or array.dtype.type is not np.complex128 or array.size == 0:
        return found
    if array.ctypes.data % array.itemsize == 0:
        return None
    fix = "keep it in memory of its own: array.copy()"
    return Obstacle("its complex numbers do not lie on 16-byte boundaries", fix)


def strides_obstacle(array: Array) -> Obstacle | None:
    """Find what keeps strides from being counted in elements, from zero up."""
    if any(stride < 0 for stride in array.strides):
        return Obstacle(
            "it has negative strides", "pass it unreversed, or np.ascontiguousarray(array)"
        )
    if any(stride % array.itemsize for stride in array.strides if array.itemsize):
        return Obstacle(
            f"its strides {array.strides} are no multiples of the item size {array.itemsize}",
            "keep the field in an array of its own, or np.ascontiguousarray(array)",
        )
    return None


def truth_obstacle(array: Array) -> Obstacle | None:
    """Find whether booleans of foreign memory are other bytes than 0 and 1; looks at them.

    NumPy's own are these two; of others it makes values that are true and not equal to true
    byte by byte, and other frameworks count them.
    """
    if array.dtype != np.bool_ or not np.any(array.view(np.uint8) > 1):
        return None
    return Obstacle(
        "some of its booleans are bytes other than 0 and 1", "store True as the byte 1"
    )


def order_obstacle(array: Array) -> Obstacle | None:
    """Find whether the elements lie otherwise than one after the other in C order."""
    if array.flags.c_contiguous:
        return None
    return Obstacle("not C-contiguous", "pass np.ascontiguousarray(array)")


def compact_obstacle(array: Array) -> Obstacle | None:
    """Find whether there are gaps or repetitions: C order is needed, up to a transposition."""
    falling = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    if array.transpose(falling).flags.c_contiguous:
        return None
    return Obstacle(
        "its elements do not lie one after the other", "pass np.ascontiguousarray(array)"
    )


def alignment_obstacle(array: Array) -> Obstacle | None:
    """Find whether the first element lies off the boundary that vector registers want."""
    if array.nbytes == 0 or array.ctypes.data % ALIGNMENT == 0:
        return None
    return Obstacle(f"its memory does not start on a {ALIGNMENT}-byte boundary", _ALIGN)


def vector_obstacle(array: Array, lie: Callable[[Array], Obstacle | None]) -> Obstacle | None:
    """Find what stands in the way of a framework that wants 64-byte boundaries.

    `lie` finds whether the elements lie as it wants them. Whatever is found, the fix is to
    align: an array that is mended by NumPy starts on a boundary by luck alone.
    """
    found = representation_obstacle(array) or lie(array)
    if found is not None:
        return Obstacle(found.reason, _ALIGN)
    return alignment_obstacle(array)


def writable_alias(array: Array) -> Array:
    """View read-only memory as writable, for a framework that knows no read-only memory.

    The caller has made sure that a write cannot fault (see `_mapping`) and has warned, or
    that the framework never writes. What is writable already is given back.
    """
    if array.flags.writeable:
        return array
    return from_address(array.ctypes.data, array.shape, array.strides, array.dtype, owner=array)


def from_address(
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    dtype: DType,
    *,
    owner: object,
    readonly: bool = False,
) -> Array:
    """View memory at an address as an array that keeps `owner` alive.

    Parameters
    ----------
    address : int
        Where the element at index (0, …, 0) lies.
    shape, strides
        In elements and bytes; ``None`` for C order.
    dtype : numpy.dtype
    owner : object
        Lives as long as the array or any view of it.
    readonly : bool
    """
    carrier = np.dtype(f"V{dtype.itemsize}") if dtype.isbuiltin != 1 else dtype
    interface = {
        "version": 3,
        "shape": shape,
        "strides": strides,
        "typestr": carrier.str,
        "data": (address, readonly),
    }
    return from_interface(interface, owner=owner).view(dtype)


def from_interface(interface: dict[str, object], *, owner: object) -> Array:
    """View the memory that an array interface names as an array that keeps `owner` alive."""
    holder = _Holder(owner)
    # Of each None in it, as of strides in C order, NumPy 2.4 would keep a reference for ever.
    holder.__array_interface__ = {k: v for k, v in interface.items() if v is not None}
    return np.asarray(holder)


class _Holder:
    """Exports memory by NumPy's array interface and keeps its owner alive."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, owner: object) -> None:
        self.owner = owner
        self.__array_interface__: dict[str, object] = {}
