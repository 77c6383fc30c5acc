"""References to arrays over `numpy.memmap`, which NumPy pickles by value."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import MovedError

if TYPE_CHECKING:
    from .._core.dtypes import DType
    from .._core.memory import Array


class MappedPart(NamedTuple):
    """Part of a file, by which another process maps the same pages."""

    path: str
    identity: tuple[int, int]
    offset: int
    dtype: DType
    shape: tuple[int, ...]

    def open(self) -> Array:
        """Map the part for reading.

        Raises
        ------
        MovedError
            Another file is at the path, or none, or it has become shorter.
        """
        try:
            with Path(self.path).open("rb") as file:
                if identity_of(self.path) == self.identity:
                    found = np.memmap(file, self.dtype, "r", self.offset, self.shape)
                    return np.asarray(found)
                reason, detail = "another copy", "another file is there"
        except FileNotFoundError:
            reason, detail = "missing", "there is no such file"
        except ValueError:
            reason, detail = "another copy", "it is shorter than it was"
        msg = f"the mapped file {self.path} has moved: {detail}; map it again"
        raise MovedError(msg, reason)


def part_of(array: Any) -> MappedPart | None:
    """Return the part of a file that an ndarray over a `numpy.memmap` is; ``None`` if none."""
    root = array
    while isinstance(root, np.ndarray) and not isinstance(root.base, mmap.mmap):
        root = root.base
    if not isinstance(root, np.memmap) or root.filename is None or root.mode == "c":
        return None
    if not array.flags.c_contiguous or array.dtype.hasobject or not array.nbytes:
        return None
    path = str(Path(root.filename).absolute())
    try:
        identity = identity_of(path)
    except OSError:  # it is unlinked: only its values can be pickled
        return None
    offset = root.offset + array.ctypes.data - root.ctypes.data
    return MappedPart(path, identity, offset, array.dtype, array.shape)


def identity_of(path: str) -> tuple[int, int]:
    """Return device and inode of a file."""
    status = Path(path).stat()
    return status.st_dev, status.st_ino
