"""Pickles and tokens of lazy arrays and stores: small, and never of other rows."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import numpack0_store

from numpack import ConflictError, LazyArray, MovedError, NotFoundError, NumPack, StoreError
from numpack.errors import StoreNotFoundError

ROWS = np.arange(24.0).reshape(8, 3)
LARGE = np.arange(400_000.0)  # several blocks


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "large": LARGE, "one": np.arange(4)})
        yield opened


def roundtrip(lazy: LazyArray) -> LazyArray:
    return pickle.loads(pickle.dumps(lazy))


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


# Sizes and rows of pickles


def test_pickle_is_small_for_any_rows(store):
    store.save({"n" * 100_000: ROWS, "wide": np.zeros((2, 2, 2, 2), "c16")})
    store.drop("large", np.arange(0, 400_000, 2))
    for name in store:
        lazy = store.load(name, lazy=True)
        for part in (lazy, lazy.rows(1, 2), lazy.rows(1), lazy.rows(5, 3)):
            assert len(pickle.dumps(part)) <= 1024
            assert np.array_equal(roundtrip(part), part)
            assert roundtrip(part).shape == part.shape
            assert roundtrip(roundtrip(part)).dtype == part.dtype


def test_rows_agree_with_slices(store):
    dropped = np.delete(np.arange(24.0).reshape(8, 3), [0, 2, 3, 6], 0)
    store.append({"x": ROWS})
    store.drop("x", [0, 2, 3, 6])
    lazy, whole = store.load("x", lazy=True), np.concatenate([dropped, ROWS])
    for start in (None, *range(-14, 15)):
        for stop in (None, *range(-14, 15)):
            part = lazy.rows(start, stop)
            assert isinstance(part, LazyArray)
            assert np.array_equal(part, whole[start:stop])
    part = lazy.rows(1, 11).rows(2, -1)
    assert np.array_equal(part, whole[1:11][2:-1])
    assert np.array_equal(roundtrip(part), part)
    assert np.array_equal(roundtrip(part).rows(1, 3), part[1:3])


def test_pickle_keeps_the_rows_of_its_time(store):
    store.drop("x", [1])
    lazy = store.load("x", lazy=True)
    before, data = np.array(lazy), pickle.dumps(lazy)
    store.drop("x", [0, 2])
    store.append({"x": ROWS})
    assert np.array_equal(pickle.loads(data), before)
    assert np.array_equal(roundtrip(lazy), before)


def test_replace_is_visible_in_an_unpickled_array(store):
    lazy = store.load("x", lazy=True)
    data = pickle.dumps(lazy)
    store.replace({"x": -ROWS[:1]}, 0)
    for found in (pickle.loads(data), roundtrip(lazy), lazy):
        assert np.array_equal(found[0], -ROWS[0])


@pytest.mark.parametrize("change", ["save", "drop", "update", "reset", "removed"])
def test_pickle_of_a_removed_file_works_while_its_process_maps_it(store, change):
    store.drop("x", [1])
    lazy, large = store.load("x", lazy=True), store.load("large", lazy=True)
    expected, data = np.array(lazy), [pickle.dumps(each) for each in (lazy, large)]
    {
        "save": lambda: store.save({"x": ROWS, "large": LARGE[:3]}),
        "drop": lambda: store.drop(["x", "large"]),
        "update": lambda: (store.update("x"), store.drop("large")),
        "reset": store.reset,
        "removed": lambda: shutil.rmtree("s.npk"),
    }[change]()
    assert np.array_equal(pickle.loads(data[0]), expected)
    assert in_another_process(data[1]) == str(LARGE.sum())
    assert np.array_equal(roundtrip(lazy), expected)
    del lazy, large
    store.close()
    gc.collect()
    reason = {"save": "saved anew", "removed": "missing"}.get(change, "dropped")
    with pytest.raises(MovedError) as raised:
        pickle.loads(data[1])
    assert raised.value.reason == reason
    assert isinstance(raised.value, StoreError)
    assert not os.path.exists("s.npk") or change != "removed"


def test_pickle_of_a_dropped_array(store):
    lazy = store.load("x", lazy=True)
    store.drop("x")
    assert np.array_equal(roundtrip(lazy), ROWS)
    assert np.array_equal(roundtrip(lazy.rows(2, 4)), ROWS[2:4])


def test_pickling_leaks_no_descriptors(store):
    data = pickle.dumps(store.load("x", lazy=True))
    roundtrip(store.load("x", lazy=True))
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    for _ in range(50):
        lazy = roundtrip(pickle.loads(data))
        lazy.__dask_tokenize__()
    del lazy
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before


# Other stores and copies


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


# Tokens


def test_token_changes_with_the_values(store):
    lazy = store.load("large", lazy=True)
    seen = []

    def new_token() -> bool:
        tokens = [
            lazy.__dask_tokenize__(),
            store.load("large", lazy=True).__dask_tokenize__(),
            roundtrip(store.load("large", lazy=True)).__dask_tokenize__(),
        ]
        assert tokens[1] == tokens[2]
        is_new = tokens[1] not in seen
        seen.extend(tokens)
        return is_new

    assert new_token()
    assert not new_token()
    store.append({"one": np.arange(2)})
    assert not new_token()
    before = lazy.__dask_tokenize__(), pickle.dumps(lazy)
    store.replace({"large": -LARGE[:1]}, 5)
    assert lazy.__dask_tokenize__() != before[0]
    assert pickle.dumps(lazy) != before[1]
    assert new_token()
    for change in (
        lambda: store.append({"large": LARGE[:1]}),
        lambda: store.drop("large", 7),
        lambda: store.drop("large", 7),
        lambda: store.update("large"),
        lambda: store.save({"large": LARGE}),
    ):
        change()
        assert new_token()
    rows = store.load("large", lazy=True)
    tokens = {rows.rows(0, stop).__dask_tokenize__() for stop in (1, 2, 3, None)}
    assert len(tokens) == 4


def test_token_does_not_depend_on_the_open_store(store):
    lazy = store.load("large", lazy=True)
    token = lazy.__dask_tokenize__()
    store.close()
    assert lazy.__dask_tokenize__() == token
    store.open()
    store.drop("large")
    assert lazy.__dask_tokenize__() == token


def test_token_is_unique_while_an_array_is_written_in_place(store):
    lazy = store.load("x", lazy=True)
    before = lazy.__dask_tokenize__()
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        tokens = {lazy.__dask_tokenize__() for _ in range(3)}
        tokens |= {store.load("x", lazy=True).__dask_tokenize__() for _ in range(3)}
        assert len(tokens | {before}) == 7
        assert pickle.dumps(lazy) != pickle.dumps(lazy)
        assert np.array_equal(roundtrip(lazy), ROWS)
        view[0] = -1
        assert np.array_equal(roundtrip(lazy)[0], [-1, -1, -1])
    assert lazy.__dask_tokenize__() not in {*tokens, before}


# Copies


def test_deepcopy_owns_its_memory(store):
    lazy = store.load("x", lazy=True)
    deep, shallow = copy.deepcopy({"x": [lazy, lazy.rows(1, 3)]})["x"], copy.copy(lazy)
    store.replace({"x": -ROWS}, slice(None))
    assert np.array_equal(deep[0], ROWS)
    assert np.array_equal(deep[1], ROWS[1:3])
    assert np.array_equal(shallow, -ROWS)
    assert isinstance(deep[0], LazyArray)
    assert not np.asarray(deep[0]).flags.writeable
    assert np.array_equal(roundtrip(deep[0]), ROWS)


@pytest.mark.parametrize("dtype", ["u1", "i8", "S3", "M8[s]", "c16", "?"])
def test_bytes_of_a_lazy_array(store, dtype):
    rows = np.arange(6).reshape(3, 2).astype("i8").astype(dtype)
    store.save({"x": rows})
    assert bytes(store.load("x", lazy=True)) == rows.tobytes()
    store.drop("x", 1)
    assert bytes(store.load("x", lazy=True)) == rows[[0, 2]].tobytes()
    assert bytes(store.load("x", lazy=True).rows(1)) == rows[2:].tobytes()


# Pickled stores


class Features(NumPack):
    """A subclass with its own attributes and constructor."""

    def __init__(self, path: str, label: str) -> None:
        super().__init__(path)
        self.label = label


@pytest.mark.parametrize("mode", ["a", "r", "r+", "w", "x"])
def test_pickled_store_opens_the_same_store_or_raises(mode):
    if mode in ("r", "r+"):
        with NumPack("s.npk") as opened:
            opened.save({"x": ROWS})
    store = NumPack("s.npk", mode=mode)
    store.open()
    if mode != "r":
        store.save({"x": ROWS})
    data = pickle.dumps(store)
    with pickle.loads(data) as other, copy.copy(store) as third:
        assert np.array_equal(other["x"], ROWS)
        assert np.array_equal(third["x"], ROWS)
        if mode == "r":
            with pytest.raises(StoreError, match="mode='r'"):
                other.save({"y": ROWS})
        else:
            other.save({"y": ROWS})
    os.rename("s.npk", "moved.npk")
    assert reason_of(data) == "missing"
    assert not os.path.exists("s.npk")
    with NumPack("s.npk") as another:
        another.save({"x": ROWS})
    assert reason_of(data) == "another store"
    store.close()


def test_pickled_store_refuses_an_older_copy():
    with NumPack("s.npk") as store:
        store.save({"x": ROWS})
        shutil.copytree("s.npk", "copy.npk")
        store.save({"y": ROWS})
        data = pickle.dumps(store)
    shutil.rmtree("s.npk")
    os.rename("copy.npk", "s.npk")
    assert reason_of(data) == "another copy"


def test_pickle_of_a_closed_store_does_not_create_it():
    closed = pickle.loads(pickle.dumps(NumPack("s.npk")))
    assert closed.is_closed
    with pytest.raises(StoreNotFoundError):
        closed.open()
    assert not os.path.exists("s.npk")


def test_pickle_keeps_the_subclass(store):
    features = Features("s.npk", "train")
    features.open()
    for other in (pickle.loads(pickle.dumps(features)), copy.copy(features)):
        assert (type(other), other.label, other["one"].tolist()) == (
            Features,
            "train",
            [0, 1, 2, 3],
        )
        other.close()
    features.close()


def test_pickling_writes_pending_changes_of_a_batch(store):
    with store.batch_mode():
        store.save({"new": ROWS})
        store.load("x")[0] = -1
        with pickle.loads(pickle.dumps(store)) as other:
            assert np.array_equal(other["new"], ROWS)
            assert other["x"][0].tolist() == [-1, -1, -1]
    assert store["x"][0].tolist() == [-1, -1, -1]


def test_errors_can_be_pickled(store):
    store.save({f"name {number}": np.array(number) for number in range(100)})
    with pytest.raises(NotFoundError) as raised:
        store.load("nam 17")
    assert "'name 17'" in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    conflict = pickle.loads(pickle.dumps(ConflictError("text", {"x": ROWS})))
    assert np.array_equal(conflict.arrays["x"], ROWS)
