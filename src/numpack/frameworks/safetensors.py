"""safetensors: files whose tensors are mapped and shared, not read.

Source: the safetensors format: eight bytes that give the length of a JSON header, the header,
then the tensors, little-endian, in C order, without holes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from safetensors import SafetensorError, safe_open

from .. import _dtypes
from .._mapping import map_open
from .._memory import aligned_copy
from .._policy import Obstacle, Plan, describe, did_you_mean, refuse, wrong_type
from ..errors import InvalidValueError, NotFoundError
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._dtypes import DType, Row
    from .._memory import Array

LABEL = "safetensors"
FROM_OPTIONS = frozenset({"tensor"})
TO_OPTIONS: frozenset[str] = frozenset()

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
_BY_NAME = {row.numpy: row for row in _dtypes.ROWS}
_ROWS = {code: _BY_NAME[name] for code, name in zip(_CODES, _NAMES, strict=True)}
_LENGTH = 8  # bytes, of the length of the header
_BYTE = 8  # bits


class _Place(NamedTuple):
    """Where a tensor lies in its file, and what it is called there."""

    row: Row
    shape: tuple[int, ...]
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.row.numpy} tensor of shape {self.shape}"


class SafetensorsFile(Mapping[str, "Array"]):
    """The tensors of a safetensors file, by name, in the memory that is the file.

    Parameters
    ----------
    path : str or path-like

    Attributes
    ----------
    path : pathlib.Path
        Where the file was found.
    metadata : dict of str to str
        What the writer noted in the header.

    Raises
    ------
    InvalidValueError
        The file is damaged, cut short, or no safetensors file.
    OSError
        It cannot be opened.

    Notes
    -----
    The file is mapped once, and its header checked by the safetensors package. Arrays are
    read-only, share the mapping and keep it alive: after `close`, and when the file was renamed
    or unlinked. They lie as the file has them, which aligns no tensor to more than 8 bytes,
    and some writers to nothing.

    Whoever writes to the file changes the arrays, and whoever cuts it short kills the process
    that reads them: replace a file by renaming a new one over it.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack.io import SafetensorsFile
    >>> from safetensors.numpy import save_file
    >>> save_file({"weight": np.ones((2, 3), "f4")}, "model.safetensors")
    >>> with SafetensorsFile("model.safetensors") as file:
    ...     weight = file["weight"]
    >>> weight.shape, weight.flags.writeable
    ((2, 3), False)
    """

    __slots__ = ("_bytes", "_places", "metadata", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            fix = "write the bytes to a file, or read them with safetensors.numpy.load"
            wrong_type("SafetensorsFile", "a path", path, fix)
        self.path = Path(path).absolute()
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._places, self.metadata = _read_header(self.path, descriptor)
            again = os.dup(descriptor)
        finally:
            os.close(descriptor)
        nbytes = max((place.stop for place in self._places.values()), default=0)
        self._bytes: Array | None = map_open(again, str(self.path), nbytes)

    def buffer(self, name: str) -> Array:
        """Give the bytes of a tensor of any type, as a read-only array of uint8."""
        if self._bytes is None:
            msg = f"{self.path.name} is closed; open it again with SafetensorsFile(path)"
            raise InvalidValueError(msg)
        place = self._place(name)
        return self._bytes[place.start : place.stop]

    def close(self) -> None:
        """Give no more arrays; those that were given stay valid."""
        self._bytes = None

    def _place(self, name: str) -> _Place:
        place = self._places.get(name)
        if place is None:
            known = list(self._places)
            hint = did_you_mean(str(name), known)
            msg = f"no tensor is called {name!r}; the tensors are {_listed(known)}{hint}"
            raise NotFoundError(msg)
        return place

    def __getitem__(self, name: str) -> Array:
        """Give a tensor as it lies, aligned or not."""
        place, bits = self._place(name), self.buffer(name)
        if place.row.bits < _BYTE:
            why = f"its values of {place.row.bits} bits lie side by side, across bytes"
            fix = f"take the bytes and unpack them: SafetensorsFile(path).buffer({name!r})"
            refuse(f"from {LABEL}", str(place), why, fix)
        return bits.view(_little(place.row)).reshape(place.shape)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a tensor of that name, without making an array of it."""
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        """Go over the names, in the order of the file."""
        return iter(self._places)

    def __len__(self) -> int:
        """Count the tensors."""
        return len(self._places)

    def __enter__(self) -> Self:
        """Give the file itself."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close it."""
        self.close()

    def __reduce__(self) -> tuple[type[SafetensorsFile], tuple[str]]:
        """Pickle the path, not gigabytes of tensors."""
        return type(self), (str(self.path),)

    def __repr__(self) -> str:
        """Tell the file's name and how many tensors it holds."""
        return f"SafetensorsFile({self.path.name!r}, {len(self)} tensors)"


def to_numpy(file: Any, *, tensor: str | None = None) -> Plan[Array]:
    """Plan the way to the hub for one tensor, which is read-only as the file is."""
    if not isinstance(file, SafetensorsFile):
        wrong_type("share", "a SafetensorsFile", file, "pass SafetensorsFile(path)")
    array = file[_chosen(file, tensor)]
    obstacle = None if array.flags.aligned else _MISALIGNED
    return Plan(
        direction=f"from {LABEL}",
        given=lambda: describe(array),
        nbytes=array.nbytes,
        result=lambda: array if obstacle is None else aligned_copy(array),
        independent=lambda: aligned_copy(array),
        obstacle=obstacle,
        outline=(array.shape, array.dtype),
    )


_MISALIGNED = Obstacle(
    "its writer did not align it to the size of its values",
    "write the file again with safetensors.numpy.save_file, which aligns all tensors, or take "
    "SafetensorsFile(path)[name] as it lies",
)


def from_numpy(array: Array) -> NoReturn:
    """Refuse the way from the hub: a file is written, not shared."""
    array = base_array(array, LABEL)
    row = _dtypes.of_numpy(array.dtype)
    why = "safetensors is a format of files, which are written and not shared"
    fix = "write safetensors.numpy.save_file({'x': np.asarray(array, order='C')}, path)"
    if row is None or row not in _ROWS.values() or row.bits < _BYTE:
        why = "safetensors has no such dtype"
        fix = "convert it with array.astype(...), or keep it in a numpack.NumPack"
    refuse(f"to {LABEL}", describe(array), why, fix)


def _chosen(file: SafetensorsFile, tensor: str | None) -> str:
    if tensor is None and len(file) == 1:
        return next(iter(file))
    if tensor is None:
        msg = (
            f"{file.path.name} holds {len(file)} tensors; name one of them with tensor=: "
            f"{_listed(list(file))}"
        )
        raise InvalidValueError(msg)
    if not isinstance(tensor, str):
        wrong_type("tensor", "the name of a tensor", tensor, "pass a str")
    return tensor


def _listed(names: list[str]) -> str:
    shown = 20
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{names[:shown]}{more}"


def _read_header(path: Path, descriptor: int) -> tuple[dict[str, _Place], dict[str, str]]:
    """Read what lies where, as the safetensors package finds and checks it.

    The format allows no holes, so that the sizes in the order of the offsets give the offsets.
    """
    length = int.from_bytes(os.pread(descriptor, _LENGTH, 0), "little")
    try:
        with safe_open(path, framework="np") as file:
            begin = _LENGTH + length
            places = {}
            for name in file.offset_keys():
                view = file.get_slice(name)
                places[name] = _place(view.get_dtype(), tuple(view.get_shape()), begin)
                begin = places[name].stop
            metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        msg = f"{path} is no whole safetensors file: {error}"
        raise InvalidValueError(msg) from error
    status = os.fstat(descriptor)
    if not os.path.samestat(status, path.stat()) or status.st_size != begin:
        msg = f"{path} was replaced while it was opened; open it again"
        raise InvalidValueError(msg)
    return places, metadata


def _place(dtype: str, shape: tuple[int, ...], start: int) -> _Place:
    row = _ROWS.get(dtype)
    if row is None:
        msg = f"this version of numpack does not know safetensors' type {dtype}"
        raise InvalidValueError(msg)
    return _Place(row, shape, start, start + math.prod(shape) * row.bits // _BYTE)


def _little(row: Row) -> DType:
    return row.dtype if row.extension else row.dtype.newbyteorder("<")
