"""Columns between frameworks that speak Arrow: they cross as pyarrow's, past NumPy.

NumPy has no nulls, no UTF-8 and no chunks; who comes from Arrow and goes to Arrow needs none
of that translated. This is also how a framework that takes Arrow memory gets NumPy's.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import pyarrow as pa

from ..._policy import Obstacle, Plan
from .outward import plan_arrow

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._memory import Array

T = TypeVar("T")
Columns: TypeAlias = pa.Array | pa.ChunkedArray | pa.RecordBatch | pa.Table


def over(
    columns: Columns, label: str, make: Callable[[Columns], T], obstacle: Obstacle | None = None
) -> Plan[T]:
    """Plan the way of Arrow columns to an object that `make` builds over their buffers.

    Parameters
    ----------
    columns : pyarrow.Array, ChunkedArray, RecordBatch or Table
    label : str
        The framework's name in messages.
    make : callable
        Takes `columns`, or a copy of them.
    obstacle : Obstacle or None
        Why `make` copies.
    """
    return Plan(
        direction=f"to {label}",
        given=lambda: describe(columns),
        nbytes=columns.nbytes,
        result=lambda: make(columns),
        independent=lambda: make(columns if obstacle else own(columns)),
        obstacle=obstacle,
    )


def by_arrow(
    array: Array,
    label: str,
    make: Callable[[pa.Array], T],
    *,
    layout: str,
    wanted: pa.DataType | None = None,
    obstacle: Obstacle | None = None,
) -> Plan[T]:
    """Plan the way from the hub to an object that `make` builds over an Arrow array.

    Parameters
    ----------
    array : ndarray
    label : str
    make : callable
    layout, wanted
        What the Arrow array is, as for `plan_arrow`.
    obstacle : Obstacle or None
        Why `make` copies what Arrow shares.
    """
    plan = plan_arrow(array, layout, wanted)
    return dataclasses.replace(
        plan,
        direction=f"to {label}",
        result=lambda: make(plan.result()),
        independent=lambda: make(plan.result() if obstacle else plan.independent()),
        obstacle=plan.obstacle or obstacle,
    )


def own(columns: Columns) -> Columns:
    """Copy all buffers into memory of their own."""
    if isinstance(columns, pa.Table):
        return pa.Table.from_batches(map(_copied, columns.to_batches()), columns.schema)
    if isinstance(columns, pa.ChunkedArray):
        return pa.chunked_array(list(map(_copied, columns.chunks)), columns.type)
    return _copied(columns)


def _copied(columns: pa.Array | pa.RecordBatch) -> pa.Array | pa.RecordBatch:
    return columns.copy_to(pa.default_cpu_memory_manager())


def describe(columns: Columns) -> str:
    """Say what came: ``int64 column of length 3``, ``table of 2 columns and 3 rows``."""
    if isinstance(columns, pa.Table | pa.RecordBatch):
        return f"table of {columns.num_columns} columns and {columns.num_rows:,} rows"
    return f"{columns.type} column of length {len(columns):,}"
