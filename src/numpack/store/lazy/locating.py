"""Resolution of references: finds the rows of a pickled `LazyArray`, or reports why not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..._core.mapped_files import map_open
from ..._core.processes import boot_id
from ...errors import MovedError
from ..format import data_files
from ..format.log.state import Entry
from ..format.naming import quoted
from ..format.numpack0 import reader
from ..format.schema import encode_dtype
from ..fs.directory import Folder, read_between
from ..kernels.checksums import BLOCK, crc32
from ..rows import deleted_rows
from .reference import (
    PickledReference,
    Reference,
    digest_of,
    entry_by_id,
    identity_of,
    read_checksums,
    state_of,
)

if TYPE_CHECKING:
    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from ..rows.deleted_rows import DeletedRows


def map_reference(
    reference: PickledReference, dtype: DType
) -> tuple[Array, Reference, DeletedRows | None]:
    """Map the rows that a reference refers to.

    Raises
    ------
    MovedError
        The rows cannot be found; its ``reason`` says why.
    """
    resolver = _Resolver(reference, dtype)
    descriptor = resolver.open_rows()
    nbytes = resolver.entry.nbytes
    try:
        memory = map_open(
            descriptor, f"{reference.path}/{resolver.entry.data_file}", nbytes, readable=True
        )
    except ValueError:
        raise resolver.moved_error("another copy", "its file is shorter than it was") from None
    stored = data_files.as_rows(memory, dtype, reference.shape)
    deleted = resolver.read_deleted() if reference.dropped else None
    found = Reference(reference.path, reference.name, resolver.entry, stored, deleted)
    return stored, found, deleted


class _Resolver:
    """Finds the files of a reference."""

    def __init__(self, reference: PickledReference, dtype: DType) -> None:
        self._reference = reference
        self.entry = Entry(
            reference.id,
            encode_dtype(dtype),
            reference.shape,
            modified=0,
            dropped=reference.dropped,
            dropped_crc=reference.dropped_crc,
            revision=reference.revision,
            numpack0_file=reference.numpack0_file,
        )
        self._folder: Folder | None = None
        self._reason, self._detail = "missing", "there is no such path"

    def open_rows(self) -> int:
        """Open the data file; raise `MovedError` if it cannot be found."""
        found = self._open_at_path()
        if found is None:
            found = self._open_in_process(self._reference.descriptors[0], self._reference.file)
        if found is None:
            raise self.moved_error(self._reason, self._detail)
        return found

    def read_deleted(self) -> DeletedRows:
        """Read the rows that were deleted when the reference was pickled."""
        reference, entry = self._reference, self.entry
        if reference.numpack0_file:
            return self._read_numpack0_deleted()
        if self._folder is not None:
            try:
                return deleted_rows.read(self._folder, entry)
            except OSError:
                pass
        descriptor = self._open_in_process(reference.descriptors[1])
        if descriptor is not None:
            try:
                listed = read_between(descriptor, 0, 8 * reference.dropped)
            finally:
                os.close(descriptor)
            if crc32(listed) == reference.dropped_crc:
                rows = np.sort(np.frombuffer(listed, "<i8").astype(np.int64))
                return deleted_rows.DeletedRows(rows, reference.shape[0])
        raise self.moved_error("another copy", "its deleted-row list is a different one")

    def moved_error(self, reason: str, detail: str) -> MovedError:
        """Return the error for rows that cannot be found."""
        name = (
            f"the array {quoted(self._reference.name)}" if self._reference.name else "an array"
        )
        return MovedError(
            f"{name} of the store {self._reference.path}, which was pickled by reference, has "
            f"moved: {detail}; load it from the store again, and pickle it again",
            reason,
        )

    def _open_at_path(self) -> int | None:
        """Open the file at the path if it holds the rows; record the reason if it does not."""
        try:
            self._folder = Folder(self._reference.path)
            descriptor = self._folder.open(self.entry.data_file)
        except PermissionError:
            self._reason, self._detail = "permission", "there is no permission to read it"
            return None
        except OSError:
            if self._folder is not None:
                self._reason, self._detail = self._why_missing(self._folder)
            return None
        mismatch = self._find_mismatch(self._folder, descriptor)
        if mismatch is None:
            return descriptor
        os.close(descriptor)
        self._reason, self._detail = mismatch
        return None

    def _find_mismatch(self, folder: Folder, descriptor: int) -> tuple[str, str] | None:
        """Return why the file at the path does not hold the rows; ``None`` if it does."""
        reference = self._reference
        is_same = (
            identity_of(descriptor, is_numpack0=bool(reference.numpack0_file))[:2]
            == reference.file[:2]
        )
        other = "another copy", "another copy of the store is there, with different rows"
        if reference.numpack0_file:
            size_and_time = identity_of(descriptor, is_numpack0=True)[2:]
            return None if is_same or size_and_time == reference.file[2:] else other
        if reference.digest and self._holds_rows(folder, descriptor):
            return None
        catalog = state_of(folder)
        entry = None if catalog is None else entry_by_id(catalog, reference.id)
        if entry is None:
            return self._why_missing(folder)
        if is_same and (
            entry.revision > reference.revision or entry.writable or not reference.digest
        ):
            return None  # replaced rows are visible in the original array too
        if entry.revision > reference.revision:
            return "replaced in place", "rows were replaced in place"
        return other

    def _holds_rows(self, folder: Folder, descriptor: int) -> bool:
        nbytes = self.entry.nbytes
        sums = read_checksums(folder, self.entry)
        tail = read_between(descriptor, nbytes // BLOCK * BLOCK, nbytes)
        if sums is None or len(tail) < nbytes % BLOCK:
            return False
        return digest_of(sums, crc32(tail)) == self._reference.digest

    def _why_missing(self, folder: Folder) -> tuple[str, str]:
        """Return what happened to an array whose file is missing."""
        reference, catalog = self._reference, state_of(folder)
        if catalog is None:
            return "missing", "there is no store, or it was upgraded"
        if catalog.token != reference.id.partition("-")[2]:
            return "another store", "another store is there"
        if catalog.commit < reference.commit:
            return "another copy", "an older copy of the store is there"
        if reference.name in catalog.arrays:
            return "saved anew", "it was saved again since"
        return "dropped", "it was dropped since"

    def _open_in_process(
        self, number: int, identity: tuple[int, ...] | None = None
    ) -> int | None:
        """Open a file through the process that pickled the reference, if it still runs."""
        reference = self._reference
        if number < 0 or not reference.boot or reference.boot != boot_id():
            return None
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(f"/proc/{reference.pid}/fd/{number}", flags)
        except OSError:
            return None
        if identity is not None and identity_of(descriptor, is_numpack0=False) != identity[:2]:
            os.close(descriptor)
            return None
        return descriptor

    def _read_numpack0_deleted(self) -> DeletedRows:
        try:
            arrays = reader.read(Path(self._reference.path))
        except OSError:
            arrays = {}
        for each in arrays.values():
            if (
                each.file == self._reference.numpack0_file
                and len(each.dropped) == self._reference.dropped
            ):
                rows = np.ascontiguousarray(each.dropped, "<i8")
                if crc32(rows) == self._reference.dropped_crc:
                    return deleted_rows.DeletedRows(each.dropped, self._reference.shape[0])
        detail = "rows were deleted or the store was upgraded since"
        raise self.moved_error("another copy", detail)
