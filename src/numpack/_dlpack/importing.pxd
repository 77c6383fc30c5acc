# The C interface of importing.pyx.

cimport numpy as cnp
from libc.stdint cimport uint64_t

from numpack._dlpack.abi.dlpack cimport DLDataType, DLTensor


cdef class TensorOwner:
    cdef void *managed
    cdef bint versioned
    cdef object producer
    cdef object storage

cdef enum TensorError:
    VALID, BAD_NDIM, NEGATIVE, TOO_LARGE, NO_DATA, BAD_STRIDES

cdef TensorError validate(const DLTensor *tensor) noexcept nogil
cdef bint is_within(const DLTensor *tensor, size_t start, size_t nbytes) noexcept nogil
cdef size_t itemsize_of(DLDataType dtype) noexcept nogil
cdef bint load_dtype(DLDataType dtype, uint64_t flags) except -1
cdef bint dlpack_dtype(cnp.ndarray array, DLDataType *dtype) except -1
cdef object view_or_none(const DLTensor *tensor, uint64_t flags, bint readonly, object owner)
cdef object consume_or_none(object capsule, bint readonly, uint64_t ignored_flags, object producer)
cdef TensorOwner consume_any(object capsule)
cdef void delete_managed(void *managed, bint versioned) noexcept
