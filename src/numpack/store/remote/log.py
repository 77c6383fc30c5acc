"""The log of a store in an object store: its last snapshot and the commits after it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import (
    CorruptStoreError,
    MissingFileError,
    StoreError,
    StoreNotFoundError,
    UnsupportedError,
)
from ..format import journal
from ..format.folder import HEADER, read_header
from ..format.log.line_writer import add_checksum
from ..format.log.log import Log, closed_error
from ..format.log.reader import NAME as LOG
from ..format.log.state import Catalog
from ..format.naming import listed
from ..format.numpack0.files import METADATA as NUMPACK0_METADATA
from .folder import RemoteFolder

if TYPE_CHECKING:
    from ...object_store import ObjectStore

_TAIL_BYTES = 64 << 10
_SNAPSHOT = b'\n{"store":'
_HEADER_LINE = b'{"numpack":1,"commits":%-20d' % 0  # of a log of which only the end is read
_CLEARED = b"\n"


class RemoteLog:
    """A log as of the commit at which it was opened, with the interface of a read-only `Log`.

    Parameters
    ----------
    store : ObjectStore

    Attributes
    ----------
    folder : RemoteFolder

    Raises
    ------
    StoreNotFoundError, NotAStoreError, NewerFormatError, CorruptStoreError
        There is no store, or it cannot be read.
    UnsupportedError
        It was copied there while it was being written, or is one of NumPack 0.x.
    """

    openings = 1

    def __init__(self, store: ObjectStore) -> None:
        with ThreadPoolExecutor(2) as threads:  # the two requests of an opening
            header = threads.submit(store.read, HEADER)
            tail = threads.submit(store.read_tail, LOG, _TAIL_BYTES)
        try:
            read_header(header.result()[0], store.location)
        except MissingFileError:
            raise _missing_error(store) from None
        try:
            self.folder, self._log = _opened(store, _lines(store, *tail.result()))
        except MissingFileError:
            msg = f"the store {store.location} is damaged: {LOG} is missing; publish it again"
            raise CorruptStoreError(msg) from None
        found = self._log.catalog
        self._catalog: Catalog | None = Catalog(
            found.token, found.commit, found.next_id, found.arrays, attrs=found.attrs
        )
        try:
            _check_standing(store, found)
        except BaseException:
            self.close()
            raise

    def refresh(self) -> Catalog:
        """Return the catalog, which does not change; raise if the log is closed."""
        if self._catalog is None:
            raise closed_error(self.folder.path)
        return self._catalog

    def after_fork(self) -> None:
        """Reset the lock of the log."""
        self._log.after_fork()

    def damage(self) -> list[str]:
        """Check every line that was read."""
        return self._log.damage()

    def close(self) -> None:
        """Close the log."""
        self._catalog = None
        self._log.close()


def _lines(store: ObjectStore, tail: bytes, version: object) -> bytes:
    """Return the log from its last snapshot on, with a header line."""
    size: int = version.size  # type: ignore[attr-defined]  # of a Version
    while True:
        at = tail.rfind(_SNAPSHOT, 0, tail.rfind(b"\n") + 1) + 1
        if len(tail) >= size:
            return tail
        if at:
            return add_checksum(_HEADER_LINE) + tail[at:]
        length = len(tail)
        tail, version = store.read_tail(LOG, min(size, 8 * length + _TAIL_BYTES))
        size = version.size
        if len(tail) <= length:  # the log was replaced meanwhile
            return tail


def _opened(store: ObjectStore, content: bytes) -> tuple[RemoteFolder, Log]:
    """Open the log as a local one, which validates it, in a folder that is removed at once."""
    path = _temporary_folder(len(content))
    try:
        (Path(path) / LOG).write_bytes(content)
        folder = RemoteFolder(path, store)
        return folder, Log(folder, writable=False)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"the log of {store.location} cannot be kept: {error}") from error
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _temporary_folder(nbytes: int) -> str:
    """Create a folder for a file of some bytes where there is room."""
    places = [each for each in (tempfile.gettempdir(), "/dev/shm") if os.path.isdir(each)]  # noqa: S108, PTH112 -- memory
    for place in places[:-1]:
        with contextlib.suppress(OSError):
            status = os.statvfs(place)
            if status.f_bavail * status.f_frsize > 2 * nbytes + (1 << 16):
                return tempfile.mkdtemp(prefix="numpack-", dir=place)
    return tempfile.mkdtemp(prefix="numpack-", dir=places[-1] if places else None)


def _missing_error(store: ObjectStore) -> StoreError | UnsupportedError:
    """Return the error for a location that has no header."""
    try:
        store.read_many([(NUMPACK0_METADATA, -1, -1)])
    except MissingFileError:
        msg = f"there is no store at {store.location}; publish one with NumPack.publish"
        return StoreNotFoundError(msg)
    reason = "it is a folder of NumPack 0.x, which is read from local folders only"
    fix = "copy it, upgrade it with NumPack(path, upgrade=True), and publish it"
    msg = f"{store.location} cannot be opened: {reason}; {fix}"
    return UnsupportedError(msg, reason=reason, fix=fix)


def _check_standing(store: ObjectStore, catalog: Catalog) -> None:
    """Refuse a copy of a store that was made while rows were written in place."""
    writable = [name for name, each in catalog.arrays.items() if each.writable]
    reason = ""
    if writable:
        names = listed(writable)
        reason = f"it was copied while arrays were open in writable_batch_mode: {names}"
    elif catalog.journal is not None and not _is_cleared(store):
        reason = "it was copied while rows were replaced, and its journal has the new ones"
    if reason:
        fix = "open the local store, which completes the change, and publish it"
        msg = f"the store {store.location} cannot be read: {reason}; {fix}"
        raise UnsupportedError(msg, reason=reason, fix=fix)


def _is_cleared(store: ObjectStore) -> bool:
    """Return whether the journal was cleared, which its first byte shows."""
    try:
        return not store.read_many([(journal.NAME, -1, -1)])[0].startswith(b"{")
    except MissingFileError:
        return True
