"""Files of values alone, whose dtype is not in them, such as token files of nanoGPT."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from ..adapters._safetensors_header import open_regular
from ..errors import InvalidValueError, UnsupportedError
from ..store.checks import checked_name
from ..store.format.naming import listed
from ._protocol import ArrayInfo
from ._selection import dtype_of
from .common.file_rows import FileRows
from .common.new_files import NewFile
from .common.refusals import warn_of_attributes
from .common.sources import SlicedSource
from .npy import write_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import DTypeLike

    from .._core.dtypes import DType
    from .._core.memory import Array
    from ._protocol import Part

LABEL = "a file of values alone"
TOGETHER = False
NEEDS_LENGTHS = False


class ReadOptions(TypedDict, total=False):
    """Options of reading.

    Attributes
    ----------
    dtype : dtype
        Of the values in the file; required.
    shape : tuple of int
        Of the array, by default one axis. One extent may be -1.
    offset : int
        Bytes before the values, by default 0.
    name : str
        Of the array, by default that of the file without its suffix.
    """

    dtype: DTypeLike
    shape: tuple[int, ...]
    offset: int
    name: str


class WriteOptions(TypedDict, total=False):
    """Options of writing: there are none."""


READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__


def open_source(
    path: Path,
    /,
    *,
    dtype: DTypeLike | None = None,
    shape: tuple[int, ...] = (-1,),
    offset: int = 0,
    name: str | None = None,
) -> RawSource:
    """Open a file, which is read in pieces."""
    if dtype is None:
        msg = f"{path} does not tell the dtype of its values; pass it, such as dtype='uint16'"
        raise InvalidValueError(msg)
    values = dtype_of(dtype)
    if values.hasobject or not values.itemsize:
        msg = f"{values} is no dtype of values in a file; pass the one they were written with"
        raise InvalidValueError(msg)
    if offset < 0:
        msg = f"offset must be a number of bytes, which {offset} is not"
        raise InvalidValueError(msg)
    name = checked_name(path.stem if name is None else name)
    return RawSource(path, name, values, shape, offset)


def create_target(
    path: Path, arrays: Mapping[str, ArrayInfo], attrs: Mapping[str, Any], /
) -> RawTarget:
    """Begin to write a file."""
    if len(arrays) != 1:
        msg = (
            f"{LABEL} holds one array, not {len(arrays):,}: {listed(arrays)}; choose one with "
            "arrays=[name], or write an .npz file"
        )
        raise UnsupportedError(msg)
    warn_of_attributes(arrays, attrs, LABEL)
    return RawTarget(path, *arrays)


class RawSource(SlicedSource):
    """The values of a file."""

    def __init__(
        self, path: Path, name: str, dtype: DType, shape: tuple[int, ...], offset: int
    ) -> None:
        self._file = os.fdopen(open_regular(path), "rb")
        try:
            size = os.fstat(self._file.fileno()).st_size - offset
            found = _shape(path, shape, size, dtype)
        except BaseException:
            self._file.close()
            raise
        self._rows = FileRows(path, self._file.fileno(), offset, dtype, found)
        super().__init__({name: ArrayInfo(dtype, found)})

    def read(self, name: str, start: int, stop: int) -> Array:  # noqa: ARG002 -- there is one
        """Return rows of the array."""
        return self._rows.read(start, stop)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RawTarget:
    """A file that is being written."""

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._new = NewFile(path)
        try:
            self._file = self._new.path.open("xb")
        except BaseException:
            self._new.abort()
            raise

    def write(self, part: Part) -> None:
        """Write the next rows."""
        write_values(self._file, part[self._name])

    def commit(self) -> None:
        """Complete the file."""
        self._file.close()
        self._new.commit()

    def abort(self) -> None:
        """Remove what was written."""
        self._file.close()
        self._new.abort()


def _shape(path: Path, shape: tuple[int, ...], size: int, dtype: DType) -> tuple[int, ...]:
    """Return the shape of the values that fill a file."""
    given = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    known = [extent for extent in given if extent != -1]
    if len(given) - len(known) > 1 or not all(
        isinstance(extent, int | np.integer) and extent >= 0 for extent in known
    ):
        msg = f"shape must be a tuple of extents, one of which may be -1, not {shape!r}"
        raise InvalidValueError(msg)
    item = math.prod(known) * dtype.itemsize
    count, rest = divmod(size, item) if item else (0, size)
    is_filled = size >= 0 and not rest and (len(known) < len(given) or size == item)
    if not is_filled:
        msg = (
            f"{path} has {max(size, 0):,} bytes of values, which are not those of {dtype} in "
            f"the shape {given}; check dtype=, shape= and offset="
        )
        raise InvalidValueError(msg)
    return tuple(count if extent == -1 else int(extent) for extent in given)
