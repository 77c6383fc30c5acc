"""`Handle`: opens and closes a store, and starts its write transactions."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CommitNotFoundError, InvalidValueError, StoreError
from .format import folder
from .format.log.log import Log, closed_error
from .format.numpack0 import upgrade
from .fs.forks import register
from .fs.transaction import MutexGuard, WriteTransaction
from .reading.past import PastLog, PastSession
from .session import Session

if TYPE_CHECKING:
    from .format.log.state import Catalog
    from .fs.directory import Folder

MODES = ("a", "r", "r+", "w", "x")


class Handle:
    """Options of a `NumPack`, and its session while the store is open.

    Parameters
    ----------
    path : str
        The store's folder, absolute.
    mode : {"a", "r", "r+", "w", "x"}
        Mode of the first opening, see `NumPack`.
    upgrade : bool
        Whether to upgrade a folder of NumPack 0.x to a store of this version.
    durable : bool
        Whether each change is flushed to the device.
    lock_timeout : float or None
        Seconds to wait for a lock; ``None`` waits indefinitely.
    at : int or None
        The commit as of which the store is read; ``None`` for the newest.

    Attributes
    ----------
    path : str
    session : Session or None
        ``None`` while the store is not open.
    counts : dict of str to int
        Counters of `NumPack.get_io_stats`.
    """

    is_remote = False  # see `RemoteHandle`

    def __init__(
        self,
        path: str,
        *,
        mode: str,
        upgrade: bool,
        durable: bool,
        lock_timeout: float | None = None,
        at: int | None = None,
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
        self._at = at
        self._cleaned = ""  # token of the store whose orphaned files were removed
        self._opening = threading.RLock()  # per handle: stores are opened independently
        register(self)

    def after_fork(self) -> None:
        """Replace the lock in a forked child."""
        self._opening = threading.RLock()

    def open(self) -> None:
        """Open the store, creating it if it does not exist; do nothing if it is open."""
        with self._exclude_threads():
            if self.session is None:
                found, is_numpack0 = self._open_folder()
                history = self._open_history(found, is_numpack0=is_numpack0)
                kind = Session if self._at is None else PastSession
                self.session = kind(
                    found,
                    history,
                    counts=self.counts,
                    read_only=self._read_only_reason(history),
                    durable=self._durable,
                )
                if self._mode in ("w", "x"):
                    self._mode = "a"  # opening again after a close keeps the arrays

    def close(self, *, checkpoint: bool = True) -> None:
        """Close the store; wait for a writer on another thread.

        Parameters
        ----------
        checkpoint : bool
            Whether to write what makes the next opening faster, if there were commits.
        """
        if self.session is None:  # another thread may be opening it, which is not waited for
            return
        with self._exclude_threads():
            session, self.session = self.session, None
        if session is not None:
            session.close(checkpoint=checkpoint)

    def _exclude_threads(self) -> MutexGuard:
        """Exclude other threads from opening and closing this handle."""
        return MutexGuard(self._opening, self.path, self._lock_timeout)

    def pickled(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the path and the options by which another process opens the store."""
        return self.path, options

    def require_session(self) -> Session:
        """Return the session.

        Raises
        ------
        StoreClosedError
            The store is not open.
        """
        if self.session is None:
            raise closed_error(self.path)
        return self.session

    def write_transaction(self) -> WriteTransaction:
        """Return a context manager that holds the store's lock and yields the session."""
        session = self.session or self.require_session()
        if session.read_only:
            raise StoreError(session.read_only)
        return WriteTransaction(session, self._prepare)

    def _prepare(self, session: Session) -> None:
        """Bring a session up to date at the start of a write transaction."""
        log = session.log
        catalog = log.refresh_exactly() if session.lock.names_changed else log.refresh()
        if log.openings != session.openings:
            session.forget_all()
        if catalog.journal is not None:
            session.replay_journal(catalog)
        if session.durable:
            session.flush_others()
        if self._cleaned != catalog.token:
            self._remove_orphans(session, catalog)

    def _remove_orphans(self, session: Session, catalog: Catalog) -> None:
        if not session.log.is_writable:
            raise StoreError(f"the log of the store {self.path} cannot be written")
        upgrade.remove_numpack0_files(session.folder)  # left by an interrupted upgrade
        folder.remove_orphans(session.folder, catalog)
        self._cleaned = catalog.token

    def _open_folder(self) -> tuple[Folder, bool]:
        """Open or create the folder as the mode says; return whether it is read as 0.x."""
        found = folder.open_folder(self.path, self._lock_timeout)
        if found is not None and folder.is_store(found):
            if self._mode == "x":
                raise folder.store_exists_error(self.path)
            if self._mode == "w":
                folder.drop_all(found, durable=self._durable)
            return found, False
        if found is not None and upgrade.is_numpack0(found):
            return found, self._stays_numpack0(found)
        if self._mode in ("r", "r+"):
            raise folder.not_found_error(self.path)
        return self._create_folder(), False

    def _create_folder(self) -> Folder:
        return folder.create_store(
            Path(self.path),
            exclusive=self._mode == "x",
            durable=self._durable,
            lock_timeout=self._lock_timeout,
        )

    def _stays_numpack0(self, found: Folder) -> bool:
        """Upgrade or empty a folder of NumPack 0.x if requested; return whether it is left."""
        if self._mode == "x":
            raise folder.store_exists_error(self.path)
        if self._mode != "w" and (not self._upgrade or self._mode == "r"):
            return True
        is_ours = upgrade.upgrade_folder(found, keep=self._mode != "w")
        if self._mode == "w" and not is_ours:
            folder.drop_all(found, durable=self._durable)
        return False

    def _open_history(self, found: Folder, *, is_numpack0: bool) -> Any:
        """Return a `Log`, or what has its interface."""
        arrays = upgrade.read(found) if is_numpack0 else None
        if arrays is not None and self._at is not None:
            msg = f"{self.path} is a folder of NumPack 0.x, which has no commits; leave out at="
            raise CommitNotFoundError(msg)
        if arrays is not None:
            return upgrade.Numpack0Log(found, arrays)
        if self._at is not None:
            return PastLog(found, self._at)
        return Log(found, writable=self._mode != "r", durable=self._durable)

    def _read_only_reason(self, history: Any) -> str:
        if isinstance(history, upgrade.Numpack0Log):
            return upgrade.read_only_reason(self.path)
        if self._at is not None:
            return (
                f"the store {self.path} was opened with mode='r', as of commit {self._at}; "
                "open it with mode='r+', and without at="
            )
        if self._mode == "r":
            return f"the store {self.path} was opened with mode='r'; open it with mode='r+'"
        return ""
