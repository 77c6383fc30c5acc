"""`ArchiveWriter`: a ZIP archive that is written from the beginning to the end."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ...store.fs.directory import write_all
from ...store.kernels.checksums import crc32
from ...store.packages.layout import (
    ALIGNMENT,
    END,
    END64,
    END64_SIGNATURE,
    END64_SIZE,
    END_SIGNATURE,
    LARGE,
    LOCAL,
    LOCAL_SIGNATURE,
    LOCATOR,
    LOCATOR_SIGNATURE,
    MANY,
    RECORD,
    RECORD_SIGNATURE,
    STORED,
    ZSTD,
    Member,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..._core.memory import Array

_UNIX = 3 << 8
_MODE = 0o100644 << 16  # a regular file
_DATE = 1 << 5 | 1  # the first day of 1980, at which the years of ZIP begin
_VERSION, _VERSION_64, _VERSION_ZSTD = 20, 45, 63  # that are needed to extract it (4.4.3)
_ZIP64, _ALIGNED = 1, 0xD935  # extra fields: sizes of 64 bits, and padding
_ALIGN = struct.Struct("<3H")  # the beginning of the latter
_SURPLUS = 1 << 20  # bytes by which compressed data may be longer, and more


class ArchiveWriter:
    """A ZIP archive whose members follow each other without gaps.

    Parameters
    ----------
    descriptor : int
        A new file.

    Attributes
    ----------
    nbytes : int
        What was written.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._members: list[tuple[bytes, Member]] = []
        self.nbytes = 0

    def add(self, name: str, content: bytes) -> None:
        """Write a small file."""
        header, text, crc = self.nbytes, name.encode(), crc32(content)
        self.nbytes += LOCAL.size + len(text)
        start = self.nbytes
        self._write(content)
        self._finish(text, Member(header, start, len(content), len(content), STORED, crc), b"")

    def add_rows(
        self,
        name: str,
        nbytes: int,
        chunks: Iterable[Array | bytes],
        crc: Callable[[], int],
        method: int = STORED,
    ) -> None:
        """Write rows, which begin at a multiple of `ALIGNMENT` unless they are compressed.

        Parameters
        ----------
        name : str
        nbytes : int
            Bytes of the rows.
        chunks : iterable of buffer
            The bytes of the member: those of the rows, or what they are compressed to.
        crc : callable
            Returns the CRC-32 of the rows, once all chunks were written.
        method : int
        """
        header, text, extra = self.nbytes, name.encode(), b""
        if is_large := nbytes > LARGE - _SURPLUS - nbytes // 128:
            extra = _extra(_ZIP64, 0, 0)
        if method == STORED:
            extra += _padding(header + LOCAL.size + len(text) + len(extra))
        self.nbytes = start = header + LOCAL.size + len(text) + len(extra)
        for chunk in chunks:
            self._write(chunk)
        packed = self.nbytes - start
        if is_large:
            sizes = _extra(_ZIP64, nbytes, packed)
            extra = sizes + extra[len(sizes) :]
        self._finish(text, Member(header, start, packed, nbytes, method, crc()), extra)

    def close(self) -> None:
        """Write the central directory and the records at the end."""
        start = self.nbytes
        for text, member in self._members:
            self._write(_record(text, member))
        count, length = len(self._members), self.nbytes - start
        if count >= MANY or length >= LARGE or start >= LARGE:
            at, version = self.nbytes, _VERSION_64
            place = version | _UNIX, version, 0, 0, count, count, length, start
            self._write(END64.pack(END64_SIGNATURE, END64_SIZE, *place))
            self._write(LOCATOR.pack(LOCATOR_SIGNATURE, 0, at, 1))
        count, length, start = min(count, MANY), min(length, LARGE), min(start, LARGE)
        self._write(END.pack(END_SIGNATURE, 0, 0, count, count, length, start, 0))

    def _finish(self, text: bytes, member: Member, extra: bytes) -> None:
        """Write the header of a member before its data, with what is now known of it."""
        is_large = extra[:2] == _ZIP64.to_bytes(2, "little")
        sizes = (LARGE, LARGE) if is_large else (member.packed, member.size)
        header = LOCAL.pack(
            LOCAL_SIGNATURE,
            _version(member, is_large=is_large),
            0,
            member.method,
            0,
            _DATE,
            member.crc,
            *sizes,
            len(text),
            len(extra),
        )
        write_all(self._descriptor, header + text + extra, member.header)
        self._members.append((text, member))

    def _write(self, data: Array | bytes) -> None:
        if len(data):
            self.nbytes += write_all(self._descriptor, data, self.nbytes)


def _record(text: bytes, member: Member) -> bytes:
    """Return the record of a member in the central directory."""
    sizes = member.size, member.packed, member.header
    large = [size for size in sizes if size >= LARGE]
    extra = _extra(_ZIP64, *large) if large else b""
    size, packed, header = (min(each, LARGE) for each in sizes)
    version = _version(member, is_large=bool(large))
    fields = version | _UNIX, version, 0, member.method, 0, _DATE, member.crc, packed, size
    rest = len(text), len(extra), 0, 0, 0, _MODE, header
    return RECORD.pack(RECORD_SIGNATURE, *fields, *rest) + text + extra


def _version(member: Member, *, is_large: bool) -> int:
    if member.method == ZSTD:
        return _VERSION_ZSTD
    return _VERSION_64 if is_large else _VERSION


def _extra(kind: int, *numbers: int) -> bytes:
    """Return an extra field of numbers of 64 bits."""
    return struct.pack(f"<2H{len(numbers)}Q", kind, 8 * len(numbers), *numbers)


def _padding(start: int) -> bytes:
    """Return an extra field after which what would be at `start` is aligned, if it is not."""
    if not start % ALIGNMENT:
        return b""
    length = -(start + _ALIGN.size) % ALIGNMENT
    return _ALIGN.pack(_ALIGNED, 2 + length, ALIGNMENT) + bytes(length)
