"""Forked children: they keep no lock, and they read and write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from numpack import NumPack

FORK_WITH_A_HELD_LOCK = """
import fcntl, os, signal, sys, threading, time, warnings
import numpy as np
from numpack import NumPack
from numpack.store import session
from numpack.store.fs.lock import SharedLock
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
ROWS = np.arange(6.0).reshape(3, 2)
store = NumPack("s.npk"); store.open(); store.save({"x": ROWS})
ready, leave = threading.Event(), threading.Event()

def child():
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        with NumPack("s.npk") as other:
            assert other.load("x").tolist() == ROWS.tolist()
        with NumPack("other.npk") as other:
            other.save({"x": ROWS})
        signal.alarm(0)
        signal.pause()
    return pid

def is_free():
    with open("s.npk/lock", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

def hold():
    with SharedLock(store._handle.session.folder):
        ready.set(); leave.wait()

HOW
"""
HELD_LOCKS = {
    "a reader's": """
threading.Thread(target=hold).start(); ready.wait()
pid = child()
leave.set()
""",
    "a reader's on this thread": """
with SharedLock(store._handle.session.folder):
    pid = child()
""",
    "a writer's on this thread": """
pids = []
store.save({"y": ROWS}, progress=lambda done, total: pids.append(child()))
pid = pids[0]
""",
    "of opening": """
import numpack.store.format.folder as folder
real = folder.is_store
def slow(found):
    if threading.current_thread() is not threading.main_thread():
        ready.set(); leave.wait()
    return real(found)
folder.is_store = slow
other = NumPack("s.npk")
threading.Thread(target=other.open).start(); ready.wait()
pid = os.fork()
if not pid:
    signal.alarm(20)
    other.open()
    assert other.load("x").tolist() == ROWS.tolist()
    signal.alarm(0)
    signal.pause()
leave.set()
""",
}


@pytest.mark.parametrize("how", HELD_LOCKS)
def test_forked_child_does_not_keep_locks(run_python, how):
    ends = """
for _ in range(400):
    try:
        is_free(); break
    except BlockingIOError:
        time.sleep(0.05)
else:
    raise AssertionError("it is locked still")
time.sleep(0.3)
assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the child waited for a lock"
os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
"""
    run_python(FORK_WITH_A_HELD_LOCK.replace("HOW", HELD_LOCKS[how]) + ends)


ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def start(tmp_path):
    """Start scripts in fresh interpreters, and kill them after the test."""
    started = []

    def popen(script: str, *args: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, *args],
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def state_of(store: NumPack) -> dict[str, list]:
    """Return all values of a store."""
    return {name: store.load(name).tolist() for name in store}


def state() -> dict[str, list]:
    """Return all values that a new handle sees."""
    with NumPack("s.npk") as store:
        return state_of(store)


FORK_WITH_A_HELD_CALL = """
import os, signal, sys, threading, warnings
import numpy as np
from numpack import NumPack
from numpack.store.format import data_files
from numpack.store.format.log import log

warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
ROWS = np.arange(6.0).reshape(3, 2)
entered, leave = threading.Event(), threading.Event()

def hold(owner, name, then=lambda: None):
    original = getattr(owner, name)
    def held(*args, **kwargs):
        result = original(*args, **kwargs)
        if threading.current_thread() is not threading.main_thread():
            entered.set()
            leave.wait()
        return result
    setattr(owner, name, held)

store = NumPack("s.npk")
store.open()
store.save({"x": ROWS})
"""
FORK_IN_A_SAVE = """
thread = threading.Thread(target=lambda: store.save({"y": ROWS}))
thread.start()
assert entered.wait(20)
ready, signal_ready = os.pipe()
pid = os.fork()
if not pid:
    signal.alarm(20)  # a child that waits for a lock for ever fails
    try:
        assert np.array_equal(store.load("x"), ROWS)
        os.write(signal_ready, b"r")
        store.append({"x": ROWS})
        assert store.get_member_list() == ["x", "y"]
        assert store.get_shape("x") == (6, 2)
    except BaseException as error:
        sys.stderr.write(repr(error))
        os._exit(1)
    os._exit(0)
os.close(signal_ready)
os.read(ready, 1)
leave.set()
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
store.append({"x": ROWS})
assert store.get_shape("x") == (9, 2), store.get_shape("x")
assert np.array_equal(store.load("y"), ROWS)
"""


@pytest.mark.parametrize(
    "held",
    [
        "hold(data_files, 'write')",
        "hold(log, 'encode')",
        "hold(log, 'write_line')",
        "hold(log, 'apply_and_install')",
        "hold(log, 'now_us')",
    ],
)
def test_child_forked_during_a_write_can_read_and_write(run_python, held):
    run_python(FORK_WITH_A_HELD_CALL + held + FORK_IN_A_SAVE)


def test_lock_is_released_when_its_holder_dies_before_a_forked_child(start, run_python):
    holder = start(
        FORK_WITH_A_HELD_CALL
        + """
hold(data_files, "write")
threading.Thread(target=lambda: store.save({"y": ROWS}), daemon=True).start()
entered.wait()
pid = os.fork()
if not pid:
    signal.pause()
print(pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    child = int(holder.stdout.readline())
    try:
        holder.wait()
        run_python(
            "import signal; signal.alarm(10)\n"
            "import numpy as np; from numpack import NumPack\n"
            "with NumPack('s.npk') as store: store.save({'z': np.zeros(1)})"
        )
    finally:
        os.kill(child, signal.SIGKILL)
    assert state() == {"x": ROWS.tolist(), "z": [0.0]}


def test_forked_children_and_parent_write_through_the_same_handle(run_python):
    script = """
import os, warnings
import numpy as np
from numpack import NumPack
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
store = NumPack("s.npk"); store.open()
store.save({"x": np.zeros((0, 2), int)})
lazy = store.load("x", lazy=True)
pids = []
for me in range(3):
    pid = os.fork()
    if not pid:
        for number in range(50):
            store.append({"x": np.array([[me, number]])})
        os._exit(0)
    pids.append(pid)
for number in range(50):
    store.append({"x": np.array([[3, number]])})
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
rows = store.load("x")
for me in range(4):
    assert rows[rows[:, 0] == me, 1].tolist() == list(range(50))
"""
    run_python(script)
