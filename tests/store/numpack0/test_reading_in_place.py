"""Folders of NumPack 0.7 as stores: read in place, and refused to writers."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.files import contents
from support.memory import address, file_position
from support.store.numpack0_store import (
    OLD,
    ROWS,
    check_store,
)

from numpack import NotAStoreError, NumPack, StoreError


@pytest.mark.parametrize("mode", ["a", "r", "r+"])
def test_fixture_is_read_as_by_numpack_0_7_and_unchanged(fixture_arrays, mode):
    before = contents(OLD)
    check_store(fixture_arrays, mode=mode)
    assert contents(OLD) == before


def test_metadata_of_an_old_folder(fixture_arrays):
    with NumPack(OLD) as store:
        metadata = store.get_metadata()
        assert metadata["total_arrays"] == len(fixture_arrays)
        for name, array in fixture_arrays.items():
            found = metadata["arrays"][name]
            assert (found["shape"], found["dtype"]) == (list(array.shape), str(array.dtype))
            assert found["size_bytes"] == array.nbytes
            assert (Path(OLD) / found["data_file"]).stat().st_size >= array.nbytes
            assert 1.7e15 < found["last_modified"] == store.get_modify_time(name) < 2e15


def test_lazy_arrays_map_the_old_files(generated_arrays):
    with NumPack(OLD) as store:
        lazy = store.load("y", lazy=True)
        file = Path(OLD) / store.get_metadata()["arrays"]["y"]["data_file"]
        assert file_position(address(np.asarray(lazy))) == (file.stat().st_ino, 0)
        assert store.load("x", lazy=True).obstacle() is not None
        again = pickle.loads(pickle.dumps(store.load("x", lazy=True)))
        assert np.array_equal(again, generated_arrays["x"])
        assert np.array_equal(np.from_dlpack(store.share("y", "dlpack")), generated_arrays["y"])


def test_old_folder_in_batch_mode(generated_arrays):
    with NumPack(OLD) as store, store.batch_mode():
        assert store.load("x") is store.load("x")
        assert np.array_equal(store.getitem("x", 0), ROWS[:1])


def test_old_folder_has_no_checksums(generated_arrays):
    with NumPack(OLD) as store:
        report = store.verify()
        assert report.ok
        assert report.unchecked == ["x", "y", "empty"]
        assert report.blocks == 0
        assert "not checked" in str(report)
        with pytest.raises(
            StoreError, match="no checksums to verify it with: it was written by NumPack"
        ):
            store.load("x", verify=True)


WRITES = {
    "save": lambda s: s.save({"z": ROWS}),
    "append": lambda s: s.append({"x": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1]}, 0),
    "drop": lambda s: s.drop("x"),
    "drop of rows": lambda s: s.drop("x", 0),
    "update": lambda s: s.update("x"),
    "clone": lambda s: s.clone("x", "z"),
    "reset": lambda s: s.reset(),
    "write in place": lambda s: s.writable_batch_mode().__enter__().load("x"),
    "save in a batch": lambda s: s.batch_mode().__enter__().save({"z": ROWS}),
}


@for_each("upgrade", [False, True])
@for_each("call", WRITES)
def test_writing_to_an_old_folder_is_refused(generated_arrays, call, upgrade):
    before = contents(OLD)
    mode = "r" if upgrade else "a"
    refused = pytest.raises(StoreError, match=r"NumPack 0\.x .*upgrade=True")
    with NumPack(OLD, mode=mode, upgrade=upgrade) as store, refused:
        WRITES[call](store)
    assert contents(OLD) == before


@pytest.mark.parametrize("options", [{"mode": "x"}, {"mode": "x", "upgrade": True}])
def test_mode_x_refuses_an_old_folder(generated_arrays, options):
    before = contents(OLD)
    with pytest.raises(NotAStoreError, match="a store at .* already"):
        NumPack(OLD, **options).open()
    assert contents(OLD) == before
