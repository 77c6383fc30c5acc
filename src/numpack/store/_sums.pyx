"""Checksums of data files, and their bytes to and from the disk.

A data file has a CRC-32, that of zlib, for each block of `BLOCK` bytes and for the part of a
block at its end. What is written is summed at the same time, on a thread of its own where
that pays, and rows that are replaced change the sums without the rest being read. Nothing
here knows of arrays: everything is bytes, and a number of bytes a row.
"""

import os

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_AsUnsignedLongMask
from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uintptr_t
from libc.string cimport memcpy, memmove
from posix.unistd cimport pread, pwrite


cdef extern from "_crc32.h":
    void numpack_begin_crc32()
    uint32_t numpack_crc32(uint32_t, const unsigned char *, size_t) noexcept nogil
    uint32_t numpack_crc32_portable(uint32_t, const unsigned char *, size_t) noexcept nogil
    uint32_t numpack_advance(uint32_t, size_t) noexcept nogil
    uint32_t numpack_load(const unsigned char *) noexcept nogil
    void numpack_store(unsigned char *, uint32_t) noexcept nogil


cdef extern from "_parallel.h":
    const int NUMPACK_MAX_THREADS
    ctypedef void (*numpack_work)(void *, int) noexcept nogil
    void numpack_parallel(numpack_work, void *, int) noexcept nogil


# A file system that is told beforehand how much comes need not reserve it page by page. One
# that cannot do it says so, and what is wrong with the file the write will say.
cdef extern from *:
    """
    #include <fcntl.h>
    #ifdef __linux__
    #define numpack_reserve(descriptor, offset, size) \
        ((void)!fallocate((descriptor), FALLOC_FL_KEEP_SIZE, (off_t)(offset), (off_t)(size)))
    #else
    #define numpack_reserve(descriptor, offset, size) ((void)0)
    #endif
    """
    void numpack_reserve(int, int64_t, size_t) noexcept nogil

cdef enum:
    BLOCK_BYTES = 1 << 20
    RESERVED = 1 << 18  # bytes, from which on to reserve pays
    APART = 1 << 21  # from which on a thread costs less than the sum
    HELD = 1 << 16  # up to which to release the GIL costs more than the sum
    PAGE = 1 << 21  # a huge one: is given, and cleared, as a whole
    MOST = 1 << 30  # in one call: macOS refuses, and Linux cuts, what is 2 GiB or more

BLOCK = BLOCK_BYTES
numpack_begin_crc32()


@cython.final
@cython.freelist(8)
cdef class View:
    """The bytes of a buffer; whoever has one may use them without the GIL."""

    cdef Py_buffer buffer
    cdef unsigned char *data
    cdef size_t size

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)


cdef View _view(data, int flags=PyBUF_SIMPLE):
    cdef View view = View.__new__(View)
    PyObject_GetBuffer(data, &view.buffer, flags)
    view.data, view.size = <unsigned char *>view.buffer.buf, view.buffer.len
    return view


# Sums -------------------------------------------------------------------------------------

cdef struct Sums:  # under way
    const unsigned char *data
    size_t size
    size_t room  # bytes to the end of the block in which the data begins
    uint32_t crc  # of the bytes of that block before; at last, of those of the last block
    unsigned char *blocks  # where the checksums of whole blocks go


cdef uint32_t _crc32(uint32_t crc, const unsigned char *data, size_t size) noexcept nogil:
    return ~numpack_crc32(~crc, data, size)


cdef void _sum(Sums *sums) noexcept nogil:
    while sums.size >= sums.room:
        numpack_store(sums.blocks, _crc32(sums.crc, sums.data, sums.room))
        sums.blocks += 4
        sums.data += sums.room
        sums.size -= sums.room
        sums.room, sums.crc = BLOCK_BYTES, 0
    sums.crc = _crc32(sums.crc, sums.data, sums.size)


cdef void _sum_part(void *parts, int part) noexcept nogil:
    _sum(&(<Sums *>parts)[part])


cdef bytes _checksums(size_t count):
    return PyBytes_FromStringAndSize(NULL, 4 * count)


def crc32(data, start=0):
    """Sum bytes as `zlib.crc32` does; `start` is the sum of those before."""
    cdef View view = _view(data)
    cdef uint32_t crc = <uint32_t>PyLong_AsUnsignedLongMask(start)
    if view.size <= HELD:
        return _crc32(crc, view.data, view.size)
    with nogil:
        crc = _crc32(crc, view.data, view.size)
    return crc


def _portable_crc32(data, uint32_t start=0):
    """Sum as processors without an instruction for it do."""
    cdef View view = _view(data)
    return ~numpack_crc32_portable(~start, view.data, view.size) & 0xFFFFFFFF


def sum_blocks(data, int threads):
    """Sum data that begins where a block does.

    Parameters
    ----------
    data : buffer
        Any bytes.
    threads : int
        How many may work on it, this one included.

    Returns
    -------
    blocks : bytes
        The checksums of the whole blocks, little-endian and 4 bytes each.
    rest : int
        The checksum of the bytes behind them; 0 if there are none.
    """
    cdef View view = _view(data)
    cdef size_t count = view.size // BLOCK_BYTES, first, last
    cdef int parts = _parts(threads, view.size, APART), i
    cdef Sums[NUMPACK_MAX_THREADS] each
    blocks = _checksums(count)
    for i in range(parts):
        first, last = count * i // parts, count * (i + 1) // parts
        each[i].data = view.data + first * BLOCK_BYTES
        each[i].size = (last - first) * BLOCK_BYTES
        each[i].room, each[i].crc = BLOCK_BYTES, 0
        each[i].blocks = <unsigned char *>PyBytes_AS_STRING(blocks) + 4 * first
    each[parts - 1].size += view.size % BLOCK_BYTES
    with nogil:
        numpack_parallel(_sum_part, each, parts)
    return blocks, each[parts - 1].crc


cdef int _parts(int threads, size_t size, size_t worth) except -1:
    """Choose how many parts to make of `size` bytes, each of at least what a thread is worth."""
    if threads < 1:
        raise ValueError(f"there must be at least one thread; got {threads}")
    return max(1, min(threads, NUMPACK_MAX_THREADS, <int>min(size // worth, 1 << 16)))


# To and from the disk ---------------------------------------------------------------------

cdef struct Transfer:
    int descriptor
    unsigned char *data
    size_t size
    size_t done
    int64_t offset
    int error  # what stopped it; 0 if nothing did, or the end of the file

cdef struct SummedWrite:
    Transfer transfer
    Sums sums


cdef Transfer _transfer(
    int descriptor, unsigned char *data, size_t size, int64_t offset
) noexcept nogil:
    cdef Transfer made
    made.descriptor, made.data, made.size, made.offset = descriptor, data, size, offset
    made.done, made.error = 0, 0
    return made


cdef void _write(Transfer *self) noexcept nogil:
    cdef ssize_t count
    while self.done < self.size:
        count = pwrite(
            self.descriptor,
            self.data + self.done,
            min(self.size - self.done, MOST),
            self.offset + self.done,
        )
        if count <= 0:
            self.error = errno if count < 0 else EIO
            return
        self.done += count


cdef void _read(Transfer *self) noexcept nogil:
    cdef ssize_t count
    while self.done < self.size:
        count = pread(
            self.descriptor,
            self.data + self.done,
            min(self.size - self.done, MOST),
            self.offset + self.done,
        )
        if count <= 0:
            self.error = errno if count < 0 else 0
            return
        self.done += count


cdef bint _is_interrupted(Transfer *self) except -1:
    """Tell whether to go on after a signal; raise whatever else stopped a transfer."""
    cdef int error = self.error
    if error == 0:
        return False
    if error != EINTR:
        raise OSError(error, os.strerror(error))
    PyErr_CheckSignals()
    self.error = 0
    return True


cdef void _write_or_sum(void *context, int part) noexcept nogil:
    cdef SummedWrite *both = <SummedWrite *>context
    if part == 0:
        _sum(&both.sums)
    else:
        numpack_reserve(both.transfer.descriptor, both.transfer.offset, both.transfer.size)
        _write(&both.transfer)


cdef void _write_and_sum(SummedWrite *both) noexcept nogil:
    if both.transfer.size >= APART:
        numpack_parallel(_write_or_sum, both, 2)
        return
    if both.transfer.size >= RESERVED:
        numpack_reserve(both.transfer.descriptor, both.transfer.offset, both.transfer.size)
    _write(&both.transfer)
    _sum(&both.sums)


def write_summed(int descriptor, data, int64_t offset, uint32_t tail):
    """Write data to a file and sum it at the same time.

    Parameters
    ----------
    descriptor : int
        A file open for writing.
    data : buffer
        Any bytes; all are written.
    offset : int
        Where in the file, in bytes.
    tail : int
        The checksum of the file's bytes before, back to the start of their block; 0 if there
        are none.

    Returns
    -------
    blocks : bytes
        The checksums of the blocks that are now whole, little-endian and 4 bytes each.
    tail : int
        The checksum of the bytes behind them; 0 if there are none.

    Raises
    ------
    ValueError
        If the offset is negative, or has a tail at a block's start.
    OSError
        If not all was written; what was, stays.
    """
    cdef View view = _view(data)
    cdef size_t before = offset % BLOCK_BYTES if offset > 0 else 0
    cdef SummedWrite both
    _check_offset(offset, view.size)
    if tail and not before:
        raise ValueError(f"offset {offset} is a block's start, so the tail is 0; got {tail}")
    blocks = _checksums((before + view.size) // BLOCK_BYTES)
    both.transfer = _transfer(descriptor, view.data, view.size, offset)
    both.sums.data, both.sums.size = view.data, view.size
    both.sums.room, both.sums.crc = BLOCK_BYTES - before, tail
    both.sums.blocks = <unsigned char *>PyBytes_AS_STRING(blocks)
    with nogil:
        _write_and_sum(&both)
    _finish_write(&both.transfer)
    return blocks, both.sums.crc


cdef int _finish_write(Transfer *self) except -1:
    while _is_interrupted(self):
        with nogil:
            _write(self)
    return 0


cdef int _check_offset(int64_t offset, size_t size) except -1:
    if offset < 0 or size > <size_t>(INT64_MAX - offset):
        raise ValueError(f"no file has {size} bytes at offset {offset}")
    return 0


cdef void _read_part(void *parts, int part) noexcept nogil:
    _read(&(<Transfer *>parts)[part])


def read_into(int descriptor, buffer, int64_t offset, int threads):
    """Fill a buffer from a file.

    Parameters
    ----------
    descriptor : int
        A file open for reading.
    buffer : writable buffer
        Where the bytes go.
    offset : int
        Where in the file they begin.
    threads : int
        How many may work on it, this one included.

    Returns
    -------
    int
        How many bytes were read; fewer than the buffer has only where the file ends.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    cdef View view = _view(buffer, PyBUF_WRITABLE)
    cdef int parts = _parts(threads, view.size, PAGE), i
    cdef Transfer[NUMPACK_MAX_THREADS] each
    cdef size_t first = 0, last, total = 0
    cdef bint again = True
    _check_offset(offset, view.size)
    for i in range(parts):
        last = _page_after(view, view.size // parts * (i + 1)) if i < parts - 1 else view.size
        each[i] = _transfer(descriptor, view.data + first, last - first, offset + first)
        first = last
    while again:
        with nogil:
            numpack_parallel(_read_part, each, parts)
        again = False
        for i in range(parts):
            again |= _is_interrupted(&each[i])
    for i in range(parts):
        total += each[i].done
        if each[i].done < each[i].size:
            break
    return total


cdef size_t _page_after(View view, size_t position) noexcept:
    """Move a position to the start of a page of memory: each page is one thread's alone."""
    cdef size_t over = (<uintptr_t>view.data + position) % PAGE
    return min(position + (PAGE - over) % PAGE, view.size)


# Rows in place ----------------------------------------------------------------------------

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
    made.rows, made.bytes = _view(rows), _view(fresh)
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


def patch_sums(sums, base, rows, Py_ssize_t width, fresh):
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
    cdef View into = _view(sums, PyBUF_WRITABLE), current = _view(base)
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
    """Copy rows to where they belong in a writable buffer; see `patch_sums`."""
    cdef View into = _view(target, PyBUF_WRITABLE)
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
    """Write rows to where they belong in a file; see `patch_sums`.

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
                transfer = _transfer(
                    descriptor,
                    new.bytes.data + i * new.width,
                    run * new.width,
                    new.row(i) * new.width,
                )
                _write(&transfer)
                i += run
                if transfer.error:
                    break
        _finish_write(&transfer)
