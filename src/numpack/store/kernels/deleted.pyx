# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Sorted numbers of dropped rows: what a row's number is without them, and with more of them.

The i-th dropped row has as many kept rows before it as its number minus i. So a kept row comes
behind it if its own number, among the kept ones, is no less.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t
from libc.string cimport memcpy


cdef extern from "parallel.h":
    const int NUMPACK_MAX_THREADS
    ctypedef void (*numpack_work)(void *, int) noexcept nogil
    void numpack_parallel(numpack_work, void *, int) noexcept nogil



cdef enum:
    LANES = 8  # numbers that are searched for at once, so that none waits for memory alone
    SHARE = 1 << 21  # bytes that a thread has to copy to be worth its start


cdef void count_before(
    const int64_t[::1] dropped, const int64_t[::1] numbers, Py_ssize_t first, Py_ssize_t *before
) noexcept nogil:
    """Count the dropped rows before each of some kept ones, the `first` and those behind it."""
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


def map_live_to_stored(const int64_t[::1] dropped, const int64_t[::1] numbers, int64_t[::1] stored):
    """Find the numbers in the data file of rows that are numbered without the dropped ones.

    Parameters
    ----------
    dropped : buffer of int64
        Sorted, each once.
    numbers : buffer of int64
        In any order.
    stored : writable buffer of int64
        Where they go: as many as `numbers`, or `numbers` itself.

    Raises
    ------
    ValueError
        There is no room for all.
    """
    cdef Py_ssize_t chunk, i, k, stop, count = len(numbers)
    cdef Py_ssize_t[LANES] before
    cdef Run run
    if len(stored) != count:
        raise ValueError(f"{count} numbers do not fit where {len(stored)} do")
    with nogil:
        run = run_behind(dropped, 0)
        for chunk in range((count + LANES - 1) // LANES):
            i, stop = LANES * chunk, min(LANES * (chunk + 1), count)
            if holds(run, numbers, i, stop):
                for k in range(i, stop):
                    stored[k] = numbers[k] + run.before
            else:
                count_before(dropped, numbers, i, before)
                for k in range(i, stop):
                    stored[k] = numbers[k] + before[k - i]
                run = run_behind(dropped, before[LANES - 1])


cdef struct Run:  # of kept rows, with no dropped one between them
    int64_t first
    int64_t last
    Py_ssize_t before  # dropped rows


cdef Run run_behind(const int64_t[::1] dropped, Py_ssize_t before) noexcept nogil:
    cdef Run run
    run.before = before
    run.first = dropped[before - 1] - (before - 1) if before else INT64_MIN
    run.last = dropped[before] - before - 1 if before < len(dropped) else INT64_MAX
    return run


cdef bint holds(
    Run run, const int64_t[::1] numbers, Py_ssize_t start, Py_ssize_t stop
) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(start, stop):
        if not run.first <= numbers[k] <= run.last:
            return False
    return True


def merge_deleted(
    const int64_t[::1] dropped,
    const int64_t[::1] numbers,
    int64_t kept,
    int64_t[::1] stored,
    int64_t[::1] merged,
):
    """Drop more rows: find them as `map_live_to_stored` does, and put them among those dropped before.

    Parameters
    ----------
    dropped : buffer of int64
        Sorted, each once.
    numbers : buffer of int64
        Of rows, counted without the dropped ones.
    kept : int
        How many rows there are without them.
    stored : writable buffer of int64
        Where their numbers in the data file go: as many as `numbers`.
    merged : writable buffer of int64
        Where all dropped rows go, sorted: as many as both.

    Raises
    ------
    ValueError
        The numbers do not rise, or are out of range; or there is no room for all.
    """
    cdef Py_ssize_t chunk, i, k, at, start = 0, count = len(numbers)
    cdef Py_ssize_t[LANES] before
    cdef int64_t last = -1
    if len(stored) != count or len(merged) != len(dropped) + count:
        raise ValueError(f"{count} numbers do not fit where {len(stored)} do")
    with nogil:
        for i in range(count):
            if numbers[i] <= last or numbers[i] >= kept:
                raise ValueError("the numbers do not rise, or are out of range")
            last = numbers[i]
        for chunk in range((count + LANES - 1) // LANES):
            i = LANES * chunk
            count_before(dropped, numbers, i, before)
            for k in range(i, min(i + LANES, count)):
                at = before[k - i]
                copy(dropped, start, at, merged, k)
                stored[k] = merged[at + k] = numbers[k] + at
                start = at
        copy(dropped, start, len(dropped), merged, count)


cdef void copy(
    const int64_t[::1] source,
    Py_ssize_t start,
    Py_ssize_t stop,
    int64_t[::1] target,
    Py_ssize_t further,
) noexcept nogil:
    if start < stop:
        memcpy(&target[start + further], &source[start], (stop - start) * sizeof(int64_t))


# Copying what is kept ---------------------------------------------------------------------

cdef struct Copy:
    const unsigned char *source
    const int64_t *dropped
    Py_ssize_t count  # of dropped rows
    int64_t offset  # number in the data file of the first row of the source
    int64_t end  # … and of the row behind its last one
    size_t width
    int64_t first  # number of the first row to copy, among those that are kept
    int64_t rows
    unsigned char *out


cdef Py_ssize_t dropped_before(Copy *self, int64_t kept) noexcept nogil:
    """Count the dropped rows before a kept one."""
    cdef Py_ssize_t low = 0, high = self.count, middle
    while low < high:
        middle = (low + high) // 2
        if self.dropped[middle] - middle <= kept:
            low = middle + 1
        else:
            high = middle
    return low


cdef void copy_runs(void *parts, int part) noexcept nogil:
    """Copy rows, all of those between two dropped ones at once."""
    cdef Copy *self = &(<Copy *>parts)[part]
    cdef Py_ssize_t i = dropped_before(self, self.first)
    cdef int64_t at = self.first + i, end, rows = self.rows
    cdef unsigned char *out = self.out
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
    """Copy rows that follow each other but for the dropped ones between them.

    Parameters
    ----------
    source : buffer
        Rows of the data file, one after the other.
    width : int
        Bytes of a row, at least 1.
    dropped : buffer of int64
        All dropped rows of the data file, sorted, each once.
    offset : int
        Number in the data file of the first row of the source.
    first : int
        Number of the first row to copy, among those that are kept.
    out : writable buffer
        As many rows as are to be copied.
    threads : int
        How many may work on it, this one included.

    Raises
    ------
    ValueError
        The source does not hold these rows.
    """
    cdef Copy[NUMPACK_MAX_THREADS] each
    cdef Copy whole
    cdef int parts = max(1, min(threads, NUMPACK_MAX_THREADS, <int>min(len(out) // SHARE, 64))), i
    cdef int64_t start, stop
    if not len(out):
        return
    whole.source, whole.width, whole.offset = &source[0], width, offset
    whole.dropped, whole.count = &dropped[0] if len(dropped) else NULL, len(dropped)
    whole.end = offset + len(source) // width
    whole.first, whole.rows, whole.out = first, len(out) // width, &out[0]
    start, stop = first + dropped_before(&whole, first), first + whole.rows - 1
    stop += dropped_before(&whole, stop)
    if first < 0 or start < offset or stop >= whole.end or len(out) % width:
        raise ValueError(f"the source does not hold {whole.rows:,} kept rows from {first:,} on")
    for i in range(parts):
        start, stop = whole.rows * i // parts, whole.rows * (i + 1) // parts
        each[i] = whole
        each[i].first, each[i].rows = first + start, stop - start
        each[i].out = whole.out + start * width
    with nogil:
        numpack_parallel(copy_runs, each, parts)
