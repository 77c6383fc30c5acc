"""`PackageSession`: a package while it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from ..._core.memory import aligned_empty
from ..._core.pages import reading_may_allocate
from ..format import data_files
from ..fs import resources
from ..fs.directory import write_all
from ..fs.errors import store_error
from ..kernels.checksums import BLOCK
from ..lazy.array import LazyArray
from ..session import Session
from .folder import PackageFolder
from .log import PackageLog
from .reference import PackageReference, PackageRows

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..._core.memory import Array
    from ..format.data_files import Progress
    from ..format.log.log import Log
    from ..format.log.state import Entry
    from .archive import Archive

_PART = 16 * BLOCK  # bytes that are read at a time


class PackageSession(Session):
    """A package that is read in place: its arrays are views of one mapping of the file.

    Parameters
    ----------
    archive : Archive
    counts : dict of str to int
        Counters to update, see `NumPack.get_io_stats`.
    """

    def __init__(self, archive: Archive, *, counts: dict[str, int]) -> None:
        archive.require_stored()
        super().__init__(
            PackageFolder(archive),
            cast("Log", PackageLog(archive)),  # read as a Log is
            counts=counts,
            read_only=(
                f"{archive.path} is a package, which is only read; make a store of it with "
                f"numpack.unpack({archive.path!r}), and change that"
            ),
            durable=False,
        )
        self._archive = archive
        self._rows: PackageRows | None = None  # the mapping, once it was needed
        self._is_mappable: bool | None = None

    def read_stored(self, entry: Entry, progress: Progress = data_files.no_progress) -> Array:
        """Read the rows of an array."""
        offset, descriptor = self._archive.rows(entry), self._archive.descriptor
        return data_files.read_at(self.folder, entry, descriptor, offset, progress)

    def parts(self, entry: Entry, nbytes: int) -> Generator[Array, None, None]:
        """Read the first bytes of an array's rows.

        Yields
        ------
        ndarray of uint8
            Valid until the next one is yielded.
        """
        offset, archive = self._archive.rows(entry), self._archive
        buffer = aligned_empty((min(_PART, nbytes),), np.dtype(np.uint8))
        for start in range(0, nbytes, _PART):
            part = buffer[: nbytes - start]
            count = data_files.read_part(
                self.folder, entry.data_file, archive.descriptor, part, offset + start
            )
            if count < len(part):
                archive.damaged(f"{entry.data_file} is truncated")
            yield part

    def download(self, entry: Entry, descriptor: int, progress: Progress) -> None:
        """Write the rows of an array to a file."""
        at = 0
        for part in self.parts(entry, entry.nbytes):
            at += write_all(descriptor, part, at)
            progress(len(part))

    def release_cached(self) -> None:
        """Discard the mapping, which is made again when it is needed."""
        super().release_cached()
        self._rows = None

    def close(self, *, checkpoint: bool = True) -> None:
        """Close the package; loaded arrays stay valid."""
        super().close(checkpoint=checkpoint)
        self._rows = None

    def _map(self, name: str, entry: Entry) -> LazyArray:
        offset = self._archive.rows(entry)
        origin = None
        if self._can_map() and entry.nbytes:
            rows = self._rows or resources.map_with_retry(self._map_all)
            array = data_files.as_rows(
                rows.memory[offset : offset + entry.nbytes], entry.dtype, entry.stored
            )
            origin = PackageReference(rows.views, name, entry, offset)
        else:
            array = self.read_stored(entry)
            array.flags.writeable = False
        lazy = LazyArray(array, origin, None)
        self.counts["mappings"] += 1
        self._cache_lazy(name, entry, lazy)
        return lazy

    def _can_map(self) -> bool:
        """Return whether no page of the file is a hole that reading would have to allocate."""
        if self._is_mappable is None:
            archive = self._archive
            self._is_mappable = not reading_may_allocate(archive.descriptor, archive.size)
        return self._is_mappable

    def _map_all(self) -> PackageRows:
        archive, entries = self._archive, self.history.refresh().arrays
        try:
            self._rows = PackageRows(archive, entries)
        except OSError as error:
            raise store_error(archive.path, error) from error
        return self._rows
