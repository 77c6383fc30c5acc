# cython: language_level=3
"""Whether a framework may write to an array's memory, asked without Python calls."""

import mmap

from .file_mapping import origin_of
from .owner import ArrayOwner

cimport numpy as cnp
from cpython.bytes cimport PyBytes_CheckExact
from cpython.bytearray cimport PyByteArray_CheckExact
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from numpack._core.pages cimport is_writable


cdef extern from "numpy/arrayobject.h":
    PyObject *PyArray_BASE(cnp.ndarray)

cdef extern from "Python.h":
    bint PyMemoryView_Check(object)

cnp.import_array()

cdef object _MMAP = mmap.mmap


def memory_root(array):
    """Follow the chain of bases of an array to the object that owns the memory."""
    return _root(array)


cdef object _root(owner):
    while True:
        if cnp.PyArray_Check(owner) and PyArray_BASE(<cnp.ndarray>owner) != NULL:
            owner = <object>PyArray_BASE(<cnp.ndarray>owner)
        elif type(owner) is ArrayOwner:
            owner = owner.array
        elif PyMemoryView_Check(owner):
            owner = owner.obj
        else:
            return owner


def is_heap(root):
    """Check whether memory is certainly on the heap: NumPy's own, or that of bytes."""
    return _is_heap(root)


cdef bint _is_heap(root):
    if cnp.PyArray_Check(root):
        return cnp.PyArray_CHKFLAGS(<cnp.ndarray>root, cnp.NPY_ARRAY_OWNDATA)
    return PyBytes_CheckExact(root) or PyByteArray_CheckExact(root)


cdef bint is_safe_to_write(cnp.ndarray array) except -1:
    """Check that a write to an array's memory cannot fault, whatever its flag.

    The memory of a read-only array may also be written to if it is on the heap or if the kernel
    lists all its pages as writable. False if only `mapped_files.backing_of` can tell.
    """
    cdef uint64_t lowest, beyond
    if cnp.PyArray_ISWRITEABLE(array) or cnp.PyArray_SIZE(array) == 0:
        return True
    root = _root(array)
    if _is_heap(root):
        return True
    if type(root) is _MMAP:  # a file that NumPy or the user has mapped
        return False
    lowest = <uint64_t>cnp.PyArray_DATA(array)
    beyond = lowest + cnp.PyArray_ITEMSIZE(array)
    cdef int i
    for i in range(cnp.PyArray_NDIM(array)):
        if cnp.PyArray_STRIDE(array, i) < 0:
            return False
        beyond += (cnp.PyArray_DIM(array, i) - 1) * cnp.PyArray_STRIDE(array, i)
    return is_writable(lowest, beyond) and origin_of(lowest) is None
