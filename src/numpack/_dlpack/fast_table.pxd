# The C interface of fast_table.pyx.

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from numpack._dlpack.abi.dlpack cimport DLPackExchangeAPI


cdef class ResizableStorage:
    cdef object storage_type
    cdef object storage_of
    cdef object is_resizable
    cdef object address
    cdef object nbytes
    cdef object pin

cdef class FastImport:
    cdef str framework
    cdef bint exchanged  # by DLPack
    cdef const DLPackExchangeAPI *api  # NULL: use `producer`
    cdef object guard
    cdef object dtype_guard
    cdef ResizableStorage storage
    cdef object producer
    cdef bint readonly
    cdef object view
    cdef uint64_t dtypes  # a bit for each type number of NumPy that `view` returns; 0 for any
    cdef bint owned
    cdef object columns
    cdef bint named

cdef class FastExport:
    cdef const DLPackExchangeAPI *api  # NULL: use `consumer`, or else `make`
    cdef object result_type  # of the exchange API
    cdef object consumer
    cdef object make
    cdef uint64_t dtypes  # a bit for each type number of NumPy
    cdef bint order_c
    cdef size_t alignment
    cdef int min_ndim
    cdef int max_ndim
    cdef bint may_write
    cdef object caution
    cdef bint as_is
    cdef bint named
    cdef object from_columns

cdef PyObject *import_of(PyObject *cls) except? NULL
cdef PyObject *export_of(object framework) except? NULL
