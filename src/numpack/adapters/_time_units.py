"""Exact conversion of datetime64 and timedelta64 arrays into the units of pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._core.policy import Obstacle, describe, refuse

if TYPE_CHECKING:
    from .._core.memory import Array

UNITS = ("s", "ms", "us", "ns")  # those of pandas, and so of xarray
_COARSER = {"M": ("Y", "M", "W", "D", "h", "m"), "m": ("W", "D", "h", "m")}


def unit_obstacle(array: Array, label: str) -> Obstacle | None:
    """Return the obstacle of a framework that lacks an array's unit, or ``None``.

    The framework has seconds, milliseconds, microseconds and nanoseconds.
    """
    unit, count = np.datetime_data(array.dtype)
    if unit in UNITS and count == 1:
        return None
    kind = "datetime64" if array.dtype.kind == "M" else "timedelta64"
    why = f"{label} has no unit of {array.dtype.name}"
    return Obstacle(why, f"keep it as {kind}[s], [ms], [us] or [ns]")


def exact(array: Array, label: str) -> Array:
    """Convert exactly into a unit of `UNITS`, or raise `UnsupportedError`.

    The frameworks' own conversions truncate or overflow. Timedeltas in years or months have
    no fixed duration, and units finer than a nanosecond would lose precision.
    """
    kind = array.dtype.kind
    unit, _ = np.datetime_data(array.dtype)
    wanted = unit if unit in UNITS else "s" if unit in _COARSER[kind] else None
    if wanted is None:
        why = f"{label} has no unit that holds {array.dtype.name}"
        fix = f"choose one yourself: array.astype('{kind}8[ns]'), or pass array.view('i8')"
        refuse(f"to {label}", describe(array), why, fix)
    converted = array.astype(f"{kind}8[{wanted}]")
    if not np.array_equal(converted.astype(array.dtype), array, equal_nan=True):
        why = f"some of its times are out of the range of {converted.dtype.name}"
        refuse(f"to {label}", describe(array), why, "pass array.view('i8')")
    return converted
