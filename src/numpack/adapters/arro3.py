"""arro3: Arrow memory through the PyCapsule interface, shared in both directions.

Source: the arro3 documentation of ``arro3.core`` and of its interoperability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import arro3.core
import pyarrow as pa

from .._dlpack.arrow_arrays import exported_numbers, view_arrow
from .._dlpack.fast_table import register_columns, register_export, register_import
from ._options import ArrowOptions, ColumnOptions
from ._protocol import BridgeImport
from .arrow.direct import import_columns, one_column, plan_to_numpy, plan_via_arrow
from .arrow.supported_types import SupportedTypes, portable
from .arrow.table import zone_of
from .arrow.trees import contains, is_sliced

if TYPE_CHECKING:
    from .._core.memory import Array
    from .._core.policy import Plan
    from .arrow.direct import Columns

LABEL = "arro3"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ArrowOptions.__optional_keys__
_TYPES = (
    (pa.ChunkedArray, arro3.core.ChunkedArray),
    (pa.RecordBatch, arro3.core.RecordBatch),
    (pa.Table, arro3.core.Table),
    (pa.Array, arro3.core.Array),
)


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the conversion from an arro3 array or column to a NumPy array, read-only.

    arro3's own ``to_numpy`` copies.
    """
    return plan_to_numpy(import_columns(obj, LABEL), LABEL, nulls, column)


def from_numpy(array: Array, *, layout: str = "flat", type: Any = None) -> Plan[Any]:  # noqa: A002 -- pyarrow's name
    """Plan the conversion from a NumPy array to an arro3.core.Array.

    The options are those of the Arrow adapter.
    """
    return plan_via_arrow(array, LABEL, _make, layout=layout, requested=type)


def _view(array: arro3.core.Array) -> Array | None:
    return view_arrow(array.__arrow_c_array__())


def _columns(array: arro3.core.Array) -> Any:
    return exported_numbers(array.__arrow_c_array__())


def _from_columns(columns: Any) -> arro3.core.Array | arro3.core.ChunkedArray:
    if hasattr(columns, "__arrow_c_stream__"):
        return arro3.core.ChunkedArray.from_arrow(columns)
    return arro3.core.Array.from_arrow(columns)


register_import("arro3", (arro3.core.Array,), view=_view, columns=_columns)
register_export(
    "arro3", arro3.core.Array.from_numpy, dtypes="bBhHiIlLqQfd", order="C", ndim=(1, 1)
)
register_columns("arro3", _from_columns)


def _bridge_export(obj: Any) -> Columns:
    """Return the Arrow columns as pyarrow objects for the direct route."""
    return import_columns(obj, LABEL)


def _bridge_import(columns: Columns) -> Plan[Any]:
    """Plan the direct route from Arrow columns to an arro3 object."""
    return _SUPPORTED.plan(columns, _make)


BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import)}


def select_column(obj: Any, column: str | int) -> Columns:
    """Select a column of a table by name or position."""
    return one_column(import_columns(obj, LABEL), column)


def zone(obj: Any) -> str | None:
    """Return the time zone of a column, or of the first column that has one."""
    found = import_columns(obj, LABEL)
    return zone_of(found.schema.types if hasattr(found, "schema") else [found.type])


HAS_ZONES = True


def _make(columns: Columns) -> Any:
    """Make the arro3 object that corresponds to a pyarrow object."""
    found = next(theirs for ours, theirs in _TYPES if isinstance(columns, ours))
    return found.from_arrow(columns)


def _misreads(array: pa.Array) -> bool:
    """Check for a sliced array whose nested offset arro3 0.8 drops."""
    return contains(array.type, _drops_offsets) and is_sliced(array)


def _drops_offsets(kind: pa.DataType) -> bool:
    """Check for a union, list or struct in which arro3 0.8 drops an offset."""
    inner = any(kind.field(i).type.num_fields for i in range(kind.num_fields))
    if pa.types.is_fixed_size_list(kind) or pa.types.is_struct(kind):
        return inner
    return bool(pa.types.is_union(kind) and kind.mode == "sparse")


_SUPPORTED = SupportedTypes(LABEL, portable, _misreads)
