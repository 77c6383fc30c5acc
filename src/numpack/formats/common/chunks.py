"""The shapes of the chunks in which arrays are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._protocol import ArrayInfo

_SMALLEST = 16 << 10  # bytes of a chunk
_ALL = 32 << 20  # bytes of one chunk of each array


def chunk_bytes(arrays: int, largest: int) -> int:
    """Return the size of chunks of which one of each array is kept in memory."""
    return min(largest, max(_SMALLEST, _ALL // max(1, arrays)))


def chunk_shape(info: ArrayInfo, nbytes: int) -> tuple[int, ...]:
    """Return the shape of chunks of about `nbytes`: whole rows, or a part of one row."""
    budget = max(1, nbytes // max(1, info.dtype.itemsize))
    chunk: list[int] = []
    for extent in reversed(info.shape[1:]):
        chunk.insert(0, max(1, min(extent or 1, budget)))
        budget //= chunk[0]
        budget = max(1, budget)
    rows = info.shape[0] if info.shape[0] is not None else budget
    return (max(1, min(rows, budget)), *chunk)
