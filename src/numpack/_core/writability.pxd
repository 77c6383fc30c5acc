# The C interface of writability.pyx.

cimport numpy as cnp

cdef bint is_safe_to_write(cnp.ndarray array) except -1
