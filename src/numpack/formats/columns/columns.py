"""The arrays in the columns of an Arrow schema: names, dtypes and dimensions.

A struct is taken apart: the field ``y`` of the column ``point`` is the array ``point.y``. Lists
and fixed-shape tensors are further axes.

Source: the Arrow columnar format; the canonical extension types of Arrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...errors import InvalidValueError, UnsupportedError
from ...store.format.naming import listed, quoted
from ..common.string_attributes import attributes_of
from .types import (
    axes,
    bare,
    is_integer_like,
    is_list,
    is_string,
    is_text,
    leaf_type,
    plain_dtype,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..._core.dtypes import DType

ZONE = "time_zone"  # the attribute of an array of times, which are those of UTC
_TIMES = "its times as numbers"
_SHOWN = 80  # characters of a type in a message
_MAX_NOTED = 1024  # characters of a noted string dtype: a longer one could be a bomb
_DERIVED = ("PARQUET:", "ARROW:")  # prefixes of entries that describe the columns themselves
_OF_PANDAS = "pandas"  # its entry describes the index and columns of one particular frame


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file, or a field inside a struct column.

    Attributes
    ----------
    name : str
        The name of its array.
    top : str
        The name of the column that holds it.
    path : tuple of int
        Positions of the fields inside structs.
    type : pyarrow.DataType
        Its type, without an encoding such as that of a dictionary.
    target : pyarrow.DataType or None
        The type to which its values are cast first.
    attrs : mapping
        Attributes in the metadata of its field.
    noted : str or None
        The dtype of the array from which it was written.
    """

    name: str
    top: str
    path: tuple[int, ...]
    type: pa.DataType
    target: pa.DataType | None
    attrs: Mapping[str, Any]
    noted: str | None

    def select(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the column of a batch, null where a struct around it is null."""
        array = batch.column(self.top)
        for position in self.path:
            array = array.flatten()[position]
        return array

    @property
    def leaf(self) -> pa.DataType:
        """The type of a single value, decoded and cast."""
        return self.target or leaf_type(self.type)

    @property
    def is_text(self) -> bool:
        """Whether the values are strings or bytes of different lengths."""
        return is_text(self.leaf)

    @property
    def is_list(self) -> bool:
        """Whether each row is a list whose length is known only from the row."""
        return is_list(self.type)

    @property
    def has_axes(self) -> bool:
        """Whether each row is a list or a tensor."""
        return axes(self.type) != ()

    @property
    def cell(self) -> tuple[int, ...] | None:
        """The shape of a row, ``None`` where only the rows tell it."""
        found = axes(self.type)
        known = tuple(extent for extent in found if extent is not None)
        return known if len(known) == len(found) else None

    @property
    def empty_cell(self) -> tuple[int, ...]:
        """The shape of a row of a column that has none."""
        return tuple(extent or 0 for extent in axes(self.type))

    @property
    def zone(self) -> str | None:
        """The time zone of the values."""
        leaf = self.leaf
        return leaf.tz if pa.types.is_timestamp(leaf) else None


def columns_of(schema: pa.Schema, types: Mapping[str, pa.DataType]) -> dict[str, Column]:
    """Return the columns of a schema by the names of their arrays.

    Parameters
    ----------
    schema : pyarrow.Schema
    types : mapping of str to pyarrow.DataType
        The types to which columns are cast, by the names of their arrays.

    Raises
    ------
    InvalidValueError
        Two columns have the same name, or `types` names none.
    """
    found: dict[str, Column] = {}
    for field in schema:
        for column in _flattened(field, field.name, field.name, (), types):
            if column.name in found:
                msg = (
                    f"two columns are called {column.name!r}, and arrays need names of their "
                    "own; rename one of them with the program that wrote the file"
                )
                raise InvalidValueError(msg)
            found[column.name] = column
    require_columns(types, found)
    return found


def require_columns(types: Mapping[str, Any], names: Collection[str]) -> None:
    """Check that the names in `types` are those of columns.

    Raises
    ------
    InvalidValueError
        One is not.
    """
    if unknown := [name for name in types if name not in names]:
        msg = f"types= names {quoted(unknown[0])}, and the columns are: {listed(names)}"
        raise InvalidValueError(msg)


def _flattened(
    field: pa.Field,
    name: str,
    top: str,
    path: tuple[int, ...],
    types: Mapping[str, pa.DataType],
) -> list[Column]:
    type_ = bare(field.type)
    if pa.types.is_struct(type_):
        return [
            column
            for i, inner in enumerate(type_)
            for column in _flattened(inner, f"{name}.{inner.name}", top, (*path, i), types)
        ]
    attrs, noted = _field_notes(field)
    return [Column(name, top, path, type_, types.get(name), attrs, noted)]


def _field_notes(field: pa.Field) -> tuple[dict[str, Any], str | None]:
    attrs, members = attributes_of(text_entries(field.metadata))
    noted = members.get("dtype")
    return attrs, noted if isinstance(noted, str) else None


def text_entries(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """Return those entries of metadata that are text, without those that describe columns."""
    entries = {}
    for key, value in (metadata or {}).items():
        try:
            name, text = key.decode(), value.decode()
        except UnicodeDecodeError:
            continue
        if name != _OF_PANDAS and not name.startswith(_DERIVED):
            entries[name] = text
    return entries


def dtype_of(column: Column, width: int, *, nulls_convert: bool) -> DType:
    """Return the dtype of the array of a column.

    Parameters
    ----------
    column : Column
    width : int
        Of the longest string in characters, or of the longest value in bytes.
    nulls_convert : bool
        Whether nulls become NaN, which makes floats of integers.

    Raises
    ------
    UnsupportedError
        NumPy has no dtype for the type.
    """
    leaf = column.leaf
    if is_text(leaf):
        kind = "U" if is_string(leaf) else "S"
        return _restored(column, np.dtype(f"{kind}{max(width, 1)}"))
    dtype = plain_dtype(leaf)
    if dtype is None:
        raise unsupported_type(column)
    if nulls_convert and is_integer_like(leaf):
        return np.dtype(np.float64)
    return _restored(column, dtype)


def _restored(column: Column, dtype: DType) -> DType:
    """Return the noted dtype if it holds all values of `dtype`, otherwise `dtype`."""
    if column.noted is None or column.target is not None:
        return dtype
    try:
        noted = np.dtype(column.noted)
    except (TypeError, ValueError, SyntaxError):
        return dtype
    if noted.kind != dtype.kind:
        return dtype
    if noted.kind in "US":
        longest = _MAX_NOTED * np.dtype(f"{noted.kind}1").itemsize
        return noted if dtype.itemsize <= noted.itemsize <= longest else dtype
    return noted if noted.kind in "mM" else dtype


def unsupported_type(column: Column) -> UnsupportedError:
    """Return the error for a type without a dtype."""
    leaf = column.leaf
    shown = str(leaf)[:_SHOWN]
    why = f"NumPy has no dtype for {shown}"
    if pa.types.is_decimal(leaf):
        fix = f"cast it: types={{{column.name!r}: 'float64'}}, or 'string' for all digits"
    elif pa.types.is_time(leaf):
        fix = f"take {_TIMES}: types={{{column.name!r}: 'int{leaf.bit_width}'}}"
    else:
        fix = "leave it out with columns=, or cast it in the program that writes the file"
    msg = f"the column {column.name!r} cannot be an array: {why}; {fix}"
    return UnsupportedError(msg, reason=why, fix=fix, direction="from Arrow")
