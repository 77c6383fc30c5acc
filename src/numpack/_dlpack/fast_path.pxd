# What _quick uses of _fast_paths at C speed; _fast_paths.pyx says what each does.

cdef object try_import_object(object obj, object framework)
cdef object try_import_column(object table, object name)
cdef object try_export_array(object array, object framework)
