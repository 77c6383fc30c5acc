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

from ..errors import CorruptStoreError
from . import data
from ._sums import crc32
from .files import write_all
from .state import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._memory import Array
    from .dropped import Numbers
    from .files import Folder
    from .replacing import Replacement

NAME = "journal"

_KEPT_BYTES = 64 * 1024  # a struck-out record up to this length keeps its room on the disk
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
    sums : ndarray of uint32
        The checksums from that block on.
    """

    id: str
    width: int
    rows: Numbers
    fresh: Array
    first: int
    sums: Array

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
            "sums": len(change.sums),
        }
        for change in changes
    ]
    head = encode({"commit": commit, "arrays": arrays})
    if durable:
        os.fsync(descriptor)
    try:
        crc, offset = crc32(head), write_all(descriptor, head[1:], 1) + 1
        for change in changes:
            change.offset = offset
            for part in change.written():
                crc, offset = crc32(part, crc), offset + write_all(descriptor, part, offset)
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


def read(folder: Folder, commit: int, crc: int) -> list[Change]:
    """Read the record of a commit; nothing if it was struck out, or if a later one was begun.

    Raises
    ------
    CorruptStoreError
        The record is damaged, and so may be the rows that it was to replace.
    """
    content = _content(folder)
    if content[:1] == _STRUCK:
        return []
    head, newline, _ = content.partition(b"\n")
    try:
        record = decode(head + newline)
        if record["commit"] != commit:
            return []
        changes, end = _changes(content, len(head) + 1, record["arrays"])
        if crc32(content[:end]) != crc:
            raise ValueError("its checksum is wrong")  # noqa: TRY301
    except (ValueError, KeyError, TypeError) as error:
        msg = (
            f"the journal {folder.path}/{NAME} is damaged ({error}): rows of the last "
            "replace may be written or not; restore the store from a backup, or make the "
            "journal a single line end to go on with the rows as they are"
        )
        raise CorruptStoreError(msg) from error
    return changes


def strike_out(descriptor: int, *, durable: bool = False) -> None:
    """Mark the record as done with."""
    os.pwrite(descriptor, _STRUCK, 0)
    if os.fstat(descriptor).st_size > _KEPT_BYTES:
        if durable:
            os.fdatasync(descriptor)
        os.ftruncate(descriptor, 1)


def read_beside(folder: Folder, commit: int, crc: int) -> list[Change]:
    """Read the record of a commit as `read` does, without keeping writers out.

    What seems damaged was only read while it was being written, if it has changed since.
    """
    while True:
        before = _content(folder)
        try:
            return read(folder, commit, crc)
        except CorruptStoreError:
            if _content(folder) == before:
                raise


def _content(folder: Folder) -> bytes:
    try:
        return folder.read(NAME)
    except FileNotFoundError:
        return b""


def is_struck_out(folder: Folder) -> bool:
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
    memory = data.as_bytes(array).reshape(-1, change.width) if change.width else array
    memory[change.rows] = change.fresh.reshape(-1, change.width)


def _changes(content: bytes, at: int, arrays: list[dict[str, Any]]) -> tuple[list[Change], int]:
    changes = []
    for each in arrays:
        parts = []
        counts = (each["rows"], each["rows"] * each["width"], each["sums"])
        for dtype, count in zip(("<i8", "u1", "<u4"), counts, strict=True):
            part = np.frombuffer(content, dtype, count, at)
            parts.append(part.astype(part.dtype.newbyteorder("=")))
            at += part.nbytes
        rows, fresh, sums = parts
        changes.append(Change(each["id"], each["width"], rows, fresh, each["first"], sums))
    return changes, at
