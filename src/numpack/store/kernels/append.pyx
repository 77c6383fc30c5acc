# cython: language_level=3
"""The changes that are made most, in one go: what comes to the end of a file, and its commit.

They know how `catalog.Entry`, `catalog.Catalog` and `log_reader.LogCursor` lie in memory: they are tuples.
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
    copy_and_sum,
    crc32_of,
    transfer_of,
    write_rest,
)

from ..format.schema import DTYPES

cdef extern from "bounce.h" nogil:
    ctypedef void (*numpack_sum)(
        void *, unsigned char *, const unsigned char *, size_t) noexcept nogil

    ctypedef struct numpack_bounce:
        const unsigned char *source
        size_t size
        numpack_sum sum
        void *context

    int numpack_begin_bounce(numpack_bounce *, int)
    unsigned char *numpack_next_piece(numpack_bounce *, size_t *)
    void numpack_end_bounce(numpack_bounce *)

cdef extern from "status.h" nogil:
    ctypedef struct numpack_status:
        int64_t size
        uint64_t names

    int numpack_look(int descriptor, const char *name, numpack_status *found)

# To call a named tuple's class costs three times as much.
cdef extern from *:
    """
    #define numpack_tuple_like(known, arguments) \
        PyTuple_Type.tp_new(Py_TYPE(known), (arguments), NULL)
    """
    object numpack_tuple_like(object known, tuple arguments)

cdef enum:
    NAME = 800  # bytes of an array's name in JSON, at the most
    LINE = NAME + 224

cdef struct Growth:  # of a file
    int file
    int64_t offset
    int64_t count  # what it holds then, as the log counts it
    uint32_t crc  # of what stands before, and then of all
    int64_t time  # in microseconds since 1970

cdef struct Line:
    char text[LINE]
    size_t length


def append_and_commit(cursor, name, bytes key, int file, rows):
    """Write rows at the end of a data file, then the line that commits them.

    Parameters
    ----------
    cursor : LogCursor
        The log.
    name : str
        The array.
    key : bytes
        Its name in JSON.
    file : int
        Descriptor of its data file.
    rows : ndarray
        What to append.

    Returns
    -------
    LogCursor or None
        The log after the commit; ``None`` if nothing was done, because the rows are to be
        looked at more closely: they do not fit, or have to be converted, or reach the end of
        a block, or the name is long; or the file is, because it has been replaced, say.

    Raises
    ------
    OSError
        Nothing was committed; the file may be longer than before.
    """
    cdef Py_buffer buffer
    cdef Growth growth
    cdef tuple entry = entry_of(cursor, name)
    dtype = DTYPES.get(entry[1]) if type(entry[1]) is str else None
    if dtype is None or rows.dtype != dtype or len(key) > NAME:
        return None
    PyObject_GetBuffer(rows, &buffer, PyBUF_STRIDES)
    try:
        growth.file = file
        if not has_room(&growth, entry, &buffer) or not is_named(file, growth.offset):
            return None
        length = write(&growth, cursor, key, b"rows", b"tail", &buffer)
    finally:
        PyBuffer_Release(&buffer)
    stored = (growth.count, *(<tuple>entry[2])[1:])
    fields = (entry[0], entry[1], stored, growth.time, growth.crc)
    return after(cursor, name, fields + entry[5:], length)


cdef bint has_room(Growth *growth, tuple entry, Py_buffer *rows) except -1:
    """Tell whether rows are like those stored, and stay in the block that is not full."""
    cdef tuple stored = entry[2]
    cdef Py_ssize_t axis, width = rows.itemsize
    if not rows.ndim or rows.ndim != len(stored) or not PyBuffer_IsContiguous(rows, c"C"):
        return False
    for axis in range(1, rows.ndim):
        if <Py_ssize_t>stored[axis] != rows.shape[axis]:
            return False
        width *= rows.shape[axis]
    if rows.shape[0] > INT64_MAX - <int64_t>stored[0]:  # of no bytes
        return False
    growth.offset = <int64_t>stored[0] * width
    growth.count = <int64_t>stored[0] + rows.shape[0]
    growth.crc = entry[4]
    return growth.offset % BLOCK_BYTES + rows.len < BLOCK_BYTES


def delete_and_commit(cursor, name, bytes key, int file, numbers):
    """Write row numbers at the end of a list of dropped rows, then the line that commits them.

    Parameters
    ----------
    cursor, name, key
        As above.
    file : int
        Descriptor of the list.
    numbers : ndarray of int64
        Contiguous, little-endian.

    Returns
    -------
    LogCursor or None
        The log after the commit; ``None`` if nothing was done, because the name is long, or
        the file is to be looked at more closely.

    Raises
    ------
    OSError
        Nothing was committed; the list may be longer than before.
    """
    cdef Py_buffer buffer
    cdef Growth growth
    cdef tuple entry = entry_of(cursor, name)
    if len(key) > NAME:
        return None
    PyObject_GetBuffer(numbers, &buffer, PyBUF_SIMPLE)
    try:
        growth.file, growth.offset, growth.crc = file, 8 * <int64_t>entry[5], entry[6]
        growth.count = <int64_t>entry[5] + buffer.len // 8
        if not is_named(file, growth.offset):
            return None
        length = write(&growth, cursor, key, b"dropped", b"dropped_crc32", &buffer)
    finally:
        PyBuffer_Release(&buffer)
    fields = (*entry[:3], growth.time, entry[4], growth.count, growth.crc)
    return after(cursor, name, fields + entry[7:], length)


cdef bint is_named(int file, int64_t size) noexcept:
    """Tell whether an open file has one name still, and all bytes that were committed."""
    cdef numpack_status status
    return numpack_look(file, b"", &status) == 0 and status.names == 1 and status.size >= size


cdef tuple catalog_of(cursor):
    return <tuple>(<tuple>cursor)[5]


cdef tuple entry_of(cursor, name):
    return <tuple>(<dict>catalog_of(cursor)[3])[name]


cdef after(cursor, name, tuple entry, int64_t length):
    """Give the cursor of a log to which a line was written."""
    cdef tuple before = <tuple>cursor, catalog = catalog_of(cursor)
    cdef dict arrays = catalog[3]
    arrays[name] = like(arrays[name], entry)
    catalog = <tuple>like(catalog, (catalog[0], <int64_t>catalog[1] + 1, catalog[2], arrays, None))
    end = <int64_t>before[1] + length
    return like(cursor, (before[0], end, False, before[3], before[4], catalog))


cdef like(known, tuple fields):
    """Make a named tuple."""
    return numpack_tuple_like(known, (fields,))


cdef int64_t write(
    Growth *growth, cursor, bytes key, bytes counted, bytes summed, Py_buffer *data
) except -1:
    """Write data and the line; give its length."""
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
    add(&line, counted)
    add(&line, b'":')
    add_number(&line, growth.count)
    add(&line, b',"')
    add(&line, summed)
    add(&line, b'":')
    with nogil:
        error = write_checksummed(growth, data)
        if not error:
            add_number(&line, growth.crc)
            close(&line)
            error = write_whole(log, line.text, line.length, end)
            if error:
                ftruncate(log, end)
    if error:
        raise OSError(error, os.strerror(error))
    return line.length


cdef int write_checksummed(Growth *growth, Py_buffer *data) noexcept nogil:
    """Write data and sum what is written: a copy, as others may change the data meanwhile."""
    cdef numpack_bounce bounce
    cdef size_t size
    cdef unsigned char *piece
    cdef int error = 0
    cdef int64_t offset = growth.offset
    bounce.source, bounce.size = <const unsigned char *>data.buf, data.len
    bounce.sum, bounce.context = sum_piece, &growth.crc
    if numpack_begin_bounce(&bounce, False) < 0:
        return ENOMEM
    while not error:
        piece = numpack_next_piece(&bounce, &size)
        if piece == NULL:
            break
        error = write_whole(growth.file, piece, size, offset)
        offset += size
    numpack_end_bounce(&bounce)
    return error


cdef void sum_piece(
    void *crc, unsigned char *copy, const unsigned char *piece, size_t size
) noexcept nogil:
    (<uint32_t *>crc)[0] = copy_and_sum((<uint32_t *>crc)[0], copy, piece, size)


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


cdef void close(Line *line) noexcept nogil:
    """Close the objects that are open, the last behind the checksum of the line."""
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


cdef int write_whole(int descriptor, void *data, size_t size, int64_t offset) noexcept nogil:
    cdef Transfer transfer = transfer_of(descriptor, <unsigned char *>data, size, offset)
    write_rest(&transfer)
    while transfer.error == EINTR:
        transfer.error = 0
        write_rest(&transfer)
    return transfer.error
