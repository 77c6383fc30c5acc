"""Hugging Face Datasets: Arrow tables in mapped files, shared without copying.

The package is not imported: its objects are found by name and hold pyarrow tables. The output
format of a dataset is ignored.

Source: the documentation of ``datasets.Dataset`` ("Dataset features", "Arrow").
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from .._core.policy import Obstacle, Plan, wrong_type
from ._fixes import fix_for
from ._options import ColumnOptions
from .arrow.direct import describe_columns, one_column, plan_to_numpy
from .arrow.table import zone_of
from .arrow.views import nbytes

if TYPE_CHECKING:
    from .._core.memory import Array
    from .arrow.direct import Columns

LABEL = "datasets"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS: frozenset[str] = frozenset()


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the conversion from a dataset's column to a NumPy array, read-only."""
    columns, chosen = _columns_of(obj)
    plan = plan_to_numpy(columns, LABEL, nulls, column)
    if not chosen:
        return plan
    gathered = nbytes(one_column(columns, column))
    return dataclasses.replace(
        plan, nbytes=max(gathered, plan.nbytes), obstacle=_selection_obstacle(obj)
    )


def _bridge_export(obj: Any) -> Columns | Plan[Columns]:
    """Return the Arrow columns for the direct route, or a plan that gathers selected rows."""
    columns, chosen = _columns_of(obj)
    if not chosen:
        return columns

    def gathered() -> Columns:
        return columns

    return Plan(
        direction="from datasets",
        describe=lambda: describe_columns(columns),
        nbytes=nbytes(columns),
        result=gathered,
        independent=gathered,
        obstacle=_selection_obstacle(obj),
    )


BRIDGE_EXPORTS = {"arrow": _bridge_export}


class Selected(NamedTuple):
    """A column, and whether its rows were gathered."""

    columns: Columns
    gathered: bool


def select_column(obj: Any, column: str | int) -> Selected:
    """Select a column of a dataset by name or position."""
    columns, chosen = _columns_of(obj)
    return Selected(one_column(columns, column), chosen)


def zone(obj: Any) -> str | None:
    """Return the time zone of a column, or of the first column that has one."""
    columns, _ = _columns_of(obj)
    return zone_of(columns.schema.types if hasattr(columns, "schema") else [columns.type])


def _columns_of(obj: Any) -> tuple[Columns, bool]:
    """Return the Arrow columns, and whether they were gathered from selected rows."""
    if isinstance(obj, Selected):
        return obj
    names = []
    while hasattr(obj, "source") and hasattr(obj, "column_name"):
        names.append(obj.column_name)
        obj = obj.source
    if not hasattr(obj, "with_format") or not hasattr(obj, "_indices"):
        wrong_type("share", "a datasets.Dataset or one of its columns", obj, fix_for(obj))
    chosen = obj._indices is not None  # noqa: SLF001 -- it has no public name
    table = obj.with_format("arrow")[:] if chosen else obj.data.table
    if not names:
        return table, chosen
    column = table.column(names.pop())
    while names:
        column = _field(column, names.pop())
    return column, chosen


def _field(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Select a field of a struct column, null where the struct is null."""
    whole = pa.Table.from_arrays([column], names=[""]).flatten()
    return whole.column(f".{name}")


def _selection_obstacle(obj: Any) -> Obstacle:
    why = "its rows are selected or reordered, and have to be gathered"
    whole = "x.source.flatten_indices()" if hasattr(obj, "source") else "x.flatten_indices()"
    return Obstacle(why, f"write them out once, and keep that: {whole}")
