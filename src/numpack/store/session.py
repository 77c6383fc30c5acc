"""`Session`: a store while it is open, and consistent reads from it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import CorruptStoreError, InvalidValueError, MissingFileError, StoreError
from .checks import entry_of
from .format import data_files, journal
from .format.flush import Flushed
from .format.numpack0.upgrade import Numpack0Log
from .format.open_files import OpenFiles
from .fs import resources
from .fs.forks import register
from .fs.lock import SharedLock, WriteLock
from .fs.transaction import TryLock
from .lazy.array import LazyArray
from .lazy.reference import Reference
from .replay import WAIT, JournalReplay
from .rows import deleted_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._core.memory import Array
    from .format.data_files import Progress
    from .format.log.log import Log
    from .format.log.state import Catalog, Entry
    from .fs.directory import Folder
    from .rows.deleted_rows import DeletedRows

T = TypeVar("T")

_CACHED = 64  # lazy arrays and deleted-row lists that are cached for repeated loads
_OPTIMISTIC_READS = 4  # reads that a replace may invalidate, before writers are excluded


class Session(JournalReplay):
    """An open store: its log, locks, files and caches.

    Parameters
    ----------
    folder : Folder
    history : Log or Numpack0Log
        Source of the store's current entries.
    counts : dict of str to int
        Counters to update, see `NumPack.get_io_stats`.
    read_only : str
        Why the store cannot be written; empty if it can.
    durable : bool
        Whether each change is flushed to the device.

    Attributes
    ----------
    folder, history, counts, read_only, durable
    log : Log
        `history`, for writers: folders of NumPack 0.x are only read.
    is_numpack0 : bool
        Whether the folder is one of NumPack 0.x, which has no checksums.
    mutex : threading.RLock
        Acquired by the threads that write through this session, before `lock`.
    lock : WriteLock
        The writers' lock.
    files : OpenFiles
        Requires `mutex` and `lock`.
    """

    is_remote = False  # see `RemoteSession`

    def __init__(
        self,
        folder: Folder,
        history: Log | Numpack0Log,
        *,
        counts: dict[str, int],
        read_only: str,
        durable: bool,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.history = history
        self.log: Log = history  # type: ignore[assignment]  # not used for folders of NumPack 0.x
        self.counts = counts
        self.read_only = read_only
        self.is_numpack0 = isinstance(history, Numpack0Log)
        self.durable = durable
        self.mutex = threading.RLock()
        self.lock = WriteLock(folder)
        self.files = OpenFiles(folder)
        self.openings = 1  # `log.openings` when the caches were last cleared
        self._flushed = Flushed()
        self._commits_before = counts["commits"]  # made through earlier sessions of the handle
        self._catalog: Catalog | None = None  # for which the caches are valid
        self._lazy_arrays: dict[str, tuple[Entry, LazyArray]] = {}
        self._deleted_rows: dict[str, tuple[Entry, DeletedRows]] = {}
        register(self)

    def after_fork(self) -> None:
        """Replace the locks in a forked child."""
        self.mutex = threading.RLock()
        self.lock.after_fork()
        self.history.after_fork()

    def close(self, *, checkpoint: bool = True) -> None:
        """Close the files, after a checkpoint if requested; loaded arrays stay valid.

        A thread that waits for the store's lock keeps the files open until it has finished.
        """
        while not self.mutex.acquire(timeout=WAIT):
            if self.lock.is_waiting():
                return
        try:
            if checkpoint:
                with contextlib.suppress(OSError):  # it only makes the next opening faster
                    self._checkpoint()
        finally:
            try:
                self.history.close()
            finally:
                self._close_files()

    def _close_files(self) -> None:
        try:
            self.files.close()
        finally:
            try:
                self.lock.close()
            finally:
                self._lazy_arrays.clear()
                self.mutex.release()

    def _checkpoint(self) -> None:
        if self.counts["commits"] == self._commits_before:  # nothing was changed
            return
        with TryLock(self, opens=False) as taken:
            if taken:
                self.log.refresh_exactly()
                self.log.checkpoint()

    def forget_all(self) -> None:
        """Clear all caches: the store's files may have been replaced.

        Requires `mutex` and `lock`.
        """
        self.openings = self.log.openings
        self.files.close()
        self._flushed.forget()
        self._lazy_arrays.clear()
        self._deleted_rows.clear()
        self.forget_replay()

    def flush_others(self) -> None:
        """Flush other sessions' commits to the device. Requires `mutex` and `lock`."""
        self._flushed.flush_new_commits(self)

    def note_flushed(self) -> None:
        """Record that everything up to this session's last commit is flushed."""
        self._flushed.note(self)

    def arrays(self) -> dict[str, Entry]:
        """Return the current entries, including commits of other processes."""
        catalog = self.history.refresh()
        if catalog is not self._catalog:
            self._enter_catalog(catalog)
        return catalog.arrays

    def newest_commit(self) -> int:
        """Return the number of the last commit that anybody has made."""
        return self.history.refresh().commit

    def require_standing(self, name: str) -> None:
        """Do nothing: the rows of the newest commit are there; see `PastSession`."""

    def lazy(self, name: str) -> LazyArray:
        """Map an array's file, or return the cached mapping."""
        entry = self.arrays().get(name)
        cached = self._lazy_arrays.get(name)
        if cached is not None and cached[0] is entry:
            return cached[1]
        if entry is not None:
            try:
                return self._map(name, entry)
            except FileNotFoundError:  # it was replaced just now
                pass
        return self.read_consistent(name, self._map)

    def lazy_of(self, name: str, entry: Entry) -> LazyArray:
        """Map the file of an entry, or return the cached mapping."""
        cached = self._lazy_arrays.get(name)
        if cached is not None and cached[0] is entry:
            return cached[1]
        return self._map(name, entry)

    def lazy_rows(self, name: str) -> LazyArray:
        """Map an array as `lazy` does; raise if it is 0-d."""
        array = self.lazy(name)
        if array.ndim == 0:
            msg = f"{name!r} is 0-d and has no rows; use load"
            raise InvalidValueError(msg)
        return array

    def read(self, name: str, progress: Progress) -> tuple[Entry, Array]:
        """Read an array, as of one commit, into new memory; return its entry too."""

        def read(name: str, entry: Entry) -> tuple[Entry, Array]:
            if self.deleted_rows(entry) is not None:
                array = self._map(name, entry).copied()
                progress(array.nbytes)
                return entry, array
            return entry, self.read_stored(entry, progress)

        entry, array = self.read_consistent(name, read, stable=True)
        self.counts["bytes_read"] += array.nbytes
        return entry, array

    def read_rows(self, name: str, indexes: Any) -> Array:
        """Read selected rows, as of one commit, into new memory."""
        entry, cached = self.arrays().get(name), self._lazy_arrays.get(name)
        array = None
        if cached is not None and cached[0] is entry and entry.stored:  # the common case
            array = cached[1].take(indexes)
            if self.arrays().get(name) is not entry:
                array = None
        if array is None:
            array = self.read_consistent(
                name, lambda name, _: self.lazy_rows(name).take(indexes), stable=True
            )
        self.counts["bytes_read"] += array.nbytes
        return array

    def read_consistent(
        self, name: str, read: Callable[[str, Entry], T], *, stable: bool = False
    ) -> T:
        """Read an array's files; read again if the array was replaced meanwhile.

        Parameters
        ----------
        name : str
        read : callable
            Takes the name and the entry.
        stable : bool
            Read again also if rows were replaced in place meanwhile.
        """
        for _ in range(_OPTIMISTIC_READS):
            entry = entry_of(self.arrays(), name)
            with contextlib.suppress(FileNotFoundError):
                result = read(name, entry)
                if not stable or self._is_unchanged(name, entry):
                    return result
        with SharedLock(self.folder):
            entry = entry_of(self.arrays(), name)
            try:
                return read(name, entry)
            except MissingFileError as error:
                raise self.missing_file_error(name, error) from None

    def missing_file_error(self, name: str, error: MissingFileError) -> StoreError:
        """Return the error for a file that is missing although no process is writing."""
        if self.is_numpack0:
            return StoreError(f"{self.folder.path} was upgraded meanwhile; open it again")
        return CorruptStoreError(
            f"the file {error.file} of the array {name!r} is missing; restore it from a backup"
        )

    def _is_unchanged(self, name: str, entry: Entry) -> bool:
        now = self.arrays().get(name)
        return now is not None and (now.id, now.revision) == (entry.id, entry.revision)

    def read_stored(self, entry: Entry, progress: Progress = data_files.no_progress) -> Array:
        """Read the rows of a data file, deleted ones included, with pending changes applied."""
        array = data_files.read(self.folder, entry, progress)
        if entry.id in self._pending:
            journal.apply_in_memory(array, self._pending[entry.id])
        return array

    def _map(self, name: str, entry: Entry) -> LazyArray:
        deleted, origin = self.deleted_rows(entry), None
        if entry.id in self._pending:
            array = self.read_stored(entry)
            array.flags.writeable = False
        else:
            array = resources.map_with_retry(data_files.map_rows, self.folder, entry)[0]
            origin = Reference(self.folder.path, name, entry, array, deleted, self)
        lazy = LazyArray(array, origin, deleted)
        self.counts["mappings"] += 1
        self._cache_lazy(name, entry, lazy)
        return lazy

    def _cache_lazy(self, name: str, entry: Entry, lazy: LazyArray) -> None:
        _evict_oldest(self._lazy_arrays)
        self._lazy_arrays[name] = entry, lazy

    def stream(self, rows: LazyArray, size: int) -> Iterator[Array]:
        """Return an iterator over copies of batches of rows."""
        return (rows.take(slice(i, i + size)) for i in range(0, len(rows), size))

    def deleted_rows(self, entry: Entry) -> DeletedRows | None:
        """Return the deleted rows of an array; ``None`` if there are none."""
        if not entry.dropped:
            return None
        if isinstance(self.history, Numpack0Log):
            return self.history.dropped[entry.data_file]
        cached = self._deleted_rows.get(entry.data_file)
        if cached is not None and cached[0].dropped == entry.dropped:
            return cached[1].resized(entry.stored[0])
        rows = deleted_rows.read(self.folder, entry)
        self.cache_deleted_rows(entry, rows)
        return rows

    def cache_deleted_rows(self, entry: Entry, rows: DeletedRows) -> None:
        """Cache the deleted rows of an array, so that their list is not read again."""
        _evict_oldest(self._deleted_rows)
        self._deleted_rows[entry.data_file] = entry, rows

    def forget(self, entry: Entry) -> None:
        """Discard all that is cached of a deleted array. Requires `mutex` and `lock`."""
        self.files.forget(entry)
        self._deleted_rows.pop(entry.data_file, None)
        for name, (cached, _) in list(self._lazy_arrays.items()):
            if cached.id == entry.id:
                self._lazy_arrays.pop(name, None)

    def release_cached(self) -> None:
        """Close files and discard mappings, which are opened and made again when needed."""
        self._lazy_arrays.clear()
        if self.mutex.acquire(blocking=False):
            try:
                self.files.release_cached()
            finally:
                self.mutex.release()

    def _enter_catalog(self, catalog: Catalog) -> None:
        """Discard what a new catalog has made obsolete, and replay its journal."""
        arrays = catalog.arrays
        for name, (entry, _) in list(self._lazy_arrays.items()):
            if arrays.get(name) is not entry:
                self._lazy_arrays.pop(name, None)
        # If another thread is writing, it holds the mutex and closes them.
        if self.files.are_open and self.mutex.acquire(blocking=False):
            try:
                self.files.close_unlinked()
            finally:
                self.mutex.release()
        self._pending = self._replay_for_reading(catalog) if self._needs_replay(catalog) else {}
        self._catalog = catalog


def _evict_oldest(cache: dict[str, T]) -> None:
    """Make room in a cache; other threads may do so at the same time."""
    if len(cache) >= _CACHED:
        for oldest in list(cache)[: len(cache) - _CACHED + 1]:
            cache.pop(oldest, None)
