"""`ArrayBlocks`: the blocks of one array, fetched and verified as they are needed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...._core.memory import aligned_empty
from ....errors import StoreError
from ...format import data_files
from ...fs import resources
from ...fs.forks import register
from ...kernels.checksums import BLOCK, checksum_blocks
from .pool import NoRoomError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...._core.memory import Array
    from ....errors import MissingFileError
    from ...format.log.state import Entry
    from .file import CachedFile, Numbers
    from .pool import Pool

_GROUP = 64  # blocks that are fetched into memory at once
_WAIT = 60.0  # seconds after which a thread looks again what others have fetched


class Objects(Protocol):
    """The objects that have the bytes of an array."""

    nbytes: int
    entry: Entry

    @property
    def name(self) -> str:
        """Name of the cache file, which is equal only for equal bytes."""

    def read(self, starts: Numbers, ends: Numbers, out: Array) -> None:
        """Fetch ranges of the data file, one after another."""

    def checksums(self) -> Array:
        """Return the checksums of all blocks."""

    def digest(self) -> bytes:
        """Return the digest of all checksums."""

    def missing_error(self, error: MissingFileError) -> StoreError:
        """Return the error for an object that is not there."""

    def damaged_error(self, block: int) -> StoreError:
        """Return the error for a block that was fetched twice and differs from its checksum."""


class ArrayBlocks:
    """The bytes of an array's data file, of which blocks are fetched into the cache.

    A block of the cache is used once its checksum has been compared in this process; whatever
    else is in the file, of a process that was killed or a disk that fails, is fetched again.

    Parameters
    ----------
    objects : Objects
    pool : Pool
    key : str
        Folder in the cache of the store.

    Attributes
    ----------
    objects : Objects
    nbytes : int
    is_complete : bool
        Whether all blocks have been verified, so that the whole mapping can be used.
    ranged : ndarray of int64
        For each block, the bytes of it that were fetched without it.
    """

    def __init__(self, objects: Objects, pool: Pool, key: str) -> None:
        self.objects, self.nbytes = objects, objects.nbytes
        self._pool, self._key = pool, key
        count = -(-self.nbytes // BLOCK)
        self.ranged: Numbers = np.zeros(count, np.int64)
        self._verified = np.zeros(count, np.bool_)
        self._claimed = np.zeros(count, np.bool_)  # by a thread that fetches them
        self._left = count
        self.is_complete = not count
        self._is_full = False  # its disk is
        self._read_to = -1  # where the last range ended
        self._file: CachedFile | None = None
        self._is_opened = not count
        self._opening = threading.RLock()
        self._changed = threading.Condition()
        register(self)

    def after_fork(self) -> None:
        """Replace the locks in a forked child, which has none of the threads that fetch."""
        self._opening, self._changed = threading.RLock(), threading.Condition()
        self._claimed[:] = False

    @property
    def file(self) -> CachedFile | None:
        """The file in the cache; ``None`` if there cannot be one."""
        if not self._is_opened:
            with self._opening:
                if not self._is_opened:
                    if 0 < self.nbytes <= self._pool.limit:
                        self._file = self._pool.open(self._key, self.objects.name, self.nbytes)
                    self._is_opened = True
        return self._file

    def are_verified(self, blocks: Numbers) -> Array:
        """Return for each block whether it can be used; verify those that are in the cache.

        They ascend, each once.
        """
        verified: Array = self._verified[blocks]
        if not verified.all() and self.file is not None:
            self._verify_present(blocks[~verified])
            verified = self._verified[blocks]
        return verified

    def verified(self) -> Array:
        """Return for each block of the array whether it was verified before."""
        return self._verified

    def has_room(self) -> bool:
        """Return whether all blocks that are missing can be added to the cache."""
        if self.is_complete:
            return True
        if self.file is None or self._is_full:
            return False
        every = np.arange(len(self._verified), dtype=np.int64)
        missing = every[~self._verified]
        missing = missing[~self.file.present(missing)]
        return self._make_room(missing)

    def ensure(self, blocks: Numbers) -> None:
        """Fetch those of the blocks that cannot be used yet; they ascend, each once.

        Threads that need the same blocks wait for the one that fetches them.

        Raises
        ------
        NoRoomError
            They cannot be kept in the cache.
        CorruptStoreError
            A block of the object store does not have its checksum.
        """
        if self.is_complete:
            return
        missing = blocks[~self._verified[blocks]]
        while len(missing):
            mine = missing[:0]
            try:
                with self._changed:
                    mine = missing[~self._claimed[missing]]
                    if not len(mine):
                        self._changed.wait(_WAIT)
                    self._claimed[mine] = True
                if len(mine):
                    self._obtain(mine[~self._verified[mine]])
            finally:
                with self._changed:
                    self._claimed[mine] = False
                    self._changed.notify_all()
            missing = missing[~self._verified[missing]]

    def ensure_bytes(self, start: int, stop: int) -> None:
        """Fetch the blocks of a range of bytes, as `ensure` does."""
        if start < stop and not self.is_complete:
            self.ensure(np.arange(start // BLOCK, -(-stop // BLOCK), dtype=np.int64))

    def is_worth_reading(self, start: int, stop: int) -> bool:
        """Return whether to fetch a range of bytes by whole blocks.

        These are no more than twice the range, or ranges are read one after another.
        """
        is_next, self._read_to = start == self._read_to, stop
        touched = (-(-stop // BLOCK) - start // BLOCK) * BLOCK
        return min(touched, self.nbytes) <= 2 * (stop - start) or (
            is_next and self.file is not None and not self._is_full
        )

    def read(self, start: int, stop: int, out: Array) -> Iterator[int]:
        """Copy a range of bytes, all of them verified, also where the cache has no room.

        Yields
        ------
        int
            The number of bytes of each part that was copied.
        """
        for first in range(start // BLOCK, -(-stop // BLOCK), _GROUP):
            low, high = max(start, first * BLOCK), min(stop, (first + _GROUP) * BLOCK)
            part = out[low - start : high - start]
            try:
                self.ensure_bytes(low, high)
            except NoRoomError:
                self._read_uncached(low, high, part)
            else:
                self._read_file(low, part)
            yield len(part)

    def fetched(self, blocks: Numbers) -> Array:
        """Fetch blocks into memory, one after another, and verify them; they ascend."""
        sizes = self._sizes(blocks)
        out = aligned_empty((int(sizes.sum()),), np.dtype(np.uint8))
        self._fetch(blocks, out)
        for at in np.flatnonzero(self._differ(blocks, out)):  # the network, or a cache between
            block, place = blocks[at : at + 1], int(sizes[:at].sum())
            part = out[place : place + int(sizes[at])]
            self._fetch(block, part)
            if self._differ(block, part)[0]:
                raise self.objects.damaged_error(int(block[0]))
        return out

    def no_room_error(self) -> NoRoomError:
        """Return the error for blocks that cannot be kept."""
        if self._is_full:
            why = f"the disk of the cache {self._pool.folder} is full"
        elif not self._pool.limit:
            why = "there is no cache"
        elif self.file is None and self.nbytes <= self._pool.limit:
            why = f"the cache {self._pool.folder} cannot have a file of that size"
        else:
            why = f"the cache {self._pool.folder} is limited to {self._pool.limit:,} bytes"
            why += "" if self.file is None else ", which arrays that are in use take"
        msg = (
            f"the {self.nbytes:,} bytes of {self.objects.entry.data_file} cannot be mapped: "
            f"{why}; open the store with a larger cache_bytes=, or another cache=, or read the "
            "rows into memory with load, getitem or stream_load"
        )
        return NoRoomError(msg)

    def _obtain(self, blocks: Numbers) -> None:
        """Verify blocks that are in the cache, and fetch the others."""
        if self.file is not None:
            self._verify_present(blocks)
        blocks = blocks[~self._verified[blocks]]
        for start in range(0, len(blocks), _GROUP):
            part = blocks[start : start + _GROUP]
            if not self._make_room(part):
                raise self.no_room_error()
            self._keep(part, self.fetched(part))

    def _keep(self, blocks: Numbers, content: Array) -> None:
        file, at = self.file, 0
        assert file is not None  # noqa: S101 -- there was room
        try:
            for run in _runs(blocks):
                nbytes = int(self._sizes(run).sum())
                file.write(run, content[at : at + nbytes])
                at += nbytes
        except OSError:  # what was written is verified when it is needed
            self._is_full = True
            raise self.no_room_error() from None
        self._note(blocks)

    def _make_room(self, blocks: Numbers) -> bool:
        if self.file is None or self._is_full:
            return False
        nbytes = int(self._sizes(blocks).sum())
        return self._pool.make_room(nbytes, resources.release_cached)

    def _verify_present(self, blocks: Numbers) -> None:
        """Compare the checksums of blocks that some process has written."""
        assert self.file is not None  # noqa: S101 -- for the type checker
        present = blocks[self.file.present(blocks)]
        for run in _runs(present):
            for start in range(0, len(run), _GROUP):
                part = run[start : start + _GROUP]
                content = aligned_empty((int(self._sizes(part).sum()),), np.dtype(np.uint8))
                if self._can_read(int(part[0]) * BLOCK, content):
                    wrong = self._differ(part, content)
                    self._note(part[~wrong])
                    for block in part[wrong].tolist():
                        self.file.forget(block)

    def _can_read(self, start: int, out: Array) -> bool:
        """Read a part of the file; return whether the disk can."""
        try:
            self._read_file(start, out)
        except StoreError:
            return False
        return True

    def _read_uncached(self, start: int, stop: int, out: Array) -> None:
        """Copy a range of bytes whose missing blocks are fetched into memory only."""
        blocks = np.arange(start // BLOCK, -(-stop // BLOCK), dtype=np.int64)
        ready = self.are_verified(blocks)
        content, at = self.fetched(blocks[~ready]) if not ready.all() else None, 0
        for block, is_ready in zip(blocks.tolist(), ready.tolist(), strict=True):
            begin, end = block * BLOCK, min((block + 1) * BLOCK, self.nbytes)
            low, high = max(begin, start), min(end, stop)
            part = out[low - start : high - start]
            if is_ready:
                self._read_file(low, part)
            else:
                assert content is not None  # noqa: S101 -- for the type checker
                part[:] = content[at + low - begin : at + high - begin]
                at += end - begin

    def _fetch(self, blocks: Numbers, out: Array) -> None:
        runs = [(int(run[0]) * BLOCK, (int(run[-1]) + 1) * BLOCK) for run in _runs(blocks)]
        ends = [min(end, self.nbytes) for _, end in runs]
        starts = np.array([start for start, _ in runs], np.int64)
        self.objects.read(starts, np.array(ends, np.int64), out)

    def _differ(self, blocks: Numbers, content: Array) -> Array:
        """Return for each block whether its checksum is wrong; the last may be partial."""
        whole, tail = checksum_blocks(content, data_files.thread_count())
        found = np.frombuffer(whole, "<u4")
        if len(content) % BLOCK:
            found = np.append(found, np.uint32(tail))
        wrong: Array = found != self.objects.checksums()[blocks]
        return wrong

    def _sizes(self, blocks: Numbers) -> Numbers:
        return np.minimum((blocks + 1) * BLOCK, self.nbytes) - blocks * BLOCK

    def _note(self, blocks: Numbers) -> None:
        """Record that blocks are verified."""
        with self._changed:
            self._left -= int(np.count_nonzero(~self._verified[blocks]))
            self._verified[blocks] = True
            if not self._left:
                self.is_complete = True

    def _read_file(self, start: int, out: Array) -> None:
        assert self.file is not None  # noqa: S101 -- the blocks of it were verified
        self.file.read(start, out)


def _runs(blocks: Numbers) -> list[Numbers]:
    """Split ascending numbers where they are not consecutive."""
    if not len(blocks):
        return []
    return np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1)
