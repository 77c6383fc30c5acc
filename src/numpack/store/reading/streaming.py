"""Rows of arrays as of one commit, read in pieces from their files without mapping them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._core.mapped_files import mapping_of
from ..._core.memory import aligned_empty
from ...errors import CorruptStoreError
from ..format import data_files
from ..fs.directory import Folder
from ..fs.errors import store_error
from ..fs.syscalls import size_of
from ..lazy.array import stored_rows
from .snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._core.memory import Array
    from ..format.log.state import Entry
    from ..fs.syscalls import OpenFile
    from ..rows.deleted_rows import DeletedRows
    from ..session import Session

_WINDOW_BYTES = 8 << 20  # of stored rows among which live ones are looked for at a time


class CommittedRows(Snapshot):
    """The rows of arrays as of one commit, which no writer replaces meanwhile.

    Mapped pages count as memory of the process; what is read here does not stay. Arrays whose
    files do not have the committed rows at their beginning, as those of an object store, are
    mapped, and their pages are given up after each piece.

    Parameters
    ----------
    session : Session
    names : iterable of str, optional
        All arrays by default.
    """

    def __init__(self, session: Session, names: Iterable[str] | None = None) -> None:
        self._session = session
        self._opened: dict[str, tuple[OpenFile, DeletedRows | None]] = {}
        super().__init__(session, names)

    def close(self) -> None:
        """Release the files."""
        self._opened = {}
        super().close()

    def _use(self, session: Session, name: str, entry: Entry) -> None:
        is_plain = type(session.folder) is Folder and session.pending_change(entry) is None
        if not entry.nbytes or not is_plain:
            super()._use(session, name, entry)
            return
        file = session.folder.open_file(entry.data_file)
        self._hold(file, entry)
        if session.pending_change(entry) is not None:  # journaled before it was held
            super()._use(session, name, entry)
            return
        self._opened[name] = file, session.deleted_rows(entry)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Return live rows of an array, or all of a 0-d one, in memory of their own.

        Raises
        ------
        CorruptStoreError
            The data file is too short.
        """
        entry = self.catalog.arrays[name]
        if not entry.shape:
            return self._read_whole(name, entry)
        stop = entry.shape[0] if stop is None else stop
        if name not in self._opened:
            return self._read_mapped(name, start, stop)
        fresh = aligned_empty((stop - start, *entry.shape[1:]), entry.dtype)
        file, deleted = self._opened[name]
        try:
            if deleted is None:
                first = start * entry.row_nbytes
                data_files.read_exactly(file.descriptor, data_files.as_bytes(fresh), first)
            else:
                _read_live(file.descriptor, entry, deleted, start, fresh)
        except OSError as error:
            raise self._read_error(name, entry, error) from error
        return fresh

    def _read_whole(self, name: str, entry: Entry) -> Array:
        if name not in self._opened:
            return self.arrays[name].copied()
        fresh = aligned_empty((), entry.dtype)
        try:
            descriptor = self._opened[name][0].descriptor
            data_files.read_exactly(descriptor, data_files.as_bytes(fresh), 0)
        except OSError as error:
            raise self._read_error(name, entry, error) from error
        return fresh

    def _read_mapped(self, name: str, start: int, stop: int) -> Array:
        lazy = self.arrays[name]
        rows = lazy.take(slice(start, stop))
        mapping = mapping_of(stored_rows(lazy))
        if mapping is not None:
            mapping.unmap_pages()
        return rows

    def _read_error(self, name: str, entry: Entry, error: OSError) -> OSError:
        path = f"{self._session.folder.path}/{entry.data_file}"
        if size_of(self._opened[name][0].descriptor) < entry.nbytes:
            return CorruptStoreError(
                f"the data file {path} is damaged: it is shorter than the {entry.nbytes:,} "
                "bytes that it should have; restore it from a backup"
            )
        return store_error(path, error)


def _read_live(
    descriptor: int, entry: Entry, deleted: DeletedRows, start: int, fresh: Array
) -> None:
    """Fill an array with live rows, from number `start` on."""
    if not len(fresh):
        return
    width = entry.row_nbytes
    ends = deleted.to_stored(np.array([start, start + len(fresh) - 1], np.int64))
    low, high = int(ends[0]), int(ends[1]) + 1
    step = max(1, _WINDOW_BYTES // width)
    buffer = aligned_empty((min(step, high - low) * width,), np.dtype(np.uint8))
    out = data_files.as_bytes(fresh)
    for at in range(low, high, step):
        beyond = min(at + step, high)
        first, last = deleted.live_before(at), deleted.live_before(beyond)
        if first == last:
            continue
        part = buffer[: (beyond - at) * width]
        data_files.read_exactly(descriptor, part, at * width)
        live = out[(first - start) * width : (last - start) * width]
        deleted.copy_live(part, first, live.reshape(-1, width), offset=at)
