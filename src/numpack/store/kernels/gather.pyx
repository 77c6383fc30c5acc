"""Random rows of a file that is mapped, copied into memory: `_gather.h` says how."""

from cpython.buffer cimport (
    PyBUF_FORMAT,
    PyBUF_ND,
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from libc.stdint cimport INT64_MAX, int64_t


cdef extern from "gather.h":
    int64_t numpack_take(
        const char *source,
        size_t width,
        int64_t count,
        const char *rows,
        int64_t total,
        char *out,
    ) noexcept nogil


def take_rows(source, Py_ssize_t width, int64_t count, rows, out):
    """Copy rows, picked by their numbers, from one buffer to another.

    The GIL is released meanwhile, and large batches are copied by several threads. What is
    not in memory is read from the source's file with many requests at once. Nobody may
    resize the buffers meanwhile; whoever changes `rows` gets other rows, never memory that
    is not the source's.

    Parameters
    ----------
    source : buffer
        `count` rows of `width` bytes each, one after the other.
    width : int
        Bytes of a row; may be 0.
    count : int
        Rows of the source.
    rows : buffer of int64
        Row numbers, of one axis; negative ones count from the end.
    out : writable buffer
        Exactly as many rows of `width` bytes as there are row numbers. Must not overlap
        the others.

    Returns
    -------
    int
        -1, or the position in `rows` of the first number that is out of range. Nothing is
        read out of bounds then, but which rows have been copied is not defined.

    Raises
    ------
    ValueError
        A buffer is too small, or `out` is too large; or `rows` are no contiguous int64.
    """
    cdef Py_buffer data, numbers, target
    PyObject_GetBuffer(source, &data, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(rows, &numbers, PyBUF_ND | PyBUF_FORMAT)
        try:
            PyObject_GetBuffer(out, &target, PyBUF_SIMPLE | PyBUF_WRITABLE)
            try:
                return _take(&data, width, count, &numbers, &target)
            finally:
                PyBuffer_Release(&target)
        finally:
            PyBuffer_Release(&numbers)
    finally:
        PyBuffer_Release(&data)


cdef _take(
    Py_buffer *source, Py_ssize_t width, int64_t count, Py_buffer *rows, Py_buffer *out
):
    cdef int64_t total = rows.len // 8, wrong
    cdef bytes kind = b"B" if rows.format == NULL else rows.format
    if rows.itemsize != 8 or kind not in (b"l", b"q"):
        raise ValueError(f"row numbers must be native int64, got format {kind.decode()!r}")
    if width < 0 or count < 0 or (width > 0 and count > source.len // width):
        raise ValueError(
            f"the source has {source.len:,} bytes, which are not {count:,} rows of {width:,}"
        )
    if out.len != (total * width if width == 0 or total <= INT64_MAX // width else -1):
        raise ValueError(
            f"the output has {out.len:,} bytes, which are not {total:,} rows of {width:,}"
        )
    with nogil:
        wrong = numpack_take(
            <const char *>source.buf, width, count, <const char *>rows.buf, total,
            <char *>out.buf,
        )
    return wrong
