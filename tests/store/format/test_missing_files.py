"""Missing, truncated and extended files of a store."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from numpack import CorruptStoreError, NumPack

FOLDER = Path("s.npk")
LOG = FOLDER / "commits.log"
DATA = FOLDER / "data"
ROWS = np.arange(6.0).reshape(3, 2)


def usable() -> bool:
    """Return whether the store accepts an array and reads it back."""
    with NumPack(FOLDER) as store:
        store.save({"probe": ROWS})
    with NumPack(FOLDER) as store:
        return np.array_equal(store.load("probe"), ROWS)


def files_of(store: NumPack) -> dict[str, Path]:
    arrays = store.get_metadata()["arrays"]
    return {name: FOLDER / each["data_file"] for name, each in arrays.items()}


def test_missing_lock_file_is_created(saved):
    (FOLDER / "lock").unlink()
    assert usable()


def test_missing_data_folder_of_an_empty_store_is_created():
    with NumPack(FOLDER):
        DATA.rmdir()  # as tools do that do not copy empty folders
    assert usable()


def test_drop_if_exists_with_missing_data_folder(saved):
    shutil.rmtree(DATA)
    with NumPack(FOLDER, drop_if_exists=True) as store:
        assert store.get_member_list() == []
    assert usable()


def test_missing_data_folder_is_damage_of_each_array(saved):
    shutil.rmtree(DATA)
    with NumPack(FOLDER) as store:
        assert store.get_member_list() == ["x", "y"]
        with pytest.raises(CorruptStoreError, match="'x' is missing"):
            store.load("x")


READS = {
    "load": lambda s: s.load("x"),
    "lazy load": lambda s: s.load("x", lazy=True),
    "getitem": lambda s: s.getitem("x", 0),
    "stream_load": lambda s: s.stream_load("x"),
    "append": lambda s: s.append({"y": ROWS, "x": ROWS}),
}


@pytest.mark.parametrize("call", READS)
def test_missing_data_file_is_damage(store, call):
    store.save({"x": ROWS, "y": -ROWS})
    files_of(store)["x"].unlink()
    with pytest.raises(CorruptStoreError, match=r"data/\d{8}-[0-9a-f]{8}\.bin.* is missing"):
        READS[call](store)
    assert np.array_equal(store.load("y"), -ROWS)
    assert not files_of(store)["x"].exists()


@pytest.mark.parametrize("size", [0, 1, 47])
@pytest.mark.parametrize("call", READS)
def test_truncated_data_file_is_damage(store, call, size):
    store.save({"x": ROWS, "y": -ROWS})
    os.truncate(files_of(store)["x"], size)
    log = LOG.read_bytes()
    with pytest.raises(CorruptStoreError, match=f"should have 48 bytes and has {size}"):
        READS[call](store)
    assert LOG.read_bytes() == log
    assert files_of(store)["x"].stat().st_size == size
    assert np.array_equal(store.load("y"), -ROWS)


def test_bytes_after_the_rows_are_ignored(store):
    store.save({"x": ROWS})
    with files_of(store)["x"].open("ab") as file:
        file.write(b"left by a writer that died" * 100)
    with NumPack(FOLDER) as other:
        assert np.array_equal(other.load("x"), ROWS)
        assert np.array_equal(other.load("x", lazy=True), ROWS)
        other.append({"x": -ROWS})
    assert np.array_equal(store.load("x"), np.concatenate([ROWS, -ROWS]))


def test_damaged_array_can_be_saved_again_or_dropped(store):
    store.save({"x": ROWS, "y": ROWS})
    for file in files_of(store).values():
        file.unlink()
    store.save({"x": ROWS})
    store.drop("y")
    assert np.array_equal(store.load("x"), ROWS)
