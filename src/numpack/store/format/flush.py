"""Flushing to the device, for ``durability="power"`` and `NumPack.sync`.

A power loss may undo all unflushed writes, in any order. So each of these steps is flushed
before the next: rows and checksums; the names of new files; the line of the log that commits
them; rows replaced in place; the clearing of the journal; the removal of old files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import folder, journal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..fs.directory import Folder
    from ..session import Session
    from .log.state import Entry


def flush_entries(into: Folder, entries: Iterable[Entry]) -> None:
    """Flush the files of arrays."""
    for entry in entries:
        for name in (entry.data_file, entry.checksum_file, entry.dropped_file):
            into.sync_file(name)


def flush_store(session: Session, entries: Iterable[Entry]) -> None:
    """Flush arrays and everything needed to read them."""
    flush_entries(session.folder, entries)
    session.folder.sync_file(journal.NAME)
    session.log.sync()
    folder.flush_names(session.folder)


class Flushed:
    """The commits known to be on the device, for a session with ``durability="power"``.

    Commits of other handles may not be flushed: their durability may be lower.
    """

    def __init__(self) -> None:
        self._commit: tuple[str, int] | None = None
        self._arrays: dict[str, Entry] = {}

    def note(self, session: Session) -> None:
        """Record that everything up to the last commit is flushed."""
        catalog = session.log.catalog
        self._commit, self._arrays = (catalog.token, catalog.commit), dict(catalog.arrays)

    def flush_new_commits(self, session: Session) -> None:
        """Flush the commits that other handles have made since."""
        catalog = session.log.catalog
        if self._commit == (catalog.token, catalog.commit):
            return
        known = self._arrays
        changed = [e for name, e in list(catalog.arrays.items()) if known.get(name) is not e]
        flush_store(session, changed)
        self.note(session)

    def forget(self) -> None:
        """Discard all knowledge, because the log was replaced."""
        self._commit, self._arrays = None, {}
