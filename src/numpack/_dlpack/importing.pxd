# What other modules use of _exchange at C speed; _exchange.pyx says what each does.

cimport numpy as cnp
from libc.stdint cimport uint64_t

from numpack._dlpack.abi.dlpack cimport DLDataType, DLTensor


cdef class Owner:
    cdef void *managed
    cdef bint versioned
    cdef object given
    cdef object kept

cdef enum Flaw:
    NONE, NDIM, NEGATIVE, HUGE, NO_DATA, STRIDES

cdef Flaw flaw_of(const DLTensor *tensor) noexcept nogil
cdef bint lies_within(const DLTensor *tensor, size_t start, size_t nbytes) noexcept nogil
cdef size_t itemsize_of(DLDataType dtype) noexcept nogil
cdef bint learn(DLDataType dtype, uint64_t flags) except -1
cdef bint name_of(cnp.ndarray array, DLDataType *name) except -1
cdef object view_or_none(const DLTensor *tensor, uint64_t flags, bint readonly, object owner)
cdef object take_or_none(object capsule, bint readonly, uint64_t tolerated, object given)
cdef Owner consume(object capsule)
cdef void delete_managed(void *managed, bint versioned) noexcept
