"""Columns of Arrow tables and record batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..._policy import did_you_mean, wrong_type
from ...errors import IndexRangeError, InvalidValueError, NotFoundError, WrongTypeError

if TYPE_CHECKING:
    from typing import TypeAlias

    Tabular: TypeAlias = pa.Table | pa.RecordBatch

_EXPECTED = "a pyarrow.Table, a pyarrow.RecordBatch or an object with __arrow_c_stream__"


def as_table(obj: Any) -> Tabular:
    """Take a table, or import one by the Arrow PyCapsule interface, sharing memory."""
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
    """Give a column by name or by position, as `position` finds it."""
    return table.column(position(table.schema.names, key))


def position(known: list[str], key: str | int) -> int:
    """Find a column by name or by position, negative ones counted from the end.

    Raises
    ------
    NotFoundError
        A `KeyError`: no column has the name.
    InvalidValueError
        A `ValueError`: several columns have it.
    IndexRangeError
        There is no such position.
    """
    if isinstance(key, bool) or not isinstance(key, str | int):
        wrong_type("column", "a name or a position", key, "pass a str or an int")
    if isinstance(key, int):
        if not -len(known) <= key < len(known):
            msg = f"column {key} is out of range: the table has {len(known)} columns"
            raise IndexRangeError(msg)
        return key % len(known)
    positions = [place for place, name in enumerate(known) if name == key]
    if len(positions) > 1:
        msg = f"{len(positions)} columns are called {key!r}; select by position: {positions}"
        raise InvalidValueError(msg)
    if not positions:
        msg = f"no column is called {key!r}; the columns are {known}{did_you_mean(key, known)}"
        raise NotFoundError(msg)
    return positions[0]


def names(table: Tabular) -> list[str]:
    """List the columns in order, each of which must have a name of its own."""
    found: list[str] = table.column_names
    repeated = sorted({name for name in found if found.count(name) > 1})
    if repeated:
        msg = (
            f"several columns are called {repeated[0]!r}; convert them by position: column=0, …"
        )
        raise InvalidValueError(msg)
    return found
