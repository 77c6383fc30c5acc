"""The two batch modes: what is kept reaches the store once, whole, and never another's work."""

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
    """A disk that is full while it is set."""
    from numpack.store.format import data_files

    whole = data_files.write_checksummed
    state = {"full": False}

    def write(*arguments):
        if state["full"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(*arguments)

    monkeypatch.setattr(data_files, "write_checksummed", write)
    return state


def read_anew(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


def commits(store: NumPack) -> int:
    return store.get_io_stats()["commits"]


# What a batch keeps, and when it is written


def test_a_load_gives_the_same_object_until_the_block_ends(store):
    with store.batch_mode() as batch:
        assert batch is store
        first = store.load("x")
        assert store.load("x") is store["x"] is first
        store.save({"new": first})
        assert store.load("new") is first
    assert store.load("x") is not first


def test_changes_in_place_and_saves_are_one_commit_at_the_end(store):
    before = commits(store)
    with store.batch_mode():
        store.load("x")[0] = -1
        y = store.load("y")
        y *= 2
        store.save({"new": ROWS})
        store.save({"new": ROWS[:1], "z": np.array(6)})
        assert commits(store) == before
        assert np.array_equal(read_anew(), ROWS)
    assert commits(store) == before + 1
    assert read_anew()[0].tolist() == [-1, -1]
    assert np.array_equal(read_anew("y"), ROWS * 2)
    assert np.array_equal(read_anew("new"), ROWS[:1])
    assert read_anew("z") == 6


def test_what_did_not_change_is_not_written(store):
    before = contents()
    with store.batch_mode():
        for name in store:
            store.load(name)
        x = store.load("x")
        x += 1
        x -= 1
    assert contents() == before


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -0.0])
def test_arrays_are_compared_by_their_bytes(store, value):
    store.save({"x": np.full(3, value)})
    before = contents()
    with store.batch_mode():
        store.load("x")
    assert contents() == before
    with store.batch_mode():
        store.load("x")[1] = 0.0
    assert np.array_equal(read_anew(), [value, 0.0, value], equal_nan=True)


def fail_in(store: NumPack) -> None:
    with store.batch_mode():
        store.load("x")[0] = -1
        store.save({"new": ROWS})
        raise ZeroDivisionError


def test_an_exception_in_the_block_loses_nothing(store):
    with pytest.raises(ZeroDivisionError):
        fail_in(store)
    assert read_anew()[0].tolist() == [-1, -1]
    assert np.array_equal(read_anew("new"), ROWS)


def test_the_inner_of_two_blocks_writes_nothing(store):
    before = commits(store)
    with store.batch_mode():
        with store.batch_mode(memory_limit=10**9):
            x = store.load("x")
            x[0] = -1
        assert commits(store) == before
        assert store.load("x") is x
        x[1] = -2
    assert commits(store) == before + 1
    assert read_anew()[:2, 0].tolist() == [-1, -2]


def test_a_close_in_the_block_writes_what_is_kept(store):
    with store.batch_mode():
        store.load("x")[0] = -1
        store.close()
    assert read_anew()[0].tolist() == [-1, -1]
    store.open()
    assert store.load("x") is not store.load("x")


@pytest.mark.parametrize("limit", [-1, -(10**9)])
def test_a_negative_limit_is_refused(store, limit):
    with pytest.raises(InvalidValueError, match="memory_limit"), store.batch_mode(limit):
        pass


# Other calls in a batch

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
def test_calls_in_the_block_see_what_was_saved(store, call):
    with store.batch_mode():
        store.save({"x": -ROWS[:3], "new": ROWS})
        assert SEEN[call](store)
        kept = store.load("x")
        kept[0] = 7
    assert read_anew()[0].tolist() == [7, 7]
    assert np.array_equal(read_anew()[1:], -ROWS[1:3])


def changed(rows: np.ndarray) -> np.ndarray:
    rows = rows.copy()
    rows[0] = -1
    return rows


CHANGED = changed(ROWS)
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
def test_changes_in_the_block_build_on_what_was_changed_before(store, change):
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
def test_what_is_only_read_never_overwrites_what_another_commits(store, change):
    call, expected = OTHERS[change]
    if expected is None:
        expected = ROWS.copy()
        expected[2] = -ROWS[0]
    with NumPack("s.npk") as other, store.batch_mode():
        store.load("x")
        call(other)
        store.load("x")
        store.load("y")[0] = -1
    assert np.array_equal(read_anew(), expected)
    assert np.array_equal(read_anew("y"), CHANGED)


def test_what_another_drops_is_not_brought_back_by_reading_it(store):
    with NumPack("s.npk") as other, store.batch_mode():
        store.load("x")
        other.drop("x")
    assert "x" not in store


# Limits of memory


@pytest.mark.parametrize("limit", [0, 1, ROWS.nbytes, 2 * ROWS.nbytes, None])
@pytest.mark.parametrize("holds", [False, True])
def test_no_change_is_lost_to_a_limit(store, limit, holds):
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
        assert np.array_equal(read_anew(name), (ROWS + number) * 2 + holds)


@pytest.mark.parametrize("limit", [0, ROWS.nbytes])
def test_an_array_that_is_changed_after_others_were_loaded_is_not_lost(store, limit):
    with store.batch_mode(memory_limit=limit):
        first, second = store.load("x"), store.load("y")
        store.load("z")
        first += 1
        second += 2
        del first, second
        gc.collect()
        store.load("z")
    assert np.array_equal(read_anew("x"), ROWS + 1)
    assert np.array_equal(read_anew("y"), ROWS + 2)


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
def test_a_view_of_what_was_written_early_still_changes_it(store, layout, limit):
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
    assert np.array_equal(read_anew(), expected)


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.zeros(3, "V0"), np.array(1.5)])
def test_arrays_of_no_bytes_are_written_early_too(store, array):
    with store.batch_mode(memory_limit=0):
        store.save({"new": array[...]})
        view = array[..., None]
        store.load("x")
        assert view.ndim
    assert read_anew("new").shape == array.shape


def test_what_exceeds_the_limit_is_written_early_and_let_go(store):
    before = commits(store)
    with store.batch_mode(memory_limit=ROWS.nbytes):
        for number in range(5):
            store.save({f"a{number}": ROWS + number})
        assert commits(store) >= before + 4
        assert len(list(Path("s.npk/data").iterdir())) >= 7
    for number in range(5):
        assert np.array_equal(read_anew(f"a{number}"), ROWS + number)


# Writes that fail


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
def test_what_could_not_be_written_is_written_later(failed, full, later):
    with pytest.raises(OSError, match="No space left"):
        LATER[later](failed)
    assert failed.is_opened
    full["full"] = False
    LATER[later](failed)
    assert np.array_equal(read_anew(), CHANGED)
    assert np.array_equal(read_anew("new"), ROWS)


@pytest.mark.parametrize("later", LATER)
def test_what_could_not_be_written_never_overwrites_what_came_after_it(failed, full, later):
    full["full"] = False
    failed.save({"x": ROWS * 2})
    failed.drop("new")
    if later != "block":
        LATER[later](failed)
    assert np.array_equal(read_anew(), ROWS * 2)
    with NumPack("s.npk") as other:
        assert "new" not in other


def test_an_append_after_a_failure_builds_on_what_is_kept(failed, full):
    full["full"] = False
    failed.append({"x": ROWS[:1], "new": ROWS[:1]})
    assert np.array_equal(read_anew(), np.concatenate([CHANGED, ROWS[:1]]))
    assert np.array_equal(read_anew("new"), np.concatenate([ROWS, ROWS[:1]]))


def test_a_reset_gives_up_what_could_not_be_written(failed, full):
    full["full"] = False
    failed.reset()
    failed.sync()
    assert list(failed) == []


def test_a_failure_to_write_early_loses_nothing(store, full):
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
    assert np.array_equal(read_anew(), CHANGED)


# Stores that cannot be written


def test_a_read_only_store_is_read_in_batches(store):
    before = contents()
    with NumPack("s.npk", mode="r") as other, other.batch_mode(memory_limit=0):
        first = other.load("x")
        assert other.load("x") is first
        assert np.array_equal(other.getitem("x", 0), ROWS[:1])
        assert other.load("y", lazy=True).shape == (6, 2)
    assert contents() == before


def test_a_save_to_a_read_only_store_is_refused_at_once(store):
    refused = pytest.raises(StoreError, match="mode='r'")
    with NumPack("s.npk", mode="r") as other, other.batch_mode(), refused:
        other.save({"new": ROWS})
    assert other.is_closed


@pytest.mark.parametrize("mode", ["batch_mode", "writable_batch_mode"])
def test_a_closed_store_has_no_batches(store, mode):
    store.close()
    refused = pytest.raises(StoreClosedError, match="not opened or has been closed")
    with refused, getattr(store, mode)():
        pass


# Writer in place


def test_what_is_written_to_a_view_is_in_the_store(store):
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
    assert np.array_equal(read_anew(), CHANGED)
    assert store.verify().unchecked == []


def test_other_arrays_are_saved(store):
    with store.writable_batch_mode() as batch:
        x = batch.load("x")
        x[0] = -1
        batch.save({"x": x, "new": ROWS})
        assert np.array_equal(store.load("new"), ROWS)
        batch.save({"y": -ROWS})
        with pytest.raises(InvalidValueError, match="arrays must be a dictionary"):
            batch.save([x])
    assert np.array_equal(read_anew(), CHANGED)
    assert np.array_equal(read_anew("y"), -ROWS)


@pytest.mark.parametrize("after", ["nothing", "drop", "save", "close", "reset"])
def test_views_stay_usable_and_are_private_after_the_block(store, after):
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
        assert np.array_equal(read_anew(), CHANGED)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (5, 0), ()])
@pytest.mark.parametrize("dtype", ["f8", "S3", "M8[s]"])
def test_any_array_is_opened(store, shape, dtype):
    store.save({"x": np.zeros(shape, dtype)})
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        assert (view.shape, view.dtype, view.flags.writeable) == (shape, np.dtype(dtype), True)
        view[...] = np.ones(shape, "i8").astype(dtype)
    assert np.array_equal(read_anew(), np.ones(shape, "i8").astype(dtype))


def test_dropped_rows_leave_the_file_first(store):
    store.drop("x", [1, 3])
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        assert view.shape == (4, 2)
        view[-1] = -1
    expected = np.delete(ROWS, [1, 3], 0)
    expected[-1] = -1
    assert np.array_equal(read_anew(), expected)


def test_what_is_absent_is_a_key_error(store):
    with store.writable_batch_mode() as batch, pytest.raises(NotFoundError, match="'nope'"):
        batch.load("nope")


def test_large_arrays_have_right_checksums_afterwards(store):
    array = np.random.default_rng(2).random(400_001)
    store.save({"x": array})
    with store.writable_batch_mode() as batch:
        batch.load("x")[::100_000] = -1
        assert store.verify().unchecked == ["x"]
    array[::100_000] = -1
    assert store.verify().blocks == 4 + 2
    assert np.array_equal(read_anew(), array)
    store.replace({"x": np.zeros(1)}, 7)
    assert store.verify().ok


def test_changes_in_the_block_are_kept(store):
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        store.append({"x": -ROWS})
        store.replace({"x": ROWS[:1] * 7}, 1)
        view[0] = -1
        assert view[1].tolist() == [7, 14]
    expected = np.concatenate([CHANGED, -ROWS])
    expected[1] = ROWS[0] * 7
    assert np.array_equal(read_anew(), expected)


def fail_in_place(store: NumPack) -> None:
    with store.writable_batch_mode() as batch:
        batch.load("x")[0] = -1
        batch.load("y")[0] = -1
        raise ZeroDivisionError


def test_an_exception_in_the_block_keeps_what_was_written(store):
    with pytest.raises(ZeroDivisionError):
        fail_in_place(store)
    assert store.verify().unchecked == []
    assert np.array_equal(read_anew(), CHANGED)
    assert np.array_equal(read_anew("y"), CHANGED)


@pytest.mark.parametrize("first", [0, 1])
def test_several_blocks_at_once_settle_with_the_last(store, first):
    with NumPack("s.npk") as other:
        blocks = [store.writable_batch_mode(), other.writable_batch_mode()]
        views = [block.__enter__().load("x") for block in blocks]
        views[0][0] = -1
        views[1][1] = -2
        blocks[first].__exit__(None, None, None)
        assert store.verify().unchecked == ["x"]
        views[1 - first][2] = -3
        views[first][3] = -4  # is private by now
        blocks[1 - first].__exit__(None, None, None)
        assert store.verify().unchecked == []
    assert read_anew()[:4, 0].tolist() == [-1, -2, -3, 7]


def test_a_store_that_is_closed_in_the_block_is_settled_by_who_verifies_next(store):
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
    assert np.array_equal(read_anew("x"), CHANGED)
    assert np.array_equal(read_anew("y"), CHANGED)
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


def test_a_process_that_dies_in_the_block_leaves_its_array_to_who_verifies_next(store):
    kill_in_block()
    with NumPack("s.npk", mode="r") as other:
        assert other.verify().unchecked == ["x"]
    assert store.verify().unchecked == []
    assert np.array_equal(read_anew(), CHANGED)


@pytest.mark.parametrize("change", ["append", "replace", "drop of rows", "clone", "update"])
def test_changes_after_a_process_died_in_the_block(store, change):
    kill_in_block()
    call, expected = CHANGES[change]
    call(store)
    assert store.verify().ok
    assert store.verify().unchecked == []
    for name, rows in expected.items():
        assert np.array_equal(read_anew(name), rows)


# Both at once


def test_what_a_batch_has_is_written_before_the_file_is_opened(store):
    with store.batch_mode():
        store.save({"new": ROWS})
        store.load("x")[0] = -1
        with store.writable_batch_mode() as batch:
            assert np.array_equal(batch.load("new"), ROWS)
            view = batch.load("x")
            assert np.array_equal(view, CHANGED)
            view[1] = -2
    assert read_anew()[:2, 0].tolist() == [-1, -2]


def test_what_a_batch_has_read_does_not_overwrite_what_is_written_in_place(store):
    with store.batch_mode():
        with store.writable_batch_mode() as batch:
            view = batch.load("x")
            store.load("x")
            view[0] = -1
        store.load("y")[0] = -1
    assert np.array_equal(read_anew(), CHANGED)
    assert np.array_equal(read_anew("y"), CHANGED)
