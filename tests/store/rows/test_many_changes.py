"""Many changes of rows, compared with NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpack import NumPack


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


def data_files(store: NumPack) -> set[str]:
    return {each["data_file"] for each in store.get_metadata()["arrays"].values()}


@pytest.mark.parametrize("seed", range(3))
def test_many_random_changes_agree_with_a_model(store, seed):
    rng = np.random.default_rng(seed)
    model = np.arange(12_000)
    store.save({"x": model})
    with NumPack("s.npk") as other:
        for number in range(150):
            index = rng.integers(-len(model), len(model), rng.choice([1, 3, 100, 300]))
            if number % 10 == 9:
                start = int(rng.integers(0, len(model)))
                index = slice(start, start + 200, int(rng.choice([1, 3])))
            store.drop("x", index)
            model = np.delete(model, np.arange(len(model))[index])
            if number % 7 == 0:
                fresh = np.arange(300) + 100_000 * (number + 1)
                other.append({"x": fresh})
                model = np.concatenate([model, fresh])
            if number % 11 == 0:
                rows = rng.integers(-len(model), len(model), 50)
                other.replace({"x": -rows}, rows)
                model[rows] = -rows
            assert store.get_shape("x") == model.shape
            some = rng.integers(-len(model), len(model), 20)
            assert np.array_equal(store.getitem("x", some), model[some])
    assert np.array_equal(store.load("x"), model)
    assert np.array_equal(read_back(), model)
    stored = (Path("s.npk") / data_files(store).pop()).stat().st_size // 8
    assert stored - len(model) > 5000
    store.update("x")
    assert np.array_equal(read_back(), model)


@given(st.lists(st.lists(st.integers(0, 30), max_size=6) | st.integers(1, 5), max_size=12))
def test_drawn_drops_and_appends_agree_with_a_model(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("drops") / "s"
    model = np.arange(10)
    with NumPack(path) as store:
        store.save({"x": model})
        for step in steps:
            if isinstance(step, int):
                fresh = np.arange(step) + 1000 * len(model)
                store.append({"x": fresh})
                model = np.concatenate([model, fresh])
            elif len(model):
                rows = np.array(step, np.intp) % len(model)
                store.drop("x", rows)
                model = np.delete(model, rows)
            assert np.array_equal(store.load("x"), model)
            assert np.array_equal(store.load("x", lazy=True), model)
        with NumPack(path) as other:
            assert np.array_equal(other.load("x", verify=True), model)


def test_drop_rows_of_any_width():
    rng = np.random.default_rng(5)
    with NumPack("s.npk") as store:
        for width in (1, 3, 8, 1000, 100_000):
            count = 900_000 // width
            array = rng.integers(0, 256, (count, width), "u1")
            store.save({"x": array})
            for dropped in (1, 5, count // 2):
                dropped_rows = np.unique(rng.integers(0, len(array), dropped))
                store.drop("x", dropped_rows)
                array = np.delete(array, dropped_rows, axis=0)
                assert np.array_equal(store.load("x"), array)
                assert np.array_equal(store.getitem("x", slice(3, -2)), array[3:-2])
                mask = rng.random(len(array)) < 0.3
                assert np.array_equal(store.getitem("x", mask), array[mask])
                assert np.array_equal(np.concatenate(list(store.stream_load("x", 7777))), array)
                store.clone("x", "y")
                assert np.array_equal(store.load("y"), array)
                store.drop("y")
            store.update("x")
            assert np.array_equal(store.load("x"), array)
            assert store.verify()
