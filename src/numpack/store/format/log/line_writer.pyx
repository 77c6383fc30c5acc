# cython: language_level=3
"""Writing of lines at the end of the log, each with its checksum.

Every commit and snapshot is written here, so that a line is either complete or absent whatever
fails, and whichever path encoded it.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp, memcpy
from posix.unistd cimport fdatasync, ftruncate

from numpack.store.kernels.checksums cimport Transfer, crc32_of, new_transfer, write_rest

from .state cimport LogCursor

cdef enum:
    SECTOR = 512  # bytes that a device writes atomically


def add_checksum(bytes body):
    """Return a line of the log: an object without its closing brace, and its checksum."""
    cdef size_t length = len(body)
    line = PyBytes_FromStringAndSize(NULL, length + CHECK_LENGTH)
    memcpy(PyBytes_AS_STRING(line), PyBytes_AS_STRING(body), length)
    put_checksum(PyBytes_AS_STRING(line), length)
    return line


def has_valid_checksum(bytes line):
    """Return whether a line ends with the checksum of the preceding bytes."""
    return ends_with_checksum(PyBytes_AS_STRING(line), len(line))


cdef bint ends_with_checksum(const char *line, size_t length) noexcept nogil:
    """Return whether a line ends with the checksum of the preceding bytes."""
    cdef char check[CHECK_LENGTH]
    if length < CHECK_LENGTH:
        return False
    length -= CHECK_LENGTH
    encode_checksum(crc32_of(0, <const unsigned char *>line, length), check)
    return memcmp(check, line + length, CHECK_LENGTH) == 0


cdef void put_checksum(char *body, size_t length) noexcept nogil:
    """Write the checksum of the bytes of a line after them."""
    encode_checksum(crc32_of(0, <const unsigned char *>body, length), body + length)


cdef void encode_checksum(uint32_t crc, char *end) noexcept nogil:
    cdef int digit
    memcpy(end, b',"crc32":"', 10)
    for digit in range(8):
        end[10 + digit] = (<const char *>b"0123456789abcdef")[crc >> (28 - 4 * digit) & 15]
    memcpy(end + 18, b'"}\n', 3)


def write_line(LogCursor cursor not None, bytes line not None, *, bint durable):
    """Write a line at the end of the log.

    Parameters
    ----------
    cursor : LogCursor
        The log, up to its last complete line.
    line : bytes
    durable : bool
        Whether to flush it to the device.

    Raises
    ------
    OSError
        The line could not be written, and the log is as it was; or, if `durable`, the line was
        written and could not be flushed.
    """
    cdef const char *text = PyBytes_AS_STRING(line)
    cdef size_t length = len(line)
    cdef int error
    with nogil:
        error = write_line_at_end(cursor, text, length, durable)
    if error:
        raise OSError(error, os.strerror(error))


cdef int write_line_at_end(
    LogCursor cursor, const char *line, size_t length, bint durable
) noexcept nogil:
    """Write a line at the end of the log; return an errno, or 0.

    An incomplete line of a writer that died is truncated first: overwritten in part, it could
    be read as a damaged line.

    A power loss may keep some sectors of an unflushed write and lose others. So that a partial
    line is never read as a damaged one, its newline is written after the rest is on the device
    (`durable`), unless the line is within one sector.
    """
    cdef int log = cursor.descriptor, error = 0
    cdef int64_t end = cursor.end
    cdef size_t first = length
    if cursor.torn:
        error = truncate(log, end, durable)
        if error:
            return error
    if durable and end // SECTOR != (end + <int64_t>length - 1) // SECTOR:
        first = length - 1
    error = write_all(log, line, first, end)
    if first < length:
        error = error or flush(log)
        error = error or write_all(log, line + first, length - first, end + first)
    if error:  # for example, the disk is full
        truncate(log, end, durable)
    elif durable:
        error = flush(log)
    return error


cdef int truncate(int log, int64_t end, bint durable) noexcept nogil:
    """Truncate the log after its last complete line; return an errno, or 0."""
    while ftruncate(log, end) < 0:
        if errno != EINTR:
            return errno
    return flush(log) if durable else 0


cdef int flush(int log) noexcept nogil:
    """Flush the log to the device; return an errno, or 0."""
    while fdatasync(log) < 0:
        if errno != EINTR:
            return errno
    return 0


cdef int write_all(
    int descriptor, const void *data, size_t size, int64_t offset
) noexcept nogil:
    """Write all bytes, also after signals; return an errno, or 0."""
    cdef Transfer transfer = new_transfer(descriptor, <unsigned char *>data, size, offset)
    write_rest(&transfer)
    while transfer.error == EINTR:
        transfer.error = 0
        write_rest(&transfer)
    return transfer.error
