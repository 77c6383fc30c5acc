"""NumPy, the hub itself, and the objects of this package that hold an ndarray."""

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
    """Plan the way to the hub, which an ndarray has reached already."""
    if isinstance(obj, np.generic):  # a value: the memory that its interface names is gone
        wrong_type("share", "an array", obj, "pass np.asarray(x)")
    obstacle = None if isinstance(obj, np.ndarray) else _obstacle(obj)
    if obstacle is None:
        return _as_it_is(held(obj), "from NumPy")
    return Plan(
        direction="from NumPy",
        describe=lambda: repr(obj),
        nbytes=obj.nbytes,
        result=obj.copied,
        independent=obj.copied,
        obstacle=obstacle,
        result_spec=(obj.shape, obj.dtype),
    )


def _obstacle(obj: Any) -> Obstacle | None:
    """Ask an object of this package whether its array has to be copied together first."""
    found: Obstacle | None = obj.obstacle() if hasattr(obj, "obstacle") else None
    return found


def from_numpy(array: Array) -> Plan[Array]:
    """Plan the way from the hub, which an ndarray need not leave."""
    return _as_it_is(array, "to NumPy")


def _as_it_is(array: Array, direction: str) -> Plan[Array]:
    return Plan(
        direction=direction,
        describe=lambda: describe(array),
        nbytes=normalize_strides(array).nbytes,
        result=lambda: array,
        independent=lambda: own_copy(_copyable(array, direction)),
    )


def held(obj: Any) -> Array:
    """Give the ndarray that an object of this package holds; an ndarray is its own."""
    if isinstance(obj, np.ndarray):
        return obj
    array: Array = obj.array if hasattr(obj, "array") else obj.__array__()
    return array


def expect(function: str, array: object, copy: bool | None) -> Array:
    """Take an ndarray, or what holds one, and nothing else.

    Raises
    ------
    WrongTypeError
        It is something else: a list, a scalar, an array of another framework.
    ZeroCopyError
        It holds rows that do not lie together, and `copy` forbids to copy them.
    """
    if isinstance(array, np.ndarray):
        return array
    if type(array).__module__.partition(".")[0] == "numpack" and hasattr(array, "__array__"):
        plan = to_numpy(array)
        return held(array) if plan.obstacle is None else carry_out(plan, copy)
    fix = "pass np.asarray(x)"
    if hasattr(array, "__dlpack__") or hasattr(array, "__arrow_c_array__"):
        fix = "numpack.share(x, target) takes the arrays of every framework"
    wrong_type(function, "a numpy.ndarray", array, fix)


def base_array(array: Array, framework: str, *, masks: bool = False) -> Array:
    """View an array of any subclass as one of NumPy's own class; no code of the subclass runs.

    Parameters
    ----------
    array : ndarray
    framework : str
        Where it goes, for messages.
    masks : bool
        Whether a mask can go there; a `MaskedArray` that masks something then stays one.

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
    """Refuse an array with a mask towards a framework that has none, or not of its kind."""
    if hides_values(array):
        refuse(
            f"to {framework}",
            describe(array),
            f"{framework} has no masks, and the masked values would come back"
            if is_masked_array(array)
            else "it has a mask that is not of numpy.ma, and the masked values would come back",
            _without_mask(array),
        )


def _without_mask(array: Array) -> str:
    if is_masked_array(array):
        return "pass array.filled(value), or array.data if the mask does not matter"
    filled = "array.filled(value), or " if hasattr(type(array), "filled") else ""
    return (
        f"pass {filled}np.ma.array(np.asarray(array), mask=array.mask) to what has masks, or "
        "np.asarray(array) if the mask does not matter"
    )


def _copyable(array: Array, direction: str) -> Array:
    """Refuse to copy an array into one of NumPy's own class that would lose its mask."""
    if not is_masked_array(array) and hides_values(array):
        why = "a copy of NumPy's own class would lose its mask"
        refuse(direction, describe(array), why, "copy it yourself: array.copy()")
    return array


def in_form(array: Array, order: str, direction: str, *, exported: bool) -> Plan[Array]:
    """Plan to bring an array to the form in which every exit is free.

    Parameters
    ----------
    array : ndarray
    order : {"C", "K"}
        ``"C"``: C-contiguous, native and aligned. ``"K"``: as it is.
    direction : str
        For messages.
    exported : bool
        Whether it is for other frameworks: strides that they cannot take must go under
        ``"K"`` too, and a write must not be able to kill the process.
    """
    if order not in ("C", "K"):
        msg = f"order must be 'C' or 'K', not {order!r}"
        raise InvalidValueError(msg)
    values = normalize_strides(array) if type(array) is not np.ndarray else array
    obstacle = _form_obstacle(values, order, exported=exported)

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


def _form_obstacle(array: Array, order: str, *, exported: bool) -> Obstacle | None:
    represented = native_obstacle if exported else representation_obstacle
    if order == "C":
        found = order_obstacle(array) or represented(array)
        if found is not None and not array.flags.c_contiguous:
            found = Obstacle(found.reason, f"{found.fix}, or order='K' to keep the strides")
    elif exported:
        found = represented(array) or strides_obstacle(normalize_strides(array))
    else:
        found = None
    return backing_of(array).obstacle() if found is None and exported else found
