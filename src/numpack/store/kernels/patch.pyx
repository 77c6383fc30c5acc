"""Replacing rows of a data file in place: updating its checksums, and writing the rows.

This module handles bytes and row sizes only, not arrays.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE
from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.string cimport memcpy, memmove

from numpack.store.kernels.checksums cimport (
    BLOCK_BYTES,
    BufferView,
    Transfer,
    finish_write,
    new_transfer,
    view_of,
    write_rest,
)

cdef extern from "crc32.h":
    void numpack_init_crc32()
    uint32_t numpack_crc32(uint32_t, const unsigned char *, size_t) noexcept nogil
    uint32_t numpack_advance(uint32_t, size_t) noexcept nogil
    uint32_t numpack_load(const unsigned char *) noexcept nogil
    void numpack_store(unsigned char *, uint32_t) noexcept nogil

# Other processes may be writing to the byte. The exchange is a write for the processor whether
# or not the byte is 0, and compilers do not omit it, as some do for the addition of 0.
cdef extern from *:
    """
    static inline void numpack_touch(unsigned char *byte)
    {
        unsigned char expected = 0;
        (void)__atomic_compare_exchange_n(
            byte, &expected, 0, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
    """
    void numpack_touch(unsigned char *byte) noexcept nogil

cdef enum:
    PAGE = 4096

numpack_init_crc32()


@cython.final
cdef class NewRows:
    """The numbers and new bytes of rows; the numbers have been checked against a limit."""

    cdef BufferView rows
    cdef BufferView bytes
    cdef size_t count
    cdef size_t width

    cdef int64_t row(self, size_t i) noexcept nogil:
        cdef int64_t row
        memcpy(&row, self.rows.data + sizeof(int64_t) * i, sizeof(int64_t))
        return row

    cdef size_t run(self, size_t i) noexcept nogil:
        """Return the length of the run of consecutive rows that begins at the i-th."""
        cdef size_t end = i + 1
        cdef int64_t last = self.row(i)
        while end < self.count and self.row(end) == last + 1:
            last += 1
            end += 1
        return end - i

    cdef int check(self, int64_t limit) except -1:
        cdef size_t i
        cdef int64_t row = 0
        with nogil:
            for i in range(self.count):
                row = self.row(i)
                if not 0 <= row < limit:
                    break
        if self.count and not 0 <= row < limit:
            raise IndexError(f"row {row} is out of range for {limit} rows")
        return 0


cdef NewRows _new_rows(rows, Py_ssize_t width, fresh, size_t size):
    """Check for `width` new bytes per row, and that all rows are within `size` bytes."""
    cdef NewRows made = NewRows.__new__(NewRows)
    made.rows, made.bytes = view_of(rows), view_of(fresh)
    made.count, made.width = made.rows.size // sizeof(int64_t), width
    if made.rows.size % sizeof(int64_t):
        raise ValueError(f"row numbers have 8 bytes each; got {made.rows.size} bytes")
    if width < 1:
        raise ValueError(f"a row has at least one byte; got {width}")
    if made.bytes.size % made.width or made.bytes.size // made.width != made.count:
        raise ValueError(
            f"{made.count} rows of {width} bytes each need as many new bytes; "
            f"got {made.bytes.size}"
        )
    made.check(size // made.width)
    return made


cdef void _update(
    unsigned char *checksums,
    BufferView base,
    size_t start,
    const unsigned char *fresh,
    size_t size,
) noexcept nogil:
    """Update checksums, block by block, for new bytes at `start`."""
    cdef size_t end, part
    cdef uint32_t change
    while size:
        end = min((start // BLOCK_BYTES + 1) * BLOCK_BYTES, base.size)
        part = min(size, end - start)
        change = numpack_crc32(0, base.data + start, part) ^ numpack_crc32(0, fresh, part)
        change = numpack_advance(change, end - start - part)
        checksum = checksums + 4 * (start // BLOCK_BYTES)
        numpack_store(checksum, numpack_load(checksum) ^ change)
        start += part
        fresh += part
        size -= part


def update_checksums(checksums, base, rows, Py_ssize_t width, fresh):
    """Update checksums to their values after rows are replaced.

    Only the old contents of these rows are read. A CRC is linear, so it changes by the CRC of
    the difference, advanced by the number of bytes that follow in the block.

    Parameters
    ----------
    checksums : writable buffer
        The checksums of the blocks of `base`, the last of which may be partial; little-endian,
        4 bytes each.
    base : buffer
        The current content of the file, from its start.
    rows : buffer of int64
        Row numbers without duplicates.
    width : int
        Size of a row in bytes, at least 1.
    fresh : buffer
        The bytes of the new rows, one row after another.

    Raises
    ------
    IndexError
        If a row is out of range.
    ValueError
        If the sizes of the buffers are inconsistent.
    """
    cdef BufferView into = view_of(checksums, PyBUF_WRITABLE), current = view_of(base)
    cdef NewRows new = _new_rows(rows, width, fresh, current.size)
    cdef size_t blocks = (current.size + BLOCK_BYTES - 1) // BLOCK_BYTES, i = 0, run
    if into.size != 4 * blocks:
        raise ValueError(
            f"{blocks} blocks have {4 * blocks} bytes of checksums; got {into.size}"
        )
    with nogil:
        while i < new.count:
            run = new.run(i)
            _update(
                into.data,
                current,
                new.row(i) * new.width,
                new.bytes.data + i * new.width,
                run * new.width,
            )
            i += run


def touch(target, rows, Py_ssize_t width, fresh):
    """Cause the page faults of `scatter` without changing a byte; see `update_checksums`.

    A page that is first read and then written causes two faults, and the second one maps only
    that page. If the first access is a write, Linux maps the whole folio of the page cache.
    """
    cdef BufferView into = view_of(target, PyBUF_WRITABLE)
    cdef NewRows new = _new_rows(rows, width, fresh, into.size)
    cdef size_t i, start, end
    with nogil:
        for i in range(new.count):
            start = new.row(i) * new.width
            end = start + new.width
            while start < end:
                numpack_touch(into.data + start)
                start += min(<size_t>PAGE, end - start)
            numpack_touch(into.data + end - 1)


def scatter(target, rows, Py_ssize_t width, fresh):
    """Copy rows to their positions in a writable buffer; see `update_checksums`."""
    cdef BufferView into = view_of(target, PyBUF_WRITABLE)
    cdef NewRows new = _new_rows(rows, width, fresh, into.size)
    cdef size_t i = 0, run
    with nogil:
        while i < new.count:
            run = new.run(i)
            memmove(
                into.data + new.row(i) * new.width,
                new.bytes.data + i * new.width,
                run * new.width,
            )
            i += run


def pwrite_rows(int descriptor, rows, Py_ssize_t width, fresh):
    """Write rows to their positions in a file; see `update_checksums`.

    Row numbers are limited only by the maximum size of a file. `OSError` is raised if not all
    rows were written; those that were remain in the file.
    """
    cdef NewRows new = _new_rows(rows, width, fresh, INT64_MAX)
    cdef Transfer transfer
    cdef size_t i = 0, run
    while i < new.count:
        with nogil:
            while i < new.count:
                run = new.run(i)
                transfer = new_transfer(
                    descriptor,
                    new.bytes.data + i * new.width,
                    run * new.width,
                    new.row(i) * new.width,
                )
                write_rest(&transfer)
                i += run
                if transfer.error:
                    break
        finish_write(&transfer)
