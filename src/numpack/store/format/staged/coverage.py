"""What the writes of a parallel write have filled: missing rows, and checksums of blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...kernels.checksums import BLOCK, combine_crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .records import Write

    Ranges = list[tuple[int, int]]


class Part(NamedTuple):
    """Bytes of a block that one write has filled: their offset in the file, length, CRC-32."""

    start: int
    length: int
    crc: int


def missing_rows(writes: Sequence[Write], rows: int) -> Ranges:
    """Return the ranges of rows that no write has filled, in order.

    A write that did not finish may have left anything in its rows, if it began after another
    one had filled them.
    """
    finished = [each for each in writes if each.is_finished]
    missing = _gaps(((each.first, each.stop) for each in finished), 0, rows)
    for write in writes:
        if not write.is_finished:
            later = ((each.first, each.stop) for each in finished if each.done > write.begun)
            missing += _gaps(later, write.first, write.stop)
    return _merged(missing)


def _gaps(ranges: Iterable[tuple[int, int]], first: int, stop: int) -> Ranges:
    """Return the parts of a range that no other range covers."""
    found, position = [], first
    for start, end in sorted(ranges):
        if start >= stop:
            break
        if start > position:
            found.append((position, start))
        position = max(position, end)
    if position < stop:
        found.append((position, stop))
    return found


def _merged(ranges: Ranges) -> Ranges:
    merged: Ranges = []
    for first, stop in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((first, stop))
    return merged


def blocks_written_twice(writes: Iterable[Write], width: int) -> set[int]:
    """Return the numbers of the blocks of which some bytes belong to more than one write.

    Their checksums cannot be those that the writes have recorded.

    Parameters
    ----------
    writes : iterable of Write
    width : int
        Bytes of a row.
    """
    found: set[int] = set()
    end = 0
    for first, stop in sorted((each.first, each.stop) for each in writes):
        overlap = min(stop, end)
        if first < overlap:
            found.update(range(first * width // BLOCK, (overlap * width - 1) // BLOCK + 1))
        end = max(end, stop)
    return found


def parts_of_blocks(writes: Iterable[Write], width: int) -> dict[int, list[Part]]:
    """Return the parts of all blocks that no single write has filled, in order."""
    parts: dict[int, list[Part]] = {}
    for write in writes:
        start, end = write.first * width, write.stop * width
        whole_from, whole_to = -(-start // BLOCK), end // BLOCK
        if whole_from > whole_to:  # it is within one block
            parts.setdefault(whole_to, []).append(Part(start, end - start, write.tail))
            continue
        if start % BLOCK:
            part = Part(start, whole_from * BLOCK - start, write.head)
            parts.setdefault(whole_from - 1, []).append(part)
        if end % BLOCK:
            part = Part(whole_to * BLOCK, end % BLOCK, write.tail)
            parts.setdefault(whole_to, []).append(part)
    for found in parts.values():
        found.sort()
    return parts


def combined(parts: Iterable[Part]) -> int:
    """Return the CRC-32 of consecutive parts."""
    crc = 0
    for part in parts:
        crc = combine_crc32(crc, part.crc, part.length)
    return crc
