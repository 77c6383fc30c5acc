"""Deleters that are called on threads which Python did not create."""

from __future__ import annotations

import sys
import threading
import time
import weakref

import numpy as np
from support.native import delete, join, managed_over, sleep_with_gil, start_deleter

from numpack.io import DLPackBuffer, from_dlpack


def test_array_is_finalized_on_a_thread_not_created_by_python():
    """The last reference is dropped there, and finalizers written in Python run there."""
    seen = []

    class Memory(bytearray):
        def __del__(self):
            seen.append(threading.get_ident())
            buffer = DLPackBuffer(np.arange(2.0))  # the finalizer exports and imports, too
            seen.append(from_dlpack(buffer.__dlpack__()).tolist())

    a = np.frombuffer(Memory(24))
    managed = managed_over(a, DLPackBuffer)
    del a
    assert not seen
    join(start_deleter(managed))
    assert seen[0] != threading.get_ident()
    assert seen[1] == [0, 1]


def test_deleters_run_on_many_threads(exporter, version, busy_switching):
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    for _ in range(3):
        taken = [managed_over(a, exporter, version) for _ in range(60)]
        assert sys.getrefcount(a) == before + 60
        threads = [start_deleter(managed) for managed in taken]
        # Export while the threads call their deleters.
        held = [managed_over(a, exporter, version) for _ in range(60)]
        for managed in held:
            delete(managed)
        for thread in threads:
            join(thread)
        assert sys.getrefcount(a) == before


def test_deleter_waits_for_the_gil(exporter, version, no_switching):
    a, end = np.arange(3.0), []
    weakref.finalize(a, lambda: end.append(time.monotonic()))
    managed = managed_over(a, exporter, version)
    del a
    begin = time.monotonic()
    thread = start_deleter(managed, keep_gil=True)
    sleep_with_gil(0.1)
    assert not end
    join(thread)
    assert end[0] - begin >= 0.1


def test_deleter_does_not_deadlock_with_a_join_that_holds_the_gil(run_python):
    """TensorFlow joins threads with the GIL held when it destroys an executor."""
    run_python(
        """
import gc, time, weakref
import numpy as np
from numpack.io import DLPackBuffer
from support.native import *
kill_after(60)
ends = []
for _ in range(3):
    a = np.arange(3.0)
    ends.append(weakref.ref(a))
    managed = take(DLPackBuffer(a).__dlpack__())
    del a
    thread = start_deleter(managed, keep_gil=True)
    assert holding.pthread_join(thread, None) == 0
begin = time.monotonic()
while any(end() is not None for end in ends):  # who has the GIL gives it up at times
    assert time.monotonic() - begin < 20
    time.sleep(0.01)
"""
    )


def test_deleter_waits_for_the_gil_with_subinterpreters(run_python):
    """With subinterpreters, `PyGILState_Check` returns 1 on every thread."""
    run_python(
        """
import sys, time, weakref
import numpy as np
from numpack.io import DLPackBuffer
from support.native import join, kill_after, sleep_with_gil, start_deleter, take
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
else:
    import _xxsubinterpreters as interpreters
kill_after(60)
another = interpreters.create()
a, end = np.arange(3.0), []
weakref.finalize(a, lambda: end.append(time.monotonic()))
managed = take(DLPackBuffer(a).__dlpack__())
del a
sys.setswitchinterval(60)
begin = time.monotonic()
thread = start_deleter(managed, keep_gil=True)
sleep_with_gil(0.1)
join(thread)
assert end[0] - begin >= 0.1, f"Python ran without the GIL, after {end[0] - begin} s"
interpreters.destroy(another)
"""
    )
