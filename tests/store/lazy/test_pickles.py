"""Pickles and copies of lazy arrays: small, and never of other rows."""

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
from support.each import for_each
from support.memory import address, shares_pages

from numpack import LazyArray, MovedError, NumPack, StoreError

ROWS = np.arange(24.0).reshape(8, 3)
LARGE = np.arange(400_000.0)  # several blocks
SHAPES = [(6, 2), (6,), (2, 3, 4), (1,), (), (0,), (0, 3), (3, 0)]


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "large": LARGE, "one": np.arange(4)})
    return store


def mapped(store: NumPack, array: np.ndarray) -> LazyArray:
    """Save an array and return it mapped."""
    store.save({"mapped": array})
    return store.load("mapped", lazy=True)


def roundtrip(lazy: LazyArray) -> LazyArray:
    return pickle.loads(pickle.dumps(lazy))


@for_each("dtype", ["i8", "f4", "M8[ns]"])
def test_pickle_is_small_and_maps_the_same_file(store, dtype):
    array = np.arange(100_000).astype(dtype)
    lazy = mapped(store, array)
    pickled = pickle.dumps(lazy)
    assert len(pickled) < 500 + len(str(Path.cwd()))
    again = pickle.loads(pickled)
    assert type(again) is LazyArray
    assert np.array_equal(again, array)
    assert shares_pages(address(np.asarray(again)), address(np.asarray(lazy)))


@for_each("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@for_each("shape", SHAPES)
def test_pickle_any_shape_with_every_protocol(store, shape, protocol):
    array = np.zeros(shape, [("a", "i4"), ("b", "S2")])
    again = pickle.loads(pickle.dumps(mapped(store, array), protocol))
    assert (again.shape, again.dtype) == (array.shape, array.dtype)
    assert np.array_equal(again, array)


def test_unpickle_in_another_process_and_working_directory(filled, run_python):
    script = """
import os, pickle, sys
import numpy as np
os.chdir("elsewhere")
lazy = pickle.loads(bytes.fromhex(sys.argv[1]))
array = np.asarray(lazy)
print(type(lazy).__name__, lazy.shape, lazy.dtype, array.sum(), array.flags.writeable)
"""
    Path("elsewhere").mkdir()
    pickled = pickle.dumps(filled.load("x", lazy=True)).hex()
    expected = f"LazyArray (8, 3) float64 {ROWS.sum()} False\n"
    assert run_python(script, pickled) == expected
    filled.append({"x": ROWS})
    filled.close()
    assert run_python(script, pickled) == expected


DROPPED = {
    "none": [],
    "first": [0],
    "last": [-1],
    "both ends": [0, 1, -1],
    "middle": [2],
    "several": [1, 3, 4],
    "first and middle": [0, 2],
    "all": slice(None),
}


def test_pickle_keeps_the_rows_of_its_time(store, run_python):
    """The rows that were deleted before stay so; later changes are not seen."""
    pickles, sums = [], []
    for hole, dropped in DROPPED.items():
        store.save({hole: ROWS})
        store.drop(hole, dropped)
        lazy, left = store.load(hole, lazy=True), np.delete(ROWS, dropped, 0)
        pickles.append(pickle.dumps(lazy).hex())
        sums.append(left.sum())
        store.append({hole: ROWS})
        store.drop(hole, [0, 2])
        again = [pickle.loads(bytes.fromhex(pickles[-1])), roundtrip(lazy)]
        for found in (*again, copy.copy(lazy), copy.deepcopy(lazy)):
            assert type(found) is LazyArray, hole
            assert found.shape == left.shape, hole
            assert np.array_equal(found, left), hole
    script = """
import pickle, sys
for each in sys.argv[1:]:
    print(pickle.loads(bytes.fromhex(each)).reshape(-1).sum())
"""
    assert list(map(float, run_python(script, *pickles).split())) == sums


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


def test_pickle_is_small_for_any_rows(filled):
    filled.save({"n" * 100_000: ROWS, "wide": np.zeros((2, 2, 2, 2), "c16")})
    filled.drop("large", np.arange(0, 400_000, 2))
    for name in filled:
        lazy = filled.load(name, lazy=True)
        for part in (lazy, lazy.rows(1, 2), lazy.rows(1), lazy.rows(5, 3)):
            assert len(pickle.dumps(part)) <= 1024
            assert np.array_equal(roundtrip(part), part)
            assert roundtrip(part).shape == part.shape
            assert roundtrip(roundtrip(part)).dtype == part.dtype


def test_rows_agree_with_slices(filled):
    dropped = np.delete(np.arange(24.0).reshape(8, 3), [0, 2, 3, 6], 0)
    filled.append({"x": ROWS})
    filled.drop("x", [0, 2, 3, 6])
    lazy, whole = filled.load("x", lazy=True), np.concatenate([dropped, ROWS])
    for start in (None, *range(-14, 15)):
        for stop in (None, *range(-14, 15)):
            part = lazy.rows(start, stop)
            assert isinstance(part, LazyArray)
            assert np.array_equal(part, whole[start:stop])
    part = lazy.rows(1, 11).rows(2, -1)
    assert np.array_equal(part, whole[1:11][2:-1])
    assert np.array_equal(roundtrip(part), part)
    assert np.array_equal(roundtrip(part).rows(1, 3), part[1:3])


def test_replace_is_visible_in_an_unpickled_array(filled):
    lazy = filled.load("x", lazy=True)
    data = pickle.dumps(lazy)
    filled.replace({"x": -ROWS[:1]}, 0)
    for found in (pickle.loads(data), roundtrip(lazy), lazy):
        assert np.array_equal(found[0], -ROWS[0])


@pytest.mark.parametrize(
    "change", ["save", "drop", "update", "reset", "drop_if_exists", "removed"]
)
def test_pickle_of_a_removed_file_works_while_its_process_maps_it(filled, change):
    filled.drop("x", [1])
    lazy, large = filled.load("x", lazy=True), filled.load("large", lazy=True)
    expected, data = np.array(lazy), [pickle.dumps(each) for each in (lazy, large)]
    {
        "save": lambda: filled.save({"x": ROWS, "large": LARGE[:3]}),
        "drop": lambda: filled.drop(["x", "large"]),
        "update": lambda: (filled.update("x"), filled.drop("large")),
        "reset": filled.reset,
        "drop_if_exists": NumPack("s.npk", drop_if_exists=True).open,
        "removed": lambda: shutil.rmtree("s.npk"),
    }[change]()
    if change != "removed":
        filled.save({"x": -ROWS, "y": -ROWS})
    assert np.array_equal(pickle.loads(data[0]), expected)
    for again in (copy.copy(lazy), copy.deepcopy(lazy)):
        assert np.array_equal(again, expected)
    assert np.array_equal(roundtrip(lazy.rows(2, 4)), expected[2:4])
    assert in_another_process(data[1]) == str(LARGE.sum())
    assert np.array_equal(roundtrip(lazy), expected)
    del lazy, large
    filled.close()
    gc.collect()
    reasons = {
        "save": "saved anew",
        "removed": "missing",
        "drop_if_exists": "another store",
    }
    with pytest.raises(MovedError) as raised:
        pickle.loads(data[1])
    assert raised.value.reason == reasons.get(change, "dropped")
    assert isinstance(raised.value, StoreError)
    assert not os.path.exists("s.npk") or change != "removed"


def test_pickling_leaks_no_descriptors(filled):
    data = pickle.dumps(filled.load("x", lazy=True))
    roundtrip(filled.load("x", lazy=True))
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    for _ in range(50):
        lazy = roundtrip(pickle.loads(data))
        lazy.__dask_tokenize__()
    del lazy
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before


def test_deepcopy_owns_its_memory(filled):
    lazy = filled.load("x", lazy=True)
    deep, shallow = copy.deepcopy({"x": [lazy, lazy.rows(1, 3)]})["x"], copy.copy(lazy)
    filled.replace({"x": -ROWS}, slice(None))
    assert np.array_equal(deep[0], ROWS)
    assert np.array_equal(deep[1], ROWS[1:3])
    assert np.array_equal(shallow, -ROWS)
    assert isinstance(deep[0], LazyArray)
    assert not np.asarray(deep[0]).flags.writeable
    assert np.array_equal(roundtrip(deep[0]), ROWS)
