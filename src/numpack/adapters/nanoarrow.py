"""nanoarrow: Arrow memory behind the PyCapsule interface, shared both ways.

Source: the nanoarrow documentation of ``nanoarrow.Array`` and ``nanoarrow.ArrayStream``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nanoarrow
import pyarrow as pa

from .._core.policy import refuse
from ._options import ArrowOptions, ColumnOptions
from ._protocol import BridgeImport
from .arrow.bridge import by_arrow, describe, imported, one_column, to_hub
from .arrow.intake import Intake, portable
from .arrow.table import zone_of
from .arrow.trees import contains

if TYPE_CHECKING:
    from .._core.memory import Array
    from .._core.policy import Plan
    from .arrow.bridge import Columns

LABEL = "nanoarrow"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ArrowOptions.__optional_keys__


def from_numpy(array: Array, *, layout: str = "flat", type: Any = None) -> Plan[Any]:  # noqa: A002 -- pyarrow's name
    """Plan the way from the hub to a `nanoarrow.Array`, with the options of Arrow."""
    return by_arrow(array, LABEL, nanoarrow.Array, layout=layout, wanted=type)


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the way to the hub from an array, or a column of structs; it is read-only."""
    return to_hub(_bridge_export(obj), LABEL, nulls, column)


def _bridge_export(obj: Any) -> Columns:
    schema = getattr(obj, "schema", None)
    if hasattr(schema, "__arrow_c_schema__"):
        _refuse_views("from nanoarrow", type(obj).__name__, [pa.field(schema).type])
    return imported(obj, LABEL)


def _bridge_import(columns: Columns) -> Plan[Any]:
    kinds = columns.schema.types if hasattr(columns, "schema") else [columns.type]
    _refuse_views("to nanoarrow", describe(columns), kinds)
    return _INTAKE.over(columns, nanoarrow.Array)


def _refuse_views(direction: str, given: str, kinds: list[pa.DataType]) -> None:
    """Refuse views of strings and bytes: nanoarrow 0.9 ends the process that exports them."""
    if any(contains(kind, _is_view) for kind in kinds):
        why = "nanoarrow exports no views of strings and bytes without corrupting memory"
        refuse(direction, given, why, "cast them to string or binary first, in pyarrow")


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


_INTAKE = Intake(LABEL, portable)


def select_column(obj: Any, column: str | int) -> Columns:
    """Select a column of a table, by name or by position."""
    return one_column(_bridge_export(obj), column)


def zone(obj: Any) -> str | None:
    """Return the time zone of a column, or of the first column that has one."""
    found = _bridge_export(obj)
    return zone_of(found.schema.types if hasattr(found, "schema") else [found.type])


HAS_ZONES = True
BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import)}
