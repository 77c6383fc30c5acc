"""What sources have in common: parts of arrays that can be read from any row on."""

from __future__ import annotations

import abc
import math
from typing import TYPE_CHECKING, Any

from ...errors import InvalidValueError
from ...store.format.naming import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..._core.memory import Array
    from .._protocol import ArrayInfo, Part

PART_BYTES = 8 << 20


class SlicedSource(abc.ABC):
    """A source that reads any rows of any array.

    Parameters
    ----------
    arrays : mapping of str to ArrayInfo
        All with a known number of rows.
    attrs : mapping, optional
    """

    def __init__(
        self, arrays: Mapping[str, ArrayInfo], attrs: Mapping[str, Any] | None = None
    ) -> None:
        self.arrays = arrays
        self.attrs: Mapping[str, Any] = attrs or {}
        self.nbytes: int | None = sum(map(nbytes_of, arrays.values()))

    @abc.abstractmethod
    def read(self, name: str, start: int, stop: int) -> Array:
        """Return rows of an array, or all of a 0-d one, whatever `start` and `stop`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release the file."""

    def parts(self, names: Sequence[str], *, together: bool) -> Iterator[Part]:
        """Read arrays, a part at a time; see `Source.parts`."""
        if not together:
            for name in names:
                yield from self._parts([name])
        elif names:
            require_equal_lengths({name: self.arrays[name] for name in names})
            yield from self._parts(names)

    def _parts(self, names: Sequence[str]) -> Iterator[Part]:
        infos = [self.arrays[name] for name in names]
        count = (infos[0].shape or (1,))[0] or 0
        block = self.begin(names)
        step = rows_in_part(infos)
        step = step // block * block or step
        start = 0
        while True:
            stop = min(start + step, count)
            if step < block:
                stop = min(stop, start // block * block + block)
            yield {name: self.read(name, start, stop) for name in names}
            if stop >= count:
                return
            start = stop

    def begin(self, names: Sequence[str]) -> int:  # noqa: ARG002 -- of subclasses
        """Prepare to read arrays; return the number of rows of a block, such as a chunk.

        A part has whole blocks, or is in one.
        """
        return 1


def rows_in_part(infos: Sequence[ArrayInfo]) -> int:
    """Return how many rows of all arrays take about `PART_BYTES`."""
    return max(1, PART_BYTES // max(1, sum(map(row_nbytes, infos))))


def row_nbytes(info: ArrayInfo) -> int:
    """Return the size of a row, or of a 0-d array, in bytes."""
    return math.prod(extent or 0 for extent in info.shape[1:]) * info.dtype.itemsize


def nbytes_of(info: ArrayInfo) -> int:
    """Return the size of an array, whose number of rows is known, in bytes."""
    return math.prod(extent or 0 for extent in info.shape) * info.dtype.itemsize


def require_equal_lengths(arrays: Mapping[str, ArrayInfo]) -> None:
    """Check that arrays can be the columns of one table.

    Raises
    ------
    InvalidValueError
        One is 0-d, or their numbers of rows differ.
    """
    scalars = [name for name, info in arrays.items() if not info.shape]
    if scalars:
        msg = (
            f"a table has no place for 0-d arrays, such as {listed(scalars)}; leave them out "
            "with arrays=, or choose a format that holds arrays of any shape"
        )
        raise InvalidValueError(msg)
    lengths = {
        name: info.shape[0] for name, info in arrays.items() if info.shape[0] is not None
    }
    if len(set(lengths.values())) > 1:
        (one, first), (other, second) = _different(lengths)
        msg = (
            f"the columns of a table have the same length, and {one!r} has {first:,} rows "
            f"where {other!r} has {second:,}; choose some with arrays=, or a format that holds "
            "arrays of any shape"
        )
        raise InvalidValueError(msg)


def _different(lengths: Mapping[str, int]) -> tuple[tuple[str, int], tuple[str, int]]:
    (first, *others) = lengths.items()
    return first, next(each for each in others if each[1] != first[1])
