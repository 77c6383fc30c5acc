"""Data files that a writer keeps open from one change to the next."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._pages import is_written_in_place
from . import data
from ._rows import pwrite_rows, scatter
from ._sums import BLOCK

if TYPE_CHECKING:
    from .._memory import Array
    from .dropped import Numbers
    from .files import Folder
    from .state import Entry

_LIMIT = 16  # files that are kept open


class _Open(NamedTuple):
    descriptor: int
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

    def __del__(self) -> None:
        """Close all of them."""
        self.close()

    def close(self) -> None:
        """Close all of them."""
        while self._files:
            os.close(self._files.popitem()[1].descriptor)

    def descriptor(self, entry: Entry) -> int:
        """Give a data file, open for writing.

        Raises
        ------
        CorruptStoreError
            It is missing or too short.
        """
        found = self._files.get(entry.id)
        if found is None:
            found = self._keep(entry.id, data.open_grown(self._folder, entry))
        return found.descriptor

    def named(self, name: str) -> int:
        """Give another file of the store, open for writing; it is created if need be."""
        found = self._files.get(name)
        if found is None:
            found = self._keep(name, self._folder.open(name, os.O_RDWR | os.O_CREAT))
        return found.descriptor

    def sums(self, entry: Entry) -> Array:
        """Read the checksums of all blocks of a data file."""
        whole = entry.nbytes // BLOCK
        content = b""
        if whole:
            content = os.pread(self.named(entry.sum_file), 4 * whole, 0)
            if len(content) < 4 * whole:
                raise data.missing_sums(self._folder, entry)
        return data.sums_in(content, entry)

    def memory(self, entry: Entry) -> Array:
        """Give the committed bytes of a data file, mapped; for reading only."""
        descriptor, nbytes = self.descriptor(entry), entry.nbytes
        memory = self._files[entry.id].memory
        if os.fstat(descriptor).st_size < nbytes:  # to touch its pages would end the process
            raise data.too_short(self._folder, entry)
        if len(memory) < nbytes:
            memory = np.frombuffer(mmap.mmap(descriptor, nbytes), np.uint8)
            self._files[entry.id] = _Open(descriptor, memory)
        return memory[:nbytes]

    def overwrite(self, entry: Entry, rows: Numbers, width: int, fresh: Array) -> None:
        """Write rows in place: through the mapping where no write can find the disk full.

        A row costs a tenth of what a write of its own costs: that goes through all blocks
        of the large pages in which the system keeps files.
        """
        descriptor = self.descriptor(entry)
        if is_written_in_place(descriptor):
            scatter(self.memory(entry), rows, width, fresh)
        else:
            pwrite_rows(descriptor, rows, width, fresh)

    def _keep(self, name: str, descriptor: int) -> _Open:
        while len(self._files) >= _LIMIT:
            oldest = next(iter(self._files))
            os.close(self._files.pop(oldest).descriptor)
        opened = self._files[name] = _Open(descriptor, np.empty(0, np.uint8))
        return opened
