"""`StoreInfo`: what a store's files hold, and who uses them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from ..format.dtype_codes import unusable_error
from ..format.folder import HEADER, read_header, version_of
from ..format.log.attributes import values_of
from ..format.log.reader import NAME as LOG
from ..format.staged.files import PREFIX as STAGED
from ..fs.directory import DATA, Folder
from ..fs.lock import LOCK
from ..fs.lock_errors import LockHolder, lock_holders

if TYPE_CHECKING:
    from ..format.log.state import Catalog, Entry
    from ..session import Session

_HEADER_LIMIT = 1 << 16


class ArraySummary(NamedTuple):
    """What the log says of an array, by `NumPack.info`.

    Attributes
    ----------
    name : str
    dtype : str
        As NumPy prints it.
    shape : tuple of int
    nbytes : int
        Of the rows that are not deleted.
    deleted_rows, deleted_bytes : int
        What `NumPack.update` frees.
    modified : int
        Time of the last change, in µs since 1970.
    has_checksums : bool
        Whether `NumPack.verify` can check it.
    attributes : int
        Number of its attributes.
    damage : str
        Why the array can only be dropped; then dtype, shape and size are empty.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    deleted_rows: int
    deleted_bytes: int
    modified: int
    has_checksums: bool
    attributes: int
    damage: str = ""


class StoreInfo(NamedTuple):
    """A description of a store, by `NumPack.info`.

    Attributes
    ----------
    path : str
        The folder, or the URL.
    format : str
        ``"numpack"``, or ``"NumPack 0.x"``.
    version : int
        Of the format; 0 for NumPack 0.x.
    token : str
        Random, drawn when the store was created.
    commit : int
        Number of the newest commit.
    modified : int or None
        Time of the last change of an array, in µs since 1970.
    arrays : dict of str to ArraySummary
    attributes : int
        Number of attributes of the store itself.
    live_bytes : int
        Of rows that are not deleted.
    deleted_bytes : int
        Of deleted rows, which `NumPack.update` frees.
    orphaned_bytes : int
        Of data files that no commit names: of parallel writes in progress, and those left by
        processes that were killed, which the next writer removes.
    other_bytes : int
        Of the log, checksums, lists of deleted rows, and the header.
    parallel_writes : int
        Files of `NumPack.begin` that are not committed.
    open_in_place : tuple of str
        Arrays without checksums, because they are open in a `writable_batch_mode`, or were
        when a process was killed.
    lock_holders : tuple of LockHolder or None
        The processes that hold the store's lock; ``None`` where the system does not tell.
    read_only : str
        Why this object cannot write; empty if it can.
    """

    path: str
    format: str
    version: int
    token: str
    commit: int
    modified: int | None
    arrays: dict[str, ArraySummary]
    attributes: int
    live_bytes: int
    deleted_bytes: int
    orphaned_bytes: int
    other_bytes: int
    parallel_writes: int
    open_in_place: tuple[str, ...]
    lock_holders: tuple[LockHolder, ...] | None
    read_only: str


def inspect(session: Session) -> StoreInfo:
    """Describe an open store as of its newest commit."""
    catalog = session.history.refresh()
    arrays = {name: _summary(session, name, each) for name, each in _entries(session)}
    orphaned, other, parallel = 0, 0, 0
    if _is_folder(session):
        orphaned, other, parallel = _sizes(session, catalog)
    return StoreInfo(
        path=session.folder.path,
        format="NumPack 0.x" if session.is_numpack0 else "numpack",
        version=_version(session, catalog),
        token=catalog.token,
        commit=catalog.commit,
        modified=max((each.modified for each in arrays.values()), default=None),
        arrays=arrays,
        attributes=len(values_of(catalog.attrs)),
        live_bytes=sum(each.nbytes for each in arrays.values()),
        deleted_bytes=sum(each.deleted_bytes for each in arrays.values()),
        orphaned_bytes=orphaned,
        other_bytes=other,
        parallel_writes=parallel,
        open_in_place=tuple(name for name, each in _entries(session) if each.writable),
        lock_holders=_lock_holders(session),
        read_only=session.read_only,
    )


def _entries(session: Session) -> list[tuple[str, Entry]]:
    return list(session.arrays().items())


def _summary(session: Session, name: str, entry: Entry) -> ArraySummary:
    if entry.is_unusable:
        why = str(unusable_error(entry.code))
        return ArraySummary(name, "", (), 0, 0, 0, entry.modified, False, 0, why)
    return ArraySummary(
        name=name,
        dtype=entry.dtype_name,
        shape=entry.shape,
        nbytes=entry.live_nbytes,
        deleted_rows=entry.dropped,
        deleted_bytes=entry.nbytes - entry.live_nbytes,
        modified=entry.modified,
        has_checksums=not (entry.writable or session.is_numpack0),
        attributes=len(values_of(entry.attrs)),
    )


def _version(session: Session, catalog: Catalog) -> int:
    if session.is_numpack0:
        return 0
    if type(session.folder) is not Folder:  # it has the arrays that its header allows
        return version_of(catalog)
    text = session.folder.read_start(HEADER, _HEADER_LIMIT)
    return read_header(text, session.folder.path)


def _is_folder(session: Session) -> bool:
    """Return whether a store is a folder of this version, not an object or a package."""
    return type(session.folder) is Folder and not session.is_numpack0


def _sizes(session: Session, catalog: Catalog) -> tuple[int, int, int]:
    """Return the bytes of orphans and of small files, and the number of parallel writes."""
    live = {entry.id for entry in list(catalog.arrays.values())}
    orphaned = other = parallel = 0
    for name in session.folder.names(DATA):
        stem, _, ending = name.partition(".")
        nbytes = _size(session, f"{DATA}/{name}")
        if stem not in live:
            orphaned += nbytes
            parallel += stem.startswith(STAGED) and ending == "bin"
        elif ending != "bin":
            other += nbytes
    return orphaned, other + sum(_size(session, name) for name in (HEADER, LOG)), parallel


def _size(session: Session, name: str) -> int:
    with contextlib.suppress(OSError):  # removed meanwhile
        return session.folder.size(name)
    return 0


def _lock_holders(session: Session) -> tuple[LockHolder, ...] | None:
    if not _is_folder(session):
        return ()
    try:
        identity = session.folder.identity(LOCK)
    except OSError:  # nobody has written yet
        return ()
    return lock_holders(*identity)
