"""Arrow, by pyarrow or through the Arrow PyCapsule interface of any other library.

Source: Arrow columnar format (physical layouts, canonical extension types) and the Arrow
PyCapsule interface. The two directions are in `outward` and `inward`, what stays
Arrow on its way is in `bridge`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..._doors import connect, connect_table
from ..._policy import refuse, wrong_type
from .bridge import Columns, over
from .inward import plan_array
from .outward import plan_arrow
from .table import as_table, names, zone_of
from .table import column as select

if TYPE_CHECKING:
    from ..._memory import Array
    from ..._policy import Plan

__all__ = [
    "FROM_OPTIONS",
    "LABEL",
    "TO_OPTIONS",
    "as_table",
    "from_numpy",
    "names",
    "select",
    "to_numpy",
]

LABEL = "Arrow"
_EXPECTED = (
    "a pyarrow.Array, a pyarrow.ChunkedArray or an object of the Arrow PyCapsule interface"
)
FROM_OPTIONS = frozenset({"nulls", "column"})
TO_OPTIONS = frozenset({"layout", "type"})

if hasattr(pa.Array, "from_dlpack"):
    # Without nulls they are what NumPy has under the same names.
    connect(
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
    connect_table(pa.Table)


def from_numpy(array: Array, *, layout: str = "flat", type: Any = None) -> Plan[pa.Array]:  # noqa: A002 -- pyarrow's name
    """Plan the way from the hub to a `pyarrow.Array`."""
    return plan_arrow(array, layout, type)


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the way to the hub from an Arrow array, or a table's column, of any library."""
    if column is not None:
        obj = select(as_table(obj), column)
    return plan_array(_imported(obj), nulls)


def _departing(obj: Any) -> Columns:
    if isinstance(obj, pa.Table | pa.RecordBatch):
        return obj
    found = _imported(obj)
    if pa.types.is_struct(found.type) and not isinstance(obj, pa.Array | pa.ChunkedArray):
        return as_table(found)  # so the PyCapsule interface streams tables
    return found


def _arriving(columns: Columns) -> Plan[Columns]:
    return over(columns, LABEL, lambda found: found)


def select_column(obj: Any, column: str | int) -> pa.Array | pa.ChunkedArray:
    """Select a column of a table of any library, by name or by position."""
    return select(as_table(obj), column)


def zone(obj: Any) -> str | None:
    """Return the time zone of a column, or of the first column that has one."""
    found = obj if hasattr(obj, "schema") or hasattr(obj, "type") else _imported(obj)
    return zone_of(found.schema.types if hasattr(found, "schema") else [found.type])


HAS_ZONES = True
DEPARTURES = {"arrow": _departing}
ARRIVALS = {"arrow": _arriving}


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
    wrong_type("arrow_to_numpy_zero_copy", _EXPECTED, obj, "pass pyarrow.array(x)")
