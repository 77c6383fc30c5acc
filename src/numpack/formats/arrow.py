"""Arrow files and Feather files: record batches, mapped where they are not compressed.

Source: the Arrow IPC file and streaming formats; Feather version 2 is the file format. Files of
Hugging Face Datasets have the streaming format.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import TYPE_CHECKING, Any, TypedDict

import pyarrow as pa

from ..adapters._safetensors_header import open_regular
from ..errors import InvalidValueError
from .columns.batches import RecordBatches
from .columns.errors import translated
from .columns.source import ColumnOptions, ColumnSource
from .common.new_files import NewFile

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
    compression : {"lz4", "zstd"} or None
        Compressed files are read into memory, others are mapped.
    """

    compression: str | None


LABEL = "Arrow"
READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__
TOGETHER = True
NEEDS_LENGTHS = False

_MAGIC = b"ARROW1"
_FEATHER_1 = b"FEA1"
_FIX = "restore it from a backup, or name its format with format="


def open_source(path: Path, /, **options: Any) -> ColumnSource:
    """Open an Arrow or Feather file; see `Format.open_source` and `ColumnOptions`."""
    file = _ArrowColumns(path)
    try:
        return ColumnSource(file, **options)
    except BaseException:
        file.close()
        raise


class _ArrowColumns:
    """The columns of an Arrow file; see `ColumnFile`.

    The file is mapped, and its pages are dropped after each batch. Where the address space is
    limited, so that it cannot be mapped, batches are read into memory.
    """

    one_pass = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: mmap.mmap | None = None
        self._begin = self._open()
        self.nbytes: int | None = path.stat().st_size
        with self._translated():
            if self._is_stream():
                with pa.ipc.open_stream(self._reopened()) as stream:
                    self.schema: pa.Schema = stream.schema
                    self.rows: int | None = None
            else:
                with pa.ipc.open_file(self._reopened()) as file:
                    self.schema, self.rows = file.schema, file.count_rows()

    def _open(self) -> bytes:
        """Map the file, if possible; return its first bytes."""
        descriptor = open_regular(self._path)
        try:
            begin = os.pread(descriptor, 8, 0)
            if begin.startswith(_FEATHER_1):
                msg = (
                    f"{self._path} is a Feather file of version 1, which is not read; write it "
                    "again with pyarrow.feather.write_feather(table, path)"
                )
                raise InvalidValueError(msg)
            with contextlib.suppress(ValueError, OSError):  # empty, or no address space
                self._map = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        return begin

    def _is_stream(self) -> bool:
        return not self._begin.startswith(_MAGIC)

    def _reopened(self) -> Any:
        if self._map is None:
            return pa.OSFile(str(self._path))
        return pa.BufferReader(pa.py_buffer(self._map))

    def _whole_batches(self, tops: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Iterate over the batches of the file, which have at least some columns."""
        if self._is_stream():
            with pa.ipc.open_stream(self._reopened()) as stream:
                yield from stream
            return
        options = pa.ipc.IpcReadOptions(use_threads=False)
        if self._map is None:  # pyarrow copies chosen columns, also those of a mapped file
            options.included_fields = [self.schema.get_field_index(top) for top in tops]
        with pa.ipc.open_file(self._reopened(), options=options) as file:
            for i in range(file.num_record_batches):
                yield file.get_batch(i)

    def batches(self, tops: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read columns in batches; see `ColumnFile.batches`."""
        with self._translated():
            for batch in self._whole_batches(tops):
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)
                    if self._map is not None:
                        self._map.madvise(mmap.MADV_DONTNEED)

    def null_count(self, column: Column) -> int | None:
        """Return nothing, as only reading tells it; see `ColumnFile.null_count`."""

    def close(self) -> None:
        """Release the file; arrays over it stay valid."""
        self._map = None

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self._path, LABEL, _FIX)


def create_target(
    path: Path,
    arrays: Mapping[str, ArrayInfo],
    attrs: Mapping[str, Any],
    /,
    *,
    compression: str | None = None,
) -> _ArrowTarget:
    """Begin to write an Arrow file; see `Format.create_target` and `WriteOptions`."""
    if compression not in (None, "lz4", "zstd"):
        msg = f"compression must be 'lz4', 'zstd' or None for Arrow files, not {compression!r}"
        raise InvalidValueError(msg)
    return _ArrowTarget(path, RecordBatches(arrays, attrs, LABEL), compression)


class _ArrowTarget:
    """An Arrow file that is being written; see `Target`."""

    def __init__(self, path: Path, batches: RecordBatches, compression: str | None) -> None:
        self._batches = batches
        self._file = NewFile(path)
        try:
            options = pa.ipc.IpcWriteOptions(compression=compression)
            self._writer = pa.ipc.new_file(
                str(self._file.path), batches.schema, options=options
            )
        except BaseException:
            self._file.abort()
            raise

    def write(self, part: Part) -> None:
        """Write rows as a record batch; see `Target.write`."""
        self._writer.write_batch(self._batches.batch(part))

    def commit(self) -> None:
        """Complete the file; see `Target.commit`."""
        self._writer.close()
        self._file.commit()

    def abort(self) -> None:
        """Remove what was written; see `Target.abort`."""
        with contextlib.suppress(Exception):
            self._writer.close()
        self._file.abort()
