# The C interface of batches.pyx.

cimport cython
from libc.stdint cimport int64_t


@cython.final
@cython.no_gc
cdef class Batch:
    cdef readonly int64_t start
    cdef readonly int64_t stop
    cdef readonly int64_t end
    cdef readonly bint is_last
