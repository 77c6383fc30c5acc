"""The files of all arrays as of one commit, kept as they are beside writers."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ...errors import CorruptStoreError, MissingFileError, StoreError
from ..checks import entry_of
from ..fs.lock import SharedLock
from ..fs.syscalls import size_of
from ..kernels.checksums import BLOCK
from .snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..format.log.state import Catalog, Entry
    from ..fs.directory import Folder
    from ..fs.syscalls import OpenFile
    from ..session import Session

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


def _open_files(folder: Folder, entry: Entry) -> ArrayFiles:
    """Open the files of an array, and check their sizes."""
    return ArrayFiles(
        _opened(folder, entry.data_file, entry.nbytes),
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
