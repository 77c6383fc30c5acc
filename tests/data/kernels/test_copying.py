"""Copies by background threads: bounds, order, closing, forks."""

from __future__ import annotations

import gc
import os
import threading

import numpy as np
import pytest
from support.each import assert_each

from numpack.data.kernels.copying import CopyQueue, RowsCopy, SegmentsCopy

pytestmark = pytest.mark.system

ROWS = np.arange(40_000, dtype="u1").reshape(-1, 4).copy()
RNG = np.random.default_rng(0)


def thread_count():
    return len(os.listdir("/proc/self/task"))


def rows_copy(count=100, length=1, source=ROWS):
    rows = RNG.integers(0, len(source) - length + 1, count)
    out = np.zeros((count, length, *source.shape[1:]), source.dtype)
    expected = source[rows[:, None] + np.arange(length)]
    return RowsCopy(source, rows, out, length, True), out, expected


def segments_copy(source=ROWS, count=50):
    lengths = RNG.integers(0, 20, count)
    starts = RNG.integers(0, len(source) - 20, count)
    places = np.cumsum(lengths) - lengths
    out = np.zeros((int(lengths.sum()), *source.shape[1:]), source.dtype)
    expected = np.concatenate(
        [source[a : a + n] for a, n in zip(starts, lengths, strict=True)] or [out]
    )
    return SegmentsCopy(source, starts, lengths, places, out, True), out, expected


def test_copies_are_right_with_any_number_of_threads():
    wide = RNG.random((300, 9000))

    def check(threads):
        queue = CopyQueue(threads)
        copies = [rows_copy(), rows_copy(100, 5), rows_copy(0), segments_copy()]
        copies += [rows_copy(200, 3, wide), segments_copy(wide), segments_copy(count=0)]
        for copy, _, _ in copies:
            queue.submit(copy)
        for copy, out, expected in reversed(copies):
            assert queue.wait(copy) is False
            assert np.array_equal(out, expected)
            assert queue.wait(copy) is False  # again: nothing happens
        queue.close()

    assert_each([0, 1, 2, 5], check)


def test_threads_end_with_the_queue():
    before = thread_count()
    queue = CopyQueue(3)
    assert queue.threads == 3
    assert thread_count() == before + 3
    queue.close()
    assert (queue.threads, thread_count()) == (0, before)
    queue.close()
    copy = rows_copy()[0]
    with pytest.raises(ValueError, match="closed"):
        queue.submit(copy)
    queue = CopyQueue(2)
    queue.submit(rows_copy(10_000)[0])
    del queue
    gc.collect()
    assert thread_count() == before


def test_what_a_copy_uses_lives_as_long_as_the_queue_needs_it():
    source = RNG.random((2000, 4096))
    queue = CopyQueue(1)
    for _ in range(20):
        queue.submit(rows_copy(500, 1, source)[0])  # outputs and numbers are dropped at once
    queue.close()


def test_any_number_of_threads_may_be_asked_for():
    queue = CopyQueue(2**40)
    assert queue.threads > 0
    queue.close()


def test_a_signal_handler_may_close_the_queue_that_is_waited_for(run_python):
    script = """
import mmap, signal, time
import numpy as np
from numpack.data.kernels.copying import CopyQueue, RowsCopy
NBYTES = 256 << 20
source = np.zeros((1, NBYTES), "u1")
out = np.frombuffer(mmap.mmap(-1, NBYTES), "u1").reshape(1, NBYTES)
queue = CopyQueue(1)
signal.signal(signal.SIGALRM, lambda *_: queue.close())
copy = RowsCopy(source, np.zeros(1, np.int64), out, 1, False)
queue.submit(copy)
time.sleep(0.01)  # the thread has begun with it, so that this thread has to wait
signal.setitimer(signal.ITIMER_REAL, 0.02)
try:
    queue.wait(copy)
except ValueError as error:
    assert "closed" in str(error)
"""
    run_python(script)


def test_closing_drops_what_has_not_begun():
    queue = CopyQueue(1)
    source = RNG.random((1000, 1024))
    copies = [rows_copy(2000, 1, source) for _ in range(20)]
    for copy, _, _ in copies:
        queue.submit(copy)
    queue.close()
    done = [np.array_equal(out, expected) for _, out, expected in copies]
    assert not all(done)
    with pytest.raises(ValueError, match="closed"):  # it is not taken as made
        queue.wait(copies[-1][0])


def test_several_threads_may_wait():
    queue, failures = CopyQueue(1), []

    def work():
        for _ in range(200):
            copy, out, expected = rows_copy(300)
            queue.submit(copy)
            queue.wait(copy)
            if not np.array_equal(out, expected):
                failures.append(out)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    queue.close()
    assert not failures


def test_a_fork_finds_its_copies_made(run_python):
    script = """
import os, signal
import numpy as np
from numpack.data.kernels.copying import CopyQueue, RowsCopy
source = np.random.default_rng(0).random((3000, 2000))
for round in range(5):
    queue, copies = CopyQueue(2), []
    for _ in range(4):
        rows = np.random.default_rng(round).integers(0, 3000, 1000)
        out = np.zeros((1000, 2000))
        copies.append((RowsCopy(source, rows, out, 1, True), out, rows))
        queue.submit(copies[-1][0])
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        for copy, out, rows in copies:
            queue.wait(copy)
            assert (out == source[rows]).all()
        more = RowsCopy(source, rows, out, 1, True)
        out[:] = 0
        queue.submit(more)
        queue.wait(more)
        assert (out == source[rows]).all()
        queue.close()
        del queue
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    for copy, out, rows in copies:
        queue.wait(copy)
        assert (out == source[rows]).all()
    queue.close()
"""
    run_python(script, flags=("-W", "ignore::DeprecationWarning"))


def test_what_does_not_fit_is_refused():
    numbers, out = np.zeros(3, np.int64), np.zeros((3, 4), "u1")
    wrong = {
        "no rows": (ROWS[:0], numbers, out, 1),
        "no bytes": (np.zeros((5, 0)), numbers, np.zeros((3, 0)), 1),
        "strided": (ROWS[::2], numbers, out, 1),
        "objects": (np.zeros(5, object), numbers, np.zeros(3, object), 1),
        "int32": (ROWS, numbers.astype("i4"), out, 1),
        "two axes": (ROWS, numbers.reshape(3, 1), out, 1),
        "strided numbers": (ROWS, np.zeros(6, np.int64)[::2], out, 1),
        "short output": (ROWS, numbers, out[:2], 1),
        "read-only output": (ROWS, numbers, np.frombuffer(bytes(12), "u1"), 1),
        "strided output": (ROWS, numbers, np.zeros((6, 4), "u1")[::2], 1),
        "long": (ROWS, numbers, np.zeros((3, 20_000, 4), "u1"), 20_000),
        "no length": (ROWS, numbers, out[:0], 0),
    }

    def check(what):
        with pytest.raises(ValueError, match="row|output|consecutive"):
            RowsCopy(*wrong[what], False)

    assert_each(wrong, check)


def test_numbers_out_of_range_are_found():
    def check(row, length):
        copy = RowsCopy(ROWS, np.array([row]), np.zeros((1, length, 4), "u1"), length, True)
        queue = CopyQueue(1)
        queue.submit(copy)
        with pytest.raises(IndexError, match="out of range"):
            queue.wait(copy)

    assert_each([(10_000, 1), (2**62, 1), (9_999, 2), (-(2**63), 1)], check)

    def check_segment(start, length, place):
        arguments = [np.array([each]) for each in (start, length, place)]
        with pytest.raises((IndexError, ValueError), match="sample 0"):
            SegmentsCopy(ROWS, *arguments, np.zeros((5, 4), "u1"), True)

    cells = [(9_999, 2, 0), (-1, 1, 0), (0, -1, 0), (0, 6, 0), (0, 1, 5), (0, 1, -1)]
    assert_each([*cells, (2**62, 2**62, 0), (0, 2**63 - 1, 2**63 - 1)], check_segment)


def test_a_request_changes_nothing():
    queue = CopyQueue(1)
    request = RowsCopy(ROWS, np.arange(100), None, 1, True)
    queue.submit(request)
    assert queue.wait(request) in (True, False)
    queue.close()
