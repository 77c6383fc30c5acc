"""Which ranges of an object are requested together, and which are split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .objects import Bytes, Numbers

    Indexes = NDArray[np.int64]

PART = 8 << 20
"""A longer request is split into parts of about this size, which are read in parallel."""


class Ranges(NamedTuple):
    """Ranges that are not empty, in ascending order, and where each goes in the output."""

    starts: Indexes
    ends: Indexes
    places: Indexes
    reach: Indexes
    """The greatest end up to here: ranges may overlap."""


class Parts(NamedTuple):
    """What is requested: bytes from `starts` to `ends`, where ranges [first, last) lie."""

    starts: list[int]
    ends: list[int]
    first: list[int]
    last: list[int]


def sorted_ranges(starts: Numbers, ends: Numbers, out: Bytes) -> Ranges:
    """Return the ranges in ascending order; raise InvalidValueError unless they fill `out`."""
    begin = np.asarray(starts, np.int64).reshape(-1)
    end = np.asarray(ends, np.int64).reshape(-1)
    if len(begin) != len(end):
        raise InvalidValueError(f"{len(begin)} ranges begin and {len(end)} end")
    lengths = end - begin
    if len(begin) and (begin.min() < 0 or lengths.min() < 0):
        raise InvalidValueError("a range begins before byte 0, or ends before it begins")
    if lengths.sum() != len(out):
        raise InvalidValueError(f"ranges of {lengths.sum()} bytes for memory of {len(out)}")
    places = np.cumsum(lengths) - lengths
    if lengths.size and lengths.min() == 0:
        some = lengths > 0
        begin, end, places = begin[some], end[some], places[some]
    if (begin[1:] < begin[:-1]).any():
        order = np.argsort(begin, kind="stable")
        begin, end, places = begin[order], end[order], places[order]
    return Ranges(begin, end, places, np.maximum.accumulate(end))


def parts_of(ranges: Ranges, gap: int, part: int = PART) -> Parts:
    """Return the requests for some ranges, of which there is at least one.

    Neighbours are requested together if at most `gap` bytes lie between them, the smallest gaps
    first, as long as all the bytes between are no more than those that are asked for.
    """
    apart = ranges.starts[1:] - ranges.reach[:-1]
    begins = np.flatnonzero(_is_break(apart, ranges, gap)) + 1
    starts = np.concatenate((ranges.starts[:1], ranges.starts[begins]))
    ends = np.concatenate((ranges.reach[begins - 1], ranges.reach[-1:]))
    counts = -(-(ends - starts) // part)
    if counts.max() > 1:
        starts, ends = _split(starts, ends, counts)
    return Parts(
        starts.tolist(),
        ends.tolist(),
        np.searchsorted(ranges.reach, starts, "right").tolist(),
        np.searchsorted(ranges.starts, ends, "left").tolist(),
    )


def _is_break(apart: Indexes, ranges: Ranges, gap: int) -> NDArray[np.bool_]:
    """Return between which ranges a new request begins."""
    breaks = apart > 0
    lengths = ranges.ends - ranges.starts
    twice = np.minimum(np.maximum(-apart, 0), lengths[1:])
    asked = int(lengths.sum() - twice.sum())
    near = np.flatnonzero(breaks & (apart <= gap))
    near = near[np.argsort(apart[near], kind="stable")]
    together = near[np.cumsum(apart[near]) <= asked]
    breaks[together] = False
    return breaks


def _split(starts: Indexes, ends: Indexes, counts: Indexes) -> tuple[Indexes, Indexes]:
    """Divide requests into so many parts each, which differ in length by one byte at most."""
    request = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(request)) - np.repeat(np.cumsum(counts) - counts, counts)
    lengths, begin, count = (ends - starts)[request], starts[request], counts[request]
    short, longer = lengths // count, lengths % count
    return (
        begin + number * short + np.minimum(number, longer),
        begin + (number + 1) * short + np.minimum(number + 1, longer),
    )


class Delivery:
    """Copies of what arrives into the output."""

    def __init__(self, ranges: Ranges, parts: Parts, out: Bytes) -> None:
        self._ranges = ranges
        self._parts = parts
        self._memory: Any = out.data
        lengths = ranges.ends - ranges.starts
        self._length = int(lengths[0]) if (lengths == lengths[0]).all() else 0
        self._rows = out.reshape(-1, self._length) if self._length else out
        self._starts = ranges.starts.tolist()
        self._ends = ranges.ends.tolist()
        self._places = ranges.places.tolist()

    def deliver(self, part: int, data: memoryview) -> None:
        """Copy the bytes of a part to all ranges that it has bytes of."""
        first, last = self._parts.first[part], self._parts.last[part]
        if self._length and last - first > 8 and self._is_whole(part, first, last):
            self._deliver_rows(part, first, last, data)
            return
        begin, end = self._parts.starts[part], self._parts.ends[part]
        for index in range(first, last):
            start, place = self._starts[index], self._places[index]
            low, high = max(start, begin), min(self._ends[index], end)
            if low < high:
                self._memory[place + low - start : place + high - start] = data[
                    low - begin : high - begin
                ]

    def _is_whole(self, part: int, first: int, last: int) -> bool:
        """Return whether none of a part's ranges, of one length each, is cut by its ends."""
        begin, end = self._parts.starts[part], self._parts.ends[part]
        return bool(self._starts[first] >= begin and self._ends[last - 1] <= end)

    def _deliver_rows(self, part: int, first: int, last: int, data: memoryview) -> None:
        """Copy ranges of one length each at once."""
        offsets = self._ranges.starts[first:last] - self._parts.starts[part]
        windows = np.lib.stride_tricks.sliding_window_view(
            np.frombuffer(data, np.uint8), self._length
        )
        self._rows[self._ranges.places[first:last] // self._length] = windows[offsets]
