"""Rows of arrays that are stored in chunks, each of which is decompressed once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from .sources import PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._core.memory import Array

_BLOCK_BYTES = 32 << 20  # of decompressed chunks that are kept, unless one is larger


class Rows(Protocol):
    """An array that is read by slices of its rows."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return a slice."""


class Chunked(NamedTuple):
    """An array and the shape of its chunks, ``None`` where there are none."""

    array: Rows
    shape: tuple[int, ...]
    chunk: tuple[int, ...] | None
    itemsize: int

    @property
    def width(self) -> int:
        """The size of all chunks that one row runs through, in bytes."""
        assert self.chunk is not None  # noqa: S101 -- for the type checker
        extents = (
            math.ceil(extent / size) * size
            for extent, size in zip(self.shape[1:], self.chunk[1:], strict=True)
        )
        return self.chunk[0] * math.prod(extents) * self.itemsize

    @property
    def has_whole_rows(self) -> bool:
        """Whether a chunk is as wide as the array."""
        assert self.chunk is not None  # noqa: S101
        extents = zip(self.chunk[1:], self.shape[1:], strict=True)
        return all(size >= extent for size, extent in extents)


class Blocks:
    """The arrays that are read at present, and the chunks of them that are kept."""

    def __init__(self) -> None:
        self._arrays: Mapping[str, Chunked] = {}
        self._kept: dict[str, _Block] = {}

    def begin(self, arrays: Mapping[str, Chunked]) -> int:
        """Read these arrays from now on; return the number of rows of a chunk.

        Chunks of a few MiB are read whole, so that none has to be kept. Of larger ones a row is
        kept while its rows are read.
        """
        self._arrays, self._kept = arrays, {}
        height, count = 1, len(arrays)
        for name, array in arrays.items():
            if not array.shape or array.chunk is None:
                continue
            is_kept = array.width > PART_BYTES // count
            is_small = array.width <= _BLOCK_BYTES // count
            if is_kept and not is_small and not (count == 1 and array.has_whole_rows):
                continue
            height = max(height, array.chunk[0])
            if is_kept:
                self._kept[name] = _Block(array.array, array.chunk[0])
        return height

    def read(self, name: str, start: int, stop: int) -> Any:
        """Return rows, or all of a 0-d array."""
        block = self._kept.get(name)
        if block is not None:
            return block.rows(start, stop)
        found = self._arrays[name]
        return found.array[start:stop] if found.shape else found.array[...]

    def end(self) -> None:
        """Forget the arrays."""
        self._arrays, self._kept = {}, {}


class _Block:
    """The rows of one row of chunks, kept until the next one is read."""

    def __init__(self, array: Rows, height: int) -> None:
        self._array, self._height = array, height
        self._number = -1
        self._values: Any = None

    def rows(self, start: int, stop: int) -> Array:
        """Return rows; those of more than one block are a copy."""
        found: list[Array] = []
        while (end := start // self._height * self._height + self._height) < stop:
            # A view would keep the memory of a block while the next one is read.
            found.append(self._of_block(start, end).copy())
            start = end
        found.append(self._of_block(start, stop))
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _of_block(self, start: int, stop: int) -> Array:
        """Return rows that are in one block."""
        number = start // self._height
        first = number * self._height
        if number != self._number:
            self._values = None  # before the next one takes memory
            self._values = self._array[first : first + self._height]
            self._number = number
        rows: Array = self._values[start - first : stop - first]
        return rows
