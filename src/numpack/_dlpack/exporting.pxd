# The C interface of exporting.pyx.

cimport numpy as cnp
from libc.stdint cimport uint64_t

from numpack._dlpack.abi.dlpack cimport DLManagedTensorVersioned


cdef class Exporter:
    cdef public cnp.ndarray array

cdef bint is_unrestricted(cnp.ndarray array) noexcept
cdef DLManagedTensorVersioned *managed_tensor(
    cnp.ndarray array, uint64_t flags, bint *deleted
) except? NULL
cdef void unwatch(DLManagedTensorVersioned *managed) noexcept
cdef object capsule_or_none(cnp.ndarray array, bint versioned, uint64_t flags)
