# The C interface of owner.pyx.

cimport numpy as cnp

cdef object flat_view(cnp.ndarray array)
cdef object owning_view(cnp.ndarray array, object source)
cpdef object readonly_view(cnp.ndarray array)
cdef object writable_view(cnp.ndarray array)
cdef object view_owned(
    void *data,
    int ndim,
    const cnp.npy_intp *shape,
    const cnp.npy_intp *strides,
    object descr,
    int flags,
    object array,
    object source,
)
