# cython: language_level=3
"""Base-class views of an array's memory that keep the very object that was given alive.

The base of an array that NumPy makes is never a view of the same class: `ndarray.view`, slices
and `reshape` refer to whatever that view was made of, and the view itself may go. An object that
frees the memory when it goes, a subclass with ``__del__`` or one with a finalizer, would do so
under their feet. A base that is no array ends NumPy's search.

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
    """The base of a view: holds the array that has the memory, and what else has to live.

    Attributes
    ----------
    array : ndarray
    given : object
        What the array was made of; None if it was given itself.
    """

    cdef readonly object array
    cdef readonly object given


def base_view(cnp.ndarray array not None, given=None):
    """View an array as one of the base class that keeps it alive; no code of its class runs.

    The strides of axes of length 1 are those of C order, and an array without elements is
    another one. What is an array of the base class with such strides, all views of which keep
    it alive, is returned as it is.

    Parameters
    ----------
    array : ndarray
    given : object, optional
        Kept alive as well.

    Returns
    -------
    ndarray
        Of the same dtype, shape and writability.
    """
    return view_kept(array, given)


cdef object view_kept(cnp.ndarray array, given):
    cdef cnp.npy_intp strides[NPY_MAXDIMS]
    cdef int ndim = cnp.PyArray_NDIM(array)
    if cnp.PyArray_SIZE(array) == 0:
        return _empty(array) if given is None else array
    if _normalize(array, strides) and given is None and _is_anchored(array):
        return array
    return _view(array, ndim, cnp.PyArray_DIMS(array), strides, given)


cdef object flat(cnp.ndarray array):
    """View a C-contiguous array as one of one dimension, as `base_view` does."""
    cdef cnp.npy_intp size = cnp.PyArray_SIZE(array), stride = cnp.PyArray_ITEMSIZE(array)
    return _view(array, 1, &size, &stride, None)


cdef bint _normalize(cnp.ndarray array, cnp.npy_intp *strides) noexcept:
    """Fill in strides that each mean something; tell whether the array's own do."""
    cdef size_t step = cnp.PyArray_ITEMSIZE(array)
    cdef bint same = True
    cdef int i
    for i in range(cnp.PyArray_NDIM(array) - 1, -1, -1):
        strides[i] = cnp.PyArray_STRIDE(array, i)
        if cnp.PyArray_DIM(array, i) == 1 and strides[i] != <cnp.npy_intp>step:
            strides[i], same = <cnp.npy_intp>step, False
        step = <size_t>strides[i] * <size_t>cnp.PyArray_DIM(array, i)
    return same


cdef bint _is_anchored(cnp.ndarray array) noexcept:
    """Tell whether NumPy's views of an array refer to it, and not to what it is a view of."""
    cdef PyObject *base = PyArray_BASE(array)
    if not cnp.PyArray_CheckExact(array):
        return False
    return base == NULL or Py_TYPE(<object>base) != &PyArray_Type


cdef object _view(
    cnp.ndarray array, int ndim, const cnp.npy_intp *shape, const cnp.npy_intp *strides, given
):
    cdef ArrayOwner owner = ArrayOwner.__new__(ArrayOwner)
    descr = <object><PyObject *>cnp.PyArray_DESCR(array)
    owner.array, owner.given = array, given
    Py_INCREF(descr)
    view = PyArray_NewFromDescr(
        &PyArray_Type, <cnp.PyArray_Descr *>descr, ndim, shape, strides,
        cnp.PyArray_DATA(array),
        cnp.NPY_ARRAY_WRITEABLE if cnp.PyArray_ISWRITEABLE(array) else 0, NULL,
    )
    Py_INCREF(owner)
    PyArray_SetBaseObject(<cnp.ndarray>view, <PyObject *>owner)
    return view


cdef object _empty(cnp.ndarray array):
    """Make another array without elements: there is nothing to share, nor to protect."""
    shape = tuple([cnp.PyArray_DIM(array, i) for i in range(cnp.PyArray_NDIM(array))])
    return np.empty(shape, <object><PyObject *>cnp.PyArray_DESCR(array))
