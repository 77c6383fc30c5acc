"""`update`, `clone` and `reset`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.files import contents

from numpack import CorruptStoreError, NumPack

ROWS = np.arange(1.0, 13.0).reshape(6, 2)


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


def data_files(store: NumPack) -> set[str]:
    return {each["data_file"] for each in store.get_metadata()["arrays"].values()}


def lines() -> int:
    return contents()["commits.log"].count(b'"time_us"')


def test_update_rewrites_the_live_rows(filled):
    before = contents()
    filled.update("x")
    assert contents() == before
    filled.drop("x", [1, 3])
    lazy, held = filled.load("x", lazy=True), data_files(filled)
    filled.update("x")
    assert not held <= data_files(filled)
    sizes = {(Path("s.npk") / file).stat().st_size for file in data_files(filled)}
    assert sizes == {4 * 16, 8}
    assert len(list(Path("s.npk/data").iterdir())) == 2
    left = np.delete(ROWS, [1, 3], 0)
    assert np.array_equal(lazy, left)
    assert np.array_equal(read_back(), left)
    assert filled.load("x", lazy=True).obstacle() is None
    assert filled.get_member_list() == ["x", "number"]


@pytest.mark.parametrize("dropped", [[], [0], [1, 3], slice(None)], ids=repr)
def test_clone_copies_the_live_rows_and_is_independent(filled, dropped):
    filled.drop("x", dropped)
    left = np.delete(ROWS, dropped, 0)
    filled.clone("x", "y")
    filled.append({"y": ROWS[:1]})
    filled.replace({"y": -ROWS[:1]}, -1)
    filled.drop("x")
    assert np.array_equal(read_back("y"), np.concatenate([left, -ROWS[:1]]))
    assert filled.get_member_list() == ["number", "y"]


@for_each("shape", [(), (0, 3), (5, 0)])
@for_each("dtype", ["f8", "S0", "U3"])
def test_clone_of_0d_and_empty_arrays(store, shape, dtype):
    array = np.zeros(shape, dtype)
    store.reset()
    store.save({"x": array})
    store.clone("x", "y")
    found = read_back("y")
    assert (found.shape, found.dtype) == (array.shape, array.dtype)


def test_reset_drops_everything_in_one_commit_and_keeps_mappings(filled):
    lazy, before = filled.load("x", lazy=True), lines()
    filled.reset()
    assert lines() == before + 1
    assert filled.get_member_list() == []
    assert not list(Path("s.npk/data").iterdir())
    assert np.array_equal(lazy, ROWS)
    filled.reset()
    assert lines() == before + 1
    filled.save({"y": ROWS})
    assert np.array_equal(read_back("y"), ROWS)


@pytest.mark.parametrize("change", [lambda s: s.update("x"), lambda s: s.clone("x", "y")])
def test_damaged_rows_get_no_new_checksums(store, change):
    store.save({"x": np.arange(300_000)})
    store.drop("x", 7)
    file = Path("s.npk") / store.get_metadata()["arrays"]["x"]["data_file"]
    with file.open("r+b") as opened:
        opened.seek(1 << 20)
        opened.write(b"\xff")
    before = contents()
    with pytest.raises(CorruptStoreError, match="'x', block 1 .* restore the array"):
        change(store)
    assert contents() == before
    assert not store.verify().ok
    store.save({"x": store.load("x")})  # what the message says
    assert store.verify().ok
