"""DuckDB: relations that scan arrays in place, and computed results as Arrow columns.

Source: the DuckDB documentation of the Python relational API and of Arrow import and export.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypedDict

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._core.policy import Obstacle, Plan, describe, refuse, wrong_type
from ..errors import InvalidValueError
from ._columns import position
from ._options import ColumnOptions
from ._protocol import BridgeImport
from .arrow.direct import describe_columns, plan_table_via_arrow, plan_to_numpy, plan_via_arrow
from .arrow.rewrite import Rewriting
from .arrow.supported_types import SupportedTypes
from .arrow.trees import contains, decoded_type, is_sliced
from .arrow.views import nbytes
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from .._core.memory import Array
    from .arrow.direct import Columns


class ToOptions(TypedDict, total=False):
    """Options of `from_numpy`."""

    connection: duckdb.DuckDBPyConnection | None
    name: str | None
    columns: Sequence[str] | None


LABEL = "DuckDB"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ToOptions.__optional_keys__
_NESTED = ("list", "array", "struct", "map", "union")
# Types of DuckDB whose values change in its Arrow export, and how.
_CHANGED = {
    "uhugeint": "DuckDB exports it as a decimal that wraps around",
    "bit": "DuckDB exports it as bytes with padding",
    "bignum": "DuckDB exports it as bytes that only DuckDB reads",
    "time with time zone": "DuckDB exports it without its time zone",
    "variant": "only DuckDB defines its layout",
}


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the conversion from a column of a DuckDBPyRelation to a NumPy array.

    The only column need not be named. The query runs here, once, because the plan depends on
    its result.
    """
    relation = _expect_relation(obj)
    known = relation.columns
    if column is not None:
        relation = relation.project(f"#{position(column, known) + 1}")
    elif len(known) > 1:
        fix = f"select one with column=; they begin with {', '.join(map(repr, known[:3]))}"
        wrong_type("share", "one column, as arrays have one dtype", obj, fix)
    first = _run(relation)
    plan = plan_to_numpy(first.result(), LABEL, nulls)
    return dataclasses.replace(
        plan, describe=first.describe, nbytes=first.nbytes, obstacle=first.obstacle
    )


def from_numpy(
    array: Array,
    *,
    connection: duckdb.DuckDBPyConnection | None = None,
    name: str | None = None,
    columns: Sequence[str] | None = None,
) -> Plan[Any]:
    """Plan the conversion from a NumPy array to a relation that scans its memory.

    Parameters
    ----------
    array : ndarray
        The column ``value``; a row is an array of fixed size if `array` has more than one
        dimension.
    connection : duckdb.DuckDBPyConnection, optional
        The connection of the relation; by default DuckDB's default connection.
    name : str, optional
        Also registers the relation under this name for SQL, until
        ``connection.unregister(name)``.
    columns : sequence of str, optional
        The names of the columns of a 2-D array, each of which becomes a column of the
        relation.
    """
    _check_connection(connection)
    if columns is not None:
        _check_names(list(columns))
    array = base_array(array, LABEL, masks=True)
    _refuse_dtype(array)

    def make(found: pa.Array | pa.Table) -> Any:
        return _relation(found, connection, name)

    wanted = pa.bool8() if array.dtype.kind == "b" else None
    if columns is not None:
        return plan_table_via_arrow(array, columns, LABEL, make, requested=wanted)
    layout = "list" if array.ndim > 1 else "flat"
    plan = plan_via_arrow(array, LABEL, make, layout=layout, requested=wanted)
    if array.dtype.kind == "O":  # the Arrow type depends on the values
        plan_via_arrow(array, LABEL, _refuse_types, layout=layout).result()
    return plan


def _bridge_export(obj: Any) -> Plan[pa.Table]:
    """Return a plan that computes the relation for the direct route."""
    return _run(_expect_relation(obj))


def _bridge_import(
    columns: Columns,
    *,
    connection: duckdb.DuckDBPyConnection | None = None,
    name: str | None = None,
) -> Plan[Any]:
    """Plan the direct route from Arrow columns to a relation that scans them."""
    _check_connection(connection)
    if isinstance(columns, pa.Table | pa.RecordBatch):
        _check_names(columns.schema.names)
    _refuse_types(columns)
    return _SUPPORTED.plan(
        _split_at_chunks(columns), lambda found: _relation(found, connection, name)
    )


BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import, frozenset({"connection", "name"}))}


def select_column(obj: Any, column: str | int) -> Any:
    """Select a column of a relation by name or position."""
    relation = _expect_relation(obj)
    return relation.project(f"#{position(column, relation.columns) + 1}")


def zone(obj: Any) -> str | None:
    """Return a description of the connection's time zone if a column has times with a zone."""
    return next(filter(None, map(_zone_inside, _expect_relation(obj).types)), None)


def _zone_inside(kind: Any) -> str | None:
    if kind.id == "timestamp with time zone":
        return "the connection's time zone"
    inner = kind.children if kind.id in _NESTED else []
    return next(
        filter(None, (_zone_inside(each) for _, each in inner if hasattr(each, "id"))), None
    )


HAS_ZONES = True


def _expect_relation(obj: Any) -> Any:
    if isinstance(obj, duckdb.DuckDBPyRelation):
        return obj
    if isinstance(obj, duckdb.DuckDBPyConnection):
        why = "its result can be fetched only once"
        refuse("from DuckDB", "connection", why, "pass a relation: connection.sql(query)")
    wrong_type("share", "a duckdb.DuckDBPyRelation", obj, "pass connection.sql(query)")


def _run(relation: Any) -> Plan[pa.Table]:
    """Compute a relation, which has no memory before, as a plan for the Arrow table."""
    for name, kind in zip(relation.columns, relation.types, strict=True):
        _refuse_result_type(name, kind)
    table = relation.to_arrow_table()
    for name, column in zip(table.schema.names, table.columns, strict=True):
        _refuse_infinity(name, column)
    return Plan(
        direction="from DuckDB",
        describe=lambda: f"relation of {table.num_columns} columns and {table.num_rows:,} rows",
        nbytes=nbytes(table),
        result=lambda: table,
        independent=lambda: table,
        obstacle=Obstacle(
            "DuckDB computes it at each read, in memory of its own",
            "compute it once: relation.to_arrow_table(), whose columns are shared",
        ),
    )


def _refuse_result_type(name: str, kind: Any) -> None:
    """Refuse a column whose type, or that of a nested value, changes in the export."""
    why = _CHANGED.get(kind.id)
    if why is not None:
        refuse("from DuckDB", f"column {name!r} of {kind}", why, "cast it in the query")
    inner = kind.children if kind.id in _NESTED else []
    for _, each in inner:
        if hasattr(each, "id"):
            _refuse_result_type(name, each)


def _refuse_infinity(name: str, column: pa.ChunkedArray) -> None:
    """Refuse dates and times at infinity, which other libraries read as finite."""
    width = {pa.types.is_date32: pa.int32(), pa.types.is_timestamp: pa.int64()}
    counts = next((to for test, to in width.items() if test(column.type)), None)
    if counts is None or column.null_count == len(column):
        return
    limit = 2 ** (counts.bit_width - 1) - 1
    bounds = pc.min_max(column.cast(counts)).as_py()
    if bounds["max"] == limit or bounds["min"] == -limit:
        why = "it holds infinity, which other libraries read as a finite time"
        refuse("from DuckDB", f"column {name!r}", why, "filter it with isfinite(...)")


def _check_connection(connection: object) -> None:
    if connection is not None and not isinstance(connection, duckdb.DuckDBPyConnection):
        wrong_type("connection", "a DuckDBPyConnection", connection, "pass duckdb.connect()")


def _check_names(names: list[str]) -> None:
    """Refuse column names that DuckDB would silently replace."""
    folded = [name.casefold() for name in names]
    if not names or "" in names or len(set(folded)) != len(folded):
        msg = f"DuckDB needs nonempty names that differ in more than case: got {names}"
        raise InvalidValueError(msg)


def _refuse_dtype(array: Array) -> None:
    if array.dtype.type is np.float16:
        why, fix = "DuckDB has no half precision", "pass array.astype(np.float32)"
    elif 0 in array.shape[1:]:
        why, fix = "DuckDB has no arrays of size 0", "pass array.reshape(-1)"
    elif array.dtype.kind == "m":
        why = (
            "DuckDB's intervals have a resolution of microseconds, and are returned as objects"
        )
        fix = "pass the counts: array.view('i8')"
    else:
        return
    refuse("to DuckDB", describe(array), why, fix)


def _relation(
    columns: Columns, connection: duckdb.DuckDBPyConnection | None, name: str | None
) -> Any:
    table = _as_table(columns)
    target = duckdb if connection is None else connection
    if name is not None:
        target.register(name, table)
    return target.from_arrow(table)


def _as_table(columns: Columns) -> pa.Table:
    if isinstance(columns, pa.RecordBatch):
        return pa.Table.from_batches([columns])
    return columns if isinstance(columns, pa.Table) else pa.table({"value": columns})


def _split_at_chunks(columns: Columns) -> Columns:
    """Slice all columns of a table at every chunk boundary, as a scan does."""
    if not isinstance(columns, pa.Table) or columns.num_columns == 1:
        return columns
    return pa.Table.from_batches(columns.to_batches(), columns.schema)


def _misreads(array: pa.Array) -> bool:
    """Check for a sliced array of a nested struct, whose offset DuckDB drops."""
    kind = array.type
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    return any(contains(each, pa.types.is_struct) for each in inner) and is_sliced(array)


_SUPPORTED = SupportedTypes(LABEL, lambda _, __: None, _misreads)


def _is_uncastable(kind: pa.DataType) -> bool:
    """Check for an encoding that pyarrow cannot cast to the type of its values."""
    values = decoded_type(kind)
    return pa.types.is_run_end_encoded(kind) or bool(values is not None and values.num_fields)


def _decoded(kind: pa.DataType, parents: tuple[pa.DataType, ...], /) -> pa.DataType | None:
    """Return the value type of an encoding that DuckDB 2.0 misreads: all but plain values.

    Some of them raise an internal error, which invalidates the whole database.
    """
    values = decoded_type(kind)
    if values is None or parents or pa.types.is_null(values):
        return values
    return values if values.num_fields or contains(values, decoded_type) else None


def _refuse_types(columns: Columns) -> None:
    for kind in columns.schema.types if hasattr(columns, "schema") else [columns.type]:
        for is_changed, fix in _CHANGED_TYPES:
            if contains(kind, is_changed):
                why = f"DuckDB would change {kind} or cannot read it"
                refuse("to DuckDB", describe_columns(columns), why, fix)
        plain = Rewriting(_decoded).target(kind)
        if plain is not kind:
            _refuse_encoding(columns, kind, plain)


def _refuse_encoding(columns: Columns, kind: pa.DataType, plain: pa.DataType) -> NoReturn:
    why = f"DuckDB misreads {kind}: it supports dictionaries and run ends of plain values only"
    fix = "decode it first: numpack.share(column, 'polars', copy=True)"
    if not contains(kind, _is_uncastable):
        fix = f"cast it to {plain} first, in pyarrow: column.cast(...)"
    refuse("to DuckDB", describe_columns(columns), why, fix)


def _is_extension(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind != pa.bool8()


def _is_unlike_decimal(kind: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(kind) and (kind.bit_width > 128 or kind.scale < 0))


def _is_foreign_zone(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz not in (None, "UTC"))


def _is_empty(kind: pa.DataType) -> bool:
    """Check for a type without values: lists of width 0, structs without fields."""
    if pa.types.is_struct(kind):
        return not kind.num_fields
    return bool(pa.types.is_fixed_size_list(kind) and kind.list_size == 0)


# Types whose values DuckDB truncates, shifts or drops, or which it lacks, and the fix
_CHANGED_TYPES: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (_is_extension, "pass its storage: array.storage"),
    (_is_foreign_zone, "cast it to UTC: column.cast(pa.timestamp(unit, 'UTC'))"),
    (_is_unlike_decimal, "cast it, if 38 digits are enough: column.cast(pa.decimal128(38, 2))"),
    (_is_empty, "pass their number alone: len(column)"),
    (pa.types.is_float16, "cast it first: column.cast(pa.float32())"),
    (pa.types.is_duration, "pass the counts: column.cast(pa.int64())"),
    (pa.types.is_date64, "cast it first: column.cast(pa.timestamp('ms'))"),
    (
        pa.types.is_interval,
        "pass lists: pa.array([v and list(v) for v in column.to_pylist()])",
    ),
    (pa.types.is_union, "pass one kind of its values: array.field(0)"),
)
