# The C interface of fast_import.pyx.

from numpack._dlpack.fast_table cimport FastImport

cdef object view_object(FastImport half, object obj)
cdef object call_or_none(object function, object argument)
cdef object call_named(object function, object argument, object name)
cdef object clear_error()
