"""Renaming an array in one commit; requires the store's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import InvalidValueError, StoreError
from ..checks import entry_of
from ..format import data_files
from ..format.naming import quoted
from ..rows.contents import live_content
from .arrays import write_contents
from .committing import commit, may_have_committed, unlink_files

if TYPE_CHECKING:
    from ..format.data_files import Progress
    from ..format.log.state import Entry
    from ..session import Session


def rename(
    session: Session, old: str, new: str, progress: Progress, *, overwrite: bool
) -> None:
    """Rename an array, with its attributes.

    Its files get a second name, that of a new id, before the commit, and lose the first one
    after it, so that a crash leaves an orphan at most. Where the file system has no hard links
    the live rows are copied.
    """
    catalog = session.log.catalog
    entry, replaced = entry_of(catalog.arrays, old), catalog.arrays.get(new)
    if old == new:
        return
    _check(session, old, entry, new, is_taken=replaced is not None and not overwrite)
    made = entry.replace(id=catalog.new_id())
    try:
        made = _linked(session, entry, made, progress)
        commit(session, drop=[old], put={new: made})
    except BaseException:
        if not may_have_committed(session, catalog):
            unlink_files(session, [made])
        raise
    unlink_files(session, [entry] if replaced is None else [entry, replaced])


def _check(session: Session, old: str, entry: Entry, new: str, *, is_taken: bool) -> None:
    if is_taken:
        msg = f"there is an array {quoted(new)} already; drop it first, or choose another name"
        raise InvalidValueError(msg)
    if entry.is_unusable:
        raise StoreError(f"the array {quoted(old)} is damaged, and can only be dropped")
    if data_files.is_open_in_place(session.folder, entry):
        msg = f"the array {quoted(old)} is open in a writable_batch_mode; rename it afterwards"
        raise StoreError(msg)


def _linked(session: Session, entry: Entry, made: Entry, progress: Progress) -> Entry:
    """Link the files of an array to the names of another id; return its entry."""
    try:
        session.folder.link(entry.data_file, made.data_file)
        if session.folder.has(entry.checksum_file):
            session.folder.link(entry.checksum_file, made.checksum_file)
        if entry.dropped:
            session.folder.link(entry.dropped_file, made.dropped_file)
    except OSError:
        unlink_files(session, [made])
    else:
        progress(entry.live_nbytes)
        return made
    content = live_content(session.folder, entry, session.deleted_rows(entry))
    return write_contents(session, content, made.id, entry.attrs, progress)
