"""Finding the rows that a pickled `LazyArray` refers to, or why they are not to be had."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..._core.mapped_files import map_open
from ...errors import MovedError
from ..format import data_files
from ..format.catalog import Entry
from ..format.naming import quoted
from ..format.numpack0 import reader
from ..format.schema import encode_dtype
from ..fs.directory import Folder, read_between
from ..kernels.checksums import BLOCK, crc32
from ..rows import deleted_rows
from .reference import (
    Reference,
    Sent,
    boot_id,
    digest_of,
    entry_by_id,
    identity_of,
    state_of,
    stored_checksums,
)

if TYPE_CHECKING:
    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from ..rows.deleted_rows import Dropped


def found_again(sent: Sent, dtype: DType) -> tuple[Array, Reference, Dropped | None]:
    """Map the rows that a reference leads to.

    Raises
    ------
    MovedError
        They are not to be had. It tells why.
    """
    search = _Search(sent, dtype)
    descriptor = search.rows()
    nbytes = search.entry.nbytes
    try:
        memory = map_open(
            descriptor, f"{sent.path}/{search.entry.data_file}", nbytes, readable=True
        )
    except ValueError:
        raise search.refused("another copy", "its file is shorter than it was") from None
    stored = data_files.as_rows(memory, dtype, sent.shape)
    gone = search.dropped() if sent.dropped else None
    return stored, Reference(sent.path, sent.name, search.entry, stored, gone), gone


class _Search:
    """Looks for the files of a reference."""

    def __init__(self, sent: Sent, dtype: DType) -> None:
        self._sent = sent
        self.entry = Entry(
            sent.id,
            encode_dtype(dtype),
            sent.shape,
            modified=0,
            dropped=sent.dropped,
            dropped_crc=sent.dropped_crc,
            revision=sent.revision,
            numpack0_file=sent.numpack0_file,
        )
        self._folder: Folder | None = None
        self._reason, self._why = "missing", "there is no such path"

    def rows(self) -> int:
        """Open the data file."""
        found = self._at_path()
        if found is None:
            found = self._of_process(self._sent.descriptors[0], self._sent.file)
        if found is None:
            raise self.refused(self._reason, self._why)
        return found

    def dropped(self) -> Dropped:
        """Read the list of the rows that were dropped when the reference was made."""
        sent, entry = self._sent, self.entry
        if sent.numpack0_file:
            return self._old_dropped()
        if self._folder is not None:
            try:
                return deleted_rows.read(self._folder, entry)
            except OSError:
                pass
        descriptor = self._of_process(sent.descriptors[1])
        if descriptor is not None:
            try:
                listed = read_between(descriptor, 0, 8 * sent.dropped)
            finally:
                os.close(descriptor)
            if crc32(listed) == sent.dropped_crc:
                rows = np.sort(np.frombuffer(listed, "<i8").astype(np.int64))
                return deleted_rows.Dropped(rows, sent.shape[0])
        raise self.refused("another copy", "its list of dropped rows is another")

    def refused(self, reason: str, why: str) -> MovedError:
        """Return the error for rows that are not to be had."""
        name = f"the array {quoted(self._sent.name)}" if self._sent.name else "an array"
        return MovedError(
            f"{name} of the store {self._sent.path}, which was pickled by reference, has "
            f"moved: {why}; load it from the store again, and pickle it again",
            reason,
        )

    def _at_path(self) -> int | None:
        """Open the file at the path, if it holds the rows; else keep in mind why not."""
        try:
            self._folder = Folder(self._sent.path)
            descriptor = self._folder.open(self.entry.data_file)
        except PermissionError:
            self._reason, self._why = "permission", "there is no permission to read it"
            return None
        except OSError:
            if self._folder is not None:
                self._reason, self._why = self._fate(self._folder)
            return None
        why = self._difference(self._folder, descriptor)
        if not why:
            return descriptor
        os.close(descriptor)
        self._reason, self._why = why
        return None

    def _difference(self, folder: Folder, descriptor: int) -> tuple[str, str] | None:
        """Return why the file at the path does not hold the rows; ``None`` if it does."""
        sent = self._sent
        is_same = (
            identity_of(descriptor, is_numpack0=bool(sent.numpack0_file))[:2] == sent.file[:2]
        )
        other = "another copy", "another copy of the store is there, and its rows are others"
        if sent.numpack0_file:
            size_and_time = identity_of(descriptor, is_numpack0=True)[2:]
            return None if is_same or size_and_time == sent.file[2:] else other
        if sent.digest and self._holds_rows(folder, descriptor):
            return None
        state = state_of(folder)
        entry = None if state is None else entry_by_id(state, sent.id)
        if entry is None:
            return self._fate(folder)
        if is_same and (entry.revision > sent.revision or entry.writable or not sent.digest):
            return None  # rows were replaced in place, which shows in the original too
        if entry.revision > sent.revision:
            return "replaced in place", "rows of it were replaced in place"
        return other

    def _holds_rows(self, folder: Folder, descriptor: int) -> bool:
        nbytes = self.entry.nbytes
        sums = stored_checksums(folder, self.entry)
        tail = read_between(descriptor, nbytes // BLOCK * BLOCK, nbytes)
        if sums is None or len(tail) < nbytes % BLOCK:
            return False
        return digest_of(sums, crc32(tail)) == self._sent.digest

    def _fate(self, folder: Folder) -> tuple[str, str]:
        """Return what became of an array whose file is not there."""
        sent, state = self._sent, state_of(folder)
        if state is None:
            return "missing", "there is no store there, or it was upgraded"
        if state.token != sent.id.partition("-")[2]:
            return "another store", "another store is there"
        if state.commit < sent.commit:
            return "another copy", "an older copy of the store is there"
        if sent.name in state.arrays:
            return "saved anew", "it was saved anew since"
        return "dropped", "it was dropped since"

    def _of_process(self, number: int, identity: tuple[int, ...] | None = None) -> int | None:
        """Open a file through the process that made the reference, if that still runs."""
        sent = self._sent
        if number < 0 or not sent.boot or sent.boot != boot_id():
            return None
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(f"/proc/{sent.pid}/fd/{number}", flags)
        except OSError:
            return None
        if identity is not None and identity_of(descriptor, is_numpack0=False) != identity[:2]:
            os.close(descriptor)
            return None
        return descriptor

    def _old_dropped(self) -> Dropped:
        try:
            arrays = reader.read(Path(self._sent.path))
        except OSError:
            arrays = {}
        for each in arrays.values():
            if (
                each.file == self._sent.numpack0_file
                and len(each.dropped) == self._sent.dropped
            ):
                rows = np.ascontiguousarray(each.dropped, "<i8")
                if crc32(rows) == self._sent.dropped_crc:
                    return deleted_rows.Dropped(each.dropped, self._sent.shape[0])
        why = "its rows were dropped or the store was upgraded since"
        raise self.refused("another copy", why)
