"""Snapshots beside writers, in other processes and on other systems."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.store.values import inode, state, values

from numpack import NotFoundError, NumPack
from numpack.store.fs.lock import SharedLock
from numpack.store.reading import snapshot as module

ROWS = np.arange(6.0).reshape(3, 2)
OLD = Path(__file__).parents[2] / "data" / "numpack-0.7.0"


WRITER = """
import sys
import numpy as np
from numpack import NumPack
rows = np.ones((3, 2))
with NumPack("s.npk") as store:
    for number in range(1, 100_000):
        if number % 3 == 0:
            store.save({"x": rows * number, "y": rows * number})
        else:
            store.replace({"x": rows * number, "y": rows * number}, slice(None))
        if number == 1:
            print("ready", flush=True)
        if number % 7 == 0:
            store.append({"z": np.arange(1)})
"""


def start(script: str, *args: str) -> subprocess.Popen:
    """Start a script and wait for its first line of output."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *args], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


def check_values(snapshots) -> None:
    for expected, snapshot in snapshots:
        assert (snapshot.arrays["x"][:] == expected).all()
        assert (snapshot.arrays["y"][:] == expected).all()


def test_snapshots_beside_a_writer_are_of_one_commit(filled):
    filled.save({"x": np.ones((3, 2)), "y": np.ones((3, 2))})
    writer = start(WRITER)
    try:
        kept, commits, until = {}, [], time.monotonic() + 60
        while len(kept) < 30 and time.monotonic() < until:
            snapshot = filled._snapshot(["x", "y", "z"])
            assert snapshot.is_held
            commits.append(snapshot.commit)
            number = float(snapshot.arrays["x"][0, 0])
            kept.setdefault(number, snapshot)
            check_values([(number, snapshot), *list(kept.items())[-5:]])
    finally:
        end(writer)
    assert len(kept) == 30
    assert commits == sorted(commits)
    check_values(kept.items())


HOLDER = """
import os, sys, time
from numpack import NumPack
with NumPack("s.npk", mode="r") as store:
    snapshot = store._snapshot()
print("ready", flush=True)
time.sleep(100)
"""


def test_hold_of_another_process_ends_with_it(filled):
    at = inode(filled, "x")
    holder = start(HOLDER)
    filled.replace({"x": -ROWS}, slice(None))
    assert inode(filled, "x") != at
    end(holder)
    holder = start(HOLDER)
    end(holder)
    at = inode(filled, "x")
    filled.replace({"x": ROWS}, slice(None))
    assert inode(filled, "x") == at


def test_hold_lasts_until_a_forked_child_has_closed_it_too(filled, run_python):
    run_python(
        """
import os, warnings
import numpy as np
from numpack import NumPack
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
store = NumPack("s.npk")
store.open()
snapshot = store._snapshot(["x", "y"])

def held(name):
    before = store._arrays()[name].id
    store.replace({name: np.zeros((1, 2))}, 0)
    return store._arrays()[name].id != before

ask, answer = os.pipe(), os.pipe()
pid = os.fork()
if not pid:
    os.close(ask[1])
    del snapshot.arrays["y"]
    os.read(ask[0], 1)
    assert snapshot.arrays["x"][:].tolist() == [[0, 1], [2, 3], [4, 5]]
    snapshot.close()
    os.write(answer[1], b"c")
    os.read(ask[0], 1)
    os._exit(0)
os.close(ask[0])
os.write(ask[1], b"c")
os.read(answer[0], 1)
assert held("x"), "the child has ended the hold of its parent"
snapshot = store._snapshot(["x"])
child = os.fork()
if not child:
    os.close(ask[1])
    os.read(os.pipe()[0], 1)
snapshot.close()
assert held("x"), "the child holds it still"
os.kill(child, 9)
os.waitpid(child, 0)
os.close(ask[1])
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert not held("x")
store.close()
"""
    )


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_descriptors_do_not_leak(filled):
    filled._snapshot().close()  # the mappings keep descriptors too
    before = descriptors()
    snapshot = filled._snapshot()
    assert descriptors() == before + 4, "one for each array that has bytes"
    snapshot.close()
    assert descriptors() == before
    for _ in range(50):
        filled._snapshot(["x", "z"])
        with pytest.raises(NotFoundError):
            filled._snapshot(["x", "q"])
    assert descriptors() == before
    for descriptor in filled._snapshot()._files:
        assert not os.get_inheritable(descriptor.descriptor)


def test_store_that_is_opened_for_reading_only_holds_too(filled):
    with NumPack("s.npk", mode="r") as reader:
        snapshot = reader._snapshot(["x"])
        assert snapshot.is_held
    filled.replace({"x": -ROWS}, slice(None))
    assert snapshot.arrays["x"][:].tolist() == ROWS.tolist()


def test_folder_of_numpack0_is_not_held(tmp_path):
    shutil.copytree(OLD / "deleted_then_appended.npk", "old.npk")
    with NumPack("old.npk") as store:
        snapshot = store._snapshot()
        before = values(store)
        assert not snapshot.is_held
        assert snapshot.commit == 0
        assert values(snapshot.arrays) == before
        with NumPack("old.npk", upgrade=True) as upgraded:
            name, entry = next(iter(upgraded._arrays().items()))
            shape, dtype = (1, *entry.stored[1:]), entry.dtype
            upgraded.replace({name: np.zeros(shape, dtype)}, 0)
            upgraded.drop([other for other in upgraded if other != name])
        assert values(snapshot.arrays) == before


def test_system_without_such_locks(filled, monkeypatch):
    monkeypatch.setattr(module, "hold", lambda _: False)
    snapshot = filled._snapshot()
    assert not snapshot.is_held
    assert values(snapshot.arrays) == state()
    filled.replace({"x": -ROWS}, slice(None))
    assert values(snapshot.arrays) == state(), "the replace is visible, as in a lazy array"


@pytest.mark.parametrize("at", ["before the commit", "in its rows"])
@pytest.mark.parametrize("mode", ["r", "a"])
def test_snapshot_after_a_writer_was_killed_in_a_replace(filled, run_python, at, mode):
    owner = {"before the commit": "log.Log", "in its rows": "session.Session"}[at]
    method = {"before the commit": "commit", "in its rows": "apply_replacement"}[at]
    held = filled._snapshot(["y"])
    filled.close()
    run_python(
        f"""
import os, signal
import numpy as np
from numpack import NumPack
from numpack.store import session
from numpack.store.format.log import log
store = NumPack("s.npk")
store.open()
kill = lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL)
{owner}.{method} = kill
store.replace({{"x": -np.ones((3, 2)), "z": np.zeros(3, int)}}, [0, 1, 2])
""",
        expect=-signal.SIGKILL,
    )
    expected = ROWS if at == "before the commit" else -np.ones((3, 2))
    with NumPack("s.npk", mode=mode) as reader:
        snapshot = reader._snapshot()
        assert snapshot.is_held
        assert snapshot.arrays["x"][:].tolist() == expected.tolist()
        with NumPack("s.npk") as writer:  # replays the journal
            writer.append({"y": ROWS})
            assert snapshot.arrays["x"][:].tolist() == expected.tolist()
            writer.replace({"x": ROWS + 5, "y": -ROWS}, [0, 1, 2])
        assert snapshot.arrays["x"][:].tolist() == expected.tolist()
        assert snapshot.arrays["y"][:].tolist() == (ROWS + 10).tolist()
    assert held.arrays["y"][:].tolist() == (ROWS + 10).tolist()
    assert state()["x"] == (ROWS + 5).tolist()


def test_snapshot_waits_for_a_replace_that_is_about_to_be_committed(filled, monkeypatch):
    """The writer has checked that nothing holds the file; its rows change a moment later."""
    written, go, log = threading.Event(), threading.Event(), filled._handle.session.log
    commit = log.commit

    def slow(**record):
        written.set()
        go.wait(20)
        return commit(**record)

    monkeypatch.setattr(log, "commit", slow)
    new = {"x": -ROWS}
    writer = threading.Thread(target=filled.replace, args=(new, slice(None)), daemon=True)
    writer.start()
    assert written.wait(20)
    with NumPack("s.npk", mode="r") as reader:
        found = []
        taker = threading.Thread(target=lambda: found.append(reader._snapshot()), daemon=True)
        taker.start()
        taker.join(0.2)
        assert not found
        go.set()
        taker.join(20)
        writer.join(20)
        assert found[0].arrays["x"][:].tolist() == (-ROWS).tolist()
        filled.replace({"x": ROWS + 3}, slice(None))
        assert found[0].arrays["x"][:].tolist() == (-ROWS).tolist()


def test_snapshot_does_not_wait_for_a_long_change_of_another_kind(filled):
    found = []

    def progress(done, total):
        with NumPack("s.npk", mode="r") as reader:
            taker = threading.Thread(target=lambda: found.append(reader._snapshot()))
            taker.start()
            taker.join(20)

    filled.save({"new": ROWS}, progress=progress)
    assert [list(each.arrays) for each in found] == [list(filled)[:-1]]


def test_writers_are_excluded_after_some_attempts(filled, monkeypatch):
    attempts, locks, real = [], [], module._is_unchanged

    def changed(session, entries):
        attempts.append(1)
        filled.replace({"x": ROWS + len(attempts)}, slice(None))
        return real(session, entries)

    monkeypatch.setattr(module, "_is_unchanged", changed)
    monkeypatch.setattr(
        module, "SharedLock", lambda f: locks.append(SharedLock(f)) or locks[-1]
    )
    with NumPack("s.npk", mode="r") as reader:
        snapshot = reader._snapshot(["x"])
    assert len(attempts) == 5
    assert locks
    assert snapshot.arrays["x"][:].tolist() == (ROWS + 5).tolist()
    filled.replace({"x": -ROWS}, slice(None))
    assert snapshot.arrays["x"][:].tolist() == (ROWS + 5).tolist()


def test_copy_on_a_full_disk_is_an_error_and_changes_nothing(filled, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    filled.save({"x": np.arange(40_000.0)})
    snapshot = filled._snapshot(["x", "y"])
    before, files = state(), sorted(os.listdir("s.npk/data"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        for change in (
            lambda: filled.replace({"x": -np.ones(3), "y": -ROWS}, [0, 1, 2]),
            lambda: filled.replace({"y": -ROWS, "x": -np.ones(3)}, [0, 1, 2]),
        ):
            with pytest.raises(OSError, match="File too large") as raised:
                change()
            assert raised.value.errno == errno.EFBIG
            assert state() == before
            assert sorted(os.listdir("s.npk/data")) == files
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    filled.replace({"x": -np.ones(3), "y": -ROWS}, [0, 1, 2])
    assert state()["x"][:3] == [-1, -1, -1]
    assert values(snapshot.arrays)["x"] == before["x"]
