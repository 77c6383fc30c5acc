"""Space on the disk that is reserved before HDF5 writes.

Where a write fails, HDF5 keeps objects that it cannot close, and the process ends with a
segmentation fault when they are collected. A full disk is found here instead, before HDF5
writes.

Source: the Linux manual pages of fallocate(2) and getrlimit(2).
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import resource
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..._core.memory import Array

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of Linux
_STEP = 8 << 20  # bytes that are reserved at once, if there is room
_BLOCK = 64 << 10  # bytes; where an allocation fails, blocks that it has in part are lost
_METADATA = 64 << 10  # bytes of a file
_DATASET = 8 << 10  # bytes of a header, and of an index of chunks
_INDEX = 64  # bytes of chunks for each byte of their index
_STRING = 48  # bytes beside the characters of a string of variable length
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Space:
    """The space of a file that HDF5 writes.

    Parameters
    ----------
    path : Path
        Of the file; it exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reserved = 0

    def reserve(self, stop: int) -> None:
        """Reserve the bytes up to `stop`.

        Raises
        ------
        OSError
            The disk is full, or the file larger than the user, or the process, may write.
        """
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY and stop > limit:
            number = errno.EFBIG
            raise OSError(number, os.strerror(number), str(self._path))
        if stop <= self._reserved:
            return
        stop = -(-stop // _BLOCK) * _BLOCK
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            try:
                _allocate(descriptor, self._reserved, stop + _STEP)
                self._reserved = stop + _STEP
            except OSError:  # there may still be room for less
                _allocate(descriptor, self._reserved, stop)
                self._reserved = stop
        finally:
            os.close(descriptor)

    def renew(self) -> None:
        """Reserve the same again, after the file has been opened anew, which truncates it."""
        stop, self._reserved = self._reserved, 0
        self.reserve(stop - _STEP if stop > _STEP else stop)

    def release(self) -> None:
        """Free what is reserved after the end of the file, once it is closed."""
        if self._reserved:
            os.truncate(self._path, self._path.stat().st_size)


def need_of_metadata(count: int, attrs: object) -> int:
    """Return how many bytes the headers of datasets and their attributes take at most.

    Parameters
    ----------
    count : int
        Of datasets.
    attrs : object
        All attributes, as Python writes them.
    """
    return _METADATA + count * _DATASET + 4 * len(repr(attrs))


def need_of_rows(file: Any, rows: Mapping[str, Array], waiting: int) -> int:
    """Return the size of a file after some rows have been written to it, at most.

    Parameters
    ----------
    file : h5py.File
    rows : mapping of str to ndarray
    waiting : int
        How many bytes of chunks HDF5 keeps in memory, and writes later.
    """
    needed = int(file.id.get_filesize()) + _METADATA
    needed += 2 * waiting  # those begun before, and those that the rows do not fill
    for values in rows.values():
        nbytes = values.nbytes
        if values.dtype.kind == "U":  # with the place and the length of each, aligned
            nbytes += values.size * _STRING
        needed += nbytes + nbytes // _INDEX + _DATASET
    return needed


def bytes_of_chunks(shape: Sequence[int], chunk: Sequence[int], itemsize: int) -> int:
    """Return how many bytes the chunks that HDF5 keeps of a dataset take, at most."""
    across = math.prod(math.ceil(a / b) * b for a, b in zip(shape[1:], chunk[1:], strict=True))
    return max(chunk[0] * across * itemsize, math.prod(chunk) * itemsize)


def _allocate(descriptor: int, start: int, stop: int) -> None:
    """Reserve bytes of a file, whose size stays; only check the room where that is unknown."""
    reserve = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    number = errno.ENOSYS
    if reserve is not None:
        integers = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        arguments = (descriptor, _KEEP_SIZE, start, stop - start)
        while True:
            if not reserve(
                *(kind(each) for kind, each in zip(integers, arguments, strict=True))
            ):
                return
            number = ctypes.get_errno()
            if number != errno.EINTR:
                break
    if number in _UNSUPPORTED:
        room = os.fstatvfs(descriptor)
        needed = stop - max(start, os.fstat(descriptor).st_size)
        if room.f_bavail * room.f_frsize >= needed:
            return
        number = errno.ENOSPC
    raise OSError(number, os.strerror(number))
