"""A cache file: the blocks of an array's data file that were fetched so far.

It is sparse and as long as the data file. A second file has a byte for each block, which is set
after the block was written: a hint, as both may be damaged or lose power. The name contains a
digest of all checksums, so that all processes write the same bytes to the same place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ...._core.mapped_files import map_open
from ...format.data_files import read_exactly
from ...fs.directory import write_all
from ...fs.errors import store_error
from ...fs.resources import map_with_retry
from ...kernels.checksums import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...._core.memory import Array

Numbers = np.ndarray[Any, np.dtype[np.int64]]

ROWS, HAVE = ".bin", ".have"  # endings of the names of the two files

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_SET = b"\1"


class CachedFile:
    """An open cache file.

    Its shared lock, held until it is collected, tells other processes that it is in use.

    Parameters
    ----------
    path : str
        Without the endings.
    nbytes : int
        Of the data file; positive.

    Raises
    ------
    OSError
        The files cannot be created, or made as long.
    """

    def __init__(self, path: str, nbytes: int) -> None:
        self._rows = self._have = -1
        self._rows = _open_locked(path + ROWS)
        self._have = os.open(path + HAVE, _FLAGS, 0o600)
        if os.fstat(self._rows).st_size < nbytes:
            os.ftruncate(self._rows, nbytes)  # to the same length by all processes
        os.utime(self._rows)
        self._path, self._nbytes = path + ROWS, nbytes

    def __del__(self, _is_exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        """Close the files, which other processes may then remove; at exit the system does."""
        if _is_exiting():  # modules such as os may be gone
            return
        for descriptor in (self._rows, self._have):
            if descriptor >= 0:
                os.close(descriptor)

    def map(self) -> Array:
        """Map the file anew, as bytes; only blocks that were verified are to be read."""
        return map_with_retry(
            map_open, os.dup(self._rows), self._path, self._nbytes, readable=True
        )

    def read(self, start: int, out: Array) -> None:
        """Fill `out` from a byte on; raise `StoreError` if that is not possible."""
        try:
            read_exactly(self._rows, out, start)
        except OSError as error:
            raise store_error(self._path, error) from error

    def present(self, blocks: Numbers) -> Array:
        """Return for each block whether some process has written it; they ascend."""
        if not len(blocks):
            return np.empty(0, np.bool_)
        first, count = int(blocks[0]), int(blocks[-1] - blocks[0]) + 1
        found = np.zeros(count, np.uint8)
        read = os.pread(self._have, count, first)
        found[: len(read)] = np.frombuffer(read, np.uint8)
        present: Array = found[blocks - first] == 1
        return present

    def forget(self, block: int) -> None:
        """Note that a block is not there as it should be."""
        with contextlib.suppress(OSError):
            os.pwrite(self._have, b"\0", block)

    def write(self, blocks: Numbers, content: Array) -> None:
        """Write consecutive blocks, and then that they are there."""
        first = int(blocks[0])
        if write_all(self._rows, content, first * BLOCK) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(self._have, _SET * len(blocks), first)


def _open_locked(path: str) -> int:
    """Open a file and lock it, unless it is being removed: then create it again."""
    while True:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            with contextlib.suppress(OSError):  # without locks, nobody removes it
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
