"""`Snapshot`: lazy arrays of one commit whose rows no writer replaces."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Self

from ...errors import MissingFileError
from ..checks import entry_of
from ..format import journal
from ..format.log.state import Catalog
from ..fs.lock import SharedLock
from ..fs.syscalls import hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..format.log.state import Entry
    from ..fs.syscalls import OpenFile
    from ..lazy.array import LazyArray
    from ..session import Session

_OPTIMISTIC_ATTEMPTS = 5  # that a writer may invalidate, before writers are excluded
_PAUSE = 0.001  # seconds after the first attempt beside a replace; then doubled each time


class Snapshot:
    """Lazy arrays as of one commit, which keep their rows while the snapshot is open.

    The snapshot *holds* the arrays' data files: it locks them so that a writer who replaces
    rows, or opens an array in `writable_batch_mode`, does so in a copy of the file, which it
    commits in its place. The hold ends with `close`, when the snapshot is collected, and with
    the process; in a forked child it lasts as well, until both have closed it. The store may
    be closed meanwhile. Arrays that are used after the hold has ended are like those of
    ``load(name, lazy=True)``.

    Parameters
    ----------
    session : Session
    names : iterable of str, optional
        All arrays by default.

    Attributes
    ----------
    arrays : dict of str to LazyArray
        In the order of the names.
    commit : int
        Number of the commit; 0 in a folder of NumPack 0.x.
    catalog : Catalog
        Of the commit, with the entries of the arrays.
    is_locked : bool
        Whether all files are held: false where the file system has no such locks.
    is_held : bool
        Whether all rows are certain to stay as they are. They are not where the file system
        has no such locks, in a folder of NumPack 0.x, which does not check them, and if an
        array was open in a `writable_batch_mode`.

    Raises
    ------
    NotFoundError
        There is no array of a name.

    Notes
    -----
    A writer commits the mark of an array that it is about to write in place, or writes the
    journal of the next commit, before it checks whether the file is held; a snapshot holds
    its files before it checks journal and marks. So if the two coincide, the writer sees the
    hold, or the snapshot sees the writer and is taken again.

    A journal that another process replays may be written beside a snapshot. If the snapshot
    held the file before that journal was written, the journal does not have the array. Else
    the snapshot is as of the journal's commit or a later one: its rows were in place
    already, and are written again with the same bytes, or were copied and are not mapped.
    """

    arrays: dict[str, LazyArray]

    def __init__(self, session: Session, names: Iterable[str] | None = None) -> None:
        self._files: list[OpenFile] = []
        self.arrays, self.commit, self.is_held, self.is_locked = {}, 0, False, False
        self.catalog = Catalog()
        chosen = None if names is None else list(names)
        pause = _PAUSE
        for _ in range(_OPTIMISTIC_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                entries = self._take(session, chosen)
                if entries is not None and _is_unchanged(session, entries):
                    return
            if journal.is_replacing(session.folder, session.newest_commit()):
                time.sleep(pause)
                pause *= 2
        with SharedLock(session.folder):
            while self._take(session, chosen, writers_excluded=True) is None:
                pass  # another thread has just read an earlier commit

    def __enter__(self) -> Self:
        """Return the snapshot."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the snapshot."""
        self.close()

    def close(self) -> None:
        """Release the files; the arrays remain usable."""
        files, self._files = self._files, []
        for file in files:
            file.close()  # unlocking would end the hold of a forked process too

    def _take(
        self, session: Session, names: list[str] | None, *, writers_excluded: bool = False
    ) -> dict[str, Entry] | None:
        """Hold and map the arrays; return their entries, ``None`` if not of one commit."""
        self.close()
        self.arrays, self.is_locked = {}, True
        self.is_held = not session.is_numpack0
        catalog = session.history.refresh()
        arrays = dict(session.arrays())
        if session.history.refresh() is not catalog:  # the arrays may be of any commit since
            return None
        entries = {
            name: entry_of(arrays, name) for name in (arrays if names is None else names)
        }
        for name, entry in entries.items():
            session.require_standing(name)
            try:
                self._use(session, name, entry)
            except MissingFileError as error:
                session.require_standing(name)
                if writers_excluded:
                    raise session.missing_file_error(name, error) from None
                raise
        self.commit, self.catalog = catalog.commit, catalog.with_arrays(entries)
        return entries

    def _use(self, session: Session, name: str, entry: Entry) -> None:
        """Hold the files of an array and map it."""
        if entry.nbytes and session.folder.has_row_files:  # else they are never written again
            self._hold(session.folder.open_file(entry.data_file, os.O_RDONLY), entry)
        self.arrays[name] = session.lazy_of(name, entry)

    def _hold(self, file: OpenFile, entry: Entry) -> None:
        self._files.append(file)
        if not hold(file.descriptor):
            self.is_locked = self.is_held = False
        if entry.writable:
            self.is_held = False


def _is_unchanged(session: Session, entries: Mapping[str, Entry]) -> bool:
    """Return whether no array was replaced or opened in place until it was held."""
    if journal.is_replacing(session.folder, session.newest_commit()):
        return False
    for name in entries:
        session.require_standing(name)
    now = session.arrays()
    return all(
        name in now and _version(now[name]) == _version(entry)
        for name, entry in entries.items()
    )


def _version(entry: Entry) -> tuple[str, int, bool]:
    return entry.id, entry.revision, entry.writable
