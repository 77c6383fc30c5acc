"""NumPy itself, and the objects of this package that hold an ndarray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.mapped_files import backing_of
from .._core.memory import (
    aligned_copy,
    hides_values,
    is_masked_array,
    native_obstacle,
    normalize_strides,
    order_obstacle,
    own_copy,
    representation_obstacle,
    strides_obstacle,
)
from .._core.policy import Obstacle, Plan, carry_out, describe, refuse, wrong_type
from ..errors import InvalidValueError

if TYPE_CHECKING:
    from .._core.memory import Array

LABEL = "NumPy"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()


def to_numpy(obj: Any) -> Plan[Array]:
    """Plan the conversion from an ndarray, or an object that holds one, to a NumPy array.

    An ndarray is returned as it is.
    """
    if isinstance(obj, np.generic):  # its array interface points to freed memory
        wrong_type("share", "an array", obj, "pass np.asarray(x)")
    obstacle = None if isinstance(obj, np.ndarray) else _holder_obstacle(obj)
    if obstacle is None:
        return _plan_as_is(_ndarray_of(obj), "from NumPy")
    return Plan(
        direction="from NumPy",
        describe=lambda: repr(obj),
        nbytes=obj.nbytes,
        result=obj.copied,
        independent=obj.copied,
        obstacle=obstacle,
        result_spec=(obj.shape, obj.dtype),
    )


def from_numpy(array: Array) -> Plan[Array]:
    """Plan the conversion from a NumPy array to itself."""
    return _plan_as_is(array, "to NumPy")


def require_array(function: str, array: object, copy: bool | None) -> Array:
    """Return an ndarray, or the one that an object of this package holds.

    Raises
    ------
    WrongTypeError
        It is something else: a list, a scalar, an array of another framework.
    ZeroCopyError
        Its rows are not contiguous, and `copy` is False.
    """
    if isinstance(array, np.ndarray):
        return array
    if type(array).__module__.partition(".")[0] == "numpack" and hasattr(array, "__array__"):
        plan = to_numpy(array)
        return _ndarray_of(array) if plan.obstacle is None else carry_out(plan, copy)
    fix = "pass np.asarray(x)"
    if hasattr(array, "__dlpack__") or hasattr(array, "__arrow_c_array__"):
        fix = "numpack.share(x, target) accepts the arrays of every framework"
    wrong_type(function, "a numpy.ndarray", array, fix)


def base_array(array: Array, framework: str, *, masks: bool = False) -> Array:
    """View an array of any subclass as a base-class ndarray; no code of the subclass runs.

    Parameters
    ----------
    array : ndarray
    framework : str
        The target in messages.
    masks : bool
        Whether the target has masks; a `MaskedArray` with masked values then stays one.

    Returns
    -------
    ndarray or MaskedArray
        Over the same memory; keeps `array` alive.

    Raises
    ------
    UnsupportedError
        It has a mask, which would be lost.
    """
    if type(array) is np.ndarray:
        return array
    if not masks or not is_masked_array(array):
        refuse_mask(array, framework)
        return normalize_strides(array)
    if not hides_values(array):
        return normalize_strides(array)
    return np.ma.MaskedArray(normalize_strides(array), mask=np.ma.getmask(array), copy=False)


def refuse_mask(array: Array, framework: str) -> None:
    """Refuse an array with masked values for a framework without that kind of mask."""
    if hides_values(array):
        refuse(
            f"to {framework}",
            describe(array),
            f"{framework} has no masks, and the masked values would reappear"
            if is_masked_array(array)
            else "it has a mask that is not numpy.ma's, and the masked values would reappear",
            _mask_fix(array),
        )


def plan_layout(array: Array, order: str, direction: str, *, exported: bool) -> Plan[Array]:
    """Plan the conversion of an array to the layout in which exporting it copies nothing.

    Parameters
    ----------
    array : ndarray
    order : {"C", "K"}
        ``"C"``: C-contiguous, native byte order and aligned. ``"K"``: unchanged.
    direction : str
        For messages.
    exported : bool
        Whether other frameworks will use the memory. Then strides that they do not accept are
        removed under ``"K"`` too, and a write must not raise SIGSEGV.
    """
    if order not in ("C", "K"):
        msg = f"order must be 'C' or 'K', not {order!r}"
        raise InvalidValueError(msg)
    values = normalize_strides(array) if type(array) is not np.ndarray else array
    obstacle = _layout_obstacle(values, order, exported=exported)

    def own() -> Array:
        return aligned_copy(_copyable(array, direction))

    return Plan(
        direction=direction,
        describe=lambda: describe(array),
        nbytes=values.nbytes,
        result=own if obstacle else lambda: array,
        independent=own,
        obstacle=obstacle,
    )


def _holder_obstacle(obj: Any) -> Obstacle | None:
    """Return why an object of this package has to gather its array by copying, if it does."""
    found: Obstacle | None = obj.obstacle() if hasattr(obj, "obstacle") else None
    return found


def _plan_as_is(array: Array, direction: str) -> Plan[Array]:
    values = array if type(array) is np.ndarray else normalize_strides(array)
    return Plan(
        direction=direction,
        describe=lambda: describe(array),
        nbytes=values.nbytes,
        result=lambda: array,
        independent=lambda: own_copy(_copyable(array, direction)),
    )


def _ndarray_of(obj: Any) -> Array:
    """Return the ndarray that an object of this package holds, or the ndarray itself."""
    if isinstance(obj, np.ndarray):
        return obj
    array: Array = obj.array if hasattr(obj, "array") else obj.__array__()
    return array


def _mask_fix(array: Array) -> str:
    if is_masked_array(array):
        return "pass array.filled(value), or array.data if the mask does not matter"
    filled = "array.filled(value), or " if hasattr(type(array), "filled") else ""
    return (
        f"pass {filled}np.ma.array(np.asarray(array), mask=array.mask) to a framework that has "
        "masks, or np.asarray(array) if the mask does not matter"
    )


def _copyable(array: Array, direction: str) -> Array:
    """Return an array that a base-class copy preserves; refuse one whose mask it would lose."""
    if not is_masked_array(array) and hides_values(array):
        why = "a copy as a base-class ndarray would lose its mask"
        refuse(direction, describe(array), why, "copy it yourself: array.copy()")
    return array


def _layout_obstacle(array: Array, order: str, *, exported: bool) -> Obstacle | None:
    byte_obstacle = native_obstacle if exported else representation_obstacle
    if order == "C":
        found = order_obstacle(array) or byte_obstacle(array)
        if found is not None and not array.flags.c_contiguous:
            found = Obstacle(found.reason, f"{found.fix}, or order='K' to keep the strides")
    elif exported:
        found = byte_obstacle(array) or strides_obstacle(normalize_strides(array))
    else:
        found = None
    return backing_of(array).obstacle() if found is None and exported else found
