"""Layout of NumPy arrays: allocation, copies, views, and obstacles to sharing memory."""

from __future__ import annotations

import inspect
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from .dtypes import native
from .owner import base_view
from .policy import Obstacle, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dtypes import DType

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

# In bytes: the size of an AVX-512 register, recommended by Arrow and required by JAX.
ALIGNMENT = 64

_ALIGN = "keep it in a store or in numpack.ZeroCopyArray(array, copy=True), which align it"


def aligned_empty(shape: tuple[int, ...], dtype: DType) -> Array:
    """Return an uninitialized, C-contiguous, 64-byte aligned array.

    Arrays of dtypes that hold references (object, `StringDType`) have NumPy's own alignment,
    since NumPy has to allocate their memory. Structured arrays are filled with zeros.
    """
    if dtype.hasobject:
        return np.empty(shape, dtype)
    if dtype.names is not None:  # assigning to fields leaves the padding uninitialized
        return aligned_zeros(shape, dtype)
    return _aligned(np.empty, shape, dtype)


def aligned_zeros(shape: tuple[int, ...], dtype: DType) -> Array:
    """Return a C-contiguous, 64-byte aligned array of zeros, whose pages are allocated lazily.

    `dtype` must not hold references.
    """
    return _aligned(np.zeros, shape, dtype)


def _aligned(make: Callable[..., Array], shape: tuple[int, ...], dtype: DType) -> Array:
    raw = make(math.prod(shape) * dtype.itemsize + ALIGNMENT, np.uint8)
    return np.ndarray(shape, dtype, buffer=raw, offset=-raw.ctypes.data % ALIGNMENT)


def aligned_copy(array: Array) -> Array:
    """Copy into native byte order, C order and 64-byte alignment.

    A `MaskedArray` remains one; any other subclass becomes a base-class array.
    """
    return _copied(array, native(normalize_strides(array).dtype))


def own_copy(array: Array) -> Array:
    """Copy as `aligned_copy` does, but keep the byte order."""
    return _copied(array, normalize_strides(array).dtype)


def _copied(array: Array, dtype: DType) -> Array:
    values = normalize_strides(array)
    copied = aligned_empty(values.shape, dtype)
    if copied.nbytes:  # NumPy visits every element, also those of no bytes
        np.copyto(copied, values, casting="no" if dtype == values.dtype else "equiv")
    if not is_masked_array(array):
        return copied
    masked: Array = copied.view(type(array))
    masked.__array_finalize__(array)  # copies the mask, and the fill value if one was set
    return masked


def preview(plan: Plan[Array], *, exactly: bool = False) -> Array:
    """Return the result of a plan, or zeros of the same layout, without moving data.

    With `exactly`, return the actual values whatever that costs.
    """
    if plan.result_spec is None or plan.obstacle is None:
        return (plan.preview or plan.result)()
    _, dtype = plan.result_spec
    return plan.result() if exactly or dtype.hasobject else aligned_zeros(*plan.result_spec)


def hides_values(array: Array) -> bool:
    """Check whether an array has a mask with at least one true value.

    Any subclass may have a mask. The attribute ``mask`` is looked up without running code of
    the class; a mask that cannot be read counts as masking something.
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
    except Exception:  # noqa: BLE001 -- the class may raise anything
        return True


def is_masked_array(array: object) -> bool:
    """Check whether an array is a `numpy.ma.MaskedArray`, without running code of its class.

    Nothing is one before `numpy.ma` is imported, which NumPy does at first use.
    """
    kind = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    return kind is not None and issubclass(type(array), kind)


def _masks_something(mask: Any) -> bool:
    """Check whether any value of a mask is true, in any field."""
    if mask is None or mask is np.ma.nomask:
        return False
    values = normalize_strides(np.asarray(mask))
    if values.dtype.names is None:
        return bool(np.any(values))
    return bool(np.ascontiguousarray(values).view(np.bool_).any())


def normalize_strides(array: Array) -> Array:
    """View as a base-class array with normalized strides that keeps `array` alive.

    The strides of axes of length 1, and all strides of an empty array, are never used to
    reach an element, so NumPy allows any value; other frameworks reject some. Views of the
    result keep `array` alive too. No code of the array's class is run.
    """
    return base_view(array)


def with_owner(array: Array, owner: object) -> Array:
    """View as a base-class or masked array that also keeps `owner` alive."""
    if not is_masked_array(array):
        return base_view(array, owner)
    return np.ma.MaskedArray(base_view(array, owner), mask=np.ma.getmask(array), copy=False)


def representation_obstacle(array: Array) -> Obstacle | None:
    """Return the obstacle to reading elements in place: byte order or alignment."""
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
    """Return the obstacle to reading elements in place by compiled code of other frameworks.

    Such code may load a complex128 with one instruction that requires 16-byte alignment and
    causes SIGSEGV otherwise; NumPy aligns complex128 to 8 bytes.
    """
    found = representation_obstacle(array)
    if found is not None or array.dtype.type is not np.complex128 or array.size == 0:
        return found
    if array.ctypes.data % array.itemsize == 0:
        return None
    fix = "keep it in memory of its own: array.copy()"
    return Obstacle("its complex numbers are not 16-byte aligned", fix)


def strides_obstacle(array: Array) -> Obstacle | None:
    """Return the obstacle to expressing strides as non-negative numbers of elements.

    The strides have to be normalized.
    """
    if array.flags.c_contiguous:
        return None
    if any(stride < 0 for stride in array.strides):
        return Obstacle(
            "it has negative strides", "pass it unreversed, or np.ascontiguousarray(array)"
        )
    if any(stride % array.itemsize for stride in array.strides if array.itemsize):
        return Obstacle(
            f"its strides {array.strides} are not multiples of the item size {array.itemsize}",
            "keep the field in an array of its own, or np.ascontiguousarray(array)",
        )
    return None


def boolean_obstacle(array: Array) -> Obstacle | None:
    """Return the obstacle of foreign booleans that are bytes other than 0 and 1; reads them.

    NumPy itself writes only 0 and 1. It treats any other byte as true, but as unequal to
    True in bytewise comparisons, and other frameworks sum the bytes.
    """
    if array.dtype != np.bool_ or not np.any(array.view(np.uint8) > 1):
        return None
    return Obstacle(
        "some of its booleans are bytes other than 0 and 1", "store True as the byte 1"
    )


def order_obstacle(array: Array) -> Obstacle | None:
    """Return the obstacle of an array that is not C-contiguous."""
    if array.flags.c_contiguous:
        return None
    return Obstacle("not C-contiguous", "pass np.ascontiguousarray(array)")


def compact_obstacle(array: Array) -> Obstacle | None:
    """Return the obstacle of gaps or overlaps: a transposition has to be C-contiguous."""
    descending = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    if array.transpose(descending).flags.c_contiguous:
        return None
    return Obstacle("its elements are not contiguous", "pass np.ascontiguousarray(array)")


def alignment_obstacle(array: Array) -> Obstacle | None:
    """Return the obstacle of memory that is not 64-byte aligned."""
    if array.nbytes == 0 or array.ctypes.data % ALIGNMENT == 0:
        return None
    fix = f"make it under numpack.aligned_allocation(), or {_ALIGN}"
    return Obstacle(f"its memory is not {ALIGNMENT}-byte aligned", fix)


def vector_obstacle(
    array: Array, layout_obstacle: Callable[[Array], Obstacle | None]
) -> Obstacle | None:
    """Return the obstacle of a framework that requires 64-byte alignment.

    `layout_obstacle` returns the obstacle of the order of elements. The fix is always to
    align: an array fixed by NumPy alone is aligned only by chance.
    """
    found = representation_obstacle(array) or layout_obstacle(array)
    if found is not None:
        return Obstacle(found.reason, _ALIGN)
    return alignment_obstacle(array)


def from_interface(interface: dict[str, object], *, owner: object) -> Array:
    """View the memory described by an ``__array_interface__``, keeping `owner` alive."""
    holder = _Holder(owner)
    # NumPy 2.4 leaks a reference to each None in the dictionary, such as strides of C order.
    holder.__array_interface__ = {k: v for k, v in interface.items() if v is not None}
    return np.asarray(holder)


class _Holder:
    """Exporter of an array interface that keeps the owner of the memory alive."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, owner: object) -> None:
        self.owner = owner
        self.__array_interface__: dict[str, object] = {}
