"""Polars: immutable columns in Arrow's layout, shared if Polars supports the type.

Polars never writes to shared memory: an assignment to a series copies it first. Sharing
read-only memory is therefore safe.

Source: the Polars documentation of data types, of ``from_arrow`` and of ``Series.to_numpy``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import polars as pl
import pyarrow as pa

from ..._core.memory import preview
from ..._core.owner import from_address
from ..._core.policy import Obstacle, Plan, describe, refuse, wrong_type
from ..._dlpack.fast_path import try_export
from ..._dlpack.fast_table import register_columns, register_export, register_import
from .._columns import position, stack_columns
from .._fixes import fix_for
from .._options import ColumnOptions
from .._protocol import BridgeImport
from ..arrow.direct import plan_table_via_arrow, plan_to_numpy, plan_via_arrow
from ..arrow.table import names
from ..numpy import base_array
from .types import (
    SUPPORTED,
    columns_obstacle,
    dtype_obstacle,
    intermediate_type,
    object_fix,
    polars_obstacle,
    refuse_opaque,
    zone_inside,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._core.memory import Array
    from ..arrow.direct import Columns


class ToOptions(TypedDict, total=False):
    """Options of `from_numpy`."""

    name: str
    schema: Sequence[str] | None


LABEL = "Polars"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ToOptions.__optional_keys__
_LAZY = ("LazyFrame", "Expr")


def from_numpy(
    array: Array, *, name: str = "", schema: Sequence[str] | None = None
) -> Plan[Any]:
    """Plan the conversion of a NumPy array to a `polars.Series`.

    Parameters
    ----------
    array : ndarray
        An array of more than one dimension becomes a series of the ``Array`` dtype.
    name : str
        The name of the series.
    schema : sequence of str, optional
        Names of the columns; a 2-D array then becomes a `polars.DataFrame`.
    """
    array = base_array(array, LABEL, masks=True)
    if 0 in array.shape[1:] or (array.dtype.kind in "SV" and array.itemsize == 0):
        why, fix = "Polars has no values of width 0", "pass array.reshape(-1) or its length"
        refuse("to Polars", describe(array), why, fix)
    cast, obstacle = intermediate_type(array.dtype), dtype_obstacle(array.dtype)
    if schema is not None:
        return plan_table_via_arrow(
            array, schema, LABEL, _from_arrow, requested=cast, obstacle=obstacle
        )
    layout = "list" if array.ndim > 1 else "flat"
    if array.dtype.kind == "O":  # refuse it now if Polars does not support its Arrow type
        plan_via_arrow(array, LABEL, columns_obstacle, layout=layout).result()

    def make(column: pa.Array) -> Any:
        return _series(column, name)

    return plan_via_arrow(array, LABEL, make, layout=layout, requested=cast, obstacle=obstacle)


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the conversion of a series, or of a frame or its column, to a NumPy array.

    A frame becomes a 2-D array, for which its columns need to have one dtype. A shared result
    is read-only.
    """
    frame = _check_type(obj)
    if isinstance(frame, pl.Series):
        return _plan_series(frame, nulls)
    if column is not None:
        place = position(column, frame.columns)
        return _plan_series(frame.to_series(place), nulls)
    return _plan_frame(frame, nulls)


def _columns(series: pl.Series) -> pl.Series | None:
    return series if series.dtype in _NUMBERS else None


def _from_columns(columns: Any, name: str = "") -> pl.Series | None:
    """Make a series of one chunk; the constructor would copy several into one."""
    return pl.Series(name, columns) if hasattr(columns, "__arrow_c_array__") else None


def _view(series: pl.Series) -> Array:
    """View a column of one chunk without nulls; the public method takes twice as long."""
    found: Array = series._s.to_numpy(writable=False, allow_copy=False)  # noqa: SLF001
    return found


def _make(array: Array, name: str = "") -> pl.Series | None:
    column = try_export(array, "arrow")
    return None if column is None else pl.Series(name, column)


def _series(column: pa.Array | pa.ChunkedArray, name: str = "") -> Any:
    series: Any = pl.from_arrow(column, rechunk=False)
    return series.alias(name)


_NUMBERS = frozenset(
    {
        *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
        *(pl.Float32, pl.Float64),
    }
)

register_import(
    "polars",
    (pl.Series,),
    view=_view,
    dtypes="bBhHiIlLqQefd",
    readonly=True,
    columns=_columns,
    named=True,
)
register_export("polars", _make, dtypes="bBhHiIlLqQfd", order="C", ndim=(1, 1), named=True)
register_columns("polars", _from_columns, named=True)


def _plan_series(series: pl.Series, nulls: str) -> Plan[Array]:
    plan = plan_to_numpy(_bridge_export(series), LABEL, nulls, None, polars_obstacle(series))
    return dataclasses.replace(plan, object_fix=lambda: object_fix(series))


def _plan_frame(frame: pl.DataFrame, nulls: str) -> Plan[Array]:
    """Plan a 2-D array of all columns, each of which has its own memory in Polars."""
    plans = [_plan_series(series, nulls) for series in frame.get_columns()]
    columns = list(map(preview, plans))
    if len({each.dtype for each in columns}) != 1 or len({each.shape for each in columns}) != 1:
        dtypes = ", ".join(sorted({str(dtype) for dtype in frame.dtypes})) or "no columns"
        why = f"a 2-D array has one dtype, but these columns differ: {dtypes}"
        fix = "select one with column=, or cast or fill_null them"
        refuse("from Polars", _describe_frame(frame), why, fix)
    dtype = columns[0].dtype
    shape = (len(columns[0]), frame.width, *columns[0].shape[1:])
    masked = any(isinstance(column, np.ma.MaskedArray) for column in columns)
    obstacle = next(filter(None, (plan.obstacle for plan in plans)), None)
    if obstacle is None and not _are_adjacent(columns):
        why = "its columns are not adjacent in memory"
        obstacle = Obstacle(why, "select one with column=, or make the frame of one 2-D array")

    def stack() -> Array:
        return stack_columns(plans, shape, dtype, masked=masked)

    return Plan(
        direction="from Polars",
        describe=lambda: _describe_frame(frame),
        nbytes=sum(plan.nbytes for plan in plans),
        result=stack if obstacle else lambda: _view_adjacent(columns, shape),
        independent=stack,
        obstacle=obstacle,
        result_spec=None if masked else (shape, dtype),
    )


def _describe_frame(frame: pl.DataFrame) -> str:
    return f"frame of {frame.width} columns and {frame.height:,} rows"


def _view_adjacent(columns: list[Array], shape: tuple[int, ...]) -> Array:
    """Return a read-only view of adjacent columns as one array in Fortran order."""
    first = columns[0]
    strides = (*first.strides[:1], first.nbytes, *first.strides[1:])
    address = first.ctypes.data
    return from_address(address, shape, strides, first.dtype, owner=columns, readonly=True)


def _are_adjacent(columns: list[Array]) -> bool:
    """Check whether each column begins where the previous one ends, as in Fortran order."""
    if any(isinstance(column, np.ma.MaskedArray) for column in columns):
        return False
    starts = [column.ctypes.data for column in columns]
    step = columns[0].nbytes
    return step == 0 or starts == [starts[0] + i * step for i in range(len(starts))]


def _check_type(obj: Any) -> pl.Series | pl.DataFrame:
    if isinstance(obj, pl.Series | pl.DataFrame):
        return obj
    kind = type(obj).__name__
    if kind in _LAZY:
        fix = "compute it first: lazy.collect()" if kind == "LazyFrame" else fix_for(obj)
        refuse("from Polars", kind, "it has no values yet", fix)
    wrong_type("share", "a polars.Series or polars.DataFrame", obj, fix_for(obj))


def _bridge_export(obj: Any) -> Columns:
    found = _check_type(obj)
    series = [found] if isinstance(found, pl.Series) else found.get_columns()
    for each in series:
        refuse_opaque(each.name, each.dtype)
    return pa.chunked_array(found) if isinstance(found, pl.Series) else pa.table(found)


def _bridge_import(columns: Columns, *, name: str = "") -> Plan[Any]:
    if isinstance(columns, pa.Table | pa.RecordBatch):
        names(columns)
    cost = columns_obstacle(columns)
    return SUPPORTED.plan(columns, lambda found: _from_arrow(found, name), cost)


def select_column(obj: Any, column: str | int) -> pl.Series:
    """Return a column of a frame, by name or by position; a series is returned as it is."""
    frame = _check_type(obj)
    if isinstance(frame, pl.Series):
        return frame
    return frame.to_series(position(column, frame.columns))


def zone(obj: Any) -> str | None:
    """Return the time zone of a series, or of the first column of a frame that has one."""
    found = _check_type(obj)
    dtypes = [found.dtype] if isinstance(found, pl.Series) else found.dtypes
    return next(filter(None, map(zone_inside, dtypes)), None)


HAS_ZONES = True
BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import, frozenset({"name"}))}


def _from_arrow(columns: Columns, name: str = "") -> Any:
    if isinstance(columns, pa.Table | pa.RecordBatch):
        return pl.from_arrow(columns, rechunk=False)
    return _series(columns, name)
