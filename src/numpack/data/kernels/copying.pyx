# cython: language_level=3
"""Copies of rows that background threads make; implemented in copy_queue.h.

The threads never run Python. What they use is kept alive by the queue, which drops it only when
the copies are done or the threads have ended.
"""

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport INT64_MAX, int64_t


from numpack.data.kernels.buffers cimport BufferPool

cdef extern from "numpy/arrayobject.h":
    int PyArray_ISCARRAY_RO(cnp.ndarray)
    int PyArray_IS_C_CONTIGUOUS(cnp.ndarray)
    int PyDataType_REFCHK(cnp.PyArray_Descr *)

cdef extern from "pthread.h":
    int pthread_atfork(void *, void *, void (*)() noexcept nogil) nogil

cdef extern from "copy_queue.h":
    ctypedef struct numpack_submitted:
        void (*work)(void *, int64_t) noexcept nogil
        void *context
        int64_t tasks
        int is_request

    ctypedef struct numpack_queue:
        int threads

    enum:
        MOST_THREADS "NUMPACK_MAX_THREADS"

    numpack_queue *numpack_new_queue(int threads) nogil
    void numpack_submit(numpack_queue *, numpack_submitted *) nogil
    int numpack_wait(numpack_queue *, numpack_submitted *) nogil
    void numpack_close_queue(numpack_queue *) nogil
    void numpack_count_fork() noexcept nogil

cdef extern from "segments.h":
    ctypedef struct numpack_gather:
        const char *source
        size_t width
        size_t pitch
        int64_t count
        const char *rows
        int64_t total
        char *out
        size_t page
        int64_t wrong
        int cold

    ctypedef struct numpack_segments:
        const char *source
        size_t width
        const int64_t *starts
        const int64_t *lengths
        const int64_t *places
        int64_t total
        char *out
        size_t page
        int cold

    int64_t numpack_divide(numpack_gather *, int threads) nogil
    int64_t numpack_divide_segments(numpack_segments *, int64_t nbytes) nogil
    void numpack_gather_task(void *, int64_t) noexcept nogil
    void numpack_request_task(void *, int64_t) noexcept nogil
    void numpack_segments_task(void *, int64_t) noexcept nogil

cnp.import_array()
pthread_atfork(NULL, NULL, numpack_count_fork)


class QueueClosedError(ValueError):
    """A copy was submitted to a closed queue, or was dropped when the queue was closed."""


@cython.no_gc
cdef class Copy:
    """A copy that a `CopyQueue` makes."""

    cdef numpack_submitted _copy
    cdef tuple _used  # arrays

    cdef bint is_cold(self):
        return False

    cdef int check(self) except -1:
        return 0


@cython.final
@cython.no_gc
cdef class RowsCopy(Copy):
    """Copy rows that are selected by number.

    Parameters
    ----------
    source : ndarray
        C-contiguous, not empty, without references to objects. Its memory may change
        meanwhile, its shape not.
    rows : ndarray of int64
        Row numbers, not negative; must not change meanwhile.
    out : ndarray or None
        C-contiguous: `length` rows for each number. None only requests the pages of the file.
    length : int
        Number of consecutive rows that are copied for each number.
    is_file : bool
        Whether pages of the source may have to be read from a device.
    """

    cdef numpack_gather _gather

    def __init__(
        self,
        cnp.ndarray source not None,
        cnp.ndarray rows not None,
        cnp.ndarray out,
        int64_t length,
        bint is_file,
    ):
        cdef int64_t count = cnp.PyArray_DIM(source, 0)
        cdef int64_t total = cnp.PyArray_DIM(rows, 0)
        cdef int64_t width = row_nbytes(source)
        if not 1 <= length <= count:
            raise ValueError(f"there are no {length:,} consecutive rows in {count:,}")
        check_numbers(rows, total)
        if out is not None:
            check_output(out)
            if cnp.PyArray_NBYTES(out) != total * length * width:
                raise ValueError("the output does not fit the rows")
        self._gather.source = <const char *>cnp.PyArray_DATA(source)
        self._gather.pitch = width
        self._gather.width = width * length
        self._gather.count = count - length + 1
        self._gather.rows = <const char *>cnp.PyArray_DATA(rows)
        self._gather.total = total
        self._gather.out = NULL if out is None else <char *>cnp.PyArray_DATA(out)
        self._copy.tasks = numpack_divide(&self._gather, 1 if out is None else 2)
        if not is_file:
            self._gather.page = 0
        self._copy.work = numpack_request_task if out is None else numpack_gather_task
        self._copy.is_request = out is None
        self._copy.context = &self._gather
        self._used = source, rows, out

    cdef bint is_cold(self):
        return self._gather.cold

    cdef int check(self) except -1:
        if self._gather.wrong < INT64_MAX:
            raise IndexError(f"row number {self._gather.wrong:,} of the copy is out of range")
        return 0


@cython.final
@cython.no_gc
cdef class PlainRows:
    """Rows of an array that are copied without Python.

    Parameters
    ----------
    source, is_file
        As for `RowsCopy`.
    """

    cdef cnp.ndarray source
    cdef bint is_file
    cdef tuple shape  # of a row
    cdef cnp.dtype dtype

    def __init__(self, cnp.ndarray source not None, bint is_file):
        row_nbytes(source)
        self.source, self.is_file = source, is_file
        self.shape, self.dtype = (<object>source).shape[1:], source.dtype


def begin_rows(dict arrays not None, cnp.ndarray rows not None, int64_t length, dict pools):
    """Return arrays for some rows of other arrays, and the copies to be made into them.

    Parameters
    ----------
    arrays : dict of str to PlainRows
    rows : ndarray of int64
        As for `RowsCopy`.
    length : int
        Number of consecutive rows to copy for each; 0 for the row itself, without an axis.
    pools : dict of str to BufferPool

    Returns
    -------
    arrays : dict of str to ndarray
        ``(len(rows), *shape)``, or ``(len(rows), length, *shape)``.
    copies : list of RowsCopy
    """
    cdef PlainRows plain
    cdef dict found = {}
    cdef list copies = []
    cdef tuple extents = (len(rows),)
    if length:
        extents += (length,)
    for name, each in arrays.items():
        plain = <PlainRows?>each
        out = (<BufferPool?>pools[name]).empty(extents + plain.shape, plain.dtype)
        found[name] = out
        copies.append(RowsCopy(plain.source, rows, out, max(length, 1), plain.is_file))
    return found, copies


@cython.final
@cython.no_gc
cdef class SegmentsCopy(Copy):
    """Copy samples of consecutive rows, of a different number each.

    Parameters
    ----------
    source, is_file
        As for `RowsCopy`.
    starts, lengths, places : ndarray of int64
        First row, number of rows, and row of the output of each sample; must not change
        meanwhile.
    out : ndarray
        C-contiguous.
    """

    cdef numpack_segments _segments

    def __init__(
        self,
        cnp.ndarray source not None,
        cnp.ndarray starts not None,
        cnp.ndarray lengths not None,
        cnp.ndarray places not None,
        cnp.ndarray out not None,
        bint is_file,
    ):
        cdef int64_t total = cnp.PyArray_DIM(starts, 0)
        cdef int64_t count = cnp.PyArray_DIM(source, 0)
        cdef int64_t width = row_nbytes(source)
        check_numbers(starts, total)
        check_numbers(lengths, total)
        check_numbers(places, total)
        check_output(out)
        self._segments.source = <const char *>cnp.PyArray_DATA(source)
        self._segments.width = width
        self._segments.starts = <const int64_t *>cnp.PyArray_DATA(starts)
        self._segments.lengths = <const int64_t *>cnp.PyArray_DATA(lengths)
        self._segments.places = <const int64_t *>cnp.PyArray_DATA(places)
        self._segments.total = total
        self._segments.out = <char *>cnp.PyArray_DATA(out)
        check_segments(&self._segments, count, cnp.PyArray_NBYTES(out) // width)
        self._copy.tasks = numpack_divide_segments(&self._segments, cnp.PyArray_NBYTES(out))
        if not is_file:
            self._segments.page = 0
        self._copy.work = numpack_segments_task
        self._copy.context = &self._segments
        self._used = source, starts, lengths, places, out

    cdef bint is_cold(self):
        return self._segments.cold


cdef int64_t row_nbytes(cnp.ndarray source) except -1:
    cdef int64_t count = cnp.PyArray_DIM(source, 0)
    cdef int64_t width = cnp.PyArray_NBYTES(source) // count if count else 0
    if not PyArray_IS_C_CONTIGUOUS(source) or PyDataType_REFCHK(cnp.PyArray_DESCR(source)):
        width = 0
    if width == 0:
        raise ValueError("the rows of the source are not consecutive bytes")
    return width


cdef int check_numbers(cnp.ndarray numbers, int64_t total) except -1:
    if (
        cnp.PyArray_TYPE(numbers) != cnp.NPY_INT64
        or cnp.PyArray_NDIM(numbers) != 1
        or cnp.PyArray_DIM(numbers, 0) != total
        or not PyArray_ISCARRAY_RO(numbers)
    ):
        raise ValueError("row numbers must be consecutive int64")
    return 0


cdef int check_output(cnp.ndarray out) except -1:
    if not PyArray_IS_C_CONTIGUOUS(out) or not cnp.PyArray_ISWRITEABLE(out):
        raise ValueError("the output must be writable and C-contiguous")
    return 0


cdef int check_segments(const numpack_segments *self, int64_t count, int64_t room) except -1:
    cdef int64_t i
    for i in range(self.total):
        if not 0 <= self.lengths[i] <= count - self.starts[i] or self.starts[i] < 0:
            raise IndexError(f"the rows of sample {i:,} are out of range")
        if not 0 <= self.places[i] <= room - self.lengths[i]:
            raise ValueError(f"the output has no room for sample {i:,}")
    return 0


@cython.final
@cython.no_gc  # so that the garbage collector drops nothing that the threads are using
cdef class CopyQueue:
    """Background threads that make copies in the order in which they are submitted.

    Parameters
    ----------
    threads : int
        At most so many; fewer if the system has no more. With none, copies are made by the
        thread that waits for them.
    """

    cdef numpack_queue *_queue
    cdef set _pending

    def __cinit__(self, threads):
        self._pending = set()
        threads = min(threads, MOST_THREADS)
        self._queue = numpack_new_queue(threads)
        if self._queue == NULL:
            raise MemoryError

    def __dealloc__(self):
        self._close()

    @property
    def threads(self):
        """Number of background threads; 0 once the queue is closed."""
        return 0 if self._queue == NULL else self._queue.threads

    def submit(self, Copy copy not None):
        """Begin a copy. What it uses is kept alive until `wait` or `close`."""
        if self._queue == NULL:
            raise QueueClosedError("the queue is closed")
        if copy._copy.tasks and copy not in self._pending:
            self._pending.add(copy)
            numpack_submit(self._queue, &copy._copy)

    def wait(self, Copy copy not None):
        """Wait until a copy is done, and help with it.

        Returns
        -------
        bool
            Whether it found pages that were not in memory.

        Raises
        ------
        IndexError
            A row number is out of range.
        KeyboardInterrupt
            Or whatever else a signal handler raises; the copy goes on.
        QueueClosedError
            The queue is closed, perhaps by a signal handler.
        """
        cdef int done = 0
        if self._queue == NULL:
            raise QueueClosedError("the queue is closed")
        if copy in self._pending:
            while not done:
                with nogil:
                    done = numpack_wait(self._queue, &copy._copy)
                if not done:
                    PyErr_CheckSignals()
                    if self._queue == NULL:
                        raise QueueClosedError("the queue was closed by a signal handler")
            self._pending.discard(copy)
            copy.check()
        return copy.is_cold()

    def close(self):
        """End the threads; copies that have not begun are not made."""
        self._close()

    cdef _close(self):
        cdef numpack_queue *queue = self._queue
        self._queue = NULL
        if queue != NULL:
            with nogil:
                numpack_close_queue(queue)
            self._pending.clear()
