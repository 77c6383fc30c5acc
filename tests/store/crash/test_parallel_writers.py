"""Parallel writes of which processes are killed, forked, started anew or too late."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from support.crash.parallel_writers import ROWS, STEP, WIDTH, expected

from numpack import NumPack
from numpack.errors import IncompleteWriteError, WriteEndedError

pytestmark = pytest.mark.system
SHAPE = ROWS, WIDTH


def staged() -> list[str]:
    return [name for name in os.listdir("s.npk/data") if name.startswith("staged-")]


def begun(store: NumPack):
    """Begin an array, and pickle it for the writers."""
    plan = store.begin("x", SHAPE, "u1")
    Path("plan").write_bytes(pickle.dumps(plan))
    return plan


def next_writer() -> None:
    with NumPack("s.npk") as store:
        store.save({"probe": np.arange(3)})


def test_writers_killed_at_random_moments_leave_all_or_nothing(store, start_module, thorough):
    dice, rounds = random.Random(11), 30 if thorough else 5
    for number in range(rounds):
        plan = begun(store)
        writers = [
            start_module("support.crash.parallel_writers", "plan", str(n)) for n in range(2)
        ]
        for writer in writers:
            writer.stdout.readline()  # it has begun
        time.sleep(dice.random() * 0.01)
        for writer in writers:
            writer.kill()
            writer.wait()
        assert list(store) == (["x"] if number else [])
        try:
            plan.commit()
            missing = []
        except IncompleteWriteError as error:
            missing = error.missing
        for first, stop in missing:  # as tasks that are retried
            first, stop = first // STEP * STEP, -(-stop // STEP) * STEP
            plan[first:stop] = expected(first, stop)
        if missing:
            plan.commit()
        assert np.array_equal(store.load("x", verify=True), expected(0, ROWS))
        assert store.verify().ok
        assert not staged()


def test_killed_driver_leaves_files_that_the_next_writer_removes(run_python, start_module):
    script = """
import os, pickle, signal, sys
import numpy as np
from numpack import NumPack
with NumPack("s.npk") as store:
    store.save({"kept": np.arange(3)})
    plan = store.begin("x", (6000, 1000), "u1")
    open("plan", "wb").write(pickle.dumps(plan))
    plan[:3000] = np.ones((3000, 1000), "u1")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    run_python(script, expect=-signal.SIGKILL)
    assert len(staged()) == 3
    writer = start_module("support.crash.parallel_writers", "plan", "0")
    writer.stdout.readline()
    os.kill(writer.pid, signal.SIGSTOP)
    next_writer()
    assert len(staged()) == 3, "a living writer keeps them"
    os.kill(writer.pid, signal.SIGCONT)
    assert len(writer.communicate()[0].split()) == ROWS // STEP - 1
    next_writer()
    assert not staged()
    late = start_module("support.crash.parallel_writers", "plan", "0")
    late.communicate()
    assert late.returncode == 1
    with NumPack("s.npk") as store:
        assert list(store) == ["kept", "probe"]
        assert store.verify().ok


def test_any_process_can_commit_after_the_driver_was_killed(run_python):
    script = """
import os, pickle, signal, sys
import numpy as np
from numpack import NumPack
with NumPack("s.npk") as store:
    plan = store.begin("x", 4, "i8")
    data = pickle.dumps(plan)
    reader, writer = os.pipe()
    if not os.fork():
        os.close(writer)
        plan = pickle.loads(data)
        plan[:] = np.arange(4)
        os.read(reader, 1)  # until the driver has died
        plan.commit()
        open("done", "w").close()
        os._exit(0)
    import time
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    run_python(script, expect=-signal.SIGKILL, flags=("-W", "ignore"))
    until = time.monotonic() + 20
    while not Path("done").exists() and time.monotonic() < until:
        time.sleep(0.01)
    with NumPack("s.npk") as store:
        assert store.load("x").tolist() == [0, 1, 2, 3]


def test_writer_that_was_believed_dead_changes_nothing_after_the_commit(store, start_module):
    plan = begun(store)
    plan[:] = expected(0, ROWS)
    for _ in range(5):
        zombie = start_module("support.crash.parallel_writers", "plan", "3")
        zombie.stdout.readline()
        time.sleep(random.random() * 0.003)
        os.kill(zombie.pid, signal.SIGSTOP)
        if is_within_a_write(plan):
            os.kill(zombie.pid, signal.SIGCONT)
            zombie.communicate()
            continue
        break
    else:
        pytest.fail("the writer was always stopped within a write")
    plan.commit()
    before = Path("s.npk", store.get_metadata()["arrays"]["x"]["data_file"]).read_bytes()
    os.kill(zombie.pid, signal.SIGCONT)
    zombie.communicate()
    assert zombie.returncode == 1
    after = Path("s.npk", store.get_metadata()["arrays"]["x"]["data_file"]).read_bytes()
    assert after == before == expected(0, ROWS).tobytes()


def is_within_a_write(plan) -> bool:
    """Check whether a stopped process would delay the commit."""
    import fcntl

    with open(f"s.npk/data/{plan._location.stem}.sum", "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def fill(task: tuple[object, int]) -> int:
    plan, first = task
    plan[first : first + STEP] = expected(first, first + STEP)
    return first


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_write_one_array(store, method):
    context = multiprocessing.get_context(method)
    with store.begin("x", SHAPE, "u1") as plan:
        tasks = [(plan, first) for first in range(0, ROWS, STEP)]
        pool = context.Pool(2)
        try:
            assert sorted(pool.imap_unordered(fill, tasks)) == list(range(0, ROWS, STEP))
        finally:
            pool.close()
            pool.join()
    assert np.array_equal(store.load("x", verify=True), expected(0, ROWS))
    assert store.verify().ok
    assert not staged()


def test_forked_children_keep_no_lock_of_their_parent(run_python):
    """A child that was forked within a write of another thread does not delay the commit."""
    script = """
import os, signal, threading, time, warnings
import numpy as np
from numpack import NumPack
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
with NumPack("s.npk", lock_timeout=20) as store:
    plan = store.begin("x", 8, "u1")
    entered, leave = threading.Event(), threading.Event()

    def chunks():
        entered.set()
        leave.wait()
        yield np.arange(8, dtype="u1")

    thread = threading.Thread(target=lambda: plan._opener.open().write(0, 8, 1, chunks()))
    thread.start()
    entered.wait()
    pid = os.fork()
    if not pid:
        plan[3] = np.uint8(9)  # through files of its own
        open("written", "w").close()
        signal.pause()
    while not os.path.exists("written"):
        time.sleep(0.01)
    leave.set()
    thread.join()
    plan.commit()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert store.load("x", verify=True)[4:].tolist() == [4, 5, 6, 7]
"""
    run_python(script)


def test_forked_child_of_a_dead_parent_does_not_keep_the_files(run_python):
    script = """
import os, signal, sys, warnings
import numpy as np
from numpack import NumPack
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
store = NumPack("s.npk"); store.open()
plan = store.begin("x", 8, "u1")
pid = os.fork()
if not pid:
    os.close(1); os.close(2)
    signal.alarm(30)
    signal.pause()
print(pid)
sys.stdout.flush()
os._exit(0)
"""
    child = int(run_python(script))
    assert len(staged()) == 3
    next_writer()
    os.kill(child, signal.SIGKILL)
    assert not staged()


def test_commit_that_is_killed_ends_the_write(run_python):
    script = """
import os, pickle, signal, sys
import numpy as np
from numpack import NumPack
from numpack.store.commits import staged
store = NumPack("s.npk"); store.open(); store.save({"y": np.arange(3)})
plan = store.begin("x", 4, "i8")
plan[:] = np.arange(4)
open("plan", "wb").write(pickle.dumps(plan))
staged.commit = lambda *args, **record: os.kill(os.getpid(), signal.SIGKILL)
plan.commit()
"""
    run_python(script, expect=-signal.SIGKILL)
    plan = pickle.loads(Path("plan").read_bytes())
    with pytest.raises(WriteEndedError):
        plan[0] = np.int64(7)
    next_writer()
    with NumPack("s.npk") as store:
        assert list(store) == ["y", "probe"]
        assert len(os.listdir("s.npk/data")) == 2
