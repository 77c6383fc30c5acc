"""Arrays of a temporary store: each function is one commit, and requires both locks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from ..checks import check_rows, entry_of
from ..rows.contents import live_content
from .attributes import new_array_attributes
from .committing import commit, may_have_committed, unlink_files
from .rows import append_contents

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..format.log.state import Entry
    from ..fs.directory import Folder
    from ..session import Session
    from .attributes import AttributeChange


def adopt(
    session: Session,
    source: Session,
    names: Iterable[str],
    attributes: Mapping[str | None, AttributeChange] | None = None,
    *,
    drop_others: bool = False,
) -> None:
    """Rename files of another store into this one, commit them, unlink those they replace.

    No row is read or written. If the commit fails, the files get their names back. Otherwise
    nothing can be read of these arrays through `source`, which does not have them any more.

    Parameters
    ----------
    session : Session
    source : Session
        A store on the same file system, whose lock is held, and of which nothing is needed
        that a power loss might find in neither folder.
    names : iterable of str
        Arrays of `source`, which take the place of those of the same names.
    attributes : mapping of str or None to AttributeChange
        Changes of attributes that are to be made in the same commit. The arrays keep those that
        their names have in this store.
    drop_others : bool, default False
        Delete all other arrays of this store.
    """
    catalog = session.log.catalog
    found = {name: entry_of(source.log.catalog.arrays, name) for name in names}
    texts, record = new_array_attributes(catalog, found, attributes or {})
    entries = {
        name: entry.replace(id=catalog.new_id(ahead=number), attrs=texts[name], revision=0)
        for number, (name, entry) in enumerate(found.items())
    }
    drop = [name for name in catalog.arrays if name not in entries] if drop_others else []
    replaced = [
        entry for name, entry in catalog.arrays.items() if name in entries or drop_others
    ]
    moves = _Moves(source.folder, session.folder)
    try:
        for name, entry in found.items():
            moves.move_files(entry, entries[name], durable=session.durable)
        if entries or record or drop:
            commit(session, put=entries, drop=drop, **record)
    except BaseException:
        if not may_have_committed(session, catalog):
            moves.undo()
        raise
    for entry in found.values():
        source.forget(entry)
    unlink_files(session, replaced)


def append_from(
    session: Session,
    source: Session,
    names: Iterable[str],
    attributes: Mapping[str | None, AttributeChange] | None = None,
) -> None:
    """Append the rows of arrays of another store to those of the same names, in one commit.

    They are read a few MiB at a time. Parameters are those of `adopt`, but the other store may
    be on any file system, and keeps its arrays.
    """
    contents = {}
    for name in names:
        entry = entry_of(source.log.catalog.arrays, name)
        rows = np.broadcast_to(np.empty((), entry.dtype), entry.shape)  # without their values
        check_rows(name, entry_of(session.log.catalog.arrays, name), rows)
        contents[name] = live_content(source.folder, entry, source.deleted_rows(entry))
    append_contents(session, contents, attributes)


class _Moves:
    """Files that were renamed from one folder to another."""

    def __init__(self, before: Folder, after: Folder) -> None:
        self._before = before
        self._after = after
        self._done: list[tuple[str, str]] = []  # old and new names

    def move_files(self, entry: Entry, made: Entry, *, durable: bool) -> None:
        """Rename the files of an array, after their contents are flushed if `durable`."""
        self._move(entry.data_file, made.data_file, durable=durable)
        if self._before.has(entry.checksum_file):
            self._move(entry.checksum_file, made.checksum_file, durable=durable)
        if entry.dropped:
            self._move(entry.dropped_file, made.dropped_file, durable=durable)

    def _move(self, old: str, new: str, *, durable: bool) -> None:
        if durable:
            self._before.sync_file(old)
        self._after.unlink(new)  # an orphan
        self._done.append((old, new))
        self._before.rename(old, new, to=self._after)

    def undo(self) -> None:
        """Move the files back to their old names, also after a move that failed."""
        for old, new in reversed(self._done):
            with contextlib.suppress(OSError):
                if not self._before.has(old):
                    self._after.rename(new, old, to=self._before)
