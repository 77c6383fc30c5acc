"""Locks: which calls wait, for how long, and which never wait."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from numpack import (
    InvalidValueError,
    LockError,
    LockTimeoutError,
    NumPack,
    StoreError,
    WrongTypeError,
)
from numpack.store import session
from numpack.store.fs.directory import Folder
from numpack.store.fs.lock import SharedLock

ROWS = np.arange(6.0).reshape(3, 2)

HOLDER = """
import signal, sys
import numpy as np
from numpack import NumPack
store = NumPack("s.npk"); store.open()
def tell(done, total):
    print("in", flush=True)
    sys.stdin.read()
store.save({"z": np.ones(10)}, progress=tell)
"""
KILLED_IN_REPLACE = """
import os, signal
import numpy as np
from numpack import NumPack
from numpack.store import session
kill = lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL)
session.Session.apply_replacement = kill
with NumPack("s.npk") as store:
    store.replace({"x": np.full((2, 2), -1.0)}, [0, 2])
"""
REPLACED = [[-1, -1], [2, 3], [-1, -1]]


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS})
        yield opened


@pytest.fixture
def holder(store):
    """Start a process that holds the lock until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


@pytest.fixture
def killed_in_replace(store):
    """Kill a writer in the middle of a replace."""
    code = subprocess.run([sys.executable, "-c", KILLED_IN_REPLACE], check=False).returncode
    assert code == -signal.SIGKILL


def run_with_timeout(call, seconds=20):
    """Make a call on a thread and return its result or exception; fail if it does not end."""
    results = []

    def run():
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, "it waits for ever"
    return results[0]


def read_all(mode):
    with NumPack("s.npk", mode=mode) as reader:
        found = reader.load("x").tolist()
        assert reader.getitem("x", [0, 1, 2]).tolist() == found
        assert reader.load("x", lazy=True)[:].tolist() == found
        assert reader.verify().ok
        return found


# Interrupted replacements


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
@pytest.mark.parametrize("beside", ["nobody", "a reader", "a reader of this process"])
def test_reader_after_a_writer_was_killed_in_a_replace(killed_in_replace, mode, beside):
    folder = Folder(os.path.abspath("s.npk"))
    if beside == "nobody":
        assert run_with_timeout(lambda: read_all(mode)) == REPLACED
        return
    if beside == "a reader of this process":
        with SharedLock(folder):  # as `verify` holds it during its second pass
            assert run_with_timeout(lambda: read_all(mode)) == REPLACED
            assert read_all(mode) == REPLACED
    else:
        code = "import fcntl, sys; f = open('s.npk/lock'); fcntl.flock(f, fcntl.LOCK_SH)\n"
        other = subprocess.Popen(
            [sys.executable, "-c", code + "print(1, flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        other.stdout.readline()
        try:
            assert run_with_timeout(lambda: read_all(mode)) == REPLACED
        finally:
            other.kill()
            other.communicate()
    with NumPack("s.npk") as writer:
        writer.append({"x": ROWS[:1]})
        assert writer.load("x").tolist() == [*REPLACED, [0, 1]]


def test_concurrent_readers_after_a_writer_was_killed_in_a_replace(
    killed_in_replace, monkeypatch
):
    # Readers exclude writers from the start.
    monkeypatch.setattr(session, "_OPTIMISTIC_READS", 0)
    readers = [NumPack("s.npk", mode=mode) for mode in ("r", "a", "r+")]
    results = []

    def read(reader):
        with reader:
            results.append(reader.load("x").tolist())

    threads = [threading.Thread(target=read, args=(r,), daemon=True) for r in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [REPLACED] * 3


def test_pending_replacement_is_discarded_after_the_next_replace(killed_in_replace):
    with NumPack("s.npk", mode="r") as reader:
        assert reader.load("x").tolist() == REPLACED
        with NumPack("s.npk") as writer:
            writer.replace({"x": ROWS + 50}, slice(None))
            assert reader.load("x").tolist() == (ROWS + 50).tolist()
            assert reader.verify().ok


def test_readers_do_not_wait_for_a_writer_stopped_in_a_replace(store):
    code = KILLED_IN_REPLACE.replace(
        "os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), 19)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    try:
        os.waitid(os.P_PID, writer.pid, os.WSTOPPED)
        for mode in ("r", "a"):
            assert run_with_timeout(lambda mode=mode: read_all(mode)) == REPLACED
    finally:
        writer.kill()
        writer.wait()
    assert read_all("a") == REPLACED


# Several handles on one thread


class Reentrant:
    """An array whose conversion uses the store."""

    def __init__(self, use):
        self.use = use

    @property
    def __array_interface__(self):
        self.use()
        return ROWS.__array_interface__


WRITES = {
    "append": lambda s: s.append({"x": ROWS}),
    "save": lambda s: s.save({"y": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1]}, 0),
    "drop": lambda s: s.drop("x"),
    "sync": lambda s: s.sync(),
}


@pytest.mark.parametrize("write", WRITES)
def test_write_by_another_handle_in_a_callback_is_refused_at_once(store, write):
    def report(done, total):
        with (
            NumPack("s.npk") as other,
            pytest.raises(StoreError, match=r"this thread is writing .* do so after the call"),
        ):
            WRITES[write](other)
        with pytest.raises(StoreError, match="this thread is writing"):
            NumPack("s.npk", mode="w").open()
        calls.append(done)

    calls = []
    assert run_with_timeout(lambda: store.save({"new": ROWS}, progress=report)) is None
    assert calls
    with NumPack("s.npk") as other:
        WRITES[write](other)


def test_read_by_another_handle_in_a_callback(store):
    def report(done, total):
        found.append(read_all("a"))
        found.append(read_all("r"))

    found = []
    assert run_with_timeout(lambda: store.save({"new": ROWS}, progress=report)) is None
    assert found == [ROWS.tolist()] * len(found) != []


def test_write_while_reading_with_writers_excluded_is_refused(store, monkeypatch):
    monkeypatch.setattr(session, "_OPTIMISTIC_READS", 0)

    def report(done, total):
        with pytest.raises(StoreError, match="reading from it with writers excluded"):
            store.append({"x": ROWS})
        calls.append(done)

    calls = []
    found = run_with_timeout(lambda: store.load("x", progress=report))
    assert found.tolist() == ROWS.tolist()
    assert calls
    store.append({"x": ROWS})


def test_array_whose_conversion_writes_to_the_store(store):
    def use():
        with NumPack("s.npk") as other:
            other.save({"other": ROWS})

    assert run_with_timeout(lambda: store.save({"new": Reentrant(use)})) is None
    assert store.get_member_list() == ["x", "other", "new"]


def test_signal_handler_that_writes_by_its_own_handle_is_refused(store):
    errors = []

    def handle(number, frame):
        try:
            with NumPack("s.npk") as mine:
                mine.save({"state": ROWS})
        except StoreError as error:
            errors.append(str(error))

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        report = lambda done, total: os.kill(os.getpid(), signal.SIGUSR1)
        store.save({"new": ROWS}, progress=report)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(errors) == 1
    assert "this thread is writing" in errors[0]
    assert store.verify().ok


# Timeouts


@pytest.mark.parametrize("seconds", [0, 0.05, np.float32(0.05)])
@pytest.mark.parametrize("write", WRITES)
def test_lock_timeout_error_names_the_holder(holder, seconds, write):
    start = time.monotonic()
    with (
        NumPack("s.npk", lock_timeout=seconds) as other,
        pytest.raises(LockTimeoutError, match=rf"s\.npk.* process {holder.pid} \(.*python"),
    ):
        WRITES[write](other)
    assert time.monotonic() - start < 10


def test_all_calls_that_lock_observe_the_timeout(holder):
    options = {"lock_timeout": 0.02}
    for mode in ("w", "a"):
        with (
            pytest.raises(LockTimeoutError, match="0.02 s"),
            NumPack("s.npk", mode=mode, **options) as other,
        ):
            other.save({"a": ROWS})
    with NumPack("s.npk", **options) as other:
        with pytest.raises(TimeoutError), other.writable_batch_mode() as batch:
            batch.load("x")
        with pytest.raises(OSError), other.batch_mode():
            other.save({"a": ROWS})
        other._batch.forget()
        with pytest.raises(LockTimeoutError), SharedLock(other._handle.session.folder):
            pass
        again = pickle.loads(pickle.dumps(other))
        with pytest.raises(LockTimeoutError):
            again.append({"x": ROWS})
        again.close()
    holder.communicate("")
    with NumPack("s.npk", **options) as other:
        other.append({"x": ROWS})


def test_wait_for_another_thread_of_the_same_handle_observes_the_timeout():
    with NumPack("s.npk", lock_timeout=0.02) as store:

        def report(done, total):
            errors.append(run_with_timeout(lambda: store.save({"b": ROWS})))

        errors = []
        store.save({"a": ROWS}, progress=report)
        assert isinstance(errors[0], LockTimeoutError)
        assert "another thread of this process" in str(errors[0])


def test_lock_released_before_the_timeout_is_acquired(holder):
    threading.Timer(0.2, holder.stdin.close).start()
    with NumPack("s.npk", lock_timeout=60) as other:
        other.append({"x": ROWS})
        assert other.get_member_list() == ["x", "z"]


@pytest.mark.parametrize("seconds", [None, 30.0])
def test_exception_from_a_signal_handler_ends_the_wait(holder, seconds):
    def handle(number, frame):
        raise KeyError("enough")

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with NumPack("s.npk", lock_timeout=seconds) as other:
            signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
            with pytest.raises(KeyError, match="enough"):
                other.append({"x": ROWS})
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    holder.communicate("")
    with NumPack("s.npk") as other:
        other.append({"x": ROWS})


@pytest.mark.parametrize("wrong", [-1, float("nan"), -np.inf])
def test_negative_or_nan_timeout_is_refused(wrong):
    with pytest.raises(InvalidValueError, match="lock_timeout must not be negative"):
        NumPack("s.npk", lock_timeout=wrong)


@pytest.mark.parametrize("wrong", ["1", True, [1], 1j])
def test_timeout_that_is_not_a_number_is_refused(wrong):
    with pytest.raises(WrongTypeError, match="lock_timeout in seconds"):
        NumPack("s.npk", lock_timeout=wrong)


def test_infinite_timeout():
    assert NumPack("s.npk", lock_timeout=float("inf"))._handle._lock_timeout is None
    NumPack("s.npk", lock_timeout=1e300)


# Other stores, threads and processes


def test_waiting_for_one_store_does_not_block_others(holder):
    waiting = [
        threading.Thread(target=lambda: NumPack("s.npk", mode="w", lock_timeout=60).open()),
        threading.Thread(target=lambda: NumPack("s.npk", drop_if_exists=True).open()),
    ]
    other = NumPack("other.npk")
    other.open()
    for thread in waiting:
        thread.daemon = True
        thread.start()
    time.sleep(0.2)
    assert run_with_timeout(other.close) is None
    assert run_with_timeout(lambda: NumPack("third.npk").open()) is None
    holder.communicate("")
    for thread in waiting:
        thread.join(20)
        assert not thread.is_alive()


def test_close_while_a_thread_waits_for_the_lock(holder):
    other = NumPack("s.npk")
    other.open()
    errors = []
    waits = threading.Thread(
        target=lambda: errors.append(run_with_timeout(lambda: other.append({"x": ROWS}), 60))
    )
    waits.start()
    while not other._handle.session.lock.is_waiting():
        time.sleep(0.01)
    assert run_with_timeout(other.close) is None
    assert other.is_closed
    holder.communicate("")
    waits.join(60)
    assert errors == [None]
    with NumPack("s.npk") as again:
        assert again.get_shape("x") == (6, 2)


def test_close_while_a_thread_waits_to_open(holder):
    other = NumPack("s.npk", mode="w")
    thread = threading.Thread(target=other.open, daemon=True)
    thread.start()
    time.sleep(0.2)
    assert run_with_timeout(other.close) is None
    holder.communicate("")
    thread.join(20)
    assert not thread.is_alive()


FORK = """
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
    run_python(FORK.replace("HOW", HELD_LOCKS[how]) + ends)


# File systems without locks


@pytest.fixture(scope="session")
def no_flock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flock")
    code = "#include <errno.h>\n#include <stdlib.h>\n"
    code += 'int flock(int f, int o) { errno = atoi(getenv("E")); return -1 | (f & o & 0); }\n'
    (folder / "f.c").write_text(code)
    library = folder / "f.so"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", library, folder / "f.c"], check=True)
    return library


@pytest.mark.parametrize(
    "error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, 524]
)
def test_file_system_without_locks_allows_reading_only(store, no_flock, error):
    script = """
import numpy as np
from numpack import LockError, LockTimeoutError, NumPack
for mode in ("a", "r", "r+"):
    with NumPack("s.npk", mode=mode, lock_timeout=5) as store:
        assert store["x"].tolist() == store.getitem("x", [0, 1, 2]).tolist()
        assert store.load("x", lazy=True).shape == (3, 2)
        assert store.verify().ok
for call in (
    lambda: NumPack("new.npk").open(),
    lambda: NumPack("s.npk", mode="w").open(),
    lambda: NumPack("s.npk", drop_if_exists=True).open(),
    lambda: NumPack("s.npk").__enter__().append({"x": np.zeros((1, 2))}),
    lambda: NumPack("s.npk", lock_timeout=3).__enter__().sync(),
):
    try:
        call()
    except LockError as error:
        assert not isinstance(error, LockTimeoutError)
        assert ".npk cannot be locked" in str(error) and "mode='r' reads" in str(error), error
        print(error.errno)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "LD_PRELOAD": str(no_flock), "E": str(error)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(error)] * 5
    assert issubclass(LockError, StoreError)


# Replaced files


def replace_by_copy(path):
    """Replace a file by a copy of itself."""
    shutil.copy2(path, f"{path}.copy")
    os.replace(f"{path}.copy", path)


REPLACED_FILES = {
    "lock": lambda: replace_by_copy("s.npk/lock"),
    "lock renamed": lambda: (os.rename("s.npk/lock", "old"), shutil.copy("old", "s.npk/lock")),
    "log": lambda: replace_by_copy("s.npk/commits.log"),
    "log renamed": lambda: (
        os.rename("s.npk/commits.log", "old"),
        shutil.copy("old", "s.npk/commits.log"),
    ),
    "data": lambda: [replace_by_copy(each) for each in Path("s.npk/data").iterdir()],
    "journal": lambda: replace_by_copy("s.npk/journal"),
    "all": lambda: [
        replace_by_copy(each) for each in Path("s.npk").rglob("*") if each.is_file()
    ],
}
CHANGES_AFTER = {
    "append": lambda s: s.append({"x": ROWS[:1]}),
    "append two": lambda s: s.append({"x": ROWS[:1], "y": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1] + 9, "y": ROWS[:1] - 9}, [1]),
    "drop rows": lambda s: s.drop("x", [1]),
    "drop rows of two": lambda s: s.drop(["x", "y"], [1]),
    "update": lambda s: s.update("x"),
    "save": lambda s: s.save({"x": ROWS + 4}),
}


@pytest.mark.parametrize("then", CHANGES_AFTER)
@pytest.mark.parametrize("what", REPLACED_FILES)
def test_open_handle_writes_to_replaced_files(what, then):
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "y": ROWS})
        for call in CHANGES_AFTER.values():
            call(store)
        REPLACED_FILES[what]()
        CHANGES_AFTER[then](store)
        found = {name: store.load(name).tolist() for name in store}
        with NumPack("s.npk", mode="r") as other:
            assert {name: other.load(name).tolist() for name in other} == found
            assert other.verify().ok
            store.append({"y": ROWS})
            assert other.get_shape("y") == store.get_shape("y")
        if what.startswith("lock"):
            with NumPack("s.npk", lock_timeout=0) as third:

                def report(done, total):
                    error = run_with_timeout(lambda: third.save({"a": ROWS}))
                    assert isinstance(error, LockTimeoutError), error

                store.save({"z": ROWS}, progress=report)


def test_open_handle_follows_a_restored_backup():
    with NumPack("s.npk") as store:
        store.save({"x": ROWS})
        store.replace({"x": ROWS[:1] + 5}, [0])
        shutil.copytree("s.npk", "backup")
        store.append({"x": ROWS})
        store.replace({"x": ROWS[:1] + 7}, [0])
        store.save({"gone": ROWS})
        for each in Path("backup").rglob("*"):
            if each.is_file():
                shutil.copy2(each, "copy")
                os.replace("copy", Path("s.npk") / each.relative_to("backup"))
        with NumPack("s.npk") as other:
            other.save({"other": ROWS + 1})
            other.replace({"x": ROWS[:1] + 8}, [0])
        assert store.get_member_list() == ["x", "other"]
        assert store.load("x").tolist() == [[8, 9], [2, 3], [4, 5]]
        store.append({"other": ROWS, "x": ROWS})
        assert store.load("other").tolist() == [*(ROWS + 1).tolist(), *ROWS.tolist()]
        assert store.verify().ok


def test_commits_before_and_after_emptying_are_distinguished(monkeypatch):
    with NumPack("s.npk") as first:
        first.save({"x": ROWS})
        first.replace({"x": ROWS[:1] + 5}, [0])
        with NumPack("s.npk", drop_if_exists=True) as second:
            second.save({"x": ROWS + 100})
            monkeypatch.setattr(session.Session, "apply_replacement", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                second.replace({"x": ROWS[:1] + 200}, [0])
            monkeypatch.undo()
            assert first.load("x").tolist() == [[200, 201], [102, 103], [104, 105]]
            first.append({"x": ROWS})
            assert first.load("x")[0].tolist() == [200, 201]
            assert second.load("x")[0].tolist() == [200, 201]
            assert first.verify().ok


def _interrupted(*args, **options):
    raise KeyboardInterrupt
