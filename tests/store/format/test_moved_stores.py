"""Stores that are moved, copied, removed, or emptied and filled again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from numpack import NumPack, StoreError

FOLDER = Path("s.npk")
ROWS = np.arange(6.0).reshape(3, 2)


def test_store_can_be_moved_and_copied(saved):
    shutil.copytree(FOLDER, "copy.npk")
    FOLDER.rename("moved.npk")
    for path in ("copy.npk", "moved.npk"):
        with NumPack(path) as store:
            store.append({"x": ROWS})
            assert np.array_equal(store.load("x"), np.concatenate([ROWS, ROWS]))
    assert not FOLDER.exists()


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.save({"x": -ROWS, "z": ROWS}),
        lambda s: s.append({"x": ROWS}),
        lambda s: s.drop("y"),
        lambda s: s.drop("y", [0]),
        lambda s: s.replace({"x": ROWS[:1]}, [-1]),
    ],
    ids=["save", "append", "drop", "drop rows", "replace"],
)
def test_handle_follows_its_store_when_it_is_moved(saved, call, replaced):
    def read_all(path):
        with NumPack(path) as store:
            assert store.verify().ok
            return {name: store.load(name).tolist() for name in store}

    shutil.copytree(FOLDER, "expected.npk")
    with NumPack("expected.npk") as store:
        call(store)
    with NumPack(FOLDER) as store:
        FOLDER.rename("moved.npk")
        if replaced:
            with NumPack(FOLDER) as other:
                other.save({"x": ROWS[:1], "y": ROWS})
        call(store)
        assert {name: store.load(name).tolist() for name in store} == read_all("expected.npk")
    assert read_all("moved.npk") == read_all("expected.npk")
    if replaced:
        assert read_all(FOLDER) == {"x": ROWS[:1].tolist(), "y": ROWS.tolist()}


def shapes() -> dict[str, tuple[int, ...]]:
    """Read every array with a new handle; return the shapes."""
    with NumPack("s.npk") as store:
        return {name: store.load(name).shape for name in store}


def test_open_handle_follows_a_store_emptied_and_filled_again(store):
    store.save({"x": ROWS, "y": ROWS})
    with NumPack("s.npk", drop_if_exists=True) as other:
        assert store.get_member_list() == []
        other.save({"x": -ROWS})
    assert np.array_equal(store.load("x"), -ROWS)
    store.save({"y": ROWS})
    assert shapes() == {"x": (3, 2), "y": (3, 2)}


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.get_member_list(),
        lambda s: s.load("x"),
        lambda s: s.save({"x": ROWS}),
        lambda s: s.append({"x": ROWS}),
        lambda s: s.drop("x"),
    ],
    ids=["list", "load", "save", "append", "drop"],
)
def test_removed_folder_is_reported_and_not_created(store, call):
    store.save({"x": ROWS})
    shutil.rmtree("s.npk")
    with pytest.raises(StoreError, match="removed"):
        call(store)
    assert not Path("s.npk").exists()
