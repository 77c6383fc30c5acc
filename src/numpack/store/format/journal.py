"""The journal, a redo log: the rows that a commit replaces in place.

The journal is written first, then the commit with the journal's checksum, then the rows in
place; then the journal is cleared. If a process dies in between, the next writer replays the
journal. Its first byte is written last and cleared first, so a file that begins with ``{`` is
a complete journal.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import CorruptStoreError
from ..fs.directory import is_sparse, read_between, write_all
from ..fs.errors import too_large_error
from ..fs.lock import SharedLock
from ..fs.syscalls import size_of
from ..kernels.checksums import crc32
from . import data_files
from .dtype_codes import InvalidRecordError
from .journal_header import commit_of, journal_header
from .log.lines import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..._core.memory import Array
    from ..fs.directory import Folder
    from ..rows.deleted_rows import Numbers
    from ..rows.replacing import Replacement
    from .journal_header import ChangeHeader
    from .log.state import Catalog

NAME = "journal"

_KEPT_BYTES = 64 * 1024  # a cleared journal is truncated only if it is longer
_HEADER_BYTES = 4096  # enough for most first lines
_LONGEST_HEADER = 1 << 28  # enough for some million arrays
_SHORT_BYTES = 64 * 1024  # up to which parts are copied, to write them in one call
_COMPLETE, _CLEARED = b"{", b"\n"
_COMMIT = re.compile(rb'\{"commit":([0-9]+),')


class Change(NamedTuple):
    """Replaced rows of one array.

    Attributes
    ----------
    id : str
        Base name of the data file.
    width : int
        Size of a row in bytes.
    rows : ndarray of int64
        Row numbers in the data file, without duplicates.
    fresh : ndarray of uint8
        Bytes of the new rows, one row after another.
    first : int
        Number of the first block whose checksum changes.
    checksums : ndarray of uint32
        New checksums, from that block on.
    """

    id: str
    width: int
    rows: Numbers
    fresh: Array
    first: int
    checksums: Array

    def blocks(self) -> Iterator[tuple[Numbers, Array]]:
        """Iterate over row numbers and new rows, here in a single piece."""
        yield self.rows, self.fresh


def write(
    descriptor: int,
    folder: Folder,
    commit: int,
    changes: Sequence[Replacement],
    *,
    durable: bool,
) -> int:
    """Write a journal and return its CRC-32.

    With `durable`, the clearing of the previous journal is flushed first: after a power loss,
    a partly overwritten one would look like that journal, damaged.
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
        os.pwrite(descriptor, _COMPLETE, 0)
        if durable:
            os.fsync(descriptor)
            folder.sync()
    except OSError:  # for example, the disk is full
        with contextlib.suppress(OSError):
            os.pwrite(descriptor, _CLEARED, 0)
        os.ftruncate(descriptor, 1)
        raise
    return crc


def _write_all_but_first(descriptor: int, head: bytes, changes: Sequence[Replacement]) -> int:
    """Write a journal without its first byte, short parts in one call; return its CRC-32."""
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
    """Read the journal of the last commit.

    Returns
    -------
    list of Change
        Empty if the journal was cleared, or is that of a later commit not yet made.

    Raises
    ------
    CorruptStoreError
        The journal is damaged, and so may be the rows that it was to replace.
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
            "replace may or may not have been written; restore the store from a backup, or "
            "overwrite the journal with a single newline to keep the rows as they are"
        )
        raise CorruptStoreError(msg) from error
    except MemoryError:
        raise too_large_error(f"{folder.path}/{NAME}", folder.size(NAME)) from None


def clear(descriptor: int, *, durable: bool = False) -> None:
    """Clear the journal, once its rows have been written in place."""
    os.pwrite(descriptor, _CLEARED, 0)
    if size_of(descriptor) > _KEPT_BYTES:
        if durable:
            os.fdatasync(descriptor)
        os.ftruncate(descriptor, 1)


def read_unlocked(folder: Folder, catalog: Catalog) -> list[Change]:
    """Read the journal of the last commit as `read` does, without the store's lock.

    A journal that seems damaged is read again if it has changed meanwhile: it was being
    written.
    """
    while True:
        before = _fingerprint(folder)
        try:
            return read(folder, catalog)
        except CorruptStoreError:
            if _fingerprint(folder) == before:
                raise


def _fingerprint(folder: Folder) -> tuple[Any, ...]:
    """Return values that differ if the journal has been written in between."""
    try:
        descriptor = folder.open(NAME)
    except FileNotFoundError:
        return ()
    try:
        status = os.fstat(descriptor)
        head = read_between(descriptor, 0, _HEADER_BYTES)
        return status.st_ino, status.st_size, status.st_mtime_ns, head
    finally:
        os.close(descriptor)


def is_cleared(folder: Folder) -> bool:
    """Return whether the journal was cleared, without reading it."""
    try:
        descriptor = folder.open(NAME)
    except FileNotFoundError:
        return False
    try:
        return os.pread(descriptor, 1, 0) == _CLEARED
    finally:
        os.close(descriptor)


def commit_to_come(folder: Folder, commit: int) -> bool:
    """Return whether the journal is that of a commit after `commit`, without the store's lock.

    Either a replace is about to be committed, or its process died before.
    """
    try:
        start = folder.read_start(NAME, _HEADER_BYTES)
    except FileNotFoundError:
        return False
    if not start.startswith(_COMPLETE):
        return False
    found = _COMMIT.match(start)  # no match: it is being written
    return found is None or int(found[1]) > commit


def is_replacing(folder: Folder, commit: int) -> bool:
    """Return whether a writer is about to commit a replace, which may have seen no hold.

    One that was committed shows in the revisions of the arrays.
    """
    if not commit_to_come(folder, commit):
        return False
    return SharedLock(folder).would_wait()  # else its process was interrupted


def apply_in_memory(array: Array, change: Change) -> None:
    """Replace the rows of an array in memory."""
    memory = data_files.as_bytes(array).reshape(-1, change.width) if change.width else array
    memory[change.rows] = change.fresh.reshape(-1, change.width)


def _changes(descriptor: int, catalog: Catalog) -> list[Change]:
    """Read the first line of a journal, then as many bytes as that line accounts for."""
    if os.pread(descriptor, 1, 0) == _CLEARED:
        return []
    if is_sparse(descriptor):
        raise InvalidRecordError("it consists almost entirely of holes")
    line = _first_line(descriptor)
    record = decode(line)
    if commit_of(record) != catalog.commit:
        return []
    headers = journal_header(record, catalog)
    end = len(line) + sum(header.nbytes for header in headers)
    if end > size_of(descriptor):
        raise InvalidRecordError(f"it should have {end:,} bytes")
    content = read_between(descriptor, 0, end)
    if len(content) < end or crc32(content) != catalog.journal:
        raise InvalidRecordError("its checksum is wrong")
    at, changes = len(line), []
    for header in headers:
        changes.append(_change(content, at, header))
        at += header.nbytes
    return changes


def _first_line(descriptor: int) -> bytes:
    size, length = size_of(descriptor), _HEADER_BYTES
    while True:
        content = read_between(descriptor, 0, min(length, size))
        end = content.find(b"\n") + 1
        if end:
            return content[:end]
        if length >= size or length > _LONGEST_HEADER:
            raise InvalidRecordError("its first line has no end")
        length *= 16


def _change(content: bytes, at: int, header: ChangeHeader) -> Change:
    """Read the new rows of one array; check that row numbers are valid and unique."""
    entry = header.entry
    parts = []
    counts = (header.rows, header.rows * entry.row_nbytes, header.checksums)
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
    return Change(entry.id, entry.row_nbytes, rows, fresh, header.first, sums)
