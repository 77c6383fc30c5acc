"""NumPy arrays to pandas: a Series of 1-D, a frame of one block of 2-D arrays.

Masked arrays become nullable columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._core import dtypes
from ..._core.memory import (
    aligned_copy,
    hides_values,
    normalize_strides,
    representation_obstacle,
)
from ..._core.plan_view import plan_view
from ..._core.policy import Obstacle, Plan, describe, refuse
from ...errors import InvalidValueError
from .._time_units import exact, unit_obstacle

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ..._core.memory import Array

    Columns: TypeAlias = pd.Series | pd.DataFrame

_STRINGS = pd.Series(np.array([""])).dtype  # object, before pandas 3
_NULLABLE = {
    "b": pd.arrays.BooleanArray,
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
    "f": pd.arrays.FloatingArray,
}


def check_backend(backend: object) -> None:
    """Raise `InvalidValueError` unless `backend` is a supported ``dtype_backend``."""
    if backend not in (None, "pyarrow"):
        msg = f"dtype_backend must be None or 'pyarrow', not {backend!r}"
        raise InvalidValueError(msg)


def plan_pandas(array: Array) -> Plan[Columns]:
    """Plan the conversion of an ndarray to a Series or a frame."""
    check_dimensions(array)
    dtype = array.dtype
    if dtype.kind == "V" or dtypes.is_extension(dtype):
        refuse("to pandas", describe(array), "pandas has no such dtype", _fix_for(dtype))
    if dtype.kind in "UT":
        return _plan_strings(array)
    if dtype.kind in "mM":
        return _plan_times(array)
    if hides_values(array):
        return _plan_nullable(array)
    return plan_view(
        array, "pandas", _wrap, obstacle=representation_obstacle(normalize_strides(array))
    )


def check_dimensions(array: Array) -> None:
    """Refuse arrays that are neither 1-D nor 2-D."""
    if array.ndim in (1, 2):
        return
    why = "a Series has one dimension and a frame two"
    fix = "array.reshape(1)" if array.ndim == 0 else "array.reshape(len(array), -1)"
    refuse("to pandas", describe(array), why, f"pass {fix}")


def _wrap(memory: Array) -> Columns:
    make = pd.Series if memory.ndim == 1 else pd.DataFrame
    inferred = memory.dtype.hasobject  # pandas would infer strings and times from objects
    return make(memory, dtype=object if inferred else None, copy=False)


def _plan_nullable(array: Array) -> Plan[Columns]:
    """Plan nullable columns over the values and the mask of a masked array."""
    kind = _NULLABLE.get(array.dtype.kind)
    if kind is None or array.dtype.char in "eg":
        why = f"pandas has no nullable {array.dtype.name}"
        refuse("to pandas", describe(array), why, "pass array.filled(value)")
    mask = np.ma.getmaskarray(array).view()
    mask.flags.writeable = array.flags.writeable and mask.flags.writeable

    def column(values: Array, masked: Array) -> pd.Series:
        return pd.Series(kind(values, masked), copy=False)

    def make(memory: Array) -> Columns:
        masked = mask if np.may_share_memory(memory, array) else mask.copy()
        if memory.ndim == 1:
            return column(memory, masked)
        columns = {i: column(memory[:, i], masked[:, i]) for i in range(memory.shape[1])}
        return pd.DataFrame(columns, index=range(len(memory)), copy=False)

    return plan_view(
        array, "pandas", make, obstacle=representation_obstacle(normalize_strides(array))
    )


def _plan_times(array: Array) -> Plan[Columns]:
    if np.datetime_data(array.dtype)[0] == "generic":
        refuse("to pandas", describe(array), "its times have no unit", "pass array.view('i8')")
    obstacle = unit_obstacle(array, "pandas")
    masked = np.ma.getmaskarray(array) if hides_values(array) else None
    if obstacle is None and masked is None:
        return plan_view(
            array, "pandas", _wrap, obstacle=representation_obstacle(normalize_strides(array))
        )
    values = exact(np.ma.getdata(array).view(np.ndarray), "pandas")
    if obstacle is None:
        kind = "datetime64" if array.dtype.kind == "M" else "timedelta64"
        fix = f"pass array.filled(np.{kind}('NaT'))"
        why = "pandas stores missing times as NaT among the values"
        obstacle = Obstacle(why, fix)

    def convert() -> Columns:
        fresh = aligned_copy(values)
        if masked is not None:
            fresh[masked] = np.array("NaT", fresh.dtype)
        return _wrap(fresh)

    return _plan_copy(array, convert, obstacle)


def _plan_strings(array: Array) -> Plan[Columns]:
    """Plan strings of pandas' string dtype, with missing values kept."""
    objects = np.ma.getdata(array).view(np.ndarray).astype(object)
    missing = getattr(array.dtype, "na_object", "")
    if not isinstance(missing, str):
        is_missing = [each is missing for each in objects.flat]
        objects[np.reshape(is_missing, objects.shape)] = None
    objects[np.ma.getmaskarray(array)] = None
    make = pd.Series if array.ndim == 1 else pd.DataFrame
    try:
        result = make(objects, range(len(objects)), dtype=_STRINGS, copy=False)
    except UnicodeEncodeError as error:
        why = f"pandas stores strings as UTF-8 ({error.reason})"
        refuse("to pandas", describe(array), why, "keep the objects: array.astype(object)")
    obstacle = Obstacle(
        "pandas stores strings in another form",
        "keep them in pandas, or as objects: array.astype(object)",
    )
    return _plan_copy(array, lambda: result, obstacle)


def _plan_copy(array: Array, make: Callable[[], Columns], obstacle: Obstacle) -> Plan[Columns]:
    return Plan(
        direction="to pandas",
        describe=lambda: describe(array),
        nbytes=array.nbytes,
        result=make,
        independent=make,
        obstacle=obstacle,
    )


def _fix_for(dtype: dtypes.DType) -> str:
    if dtype.names:
        return f"pass one field at a time: array[{dtype.names[0]!r}]"
    if dtypes.is_extension(dtype):
        wider = f"array.astype({dtypes.wider(dtype)})"
        return f"pass the bits as array.view('u{dtype.itemsize}'), or {wider}"
    return "pass the bytes as objects: array.astype(object)"
