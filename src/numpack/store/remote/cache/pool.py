"""`Pool`: the files of a cache folder, and the limit of their size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ....errors import StoreError
from ...fs.forks import register
from .file import HAVE, ROWS, CachedFile
from .location import default_limit

if TYPE_CHECKING:
    from collections.abc import Callable

_UNIT = 512  # bytes, of `st_blocks`
_SHARE = 8  # this part of the room is taken at once, until the files are counted again


class NoRoomError(StoreError):
    """Blocks cannot be kept in the cache: its limit is reached, or its disk is full."""


class Pool:
    """Files of a cache folder.

    Those that were used least recently are removed to make room, but none that any process
    has open: its space would not be freed before that process closes it.

    Parameters
    ----------
    folder : str
        Absolute; created if it does not exist.
    limit : int or None
        Bytes of all files in it; by default half of the space that is free or theirs.
    is_default : bool
        Whether to go on without a cache if the folder cannot be created.

    Attributes
    ----------
    folder : str
    limit : int
        0 if there is no cache.
    """

    def __init__(self, folder: str, limit: int | None, *, is_default: bool = True) -> None:
        self.folder, self.limit = folder, 0
        self._lock = threading.Lock()
        self._granted = 0  # bytes that can be added without counting again
        register(self)
        if limit == 0:
            return
        try:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            if limit is None:
                limit = default_limit(folder, sum(each.nbytes for each in self._files()))
        except OSError as error:
            if is_default:
                return
            msg = f"the cache {folder} cannot be used: {error.strerror}; pass another cache="
            raise StoreError(msg) from error
        self.limit = limit

    def after_fork(self) -> None:
        """Replace the lock in a forked child."""
        self._lock = threading.Lock()

    def open(self, key: str, name: str, nbytes: int) -> CachedFile | None:
        """Open a cache file; ``None`` if it would exceed the limit or cannot be created."""
        if not 0 < nbytes <= self.limit:
            return None
        try:
            Path(self.folder, key).mkdir(mode=0o700, parents=True, exist_ok=True)
            return CachedFile(f"{self.folder}/{key}/{name}", nbytes)
        except OSError:
            return None

    def make_room(self, nbytes: int, release: Callable[[], object]) -> bool:
        """Return whether blocks can be added, after removing files if necessary.

        Parameters
        ----------
        nbytes : int
            Of the blocks.
        release : callable
            Closes files of this process that are open only for speed.
        """
        with self._lock:
            if nbytes <= self._granted:
                self._granted -= nbytes
                return True
            self._granted = 0
            most = self.limit - nbytes
            if most < 0:
                return False
            total = self._reduce(most)
            if total > most:
                release()
                total = self._reduce(most)
            if total > most:
                return False
            self._granted = (most - total) // _SHARE
            return True

    def _reduce(self, most: int) -> int:
        """Remove files until they have `most` bytes; return how many they have."""
        files = self._files()
        total = sum(each.nbytes for each in files)
        for each in sorted(files):
            if total <= most:
                break
            if _remove_unused(each.path):
                total -= each.nbytes
        return total

    def _files(self) -> list[_File]:
        found = []
        with contextlib.suppress(OSError):
            for path in Path(self.folder).glob(f"*/*{ROWS}"):
                with contextlib.suppress(OSError):
                    status = path.lstat()
                    nbytes = _UNIT * status.st_blocks
                    found.append(_File(status.st_mtime_ns, nbytes, str(path)))
        return found


class _File(NamedTuple):
    used: int  # when it was, in nanoseconds
    nbytes: int  # allocated
    path: str


def _remove_unused(path: str) -> bool:
    """Remove a cache file, unless a process has it open."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path.removesuffix(ROWS) + HAVE)  # noqa: PTH108 -- as text
    except FileNotFoundError:
        pass
    except OSError:
        os.close(descriptor)
        return False
    try:
        os.unlink(path)  # noqa: PTH108
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
