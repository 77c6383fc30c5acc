"""Planning what to send of each array: nothing, the blocks that changed, or all of it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..format.extents import ObjectMap, Run
from ..format.log.records import MAX_EXTENTS
from ..kernels.checksums import BLOCK, crc32

if TYPE_CHECKING:
    from ..._core.memory import Array
    from ..format.log.state import Entry
    from .contents import LocalArray
    from .published import Published, PublishedArray

_NUMBERS = range(2**32, 2**60)  # of ids; those of local stores are smaller
_MOST_CHANGED = 0.5  # of the bytes of an array of which only the changed blocks are sent


class ArrayPlan(NamedTuple):
    """What to send of an array.

    Attributes
    ----------
    array : LocalArray
    entry : Entry
        As it will be published.
    extents : ObjectMap
        Where its bytes will be.
    runs : tuple of Run
        The bytes to send to its data object.
    is_sent : bool
        Whether it has a new id, under which its other objects are sent too.
    """

    array: LocalArray
    entry: Entry
    extents: ObjectMap
    runs: tuple[Run, ...]
    is_sent: bool

    @property
    def nbytes(self) -> int:
        """Bytes to send."""
        if not self.is_sent:
            return 0
        lists = 4 * (self.entry.nbytes // BLOCK) + 8 * self.entry.dropped
        if self.entry.extents is not None:
            lists += len(self.extents.to_bytes())
        return lists + sum(stop - start for start, stop in self.runs)


def plan(array: LocalArray, before: PublishedArray | None, published: Published) -> ArrayPlan:
    """Plan what to send of an array.

    Parameters
    ----------
    array : LocalArray
    before : PublishedArray or None
        The array of that name that was published before, if blocks of it can be used again.
    published : Published
    """
    if before is None:
        return _whole(array)
    runs = changed_runs(array, before)
    if not runs and _is_same(array.entry, before.entry):
        entry = array.entry.replace(id=before.entry.id, extents=before.entry.extents)
        return ArrayPlan(array, entry, before.extents, (), is_sent=False)
    changed = sum(stop - start for start, stop in runs)
    if not array.entry.nbytes or changed > _MOST_CHANGED * array.entry.nbytes:
        return _whole(array)
    entry = array.entry.replace(id=_new_id(array.entry))
    extents = ObjectMap.changed(entry, before.extents, runs)
    garbage = published.garbage(extents, entry.data_file)
    if len(extents) > MAX_EXTENTS or garbage > entry.nbytes:
        return _whole(array)
    entry = entry.replace(extents=(len(extents), crc32(extents.to_bytes())))
    return ArrayPlan(array, entry, extents, runs, is_sent=True)


def changed_runs(array: LocalArray, before: PublishedArray) -> tuple[Run, ...]:
    """Return the blocks of an array that differ from those before, merged to runs."""
    nbytes = array.entry.nbytes
    changed = np.ones(-(-nbytes // BLOCK), bool)
    same = _same_blocks(array.checksums, nbytes, before.checksums, before.entry.nbytes)
    changed[: len(same)] = ~same
    edges = np.flatnonzero(np.diff(changed, prepend=False, append=False)).reshape(-1, 2)
    return tuple(
        Run(start * BLOCK, min(stop * BLOCK, nbytes)) for start, stop in edges.tolist()
    )


def _same_blocks(sums: Array, nbytes: int, before: Array, nbytes_before: int) -> Array:
    """Return for each block that both arrays have whether it is the same."""
    count = min(len(sums), len(before))
    same: Array = sums[:count] == before[:count]
    if count and min(nbytes, count * BLOCK) != min(nbytes_before, count * BLOCK):
        same[-1] = False  # one of them ends within the block
    return same


def _whole(array: LocalArray) -> ArrayPlan:
    entry = array.entry.replace(id=_new_id(array.entry))
    runs = (Run(0, entry.nbytes),) if entry.nbytes else ()
    return ArrayPlan(array, entry, ObjectMap.whole(entry), runs, is_sent=True)


def _new_id(entry: Entry) -> str:
    """Return an id that no array has, in this publisher or any other."""
    number = _NUMBERS.start + secrets.randbelow(len(_NUMBERS))
    return f"{number:08d}-{entry.id.partition('-')[2]}"


def _is_same(entry: Entry, before: Entry) -> bool:
    """Return whether the files of an array can be those before, whose blocks are the same."""
    return (entry.stored, entry.dropped, entry.dropped_crc) == (
        before.stored,
        before.dropped,
        before.dropped_crc,
    )
