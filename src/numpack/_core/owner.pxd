# What other modules use of _owner at C speed; _owner.pyx says what each does.

cimport numpy as cnp

cdef object flat(cnp.ndarray array)
cdef object view_kept(cnp.ndarray array, object given)
