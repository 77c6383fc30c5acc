"""The direct route: Arrow columns between frameworks, as pyarrow objects, without NumPy.

NumPy has no nulls, no UTF-8 strings and no chunks; between two Arrow libraries nothing of that
has to be translated. Frameworks that import Arrow memory get NumPy arrays through this module
too.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pyarrow as pa

from ..._core.memory import order_obstacle
from ..._core.policy import Obstacle, Plan, refuse, wrong_type
from ..._core.policy import describe as describe_array
from ...errors import InvalidValueError, UnsupportedError
from .errors import translate_errors
from .exporting import plan_arrow
from .importing import plan_array
from .rewrite import Rewriting
from .table import as_table
from .table import column as select
from .views import nbytes as bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..._core.memory import Array

T = TypeVar("T")
Columns: TypeAlias = pa.Array | pa.ChunkedArray | pa.RecordBatch | pa.Table


def import_columns(obj: Any, label: str) -> Columns:
    """Import columns through the Arrow PyCapsule interface, sharing their memory.

    Streams are preferred, because only a stream exports an array in several chunks. Under the
    interface a stream of structs is a table, and an array of structs is a record batch.
    """
    try:
        if hasattr(obj, "__arrow_c_stream__"):
            chunked = pa.chunked_array(obj)
            is_table = pa.types.is_struct(chunked.type) and not chunked.null_count
            return as_table(chunked) if is_table else chunked
        if hasattr(obj, "__arrow_c_array__"):
            array = pa.array(obj)
            is_table = pa.types.is_struct(array.type) and not array.null_count
            return pa.RecordBatch.from_struct_array(array) if is_table else array
    except (pa.ArrowException, NotImplementedError) as error:
        why, fix = (
            f"pyarrow cannot import it ({error})",
            "convert it with its own library first",
        )
        refuse(f"from {label}", type(obj).__name__, why, fix)
    fix = "pass an array or a table, not a type, a schema or a buffer"
    wrong_type("share", f"an array or a table of {label}", obj, fix)


def plan_to_numpy(
    columns: Columns,
    label: str,
    nulls: str,
    column: str | int | None = None,
    obstacle: Callable[[Obstacle], Obstacle] = lambda found: found,
) -> Plan[Array]:
    """Plan the conversion of one column to a NumPy array.

    Parameters
    ----------
    columns : pyarrow.Array, ChunkedArray, RecordBatch or Table
    label : str
        The framework's name in messages.
    nulls : {"convert", "mask", "raise"}
    column : str or int, optional
        The column of a table; optional if the table has only one.
    obstacle : callable
        Translates the obstacle to sharing into the framework's terms.
    """
    source = one_column(columns, column)
    try:
        plan = plan_array(source, nulls)
    except UnsupportedError as error:
        refuse(f"from {label}", describe_columns(source), error.reason, error.fix)
    found = None if plan.obstacle is None else obstacle(plan.obstacle)
    return dataclasses.replace(plan, direction=f"from {label}", obstacle=found)


def one_column(columns: Columns, column: str | int | None) -> pa.Array | pa.ChunkedArray:
    """Return a column of a table; for an array or a single column, `column` is optional."""
    if column is not None:
        return select(as_table(columns), column)
    if not isinstance(columns, pa.Table | pa.RecordBatch):
        return columns
    if columns.num_columns == 1:
        return columns.column(0)
    known = ", ".join(map(repr, columns.schema.names[:3])) or "none"
    fix = f"select one with column=; the first columns are {known}"
    wrong_type("share", "a single column, because an array has one dtype", columns, fix)


def plan_from_columns(
    columns: Columns,
    label: str,
    make: Callable[[Columns], T],
    obstacle: Obstacle | None = None,
    nbytes: int | None = None,
) -> Plan[T]:
    """Plan the conversion of Arrow columns to an object that `make` builds over their buffers.

    Parameters
    ----------
    columns : pyarrow.Array, ChunkedArray, RecordBatch or Table
    label : str
        The framework's name in messages.
    make : callable
        Called with `columns`, or with a copy of them.
    obstacle : Obstacle or None
        Why `make` copies.
    nbytes : int, optional
        Number of bytes that `make` copies, if it shares some of the buffers; default all.
    """
    build = translate_errors(make, f"to {label}", lambda: describe_columns(columns))
    return Plan(
        direction=f"to {label}",
        describe=lambda: describe_columns(columns),
        nbytes=bytes_of(columns) if nbytes is None else nbytes,
        result=lambda: build(columns),
        independent=lambda: build(copy_columns(columns)),
        obstacle=obstacle,
    )


def plan_via_arrow(
    array: Array,
    label: str,
    make: Callable[[pa.Array], T],
    *,
    layout: str,
    requested: pa.DataType | None = None,
    obstacle: Obstacle | None = None,
) -> Plan[T]:
    """Plan the conversion of a NumPy array to an object that `make` builds over an Arrow array.

    Parameters
    ----------
    array : ndarray
    label : str
    make : callable
    layout, requested
        Layout and type of the Arrow array, as for `plan_arrow`.
    obstacle : Obstacle or None
        Why `make` copies, in the framework's terms.
    """
    try:
        plan = plan_arrow(array, layout, requested)
    except UnsupportedError as error:
        refuse(f"to {label}", describe_array(array), error.reason, error.fix)
    build = translate_errors(make, f"to {label}", lambda: describe_array(array))
    return dataclasses.replace(
        plan,
        direction=f"to {label}",
        result=lambda: build(plan.result()),
        independent=lambda: build(plan.independent()),
        obstacle=obstacle or plan.obstacle,
    )


def plan_table_via_arrow(
    array: Array,
    names: Sequence[str],
    label: str,
    make: Callable[[pa.Table], T],
    *,
    requested: pa.DataType | None = None,
    obstacle: Obstacle | None = None,
) -> Plan[T]:
    """Plan the conversion of a 2-D array to a table with the same columns.

    The columns are shared if each is contiguous, that is, if the array is in Fortran order.
    """
    if array.ndim != 2 or len(names) != array.shape[1] or len(set(names)) != len(names):
        msg = (
            f"columns must name each column of a 2-D array once: got {len(names)} names "
            f"for {describe_array(array)}"
        )
        raise InvalidValueError(msg)
    rows = array.shape[0]
    if obstacle is None and order_obstacle(array.T) is not None:
        why = "its columns are not contiguous"
        obstacle = Obstacle(why, "keep it in Fortran order: np.asfortranarray(array)")

    def table(flat: pa.Array) -> T:
        pieces = [flat.slice(i * rows, rows) for i in range(len(names))]
        return make(pa.table(pieces, names=list(names)))

    plan = plan_via_arrow(
        array.T, label, table, layout="flat", requested=requested, obstacle=obstacle
    )
    return dataclasses.replace(plan, describe=lambda: describe_array(array))


def copy_columns(columns: Columns) -> Columns:
    """Copy the part of their buffers that columns refer to into new memory."""
    if isinstance(columns, pa.Array | pa.ChunkedArray):
        return Rewriting(lambda _, __: None).column(columns)
    arrays = list(map(copy_columns, columns.columns))
    return type(columns).from_arrays(arrays, schema=columns.schema) if arrays else columns


def describe_columns(columns: Columns) -> str:
    """Describe columns: ``int64 column of length 3``, ``table of 2 columns and 3 rows``."""
    if isinstance(columns, pa.Table | pa.RecordBatch):
        return f"table of {columns.num_columns} columns and {columns.num_rows:,} rows"
    return f"{columns.type} column of length {len(columns):,}"
