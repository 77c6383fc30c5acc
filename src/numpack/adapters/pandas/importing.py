"""pandas objects to NumPy: shared and copied values, and the handling of missing ones."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._core.memory import aligned_copy, aligned_empty, preview
from ..._core.policy import MASK_OR_FILL, Obstacle, Plan, refuse, wrong_type
from ...errors import NullError
from .. import by_name
from .._columns import position, stack_columns
from .._fixes import fix_for

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ..._core.dtypes import DType
    from ..._core.memory import Array

NULLABLE_ARRAYS = (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray)
_TIMES = (pd.arrays.DatetimeArray, pd.arrays.TimedeltaArray)
_EXACT_IN_FLOAT64 = 2**53
_AS_OBJECTS = {  # arrays without a NumPy equivalent, converted value by value
    pd.arrays.SparseArray: Obstacle("it is sparse", "pass what it stores: .array.sp_values"),
    pd.arrays.PeriodArray: Obstacle(
        "periods become Python objects", "pass the ordinals: .array.asi8"
    ),
    pd.arrays.IntervalArray: Obstacle(
        "intervals become Python objects", "pass one side: .array.left or .array.right"
    ),
}


def select(obj: Any, key: Hashable) -> pd.Series:
    """Return a column of a frame by name or by position; negative ones count from the end."""
    if not isinstance(obj, pd.DataFrame):
        wrong_type("column", "a pandas.DataFrame", obj, "leave out column=")
    if isinstance(key, bool) or not pd.api.types.is_hashable(key):
        wrong_type("column", "a name or a position", key, "pass a label or an int")
    return obj.iloc[:, position(key, list(obj.columns))]


def plan_frame(frame: pd.DataFrame, nulls: str) -> Plan[Array]:
    """Plan the conversion of a frame, whose columns must become one dtype, to a 2-D array."""
    dtypes = list(dict.fromkeys(frame.dtypes))
    if len(dtypes) > 1 or not all(isinstance(dtype, np.dtype) for dtype in dtypes):
        return _plan_columns(frame, nulls)
    if _is_one_block(frame):
        return _plan_array(frame, frame.to_numpy(), nulls)
    why, fix = "its columns are not in one block of memory", "pass column=, or frame.copy()"
    plan = _plan_copy(frame, dtypes[0], lambda: _stack(frame), Obstacle(why, fix))
    return apply_nulls(plan, frame, nulls)


def _plan_columns(frame: pd.DataFrame, nulls: str) -> Plan[Array]:
    """Plan a 2-D array of columns that are converted one by one to the same dtype."""
    plans = [plan_values(frame.iloc[:, i], nulls) for i in range(frame.shape[1])]
    shown = list(map(preview, plans))
    specs = list(dict.fromkeys((each.dtype, each.shape[1:]) for each in shown))
    if len(specs) > 1:
        names = ", ".join(sorted({str(dtype) for dtype, _ in specs}))
        why = f"a 2-D array has one dtype, and its columns become several: {names}"
        fix = f"pass column=, of {list(frame.columns[:3])}, or frame.astype(...) to one dtype"
        refuse("from pandas", describe(frame), why, fix)
    dtype, rest = specs[0]
    shape = (*frame.shape, *rest)
    masked = any(isinstance(each, np.ma.MaskedArray) for each in shown)

    def stack() -> Array:
        return stack_columns(plans, shape, dtype, masked=masked)

    obstacle = next(filter(None, (plan.obstacle for plan in plans)), None)
    if obstacle is None:
        why, fix = "each column has its own memory", "pass column=, or keep them in NumPy"
        obstacle = Obstacle(why, fix)
    plan = _plan_copy(frame, dtype, stack, obstacle)
    return dataclasses.replace(plan, result_spec=None if masked else (shape, dtype))


def plan_values(obj: Any, nulls: str) -> Plan[Array]:
    """Plan the conversion of a Series, an Index or a pandas array to an ndarray."""
    if isinstance(obj, pd.MultiIndex):
        why, fix = "it has several values a row", "pass one level: index.get_level_values(0)"
        refuse("from pandas", f"MultiIndex of length {len(obj):,}", why, fix)
    if isinstance(obj, pd.RangeIndex):
        obstacle = Obstacle("a range stores no values", "pass an array: np.arange(...)")
        plan = _plan_copy(obj, obj.dtype, lambda: aligned_copy(obj.to_numpy()), obstacle)
        return apply_nulls(plan, obj, nulls)
    array = obj.array if isinstance(obj, pd.Series | pd.Index) else obj
    if isinstance(array, pd.arrays.ArrowExtensionArray):
        plan = by_name("arrow").module().to_numpy(array.__arrow_array__(), nulls=nulls)
        return dataclasses.replace(
            plan, direction="from pandas", describe=lambda: describe(obj), object_fix=None
        )
    if isinstance(array, NULLABLE_ARRAYS):
        values, mask = parts(array)
        return _plan_masked(obj, values, mask, nulls)
    if isinstance(array, pd.arrays.StringArray):
        return _plan_masked(obj, np.asarray(array), array.isna(), nulls)
    if isinstance(array, pd.Categorical):
        return _plan_categorical(obj, array, nulls)
    if isinstance(array, _TIMES):
        dtype = f"{'M' if isinstance(array, pd.arrays.DatetimeArray) else 'm'}8[{array.unit}]"
        return _plan_array(obj, np.asarray(array, dtype), nulls)  # in UTC if it has a zone
    if isinstance(array, pd.arrays.NumpyExtensionArray):
        return _plan_array(obj, np.asarray(array), nulls)
    return apply_nulls(_plan_objects(obj, array), array, nulls)


def parts(array: Any) -> tuple[Array, Array]:
    """Return the values and the mask of a nullable array, which pandas does not make public."""
    return array._data, array._mask  # noqa: SLF001


def describe(obj: Any) -> str:
    """Describe an object: ``Int64 Series of length 3``, ``DataFrame of shape (3, 2)``."""
    if isinstance(obj, pd.DataFrame):
        return f"DataFrame of shape {obj.shape}"
    return f"{obj.dtype} {type(obj).__name__} of length {len(obj):,}"


def _is_one_block(frame: pd.DataFrame) -> bool:
    """Check whether all values of a frame are in one array, judging by the first row."""
    row = frame.iloc[:1]
    return frame.size == 0 or np.shares_memory(row.to_numpy(), row.iloc[:, 0].to_numpy())


def _read_only(values: Array) -> Array:
    """Return a read-only view, because other objects may share the values."""
    values = values.view()
    values.flags.writeable = False
    return values


def _plan_shared(obj: Any, values: Array) -> Plan[Array]:
    values = _read_only(values)
    return Plan(
        direction="from pandas",
        describe=lambda: describe(obj),
        nbytes=values.nbytes,
        result=lambda: values,
        independent=lambda: aligned_copy(values),
    )


def _plan_array(obj: Any, values: Array, nulls: str) -> Plan[Array]:
    """Plan values in which missing ones are NaN, NaT or None."""
    return apply_nulls(_plan_shared(obj, values), values, nulls)


def apply_nulls(plan: Plan[Array], source: Any, nulls: str) -> Plan[Array]:
    """Apply the option `nulls` to a plan; missing values are those of pandas, with NaN."""
    if nulls == "convert":
        return plan
    missing = np.asarray(pd.isna(source))
    if nulls == "raise":
        raise_nulls(plan.direction, plan.describe, int(np.count_nonzero(missing)))
        return plan

    def masked(values: Array) -> Array:
        return np.ma.MaskedArray(values, mask=missing, copy=False)

    preview = None if plan.obstacle else lambda: masked(plan.result())
    return dataclasses.replace(
        plan,
        result=lambda: masked(plan.result()),
        independent=lambda: masked(plan.independent()),
        preview=preview,
        result_spec=None,
    )


def _plan_copy(
    obj: Any, dtype: DType, make: Callable[[], Array], obstacle: Obstacle
) -> Plan[Array]:
    """Plan a copy, which `make` returns."""
    return Plan(
        direction="from pandas",
        describe=lambda: describe(obj),
        nbytes=obj.size * dtype.itemsize,
        result=make,
        independent=make,
        obstacle=obstacle,
        result_spec=(obj.shape, dtype),
    )


def _stack(frame: pd.DataFrame) -> Array:
    fresh = aligned_empty(frame.shape, frame.dtypes.iloc[0])
    for i in range(frame.shape[1]):
        fresh[:, i] = frame.iloc[:, i]
    return fresh


def _plan_masked(obj: Any, values: Array, mask: Array, nulls: str) -> Plan[Array]:
    """Plan values with a separate mask."""
    count = int(np.count_nonzero(mask))
    if nulls == "raise":
        raise_nulls("from pandas", lambda: describe(obj), count)
    if nulls == "mask":
        masked = np.ma.MaskedArray(_read_only(values), mask=_read_only(mask), copy=False)
        return _plan_shared(obj, masked)
    if not count:
        return _plan_shared(obj, values)
    _refuse_rounding(obj, values[~mask])
    why = f"{count:,} of its values are missing, which NumPy cannot represent"
    obstacle = Obstacle(why, MASK_OR_FILL)
    dtype = _dtype_with_missing(values.dtype)
    return _plan_copy(obj, dtype, lambda: _filled(values, mask), obstacle)


def raise_nulls(direction: str, given: Callable[[], str], count: int) -> None:
    """Raise `NullError` if `count`, the number of missing values, is not 0."""
    if count:
        msg = (
            f"Zero-copy conversion {direction} failed: {given()}, {count:,} of its "
            "values are missing; pass nulls='mask' for a masked array, or "
            "nulls='convert' for NaN, NaT or None"
        )
        raise NullError(msg)


def _refuse_rounding(obj: Any, present: Array) -> None:
    """Refuse integers beside nulls that float64, the dtype of the result, cannot represent."""
    if present.dtype.kind not in "iu" or not present.size:
        return
    if max(-int(present.min()), int(present.max())) > _EXACT_IN_FLOAT64:
        why = "it has missing values, and float64 with NaN would round its integers above 2**53"
        refuse("from pandas", describe(obj), why, "pass nulls='mask', or fillna(...) first")


def _dtype_with_missing(dtype: DType) -> DType:
    """Return the dtype that can represent missing values, the same as for Arrow's nulls."""
    if dtype.kind in "iu":
        return np.dtype(np.float64)
    return dtype if dtype.kind in "fcmM" else np.dtype(object)


def _filled(values: Array, mask: Array) -> Array:
    dtype = _dtype_with_missing(values.dtype)
    fresh = aligned_empty(values.shape, dtype)
    fresh[...] = values
    fresh[mask] = np.nan if dtype.kind in "fc" else None
    return fresh


def _plan_categorical(obj: Any, array: pd.Categorical, nulls: str) -> Plan[Array]:
    """Plan the decoded values of a categorical."""
    codes = np.asarray(array.codes)
    categories = plan_values(array.categories, "convert").result()
    count = int(np.count_nonzero(codes < 0))
    if nulls == "raise":
        raise_nulls("from pandas", lambda: describe(obj), count)
    converts = nulls == "convert" and count > 0
    if converts:
        _refuse_rounding(obj, categories)

    def decoded() -> Array:
        values = aligned_empty(codes.shape, categories.dtype)
        values[codes < 0] = np.zeros((), categories.dtype)
        values[codes >= 0] = categories[codes[codes >= 0]]
        if nulls == "mask":
            return np.ma.MaskedArray(values, mask=codes < 0, copy=False)
        return _filled(values, codes < 0) if converts else values

    dtype = _dtype_with_missing(categories.dtype) if converts else categories.dtype
    why, fix = "its values are codes", "pass the codes and categories of .array"
    plan = _plan_copy(obj, dtype, decoded, Obstacle(why, fix))
    return dataclasses.replace(plan, result_spec=None) if nulls == "mask" else plan


def _plan_objects(obj: Any, array: Any) -> Plan[Array]:
    obstacle = _AS_OBJECTS.get(type(array))
    if obstacle is None and isinstance(array, pd.api.extensions.ExtensionArray):
        why = f"the memory layout of {type(array).__name__} is not known"
        refuse("from pandas", describe(obj), why, "convert it yourself: array.to_numpy()")
    if obstacle is None:
        expected = "a Series, an Index, a DataFrame or an array of pandas"
        wrong_type("share", expected, obj, fix_for(obj))
    return _plan_copy(obj, np.dtype(object), lambda: np.array(array), obstacle)
