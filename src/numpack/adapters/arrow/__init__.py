"""Arrow arrays and tables: pyarrow, and any library with the Arrow PyCapsule interface.

`exporting` converts NumPy arrays to Arrow, `importing` Arrow arrays to NumPy; `direct` passes
Arrow columns between frameworks without NumPy.

Source: Arrow columnar format (physical layouts, canonical extension types) and the Arrow
PyCapsule interface.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..._core.policy import Obstacle, Plan, refuse, wrong_type
from ..._dlpack.fast_path import register_table_fast_path
from ..._dlpack.fast_table import register_columns, register_fast_path
from .._fixes import fix_for
from .._options import ArrowOptions, ColumnOptions
from .._protocol import BridgeImport
from .direct import Columns, plan_from_columns
from .exporting import plan_arrow
from .importing import plan_array
from .table import as_table, names, zone_of
from .table import column as select
from .views import addresses, nbytes

if TYPE_CHECKING:
    from ..._core.memory import Array

__all__ = [
    "BRIDGE_EXPORTS",
    "BRIDGE_IMPORTS",
    "FROM_OPTIONS",
    "HAS_ZONES",
    "LABEL",
    "TO_OPTIONS",
    "as_table",
    "from_numpy",
    "names",
    "select",
    "select_column",
    "to_numpy",
    "zone",
]

LABEL = "Arrow"
_EXPECTED = (
    "a pyarrow.Array, a pyarrow.ChunkedArray or an object with the Arrow PyCapsule interface"
)
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ArrowOptions.__optional_keys__

# Without nulls, these types have the same memory layout in Arrow and in NumPy.
NUMBERS = (
    pa.FloatArray,
    pa.DoubleArray,
    pa.HalfFloatArray,
    *(pa.Int8Array, pa.Int16Array, pa.Int32Array, pa.Int64Array),
    *(pa.UInt8Array, pa.UInt16Array, pa.UInt32Array, pa.UInt64Array),
)


def _same(array: pa.Array) -> pa.Array:
    return array


def _from_columns(columns: Any) -> pa.Array | pa.ChunkedArray:
    if type(columns) in NUMBERS:
        return columns
    if hasattr(columns, "__arrow_c_stream__"):
        return pa.chunked_array(columns)
    return pa.array(columns)


if hasattr(pa.Array, "from_dlpack"):
    register_fast_path("arrow", NUMBERS, consumer=pa.Array.from_dlpack, readonly=True)
    register_table_fast_path(pa.Table)
    register_columns("arrow", _from_columns, columns=_same, types=NUMBERS)


def from_numpy(array: Array, *, layout: str = "flat", type: Any = None) -> Plan[pa.Array]:  # noqa: A002 -- pyarrow's name
    """Plan the conversion of a NumPy array to a `pyarrow.Array`."""
    return plan_arrow(array, layout, type)


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the conversion of an Arrow array, or of a table's column, to a NumPy array.

    `obj` may come from any library with the Arrow PyCapsule interface.
    """
    found = as_table(obj) if column is not None else _import_array(obj)
    converted = _is_converted(obj, found)
    if column is not None:
        found = select(found, column)
    plan = plan_array(found, nulls)
    return plan if not converted else dataclasses.replace(plan, obstacle=_CONVERTED)


def _bridge_export(obj: Any) -> Columns | Plan[Columns]:
    if isinstance(obj, pa.Table | pa.RecordBatch):
        return obj
    found = _import_array(obj)
    if isinstance(obj, pa.Array | pa.ChunkedArray):
        return found
    converted = _is_converted(obj, found)
    if pa.types.is_struct(found.type):
        found = as_table(found)  # the PyCapsule interface exports a table as structs
    return found if not converted else _plan_converted(obj, found)


_CONVERTED = Obstacle(
    "its library converts it to Arrow at every export",
    "convert it once and keep the result: pyarrow.table(x) or pyarrow.array(x)",
)


def _plan_converted(obj: Any, columns: Columns) -> Plan[Columns]:
    """Plan columns that the export has just created; no other object shares their memory."""

    def converted() -> Columns:
        return columns

    return Plan(
        direction="from Arrow",
        describe=lambda: type(obj).__name__,
        nbytes=nbytes(columns),
        result=converted,
        independent=converted,
        obstacle=_CONVERTED,
    )


def _is_converted(obj: Any, found: Columns) -> bool:
    """Check whether an object of another library exports new buffers every time."""
    if isinstance(obj, pa.Table | pa.RecordBatch | pa.Array | pa.ChunkedArray):
        return False
    if not hasattr(obj, "__arrow_c_array__") and not hasattr(obj, "__len__"):
        return False  # a stream, which can be read only once
    is_table = isinstance(found, pa.Table | pa.RecordBatch)
    again = as_table(obj) if is_table else _import_array(obj)
    return addresses(found) != addresses(again)


def _bridge_import(columns: Columns) -> Plan[Columns]:
    return plan_from_columns(columns, LABEL, lambda found: found)


def select_column(obj: Any, column: str | int) -> pa.Array | pa.ChunkedArray | None:
    """Return a column of a table; ``None`` if the table is converted at every export."""
    table = as_table(obj)
    return None if _is_converted(obj, table) else select(table, column)


def zone(obj: Any) -> str | None:
    """Return the time zone of a column, or of the first column that has one."""
    found = obj if hasattr(obj, "schema") or hasattr(obj, "type") else _import_array(obj)
    return zone_of(found.schema.types if hasattr(found, "schema") else [found.type])


HAS_ZONES = True
BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import)}


def _import_array(obj: Any) -> pa.Array | pa.ChunkedArray:
    """Import an array through the Arrow PyCapsule interface, sharing its memory."""
    if isinstance(obj, pa.Table | pa.RecordBatch):
        names = ", ".join(map(repr, obj.schema.names[:3])) or "none"
        fix = (
            f"pass one column, or use table_to_numpy_zero_copy; its columns begin with {names}"
        )
        wrong_type("arrow_to_numpy_zero_copy", _EXPECTED, obj, fix)
    if isinstance(obj, pa.Array | pa.ChunkedArray):
        return obj
    try:
        if hasattr(obj, "__arrow_c_array__"):
            return pa.array(obj)
        if hasattr(obj, "__arrow_c_stream__"):
            return pa.chunked_array(obj)
    except pa.ArrowException as error:
        given, why = type(obj).__name__, f"pyarrow cannot import it ({error})"
        refuse("from Arrow", given, why, "convert it with its own library first")
    wrong_type("arrow_to_numpy_zero_copy", _EXPECTED, obj, fix_for(obj))
