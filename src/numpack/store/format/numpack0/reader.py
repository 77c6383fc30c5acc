"""Reading folders written by NumPack 0.x, with full validation and without changing them.

The layout has no checksums, so every number is checked against the others it must agree with,
and no allocation depends on an unchecked number. All integers are little-endian::

    metadata.npkm       "NPKB", u32 version = 1, u64 sum of the sizes, u32 number of arrays;
                        then of each array: u32 length and name, u32 ndim, u64 × ndim shape,
                        u32 length and data file, u64 modified in µs since 1970, u64 size,
                        u8 dtype, u8 compression, i32 level, u64 original size,
                        u64 compressed size, u8 flag (1: a table of blocks follows)
    data_<name>.npkd    the rows, deleted ones too, in C order
    deleted_<name>.npkb u64 rows, u64 deleted rows, then u64 words, in which bit i % 64 of
                        word i // 64 is set where row i is live; absent if no row was deleted
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ....errors import NewerFormatError, UnsupportedError
from .files import LENGTH, METADATA, Directory, damaged_error

if TYPE_CHECKING:
    from pathlib import Path

    from ...._core.dtypes import DType
    from ...._core.memory import Array
    from .files import Source

_MAGIC, _VERSION = b"NPKB", 1
_START = struct.Struct("<4sI")  # magic and version, the same in all versions
_COUNTS = struct.Struct("<QI")
_REST = struct.Struct("<QQBBiQQB")  # of an array, from its modification time on
_BITMAP = struct.Struct("<QQ")

_CODES = ("?", "<u1", "<u2", "<u4", "<u8", "<i1", "<i2", "<i4", "<i8")
_DTYPES: tuple[DType, ...] = tuple(map(np.dtype, (*_CODES, "<f2", "<f4", "<f8", "<c8", "<c16")))

_DATA, _DELETED = ("data_", ".npkd"), ("deleted_", ".npkb")
_BLOCK_BYTES = 65_536  # of a bitmap, searched at a time
_HOLES_BYTES = 1 << 20  # a bitmap up to this size may consist of holes, all rows deleted
_HOLES_FACTOR = 64  # a larger one has at most this many bytes for each byte on the disk

_MAX_NDIM = 64  # NumPy's limit
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
        Shape of the data file's contents, deleted rows included.
    modified : int
        Time of the last change in microseconds since 1970.
    dropped : numpy.ndarray of int64
        Numbers of the deleted rows in the data file, ascending.
    """

    name: str
    file: str
    dtype: DType
    shape: tuple[int, ...]
    modified: int
    dropped: Array


def read(folder: Path, descriptor: int | None = None) -> dict[str, Numpack0Array]:
    """Read the descriptions of all arrays in a NumPack 0.x folder; map or change nothing.

    Parameters
    ----------
    folder : Path
    descriptor : int, optional
        Descriptor of the folder if it is open; the path is then used in messages only.

    Returns
    -------
    dict of str to Numpack0Array
        Keyed by name, in the order of the metadata.

    Raises
    ------
    CorruptStoreError
        A file is damaged, missing, or a link.
    NewerFormatError
        The version is not one of NumPack 0.x.
    UnsupportedError
        An array is compressed.
    StoreError
        A file cannot be read.
    """
    with Directory.open(folder, descriptor) as directory:
        with directory.file(METADATA) as source:
            if source is None:
                raise damaged_error(folder / METADATA, "it is missing")
            found = _metadata(source)
        arrays = {}
        for array in found:
            _check_data(directory, array)
            dropped = _dropped(directory, bitmap_of(array.file), _rows(array.shape))
            arrays[array.name] = replace(array, dropped=dropped)
    return arrays


def _metadata(source: Source) -> list[Numpack0Array]:
    """Read the metadata of all arrays, without looking at data files and bitmaps."""
    _check_version(source)
    _, count = source.unpack(_COUNTS)  # the sum is not checked, because nothing depends on it
    arrays: list[Numpack0Array] = []
    names, paths = set(), set()
    for _ in range(count):
        array = _array(source)
        # If two arrays shared a data file, dropping one would delete the rows of the other.
        if array.name in names or array.file in paths:
            what = f"it names the array {array.name!r} or its data file {array.file!r} twice"
            raise damaged_error(source.path, what)
        names.add(array.name)
        paths.add(array.file)
        arrays.append(array)
    if source.left:
        what = f"{source.left:,} bytes follow the last of {count:,} arrays"
        raise damaged_error(source.path, what)
    return arrays


def _check_version(source: Source) -> None:
    magic, version = source.unpack(_START)
    if magic != _MAGIC or version < _VERSION:
        what = f"it begins with {magic!r} and version {version}, not {_MAGIC!r} and {_VERSION}"
        raise damaged_error(source.path, what)
    if version > _VERSION:
        msg = (
            f"{source.path} has format version {version}, and this numpack reads version "
            f"{_VERSION} of NumPack 0.x; upgrade numpack"
        )
        raise NewerFormatError(msg)


def _array(source: Source) -> Numpack0Array:
    """Read the metadata of one array."""
    name = source.text("the name of an array")
    shape = _shape(source, name)
    file = _file(source, name)
    modified, size, code, compression, _, _, _, flag = source.unpack(_REST)
    if compression or flag:
        raise _compressed_error(source.path, name)
    if code >= len(_DTYPES):
        what = f"the dtype of {name!r} has code {code}, not one up to {len(_DTYPES) - 1}"
        raise damaged_error(source.path, what)
    _check_size(source.path, name, _DTYPES[code], shape, size)
    return Numpack0Array(name, file, _DTYPES[code], shape, modified, _none())


def _shape(source: Source, name: str) -> tuple[int, ...]:
    (ndim,) = source.unpack(LENGTH)
    if ndim > _MAX_NDIM:
        what = f"{name!r} has {ndim:,} dimensions, and arrays have up to {_MAX_NDIM}"
        raise damaged_error(source.path, what)
    return struct.unpack(f"<{ndim}Q", source.read(8 * ndim))


def _file(source: Source, name: str) -> str:
    """Read and check the name of a data file, which must not be that of another file."""
    file = source.text(f"the data file of {name!r}")
    prefix, suffix = _DATA
    of_layout = file.startswith(prefix) and file.endswith(suffix)
    if not of_layout or any(each in file for each in "/\\\0"):
        what = (
            f"the data file of {name!r} is {file!r}, not {prefix}<name>{suffix}, with "
            "no path separator"
        )
        raise damaged_error(source.path, what)
    return file


def _compressed_error(path: Path, name: str) -> UnsupportedError:
    reason = "compressed arrays cannot be mapped, and this version does not decompress them"
    fix = "load it with NumPack 0.x and save it again without compression"
    msg = f"the array {name!r} of {path} is compressed: {reason}; {fix}"
    return UnsupportedError(msg, reason=reason, fix=fix)


def _check_size(path: Path, name: str, dtype: DType, shape: tuple[int, ...], size: int) -> None:
    # NumPy limits the product of the nonzero dimensions, also for an empty array.
    span = math.prod((max(length, 1) for length in shape), start=dtype.itemsize)
    if span > _MAX_BYTES:
        raise damaged_error(
            path, f"{name!r} has shape {shape}, which exceeds the address space"
        )
    # The size includes deleted and appended rows, so it is always that of the whole file.
    if (needed := math.prod(shape) * dtype.itemsize) != size:
        what = (
            f"{name!r} has shape {shape} and dtype {dtype}, which need {needed:,} bytes, "
            f"but its size is {size:,}"
        )
        raise damaged_error(path, what)


def _check_data(directory: Directory, array: Numpack0Array) -> None:
    """Check that all rows are there; an append that was interrupted may have left more."""
    needed = math.prod(array.shape) * array.dtype.itemsize
    status, path = directory.status(array.file), directory.path / array.file
    if status is None:
        raise damaged_error(path, f"it is missing, and should have {needed:,} bytes")
    if status.st_size < needed:
        raise damaged_error(path, f"it should have {needed:,} bytes and has {status.st_size:,}")


def bitmap_of(file: str) -> str:
    """Return the name of the bitmap that belongs to a data file.

    Both are named after the array. The name is derived from that of the data file, which was
    checked, and not from that of the array, which can be any text.
    """
    return file.removeprefix(_DATA[0]).removesuffix(_DATA[1]).join(_DELETED)


def _dropped(directory: Directory, name: str, rows: int) -> Array:
    """Return the numbers of deleted rows, whose bits in the bitmap are clear."""
    with directory.file(name) as source:
        if source is None:
            return _none()
        # NumPack 0.7 recounts the rows at each append after a delete, so the number of rows is
        # correct in every complete store. Such an append sets the bits of all rows, also of
        # deleted ones, but leaves the number of deleted rows unchanged. NumPack 0.7 itself
        # relies on the bits, so that number is ignored here too.
        count, _ = source.unpack(_BITMAP)
        if count != rows:
            what = f"it is for {count:,} rows, and its array has {rows:,}"
            raise damaged_error(
                source.path, what, "or remove it to restore all rows, including deleted ones"
            )
        needed = 8 * -(-rows // 64)
        if source.left != needed:
            what = f"{rows:,} rows need {needed:,} bytes, not {source.left:,}"
            raise damaged_error(source.path, what)
        _check_holes(source, needed)
        found = [_none()]
        for start in range(0, needed, _BLOCK_BYTES):
            numbers = start * 8 + _clear_bits(source.read(min(_BLOCK_BYTES, needed - start)))
            found.append(numbers[: np.searchsorted(numbers, rows)])  # skip the padding bits
    return np.concatenate(found)


def _check_holes(source: Source, needed: int) -> None:
    """Refuse a bitmap of holes: a small file could otherwise require unbounded memory."""
    allocated = os.fstat(source.file.fileno()).st_blocks * 512
    if needed > max(_HOLES_BYTES, allocated * _HOLES_FACTOR):
        what = f"it has {needed:,} bytes, of which {allocated:,} are allocated on the disk"
        fix = "or write it again without holes: cp --sparse=never"
        raise damaged_error(source.path, what, fix)


def _clear_bits(words: bytes) -> Array:
    """Return the numbers of the clear bits.

    The bits of little-endian words are numbered like those of their bytes.
    """
    octets = np.frombuffer(words, np.uint8)
    with_clear = np.flatnonzero(octets != 0xFF)
    bits = np.unpackbits(octets[with_clear, None], axis=1, bitorder="little")
    which, bit = np.nonzero(bits == 0)
    return (with_clear[which] * 8 + bit).astype(np.int64)


def _rows(shape: tuple[int, ...]) -> int:
    return shape[0] if shape else 0  # a 0-d array has no rows to delete


def _none() -> Array:
    return np.empty(0, np.int64)
