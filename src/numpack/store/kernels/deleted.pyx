# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Deleted-row lists: mapping of live rows to stored rows, merging, and copying of live rows.

A *stored* row number counts all rows of the data file; a *live* row number counts only rows
that are not deleted. The number of live rows before the i-th deleted row is its stored number
minus i. So a live row comes after it if its live number is at least that.
"""

import sys

cimport numpy as cnp
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t
from libc.string cimport memcpy

from numpack.store.kernels.checksums cimport crc32_of
from numpack.store.kernels.gather cimport are_row_numbers

cnp.import_array()

cdef bint IS_BIG_ENDIAN = sys.byteorder == "big"


cdef extern from "parallel.h":
    ctypedef void (*numpack_work)(void *, int64_t) noexcept nogil
    void numpack_parallel(numpack_work, void *, int64_t, int) noexcept nogil


cdef extern from "numpy/arrayobject.h":
    int PyArray_CheckExact(object)


cdef enum:
    LANES = 8  # concurrent binary searches, to overlap their cache misses
    THREAD_MIN = 1 << 21  # bytes to copy per thread; with fewer, its start does not pay off
    TASK = 1 << 20  # bytes that a thread copies at a time


cdef void count_before(
    const int64_t[::1] dropped, const int64_t[::1] numbers, Py_ssize_t first, Py_ssize_t *before
) noexcept nogil:
    """Count the deleted rows before each of `LANES` live rows, from position `first` on."""
    cdef Py_ssize_t size = len(dropped), half, lane, middle
    cdef Py_ssize_t last = len(numbers) - 1
    cdef int64_t[LANES] wanted
    for lane in range(LANES):
        wanted[lane] = numbers[min(first + lane, last)]
        before[lane] = 0
    while size:
        half = (size + 1) // 2
        for lane in range(LANES):
            middle = before[lane] + half - 1
            before[lane] += half * (dropped[middle] - middle <= wanted[lane])
        size -= half


def map_live_to_stored(
    const int64_t[::1] dropped, const int64_t[::1] numbers, int64_t[::1] stored
):
    """Convert live row numbers to stored row numbers.

    Parameters
    ----------
    dropped : buffer of int64
        Stored numbers of the deleted rows, sorted and unique.
    numbers : buffer of int64
        Live row numbers, in any order.
    stored : writable buffer of int64
        The output, of the same length as `numbers`; may be `numbers` itself.

    Raises
    ------
    ValueError
        The lengths differ.
    """
    cdef Py_ssize_t chunk, i, k, stop, count = len(numbers)
    cdef Py_ssize_t[LANES] before
    cdef Run run
    if len(stored) != count:
        raise ValueError(f"{count} numbers do not fit where {len(stored)} do")
    with nogil:
        run = run_after(dropped, 0)
        for chunk in range((count + LANES - 1) // LANES):
            i, stop = LANES * chunk, min(LANES * (chunk + 1), count)
            if contains(run, numbers, i, stop):
                for k in range(i, stop):
                    stored[k] = numbers[k] + run.before
            else:
                count_before(dropped, numbers, i, before)
                for k in range(i, stop):
                    stored[k] = numbers[k] + before[k - i]
                run = run_after(dropped, before[LANES - 1])


def stored_rows(rows, recent, int64_t live, index, Py_ssize_t most) -> cnp.ndarray | None:
    """Convert an index of live rows; None if it requires the general path.

    Parameters
    ----------
    rows, recent, live
        As for `stored_number`.
    index : object
        Converted if it is a 1-d array of at most `most` int64, all of them in range.
    most : int
    """
    cdef cnp.npy_intp i, size
    cdef const int64_t *given
    cdef int64_t *numbers
    if not PyArray_CheckExact(index) or not are_row_numbers(index):
        return None
    size = cnp.PyArray_DIM(index, 0)
    if size > most:
        return None
    stored = cnp.PyArray_EMPTY(1, &size, cnp.NPY_INT64, 0)
    given = <const int64_t *>cnp.PyArray_DATA(index)
    numbers = <int64_t *>cnp.PyArray_DATA(stored)
    for i in range(size):
        numbers[i] = given[i]
        if not -live <= numbers[i] < live:
            return None
        numbers[i] += live if numbers[i] < 0 else 0
    for dropped in (recent, rows):
        if len(dropped):
            map_live_to_stored(dropped, stored, stored)
    return stored


cdef struct Run:  # live rows with no deleted row between them
    int64_t first
    int64_t last
    Py_ssize_t before  # number of deleted rows before the run


cdef Run run_after(const int64_t[::1] dropped, Py_ssize_t before) noexcept nogil:
    cdef Run run
    run.before = before
    run.first = dropped[before - 1] - (before - 1) if before else INT64_MIN
    run.last = dropped[before] - before - 1 if before < len(dropped) else INT64_MAX
    return run


cdef bint contains(
    Run run, const int64_t[::1] numbers, Py_ssize_t start, Py_ssize_t stop
) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(start, stop):
        if not run.first <= numbers[k] <= run.last:
            return False
    return True


def stored_number(rows, recent, int64_t live, number) -> int:
    """Convert one live row number to its stored number; return -1 if it is out of range.

    Parameters
    ----------
    rows : buffer of int64
        Stored numbers of the deleted rows, sorted and unique.
    recent : buffer of int64
        Numbers of further deleted rows, counting the rows that are not in `rows`.
    live : int
        Number of live rows.
    number : int
        Negative numbers count from the end.
    """
    if not -live <= number < live:
        return -1
    return number_after(rows, number_after(recent, number + live if number < 0 else number))


cdef int64_t number_after(rows, int64_t number) except -1:
    """Convert a row number that does not count the deleted rows to one that does."""
    cdef Py_buffer view
    cdef Copy deleted
    PyObject_GetBuffer(rows, &view, PyBUF_SIMPLE)
    deleted.dropped, deleted.count = <const int64_t *>view.buf, view.len // sizeof(int64_t)
    number += deleted_before(&deleted, number)
    PyBuffer_Release(&view)
    return number


def live_span(const int64_t[::1] dropped, int64_t count) -> tuple | None:
    """Return the start and stop of the live rows; None if they are not contiguous.

    Parameters
    ----------
    dropped : buffer of int64
        Stored numbers of the deleted rows, sorted and unique.
    count : int
        Number of stored rows.
    """
    cdef Py_ssize_t low = 0, high = len(dropped), middle
    cdef int64_t live = count - high
    while low < high:  # find the end of the deleted rows at the start
        middle = (low + high) // 2
        if dropped[middle] == middle:
            low = middle + 1
        else:
            high = middle
    if low == len(dropped) or dropped[low] - low == live:
        return low, low + live
    return None


def row_numbers(bytes content not None, crc, int64_t count) -> cnp.ndarray | None:
    """Return the sorted row numbers of a deleted-row list; None if it is damaged.

    Parameters
    ----------
    content : bytes
    crc : int
        Its checksum.
    count : int
        Number of stored rows. All numbers must be different and less than that.
    """
    cdef cnp.npy_intp size = len(content) // sizeof(int64_t)
    cdef const char *data = PyBytes_AS_STRING(content)
    if len(content) % sizeof(int64_t):
        return None
    if crc32_of(0, <const unsigned char *>data, len(content)) != crc:
        return None
    cdef cnp.ndarray rows = cnp.PyArray_EMPTY(1, &size, cnp.NPY_INT64, 0)
    cdef int64_t *numbers = <int64_t *>cnp.PyArray_DATA(rows)
    memcpy(numbers, data, len(content))
    if IS_BIG_ENDIAN:
        rows.byteswap(inplace=True)
    if not are_increasing(numbers, size, count):
        cnp.PyArray_Sort(rows, 0, cnp.NPY_QUICKSORT)
    return rows if are_increasing(numbers, size, count) else None


cdef bint are_increasing(const int64_t *numbers, Py_ssize_t size, int64_t count) noexcept:
    """Return whether numbers are strictly increasing, from 0 up to less than `count`."""
    cdef Py_ssize_t i
    cdef int64_t last = -1
    for i in range(size):
        if numbers[i] <= last:
            return False
        last = numbers[i]
    return last < count


def merge_deleted(
    const int64_t[::1] dropped,
    const int64_t[::1] numbers,
    int64_t count,
    int64_t[::1] stored,
    int64_t[::1] merged,
):
    """Convert the live numbers of rows to delete as `map_live_to_stored` does, and merge them.

    Parameters
    ----------
    dropped : buffer of int64
        Stored numbers of the rows deleted before, sorted and unique.
    numbers : buffer of int64
        Live numbers of the rows to delete, strictly increasing.
    count : int
        Number of live rows.
    stored : writable buffer of int64
        Output: the stored numbers of the rows to delete, as many as `numbers`.
    merged : writable buffer of int64
        Output: the stored numbers of all deleted rows, sorted, as many as both inputs.

    Raises
    ------
    ValueError
        The numbers are not strictly increasing or are out of range, or the lengths are wrong.
    """
    cdef Py_ssize_t chunk, i, k, at, start = 0, size = len(numbers)
    cdef Py_ssize_t[LANES] before
    cdef int64_t last = -1
    if len(stored) != size or len(merged) != len(dropped) + size:
        raise ValueError(f"{size} numbers do not fit where {len(stored)} do")
    with nogil:
        for i in range(size):
            if numbers[i] <= last or numbers[i] >= count:
                raise ValueError("the numbers are not increasing, or are out of range")
            last = numbers[i]
        for chunk in range((size + LANES - 1) // LANES):
            i = LANES * chunk
            count_before(dropped, numbers, i, before)
            for k in range(i, min(i + LANES, size)):
                at = before[k - i]
                copy(dropped, start, at, merged, k)
                stored[k] = merged[at + k] = numbers[k] + at
                start = at
        copy(dropped, start, len(dropped), merged, size)


cdef void copy(
    const int64_t[::1] source,
    Py_ssize_t start,
    Py_ssize_t stop,
    int64_t[::1] target,
    Py_ssize_t shift,
) noexcept nogil:
    if start < stop:
        memcpy(&target[start + shift], &source[start], (stop - start) * sizeof(int64_t))


# Copying live rows ------------------------------------------------------------------------

cdef struct Copy:
    const unsigned char *source
    const int64_t *dropped
    Py_ssize_t count  # of deleted rows
    int64_t offset  # stored number of the first row of the source
    int64_t end  # stored number after its last row
    size_t width
    int64_t first  # live number of the first row to copy
    int64_t rows
    int64_t each  # rows of a task
    unsigned char *out


cdef Py_ssize_t deleted_before(Copy *self, int64_t live) noexcept nogil:
    """Count the deleted rows before a live one."""
    cdef Py_ssize_t low = 0, high = self.count, middle
    while low < high:
        middle = (low + high) // 2
        if self.dropped[middle] - middle <= live:
            low = middle + 1
        else:
            high = middle
    return low


cdef void copy_runs(void *context, int64_t task) noexcept nogil:
    """Copy live rows, each run between two deleted rows with one call."""
    cdef Copy *self = <Copy *>context
    cdef int64_t done = task * self.each
    cdef Py_ssize_t i = deleted_before(self, self.first + done)
    cdef int64_t at = self.first + done + i, end, rows = min(self.each, self.rows - done)
    cdef unsigned char *out = self.out + done * self.width
    while rows and at < self.end:
        end = min(self.end, self.dropped[i]) if i < self.count else self.end
        if end > at:
            end = min(end, at + rows)
            memcpy(out, self.source + (at - self.offset) * self.width, (end - at) * self.width)
            out += (end - at) * self.width
            rows -= end - at
        at = end + 1
        i += 1


def copy_live(
    const unsigned char[::1] source,
    Py_ssize_t width,
    const int64_t[::1] dropped,
    int64_t offset,
    int64_t first,
    unsigned char[::1] out,
    int threads,
):
    """Copy consecutive live rows.

    Parameters
    ----------
    source : buffer
        Consecutive rows of the data file.
    width : int
        Size of a row in bytes, at least 1.
    dropped : buffer of int64
        Stored numbers of all deleted rows, sorted and unique.
    offset : int
        Stored number of the first row of the source.
    first : int
        Live number of the first row to copy.
    out : writable buffer
        The output; its size determines the number of rows.
    threads : int
        Maximum number of threads, including the calling one.

    Raises
    ------
    ValueError
        The source does not contain these rows.
    """
    cdef Copy whole
    cdef int most = <int>min(len(out) // THREAD_MIN, 64)
    cdef int64_t start, stop, tasks
    if not len(out):
        return
    whole.source, whole.width, whole.offset = &source[0], width, offset
    whole.dropped, whole.count = &dropped[0] if len(dropped) else NULL, len(dropped)
    whole.end = offset + len(source) // width
    whole.first, whole.rows, whole.out = first, len(out) // width, &out[0]
    start, stop = first + deleted_before(&whole, first), first + whole.rows - 1
    stop += deleted_before(&whole, stop)
    if first < 0 or start < offset or stop >= whole.end or len(out) % width:
        raise ValueError(f"the source does not hold {whole.rows:,} live rows from {first:,} on")
    threads = max(1, min(threads, most))
    whole.each = whole.rows if threads == 1 else TASK // width + 1
    tasks = (whole.rows - 1) // whole.each + 1
    with nogil:
        numpack_parallel(copy_runs, &whole, tasks, threads)
