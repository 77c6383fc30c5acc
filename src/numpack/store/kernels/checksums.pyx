"""Checksums of data files, and their bytes to and from the disk.

A data file has a CRC-32, that of zlib, for each block of `BLOCK` bytes and for the part of a
block at its end. What is written is summed at the same time, on a thread of its own where
that pays. Nothing here knows of arrays: everything is bytes.
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
from posix.unistd cimport pread, pwrite


cdef extern from "crc32.h":
    void numpack_begin_crc32()
    uint32_t numpack_crc32(uint32_t, const unsigned char *, size_t) noexcept nogil
    uint32_t numpack_copy_crc32(
        uint32_t, unsigned char *, const unsigned char *, size_t) noexcept nogil
    uint32_t numpack_crc32_portable(uint32_t, const unsigned char *, size_t) noexcept nogil
    void numpack_store(unsigned char *, uint32_t) noexcept nogil


cdef extern from "parallel.h":
    const int NUMPACK_MAX_THREADS
    ctypedef void (*numpack_work)(void *, int) noexcept nogil
    void numpack_parallel(numpack_work, void *, int) noexcept nogil


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
    void numpack_end_piece(numpack_bounce *)
    void numpack_end_bounce(numpack_bounce *)


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

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)


cdef View view_of(data, int flags=PyBUF_SIMPLE):
    cdef View view = View.__new__(View)
    PyObject_GetBuffer(data, &view.buffer, flags)
    view.data, view.size = <unsigned char *>view.buffer.buf, view.buffer.len
    return view


# Sums -------------------------------------------------------------------------------------

cdef struct Sums:  # under way
    const unsigned char *data
    size_t size
    size_t room  # bytes to the end of the block that is not whole
    uint32_t crc  # of the bytes of that block before; at last, of those of the last block
    unsigned char *blocks  # where the checksums of whole blocks go


cdef uint32_t crc32_of(uint32_t crc, const unsigned char *data, size_t size) noexcept nogil:
    return ~numpack_crc32(~crc, data, size)


cdef uint32_t copy_and_sum(
    uint32_t crc, unsigned char *copy, const unsigned char *data, size_t size
) noexcept nogil:
    """Copy data and sum the copy."""
    return ~numpack_copy_crc32(~crc, copy, data, size)


cdef void _sum(Sums *sums) noexcept nogil:
    while sums.size >= sums.room:
        numpack_store(sums.blocks, crc32_of(sums.crc, sums.data, sums.room))
        sums.blocks += 4
        sums.data += sums.room
        sums.size -= sums.room
        sums.room, sums.crc = BLOCK_BYTES, 0
    sums.crc = crc32_of(sums.crc, sums.data, sums.size)
    sums.room -= sums.size


cdef void _sum_part(void *parts, int part) noexcept nogil:
    _sum(&(<Sums *>parts)[part])


cdef bytes _checksums(size_t count):
    return PyBytes_FromStringAndSize(NULL, 4 * count)


def crc32(data, start=0):
    """Sum bytes as `zlib.crc32` does; `start` is the sum of those before."""
    cdef View view = view_of(data)
    cdef uint32_t crc = <uint32_t>PyLong_AsUnsignedLongMask(start)
    if view.size <= HELD:
        return crc32_of(crc, view.data, view.size)
    with nogil:
        crc = crc32_of(crc, view.data, view.size)
    return crc


def _portable_crc32(data, uint32_t start=0):
    """Sum as processors without an instruction for it do."""
    cdef View view = view_of(data)
    return ~numpack_crc32_portable(~start, view.data, view.size) & 0xFFFFFFFF


def checksum_blocks(data, int threads):
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
    cdef View view = view_of(data)
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

cdef Transfer transfer_of(
    int descriptor, unsigned char *data, size_t size, int64_t offset
) noexcept nogil:
    cdef Transfer made
    made.descriptor, made.data, made.size, made.offset = descriptor, data, size, offset
    made.done, made.error = 0, 0
    return made


cdef void write_rest(Transfer *self) noexcept nogil:
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


cdef void _sum_piece(
    void *context, unsigned char *copy, const unsigned char *piece, size_t size
) noexcept nogil:
    cdef Sums *sums = <Sums *>context
    cdef size_t part
    while size:
        part = min(size, sums.room)
        sums.crc = copy_and_sum(sums.crc, copy, piece, part)
        copy += part
        piece += part
        size -= part
        sums.room -= part
        if not sums.room:
            numpack_store(sums.blocks, sums.crc)
            sums.blocks += 4
            sums.room, sums.crc = BLOCK_BYTES, 0


cdef void _write_pieces(Transfer *transfer, numpack_bounce *bounce) noexcept nogil:
    """Go on writing, until all is written or a piece is not.

    A transfer that does not end at `transfer.size` is gone on with.
    """
    cdef size_t size
    cdef int64_t offset
    cdef unsigned char *piece
    while True:
        write_rest(transfer)
        if transfer.error:
            return
        if transfer.size:
            numpack_end_piece(bounce)
        piece = numpack_next_piece(bounce, &size)
        offset = transfer.offset + transfer.size
        transfer[0] = transfer_of(transfer.descriptor, piece, size if piece else 0, offset)
        if piece == NULL:
            return


def write_checksummed(int descriptor, data, int64_t offset, uint32_t tail):
    """Write data to a file and sum it at the same time.

    It is read once: the checksums are those of the bytes that are written, even if another
    thread changes the data meanwhile.

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
    cdef View view = view_of(data)
    cdef size_t before = offset % BLOCK_BYTES if offset > 0 else 0
    cdef numpack_bounce bounce
    cdef Transfer transfer = transfer_of(descriptor, NULL, 0, offset)
    cdef Sums sums
    _check_offset(offset, view.size)
    if tail and not before:
        raise ValueError(f"offset {offset} is a block's start, so the tail is 0; got {tail}")
    blocks = _checksums((before + view.size) // BLOCK_BYTES)
    sums.room, sums.crc = BLOCK_BYTES - before, tail
    sums.blocks = <unsigned char *>PyBytes_AS_STRING(blocks)
    bounce.source, bounce.size = view.data, view.size
    bounce.sum, bounce.context = _sum_piece, &sums
    if numpack_begin_bounce(&bounce, view.size >= APART) < 0:
        raise MemoryError
    try:
        with nogil:
            if view.size >= RESERVED:
                numpack_reserve(descriptor, offset, view.size)
            _write_pieces(&transfer, &bounce)
        while _is_interrupted(&transfer):
            with nogil:
                _write_pieces(&transfer, &bounce)
    finally:
        with nogil:
            numpack_end_bounce(&bounce)
    return blocks, sums.crc


cdef int finish_write(Transfer *self) except -1:
    while _is_interrupted(self):
        with nogil:
            write_rest(self)
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
    cdef View view = view_of(buffer, PyBUF_WRITABLE)
    cdef int parts = _parts(threads, view.size, PAGE), i
    cdef Transfer[NUMPACK_MAX_THREADS] each
    cdef size_t first = 0, last, total = 0
    cdef bint again = True
    _check_offset(offset, view.size)
    for i in range(parts):
        last = _page_after(view, view.size // parts * (i + 1)) if i < parts - 1 else view.size
        each[i] = transfer_of(descriptor, view.data + first, last - first, offset + first)
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
