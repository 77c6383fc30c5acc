# cython: language_level=3
"""Base-class views of an array that keep the array object itself alive.

NumPy collapses chains of bases: the base of `ndarray.view`, of slices and of `reshape` is the
array that owns the memory, not the view they were made from, which may be collected. If
collecting that view frees the memory, as for a subclass with ``__del__`` or a finalizer, the
others dangle. A base that is not an array stops NumPy from collapsing the chain.

Source: NumPy, ``PyArray_SetBaseObject``.
"""

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject, Py_TYPE
from cpython.ref cimport Py_INCREF


cdef extern from "numpy/arrayobject.h":
    enum:
        NPY_MAXDIMS
    PyTypeObject PyArray_Type
    object PyArray_NewFromDescr(
        PyTypeObject *, cnp.PyArray_Descr *, int, const cnp.npy_intp *, const cnp.npy_intp *,
        void *, int, PyObject *
    )
    int PyArray_SetBaseObject(cnp.ndarray, PyObject *) except -1
    PyObject *PyArray_BASE(cnp.ndarray)

cnp.import_array()


@cython.final
@cython.no_gc
@cython.freelist(32)
cdef class ArrayOwner:
    """The base of a view: keeps the array and the object it was made from alive.

    Attributes
    ----------
    array : ndarray
    source : object
        The object the array was made from; None if there is no other.
    """

    cdef readonly object array
    cdef readonly object source


def base_view(cnp.ndarray array not None, source=None):
    """View an array as a base-class array that keeps it alive, without running its class's code.

    Strides of axes of length 1 are set to those of C order; an empty array is replaced by a new
    one. A base-class array that has such strides and is kept alive by all its views is returned
    as it is.

    Parameters
    ----------
    array : ndarray
    source : object, optional
        Kept alive as well.

    Returns
    -------
    ndarray
        Of the same dtype, shape and writability.
    """
    return owning_view(array, source)


cdef object owning_view(cnp.ndarray array, source):
    cdef cnp.npy_intp strides[NPY_MAXDIMS]
    cdef int ndim = cnp.PyArray_NDIM(array)
    if cnp.PyArray_SIZE(array) == 0:
        return _empty(array) if source is None else array
    if _normalize(array, strides) and source is None and _is_kept_by_views(array):
        return array
    return _view(array, ndim, cnp.PyArray_DIMS(array), strides, source)


cdef object flat_view(cnp.ndarray array):
    """View a C-contiguous array as one-dimensional, as `base_view` does."""
    cdef cnp.npy_intp size = cnp.PyArray_SIZE(array), stride = cnp.PyArray_ITEMSIZE(array)
    return _view(array, 1, &size, &stride, None)


cdef bint _normalize(cnp.ndarray array, cnp.npy_intp *strides) noexcept:
    """Compute normalized strides; return whether they equal the array's own."""
    cdef size_t step = cnp.PyArray_ITEMSIZE(array)
    cdef bint same = True
    cdef int i
    for i in range(cnp.PyArray_NDIM(array) - 1, -1, -1):
        strides[i] = cnp.PyArray_STRIDE(array, i)
        if cnp.PyArray_DIM(array, i) == 1 and strides[i] != <cnp.npy_intp>step:
            strides[i], same = <cnp.npy_intp>step, False
        step = <size_t>strides[i] * <size_t>cnp.PyArray_DIM(array, i)
    return same


cdef bint _is_kept_by_views(cnp.ndarray array) noexcept:
    """Check whether NumPy's views of an array have it, or its owner, as their base."""
    cdef PyObject *base = PyArray_BASE(array)
    if not cnp.PyArray_CheckExact(array):
        return False
    return base == NULL or Py_TYPE(<object>base) != &PyArray_Type


def from_address(
    size_t address, tuple shape, strides, cnp.dtype dtype, *, owner, bint readonly=False
):
    """View the memory at an address as an array that keeps `owner` alive.

    Parameters
    ----------
    address : int
        Address of the element at index (0, …, 0).
    shape : tuple of int
    strides : tuple of int or None
        In bytes; ``None`` for C order.
    dtype : numpy.dtype
    owner : object
        Kept alive by the array and its views.
    readonly : bool
    """
    cdef cnp.npy_intp extents[NPY_MAXDIMS]
    cdef cnp.npy_intp steps[NPY_MAXDIMS]
    cdef int ndim = len(shape), i
    cdef bint empty = False
    if ndim > NPY_MAXDIMS or dtype.hasobject or (strides is not None and len(strides) != ndim):
        raise ValueError(f"no array of {dtype} has the shape {shape} and strides {strides}")
    for i in range(ndim):
        extents[i] = shape[i]
        steps[i] = 0 if strides is None else strides[i]
        empty = empty or extents[i] == 0
    if empty:  # there is no memory to share or protect
        array = np.empty(shape, dtype)
        array.flags.writeable = not readonly
        return array
    return view_owned(
        <void *>address, ndim, extents, NULL if strides is None else steps, dtype,
        0 if readonly else cnp.NPY_ARRAY_WRITEABLE, owner, None,
    )


cpdef object readonly_view(cnp.ndarray array):
    """View a base-class array as read-only; an array that already is one is returned as it is."""
    if not cnp.PyArray_ISWRITEABLE(array):
        return array
    return _view_memory(
        array, cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.PyArray_STRIDES(array), None, 0
    )


def writable_alias(cnp.ndarray array not None):
    """View read-only memory as writable, for a framework without read-only arrays.

    The caller guarantees either that the framework never writes, or that a write cannot
    fault (see `mapped_files`) and a warning was issued. A writable array is returned as it is.
    """
    return writable_view(array)


cdef object writable_view(cnp.ndarray array):
    if cnp.PyArray_ISWRITEABLE(array):
        return array
    return _view_memory(
        array, cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.PyArray_STRIDES(array), None,
        cnp.NPY_ARRAY_WRITEABLE,
    )


cdef object _view(
    cnp.ndarray array, int ndim, const cnp.npy_intp *shape, const cnp.npy_intp *strides, source
):
    cdef int flags = cnp.NPY_ARRAY_WRITEABLE if cnp.PyArray_ISWRITEABLE(array) else 0
    return _view_memory(array, ndim, shape, strides, source, flags)


cdef object _view_memory(
    cnp.ndarray array,
    int ndim,
    const cnp.npy_intp *shape,
    const cnp.npy_intp *strides,
    source,
    int flags,
):
    descr = <object><PyObject *>cnp.PyArray_DESCR(array)
    return view_owned(
        cnp.PyArray_DATA(array), ndim, shape, strides, descr, flags, array, source
    )


cdef object view_owned(
    void *data,
    int ndim,
    const cnp.npy_intp *shape,
    const cnp.npy_intp *strides,
    descr,
    int flags,
    array,
    source,
):
    """View memory as an array whose base keeps two objects alive.

    Parameters
    ----------
    data : pointer
    ndim, shape, strides
        As of an ndarray; `strides` may be NULL for C order.
    descr : numpy.dtype
    flags : int
        ``NPY_ARRAY_WRITEABLE`` or 0.
    array, source : object
        As of `ArrayOwner`; `array` is released first.
    """
    cdef ArrayOwner owner = ArrayOwner.__new__(ArrayOwner)
    owner.array, owner.source = array, source
    Py_INCREF(descr)
    view = PyArray_NewFromDescr(
        &PyArray_Type, <cnp.PyArray_Descr *>descr, ndim, shape, strides, data, flags, NULL
    )
    Py_INCREF(owner)
    PyArray_SetBaseObject(<cnp.ndarray>view, <PyObject *>owner)
    return view


cdef object _empty(cnp.ndarray array):
    """Return a new empty array of the same shape: there is no memory to share or protect."""
    shape = tuple([cnp.PyArray_DIM(array, i) for i in range(cnp.PyArray_NDIM(array))])
    return np.empty(shape, <object><PyObject *>cnp.PyArray_DESCR(array))
