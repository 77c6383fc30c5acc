"""Times in units that a framework does not have: converted exactly, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .policy import Obstacle, describe, refuse

if TYPE_CHECKING:
    from .memory import Array

UNITS = ("s", "ms", "us", "ns")  # those of pandas, and so of xarray
_COARSER = {"M": ("Y", "M", "W", "D", "h", "m"), "m": ("W", "D", "h", "m")}


def unit_obstacle(array: Array, label: str) -> Obstacle | None:
    """Find whether a framework that has seconds to nanoseconds alone lacks an array's unit."""
    unit, count = np.datetime_data(array.dtype)
    if unit in UNITS and count == 1:
        return None
    kind = "datetime64" if array.dtype.kind == "M" else "timedelta64"
    why = f"{label} has no unit of {array.dtype.name}"
    return Obstacle(why, f"keep it as {kind}[s], [ms], [us] or [ns]")


def exact(array: Array, label: str) -> Array:
    """Convert into a unit of `UNITS`, or refuse: the frameworks cut off or wrap around.

    A year or a month is no fixed duration, and what is finer than a nanosecond gets lost.
    """
    kind = array.dtype.kind
    unit, _ = np.datetime_data(array.dtype)
    wanted = unit if unit in UNITS else "s" if unit in _COARSER[kind] else None
    if wanted is None:
        why = f"{label} has no unit that holds {array.dtype.name}"
        fix = f"choose one yourself: array.astype('{kind}8[ns]'), or pass array.view('i8')"
        refuse(f"to {label}", describe(array), why, fix)
    fresh = array.astype(f"{kind}8[{wanted}]")
    if not np.array_equal(fresh.astype(array.dtype), array, equal_nan=True):
        why = f"some of its times are out of the range of {fresh.dtype.name}"
        refuse(f"to {label}", describe(array), why, "pass array.view('i8')")
    return fresh
