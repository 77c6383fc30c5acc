"""Upgrading folders of NumPack 0.7."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.files import contents
from support.store.numpack0_store import (
    META,
    OLD,
    ROWS,
    Old,
    check_store,
    write,
    write_metadata,
)

from numpack import CorruptStoreError, InvalidValueError, NumPack, StoreError


def inodes() -> dict[int, int]:
    """Return the sizes of the data files by their inodes."""
    files = [*Path(OLD).glob("data_*.npkd"), *Path(OLD).glob("data/*.bin")]
    return {file.stat().st_ino: file.stat().st_size for file in files}


@pytest.mark.parametrize("mode", ["a", "r+"])
def test_upgrade_keeps_arrays_without_rewriting_rows(fixture_arrays, mode):
    before = inodes()
    check_store(fixture_arrays, mode=mode, upgrade=True)
    assert inodes() == before
    assert not {name for name in contents(OLD) if name.endswith((".npkd", ".npkb", ".npkm"))}
    after = contents(OLD)
    check_store(fixture_arrays)
    check_store(fixture_arrays, mode="r")
    check_store(fixture_arrays, upgrade=True)
    assert contents(OLD).keys() == after.keys()
    with NumPack(OLD) as store:
        report = store.verify()
        assert report.ok
        assert report.unchecked == []


def test_upgrade_keeps_times_and_order(fixture_arrays):
    with NumPack(OLD) as store:
        before = [(name, store.get_modify_time(name)) for name in store]
    with NumPack(OLD, upgrade=True) as store:
        assert [(name, store.get_modify_time(name)) for name in store] == before


def test_upgraded_store_can_be_changed(fixture_arrays):
    with NumPack(OLD, upgrade=True) as store:
        expected = {}
        for name, array in fixture_arrays.items():
            if array.ndim and array.dtype.kind != "b":
                rows = np.ones((2, *array.shape[1:]), array.dtype)
                store.append({name: rows})
                store.append({name: rows})
                store.drop(name, [-1, len(array)])
                store.replace({name: rows[:1] + rows[:1]}, -1)
                expected[name] = np.concatenate([array, rows])
                expected[name][-1:] = rows[:1] + rows[:1]
        store.save({"new": ROWS})
    expected = {**fixture_arrays, **expected, "new": ROWS}
    check_store(expected)
    with NumPack(OLD) as store:
        assert store.verify().ok
        for name in expected:
            store.update(name)
        assert store.verify().ok
    check_store(expected)


def test_upgrade_computes_checksums_of_large_arrays():
    array = np.random.default_rng(1).random(400_001)
    write({"x": array}, {"x": [7]})
    with NumPack(OLD, upgrade=True) as store:
        assert store.verify().blocks == 4
        assert np.array_equal(store.load("x", verify=True), np.delete(array, 7))
        store.replace({"x": np.zeros(1)}, 0)
        assert store.verify().ok


def test_lazy_arrays_of_the_old_folder_survive_the_upgrade(generated_arrays):
    with NumPack(OLD) as before:
        lazy = before.load("x", lazy=True)
        with NumPack(OLD, upgrade=True) as store:
            store.append({"x": ROWS})
            store.drop("x", 0)
        assert np.array_equal(lazy, generated_arrays["x"])


@pytest.mark.parametrize("options", [{"mode": "w"}, {"drop_if_exists": True}])
def test_mode_w_and_drop_if_exists_empty_an_old_folder(generated_arrays, options):
    with NumPack(OLD, **options) as store:
        assert list(store) == []
        store.save({"x": ROWS})
    assert set(contents(OLD)) == {
        "numpack.json",
        "commits.log",
        "lock",
        *(f"data/{file}" for file in os.listdir(f"{OLD}/data")),
    }
    check_store({"x": ROWS})


def test_other_files_of_an_old_folder_are_kept(generated_arrays):
    Path(OLD, "notes.txt").write_text("mine")
    check_store(generated_arrays, upgrade=True)
    assert Path(OLD, "notes.txt").read_text() == "mine"


def test_upgrade_of_a_current_store_does_nothing():
    with NumPack(OLD, upgrade=True) as store:
        store.save({"x": ROWS})
    check_store({"x": ROWS}, upgrade=True)


def test_damaged_folder_is_not_upgraded(generated_arrays):
    META.write_bytes(META.read_bytes()[:-1])
    before = contents(OLD)
    with pytest.raises(CorruptStoreError, match="damaged"):
        NumPack(OLD, upgrade=True).open()
    after = contents(OLD)
    after.pop("lock", None)
    assert after == before


@pytest.mark.parametrize("options", [{"drop_if_exists": True, "mode": "r"}])
def test_contradictory_options_are_refused(generated_arrays, options):
    with pytest.raises(InvalidValueError):
        NumPack(OLD, **options)


def test_upgrade_copies_files_without_hard_links(monkeypatch, generated_arrays):
    def refuse(*arguments, **keywords):
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuse)
        check_store(generated_arrays, upgrade=True)
    check_store(generated_arrays)
    assert not list(Path(OLD).glob("*.npk?"))


def test_upgrade_refuses_an_array_with_an_empty_name():
    write({"x": ROWS, "": ROWS})
    before = contents(OLD)
    with NumPack(OLD) as store:
        assert np.array_equal(store.load(""), ROWS)
    with pytest.raises(StoreError, match="array with an empty name"):
        NumPack(OLD, upgrade=True).open()
    after = contents(OLD)
    after.pop("lock", None)
    assert after == before


def test_upgrade_with_the_largest_modification_time():
    write({"x": ROWS})
    write_metadata(Old(modified=2**64 - 1))
    with NumPack(OLD, upgrade=True) as store:
        store.append({"x": ROWS})
    with NumPack(OLD) as store:
        assert store.load("x").shape == (12, 2)
