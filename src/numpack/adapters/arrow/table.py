"""Columns of Arrow tables and record batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..._core.policy import wrong_type
from ...errors import InvalidValueError, WrongTypeError
from .._columns import position
from .trees import contains

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    Tabular: TypeAlias = pa.Table | pa.RecordBatch

_EXPECTED = "a pyarrow.Table, a pyarrow.RecordBatch or an object with __arrow_c_stream__"


def as_table(obj: Any) -> Tabular:
    """Return a table, importing it through the Arrow PyCapsule interface if necessary.

    The result shares memory with `obj`.
    """
    if isinstance(obj, pa.Table | pa.RecordBatch):
        return obj
    streams = hasattr(obj, "__arrow_c_stream__")
    if not streams and not hasattr(obj, "__arrow_c_array__"):
        wrong_type("table_to_numpy_zero_copy", _EXPECTED, obj, "pass pyarrow.table(x)")
    try:
        if not streams:
            return pa.record_batch(obj)
        return pa.RecordBatchReader.from_stream(obj).read_all()
    except pa.ArrowInvalid as error:
        msg = (
            f"table_to_numpy_zero_copy expects {_EXPECTED} of columns, got "
            f"{type(obj).__name__} ({error}); use arrow_to_numpy_zero_copy for one array"
        )
        raise WrongTypeError(msg) from error


def column(table: Tabular, key: str | int) -> pa.Array | pa.ChunkedArray:
    """Return a column by name or by position."""
    return table.column(position(key, table.schema.names))


def zone_of(types: Iterable[pa.DataType]) -> str | None:
    """Return the first time zone in a sequence of types, at any depth; ``None`` for none."""
    for type_ in types:
        if contains(type_, _has_zone):
            return _first_zone(type_)
    return None


def _has_zone(type_: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(type_) and type_.tz is not None)


def _first_zone(type_: pa.DataType) -> str:
    found: list[str] = []
    contains(type_, lambda each: found.append(each.tz) if _has_zone(each) else None)
    return found[0]


def names(table: Tabular) -> list[str]:
    """Return the names of the columns, which must be unique."""
    found: list[str] = table.column_names
    repeated = sorted({name for name in found if found.count(name) > 1})
    if repeated:
        msg = (
            f"several columns are called {repeated[0]!r}; convert them by position: column=0, …"
        )
        raise InvalidValueError(msg)
    return found
