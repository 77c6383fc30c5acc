"""DuckDB: relations that scan arrays where they lie, and results that it computes.

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
from .arrow.bridge import by_arrow, by_columns, to_hub
from .arrow.bridge import describe as describe_columns
from .arrow.intake import Intake
from .arrow.rewrite import Rewriting
from .arrow.trees import contains, decoded, is_sliced
from .arrow.views import nbytes
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from .._core.memory import Array
    from .arrow.bridge import Columns


class ToOptions(TypedDict, total=False):
    """Options of `from_numpy`."""

    connection: duckdb.DuckDBPyConnection | None
    name: str | None
    columns: Sequence[str] | None


LABEL = "DuckDB"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ToOptions.__optional_keys__
_NESTED = ("list", "array", "struct", "map", "union")
_CHANGED = {
    "uhugeint": "it leaves as a decimal that wraps around",
    "bit": "it leaves as bytes with padding",
    "bignum": "it leaves as bytes that only DuckDB reads",
    "time with time zone": "it leaves without its zone",
    "variant": "only DuckDB knows its layout",
}


def from_numpy(
    array: Array,
    *,
    connection: duckdb.DuckDBPyConnection | None = None,
    name: str | None = None,
    columns: Sequence[str] | None = None,
) -> Plan[Any]:
    """Plan the way from the hub to a relation that scans the array's memory.

    Parameters
    ----------
    array : ndarray
        It is the column ``value``, whose rows are arrays of fixed size where it has more than
        one dimension.
    connection : duckdb.DuckDBPyConnection, optional
        Whose relation it is; by default DuckDB's own.
    name : str, optional
        Registers it too, so that SQL finds it, until ``connection.unregister(name)``.
    columns : sequence of str, optional
        Names the columns of a 2-D array, each of which is one of the relation.
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
        return by_columns(array, columns, LABEL, make, wanted=wanted)
    layout = "list" if array.ndim > 1 else "flat"
    plan = by_arrow(array, LABEL, make, layout=layout, wanted=wanted)
    if array.dtype.kind == "O":  # whose type in Arrow depends on the values
        by_arrow(array, LABEL, _refuse_types, layout=layout).result()
    return plan


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the way to the hub from a relation's column; the only one need not be named.

    The query runs now, once, because what comes of it depends on the values.
    """
    relation = _expected(obj)
    known = relation.columns
    if column is not None:
        relation = relation.project(f"#{position(column, known) + 1}")
    elif len(known) > 1:
        fix = f"select one with column=; they begin with {', '.join(map(repr, known[:3]))}"
        wrong_type("share", "one column, as arrays have one dtype", obj, fix)
    first = _run(relation)
    plan = to_hub(first.result(), LABEL, nulls)
    return dataclasses.replace(
        plan, describe=first.describe, nbytes=first.nbytes, obstacle=first.obstacle
    )


def _run(relation: Any) -> Plan[pa.Table]:
    """Compute a relation, which has no memory until then."""
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
            "DuckDB computes it anew, in memory of its own, whenever it is read",
            "compute it once: relation.to_arrow_table(), whose columns are shared",
        ),
    )


def _bridge_export(obj: Any) -> Plan[pa.Table]:
    return _run(_expected(obj))


def _bridge_import(
    columns: Columns,
    *,
    connection: duckdb.DuckDBPyConnection | None = None,
    name: str | None = None,
) -> Plan[Any]:
    _check_connection(connection)
    if isinstance(columns, pa.Table | pa.RecordBatch):
        _check_names(columns.schema.names)
    _refuse_types(columns)
    return _INTAKE.over(_aligned(columns), lambda found: _relation(found, connection, name))


def _is_not_cast(kind: pa.DataType) -> bool:
    """Tell of encodings that pyarrow cannot cast to the type of their values."""
    values = decoded(kind)
    return pa.types.is_run_end_encoded(kind) or bool(values is not None and values.num_fields)


def _decoded(kind: pa.DataType, parents: tuple[pa.DataType, ...], /) -> pa.DataType | None:
    """Return the values' type of encodings that DuckDB 2.0 misreads: of all but plain values.

    Some of them end with an internal error, which invalidates the whole database.
    """
    values = decoded(kind)
    if values is None or parents or pa.types.is_null(values):
        return values
    return values if values.num_fields or contains(values, decoded) else None


def _misreads(array: pa.Array) -> bool:
    """Tell whether DuckDB drops the offset of structs inside other types, or stops at it."""
    kind = array.type
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    return any(contains(each, pa.types.is_struct) for each in inner) and is_sliced(array)


def _aligned(columns: Columns) -> Columns:
    """Split the columns of a table where any begins a chunk, as a scan does, by slices."""
    if not isinstance(columns, pa.Table) or columns.num_columns == 1:
        return columns
    return pa.Table.from_batches(columns.to_batches(), columns.schema)


_INTAKE = Intake(LABEL, lambda _, __: None, _misreads)


def select_column(obj: Any, column: str | int) -> Any:
    """Select a column of a relation, by name or by position."""
    relation = _expected(obj)
    return relation.project(f"#{position(column, relation.columns) + 1}")


def zone(obj: Any) -> str | None:
    """Return that some column of a relation has times with a zone: the connection's."""
    return next(filter(None, map(_zone_inside, _expected(obj).types)), None)


def _zone_inside(kind: Any) -> str | None:
    if kind.id == "timestamp with time zone":
        return "the connection's time zone"
    inner = kind.children if kind.id in _NESTED else []
    return next(
        filter(None, (_zone_inside(each) for _, each in inner if hasattr(each, "id"))), None
    )


HAS_ZONES = True
BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import, frozenset({"connection", "name"}))}


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


def _expected(obj: Any) -> Any:
    if isinstance(obj, duckdb.DuckDBPyRelation):
        return obj
    if isinstance(obj, duckdb.DuckDBPyConnection):
        why = "its result can be fetched only once"
        refuse("from DuckDB", "connection", why, "pass a relation: connection.sql(query)")
    wrong_type("share", "a duckdb.DuckDBPyRelation", obj, "pass connection.sql(query)")


def _check_connection(connection: object) -> None:
    if connection is not None and not isinstance(connection, duckdb.DuckDBPyConnection):
        wrong_type("connection", "a DuckDBPyConnection", connection, "pass duckdb.connect()")


def _check_names(names: list[str]) -> None:
    """Refuse names that DuckDB would replace by others without a word."""
    folded = [name.casefold() for name in names]
    if not names or "" in names or len(set(folded)) != len(folded):
        msg = f"DuckDB needs names that differ in more than case, and some: got {names}"
        raise InvalidValueError(msg)


def _refuse_dtype(array: Array) -> None:
    if array.dtype.type is np.float16:
        why, fix = "DuckDB has no half precision", "pass array.astype(np.float32)"
    elif 0 in array.shape[1:]:
        why, fix = "DuckDB has no arrays of size 0", "pass array.reshape(-1)"
    elif array.dtype.kind == "m":
        why = "DuckDB's intervals end at microseconds, and come back as objects"
        fix = "pass the counts: array.view('i8')"
    else:
        return
    refuse("to DuckDB", describe(array), why, fix)


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
    why = f"DuckDB misreads {kind}: it reads dictionaries and run ends of plain values alone"
    fix = "decode it first: numpack.share(column, 'polars', copy=True)"
    if not contains(kind, _is_not_cast):
        fix = f"cast it to {plain} first, in pyarrow: column.cast(...)"
    refuse("to DuckDB", describe_columns(columns), why, fix)


def _is_extension(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind != pa.bool8()


def _is_unlike_decimal(kind: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(kind) and (kind.bit_width > 128 or kind.scale < 0))


def _is_foreign_zone(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz not in (None, "UTC"))


def _is_empty(kind: pa.DataType) -> bool:
    """Tell of values that hold nothing: lists of width 0, structs without fields."""
    if pa.types.is_struct(kind):
        return not kind.num_fields
    return bool(pa.types.is_fixed_size_list(kind) and kind.list_size == 0)


# Types whose values DuckDB cuts, shifts or forgets, or which it lacks, and what to do about it
_CHANGED_TYPES: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (_is_extension, "pass what holds its values: array.storage"),
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


def _refuse_result_type(name: str, kind: Any) -> None:
    """Refuse a column that leaves DuckDB as something else, or holds such values inside."""
    why = _CHANGED.get(kind.id)
    if why is not None:
        refuse("from DuckDB", f"column {name!r} of {kind}", why, "cast it in the query")
    inner = kind.children if kind.id in _NESTED else []
    for _, each in inner:
        if hasattr(each, "id"):
            _refuse_result_type(name, each)


def _refuse_infinity(name: str, column: pa.ChunkedArray) -> None:
    """Refuse dates and times at infinity, which nobody else would read as such."""
    width = {pa.types.is_date32: pa.int32(), pa.types.is_timestamp: pa.int64()}
    counts = next((to for test, to in width.items() if test(column.type)), None)
    if counts is None or column.null_count == len(column):
        return
    limit = 2 ** (counts.bit_width - 1) - 1
    bounds = pc.min_max(column.cast(counts)).as_py()
    if bounds["max"] == limit or bounds["min"] == -limit:
        why = "it holds infinity, which is a finite time to everybody else"
        refuse("from DuckDB", f"column {name!r}", why, "filter it with isfinite(...)")
