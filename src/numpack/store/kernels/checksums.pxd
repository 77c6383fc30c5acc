# What other modules use of _sums at C speed; _sums.pyx says what each does.

from libc.stdint cimport int64_t, uint32_t


cdef enum:
    BLOCK_BYTES = 1 << 20

cdef class View:
    cdef Py_buffer buffer
    cdef unsigned char *data
    cdef size_t size

cdef struct Transfer:
    int descriptor
    unsigned char *data
    size_t size
    size_t done
    int64_t offset
    int error  # what stopped it; 0 if nothing did, or the end of the file

cdef View view_of(data, int flags=*)
cdef Transfer transfer_of(
    int descriptor, unsigned char *data, size_t size, int64_t offset
) noexcept nogil
cdef void write_rest(Transfer *self) noexcept nogil
cdef int finish_write(Transfer *self) except -1
cdef uint32_t copy_and_sum(
    uint32_t crc, unsigned char *copy, const unsigned char *data, size_t size
) noexcept nogil
cdef uint32_t crc32_of(uint32_t crc, const unsigned char *data, size_t size) noexcept nogil
