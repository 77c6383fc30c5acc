"""`NumPack.begin`: an array that is written in parts and stored by one commit."""

from __future__ import annotations

import itertools
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each

import numpack
from numpack import NumPack, ParallelWrite
from numpack.errors import (
    IncompleteWriteError,
    IndexRangeError,
    InvalidIndexError,
    InvalidValueError,
    LockTimeoutError,
    NumpackError,
    StoreError,
    UnsupportedError,
    WriteEndedError,
    WrongTypeError,
)

BLOCK = 1 << 20
ROWS = np.arange(600_000.0).reshape(200_000, 3)  # nearly five blocks; no row begins with one
STRUCT = np.dtype([("a", "<i4"), ("b", ">f8", (2,)), ("c", "S3")])
DTYPES = ["?", "i1", "<u2", ">i4", "<f4", ">f8", "<c16", "f2", "S5", ">U3", "V3", "<M8[ns]"]
DTYPES += ["S0", STRUCT]


def staged() -> list[str]:
    return sorted(name for name in os.listdir("s.npk/data") if name.startswith("staged-"))


def reopened(plan: ParallelWrite) -> ParallelWrite:
    return pickle.loads(pickle.dumps(plan))


def raw_values(dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape)) * dtype.itemsize
    if dtype.kind == "U":
        return np.array(["ab", "é", ""] * count, dtype)[: int(np.prod(shape))].reshape(shape)
    raw = (np.arange(count) % 2).astype("u1").tobytes() or b"\0"
    return np.ndarray(shape, dtype, buffer=raw)


def test_rows_written_in_any_order_are_stored_as_save_does(store):
    cuts = [0, 7, 50_000, 50_001, 140_000, 200_000]
    parts = list(itertools.pairwise(cuts))
    with store.begin("x", ROWS.shape, ROWS.dtype) as plan:
        for number, (first, stop) in enumerate(parts[::-1]):
            (plan if number % 2 else reopened(plan))[first:stop] = ROWS[first:stop]
            assert "x" not in store
    assert np.array_equal(store.load("x", verify=True), ROWS)
    store.save({"same": ROWS})
    entries = store._handle.session.arrays()
    assert entries["x"].tail == entries["same"].tail
    files = [Path("s.npk", entries[name].checksum_file).read_bytes() for name in entries]
    assert files[0] == files[1]
    assert store.verify().ok
    assert not staged()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_stored_as_save_does(store, dtype):
    dtype = np.dtype(dtype)
    for shape in ((7, 3), (7,), (7, 0), (0, 3), (0,), (2, 1, 4)):
        values = raw_values(dtype, shape)
        with store.begin("x", shape, dtype) as plan:
            assert plan.dtype == dtype.newbyteorder("<")
            half = shape[0] // 2
            plan[half:] = values[half:]
            plan[:half] = np.asfortranarray(values[:half])
        store.save({"y": values})
        x, y = store.load("x"), store.load("y")
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
        assert store.verify().ok


def test_subarray_dtype_extends_the_shape(store):
    with store.begin("x", (2,), ("f4", (3,))) as plan:
        assert (plan.shape, plan.dtype, plan.nbytes, len(plan)) == ((2, 3), "f4", 24, 2)
        plan[:] = np.ones((2, 3), "f4")
    assert store.get_shape("x") == (2, 3)


def test_indexes_are_those_of_rows(store):
    values = np.arange(20).reshape(10, 2)
    plan = store.begin("x", values.shape, values.dtype)
    for index in (0, -1, np.int64(4), np.array(5), slice(1, 4), slice(-4, -1), slice(3, 3)):
        plan[index] = values[index]
    plan.commit()
    assert np.array_equal(store.load("x"), values)


def test_lazy_arrays_are_written(store):
    store.save({"source": ROWS[:100]})
    with store.begin("x", (100, 3), "f8") as plan:
        plan[:] = store.load("source", lazy=True)
    assert np.array_equal(store.load("x"), ROWS[:100])


REFUSED_INDEXES = {
    "step": slice(0, 4, 2),
    "reversed": slice(4, 0, -1),
    "list": [0, 1],
    "array": np.array([0, 1]),
    "mask": np.ones(10, bool),
    "bool": True,
    "numpy bool": np.True_,
    "tuple": (0, 1),
    "ellipsis": ...,
    "none": None,
    "float": 1.0,
    "str": "x",
}


@for_each("name", REFUSED_INDEXES)
def test_other_indexes_are_refused_with_the_fix(store, name):
    plan = store.begin("x", (10, 2), "f8")
    with pytest.raises(InvalidIndexError, match="write each run of consecutive rows"):
        plan[REFUSED_INDEXES[name]] = np.zeros((2, 2))


def test_wrong_values_are_refused(store):
    plan = store.begin("x", (10, 2), "f4")
    rows = np.zeros((4, 2), "f4")
    for index, values, text in (
        (slice(0, 4), rows.astype("f8"), "holds float32, and the rows are float64"),
        (slice(0, 4), rows[:, :1], "have shape"),
        (slice(0, 3), rows, "3 rows of 'x' are to be written, and 4 rows were passed"),
        (slice(8, 12), rows, "2 rows of 'x' are to be written, and 4 rows were passed"),
        (slice(0, 4), rows[0], "have shape"),
        (0, rows, "1 rows of 'x'"),
    ):
        with pytest.raises(InvalidValueError, match=text):
            plan[index] = values
    for row in (10, -11, 2**70):
        with pytest.raises(IndexRangeError, match="out of range for 10 rows"):
            plan[row] = rows[0]
    with pytest.raises(IncompleteWriteError) as raised:
        plan.commit()
    assert raised.value.missing == [(0, 10)]


@for_each(
    "arguments",
    {
        "empty name": (("", 3, "f4"), InvalidValueError),
        "name of another type": ((3, 3, "f4"), WrongTypeError),
        "0-d": (("x", (), "f4"), InvalidValueError),
        "negative extent": (("x", (3, -1), "f4"), InvalidValueError),
        "no shape": (("x", None, "f4"), WrongTypeError),
        "extent of another type": (("x", (2.0,), "f4"), WrongTypeError),
        "too many axes": (("x", (1,) * 65, "f4"), InvalidValueError),
        "too large": (("x", (2**62, 4), "f4"), InvalidValueError),
        "no dtype": (("x", 3, "nonsense"), WrongTypeError),
        "objects": (("x", 3, object), UnsupportedError),
        "long doubles": (("x", 3, np.longdouble), UnsupportedError),
    }.values(),
    ids=str,
)
def test_begin_refuses_what_cannot_be_stored(store, arguments):
    given, kind = arguments
    with pytest.raises(kind):
        store.begin(*given)
    assert not staged()


def test_incomplete_write_names_missing_rows_and_can_be_completed(store):
    plan = store.begin("x", 30, "i4")
    for first in range(0, 30, 4):
        plan[first : first + 2] = np.arange(first, first + 2, dtype="i4")
    with pytest.raises(IncompleteWriteError, match="14 of 30 rows of 'x'.* 2:4, 6:8") as raised:
        plan.commit()
    assert "2 more ranges" in str(raised.value)
    assert raised.value.missing == [(first, first + 2) for first in range(2, 30, 4)]
    copied = pickle.loads(pickle.dumps(raised.value))
    assert (str(copied), copied.missing) == (str(raised.value), raised.value.missing)
    assert list(store) == []
    for first, stop in raised.value.missing:
        plan[first:stop] = np.arange(first, stop, dtype="i4")
    plan.commit()
    assert np.array_equal(store.load("x"), np.arange(30))


def test_rows_that_were_written_twice_have_the_last_values(store):
    with store.begin("x", ROWS.shape, "f8") as plan:
        plan[:] = -ROWS
        plan[100_000:150_000] = ROWS[100_000:150_000]
        plan[:120_000] = ROWS[:120_000]
        plan[140_000:] = ROWS[140_000:]
    assert np.array_equal(store.load("x", verify=True), ROWS)


def test_failed_write_leaves_its_rows_missing(store):
    plan = store.begin("x", 10, "f8")
    plan[:] = np.zeros(10)
    data = plan._opener.current.data

    class Stopped(Exception):
        pass

    def chunks():
        yield np.ones(16, "u1")
        raise Stopped

    with pytest.raises(Stopped):
        plan._opener.current.write(3, 7, 8, chunks())
    with pytest.raises(IncompleteWriteError) as raised:
        plan.commit()
    assert raised.value.missing == [(3, 7)]
    assert plan._opener.current.data == data
    plan[3:7] = np.zeros(4)
    plan.commit()
    assert store.verify().ok
    assert not store.load("x").any()


def test_array_of_the_same_name_is_replaced_by_the_commit(store):
    store.save({"x": np.arange(3), "y": np.arange(2)})
    lazy = store.load("x", lazy=True)
    plan = store.begin("x", 4, "f8")
    plan[:] = np.ones(4)
    assert np.array_equal(store.load("x"), np.arange(3))
    plan.commit()
    assert np.array_equal(store.load("x"), np.ones(4))
    assert np.array_equal(lazy, np.arange(3))
    assert len(os.listdir("s.npk/data")) == 2


def test_attributes_stay_with_the_name(store):
    store.save({"x": np.arange(3)})
    store.attrs["x"]["unit"] = "m"
    with store.begin("x", 4, "i8") as plan:
        plan[:] = np.arange(4)
        store.attrs["x"]["dims"] = ["t"]
    assert store.attrs["x"] == {"unit": "m", "dims": ["t"]}
    with store.begin("y", 4, "i8") as plan:
        plan[:] = np.arange(4)
    assert not store.attrs["y"]


def test_other_commits_in_between_are_kept(store):
    store.save({"x": np.arange(3), "y": np.arange(2), "z": np.arange(4)})
    plan = store.begin("x", ROWS.shape, "f8")
    plan[: len(ROWS) // 2] = ROWS[: len(ROWS) // 2]
    with NumPack("s.npk") as other:
        other.append({"y": np.arange(2)})
        other.replace({"z": np.array([9])}, [0])
        other.save({"new": ROWS, "x": np.arange(5)})
        other.drop("z", [1])
        other.update("z")
    plan[len(ROWS) // 2 :] = ROWS[len(ROWS) // 2 :]
    plan.commit()
    assert np.array_equal(store.load("x", verify=True), ROWS)
    assert np.array_equal(store.load("z"), [9, 2, 3])
    assert np.array_equal(store.load("y"), [0, 1, 0, 1])
    assert np.array_equal(store.load("new", verify=True), ROWS)


def test_with_statement_commits_or_aborts(store):
    plan = store.begin("x", 3, "f4")

    def fail() -> None:
        with plan:
            plan[:] = np.ones(3, "f4")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert repr(plan) == "ParallelWrite('x', float32, shape=(3,), aborted)"
    with store.begin("y", 3, "f4") as plan:
        plan[:] = np.ones(3, "f4")
        assert repr(plan).endswith("open)")
        assert repr(reopened(plan)).endswith("not opened here)")
        plan.commit()
    assert repr(plan).endswith("committed)")
    with store.begin("z", 3, "f4") as plan:
        plan.abort()
    with pytest.raises(IncompleteWriteError), store.begin("z", 3, "f4") as plan:
        pass
    plan.abort()
    assert list(store) == ["y"]
    assert not staged()


def test_ended_write_refuses_every_copy(store):
    for end in (ParallelWrite.commit, ParallelWrite.abort):
        plan = store.begin("x", 3, "f4")
        plan[:] = np.ones(3, "f4")
        opened, unopened = reopened(plan), reopened(plan)
        opened[0] = np.float32(1)
        end(plan)
        for each in (plan, opened, unopened):
            for use in (
                lambda p: p.__setitem__(slice(None), np.ones(3, "f4")),
                lambda p: p.__setitem__(slice(0, 0), np.ones(0, "f4")),
                ParallelWrite.commit,
            ):
                with pytest.raises(WriteEndedError, match="committed or aborted") as raised:
                    use(each)
                assert raised.value.reason == "ended"
            each.abort()
            assert "open)" not in repr(each)
        assert pickle.loads(pickle.dumps(raised.value)).reason == "ended"
    assert store.load("x").tolist() == [1, 1, 1]


def test_read_only_and_closed_stores_refuse_to_begin(store):
    with NumPack("s.npk", mode="r") as reader, pytest.raises(StoreError, match="mode='r'"):
        reader.begin("x", 3, "f4")
    with pytest.raises(numpack.StoreClosedError):
        NumPack("s.npk").begin("x", 3, "f4")


def test_write_outlives_the_handle_that_began_it(store):
    plan = store.begin("x", 3, "i8")
    store.close()
    plan[:] = np.arange(3)
    plan.commit()
    store.open()
    assert np.array_equal(store.load("x"), np.arange(3))


def test_write_follows_a_store_that_is_moved(store):
    plan = store.begin("x", 3, "i8")
    os.rename("s.npk", "moved.npk")
    reopened(plan)[:2] = np.arange(2)
    plan[2] = np.int64(2)
    plan.commit()
    with NumPack("moved.npk") as moved:
        assert np.array_equal(moved.load("x"), np.arange(3))


def test_pickle_is_small_and_refers_to_the_array(store):
    plan = store.begin("x" * 50, (10**9, 3), STRUCT)
    data = pickle.dumps(plan)
    assert len(data) < 1024
    again = pickle.loads(data)
    assert (again.name, again.shape, again.dtype) == (plan.name, plan.shape, plan.dtype)
    assert again.path == plan.path == os.path.abspath("s.npk")
    assert pickle.dumps(again) == data
    plan.abort()


def test_threads_write_at_the_same_time(store):
    plan = store.begin("x", ROWS.shape, "f8")
    errors = []

    def work(me: int) -> None:
        try:
            for first in range(me * 1000, len(ROWS), 4000):
                plan[first : first + 1000] = ROWS[first : first + 1000]
        except NumpackError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    plan.commit()
    assert np.array_equal(store.load("x", verify=True), ROWS)


def test_commit_waits_for_writes_in_progress(store):
    with NumPack("s.npk", lock_timeout=0.1) as hasty:
        plan = hasty.begin("x", 3, "i8")
    plan[:] = np.arange(3)
    with reopened(plan)._opener.open().locked(exclusive=False):
        for end in (plan.commit, plan.abort):
            with pytest.raises(LockTimeoutError, match="locked after 0.1 s"):
                end()
    with NumPack("s.npk") as other, other._handle.write_transaction():
        done = []
        thread = threading.Thread(target=lambda: done.append(_raised(plan.commit)))
        thread.start()
        thread.join()
        assert isinstance(done[0], LockTimeoutError)
    plan.commit()
    assert np.array_equal(store.load("x"), np.arange(3))


def _raised(call) -> BaseException | None:
    try:
        call()
    except BaseException as error:
        return error
    return None


def test_call_within_a_write_is_refused(store):
    plan = store.begin("x", 3, "i8")
    errors = []

    def chunks():
        errors.append(_raised(plan.commit))
        errors.append(_raised(plan.abort))
        yield np.zeros(24, "u1")

    plan._opener.open().write(0, 3, 8, chunks())
    assert [type(error) for error in errors] == [StoreError, StoreError]
    assert all("already" in str(error) for error in errors)
    plan.commit()
