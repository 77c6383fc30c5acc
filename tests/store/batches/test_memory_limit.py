"""`batch_mode` with a memory limit."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from numpack import InvalidValueError, NumPack

ROWS = np.arange(1.0, 13.0).reshape(6, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "y": ROWS, "z": np.array(5)})
        yield opened


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


def commits(store: NumPack) -> int:
    return store.get_io_stats()["commits"]


@pytest.mark.parametrize("limit", [-1, -(10**9)])
def test_negative_memory_limit_is_refused(store, limit):
    with pytest.raises(InvalidValueError, match="memory_limit"), store.batch_mode(limit):
        pass


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
