"""`writable_batch_mode`: writes in place, and their checksums."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from support.each import for_each
from support.files import contents
from support.store.batch_changes import CHANGED, CHANGES

from numpack import InvalidValueError, NotFoundError, NumPack

ROWS = np.arange(1.0, 13.0).reshape(6, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "y": ROWS, "z": np.array(5)})
        yield opened


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


def test_writes_to_a_view_reach_the_store(store):
    before = contents()
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        assert batch.load("x") is view
        assert (view.shape, view.dtype) == (ROWS.shape, ROWS.dtype)
        view[0] = -1
        with NumPack("s.npk", mode="r") as other:
            assert np.array_equal(other.load("x"), CHANGED)
            assert np.array_equal(other.load("x", lazy=True), CHANGED)
        batch.save({"x": view})
    assert set(contents()) == set(before)
    assert np.array_equal(read_back(), CHANGED)
    assert store.verify().unchecked == []


def test_save_in_the_block_writes_other_arrays(store):
    with store.writable_batch_mode() as batch:
        x = batch.load("x")
        x[0] = -1
        batch.save({"x": x, "new": ROWS})
        assert np.array_equal(store.load("new"), ROWS)
        batch.save({"y": -ROWS})
        with pytest.raises(InvalidValueError, match="arrays must be a dictionary"):
            batch.save([x])
    assert np.array_equal(read_back(), CHANGED)
    assert np.array_equal(read_back("y"), -ROWS)


@pytest.mark.parametrize("after", ["nothing", "drop", "save", "close", "reset"])
def test_views_are_private_after_the_block(store, after):
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        part = view[2:]
        view[0] = -1
    {
        "nothing": lambda: None,
        "drop": lambda: store.drop("x"),
        "save": lambda: store.save({"x": CHANGED}),
        "close": store.close,
        "reset": store.reset,
    }[after]()
    del batch
    gc.collect()
    before = contents()
    assert np.array_equal(view, CHANGED)
    part[...] = 9
    assert (view[2:] == 9).all()
    assert contents() == before
    if after not in ("drop", "reset"):
        assert np.array_equal(read_back(), CHANGED)


@for_each("shape", [(0,), (0, 3), (5, 0), ()])
@for_each("dtype", ["f8", "S3", "M8[s]"])
def test_empty_and_0d_arrays_can_be_opened(store, shape, dtype):
    store.save({"x": np.zeros(shape, dtype)})
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        assert (view.shape, view.dtype, view.flags.writeable) == (shape, np.dtype(dtype), True)
        view[...] = np.ones(shape, "i8").astype(dtype)
    assert np.array_equal(read_back(), np.ones(shape, "i8").astype(dtype))


def test_array_with_dropped_rows_can_be_opened(store):
    store.drop("x", [1, 3])
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        assert view.shape == (4, 2)
        view[-1] = -1
    expected = np.delete(ROWS, [1, 3], 0)
    expected[-1] = -1
    assert np.array_equal(read_back(), expected)


def test_missing_array_is_a_key_error(store):
    with store.writable_batch_mode() as batch, pytest.raises(NotFoundError, match="'nope'"):
        batch.load("nope")


def test_checksums_of_large_arrays_are_right_after_the_block(store):
    array = np.random.default_rng(2).random(400_001)
    store.save({"x": array})
    with store.writable_batch_mode() as batch:
        batch.load("x")[::100_000] = -1
        assert store.verify().unchecked == ["x"]
    array[::100_000] = -1
    assert store.verify().blocks == 4 + 2
    assert np.array_equal(read_back(), array)
    store.replace({"x": np.zeros(1)}, 7)
    assert store.verify().ok


def test_appends_and_replacements_in_the_block_are_kept(store):
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        store.append({"x": -ROWS})
        store.replace({"x": ROWS[:1] * 7}, 1)
        view[0] = -1
        assert view[1].tolist() == [7, 14]
    expected = np.concatenate([CHANGED, -ROWS])
    expected[1] = ROWS[0] * 7
    assert np.array_equal(read_back(), expected)


def fail_in_place(store: NumPack) -> None:
    with store.writable_batch_mode() as batch:
        batch.load("x")[0] = -1
        batch.load("y")[0] = -1
        raise ZeroDivisionError


def test_exception_in_the_block_keeps_writes(store):
    with pytest.raises(ZeroDivisionError):
        fail_in_place(store)
    assert store.verify().unchecked == []
    assert np.array_equal(read_back(), CHANGED)
    assert np.array_equal(read_back("y"), CHANGED)


@pytest.mark.parametrize("first", [0, 1])
def test_last_of_overlapping_blocks_recomputes_checksums(store, first):
    with NumPack("s.npk") as other:
        blocks = [store.writable_batch_mode(), other.writable_batch_mode()]
        views = [block.__enter__().load("x") for block in blocks]
        views[0][0] = -1
        views[1][1] = -2
        blocks[first].__exit__(None, None, None)
        assert store.verify().unchecked == ["x"]
        views[1 - first][2] = -3
        views[first][3] = -4  # the view is private once its block has ended
        blocks[1 - first].__exit__(None, None, None)
        assert store.verify().unchecked == []
    assert read_back()[:4, 0].tolist() == [-1, -2, -3, 7]


def test_verify_recomputes_checksums_if_the_store_was_closed_in_the_block(store):
    before = len(os.listdir("/dev/fd"))
    with store.writable_batch_mode() as batch:
        views = [batch.load(name) for name in "xy"]
        views[0][0] = views[1][0] = -1
        store.close()
    for view in views:
        view[...] = 9
    with NumPack("s.npk") as other:
        report = other.verify()
        assert report.ok
        assert report.unchecked == []
    assert np.array_equal(read_back("x"), CHANGED)
    assert np.array_equal(read_back("y"), CHANGED)
    del batch, view, views
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before


KILLED = """
import os, signal
from numpack import NumPack
store = NumPack("s.npk"); store.open()
with store.writable_batch_mode() as batch:
    batch.load("x")[0] = -1
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_in_block() -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


def test_verify_recomputes_checksums_if_the_process_died_in_the_block(store):
    kill_in_block()
    with NumPack("s.npk", mode="r") as other:
        assert other.verify().unchecked == ["x"]
    assert store.verify().unchecked == []
    assert np.array_equal(read_back(), CHANGED)


@pytest.mark.parametrize("change", ["append", "replace", "drop of rows", "clone", "update"])
def test_changes_recompute_checksums_if_a_process_died_in_the_block(store, change):
    kill_in_block()
    call, expected = CHANGES[change]
    call(store)
    assert store.verify().ok
    assert store.verify().unchecked == []
    for name, rows in expected.items():
        assert np.array_equal(read_back(name), rows)


def test_pending_changes_are_written_before_a_file_is_opened_for_writing(store):
    with store.batch_mode():
        store.save({"new": ROWS})
        store.load("x")[0] = -1
        with store.writable_batch_mode() as batch:
            assert np.array_equal(batch.load("new"), ROWS)
            view = batch.load("x")
            assert np.array_equal(view, CHANGED)
            view[1] = -2
    assert read_back()[:2, 0].tolist() == [-1, -2]


def test_arrays_only_read_do_not_overwrite_writes_in_place(store):
    with store.batch_mode():
        with store.writable_batch_mode() as batch:
            view = batch.load("x")
            store.load("x")
            view[0] = -1
        store.load("y")[0] = -1
    assert np.array_equal(read_back(), CHANGED)
    assert np.array_equal(read_back("y"), CHANGED)
