# The C interface of fast_path.pyx.

cdef object try_import_object(object obj, object framework)
cdef object try_import_column(object table, object name)
cdef object try_export_array(object array, object framework)
cdef object try_share(object obj, object target)
