"""The archive that ``torch.save`` writes: a ZIP file with one stored record for each storage.

Source: the PyTorch note "Serialization semantics" and the ZIP specification (APPNOTE.TXT
6.3.10, sections 4.3.7, 4.3.9 and 4.3.12).
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

from ...errors import InvalidValueError
from ...store.format.data_files import as_bytes
from ...store.fs.directory import write_all

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ..._core.memory import Array

_MAGIC = b"PK\x03\x04"
_LOCAL, _CENTRAL = (
    struct.Struct("<26xHH"),
    struct.Struct("<28xHHH12x"),
)  # lengths of what follows
_CRC_OF_CENTRAL, _CRC_OF_DESCRIPTOR = 16, 4  # offsets
_DESCRIPTOR = b"PK\x07\x08"
_PICKLE_LIMIT = 256 << 20  # bytes
_END = 22  # bytes of the record at the end of a ZIP file without a comment


class Record:
    """A stored record of an archive, and how much of it has been written."""

    def __init__(self, name: str, offset: int, nbytes: int) -> None:
        self.name = name
        self.offset = offset
        self.nbytes = nbytes
        self.crc = 0
        self._done = 0

    def write(self, descriptor: int, values: Array) -> None:
        """Write the next values."""
        data = as_bytes(values)
        self.crc = zlib.crc32(data.data, self.crc)
        self._done += write_all(descriptor, data, self.offset + self._done)


class Records:
    """The records of an archive, which is checked before torch reads it.

    Parameters
    ----------
    path : Path
        For messages.
    descriptor : int
        Of the open file.

    Raises
    ------
    InvalidValueError
        It is damaged; or a record is compressed, which torch never does: a few bytes could
        become any number.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        found = list(self._read())
        self._by_offset = {record.offset: record for record in found if record.nbytes}
        self._found = found
        sizes = {record.name.rpartition("/")[2]: record for record in found}
        if "data.pkl" not in sizes:
            raise self._error("it has no record 'data.pkl'")
        if sizes["data.pkl"].nbytes > _PICKLE_LIMIT:
            raise self._error(f"its pickle takes {sizes['data.pkl'].nbytes:,} bytes")
        order = sizes.get("byteorder")
        if order is not None and os.pread(descriptor, 16, order.offset)[:3] == b"big":
            msg = f"{path} was written on a big-endian machine; load and save it with torch"
            raise InvalidValueError(msg)

    def data(self) -> list[Record]:
        """Return the records of storages, in the order of their keys."""
        found = [each for each in self._found if each.name.rpartition("/")[0].endswith("/data")]
        return sorted(found, key=lambda record: int(record.name.rpartition("/")[2]))

    def at(self, offset: int) -> Record | None:
        """Return the record whose contents begin at a byte of the file."""
        return self._by_offset.get(offset)

    def _read(self) -> Iterable[Record]:
        try:
            with (
                os.fdopen(os.dup(self._descriptor), "rb") as file,
                zipfile.ZipFile(file) as archive,
            ):
                if archive.comment:
                    raise self._error("it has a comment, which torch does not write")
                for info in archive.infolist():
                    stored = info.compress_type == zipfile.ZIP_STORED
                    if not stored or info.compress_size != info.file_size:
                        raise self._error(f"its record {info.filename!r:.100} is compressed")
                    local = os.pread(self._descriptor, _LOCAL.size, info.header_offset)
                    if len(local) < _LOCAL.size or not local.startswith(_MAGIC):
                        raise self._error(f"its record {info.filename!r:.100} has no header")
                    at = info.header_offset + _LOCAL.size + sum(_LOCAL.unpack(local))
                    yield Record(info.filename, at, info.file_size)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
            if isinstance(error, InvalidValueError):
                raise
            raise self._error(str(error)) from error

    def _error(self, what: str) -> InvalidValueError:
        msg = (
            f"{self._path} is not a complete file of torch.save: {what}; get it again, or save "
            "it again with torch"
        )
        return InvalidValueError(msg)


def is_archive(descriptor: int) -> bool:
    """Return whether a file begins as a ZIP file; torch wrote none before version 1.6."""
    return os.pread(descriptor, len(_MAGIC), 0) == _MAGIC


def finish_records(descriptor: int, records: Iterable[Record]) -> None:
    """Write the checksums of records whose contents were written after the archive."""
    by_name = {record.name: record for record in records if record.nbytes}
    for record in by_name.values():
        at = record.offset + record.nbytes
        if os.pread(descriptor, len(_DESCRIPTOR), at) == _DESCRIPTOR:
            _write_crc(descriptor, at + _CRC_OF_DESCRIPTOR, record)
    with os.fdopen(os.dup(descriptor), "rb") as file, zipfile.ZipFile(file) as archive:
        at, names = archive.start_dir, archive.namelist()
    for name in names:
        lengths = _CENTRAL.unpack(os.pread(descriptor, _CENTRAL.size, at))
        if name in by_name:
            _write_crc(descriptor, at + _CRC_OF_CENTRAL, by_name[name])
        at += _CENTRAL.size + sum(lengths)


def _write_crc(descriptor: int, at: int, record: Record) -> None:
    os.pwrite(descriptor, record.crc.to_bytes(4, "little"), at)
