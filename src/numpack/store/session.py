"""A store while it is open, and reading from it."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, TypeVar, cast

from ..errors import (
    CorruptStoreError,
    InvalidValueError,
    MissingFileError,
    StoreError,
)
from . import data, dropped, journal, room
from ._lock import Lock, SharedLock
from ._sums import BLOCK
from .checks import entry_of
from .files import write_all
from .forks import remember
from .lazy import LazyArray
from .old import OldLog
from .open_files import OpenFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._memory import Array
    from .data import Progress
    from .dropped import Dropped
    from .files import Folder
    from .log import Log
    from .replacing import Replacement
    from .state import Entry, State

T = TypeVar("T")

_KEPT = 64  # lazy arrays that are kept, so that to load them again costs next to nothing
_HASTY_READS = 4  # that may be spoilt by a replace, before writers are kept out


class Session:
    """What is open of a store.

    Parameters
    ----------
    folder : Folder
    history : Log or OldLog
        What tells which arrays there are.
    counts : dict of str to int
        Where to count what is read.
    read_only : str
        Why nothing may be written; empty if it may.
    durable : bool
        Whether each change is flushed to the device.

    Attributes
    ----------
    folder, history, counts, read_only, durable
    log : Log
        The history, for who may write: folders of 0.x are only read.
    is_old : bool
        Whether it is a folder of NumPack 0.x, which has no checksums.
    mutex : threading.RLock
        The threads of this session that write queue on it, before the lock.
    lock : Lock
        The writers'.
    files : OpenFiles
        For who holds mutex and lock.
    """

    def __init__(
        self,
        folder: Folder,
        history: Log | OldLog,
        *,
        counts: dict[str, int],
        read_only: str,
        durable: bool,
    ) -> None:
        self.folder = folder
        self.history = history
        self.log = cast("Log", history)
        self.counts = counts
        self.read_only = read_only
        self.is_old = isinstance(history, OldLog)
        self.durable = durable
        self.mutex = threading.RLock()
        self.lock = Lock(folder)
        self.files = OpenFiles(folder)
        self._seen: State | None = None
        self._settled = 0  # the last commit whose rows are known to be in place
        self._unwritten: dict[str, journal.Change] = {}  # what cannot be put in place here
        self._lazies: dict[str, tuple[Entry, LazyArray]] = {}
        self._dropped: dict[str, tuple[Entry, Dropped]] = {}
        remember(self)
        room.keep(self)

    def after_fork(self) -> None:
        """Make new locks."""
        self.mutex = threading.RLock()
        self.lock.after_fork()
        self.history.after_fork()

    def close(self) -> None:
        """Close the files; what was loaded stays valid."""
        with self.mutex, contextlib.ExitStack() as parts:
            for close in (self._lazies.clear, self.lock.forget, self.files.close):
                parts.callback(close)
            parts.callback(self.history.close)
            with contextlib.suppress(OSError):  # an extra, for who opens the store next
                self._conclude()

    def arrays(self) -> dict[str, Entry]:
        """Give the arrays of this moment, other processes' commits included."""
        state = self.history.refresh()
        if state is not self._seen:
            self._see(state)
        return state.arrays

    def lazy(self, name: str) -> LazyArray:
        """Map an array's file, or give the mapping made before."""
        entry = self.arrays().get(name)
        known = self._lazies.get(name)
        if known is not None and known[0] is entry:
            return known[1]
        if entry is not None:
            with contextlib.suppress(FileNotFoundError):  # it was replaced just now, say
                return self._mapped(name, entry)
        return self.using(name, self._mapped)

    def read(self, name: str, progress: Progress) -> Array:
        """Read an array into memory of its own, as it was at one moment."""

        def use(name: str, entry: Entry) -> Array:
            if self.dropped_rows(entry) is not None:
                array = self._mapped(name, entry).copied()
                progress(array.nbytes)
                return array
            return self.stored(entry, progress)

        array = self.using(name, use, stable=True)
        self.counts["bytes_read"] += array.nbytes
        return array

    def rows(self, name: str, pick: Callable[[LazyArray], Array]) -> Array:
        """Read some rows, as they were at one moment."""
        array = self.using(name, lambda name, _: pick(self.with_rows(name)), stable=True)
        self.counts["bytes_read"] += array.nbytes
        return array

    def with_rows(self, name: str) -> LazyArray:
        """Map an array that has rows."""
        rows = self.lazy(name)
        if rows.ndim == 0:
            msg = f"{name!r} is 0-d and has no rows; use load"
            raise InvalidValueError(msg)
        return rows

    def dropped_rows(self, entry: Entry) -> Dropped | None:
        """Give the rows of an array that were dropped; ``None`` if none were."""
        if not entry.dropped:
            return None
        if isinstance(self.history, OldLog):
            return self.history.dropped[entry.data_file]
        known = self._dropped.get(entry.data_file)
        if known is not None and known[0].dropped == entry.dropped:
            return known[1].of_count(entry.stored[0])
        rows = dropped.read(self.folder, entry)
        self.keep_dropped(entry, rows)
        return rows

    def keep_dropped(self, entry: Entry, rows: Dropped) -> None:
        """Keep the dropped rows of an array, so that their list need not be read again."""
        _make_room(self._dropped)
        self._dropped[entry.data_file] = entry, rows

    def using(self, name: str, use: Callable[[str, Entry], T], *, stable: bool = False) -> T:
        """Use an array's files; again if the array was replaced meanwhile.

        Parameters
        ----------
        name : str
        use : callable
            Takes the name and the entry.
        stable : bool
            Use them again too if rows were replaced in place meanwhile.
        """
        for _ in range(_HASTY_READS):
            entry = entry_of(self.arrays(), name)
            with contextlib.suppress(FileNotFoundError):
                result = use(name, entry)
                if not stable or self._is_untouched(name, entry):
                    return result
        with SharedLock(self.folder):
            entry = entry_of(self.arrays(), name)
            try:
                return use(name, entry)
            except MissingFileError as error:
                if self.is_old:
                    msg = f"{self.folder.path} was upgraded meanwhile; open it again"
                    raise StoreError(msg) from None
                msg = (
                    f"the file {error.file} of the array {name!r} is missing; restore it from "
                    "a backup"
                )
                raise CorruptStoreError(msg) from None

    def _conclude(self) -> None:
        if self.lock.take_at_once():
            try:
                self.log.refresh_exactly()
                self.log.conclude()
            finally:
                self.lock.__exit__()

    def settle(self, state: State) -> None:
        """Put the rows of the last commit in place, if who replaced them died before he had.

        For who holds mutex and lock.
        """
        if state.journal is not None and self._settled != state.commit:
            for change in journal.read(self.folder, state):
                entry = next(e for e in state.arrays.values() if e.id == change.id)
                self.put_in_place(entry, change)
            self.finish(state)

    def put_in_place(self, entry: Entry, change: journal.Change | Replacement) -> None:
        """Write replaced rows, and the checksums of their blocks."""
        for rows, fresh in change.blocks():
            self.files.overwrite(entry, rows, change.width, fresh)
        whole = change.sums[: entry.nbytes // BLOCK - change.first]
        if len(whole):
            sums = whole.astype("<u4", copy=False)
            write_all(self.files.named(entry.sum_file), sums, 4 * change.first)
        if self.durable:
            os.fdatasync(self.files.descriptor(entry))
            self.folder.sync_file(entry.sum_file)

    def finish(self, state: State) -> None:
        """Strike out the journal: the rows of the last commit are in place."""
        journal.strike_out(self.files.named(journal.NAME))
        self._settled = state.commit
        self._unwritten.clear()

    def forget(self, entry: Entry) -> None:
        """Let go of what is kept of an array that is gone; for who holds mutex and lock."""
        self.files.forget(entry)
        self._dropped.pop(entry.data_file, None)
        for name, (known, _) in list(self._lazies.items()):
            if known.id == entry.id:
                self._lazies.pop(name, None)

    def make_room(self) -> None:
        """Close files, and forget mappings, that can be opened and made again."""
        self._lazies.clear()
        if self.mutex.acquire(blocking=False):
            try:
                self.files.make_room()
            finally:
                self.mutex.release()

    def unwritten(self, entry: Entry) -> journal.Change | None:
        """Give the rows that are committed, and cannot be put in place here."""
        return self._unwritten.get(entry.id)

    def _see(self, state: State) -> None:
        """Look at a state that is new: let go of what is gone, finish what is half done."""
        arrays = state.arrays
        for name, (entry, _) in list(self._lazies.items()):
            if arrays.get(name) is not entry:
                self._lazies.pop(name, None)
        is_other = self._seen is None or self._seen.arrays is not arrays  # some may be gone
        if is_other and self.mutex.acquire(blocking=False):
            try:
                self.files.close_unlinked()
            finally:
                self.mutex.release()
        if state.journal is not None and self._settled != state.commit:
            self._settle_for_reading(state)
        self._seen = state

    def _settle_for_reading(self, state: State) -> None:
        if journal.is_struck_out(self.folder):
            self._settled = state.commit
            return
        with contextlib.suppress(OSError):  # nothing can be written here, or the disk fails
            if not self.read_only:
                with self.mutex, self.lock:
                    self.settle(self.history.refresh())
                return
        with SharedLock(self.folder):  # read what should be there
            state = self.history.refresh()
            changes = journal.read(self.folder, state) if state.journal is not None else []
            self._unwritten = {change.id: change for change in changes}

    def _is_untouched(self, name: str, entry: Entry) -> bool:
        now = self.arrays().get(name)
        return now is not None and (now.id, now.revision) == (entry.id, entry.revision)

    def stored(self, entry: Entry, progress: Progress = data.no_progress) -> Array:
        """Read the rows of a data file, and what could not be put in place."""
        array = data.read(self.folder, entry, progress)
        if entry.id in self._unwritten:
            journal.patched(array, self._unwritten[entry.id])
        return array

    def _mapped(self, name: str, entry: Entry) -> LazyArray:
        if entry.id in self._unwritten:
            array, path = self.stored(entry), None
            array.flags.writeable = False
        else:
            array, path = room.with_room(lambda: data.mapped(self.folder, entry))
        lazy = LazyArray(array, path, self.dropped_rows(entry))
        self.counts["mappings"] += 1
        _make_room(self._lazies)
        self._lazies[name] = entry, lazy
        return lazy


def _make_room(kept: dict[str, T]) -> None:
    """Let go of the oldest, if there are too many; other threads may do so too."""
    for oldest in list(kept)[: max(0, len(kept) - _KEPT + 1)]:
        kept.pop(oldest, None)
