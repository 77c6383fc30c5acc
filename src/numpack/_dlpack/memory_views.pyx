"""Arrays over the memory of buffers and of array interfaces, where these are plain.

The functions return None for what is not plain: formats of more than one letter, booleans (whose
bytes may be neither 0 nor 1), pointers, no elements, and whatever else needs a decision of the
adapters `buffer` and `array_interface`.
"""

import numpy as np

cimport numpy as cnp
from cpython.buffer cimport Py_buffer
from cpython.memoryview cimport PyMemoryView_FromObject, PyMemoryView_GET_BUFFER
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact

from numpack._core.owner cimport view_owned


cdef extern from "numpy/arrayobject.h":
    enum:
        NPY_MAXDIMS

cnp.import_array()

# struct's letters for C types, and their order marks for native memory
cdef dict _FORMATS = {
    (prefix + code).encode(): np.dtype(code) for prefix in ("", "@") for code in "bBhHiIlLqQefd"
}
_FORMATS |= {("=" + code).encode(): np.dtype(code) for code in "bBhHiIqQefd"}
_FORMATS |= {("<" + code).encode(): np.dtype("<" + code) for code in "bBhHiIqQefd" if np.little_endian}
cdef dict _TYPESTRS = {np.dtype(code).str: np.dtype(code) for code in "bBhHiIqQefdFD"}


def view_buffer(obj):
    """View the memory of an object with a plain buffer; the array keeps its export open.

    Returns
    -------
    ndarray or None
        Read-only if the buffer is.

    Raises
    ------
    TypeError, BufferError, ValueError
        The object exports no buffer.
    """
    memory = PyMemoryView_FromObject(obj)
    cdef Py_buffer *buffer = PyMemoryView_GET_BUFFER(memory)
    cdef cnp.npy_intp *strides = <cnp.npy_intp *>buffer.strides
    descr = None if buffer.format == NULL else _FORMATS.get(<bytes>buffer.format)
    if descr is None or buffer.itemsize != (<cnp.dtype>descr).itemsize or buffer.len <= 0:
        return None
    if buffer.ndim < 1 or buffer.ndim > NPY_MAXDIMS or buffer.suboffsets != NULL:
        return None
    if isinstance(memory.obj, np.ndarray) and np.ndarray.dtype.__get__(memory.obj) is not descr:
        return None  # a dtype that the format does not describe
    return view_owned(
        buffer.buf, buffer.ndim, <cnp.npy_intp *>buffer.shape, strides, descr,
        0 if buffer.readonly else cnp.NPY_ARRAY_WRITEABLE, memory, obj,
    )


def view_interface(obj):
    """View the memory that a plain ``__array_interface__`` of version 3 describes.

    Returns
    -------
    ndarray or None
        Keeps `obj` alive; read-only if the interface says so.
    """
    cdef cnp.npy_intp extents[NPY_MAXDIMS]
    cdef cnp.npy_intp steps[NPY_MAXDIMS]
    cdef dict interface
    cdef size_t address
    cdef int i
    found = obj.__array_interface__
    if type(found) is not dict:
        return None
    interface = found
    typestr, data, shape = interface.get("typestr"), interface.get("data"), interface.get("shape")
    descr = _TYPESTRS.get(typestr) if type(typestr) is str else None
    if descr is None or interface.get("mask") is not None or interface.get("offset"):
        return None
    if not PyTuple_CheckExact(data) or not PyTuple_CheckExact(shape) or interface.get("version") != 3:
        return None
    if interface.get("descr", None) not in (None, [("", typestr)]):
        return None
    again = obj.__array_interface__
    if again is not found and (type(again) is not dict or again.get("data") != data):
        return None  # it computes its values at each access
    strides = interface.get("strides")
    if len(<tuple>data) != 2 or not 0 < len(<tuple>shape) <= NPY_MAXDIMS:
        return None
    if strides is not None and (
        not PyTuple_CheckExact(strides) or len(<tuple>strides) != len(<tuple>shape)
    ):
        return None
    for i in range(len(<tuple>shape)):
        extents[i] = (<tuple>shape)[i]
        steps[i] = 0 if strides is None else (<tuple>strides)[i]
    if not _is_reachable(len(<tuple>shape), extents, steps, (<cnp.dtype>descr).itemsize):
        return None
    address = (<tuple>data)[0]
    if address == 0 or type((<tuple>data)[1]) is not bool:
        return None
    return view_owned(
        <void *>address, len(<tuple>shape), extents, NULL if strides is None else steps, descr,
        0 if (<tuple>data)[1] else cnp.NPY_ARRAY_WRITEABLE, obj, None,
    )


cdef double ADDRESS_LIMIT = 2.0**62  # in bytes, beyond any address space


cdef bint _is_reachable(
    int ndim, const cnp.npy_intp *shape, const cnp.npy_intp *strides, cnp.npy_intp itemsize
) noexcept:
    """Check that there are elements, and that the addresses of all are below a limit."""
    cdef double size = itemsize, reach = itemsize
    cdef int i
    for i in range(ndim):
        if shape[i] <= 0:
            return False
        size *= shape[i]
        reach += <double>(shape[i] - 1) * abs(<double>strides[i])
    return size < ADDRESS_LIMIT and reach < ADDRESS_LIMIT
