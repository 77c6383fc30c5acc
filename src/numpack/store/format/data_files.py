"""Data files: an array's rows in C order, little-endian from byte 0, and their checksums."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ..._core.file_mapping import READABLE, FileMapping
from ..._core.memory import aligned_empty, normalize_strides
from ..._core.pages import reading_may_allocate
from ...errors import CorruptStoreError
from ..fs.directory import read_between, write_all
from ..fs.errors import store_error, too_large_error
from ..fs.syscalls import size_of
from ..kernels.checksums import BLOCK, read_into, write_checksummed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from ..fs.directory import Folder
    from ..fs.syscalls import OpenFile
    from .log.state import Entry

    Progress = Callable[[int], None]

_CONVERTED_BYTES = 8 * BLOCK  # converted at a time, so that no copy of the whole array is made
_CHECKSUM_BYTES = 4
_ROW_NUMBER_BYTES = 8
_CHUNK_BYTES = 64 * BLOCK  # written or read between two reports of progress


def no_progress(_nbytes: int) -> None:
    """Ignore the progress."""


def thread_count() -> int:
    """Return how many threads can run at once, at most 8."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return min(8, len(affinity(0)) if affinity else os.cpu_count() or 1)


@contextmanager
def create_files(folder: Folder, entry: Entry) -> Iterator[int]:
    """Create a data file that no commit names yet; remove the array's files on failure.

    An existing file of that name is an orphan of a writer that died. It is unlinked, not
    truncated, because another process may have mapped it.
    """
    descriptor = folder.new(entry.data_file)
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except BaseException:
        folder.unlink(entry.data_file)
        folder.unlink(entry.checksum_file)
        folder.unlink(entry.dropped_file)
        raise


def open_committed(folder: Folder, entry: Entry, flags: int = os.O_RDWR) -> OpenFile:
    """Open a data file, by default for writing; check that all committed bytes are there."""
    file = folder.open_file(entry.data_file, flags)
    if size_of(file.descriptor) < entry.nbytes:
        raise too_short_error(folder, entry)
    return file


def write(
    folder: Folder,
    descriptor: int,
    entry: Entry,
    chunks: Iterable[Array],
    offset: int,
    *,
    progress: Progress = no_progress,
    durable: bool = False,
) -> int:
    """Write chunks after the committed bytes of an array, and their checksums.

    Parameters
    ----------
    folder : Folder
    descriptor : int
        The data file.
    entry : Entry
    chunks : iterable of ndarray
        Contiguous, see `chunks_of`.
    offset : int
        End of the committed bytes in the file.
    progress : callable
        Called with the number of bytes written, after each chunk.
    durable : bool
        Whether to flush data and checksums to the device.

    Returns
    -------
    int
        CRC-32 of the bytes after the last full block: the `tail` of the next entry.
    """
    checksums, tail = write_chunks(descriptor, chunks, offset, entry.tail, progress=progress)
    if checksums:
        write_checksums(folder, entry, offset // BLOCK, checksums)
    if durable:
        os.fdatasync(descriptor)
        if checksums:
            folder.sync_file(entry.checksum_file)
    return tail


def write_chunks(
    descriptor: int,
    chunks: Iterable[Array],
    offset: int,
    tail: int,
    *,
    progress: Progress = no_progress,
) -> tuple[bytes, int]:
    """Write contiguous chunks one after the other; return their checksums.

    Parameters and results are those of `checksums.write_checksummed`, for all chunks.
    """
    checksums = b""
    for chunk in chunks:
        full_blocks, tail = write_checksummed(descriptor, chunk, offset, tail)
        checksums += full_blocks
        offset += chunk.nbytes
        progress(chunk.nbytes)
    return checksums, tail


def copy_files(folder: Folder, entry: Entry, identifier: str, *, durable: bool) -> Entry:
    """Copy an array's files to another id; return the entry of the copy.

    The checksums are copied, not computed again, so that damage remains detectable.
    """
    made = entry.replace(id=identifier)
    with create_files(folder, made) as descriptor:
        _copy_rows(folder, entry, descriptor)
        if durable:
            os.fdatasync(descriptor)
        checksums = _CHECKSUM_BYTES * (entry.nbytes // BLOCK)
        _copy_start(folder, entry.checksum_file, made.checksum_file, checksums, durable=durable)
        dropped = _ROW_NUMBER_BYTES * entry.dropped
        _copy_start(folder, entry.dropped_file, made.dropped_file, dropped, durable=durable)
    return made


def _copy_rows(folder: Folder, entry: Entry, descriptor: int) -> None:
    buffer = aligned_empty((min(_CONVERTED_BYTES, entry.nbytes),), np.dtype(np.uint8))
    with open_committed(folder, entry, os.O_RDONLY) as source:
        for start in range(0, entry.nbytes, _CONVERTED_BYTES):
            part = buffer[: entry.nbytes - start]
            if read_part(folder, entry.data_file, source, part, start) < len(part):
                raise too_short_error(folder, entry)
            write_all(descriptor, part, start)


def _copy_start(folder: Folder, name: str, new: str, length: int, *, durable: bool) -> None:
    """Copy the first bytes of a file; do nothing if there are none."""
    if not length:
        return
    with folder.open_file(name) as source:
        content = read_between(source, 0, length)
    descriptor = folder.new(new)
    try:
        write_all(descriptor, content, 0)
        if durable:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def write_checksums(folder: Folder, entry: Entry, first: int, checksums: bytes) -> None:
    """Write the checksums of full blocks, from block `first` on."""
    descriptor = folder.open(entry.checksum_file, os.O_WRONLY | os.O_CREAT)
    try:
        write_all(descriptor, checksums, _CHECKSUM_BYTES * first)
    finally:
        os.close(descriptor)


def read_checksums(folder: Folder, entry: Entry) -> Array:
    """Return the checksums of all blocks; that of the last, partial one is in the log.

    Returns
    -------
    ndarray of uint32
        Shorter than the number of blocks if the checksum file was truncated.
    """
    if entry.nbytes < BLOCK:
        return checksums_from(b"", entry)
    try:
        descriptor = folder.open(entry.checksum_file)
    except FileNotFoundError:
        return np.empty(0, np.uint32)
    try:
        return checksums_from(
            read_between(descriptor, 0, _CHECKSUM_BYTES * (entry.nbytes // BLOCK)), entry
        )
    finally:
        os.close(descriptor)


def checksums_from(content: bytes, entry: Entry) -> Array:
    """Return the checksums of all blocks, given the content of the checksum file."""
    count, rest = divmod(entry.nbytes, BLOCK)
    if len(content) == _CHECKSUM_BYTES * count and rest:
        content += entry.tail.to_bytes(_CHECKSUM_BYTES, "little")
    length = len(content) // _CHECKSUM_BYTES * _CHECKSUM_BYTES
    checksums: Array = np.frombuffer(content[:length], "<u4").astype(np.uint32)
    return checksums


def read(folder: Folder, entry: Entry, progress: Progress = no_progress) -> Array:
    """Read all rows of the data file into independent, writable, 64-byte-aligned memory."""
    with open_committed(folder, entry, os.O_RDONLY) as descriptor:
        return read_at(folder, entry, descriptor, 0, progress)


def read_at(
    folder: Folder,
    entry: Entry,
    descriptor: int,
    offset: int,
    progress: Progress = no_progress,
) -> Array:
    """Read all rows from an offset of a file on, as `read` does."""
    array = _allocate(folder, entry, entry.dtype)
    memory = as_bytes(array)
    for start in range(0, len(memory), _CHUNK_BYTES):
        part = memory[start : start + _CHUNK_BYTES]
        count = read_part(folder, entry.data_file, descriptor, part, offset + start)
        if count < len(part):
            raise too_short_error(folder, entry)
        progress(count)
    return array


def read_exactly(descriptor: int, buffer: Array, offset: int) -> None:
    """Fill a buffer from a file; raise `OSError` if the file is too short."""
    if read_into(descriptor, buffer, offset, 1) < len(buffer):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def _allocate(folder: Folder, entry: Entry, dtype: DType) -> Array:
    try:
        return aligned_empty(entry.stored, dtype)
    except (MemoryError, ValueError):
        raise too_large_error(f"{folder.path}/{entry.data_file}", entry.nbytes) from None


def read_part(folder: Folder, name: str, descriptor: int, part: Array, start: int) -> int:
    """Read part of a file with several threads; return the bytes read, fewer at its end."""
    try:
        return read_into(descriptor, part, start, thread_count())
    except OSError as error:
        if error.errno is None:  # raised by a signal handler
            raise
        raise store_error(f"{folder.path}/{name}", error) from error


def map_rows(folder: Folder, entry: Entry) -> tuple[Array, str]:
    """Map all rows of the data file read-only; the array stays valid if it is unlinked.

    Where reading a hole through a mapping allocates memory, as on tmpfs, the rows are copied
    into memory instead: on a full file system, such a read raises SIGBUS.

    Returns
    -------
    ndarray
    str
        Path of the file.
    """
    name, dtype, nbytes = entry.data_file, entry.dtype, entry.nbytes
    path = f"{folder.path}/{name}"
    file = folder.open_file(name)
    if not nbytes:
        file.close()
        empty = as_rows(np.empty(0, np.uint8), dtype, entry.stored)
        empty.flags.writeable = False
        return empty, path
    if reading_may_allocate(file.descriptor, nbytes):
        file.close()
        array = read(folder, entry)
        array.flags.writeable = False
        return array, path
    try:
        return FileMapping(file, nbytes, path, READABLE).array(entry.stored, dtype), path
    except ValueError:  # the file is too short
        raise too_short_error(folder, entry) from None
    except OSError as error:
        raise store_error(path, error) from error


def as_rows(memory: Array, dtype: DType, shape: tuple[int, ...]) -> Array:
    """View the bytes of a data file as an array of rows."""
    if len(memory) == 0:
        memory = np.frombuffer(bytes(1), np.uint8)  # preserves an item size of 0, as of S0
    return np.ndarray(shape, dtype, buffer=memory)


def is_open_in_place(folder: Folder, entry: Entry) -> bool:
    """Return whether any process has an array open in `writable_batch_mode`.

    The mode holds a shared `flock` on the data file.
    """
    if not entry.writable:
        return False
    descriptor = folder.open(entry.data_file)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def as_bytes(array: Array) -> Array:
    """View a contiguous array as bytes."""
    return array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)


def little_endian(array: Array, dtype: DType) -> Array:
    """Return rows in C order and in the dtype of the store; copy only if necessary."""
    array = normalize_strides(array)
    if array.flags.c_contiguous and array.dtype == dtype:
        return array
    fresh = aligned_empty(array.shape, dtype)
    if fresh.nbytes:
        np.copyto(fresh, array, casting="equiv")
    return fresh


def missing_checksums_error(folder: Folder, entry: Entry) -> CorruptStoreError:
    """Return the error for a checksum file that is missing or truncated."""
    return CorruptStoreError(
        f"the checksums {folder.path}/{entry.checksum_file} are missing or truncated: rows "
        "cannot be replaced; save the array again if verify() finds no other damage"
    )


def too_short_error(folder: Folder, entry: Entry) -> CorruptStoreError:
    """Return the error for a data file that was truncated."""
    found = folder.size(entry.data_file)
    return CorruptStoreError(
        f"the data file {folder.path}/{entry.data_file} is damaged: it should have "
        f"{entry.nbytes:,} bytes and has {found:,}; restore it from a backup"
    )


def chunks_of(array: Array, dtype: DType) -> Iterator[Array]:
    """Iterate over contiguous chunks of an array, in C order and in the dtype of the store."""
    array = normalize_strides(array)
    if array.nbytes == 0:
        return
    if array.flags.c_contiguous and array.dtype == dtype:
        memory = as_bytes(array)
        for start in range(0, len(memory), _CHUNK_BYTES):
            yield memory[start : start + _CHUNK_BYTES]
    else:
        yield from _converted(array.reshape(1) if array.ndim == 0 else array, dtype)


def _converted(rows: Array, dtype: DType) -> Iterator[Array]:
    if rows.ndim > 1 and rows.nbytes > _CONVERTED_BYTES * len(rows):  # each row is too long
        for row in rows:
            yield from _converted(row, dtype)
        return
    step = max(1, _CONVERTED_BYTES * len(rows) // rows.nbytes)
    for start in range(0, len(rows), step):
        yield little_endian(rows[start : start + step], dtype)
