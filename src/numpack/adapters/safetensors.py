"""safetensors: files whose tensors are mapped and shared.

Source: the safetensors format: eight bytes with the length of a JSON header, the header, then
the tensors, little-endian, in C order, without gaps.
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
from ._safetensors_header import INFO_BY_CODE, open_regular, read_header
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core.dtypes import DType, DTypeInfo
    from .._core.memory import Array
    from ._safetensors_header import TensorEntry


class FromOptions(TypedDict, total=False):
    """Options of `to_numpy`."""

    tensor: str | None


LABEL = "safetensors"
FROM_OPTIONS = FromOptions.__optional_keys__
TO_OPTIONS: frozenset[str] = frozenset()

_BYTE = 8  # bits

_MISALIGNED = Obstacle(
    "its writer did not align it to the size of its values",
    "write the file again with safetensors.numpy.save_file, which aligns all tensors, or take "
    "SafetensorsFile(path)[name] unaligned",
)


def to_numpy(file: Any, *, tensor: str | None = None) -> Plan[Array]:
    """Plan the conversion from one tensor of a SafetensorsFile to a NumPy array, read-only."""
    if not isinstance(file, SafetensorsFile):
        wrong_type("share", "a SafetensorsFile", file, "pass SafetensorsFile(path)")
    array = file[_tensor_name(file, tensor)]
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


def from_numpy(array: Array) -> NoReturn:
    """Refuse the conversion: a file is written, not shared."""
    array = base_array(array, LABEL)
    info = dtypes.of_numpy(array.dtype)
    why = "safetensors is a file format, and a file is written, not shared"
    fix = "write safetensors.numpy.save_file({'x': np.asarray(array, order='C')}, path)"
    if info is None or info not in INFO_BY_CODE.values() or info.bits < _BYTE:
        why = "safetensors has no such dtype"
        fix = "convert it with array.astype(...), or keep it in a numpack.NumPack"
    refuse(f"to {LABEL}", describe(array), why, fix)


class SafetensorsFile(Mapping[str, "Array"]):
    """The tensors of a safetensors file by name, in mapped memory.

    Parameters
    ----------
    path : str or path-like
        A regular file, or a symbolic link to one.

    Attributes
    ----------
    path : pathlib.Path
        The absolute path of the file.
    metadata : dict of str to str
        The metadata in the header.

    Raises
    ------
    InvalidValueError
        The file is damaged, truncated, not a safetensors file, or not a regular file.
    OSError
        It cannot be opened.

    Notes
    -----
    The file is mapped once. Its header is validated against the size of the file before
    anything is allocated or mapped, so the file need not be trusted. Arrays are read-only,
    share the mapping and keep it alive: after `close`, and after the file was renamed or
    unlinked. They have the alignment of the file: the format aligns no tensor to more than 8
    bytes, and some writers align none.

    A write to the file changes the arrays, and reading them after the file was truncated
    raises SIGBUS: replace a file by renaming a new one over it.

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

    __slots__ = ("_bytes", "_entries", "metadata", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            fix = "write the bytes to a file, or read them with safetensors.numpy.load"
            wrong_type("SafetensorsFile", "a path", path, fix)
        self.path = Path(path).absolute()
        descriptor = open_regular(self.path)
        try:
            self._entries, self.metadata = read_header(self.path, descriptor)
            again = os.dup(descriptor)
        finally:
            os.close(descriptor)
        nbytes = max((entry.stop for entry in self._entries.values()), default=0)
        self._bytes: Array | None = _map(again, self.path, nbytes)

    def buffer(self, name: str) -> Array:
        """Return the bytes of a tensor of any type as a read-only array of uint8.

        Parameters
        ----------
        name : str

        Returns
        -------
        ndarray of uint8
            One-dimensional; shares the mapping.

        Raises
        ------
        NotFoundError
            No tensor has that name.
        InvalidValueError
            The file is closed.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack.io import SafetensorsFile
        >>> from safetensors.numpy import save_file
        >>> save_file({"weight": np.ones((2, 3), "f4")}, "bytes.safetensors")
        >>> SafetensorsFile("bytes.safetensors").buffer("weight").nbytes
        24
        """
        if self._bytes is None:
            msg = f"{self.path.name} is closed; open it again with SafetensorsFile(path)"
            raise InvalidValueError(msg)
        entry = self._entry(name)
        return self._bytes[entry.start : entry.stop]

    def close(self) -> None:
        """Close the file; arrays that were returned before stay valid."""
        self._bytes = None

    def _entry(self, name: str) -> TensorEntry:
        entry = self._entries.get(name)
        if entry is None:
            known = list(self._entries)
            hint = did_you_mean(str(name), known)
            msg = f"no tensor is called {name!r}; the tensors are {_listed(known)}{hint}"
            raise NotFoundError(msg)
        return entry

    def __getitem__(self, name: str) -> Array:
        """Return a read-only array over the mapping, whether it is aligned or not."""
        entry, bits = self._entry(name), self.buffer(name)
        if entry.info.bits < _BYTE:
            why = f"its values of {entry.info.bits} bits are packed across bytes"
            fix = f"take the bytes and unpack them: SafetensorsFile(path).buffer({name!r})"
            refuse(f"from {LABEL}", str(entry), why, fix)
        return bits.view(_little_endian(entry.info)).reshape(entry.shape)

    def __contains__(self, name: object) -> bool:
        """Check for a tensor of that name without making an array."""
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order of the file."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._entries)

    def __enter__(self) -> Self:
        """Return the file."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the file."""
        self.close()

    def __reduce__(self) -> tuple[type[SafetensorsFile], tuple[str]]:
        """Pickle the path instead of the tensors."""
        return type(self), (str(self.path),)

    def __repr__(self) -> str:
        """Return the file's name and the number of its tensors."""
        return f"SafetensorsFile({self.path.name!r}, {len(self)} tensors)"


def _tensor_name(file: SafetensorsFile, tensor: str | None) -> str:
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


def _map(descriptor: int, path: Path, nbytes: int) -> Array:
    try:
        return map_open(descriptor, str(path), nbytes)
    except ValueError as error:  # truncated since the header was read
        msg = f"{path} was truncated while it was opened ({error}); open it again"
        raise InvalidValueError(msg) from error


def _little_endian(info: DTypeInfo) -> DType:
    return info.dtype if info.extension else info.dtype.newbyteorder("<")
