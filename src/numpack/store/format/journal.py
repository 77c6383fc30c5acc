"""In-place replaces: the record of rows to be written, from which a half-done one is finished.

The record is written first, then the commit that names it by its checksum, then the rows in
place; then the record is struck out. Its first byte is written last and struck out first: a
file that begins with ``{`` is a whole record.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import CorruptStoreError
from ..fs.directory import is_sparse, read_between, too_large_error, write_all
from ..fs.syscalls import size_of
from ..kernels.checksums import crc32
from . import data_files
from .catalog import decode, encode
from .dtype_codes import InvalidRecordError
from .records import commit_of, journal_head

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..._core.memory import Array
    from ..fs.directory import Folder
    from ..rows.deleted_rows import Numbers
    from ..rows.replacing import Replacement
    from .catalog import Catalog
    from .records import ChangeHead

NAME = "journal"

_KEPT_BYTES = 64 * 1024  # a struck-out record up to this length keeps its room on the disk
_HEAD_BYTES = 4096  # in which most first lines end
_LONGEST_HEAD = 1 << 28  # of some million arrays
_SHORT_BYTES = 64 * 1024  # that are copied to write them in one call
_WHOLE, _STRUCK = b"{", b"\n"


class Change(NamedTuple):
    """Rows of one array that are replaced.

    Attributes
    ----------
    id : str
        Names the data file.
    width : int
        Bytes of a row.
    rows : ndarray of int64
        Where they are in the data file, each of them once.
    fresh : ndarray of uint8
        What they become, row after row.
    first : int
        Number of the first block of which the file of checksums changes.
    checksums : ndarray of uint32
        The checksums from that block on.
    """

    id: str
    width: int
    rows: Numbers
    fresh: Array
    first: int
    checksums: Array

    def blocks(self) -> Iterator[tuple[Numbers, Array]]:
        """Iterate over row numbers and new rows: all of them at once."""
        yield self.rows, self.fresh


def write(
    descriptor: int,
    folder: Folder,
    commit: int,
    changes: Sequence[Replacement],
    *,
    durable: bool,
) -> int:
    """Write a record; give its CRC-32.

    That the one before was struck out has to be on the device first (`durable`): what is
    written over it would be taken for that one, damaged.
    """
    arrays = [
        {
            "id": change.id,
            "width": change.width,
            "rows": change.count,
            "first": change.first,
            "sums": len(change.checksums),
        }
        for change in changes
    ]
    head = encode({"commit": commit, "arrays": arrays})
    if durable:
        os.fsync(descriptor)
    try:
        crc = _write_all_but_first(descriptor, head, changes)
        if durable:
            os.fsync(descriptor)
        os.pwrite(descriptor, _WHOLE, 0)
        if durable:
            os.fsync(descriptor)
            folder.sync()
    except OSError:  # the disk is full, say
        with contextlib.suppress(OSError):
            os.pwrite(descriptor, _STRUCK, 0)
        os.ftruncate(descriptor, 1)
        raise
    return crc


def _write_all_but_first(descriptor: int, head: bytes, changes: Sequence[Replacement]) -> int:
    """Write a record without its first byte, what is short in one call; give its CRC-32."""
    crc, short, offset = crc32(head), bytearray(head[1:]), 1
    for change in changes:
        change.offset = offset + len(short)
        for part in change.written():
            crc = crc32(part, crc)
            if len(short) + part.nbytes <= _SHORT_BYTES:
                short += part.tobytes()
                continue
            offset += write_all(descriptor, short, offset) if short else 0
            offset += write_all(descriptor, part, offset)
            short = bytearray()
    if short:
        write_all(descriptor, short, offset)
    return crc


def read(folder: Folder, catalog: Catalog) -> list[Change]:
    """Read the record of the last commit; nothing if it was struck out, or another was begun.

    Raises
    ------
    CorruptStoreError
        The record is damaged, and so may be the rows that it was to replace.
    """
    try:
        descriptor = folder.open(NAME)
        try:
            return _changes(descriptor, catalog)
        finally:
            os.close(descriptor)
    except (ValueError, FileNotFoundError) as error:
        msg = (
            f"the journal {folder.path}/{NAME} is damaged ({error}): rows of the last "
            "replace may be written or not; restore the store from a backup, or make the "
            "journal a single line end to go on with the rows as they are"
        )
        raise CorruptStoreError(msg) from error
    except MemoryError:
        raise too_large_error(f"{folder.path}/{NAME}", folder.size(NAME)) from None


def clear(descriptor: int, *, durable: bool = False) -> None:
    """Mark the record as done with."""
    os.pwrite(descriptor, _STRUCK, 0)
    if size_of(descriptor) > _KEPT_BYTES:
        if durable:
            os.fdatasync(descriptor)
        os.ftruncate(descriptor, 1)


def read_beside(folder: Folder, catalog: Catalog) -> list[Change]:
    """Read the record of the last commit as `read` does, without keeping writers out.

    What seems damaged was only read while it was being written, if it has changed since.
    """
    while True:
        before = _glance(folder)
        try:
            return read(folder, catalog)
        except CorruptStoreError:
            if _glance(folder) == before:
                raise


def _glance(folder: Folder) -> tuple[Any, ...]:
    """Return what shows whether the record is another than a moment ago."""
    try:
        descriptor = folder.open(NAME)
    except FileNotFoundError:
        return ()
    try:
        status = os.fstat(descriptor)
        head = read_between(descriptor, 0, _HEAD_BYTES)
        return status.st_ino, status.st_size, status.st_mtime_ns, head
    finally:
        os.close(descriptor)


def is_cleared(folder: Folder) -> bool:
    """Tell whether the record was struck out, without reading it."""
    try:
        descriptor = folder.open(NAME)
    except FileNotFoundError:
        return False
    try:
        return os.pread(descriptor, 1, 0) == _STRUCK
    finally:
        os.close(descriptor)


def patched(array: Array, change: Change) -> None:
    """Replace the rows of an array in memory."""
    memory = data_files.as_bytes(array).reshape(-1, change.width) if change.width else array
    memory[change.rows] = change.fresh.reshape(-1, change.width)


def _changes(descriptor: int, catalog: Catalog) -> list[Change]:
    """Read a record: its first line, and of the rest no more than that accounts for."""
    if os.pread(descriptor, 1, 0) == _STRUCK:
        return []
    if is_sparse(descriptor):
        raise InvalidRecordError("next to nothing of it is on the disk")
    line = _head(descriptor)
    record = decode(line)
    if commit_of(record) != catalog.commit:
        return []
    heads = journal_head(record, catalog)
    end = len(line) + sum(head.nbytes for head in heads)
    if end > size_of(descriptor):
        raise InvalidRecordError(f"it should have {end:,} bytes")
    content = read_between(descriptor, 0, end)
    if len(content) < end or crc32(content) != catalog.journal:
        raise InvalidRecordError("its checksum is wrong")
    at, changes = len(line), []
    for head in heads:
        changes.append(_change(content, at, head))
        at += head.nbytes
    return changes


def _head(descriptor: int) -> bytes:
    """Read the first line."""
    size, length = size_of(descriptor), _HEAD_BYTES
    while True:
        content = read_between(descriptor, 0, min(length, size))
        end = content.find(b"\n") + 1
        if end:
            return content[:end]
        if length >= size or length > _LONGEST_HEAD:
            raise InvalidRecordError("its first line has no end")
        length *= 16


def _change(content: bytes, at: int, head: ChangeHead) -> Change:
    """Read the rows of one array, each of which is there, and comes once."""
    entry = head.entry
    parts = []
    counts = (head.rows, head.rows * entry.row_nbytes, head.checksums)
    for dtype, count in zip(("<i8", "u1", "<u4"), counts, strict=True):
        part = np.frombuffer(content, dtype, count, at)
        parts.append(part.astype(part.dtype.newbyteorder("=")))
        at += part.nbytes
    rows, fresh, sums = parts
    sorted_rows = np.sort(rows)
    if sorted_rows[0] < 0 or sorted_rows[-1] >= entry.stored[0]:
        raise InvalidRecordError(f"it has rows that {entry.id} does not have")
    if (sorted_rows[1:] == sorted_rows[:-1]).any():
        raise InvalidRecordError(f"it has a row of {entry.id} twice")
    return Change(entry.id, entry.row_nbytes, rows, fresh, head.first, sums)
