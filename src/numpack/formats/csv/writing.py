"""CSV files that are written from arrays, a part at a time, by pyarrow."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pc

from ...errors import InvalidValueError, UnsupportedError
from .._protocol import ArrayInfo
from ..columns.batches import RecordBatches, has_inner_nul
from ..common.new_files import NewFile
from ..common.refusals import unsupported_array, warn_of_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .._protocol import Part

_LABEL = "CSV"
_FIXES = {
    "S": "pass dtype='U'",
    "V": "write a .parquet file",
    "m": "pass dtype='int64' for the counts",
}
_DAY = 86_400  # seconds
_YEAR_1, _YEAR_10000 = -62_135_596_800, 253_402_300_800  # their first seconds
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # of a second


class CsvTarget:
    """A CSV file that is being written; see `Target`."""

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, ArrayInfo],
        attrs: Mapping[str, Any],
        *,
        delimiter: str,
        header: bool = True,
        flatten: bool = False,
    ) -> None:
        self._cells = {
            name: _checked_cell(name, info, flatten=flatten) for name, info in arrays.items()
        }
        columns = _columns(arrays, self._cells)
        warn_of_attributes(arrays, attrs, _LABEL)
        self._batches = RecordBatches(columns, {}, _LABEL)
        self._schema: pa.Schema = self._batches.schema
        # NaT alone in a line would be an empty line, which most programs skip.
        self._is_quoted = [info.dtype.kind for info in columns.values()] == ["M"]
        if self._is_quoted:
            self._schema = pa.schema([(name, pa.string()) for name in columns])
        options = pc.WriteOptions(include_header=header, delimiter=delimiter)
        self._new = NewFile(path)
        try:
            self._writer = pc.CSVWriter(
                str(self._new.path), self._schema, write_options=options
            )
        except BaseException:
            self._new.abort()
            raise

    def write(self, part: Part) -> None:
        """Write the next lines."""
        flat: Part = {}
        for name, cell in self._cells.items():
            values = part[name].reshape(len(part[name]), math.prod(cell))
            names = _names(name, cell)
            flat |= {each: values[:, i] for i, each in enumerate(names)}
            if values.dtype.kind == "U" and has_inner_nul(np.ascontiguousarray(values).ravel()):
                why, fix = "some of its strings have a NUL", "write a .parquet file"
                raise unsupported_array(name, str(values.dtype), _LABEL, why, fix)
        batch = self._batches.batch(flat)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            _require_years(name, column)
        if self._is_quoted:
            texts = batch.column(0).cast(pa.string()).fill_null("")
            batch = pa.RecordBatch.from_arrays([texts], schema=self._schema)
        self._writer.write_batch(batch)

    def commit(self) -> None:
        """Complete the file."""
        self._writer.close()
        self._new.commit()

    def abort(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(pa.ArrowException, OSError):
            self._writer.close()
        self._new.abort()


def _require_years(name: str, times: pa.Array) -> None:
    """Refuse times that are not written, or not read, as a date with a year of four digits."""
    if pa.types.is_date32(times.type):
        counts, second = times.view(pa.int32()), 1 / _DAY
    elif pa.types.is_timestamp(times.type):
        counts, second = times.view(pa.int64()), _TICKS[times.type.unit]
    else:
        return
    found = pa.compute.min_max(counts).as_py()
    if found["min"] is None or (
        found["min"] >= _YEAR_1 * second and found["max"] < _YEAR_10000 * second
    ):
        return
    why = "some of its times are not in the years from 1 to 9999"
    raise unsupported_array(name, f"of {times.type}", _LABEL, why, _FIXES["m"])


def _checked_cell(name: str, info: ArrayInfo, *, flatten: bool) -> tuple[int, ...]:
    """Return the shape of a row, or refuse what a line of text cannot hold."""
    if fix := _FIXES.get(info.dtype.kind):
        raise unsupported_array(name, str(info.dtype), _LABEL, "it is text without types", fix)
    cell: tuple[int, ...] = tuple(extent or 0 for extent in info.shape[1:])
    if cell and not flatten:
        reason = "its columns have one value a row"
        fix = "pass flatten=True for a column of each value, or write a .parquet or .txt file"
        raise unsupported_array(name, f"of shape {info.shape}", _LABEL, reason, fix)
    if 0 in cell:
        reason, fix = "its rows have no values", "leave it out with arrays="
        raise unsupported_array(name, f"of shape {info.shape}", _LABEL, reason, fix)
    if "\0" in name:
        reason, fix = "text has no NUL", "give it another name with rename="
        raise unsupported_array(name, "a name with a NUL", _LABEL, reason, fix)
    return cell


def _columns(
    arrays: Mapping[str, ArrayInfo], cells: Mapping[str, tuple[int, ...]]
) -> dict[str, ArrayInfo]:
    if not arrays:
        msg = "a CSV file has at least one column, and there is no array to write"
        raise UnsupportedError(msg)
    found: dict[str, ArrayInfo] = {}
    for name, info in arrays.items():
        for column in _names(name, cells[name]):
            if column in found:
                msg = f"two columns would be called {column!r}; rename= one of the arrays"
                raise InvalidValueError(msg)
            found[column] = ArrayInfo(info.dtype, info.shape[:1])
    return found


def _names(name: str, cell: tuple[int, ...]) -> list[str]:
    return [f"{name}_{i}" for i in range(math.prod(cell))] if cell else [name]
