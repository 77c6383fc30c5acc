# cython: language_level=3
"""The most frequent changes as single calls: extending a file, and committing the extension.

The fields of `catalog.Entry`, `catalog.Catalog` and `log_reader.LogCursor`, which are named
tuples, are accessed by position for speed; a test pins the positions.
"""

import os

from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_STRIDES,
    PyBuffer_IsContiguous,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport EINTR, ENOMEM
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec
from posix.unistd cimport ftruncate

from numpack.store.kernels.checksums cimport (
    BLOCK_BYTES,
    Transfer,
    copy_and_crc32,
    crc32_of,
    new_transfer,
    numpack_begin_bounce,
    numpack_bounce,
    numpack_end_bounce,
    numpack_next_piece,
    write_rest,
)

from ..format.schema import DTYPES

cdef extern from "status.h" nogil:
    ctypedef struct numpack_status:
        int64_t size
        uint64_t links

    int numpack_stat(int descriptor, const char *name, numpack_status *found)

# Calling the class of a named tuple would take three times as long.
cdef extern from *:
    """
    #define numpack_tuple_like(known, arguments) \
        PyTuple_Type.tp_new(Py_TYPE(known), (arguments), NULL)
    """
    object numpack_tuple_like(object known, tuple arguments)

cdef enum:
    NAME_MAX = 800  # bytes of an array's name in JSON
    LINE_MAX = NAME_MAX + 224

cdef struct Growth:  # the extension of a file
    int file
    int64_t offset
    int64_t count  # rows in the file afterwards
    uint32_t crc  # of the preceding bytes covered by the checksum; afterwards of all
    int64_t time  # of the commit, in microseconds since 1970

cdef struct Line:
    char text[LINE_MAX]
    size_t length


def append_and_commit(cursor, name, bytes key, int file, rows):
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
    cdef tuple entry = entry_of(cursor, name)
    dtype = DTYPES.get(entry[1]) if type(entry[1]) is str else None
    if dtype is None or rows.dtype != dtype or len(key) > NAME_MAX:
        return None
    PyObject_GetBuffer(rows, &buffer, PyBUF_STRIDES)
    try:
        growth.file = file
        if not fits(&growth, entry, &buffer) or not is_intact(file, growth.offset):
            return None
        length = write(&growth, cursor, key, b"rows", b"tail", &buffer)
    finally:
        PyBuffer_Release(&buffer)
    stored = (growth.count, *(<tuple>entry[2])[1:])
    fields = (entry[0], entry[1], stored, growth.time, growth.crc)
    return advance(cursor, name, fields + entry[5:], length)


cdef bint fits(Growth *growth, tuple entry, Py_buffer *rows) except -1:
    """Return whether rows match those stored and leave the last block partial."""
    cdef tuple stored = entry[2]
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
    growth.crc = entry[4]
    return growth.offset % BLOCK_BYTES + rows.len < BLOCK_BYTES


def delete_and_commit(cursor, name, bytes key, int file, numbers):
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
    cdef tuple entry = entry_of(cursor, name)
    if len(key) > NAME_MAX:
        return None
    PyObject_GetBuffer(numbers, &buffer, PyBUF_SIMPLE)
    try:
        growth.file, growth.offset, growth.crc = file, 8 * <int64_t>entry[5], entry[6]
        growth.count = <int64_t>entry[5] + buffer.len // 8
        if not is_intact(file, growth.offset):
            return None
        length = write(&growth, cursor, key, b"dropped", b"dropped_crc32", &buffer)
    finally:
        PyBuffer_Release(&buffer)
    fields = (*entry[:3], growth.time, entry[4], growth.count, growth.crc)
    return advance(cursor, name, fields + entry[7:], length)


cdef bint is_intact(int file, int64_t size) noexcept:
    """Return whether an open file still has one link, and all committed bytes."""
    cdef numpack_status status
    return numpack_stat(file, b"", &status) == 0 and status.links == 1 and status.size >= size


cdef tuple catalog_of(cursor):
    return <tuple>(<tuple>cursor)[5]


cdef tuple entry_of(cursor, name):
    return <tuple>(<dict>catalog_of(cursor)[3])[name]


cdef advance(cursor, name, tuple entry, int64_t length):
    """Update the catalog's entry; return the cursor after a line of `length` bytes."""
    cdef tuple before = <tuple>cursor, catalog = catalog_of(cursor)
    cdef dict arrays = catalog[3]
    arrays[name] = like(arrays[name], entry)
    commit = <int64_t>catalog[1] + 1
    catalog = <tuple>like(catalog, (catalog[0], commit, catalog[2], arrays, None))
    end = <int64_t>before[1] + length
    return like(cursor, (before[0], end, False, before[3], before[4], catalog))


cdef like(known, tuple fields):
    """Return a named tuple of the same class as `known`."""
    return numpack_tuple_like(known, (fields,))


cdef int64_t write(
    Growth *growth, cursor, bytes key, bytes count_member, bytes crc_member, Py_buffer *data
) except -1:
    """Write data and the line that commits it; return the length of the line."""
    cdef int log = (<tuple>cursor)[0], error
    cdef int64_t end = (<tuple>cursor)[1], commit = <int64_t>catalog_of(cursor)[1] + 1
    cdef Line line
    growth.time = now_us()
    line.length = 0
    add(&line, b'{"commit":')
    add_number(&line, commit)
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
            error = write_all(log, line.text, line.length, end)
            if error:
                ftruncate(log, end)
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
    cdef uint32_t crc
    cdef int shift
    memcpy(line.text + line.length, b"}}", 2)
    line.length += 2
    crc = crc32_of(0, <const unsigned char *>line.text, line.length)
    memcpy(line.text + line.length, b',"crc32":"', 10)
    line.length += 10
    for shift in range(28, -1, -4):
        line.text[line.length] = (<const char *>b"0123456789abcdef")[crc >> shift & 15]
        line.length += 1
    memcpy(line.text + line.length, b'"}\n', 3)
    line.length += 3


cdef int64_t now_us() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000


cdef int write_all(int descriptor, void *data, size_t size, int64_t offset) noexcept nogil:
    """Write all bytes, also after signals; return an errno, or 0."""
    cdef Transfer transfer = new_transfer(descriptor, <unsigned char *>data, size, offset)
    write_rest(&transfer)
    while transfer.error == EINTR:
        transfer.error = 0
        write_rest(&transfer)
    return transfer.error
