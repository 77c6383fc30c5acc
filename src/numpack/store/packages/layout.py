"""The layout of a package: what its records look like, and where its rows are."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from .directory import Directory

if TYPE_CHECKING:
    from collections.abc import Callable

ALIGNMENT = 4096  # of rows in the archive
STORED, ZSTD = 0, 93  # methods of compression (APPNOTE 4.4.5)
LARGE, MANY = 0xFFFFFFFF, 0xFFFF  # in place of a number that is in a ZIP64 record

LOCAL = struct.Struct("<4s5H3L2H")  # (4.3.7) the header before the data of a member
RECORD = struct.Struct("<4s6H3L5H2L")  # (4.3.12) of a member in the central directory
END = struct.Struct("<4s4H2LH")  # (4.3.16)
END64 = struct.Struct("<4sQ2H2L4Q")  # (4.3.14)
LOCATOR = struct.Struct("<4sLQL")  # (4.3.15) of the ZIP64 end record
LOCAL_SIGNATURE, RECORD_SIGNATURE = b"PK\3\4", b"PK\1\2"
END_SIGNATURE, END64_SIGNATURE, LOCATOR_SIGNATURE = b"PK\5\6", b"PK\6\6", b"PK\6\7"
END64_SIZE = END64.size - 12  # as the record states it

TAIL_BYTES = 64 << 10  # read first: the directory, the log and the header of most packages
_DIRECTORY_LIMIT = 1 << 28


class Member(NamedTuple):
    """A file in a package.

    Attributes
    ----------
    header : int
        Offset of its local header.
    start : int
        Offset of its data.
    packed : int
        Bytes of its data in the archive.
    size : int
        Bytes of the file.
    method : int
        How it is compressed.
    crc : int
        CRC-32 of the file.
    """

    header: int
    start: int
    packed: int
    size: int
    method: int
    crc: int

    @classmethod
    def of(cls, directory: Directory, name: str) -> Member | None:
        """Return the member of a name; ``None`` if there is none."""
        found = directory.find(name)
        return None if found is None else cls(*found)


def read_directory(
    tail: bytes, size: int, read: Callable[[int, int], bytes]
) -> tuple[Directory, int]:
    """Read the central directory of an archive, which ends with it and one or three records.

    Parameters
    ----------
    tail : bytes
        The end of the archive.
    size : int
        Bytes of the archive.
    read : callable
        Returns the bytes from a start to an end, for a directory that `tail` does not have.

    Returns
    -------
    Directory
    int
        Its offset.

    Raises
    ------
    ValueError
        It is not that of a package; the message says why.
    """
    if len(tail) < END.size or tail[-END.size :][:4] != END_SIGNATURE:
        raise ValueError("it does not end as a ZIP archive does")
    numbers = END.unpack(tail[-END.size :])[1:]
    *disks, count, length, start, comment = numbers
    end = size - END.size
    if MANY in (count, disks[-1]) or LARGE in (length, start):
        *disks, count, length, start = _read_end64(tail, end)
        end -= LOCATOR.size + END64.size
    if disks != [0, 0, count] or comment:
        raise ValueError("it is one part of several, or has a comment")
    if start + length != end:
        raise ValueError(f"its directory of {length:,} bytes is not at its end")
    if length > _DIRECTORY_LIMIT:
        raise ValueError(f"its directory has {length:,} bytes")
    at = start - (size - len(tail))
    data = tail[at : at + length] if at >= 0 else read(start, end)
    return Directory(data, count, start), start


def _read_end64(tail: bytes, end: int) -> tuple[int, ...]:
    """Return the numbers in the ZIP64 end record, which precedes its locator."""
    at = len(tail) - END.size - LOCATOR.size - END64.size
    if at < 0:
        raise ValueError("its ZIP64 end record is missing")
    signature, length, _, _, *numbers = END64.unpack_from(tail, at)
    found = LOCATOR.unpack_from(tail, at + END64.size)
    place = LOCATOR_SIGNATURE, 0, end - LOCATOR.size - END64.size, 1
    if (signature, length) != (END64_SIGNATURE, END64_SIZE) or found != place:
        raise ValueError("its ZIP64 end record is damaged")
    return tuple(numbers)
