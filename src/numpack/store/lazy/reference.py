"""References to stored arrays, by which a pickled `LazyArray` finds its rows again.

A reference never resolves to the rows of another array. The file at its path is used if it is
the same file, or if revision and checksums show that it holds the same rows. A file that has
been unlinked is found through the process that pickled the reference, while that has it mapped.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..._core.mapped_files import map_open, mapping_of
from ..._core.processes import boot_id
from ..._core.view_layout import ViewLayout
from ...errors import MovedError, StoreError
from ..format import data_files, journal
from ..format.log.log import Log
from ..format.naming import quoted
from ..fs.directory import Folder, read_between
from ..fs.lock import SharedLock
from ..fs.syscalls import hold
from ..kernels.checksums import BLOCK, checksum_blocks, crc32

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._core.dtypes import DType
    from ..._core.file_mapping import Reduced
    from ..._core.memory import Array
    from ..format.log.state import Catalog, Entry
    from ..fs.syscalls import OpenFile
    from ..rows.deleted_rows import DeletedRows
    from ..session import Session

_NAME_LIMIT = 100  # characters of a name that is pickled, for messages
_ATTEMPTS = 5  # to hold rows beside a writer, before writers are excluded
_PAUSE = 0.001  # seconds after the first attempt; then doubled each time


class PickledReference(NamedTuple):
    """Pickled form of a reference: plain values, of a few hundred bytes."""

    path: str  # of the store
    commit: int
    name: str  # empty if it is long
    id: str
    numpack0_file: str
    shape: tuple[int, ...]
    revision: int
    digest: bytes  # of the rows' checksums; empty if the rows may change at any time
    dropped: int
    dropped_crc: int
    file: tuple[int, ...]  # device and inode; in a folder of 0.x size and time as well
    boot: str
    pid: int
    descriptors: tuple[int, int]  # of the data file and the deleted-row list, or -1
    nonce: str  # different each time while the rows are being written in place


class Reference:
    """Origin of the rows of a `LazyArray`.

    Parameters
    ----------
    path : str
        Path of the store's folder when it was opened.
    name : str
    entry : Entry
    stored : ndarray
        The mapped rows, including deleted ones.
    deleted : DeletedRows or None
    session : Session or None
    """

    def __init__(
        self,
        path: str,
        name: str,
        entry: Entry,
        stored: Array,
        deleted: DeletedRows | None,
        session: Session | None = None,
    ) -> None:
        self._path = path
        self._name = name
        self._entry = entry
        self._deleted = deleted
        self._session = None if session is None else weakref.ref(session)
        self._files: _HeldFiles | None = None
        pages = mapping_of(stored)
        self._stored = stored if pages is None else None  # which would keep its mapping alive
        self._pages = None if pages is None else weakref.ref(pages)
        self._identity = None if pages is None else pages.identity
        if pages is not None:
            pages.refer(self)

    def to_pickle(self) -> PickledReference | None:
        """Return what another process needs to find the rows; ``None`` if it cannot."""
        folder, catalog = self._store()
        files = self._hold_files(folder)
        if files is None:
            return None
        entry, current = self._entry, self._current_entry(catalog)
        writable = current.writable if current else False
        return PickledReference(
            self._path if folder is None else path_of(folder),
            0 if catalog is None else catalog.commit,
            self._name if len(self._name) <= _NAME_LIMIT else "",
            entry.id,
            entry.numpack0_file,
            entry.stored,
            current.revision if current else entry.revision,
            b"" if writable or entry.numpack0_file else self._digest(folder, current),
            entry.dropped,
            self._dropped_crc(),
            identity_of(files.rows, is_numpack0=bool(entry.numpack0_file)),
            boot_id(),
            os.getpid(),
            (files.rows, files.deleted),
            uuid.uuid4().hex if writable else "",
        )

    def reduce(self, dtype: DType, rows: tuple[int, int] | None) -> tuple[Any, ...] | None:
        """Return what pickles an array, or a range of its rows; ``None`` as of `to_pickle`."""
        from .array import _map_again  # noqa: PLC0415 -- imports this module

        found = self.to_pickle()
        return None if found is None else (_map_again, (tuple(found), dtype, rows))

    def reduce_view(self, array: Array, offset: int) -> Reduced | None:
        """Return what pickles a view of the rows; ``None`` if no other process finds them.

        Parameters
        ----------
        array : ndarray
        offset : int
            In the file, of its lowest address.
        """
        from .views import map_view  # noqa: PLC0415 -- imports this module

        found = self.to_pickle()
        if found is None:
            return None
        found = found._replace(dropped=0, dropped_crc=0, descriptors=(found.descriptors[0], -1))
        layout = tuple(ViewLayout.of(array, offset))
        return map_view, (tuple(found), self._entry.dtype, layout)

    def token(self) -> tuple[Any, ...]:
        """Return a token that is equal only for equal values, at any time."""
        folder, catalog = self._store()
        entry, current = self._entry, self._current_entry(catalog)
        if current is not None and current.writable:
            return "numpack", uuid.uuid4().hex
        if entry.numpack0_file:
            files = self._hold_files(folder)
            seen = (
                uuid.uuid4().hex if files is None else identity_of(files.rows, is_numpack0=True)
            )
            return "numpack", seen, entry.stored, self._dropped_crc()
        digest = self._digest(folder, current).hex()
        revision = current.revision if current else entry.revision
        deleted = entry.dropped, self._dropped_crc()
        return "numpack", entry.id, str(entry.code), entry.stored, *deleted, revision, digest

    def hold(self) -> OpenFile | None:
        """Keep the rows as they are, as long as the result exists; see `Snapshot`.

        Returns
        -------
        OpenFile or None
            ``None`` if no writer changes the rows because they were dropped or saved again,
            or if they cannot be held, as in a folder of NumPack 0.x.

        Raises
        ------
        MovedError
            Rows were replaced since they were loaded or pickled.
        """
        folder, pause = self._store()[0], _PAUSE
        if folder is None:
            return None
        for _ in range(_ATTEMPTS):
            file, commit = self._try_to_hold(folder)
            if file is None or not journal.is_replacing(folder, commit):
                return file
            time.sleep(pause)
            pause *= 2
        with SharedLock(folder):
            return self._try_to_hold(folder)[0]

    def _try_to_hold(self, folder: Folder) -> tuple[OpenFile | None, int]:
        """Hold the data file, and read the log after that; return its last commit too."""
        file = self._open_mapped(folder)
        if file is None or not hold(file.descriptor):
            return None, 0
        _, catalog = self._store()
        current = self._current_entry(catalog)
        if catalog is None or current is None or current.writable:
            return None, 0
        if current.revision != self._entry.revision:
            name = f"the array {quoted(self._name)}" if self._name else "an array"
            msg = (
                f"rows of {name} of the store {self._path} were replaced in place since it was "
                "loaded or pickled; load it from the store again"
            )
            raise MovedError(msg, "replaced in place")
        return file, catalog.commit

    def _open_mapped(self, folder: Folder) -> OpenFile | None:
        """Open the data file by its name, if it is the one that is mapped."""
        try:
            file = folder.open_file(self._entry.data_file)
        except OSError:
            return None
        found = identity_of(file.descriptor, is_numpack0=False)
        return file if found == tuple(self._identity or ()) else None

    def _store(self) -> tuple[Folder | None, Catalog | None]:
        """Return the store's folder and its current catalog, each ``None`` if it is missing."""
        session = None if self._session is None else self._session()
        if session is not None:
            try:
                return session.folder, session.history.refresh()
            except (StoreError, RuntimeError):  # the session is closed
                pass
        try:
            folder = Folder(self._path)
        except OSError:
            return None, None
        return folder, state_of(folder)

    def _current_entry(self, catalog: Catalog | None) -> Entry | None:
        """Return the current entry of the array, unless it was dropped or saved again."""
        if catalog is None:
            return None
        entry = (
            catalog.arrays.get(self._name)
            if self._name
            else entry_by_id(catalog, self._entry.id)
        )
        known = self._entry.id, self._entry.numpack0_file
        return entry if entry is not None and (entry.id, entry.numpack0_file) == known else None

    def _digest(self, folder: Folder | None, current: Entry | None) -> bytes:
        memory, checksums = self._memory(), None
        if current is not None and folder is not None:
            checksums = read_checksums(folder, self._entry)
        if checksums is None:  # the files are unlinked
            checksums = checksum_blocks(memory, data_files.thread_count())[0]
        return digest_of(checksums, crc32(memory[len(memory) // BLOCK * BLOCK :]))

    def _memory(self) -> Array:
        """Return the bytes of the stored rows, none of which a user has written to."""
        pages = None if self._pages is None else self._pages()
        if self._stored is not None:
            return data_files.as_bytes(self._stored)
        nbytes = self._entry.nbytes
        if pages is None and self._files is not None:  # only private pages are mapped
            return map_open(os.dup(self._files.rows), self._path, nbytes, readable=True)
        return np.frombuffer(pages, np.uint8)[:nbytes]  # type: ignore[call-overload,no-any-return]  # buffers are typed from 3.12 on

    def _dropped_crc(self) -> int:
        if self._deleted is None or not self._entry.numpack0_file:
            return self._entry.dropped_crc
        return crc32(np.ascontiguousarray(self._deleted.stored_numbers(), "<i8"))

    def _hold_files(self, folder: Folder | None) -> _HeldFiles | None:
        """Keep the files open, so that other processes find them after they are unlinked."""
        if self._files is None and folder is not None:
            found = _HeldFiles.opened(folder, self._entry)
            known = self._identity
            if found is not None and (known is None or found.is_file(known)):
                self._files = found
        return self._files


class _HeldFiles:
    """Open descriptors of an array's files."""

    def __init__(self, rows: int, deleted: int) -> None:
        self.rows = rows
        self.deleted = deleted

    @classmethod
    def opened(cls, folder: Folder, entry: Entry) -> _HeldFiles | None:
        try:
            rows = folder.open(entry.data_file)
        except OSError:
            return None
        deleted = -1
        if entry.dropped and not entry.numpack0_file:
            try:
                deleted = folder.open(entry.dropped_file)
            except OSError:
                os.close(rows)
                return None
        return cls(rows, deleted)

    def is_file(self, identity: tuple[int, int]) -> bool:
        status = os.fstat(self.rows)
        return (status.st_dev, status.st_ino) == tuple(identity)

    def __del__(self, _is_exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        """Close the files; at exit the system does."""
        if _is_exiting():  # modules such as os may be gone
            return
        for descriptor in (self.rows, self.deleted):
            if descriptor >= 0:
                os.close(descriptor)


def state_of(folder: Folder) -> Catalog | None:
    """Read the state of a store; ``None`` if it has no readable log."""
    try:
        log = Log(folder, writable=False)
    except OSError:
        return None
    try:
        return log.catalog
    finally:
        log.close()


def entry_by_id(catalog: Catalog, identifier: str) -> Entry | None:
    """Return the entry of the array with an id."""
    return next((each for each in list(catalog.arrays.values()) if each.id == identifier), None)


def read_checksums(folder: Folder, entry: Entry) -> bytes | None:
    """Read the checksums of an array's whole blocks; ``None`` if the file is missing."""
    length = 4 * (entry.nbytes // BLOCK)
    if not length:
        return b""
    try:
        descriptor = folder.open(entry.checksum_file)
    except OSError:
        return None
    try:
        checksums = read_between(descriptor, 0, length)
    finally:
        os.close(descriptor)
    return checksums if len(checksums) == length else None


def digest_of(checksums: bytes, tail: int) -> bytes:
    """Return a digest of the checksums of the whole blocks and of the partial last one."""
    import hashlib  # noqa: PLC0415

    return hashlib.blake2b(checksums + tail.to_bytes(4, "little"), digest_size=16).digest()


def identity_of(descriptor: int, *, is_numpack0: bool) -> tuple[int, ...]:
    """Return device and inode of a file; for NumPack 0.x its size and time as well."""
    status = os.fstat(descriptor)
    identity = status.st_dev, status.st_ino
    return (*identity, status.st_size, status.st_mtime_ns) if is_numpack0 else identity


def path_of(folder: Folder) -> str:
    """Return the current path of an open folder, which may have been moved."""
    try:
        here, there = os.fstat(folder.descriptor), Path(folder.path).stat()
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            return folder.path
    except OSError:
        pass
    try:
        return str(Path(f"/proc/self/fd/{folder.descriptor}").readlink())
    except OSError:
        return folder.path
