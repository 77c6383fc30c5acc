# The parts of `checksums` that other native modules use; checksums.pyx documents them.

from libc.stdint cimport int64_t, uint32_t


cdef extern from "bounce.h" nogil:
    ctypedef void (*numpack_checksum_copy)(
        void *, unsigned char *, const unsigned char *, size_t) noexcept nogil

    ctypedef struct numpack_bounce:
        const unsigned char *source
        size_t size
        size_t offset
        numpack_checksum_copy checksum_copy
        void *context

    int numpack_begin_bounce(numpack_bounce *, int)
    unsigned char *numpack_next_piece(numpack_bounce *, size_t *)
    void numpack_end_piece(numpack_bounce *)
    void numpack_end_bounce(numpack_bounce *)


cdef enum:
    BLOCK_BYTES = 1 << 20  # covered by one checksum


cdef class BufferView:
    cdef Py_buffer buffer
    cdef unsigned char *data
    cdef size_t size


cdef struct Transfer:
    int descriptor
    unsigned char *data
    size_t size
    size_t done
    int64_t offset
    int error  # errno that stopped it; 0 if none did, or at the end of the file


cdef BufferView view_of(data, int flags=*)
cdef Transfer new_transfer(
    int descriptor, unsigned char *data, size_t size, int64_t offset
) noexcept nogil
cdef void write_rest(Transfer *self) noexcept nogil
cdef int finish_write(Transfer *self) except -1
cdef uint32_t copy_and_crc32(
    uint32_t crc, unsigned char *copy, const unsigned char *data, size_t size
) noexcept nogil
cdef uint32_t crc32_of(uint32_t crc, const unsigned char *data, size_t size) noexcept nogil
