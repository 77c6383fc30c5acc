# cython: language_level=3
"""Memory of batches, which is used again as soon as nothing refers to a batch any more."""

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.limits cimport INT_MAX
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free

from ...errors import NoMemoryError


cdef extern from "stdlib.h":
    int posix_memalign(void **, size_t, size_t) noexcept nogil

cdef extern from "huge_pages.h":
    void numpack_init_advice()
    void numpack_advise(void *, size_t)

cdef extern from "numpy/arrayobject.h":
    enum:
        NPY_MAXDIMS
    PyTypeObject PyArray_Type
    object PyArray_NewFromDescr(
        PyTypeObject *, cnp.PyArray_Descr *, int, const cnp.npy_intp *, const cnp.npy_intp *,
        void *, int, PyObject *)
    int PyArray_SetBaseObject(cnp.ndarray, PyObject *) except -1

cnp.import_array()
numpack_init_advice()

cdef enum:
    ALIGNMENT = 64


@cython.final
@cython.no_gc
cdef class _Memory:
    """A block of memory.

    `owner` is the object that it belongs to; None if it is freed with this one.
    """

    def __dealloc__(self):
        if self.owner is None:
            free(self.data)


@cython.final
@cython.no_gc
cdef class _Lease:
    """The base of an array: puts the memory back when the array and all its views are gone."""

    cdef _Memory memory
    cdef BufferPool pool

    def __dealloc__(self):
        if self.pool is not None and self.memory is not None:
            self.pool._put(self.memory)


@cython.final
@cython.no_gc
cdef class BufferPool:
    """Blocks of memory for arrays of one size, or of about one size.

    Parameters
    ----------
    most : int
        Number of unused blocks to keep.
    allocate : callable, optional
        Returns an object that owns a number of bytes, and their address. By default, memory
        at a multiple of 64 bytes is allocated.
    """

    def __init__(self, most, allocate=None):
        self._unused, self._most, self._allocate = [], min(most, INT_MAX), allocate

    cpdef empty(self, tuple shape, dtype):
        """Return an uninitialized, C-contiguous array at a multiple of 64 bytes.

        Its memory is used again when neither the array nor anything that shares its memory
        and keeps it alive exists.

        Raises
        ------
        NoMemoryError
        """
        cdef cnp.npy_intp[NPY_MAXDIMS] extents
        cdef int axis, ndim = len(shape)
        cdef Py_ssize_t size = (<cnp.dtype?>dtype).itemsize
        if ndim > NPY_MAXDIMS or dtype.hasobject:
            raise ValueError(f"no array of {dtype} has {ndim} axes in memory of a pool")
        for axis in range(ndim):
            extents[axis] = shape[axis]
        nbytes = size
        for extent in shape:
            nbytes *= extent  # a Python integer, which does not overflow
        cdef _Lease lease = _Lease.__new__(_Lease)
        lease.pool, lease.memory = self, self._get(nbytes)
        Py_INCREF(dtype)  # PyArray_NewFromDescr steals a reference
        array = PyArray_NewFromDescr(
            &PyArray_Type, <cnp.PyArray_Descr *>dtype, ndim, extents, NULL, lease.memory.data,
            cnp.NPY_ARRAY_CARRAY, NULL,
        )
        Py_INCREF(lease)  # PyArray_SetBaseObject steals a reference
        PyArray_SetBaseObject(array, <PyObject *>lease)
        return array

    cdef _Memory _get(self, nbytes):
        cdef _Memory memory
        while self._unused:
            memory = self._unused.pop()
            if memory.size >= nbytes:
                return memory
        return self._new(nbytes)

    cdef _Memory _new(self, nbytes):
        cdef _Memory memory = _Memory.__new__(_Memory)
        if self._allocate is not None:
            memory.owner, address = self._allocate(nbytes)
            memory.data = <void *><uintptr_t>address
            memory.size = nbytes
            return memory
        try:
            memory.size = max(nbytes, 1)
        except OverflowError:
            raise no_memory(nbytes) from None
        if posix_memalign(&memory.data, ALIGNMENT, memory.size) != 0:
            memory.data = NULL
            raise no_memory(nbytes)
        numpack_advise(memory.data, memory.size)
        return memory

    cdef _put(self, _Memory memory):
        if len(self._unused) < self._most:
            self._unused.append(memory)


cdef no_memory(nbytes):
    return NoMemoryError(
        f"there is no memory for a batch of {nbytes:,} bytes; make batch_size or prefetch smaller"
    )
