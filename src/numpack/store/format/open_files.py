"""Data files that a writer keeps open from one change to the next."""

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
from ..fs.syscalls import has_name, size_of
from ..kernels.checksums import BLOCK
from ..kernels.patch import pwrite_rows, scatter
from . import data_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._core.memory import Array
    from ..fs.directory import Folder
    from ..fs.syscalls import Opened
    from ..rows.deleted_rows import Numbers
    from .catalog import Entry

_LIMIT = 16  # files that are kept open
_PAGE = 4096  # bytes; blocks of files are hardly ever larger, and then this is a part of one


class _Open(NamedTuple):
    file: Opened
    memory: Array  # all committed bytes, shared with the file; empty until they are needed


class OpenFiles:
    """The data files that were written last; for who holds the store's lock.

    Parameters
    ----------
    folder : Folder
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files: dict[str, _Open] = {}
        self._pinned: set[str] = set()
        self._solid: dict[str, int] = {}  # bytes of files up to which there are no holes

    def __del__(self) -> None:
        """Close all of them."""
        self.close()

    def close(self) -> None:
        """Close all of them."""
        self._solid.clear()
        while self._files:
            self._files.popitem()[1].file.close()

    @property
    def are_open(self) -> bool:
        """Whether there are any."""
        return bool(self._files)

    def forget(self, entry: Entry) -> None:
        """Close the files of an array that is gone, so that their room is free."""
        for name in (entry.id, entry.sum_file, entry.dropped_file):
            self._close(name)

    def close_unlinked(self) -> None:
        """Close all files that have no name any more, because of another handle, say."""
        for name, each in list(self._files.items()):
            if os.fstat(each.file.descriptor).st_nlink == 0:
                self._close(name)

    def make_room(self) -> None:
        """Close all files but those that are `pinned`: they are opened again when needed."""
        for name in self._files.keys() - self._pinned:
            self._close(name)

    @contextlib.contextmanager
    def pinned(self, name: str) -> Iterator[None]:
        """Keep a file open, though others are opened."""
        self._pinned.add(name)
        try:
            yield
        finally:
            self._pinned.discard(name)

    def _close(self, name: str) -> None:
        self._solid.pop(name, None)
        known = self._files.pop(name, None)
        if known is not None:
            known.file.close()

    def descriptor(self, entry: Entry) -> int:
        """Give a data file, open for writing.

        Raises
        ------
        CorruptStoreError
            It is missing or too short.
        """
        found = self._files.get(entry.id)
        if found is None:
            found = self._keep(entry.id, data_files.open_grown(self._folder, entry))
        return found.file.descriptor

    def current(self, entry: Entry) -> int:
        """Give a data file as `descriptor` does, if it has its name still; else what has."""
        self._look_at(entry.id, entry.data_file)
        return self.descriptor(entry)

    def named(self, name: str, *, looks: bool = True) -> int:
        """Give another file of the store, open for writing; it is created if need be.

        Parameters
        ----------
        name : str
        looks : bool
            Whether to make sure that the open file has the name still.
        """
        if looks:
            self._look_at(name, name)
        found = self._files.get(name)
        if found is None:
            found = self._keep(name, self._folder.opened(name, os.O_RDWR | os.O_CREAT))
        return found.file.descriptor

    def _look_at(self, key: str, name: str) -> None:
        """Close a file whose name another file has got: a backup was restored, say."""
        found = self._files.get(key)
        if found is None:
            return
        if not has_name(found.file.descriptor, self._folder.descriptor, name.encode()):
            self._close(key)

    def sums(self, entry: Entry) -> Array:
        """Read the checksums of all blocks of a data file."""
        whole = entry.nbytes // BLOCK
        content = b""
        if whole:
            file = self.named(entry.sum_file)
            if size_of(file) < 4 * whole:
                raise data_files.missing_sums(self._folder, entry)
            content = os.pread(file, 4 * whole, 0)
            if len(content) < 4 * whole:
                raise data_files.missing_sums(self._folder, entry)
        return data_files.sums_in(content, entry)

    def memory(self, entry: Entry) -> Array:
        """Give the committed bytes of a data file, mapped; for reading only."""
        descriptor, nbytes = self.descriptor(entry), entry.nbytes
        memory = self._files[entry.id].memory
        if size_of(descriptor) < nbytes:  # to touch its pages would end the process
            raise data_files.too_short(self._folder, entry)
        if len(memory) < nbytes:
            if reading_may_allocate(descriptor, nbytes):
                allocate(descriptor, 0, nbytes)
            path = f"{self._folder.path}/{entry.data_file}"
            mapping = FileMapping(descriptor, nbytes, path, SHARED)
            memory = np.frombuffer(mapping, np.uint8)  # type: ignore[call-overload]  # buffers are typed from 3.12 on
            self._files[entry.id] = self._files[entry.id]._replace(memory=memory)
        return memory[:nbytes]

    def reserve(self, entry: Entry, rows: Numbers, width: int) -> None:
        """Give rows that are to be written in place the blocks that they lack.

        A file that was copied with its zeros as holes (``cp --sparse``) lacks some.

        Raises
        ------
        OSError
            The disk is full, say.
        """
        if self._is_solid(entry):
            return
        descriptor = self.descriptor(entry)
        first, last = rows * width // _PAGE, ((rows + 1) * width - 1) // _PAGE
        most = int((last - first).max()) + 1
        pages = np.unique(np.minimum(first[:, None] + np.arange(most), last[:, None]))
        for run in np.split(pages, np.flatnonzero(np.diff(pages) != 1) + 1):
            allocate(descriptor, int(run[0]) * _PAGE, len(run) * _PAGE)

    def fill(self, entry: Entry) -> None:
        """Make sure that every byte may be written through a mapping.

        Raises
        ------
        OSError
            The disk is full, say, or may be before all blocks are copied that are written, on
            file systems that do that.
        """
        descriptor = self.descriptor(entry)
        if not self._is_solid(entry):
            allocate(descriptor, 0, entry.nbytes)
        system = os.fstatvfs(descriptor)
        room = system.f_bavail * system.f_frsize
        if entry.nbytes > room and not is_written_in_place(descriptor):
            msg = (
                f"{os.strerror(errno.ENOSPC)}: {entry.nbytes:,} bytes may be needed to write "
                f"to a mapping of {self._folder.path}/{entry.data_file}, and {room:,} are free"
            )
            raise OSError(errno.ENOSPC, msg)

    def overwrite(self, entry: Entry, rows: Numbers, width: int, fresh: Array) -> None:
        """Write rows in place: through the mapping where no write can find the disk full.

        A row costs a tenth of what a write of its own costs: that goes through all blocks
        of the large pages in which the system keeps files.
        """
        descriptor = self.descriptor(entry)
        if is_written_in_place(descriptor) and self._is_solid(entry):
            scatter(self.memory(entry), rows, width, fresh)
        else:
            pwrite_rows(descriptor, rows, width, fresh)

    def _is_solid(self, entry: Entry) -> bool:
        """Tell whether all committed bytes of a data file have blocks on the disk."""
        known = self._solid.get(entry.id, 0)
        if known < entry.nbytes:
            known = first_hole(self.descriptor(entry), known, entry.nbytes)
            self._solid[entry.id] = known
        return known >= entry.nbytes

    def _keep(self, name: str, file: Opened) -> _Open:
        others = [known for known in self._files if known not in self._pinned]
        for oldest in others[: max(0, len(self._files) - _LIMIT + 1)]:
            self._close(oldest)
        opened = self._files[name] = _Open(file, np.empty(0, np.uint8))
        return opened
