"""Readers and writers after a writer was killed or stopped in a replace."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from numpack import NumPack
from numpack.store import session
from numpack.store.fs.directory import Folder
from numpack.store.fs.lock import SharedLock

ROWS = np.arange(6.0).reshape(3, 2)
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


@pytest.fixture(scope="module")
def killed_store(tmp_path_factory):
    """Create a store whose writer was killed in the middle of a replace."""
    folder = tmp_path_factory.mktemp("killed")
    with NumPack(folder / "s.npk") as opened:
        opened.save({"x": ROWS})
    code = subprocess.run([sys.executable, "-c", KILLED_IN_REPLACE], cwd=folder, check=False)
    assert code.returncode == -signal.SIGKILL
    return folder / "s.npk"


@pytest.fixture
def killed_in_replace(killed_store):
    """Copy the store whose writer was killed."""
    shutil.copytree(killed_store, "s.npk")


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
        # The lock of another description of the file is held as by another process.
        with open("s.npk/lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            assert run_with_timeout(lambda: read_all(mode)) == REPLACED
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
        "os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGSTOP)"
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
