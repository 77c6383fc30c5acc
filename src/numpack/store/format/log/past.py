"""The catalog as of an earlier commit, read from the lines that the log still has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ....errors import CommitNotFoundError, CorruptStoreError
from ...fs.directory import has_hole, read_between
from .lines import decode
from .reader import NAME
from .records import CommitReader, snapshot
from .state import Catalog, apply_update

if TYPE_CHECKING:
    from ...fs.directory import Folder
    from .state import LogCursor

_SNAPSHOT = b'\n{"store":'  # only a snapshot begins like this: JSON escapes newlines


def catalog_at(folder: Folder, cursor: LogCursor, commit: int) -> Catalog:
    """Return the catalog as of a commit.

    A compacted log begins with a snapshot, and has all commits after it.

    Parameters
    ----------
    folder : Folder
    cursor : LogCursor
        The open log.
    commit : int

    Raises
    ------
    CommitNotFoundError
        The commit was not made yet, or the log has no snapshot that is as early.
    CorruptStoreError
        A line that has to be read is damaged.
    """
    newest = cursor.catalog.commit
    if has_hole(cursor.descriptor, 0, cursor.end):
        _damaged(folder, "it has holes where lines should be")
    data = read_between(cursor.descriptor, 0, cursor.end)
    at, earliest = len(data), newest
    while (at := data.rfind(_SNAPSHOT, 0, at)) >= 0:
        stop = data.find(b"\n", at + 1) + 1
        try:
            found = snapshot(decode(data[at + 1 : stop]))
            earliest = found.commit
            if earliest <= commit <= newest:
                return _advanced(found, data, stop, commit)
        except ValueError as error:
            _damaged(folder, f"a line after byte {at:,} cannot be read ({error})")
    raise CommitNotFoundError(
        f"the store {folder.path} cannot be read as of commit {commit}: its log has the "
        f"commits from {earliest} to {newest}; pass at={newest}, or another of these",
        available=range(earliest, newest + 1),
    )


def _advanced(catalog: Catalog, data: bytes, at: int, commit: int) -> Catalog:
    """Apply the commits after a snapshot up to one of them."""
    reader = CommitReader(catalog)
    while reader.catalog.commit < commit:
        stop = data.find(b"\n", at) + 1
        if not stop:
            raise ValueError("it ends before the commit")
        if stop - at > 1:
            reader.read(decode(data[at:stop]))
        at = stop
    update = reader.update()
    apply_update(update)
    return update.catalog


def _damaged(folder: Folder, what: str) -> NoReturn:
    msg = f"the log {folder.path}/{NAME} is damaged: {what}; open the store without at="
    raise CorruptStoreError(msg)
