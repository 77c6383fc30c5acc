"""Data files: an array's rows, in C order and little-endian, from byte 0."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from .._mapping import map_file
from .._memory import aligned_empty, plain
from ..errors import CorruptStoreError
from .files import write_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .._dtypes import DType
    from .._memory import Array

_BLOCK_BYTES = 8 * 1024 * 1024  # converted at a time: an array that needs it is never doubled


@contextmanager
def new_file(path: Path) -> Iterator[int]:
    """Open a data file that no commit names yet; remove it if the block fails.

    A file of that name can only be left over from a writer that died: it is unlinked, not
    truncated, because no file that someone may have mapped ever is.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


@contextmanager
def grown_file(path: Path, committed: int) -> Iterator[int]:
    """Open a data file to write behind its committed bytes, which must be there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        msg = f"the data file {path} is missing; restore it from a backup"
        raise CorruptStoreError(msg) from None
    try:
        if (size := os.fstat(descriptor).st_size) < committed:
            raise _too_short(path, committed, size)
        try:
            yield descriptor
        except OSError:  # the disk is full, say: give back what was taken; nobody maps it
            os.ftruncate(descriptor, committed)
            raise
    finally:
        os.close(descriptor)


def write(descriptor: int, array: Array, dtype: DType, offset: int) -> None:
    """Write an array's rows at `offset`, whatever its layout and byte order."""
    for block in _blocks(plain(array), dtype):
        offset += write_all(descriptor, _bytes(block), offset)


def read(path: Path, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Read rows into independent, writable, 64-byte-aligned memory."""
    array = aligned_empty(shape, dtype)
    if array.nbytes == 0:
        return array
    rest = memoryview(_bytes(array))  # type: ignore[arg-type]  # buffers are typed from 3.12 on
    with path.open("rb", buffering=0) as file:
        while rest:
            count = file.readinto(rest)
            if not count:
                raise _too_short(path, array.nbytes, array.nbytes - len(rest))
            rest = rest[count:]
    return array


def mapped(path: Path, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Map rows read-only; the array stays valid when the file is unlinked."""
    nbytes = math.prod(shape) * dtype.itemsize
    try:
        memory = map_file(path, nbytes)
    except ValueError:  # what mmap says of a file that is shorter
        raise _too_short(path, nbytes, path.stat().st_size) from None
    if nbytes == 0:
        memory = np.frombuffer(bytes(1), np.uint8)  # keeps an item size of 0, as S0 has
    return np.ndarray(shape, dtype, buffer=memory)


def _blocks(array: Array, dtype: DType) -> Iterator[Array]:
    if array.nbytes == 0:
        return
    if array.flags.c_contiguous and array.dtype == dtype:
        yield array
        return
    rows = array.reshape(1) if array.ndim == 0 else array
    step = max(1, _BLOCK_BYTES * len(rows) // rows.nbytes)
    for start in range(0, len(rows), step):
        block = aligned_empty(rows[start : start + step].shape, dtype)
        np.copyto(block, rows[start : start + step], casting="equiv")
        yield block


def _bytes(array: Array) -> Array:
    """View a contiguous array as bytes."""
    return array.reshape(-1).view(np.uint8)


def _too_short(path: Path, needed: int, found: int) -> CorruptStoreError:
    return CorruptStoreError(
        f"the data file {path} is damaged: it should have {needed:,} bytes and has {found:,}; "
        "restore it from a backup"
    )
