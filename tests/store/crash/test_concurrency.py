"""Concurrent readers and writers: only whole commits are visible, and none is lost."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

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
    names = [f"{number} {letter}" for letter in "abcde" for number in range(50)]
    done = threading.Event()

    def write():
        try:
            for _ in range(8):
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
