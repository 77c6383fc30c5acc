# cython: language_level=3
"""The most frequent changes as single calls: extending a file, and committing the extension."""

import os

from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_STRIDES,
    PyBuffer_IsContiguous,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport ENOMEM
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from numpack.store.kernels.checksums cimport (
    BLOCK_BYTES,
    copy_and_crc32,
    numpack_begin_bounce,
    numpack_bounce,
    numpack_end_bounce,
    numpack_next_piece,
)

from .line_writer cimport CHECK_LENGTH, put_checksum, write_all, write_line_at_end
from .state cimport Catalog, Entry, LogCursor, cursor_after

from ..schema import DTYPES

cdef extern from "status.h" nogil:
    ctypedef struct numpack_status:
        int64_t size
        uint64_t links

    int numpack_stat(int descriptor, const char *name, numpack_status *found)

cdef enum:
    KEY_BYTES = 800  # bytes of an array's name in JSON
    LINE_BYTES = KEY_BYTES + 224  # with members, three numbers of 20 digits, and checksum

cdef struct Growth:  # the extension of a file
    int file
    int64_t offset
    int64_t count  # rows in the file afterwards
    uint32_t crc  # of the preceding bytes covered by the checksum; afterwards of all
    int64_t time  # of the commit, in microseconds since 1970

cdef struct Line:
    char text[LINE_BYTES]
    size_t length


def append_and_commit(LogCursor cursor not None, name, bytes key not None, int file, rows):
    """Write rows at the end of a data file, then the line that commits them.

    Parameters
    ----------
    cursor : LogCursor
    name : str
        Name of the array.
    key : bytes
        Its name in JSON.
    file : int
        Descriptor of its data file.
    rows : ndarray
        The rows to append.

    Returns
    -------
    LogCursor or None
        The log after the commit. None if nothing was done, because the general path is
        required: the rows do not match, need a conversion or reach the end of a block; the
        name is long; or the file was replaced, for example.

    Raises
    ------
    OSError
        Nothing was committed; the file may be longer than before.
    """
    cdef Py_buffer buffer
    cdef Growth growth
    cdef Entry entry = cursor.catalog.arrays[name]
    dtype = DTYPES.get(entry.code) if type(entry.code) is str else None
    if dtype is None or rows.dtype != dtype or len(key) > KEY_BYTES:
        return None
    PyObject_GetBuffer(rows, &buffer, PyBUF_STRIDES)
    try:
        growth.file = file
        if not fits(&growth, entry, &buffer) or not is_intact(file, growth.offset):
            return None
        length = write(&growth, cursor, key, b"rows", b"tail", &buffer)
    finally:
        PyBuffer_Release(&buffer)
    entry = entry.copy()
    entry.stored, entry.tail = (growth.count, *entry.stored[1:]), growth.crc
    return advance(cursor, name, entry, &growth, length)


cdef bint fits(Growth *growth, Entry entry, Py_buffer *rows) except -1:
    """Return whether rows match those stored and leave the last block partial."""
    cdef tuple stored = entry.stored
    cdef Py_ssize_t axis, width = rows.itemsize
    if not rows.ndim or rows.ndim != len(stored) or not PyBuffer_IsContiguous(rows, c"C"):
        return False
    for axis in range(1, rows.ndim):
        if <Py_ssize_t>stored[axis] != rows.shape[axis]:
            return False
        width *= rows.shape[axis]
    if rows.shape[0] > INT64_MAX - <int64_t>stored[0]:  # possible for rows without bytes
        return False
    growth.offset = <int64_t>stored[0] * width
    growth.count = <int64_t>stored[0] + rows.shape[0]
    growth.crc = entry.tail
    return growth.offset % BLOCK_BYTES + rows.len < BLOCK_BYTES


def delete_and_commit(
    LogCursor cursor not None, name, bytes key not None, int file, numbers
):
    """Write row numbers at the end of a deleted-row list, then the line that commits them.

    Parameters
    ----------
    cursor, name, key
        As for `append_and_commit`.
    file : int
        Descriptor of the list.
    numbers : ndarray of int64
        Contiguous, little-endian.

    Returns
    -------
    LogCursor or None
        The log after the commit. None if nothing was done, because the name is long, or the
        file was replaced, for example.

    Raises
    ------
    OSError
        Nothing was committed; the list may be longer than before.
    """
    cdef Py_buffer buffer
    cdef Growth growth
    cdef Entry entry = cursor.catalog.arrays[name]
    if len(key) > KEY_BYTES:
        return None
    PyObject_GetBuffer(numbers, &buffer, PyBUF_SIMPLE)
    try:
        growth.file, growth.crc = file, entry.dropped_crc
        growth.offset = 8 * <int64_t>entry.dropped
        growth.count = <int64_t>entry.dropped + buffer.len // 8
        if not is_intact(file, growth.offset):
            return None
        length = write(&growth, cursor, key, b"dropped", b"dropped_crc32", &buffer)
    finally:
        PyBuffer_Release(&buffer)
    entry = entry.copy()
    entry.dropped, entry.dropped_crc = growth.count, growth.crc
    return advance(cursor, name, entry, &growth, length)


cdef bint is_intact(int file, int64_t size) noexcept:
    """Return whether an open file still has one link, and all committed bytes."""
    cdef numpack_status status
    return numpack_stat(file, b"", &status) == 0 and status.links == 1 and status.size >= size


cdef LogCursor advance(
    LogCursor cursor, name, Entry entry, Growth *growth, int64_t length
):
    """Update the catalog's entry; return the cursor after a line of `length` bytes."""
    cdef Catalog before = cursor.catalog, catalog = Catalog.__new__(Catalog)
    entry.modified = growth.time
    before.arrays[name] = entry
    catalog.token, catalog.commit, catalog.next_id = before.token, before.commit + 1, before.next_id
    catalog.arrays, catalog.journal, catalog.attrs = before.arrays, None, before.attrs
    return cursor_after(cursor, length, catalog)


cdef int64_t write(
    Growth *growth,
    LogCursor cursor,
    bytes key,
    bytes count_member,
    bytes crc_member,
    Py_buffer *data,
) except -1:
    """Write data and the line that commits it; return the length of the line."""
    cdef Line line
    cdef int error
    growth.time = now_us()
    line.length = 0
    add(&line, b'{"commit":')
    add_number(&line, cursor.catalog.commit + 1)
    add(&line, b',"time_us":')
    add_number(&line, growth.time)
    add(&line, b',"set":{')
    add(&line, key)
    add(&line, b':{"')
    add(&line, count_member)
    add(&line, b'":')
    add_number(&line, growth.count)
    add(&line, b',"')
    add(&line, crc_member)
    add(&line, b'":')
    with nogil:
        error = write_data(growth, data)
        if not error:
            add_number(&line, growth.crc)
            finish(&line)
            error = write_line_at_end(cursor, line.text, line.length, False)
    if error:
        raise OSError(error, os.strerror(error))
    return line.length


cdef int write_data(Growth *growth, Py_buffer *data) noexcept nogil:
    """Write data and update the checksum; return an errno, or 0.

    Both use a copy, because other threads may change the data meanwhile.
    """
    cdef numpack_bounce bounce
    cdef size_t size
    cdef unsigned char *piece
    cdef int error = 0
    cdef int64_t offset = growth.offset
    bounce.source, bounce.size = <const unsigned char *>data.buf, data.len
    bounce.checksum_copy, bounce.context = checksum_piece, &growth.crc
    if numpack_begin_bounce(&bounce, False) < 0:
        return ENOMEM
    while not error:
        piece = numpack_next_piece(&bounce, &size)
        if piece == NULL:
            break
        error = write_all(growth.file, piece, size, offset)
        offset += size
    numpack_end_bounce(&bounce)
    return error


cdef void checksum_piece(
    void *crc, unsigned char *copy, const unsigned char *piece, size_t size
) noexcept nogil:
    (<uint32_t *>crc)[0] = copy_and_crc32((<uint32_t *>crc)[0], copy, piece, size)


cdef void add(Line *line, bytes text) noexcept:
    memcpy(line.text + line.length, PyBytes_AS_STRING(text), len(text))
    line.length += len(text)


cdef void add_number(Line *line, uint64_t number) noexcept nogil:
    cdef char digits[20]
    cdef size_t at = 20
    while True:
        at -= 1
        digits[at] = c"0" + number % 10
        number //= 10
        if not number:
            break
    memcpy(line.text + line.length, digits + at, 20 - at)
    line.length += 20 - at


cdef void finish(Line *line) noexcept nogil:
    """Close the open JSON objects and add the checksum of the line."""
    memcpy(line.text + line.length, b"}}", 2)
    put_checksum(line.text, line.length + 2)
    line.length += 2 + CHECK_LENGTH


cdef int64_t now_us() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000

