# The C interface of buffers.pyx.

cimport cython


@cython.final
@cython.no_gc
cdef class _Memory:
    cdef void *data
    cdef size_t size
    cdef object owner


@cython.final
@cython.no_gc
cdef class BufferPool:
    cdef list _unused
    cdef int _most
    cdef object _allocate

    cpdef empty(self, tuple shape, dtype)
    cdef _Memory _get(self, nbytes)
    cdef _Memory _new(self, nbytes)
    cdef _put(self, _Memory memory)
