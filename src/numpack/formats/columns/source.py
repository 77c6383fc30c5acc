"""Arrays from the columns of a file that is read a record batch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypedDict

import numpy as np
import pyarrow.compute as pc

from ..._core.policy import check_nulls
from ...errors import InvalidValueError, UnsupportedError
from ...store.format.naming import unknown_name_error
from .._protocol import ArrayInfo
from ..common.sources import PART_BYTES, require_equal_lengths, row_nbytes
from ..common.string_attributes import attributes_of
from .columns import ZONE, columns_of, dtype_of, text_entries
from .types import as_types, is_integer_like
from .values import (
    array_of,
    cell_of,
    count_nulls,
    fixed_lists,
    flat_values,
    is_variable_list,
    longest,
    null_error,
    text_bytes,
    values_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from ..._core.memory import Array
    from ...adapters._options import Nulls
    from .._protocol import Part
    from .columns import Column

_OFFSETS, _MASK = ".offsets", ".mask"
_MAX_PADDED = 1 << 30  # bytes of a string column as an array, from which on padding is limited
_MAX_PADDING = 64  # times the size of the strings themselves


class ColumnOptions(TypedDict, total=False):
    """Options of formats that hold columns.

    Attributes
    ----------
    nulls : {"convert", "mask", "raise"}
        What becomes of nulls: NaN and NaT, which make float64 of integers; zeros, and an array
        of booleans ``NAME.mask`` beside the array; or a `NullError`.
    types : mapping of str to pyarrow.DataType, str or dtype
        Types to which columns are cast, such as ``{"price": "float64"}`` for decimals.
    ragged : {"raise", "offsets"}
        What becomes of variable-size lists: an axis, where all are of one length, or the
        values of all lists end to end with an array ``NAME.offsets``.
    strings : {"fixed", "offsets"}
        What becomes of strings and bytes: a dtype of the longest one's width, or their bytes
        end to end with an array ``NAME.offsets``.
    """

    nulls: Nulls
    types: Mapping[str, Any]
    ragged: Literal["raise", "offsets"]
    strings: Literal["fixed", "offsets"]


class ColumnFile(Protocol):
    """An open file of columns.

    Attributes
    ----------
    schema : pyarrow.Schema
    rows : int or None
        The number of rows, ``None`` where only reading all of them tells it.
    nbytes : int or None
        What reading all columns reads.
    one_pass : bool
        Whether reading one column takes as long as reading all of them.
    """

    schema: pa.Schema
    rows: int | None
    nbytes: int | None
    one_pass: bool

    def batches(self, tops: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read columns in batches of at most about so many rows, if the format allows it."""

    def null_count(self, column: Column) -> int | None:
        """Return the number of nulls, ``None`` where only reading the column tells it."""

    def close(self) -> None:
        """Release the file."""


class Measure(NamedTuple):
    """What a first pass over a column has found.

    Attributes
    ----------
    rows, nulls : int
    longest : int
        Characters of the longest string, or bytes of the longest value.
    nbytes : int
        Of all strings.
    """

    rows: int = 0
    nulls: int = 0
    longest: int = 0
    nbytes: int = 0


class ColumnSource(Mapping[str, ArrayInfo]):
    """The arrays in a file of columns; also the mapping of what is known of each.

    An array is described when it is asked for. Only then its column is measured, if it has to
    be, and only then a type that no array can have is refused.

    Parameters
    ----------
    file : ColumnFile
        Closed with the source.
    nulls, types, ragged, strings
        See `ColumnOptions`.
    """

    def __init__(
        self,
        file: ColumnFile,
        *,
        nulls: str = "convert",
        types: Mapping[str, Any] | None = None,
        ragged: str = "raise",
        strings: str = "fixed",
    ) -> None:
        check_nulls(nulls)
        _check_word("ragged", ragged, ("raise", "offsets"))
        _check_word("strings", strings, ("fixed", "offsets"))
        self._file, self._nulls = file, nulls
        self._ragged, self._strings = ragged == "offsets", strings == "offsets"
        self._columns = columns_of(file.schema, as_types(types))
        self._measures: dict[str, Measure] = {}
        self._infos: dict[str, ArrayInfo] = {}
        self._names: dict[str, tuple[Column, str]] | None = None
        self.attrs: Mapping[str, Any] = attributes_of(text_entries(file.schema.metadata))[0]
        self.nbytes = file.nbytes

    @property
    def arrays(self) -> Mapping[str, ArrayInfo]:
        """What is known of each array."""
        return self

    def __getitem__(self, name: str) -> ArrayInfo:
        """Describe an array; see `Source.arrays`."""
        column, role = self._find(name)
        if name not in self._infos:
            self._infos[name] = self._describe(column, role)
        return self._infos[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._roles())

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self._roles())

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def parts(self, names: Sequence[str], *, together: bool) -> Iterator[Part]:
        """Read arrays, a part at a time; see `Source.parts`."""
        infos = {name: self[name] for name in names}
        if together:
            require_equal_lengths(infos)
        roles = {name: self._find(name) for name in names}
        tops = list(dict.fromkeys(column.top for column, _ in roles.values()))
        step = max(1, PART_BYTES // max(1, sum(map(row_nbytes, infos.values()))))
        ends = dict.fromkeys(names, 0)
        rows = 0
        for batch in self._file.batches(tops, step) if names else ():
            for piece in _slices(batch, step):
                yield self._part(piece, roles, ends, first=not rows)
                rows += piece.num_rows
        if not rows and names:
            yield {name: _empty(infos[name], roles[name][1]) for name in names}
        if self._file.rows not in (None, rows) and names:
            msg = f"the file ends after {rows:,} of {self._file.rows:,} rows; it is damaged"
            raise InvalidValueError(msg)

    def _part(
        self,
        batch: pa.RecordBatch,
        roles: Mapping[str, tuple[Column, str]],
        ends: dict[str, int],
        *,
        first: bool,
    ) -> Part:
        part: Part = {}
        made: dict[str, Part] = {}
        for name, (column, role) in roles.items():
            if column.name not in made:
                made[column.name] = self._convert(array_of(batch, column), column)
            values = made[column.name]
            if role not in values:  # no value of these rows is null
                values[role] = np.zeros(values[""].shape, np.bool_)
            part[name] = values[role]
            if role == _OFFSETS:
                offsets = part[name] + ends[name]
                ends[name] = int(offsets[-1])
                part[name] = offsets if first else offsets[1:]
        return part

    def _convert(self, array: pa.Array, column: Column) -> Part:
        """Convert rows of a column; return what each role of its arrays has of them."""
        info = self[column.name]
        if self._is_ragged(column):
            return self._convert_ragged(array, column, info)
        cell = _known(info.shape[1:])
        array = fixed_lists(array, cell, column)
        data, is_null = values_of(array, column, info.dtype, cell, self._nulls)
        return {"": data} if is_null is None else {"": data, _MASK: is_null}

    def _convert_ragged(self, array: pa.Array, column: Column, info: ArrayInfo) -> Part:
        lost = np.asarray(pc.is_null(array))
        if lost.any() and self._nulls != "mask":
            raise null_error(column, int(lost.sum()))
        if not is_variable_list(array):
            data, lengths = text_bytes(flat_values(array, column))
        else:
            lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0))
            cell = _known(info.shape[1:])
            inner = fixed_lists(array.flatten(), cell, column)
            inside = "raise" if self._nulls == "mask" else self._nulls
            data = values_of(inner, column, info.dtype, cell, inside).data
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        return {"": data, _OFFSETS: offsets, _MASK: lost}

    def _is_ragged(self, column: Column) -> bool:
        if column.is_text and not column.has_axes:
            return self._strings
        return self._ragged and column.is_list

    def _roles(self) -> dict[str, tuple[Column, str]]:
        """Return which column each array is of, and what it has of it."""
        if self._names is not None:
            return self._names
        found: dict[str, tuple[Column, str]] = {}
        for name, column in self._columns.items():
            roles = [""]
            if self._is_ragged(column):
                roles.append(_OFFSETS)
            if self._nulls == "mask" and self._null_count(column):
                roles.append(_MASK)
            for role in roles:
                if name + role in found or (role and name + role in self._columns):
                    msg = f"{name + role!r} would be the name of two arrays; rename that column"
                    raise InvalidValueError(msg)
                found[name + role] = column, role
        self._names = found
        return found

    def _find(self, name: str) -> tuple[Column, str]:
        found = self._roles().get(name)
        if found is None:
            raise unknown_name_error(name, dict.fromkeys(self))
        return found

    def _describe(self, column: Column, role: str) -> ArrayInfo:
        rows = self._rows()
        if role == _OFFSETS:
            return ArrayInfo(np.dtype(np.int64), (None if rows is None else rows + 1,))
        ragged = self._is_ragged(column)
        cell = () if ragged and not column.is_list else self._cell(column)
        if role == _MASK:
            return ArrayInfo(np.dtype(np.bool_), (rows,) if ragged else (rows, *cell))
        attrs = dict(column.attrs)
        if column.zone is not None:
            attrs[ZONE] = column.zone
        if ragged and not column.is_list:
            return ArrayInfo(np.dtype(np.uint8), (None,), attrs)
        dtype = self._dtype(column)
        return ArrayInfo(dtype, (None, *cell[1:]) if ragged else (rows, *cell), attrs)

    def _dtype(self, column: Column) -> np.dtype[Any]:
        if column.is_text:
            measure = self._measure(column)
            dtype = dtype_of(column, measure.longest, nulls_convert=False)
            padded = measure.rows * dtype.itemsize
            if padded > _MAX_PADDED and padded > _MAX_PADDING * measure.nbytes:
                raise _padding_error(column, measure, padded)
            return dtype
        converts = self._nulls == "convert" and is_integer_like(column.leaf)
        return dtype_of(column, 0, nulls_convert=converts and bool(self._null_count(column)))

    def _rows(self) -> int | None:
        if self._file.rows is None:
            return next((measure.rows for measure in self._measures.values()), None)
        return self._file.rows

    def _cell(self, column: Column) -> tuple[int, ...]:
        """Return the shape of a row, for which the first lists are read where necessary."""
        cell = column.cell
        if cell is not None:
            return cell
        for batch in self._file.batches([column.top], 1024):
            cell = cell_of(array_of(batch, column))
            if cell is not None:
                return cell
        return column.empty_cell

    def _null_count(self, column: Column) -> int:
        known = self._file.null_count(column)
        return self._measure(column).nulls if known is None else known

    def _measure(self, column: Column) -> Measure:
        if column.name not in self._measures:
            together = [each for each in self._columns.values() if self._needs_measure(each)]
            columns = together if self._file.one_pass else []
            self._measures.update(
                self._measured({each.name: each for each in (*columns, column)})
            )
        return self._measures[column.name]

    def _needs_measure(self, column: Column) -> bool:
        if column.is_text and not self._is_ragged(column):
            return True
        by_nulls = self._nulls == "mask" or (
            self._nulls == "convert" and is_integer_like(column.leaf)
        )
        return by_nulls and self._file.null_count(column) is None

    def _measured(self, columns: Mapping[str, Column]) -> dict[str, Measure]:
        found = dict.fromkeys(columns, Measure())
        tops = list(dict.fromkeys(column.top for column in columns.values()))
        for batch in self._file.batches(tops, 1 << 16):
            for name, column in columns.items():
                found[name] = _measure_more(found[name], array_of(batch, column), column)
        return found


def _measure_more(before: Measure, array: pa.Array, column: Column) -> Measure:
    width = nbytes = 0
    if column.is_text:
        leaf = flat_values(array, column)
        width, nbytes = longest(leaf), int(pc.sum(pc.binary_length(leaf)).as_py() or 0)
    return Measure(
        before.rows + len(array),
        before.nulls + count_nulls(array),
        max(before.longest, width),
        before.nbytes + nbytes,
    )


def _slices(batch: pa.RecordBatch, step: int) -> Iterator[pa.RecordBatch]:
    """Divide a batch into pieces of at most `step` rows and about `PART_BYTES`."""
    rows = batch.num_rows
    size = batch.get_total_buffer_size() // max(rows, 1)
    step = min(step, max(1, PART_BYTES // max(1, size)))
    for start in range(0, rows, step):
        yield batch.slice(start, step)


def _known(cell: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(extent or 0 for extent in cell)


def _empty(info: ArrayInfo, role: str) -> Array:
    shape = tuple(extent or 0 for extent in info.shape)
    if role == _OFFSETS:
        return np.zeros(1, info.dtype)
    return np.empty((0, *shape[1:]), info.dtype)


def _check_word(option: str, given: object, words: tuple[str, ...]) -> None:
    if given not in words:
        msg = f"{option} must be one of {', '.join(map(repr, words))}, not {given!r}"
        raise InvalidValueError(msg)


def _padding_error(column: Column, measure: Measure, padded: int) -> UnsupportedError:
    why = (
        f"its longest value takes {measure.longest:,}, to which all are padded, so that "
        f"{measure.nbytes:,} bytes become {padded:,}"
    )
    fix = (
        "pass strings='offsets' for bytes end to end and offsets, or leave it out with columns="
    )
    msg = f"the column {column.name!r} is not stored as strings of one width: {why}; {fix}"
    return UnsupportedError(msg, reason=why, fix=fix, direction="from Arrow")
