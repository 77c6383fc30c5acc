"""Rows of a data file that are replaced: their checksums, and how they get to where they belong.

Nothing here knows of arrays: everything is bytes, and a number of bytes a row.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE
from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.string cimport memcpy, memmove

from numpack.store.kernels.checksums cimport (
    BLOCK_BYTES,
    Transfer,
    View,
    finish_write,
    transfer_of,
    view_of,
    write_rest,
)

cdef extern from "crc32.h":
    void numpack_begin_crc32()
    uint32_t numpack_crc32(uint32_t, const unsigned char *, size_t) noexcept nogil
    uint32_t numpack_advance(uint32_t, size_t) noexcept nogil
    uint32_t numpack_load(const unsigned char *) noexcept nogil
    void numpack_store(unsigned char *, uint32_t) noexcept nogil

numpack_begin_crc32()


@cython.final
cdef class Fresh:
    """New bytes for some rows, which are known to be below a limit."""

    cdef View rows
    cdef View bytes
    cdef size_t count
    cdef size_t width

    cdef int64_t row(self, size_t i) noexcept nogil:
        cdef int64_t row
        memcpy(&row, self.rows.data + sizeof(int64_t) * i, sizeof(int64_t))
        return row

    cdef size_t run(self, size_t i) noexcept nogil:
        """Count the rows from the i-th on that follow each other."""
        cdef size_t end = i + 1
        cdef int64_t before = self.row(i)
        while end < self.count and self.row(end) == before + 1:
            before += 1
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


cdef Fresh _fresh(rows, Py_ssize_t width, fresh, size_t size):
    """Check that there are `width` new bytes for each row, and that `size` bytes hold it."""
    cdef Fresh made = Fresh.__new__(Fresh)
    made.rows, made.bytes = view_of(rows), view_of(fresh)
    made.count, made.width = made.rows.size // sizeof(int64_t), width
    if made.rows.size % sizeof(int64_t):
        raise ValueError(f"row numbers have 8 bytes each; got {made.rows.size} bytes of them")
    if width < 1:
        raise ValueError(f"a row has at least one byte; got {width}")
    if made.bytes.size % made.width or made.bytes.size // made.width != made.count:
        raise ValueError(
            f"{made.count} rows of {width} bytes each need as many new bytes; "
            f"got {made.bytes.size}"
        )
    made.check(size // made.width)
    return made


cdef void _patch(
    unsigned char *sums,
    View base,
    size_t start,
    const unsigned char *fresh,
    size_t size,
) noexcept nogil:
    """Bring sums up to date with bytes that go to `start`, block by block."""
    cdef size_t end, part
    cdef uint32_t change
    while size:
        end = min((start // BLOCK_BYTES + 1) * BLOCK_BYTES, base.size)
        part = min(size, end - start)
        change = numpack_crc32(0, base.data + start, part) ^ numpack_crc32(0, fresh, part)
        change = numpack_advance(change, end - start - part)
        entry = sums + 4 * (start // BLOCK_BYTES)
        numpack_store(entry, numpack_load(entry) ^ change)
        start += part
        fresh += part
        size -= part


def update_checksums(sums, base, rows, Py_ssize_t width, fresh):
    """Bring checksums to what they will be when rows have been replaced.

    Only the old rows are read: a CRC is linear, so it changes by that of the difference,
    moved on by the bytes that follow in the block.

    Parameters
    ----------
    sums : writable buffer
        The checksums of the blocks of `base`, the last perhaps of a part; little-endian,
        4 bytes each.
    base : buffer
        The file as it is, from its start.
    rows : buffer of int64
        The numbers of the rows, each at most once.
    width : int
        The bytes of a row, at least 1.
    fresh : buffer
        The new bytes, row after row.

    Raises
    ------
    IndexError
        If a row is out of range.
    ValueError
        If the buffers do not fit each other.
    """
    cdef View into = view_of(sums, PyBUF_WRITABLE), current = view_of(base)
    cdef Fresh new = _fresh(rows, width, fresh, current.size)
    cdef size_t blocks = (current.size + BLOCK_BYTES - 1) // BLOCK_BYTES, i = 0, run
    if into.size != 4 * blocks:
        raise ValueError(f"{blocks} blocks have {4 * blocks} bytes of sums; got {into.size}")
    with nogil:
        while i < new.count:
            run = new.run(i)
            _patch(
                into.data,
                current,
                new.row(i) * new.width,
                new.bytes.data + i * new.width,
                run * new.width,
            )
            i += run


def scatter(target, rows, Py_ssize_t width, fresh):
    """Copy rows to where they belong in a writable buffer; see `update_checksums`."""
    cdef View into = view_of(target, PyBUF_WRITABLE)
    cdef Fresh new = _fresh(rows, width, fresh, into.size)
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
    """Write rows to where they belong in a file; see `update_checksums`.

    A row is out of range only if no file can have it. `OSError` is raised if not all were
    written; those that were, stay.
    """
    cdef Fresh new = _fresh(rows, width, fresh, INT64_MAX)
    cdef Transfer transfer
    cdef size_t i = 0, run
    while i < new.count:
        with nogil:
            while i < new.count:
                run = new.run(i)
                transfer = transfer_of(
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
