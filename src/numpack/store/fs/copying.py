"""Copying the first bytes of a file, by the cheapest way that the file system has."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from .directory import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PART_BYTES = 8 << 20  # copied between two reports of progress
_FICLONE = 0x40049409  # of linux/fs.h
_FAILURES = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # not of the way of copying


def copy_start(
    source: int, target: int, nbytes: int, progress: Callable[[int], object] = lambda _: None
) -> None:
    """Copy the first bytes of a file to a new, empty one.

    Both refer to the same blocks of the device where the file system can do that (a *reflink*,
    as of XFS and Btrfs); otherwise the kernel copies the bytes, or this process does. Holes
    are not filled.

    Parameters
    ----------
    source, target : int
        Descriptors.
    nbytes : int
        The source must have as many.
    progress : callable
        Called with the number of bytes copied, after each part.

    Raises
    ------
    OSError
        For example, the disk is full; or, as EIO, the source is too short.
    """
    if nbytes and clone(source, target):
        os.ftruncate(target, nbytes)
        progress(nbytes)
        return
    done = 0
    for start, end in _parts(source, nbytes):
        if not copy_in_kernel(source, target, start, end):
            copy_by_hand(source, target, start, end)
        progress(end - done)
        done = end
    os.ftruncate(target, nbytes)
    progress(nbytes - done)


def clone(source: int, target: int) -> bool:
    """Make a file refer to the blocks of another one; return whether that is possible."""
    import fcntl  # noqa: PLC0415

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _FAILURES:
            raise
        return False
    return True


def copy_in_kernel(source: int, target: int, start: int, end: int) -> bool:
    """Copy a range from one file to another; return whether the system copied all of it."""
    copy = getattr(os, "copy_file_range", None)  # Linux only
    while copy is not None and start < end:
        try:
            count = copy(source, target, end - start, start, start)
        except OSError as error:
            if error.errno in _FAILURES:
                raise
            return False
        if not count:
            return False
        start += count
    return start >= end


def copy_by_hand(source: int, target: int, start: int, end: int) -> None:
    """Copy a range by reading and writing."""
    buffer = memoryview(bytearray(end - start))
    while start < end:
        count = os.preadv(source, [buffer[: end - start]], start)
        if not count:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write_all(target, buffer[:count], start)
        start += count


def _parts(descriptor: int, nbytes: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of the first bytes of a file that are not in holes."""
    start = 0
    while start < nbytes:
        end = nbytes
        with contextlib.suppress(OSError, AttributeError):  # not supported: there are no holes
            start, end = _next_data(descriptor, start, nbytes)
        while start < end:
            stop = min(start + _PART_BYTES, end)
            yield start, stop
            start = stop


def _next_data(descriptor: int, start: int, nbytes: int) -> tuple[int, int]:
    """Return the next range that is not in a hole, at most up to `nbytes`."""
    try:
        start = os.lseek(descriptor, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # only a hole follows
            return nbytes, nbytes
        raise
    return min(start, nbytes), min(os.lseek(descriptor, start, os.SEEK_HOLE), nbytes)
