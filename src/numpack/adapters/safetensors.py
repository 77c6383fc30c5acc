"""safetensors: files whose tensors are mapped and shared, not read.

Source: the safetensors format: eight bytes that give the length of a JSON header, the header,
then the tensors, little-endian, in C order, without holes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypedDict

from .._core import dtypes
from .._core.mapped_files import map_open
from .._core.memory import aligned_copy
from .._core.policy import Obstacle, Plan, describe, did_you_mean, refuse, wrong_type
from ..errors import InvalidValueError, NotFoundError
from ._safetensors_header import ROWS, open_regular, read_header
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core.dtypes import DType, DTypeInfo
    from .._core.memory import Array
    from ._safetensors_header import Place


class FromOptions(TypedDict, total=False):
    """Options of `to_numpy`."""

    tensor: str | None


LABEL = "safetensors"
FROM_OPTIONS = FromOptions.__optional_keys__
TO_OPTIONS: frozenset[str] = frozenset()

_BYTE = 8  # bits


class SafetensorsFile(Mapping[str, "Array"]):
    """The tensors of a safetensors file, by name, in the memory that is the file.

    Parameters
    ----------
    path : str or path-like
        A symbolic link is followed; what is no regular file is refused.

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
    The file is mapped once. What its header claims is checked against the size of the file
    before anything is allocated or mapped, whoever wrote it. Arrays are read-only, share the
    mapping and keep it alive: after `close`, and when the file was renamed or unlinked. They
    lie as the file has them, which aligns no tensor to more than 8 bytes, and some writers to
    nothing.

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
        descriptor = open_regular(self.path)
        try:
            self._places, self.metadata = read_header(self.path, descriptor)
            again = os.dup(descriptor)
        finally:
            os.close(descriptor)
        nbytes = max((place.stop for place in self._places.values()), default=0)
        self._bytes: Array | None = _mapped(again, self.path, nbytes)

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

    def _place(self, name: str) -> Place:
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
        describe=lambda: describe(array),
        nbytes=array.nbytes,
        result=lambda: array if obstacle is None else aligned_copy(array),
        independent=lambda: aligned_copy(array),
        obstacle=obstacle,
        result_spec=(array.shape, array.dtype),
    )


_MISALIGNED = Obstacle(
    "its writer did not align it to the size of its values",
    "write the file again with safetensors.numpy.save_file, which aligns all tensors, or take "
    "SafetensorsFile(path)[name] as it lies",
)


def from_numpy(array: Array) -> NoReturn:
    """Refuse the way from the hub: a file is written, not shared."""
    array = base_array(array, LABEL)
    row = dtypes.of_numpy(array.dtype)
    why = "safetensors is a format of files, which are written and not shared"
    fix = "write safetensors.numpy.save_file({'x': np.asarray(array, order='C')}, path)"
    if row is None or row not in ROWS.values() or row.bits < _BYTE:
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


def _mapped(descriptor: int, path: Path, nbytes: int) -> Array:
    try:
        return map_open(descriptor, str(path), nbytes)
    except ValueError as error:  # it was cut since its header was read
        msg = f"{path} was cut short while it was opened ({error}); open it again"
        raise InvalidValueError(msg) from error


def _little(row: DTypeInfo) -> DType:
    return row.dtype if row.extension else row.dtype.newbyteorder("<")
