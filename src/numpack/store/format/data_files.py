"""Data files: an array's rows, in C order, little-endian, from byte 0; and their checksums."""

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
from ..fs.directory import failure, read_between, too_large, write_all
from ..fs.syscalls import size_of
from ..kernels.checksums import BLOCK, read_into, write_summed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from ..fs.directory import Folder
    from ..fs.syscalls import Opened
    from .catalog import Entry

    Progress = Callable[[int], None]

_CONVERTED_BYTES = 8 * BLOCK  # at a time: an array that needs it is never doubled
_SUM = 4  # bytes of a checksum
_CHUNK_BYTES = 64 * BLOCK  # written or read at a time, so that progress can be told


def no_progress(_nbytes: int) -> None:
    """Tell nobody."""


def threads() -> int:
    """Tell how many threads can run at once."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return min(8, len(affinity(0)) if affinity else os.cpu_count() or 1)


@contextmanager
def new_files(folder: Folder, entry: Entry) -> Iterator[int]:
    """Open a data file that no commit names yet; remove it, and its sums, if the block fails.

    A file of that name can only be left over from a writer that died: it is unlinked, not
    truncated, because no file that someone may have mapped ever is.
    """
    descriptor = folder.new(entry.data_file)
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except BaseException:
        folder.unlink(entry.data_file)
        folder.unlink(entry.sum_file)
        raise


def open_grown(folder: Folder, entry: Entry, flags: int = os.O_RDWR) -> Opened:
    """Open a data file, to write to it by default; its committed bytes must be there."""
    file = folder.opened(entry.data_file, flags)
    if size_of(file.descriptor) < entry.nbytes:
        raise too_short(folder, entry)
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
    """Write bytes at the end of an entry's.

    Parameters
    ----------
    folder : Folder
    descriptor : int
        The data file.
    entry : Entry
    chunks : iterable of ndarray
        Contiguous, see `chunks_of`.
    offset : int
        Where in the file the entry ends.
    progress : callable
    durable : bool

    Returns
    -------
    int
        CRC-32 of the bytes behind the last whole block: the tail of the entry to come.
    """
    start = offset
    tail, sums = entry.tail, b""
    for chunk in chunks:
        whole, tail = write_summed(descriptor, chunk, offset, tail)
        sums += whole
        offset += chunk.nbytes
        progress(chunk.nbytes)
    if sums:
        write_sums(folder, entry, start // BLOCK, sums)
    if durable:
        os.fdatasync(descriptor)
        if sums:
            folder.sync_file(entry.sum_file)
    return tail


def write_sums(folder: Folder, entry: Entry, first: int, sums: bytes) -> None:
    """Write the checksums of whole blocks, from block `first` on."""
    descriptor = folder.open(entry.sum_file, os.O_WRONLY | os.O_CREAT)
    try:
        write_all(descriptor, sums, _SUM * first)
    finally:
        os.close(descriptor)


def read_sums(folder: Folder, entry: Entry) -> Array:
    """Read the checksums of all blocks, that of the last one from the log.

    Returns
    -------
    ndarray of uint32
        Shorter than there are blocks if the file of the checksums was cut.
    """
    if entry.nbytes < BLOCK:
        return sums_in(b"", entry)
    try:
        descriptor = folder.open(entry.sum_file)
    except FileNotFoundError:
        return np.empty(0, np.uint32)
    try:
        return sums_in(read_between(descriptor, 0, _SUM * (entry.nbytes // BLOCK)), entry)
    finally:
        os.close(descriptor)


def sums_in(content: bytes, entry: Entry) -> Array:
    """Give the checksums of all blocks, of which those of whole blocks are in a file."""
    count, rest = divmod(entry.nbytes, BLOCK)
    if len(content) == _SUM * count and rest:
        content += entry.tail.to_bytes(_SUM, "little")
    sums: Array = np.frombuffer(content[: len(content) // _SUM * _SUM], "<u4").astype(np.uint32)
    return sums


def read(folder: Folder, entry: Entry, progress: Progress = no_progress) -> Array:
    """Read the stored rows into independent, writable, 64-byte-aligned memory."""
    dtype = entry.dtype
    with open_grown(folder, entry, os.O_RDONLY) as descriptor:
        array = _room(folder, entry, dtype)
        memory = as_bytes(array)
        for start in range(0, len(memory), _CHUNK_BYTES):
            part = memory[start : start + _CHUNK_BYTES]
            count = read_part(folder, entry.data_file, descriptor, part, start)
            if count < len(part):
                raise too_short(folder, entry)
            progress(count)
    return array


def read_whole(descriptor: int, buffer: Array, offset: int) -> None:
    """Fill a buffer from a file that holds as many bytes."""
    if read_into(descriptor, buffer, offset, 1) < len(buffer):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def _room(folder: Folder, entry: Entry, dtype: DType) -> Array:
    try:
        return aligned_empty(entry.stored, dtype)
    except (MemoryError, ValueError):
        raise too_large(f"{folder.path}/{entry.data_file}", entry.nbytes) from None


def read_part(folder: Folder, name: str, descriptor: int, part: Array, start: int) -> int:
    """Read a part of a file on several threads; fewer bytes are only read where it ends."""
    try:
        return read_into(descriptor, part, start, threads())
    except OSError as error:
        if error.errno is None:  # raised by a signal handler, say
            raise
        raise failure(f"{folder.path}/{name}", error, name) from error


def mapped(folder: Folder, entry: Entry) -> tuple[Array, str]:
    """Map the stored rows read-only; the array stays valid when the file is unlinked.

    What cannot be read from a mapping without risk is read into memory.

    Returns
    -------
    ndarray
    str
        The path of the file.
    """
    name, dtype, nbytes = entry.data_file, entry.dtype, entry.nbytes
    path = f"{folder.path}/{name}"
    file = folder.opened(name)
    if not nbytes:
        file.close()
        empty = shaped(np.empty(0, np.uint8), dtype, entry.stored)
        empty.flags.writeable = False
        return empty, path
    if reading_may_allocate(file.descriptor, nbytes):
        file.close()
        array = read(folder, entry)
        array.flags.writeable = False
        return array, path
    try:
        return FileMapping(file, nbytes, path, READABLE).array(entry.stored, dtype), path
    except ValueError:  # what is said of a file that is shorter
        raise too_short(folder, entry) from None
    except OSError as error:
        raise failure(path, error, name) from error


def shaped(memory: Array, dtype: DType, shape: tuple[int, ...]) -> Array:
    """View the bytes of a data file as the rows that they are."""
    if len(memory) == 0:
        memory = np.frombuffer(bytes(1), np.uint8)  # keeps an item size of 0, as S0 has
    return np.ndarray(shape, dtype, buffer=memory)


def is_open_in_place(folder: Folder, entry: Entry) -> bool:
    """Return whether somebody has an array open in `writable_batch_mode` now."""
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
    """Give rows in C order and in the dtype of the store, copied only if they are not."""
    array = normalize_strides(array)
    if array.flags.c_contiguous and array.dtype == dtype:
        return array
    fresh = aligned_empty(array.shape, dtype)
    np.copyto(fresh, array, casting="equiv")
    return fresh


def missing_sums(folder: Folder, entry: Entry) -> CorruptStoreError:
    """Make the error for checksums that are gone."""
    return CorruptStoreError(
        f"the checksums {folder.path}/{entry.sum_file} are missing or cut: rows cannot be "
        "replaced; save the array anew if verify() finds no other damage"
    )


def too_short(folder: Folder, entry: Entry) -> CorruptStoreError:
    """Make the error for a data file that was cut."""
    found = folder.size(entry.data_file)
    return CorruptStoreError(
        f"the data file {folder.path}/{entry.data_file} is damaged: it should have "
        f"{entry.nbytes:,} bytes and has {found:,}; restore it from a backup"
    )


def chunks_of(array: Array, dtype: DType) -> Iterator[Array]:
    """Iterate over an array in C order and in the dtype of the store, some MiB at a time."""
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
    if rows.ndim > 1 and rows.nbytes > _CONVERTED_BYTES * len(rows):  # long ones
        for row in rows:
            yield from _converted(row, dtype)
        return
    step = max(1, _CONVERTED_BYTES * len(rows) // rows.nbytes)
    for start in range(0, len(rows), step):
        yield little_endian(rows[start : start + step], dtype)
