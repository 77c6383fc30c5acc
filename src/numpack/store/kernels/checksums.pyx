"""Checksums of data files, and reading and writing of their bytes.

A data file has a CRC-32, as zlib computes it, for each block of `BLOCK` bytes and for the
partial block at its end. Checksums are computed while data is written, on a separate thread
for large writes. This module handles bytes only, not arrays.
"""

import os

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_AsUnsignedLongMask
from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uintptr_t
from posix.unistd cimport pread, pwrite


cdef extern from "crc32.h":
    void numpack_init_crc32()
    uint32_t numpack_crc32(uint32_t, const unsigned char *, size_t) noexcept nogil
    uint32_t numpack_copy_crc32(
        uint32_t, unsigned char *, const unsigned char *, size_t) noexcept nogil
    uint32_t numpack_crc32_portable(uint32_t, const unsigned char *, size_t) noexcept nogil
    uint32_t numpack_advance(uint32_t, size_t) noexcept nogil
    void numpack_store(unsigned char *, uint32_t) noexcept nogil


cdef extern from "parallel.h":
    ctypedef void (*numpack_work)(void *, int64_t) noexcept nogil
    void numpack_parallel(numpack_work, void *, int64_t, int) noexcept nogil


# With fallocate, the file system need not allocate blocks page by page. Errors are ignored: the
# file system may not support it, and the write reports any other problem.
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

cdef enum:  # in bytes
    RESERVE_MIN = 1 << 18  # writes from this size on are preallocated
    THREAD_MIN = 1 << 21  # from this size on, a thread costs less than the checksum
    HOLD_GIL_MAX = 1 << 16  # up to this size, releasing the GIL costs more than the checksum
    HUGE_PAGE = 1 << 21  # allocated and cleared as a whole
    CALL_MAX = 1 << 30  # macOS rejects, and Linux truncates, transfers of 2 GiB or more

cdef enum:
    READS = 32  # parts of a read that threads share

BLOCK = BLOCK_BYTES
numpack_init_crc32()


@cython.final
@cython.freelist(8)
cdef class BufferView:
    """The bytes of a buffer, which can be used without the GIL while the view exists."""

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)


cdef BufferView view_of(data, int flags=PyBUF_SIMPLE):
    """Export a buffer; `flags` as for `PyObject_GetBuffer`."""
    cdef BufferView view = BufferView.__new__(BufferView)
    PyObject_GetBuffer(data, &view.buffer, flags)
    view.data, view.size = <unsigned char *>view.buffer.buf, view.buffer.len
    return view


# Checksums --------------------------------------------------------------------------------

cdef struct Checksums:  # in progress
    const unsigned char *data  # used by `checksum_blocks` only
    size_t size
    size_t left  # bytes to the end of the current block
    uint32_t crc  # of the bytes of the current block so far
    unsigned char *blocks  # output: checksums of full blocks


cdef uint32_t crc32_of(uint32_t crc, const unsigned char *data, size_t size) noexcept nogil:
    return ~numpack_crc32(~crc, data, size)


cdef uint32_t copy_and_crc32(
    uint32_t crc, unsigned char *copy, const unsigned char *data, size_t size
) noexcept nogil:
    """Copy data and compute the checksum of the copy."""
    return ~numpack_copy_crc32(~crc, copy, data, size)


cdef void _checksum_block(void *context, int64_t block) noexcept nogil:
    """Compute the checksum of a block, which may be the partial last one."""
    cdef Checksums *sums = <Checksums *>context
    cdef const unsigned char *data = sums.data + block * BLOCK_BYTES
    cdef size_t size = min(<size_t>BLOCK_BYTES, sums.size - block * BLOCK_BYTES)
    cdef uint32_t crc = crc32_of(0, data, size)
    if size < BLOCK_BYTES:
        sums.crc = crc
    else:
        numpack_store(sums.blocks + 4 * block, crc)


cdef bytes _new_checksums(size_t count):
    return PyBytes_FromStringAndSize(NULL, 4 * count)


def crc32(data, start=0):
    """Compute a CRC-32 as `zlib.crc32` does; `start` is that of the preceding bytes."""
    cdef BufferView view = view_of(data)
    cdef uint32_t crc = <uint32_t>PyLong_AsUnsignedLongMask(start)
    if view.size <= HOLD_GIL_MAX:
        return crc32_of(crc, view.data, view.size)
    with nogil:
        crc = crc32_of(crc, view.data, view.size)
    return crc


def combine_crc32(uint32_t first, uint32_t second, Py_ssize_t length):
    """Return the CRC-32 of two parts of a block, given that of each and the second's length."""
    if not 0 <= length < BLOCK_BYTES:
        raise ValueError(f"a part of a block has less than {BLOCK_BYTES} bytes; got {length}")
    return numpack_advance(first, length) ^ second


def _portable_crc32(data, uint32_t start=0):
    """Compute a CRC-32 without special instructions of the processor."""
    cdef BufferView view = view_of(data)
    return ~numpack_crc32_portable(~start, view.data, view.size) & 0xFFFFFFFF


def checksum_blocks(data, int threads):
    """Compute the checksums of data that begins at the start of a block.

    Parameters
    ----------
    data : buffer
        Any bytes.
    threads : int
        Maximum number of threads, including the calling one.

    Returns
    -------
    blocks : bytes
        The checksums of full blocks, little-endian and 4 bytes each.
    rest : int
        The checksum of the bytes after them; 0 if there are none.
    """
    cdef BufferView view = view_of(data)
    cdef Checksums sums
    threads = _thread_count(threads, view.size)
    blocks = _new_checksums(view.size // BLOCK_BYTES)
    sums.data, sums.size, sums.crc = view.data, view.size, 0
    sums.blocks = <unsigned char *>PyBytes_AS_STRING(blocks)
    with nogil:
        numpack_parallel(
            _checksum_block, &sums, (view.size + BLOCK_BYTES - 1) // BLOCK_BYTES, threads
        )
    return blocks, sums.crc


cdef int _thread_count(int threads, size_t size) except -1:
    """Return how many threads to use for `size` bytes."""
    if threads < 1:
        raise ValueError(f"there must be at least one thread; got {threads}")
    return max(1, <int>min(<size_t>threads, size // THREAD_MIN))


# Reading and writing ----------------------------------------------------------------------

cdef Transfer new_transfer(
    int descriptor, unsigned char *data, size_t size, int64_t offset
) noexcept nogil:
    cdef Transfer made
    made.descriptor, made.data, made.size, made.offset = descriptor, data, size, offset
    made.done, made.error = 0, 0
    return made


cdef void write_rest(Transfer *self) noexcept nogil:
    """Write the bytes not yet done; set `error` if that fails, also with EINTR."""
    cdef ssize_t count
    while self.done < self.size:
        count = pwrite(
            self.descriptor,
            self.data + self.done,
            min(self.size - self.done, CALL_MAX),
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
            min(self.size - self.done, CALL_MAX),
            self.offset + self.done,
        )
        if count <= 0:
            self.error = errno if count < 0 else 0
            return
        self.done += count


cdef bint _is_interrupted(Transfer *self) except -1:
    """Return whether a transfer must be resumed after a signal; raise other errors."""
    cdef int error = self.error
    if error == 0:
        return False
    if error != EINTR:
        raise OSError(error, os.strerror(error))
    PyErr_CheckSignals()
    self.error = 0
    return True


cdef void _checksum_piece(
    void *context, unsigned char *copy, const unsigned char *piece, size_t size
) noexcept nogil:
    cdef Checksums *sums = <Checksums *>context
    cdef size_t part
    while size:
        part = min(size, sums.left)
        sums.crc = copy_and_crc32(sums.crc, copy, piece, part)
        copy += part
        piece += part
        size -= part
        sums.left -= part
        if not sums.left:
            numpack_store(sums.blocks, sums.crc)
            sums.blocks += 4
            sums.left, sums.crc = BLOCK_BYTES, 0


cdef void _write_pieces(Transfer *transfer, numpack_bounce *bounce) noexcept nogil:
    """Write pieces until all are written or an error occurs.

    Resumes the piece of `transfer` if it was interrupted.
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
        transfer[0] = new_transfer(transfer.descriptor, piece, size if piece else 0, offset)
        if piece == NULL:
            return


def write_checksummed(int descriptor, data, int64_t offset, uint32_t tail):
    """Write data to a file and compute its checksums at the same time.

    The data is read once: the checksums are those of the written bytes, even if another
    thread changes the data meanwhile.

    Parameters
    ----------
    descriptor : int
        A file open for writing.
    data : buffer
        Any bytes; all are written.
    offset : int
        Position in the file, in bytes.
    tail : int
        The checksum of the preceding bytes in the same block of the file; 0 if there are
        none.

    Returns
    -------
    blocks : bytes
        The checksums of the blocks that are now full, little-endian and 4 bytes each.
    tail : int
        The checksum of the bytes after them; 0 if there are none.

    Raises
    ------
    ValueError
        If the offset is negative, or `tail` is not 0 at the start of a block.
    OSError
        If not all bytes were written; those that were remain in the file.
    """
    cdef BufferView view = view_of(data)
    cdef size_t before = offset % BLOCK_BYTES if offset > 0 else 0
    cdef numpack_bounce bounce
    cdef Transfer transfer = new_transfer(descriptor, NULL, 0, offset)
    cdef Checksums sums
    _check_offset(offset, view.size)
    if tail and not before:
        raise ValueError(f"offset {offset} is the start of a block: tail must be 0; got {tail}")
    blocks = _new_checksums((before + view.size) // BLOCK_BYTES)
    sums.left, sums.crc = BLOCK_BYTES - before, tail
    sums.blocks = <unsigned char *>PyBytes_AS_STRING(blocks)
    bounce.source, bounce.size, bounce.offset = view.data, view.size, offset
    bounce.checksum_copy, bounce.context = _checksum_piece, &sums
    if numpack_begin_bounce(&bounce, view.size >= THREAD_MIN) < 0:
        raise MemoryError
    try:
        with nogil:
            if view.size >= RESERVE_MIN:
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
    """Resume a write after signals until it is complete; raise `OSError` if it fails."""
    while _is_interrupted(self):
        with nogil:
            write_rest(self)
    return 0


cdef int _check_offset(int64_t offset, size_t size) except -1:
    if offset < 0 or size > <size_t>(INT64_MAX - offset):
        raise ValueError(f"no file can have {size} bytes at offset {offset}")
    return 0


cdef void _read_task(void *each, int64_t task) noexcept nogil:
    _read(&(<Transfer *>each)[task])


def read_into(int descriptor, buffer, int64_t offset, int threads):
    """Fill a buffer from a file.

    Parameters
    ----------
    descriptor : int
        A file open for reading.
    buffer : writable buffer
        The output.
    offset : int
        Position in the file, in bytes.
    threads : int
        Maximum number of threads, including the calling one.

    Returns
    -------
    int
        Number of bytes read; less than the size of the buffer only at the end of the file.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    cdef BufferView view = view_of(buffer, PyBUF_WRITABLE)
    cdef Transfer[READS] each
    cdef int tasks = 1, i
    cdef size_t first = 0, last, total = 0
    cdef bint again = True
    _check_offset(offset, view.size)
    threads = _thread_count(threads, view.size)
    if threads > 1:
        tasks = <int>min(<size_t>READS, view.size // HUGE_PAGE)
    for i in range(tasks):
        last = _align_up(view, view.size // tasks * (i + 1)) if i < tasks - 1 else view.size
        each[i] = new_transfer(descriptor, view.data + first, last - first, offset + first)
        first = last
    while again:
        with nogil:
            numpack_parallel(_read_task, each, tasks, threads)
        again = False
        for i in range(tasks):
            again |= _is_interrupted(&each[i])
    for i in range(tasks):
        total += each[i].done
        if each[i].done < each[i].size:
            break
    return total


cdef size_t _align_up(BufferView view, size_t position) noexcept:
    """Move a position to the next huge page, so that no two threads write to the same one."""
    cdef size_t over = (<uintptr_t>view.data + position) % HUGE_PAGE
    return min(position + (HUGE_PAGE - over) % HUGE_PAGE, view.size)
