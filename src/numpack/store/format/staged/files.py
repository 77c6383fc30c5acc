"""The files of a parallel write: their names, locks and removal.

The rows of an array that is not committed yet are in a file of another name. A parallel write
ends when that file loses the name, because it is committed under its id or removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import threading
import time
from typing import TYPE_CHECKING

from ....errors import CorruptStoreError, StoreError, WriteEndedError
from ...fs.directory import DATA, read_between, write_all
from ...fs.errors import store_error
from ...fs.lock_errors import lock_timeout_error, no_locks_error, reentrant_error
from ...fs.syscalls import OpenFile, size_of
from ...kernels.checksums import BLOCK
from .. import data_files
from ..dtype_codes import InvalidRecordError
from . import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...._core.memory import Array
    from ...fs.directory import Folder
    from ..log.state import Entry

PREFIX = "staged-"
_NAME = re.compile(r"(staged-[0-9a-f]{16}-([0-9a-f]{8}))\.(?:bin|sum|rows)", re.ASCII)
_MAX_PAUSE = 0.02  # seconds between two attempts to acquire a lock
_CHECKSUM_BYTES = 4


class StagedFiles:
    """The files of a parallel write, open in this process.

    While they are open they are not removed as abandoned: a shared lock (`flock`) on the file
    of records shows that the process is alive.

    Parameters
    ----------
    folder : Folder
    stem : str
        Their name without the extension.

    Raises
    ------
    MissingFileError
        They do not exist.
    """

    def __init__(self, folder: Folder, stem: str) -> None:
        self.folder = folder
        self.stem = stem
        self._moved: list[tuple[str, str]] = []  # old and new names, by `move_to`
        self._gates: dict[OpenFile, int] = {}  # in use, and the thread that does
        self._records = folder.open_file(self._path("rows"), os.O_RDWR | os.O_APPEND)
        _lock(self._records.descriptor, fcntl.LOCK_SH, folder)
        self._data = folder.open_file(self._path("bin"), os.O_RDWR)

    @classmethod
    def create(cls, folder: Folder, token: str, checksums: int) -> StagedFiles:
        """Create the files of a new parallel write. Requires the store's lock.

        Parameters
        ----------
        folder : Folder
        token : str
            Of the store.
        checksums : int
            Number of whole blocks of the array.
        """
        stem = f"{PREFIX}{os.urandom(8).hex()}-{token}"
        try:
            for extension in ("rows", "bin", "sum"):
                descriptor = folder.new(f"{DATA}/{stem}.{extension}")
                try:
                    if extension == "sum":
                        os.ftruncate(descriptor, _CHECKSUM_BYTES * checksums)
                finally:
                    os.close(descriptor)
            return cls(folder, stem)
        except BaseException:
            with contextlib.suppress(OSError):
                _remove(folder, stem)
            raise

    @property
    def token(self) -> str:
        """The token of the store for which they were created."""
        return self.stem.rpartition("-")[2]

    @property
    def data(self) -> int:
        """The descriptor of the data file."""
        return self._data.descriptor

    def close_inherited(self) -> None:
        """Close a forked child's copies of the descriptors, and with them its locks."""
        for file in (self._records, self._data, *list(self._gates)):
            file.close()
        self._gates.clear()

    def has_ended(self) -> bool:
        """Return whether the parallel write has been committed or aborted."""
        return not self.folder.is_named(self.data, self._path("bin"))

    @contextlib.contextmanager
    def locked(self, *, exclusive: bool) -> Iterator[int]:
        """Exclude the end of the parallel write, or all writes to it (`exclusive`).

        Yields
        ------
        int
            The descriptor of the checksums. It is locked, and was opened for this call alone:
            the locks of two threads of a process exclude each other as well.

        Raises
        ------
        WriteEndedError
            It has ended.
        LockTimeoutError
            The lock could not be acquired within the `lock_timeout`.
        """
        if threading.get_ident() in list(self._gates.values()):
            raise reentrant_error(self.folder.path)
        try:
            gate = self.folder.open_file(self._path("sum"), os.O_RDWR)
        except FileNotFoundError:
            raise ended_error(self.folder.path) from None
        self._gates[gate] = threading.get_ident()
        try:
            _lock(gate.descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, self.folder)
            if self.has_ended():
                raise ended_error(self.folder.path)
            yield gate.descriptor
        finally:
            self._gates.pop(gate, None)
            _unlock(gate)

    def write(self, first: int, stop: int, width: int, chunks: Iterable[Array]) -> None:
        """Write rows and their checksums, and record that they are complete.

        Parameters
        ----------
        first, stop : int
            The first row, and the one after the last.
        width : int
            Bytes of a row.
        chunks : iterable of ndarray
            The rows, see `data_files.chunks_of`.
        """
        with self.locked(exclusive=False) as gate:
            identifier, offset = os.urandom(8).hex(), first * width
            self._record(records.begun(identifier, first, stop))
            checksums, tail = data_files.write_chunks(self.data, chunks, offset, 0)
            head, block = 0, offset // BLOCK
            if checksums and offset % BLOCK:
                head, block = int.from_bytes(checksums[:_CHECKSUM_BYTES], "little"), block + 1
                checksums = checksums[_CHECKSUM_BYTES:]
            if checksums:
                write_all(gate, checksums, _CHECKSUM_BYTES * block)
            self._record(records.done(identifier, head, tail))

    def read_records(self, rows: int) -> list[records.Write]:
        """Return the writes that are recorded, of an array of so many rows."""
        descriptor = self._records.descriptor
        size = size_of(descriptor)
        if size > records.LIMIT:
            raise self.damaged_error("rows", f"it has more than {records.LIMIT:,} bytes")
        try:
            return records.parse(read_between(descriptor, 0, size), rows)
        except InvalidRecordError as error:
            raise self.damaged_error("rows", str(error)) from None

    def damaged_error(self, extension: str, why: str) -> CorruptStoreError:
        """Return the error for one of the files that is damaged."""
        return CorruptStoreError(
            f"the file {self.folder.path}/{self._path(extension)} of a parallel write is "
            f"damaged: {why}; abort the write, and begin another one"
        )

    def move_to(self, entry: Entry) -> None:
        """Rename the data file and the checksums to the names in the entry of a commit."""
        names = [("bin", entry.data_file), ("sum", entry.checksum_file)]
        for extension, new in names if entry.nbytes >= BLOCK else names[:1]:
            self.folder.unlink(new)  # an orphan
            if self.folder.has(new):
                error = FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                raise store_error(f"{self.folder.path}/{new}", error)
            self._moved.append((self._path(extension), new))
            self.folder.rename(*self._moved[-1])

    def move_back(self) -> None:
        """Undo `move_to`, also one that failed."""
        while self._moved:
            old, new = self._moved.pop()
            if not self.folder.has(old):
                self.folder.rename(new, old)

    def remove(self) -> None:
        """Remove the files that still have their names."""
        _remove(self.folder, self.stem)

    def _path(self, extension: str) -> str:
        return f"{DATA}/{self.stem}.{extension}"

    def _record(self, line: bytes) -> None:
        if os.write(self._records.descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def remove_abandoned(folder: Folder, names: Iterable[str], token: str) -> None:
    """Remove the files of parallel writes that no process has open. Requires the store's lock.

    Parameters
    ----------
    folder : Folder
    names : iterable of str
        Names in the folder of the data files.
    token : str
        Of the store. Files with another one are not touched.
    """
    for stem in _stems(names, token):
        with _exclusive(folder, stem) as is_abandoned:
            if is_abandoned:
                _remove(folder, stem)


def remove_all(folder: Folder, names: Iterable[str], token: str) -> None:
    """Remove the files of all parallel writes to a store, which thereby end."""
    for stem in _stems(names, token):
        _remove(folder, stem)


def _stems(names: Iterable[str], token: str) -> set[str]:
    staged = (name for name in names if name.startswith(PREFIX))
    matches = (_NAME.fullmatch(name) for name in staged)
    return {match[1] for match in matches if match and match[2] == token}


@contextlib.contextmanager
def _exclusive(folder: Folder, stem: str) -> Iterator[bool]:
    """Yield whether no process has the files open; none can open them meanwhile."""
    try:
        file = folder.open_file(f"{DATA}/{stem}.rows", os.O_RDWR)
    except FileNotFoundError:
        yield True  # they were about to be created, or removed
        return
    except StoreError:  # another user's, or not a regular file
        yield False
        return
    with file as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _remove(folder: Folder, stem: str) -> None:
    """Remove files; that of the records last, since it shows that the others may exist."""
    with contextlib.suppress(CorruptStoreError):  # missing, or not a regular file
        folder.unlink_large(f"{DATA}/{stem}.bin")
    folder.unlink(f"{DATA}/{stem}.sum")
    folder.unlink(f"{DATA}/{stem}.rows")


def _lock(descriptor: int, operation: int, folder: Folder) -> None:
    """Acquire a lock, within the `lock_timeout` of the folder."""
    seconds = folder.lock_timeout
    until, pause = time.monotonic() + (seconds or 0), 0.0005
    while True:
        try:
            fcntl.flock(descriptor, operation | (0 if seconds is None else fcntl.LOCK_NB))
        except BlockingIOError:
            left = until - time.monotonic()
            if left <= 0:
                status = os.fstat(descriptor)
                raise lock_timeout_error(
                    folder.path, seconds or 0, status.st_dev, status.st_ino
                ) from None
            time.sleep(min(pause, left))
            pause = min(2 * pause, _MAX_PAUSE)
        except OSError as error:
            raise no_locks_error(folder.path, error.errno or 0) from error
        else:
            return


def _unlock(file: OpenFile) -> None:
    """Release a lock even if a forked child has a copy of the descriptor; close the file."""
    try:
        if file.descriptor >= 0:
            fcntl.flock(file.descriptor, fcntl.LOCK_UN)
    except OSError:  # closing it releases the lock, unless there is a copy
        pass
    finally:
        file.close()


def ended_error(path: str) -> WriteEndedError:
    """Return the error for a parallel write that has ended."""
    return WriteEndedError(
        f"the parallel write to the store {path} has ended: it was committed or aborted; begin "
        "another one (NumPack.begin)"
    )
