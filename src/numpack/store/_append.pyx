# cython: language_level=3
"""The change that is made most, in one go: rows at the end of a data file, and their commit."""

import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy
from posix.unistd cimport ftruncate, pwrite

cdef extern from "_crc32.h":
    void numpack_begin_crc32()
    uint32_t numpack_crc32(uint32_t, const unsigned char *, size_t) noexcept nogil

numpack_begin_crc32()

cdef enum:
    LINE = 1024  # bytes of a line at the most


def append_and_commit(
    int data, rows, int64_t offset, uint32_t tail, int log, int64_t end, bytes head, int64_t count
):
    """Write rows at the end of a data file, then the line that commits them.

    Parameters
    ----------
    data : int
        Descriptor of the data file.
    rows : buffer
        What to write; it must not reach the end of the block in which `offset` lies.
    offset : int
        Where to write it.
    tail : int
        CRC-32 of the bytes of that block before `offset`.
    log : int
        Descriptor of the log.
    end : int
        Where the log ends.
    head : bytes
        The line up to the number of rows, of 900 bytes at the most.
    count : int
        The new number of rows.

    Returns
    -------
    tuple of int
        The new tail, and the length of the line.

    Raises
    ------
    OSError
        Nothing was committed; the data file may be longer than before.
    """
    cdef Py_buffer view
    cdef char line[LINE]
    cdef size_t length = len(head)
    cdef int error
    if length > LINE - 124:
        raise ValueError("the head of the line is too long")
    PyObject_GetBuffer(rows, &view, PyBUF_SIMPLE)
    try:
        memcpy(line, <const char *>head, length)
        with nogil:
            error = write_whole(data, <const char *>view.buf, view.len, offset)
            if not error:
                tail = ~numpack_crc32(~tail, <const unsigned char *>view.buf, view.len)
                length += snprintf(
                    line + length, 62, b'%lld,"tail":%u}}', <long long>count, tail
                )
                length += snprintf(
                    line + length,
                    62,
                    b',"crc32":"%08x"}\n',
                    ~numpack_crc32(~<uint32_t>0, <const unsigned char *>line, length),
                )
                error = write_whole(log, line, length, end)
                if error:
                    ftruncate(log, end)
    finally:
        PyBuffer_Release(&view)
    if error:
        raise OSError(error, os.strerror(error))
    return tail, length


cdef int write_whole(int descriptor, const char *data, size_t size, int64_t offset) noexcept nogil:
    cdef Py_ssize_t count
    while size:
        count = pwrite(descriptor, data, size, offset)
        if count < 0:
            if errno == EINTR:
                continue
            return errno
        data += count
        offset += count
        size -= count
    return 0
