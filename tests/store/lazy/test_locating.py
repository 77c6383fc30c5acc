"""Finding the rows of a pickle again: moved, replaced and diverged stores."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.store import numpack0_store

from numpack import MovedError, NumPack

ROWS = np.arange(24.0).reshape(8, 3)
LARGE = np.arange(400_000.0)  # several blocks


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "large": LARGE, "one": np.arange(4)})
        yield opened


def in_another_process(data: bytes) -> str:
    Path("lazy.pickle").write_bytes(data)
    code = (
        "import pickle, sys, numpy as np\n"
        "try: print(np.asarray(pickle.load(open('lazy.pickle', 'rb'))).sum())\n"
        "except Exception as e: print(type(e).__name__, getattr(e, 'reason', ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def reason_of(data: bytes) -> str:
    with pytest.raises(MovedError) as raised:
        pickle.loads(data)
    copied = pickle.loads(pickle.dumps(raised.value))
    assert (str(copied), copied.reason) == (str(raised.value), raised.value.reason)
    assert "s.npk" in str(copied)
    return raised.value.reason


def pickled(name: str = "x") -> bytes:
    with NumPack("s.npk") as opened:
        return pickle.dumps(opened.load(name, lazy=True))


def test_moved_error_names_the_reason():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS})
    shutil.copytree("s.npk", "copy.npk")
    data = pickled()
    with NumPack("copy.npk") as other:
        other.save({"new": ROWS})
    shutil.move("s.npk", "moved.npk")
    assert reason_of(data) == "missing"
    shutil.copytree("copy.npk", "s.npk")
    assert np.array_equal(pickle.loads(data), ROWS)  # a copy with the same rows
    with NumPack("s.npk") as opened:
        opened.replace({"x": -ROWS[:1]}, 0)
    assert reason_of(data) == "replaced in place"
    with NumPack("s.npk", mode="w") as opened:
        opened.save({"x": ROWS})
    assert reason_of(data) == "another store"
    shutil.rmtree("s.npk")
    Path("s.npk").write_text("no store")
    assert reason_of(data) == "missing"


@pytest.mark.parametrize("values", [ROWS, LARGE])
def test_pickle_is_refused_by_a_diverged_copy(values):
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS})
    shutil.copytree("s.npk", "backup.npk")
    with NumPack("s.npk") as opened:
        opened.save({"b": values})
    data = pickled("b")
    shutil.rmtree("s.npk")
    shutil.copytree("backup.npk", "s.npk")
    assert reason_of(data) == "another copy"
    with NumPack("s.npk") as opened:
        opened.save({"c": -values})  # the same id, and perhaps the same inode
    assert reason_of(data) == "another copy"
    with NumPack("s.npk") as opened:
        opened.append({"c": values})
    assert reason_of(data) == "another copy"


def test_missing_permission_is_reported(monkeypatch):
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS})
    data = pickled()
    from numpack.store.lazy import locating

    def denied(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(locating, "Folder", denied)
    assert reason_of(data) == "permission"


def test_pickle_of_a_moved_store_has_its_current_path(store):
    os.rename("s.npk", "moved.npk")
    data = pickle.dumps(store.load("x", lazy=True))
    assert np.array_equal(pickle.loads(data), ROWS)
    assert in_another_process(data) == str(ROWS.sum())
    with pickle.loads(pickle.dumps(store)) as other:
        assert np.array_equal(other["x"], ROWS)
    assert not os.path.exists("s.npk")


def test_pickles_and_tokens_of_numpack_0_x_folders():
    numpack0_store.write({"x": ROWS, "y": LARGE}, {"x": [1, 4]})
    os.rename(numpack0_store.FOLDER, "s.npk")
    with NumPack("s.npk") as opened:
        x, y = opened.load("x", lazy=True), opened.load("y", lazy=True)
        data = pickle.dumps(x), pickle.dumps(y.rows(5, 50))
        token = y.__dask_tokenize__()
        assert token == y.__dask_tokenize__()
    assert np.array_equal(pickle.loads(data[0]), np.delete(ROWS, [1, 4], 0))
    assert np.array_equal(pickle.loads(data[1]), LARGE[5:50])
    assert max(map(len, data)) <= 1024
    with NumPack("s.npk", upgrade=True):
        assert np.array_equal(pickle.loads(data[1]), LARGE[5:50])
