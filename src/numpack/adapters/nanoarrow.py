"""nanoarrow: Arrow memory through the PyCapsule interface, shared in both directions.

Source: the nanoarrow documentation of ``nanoarrow.Array`` and ``nanoarrow.ArrayStream``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nanoarrow
import pyarrow as pa

from .._core.policy import refuse
from .._dlpack.arrow_arrays import view_structs
from .._dlpack.fast_path import try_export
from .._dlpack.fast_table import register_columns, register_export, register_import
from ._options import ArrowOptions, ColumnOptions
from ._protocol import BridgeImport
from .arrow.direct import (
    describe_columns,
    import_columns,
    one_column,
    plan_to_numpy,
    plan_via_arrow,
)
from .arrow.supported_types import SupportedTypes, portable
from .arrow.table import zone_of
from .arrow.trees import contains

if TYPE_CHECKING:
    from .._core.memory import Array
    from .._core.policy import Plan
    from .arrow.direct import Columns

LABEL = "nanoarrow"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ArrowOptions.__optional_keys__


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the conversion from a nanoarrow array or column to a NumPy array, read-only."""
    return plan_to_numpy(_bridge_export(obj), LABEL, nulls, column)


def from_numpy(array: Array, *, layout: str = "flat", type: Any = None) -> Plan[Any]:  # noqa: A002 -- pyarrow's name
    """Plan the conversion from a NumPy array to a nanoarrow.Array.

    The options are those of the Arrow adapter.
    """
    return plan_via_arrow(array, LABEL, nanoarrow.Array, layout=layout, requested=type)


def _view(array: nanoarrow.Array) -> Array | None:
    """View an array of numbers in one chunk without nulls."""
    stream = array._data  # noqa: SLF001 -- the public attributes build objects of Python
    if stream.n_arrays != 1:
        return None
    chunk = stream.array(0)
    if chunk.device_type_id != _CPU:
        return None
    return view_structs(stream.schema._addr(), chunk._addr(), chunk)  # noqa: SLF001


def _columns(array: nanoarrow.Array) -> nanoarrow.Array | None:
    schema = array._data.schema  # noqa: SLF001
    plain = schema.dictionary is None and schema.metadata is None
    return array if schema.format in _NUMBERS and plain else None


def _make(array: Array) -> nanoarrow.Array | None:
    column = try_export(array, "arrow")
    return None if column is None else nanoarrow.Array(column)


_NUMBERS = frozenset("cCsSiIlLefg")  # their formats in the C data interface
_CPU = 1  # ARROW_DEVICE_CPU

register_import("nanoarrow", (nanoarrow.Array,), view=_view, columns=_columns)
register_export("nanoarrow", _make, dtypes="bBhHiIlLqQefd", order="C")
register_columns("nanoarrow", nanoarrow.Array)


def _bridge_export(obj: Any) -> Columns:
    """Return the Arrow columns as pyarrow objects for the direct route."""
    schema = getattr(obj, "schema", None)
    if hasattr(schema, "__arrow_c_schema__"):
        _refuse_views("from nanoarrow", type(obj).__name__, [pa.field(schema).type])
    return import_columns(obj, LABEL)


def _bridge_import(columns: Columns) -> Plan[Any]:
    """Plan the direct route from Arrow columns to a nanoarrow object."""
    kinds = columns.schema.types if hasattr(columns, "schema") else [columns.type]
    _refuse_views("to nanoarrow", describe_columns(columns), kinds)
    return _SUPPORTED.plan(columns, nanoarrow.Array)


BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import)}


def select_column(obj: Any, column: str | int) -> Columns:
    """Select a column of a table by name or position."""
    return one_column(_bridge_export(obj), column)


def zone(obj: Any) -> str | None:
    """Return the time zone of a column, or of the first column that has one."""
    found = _bridge_export(obj)
    return zone_of(found.schema.types if hasattr(found, "schema") else [found.type])


HAS_ZONES = True


def _refuse_views(direction: str, given: str, kinds: list[pa.DataType]) -> None:
    """Refuse string and binary views, whose export by nanoarrow 0.9 corrupts memory."""
    if any(contains(kind, _is_view) for kind in kinds):
        why = "nanoarrow exports no views of strings and bytes without corrupting memory"
        refuse(direction, given, why, "cast them to string or binary first, in pyarrow")


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


_SUPPORTED = SupportedTypes(LABEL, portable)
