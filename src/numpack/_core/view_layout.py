"""The layout of an array within memory that another process maps, as it is pickled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.lib.array_utils import byte_bounds

if TYPE_CHECKING:
    from .dtypes import DType
    from .memory import Array


class ViewLayout(NamedTuple):
    """What an array is within a range of memory.

    Attributes
    ----------
    dtype : str or numpy.dtype
    shape : tuple of int
    strides : tuple of int or None
        In bytes; ``None`` for C order.
    offset : int
        Of the first element from the beginning of the memory, in bytes.
    """

    dtype: str | DType
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    offset: int

    @classmethod
    def of(cls, array: Array, offset: int) -> Self:
        """Describe an array whose lowest address is at an offset."""
        strides = None if array.flags.c_contiguous else array.strides
        if strides is not None:
            offset += array.__array_interface__["data"][0] - byte_bounds(array)[0]
        return cls(_short(array.dtype), array.shape, strides, offset)

    def view(self, memory: Any, nbytes: int, kind: type[Array] = np.ndarray) -> Array:
        """View memory as the array that was described.

        The values are checked in Python's integers, which do not overflow.

        Parameters
        ----------
        memory : object with a buffer
        nbytes : int
            Its size.
        kind : type
            ndarray, or a subclass of it.

        Raises
        ------
        TypeError, ValueError
            A value is not valid, or the array would reach beyond the memory.
        """
        dtype = np.dtype(self.dtype)
        lowest, highest = self._bounds(dtype)
        if lowest < 0 or highest > nbytes:
            msg = f"bytes {lowest} to {highest} are not within {nbytes} bytes"
            raise ValueError(msg)
        return np.ndarray.__new__(kind, self.shape, dtype, memory, self.offset, self.strides)

    def _bounds(self, dtype: DType) -> tuple[int, int]:
        """Return the offsets of the array's first byte, and of the one after its last."""
        shape, strides = self.shape, self.strides
        numbers = [self.offset, *shape, *(strides or ())]
        is_typed = type(shape) is tuple and all(type(number) is int for number in numbers)
        if not is_typed or dtype.hasobject or dtype.subdtype is not None:
            raise TypeError
        if min(shape, default=1) < 1:
            raise ValueError
        if strides is None:
            return self.offset, self.offset + math.prod(shape) * dtype.itemsize
        reach = [step * (n - 1) for n, step in zip(shape, strides, strict=True)]
        lowest = self.offset + sum(each for each in reach if each < 0)
        return lowest, self.offset + sum(each for each in reach if each > 0) + dtype.itemsize


def _short(dtype: DType) -> str | DType:
    """Return a dtype, or its string if that is the same dtype and shorter when pickled."""
    if dtype.names is not None or dtype.metadata is not None:
        return dtype
    return dtype.str if np.dtype(dtype.str) == dtype else dtype
