"""CSV files as columns, parsed a block at a time by pyarrow."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from ...adapters._safetensors_header import open_regular
from ...errors import InvalidValueError, NumpackError, UnsupportedError
from .._protocol import ArrayInfo
from ..columns.columns import require_columns
from ..columns.types import as_types
from .nulls import may_have_nulls
from .segments import Segments, parse_in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ..._core.memory import Array
    from .._protocol import Part
    from ..columns.columns import Column
    from ..columns.source import ColumnSource

_FIRST_BLOCK = 1 << 20  # bytes, from which types are inferred, as pyarrow has it by default
_BLOCK = 512 << 10  # bytes of the others, of which pyarrow holds several
_SHOWN = 300  # characters of a message
_MAGICS = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\x93NUMPY": "npy",
    b"\x89HDF": "hdf5",
    b"PK\x03\x04": "npz",
}
_NOT_OF_TYPE = re.compile(r"CSV column #(\d+): .*conversion error to ([^:]+): (.*)", re.DOTALL)
_LONG_INTEGER = r"^\s*[+-]?[0-9]{16,400}\s*$"
_EXACT_IN_FLOAT64 = 2**53


@dataclass(frozen=True, slots=True)
class CsvLayout:
    """How a file is divided into lines and values; see `csv.ReadOptions`."""

    delimiter: str = ","
    header: bool = True
    names: Sequence[str] | None = None
    skip_rows: int = 0
    null_values: Sequence[str] | None = None
    decimal_point: str = "."
    encoding: str = "utf8"
    block_size: int | None = None

    @property
    def is_wide(self) -> bool:
        """Whether a character of ASCII takes several bytes."""
        return self.encoding.lower().replace("-", "").startswith(("utf16", "utf32"))

    @property
    def has_plain_lines(self) -> bool:
        """Whether a line feed is a byte of its own, which ends a line outside of quotes."""
        return self.block_size is None and self.encoding.lower().replace("-", "") == "utf8"

    def reading(self, names: Sequence[str] | None, block: int) -> pc.ReadOptions:
        """Return pyarrow's options, with the names of the columns once they are known."""
        return pc.ReadOptions(
            block_size=self.block_size or block,
            encoding=self.encoding,
            skip_rows=self.skip_rows,
            skip_rows_after_names=int(names is not None and self.header),  # the header itself
            column_names=names,
            autogenerate_column_names=names is None and not self.header,
        )

    def parsing(self, *, is_alone: bool) -> pc.ParseOptions:
        """Return pyarrow's options; the lines of a column that is alone may be empty."""
        return pc.ParseOptions(
            delimiter=self.delimiter,
            newlines_in_values=True,
            ignore_empty_lines=not is_alone,
        )

    def converting(
        self, types: Mapping[str, pa.DataType], tops: Sequence[str] | None
    ) -> pc.ConvertOptions:
        """Return pyarrow's options for the types and the choice of columns."""
        options = pc.ConvertOptions(
            column_types=dict(types), include_columns=tops, decimal_point=self.decimal_point
        )
        if self.null_values is not None:
            options.null_values = ["", *self.null_values]
        return options


class CsvColumns:
    """The columns of a CSV file; see `ColumnFile`.

    Types that are not given are inferred from the first block. All blocks then have to have
    them.
    """

    one_pass = True

    def __init__(self, path: Path, layout: CsvLayout, types: Mapping[str, Any] | None) -> None:
        self._path, self._layout = path, layout
        self._may_have_nulls: bool | None = None
        self._require_text()
        self._is_alone = False
        self._names = list(layout.names) if layout.names is not None else None
        given = as_types(types)
        if self._names is None:
            self._names = _named(self._first_block({}, None).schema.names)
        self._is_alone = len(self._names) == 1
        self._layout = self._without_empty_lines(layout)
        self.schema: pa.Schema = self._first_block(given, None).schema
        require_columns(given, self._names)
        self._require_strings(given)
        self._unchecked_floats = {
            field.name
            for field in self.schema
            if pa.types.is_floating(field.type) and field.name not in given
        }
        self.rows: int | None = None
        self.nbytes: int | None = path.stat().st_size

    def batches(  # rows are as many as a block has
        self,
        tops: Sequence[str],
        rows: int,  # noqa: ARG002
    ) -> Iterator[pa.RecordBatch]:
        """Parse columns, a block at a time; see `ColumnFile.batches`."""
        types = {field.name: field.type for field in self.schema}
        floats = [name for name in tops if name in self._unchecked_floats]
        for batch in self._parsed(types, list(tops)):
            if floats and any(_has_large(batch.column(name)) for name in floats):
                self._require_exact(floats)
                floats = []
            yield batch

    def _parsed(
        self, types: Mapping[str, pa.DataType], tops: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """Parse all lines: those before the first quote in threads, the others as a stream.

        A piece that cannot be parsed alone, such as empty lines, is parsed as a part of the
        stream.
        """
        rows, segments = 0, Segments(self._path, self._layout.delimiter)
        if self._layout.has_plain_lines:
            converting = self._layout.converting(types, tops)
            parse = functools.partial(self._parse, converting)
            with contextlib.suppress(pa.ArrowException, ValueError):
                for batch in parse_in_threads(segments, parse):
                    yield batch
                    rows += batch.num_rows
                if segments.reach_the_end:
                    return
        for batch in self._blocks(self._open(types, tops, _BLOCK)):
            if rows < batch.num_rows:
                yield batch.slice(rows)
            rows = max(0, rows - batch.num_rows)

    def _parse(self, converting: pc.ConvertOptions, lines: bytes, is_first: bool) -> pa.Table:
        layout = self._layout if is_first else replace(self._layout, skip_rows=0, header=False)
        reading = layout.reading(self._names, len(lines))
        reading.use_threads = False
        parsing = layout.parsing(is_alone=self._is_alone)
        return pc.read_csv(pa.BufferReader(lines), reading, parsing, converting)

    def null_count(self, column: Column) -> int | None:  # noqa: ARG002 -- that of all
        """Return 0 if no value can be null; see `ColumnFile.null_count`."""
        if self._may_have_nulls is None:
            self._may_have_nulls = self._layout.is_wide or may_have_nulls(
                self._path,
                self._layout.delimiter,
                self._layout.converting({}, None).null_values,
                self._layout.skip_rows + self._layout.header,
                alone=self._is_alone,
            )
        return None if self._may_have_nulls else 0

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""

    def _first_block(
        self, types: Mapping[str, pa.DataType], tops: Sequence[str] | None
    ) -> pa.Table:
        """Parse the first lines, without reading several blocks ahead where possible."""
        size = self._layout.block_size or _FIRST_BLOCK
        with self._path.open("rb") as file:
            start, whole = file.read(size), not file.read(1)
        text = start if whole else start[: start.rfind(b"\n") + 1]
        try:
            reader = self._open(types, tops, size, pa.BufferReader(text))
            return pa.Table.from_batches(
                itertools.islice(self._blocks(reader), 1), reader.schema
            )
        except InvalidValueError:  # the text may end inside quotes
            reader = self._open(types, tops, size)
            return pa.Table.from_batches(
                itertools.islice(self._blocks(reader), 1), reader.schema
            )

    def _blocks(self, reader: pc.CSVStreamingReader) -> Iterator[pa.RecordBatch]:
        """Iterate over batches; a thread parses the next one meanwhile."""
        try:
            with reader, ThreadPoolExecutor(1, "numpack-csv") as thread:
                following = thread.submit(next, reader, None)
                while (batch := following.result()) is not None:
                    following = thread.submit(next, reader, None)
                    yield batch
        except (pa.ArrowException, ValueError) as error:
            raise self._error(error) from error

    def _open(
        self,
        types: Mapping[str, pa.DataType],
        tops: Sequence[str] | None,
        block: int,
        text: pa.NativeFile | None = None,
    ) -> pc.CSVStreamingReader:
        try:
            return pc.open_csv(
                self._path if text is None else text,
                read_options=self._layout.reading(self._names, block),
                parse_options=self._layout.parsing(is_alone=self._is_alone),
                convert_options=self._layout.converting(types, tops),
            )
        except (NumpackError, MemoryError):
            raise
        except NotImplementedError as error:
            why = f"pyarrow does not parse it ({str(error)[:_SHOWN]})"
            msg = f"{self._path} cannot be read: {why}; pass another type, and cast with dtype="
            raise UnsupportedError(msg, reason=why) from error
        except (pa.ArrowException, ValueError, OSError, TypeError, LookupError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise self._error(error) from error

    def _error(self, error: BaseException) -> InvalidValueError:
        """Return the error for what pyarrow could not parse."""
        text = str(error)[:_SHOWN]
        if found := _NOT_OF_TYPE.search(text):
            name = self._names[int(found[1])] if self._names else f"#{found[1]}"
            msg = (
                f"the column {name!r} of {self._path} is of {found[2]}, inferred from the "
                "first block unless types= gave it, and has another value "
                f" ({found[3].splitlines()[0]}); give its type: "
                f"types={{{name!r}: 'float64'}}, or 'string'"
            )
        elif "straddling" in text:
            msg = (
                f"a line of {self._path} is longer than {self._layout.block_size or _BLOCK:,} "
                "bytes, or a quote is not closed; pass a larger block_size="
            )
        else:
            msg = (
                f"{self._path} cannot be parsed as CSV: {text}; check delimiter=, header=, "
                "skip_rows= and encoding="
            )
        return InvalidValueError(msg)

    def _require_text(self) -> None:
        with open(open_regular(self._path), "rb") as file:  # noqa: PTH123 -- a descriptor
            begin = file.read(4096)
        if not begin:
            msg = f"{self._path} is empty, and a CSV file has at least one line"
            raise InvalidValueError(msg)
        kind = next((kind for magic, kind in _MAGICS.items() if begin.startswith(magic)), None)
        if kind is not None or (b"\0" in begin and not self._layout.is_wide):
            as_kind = f"pass format={kind!r}" if kind else "name its format with format="
            msg = f"{self._path} is not text: it begins with {begin[:8]!r}; {as_kind}"
            raise InvalidValueError(msg)

    def _require_strings(self, given: Mapping[str, pa.DataType]) -> None:
        """Refuse text of another encoding, which would be bytes."""
        for field in self.schema:
            if pa.types.is_binary(field.type) and field.name not in given:
                msg = (
                    f"the column {field.name!r} of {self._path} is not "
                    f"{self._layout.encoding}; pass encoding=, or "
                    f"types={{{field.name!r}: 'binary'}} for bytes"
                )
                raise InvalidValueError(msg)

    def _without_empty_lines(self, layout: CsvLayout) -> CsvLayout:
        """Return the layout that also skips empty lines before the header."""
        if not layout.header:
            return layout
        try:
            with self._path.open(encoding=layout.encoding, errors="replace") as file:
                for _ in range(layout.skip_rows):
                    file.readline()
                count = 0
                while file.readline(2) == "\n":
                    count += 1
        except (LookupError, UnicodeError) as error:
            raise self._error(error) from error
        return replace(layout, skip_rows=layout.skip_rows + count)

    def _require_exact(self, floats: Sequence[str]) -> None:
        """Refuse integers that float64 rounds, in columns whose type was inferred.

        The file is parsed once more for it, only where a value is so large.
        """
        self._unchecked_floats.difference_update(floats)
        types = dict.fromkeys(floats, pa.string())
        for batch in self._blocks(self._open(types, list(floats), _BLOCK)):
            for name in floats:
                if _has_rounded_integer(batch.column(name)):
                    msg = (
                        f"the column {name!r} of {self._path} has integers that float64 would "
                        "round, which int64 does not hold or fractions are among; pass "
                        f"types={{{name!r}: 'uint64'}} or 'string', or 'float64' to round"
                    )
                    raise UnsupportedError(msg)


def _has_large(numbers: pa.Array) -> bool:
    """Check whether floats reach beyond the integers that all are floats."""
    lowest, highest = (end.as_py() for end in pa.compute.min_max(numbers).values())
    if lowest is None or (lowest > -_EXACT_IN_FLOAT64 and highest < _EXACT_IN_FLOAT64):
        return False  # without NumPy, for whose sake pyarrow would import pandas
    values = np.abs(numbers.drop_null().to_numpy(zero_copy_only=False))
    return bool(((values >= _EXACT_IN_FLOAT64) & (values < np.inf)).any())


def _has_rounded_integer(texts: pa.Array) -> bool:
    """Check for integers that are not the digits of the nearest float, as programs print it."""
    longs = texts.filter(pa.compute.match_substring_regex(texts, _LONG_INTEGER))
    return any(
        int(text) != int(float(text)) and int(text) != int(Decimal(repr(float(text))))
        for text in longs.to_pylist()
    )


def _named(names: Sequence[str]) -> list[str]:
    """Return the names of columns; one without a name is called by its position."""
    return [name or f"column_{i}" for i, name in enumerate(names)]


class StackedSource:
    """A source of one 2-D array, whose columns are the arrays of another source."""

    def __init__(self, source: ColumnSource, name: str) -> None:
        self._source, self._name = source, name
        self._columns = list(source.arrays)
        infos = [source.arrays[column] for column in self._columns]
        if not infos or any(len(info.shape) != 1 for info in infos):
            msg = "array= stacks columns of single values; leave it out for others"
            raise InvalidValueError(msg)
        dtypes = {info.dtype for info in infos}
        if len(dtypes) > 1 and any(dtype.kind not in "biuf" for dtype in dtypes):
            msg = f"array={name!r} would stack columns that have no common dtype; leave it out"
            raise InvalidValueError(msg)
        dtype = np.result_type(*dtypes)
        rows = next((info.shape[0] for info in infos if info.shape[0] is not None), None)
        self.arrays = {name: ArrayInfo(dtype, (rows, len(infos)))}
        self.attrs = source.attrs
        self.nbytes = source.nbytes

    def parts(self, names: Sequence[str], *, together: bool) -> Iterator[Part]:  # noqa: ARG002
        """Read the array, a part at a time; see `Source.parts`."""
        dtype = self.arrays[self._name].dtype
        for part in self._source.parts(self._columns, together=True) if names else ():
            yield {self._name: self._stacked(part, dtype)}

    def _stacked(self, part: Part, dtype: np.dtype[Any]) -> Array:
        columns = [part[column] for column in self._columns]
        stacked = np.empty((len(columns[0]), len(columns)), dtype)
        for i, column in enumerate(columns):
            stacked[:, i] = column
            if column.dtype.itemsize == 8 and column.dtype.kind in "iu" and dtype.kind == "f":
                _require_exact_floats(self._columns[i], column, self._name)
        return stacked

    def close(self) -> None:
        """Release the file."""
        self._source.close()


def _require_exact_floats(column: str, numbers: Array, name: str) -> None:
    largest = max(-int(numbers.min(initial=0)), int(numbers.max(initial=0)))
    if largest > _EXACT_IN_FLOAT64:
        why = f"the float64 of array={name!r} would round its integers above 2**53"
        fix = f"leave array= out, or pass types={{{column!r}: 'float64'}} to round"
        msg = f"the column {column!r} cannot be stacked: {why}; {fix}"
        raise UnsupportedError(msg, reason=why, fix=fix)
