# The C interface of pages.pyx.

from libc.stdint cimport uint64_t

cdef bint is_writable(uint64_t lowest, uint64_t beyond) noexcept
