"""Dask arrays from a store and into one, on two worker processes."""

from __future__ import annotations

import os
import pickle
import random
import signal
import threading
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from dask.base import tokenize

from numpack import NumPack, WrongTypeError
from numpack._core.file_mapping import origin_of
from numpack.distributed.dask import from_store, to_store
from numpack.errors import (
    InvalidValueError,
    MovedError,
    NotFoundError,
    StoreNotFoundError,
    WriteEndedError,
)

ROWS = np.random.default_rng(0).random((40_000, 25))  # 8 MB
BLOCKS = (2500, 25)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "n": np.arange(100), "one": np.array(7)})
        yield opened


def staged() -> list[str]:
    return [name for name in os.listdir("s.npk/data") if name.startswith("staged-")]


def mapped_file(block: np.ndarray) -> np.ndarray:
    """Return the inode of the file that a block is mapped from."""
    return np.full((1, 1), origin_of(block.ctypes.data)[2][1])


# Reading


def test_results_are_those_of_numpy(store, client):
    x = from_store("s.npk", "x", chunks=BLOCKS)
    assert x.chunks == ((2500,) * 16, (25,))
    assert np.allclose(x.sum().compute(), ROWS.sum())
    assert np.array_equal((x * 2 + 1).max(axis=0).compute(), (ROWS * 2 + 1).max(axis=0))
    assert np.array_equal(x[5:30_000:7, 3].compute(), ROWS[5:30_000:7, 3])
    assert np.array_equal(x.compute(), ROWS)
    order = np.random.default_rng(1).permutation(len(ROWS))
    assert np.array_equal(x[order].compute(), ROWS[order])
    assert np.array_equal(x.T.rechunk((5, 9000)).compute(), ROWS.T)
    quantiles = da.percentile(x[:, 0], [50], method="linear").compute()
    assert np.allclose(quantiles, np.percentile(ROWS[:, 0], 50), atol=0.02)
    top = da.topk(x[:, 0], 10).compute()
    assert np.array_equal(top, np.sort(ROWS[:, 0])[::-1][:10])


def test_chunks_are_those_of_dask(store):
    assert from_store(store, "x").chunks == ((40_000,), (25,))
    assert from_store(store, "x", "1 MiB").chunks[1] == (25,)
    assert len(from_store(store, "x", "1 MiB").chunks[0]) > 5
    assert from_store(Path("s.npk"), "x", (20_000, 5)).numblocks == (2, 5)
    assert np.array_equal(from_store(store, "x", (20_000, 7)).compute(), ROWS)
    assert from_store(store, "one").compute() == 7
    assert store.is_opened


def test_errors_name_what_is_missing(store):
    with pytest.raises(NotFoundError, match="no array is called 'y'"):
        from_store("s.npk", "y")
    with pytest.raises(StoreNotFoundError):
        from_store("none.npk", "x")
    with pytest.raises(WrongTypeError, match="a path or a NumPack"):
        from_store(3, "x")
    assert not Path("none.npk").exists()


def test_deleted_rows_are_left_out(store, client):
    store.drop("x", [0, 7, 39_999])
    expected = np.delete(ROWS, [0, 7, 39_999], axis=0)
    assert np.array_equal(from_store(store, "x", BLOCKS).compute(), expected)


def test_array_is_that_of_one_commit(store, client):
    x = from_store(store, "n", 10)
    store.append({"n": np.arange(5)})
    store.drop("n", [3])
    assert np.array_equal(x.compute(), np.arange(100))


def test_names_depend_on_the_values(store):
    def names() -> tuple[str, str]:
        lazy = store.load("x", lazy=True)
        return from_store("s.npk", "x", BLOCKS).name, da.from_array(lazy, BLOCKS).name

    seen = [names()]
    assert names() == seen[0]
    assert from_store("s.npk", "x", (5000, 25)).name != seen[0][0]
    for change in (
        lambda: store.replace({"x": ROWS[:1]}, [5]),
        lambda: store.append({"x": ROWS[:1]}),
        lambda: store.drop("x", [9]),
        lambda: store.update("x"),
        lambda: store.save({"x": -ROWS}),
    ):
        change()
        seen.append(names())
    assert len(set(seen)) == len({name for pair in seen for name in pair}) // 2 == 6


def test_rows_that_are_replaced_later_do_not_change_the_array(store, client):
    x = from_store("s.npk", "x", BLOCKS)
    elsewhere = pickle.loads(pickle.dumps(x))
    block = x.blocks[0].compute(scheduler="synchronous")
    store.replace({"x": -ROWS[:9]}, list(range(9)))
    assert np.array_equal(store.load("x"), np.concatenate([-ROWS[:9], ROWS[9:]]))
    for each in (x, elsewhere):  # the file of the old rows is found through this process
        assert np.array_equal(each.compute(), ROWS)
        assert np.array_equal(each.compute(scheduler="threads"), ROWS)
    assert np.array_equal(block, ROWS[:2500])


def test_tasks_refuse_rows_that_were_replaced_when_nobody_held_them(store, client):
    elsewhere = pickle.dumps(from_store("s.npk", "x", BLOCKS))
    store.replace({"x": -ROWS[:1]}, [5])
    x = pickle.loads(elsewhere)
    for options in ({}, {"scheduler": "synchronous"}):
        with pytest.raises(MovedError, match="replaced in place"):
            x.compute(**options)


def test_blocks_hold_their_rows(store):
    elsewhere = pickle.loads(pickle.dumps(from_store("s.npk", "x", BLOCKS)))
    block = elsewhere.blocks[0].compute(scheduler="synchronous")
    store.replace({"x": -ROWS[:1]}, [5])
    assert np.array_equal(block, ROWS[:2500])


def test_graph_holds_references_and_no_data(store):
    lazy, threads = store.load("x", lazy=True), {"scheduler": "threads"}
    for x in (from_store("s.npk", "x", BLOCKS), da.from_array(lazy, BLOCKS)):
        assert len(pickle.dumps(x)) < 8000
        assert type(x._meta) is np.ndarray
        assert all(len(pickle.dumps(task)) < 2000 for task in dict(x.dask).values())
        block = x.blocks[3].compute(**threads)
        (found,) = set(
            x.map_blocks(mapped_file, dtype="i8").compute(**threads).ravel().tolist()
        )
        assert found == origin_of(lazy[:1].ctypes.data)[2][1]
        assert np.array_equal(block, ROWS[7500:10_000])
    assert tokenize(lazy) == tokenize(store.load("x", lazy=True))
    assert np.array_equal(da.asarray(lazy).compute(scheduler="synchronous"), ROWS)
    assert type(lazy.copy()) is np.ndarray


def anonymous_bytes() -> tuple[int, int]:
    """Return the memory of this process that no file has: of mapped data files, and all."""
    of_files, total, is_data_file = 0, 0, False
    with open("/proc/self/smaps") as file:
        for line in file:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                is_data_file = line.rstrip().endswith(".bin")
            elif words[0] == "Anonymous:":
                total += int(words[1]) << 10
                of_files += int(words[1]) << 10 if is_data_file else 0
    return of_files, total


def test_workers_map_blocks_in_place(store, client):
    store.save({"large": np.ones((1 << 21, 8))})  # 128 MiB
    large = from_store(store, "large", (1 << 17, 8))
    look = anonymous_bytes.__code__

    def measured(code) -> tuple[int, int]:
        import types

        return types.FunctionType(code, {"open": open, "int": int})()

    from_store(store, "x", BLOCKS).sum().compute()
    before = client.run(measured, look)
    assert large.sum(split_every=4).compute() == 1 << 24
    after = client.run(measured, look)
    for worker, (of_files, total) in after.items():
        assert of_files == 0
        assert total - before[worker][1] < 8 << 20


def count_mappings(block: np.ndarray) -> np.ndarray:
    """Return how many mappings of data files the worker has."""
    with open("/proc/self/maps") as maps:
        return np.full((1, 1), sum(line.endswith(".bin\n") for line in maps))


def test_blocks_are_unmapped_with_their_tasks(store, client):
    """Mapped pages count as memory of a worker, which Dask limits."""
    x = from_store(store, "x", (500, 25))
    chunks = tuple((1,) * count for count in x.numblocks)
    found = x.map_blocks(count_mappings, dtype="i8", chunks=chunks).compute()
    assert 1 <= found.min() <= found.max() <= 6  # of 80 blocks


# Writing


def test_stored_arrays_are_those_of_numpy(store, client):
    x = from_store(store, "x", BLOCKS)
    numbers = da.arange(1000, chunks=300, dtype="i4")
    for array in (
        x * 2,
        x.T,
        x.rechunk((3000, 4)),
        numbers,
        numbers[:0],
        da.ones((30, 2, 4), chunks=(7, 1, 3), dtype="f2"),
        da.from_array(np.arange(6).astype(">i2"), 4),
    ):
        to_store(array, "s.npk", "y")
        expected = array.compute()
        found = store.load("y", verify=True)
        assert found.dtype == expected.dtype.newbyteorder("<")
        assert np.array_equal(found, expected)
        assert not staged()
    assert store.verify().ok


def test_array_can_replace_the_one_that_it_is_computed_from(store, client):
    to_store(from_store(store, "x", BLOCKS) + 1, store, "x")
    assert np.array_equal(store.load("x", verify=True), ROWS + 1)


def test_store_is_created(client):
    to_store(da.ones(10, chunks=3), "new.npk", "y")
    with NumPack("new.npk", mode="r") as found:
        assert found.load("y").tolist() == [1] * 10


def test_blocks_of_unknown_sizes_are_stored(store, client):
    x = from_store(store, "x", BLOCKS)
    positive = x[x[:, 0] > 0.5]
    assert np.isnan(positive.shape[0])
    to_store(positive, store, "y")
    assert np.array_equal(store.load("y"), ROWS[ROWS[:, 0] > 0.5])
    assert np.isnan(positive.shape[0]), "the caller's array is unchanged"


def test_delayed_result_stores_once(store, client):
    result = to_store(from_store(store, "x", BLOCKS) * 3, store, "y", compute=False)
    assert "y" not in store
    with NumPack("s.npk") as other:
        other.save({"z": ROWS[:5]})
    assert result.compute() is None
    assert np.array_equal(store.load("y"), ROWS * 3)
    with pytest.raises(WriteEndedError):  # the cluster may still have the first result
        result.compute(scheduler="synchronous")


def test_options_choose_the_scheduler(store):
    to_store(from_store(store, "x", BLOCKS), store, "y", scheduler="synchronous")
    with dask.config.set(scheduler="threads"):
        to_store(from_store(store, "x", BLOCKS) + 1, store, "z")
    assert np.array_equal(store.load("z") - store.load("y"), ROWS + 1 - ROWS)


def test_what_cannot_be_stored_is_refused(store, client):
    wrong = da.ones((10, 2), chunks=5).map_blocks(lambda b: b.astype("f4"), dtype="f8")
    for array, kind, text in (
        (np.ones(3), WrongTypeError, "dask.array.Array"),
        (da.ones(()), InvalidValueError, "0-d"),
        (da.from_array(np.array([None]), 1), TypeError, "holds references"),
        (wrong, InvalidValueError, "holds float64, and the rows are float32"),
    ):
        with pytest.raises(kind, match=text):
            to_store(array, store, "y")
    assert "y" not in store
    assert not staged()


def test_failing_task_leaves_the_store_unchanged(store, client):
    def fail(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 9:
            raise ZeroDivisionError
        return block

    x = from_store(store, "x", BLOCKS).map_blocks(fail, dtype="f8", meta=ROWS[:0])
    with pytest.raises(ZeroDivisionError):
        to_store(x, store, "y")
    assert "y" not in store
    assert not staged()


# Workers that die


def test_task_of_a_killed_worker_is_run_again(store, client):
    flag = os.path.abspath("killed")

    def die_once(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 5 and not os.path.exists(flag):
            open(flag, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return block + 1

    x = from_store(store, "x", BLOCKS).map_blocks(die_once, dtype="f8", meta=ROWS[:0])
    to_store(x, store, "y")
    assert os.path.exists(flag)
    assert np.array_equal(store.load("y", verify=True), ROWS + 1)
    assert store.verify().ok


def test_task_that_kills_each_worker_leaves_the_store_unchanged(store, client):
    from distributed import KilledWorker

    def die(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    x = from_store(store, "x", BLOCKS).map_blocks(die, dtype="f8", meta=ROWS[:0])
    with pytest.raises(KilledWorker):
        to_store(x, store, "y")
    assert "y" not in store
    assert not staged()


def test_workers_killed_at_random_leave_all_or_nothing(store, client):
    from distributed import KilledWorker

    flags, pause = os.path.abspath("killed"), random.Random(6).random() * 0.3

    def die_soon(block, block_info=None):
        number = block_info[0]["chunk-location"][0]
        if number in (3, 60) and not os.path.exists(f"{flags}{number}"):
            open(f"{flags}{number}", "w").close()
            threading.Timer(pause, os.kill, [os.getpid(), signal.SIGKILL]).start()
        return block + 1

    store.save({"y": ROWS})
    x = from_store(store, "x", (250, 25)).map_blocks(die_soon, dtype="f8", meta=ROWS[:0])
    try:
        to_store(x, store, "y")
    except KilledWorker:
        expected = ROWS
    else:
        expected = ROWS + 1
    assert os.path.exists(f"{flags}3")
    assert np.array_equal(store.load("y", verify=True), expected)
    assert not staged()
    assert store.verify().ok
