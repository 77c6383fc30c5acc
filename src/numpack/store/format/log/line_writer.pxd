# The parts of `line_writer` that other native modules use; line_writer.pyx documents them.

from libc.stdint cimport int64_t

from .state cimport LogCursor

cdef enum:
    CHECK_LENGTH = 21  # bytes of the checksum at the end of a line


cdef bint ends_with_checksum(const char *line, size_t length) noexcept nogil
cdef void put_checksum(char *body, size_t length) noexcept nogil
cdef int write_line_at_end(
    LogCursor cursor, const char *line, size_t length, bint durable
) noexcept nogil
cdef int write_all(
    int descriptor, const void *data, size_t size, int64_t offset
) noexcept nogil
