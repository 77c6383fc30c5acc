# cython: language_level=3
"""Queries of the kernel about mapped pages and the blocks of files."""

import os

from libc.errno cimport EOPNOTSUPP, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.stat cimport fstat, struct_stat

cdef extern from "pages.h" nogil:
    struct numpack_mapping:
        uint64_t start, end, flags, offset, inode
        uint32_t major, minor

    int numpack_own_mapping_at(
        uint64_t address, numpack_mapping *found, char *name, uint32_t room)
    int numpack_is_written_in_place(int descriptor)
    int numpack_reading_may_allocate(int descriptor, const struct_stat *status, int64_t length)
    int64_t numpack_first_hole(int descriptor, int64_t offset)
    int numpack_allocate(int descriptor, int64_t offset, int64_t length)
    void *numpack_map_private(void *address, size_t length, int descriptor)
    void numpack_forget_maps() noexcept
    int numpack_is_writable(uint64_t lowest, uint64_t beyond)


cdef extern from "pthread.h" nogil:
    int pthread_atfork(void (*)() noexcept, void (*)() noexcept, void (*)() noexcept)


def mappings_between(uint64_t lowest, uint64_t beyond):
    """Query the kernel for the mappings of this process that overlap a range of addresses.

    Returns
    -------
    list of tuple or None
        For each mapping its start, end, whether it is writable, whether it is shared, the
        offset, device and inode of its file, and its path. ``None`` if the kernel has no such
        query (before Linux 6.11).
    """
    cdef char name[4200]  # more than PATH_MAX
    cdef numpack_mapping found
    cdef int status
    result = []
    while lowest < beyond:
        status = numpack_own_mapping_at(lowest, &found, name, sizeof(name))
        if status < 0:
            return None
        if status == 0 or found.start >= beyond:
            break
        result.append((
            found.start, found.end, found.flags & 2 != 0, found.flags & 8 != 0, found.offset,
            os.makedev(found.major, found.minor), found.inode, os.fsdecode(<bytes>name),
        ))
        lowest = found.end
    return result


cdef bint is_writable(uint64_t lowest, uint64_t beyond) noexcept:
    """Check that all pages of a range are mapped writable; false if the kernel cannot tell."""
    return numpack_is_writable(lowest, beyond) == 1


if pthread_atfork(NULL, NULL, numpack_forget_maps) != 0:
    raise MemoryError


def remap_private(unsigned char[::1] memory, int descriptor) -> None:
    """Atomically replace a mapping of a whole file by private pages of the same file.

    Addresses remain valid and keep their values; later writes remain private.
    """
    if memory.shape[0]:
        if numpack_map_private(&memory[0], memory.shape[0], descriptor) == NULL:
            raise OSError(errno, os.strerror(errno))


def is_written_in_place(int descriptor) -> bool:
    """Check whether the file system overwrites blocks in place.

    If so, a write to mapped pages cannot run out of disk space. File systems that copy a block
    on write may run out, which raises SIGBUS.
    """
    return numpack_is_written_in_place(descriptor) == 1


def first_hole(int descriptor, int64_t offset, int64_t length) -> int:
    """Find the first byte from `offset` on that has no block on disk.

    Returns
    -------
    int
        `length` if there is no hole before it; `offset` if the file system cannot report holes.
    """
    if offset >= length:
        return length
    cdef int64_t found = numpack_first_hole(descriptor, offset)
    return offset if found < 0 else min(found, length)


def allocate(int descriptor, int64_t offset, int64_t length) -> None:
    """Allocate the missing blocks of a range of a file.

    Raises
    ------
    OSError
        For example, the disk is full.
    """
    cdef int error
    if length > 0:
        error = numpack_allocate(descriptor, offset, length)
        if error and error != EOPNOTSUPP:  # where unsupported, writing reports a full disk
            raise OSError(error, os.strerror(error))


def reading_may_allocate(int descriptor, int64_t length) -> bool:
    """Check whether reading mapped bytes of a file may allocate memory.

    On tmpfs, reading a hole through a mapping allocates a page, which raises SIGBUS if the file
    system is full.
    """
    cdef struct_stat status
    if fstat(descriptor, &status) < 0:
        raise OSError(errno, os.strerror(errno))
    return numpack_reading_may_allocate(descriptor, &status, length) == 1
