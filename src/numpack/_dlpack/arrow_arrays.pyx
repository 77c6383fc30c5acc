"""NumPy arrays over the memory of Arrow arrays of numbers, by the Arrow C data interface.

Source: Arrow, "The Arrow C data interface" and "The Arrow PyCapsule interface".
"""

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t

from numpack._core.owner cimport view_owned

cnp.import_array()


ctypedef struct ArrowSchema:
    const char *format
    const char *name
    const char *metadata
    int64_t flags
    int64_t n_children
    ArrowSchema **children
    ArrowSchema *dictionary
    void (*release)(ArrowSchema *) noexcept
    void *private_data

ctypedef struct ArrowArray:
    int64_t length
    int64_t null_count
    int64_t offset
    int64_t n_buffers
    int64_t n_children
    const void **buffers
    ArrowArray **children
    ArrowArray *dictionary
    void (*release)(ArrowArray *) noexcept
    void *private_data


cdef dict _TYPES = {  # by format
    b"c": np.dtype("i1"), b"C": np.dtype("u1"), b"s": np.dtype("i2"), b"S": np.dtype("u2"),
    b"i": np.dtype("i4"), b"I": np.dtype("u4"), b"l": np.dtype("i8"), b"L": np.dtype("u8"),
    b"e": np.dtype("f2"), b"f": np.dtype("f4"), b"g": np.dtype("f8"),
}


@cython.final
@cython.no_gc
cdef class ArrowOwner:
    """The base of an array over an Arrow array, which it releases when it is collected."""

    cdef ArrowArray array

    def __dealloc__(self):
        if self.array.release != NULL:
            self.array.release(&self.array)


def view_arrow(exported):
    """View the memory of an Arrow array of numbers without nulls.

    Parameters
    ----------
    exported : tuple of capsules
        The schema and the array, as ``__arrow_c_array__`` returns them.

    Returns
    -------
    ndarray or None
        Read-only. ``None`` for other types, for nulls and for no elements; the capsules are then
        unchanged.
    """
    schema_capsule, array_capsule = exported
    cdef ArrowSchema *schema = <ArrowSchema *>PyCapsule_GetPointer(schema_capsule, "arrow_schema")
    cdef ArrowArray *array = <ArrowArray *>PyCapsule_GetPointer(array_capsule, "arrow_array")
    cdef ArrowOwner owner
    if _dtype(schema, array) is None:
        return None
    owner = ArrowOwner.__new__(ArrowOwner)
    owner.array = array[0]
    array.release = NULL  # moved
    return _view(schema, &owner.array, owner)


@cython.final
cdef class ExportedNumbers:
    """An Arrow array of numbers as its library has exported it, for one consumer."""

    cdef tuple capsules

    def __arrow_c_array__(self, requested_schema=None):
        """Return the schema and the array, whatever was requested."""
        return self.capsules


def exported_numbers(tuple capsules):
    """Return an object that exports the schema and the array of `capsules`.

    Returns
    -------
    object or None
        ``None`` for types other than numbers.
    """
    cdef ExportedNumbers made
    cdef ArrowSchema *schema = <ArrowSchema *>PyCapsule_GetPointer(capsules[0], "arrow_schema")
    if schema.release == NULL or schema.metadata != NULL or schema.dictionary != NULL:
        return None
    if schema.format == NULL or <bytes>schema.format not in _TYPES:
        return None
    made = ExportedNumbers.__new__(ExportedNumbers)
    made.capsules = capsules
    return made


def view_structs(size_t schema, size_t array, owner):
    """View the memory of an Arrow array of numbers that another object owns.

    Parameters
    ----------
    schema, array : int
        The addresses of the C structs.
    owner : object
        Keeps the structs and the memory alive.

    Returns
    -------
    ndarray or None
        As of `view_arrow`.
    """
    return _view(<ArrowSchema *>schema, <ArrowArray *>array, owner)


cdef object _dtype(const ArrowSchema *schema, const ArrowArray *array):
    """Return the dtype of an array that NumPy can view; None for others."""
    if schema.release == NULL or array.release == NULL or schema.format == NULL:
        return None
    if schema.metadata != NULL or schema.dictionary != NULL or array.dictionary != NULL:
        return None
    if array.n_buffers != 2 or array.length <= 0 or array.offset < 0:
        return None
    if array.null_count != 0 and (array.null_count != -1 or array.buffers[0] != NULL):
        return None
    return None if array.buffers[1] == NULL else _TYPES.get(<bytes>schema.format)


cdef object _view(const ArrowSchema *schema, const ArrowArray *array, owner):
    cdef cnp.npy_intp length = array.length
    cdef char *start
    descr = _dtype(schema, array)
    if descr is None:
        return None
    start = <char *>array.buffers[1] + array.offset * (<cnp.dtype>descr).itemsize
    return view_owned(start, 1, &length, NULL, descr, 0, owner, None)
