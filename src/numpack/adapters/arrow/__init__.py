"""Arrow, by pyarrow or through the Arrow PyCapsule interface of any other library.

Source: Arrow columnar format (physical layouts, canonical extension types) and the Arrow
PyCapsule interface. The two directions are in `outward` and `inward`, what stays
Arrow on its way is in `bridge`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..._core.policy import Obstacle, Plan, refuse, wrong_type
from ..._dlpack.fast_path import register_fast_path, register_table_fast_path
from .._fixes import fix_for
from .._options import ArrowOptions, ColumnOptions
from .._protocol import BridgeImport
from .bridge import Columns, over
from .inward import plan_array
from .outward import plan_arrow
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
    "a pyarrow.Array, a pyarrow.ChunkedArray or an object of the Arrow PyCapsule interface"
)
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ArrowOptions.__optional_keys__

if hasattr(pa.Array, "from_dlpack"):
    # Without nulls they are what NumPy has under the same names.
    register_fast_path(
        "arrow",
        (
            pa.FloatArray,
            pa.DoubleArray,
            pa.HalfFloatArray,
            *(pa.Int8Array, pa.Int16Array, pa.Int32Array, pa.Int64Array),
            *(pa.UInt8Array, pa.UInt16Array, pa.UInt32Array, pa.UInt64Array),
        ),
        consumer=pa.Array.from_dlpack,
        readonly=True,
    )
    register_table_fast_path(pa.Table)


def from_numpy(array: Array, *, layout: str = "flat", type: Any = None) -> Plan[pa.Array]:  # noqa: A002 -- pyarrow's name
    """Plan the way from the hub to a `pyarrow.Array`."""
    return plan_arrow(array, layout, type)


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the way to the hub from an Arrow array, or a table's column, of any library."""
    found = as_table(obj) if column is not None else _imported(obj)
    converted = _converts(obj, found)
    if column is not None:
        found = select(found, column)
    plan = plan_array(found, nulls)
    return plan if not converted else dataclasses.replace(plan, obstacle=_CONVERTED)


def _bridge_export(obj: Any) -> Columns | Plan[Columns]:
    if isinstance(obj, pa.Table | pa.RecordBatch):
        return obj
    found = _imported(obj)
    if isinstance(obj, pa.Array | pa.ChunkedArray):
        return found
    converted = _converts(obj, found)
    if pa.types.is_struct(found.type):
        found = as_table(found)  # so the PyCapsule interface streams tables
    return found if not converted else _made(obj, found)


_CONVERTED = Obstacle(
    "its library converts it to Arrow each time that it is asked",
    "convert it once, and keep that: pyarrow.table(x) or pyarrow.array(x)",
)


def _made(obj: Any, columns: Columns) -> Plan[Columns]:
    """Plan columns that were converted just now, and so belong to nobody else."""

    def made() -> Columns:
        return columns

    return Plan(
        direction="from Arrow",
        describe=lambda: type(obj).__name__,
        nbytes=nbytes(columns),
        result=made,
        independent=made,
        obstacle=_CONVERTED,
    )


def _converts(obj: Any, found: Columns) -> bool:
    """Tell whether an object of another library exports other buffers each time."""
    if isinstance(obj, pa.Table | pa.RecordBatch | pa.Array | pa.ChunkedArray):
        return False
    if not hasattr(obj, "__arrow_c_array__") and not hasattr(obj, "__len__"):
        return False  # a stream, which is read once
    again = as_table(obj) if isinstance(found, pa.Table | pa.RecordBatch) else _imported(obj)
    return addresses(found) != addresses(again)


def _bridge_import(columns: Columns) -> Plan[Columns]:
    return over(columns, LABEL, lambda found: found)


def select_column(obj: Any, column: str | int) -> pa.Array | pa.ChunkedArray | None:
    """Select a column of a table; ``None`` of one that is converted at each request."""
    table = as_table(obj)
    return None if _converts(obj, table) else select(table, column)


def zone(obj: Any) -> str | None:
    """Return the time zone of a column, or of the first column that has one."""
    found = obj if hasattr(obj, "schema") or hasattr(obj, "type") else _imported(obj)
    return zone_of(found.schema.types if hasattr(found, "schema") else [found.type])


HAS_ZONES = True
BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import)}


def _imported(obj: Any) -> pa.Array | pa.ChunkedArray:
    """Bring what speaks the Arrow PyCapsule interface into pyarrow, which shares memory."""
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
