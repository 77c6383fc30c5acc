# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Sorted numbers of dropped rows: what a row's number is without them, and with more of them.

The i-th dropped row has as many kept rows before it as its number minus i. So a kept row comes
behind it if its own number, among the kept ones, is no less.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t
from libc.string cimport memcpy


cdef enum:
    LANES = 8  # numbers that are searched for at once, so that none waits for memory alone


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


def find_stored(const int64_t[::1] dropped, const int64_t[::1] numbers, int64_t[::1] stored):
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


def merge(
    const int64_t[::1] dropped,
    const int64_t[::1] numbers,
    int64_t kept,
    int64_t[::1] stored,
    int64_t[::1] merged,
):
    """Drop more rows: find them as `find_stored` does, and put them among those dropped before.

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
