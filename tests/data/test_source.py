"""The arrays that batches are taken from: lookup, snapshots, pickles."""

from __future__ import annotations

import copy
import gc
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each

import numpack
from numpack import Loader, NumPack
from numpack.data.source import Source, common_length

X, Y = np.arange(12.0).reshape(6, 2), np.arange(6)


@pytest.fixture
def path():
    with NumPack("s.npk") as npk:
        npk.save({"x": X, "y": Y, "scalar": np.array(3.0)})
    return Path.cwd() / "s.npk"


def equal(found, expected):
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], expected[name]) for name in expected
    )


@for_each("kind", [str, Path])
def test_path_is_opened_for_reading(path, kind):
    source = Source(kind(path), ["y", "x"])
    assert source.names == ("y", "x")
    assert not source.is_single
    assert equal(source.snapshot(), {"y": Y, "x": X})


def test_open_store_is_not_closed(path):
    with NumPack(path) as npk:
        source = Source(npk, "x")
        assert source.is_single
        source.close()
        del source
        gc.collect()
        assert npk.is_opened
        assert np.array_equal(npk.load("x"), X)


def test_deep_copies_have_the_same_arrays(path):
    source = Source({"x": X, "lazy": Source(path, "x").snapshot()["x"]})
    copied = copy.deepcopy(source)
    assert copied.names == source.names
    assert all(copied.held()[name] is array for name, array in source.held().items())
    other = copy.deepcopy(Source(path, "x"))
    with NumPack(path) as npk:
        npk.append({"x": X})
    assert len(other.snapshot()["x"]) == 2 * len(X)


def test_own_store_is_closed(path):
    before = len(os.listdir("/dev/fd"))
    source = Source(path, "x")
    kept = source.snapshot()["x"]
    source.close()
    assert source.snapshot()["x"] is kept
    del source
    gc.collect()
    assert np.array_equal(kept, X)
    del kept
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before


def test_failed_construction_closes_its_store(path):
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        with pytest.raises(numpack.NotFoundError):
            Source(path, "z")
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before


def test_names_default_to_all_arrays_of_a_mapping():
    source = Source({"b": X, "a": Y})
    assert source.names == ("b", "a")
    assert equal(source.snapshot(), {"b": X, "a": Y})


def test_arrays_of_a_mapping_are_viewed():
    np.save("x.npy", X)
    memmap = np.load("x.npy", mmap_mode="r")
    readable = bytearray(Y.tobytes())
    found = Source({"array": X, "memmap": memmap, "buffer": memoryview(readable)}).snapshot()
    assert found["array"] is X
    assert type(found["memmap"]) is np.ndarray
    assert np.shares_memory(found["memmap"], memmap)
    assert np.shares_memory(found["buffer"], np.frombuffer(readable, "u1"))


def test_lazy_arrays_stay_lazy(path):
    with NumPack(path) as npk:
        lazy = npk.load("x", lazy=True)
    assert Source({"x": lazy}).snapshot()["x"] is lazy


def test_snapshot_sees_commits_and_earlier_ones_do_not_change(path):
    with NumPack(path) as npk:
        source = Source(npk, "y")
        first = source.snapshot()
        npk.append({"y": np.array([6])})
        npk.drop("y", 0)
        second = source.snapshot()
    assert np.array_equal(first["y"], Y)
    assert np.array_equal(second["y"], [1, 2, 3, 4, 5, 6])


def test_pickle_has_the_rows_of_the_last_snapshot(path):
    with NumPack(path) as npk:
        source = Source(npk, ["y"])
        npk.append({"y": np.array([6])})
        again = pickle.loads(pickle.dumps(source))
        assert equal(again.snapshot(), {"y": Y})
        source.snapshot()
        newer = pickle.loads(pickle.dumps(source))
    assert len(newer.snapshot()["y"]) == 7
    assert newer.names == ("y",)
    assert not newer.is_single
    newer.close()  # nothing to close


def test_forked_process_keeps_the_arrays_of_its_parent(path):
    with NumPack(path) as npk:
        source = Source(npk, ["y"])
        npk.append({"y": np.array([6])})
        child = os.fork()
        if not child:
            os._exit(len(source.snapshot()["y"]))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
        assert len(source.snapshot()["y"]) == 7


@for_each(
    ("source", "names", "error", "text"),
    [
        (
            3,
            None,
            numpack.WrongTypeError,
            "Dataset expects the path or URL of a store, a NumPack",
        ),
        ({}, None, numpack.InvalidValueError, "at least one array"),
        ({"x": X}, [], numpack.InvalidValueError, "at least one array"),
        ({"x": X}, ["x", "x"], numpack.InvalidValueError, "twice"),
        ({"x": X}, "z", numpack.NotFoundError, "no array 'z'; there are 'x'"),
        ({"x": X}, 3, numpack.WrongTypeError, "a str, or a list of them, got int"),
        ({"x": X}, [3], numpack.WrongTypeError, "names that are str, got int"),
        ({3: X}, None, numpack.WrongTypeError, "names that are str, got int"),
        ({"x": np.array(1.0)}, None, numpack.InvalidValueError, "'x' is 0-d"),
        ({"x": [1, 2]}, None, numpack.WrongTypeError, "'x' is none: share"),
        ({"x": object()}, None, numpack.WrongTypeError, "'x' is none: share"),
        ("missing.npk", None, numpack.StoreNotFoundError, "missing.npk"),
    ],
)
def test_refused(source, names, error, text):
    with pytest.raises(error) as caught:
        Source(source, names, what="Dataset")
    assert text in str(caught.value)


def test_scalars_of_a_store_are_refused_by_name(path):
    with pytest.raises(numpack.InvalidValueError, match="'scalar' is 0-d"):
        Source(path)


def test_closed_store_is_refused(path):
    npk = NumPack(path)
    with pytest.raises(numpack.StoreClosedError):
        Source(npk)


def test_common_length_names_the_arrays():
    assert common_length({"x": X, "y": Y}, "Dataset") == 6
    with pytest.raises(numpack.InvalidValueError) as caught:
        common_length({"x": X, "y": np.zeros(1234)}, "Dataset")
    assert "'x' has 6, 'y' has 1,234" in str(caught.value)


def test_all_ranks_read_the_commit_that_is_passed():
    """A store that others append to between the ranks' openings has the same rows for all."""
    with NumPack("s.npk") as store:
        store.save({"x": np.arange(100)})
        commit = store.commit
        seen = []
        for rank in range(2):
            with NumPack("s.npk", at=commit) as past:
                options = {"batch_size": 10, "seed": 3, "target": "numpy"}
                loader = Loader(past, "x", rank=rank, world_size=2, **options)
                for _ in range(2):
                    store.append({"x": np.arange(1000)})
                    seen += list(loader)
                workers = pickle.loads(pickle.dumps(loader))
                assert len(workers) == 5
        assert np.array_equal(np.sort(np.concatenate(seen)), np.repeat(np.arange(100), 2))
