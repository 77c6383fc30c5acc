"""`NumPack.batch_mode`: arrays that are kept in memory and written when the block ends."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ConflictError, StoreError
from .. import commits
from ..commits.attributes import AttributeChange, checked_text
from ..format import data_files
from ..format.data_files import as_bytes
from ..format.naming import quoted
from ..kernels.checksums import checksum_blocks
from .in_place import recompute_abandoned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from ..format.log.state import Entry
    from ..handle import Handle
    from ..session import Session

    _Fingerprint = tuple[tuple[int, ...], DType, bytes, int, int]


class Batch:
    """Arrays that were loaded or saved in `batch_mode` and may have to be written.

    Parameters
    ----------
    handle : Handle

    Attributes
    ----------
    depth : int
        Number of nested blocks that are being executed.
    memory_limit : int or None
        Bytes to keep; arrays beyond this limit are written early.
    attributes : dict of str or None to AttributeChange
        Changes of attributes to commit, by the name of the array; ``None`` is the store.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.kept: dict[str, _KeptArray] = {}
        self._bases: dict[str, Entry | None] = {}  # entries as of loading or saving
        self.depth = 0
        self.memory_limit: int | None = None
        self.attributes: dict[str | None, AttributeChange] = {}

    def load(self, name: str) -> Array | None:
        """Return the kept array of a name; ``None`` if there is none."""
        known = self.kept.get(name)
        return None if known is None else known.array

    def prepare(self, session: Session, name: str) -> None:
        """Recompute the checksums of an array that a dead process left, before it is loaded.

        Otherwise a later change of its entry would not show whether the array was changed.
        """
        entry = session.arrays().get(name)
        if entry is not None and entry.writable and not session.read_only:
            with self._handle.write_transaction() as writing:
                recompute_abandoned(writing, name)

    def keep(self, name: str, array: Array, entry: Entry) -> None:
        """Keep a loaded array, and the entry it was loaded with."""
        self._bases[name] = entry
        self._keep(name, _KeptArray(array, _fingerprint(array)))

    def keep_saved(self, arrays: Mapping[str, Array]) -> None:
        """Keep arrays that have to be saved."""
        session = self._handle.require_session()
        if session.read_only:
            raise StoreError(session.read_only)
        entries = session.arrays()
        for name in arrays:
            self._bases.setdefault(name, entries.get(name))
        for name, array in arrays.items():
            self._keep(name, _KeptArray(array, None))

    def change_attributes(
        self, name: str | None, committed: bytes, change: AttributeChange
    ) -> None:
        """Keep a change of attributes; raise if they become too large."""
        before = self.attributes.get(name, AttributeChange())
        after = before.then(change)
        checked_text(name, after.applied(committed))
        self.attributes[name] = after

    def write(self, names: Iterable[str] | None = None) -> None:
        """Write saved and changed arrays, and attributes, in one commit.

        If that fails, they stay unwritten.

        Raises
        ------
        ConflictError
            Others have changed some of the arrays since they were loaded. These are not
            written and no longer kept; all others were written.
        """
        names = None if names is None else list(names)
        chosen = dict(self.kept) if names is None else self._kept_of(names)
        fingerprints = {name: _fingerprint(each.array) for name, each in chosen.items()}
        changed = {
            name: each
            for name, each in chosen.items()
            if each.fingerprint != fingerprints[name]
        }
        attributes = self._attributes_of(names)
        if not changed and not attributes:
            return
        with self._handle.write_transaction() as session:
            arrays = session.log.catalog.arrays
            conflicts = self._conflicts(changed, arrays)
            written = [name for name in changed if name not in conflicts]
            lost = _lost_owners(attributes, arrays, written)
            conflicts |= dict.fromkeys(lost, "was dropped")
            kept = {name: each for name, each in attributes.items() if name not in lost}
            values = {name: changed[name].array for name in written}
            commits.save(session, values, attributes=kept)
            self._bases.update((name, session.log.catalog.arrays[name]) for name in written)
        for name in attributes:
            del self.attributes[name]
        for name in written:
            changed[name].fingerprint = fingerprints[name]
        if conflicts:
            self.forget(conflicts)
            arrays_lost = {name: changed[name].array for name in conflicts if name in changed}
            raise _conflict_error(conflicts, arrays_lost)

    def _attributes_of(self, names: Iterable[str] | None) -> dict[str | None, AttributeChange]:
        """Return the kept changes of attributes of some arrays, or all."""
        if names is None:
            return dict(self.attributes)
        return {name: self.attributes[name] for name in names if name in self.attributes}

    def _conflicts(self, names: Iterable[str], arrays: Mapping[str, Entry]) -> dict[str, str]:
        """Return the arrays that others have changed since they were loaded, and how."""
        found = (
            (name, _foreign_change(self._bases.get(name), arrays.get(name))) for name in names
        )
        return {name: what for name, what in found if what}

    def write_saved(self) -> None:
        """Write saved arrays, so that the store lists them."""
        saved = [name for name, each in self.kept.items() if each.fingerprint is None]
        if saved:
            self.write(saved)

    def forget(self, names: Iterable[str] | None = None) -> None:
        """Discard some arrays, or all, including unwritten changes."""
        for name in [*self.kept, *self._bases] if names is None else list(names):
            self.kept.pop(name, None)
            self._bases.pop(name, None)

    def forget_attributes(self, names: Iterable[str] | None = None) -> None:
        """Discard changes of the attributes of some arrays, or of all and the store."""
        for name in list(self.attributes) if names is None else list(names):
            self.attributes.pop(name, None)

    def _kept_of(self, names: Iterable[str]) -> dict[str, _KeptArray]:
        return {name: self.kept[name] for name in names if name in self.kept}

    def _keep(self, name: str, kept: _KeptArray) -> None:
        self.kept.pop(name, None)
        self.kept[name] = kept
        self._enforce_limit()

    def _enforce_limit(self) -> None:
        """Write and release the oldest arrays until the others are within the limit.

        An array that is referenced elsewhere, or has a view that is, is written but still kept:
        releasing it would free no memory, and it may still be changed.
        """
        limit = self.memory_limit
        total = sum(each.array.nbytes for each in self.kept.values())
        for name in list(self.kept):
            if limit is None or total <= limit:
                return
            nbytes = self.kept[name].array.nbytes
            self.write([name])
            self._release(name)
            total -= nbytes

    def _release(self, name: str) -> None:
        known = self.kept.pop(name)
        weak, fingerprint = _WeakArray(known.array), known.fingerprint
        del known
        array = weak.array()
        if array is not None:
            self.kept[name] = _KeptArray(array, fingerprint)


class _KeptArray:
    """An array, and the fingerprint of its stored values; ``None`` if it was never stored."""

    __slots__ = ("array", "fingerprint")

    def __init__(self, array: Array, fingerprint: _Fingerprint | None) -> None:
        self.array = array
        self.fingerprint = fingerprint


class _WeakArray:
    """Weak reference to an array that stays valid while a view of the array is alive."""

    def __init__(self, array: Array) -> None:
        owner: Any = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        self._array = weakref.ref(array)
        self._owner = weakref.ref(owner)
        offset = array.ctypes.data - owner.ctypes.data
        self._layout = array.shape, array.dtype, offset, array.strides

    def array(self) -> Array | None:
        """Return the array, or one over the same memory if only views of it are alive."""
        array, owner = self._array(), self._owner()
        if array is not None or owner is None or not owner.nbytes:
            return array
        shape, dtype, offset, strides = self._layout
        memory = owner.ravel(order="K").view(np.uint8)
        return np.ndarray(shape, dtype, memory, offset, strides)


def _foreign_change(base: Entry | None, now: Entry | None) -> str:
    """Describe how others have changed an array since it was loaded; empty if not."""
    if now is None:
        return "" if base is None else "was dropped"
    if base is None or base.id != now.id:
        return "was saved again" if base else "was saved"
    if now.writable:
        return "is open in a writable_batch_mode"
    checks = (
        (base.revision != now.revision, "had rows replaced in place"),
        (base.stored != now.stored, "had rows appended"),
        (base.dropped != now.dropped, "had rows dropped"),
        (_without_attributes(base) != _without_attributes(now), "was changed"),
    )
    return " and ".join(what for differs, what in checks[:3] if differs) or (
        checks[3][1] if checks[3][0] else ""
    )


def _lost_owners(
    names: Iterable[str | None], arrays: Mapping[str, Entry], written: Iterable[str]
) -> list[str]:
    """Return the names whose attributes cannot be committed, because there is no array."""
    written = set(written)
    return [
        name
        for name in names
        if name is not None
        and name not in written
        and (name not in arrays or arrays[name].is_unusable)
    ]


def _without_attributes(entry: Entry) -> Entry:
    """Return an entry without attributes, whose changes are merged, and without its time."""
    return entry.replace(modified=0, attrs=b"")


def _conflict_error(conflicts: Mapping[str, str], arrays: dict[str, Array]) -> ConflictError:
    what = "; ".join(f"{quoted(name)} {what}" for name, what in [*conflicts.items()][:5])
    more = f"; and {len(conflicts) - 5:,} more" if len(conflicts) > 5 else ""
    return ConflictError(
        "arrays that the batch changed were not written, because others changed them after the "
        f"batch had loaded them: {what}{more}. What others committed stands, and all other "
        "arrays of the batch were written. Load the arrays again and repeat the change, or "
        "overwrite them with npk.save(error.arrays), which holds the batch's versions",
        arrays,
    )


def _fingerprint(array: Array) -> _Fingerprint:
    """Return shape, dtype, checksums and a sum of the elements in C order.

    The sum detects changes that a CRC-32 misses, one in four billion.
    """
    memory = as_bytes(np.ascontiguousarray(array))
    words = memory[: len(memory) // 8 * 8].view(np.uint64)
    found = checksum_blocks(memory, data_files.thread_count())
    return array.shape, array.dtype, *found, int(words.sum(dtype=np.uint64))
