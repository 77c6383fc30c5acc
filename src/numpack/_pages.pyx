# cython: language_level=3
"""Pages of files in memory: private ones, and where shared ones may be written."""

import os

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo
from cpython.ref cimport Py_DECREF
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from posix.mman cimport munmap
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close

cdef extern from "_pages.h" nogil:
    struct numpack_mapping:
        uint64_t start, end, flags, offset, inode
        uint32_t major, minor

    int numpack_mapping_at(
        int maps, uint64_t address, numpack_mapping *found, char *name, uint32_t room)
    int numpack_is_written_in_place(int descriptor)
    void *numpack_map_private(void *address, size_t length, int descriptor)


# The mappings there are: address to length, path, device and inode.
cdef dict ORIGINS = {}


@cython.final
@cython.no_gc
cdef class FileMapping:
    """The first bytes of a file, mapped privately; a buffer that is read-only.

    Its pages could be written all the same, privately. It stays valid when the file is
    unlinked, and can be found again through the descriptor, which it owns.

    Parameters
    ----------
    descriptor : int
        Closed with the mapping, or if the file cannot be mapped.
    length : int
        Positive.
    path : str
        Where the file was found.

    Raises
    ------
    ValueError
        The file is shorter.
    OSError
        It cannot be mapped.
    """

    cdef int descriptor
    cdef size_t length
    cdef void *address
    cdef object __weakref__

    def __cinit__(self, int descriptor, int64_t length, str path):
        cdef struct_stat status
        self.descriptor = descriptor
        if fstat(descriptor, &status) < 0:
            raise OSError(errno, os.strerror(errno))
        if length <= 0 or status.st_size < length:
            raise ValueError(f"the file has {status.st_size} bytes, not {length}")
        self.length = length
        self.address = numpack_map_private(NULL, length, descriptor)
        if self.address == NULL:
            raise OSError(errno, os.strerror(errno))
        ORIGINS[<uintptr_t>self.address] = length, path, (status.st_dev, status.st_ino)

    def __dealloc__(self):
        if self.address != NULL:
            ORIGINS.pop(<uintptr_t>self.address, None)
            munmap(self.address, self.length)
        if self.descriptor >= 0:
            close(self.descriptor)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.address, self.length, True, flags)
        Py_DECREF(None)  # which Cython has put into `buffer.obj`, and that has overwritten


def origin_of(uintptr_t address):
    """Find the mapping of this package in which an address lies.

    Returns
    -------
    tuple or None
        Address of the mapping, path and identity (device and inode) of its file.
    """
    for start, (length, path, identity) in list(ORIGINS.items()):
        if start <= address < start + length:
            return start, path, identity
    return None


def mappings_between(uint64_t lowest, uint64_t beyond):
    """Ask the kernel for the mappings of this process that hold bytes of a range.

    Returns
    -------
    list of tuple or None
        Of each its start, end, whether it may be written and is shared, the offset, device and
        inode of its file, and its name. ``None`` where the kernel cannot be asked so (before
        Linux 6.11).
    """
    cdef char name[4200]  # more than a path can have
    cdef numpack_mapping found
    cdef int status, maps
    try:
        maps = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    result = []
    try:
        while lowest < beyond:
            status = numpack_mapping_at(maps, lowest, &found, name, sizeof(name))
            if status < 0:
                return None
            if status == 0 or found.start >= beyond:
                break
            result.append((
                found.start, found.end, found.flags & 2 != 0, found.flags & 8 != 0, found.offset,
                os.makedev(found.major, found.minor), found.inode, os.fsdecode(<bytes>name),
            ))
            lowest = found.end
    finally:
        os.close(maps)
    return result


def make_private(unsigned char[::1] memory, int descriptor) -> None:
    """Put private pages of the same file in the place of a mapping of all of it, at once.

    The addresses stay valid and keep their values; what is written from now on stays there.
    """
    if memory.shape[0]:
        if numpack_map_private(&memory[0], memory.shape[0], descriptor) == NULL:
            raise OSError(errno, os.strerror(errno))


def is_written_in_place(int descriptor) -> bool:
    """Tell whether no write to pages that are mapped from a file can find the disk full.

    None can on file systems that write every block where it is; on the others, which copy
    a block when it is written, it would end the process (SIGBUS).
    """
    return numpack_is_written_in_place(descriptor) == 1
