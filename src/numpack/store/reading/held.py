"""The files of all arrays as of one commit, kept as they are beside writers."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np

from ..._core.memory import aligned_empty
from ...errors import CorruptStoreError, MissingFileError, StoreError
from ..checks import entry_of
from ..format import data_files
from ..fs.copying import copy_start
from ..fs.directory import read_between
from ..fs.lock import SharedLock
from ..fs.syscalls import size_of
from ..kernels.checksums import BLOCK, checksum_blocks
from ..kernels.patch import pwrite_rows
from .snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..format.data_files import Progress
    from ..format.log.state import Catalog, Entry
    from ..fs.directory import Folder
    from ..fs.syscalls import OpenFile
    from ..packages.session import PackageSession
    from ..remote.session import RemoteSession
    from ..session import Session

_READ_BYTES = 16 * BLOCK  # at once, to compute checksums
_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


class ArrayFiles(NamedTuple):
    """The open files of an array; ``None`` where nothing of them is needed."""

    rows: OpenFile | None
    checksums: OpenFile | None
    deleted: OpenFile | None

    def close(self) -> None:
        """Close all of them; rows that are held are no longer."""
        for file in self:
            if file is not None:
                file.close()


class CommittedFiles(Protocol):
    """The files of all arrays as of one commit.

    Attributes
    ----------
    catalog : Catalog
        Of the commit.
    """

    catalog: Catalog

    def opened(self, name: str) -> contextlib.AbstractContextManager[ArrayFiles]:
        """Return the files of an array, open in the context."""

    def release(self, name: str) -> None:
        """Close the files of an array, which are not needed again."""


@contextlib.contextmanager
def committed_files(session: Session) -> Iterator[CommittedFiles]:
    """Keep the files of all arrays of the newest commit as they are.

    Writers go on beside it, and are excluded only where not all files can be held: where the
    file system has no such locks, or not so many files can be open.
    """
    held = _held(session)
    if held is not None:
        with held:
            yield held
        return
    with SharedLock(session.folder):
        yield _LockedFiles(session)


def _held(session: Session) -> _HeldFiles | None:
    """Hold the files of all arrays; ``None`` if not all of them can be."""
    try:
        held = _HeldFiles(session)
    except StoreError as error:
        if getattr(error, "errno", None) in _MANY_OPEN:
            return None
        raise
    if not held.is_locked:
        held.close()
        return None
    return held


class _HeldFiles(Snapshot):
    """The files of all arrays as of one commit, open and held, and not mapped."""

    def __init__(self, session: Session) -> None:
        self._opened: dict[str, ArrayFiles] = {}
        super().__init__(session)

    def _use(self, session: Session, name: str, entry: Entry) -> None:
        files = self._opened[name] = _open_files(session.folder, entry)
        if files.rows is not None:
            self._hold(files.rows, entry)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[ArrayFiles]:
        """Return the files of an array."""
        yield self._opened[name]

    def release(self, name: str) -> None:
        """Close the files of an array."""
        self._opened[name].close()


class _LockedFiles:
    """The files of all arrays while writers are excluded, opened when they are needed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        arrays, catalog = dict(session.arrays()), session.history.refresh()
        self.catalog = catalog.with_arrays({name: entry_of(arrays, name) for name in arrays})

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[ArrayFiles]:
        """Open the files of an array."""
        entry = self.catalog.arrays[name]
        try:
            files = _open_files(self._session.folder, entry)
        except MissingFileError as error:
            raise self._session.missing_file_error(name, error) from None
        try:
            yield files
        finally:
            files.close()

    def release(self, name: str) -> None:
        """Do nothing: the files are closed."""


def copy_rows(
    session: Session, entry: Entry, files: ArrayFiles, target: int, progress: Progress
) -> tuple[bytes, int]:
    """Copy the rows of an array to a new, empty file, those that a journal replaces included.

    Returns
    -------
    bytes
        Checksums of the whole blocks, as in a checksum file: those of the array, or, of one
        that is written in place without checksums, those of the copy.
    int
        Checksum of the bytes after them.
    """
    change = session.pending_change(entry)
    if not session.folder.has_row_files:
        cast("RemoteSession | PackageSession", session).download(entry, target, progress)
    if files.rows is not None:
        copy_start(files.rows.descriptor, target, entry.nbytes, progress)
    if change is not None:  # a replace that is committed and not in place yet
        for rows, fresh in change.blocks():
            pwrite_rows(target, rows, change.width, fresh)
    if entry.writable:
        return compute_checksums(target, entry.nbytes)
    return read_checksums(session, entry, files), entry.tail


def read_checksums(session: Session, entry: Entry, files: ArrayFiles) -> bytes:
    """Return the checksums of the whole blocks of an array, as in a checksum file."""
    if files.checksums is None:
        return b""
    found = read_between(files.checksums.descriptor, 0, _sums_nbytes(entry))
    change = session.pending_change(entry)
    if change is not None:
        whole = change.checksums[: entry.nbytes // BLOCK - change.first]
        first = 4 * change.first
        found = found[:first] + whole.astype("<u4").tobytes() + found[first + 4 * len(whole) :]
    return found


def compute_checksums(descriptor: int, nbytes: int) -> tuple[bytes, int]:
    """Compute the checksums of the whole blocks of a file and of the bytes after them."""
    sums, tail = b"", 0
    buffer = aligned_empty((min(_READ_BYTES, nbytes),), np.dtype(np.uint8))
    for start in range(0, nbytes, _READ_BYTES):
        part = buffer[: nbytes - start]
        data_files.read_exactly(descriptor, part, start)
        whole, tail = checksum_blocks(part, data_files.thread_count())
        sums += whole
    return sums, tail


def _open_files(folder: Folder, entry: Entry) -> ArrayFiles:
    """Open the files of an array, and check their sizes."""
    return ArrayFiles(
        _opened(folder, entry.data_file, entry.nbytes if folder.has_row_files else 0),
        None if entry.writable else _opened(folder, entry.checksum_file, _sums_nbytes(entry)),
        _opened(folder, entry.dropped_file, 8 * entry.dropped),
    )


def _sums_nbytes(entry: Entry) -> int:
    nbytes: int = entry.nbytes
    return 4 * (nbytes // BLOCK)


def _opened(folder: Folder, name: str, nbytes: int) -> OpenFile | None:
    if not nbytes:
        return None
    file = folder.open_file(name)
    found = size_of(file.descriptor)
    if found < nbytes:
        msg = (
            f"the file {folder.path}/{name} is damaged: it should have {nbytes:,} bytes and "
            f"has {found:,}; restore it from an earlier backup, or drop the array"
        )
        raise CorruptStoreError(msg)
    return file
