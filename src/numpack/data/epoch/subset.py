"""The samples of an epoch among the rows that an array has: the argument `rows` of a loader."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ...store.rows.indexing import Selection

if TYPE_CHECKING:
    from .order import Numbers


class Subset:
    """Rows that are selected by an index, which are the samples in this order.

    Parameters
    ----------
    indexes : None, slice, list, integer array or boolean mask
        ``None`` selects all rows.
    count : int
        Number of rows.

    Attributes
    ----------
    span : range or None
        The rows, if they are consecutive.

    Raises
    ------
    IndexRangeError, InvalidIndexError
        As for `NumPack.getitem`.
    """

    def __init__(self, indexes: Any, count: int) -> None:
        selection = Selection(slice(None) if indexes is None else indexes, count, private=True)
        self.span = selection.span
        self._range = selection.as_range
        self._numbers = None if self._range is not None else selection.numbers()
        self._length = len(selection)

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._length

    def rows(self, samples: Numbers) -> Numbers:
        """Return the rows of some samples."""
        if self._numbers is not None:
            return self._numbers[samples]
        if self._range is None or (self._range.start, self._range.step) == (0, 1):
            return samples
        return samples * self._range.step + self._range.start

    def to_state(self) -> list[int]:
        """Return numbers that are equal only for equal rows, with a checksum of row numbers."""
        if self._range is not None:
            return [self._range.start, self._range.step, self._length]
        numbers = np.ascontiguousarray(self._numbers, "<i8")
        return [zlib.crc32(numbers.tobytes()), 0, self._length]
