"""`RemoteSession`: a store in an object store while it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._core.memory import aligned_copy, aligned_empty
from ...errors import MovedError
from ..format import data_files
from ..format.naming import quoted
from ..fs.directory import write_all
from ..fs.errors import too_large_error
from ..kernels.checksums import BLOCK
from ..session import Session
from .array import RemoteArray
from .cache.pool import NoRoomError
from .log import RemoteLog
from .reference import RemoteReference

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ..._core.memory import Array
    from ...errors import MissingFileError, StoreError
    from ..format.data_files import Progress
    from ..format.log.state import Entry
    from ..lazy.array import LazyArray
    from .cache.blocks import ArrayBlocks
    from .source import Source

_PART = 16 * BLOCK  # bytes that are read at a time


class RemoteSession(Session):
    """A store in an object store, as of the commit at which it was opened.

    Parameters
    ----------
    source : Source
    counts : dict of str to int
        Counters to update, see `NumPack.get_io_stats`.
    """

    is_remote = True
    history: RemoteLog  # type: ignore[assignment]  # it has no commits to make

    def __init__(self, source: Source, *, counts: dict[str, int]) -> None:
        history = RemoteLog(source.store)
        where = history.folder.path
        super().__init__(
            history.folder,
            history,  # type: ignore[arg-type]  # read as a Log is
            counts=counts,
            read_only=(
                f"the store {where} is in an object store, which is only read; change the "
                "local store, and publish it with NumPack.publish"
            ),
            durable=False,
        )
        self._source = source

    def read_stored(self, entry: Entry, progress: Progress = data_files.no_progress) -> Array:
        """Read the rows of a data file, deleted ones included, verified."""
        where = f"{self.folder.path}/{entry.data_file}"
        try:
            array = aligned_empty(entry.stored, entry.dtype)
        except (MemoryError, ValueError):
            raise too_large_error(where, entry.nbytes) from None
        blocks = self._blocks_of(entry)
        for nbytes in blocks.read(0, entry.nbytes, data_files.as_bytes(array)):
            progress(nbytes)
        return array

    def fetch(self, name: str, entry: Entry) -> bool:
        """Fetch and verify all blocks of an array; return whether the cache has room."""
        try:
            self._source.blocks(name, entry).ensure_bytes(0, entry.nbytes)
        except NoRoomError:
            return False
        self.deleted_rows(entry)
        return True

    def stream(self, rows: LazyArray, size: int) -> Iterator[Array]:
        """Yield batches of rows; fetch many of them at once."""
        width = max(1, rows.nbytes // max(1, len(rows)))
        step = size * max(1, _PART // (size * width))
        for start in range(0, len(rows), step):
            part = rows.take(slice(start, start + step))
            for row in range(0, len(part), size):
                batch = part[row : row + size]
                yield batch if len(part) <= size else aligned_copy(batch)

    def parts(self, entry: Entry, nbytes: int) -> Generator[Array, None, None]:
        """Read the first bytes of a data file from the object store, not the cache.

        Yields
        ------
        ndarray of uint8
            Valid until the next one is yielded.
        """
        objects = self._blocks_of(entry).objects
        buffer = aligned_empty((min(_PART, nbytes),), np.dtype(np.uint8))
        for start in range(0, nbytes, _PART):
            part = buffer[: nbytes - start]
            objects.read(np.array([start]), np.array([start + len(part)]), part)
            yield part

    def download(self, entry: Entry, descriptor: int, progress: Progress) -> None:
        """Write the bytes of a data file, verified, to a local file."""
        blocks = self._blocks_of(entry)
        buffer = aligned_empty((min(_PART, entry.nbytes),), np.dtype(np.uint8))
        for start in range(0, entry.nbytes, _PART):
            part = buffer[: entry.nbytes - start]
            for nbytes in blocks.read(start, start + len(part), part):
                progress(nbytes)
            write_all(descriptor, part, start)

    def missing_file_error(self, name: str, error: MissingFileError) -> StoreError:
        """Return the error for an object that is missing."""
        msg = (
            f"the array {quoted(name)} of the store {self.folder.path} cannot be read: "
            f"{error.file} is missing; open the store again, or publish it again"
        )
        return MovedError(msg, "published anew")

    def _map(self, name: str, entry: Entry) -> LazyArray:
        deleted, blocks = self.deleted_rows(entry), self._source.blocks(name, entry)
        origin = RemoteReference(self._source, name, entry, blocks)
        lazy = RemoteArray(blocks, entry.dtype, entry.stored, 0, origin, deleted)
        self.counts["mappings"] += 1
        self._cache_lazy(name, entry, lazy)
        return lazy

    def _blocks_of(self, entry: Entry) -> ArrayBlocks:
        arrays = self.history.refresh().arrays
        names = (name for name, each in arrays.items() if each.id == entry.id)
        return self._source.blocks(next(names, ""), entry)
