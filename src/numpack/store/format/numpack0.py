"""Folders that NumPack 0.x wrote: what they hold, checked in full and left as they are.

The layout has no checksums, so every number is held against those that it has to agree
with, and nothing is allocated because a file claims that it is needed. All integers are
little-endian::

    metadata.npkm       "NPKB", u32 version = 1, u64 sum of the sizes, u32 number of arrays;
                        then of each array: u32 length and name, u32 ndim, u64 × ndim shape,
                        u32 length and data file, u64 modified in µs since 1970, u64 size,
                        u8 dtype, u8 compression, i32 level, u64 original size,
                        u64 compressed size, u8 flag (1: a table of blocks follows)
    data_<name>.npkd    the rows, deleted ones too, in C order
    deleted_<name>.npkb u64 rows, u64 deleted rows, then u64 words, in which bit i % 64 of
                        word i // 64 is set where row i is alive; absent if no row ever died
"""

from __future__ import annotations

import errno
import math
import os
import stat
import struct
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ...errors import CorruptStoreError, NewerFormatError, StoreError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..._core.dtypes import DType
    from ..._core.memory import Array

METADATA = "metadata.npkm"

_MAGIC, _VERSION = b"NPKB", 1
_START = struct.Struct("<4sI")  # magic and version, which stay where they are
_COUNTS = struct.Struct("<QI")
_LENGTH = struct.Struct("<I")
_REST = struct.Struct("<QQBBiQQB")  # of an array, from the time of its change
_BITMAP = struct.Struct("<QQ")

_CODES = ("?", "<u1", "<u2", "<u4", "<u8", "<i1", "<i2", "<i4", "<i8")
_DTYPES: tuple[DType, ...] = tuple(map(np.dtype, (*_CODES, "<f2", "<f4", "<f8", "<c8", "<c16")))

_DATA, _DELETED = ("data_", ".npkd"), ("deleted_", ".npkb")
_TEXT_BYTES = 65_536  # far more than any file system takes in the name of a file
_BLOCK_BYTES = 65_536  # of a bitmap, searched at a time
_HOLES_BYTES = 1 << 20  # of a bitmap that may be all holes, so all rows deleted
_HOLES_FACTOR = 64  # a larger bitmap has at most so many bytes for each on the disk

_MAX_NDIM = 64  # NumPy's
_MAX_BYTES = np.iinfo(np.intp).max


@dataclass(frozen=True, slots=True, eq=False)
class Numpack0Array:
    """One array of a folder of NumPack 0.x.

    Attributes
    ----------
    name : str
    file : str
        Name of the data file in the folder.
    dtype : numpy.dtype
        Little-endian.
    shape : tuple of int
        Of the data file: deleted rows count.
    modified : int
        In microseconds since 1970.
    dropped : numpy.ndarray
        The deleted rows' numbers in the data file, int64, ascending.
    """

    name: str
    file: str
    dtype: DType
    shape: tuple[int, ...]
    modified: int
    dropped: Array


def read(folder: Path, descriptor: int | None = None) -> dict[str, Numpack0Array]:
    """Read which arrays a folder of NumPack 0.x holds; nothing is mapped or changed.

    Parameters
    ----------
    folder : Path
    descriptor : int, optional
        The folder, where it is open already: the path is used in messages only.

    Returns
    -------
    dict of str to Numpack0Array
        By name, in the order of the metadata.

    Raises
    ------
    CorruptStoreError
        A file is damaged, missing, or a link.
    NewerFormatError
        The version is none of NumPack 0.x.
    UnsupportedError
        An array is compressed.
    StoreError
        A file cannot be read.
    """
    with _Directory.opened(folder, descriptor) as directory:
        with directory.file(METADATA) as source:
            if source is None:
                raise _damaged(folder / METADATA, "it is missing")
            found = _metadata(source)
        arrays = {}
        for array in found:
            _check_data(directory, array)
            dropped = _dropped(directory, bitmap_of(array.file), _rows(array.shape))
            arrays[array.name] = replace(array, dropped=dropped)
    return arrays


def open_file(name: str, directory: int) -> int:
    """Open a regular file of a folder for reading; return its descriptor.

    No link is followed, and nothing that blocks is waited for.

    Raises
    ------
    OSError
        ``ELOOP`` for a link, ``EINVAL`` for what is no regular file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=directory)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "Not a regular file", name)


@dataclass(slots=True)
class _Directory:
    """A folder held open: what is read of it is one folder's, whatever its path becomes."""

    path: Path
    descriptor: int

    @classmethod
    @contextmanager
    def opened(cls, path: Path, descriptor: int | None) -> Iterator[_Directory]:
        if descriptor is not None:
            yield cls(path, descriptor)
            return
        try:
            own = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise _damaged(path / METADATA, "it is missing") from None
        except OSError as error:
            raise _unreadable(path / METADATA, error) from error
        try:
            yield cls(path, own)
        finally:
            os.close(own)

    def status(self, name: str) -> os.stat_result | None:
        """Return the status of a regular file, or ``None`` if there is none of that name.

        A link is refused wherever it leads: it would show what is not in the folder, and an
        upgrade would move it in place of the rows. So is what blocks whoever opens it.
        """
        path = self.path / name
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                return None
            raise _unreadable(path, error) from error
        if not stat.S_ISREG(status.st_mode):
            kind = "a link" if stat.S_ISLNK(status.st_mode) else "no file"
            raise _damaged(path, f"it is {kind}, not a file", "or put the file itself there")
        return status

    @contextmanager
    def file(self, name: str) -> Iterator[_Source | None]:
        """Open a regular file for reading; ``None`` if there is none of that name."""
        if self.status(name) is None:
            yield None
            return
        try:
            descriptor = open_file(name, self.descriptor)
        except OSError as error:  # it was replaced by something else meanwhile
            raise _unreadable(self.path / name, error) from error
        with open(descriptor, "rb") as file:  # noqa: PTH123 -- there is no path
            yield _Source(file, self.path / name, os.fstat(descriptor).st_size)


@dataclass(slots=True)
class _Source:
    """A file that is read from its beginning, never beyond its end."""

    file: BinaryIO
    path: Path
    left: int

    def take(self, count: int) -> bytes:
        try:
            data = self.file.read(count) if count <= self.left else b""
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if len(data) != count:
            at = self.file.tell() - len(data)
            what = f"it ends at byte {at + self.left:,}, {count:,} bytes are needed at {at:,}"
            raise _damaged(self.path, what)
        self.left -= count
        return data

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def text(self, what: str) -> str:
        (length,) = self.unpack(_LENGTH)
        if length > _TEXT_BYTES:
            raise _damaged(
                self.path, f"{what} takes {length:,} bytes, not up to {_TEXT_BYTES:,}"
            )
        data = self.take(length)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise _damaged(
                self.path, f"{what}, {data[:64]!r}, is no UTF-8 ({error.reason})"
            ) from None


def _metadata(source: _Source) -> list[Numpack0Array]:
    """Read all arrays; their data files and bitmaps are not looked at."""
    _check_version(source)
    _, count = source.unpack(_COUNTS)  # nothing depends on the sum, so it refuses nothing
    arrays: list[Numpack0Array] = []
    names, paths = set(), set()
    for _ in range(count):
        array = _array(source)
        # Data files as well: else, dropping one array would take another's rows.
        if array.name in names or array.file in paths:
            what = f"it names the array {array.name!r} or its data file {array.file!r} twice"
            raise _damaged(source.path, what)
        names.add(array.name)
        paths.add(array.file)
        arrays.append(array)
    if source.left:
        what = f"{source.left:,} bytes follow the last of {count:,} arrays, which should end it"
        raise _damaged(source.path, what)
    return arrays


def _check_version(source: _Source) -> None:
    magic, version = source.unpack(_START)
    if magic != _MAGIC or version < _VERSION:
        what = f"it begins with {magic!r} and version {version}, not {_MAGIC!r} and {_VERSION}"
        raise _damaged(source.path, what)
    if version > _VERSION:
        msg = (
            f"{source.path} has format version {version}, and this numpack reads version "
            f"{_VERSION} of NumPack 0.x; upgrade numpack"
        )
        raise NewerFormatError(msg)


def _array(source: _Source) -> Numpack0Array:
    """Read what the metadata says of one array."""
    name = source.text("the name of an array")
    shape = _shape(source, name)
    file = _file(source, name)
    modified, size, code, compression, _, _, _, flag = source.unpack(_REST)
    if compression or flag:
        _refuse_compressed(source.path, name)
    if code >= len(_DTYPES):
        what = f"the dtype of {name!r} has code {code}, not one up to {len(_DTYPES) - 1}"
        raise _damaged(source.path, what)
    _check_size(source.path, name, _DTYPES[code], shape, size)
    return Numpack0Array(name, file, _DTYPES[code], shape, modified, _none())


def _shape(source: _Source, name: str) -> tuple[int, ...]:
    (ndim,) = source.unpack(_LENGTH)
    if ndim > _MAX_NDIM:
        what = f"{name!r} has {ndim:,} dimensions, and arrays have up to {_MAX_NDIM}"
        raise _damaged(source.path, what)
    return struct.unpack(f"<{ndim}Q", source.take(8 * ndim))


def _file(source: _Source, name: str) -> str:
    """Read a data file's name: one of the layout, so none of metadata, bitmap or new store."""
    file = source.text(f"the data file of {name!r}")
    prefix, suffix = _DATA
    of_layout = file.startswith(prefix) and file.endswith(suffix)
    if not of_layout or any(each in file for each in "/\\\0"):
        what = (
            f"the data file of {name!r} is {file!r}, not {prefix}<name>{suffix}, with "
            "no path separator"
        )
        raise _damaged(source.path, what)
    return file


def _refuse_compressed(path: Path, name: str) -> None:
    reason = "compressed arrays cannot be mapped, and this version does not decompress them"
    fix = "load it with NumPack 0.x and save it anew uncompressed"
    msg = f"the array {name!r} of {path} is compressed: {reason}; {fix}"
    raise UnsupportedError(msg, reason=reason, fix=fix)


def _check_size(path: Path, name: str, dtype: DType, shape: tuple[int, ...], size: int) -> None:
    # NumPy multiplies the dimensions of an empty array too, leaving out those that are 0.
    span = math.prod((max(length, 1) for length in shape), start=dtype.itemsize)
    if span > _MAX_BYTES:
        raise _damaged(path, f"{name!r} has shape {shape}, more than memory addresses reach")
    # Deleted rows are counted in, and appended ones, so the size is always the whole file's.
    if (needed := math.prod(shape) * dtype.itemsize) != size:
        what = (
            f"{name!r} has shape {shape} and dtype {dtype}, which take {needed:,} bytes, "
            f"and the size {size:,}"
        )
        raise _damaged(path, what)


def _check_data(directory: _Directory, array: Numpack0Array) -> None:
    """Make sure that all rows are there; more may be, of an append that never ended."""
    needed = math.prod(array.shape) * array.dtype.itemsize
    status, path = directory.status(array.file), directory.path / array.file
    if status is None:
        raise _damaged(path, f"it is missing, and should have {needed:,} bytes")
    if status.st_size < needed:
        raise _damaged(path, f"it should have {needed:,} bytes and has {status.st_size:,}")


def bitmap_of(file: str) -> str:
    """Return the name of the bitmap that goes with a data file.

    Both are named after the array. The data file's name is one that was checked, and under
    which a file was found; an array's name is any text.
    """
    return file.removeprefix(_DATA[0]).removesuffix(_DATA[1]).join(_DELETED)


def _dropped(directory: _Directory, name: str, rows: int) -> Array:
    """Read which rows are deleted: those whose bits are clear."""
    with directory.file(name) as source:
        if source is None:
            return _none()
        # NumPack 0.7 counts the rows anew with each append after a delete, so both counts
        # agree in all that it has finished. It sets the bits of all rows then, the deleted
        # ones too, and leaves the number of deleted rows as it was: the bits are what it
        # goes by, so they are followed here, and that number is not.
        count, _ = source.unpack(_BITMAP)
        if count != rows:
            what = f"it is for {count:,} rows, and its array has {rows:,}"
            raise _damaged(
                source.path, what, "or remove it to have all rows, the deleted ones too"
            )
        needed = 8 * -(-rows // 64)
        if source.left != needed:
            what = f"{rows:,} rows take {needed:,} bytes, not {source.left:,}"
            raise _damaged(source.path, what)
        _check_holes(source, needed)
        found = [_none()]
        for start in range(0, needed, _BLOCK_BYTES):
            numbers = start * 8 + _clear_bits(source.take(min(_BLOCK_BYTES, needed - start)))
            found.append(numbers[: np.searchsorted(numbers, rows)])  # other bits are clear too
    return np.concatenate(found)


def _check_holes(source: _Source, needed: int) -> None:
    """Refuse a bitmap of holes: its deleted rows would take memory as no file takes room."""
    room = os.fstat(source.file.fileno()).st_blocks * 512
    if needed > max(_HOLES_BYTES, room * _HOLES_FACTOR):
        what = f"it has {needed:,} bytes, of which {room:,} take room on the disk"
        fix = "or write it again without holes: cp --sparse=never"
        raise _damaged(source.path, what, fix)


def _clear_bits(words: bytes) -> Array:
    """Give the numbers of the clear bits: those of little-endian words go as their bytes do."""
    octets = np.frombuffer(words, np.uint8)
    with_clear = np.flatnonzero(octets != 0xFF)
    bits = np.unpackbits(octets[with_clear, None], axis=1, bitorder="little")
    which, bit = np.nonzero(bits == 0)
    return (with_clear[which] * 8 + bit).astype(np.int64)


def _rows(shape: tuple[int, ...]) -> int:
    return shape[0] if shape else 0  # a 0-d array has no rows to delete


def _none() -> Array:
    return np.empty(0, np.int64)


def _unreadable(path: Path, error: OSError) -> StoreError:
    msg = f"{path} of a store of NumPack 0.x cannot be read: {error.strerror}; make it readable"
    return StoreError(msg)


def _damaged(path: Path, what: str, otherwise: str = "") -> CorruptStoreError:
    msg = f"{path} of a store of NumPack 0.x is damaged: {what}; restore it from a backup"
    return CorruptStoreError(f"{msg}, {otherwise}" if otherwise else msg)
