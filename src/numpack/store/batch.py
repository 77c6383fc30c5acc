"""The two batch modes: loads that are kept until the end, and arrays straight on the files."""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from .._pages import make_private
from ..errors import StoreError
from . import changes, data
from ._sums import sum_blocks
from .data import as_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._dtypes import DType
    from .._memory import Array
    from .handle import Handle
    from .session import Session
    from .state import Entry

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
        self.depth = 0
        self.memory_limit: int | None = None

    def load(self, name: str) -> Array | None:
        """Give the array that was loaded or saved before; ``None`` if there is none."""
        known = self.kept.get(name)
        return None if known is None else known.array

    def keep(self, name: str, array: Array, *, saved: bool = False) -> None:
        """Keep an array that was loaded, or is to be `saved`."""
        if saved and self._handle.opened().read_only:
            raise StoreError(self._handle.opened().read_only)
        self.kept.pop(name, None)
        self.kept[name] = _Kept(array, None if saved else _sums(array))
        self._keep_to_limit()

    def write(self, names: Iterable[str] | None = None) -> None:
        """Write what was saved or changed, in one commit; what fails stays to be written."""
        chosen = self.kept if names is None else self._of(names)
        sums = {name: _sums(each.array) for name, each in chosen.items()}
        changed = {name: each for name, each in chosen.items() if each.sums != sums[name]}
        if not changed:
            return
        with self._handle.writing() as session:
            there = session.log.state.arrays
            rows = {n: e.array for n, e in changed.items() if e.sums is None or n in there}
            changes.save(session, rows)
        for name, each in changed.items():
            each.sums = sums[name]

    def write_saved(self) -> None:
        """Write what was saved, so that it is in the store's list of arrays."""
        saved = [name for name, each in self.kept.items() if each.sums is None]
        if saved:
            self.write(saved)

    def forget(self, names: Iterable[str] | None = None) -> None:
        """Let go of some arrays, or of all; what is not written is lost."""
        for name in list(self.kept) if names is None else names:
            self.kept.pop(name, None)

    def _of(self, names: Iterable[str]) -> dict[str, _Kept]:
        return {name: self.kept[name] for name in names if name in self.kept}

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


class WritableBatch:
    """What `NumPack.writable_batch_mode` gives: arrays straight on the files.

    Parameters
    ----------
    handle : Handle
    """

    def __init__(
        self,
        handle: Handle,
        save: Callable[[dict[str, Any]], None],
        settle: Callable[[list[str]], None],
    ) -> None:
        self._handle = handle
        self._save = save
        self._settle = settle
        self._views: dict[str, _View] = {}

    def load(self, array_name: str) -> Array:
        """Give an array whose memory is the file: what is written to it is in the store.

        Rows that were dropped are removed from the file first, as `NumPack.update` does.

        Parameters
        ----------
        array_name : str

        Returns
        -------
        ndarray
            Writable, over shared pages of the file; the same one each time. When the block
            ends it stays usable, and what is written from then on stays in it.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the arrays there are.
        """
        known = self._views.get(array_name)
        if known is None:
            self._settle([array_name])
            with self._handle.writing() as session:
                changes.update(session, array_name)
                entry = changes.mark_writable(session, array_name)
                known = self._views[array_name] = _View(session, entry)
        return known.array

    def save(self, arrays: dict[str, Any]) -> None:
        """Save arrays; nothing has to be done for those that `load` gave.

        Parameters
        ----------
        arrays : dict of str to array
        """
        given = arrays if isinstance(arrays, dict) else {}
        known = {n for n, a in given.items() if n in self._views and a is self._views[n].array}
        if not known or len(known) < len(given):
            rest = {n: a for n, a in given.items() if n not in known}
            self._save(rest if known else arrays)

    def end(self) -> None:
        """Part the arrays from the files, and bring the checksums up to date."""
        views, self._views = self._views, {}
        for view in views.values():
            view.part()
        if self._handle.session is None:  # closed in the block: who verifies next sums them
            return
        for name in views:
            with self._handle.writing() as session:
                sum_abandoned(session, name)


class _View:
    """A writable mapping of a data file, and a lock on it that tells that it is used."""

    def __init__(self, session: Session, entry: Entry) -> None:
        self._file = data.open_grown(session.folder, entry).detach()
        fcntl.flock(self._file, fcntl.LOCK_SH)
        self._memory = np.empty(0, np.uint8)
        if entry.nbytes:
            self._memory = np.frombuffer(mmap.mmap(self._file, entry.nbytes), np.uint8)
        self.array = data.shaped(self._memory, entry.dtype, entry.stored)
        if not entry.nbytes:
            self.array = np.empty(entry.stored, entry.dtype)

    def part(self) -> None:
        """Let what is written from now on stay in this process."""
        make_private(self._memory, self._file)
        fcntl.flock(self._file, fcntl.LOCK_UN)  # the mapping keeps a descriptor of its own
        os.close(self._file)


def sum_abandoned(session: Session, name: str) -> None:
    """Bring checksums up to date where nobody writes in place any more, dead or done."""
    entry = session.log.state.arrays.get(name)
    if entry is None or not entry.writable:
        return
    descriptor = session.folder.open(entry.data_file)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # another batch goes on
        return
    finally:
        os.close(descriptor)
    changes.sum_anew(session, name)


def _sums(array: Array) -> _Sums:
    """Sum the elements in the order of the store, in two ways.

    A change that one of them does not show, which is one in four billion, the other does.
    """
    memory = as_bytes(np.ascontiguousarray(array))
    words = memory[: len(memory) // 8 * 8].view(np.uint64)
    found = sum_blocks(memory, data.threads())
    return array.shape, array.dtype, *found, int(words.sum(dtype=np.uint64))
