# The C interface of fast_export.pyx.

cimport numpy as cnp

from numpack._dlpack.fast_table cimport FastExport

cdef object make_object(FastExport half, cnp.ndarray array, object name)
