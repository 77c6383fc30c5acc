"""Locks: which calls wait, for how long, and which never wait."""

from __future__ import annotations

import contextlib
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from support.each import for_each

from numpack import InvalidValueError, LockTimeoutError, NumPack, WrongTypeError
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


WRITES = {
    "append": lambda s: s.append({"x": ROWS}),
    "save": lambda s: s.save({"y": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1]}, 0),
    "drop": lambda s: s.drop("x"),
    "sync": lambda s: s.sync(),
}


@for_each("seconds", [0, 0.05, np.float32(0.05)])
@for_each("write", WRITES)
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
