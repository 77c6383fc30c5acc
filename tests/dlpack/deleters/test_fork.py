"""Deleters in forked children."""

from __future__ import annotations

import pytest

CHILDREN = """
import ctypes, os, sys, threading, time, weakref
import numpy as np
from numpack import ZeroCopyArray
from numpack.io import DLPackBuffer
from support.native import *

kill_after(90)

class Died(Exception):
    pass

def managed_over(a, i):
    exporter = (DLPackBuffer, ZeroCopyArray)[i % 2]
    return take(exporter(a).__dlpack__(max_version=(None, (1, 0))[i // 2 % 2]))

def wait(child, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0, status
            return
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise Died("the child hangs")
"""


def test_child_of_os_fork_releases_references(run_python):
    run_python(
        CHILDREN
        + """
a = np.arange(3.0)
before = sys.getrefcount(a)
taken = [managed_over(a, i) for i in range(12)]
child = os.fork()
if child == 0:
    code = 1
    try:
        kill_after(20)
        for managed in taken[:4]:
            delete(managed)
        for managed in taken[4:8]:
            delete(managed, keep_gil=True)
        for thread in [start_deleter(managed) for managed in taken[8:]]:
            join(thread)
        more = [managed_over(a, i) for i in range(4)]
        for thread in [start_deleter(managed) for managed in more]:
            join(thread)
        code = 0 if sys.getrefcount(a) == before else 2
    finally:
        os._exit(code)
wait(child)
assert sys.getrefcount(a) == before + 12
for thread in [start_deleter(managed) for managed in taken]:
    join(thread)
assert sys.getrefcount(a) == before
"""
    )


def test_child_of_os_fork_while_threads_wait_in_deleters(run_python):
    """Those threads do not exist in the child, whose exit must not wait for them."""
    run_python(
        CHILDREN
        + """
sys.setswitchinterval(60)
a = np.arange(3.0)
taken = [managed_over(a, i) for i in range(24)]
for _ in range(3):
    threads = [start_deleter(taken.pop(), keep_gil=True) for _ in range(4)]
    sleep_with_gil(0.01)
    child = os.fork()  # no other thread has had the GIL since they began
    if child == 0:
        begin = time.monotonic()
        kill_after(20)
        for thread in [start_deleter(managed) for managed in taken]:
            join(thread)
        import atexit
        atexit._run_exitfuncs()
        os._exit(time.monotonic() - begin > 1)
    wait(child)
    for thread in threads:
        join(thread)
""",
        flags=("-W", "ignore::DeprecationWarning"),
    )


@pytest.mark.parametrize("with_gil", [False, True], ids=["without GIL", "with GIL"])
def test_child_of_libc_fork_is_not_blocked(with_gil, run_python):
    """Python does not know of this child; no thread in it may be able to release the GIL."""
    run_python(
        CHILDREN
        + """
fork = (holding if sys.argv[1] == "True" else libc).fork
a = np.arange(3.0)
before = sys.getrefcount(a)
taken = [managed_over(a, i) for i in range(12)]
child = fork()
if child == 0:
    code = 1
    try:
        kill_after(20)
        for managed in taken[:4]:
            delete(managed)
        for managed in taken[4:8]:
            delete(managed, keep_gil=True)
        for thread in [start_deleter(managed) for managed in taken[8:]]:
            join(thread)
        code = 0 if sys.getrefcount(a) <= before + 8 else 3  # those with the GIL came back
    finally:
        os._exit(code)
wait(child)
assert sys.getrefcount(a) == before + 12
for thread in [start_deleter(managed) for managed in taken]:
    join(thread)
assert sys.getrefcount(a) == before, "the parent's deleters do their work after that"
""",
        str(with_gil),
    )


def test_child_forked_by_a_native_thread_while_the_gil_is_held(run_python):
    """The only thread of the child is not Python's, and nothing ever releases the GIL."""
    run_python(
        CHILDREN
        + """
a = np.arange(3.0)
before = sys.getrefcount(a)
taken = [managed_over(a, i) for i in range(4)]
parent = os.getpid()
for managed in taken:  # each process of the two runs them when it exits
    at_exit(managed.deleter, ctypes.addressof(managed))
thread = start(address_of(libc.fork), keep_gil=True)  # in the child it returns, and exits
sleep_with_gil(0.2)
wait(join(thread))
assert sys.getrefcount(a) == before + 4
""",
    )
