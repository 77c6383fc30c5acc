"""Replay of the journal: rows of an interrupted `NumPack.replace` are written in place."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, cast

from .format import journal
from .fs.directory import write_all
from .fs.lock import SharedLock
from .fs.transaction import TryLock
from .kernels.checksums import BLOCK

if TYPE_CHECKING:
    import threading

    from .format.log.log import Log
    from .format.log.state import Catalog, Entry
    from .format.numpack0.upgrade import Numpack0Log
    from .format.open_files import OpenFiles
    from .fs.directory import Folder
    from .fs.lock import WriteLock
    from .rows.replacing import Replacement
    from .session import Session

WAIT = 0.05  # seconds in which most write transactions end
_POLL_INTERVAL = 0.002
_NO_COMMIT = ("", 0)


class JournalReplay:
    """The part of a `Session` that writes journaled rows in place.

    A reader that cannot do so, because another process is writing or the store is read-only,
    applies the journal to what it reads instead: see `pending_change`.
    """

    folder: Folder
    history: Log | Numpack0Log
    log: Log
    files: OpenFiles
    read_only: str
    durable: bool
    mutex: threading.RLock
    lock: WriteLock

    def __init__(self) -> None:
        self._applied = _NO_COMMIT  # the last commit whose rows are known to be in place
        self._pending: dict[str, journal.Change] = {}  # by array id, not in place yet

    def forget_replay(self) -> None:
        """Discard what is known about the journal: the store may have been replaced."""
        self._pending, self._applied = {}, _NO_COMMIT

    def replay_journal(self, catalog: Catalog) -> None:
        """Write the rows of the last commit in place, if its process died before doing so.

        The caller holds `mutex` and `lock`. Everything is flushed, because that process may
        have promised it.
        """
        if self._needs_replay(catalog):
            for change in journal.read(self.folder, catalog):
                entry = next(e for e in list(catalog.arrays.values()) if e.id == change.id)
                self.apply_replacement(entry, change)
                self._flush_rows(entry)
            self.clear_journal(catalog)

    def apply_replacement(
        self, entry: Entry, change: journal.Change | Replacement, *, check_name: bool = True
    ) -> None:
        """Write replaced rows and the checksums of their blocks.

        See `clear_journal` for `check_name`.
        """
        for rows, fresh in change.blocks():
            self.files.overwrite(entry, rows, change.width, fresh)
        whole = change.checksums[: entry.nbytes // BLOCK - change.first]
        if len(whole):
            checksums = whole.astype("<u4", copy=False)
            file = self.files.named(entry.checksum_file, check_name=check_name)
            write_all(file, checksums, 4 * change.first)
        if self.durable:
            self._flush_rows(entry)

    def _flush_rows(self, entry: Entry) -> None:
        os.fdatasync(self.files.descriptor(entry))
        self.folder.sync_file(entry.checksum_file)

    def clear_journal(self, catalog: Catalog, *, check_name: bool = True) -> None:
        """Clear the journal: the rows of the last commit are in place.

        Parameters
        ----------
        catalog : Catalog
        check_name : bool
            Whether to check that the open file still has its name. Not needed if this session
            has just written the journal.
        """
        file = self.files.named(journal.NAME, check_name=check_name)
        journal.clear(file, durable=self.durable)
        self._applied = _commit_id(catalog)
        self._pending = {}

    def pending_change(self, entry: Entry) -> journal.Change | None:
        """Return the committed rows of an array that are not in place in its file yet."""
        return self._pending.get(entry.id)

    def _needs_replay(self, catalog: Catalog) -> bool:
        return catalog.journal is not None and self._applied != _commit_id(catalog)

    def _replay_for_reading(self, catalog: Catalog) -> dict[str, journal.Change]:
        """Ensure that the rows of the last commit are in place; return those that are not.

        A reader must not wait for a writer, which may be stopped, nor for other readers that
        exclude writers, which may be the caller itself.
        """
        deadline = time.monotonic() + WAIT
        while not journal.is_cleared(self.folder):
            if self._try_replay():
                return {}
            if time.monotonic() > deadline or not SharedLock(self.folder).would_wait():
                changes = journal.read_unlocked(self.folder, catalog)
                return {change.id: change for change in changes}
            time.sleep(_POLL_INTERVAL)
        self._applied = _commit_id(catalog)
        return {}

    def _try_replay(self) -> bool:
        """Replay the journal if the lock is free and the store is writable."""
        with contextlib.suppress(OSError):  # a read-only file system, or the disk fails
            if not self.read_only:
                with TryLock(cast("Session", self), opens=True) as taken:
                    if taken:
                        self.replay_journal(self.history.refresh())
                        return True
        return False


def _commit_id(catalog: Catalog) -> tuple[str, int]:
    """Identify a commit; numbers alone start again when a store is emptied."""
    return catalog.token, catalog.commit
