# What _quick uses of _doors at C speed; _doors.pyx says what each does.

cdef object take_object(object obj, object framework)
cdef object take_column(object table, object name)
cdef object give_array(object array, object framework)
