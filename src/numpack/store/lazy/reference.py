"""References to stored arrays: how a pickled `LazyArray` finds its rows, or is refused.

A reference never leads to the rows of another array. The file at its path is taken if it is the
same file, or if revision and checksums show that it holds the same rows; a file that was
unlinked since is found through the process that made the reference, while that has it mapped.
"""

from __future__ import annotations

import os
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..._core.file_mapping import origin_of
from ...errors import StoreError
from ..format import data_files
from ..format.log import Log
from ..fs.directory import Folder, read_between
from ..kernels.checksums import BLOCK, checksum_blocks, crc32

if TYPE_CHECKING:
    from ..._core.memory import Array
    from ..format.catalog import Catalog, Entry
    from ..rows.deleted_rows import Dropped
    from ..session import Session

_SHORT = 100  # characters of a name that is sent, so that a message can tell what became of it
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Sent(NamedTuple):
    """What is pickled of a reference; plain values, of a few hundred bytes."""

    path: str  # of the store
    commit: int
    name: str  # empty if it is long
    id: str
    numpack0_file: str
    shape: tuple[int, ...]
    revision: int
    digest: bytes  # of the checksums of the rows; empty if they may change at any time
    dropped: int
    dropped_crc: int
    file: tuple[int, ...]  # device and inode; of a folder of 0.x size and time as well
    boot: str
    pid: int
    descriptors: tuple[int, int]  # of the rows and of the list of dropped rows, or -1
    nonce: str  # differs each time while somebody writes to the rows in place


class Reference:
    """Where the rows of a `LazyArray` come from.

    Parameters
    ----------
    path : str
        The store's folder when it was opened.
    name : str
    entry : Entry
    stored : ndarray
        The mapped rows, dropped ones included.
    gone : Dropped or None
    session : Session or None
    """

    def __init__(
        self,
        path: str,
        name: str,
        entry: Entry,
        stored: Array,
        gone: Dropped | None,
        session: Session | None = None,
    ) -> None:
        self._path = path
        self._name = name
        self._entry = entry
        self._stored = stored
        self._gone = gone
        self._session = None if session is None else weakref.ref(session)
        self._held: _Held | None = None

    def sent(self) -> Sent | None:
        """Return what another process needs to find the rows; ``None`` if it never could."""
        folder, state = self._store()
        held = self._hold(folder)
        if held is None:
            return None
        entry, now = self._entry, self._now(state)
        writable = now.writable if now else False
        return Sent(
            self._path if folder is None else path_of(folder),
            0 if state is None else state.commit,
            self._name if len(self._name) <= _SHORT else "",
            entry.id,
            entry.numpack0_file,
            entry.stored,
            now.revision if now else entry.revision,
            b"" if writable or entry.numpack0_file else self._digest(folder, now),
            entry.dropped,
            self._dropped_crc(),
            identity_of(held.rows, is_numpack0=bool(entry.numpack0_file)),
            boot_id(),
            os.getpid(),
            (held.rows, held.gone),
            uuid.uuid4().hex if writable else "",
        )

    def token(self) -> tuple[Any, ...]:
        """Return what is equal for equal values only, whenever it is asked for."""
        folder, state = self._store()
        entry, now = self._entry, self._now(state)
        if now is not None and now.writable:
            return "numpack", uuid.uuid4().hex
        if entry.numpack0_file:
            held = self._hold(folder)
            seen = (
                uuid.uuid4().hex if held is None else identity_of(held.rows, is_numpack0=True)
            )
            return "numpack", seen, entry.stored, self._dropped_crc()
        digest = self._digest(folder, now).hex()
        revision = now.revision if now else entry.revision
        gone = entry.dropped, self._dropped_crc()
        return "numpack", entry.id, str(entry.code), entry.stored, *gone, revision, digest

    def _store(self) -> tuple[Folder | None, Catalog | None]:
        """Return the store's folder and its state of this moment, as far as they are there."""
        session = None if self._session is None else self._session()
        if session is not None:
            try:
                return session.folder, session.history.refresh()
            except (StoreError, RuntimeError):  # it is closed
                pass
        try:
            folder = Folder(self._path)
        except OSError:
            return None, None
        return folder, state_of(folder)

    def _now(self, state: Catalog | None) -> Entry | None:
        """Return the present entry of the array, if it has not been dropped or saved anew."""
        if state is None:
            return None
        entry = (
            state.arrays.get(self._name) if self._name else entry_by_id(state, self._entry.id)
        )
        known = self._entry.id, self._entry.numpack0_file
        return entry if entry is not None and (entry.id, entry.numpack0_file) == known else None

    def _digest(self, folder: Folder | None, now: Entry | None) -> bytes:
        memory, sums = data_files.as_bytes(self._stored), None
        if now is not None and folder is not None:
            sums = stored_checksums(folder, self._entry)
        if sums is None:  # the file is unlinked, and so are its checksums
            sums = checksum_blocks(memory, data_files.thread_count())[0]
        return digest_of(sums, crc32(memory[len(memory) // BLOCK * BLOCK :]))

    def _dropped_crc(self) -> int:
        if self._gone is None or not self._entry.numpack0_file:
            return self._entry.dropped_crc
        return crc32(np.ascontiguousarray(self._gone.all(), "<i8"))

    def _hold(self, folder: Folder | None) -> _Held | None:
        """Keep the files open from now on, so that others find them when they are unlinked."""
        if self._held is None and folder is not None:
            found = _Held.opened(folder, self._entry)
            origin = origin_of(self._stored.ctypes.data) if self._stored.nbytes else None
            if found is not None and (origin is None or found.is_file(origin[2])):
                self._held = found
        return self._held


class _Held:
    """Descriptors of the files of an array."""

    def __init__(self, rows: int, gone: int) -> None:
        self.rows = rows
        self.gone = gone

    @classmethod
    def opened(cls, folder: Folder, entry: Entry) -> _Held | None:
        try:
            rows = folder.open(entry.data_file)
        except OSError:
            return None
        gone = -1
        if entry.dropped and not entry.numpack0_file:
            try:
                gone = folder.open(entry.dropped_file)
            except OSError:
                os.close(rows)
                return None
        return cls(rows, gone)

    def is_file(self, identity: tuple[int, int]) -> bool:
        status = os.fstat(self.rows)
        return (status.st_dev, status.st_ino) == tuple(identity)

    def __del__(self) -> None:
        """Close the files."""
        for descriptor in (self.rows, self.gone):
            if descriptor >= 0:
                os.close(descriptor)


def state_of(folder: Folder) -> Catalog | None:
    """Read the log of a store; ``None`` if there is none that can be read."""
    try:
        log = Log(folder, writable=False)
    except OSError:
        return None
    try:
        return log.catalog
    finally:
        log.close()


def entry_by_id(state: Catalog, identifier: str) -> Entry | None:
    """Return the entry of the array whose files have an id."""
    return next((each for each in list(state.arrays.values()) if each.id == identifier), None)


def stored_checksums(folder: Folder, entry: Entry) -> bytes | None:
    """Read the checksums of the whole blocks of an array; ``None`` if they are not there."""
    length = 4 * (entry.nbytes // BLOCK)
    if not length:
        return b""
    try:
        descriptor = folder.open(entry.checksum_file)
    except OSError:
        return None
    try:
        sums = read_between(descriptor, 0, length)
    finally:
        os.close(descriptor)
    return sums if len(sums) == length else None


def digest_of(sums: bytes, tail: int) -> bytes:
    """Return a digest of the checksums of whole blocks and of the bytes behind them."""
    import hashlib  # noqa: PLC0415

    return hashlib.blake2b(sums + tail.to_bytes(4, "little"), digest_size=16).digest()


def identity_of(descriptor: int, *, is_numpack0: bool) -> tuple[int, ...]:
    """Return device and inode of a file; of one of NumPack 0.x its size and time too."""
    status = os.fstat(descriptor)
    identity = status.st_dev, status.st_ino
    return (*identity, status.st_size, status.st_mtime_ns) if is_numpack0 else identity


def path_of(folder: Folder) -> str:
    """Return the present path of an open folder, which may have been moved."""
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


def boot_id() -> str:
    """Identify the run of the machine, in which numbers of processes and files hold."""
    try:
        return Path(_BOOT_ID).read_text(encoding="ascii").strip()
    except OSError:
        return ""
