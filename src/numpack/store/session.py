"""A store while it is open, and reading from it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, TypeVar, cast

from ..errors import (
    CorruptStoreError,
    InvalidValueError,
    MissingFileError,
    StoreError,
)
from .checks import entry_of
from .format import data_files, journal
from .format.flush import Flushed
from .format.numpack0.upgrade import Numpack0Log
from .format.open_files import OpenFiles
from .fs import resources
from .fs.directory import write_all
from .fs.forks import register
from .fs.lock import SharedLock, WriteLock
from .fs.transaction import TryLock
from .kernels.checksums import BLOCK
from .lazy.array import LazyArray
from .lazy.reference import Reference
from .rows import deleted_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.memory import Array
    from .format.catalog import Catalog, Entry
    from .format.data_files import Progress
    from .format.log import Log
    from .fs.directory import Folder
    from .rows.deleted_rows import Dropped
    from .rows.replacing import Replacement

T = TypeVar("T")

_KEPT = 64  # lazy arrays that are kept, so that to load them again costs next to nothing
_NONE = ("", 0)  # no commit of any store
_PATIENCE = 0.05  # seconds in which most writers have come to an end
_PAUSE = 0.002
_HASTY_READS = 4  # that may be spoilt by a replace, before writers are kept out


class Session:
    """What is open of a store.

    Parameters
    ----------
    folder : Folder
    history : Log or Numpack0Log
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
    is_numpack0 : bool
        Whether it is a folder of NumPack 0.x, which has no checksums.
    mutex : threading.RLock
        The threads of this session that write queue on it, before the lock.
    lock : WriteLock
        The writers'.
    files : OpenFiles
        For who holds mutex and lock.
    """

    def __init__(
        self,
        folder: Folder,
        history: Log | Numpack0Log,
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
        self.is_numpack0 = isinstance(history, Numpack0Log)
        self.durable = durable
        self.mutex = threading.RLock()
        self.lock = WriteLock(folder)
        self.files = OpenFiles(folder)
        self.openings = 1  # of the log, as far as what is remembered goes
        self._flushed = Flushed()
        self._commits = counts["commits"]  # that the handle had made before
        self._seen: Catalog | None = None
        self._replayed = _NONE  # the last commit whose rows are known to be in place
        self._unwritten: dict[str, journal.Change] = {}  # what cannot be put in place here
        self._lazies: dict[str, tuple[Entry, LazyArray]] = {}
        self._dropped: dict[str, tuple[Entry, Dropped]] = {}
        register(self)

    def after_fork(self) -> None:
        """Make new locks."""
        self.mutex = threading.RLock()
        self.lock.after_fork()
        self.history.after_fork()

    def close(self) -> None:
        """Close the files; what was loaded stays valid.

        A thread that waits for the store's lock keeps them until it has ended.
        """
        while not self.mutex.acquire(timeout=_PATIENCE):
            if self.lock.is_waiting():
                return
        with contextlib.ExitStack() as parts:
            parts.callback(self.mutex.release)
            for close in (self._lazies.clear, self.lock.close, self.files.close):
                parts.callback(close)
            parts.callback(self.history.close)
            with contextlib.suppress(OSError):  # an extra, for who opens the store next
                self._checkpoint()

    def forget_all(self) -> None:
        """Forget what is known of the files: others may have taken their places.

        For who holds mutex and lock.
        """
        self.openings = self.log.openings
        self.files.close()
        self._flushed.forget()
        self._forget_rows()

    def _forget_rows(self) -> None:
        self._lazies.clear()
        self._dropped.clear()
        self._unwritten, self._replayed = {}, _NONE

    def flush_others(self) -> None:
        """Flush to the device what was committed by others; for who holds mutex and lock."""
        self._flushed.flush_new_commits(self)

    def note_flushed(self) -> None:
        """Note that the session has flushed its own change, and all that was before."""
        self._flushed.note(self)

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
        return self.read_entry(name, progress)[1]

    def read_entry(self, name: str, progress: Progress) -> tuple[Entry, Array]:
        """Read an array as `read` does; return the entry that it was read by, too."""

        def use(name: str, entry: Entry) -> tuple[Entry, Array]:
            if self.dropped_rows(entry) is not None:
                array = self._mapped(name, entry).copied()
                progress(array.nbytes)
                return entry, array
            return entry, self.stored(entry, progress)

        entry, array = self.using(name, use, stable=True)
        self.counts["bytes_read"] += array.nbytes
        return entry, array

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
        if isinstance(self.history, Numpack0Log):
            return self.history.dropped[entry.data_file]
        known = self._dropped.get(entry.data_file)
        if known is not None and known[0].dropped == entry.dropped:
            return known[1].of_count(entry.stored[0])
        rows = deleted_rows.read(self.folder, entry)
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
                if self.is_numpack0:
                    msg = f"{self.folder.path} was upgraded meanwhile; open it again"
                    raise StoreError(msg) from None
                msg = (
                    f"the file {error.file} of the array {name!r} is missing; restore it from "
                    "a backup"
                )
                raise CorruptStoreError(msg) from None

    def _checkpoint(self) -> None:
        if self.counts["commits"] == self._commits:  # nothing was changed
            return
        with TryLock(self, opens=False) as taken:
            if taken:
                self.log.refresh_exactly()
                self.log.checkpoint()

    def replay_journal(self, state: Catalog) -> None:
        """Put the rows of the last commit in place, if who replaced them died before he had.

        For who holds mutex and lock. All of it is flushed: who died may have promised that.
        """
        if state.journal is not None and self._replayed != _number(state):
            for change in journal.read(self.folder, state):
                entry = next(e for e in list(state.arrays.values()) if e.id == change.id)
                self.apply_replacement(entry, change)
                self._flush_rows(entry)
            self.clear_journal(state)

    def apply_replacement(
        self, entry: Entry, change: journal.Change | Replacement, *, looks: bool = True
    ) -> None:
        """Write replaced rows and their checksums; for `looks`, see `clear_journal`."""
        for rows, fresh in change.blocks():
            self.files.overwrite(entry, rows, change.width, fresh)
        whole = change.checksums[: entry.nbytes // BLOCK - change.first]
        if len(whole):
            sums = whole.astype("<u4", copy=False)
            file = self.files.named(entry.checksum_file, looks=looks)
            write_all(file, sums, 4 * change.first)
        if self.durable:
            self._flush_rows(entry)

    def _flush_rows(self, entry: Entry) -> None:
        os.fdatasync(self.files.descriptor(entry))
        self.folder.sync_file(entry.checksum_file)

    def clear_journal(self, state: Catalog, *, looks: bool = True) -> None:
        """Strike out the journal: the rows of the last commit are in place.

        Parameters
        ----------
        state : Catalog
        looks : bool
            Whether to make sure that the open file has the name still; it was made sure of
            a moment ago if this session has written the journal.
        """
        file = self.files.named(journal.NAME, looks=looks)
        journal.clear(file, durable=self.durable)
        self._replayed = _number(state)
        self._unwritten = {}

    def forget(self, entry: Entry) -> None:
        """Let go of what is kept of an array that is gone; for who holds mutex and lock."""
        self.files.forget(entry)
        self._dropped.pop(entry.data_file, None)
        for name, (known, _) in list(self._lazies.items()):
            if known.id == entry.id:
                self._lazies.pop(name, None)

    def release_cached(self) -> None:
        """Close files, and forget mappings, that can be opened and made again."""
        self._lazies.clear()
        if self.mutex.acquire(blocking=False):
            try:
                self.files.release_cached()
            finally:
                self.mutex.release()

    def unwritten(self, entry: Entry) -> journal.Change | None:
        """Give the rows that are committed, and cannot be put in place here."""
        return self._unwritten.get(entry.id)

    def _see(self, state: Catalog) -> None:
        """Look at a state that is new: let go of what is gone, finish what is half done."""
        arrays = state.arrays
        for name, (entry, _) in list(self._lazies.items()):
            if arrays.get(name) is not entry:
                self._lazies.pop(name, None)
        # whoever writes now, and so has the mutex, closes them
        if self.files.are_open and self.mutex.acquire(blocking=False):
            try:
                self.files.close_unlinked()
            finally:
                self.mutex.release()
        pending = state.journal is not None and self._replayed != _number(state)
        self._unwritten = self._replay_for_reading(state) if pending else {}
        self._seen = state

    def _replay_for_reading(self, state: Catalog) -> dict[str, journal.Change]:
        """Have the rows of the last commit in place; give those that are not.

        Nobody is waited for: neither a writer, who may have been stopped, nor other readers
        who keep writers out, as the caller may do itself.
        """
        deadline = time.monotonic() + _PATIENCE
        while not journal.is_cleared(self.folder):
            if self._replay_if_unlocked():
                return {}
            if time.monotonic() > deadline or not SharedLock(self.folder).would_wait():
                changes = journal.read_unlocked(self.folder, state)
                return {change.id: change for change in changes}
            time.sleep(_PAUSE)
        self._replayed = _number(state)
        return {}

    def _replay_if_unlocked(self) -> bool:
        """Put the rows in place if nobody holds the lock, and the store can be written."""
        with contextlib.suppress(OSError):  # nothing can be written here, or the disk fails
            if not self.read_only:
                with TryLock(self, opens=True) as taken:
                    if taken:
                        self.replay_journal(self.history.refresh())
                        return True
        return False

    def _is_untouched(self, name: str, entry: Entry) -> bool:
        now = self.arrays().get(name)
        return now is not None and (now.id, now.revision) == (entry.id, entry.revision)

    def stored(self, entry: Entry, progress: Progress = data_files.no_progress) -> Array:
        """Read the rows of a data file, and what could not be put in place."""
        array = data_files.read(self.folder, entry, progress)
        if entry.id in self._unwritten:
            journal.apply_in_memory(array, self._unwritten[entry.id])
        return array

    def _mapped(self, name: str, entry: Entry) -> LazyArray:
        gone, origin = self.dropped_rows(entry), None
        if entry.id in self._unwritten:
            array = self.stored(entry)
            array.flags.writeable = False
        else:
            array = resources.map_with_retry(lambda: data_files.map_rows(self.folder, entry))[0]
            origin = Reference(self.folder.path, name, entry, array, gone, self)
        lazy = LazyArray(array, origin, gone)
        self.counts["mappings"] += 1
        _make_room(self._lazies)
        self._lazies[name] = entry, lazy
        return lazy


def _number(state: Catalog) -> tuple[str, int]:
    """Identify a commit: the numbers begin again in a store that was emptied."""
    return state.token, state.commit


def _make_room(kept: dict[str, T]) -> None:
    """Let go of the oldest, if there are too many; other threads may do so too."""
    if len(kept) >= _KEPT:
        for oldest in list(kept)[: len(kept) - _KEPT + 1]:
            kept.pop(oldest, None)
