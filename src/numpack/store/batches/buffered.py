"""`NumPack.batch_mode`: arrays that are kept in memory and written when the block ends."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ConflictError, StoreError
from .. import commits
from ..format import data_files
from ..format.data_files import as_bytes
from ..format.naming import quoted
from ..kernels.checksums import checksum_blocks
from .in_place import recompute_abandoned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from ..format.catalog import Entry
    from ..handle import Handle
    from ..session import Session

    _Sums = tuple[tuple[int, ...], DType, bytes, int, int]


class Batch:
    """Arrays that were loaded or saved in a `batch_mode`, until they are written.

    Parameters
    ----------
    handle : Handle

    Attributes
    ----------
    depth : int
        How many blocks are being run, one in the other.
    memory_limit : int or None
        Bytes that may be kept; what exceeds them is written early.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.kept: dict[str, _Kept] = {}
        self._bases: dict[str, Entry | None] = {}  # what the store held when they were loaded
        self.depth = 0
        self.memory_limit: int | None = None

    def load(self, name: str) -> Array | None:
        """Give the array that was loaded or saved before; ``None`` if there is none."""
        known = self.kept.get(name)
        return None if known is None else known.array

    def prepare(self, session: Session, name: str) -> None:
        """Bring the checksums of an array up to date before it is loaded, if a writer died.

        Only then does a later change of its entry show whether somebody wrote to it.
        """
        entry = session.arrays().get(name)
        if entry is not None and entry.writable and not session.read_only:
            with self._handle.writing() as writing:
                recompute_abandoned(writing, name)

    def keep(self, name: str, array: Array, entry: Entry) -> None:
        """Keep an array that was loaded, and the entry that it was loaded by."""
        self._bases[name] = entry
        self._put(name, _Kept(array, _sums(array)))

    def keep_saved(self, arrays: Mapping[str, Array]) -> None:
        """Keep arrays that are to be saved."""
        session = self._handle.opened()
        if session.read_only:
            raise StoreError(session.read_only)
        there = session.arrays()
        for name in arrays:
            self._bases.setdefault(name, there.get(name))
        for name, array in arrays.items():
            self._put(name, _Kept(array, None))

    def write(self, names: Iterable[str] | None = None) -> None:
        """Write what was saved or changed, in one commit; what fails stays to be written.

        Raises
        ------
        ConflictError
            Others have changed some of the arrays since they were loaded; those are not
            written and no longer kept. All others were written.
        """
        chosen = dict(self.kept) if names is None else self._of(names)
        sums = {name: _sums(each.array) for name, each in chosen.items()}
        changed = {name: each for name, each in chosen.items() if each.sums != sums[name]}
        if not changed:
            return
        with self._handle.writing() as session:
            conflicts = self._conflicts(changed, session.log.catalog.arrays)
            written = [name for name in changed if name not in conflicts]
            commits.save(session, {name: changed[name].array for name in written})
            arrays = session.log.catalog.arrays
            self._bases.update((name, arrays[name]) for name in written)
        for name in written:
            changed[name].sums = sums[name]
        if conflicts:
            self.forget(conflicts)
            raise _conflict(conflicts, {name: changed[name].array for name in conflicts})

    def _conflicts(self, names: Iterable[str], arrays: Mapping[str, Entry]) -> dict[str, str]:
        """Return which arrays others have changed since they were loaded, and how."""
        found = ((name, _difference(self._bases.get(name), arrays.get(name))) for name in names)
        return {name: what for name, what in found if what}

    def write_saved(self) -> None:
        """Write what was saved, so that it is in the store's list of arrays."""
        saved = [name for name, each in self.kept.items() if each.sums is None]
        if saved:
            self.write(saved)

    def forget(self, names: Iterable[str] | None = None) -> None:
        """Let go of some arrays, or of all; what is not written is lost."""
        for name in [*self.kept, *self._bases] if names is None else list(names):
            self.kept.pop(name, None)
            self._bases.pop(name, None)

    def _of(self, names: Iterable[str]) -> dict[str, _Kept]:
        return {name: self.kept[name] for name in names if name in self.kept}

    def _put(self, name: str, kept: _Kept) -> None:
        self.kept.pop(name, None)
        self.kept[name] = kept
        self._keep_to_limit()

    def _keep_to_limit(self) -> None:
        """Write early what exceeds the limit, the oldest first, and let go of it.

        What somebody else holds, or a view of it, takes no less memory without us, and may
        still be changed: that stays.
        """
        limit = self.memory_limit
        total = sum(each.array.nbytes for each in self.kept.values())
        for name in list(self.kept):
            if limit is None or total <= limit:
                return
            nbytes = self.kept[name].array.nbytes
            self.write([name])
            self._let_go(name)
            total -= nbytes

    def _let_go(self, name: str) -> None:
        known = self.kept.pop(name)
        lent, sums = _Lent(known.array), known.sums
        del known
        array = lent.array()
        if array is not None:
            self.kept[name] = _Kept(array, sums)


class _Kept:
    """An array, and the checksums of what the store has of it; ``None`` if that is nothing."""

    __slots__ = ("array", "sums")

    def __init__(self, array: Array, sums: _Sums | None) -> None:
        self.array = array
        self.sums = sums


class _Lent:
    """Tells whether somebody else uses an array, or a view of it."""

    def __init__(self, array: Array) -> None:
        owner: Any = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        self._array = weakref.ref(array)
        self._owner = weakref.ref(owner)
        offset = array.ctypes.data - owner.ctypes.data
        self._layout = array.shape, array.dtype, offset, array.strides

    def array(self) -> Array | None:
        """Give the array; one over the same memory if only views of it are left."""
        array, owner = self._array(), self._owner()
        if array is not None or owner is None or not owner.nbytes:
            return array
        shape, dtype, offset, strides = self._layout
        memory = owner.ravel(order="K").view(np.uint8)
        return np.ndarray(shape, dtype, memory, offset, strides)


def _difference(base: Entry | None, now: Entry | None) -> str:
    """Return what others have done to an array since it was loaded; empty if nothing."""
    if now is None:
        return "" if base is None else "was dropped"
    if base is None or base.id != now.id:
        return "was saved anew" if base else "was saved"
    if now.writable:
        return "is open in a writable_batch_mode"
    checks = (
        (base.revision != now.revision, "had rows replaced in place"),
        (base.stored != now.stored, "had rows appended"),
        (base.dropped != now.dropped, "had rows dropped"),
        (base._replace(modified=0) != now._replace(modified=0), "was changed"),
    )
    return " and ".join(what for differs, what in checks[:3] if differs) or (
        checks[3][1] if checks[3][0] else ""
    )


def _conflict(conflicts: Mapping[str, str], arrays: dict[str, Array]) -> ConflictError:
    what = "; ".join(f"{quoted(name)} {what}" for name, what in [*conflicts.items()][:5])
    more = f"; and {len(conflicts) - 5:,} more" if len(conflicts) > 5 else ""
    return ConflictError(
        "arrays that the batch changed were not written, because others changed them after the "
        f"batch had loaded them: {what}{more}. What others committed stands, and all other "
        "arrays of the batch were written. Load the arrays again and repeat the change, or "
        "overwrite them with npk.save(error.arrays), which holds what the batch made of them",
        arrays,
    )


def _sums(array: Array) -> _Sums:
    """Sum the elements in the order of the store, in two ways.

    A change that one of them does not show, which is one in four billion, the other does.
    """
    memory = as_bytes(np.ascontiguousarray(array))
    words = memory[: len(memory) // 8 * 8].view(np.uint64)
    found = checksum_blocks(memory, data_files.thread_count())
    return array.shape, array.dtype, *found, int(words.sum(dtype=np.uint64))
