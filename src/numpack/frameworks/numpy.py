"""NumPy, the hub itself, and the objects of this package that hold an ndarray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._mapping import behind
from .._memory import (
    aligned_copy,
    hides_values,
    native_obstacle,
    order_obstacle,
    plain,
    representation_obstacle,
    strides_obstacle,
)
from .._policy import Obstacle, Plan, carry_out, describe, refuse, wrong_type
from ..errors import InvalidValueError

if TYPE_CHECKING:
    from .._memory import Array

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
        given=lambda: repr(obj),
        nbytes=obj.nbytes,
        result=obj.copied,
        independent=obj.copied,
        obstacle=obstacle,
        outline=(obj.shape, obj.dtype),
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
        given=lambda: describe(array),
        nbytes=array.nbytes,
        result=lambda: array,
        independent=lambda: aligned_copy(array),
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


def refuse_mask(array: Array, framework: str) -> None:
    """Refuse an array with a mask towards a framework that has none."""
    if hides_values(array):
        refuse(
            f"to {framework}",
            describe(array),
            f"{framework} has no masks, and the masked values would come back",
            "pass array.filled(value), or array.data if the mask does not matter",
        )


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
    return Plan(
        direction=direction,
        given=lambda: describe(array),
        nbytes=array.nbytes,
        result=lambda: array if obstacle is None else aligned_copy(array),
        independent=lambda: aligned_copy(array),
        obstacle=(obstacle := _form_obstacle(array, order, exported=exported)),
    )


def _form_obstacle(array: Array, order: str, *, exported: bool) -> Obstacle | None:
    represented = native_obstacle if exported else representation_obstacle
    if order == "C":
        found = order_obstacle(array) or represented(array)
        if found is not None and not array.flags.c_contiguous:
            found = Obstacle(found.why, f"{found.fix}, or order='K' to keep the strides")
    elif exported:
        found = represented(array) or strides_obstacle(plain(array))
    else:
        found = None
    return behind(array).obstacle() if found is None and exported else found
