"""Parts of arrays as they are written in Python: ``x[10:20, :4]``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import IndexRangeError
from ._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._core.memory import Array
    from ..store import NumPack
    from ..store.reading.streaming import CommittedRows

_PART = re.compile(r"(?s)(.+)\[([^\[\]]*)\]")
_SINGLE_ROWS = 1024  # that are read one by one where others lie between them
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)


class Selection(NamedTuple):
    """An array and the part of it that was asked for.

    Attributes
    ----------
    name : str
    part : tuple of int, slice and Ellipsis
        Empty for the whole array.
    """

    name: str
    part: tuple[Any, ...]


def selection(store: NumPack, text: str) -> Selection:
    """Return the array and the part of it that a text names.

    Raises
    ------
    NotFoundError
        There is no such array.
    UsageError
        The part is not of integers and slices.
    """
    found = None if text in store else _PART.fullmatch(text)
    if found is None:
        store.get_shape(text)  # raises, with the nearest names
        return Selection(text, ())
    name, inner = found.groups()
    store.get_shape(name)
    parts = [part for part in inner.split(",") if part.strip()]
    return Selection(name, tuple(_item(part, text) for part in parts))


def _item(part: str, text: str) -> Any:
    if part.strip() == "...":
        return Ellipsis
    bounds = [None if not each.strip() else _integer(each, text) for each in part.split(":")]
    if len(bounds) == 1:
        return bounds[0]
    if len(bounds) > 3 or (len(bounds) == 3 and bounds[2] == 0):
        msg = f"{part.strip()!r} in {text!r} is no slice; write start:stop:step"
        raise UsageError(msg)
    return slice(*bounds)


def _integer(part: str, text: str) -> int:
    if not _INTEGER.fullmatch(part):
        msg = (
            f"{part.strip()!r} in {text!r} is no integer; a part is written as in Python, of "
            "integers and slices: x[10:20, :4]"
        )
        raise UsageError(msg)
    return int(part)


class Rows:
    """The selected rows of an array, which are read when they are needed.

    Parameters
    ----------
    held : CommittedRows
        Open.
    selected : Selection
        Of one of its arrays.

    Attributes
    ----------
    dtype : dtype
    shape : tuple of int
        Of the selected part.
    row_nbytes : int
        Of what is read for a selected row.
    has_rows : bool
        Whether the first axis of the part is that of the rows.

    Raises
    ------
    IndexRangeError
        The part does not fit the shape.
    """

    def __init__(self, held: CommittedRows, selected: Selection) -> None:
        self._held, self._name = held, selected.name
        entry = held.catalog.arrays[selected.name]
        self.dtype, shape = entry.dtype, entry.shape
        example = np.broadcast_to(np.empty((), self.dtype), shape)  # without memory
        try:
            self.shape = example[selected.part].shape
        except IndexError as error:
            raise IndexRangeError(f"{error}; the shape is {shape}") from None
        index = _expanded(selected.part, len(shape))
        self._is_scalar = not shape
        self.has_rows = bool(shape) and isinstance(index[0], slice)
        self._inner, self._rows = index[1:], range(1)
        if shape:
            rows = range(shape[0])
            self._rows = rows[index[0]] if self.has_rows else rows[index[0] :][:1]
        self.row_nbytes = entry.row_nbytes * abs(self._rows.step)

    def __len__(self) -> int:
        """Return the number of selected rows; 1 if the part has no axis of rows."""
        return len(self._rows)

    def read(self, start: int, stop: int) -> Array:
        """Read some of the selected rows, or all if there is no axis of rows."""
        if self._is_scalar:
            return self._held.read(self._name)
        return self._part_of(self._read(self._rows[start:stop]))

    def gather(self, positions: Iterable[int]) -> Array:
        """Read the selected rows at some positions."""
        return self._part_of(self._one_by_one(self._rows[at] for at in positions))

    def parts(self, nbytes: int) -> Iterator[Array]:
        """Read all rows, so many that they and what lies between them have some bytes."""
        step = max(1, nbytes // max(1, self.row_nbytes))
        for start in range(0, len(self), step):
            yield self.read(start, start + step)

    def _read(self, rows: range) -> Array:
        """Read the rows of a range, in whole."""
        if abs(rows.step) > 1 and 0 < len(rows) <= _SINGLE_ROWS:
            return self._one_by_one(rows)
        if not rows:
            return self._held.read(self._name, 0, 0)
        first, last = min(rows[0], rows[-1]), max(rows[0], rows[-1])
        found: Array = self._held.read(self._name, first, last + 1)[:: rows.step]
        return found

    def _one_by_one(self, rows: Iterable[int]) -> Array:
        return np.concatenate([self._held.read(self._name, row, row + 1) for row in rows])

    def _part_of(self, rows: Array) -> Array:
        """Return the part of whole rows that is selected."""
        part: Array = rows[(slice(None) if self.has_rows else 0, *self._inner)]
        return part


def _expanded(index: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    """Return an index with an item for each axis."""
    if Ellipsis in index:
        at = index.index(Ellipsis)
        after = index[at + 1 :]
        rest = ndim - at - len(after)
        return (*index[:at], *[slice(None)] * rest, *after)
    return (*index, *[slice(None)] * (ndim - len(index)))
