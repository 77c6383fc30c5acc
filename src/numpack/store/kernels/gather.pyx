# cython: language_level=3
"""Copying of rows in random order from a mapped file to memory; implemented in gather.h."""

cimport numpy as cnp
from cpython.buffer cimport (
    PyBUF_FORMAT,
    PyBUF_ND,
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport INT64_MAX, int64_t, uintptr_t

cdef extern from "numpy/arrayobject.h":
    PyTypeObject PyArray_Type
    object PyArray_NewFromDescr(
        PyTypeObject *, cnp.PyArray_Descr *, int, const cnp.npy_intp *, const cnp.npy_intp *,
        void *, int, PyObject *)
    int PyArray_SetBaseObject(cnp.ndarray, PyObject *) except -1
    int PyArray_CheckExact(object)
    int PyArray_ISCARRAY_RO(cnp.ndarray)
    int PyDataType_REFCHK(cnp.PyArray_Descr *)
    enum:
        NPY_ARRAY_CARRAY


cdef extern from "gather.h":
    int64_t numpack_take_rows(
        const char *source,
        size_t width,
        int64_t count,
        const char *rows,
        int64_t total,
        char *out,
    ) noexcept nogil


cnp.import_array()

cdef enum:
    ALIGNMENT = 64  # of new arrays, as of `aligned_empty`
    MAX_AXES = 64


def gather_rows(stored, rows) -> cnp.ndarray | None:
    """Copy rows into a new array, if they are selected in the most frequent way.

    Parameters
    ----------
    stored : ndarray
    rows : object
        The index.

    Returns
    -------
    ndarray or None
        Writable and aligned to 64 bytes. None if nothing was done, because the general path is
        required: `rows` is anything but a 1-d array of int64, a number is out of range, or
        elements need more than a copy of their bytes.
    """
    cdef cnp.npy_intp[MAX_AXES] extents
    cdef int64_t width, total, count, wrong
    cdef int axis
    if not PyArray_CheckExact(stored) or not PyArray_CheckExact(rows):
        return None
    if not is_copied_by_bytes(stored) or not are_row_numbers(rows):
        return None
    width, total = cnp.PyArray_ITEMSIZE(stored), cnp.PyArray_DIM(rows, 0)
    count = cnp.PyArray_DIM(stored, 0)
    extents[0] = total
    for axis in range(1, cnp.PyArray_NDIM(stored)):
        extents[axis] = cnp.PyArray_DIM(stored, axis)
        width *= extents[axis]
    if width == 0 or total == 0 or total > (INT64_MAX - ALIGNMENT) // width:
        return None
    fresh = new_aligned(stored, extents, total * width)
    cdef const char *source = <const char *>cnp.PyArray_DATA(stored)
    cdef const char *numbers = <const char *>cnp.PyArray_DATA(rows)
    cdef char *out = <char *>cnp.PyArray_DATA(fresh)
    with nogil:
        wrong = numpack_take_rows(source, width, count, numbers, total, out)
    return fresh if wrong < 0 else None


cdef bint is_copied_by_bytes(cnp.ndarray stored):
    """Return whether an array has rows that are consecutive bytes without fields."""
    if cnp.PyArray_TYPE(stored) == cnp.NPY_VOID or PyDataType_REFCHK(cnp.PyArray_DESCR(stored)):
        return False
    if cnp.PyArray_NDIM(stored) < 1 or cnp.PyArray_NDIM(stored) > MAX_AXES:
        return False
    return PyArray_ISCARRAY_RO(stored)


cdef bint are_row_numbers(cnp.ndarray rows):
    """Return whether an index is a 1-d array of consecutive int64."""
    if cnp.PyArray_TYPE(rows) != cnp.NPY_INT64 or cnp.PyArray_NDIM(rows) != 1:
        return False
    return PyArray_ISCARRAY_RO(rows)


cdef cnp.ndarray new_aligned(cnp.ndarray like, cnp.npy_intp *extents, cnp.npy_intp nbytes):
    """Return an array of uninitialized memory, of the dtype and number of axes of another."""
    cdef cnp.ndarray array
    cdef cnp.npy_intp size = nbytes + ALIGNMENT
    cdef cnp.ndarray memory = cnp.PyArray_EMPTY(1, &size, cnp.NPY_UINT8, 0)
    cdef uintptr_t start = <uintptr_t>cnp.PyArray_DATA(memory)
    start += (ALIGNMENT - start % ALIGNMENT) % ALIGNMENT
    Py_INCREF(<object>cnp.PyArray_DESCR(like))  # PyArray_NewFromDescr steals a reference
    array = PyArray_NewFromDescr(
        &PyArray_Type, cnp.PyArray_DESCR(like), cnp.PyArray_NDIM(like), extents, NULL,
        <void *>start, NPY_ARRAY_CARRAY, NULL,
    )
    Py_INCREF(memory)  # PyArray_SetBaseObject steals a reference
    PyArray_SetBaseObject(array, <PyObject *>memory)
    return array


def take_rows(source, Py_ssize_t width, int64_t count, rows, out):
    """Copy rows, selected by number, from one buffer to another.

    The GIL is released, and several threads copy large batches. Pages that are not in memory
    are read from the file with many concurrent requests. The buffers must not be resized
    meanwhile. If another thread changes `rows`, other rows are copied, but never memory
    outside the source.

    Parameters
    ----------
    source : buffer
        `count` consecutive rows of `width` bytes each.
    width : int
        Size of a row in bytes; may be 0.
    count : int
        Number of rows in the source.
    rows : buffer of int64
        Row numbers, one-dimensional; negative ones count from the end.
    out : writable buffer
        The output: `width` bytes for each row number. Must not overlap the other buffers.

    Returns
    -------
    int
        -1, or the position in `rows` of the first number that is out of range. In that case
        it is undefined which rows have been copied.

    Raises
    ------
    ValueError
        A buffer is too small, `out` is too large, or `rows` is not contiguous int64.
    """
    cdef Py_buffer data, numbers, target
    PyObject_GetBuffer(source, &data, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(rows, &numbers, PyBUF_ND | PyBUF_FORMAT)
        try:
            PyObject_GetBuffer(out, &target, PyBUF_SIMPLE | PyBUF_WRITABLE)
            try:
                return _take_rows(&data, width, count, &numbers, &target)
            finally:
                PyBuffer_Release(&target)
        finally:
            PyBuffer_Release(&numbers)
    finally:
        PyBuffer_Release(&data)


cdef _take_rows(
    Py_buffer *source, Py_ssize_t width, int64_t count, Py_buffer *rows, Py_buffer *out
):
    cdef int64_t total = rows.len // 8, wrong
    cdef bytes kind = b"B" if rows.format == NULL else rows.format
    if rows.itemsize != 8 or kind not in (b"l", b"q"):
        raise ValueError(f"row numbers must be native int64, got format {kind.decode()!r}")
    if width < 0 or count < 0 or (width > 0 and count > source.len // width):
        raise ValueError(
            f"the source has {source.len:,} bytes, too few for {count:,} rows of {width:,}"
        )
    if out.len != (total * width if width == 0 or total <= INT64_MAX // width else -1):
        raise ValueError(
            f"the output has {out.len:,} bytes, not those of {total:,} rows of {width:,}"
        )
    with nogil:
        wrong = numpack_take_rows(
            <const char *>source.buf, width, count, <const char *>rows.buf, total,
            <char *>out.buf,
        )
    return wrong
