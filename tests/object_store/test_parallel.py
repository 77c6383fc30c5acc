"""Jobs in the threads of a process."""

import threading
import time

import pytest

from numpack.object_store.parallel import WIDTH, for_all


def test_all_are_done_by_several_threads():
    threads, used = set(), []
    barrier = threading.Barrier(WIDTH, timeout=20)

    def fetch(number):
        barrier.wait()  # passes only when so many are in flight
        threads.add(threading.current_thread())
        return number * 2

    for_all(4 * WIDTH, fetch, lambda number, found: used.append((number, found)))
    assert sorted(used) == [(i, 2 * i) for i in range(4 * WIDTH)]
    assert len(threads) == WIDTH
    for_all(0, fetch, used.append)


def test_first_error_stops_the_others():
    begun = []

    def fetch(number):
        begun.append(number)
        if number == 5:
            raise KeyError(number)
        time.sleep(0.005)

    with pytest.raises(KeyError):
        for_all(10_000, fetch, lambda *_: None)
    assert len(begun) < 5000
    done = len(begun)
    time.sleep(0.05)
    assert len(begun) == done


def test_calls_within_calls_end():
    found = []

    def outer(number):
        for_all(20, lambda i: number * 100 + i, lambda _, each: found.append(each))

    for_all(3 * WIDTH, outer, lambda *_: None)
    assert len(set(found)) == 3 * WIDTH * 20


def test_interrupted_main_thread_does_not_wait(run_python):
    run_python(
        """
import os, signal, threading, time
from numpack.object_store.parallel import for_all
used, go = [], threading.Event()
def fetch(number):
    if number == 63:  # when all threads have started
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
    assert go.wait(30)
try:
    for_all(500, fetch, lambda *_: used.append(1))
except KeyboardInterrupt:
    pass
else:
    raise AssertionError
go.set()
time.sleep(0.2)
assert not used
"""
    )


def test_fork_has_a_pool_of_its_own(run_python):
    run_python(
        """
import os, signal
from numpack.object_store.parallel import for_all
found = []
for_all(100, lambda i: i, lambda _, i: found.append(i))
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
else:
    signal.alarm(20)
    for_all(100, lambda i: i, lambda _, i: found.append(i))
    os._exit(len(found) != 200)
"""
    )
