"""The direct route of Arrow columns to and from pandas, without NumPy."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..._core.policy import Obstacle, Plan, refuse
from ...errors import UnsupportedError
from ..arrow.direct import Columns, describe_columns, plan_from_columns, plan_via_arrow
from ..arrow.errors import translate_errors
from ..arrow.exporting import plan_arrow
from ..arrow.importing import plan_array
from ..arrow.supported_types import SupportedTypes
from ..arrow.table import zone_of
from ..arrow.trees import type_with_offsets
from ..arrow.views import nbytes as bytes_of
from .exporting import check_dimensions
from .importing import NULLABLE_ARRAYS, describe, parts, plan_values

if TYPE_CHECKING:
    from ..._core.memory import Array


def export_columns(obj: Any) -> Columns | Plan[Columns] | None:
    """Return the Arrow columns of an object, or their plan, if NumPy cannot represent it.

    Examples are nulls, time zones and columns of several dtypes. ``None`` for objects that are
    converted through NumPy.
    """
    if isinstance(obj, pd.DataFrame):
        dtypes = set(obj.dtypes)
        if all(isinstance(dtype, np.dtype) for dtype in dtypes) and len(dtypes) < 2:
            return None
        return _plan_table(obj)
    array = obj.array if isinstance(obj, pd.Series) else obj
    if isinstance(array, pd.Index) and not isinstance(array, pd.MultiIndex):
        array = array.array
    if isinstance(array, pd.arrays.ArrowExtensionArray):
        return array.__arrow_array__()
    if isinstance(array, pd.arrays.DatetimeArray) and array.tz is not None:
        plan = _plan_zoned(obj, array)
        return plan.result() if plan.obstacle is None else plan
    if isinstance(array, NULLABLE_ARRAYS) and array.isna().any():
        return _plan_nullable(obj, array)
    if isinstance(array, pd.Categorical) and (np.asarray(array.codes) < 0).any():
        with contextlib.suppress(UnsupportedError):  # the route through NumPy may succeed
            return _plan_decoded(_plan_dictionary(None, obj, array))
    return None


def import_columns(columns: Columns) -> Plan[pd.Series | pd.DataFrame]:
    """Plan a Series, or a frame of Series, of an ``ArrowDtype`` over the same buffers."""
    return _SUPPORTED.plan(columns, _wrap)


def _supported_type(type_: pa.DataType, _: tuple[pa.DataType, ...], /) -> pa.DataType | None:
    """Replace ``string_view`` and ``binary_view``, which pandas 3.1 cannot print or compare."""
    views = pa.types.is_string_view(type_) or pa.types.is_binary_view(type_)
    return type_with_offsets(type_) if views else None


_SUPPORTED = SupportedTypes("pandas", _supported_type)


def from_values(array: Array) -> Plan[pd.Series]:
    """Plan a Series of an ``ArrowDtype`` over NumPy memory."""
    check_dimensions(array)
    if array.ndim != 1:
        why, fix = "each Arrow column has its own memory", "pass one column: array[:, i]"
        refuse("to pandas", f"array of shape {array.shape}", why, fix)
    return plan_via_arrow(array, "pandas", _wrap, layout="flat")


def import_zoned(column: pa.Array | pa.ChunkedArray) -> Plan[pd.Series] | None:
    """Plan a Series of times with a time zone, which NumPy lacks; ``None`` for other types."""
    type_ = column.type
    if zone_of([type_]) is None:
        return None
    if not pa.types.is_timestamp(type_):  # the zone is in a nested type
        return import_columns(column)
    naive = pa.timestamp(type_.unit)
    if isinstance(column, pa.Array):
        times = column.view(naive)
    else:
        times = pa.chunked_array([chunk.view(naive) for chunk in column.chunks], naive)
    plan = plan_array(times, "convert")
    dtype = f"datetime64[{type_.unit}, {type_.tz}]"

    def build(values: Array) -> pd.Series:
        counts = values.view(np.int64)
        return pd.Series(pd.array(counts, dtype=dtype, copy=False), copy=False)

    make = translate_errors(build, "to pandas", lambda: describe_columns(column))
    return dataclasses.replace(
        plan,
        direction="to pandas",
        describe=lambda: describe_columns(column),
        result=lambda: make(plan.result()),
        independent=lambda: make(plan.independent()),
    )


def _plan_zoned(obj: Any, array: pd.arrays.DatetimeArray) -> Plan[pa.Array]:
    values, type_ = _utc_times(obj, array)
    plan = plan_arrow(values, "flat", type_)
    return dataclasses.replace(plan, direction="from pandas", describe=lambda: describe(obj))


def _utc_times(obj: Any, array: pd.arrays.DatetimeArray) -> tuple[Array, pa.DataType]:
    """Return the times in UTC, and the Arrow type with their time zone."""
    try:
        zone = pa.lib.tzinfo_to_string(array.tz)
    except (ValueError, TypeError, NotImplementedError) as error:
        fix = "convert it to a zone with a name: .dt.tz_convert('UTC')"
        refuse("from pandas", describe(obj), f"Arrow has no such time zone ({error})", fix)
    return np.asarray(array, f"M8[{array.unit}]"), pa.timestamp(array.unit, zone)


def _wrap(columns: Columns) -> pd.Series | pd.DataFrame:
    if isinstance(columns, pa.Array | pa.ChunkedArray):
        return pd.Series(pd.arrays.ArrowExtensionArray(columns), copy=False)
    series = {i: _wrap(column) for i, column in enumerate(columns.columns)}
    frame = pd.DataFrame(series, index=range(columns.num_rows), copy=False)
    frame.columns = pd.Index(columns.schema.names)
    return frame


def _plan_nullable(obj: Any, array: Any) -> pa.Array | Plan[pa.Array]:
    plan = plan_arrow(_masked_array(array), "flat", None)
    if plan.obstacle is None:
        return plan.result()
    return dataclasses.replace(plan, direction="from pandas", describe=lambda: describe(obj))


def _plan_table(frame: pd.DataFrame) -> pa.Table | Plan[pa.Table]:
    """Return a table over the memory of a frame, or its plan if columns have to be copied."""
    plans = [_plan_column(name, frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
    names = list(map(str, frame.columns))
    copied = [i for i, plan in enumerate(plans) if plan.obstacle is not None]

    def build() -> pa.Table:
        return pa.Table.from_arrays([plan.result() for plan in plans], names=names)

    if not copied:
        return build()
    why, _ = plans[copied[0]].obstacle or ("", "")
    obstacle = Obstacle(f"column {frame.columns[copied[0]]!r}: {why}", _BY_COLUMN)
    return Plan(
        direction="from pandas",
        describe=lambda: describe(frame),
        nbytes=sum(plans[i].nbytes for i in copied),
        result=build,
        independent=lambda: pa.Table.from_arrays(
            [plan.independent() for plan in plans], names=names
        ),
        obstacle=obstacle,
    )


def _plan_column(name: object, column: pd.Series) -> Plan[Any]:
    """Plan the Arrow array of a frame's column, or refuse the column by its name."""
    array = column.array
    if isinstance(array, pd.arrays.ArrowExtensionArray):
        return plan_from_columns(array.__arrow_array__(), "Arrow", lambda found: found)
    if isinstance(array, pd.arrays.DatetimeArray) and array.tz is not None:
        values, requested = _utc_times(column, array)
    elif isinstance(array, NULLABLE_ARRAYS):
        values, requested = _masked_array(array), None
    elif isinstance(array, pd.Categorical):
        return _plan_dictionary(name, column, array)
    elif isinstance(column.dtype, np.dtype):
        values, requested = column.to_numpy(), None
    elif isinstance(array, pd.arrays.StringArray):
        plan = plan_values(column, "convert")
        values, requested = plan.result(), pa.large_string()
    else:
        refuse(
            "from pandas", describe(column), f"column {name!r} has no Arrow type", _BY_COLUMN
        )
    try:
        return plan_arrow(values, "flat", requested)
    except UnsupportedError as error:
        refuse("from pandas", describe(column), f"column {name!r}: {error.reason}", _BY_COLUMN)


def _plan_dictionary(name: object, column: pd.Series, array: pd.Categorical) -> Plan[Any]:
    """Plan a dictionary array of categorical values, with missing ones masked."""
    codes = np.asarray(array.codes)
    categories = _plan_column(name, pd.Series(array.categories)).independent()
    hidden = np.ma.MaskedArray(codes, mask=codes < 0, copy=False)
    indices = plan_arrow(hidden if (codes < 0).any() else codes, "flat", None)

    def build() -> pa.Array:
        return pa.DictionaryArray.from_arrays(
            indices.independent(), categories, ordered=bool(array.ordered)
        )

    why = "its categories are converted to Arrow"
    return Plan(
        direction="from pandas",
        describe=lambda: describe(column),
        nbytes=codes.nbytes + bytes_of(categories),
        result=build,
        independent=build,
        obstacle=Obstacle(why, _BY_COLUMN),
    )


def _plan_decoded(dictionary: Plan[Any]) -> Plan[Any]:
    """Plan the decoded values of a dictionary array."""

    def build() -> pa.Array:
        return dictionary.result().dictionary_decode()

    why = "its values are codes"
    obstacle = Obstacle(why, "pass the codes and categories of .array")
    return dataclasses.replace(dictionary, result=build, independent=build, obstacle=obstacle)


_BY_COLUMN = (
    "pass one column at a time: column=, or all of them as pyarrow.Table.from_pandas(frame)"
)


def _masked_array(array: Any) -> Array:
    values, mask = parts(array)
    return np.ma.MaskedArray(values, mask=mask, copy=False)
