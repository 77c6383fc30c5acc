"""Parsing and validation of the header of a safetensors file.

Source: the safetensors format: eight bytes with the length of a JSON header, the header, then
the tensors without gaps, each from ``data_offsets[0]`` up to ``data_offsets[1]``.
"""

from __future__ import annotations

import json
import math
import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._core import dtypes
from ..errors import InvalidValueError

if TYPE_CHECKING:
    from pathlib import Path

    from .._core.dtypes import DTypeInfo

_CODES = (
    *("BOOL", "U8", "U16", "U32", "U64", "I8", "I16", "I32", "I64", "F16", "F32", "F64", "C64"),
    *("BF16", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0"),
    *("F4", "F6_E2M3", "F6_E3M2"),
)
_NAMES = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "bfloat16", "float8_e4m3fn"),
    *("float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    *("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"),
)
_BY_NAME = {info.numpy: info for info in dtypes.DTYPES}
INFO_BY_CODE = {code: _BY_NAME[name] for code, name in zip(_CODES, _NAMES, strict=True)}

_METADATA = "__metadata__"
_MEMBERS = frozenset({"dtype", "shape", "data_offsets"})
_LENGTH = 8  # bytes, of the header's length
_MAX_HEADER = 100_000_000  # bytes; the safetensors package reads no more
_MAX_NDIM = 64  # NumPy's
_MAX_BYTES = int(np.iinfo(np.intp).max)
_BYTE = 8  # bits
_SHOWN = 100  # characters of a value in a message


class TensorEntry(NamedTuple):
    """The dtype, shape and byte range of a tensor in its file."""

    info: DTypeInfo
    shape: tuple[int, ...]
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.info.numpy} tensor of shape {self.shape}"


def open_regular(path: Path) -> int:
    """Open a regular file, or a link to one, without blocking; return its descriptor.

    Raises
    ------
    InvalidValueError
        It is a FIFO, a socket or a device.
    OSError
        It cannot be opened; `IsADirectoryError` for a directory.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    if "\0" in str(path):
        msg = (
            f"{str(path)!r} is not a path: it contains a NUL character; pass the path of a file"
        )
        raise InvalidValueError(msg)
    mode = path.stat().st_mode  # before opening, which can have effects on a device
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        descriptor = os.open(path, flags)
        if stat.S_ISREG(mode := os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, os.strerror(21), str(path))
    msg = f"{path} is not a regular file; copy its data to a file"
    raise InvalidValueError(msg)


def read_header(path: Path, descriptor: int) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """Read and validate the header of an open file.

    Returns
    -------
    entries : dict of str to TensorEntry
        By name, in the order of the file.
    metadata : dict of str to str

    Raises
    ------
    InvalidValueError
        The file is damaged, truncated, or not a safetensors file.
    """
    try:
        size = os.fstat(descriptor).st_size
        begin = _LENGTH + _header_length(os.pread(descriptor, _LENGTH, 0), size)
        return parse_header(os.pread(descriptor, begin - _LENGTH, _LENGTH), begin, size)
    except _DamageError as error:
        msg = f"{path} is not a complete safetensors file: {error}"
        raise InvalidValueError(msg) from None


class _DamageError(ValueError):
    """The header is damaged; the message says how."""


def parse_header(
    text: bytes, begin: int, size: int
) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """Parse and validate a header.

    Parameters
    ----------
    text : bytes
        The JSON text.
    begin : int
        The offset of the first tensor in the file, in bytes.
    size : int
        The size of the file in bytes.

    Raises
    ------
    InvalidValueError
        A type is unknown.
    ValueError
        The header is damaged; the message says how.
    """
    header = _decoded(text, begin - _LENGTH)
    metadata = _metadata(header.pop(_METADATA, None))
    found = sorted(
        ((name, _validated(name, entry)) for name, entry in header.items()),
        key=lambda each: each[1][2:],
    )
    at, entries = 0, {}
    for name, (info, shape, start, stop) in found:
        if start != at:
            what = f"{_short(name)} begins at byte {start:,}, and the one before ends at {at:,}"
            raise _DamageError(f"invalid offset: {what}")
        at = stop
        entries[name] = TensorEntry(info, shape, begin + start, begin + stop)
    if begin + at != size:
        what = f"{size - begin:,} bytes follow the header, and its tensors take {at:,}"
        raise _DamageError(f"the file is not fully covered: {what}")
    return entries, metadata


def _header_length(start: bytes, size: int) -> int:
    if len(start) < _LENGTH:
        raise _DamageError(f"it has {size:,} bytes, and the length of the header takes 8")
    length = int.from_bytes(start, "little")
    if length > min(size - _LENGTH, _MAX_HEADER):
        what = f"its header should take {length:,} bytes"
        raise _DamageError(f"{what}, and the file has {size:,}, a header up to {_MAX_HEADER:,}")
    return length


def _decoded(text: bytes, length: int) -> dict[str, Any]:
    if len(text) != length or not text.startswith(b"{"):
        raise _DamageError(f"its header begins with {text[:16]!r}, not with '{{'")
    try:
        header = json.loads(
            text.decode(), object_pairs_hook=_unique_members, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise _DamageError(f"its header is invalid UTF-8 ({error.reason})") from None
    except RecursionError:
        raise _DamageError("its header is nested too deeply") from None
    except _DamageError:
        raise
    except ValueError as error:
        raise _DamageError(f"its header is invalid JSON ({_cut(str(error))})") from None
    if not isinstance(header, dict):  # unreachable for a text that begins with {
        raise _DamageError("its header is not a JSON object")
    return header


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object as a dict; refuse a duplicate name."""
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DamageError(f"its header names {_short(twice)} twice")
    return members


def _no_constant(name: str) -> None:
    raise _DamageError(f"its header is invalid JSON ({name} is not a number)")


def _metadata(noted: Any) -> dict[str, str]:
    if noted is None:
        return {}
    if not isinstance(noted, dict) or not all(isinstance(each, str) for each in noted.values()):
        raise _DamageError(f"{_METADATA} is invalid: strings by name are needed")
    for text in (*noted, *noted.values()):
        _check_text(text)
    return noted


def _validated(name: str, entry: Any) -> tuple[DTypeInfo, tuple[int, ...], int, int]:
    """Validate the header's entry of one tensor; return its dtype, shape, start and stop."""
    _check_text(name)
    if not isinstance(entry, dict) or not entry.keys() >= _MEMBERS:
        raise _DamageError(f"{_short(name)} lacks one of {', '.join(sorted(_MEMBERS))}")
    shape, offsets, code = entry["shape"], entry["data_offsets"], entry["dtype"]
    info = INFO_BY_CODE.get(code) if isinstance(code, str) else None
    if info is None:
        msg = (
            f"this version of numpack does not support safetensors' type {_short(code)}, which "
            f"the header states for {_short(name)}; upgrade numpack, or read the file with "
            "the program that wrote it"
        )
        raise InvalidValueError(msg)
    if not _are_counts(shape) or len(shape) > _MAX_NDIM:
        what = f"up to {_MAX_NDIM} extents from 0 on, not {_short(shape)}"
        raise _DamageError(f"invalid shape of {_short(name)}: it takes {what}")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        what = f"{_short(name)} is between {_short(offsets)}"
        raise _DamageError(f"invalid offset: {what}, not between two bytes of the file")
    start, stop = offsets
    _check_size(name, info, tuple(shape), stop - start)
    return info, tuple(shape), start, stop


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(each) is int and 0 <= each <= _MAX_BYTES for each in values
    )


def _check_size(name: str, info: DTypeInfo, shape: tuple[int, ...], nbytes: int) -> None:
    # NumPy multiplies the dimensions of an empty tensor too, leaving out those that are 0.
    if math.prod((max(length, 1) for length in shape), start=info.bits) > _BYTE * _MAX_BYTES:
        raise _DamageError(f"overflow: {_short(name)} has shape {_short(list(shape))}")
    bits = math.prod(shape) * info.bits
    if bits % _BYTE or bits // _BYTE != nbytes:
        what = f"{_short(name)} takes {bits:,} bits and has {nbytes:,} bytes"
        raise _DamageError(f"invalid shape: {what}")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _DamageError(f"{_short(text)} is invalid UTF-8: it holds a surrogate") from None


def _short(value: Any) -> str:
    if isinstance(value, list):
        value = value[:8]
    if isinstance(value, str):
        value = value[:_SHOWN]
    return _cut(_repr(value))


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, deep lists
        return type(value).__name__


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
