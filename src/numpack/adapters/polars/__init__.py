"""Polars: immutable columns in Arrow's layout, shared where Polars has the type.

Polars never writes to memory that is not its own alone: an assignment to a series copies it
first. So read-only memory is as good as any.

Source: the Polars documentation of data types, of ``from_arrow`` and of ``Series.to_numpy``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import polars as pl
import pyarrow as pa

from ..._core.memory import aligned_empty, from_address, preview
from ..._core.policy import Obstacle, Plan, describe, refuse, wrong_type
from .._columns import position
from .._fixes import fix_for
from .._options import ColumnOptions
from .._protocol import BridgeImport
from ..arrow.bridge import by_arrow, by_columns, to_hub
from ..arrow.table import names
from ..numpy import base_array
from .types import (
    INTAKE,
    columns_obstacle,
    dtype_obstacle,
    in_words_of_polars,
    refuse_opaque,
    regular,
    wanted_type,
    zone_inside,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._core.memory import Array
    from ..arrow.bridge import Columns


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
    """Plan the way from the hub to a `polars.Series`.

    Parameters
    ----------
    array : ndarray
        Of more than one dimension it becomes rows of the ``Array`` dtype.
    name : str
        Of the series.
    schema : sequence of str, optional
        Names the columns of a 2-D array, which becomes a `polars.DataFrame`.
    """
    array = base_array(array, LABEL, masks=True)
    if 0 in array.shape[1:] or (array.dtype.kind in "SV" and array.itemsize == 0):
        why, fix = "Polars has no values of width 0", "pass array.reshape(-1) or its length"
        refuse("to Polars", describe(array), why, fix)
    wanted, obstacle = wanted_type(array.dtype), dtype_obstacle(array.dtype)
    if schema is not None:
        return by_columns(array, schema, LABEL, _made, wanted=wanted, obstacle=obstacle)
    layout = "list" if array.ndim > 1 else "flat"
    if array.dtype.kind == "O":  # whether Polars has the type that Arrow infers
        by_arrow(array, LABEL, columns_obstacle, layout=layout).result()

    def make(column: pa.Array) -> Any:
        return _series(column, name)

    return by_arrow(array, LABEL, make, layout=layout, wanted=wanted, obstacle=obstacle)


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the way to the hub from a series, a frame's column or a frame of one dtype.

    The result is read-only where it is shared. A whole frame is a 2-D array.
    """
    frame = _expected(obj)
    if isinstance(frame, pl.Series):
        return _plan_series(frame, nulls)
    if column is not None:
        place = position(column, frame.columns)
        return _plan_series(frame.to_series(place), nulls)
    return _plan_frame(frame, nulls)


def _plan_series(series: pl.Series, nulls: str) -> Plan[Array]:
    plan = to_hub(_bridge_export(series), LABEL, nulls, None, in_words_of_polars(series))
    return dataclasses.replace(plan, regular=lambda: regular(series))


def _plan_frame(frame: pl.DataFrame, nulls: str) -> Plan[Array]:
    """Plan one 2-D array of all columns: Polars keeps each by itself."""
    given = f"frame of {frame.width} columns and {frame.height:,} rows"
    plans = [_plan_series(series, nulls) for series in frame.get_columns()]
    shown = list(map(preview, plans))
    if len({each.dtype for each in shown}) != 1 or len({each.shape for each in shown}) != 1:
        kinds = ", ".join(sorted({str(dtype) for dtype in frame.dtypes})) or "no columns"
        why = f"a 2-D array has one dtype, and these columns do not become one: {kinds}"
        refuse("from Polars", given, why, "select one with column=, or cast or fill_null them")
    nbytes = sum(plan.nbytes for plan in plans)

    def gathered() -> Array:
        arrays = [plan.result() for plan in plans]
        fresh = aligned_empty(shape, first.dtype)
        for i, array in enumerate(arrays):
            fresh[:, i] = np.ma.getdata(array)
        if not masked:
            return fresh
        mask = np.stack([np.ma.getmaskarray(array) for array in arrays], axis=1)
        return np.ma.MaskedArray(fresh, mask=mask)

    obstacle = next(filter(None, (plan.obstacle for plan in plans)), None)
    if obstacle is None and not _lie_together(shown):
        why = "its columns do not lie one after the other in memory"
        obstacle = Obstacle(why, "select one with column=, or make the frame of one 2-D array")
    width, first = frame.width, shown[0]
    strides = (*first.strides[:1], first.nbytes, *first.strides[1:])
    shape = (first.shape[0], width, *first.shape[1:])
    masked = any(isinstance(column, np.ma.MaskedArray) for column in shown)

    def share() -> Array:
        return from_address(
            first.ctypes.data, shape, strides, first.dtype, owner=shown, readonly=True
        )

    return Plan(
        direction="from Polars",
        describe=lambda: given,
        nbytes=nbytes,
        result=share if obstacle is None else gathered,
        independent=gathered,
        obstacle=obstacle,
        result_spec=None if masked else (shape, first.dtype),
    )


def _lie_together(columns: list[Array]) -> bool:
    """Tell whether each column begins where the one before it ends, as in Fortran order."""
    if any(isinstance(column, np.ma.MaskedArray) for column in columns):
        return False
    starts = [column.ctypes.data for column in columns]
    step = columns[0].nbytes
    return step == 0 or starts == [starts[0] + i * step for i in range(len(starts))]


def _expected(obj: Any) -> pl.Series | pl.DataFrame:
    if isinstance(obj, pl.Series | pl.DataFrame):
        return obj
    kind = type(obj).__name__
    if kind in _LAZY:
        fix = "compute it first: lazy.collect()" if kind == "LazyFrame" else fix_for(obj)
        refuse("from Polars", kind, "it has no values yet", fix)
    wrong_type("share", "a polars.Series or polars.DataFrame", obj, fix_for(obj))


def _bridge_export(obj: Any) -> Columns:
    found = _expected(obj)
    series = [found] if isinstance(found, pl.Series) else found.get_columns()
    for each in series:
        refuse_opaque(each.name, each.dtype)
    return pa.chunked_array(found) if isinstance(found, pl.Series) else pa.table(found)


def _bridge_import(columns: Columns, *, name: str = "") -> Plan[Any]:
    if isinstance(columns, pa.Table | pa.RecordBatch):
        names(columns)
    also = columns_obstacle(columns)
    return INTAKE.over(columns, lambda found: _made(found, name), also)


def select_column(obj: Any, column: str | int) -> pl.Series:
    """Select a column of a frame, by name or by position; a series is its own column."""
    frame = _expected(obj)
    if isinstance(frame, pl.Series):
        return frame
    return frame.to_series(position(column, frame.columns))


def zone(obj: Any) -> str | None:
    """Return the time zone of a series, or of the first of a frame's that has one."""
    found = _expected(obj)
    kinds = [found.dtype] if isinstance(found, pl.Series) else found.dtypes
    return next(filter(None, map(zone_inside, kinds)), None)


HAS_ZONES = True
BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import, frozenset({"name"}))}


def _made(columns: Columns, name: str = "") -> Any:
    if isinstance(columns, pa.Table | pa.RecordBatch):
        return pl.from_arrow(columns, rechunk=False)
    return _series(columns, name)


def _series(column: pa.Array | pa.ChunkedArray, name: str) -> Any:
    series: Any = pl.from_arrow(column, rechunk=False)
    return series.alias(name)
