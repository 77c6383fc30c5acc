"""Removing data files: what `drop_if_exists` removes, and orphans."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from numpack import CorruptStoreError, NumPack

FOLDER = Path("s.npk")
LOG = FOLDER / "commits.log"
DATA = FOLDER / "data"
ROWS = np.arange(6.0).reshape(3, 2)


def contents(path: Path = FOLDER) -> dict[str, bytes | None]:
    """Return all files and folders below a path."""
    found = [path, *path.rglob("*")] if path.is_dir() else [path]
    return {str(each): each.read_bytes() if each.is_file() else None for each in found}


def usable() -> bool:
    """Return whether the store accepts an array and reads it back."""
    with NumPack(FOLDER) as store:
        store.save({"probe": ROWS})
    with NumPack(FOLDER) as store:
        return np.array_equal(store.load("probe"), ROWS)


def files_of(store: NumPack) -> dict[str, Path]:
    arrays = store.get_metadata()["arrays"]
    return {name: FOLDER / each["data_file"] for name, each in arrays.items()}


def test_drop_if_exists_removes_only_data_files(saved):
    (FOLDER / "notes.txt").write_text("mine")
    (DATA / "notes.txt").write_text("mine too")
    (DATA / "00000001.bin").write_text("no name of ours")
    with NumPack(FOLDER, drop_if_exists=True) as store:
        assert store.get_member_list() == []
    assert sorted(path.name for path in DATA.iterdir()) == ["00000001.bin", "notes.txt"]
    assert (FOLDER / "notes.txt").read_text() == "mine"
    assert (DATA / "notes.txt").read_text() == "mine too"


def test_drop_if_exists_creates_a_missing_store():
    with NumPack(FOLDER, drop_if_exists=True) as store:
        assert store.get_member_list() == []
    assert usable()


def test_drop_if_exists_discards_a_damaged_log(saved):
    LOG.write_bytes(b"damage\n")
    with NumPack(FOLDER, drop_if_exists=True) as store:
        assert store.get_member_list() == []
    assert usable()


def test_first_write_of_a_handle_removes_orphans(saved):
    with NumPack(FOLDER) as store:
        live = set(files_of(store).values())
        token = json.loads(LOG.read_bytes().splitlines()[1])["store"]
        orphan = DATA / f"00000099-{token}.bin"
        orphan.write_bytes(b"orphan")
        another = f"00000099-{int(token, 16) ^ 1:08x}.bin"  # as of another store
        names = ("notes.txt", "1-2.bin", f"00000001-{token}.bin.bak", another)
        others = {DATA / name for name in names}
        for other in others:
            other.write_text("mine")
        assert np.array_equal(store.load("x"), ROWS)
        assert orphan.exists(), "reading removes nothing"
        store.append({"x": ROWS})
        assert set(DATA.iterdir()) == live | others
        assert np.array_equal(store.load("y"), -ROWS)


def test_removing_orphans_keeps_arrays_just_saved_by_another_handle(saved):
    with NumPack(FOLDER) as idle, NumPack(FOLDER) as busy:
        assert idle.get_member_list() == ["x", "y"]
        busy.save({"z": ROWS})
        idle.append({"x": ROWS})
        assert np.array_equal(busy.load("z"), ROWS)
        assert np.array_equal(idle.load("z"), ROWS)


@pytest.mark.parametrize(
    "call", [lambda s: s.save({}), lambda s: s.drop("absent"), lambda s: s.append({"x": ROWS})]
)
def test_orphans_are_kept_while_the_log_is_damaged(saved, call):
    with NumPack(FOLDER) as store:
        before = contents(DATA)
        whole = LOG.read_bytes()
        LOG.write_bytes(whole + b"damage\n")
        with pytest.raises(CorruptStoreError, match="damaged"):
            call(store)
        assert contents(DATA) == before
