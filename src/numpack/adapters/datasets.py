"""Hugging Face Datasets: Arrow tables that are mapped files, shared as they are.

The package is not imported: its objects are known by their names, and hold pyarrow's. The
format that a dataset would give its rows in is left aside.

Source: the documentation of ``datasets.Dataset`` ("Dataset features", "Arrow").
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from .._core.policy import Obstacle, Plan, wrong_type
from ._fixes import fix_for
from ._options import ColumnOptions
from .arrow.bridge import describe, one_column, to_hub
from .arrow.table import zone_of
from .arrow.views import nbytes

if TYPE_CHECKING:
    from .._core.memory import Array
    from .arrow.bridge import Columns

LABEL = "datasets"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS: frozenset[str] = frozenset()


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the way of a column, or of a dataset's only one; it is read-only."""
    held, chosen = _held(obj)
    plan = to_hub(held, LABEL, nulls, column)
    if not chosen:
        return plan
    gathered = nbytes(one_column(held, column))
    return dataclasses.replace(plan, nbytes=max(gathered, plan.nbytes), obstacle=_chosen(obj))


def _bridge_export(obj: Any) -> Columns | Plan[Columns]:
    held, chosen = _held(obj)
    if not chosen:
        return held

    def gathered() -> Columns:
        return held

    return Plan(
        direction="from datasets",
        describe=lambda: describe(held),
        nbytes=nbytes(held),
        result=gathered,
        independent=gathered,
        obstacle=_chosen(obj),
    )


def select_column(obj: Any, column: str | int) -> Selected:
    """Select a column of a dataset, by name or by position."""
    held, chosen = _held(obj)
    return Selected(one_column(held, column), chosen)


def zone(obj: Any) -> str | None:
    """Return the time zone of a column, or of the first column that has one."""
    held, _ = _held(obj)
    return zone_of(held.schema.types if hasattr(held, "schema") else [held.type])


class Selected(NamedTuple):
    """A column, and whether its rows were chosen."""

    columns: Columns
    chosen: bool


BRIDGE_EXPORTS = {"arrow": _bridge_export}


def _chosen(obj: Any) -> Obstacle:
    why = "its rows are chosen or in another order, and have to be gathered"
    whole = "x.source.flatten_indices()" if hasattr(obj, "source") else "x.flatten_indices()"
    return Obstacle(why, f"write them out once, and keep that: {whole}")


def _held(obj: Any) -> tuple[Columns, bool]:
    """Return the Arrow columns, and whether they had to be gathered from chosen rows."""
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
    """Select a field of a column of structs, null where the struct is."""
    whole = pa.Table.from_arrays([column], names=[""]).flatten()
    return whole.column(f".{name}")
