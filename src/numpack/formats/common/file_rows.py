"""Rows of arrays that lie in a file as they are, read without mapping them."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._core.memory import aligned_empty
from ...errors import InvalidValueError
from ...store.format import data_files

if TYPE_CHECKING:
    from pathlib import Path

    from ..._core.dtypes import DType
    from ..._core.memory import Array


class FileRows(NamedTuple):
    """An array in a file.

    Attributes
    ----------
    path : Path
        Of the file, for messages.
    descriptor : int
        Of the file, open for reading.
    offset : int
        Of the first byte of the array in the file.
    dtype : dtype
        As in the file, which may be in another byte order than the machine's.
    shape : tuple of int
    fortran : bool
        Whether the first axis varies fastest.
    """

    path: Path
    descriptor: int
    offset: int
    dtype: DType
    shape: tuple[int, ...]
    fortran: bool = False

    @property
    def nbytes(self) -> int:
        """The size of the array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def require_complete(self) -> None:
        """Check that the file is long enough.

        Raises
        ------
        InvalidValueError
            It is too short.
        """
        size = os.fstat(self.descriptor).st_size
        if size < self.offset + self.nbytes:
            msg = (
                f"{self.path} is damaged: it should have {self.offset + self.nbytes:,} bytes, "
                f"and has {size:,}; get the complete file"
            )
            raise InvalidValueError(msg)

    def read(self, start: int, stop: int) -> Array:
        """Return rows, or all of a 0-d array, in C order and memory of their own."""
        if not self.shape:
            return self._read(0, ())
        if self.fortran and len(self.shape) > 1:
            return self._read_fortran(start, stop)
        width = math.prod(self.shape[1:]) * self.dtype.itemsize
        return self._read(start * width, (stop - start, *self.shape[1:]))

    def _read(self, start: int, shape: tuple[int, ...]) -> Array:
        fresh = aligned_empty(shape, self.dtype)
        self._fill(data_files.as_bytes(fresh), start)
        return fresh

    def _read_fortran(self, start: int, stop: int) -> Array:
        """Read the rows of each column, which are consecutive, one after the other."""
        others, item = self.shape[1:], self.dtype.itemsize
        columns = aligned_empty((math.prod(others), stop - start), self.dtype)
        if columns.nbytes:
            for number, column in enumerate(columns):
                first = (number * self.shape[0] + start) * item
                self._fill(data_files.as_bytes(column), first)
        rows = columns.reshape(*reversed(others), stop - start).T
        return np.ascontiguousarray(rows)

    def _fill(self, memory: Array, start: int) -> None:
        try:
            data_files.read_exactly(self.descriptor, memory, self.offset + start)
        except OSError:
            self.require_complete()  # it may have become shorter
            raise
