# The parts of `syscalls` that other native modules use; syscalls.pyx documents them.

from libc.stdint cimport int64_t


cdef int open_regular(int folder, const char *name, int flags, int64_t *size) noexcept nogil

cdef class Directory:
    cdef readonly int descriptor


cdef class OpenFile:
    cdef readonly int descriptor
