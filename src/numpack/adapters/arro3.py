"""arro3: Arrow memory behind the PyCapsule interface, shared both ways.

Source: the arro3 documentation of ``arro3.core`` and of its interoperability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import arro3.core
import pyarrow as pa

from ._options import ArrowOptions, ColumnOptions
from ._protocol import BridgeImport
from .arrow.bridge import by_arrow, imported, one_column, to_hub
from .arrow.intake import Intake, portable
from .arrow.table import zone_of
from .arrow.trees import contains, is_sliced

if TYPE_CHECKING:
    from .._core.memory import Array
    from .._core.policy import Plan
    from .arrow.bridge import Columns

LABEL = "arro3"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ArrowOptions.__optional_keys__
_TYPES = (
    (pa.ChunkedArray, arro3.core.ChunkedArray),
    (pa.RecordBatch, arro3.core.RecordBatch),
    (pa.Table, arro3.core.Table),
    (pa.Array, arro3.core.Array),
)


def from_numpy(array: Array, *, layout: str = "flat", type: Any = None) -> Plan[Any]:  # noqa: A002 -- pyarrow's name
    """Plan the way from the hub to an `arro3.core.Array`, with the options of Arrow."""
    return by_arrow(array, LABEL, _made, layout=layout, wanted=type)


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the way to the hub from an array, or a column of a table; it is read-only.

    arro3's own ``to_numpy`` copies.
    """
    return to_hub(imported(obj, LABEL), LABEL, nulls, column)


def _made(columns: Columns) -> Any:
    found = next(theirs for ours, theirs in _TYPES if isinstance(columns, ours))
    return found.from_arrow(columns)


def _bridge_export(obj: Any) -> Columns:
    return imported(obj, LABEL)


def _bridge_import(columns: Columns) -> Plan[Any]:
    return _INTAKE.over(columns, _made)


def _misreads(array: pa.Array) -> bool:
    """Tell whether arro3 0.8 forgets an offset inside unions, lists or structs."""
    return contains(array.type, _forgets_offsets) and is_sliced(array)


def _forgets_offsets(kind: pa.DataType) -> bool:
    inner = any(kind.field(i).type.num_fields for i in range(kind.num_fields))
    if pa.types.is_fixed_size_list(kind) or pa.types.is_struct(kind):
        return inner
    return bool(pa.types.is_union(kind) and kind.mode == "sparse")


_INTAKE = Intake(LABEL, portable, _misreads)


def select_column(obj: Any, column: str | int) -> Columns:
    """Select a column of a table, by name or by position."""
    return one_column(imported(obj, LABEL), column)


def zone(obj: Any) -> str | None:
    """Return the time zone of a column, or of the first column that has one."""
    found = imported(obj, LABEL)
    return zone_of(found.schema.types if hasattr(found, "schema") else [found.type])


HAS_ZONES = True
BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import)}
