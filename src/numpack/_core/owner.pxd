# The C interface of owner.pyx.

cimport numpy as cnp

cdef object flat_view(cnp.ndarray array)
cdef object owning_view(cnp.ndarray array, object source)
