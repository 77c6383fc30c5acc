"""Names of data files are never used again."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from numpack import NumPack

ROWS = np.arange(6.0).reshape(3, 2)


def data_files() -> set[str]:
    return set(os.listdir("s.npk/data"))


@pytest.fixture
def frequent_compaction(monkeypatch):
    """Make the log be compacted every few commits."""
    monkeypatch.setattr("numpack.store.format.log.log._COMPACT_BYTES", 0)
    monkeypatch.setattr("numpack.store.format.log.log._COMPACT_FACTOR", 0)
    monkeypatch.setattr("numpack.store.format.log.log._SNAPSHOT_EVERY", 100)


def test_file_names_are_never_reused(frequent_compaction, store):
    seen: list[str] = []
    for _ in range(20):
        store.save({"x": ROWS, "y": ROWS})
        with NumPack("s.npk") as other:
            other.save({"x": ROWS})
            other.drop(["x"])
            seen += [other.get_metadata()["arrays"]["y"]["data_file"]]
            other.drop(["y"])
    assert len(set(seen)) == 20


@pytest.mark.parametrize("how", ["drop_if_exists", "folder removed", "everything dropped"])
def test_file_names_are_not_reused_by_a_new_store_in_the_same_folder(how):
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "y": ROWS})
    before = data_files()
    if how == "folder removed":
        shutil.rmtree("s.npk")
    with NumPack("s.npk", drop_if_exists=how == "drop_if_exists") as store:
        store.drop(["x", "y"])
        store.save({"x": ROWS, "y": ROWS})
    assert len(data_files()) == 2
    assert not data_files() & before
