"""safetensors files: tensors read by their ranges, and written in place.

Source: the safetensors format: eight bytes with the length of a JSON header, the header, then
the tensors, little-endian, in C order, without gaps. The safetensors package writes the tensors
of larger values first, and fills the header with spaces up to a multiple of eight bytes, so
that all values are aligned.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from .._core import dtypes
from ..adapters._safetensors_header import INFO_BY_CODE, open_regular, read_header
from ..errors import InvalidValueError, UnsupportedError
from ..store.format.naming import quoted
from ._protocol import ArrayInfo
from .common.file_rows import FileRows
from .common.new_files import NewFile
from .common.refusals import require_utf8_name, unsupported_array
from .common.sources import SlicedSource, nbytes_of
from .common.string_attributes import attributes_of, entries_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .._core.dtypes import DType, DTypeInfo
    from .._core.memory import Array
    from ..adapters._safetensors_header import TensorEntry
    from ._protocol import Part


class ReadOptions(TypedDict, total=False):
    """Options of `open_source`: there are none."""


class WriteOptions(TypedDict, total=False):
    """Options of `create_target`: there are none."""


LABEL = "safetensors"
READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__
TOGETHER = False
NEEDS_LENGTHS = True

_BYTE = 8  # bits
_ALIGNMENT = 8  # bytes, of the tensors' begin
_METADATA = "__metadata__"
_ARRAYS = "arrays"
_MAX_HEADER = 100_000_000  # bytes; the safetensors package reads no more
_ORDER = (  # that of the safetensors package: by size, and within that by type
    *("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"),
    *("I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64"),
)
_CODES = {info.numpy: code for code, info in INFO_BY_CODE.items() if info.bits >= _BYTE}


def open_source(path: Path, /) -> SafetensorsSource:
    """Open a file, whose header is validated; see `Format.open_source`."""
    descriptor = open_regular(path)
    try:
        return SafetensorsSource(path, descriptor, *read_header(path, descriptor))
    except BaseException:
        os.close(descriptor)
        raise


class SafetensorsSource(SlicedSource):
    """The tensors of a file.

    The metadata is the attributes of the file. Those of a tensor come from the entry
    ``"numpack"``, which `create_target` writes.
    """

    def __init__(
        self,
        path: Path,
        descriptor: int,
        entries: Mapping[str, TensorEntry],
        metadata: Mapping[str, str],
    ) -> None:
        self._path, self._descriptor, self._entries = path, descriptor, entries
        self.attrs, members = attributes_of(metadata)
        self.arrays = _Tensors(entries, members.get(_ARRAYS))
        self.nbytes = sum(entry.stop - entry.start for entry in entries.values())

    def read(self, name: str, start: int, stop: int) -> Array:
        """Return rows of a tensor, or all of a 0-d one."""
        entry = self._entries[name]
        dtype = _little_endian(entry.info)
        rows = FileRows(self._path, self._descriptor, entry.start, dtype, entry.shape)
        return rows.read(start, stop)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _Tensors(Mapping[str, ArrayInfo]):
    """What is known of each tensor; one of less than a byte a value is refused on access."""

    def __init__(self, entries: Mapping[str, TensorEntry], attrs: Any) -> None:
        self._entries = entries
        self._attrs: Mapping[str, Any] = attrs if isinstance(attrs, dict) else {}

    def __getitem__(self, name: str) -> ArrayInfo:
        entry = self._entries[name]
        if entry.info.bits < _BYTE:
            why = f"its values of {entry.info.bits} bits are packed across bytes"
            fix = "leave it out with arrays=, or take SafetensorsFile(path).buffer(name)"
            msg = f"{quoted(name)}, {entry}, cannot be an array: {why}; {fix}"
            raise UnsupportedError(msg, reason=why, fix=fix, direction=f"from {LABEL}")
        attrs = self._attrs.get(name)
        info = _little_endian(entry.info), entry.shape
        return ArrayInfo(*info, attrs if isinstance(attrs, dict) else {})

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _little_endian(info: DTypeInfo) -> DType:
    return info.dtype if info.extension else info.dtype.newbyteorder("<")


def create_target(
    path: Path, arrays: Mapping[str, ArrayInfo], attrs: Mapping[str, Any], /
) -> SafetensorsTarget:
    """Begin to write a file; see `Format.create_target`."""
    header, starts = _header(arrays, attrs)
    return SafetensorsTarget(path, arrays, header, starts)


class SafetensorsTarget:
    """A file that is being written: each tensor in its range of the file."""

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, ArrayInfo],
        header: bytes,
        starts: Mapping[str, int],
    ) -> None:
        self._next = {name: len(header) + start for name, start in starts.items()}
        self._stop = {name: self._next[name] + nbytes_of(arrays[name]) for name in arrays}
        self._dtypes = {name: info.dtype for name, info in arrays.items()}
        self._new = NewFile(path)
        try:
            self._file = self._new.path.open("xb")
            self._file.write(header)
        except BaseException:
            self._new.abort()
            raise

    def write(self, part: Part) -> None:
        """Write the next rows."""
        for name, array in part.items():
            if array.dtype.byteorder == ">" or not array.dtype.isnative:
                array = array.astype(array.dtype.newbyteorder("<"))  # noqa: PLW2901
            values = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self._file.seek(self._next[name])
            self._file.write(values.data)
            self._next[name] += values.nbytes

    def commit(self) -> None:
        """Complete the file."""
        self._file.close()
        short = [name for name, end in self._stop.items() if self._next[name] != end]
        if short:
            self.abort()
            msg = f"{quoted(short[0])} has other rows than announced; convert it again"
            raise InvalidValueError(msg)
        self._new.commit()

    def abort(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._new.abort()


def _header(
    arrays: Mapping[str, ArrayInfo], attrs: Mapping[str, Any]
) -> tuple[bytes, dict[str, int]]:
    """Return the first bytes of a file, up to the tensors, and where each tensor begins."""
    codes = {name: _code(name, info) for name, info in arrays.items()}
    extra = {name: dict(info.attrs) for name, info in arrays.items() if info.attrs}
    metadata = entries_of(attrs, {_ARRAYS: extra} if extra else None)
    header: dict[str, Any] = {_METADATA: metadata} if metadata else {}
    starts, at = {}, 0
    for name in sorted(arrays, key=lambda each: (-_ORDER.index(codes[each]), each)):
        shape = list(arrays[name].shape)
        starts[name], end = at, at + nbytes_of(arrays[name])
        header[name] = {"dtype": codes[name], "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > _MAX_HEADER:
        why = f"its header would take {len(text):,} bytes, and readers accept {_MAX_HEADER:,}"
        fix = "write several files, or leave the attributes out with attrs=False"
        raise UnsupportedError(f"the safetensors file cannot be written: {why}; {fix}")
    return len(text).to_bytes(8, "little") + text, starts


def _code(name: str, info: ArrayInfo) -> str:
    known = dtypes.of_numpy(info.dtype)
    code = None if known is None else _CODES.get(known.numpy)
    if code is None:
        reason, fix = f"it has no code for {info.dtype}", _fix(info.dtype)
        raise unsupported_array(name, str(info.dtype), LABEL, reason, fix)
    require_utf8_name(name, LABEL)
    if name == _METADATA:
        reason, fix = "its header uses that name", "give it another name with rename="
        raise unsupported_array(name, "the name of an array", LABEL, reason, fix)
    return code


def _fix(dtype: DType) -> str:
    """Return how to write a dtype that the format lacks."""
    if dtypes.is_extension(dtype):
        return f"pass dtype={dtypes.wider(dtype).removeprefix('np.')!r}, or write a store"
    if dtype.kind == "c":
        return "pass dtype='complex64', or write a .npy file"
    if dtype.kind in "mM":
        return "pass dtype='int64' for the counts, or write a Parquet file"
    return "leave it out with arrays=, or write an .npz file or a store"
