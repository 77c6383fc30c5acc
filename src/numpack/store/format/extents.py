"""Extents: where the bytes of a published array are, if they are in several objects.

A store is published again by writing only what changed. An array of which little changed then
gets a new id, whose object holds the changed blocks one after another, and a list of *extents*,
which says for each part of its data file in which object that part is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

import numpy as np

from ...errors import CorruptStoreError, PublishedStoreError
from ..kernels.checksums import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..fs.directory import Folder
    from .log.state import Entry

Numbers = np.ndarray[Any, np.dtype[np.int64]]

EXTENT_BYTES = 24
_NUMBERS = 3  # of an extent
_NUMBER_LIMIT = 2**62  # exclusive, of the number in an id
_LIMIT = 2**63  # exclusive, of offsets


class Run(NamedTuple):
    """Consecutive bytes of a data file, from `start` to `stop`, which is excluded."""

    start: int
    stop: int


class Pieces(NamedTuple):
    """Ranges of one object.

    Attributes
    ----------
    name : str
        Of the object.
    starts, ends : ndarray of int64
        The ranges in the object.
    places : ndarray of int64
        Where each of them begins in the bytes that were asked for, one range after another.
    """

    name: str
    starts: Numbers
    ends: Numbers
    places: Numbers


class ObjectMap:
    """The extents of an array: parts of its data file, each of which is in one object.

    Parameters
    ----------
    entry : Entry
        Of the array; only its size and its id are used.
    starts : ndarray of int64
        First byte of each extent in the data file, ascending from 0.
    numbers : ndarray of int64
        Number in the id of its object.
    offsets : ndarray of int64
        Its first byte in that object.

    Examples
    --------
    >>> from numpack.store.format.log.state import Entry
    >>> entry = Entry("00000007-0123abcd", "|u1", (3000000,), 0)
    >>> ObjectMap.whole(entry).split([5], [10])[0].name
    'data/00000007-0123abcd.bin'
    """

    __slots__ = ("_entry", "numbers", "offsets", "starts")

    def __init__(
        self, entry: Entry, starts: Numbers, numbers: Numbers, offsets: Numbers
    ) -> None:
        self._entry = entry
        self.starts, self.numbers, self.offsets = starts, numbers, offsets

    @classmethod
    def whole(cls, entry: Entry) -> Self:
        """Return the map of an array all bytes of which are in its data file."""
        zero: Numbers = np.zeros(1 if entry.nbytes else 0, np.int64)
        return cls(entry, zero, zero + number_of(entry.id), zero)

    @classmethod
    def parse(cls, content: bytes, entry: Entry) -> Self:
        """Return the map that the list of extents of an array describes.

        Parameters
        ----------
        content : bytes
            Of its file, which may come from an untrusted source.
        entry : Entry
            With ``extents``.

        Raises
        ------
        CorruptStoreError
            The list is not the one that the log names, or is not a list of extents.
        """
        count, crc = entry.extents or (0, 0)
        size = len(content)
        if size != EXTENT_BYTES * count or crc32(content) != crc:
            _damaged(entry, f"its {size:,} bytes are not the {count:,} extents of the log")
        table = np.frombuffer(content, "<u8").reshape(count, _NUMBERS)
        if not count or int(table.max()) >= _LIMIT:
            _damaged(entry, "it has a number of more than 63 bits, or no extent")
        starts, numbers, offsets = table.T.astype(np.int64)
        made = cls(entry, starts, numbers, offsets)
        if starts[0] or starts[-1] >= entry.nbytes or not (np.diff(starts) > 0).all():
            _damaged(entry, f"its extents do not divide {entry.nbytes:,} bytes")
        if numbers.max() >= _NUMBER_LIMIT or (offsets > _LIMIT - 1 - made.lengths).any():
            _damaged(entry, "an extent is in no possible object")
        return made

    @classmethod
    def changed(cls, entry: Entry, before: ObjectMap, runs: Sequence[Run]) -> Self:
        """Return the map of an array of which some runs differ from an earlier one.

        Parameters
        ----------
        entry : Entry
            Its object holds the runs one after another.
        before : ObjectMap
            Of the earlier array, which has the bytes between the runs at the same positions.
        runs : sequence of Run
            Ascending, without overlap, within the array.
        """
        own, at, done, found = number_of(entry.id), 0, 0, []
        for start, stop in (*runs, Run(entry.nbytes, entry.nbytes)):
            found += before.between(at, start)
            if stop > start:
                found.append((start, own, done))
            at, done = stop, done + stop - start
        table = np.array(found, np.int64).reshape(-1, _NUMBERS)
        return cls(entry, *_merged(table, entry.nbytes).T)

    def __len__(self) -> int:
        """Return the number of extents."""
        return len(self.starts)

    @property
    def stops(self) -> Numbers:
        """The byte of the data file after each extent."""
        stops: Numbers = np.append(self.starts[1:], self._entry.nbytes)
        return stops if len(self) else self.starts

    @property
    def lengths(self) -> Numbers:
        """Bytes of each extent."""
        return self.stops - self.starts

    def to_bytes(self) -> bytes:
        """Return the content of the file of the extents."""
        table = np.stack([self.starts, self.numbers, self.offsets], axis=1)
        return table.astype("<u8").tobytes()

    def between(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return the extents of a part of the data file: start, number and offset of each."""
        if stop <= start:
            return []
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        last = int(np.searchsorted(self.starts, stop, "left"))
        return [
            (max(at, start), number, offset + max(0, start - at))
            for at, number, offset in zip(
                self.starts[first:last].tolist(),
                self.numbers[first:last].tolist(),
                self.offsets[first:last].tolist(),
                strict=True,
            )
        ]

    def object_name(self, number: int) -> str:
        """Return the name of the object with a number."""
        if number == number_of(self._entry.id):
            return self._entry.data_file
        return data_name(number, self._entry.id.partition("-")[2])

    def split(
        self, starts: Numbers | Sequence[int], ends: Numbers | Sequence[int]
    ) -> list[Pieces]:
        """Return where ranges of the data file are in objects.

        Parameters
        ----------
        starts, ends : array_like of int64
            Ranges within the data file, in any order; empty ones are left out.

        Returns
        -------
        list of Pieces
            One for each object, with its ranges in the order in which they were asked for.
        """
        starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
        places = np.cumsum(ends - starts) - (ends - starts)
        if len(self) <= 1:  # all bytes are in one object
            return self._in_one_object(starts, ends, places)
        first = np.searchsorted(self.starts, starts, "right") - 1
        last = np.searchsorted(self.starts, ends, "left")
        counts = np.where(ends > starts, last - first, 0)
        ranges = np.repeat(np.arange(len(starts)), counts)
        extents = np.arange(counts.sum()) + np.repeat(
            first - (np.cumsum(counts) - counts), counts
        )
        begins = np.maximum(starts[ranges], self.starts[extents])
        stops = np.minimum(ends[ranges], self.stops[extents])
        places = places[ranges] + begins - starts[ranges]
        shift = self.offsets[extents] - self.starts[extents]
        return self._by_object(self.numbers[extents], begins + shift, stops + shift, places)

    def _in_one_object(self, starts: Numbers, ends: Numbers, places: Numbers) -> list[Pieces]:
        wanted = ends > starts
        if not wanted.all():
            starts, ends, places = starts[wanted], ends[wanted], places[wanted]
        if not len(starts):
            return []
        shift = int(self.offsets[0])
        name = self.object_name(int(self.numbers[0]))
        return [Pieces(name, starts + shift, ends + shift, places)]

    def _by_object(
        self, numbers: Numbers, starts: Numbers, ends: Numbers, places: Numbers
    ) -> list[Pieces]:
        order = np.argsort(numbers, kind="stable")
        bounds = np.flatnonzero(np.diff(numbers[order])) + 1
        return [
            Pieces(
                self.object_name(int(numbers[part[0]])), starts[part], ends[part], places[part]
            )
            for part in np.split(order, bounds)
            if len(part)
        ]

    def object_names(self) -> list[str]:
        """Return the names of the objects that have bytes of the array."""
        return [self.object_name(number) for number in np.unique(self.numbers).tolist()]

    def bytes_in_objects(self) -> dict[str, tuple[int, int]]:
        """Return for each object how many of its bytes are used, and its least length."""
        lengths = self.lengths
        found = {}
        for number in np.unique(self.numbers).tolist():
            chosen = self.numbers == number
            needed = int((self.offsets[chosen] + lengths[chosen]).max())
            found[self.object_name(number)] = int(lengths[chosen].sum()), needed
        return found


def number_of(identifier: str) -> int:
    """Return the number in an id."""
    return int(identifier.partition("-")[0])


def data_name(number: int, token: str) -> str:
    """Return the name of the object that has a number, in a store with a token."""
    return f"data/{number:08d}-{token}.bin"


def require_whole(folder: Folder, entries: Iterable[Entry]) -> None:
    """Check that no array has extents, unless the folder reads them from an object store.

    Raises
    ------
    PublishedStoreError
        One has.
    """
    if not folder.has_extents and any(entry.extents is not None for entry in entries):
        path = folder.path
        msg = (
            f"{path} is a copy of a published store, whose arrays are in several objects; "
            f'open it with NumPack("file://{path}", mode="r"), and make a store of it with '
            ".backup(path)"
        )
        raise PublishedStoreError(msg)


def _merged(table: Numbers, nbytes: int) -> Numbers:
    """Merge extents that continue the one before them."""
    if len(table) < 2:
        return table
    starts, numbers, offsets = table.T
    lengths = np.append(starts[1:], nbytes) - starts
    continues = (numbers[1:] == numbers[:-1]) & (offsets[1:] == offsets[:-1] + lengths[:-1])
    merged: Numbers = table[np.append(True, ~continues)]
    return merged


def _damaged(entry: Entry, what: str) -> NoReturn:
    msg = (
        f"the list of extents {entry.extents_file} is damaged: {what}; publish the "
        "store again with overwrite=True"
    )
    raise CorruptStoreError(msg)
