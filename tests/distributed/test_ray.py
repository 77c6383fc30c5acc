"""Ray datasets from a store and into one, and tasks that map rows, on two workers."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ray
import ray.cloudpickle
import ray.data

from numpack import NumPack
from numpack._core.file_mapping import origin_of
from numpack.distributed.pieces import PieceFolder, commit_pieces, write_piece
from numpack.distributed.ray import NumPackSink, NumPackSource, _call, map_rows, read_store
from numpack.errors import (
    InvalidValueError,
    MovedError,
    NotFoundError,
    StoreNotFoundError,
    UnsupportedError,
    WrongTypeError,
)

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROWS = np.random.default_rng(0).random((20_000, 25))  # 4 MB
NUMBERS = np.arange(20_000)
IMAGES = np.arange(20_000 * 6, dtype="f4").reshape(20_000, 2, 3)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "n": NUMBERS, "image": IMAGES, "short": NUMBERS[:7]})
        yield opened


def left() -> list[str]:
    """Return the files of unfinished writes in the store."""
    names = [*os.listdir("s.npk"), *os.listdir("s.npk/data")]
    return [name for name in names if name.startswith(("pieces-", "staged-"))]


def columns(dataset) -> dict[str, np.ndarray]:
    """Return the rows of a dataset."""
    batches = list(dataset.iter_batches(batch_size=None, batch_format="numpy"))
    return {name: np.concatenate([each[name] for each in batches]) for name in batches[0]}


# Reading


def test_rows_are_those_of_the_store(store):
    dataset = read_store("s.npk", ["x", "n", "image"], override_num_blocks=6)
    assert dataset.count() == 20_000
    assert dataset.sum("n") == NUMBERS.sum()
    found = columns(dataset)
    for name, expected in (("x", ROWS), ("n", NUMBERS), ("image", IMAGES)):
        assert found[name].dtype == expected.dtype
        assert np.array_equal(found[name], expected)
    doubled = columns(dataset.map_batches(lambda batch: {"y": batch["x"] * 2}))
    assert np.array_equal(doubled["y"], ROWS * 2)
    shuffled = columns(dataset.random_shuffle(seed=1))
    assert not np.array_equal(shuffled["n"], NUMBERS)
    assert np.array_equal(shuffled["x"], ROWS[shuffled["n"]])
    assert dataset.limit(11).take_all()[10]["n"] == 10


def test_deleted_rows_are_left_out(store):
    store.drop("n", [0, 7, 19_999])
    expected = np.delete(NUMBERS, [0, 7, 19_999])
    assert np.array_equal(columns(read_store(store, "n", override_num_blocks=3))["n"], expected)
    sums = map_rows(store, "n", lambda n: int(n.sum()), rows=6000)
    assert sum(ray.get(sums)) == expected.sum()


def test_dtypes_that_ray_has_are_unchanged():
    arrays = {
        f"c{number}": np.arange(12).reshape(shape).astype(dtype)
        for number, (dtype, shape) in enumerate(
            (dtype, shape)
            for dtype in ("?", "i1", "u2", "f2", "f4", "u8", "M8[s]", "M8[D]", "m8[ns]")
            for shape in ((12,), (12, 1))
            if shape == (12,) or dtype[0] not in "Mm"
        )
    }
    with NumPack("s.npk") as opened:
        opened.save(arrays)
    found = columns(read_store("s.npk", override_num_blocks=2))
    for name, expected in arrays.items():
        assert np.array_equal(found[name], expected), expected.dtype
        assert found[name].shape == expected.shape
        if expected.dtype != "M8[D]":
            assert found[name].dtype == expected.dtype


def test_tasks_carry_references(store):
    source = NumPackSource(store, ["x", "n"])
    tasks = source.get_read_tasks(7)
    assert {task.metadata.num_rows for task in tasks} == {2857, 2858}
    assert sum(task.metadata.num_rows for task in tasks) == 20_000
    total = sum(task.metadata.size_bytes for task in tasks)
    assert source.estimate_inmemory_data_size() == total == ROWS.nbytes + NUMBERS.nbytes
    assert all(len(ray.cloudpickle.dumps(task)) < 2000 for task in tasks)
    assert len(ray.cloudpickle.dumps(source)) < 4000
    assert len(source.get_read_tasks(100_000)) == 20_000
    (block,) = pickle.loads(ray.cloudpickle.dumps(tasks[0]))()
    assert block.num_rows == tasks[0].metadata.num_rows
    assert sum(each.num_rows for each in source.get_read_tasks(1, 5)[0]()) == 5


def test_dataset_is_that_of_one_commit(store):
    dataset = read_store(store, "n", override_num_blocks=3)
    store.replace({"n": -NUMBERS[:5]}, [10, 11, 12, 13, 14])
    store.append({"n": NUMBERS[:5]})
    assert np.array_equal(columns(dataset)["n"], NUMBERS)
    assert read_store(store, "n").count() == 20_005


def test_tasks_refuse_rows_that_were_replaced_when_nobody_held_them(store):
    tasks = pickle.loads(ray.cloudpickle.dumps(NumPackSource(store, "n").get_read_tasks(2)))
    reference = pickle.dumps(store.load("n", lazy=True))
    assert _call(np.sum, reference) == NUMBERS.sum()
    gc.collect()
    store.replace({"n": -NUMBERS[:1]}, [15_000])
    for call in (lambda: list(tasks[1]()), lambda: _call(np.sum, reference)):
        with pytest.raises(MovedError, match="replaced in place"):
            call()


def test_errors_name_what_is_missing(store):
    store.save({"c": np.ones(3, "c8"), "one": np.array(7)})
    for kind, text, call in (
        (NotFoundError, "no array is called 'y'", lambda: NumPackSource("s.npk", "y")),
        (StoreNotFoundError, "none.npk", lambda: NumPackSource("none.npk", "x")),
        (WrongTypeError, "a path or a NumPack", lambda: NumPackSource(3, "x")),
        (WrongTypeError, "a path or a NumPack", lambda: NumPackSink(3, "x")),
        (
            InvalidValueError,
            "same number of rows",
            lambda: NumPackSource(store, ["x", "short"]),
        ),
        (InvalidValueError, "same number", lambda: map_rows(store, ["x", "short"], len)),
        (InvalidValueError, "there are no arrays", lambda: NumPackSource(store, [])),
        (InvalidValueError, "0-d", lambda: NumPackSource(store, "one")),
        (UnsupportedError, "no columns of complex64", lambda: NumPackSource(store, "c")),
        (WrongTypeError, "a function", lambda: map_rows(store, "x", 3)),
        (InvalidValueError, "positive int", lambda: map_rows(store, "x", len, rows=0)),
    ):
        with pytest.raises(kind, match=text):
            call()
    assert not Path("none.npk").exists()


def test_empty_array_is_a_dataset_without_rows(store):
    store.save({"e": ROWS[:0]})
    dataset = read_store(store, "e")
    assert dataset.count() == 0
    assert map_rows(store, "e", len) == []


# Rows in place


def test_map_rows_calls_a_function_with_mapped_rows(store):
    def look(x, n):
        return x.flags.writeable, x.shape, int(n[0]), origin_of(x.ctypes.data)[2][1]

    found = ray.get(map_rows(store, ["x", "n"], look, rows=6000, num_cpus=0.5))
    inode = origin_of(store.load("x", lazy=True)[:1].ctypes.data)[2][1]
    counts = [6000, 6000, 6000, 2000]
    assert found == [
        (False, (count, 25), number * 6000, inode) for number, count in enumerate(counts)
    ]
    (total,) = ray.get(map_rows("s.npk", "x", lambda x: x.sum()))
    assert np.isclose(total, ROWS.sum())


def test_map_rows_runs_a_killed_task_again(store):
    flag = os.path.abspath("killed")

    def die_once(n):
        if n[0] == 10_000 and not os.path.exists(flag):
            open(flag, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return int(n.sum())

    assert sum(ray.get(map_rows(store, "n", die_once, rows=5000))) == NUMBERS.sum()
    assert os.path.exists(flag)


# Writing


def test_stored_arrays_are_those_of_the_dataset(store):
    dataset = read_store(store, ["x", "n", "image"], override_num_blocks=5)
    for changed, column, expected in (
        (dataset, "x", ROWS),
        (dataset.select_columns("image"), None, IMAGES),
        (dataset.map_batches(lambda b: {"y": b["n"].astype("i2")}), "y", NUMBERS.astype("i2")),
        (dataset.map_batches(lambda b: {"n": b["n"][b["n"] > 15_000]}), "n", NUMBERS[15_001:]),
        (ray.data.range(10), None, np.arange(10)),
    ):
        changed.write_datasink(NumPackSink("s.npk", "y", column))
        found = store.load("y", verify=True)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
        assert not left()
    assert store.verify().ok


def test_array_can_replace_the_one_that_it_is_computed_from(store):
    read_store(store, "x").map_batches(lambda b: {"x": b["x"] + 1}).write_datasink(
        NumPackSink(store, "x")
    )
    assert np.array_equal(store.load("x", verify=True), ROWS + 1)


def test_store_is_created_and_a_sink_used_again():
    sink = NumPackSink(Path("new.npk"), "id")
    for count in (10, 20):
        ray.data.range(count).write_datasink(sink)
        with NumPack("new.npk", mode="r") as found:
            assert found.load("id").tolist() == list(range(count))


class DyingSink(NumPackSink):
    """A sink that kills the worker of each task once, when its piece is complete."""

    flags = ""

    def write(self, blocks, ctx):
        piece = super().write(blocks, ctx)
        flag = f"{self.flags}{ctx.task_idx}"
        if not os.path.exists(flag):
            open(flag, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return piece


def test_write_is_exact_when_each_task_is_run_twice(store):
    sink = DyingSink(store, "y")
    sink.flags = os.path.abspath("killed-")
    read_store(store, "x", override_num_blocks=4).write_datasink(sink)
    assert len([name for name in os.listdir() if name.startswith("killed-")]) == 4
    assert np.array_equal(store.load("y", verify=True), ROWS)
    assert not left()
    assert store.verify().ok


def test_failing_write_leaves_the_store_unchanged(store):
    def fail(batch):
        if batch["n"][0] >= 15_000:
            raise ZeroDivisionError
        return batch

    def mixed(batch):
        return {"x": batch["x"].astype("f4" if batch["n"][0] else "f8")}

    def objects(batch):
        return {"x": np.array(["a", "b"])}

    dataset = read_store(store, ["x", "n"], override_num_blocks=4)
    before = store.commit
    for function, kind, text in (
        (fail, Exception, "ZeroDivisionError"),
        (mixed, InvalidValueError, "the dtype float64, and those of task 1 float32"),
        (objects, UnsupportedError, "Python objects"),
        (lambda batch: {"n": batch["n"], "z": batch["n"]}, NotFoundError, "no column 'x'"),
        (lambda batch: {"x": batch["x"][:0]}, InvalidValueError, "no rows to store"),
    ):
        with pytest.raises(kind, match=text):
            dataset.map_batches(function, batch_size=None).write_datasink(
                NumPackSink("s.npk", "y", "x")
            )
        assert store.commit == before
        assert not left()


# Pieces


def test_only_the_given_pieces_are_committed_in_order(store):
    folder = PieceFolder(os.path.abspath("s.npk"))
    first, again, last = (
        write_piece(folder.path, task, [rows, rows[:0]])
        for task, rows in ((2, ROWS[:5]), (2, ROWS[:5]), (11, ROWS[5:9]))
    )
    assert first.path != again.path
    assert write_piece(folder.path, 3, [ROWS[:0]]) is None
    commit_pieces(store, "y", [last, again])
    assert np.array_equal(store.load("y"), ROWS[:9])
    with pytest.raises(InvalidValueError, match="shape"):
        commit_pieces(store, "y", [last, again._replace(row_shape=(24,))])
    folder.remove()
    with pytest.raises(FileNotFoundError):
        write_piece(folder.path, 4, [ROWS])
    assert not left()


def test_folder_of_a_killed_process_is_removed_by_the_next(store):
    script = """
import os, signal
from numpack.distributed.pieces import PieceFolder
folder = PieceFolder(os.path.abspath("s.npk"))
open(folder.path + "/0-0", "w").close()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -signal.SIGKILL
    assert len(left()) == 1
    assert store.verify().ok
    first = PieceFolder(os.path.abspath("s.npk"))
    second = PieceFolder(os.path.abspath("s.npk"))
    assert sorted(left()) == sorted(os.path.basename(each.path) for each in (first, second))
    second.remove()
    del first
    assert not left()
