"""``.npy`` files of NumPy, which hold one array."""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

import numpy as np

from .._core import dtypes
from ..adapters._safetensors_header import open_regular
from ..errors import InvalidValueError, UnsupportedError
from ..store.checks import checked_name
from ..store.format.naming import listed
from ._protocol import ArrayInfo
from .common.file_rows import FileRows
from .common.new_files import NewFile
from .common.refusals import unsupported_array, warn_of_attributes
from .common.sources import SlicedSource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import IO

    from .._core.dtypes import DType
    from .._core.memory import Array
    from ._protocol import Part

LABEL = "an .npy file"
TOGETHER = False
NEEDS_LENGTHS = True

_HEADER_LIMIT = 1 << 20  # characters; NumPy warns of longer ones than 10,000


class ReadOptions(TypedDict, total=False):
    """Options of reading.

    Attributes
    ----------
    name : str
        Of the array, by default that of the file without its suffix.
    """

    name: str


class WriteOptions(TypedDict, total=False):
    """Options of writing: there are none."""


READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__


def open_source(path: Path, /, *, name: str | None = None) -> NpySource:
    """Open a file, which is read in pieces."""
    return NpySource(path, checked_name(path.stem if name is None else name))


def create_target(
    path: Path, arrays: Mapping[str, ArrayInfo], attrs: Mapping[str, Any], /
) -> NpyTarget:
    """Begin to write a file."""
    if len(arrays) != 1:
        msg = (
            f"an .npy file holds one array, not {len(arrays):,}: {listed(arrays)}; choose one "
            "with arrays=[name], or write an .npz file"
        )
        raise UnsupportedError(msg)
    [(name, info)] = arrays.items()
    require_storable(name, info, LABEL)
    warn_of_attributes(arrays, attrs, LABEL)
    return NpyTarget(path, name, info)


class Header(NamedTuple):
    """What the header of an array tells."""

    dtype: DType
    shape: tuple[int, ...]
    fortran: bool


class NpySource(SlicedSource):
    """The array of a file."""

    def __init__(self, path: Path, name: str) -> None:
        self._file = os.fdopen(open_regular(path), "rb")
        try:
            dtype, shape, fortran = read_header(self._file, path)
            refuse_objects(dtype, path)
            start = self._file.tell()
            rows = FileRows(path, self._file.fileno(), start, dtype, shape, fortran)
            self._rows = rows
            rows.require_complete()
            self._require_one(path)
        except BaseException:
            self._file.close()
            raise
        super().__init__({name: ArrayInfo(rows.dtype, rows.shape)})

    def _require_one(self, path: Path) -> None:
        more = os.fstat(self._file.fileno()).st_size - self._rows.offset - self._rows.nbytes
        if more:
            msg = (
                f"{path} has {more:,} bytes after its array, as if several were saved into one "
                "file; load them with NumPy, one after the other"
            )
            raise InvalidValueError(msg)

    def read(self, name: str, start: int, stop: int) -> Array:  # noqa: ARG002 -- there is one
        """Return rows of the array."""
        return self._rows.read(start, stop)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class NpyTarget:
    """A file that is being written."""

    def __init__(self, path: Path, name: str, info: ArrayInfo) -> None:
        self._name = name
        self._new = NewFile(path)
        try:
            self._file = self._new.path.open("xb")
            write_header(self._file, info)
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


def read_header(file: IO[bytes], path: Path, member: str = "") -> Header:
    """Read the header of a file, or of a member of an archive, from its position on.

    Raises
    ------
    InvalidValueError
        It is none.
    """
    where = f"{path}, member {member!r}," if member else str(path)
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = _read_header(file, version)
    except OSError:
        raise
    except Exception as error:  # NumPy evaluates the header as Python's compiler parses it
        msg = f"{where} is no .npy file, or damaged: {error}; name its format with format="
        raise InvalidValueError(msg) from error
    if any(extent < 0 for extent in shape):
        msg = f"{where} is damaged: its shape is {shape}"
        raise InvalidValueError(msg)
    return Header(dtype, shape, fortran)


def refuse_objects(dtype: DType, path: Path) -> None:
    """Raise if a file has to be unpickled."""
    if dtype.hasobject:
        msg = (
            f"{path} holds Python objects, which would have to be unpickled: that runs any "
            "code that the file names; if you trust it, load it with NumPy, and save numbers"
        )
        raise InvalidValueError(msg)


def _read_header(
    file: IO[bytes], version: tuple[int, int]
) -> tuple[tuple[int, ...], bool, DType]:
    """Read what follows the magic string of one of the three versions of the format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the header was written by Python 2
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file, _HEADER_LIMIT)
        if version == (3, 0):
            file = _as_version_2(file)
        elif version != (2, 0):
            msg = f"version {version[0]}.{version[1]} of the format is not known"
            raise ValueError(msg)
        return np.lib.format.read_array_header_2_0(file, _HEADER_LIMIT)


def _as_version_2(file: IO[bytes]) -> IO[bytes]:
    """Return a header of version 3, which is UTF-8, as one of version 2, which is Latin-1.

    It is a Python literal, so that escapes stand for the characters of the names of fields.
    """
    length = int.from_bytes(file.read(4), "little")
    if length > _HEADER_LIMIT:
        msg = f"its header of {length:,} bytes is too long"
        raise ValueError(msg)
    header = file.read(length).decode().encode("latin-1", "backslashreplace")
    return io.BytesIO(len(header).to_bytes(4, "little") + header)


class _Literal:
    """An object whose `repr` is a given text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def write_header(file: IO[bytes], info: ArrayInfo) -> None:
    """Write the header of an array, whose values follow; in version 1 if it is short."""
    written = io.BytesIO()
    header = {
        "descr": _Literal(ascii(np.lib.format.dtype_to_descr(info.dtype))),
        "fortran_order": False,
        "shape": info.shape,
    }
    try:
        np.lib.format.write_array_header_1_0(written, header)
    except ValueError:
        written = io.BytesIO()
        np.lib.format.write_array_header_2_0(written, header)
    file.write(written.getvalue())


def require_storable(name: str, info: ArrayInfo, label: str) -> None:
    """Check that a header can name a dtype.

    Raises
    ------
    UnsupportedError
        It cannot.
    """
    dtype = info.dtype
    extensions = [leaf.name for leaf in dtypes.leaves(dtype) if dtypes.is_extension(leaf)]
    if extensions:
        reason = f"NumPy would read {extensions[0]} as bytes without a type"
        fix = "pass dtype='float32', or write a .safetensors file"
        raise unsupported_array(name, str(dtype), label, reason, fix)
    try:
        is_same = np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) == dtype
    except ValueError:
        is_same = False
    if not is_same:
        reason = "its header describes no fields that overlap or are out of order"
        fix = "pass dtype= with the fields in order, or convert the fields one by one"
        raise unsupported_array(name, str(dtype), label, reason, fix)


def write_values(file: IO[bytes], array: Array) -> None:
    """Write the values of a C-contiguous array."""
    if array.nbytes:
        file.write(cast("Any", array.reshape(-1).view(np.uint8).data))
