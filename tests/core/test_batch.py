"""`batch_mode` and `writable_batch_mode`: what is written, when, and what happens on errors."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.files import contents

from numpack import InvalidValueError, NotFoundError, NumPack, StoreClosedError, StoreError

ROWS = np.arange(1.0, 13.0).reshape(6, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "y": ROWS, "z": np.array(5)})
        yield opened


@pytest.fixture
def full(monkeypatch):
    """Patch writing of data files so that it fails with ENOSPC while `state["full"]` is set."""
    from numpack.store.format import data_files

    whole = data_files.write_checksummed
    state = {"full": False}

    def write(*arguments):
        if state["full"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(*arguments)

    monkeypatch.setattr(data_files, "write_checksummed", write)
    return state


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


def commits(store: NumPack) -> int:
    return store.get_io_stats()["commits"]


# batch_mode: what is cached, and when it is written


def test_load_returns_the_same_object_within_the_block(store):
    with store.batch_mode() as batch:
        assert batch is store
        first = store.load("x")
        assert store.load("x") is store["x"] is first
        store.save({"new": first})
        assert store.load("new") is first
    assert store.load("x") is not first


def test_all_changes_are_one_commit_at_the_end_of_the_block(store):
    before = commits(store)
    with store.batch_mode():
        store.load("x")[0] = -1
        y = store.load("y")
        y *= 2
        store.save({"new": ROWS})
        store.save({"new": ROWS[:1], "z": np.array(6)})
        assert commits(store) == before
        assert np.array_equal(read_back(), ROWS)
    assert commits(store) == before + 1
    assert read_back()[0].tolist() == [-1, -1]
    assert np.array_equal(read_back("y"), ROWS * 2)
    assert np.array_equal(read_back("new"), ROWS[:1])
    assert read_back("z") == 6


def test_unchanged_arrays_are_not_written(store):
    before = contents()
    with store.batch_mode():
        for name in store:
            store.load(name)
        x = store.load("x")
        x += 1
        x -= 1
    assert contents() == before


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -0.0])
def test_changes_are_detected_by_bytes(store, value):
    store.save({"x": np.full(3, value)})
    before = contents()
    with store.batch_mode():
        store.load("x")
    assert contents() == before
    with store.batch_mode():
        store.load("x")[1] = 0.0
    assert np.array_equal(read_back(), [value, 0.0, value], equal_nan=True)


def fail_in(store: NumPack) -> None:
    with store.batch_mode():
        store.load("x")[0] = -1
        store.save({"new": ROWS})
        raise ZeroDivisionError


def test_exception_in_the_block_still_writes_changes(store):
    with pytest.raises(ZeroDivisionError):
        fail_in(store)
    assert read_back()[0].tolist() == [-1, -1]
    assert np.array_equal(read_back("new"), ROWS)


def test_nested_block_writes_nothing_at_its_end(store):
    before = commits(store)
    with store.batch_mode():
        with store.batch_mode(memory_limit=10**9):
            x = store.load("x")
            x[0] = -1
        assert commits(store) == before
        assert store.load("x") is x
        x[1] = -2
    assert commits(store) == before + 1
    assert read_back()[:2, 0].tolist() == [-1, -2]


def test_close_in_the_block_writes_changes(store):
    with store.batch_mode():
        store.load("x")[0] = -1
        store.close()
    assert read_back()[0].tolist() == [-1, -1]
    store.open()
    assert store.load("x") is not store.load("x")


@pytest.mark.parametrize("limit", [-1, -(10**9)])
def test_negative_memory_limit_is_refused(store, limit):
    with pytest.raises(InvalidValueError, match="memory_limit"), store.batch_mode(limit):
        pass


# batch_mode: other calls in the block

SEEN = {
    "get_shape": lambda s: s.get_shape("x") == (3, 2),
    "has_array": lambda s: s.has_array("new"),
    "in": lambda s: "new" in s,
    "len": lambda s: len(s) == 4,
    "iteration": lambda s: list(s) == ["x", "y", "z", "new"],
    "get_member_list": lambda s: s.get_member_list() == ["x", "y", "z", "new"],
    "get_metadata": lambda s: s.get_metadata()["total_arrays"] == 4,
    "get_modify_time": lambda s: s.get_modify_time("new") > 0,
    "getitem": lambda s: np.array_equal(s.getitem("x", [2, 0]), -ROWS[[2, 0]]),
    "stream_load": lambda s: np.array_equal(np.concatenate([*s.stream_load("x")]), -ROWS[:3]),
    "lazy load": lambda s: np.array_equal(s.load("x", lazy=True), -ROWS[:3]),
    "share": lambda s: np.array_equal(s.share("x", "numpy"), -ROWS[:3]),
    "items": lambda s: np.array_equal(dict(s.items())["x"], -ROWS[:3]),
    "verify": lambda s: s.verify().ok and s.has_array("new"),
}


@pytest.mark.parametrize("call", SEEN)
def test_calls_in_the_block_see_saved_arrays(store, call):
    with store.batch_mode():
        store.save({"x": -ROWS[:3], "new": ROWS})
        assert SEEN[call](store)
        kept = store.load("x")
        kept[0] = 7
    assert read_back()[0].tolist() == [7, 7]
    assert np.array_equal(read_back()[1:], -ROWS[1:3])


def with_first_row_changed(rows: np.ndarray) -> np.ndarray:
    rows = rows.copy()
    rows[0] = -1
    return rows


CHANGED = with_first_row_changed(ROWS)
CHANGES = {
    "append": (
        lambda s: s.append({"x": ROWS}),
        {"x": np.concatenate([CHANGED, ROWS])},
    ),
    "replace": (
        lambda s: s.replace({"x": ROWS[:1]}, -1),
        {"x": np.concatenate([CHANGED[:-1], ROWS[:1]])},
    ),
    "drop of rows": (lambda s: s.drop("x", [1, 2]), {"x": np.delete(CHANGED, [1, 2], 0)}),
    "drop": (lambda s: s.drop("x"), {}),
    "del": (lambda s: s.__delitem__("x"), {}),
    "update": (lambda s: s.update("x"), {"x": CHANGED}),
    "clone": (lambda s: s.clone("x", "w"), {"x": CHANGED, "w": CHANGED}),
    "reset": (lambda s: s.reset(), {}),
    "sync": (lambda s: s.sync(), {"x": CHANGED}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_changes_in_the_block_see_changes_in_place(store, change):
    call, expected = CHANGES[change]
    with store.batch_mode():
        store.load("x")[0] = -1
        call(store)
        assert ("x" in store) == ("x" in expected)
        if expected:
            assert np.array_equal(store.load("x"), expected["x"])
    with NumPack("s.npk") as other:
        assert [name for name in other if name not in "yz"] == list(expected)
        for name, rows in expected.items():
            assert np.array_equal(other.load(name, verify=True), rows)


OTHERS = {
    "append": (lambda s: s.append({"x": -ROWS}), np.concatenate([ROWS, -ROWS])),
    "replace": (lambda s: s.replace({"x": -ROWS[:1]}, 2), None),
    "save": (lambda s: s.save({"x": -ROWS}), -ROWS),
    "save of another shape": (lambda s: s.save({"x": np.arange(3)}), np.arange(3)),
    "drop of rows": (lambda s: s.drop("x", 0), ROWS[1:]),
}


@pytest.mark.parametrize("change", OTHERS)
def test_arrays_only_read_do_not_overwrite_commits_of_another_handle(store, change):
    call, expected = OTHERS[change]
    if expected is None:
        expected = ROWS.copy()
        expected[2] = -ROWS[0]
    with NumPack("s.npk") as other, store.batch_mode():
        store.load("x")
        call(other)
        store.load("x")
        store.load("y")[0] = -1
    assert np.array_equal(read_back(), expected)
    assert np.array_equal(read_back("y"), CHANGED)


def test_reading_does_not_restore_an_array_dropped_by_another_handle(store):
    with NumPack("s.npk") as other, store.batch_mode():
        store.load("x")
        other.drop("x")
    assert "x" not in store


# batch_mode: the memory limit


@pytest.mark.parametrize("limit", [0, 1, ROWS.nbytes, 2 * ROWS.nbytes, None])
@pytest.mark.parametrize("holds", [False, True])
def test_no_change_is_lost_at_any_memory_limit(store, limit, holds):
    names = [f"a{number}" for number in range(6)]
    store.save({name: ROWS + number for number, name in enumerate(names)})
    held = []
    with store.batch_mode(memory_limit=limit):
        for name in names:
            array = store.load(name)
            array *= 2
            held += [array] if holds else []
            del array
        for array in held:
            array += 1
    for number, name in enumerate(names):
        assert np.array_equal(read_back(name), (ROWS + number) * 2 + holds)


@pytest.mark.parametrize("limit", [0, ROWS.nbytes])
def test_change_after_later_loads_is_not_lost(store, limit):
    with store.batch_mode(memory_limit=limit):
        first, second = store.load("x"), store.load("y")
        store.load("z")
        first += 1
        second += 2
        del first, second
        gc.collect()
        store.load("z")
    assert np.array_equal(read_back("x"), ROWS + 1)
    assert np.array_equal(read_back("y"), ROWS + 2)


LAYOUTS = {
    "c": np.array,
    "fortran": lambda a: np.asfortranarray(a)[:, :],
    "transposed": lambda a: a.T.copy().T,
    "part": lambda a: np.concatenate([a, a])[: len(a)],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "swapped": lambda a: a.astype(">f8")[:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("limit", [0, None])
def test_view_of_an_array_written_early_still_changes_it(store, layout, limit):
    with store.batch_mode(memory_limit=limit):
        array = LAYOUTS[layout](ROWS)
        store.save({"x": array})
        view = array[1:3]
        del array
        gc.collect()
        store.load("y")
        view[...] = -1
        assert np.array_equal(store.load("x")[1:3], view)
        del view
        gc.collect()
    expected = ROWS.copy()
    expected[1:3] = -1
    assert np.array_equal(read_back(), expected)


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.zeros(3, "V0"), np.array(1.5)])
def test_arrays_of_few_or_no_bytes_are_written_early(store, array):
    with store.batch_mode(memory_limit=0):
        store.save({"new": array[...]})
        view = array[..., None]
        store.load("x")
        assert view.ndim
    assert read_back("new").shape == array.shape


def test_arrays_beyond_the_memory_limit_are_written_early(store):
    before = commits(store)
    with store.batch_mode(memory_limit=ROWS.nbytes):
        for number in range(5):
            store.save({f"a{number}": ROWS + number})
        assert commits(store) >= before + 4
        assert len(list(Path("s.npk/data").iterdir())) >= 7
    for number in range(5):
        assert np.array_equal(read_back(f"a{number}"), ROWS + number)


# batch_mode: failing writes


def fail_to_write(store: NumPack, full: dict) -> None:
    full["full"] = True
    with store.batch_mode():
        store.load("x")[0] = -1
        store.save({"new": ROWS})


@pytest.fixture
def failed(store, full):
    before = contents()
    with pytest.raises(OSError, match="No space left"):
        fail_to_write(store, full)
    assert contents() == before
    assert np.array_equal(store.load("x"), ROWS)
    assert "new" not in store
    yield store
    full["full"] = False


def run_block(store: NumPack) -> None:
    with store.batch_mode():
        assert np.array_equal(store.load("x"), CHANGED)


LATER = {"sync": lambda s: s.sync(), "close": lambda s: s.close(), "block": run_block}


@pytest.mark.parametrize("later", LATER)
def test_failed_write_is_retried_later(failed, full, later):
    with pytest.raises(OSError, match="No space left"):
        LATER[later](failed)
    assert failed.is_opened
    full["full"] = False
    LATER[later](failed)
    assert np.array_equal(read_back(), CHANGED)
    assert np.array_equal(read_back("new"), ROWS)


@pytest.mark.parametrize("later", LATER)
def test_retried_write_does_not_overwrite_later_changes(failed, full, later):
    full["full"] = False
    failed.save({"x": ROWS * 2})
    failed.drop("new")
    if later != "block":
        LATER[later](failed)
    assert np.array_equal(read_back(), ROWS * 2)
    with NumPack("s.npk") as other:
        assert "new" not in other


def test_append_after_a_failed_write_sees_the_pending_changes(failed, full):
    full["full"] = False
    failed.append({"x": ROWS[:1], "new": ROWS[:1]})
    assert np.array_equal(read_back(), np.concatenate([CHANGED, ROWS[:1]]))
    assert np.array_equal(read_back("new"), np.concatenate([ROWS, ROWS[:1]]))


def test_reset_discards_pending_changes(failed, full):
    full["full"] = False
    failed.reset()
    failed.sync()
    assert list(failed) == []


def test_failed_early_write_loses_nothing(store, full):
    held = []

    def fill() -> None:
        with store.batch_mode(memory_limit=0):
            held.append(store.load("x"))
            held[0][0] = -1
            full["full"] = True
            store.load("y")

    with pytest.raises(OSError, match="No space left"):
        fill()
    full["full"] = False
    store.sync()
    assert np.array_equal(read_back(), CHANGED)


# Stores that are read-only or closed


def test_read_only_store_can_be_read_in_batch_mode(store):
    before = contents()
    with NumPack("s.npk", mode="r") as other, other.batch_mode(memory_limit=0):
        first = other.load("x")
        assert other.load("x") is first
        assert np.array_equal(other.getitem("x", 0), ROWS[:1])
        assert other.load("y", lazy=True).shape == (6, 2)
    assert contents() == before


def test_save_to_a_read_only_store_is_refused_at_once(store):
    refused = pytest.raises(StoreError, match="mode='r'")
    with NumPack("s.npk", mode="r") as other, other.batch_mode(), refused:
        other.save({"new": ROWS})
    assert other.is_closed


@pytest.mark.parametrize("mode", ["batch_mode", "writable_batch_mode"])
def test_closed_store_refuses_batch_modes(store, mode):
    store.close()
    refused = pytest.raises(StoreClosedError, match="not opened or has been closed")
    with refused, getattr(store, mode)():
        pass


# writable_batch_mode


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


@pytest.mark.parametrize("shape", [(0,), (0, 3), (5, 0), ()])
@pytest.mark.parametrize("dtype", ["f8", "S3", "M8[s]"])
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


# Both modes together


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
