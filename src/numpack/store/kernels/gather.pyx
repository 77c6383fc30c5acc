"""Copying of rows in random order from a mapped file to memory; implemented in gather.h."""

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
    int64_t numpack_take_rows(
        const char *source,
        size_t width,
        int64_t count,
        const char *rows,
        int64_t total,
        char *out,
    ) noexcept nogil


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
