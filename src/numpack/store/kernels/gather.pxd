# The parts of `gather` that other native modules use; gather.pyx documents them.

cimport numpy as cnp

cdef bint are_row_numbers(cnp.ndarray rows)
