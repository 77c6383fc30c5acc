"""Interrupts, full disks, concurrency and forks: only whole commits are ever visible."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from support.files import contents

from numpack import NumPack, errors

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


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        yield opened


def state_of(store: NumPack) -> dict[str, list]:
    """Return all values of a store."""
    return {name: store.load(name).tolist() for name in store}


def state() -> dict[str, list]:
    """Return all values that a new handle sees."""
    with NumPack("s.npk") as store:
        return state_of(store)


# Interrupts: Ctrl-C, or a signal handler that raises an OSError

INTERRUPTS = """
import dis, fcntl, gc, json, sys
from pathlib import Path
import numpy as np
import numpack.store
from numpack import NumPack
from numpack.store.format.log import log

operation, fold, name = sys.argv[1:]
if fold == "True":
    log._COMPACT_BYTES, log._COMPACT_FACTOR = -1, 0
Interrupt = {"KeyboardInterrupt": KeyboardInterrupt, "TimeoutError": TimeoutError}[name]
FOLDER = str(Path(numpack.store.__file__).parent)
ROWS = np.arange(6.0).reshape(3, 2)
OPERATIONS = {
    "save": lambda s: s.save({"x": -ROWS, "y": ROWS}),
    "append": lambda s: s.append({"x": ROWS}),
    "append two": lambda s: s.append({"x": ROWS, "z": ROWS}),
    "drop": lambda s: s.drop("x"),
    "drop rows": lambda s: s.drop("x", [1]),
    "replace": lambda s: s.replace({"x": -ROWS[:1]}, 1),
}
left, lost, last, kinds = 0, [], {}, {}
sys.unraisablehook = lambda error: lost.append(repr(error.exc_value))

def kind_of(frame):
    code = frame.f_code
    if code not in kinds:
        kinds[code] = {each.offset: each.opname for each in dis.get_instructions(code)}
    return kinds[code].get(frame.f_lasti, "")

def trace(frame, event, arg):
    global left
    code = frame.f_code
    if not code.co_filename.startswith(FOLDER) or code.co_name == "__del__":
        return None
    frame.f_trace_opcodes = True
    if event == "opcode":
        before, last[frame] = last.get(frame, ""), kind_of(frame)
        if before.startswith(("CALL", "RESUME", "JUMP_BACKWARD")):  # there handlers run
            left -= 1
            if left == 0:
                raise Interrupt
    return trace

def state(store):
    return {name: store.load(name).tolist() for name in store}

def attempt(store, path, at):
    global left
    store.open()
    store.save({"x": ROWS, "z": ROWS})
    before = state(store)
    left = at
    sys.settrace(trace)
    try:
        OPERATIONS[operation](store)
    except Interrupt:
        pass
    finally:
        sys.settrace(None)
        last.clear()
    session = store._handle.session
    assert not session.mutex._is_owned(), "it is still its turn"
    with open(Path(path) / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    found = state(store)
    with NumPack(path, mode="r") as other:
        assert state(other) == found
    store.save({"probe": ROWS})
    with NumPack(path) as other:
        again = state(other)
        assert other.verify(), str(other.verify())
    store.close()
    if found not in (before, after) or again != {**found, "probe": ROWS.tolist()}:
        raise AssertionError(f"a mixture: {found}, {again}")

with NumPack("model.npk") as model:
    model.save({"x": ROWS, "z": ROWS})
    OPERATIONS[operation](model)
    after = state(model)
at = 0
while left <= 0:
    at += 1
    try:
        attempt(NumPack(f"{at}.npk"), f"{at}.npk", at)
    except Exception as error:
        lost.append(repr(error))
    gc.collect()
    print(json.dumps([at, lost]))
    lost.clear()
"""


INTERRUPTED = ["save", "append", "append two", "drop", "drop rows", "replace"]


@pytest.mark.parametrize(
    ("operation", "compact", "error"),
    [
        *((each, False, "KeyboardInterrupt") for each in INTERRUPTED),
        ("append", True, "KeyboardInterrupt"),
        *((each, False, "TimeoutError") for each in ("save", "append", "append two")),
    ],
)
def test_exception_from_a_signal_handler_leaves_the_store_intact_and_usable(
    run_python, operation, compact, error
):
    output = run_python(INTERRUPTS, operation, str(compact), error)
    results = [json.loads(each) for each in output.splitlines()]
    assert len(results) > 30, "the interrupts no longer strike"
    assert [each for each in results if each[1]] == []


# A log that cannot be extended; test_faults.py does the same with every other call


@pytest.fixture
def limit_log():
    """Limit the size of files to the log and `room` more bytes; None lifts the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(room: int | None) -> None:
        size = soft if room is None else os.path.getsize("s.npk/commits.log") + room
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    limit(None)


WRITES = {
    "save": lambda s: s.save({"new": ROWS, "x": -ROWS}),
    "append": lambda s: s.append({"x": ROWS, "y": ROWS}),
    "drop": lambda s: s.drop(["x", "y"]),
}


@pytest.mark.parametrize("call", WRITES)
@pytest.mark.parametrize("room", [0, 1, 30, 60])
def test_log_that_cannot_be_extended_is_an_error_and_changes_nothing(
    store, limit_log, call, room
):
    store.save({"x": ROWS, "y": ROWS})
    lazy = store.load("x", lazy=True)
    before, files = state(), contents()
    limit_log(room)
    with pytest.raises(OSError, match="File too large") as raised:
        WRITES[call](store)
    assert raised.value.errno == errno.EFBIG
    assert state() == state_of(store) == before
    assert contents() == files
    limit_log(None)
    WRITES[call](store)
    assert state() == state_of(store) != before
    assert np.array_equal(lazy, ROWS)


@pytest.mark.parametrize("name", ["open", "unlink", "ftruncate"])
def test_failing_system_call_loses_no_array(store, monkeypatch, name):
    def fail(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")

    store.save({"x": ROWS, "y": ROWS})
    before = state()
    with monkeypatch.context() as patched:
        patched.setattr(os, name, fail)
        try:
            store.save({"new": ROWS})
            expected = {**before, "new": ROWS.tolist()}
        except OSError:
            expected = before
    assert state() == state_of(store) == expected
    store.append({"x": ROWS})
    assert state()["x"] == [*ROWS.tolist(), *ROWS.tolist()]


# Concurrent readers and writers

WRITER = """
import sys
import numpy as np
from numpack import NumPack
from numpack.store.format.log import log
log._COMPACT_BYTES = 2000
me = int(sys.argv[1])
with NumPack("s.npk") as store:
    for number in range(60):
        store.append({"x": np.array([[me, number]])})
        store.save({f"own {me}": np.array(number), f"{me}": np.array(number)})
        assert store.load(f"own {me}") == number
        store.drop(f"{me}")
"""


def test_concurrent_processes_lose_no_write(store, start):
    store.save({"x": np.zeros((0, 2), int)})
    processes = [start(WRITER, str(number)) for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    rows = store.load("x")
    assert rows.shape == (240, 2)
    for number in range(4):
        assert rows[rows[:, 0] == number, 1].tolist() == list(range(60))
        assert store.load(f"own {number}") == 59
    assert set(store.get_member_list()) == {"x", *(f"own {number}" for number in range(4))}


def run_in_threads(*functions) -> None:
    """Run functions concurrently and reraise the first exception."""
    raised = []

    def collect_exception(function):
        try:
            function()
        except BaseException as error:
            raised.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=collect_exception, args=(each,)) for each in functions
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for error in raised:
        raise error


@pytest.mark.parametrize("shared", [True, False])
def test_concurrent_threads_lose_no_write(store, shared):
    store.save({"x": np.zeros((0, 2), int)})

    def write(me: int):
        handle = store if shared else NumPack("s.npk")
        handle.open()
        for number in range(60):
            handle.append({"x": np.array([[me, number]])})
            handle.save({f"own {me}": np.array(number)})
            assert handle.load(f"own {me}") == number
        if not shared:
            handle.close()

    run_in_threads(*(lambda me=me: write(me) for me in range(4)))
    rows = store.load("x")
    for number in range(4):
        assert rows[rows[:, 0] == number, 1].tolist() == list(range(60))
        assert store.load(f"own {number}") == 59


PAIRS = """
import sys
import numpy as np
from numpack import NumPack
from numpack.store.format.log import log
log._COMPACT_BYTES = 2000
with NumPack("s.npk") as store:
    for number in range(1, 400):
        store.append({"x": np.full(1, number), "y": np.full(1, number)})
        store.save({"a": np.full(number, number), "b": np.full(number, number)})
        if number % 3 == 0:
            store.drop(["a", "b"])
"""


def check_pairs(store: NumPack) -> int:
    """Check that arrays committed together are seen together; return the length of x."""
    arrays = store.get_metadata()["arrays"]
    assert arrays["x"]["shape"] == arrays["y"]["shape"]
    assert arrays["x"]["last_modified"] == arrays["y"]["last_modified"]
    assert ("a" in arrays) == ("b" in arrays)
    if "a" in arrays:
        assert arrays["a"]["shape"] == arrays["b"]["shape"]
    names = store.get_member_list()
    assert ("a" in names) == ("b" in names)
    return arrays["x"]["shape"][0]


def test_reader_beside_a_writing_process_sees_whole_commits(store, start):
    store.save({"x": np.zeros(1, int), "y": np.zeros(1, int)})
    writer = start(PAIRS)
    seen = [1]
    while writer.poll() is None:
        seen.append(check_pairs(store))
        rows = store.load("x", lazy=True)
        assert np.array_equal(rows, np.arange(len(rows)))
        if store.has_array("a"):
            try:
                array = store.load("a")
            except KeyError:
                continue
            assert (array == len(array)).all()
    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 5, "nothing was read beside the writer"
    assert check_pairs(store) == 400


def test_threads_sharing_a_handle_see_whole_commits(store):
    names = [f"{number} {letter}" for letter in "abcde" for number in range(100)]
    done = threading.Event()

    def write():
        try:
            for _ in range(20):
                store.save(dict.fromkeys(names, ROWS[:0]))
                store.drop(names)
        finally:
            done.set()

    def read():
        while not done.is_set():
            assert len(store.get_member_list()) in (0, len(names))
            assert store.get_metadata()["total_arrays"] in (0, len(names))

    run_in_threads(write, read, read)


def test_missing_name_is_a_key_error_during_concurrent_writes(store):
    store.save({f"{number}": np.array(number) for number in range(2000)})
    done = threading.Event()

    def write():
        try:
            for _ in range(150):
                store.save({"another": ROWS})
                store.drop("another")
        finally:
            done.set()

    def read():
        while not done.is_set():
            with pytest.raises(KeyError, match="'absent'"):
                store.load("absent")

    run_in_threads(write, read)


@pytest.mark.parametrize("change", [{"new": ROWS}, {"x": ROWS[:1], "new": ROWS}])
def test_iteration_skips_names_dropped_meanwhile(store, change):
    store.save({"x": ROWS, "y": ROWS})
    names_left = iter(store)
    assert next(names_left) == "x"
    store.save(change)
    store.append({"y": ROWS})
    store.drop(["x", "new"])
    assert list(names_left) == ["y"]
    assert list(store) == ["y"]


def test_close_while_other_threads_use_the_store(store):
    store.save({"x": ROWS})

    def use():
        for _ in range(300):
            try:
                assert np.array_equal(store.load("x"), ROWS)
                store.save({"y": ROWS})
            except errors.StoreClosedError:
                store.open()

    def close():
        for _ in range(300):
            store.close()

    run_in_threads(use, use, close)
    store.open()
    assert np.array_equal(store.load("x"), ROWS)


# Forks

FORK = """
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
FORK_CHILD = """
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
    run_python(FORK + held + FORK_CHILD)


def test_lock_is_released_when_its_holder_dies_before_a_forked_child(start, run_python):
    holder = start(
        FORK
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
