"""Opening and closing a store, and the queue of those who change it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidValueError, StoreError
from .format import folder
from .format.log import Log, closed_error
from .format.numpack0 import upgrade
from .fs.forks import register
from .fs.transaction import MutexGuard, WriteTransaction
from .session import Session

if TYPE_CHECKING:
    from .format.catalog import Catalog
    from .fs.directory import Folder

MODES = ("a", "r", "r+", "w", "x")


class Handle:
    """What is needed to open a store, and the session while it is open.

    Parameters
    ----------
    path : str
        The store's folder, absolute.
    mode : {"a", "r", "r+", "w", "x"}
        What to do when it is first opened, see `NumPack`.
    upgrade : bool
        Whether to make a store of this version of a folder of NumPack 0.x.
    durable : bool
        Whether each change is flushed to the device.
    lock_timeout : float or None
        Seconds to wait for a lock; ``None``: for ever.

    Attributes
    ----------
    path : str
    session : Session or None
        ``None`` while the store is not open.
    counts : dict of str to int
        What was done so far, see `NumPack.get_io_stats`.
    """

    def __init__(
        self,
        path: str,
        *,
        mode: str,
        upgrade: bool,
        durable: bool,
        lock_timeout: float | None = None,
    ) -> None:
        if mode not in MODES:
            msg = f"mode must be one of {', '.join(map(repr, MODES))}, not {mode!r}"
            raise InvalidValueError(msg)
        self.path = path
        self.session: Session | None = None
        self.counts = {"commits": 0, "bytes_read": 0, "bytes_written": 0, "mappings": 0}
        self._mode = mode
        self._upgrade = upgrade
        self._durable = durable
        self._lock_timeout = lock_timeout
        self._cleaned = ""  # token of the store that was swept
        self._opening = threading.RLock()  # of this handle alone: no store waits for another
        register(self)

    def after_fork(self) -> None:
        """Make a new lock."""
        self._opening = threading.RLock()

    def open(self) -> None:
        """Open the store; create it if there is none. Does nothing if it is open."""
        with self._exclusive():
            if self.session is None:
                found, is_numpack0 = self._found()
                history = self._history(found, is_numpack0=is_numpack0)
                self.session = Session(
                    found,
                    history,
                    counts=self.counts,
                    read_only=self._why_read_only(history),
                    durable=self._durable,
                )
                if self._mode in ("w", "x"):
                    self._mode = "a"  # opening again after a close keeps the arrays

    def close(self) -> None:
        """Close the store; wait for a writer on another thread."""
        if self.session is None:  # a thread may be waiting to open it
            return
        with self._exclusive():
            session, self.session = self.session, None
        if session is not None:
            session.close()

    def _exclusive(self) -> MutexGuard:
        """Keep the other threads of this handle from opening and closing it."""
        return MutexGuard(self._opening, self.path, self._lock_timeout)

    def opened(self) -> Session:
        """Give the session.

        Raises
        ------
        StoreClosedError
            There is none.
        """
        if self.session is None:
            raise closed_error(self.path)
        return self.session

    def writing(self) -> WriteTransaction:
        """Give the turn to write, for a ``with`` statement: it holds the store's lock."""
        session = self.session or self.opened()
        if session.read_only:
            raise StoreError(session.read_only)
        return WriteTransaction(session, self._prepare)

    def _prepare(self, session: Session) -> None:
        log = session.log
        state = log.refresh_exactly() if session.lock.names_changed else log.refresh()
        if log.openings != session.openings:
            session.forget_all()
        if state.journal is not None:
            session.replay_journal(state)
        if session.durable:
            session.flush_others()
        if self._cleaned != state.token:
            self._remove_orphans(session, state)

    def _remove_orphans(self, session: Session, state: Catalog) -> None:
        if not session.log.is_writable:
            raise StoreError(f"the log of the store {self.path} cannot be written")
        upgrade.remove_numpack0_files(
            session.folder
        )  # an upgrade was interrupted before it had done so
        folder.remove_orphans(session.folder, state)
        self._cleaned = state.token

    def _found(self) -> tuple[Folder, bool]:
        """Find the folder, or make of it what the mode asks for; tell if it is one of 0.x."""
        found = folder.open_folder(self.path, self._lock_timeout)
        if found is not None and folder.is_store(found):
            if self._mode == "x":
                raise folder.store_exists_error(self.path)
            if self._mode == "w":
                folder.drop_all(found, durable=self._durable)
            return found, False
        if found is not None and upgrade.is_numpack0(found):
            return found, self._is_left_old(found)
        if self._mode in ("r", "r+"):
            raise folder.not_found_error(self.path)
        return self._created(), False

    def _created(self) -> Folder:
        return folder.create_store(
            Path(self.path),
            exclusive=self._mode == "x",
            durable=self._durable,
            lock_timeout=self._lock_timeout,
        )

    def _is_left_old(self, found: Folder) -> bool:
        if self._mode == "x":
            raise folder.store_exists_error(self.path)
        if self._mode != "w" and (not self._upgrade or self._mode == "r"):
            return True
        is_ours = upgrade.upgrade_folder(found, keep=self._mode != "w")
        if self._mode == "w" and not is_ours:
            folder.drop_all(found, durable=self._durable)
        return False

    def _history(self, found: Folder, *, is_numpack0: bool) -> Log | upgrade.Numpack0Log:
        arrays = upgrade.read(found) if is_numpack0 else None
        if arrays is not None:
            return upgrade.Numpack0Log(found, arrays)
        return Log(found, writable=self._mode != "r", durable=self._durable)

    def _why_read_only(self, history: Log | upgrade.Numpack0Log) -> str:
        if isinstance(history, upgrade.Numpack0Log):
            return upgrade.read_only_reason(self.path)
        if self._mode == "r":
            return f"the store {self.path} was opened with mode='r'; open it with mode='r+'"
        return ""
