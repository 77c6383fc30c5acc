"""The cache of data files that a writer keeps open between changes."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._core.file_mapping import SHARED, FileMapping
from ..._core.pages import (
    allocate,
    first_hole,
    is_written_in_place,
    reading_may_allocate,
)
from ..fs.syscalls import has_name, is_held, size_of
from ..kernels.checksums import BLOCK
from ..kernels.patch import pwrite_rows, scatter, touch
from . import data_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._core.memory import Array
    from ..fs.directory import Folder
    from ..fs.syscalls import OpenFile
    from ..rows.deleted_rows import Numbers
    from .log.state import Entry

_LIMIT = 16  # files kept open
_PAGE = 4096  # bytes; file systems rarely have larger blocks, and then this is part of one


class _Open(NamedTuple):
    file: OpenFile
    memory: Array  # mapping of all committed bytes; empty until it is needed


class OpenFiles:
    """The most recently written files. All methods require the store's lock.

    Parameters
    ----------
    folder : Folder
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files: dict[str, _Open] = {}
        self._pinned: set[str] = set()
        self._dense: dict[str, int] = {}  # id: bytes at the start known to have no holes

    def close(self) -> None:
        """Close all files."""
        self._dense.clear()
        while self._files:
            self._files.popitem()[1].file.close()

    @property
    def are_open(self) -> bool:
        """Whether any file is open."""
        return bool(self._files)

    def forget(self, entry: Entry) -> None:
        """Close the files of a removed array, so that their disk space is freed."""
        for name in (entry.id, entry.checksum_file, entry.dropped_file):
            self._close(name)

    def close_unlinked(self) -> None:
        """Close all files that were unlinked, for example by another handle."""
        for name, each in list(self._files.items()):
            if os.fstat(each.file.descriptor).st_nlink == 0:
                self._close(name)

    def release_cached(self) -> None:
        """Close all files except those that are `pinned`; they are reopened when needed."""
        for name in self._files.keys() - self._pinned:
            self._close(name)

    @contextlib.contextmanager
    def pinned(self, name: str) -> Iterator[None]:
        """Prevent a file from being closed when others are opened."""
        self._pinned.add(name)
        try:
            yield
        finally:
            self._pinned.discard(name)

    def _close(self, name: str) -> None:
        self._dense.pop(name, None)
        known = self._files.pop(name, None)
        if known is not None:
            known.file.close()

    def descriptor(self, entry: Entry) -> int:
        """Return the descriptor of a data file, open for writing.

        Raises
        ------
        CorruptStoreError
            The file is missing or too short.
        """
        found = self._files.get(entry.id)
        if found is None:
            found = self._keep(entry.id, data_files.open_committed(self._folder, entry))
        return found.file.descriptor

    def current(self, entry: Entry) -> int:
        """Return the descriptor of a data file; reopen it if another file has its name."""
        self._close_if_replaced(entry.id, entry.data_file)
        return self.descriptor(entry)

    def is_held(self, entry: Entry) -> bool:
        """Return whether a snapshot holds a data file, so that no row may change in place."""
        return is_held(self.descriptor(entry))

    def named(self, name: str, *, check_name: bool = True) -> int:
        """Return the descriptor of another file of the store, open for writing.

        Parameters
        ----------
        name : str
            The file is created if it does not exist.
        check_name : bool
            Whether to check that the open file still has the name.
        """
        if check_name:
            self._close_if_replaced(name, name)
        found = self._files.get(name)
        if found is None:
            found = self._keep(name, self._folder.open_file(name, os.O_RDWR | os.O_CREAT))
        return found.file.descriptor

    def _close_if_replaced(self, key: str, name: str) -> None:
        """Close a file whose name now belongs to another one, such as a restored backup."""
        found = self._files.get(key)
        if found is None:
            return
        if not has_name(found.file.descriptor, self._folder.descriptor, name.encode()):
            self._close(key)

    def checksums(self, entry: Entry) -> Array:
        """Read the checksums of all blocks of a data file."""
        whole = entry.nbytes // BLOCK
        content = b""
        if whole:
            file = self.named(entry.checksum_file)
            if size_of(file) < 4 * whole:
                raise data_files.missing_checksums_error(self._folder, entry)
            content = os.pread(file, 4 * whole, 0)
            if len(content) < 4 * whole:
                raise data_files.missing_checksums_error(self._folder, entry)
        return data_files.checksums_from(content, entry)

    def memory(self, entry: Entry) -> Array:
        """Return the committed bytes of a data file, mapped; for reading only."""
        descriptor, nbytes = self.descriptor(entry), entry.nbytes
        memory = self._files[entry.id].memory
        if size_of(descriptor) < nbytes:  # accessing pages beyond the end raises SIGBUS
            raise data_files.too_short_error(self._folder, entry)
        if len(memory) < nbytes:
            if reading_may_allocate(descriptor, nbytes):
                allocate(descriptor, 0, nbytes)
            path = f"{self._folder.path}/{entry.data_file}"
            mapping = FileMapping(descriptor, nbytes, path, SHARED)
            memory = np.frombuffer(mapping, np.uint8)  # type: ignore[call-overload]  # buffers are typed from 3.12 on
            self._files[entry.id] = self._files[entry.id]._replace(memory=memory)
        return memory[:nbytes]

    def reserve(self, entry: Entry, rows: Numbers, width: int) -> None:
        """Allocate missing blocks for rows that are about to be written in place.

        A file that was copied with holes in place of zeros (``cp --sparse``) lacks some.

        Raises
        ------
        OSError
            For example, the disk is full.
        """
        if self._is_dense(entry):
            return
        descriptor = self.descriptor(entry)
        first, last = rows * width // _PAGE, ((rows + 1) * width - 1) // _PAGE
        most = int((last - first).max()) + 1
        pages = np.unique(np.minimum(first[:, None] + np.arange(most), last[:, None]))
        for run in np.split(pages, np.flatnonzero(np.diff(pages) != 1) + 1):
            allocate(descriptor, int(run[0]) * _PAGE, len(run) * _PAGE)

    def fill(self, entry: Entry) -> None:
        """Ensure that every byte can be written through a mapping.

        Raises
        ------
        OSError
            For example, the disk is full; or the file system copies blocks on write and has
            too little free space to copy all of them.
        """
        descriptor = self.descriptor(entry)
        if not self._is_dense(entry):
            allocate(descriptor, 0, entry.nbytes)
        system = os.fstatvfs(descriptor)
        free = system.f_bavail * system.f_frsize
        if entry.nbytes > free and not is_written_in_place(descriptor):
            msg = (
                f"{os.strerror(errno.ENOSPC)}: {entry.nbytes:,} bytes may be needed to write "
                f"to a mapping of {self._folder.path}/{entry.data_file}, and {free:,} are free"
            )
            raise OSError(errno.ENOSPC, msg)

    def overwrite(self, entry: Entry, rows: Numbers, width: int, fresh: Array) -> None:
        """Write rows in place, through a mapping where that cannot fail on a full disk.

        A row written through the mapping costs a tenth of a `pwrite`, which iterates over all
        blocks of the large folios in the page cache.
        """
        if self._is_written_through_mapping(entry):
            scatter(self.memory(entry), rows, width, fresh)
        else:
            pwrite_rows(self.descriptor(entry), rows, width, fresh)

    def touch(self, entry: Entry, rows: Numbers, width: int, fresh: Array) -> None:
        """Prepare for `overwrite` before rows are read: fewer page faults are needed."""
        if self._is_written_through_mapping(entry):
            touch(self.memory(entry), rows, width, fresh)

    def _is_written_through_mapping(self, entry: Entry) -> bool:
        return is_written_in_place(self.descriptor(entry)) and self._is_dense(entry)

    def _is_dense(self, entry: Entry) -> bool:
        """Return whether all committed bytes of a data file have blocks on the disk."""
        known = self._dense.get(entry.id, 0)
        if known < entry.nbytes:
            known = first_hole(self.descriptor(entry), known, entry.nbytes)
            self._dense[entry.id] = known
        return known >= entry.nbytes

    def _keep(self, name: str, file: OpenFile) -> _Open:
        others = [known for known in self._files if known not in self._pinned]
        for oldest in others[: max(0, len(self._files) - _LIMIT + 1)]:
            self._close(oldest)
        opened = self._files[name] = _Open(file, np.empty(0, np.uint8))
        return opened
