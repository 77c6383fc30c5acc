"""Committing an array that several processes have written; requires the store's lock."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..format.staged.files import ended_error
from .committing import commit, may_have_committed, unlink_files

if TYPE_CHECKING:
    from ..format.log.state import Entry
    from ..format.staged.files import StagedFiles
    from ..session import Session


def put_staged(session: Session, name: str, entry: Entry, files: StagedFiles) -> None:
    """Commit complete files as an array, and unlink the files that they replace.

    If that fails they get their names back, so that it can be tried again.

    Parameters
    ----------
    session : Session
    name : str
    entry : Entry
        Without a valid id.
    files : StagedFiles
        Writes to them have to be excluded.
    """
    catalog = session.log.catalog
    if catalog.token != files.token:  # all arrays were dropped by mode="w"
        raise ended_error(session.folder.path)
    known = catalog.arrays.get(name)
    attrs = b"" if known is None else known.attrs  # attributes belong to the name
    entry = entry.replace(id=catalog.new_id(), attrs=attrs)
    try:
        files.move_to(entry)
        commit(session, put={name: entry})
    except BaseException:
        if not may_have_committed(session, catalog):
            with contextlib.suppress(OSError):
                files.move_back()
        raise
    session.counts["bytes_written"] += entry.nbytes
    files.remove()
    unlink_files(session, [] if known is None else [known])
