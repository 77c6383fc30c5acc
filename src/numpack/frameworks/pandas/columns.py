"""Columns between pandas and frameworks that speak Arrow, past NumPy."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..._policy import Plan, refuse
from ..arrow.bridge import Columns, by_arrow
from ..arrow.bridge import describe as describe_columns
from ..arrow.foreign import guarded
from ..arrow.inward import plan_array
from ..arrow.intake import Intake
from ..arrow.outward import plan_arrow
from ..arrow.rewrite import unviewed
from ..arrow.table import zone_of
from .inward import MASKED, describe, parts
from .outward import check_dimensions

if TYPE_CHECKING:
    from ..._memory import Array


def departing(obj: Any) -> Columns | Plan[Columns] | None:
    """Give what Arrow can hold and NumPy cannot: nulls, strings, columns of several dtypes."""
    if isinstance(obj, pd.DataFrame):
        kinds = set(obj.dtypes)
        if all(isinstance(kind, np.dtype) for kind in kinds) and len(kinds) < 2:
            return None
        columns = [_column(name, obj.iloc[:, i]) for i, name in enumerate(obj.columns)]
        return pa.Table.from_arrays(columns, names=list(map(str, obj.columns)))
    array = obj.array if isinstance(obj, pd.Series) else obj
    if isinstance(array, pd.Index) and not isinstance(array, pd.MultiIndex):
        array = array.array
    if isinstance(array, pd.arrays.ArrowExtensionArray):
        return array.__arrow_array__()
    if isinstance(array, pd.arrays.DatetimeArray) and array.tz is not None:
        plan = _zoned_plan(obj, array)
        return plan.result() if plan.obstacle is None else plan
    if isinstance(array, MASKED) and array.dtype.kind != "b" and array.isna().any():
        return _shared(obj, *_memory(array))
    return None


def arriving(columns: Columns) -> Plan[pd.Series | pd.DataFrame]:
    """Plan Series and frames of an ``ArrowDtype`` over the same buffers."""
    return _INTAKE.over(columns, _held)


def _usable(kind: pa.DataType, _: tuple[pa.DataType, ...], /) -> pa.DataType | None:
    """Replace views of strings and bytes, which pandas 3.1 neither shows, compares nor sorts."""
    views = pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)
    return unviewed(kind) if views else None


_INTAKE = Intake("pandas", _usable)


def from_values(array: Array) -> Plan[pd.Series]:
    """Plan a Series of an ``ArrowDtype`` over NumPy memory."""
    check_dimensions(array)
    if array.ndim != 1:
        why, fix = "each column of Arrow lies by itself", "pass one column: array[:, i]"
        refuse("to pandas", f"array of shape {array.shape}", why, fix)
    return by_arrow(array, "pandas", _held, layout="flat")


def zoned(column: pa.Array | pa.ChunkedArray) -> Plan[pd.Series] | None:
    """Plan a Series of times with a zone, which NumPy has not; ``None`` for other types."""
    kind = column.type
    if zone_of([kind]) is None:
        return None
    if not pa.types.is_timestamp(kind):  # it is inside of a type
        return arriving(column)
    naive = pa.timestamp(kind.unit)
    if isinstance(column, pa.Array):
        times = column.view(naive)
    else:
        times = pa.chunked_array([chunk.view(naive) for chunk in column.chunks], naive)
    plan = plan_array(times, "convert")
    dtype = f"datetime64[{kind.unit}, {kind.tz}]"

    def made(values: Array) -> pd.Series:
        counts = values.view(np.int64)
        return pd.Series(pd.array(counts, dtype=dtype, copy=False), copy=False)

    make = guarded(made, "to pandas", lambda: describe_columns(column))
    return dataclasses.replace(
        plan,
        direction="to pandas",
        given=lambda: describe_columns(column),
        result=lambda: make(plan.result()),
        independent=lambda: make(plan.independent()),
    )


def _zoned_plan(obj: Any, array: pd.arrays.DatetimeArray) -> Plan[pa.Array]:
    plan = plan_arrow(_times(obj, array)[0], "flat", _times(obj, array)[1])
    return dataclasses.replace(plan, direction="from pandas", given=lambda: describe(obj))


def _times(obj: Any, array: pd.arrays.DatetimeArray) -> tuple[Array, pa.DataType]:
    """Return the times in UTC, and the type of Arrow that has their zone."""
    try:
        zone = pa.lib.tzinfo_to_string(array.tz)
    except (ValueError, TypeError, NotImplementedError) as error:
        fix = "convert it to a zone with a name: .dt.tz_convert('UTC')"
        refuse("from pandas", describe(obj), f"Arrow has no such zone ({error})", fix)
    return np.asarray(array, f"M8[{array.unit}]"), pa.timestamp(array.unit, zone)


def _held(columns: Columns) -> pd.Series | pd.DataFrame:
    if isinstance(columns, pa.Array | pa.ChunkedArray):
        return pd.Series(pd.arrays.ArrowExtensionArray(columns), copy=False)
    series = {i: _held(column) for i, column in enumerate(columns.columns)}
    frame = pd.DataFrame(series, index=range(columns.num_rows), copy=False)
    frame.columns = pd.Index(columns.schema.names)
    return frame


def _column(name: object, column: pd.Series) -> pa.Array | pa.ChunkedArray:
    array = column.array
    if isinstance(array, pd.arrays.ArrowExtensionArray):
        return array.__arrow_array__()
    if isinstance(array, pd.arrays.DatetimeArray) and array.tz is not None:
        return _shared(column, *_times(column, array), name)
    if isinstance(array, MASKED):
        return _shared(column, *_memory(array), name)
    if isinstance(column.dtype, np.dtype):
        return _shared(column, column.to_numpy(), None, name)
    refuse("from pandas", describe(column), f"column {name!r} is not Arrow's", _ALONE)


_ALONE = (
    "pass one column at a time: column=, or all of them as pyarrow.Table.from_pandas(frame)"
)


def _memory(array: Any) -> tuple[Array, None]:
    values, mask = parts(array)
    return np.ma.MaskedArray(values, mask=mask, copy=False), None


def _shared(
    column: Any, values: Array, wanted: pa.DataType | None, name: object = None
) -> pa.Array:
    """View as Arrow, or refuse: nobody could tell of a copy that is made on the way out."""
    plan = plan_arrow(values, "flat", wanted)
    if plan.obstacle is None:
        return plan.result()
    why = plan.obstacle.why if name is None else f"column {name!r}: {plan.obstacle.why}"
    fix = "pass nulls='mask'" if name is None else _ALONE
    refuse("from pandas", describe(column), why, fix)
