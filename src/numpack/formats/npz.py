"""``.npz`` files of NumPy: archives of arrays."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import zipfile
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np

from .._core.memory import aligned_empty
from ..adapters._safetensors_header import open_regular
from ..errors import InvalidValueError, UnsupportedError
from ..store.checks import checked_name
from ..store.format import data_files
from ..store.format.naming import quoted
from ._protocol import ArrayInfo
from .common.file_rows import FileRows
from .common.new_files import NewFile
from .common.refusals import reading, warn_of_attributes
from .common.sources import SlicedSource
from .npy import Header, read_header, require_storable, write_header, write_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .._core.memory import Array
    from ._protocol import Part

LABEL = "an .npz file"
TOGETHER = False
NEEDS_LENGTHS = True
SEQUENTIAL = True

_SUFFIX = ".npy"
_ALIGNMENT = 64
_LOCAL_HEADER = 30  # bytes of the fixed part of a member's header
_ZIP64_FIELD = 20  # bytes of the extra field that `zipfile` adds with `force_zip64`
_PADDING = 0xD935  # the extra field that other tools align members with
_FREE_BYTES = 1 << 30  # that may be unpacked whatever the size of the archive
_FREE_RATIO = 200
_COPIED_BYTES = 8 << 20
_NAME_LIMIT = (1 << 16) - 1


class ReadOptions(TypedDict, total=False):
    """Options of reading.

    Attributes
    ----------
    max_nbytes : int
        Bytes that all arrays may have, by default a GiB, or 200 times the size of the archive
        if that is more.
    """

    max_nbytes: int


class WriteOptions(TypedDict, total=False):
    """Options of writing.

    Attributes
    ----------
    compress : bool
        Whether to compress the arrays, as `numpy.savez_compressed` does. Compressed arrays
        cannot be mapped.
    """

    compress: bool


READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__


def open_source(path: Path, /, *, max_nbytes: int | None = None) -> NpzSource:
    """Open an archive, whose members are read in pieces and compared with their checksums."""
    file = os.fdopen(open_regular(path), "rb")
    try:
        return NpzSource(path, file, max_nbytes)
    except BaseException:
        file.close()
        raise


def create_target(
    path: Path,
    arrays: Mapping[str, ArrayInfo],
    attrs: Mapping[str, Any],
    /,
    *,
    compress: bool = False,
) -> NpzTarget:
    """Begin to write an archive."""
    if not isinstance(compress, bool | np.bool_):
        msg = f"compress must be True or False, which {compress!r} is not"
        raise InvalidValueError(msg)
    for name, info in arrays.items():
        _require_name(name)
        require_storable(name, info, LABEL)
    warn_of_attributes(arrays, attrs, LABEL)
    return NpzTarget(path, arrays, compress=compress)


class _Member(NamedTuple):
    """A member of an archive, and what its header tells."""

    zipped: zipfile.ZipInfo
    header: Header
    start: int  # of the values in the member

    @property
    def nbytes(self) -> int:
        return math.prod(self.header.shape) * self.header.dtype.itemsize


class NpzSource(SlicedSource):
    """The arrays of an archive.

    Parameters
    ----------
    path : Path
    file : file
        Open for reading, and closed with the source.
    max_nbytes : int or None
    """

    def __init__(self, path: Path, file: IO[bytes], max_nbytes: int | None) -> None:
        self._path, self._file = path, file
        self._streams: dict[str, _Stream] = {}
        self._spooled: dict[str, IO[bytes]] = {}
        with reading(path, LABEL):
            self._archive = zipfile.ZipFile(file)
            self._members = self._read_members()
        self._require_size(max_nbytes)
        super().__init__(
            {
                name: ArrayInfo(member.header.dtype, member.header.shape)
                for name, member in self._members.items()
            }
        )

    def _read_members(self) -> dict[str, _Member]:
        members: dict[str, _Member] = {}
        for zipped in self._archive.infolist():
            if not zipped.filename.endswith(_SUFFIX):
                msg = f"its member {quoted(zipped.filename)} is no array"
                raise ValueError(msg)
            name = checked_name(zipped.filename.removesuffix(_SUFFIX))
            if name in members:
                msg = f"it has two members {quoted(zipped.filename)}"
                raise ValueError(msg)
            with self._archive.open(zipped) as stream:
                header = read_header(stream, self._path, zipped.filename)
                member = members[name] = _Member(zipped, header, stream.tell())
            is_whole = zipped.file_size == member.start + member.nbytes
            if not header.dtype.hasobject and not is_whole:
                msg = (
                    f"the size of its member {quoted(zipped.filename)} is not that of the array"
                )
                raise ValueError(msg)
        return members

    def _require_size(self, most: int | None) -> None:
        """Check that the archive is no bomb."""
        size = os.fstat(self._file.fileno()).st_size
        limit = max(_FREE_BYTES, _FREE_RATIO * size) if most is None else most
        total = sum(member.zipped.file_size for member in self._members.values())
        if total > limit:
            msg = (
                f"{self._path} has {size:,} bytes and would be unpacked to {total:,}, more "
                f"than {limit:,}; if you trust it, pass max_nbytes={total}"
            )
            raise InvalidValueError(msg)

    def read(self, name: str, start: int, stop: int) -> Array:
        """Return rows of an array; it is fastest to read them in order."""
        member = self._members[name]
        header = member.header
        with reading(self._path, LABEL):
            if header.fortran and len(header.shape) > 1:
                return self._spool(name).read(start, stop)
            shape = (stop - start, *header.shape[1:]) if header.shape else ()
            fresh = aligned_empty(shape, header.dtype)
            width = math.prod(header.shape[1:]) * header.dtype.itemsize
            at = member.start + (start * width if header.shape else 0)
            self._stream(name, at).fill(data_files.as_bytes(fresh))
            return fresh

    def _stream(self, name: str, at: int) -> _Stream:
        found = self._streams.get(name)
        if found is None or found.at > at:
            found = self._streams[name] = _Stream(self._archive, self._members[name].zipped)
        found.skip_to(at)
        return found

    def _spool(self, name: str) -> FileRows:
        """Unpack a member whose rows are not consecutive into a temporary file."""
        member, known = self._members[name], self._spooled.get(name)
        if known is None:
            known = self._spooled[name] = tempfile.TemporaryFile()  # noqa: SIM115 -- closed later
            stream = _Stream(self._archive, member.zipped)
            stream.skip_to(member.start)
            buffer = aligned_empty((_COPIED_BYTES,), np.dtype(np.uint8))
            for at in range(0, member.nbytes, _COPIED_BYTES):
                part = buffer[: member.nbytes - at]
                stream.fill(part)
                known.write(part.data)
            known.flush()
        header = member.header
        return FileRows(self._path, known.fileno(), 0, header.dtype, header.shape, fortran=True)

    def close(self) -> None:
        """Close the archive."""
        for spooled in self._spooled.values():
            spooled.close()
        self._archive.close()
        self._file.close()


class _Stream:
    """A member that is unpacked from its beginning on.

    Attributes
    ----------
    at : int
        Bytes that have been unpacked.
    """

    def __init__(self, archive: zipfile.ZipFile, zipped: zipfile.ZipInfo) -> None:
        self._stream = archive.open(zipped)
        self._end = zipped.file_size
        self.at = 0

    def skip_to(self, at: int) -> None:
        """Skip bytes."""
        while self.at < at:
            self.at += len(self._read(min(at - self.at, _COPIED_BYTES)))

    def fill(self, memory: Array) -> None:
        """Fill memory; after the last byte, the checksum is compared."""
        done = 0
        while done < len(memory):
            part = self._read(len(memory) - done)
            memory.data[done : done + len(part)] = part
            done += len(part)
        self.at += done
        if self.at == self._end and self._stream.read(1):
            raise EOFError

    def _read(self, count: int) -> bytes:
        part = self._stream.read(count)
        if not part:
            msg = "a member ends too early"
            raise EOFError(msg)
        return part


class NpzTarget:
    """An archive that is being written, one array after the other."""

    def __init__(self, path: Path, arrays: Mapping[str, ArrayInfo], *, compress: bool) -> None:
        self._arrays = arrays
        self._kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        self._member: tuple[str, IO[bytes]] | None = None  # that is being written
        self._new = NewFile(path)
        try:
            self._file = self._new.path.open("xb")
            self._archive = zipfile.ZipFile(self._file, "w", self._kind)
        except BaseException:
            self._new.abort()
            raise

    def write(self, part: Part) -> None:
        """Write the next rows of an array."""
        for name, array in part.items():
            write_values(self._open(name), array)

    def _open(self, name: str) -> IO[bytes]:
        """Return the member of an array; begin it if it is not the last one."""
        if self._member is not None and self._member[0] == name:
            return self._member[1]
        self._end()
        zipped = zipfile.ZipInfo(f"{name}{_SUFFIX}")
        zipped.compress_type = self._kind
        zipped.external_attr = 0o600 << 16
        if self._kind == zipfile.ZIP_STORED:
            zipped.extra = _padding(self._file.tell(), zipped)
        member = self._archive.open(zipped, "w", force_zip64=True)
        self._member = name, member
        write_header(member, self._arrays[name])
        return member

    def _end(self) -> None:
        if self._member is not None:
            self._member[1].close()

    def commit(self) -> None:
        """Complete the archive."""
        self._end()
        self._archive.close()
        self._file.close()
        self._new.commit()

    def abort(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(Exception):  # the disk is full, for example
            self._end()
            self._archive.close()
        self._file.close()
        self._new.abort()


def _padding(at: int, zipped: zipfile.ZipInfo) -> bytes:
    """Return an extra field after which the content of a member is aligned."""
    name = zipped.filename.encode()  # as `zipfile` does
    length = -(at + _LOCAL_HEADER + len(name) + _ZIP64_FIELD + 4) % _ALIGNMENT
    return _PADDING.to_bytes(2, "little") + length.to_bytes(2, "little") + bytes(length)


def _require_name(name: str) -> None:
    """Check that a member can have the name of an array.

    Raises
    ------
    UnsupportedError
        It cannot.
    """
    try:
        encoded = f"{name}{_SUFFIX}".encode()
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded or len(encoded) > _NAME_LIMIT:
        msg = (
            f"an .npz file cannot hold an array called {quoted(name)}: its names are UTF-8, "
            f"have no NUL character and up to {_NAME_LIMIT:,} bytes; pass rename="
        )
        raise UnsupportedError(msg)
