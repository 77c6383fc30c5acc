"""Parquet files: columns, read and written by row groups.

Source: the Parquet format, and the Arrow schema that pyarrow stores in it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from ..adapters._safetensors_header import open_regular
from ..errors import InvalidValueError, UnsupportedError
from .columns.batches import RecordBatches
from .columns.errors import translated
from .columns.source import ColumnOptions, ColumnSource
from .common.new_files import NewFile
from .common.refusals import unsupported_array
from .common.sources import PART_BYTES, rows_in_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ._protocol import ArrayInfo, Part
    from .columns.columns import Column


class ReadOptions(ColumnOptions, total=False):
    """Options of `open_source`."""


class WriteOptions(TypedDict, total=False):
    """Options of `create_target`.

    Attributes
    ----------
    compression : str or None
        Of pyarrow: ``"snappy"``, ``"zstd"``, ``"gzip"``, ``"lz4"``, ``"brotli"`` or ``None``.
    row_group_size : int
        Rows of a row group; by default about 8 MiB of values.
    """

    compression: str | None
    row_group_size: int


LABEL = "Parquet"
READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__
TOGETHER = True
NEEDS_LENGTHS = False

_MAGIC = b"PAR1"
_ENCRYPTED = b"PARE"
_BATCH_BYTES = PART_BYTES // 2  # which take several times as much while they are decoded
_MAX_BATCH = 1 << 14  # rows
_BUFFER = 1 << 20  # bytes of a column that are read at once
_FIX = "restore it from a backup, or name its format with format="


def open_source(path: Path, /, **options: Any) -> ColumnSource:
    """Open a Parquet file; see `Format.open_source` and `ColumnOptions`."""
    file = _ParquetColumns(path)
    try:
        return ColumnSource(file, **options)
    except BaseException:
        file.close()
        raise


class _ParquetColumns:
    """The columns of a Parquet file; see `ColumnFile`."""

    one_pass = False

    def __init__(self, path: Path) -> None:
        self._path = path
        _check_magic(path)
        with self._translated():
            self._file = pq.ParquetFile(
                path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
            )
            self.schema: pa.Schema = self._file.schema_arrow
            self._metadata = self._file.metadata
        self.rows: int | None = self._metadata.num_rows
        self._leaves = _leaves_by_column(self.schema)
        self.nbytes: int | None = sum(map(self._size, self._leaves))

    def batches(self, tops: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read columns in batches; see `ColumnFile.batches`."""
        average = max(1, sum(map(self._size, tops)) // max(1, self.rows or 0))
        count = max(1, min(rows // 2, _BATCH_BYTES // average, _MAX_BATCH))
        with self._translated():
            # Each thread would keep memory of its own, several times that of a batch.
            yield from self._file.iter_batches(count, columns=list(tops), use_threads=False)

    def null_count(self, column: Column) -> int | None:
        """Return what the statistics state; see `ColumnFile.null_count`."""
        counts = [_null_count(chunk) for chunk in self._chunks(column.top)]
        if column.path or None in counts:
            return None
        total = sum(count or 0 for count in counts)
        return total if not total or not column.has_axes else None

    def close(self) -> None:
        """Release the file."""
        self._file.close(force=True)

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self._path, LABEL, _FIX)

    def _size(self, top: str) -> int:
        """Return the size of a column in bytes, decompressed."""
        return sum(chunk.total_uncompressed_size for chunk in self._chunks(top))

    def _chunks(self, top: str) -> Iterator[Any]:
        """Iterate over the metadata of a column's chunks in all row groups."""
        for group in range(self._metadata.num_row_groups):
            row_group = self._metadata.row_group(group)
            for leaf in self._leaves[top]:
                yield row_group.column(leaf)


def _check_magic(path: Path) -> None:
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        begin = os.pread(descriptor, len(_MAGIC), 0)
        end = os.pread(descriptor, len(_MAGIC), max(0, size - len(_MAGIC)))
    finally:
        os.close(descriptor)
    if begin == end == _MAGIC:
        return
    if end == _ENCRYPTED:
        why, fix = "it is encrypted", "decrypt it with pyarrow.parquet first"
    elif begin == _MAGIC:
        why, fix = "its end is missing: it was truncated, or is still being written", _FIX
    else:
        why, fix = f"it begins with {begin!r} and ends with {end!r}, not with {_MAGIC!r}", _FIX
    msg = f"{path} is not a complete Parquet file: {why}; {fix}"
    raise InvalidValueError(msg)


def _leaves_by_column(schema: pa.Schema) -> dict[str, range]:
    """Return the positions of each column's leaves among those of the file."""
    found, position = {}, 0
    for field in schema:
        count = _leaf_count(field.type)
        found[field.name] = range(position, position + count)
        position += count
    return found


def _leaf_count(type_: pa.DataType) -> int:
    if isinstance(type_, pa.BaseExtensionType):
        return _leaf_count(type_.storage_type)
    if not type_.num_fields:
        return 1
    return sum(_leaf_count(type_.field(i).type) for i in range(type_.num_fields))


def _null_count(chunk: Any) -> int | None:
    """Return the number of nulls in a chunk of a column, if its statistics state it."""
    statistics = chunk.statistics
    if statistics is None or not statistics.has_null_count:
        return None
    return int(statistics.null_count)


def create_target(
    path: Path,
    arrays: Mapping[str, ArrayInfo],
    attrs: Mapping[str, Any],
    /,
    *,
    compression: str | None = "snappy",
    row_group_size: int | None = None,
) -> _ParquetTarget:
    """Begin to write a Parquet file; see `Format.create_target` and `WriteOptions`."""
    empty = [name for name, info in arrays.items() if 0 in info.shape[1:]]
    if empty:
        why = "its lists have at least one value"
        fix = "leave it out with arrays=, or write an Arrow file"
        shape = f"of shape {arrays[empty[0]].shape}"
        raise unsupported_array(empty[0], shape, LABEL, why, fix)
    batches = RecordBatches(arrays, attrs, LABEL)
    rows = row_group_size or rows_in_part(list(arrays.values()))
    return _ParquetTarget(path, batches, compression, rows)


class _ParquetTarget:
    """A Parquet file that is being written; see `Target`."""

    def __init__(
        self, path: Path, batches: RecordBatches, compression: str | None, rows: int
    ) -> None:
        self._batches, self._rows = batches, rows
        self._waiting: list[pa.RecordBatch] = []
        self._file = NewFile(path)
        try:
            self._writer = pq.ParquetWriter(
                self._file.path,
                batches.schema,
                compression=compression or "none",
                use_dictionary=batches.texts,
                write_page_checksum=True,
            )
        except (pa.ArrowException, OSError) as error:
            self._file.abort()
            msg = f"Parquet files are not written with compression={compression!r}: {error}"
            raise InvalidValueError(msg) from error
        except BaseException:
            self._file.abort()
            raise

    def write(self, part: Part) -> None:
        """Write rows; see `Target.write`."""
        rows = len(next(iter(part.values())))
        if not self._waiting and rows % self._rows == 0:
            self._write_groups(self._batches.batch(part))
            return
        own = {  # beyond this call; strings are converted, and so copied, in any case
            name: array if name in self._batches.texts else array.copy()
            for name, array in part.items()
        }
        self._waiting.append(self._batches.batch(own))
        if sum(batch.num_rows for batch in self._waiting) >= self._rows:
            self._flush()

    def commit(self) -> None:
        """Complete the file; see `Target.commit`."""
        self._flush(rest=True)
        self._writer.close()
        self._file.commit()

    def abort(self) -> None:
        """Remove what was written; see `Target.abort`."""
        with contextlib.suppress(Exception):
            self._writer.close()
        self._file.abort()

    def _flush(self, *, rest: bool = False) -> None:
        """Write the row groups that are complete, and with `rest` what is left."""
        table = pa.Table.from_batches(self._waiting, self._batches.schema)
        count = table.num_rows if rest else table.num_rows // self._rows * self._rows
        self._waiting = table.slice(count).to_batches()
        if count:
            self._write_groups(table.slice(0, count))

    def _write_groups(self, rows: pa.Table | pa.RecordBatch) -> None:
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        try:
            self._writer.write_table(table, self._rows)
        except pa.ArrowInvalid as error:
            raise _unwritable(table, error) from error
        pa.default_memory_pool().release_unused()


def _unwritable(table: pa.Table, error: pa.ArrowInvalid) -> UnsupportedError:
    """Return the error for values that Parquet cannot hold, such as seconds near 2**62."""
    reason, fix = str(error), "write an Arrow file"
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.type != pa.timestamp("s", getattr(column.type, "tz", None)):
            continue
        try:
            column.cast(pa.timestamp("ms", column.type.tz))
        except pa.ArrowInvalid:
            reason = "it holds milliseconds, in which some of the times are out of range"
            fix = f"write an Arrow file, or pass dtype={{{name!r}: 'int64'}} for the counts"
            return unsupported_array(name, f"of {column.type}", LABEL, reason, fix)
    return UnsupportedError(f"{LABEL} cannot hold the values: {reason}; {fix}", reason=reason)
