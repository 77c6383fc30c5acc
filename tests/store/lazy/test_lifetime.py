"""Lazy arrays do not change and outlive their store."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from numpack import LazyArray, NumPack

ROWS = np.arange(1, 13).reshape(6, 2)


@pytest.fixture
def lazy(store):
    store.save({"x": ROWS})
    return store.load("x", lazy=True)


CHANGES = {
    "save": lambda s: s.save({"x": -ROWS}),
    "save twice": lambda s: (s.save({"x": -ROWS}), s.save({"x": ROWS[:1]})),
    "save of another dtype": lambda s: s.save({"x": np.zeros(1000, "u1")}),
    "append": lambda s: s.append({"x": -ROWS}),
    "append of pages": lambda s: s.append({"x": np.zeros((5000, 2), int)}),
    "drop": lambda s: s.drop("x"),
    "drop and save": lambda s: (s.drop("x"), s.save({"x": -ROWS})),
    "drop_if_exists": lambda s: NumPack("s.npk", drop_if_exists=True).open(),
    "close": lambda s: s.close(),
}
SCRIPT = """
import numpy as np
from numpack import NumPack
ROWS = np.arange(1, 13).reshape(6, 2)
"""
REMOTE = {
    "save": 's.save({"x": -ROWS})',
    "append": 's.append({"x": -ROWS})',
    "drop": 's.drop("x")',
    "drop_if_exists": 'NumPack("drop_if_exists.npk", drop_if_exists=True).open()',
}


@pytest.mark.parametrize("handle", ["this", "another"])
@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_the_store_do_not_change_a_lazy_array(store, lazy, change, handle):
    view = np.asarray(lazy)
    if handle == "this":
        CHANGES[change](store)
    else:
        with NumPack("s.npk") as other:
            CHANGES[change](other)
    assert lazy.shape == (6, 2)
    assert np.array_equal(lazy, ROWS)
    assert np.array_equal(view, ROWS)
    assert np.array_equal(lazy + 1, ROWS + 1)


def test_changes_by_another_process_do_not_change_a_lazy_array(run_python):
    lazies = {}
    for change in REMOTE:
        with NumPack(f"{change}.npk") as store:
            store.save({"x": ROWS})
            lazies[change] = store.load("x", lazy=True)
    changes = "".join(
        f's = NumPack("{change}.npk"); s.open(); {code}\n' for change, code in REMOTE.items()
    )
    run_python(SCRIPT + changes)
    for change, lazy in lazies.items():
        assert lazy.shape == (6, 2), change
        assert np.array_equal(lazy, ROWS), change


def test_lazy_array_outlives_its_store(store, lazy, tmp_path):
    store.close()
    del store
    gc.collect()
    for file in Path("s.npk").rglob("*.*"):
        file.unlink()
    assert np.array_equal(lazy, ROWS)


def test_views_outlive_the_lazy_array(store, lazy):
    view = lazy[1:].T
    del lazy
    store.drop("x")
    gc.collect()
    assert np.array_equal(view, ROWS[1:].T)


def test_each_version_of_an_array_stays_readable(store):
    held = []
    for number in range(20):
        store.save({"x": np.full(100, number)})
        held.append(store.load("x", lazy=True))
        store.append({"x": np.full(100, -number)})
        held.append(store.load("x", lazy=True))
    for number in range(20):
        assert (held[2 * number] == np.full(100, number)).all()
        assert held[2 * number + 1].shape == (200,)
        assert (held[2 * number + 1][100:] == -number).all()


def test_mapping_ends_with_the_last_view(store, lazy):
    before = len(os.listdir("/dev/fd"))
    held = [store.load("x", lazy=True)[1:] for _ in range(10)]
    assert np.array_equal(held[-1], ROWS[1:])
    del held
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before


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


def with_dropped_rows(
    store: NumPack, array: np.ndarray, hole: str
) -> tuple[LazyArray, np.ndarray]:
    """Return an array with dropped rows, as the store maps it and as NumPy computes it."""
    store.save({"holed": array})
    store.drop("holed", DROPPED[hole])
    return store.load("holed", lazy=True), np.delete(array, DROPPED[hole], 0)


@pytest.mark.parametrize("hole", DROPPED)
def test_later_changes_do_not_change_live_rows(store, hole):
    lazy, left = with_dropped_rows(store, ROWS, hole)
    store.append({"holed": ROWS})
    store.drop("holed", 0)
    store.update("holed")
    store.reset()
    store.close()
    gc.collect()
    assert np.array_equal(lazy, left)
