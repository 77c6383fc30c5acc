"""Catalogs read from the content of a log: the newest, or that of an earlier commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ....errors import CommitNotFoundError, CorruptStoreError
from ...fs.directory import has_hole, read_between
from ..extents import require_whole
from .lines import decode
from .reader import NAME
from .records import CommitReader, commit_count, snapshot
from .state import Catalog, apply_update

if TYPE_CHECKING:
    from ...fs.directory import Folder
    from .state import LogCursor

_SNAPSHOT = b'\n{"store":'  # only a snapshot begins like this: JSON escapes newlines


def newest_catalog(data: bytes) -> Catalog:
    """Return the catalog after the last complete line of a log, given its content.

    Raises
    ------
    ValueError
        The log is damaged.
    """
    whole = data.rfind(b"\n") + 1
    at = data.rfind(_SNAPSHOT, 0, whole) + 1
    if not at:
        raise ValueError("it has no snapshot")
    stop = data.find(b"\n", at) + 1
    found = snapshot(decode(data[at:stop]))
    reader = CommitReader(found)
    for line in data[stop:whole].splitlines(keepends=True):
        if line != b"\n":
            reader.read(decode(line))
    update = reader.update()
    if update.catalog.commit < commit_count(decode(data[: data.find(b"\n") + 1])):
        raise ValueError(f"it ends with commit {update.catalog.commit}, before the last one")
    apply_update(update)
    return update.catalog


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
                advanced = _advanced(found, data, stop, commit)
                require_whole(folder, advanced.arrays.values())
                return advanced
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
