"""Paths that are not a store are refused and unchanged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from numpack import CorruptStoreError, NewerFormatError, NotAStoreError, NumPack, StoreError

FOLDER = Path("s.npk")


def contents(path: Path = FOLDER) -> dict[str, bytes | None]:
    """Return all files and folders below a path."""
    found = [path, *path.rglob("*")] if path.is_dir() else [path]
    return {str(each): each.read_bytes() if each.is_file() else None for each in found}


def _make_foreign(**files: str) -> None:
    for name, text in files.items():
        path = FOLDER / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


FOREIGN = {
    "a file": (lambda: FOLDER.write_text("mine"), NotAStoreError, "is a file"),
    "an empty file": (lambda: FOLDER.write_text(""), NotAStoreError, "is a file"),
    "a folder with a file": (
        lambda: _make_foreign(notes="mine"),
        NotAStoreError,
        "neither a numpack store nor empty",
    ),
    "a folder with a folder": (
        lambda: _make_foreign(sub__notes="mine"),
        NotAStoreError,
        "neither a numpack store nor empty",
    ),
    "a store's files and others": (
        lambda: _make_foreign(lock="", data__x="1", notes="mine"),
        NotAStoreError,
        "neither a numpack store nor empty",
    ),
    "a hidden file": (lambda: _make_foreign(**{".git": "mine"}), NotAStoreError, "nor empty"),
    "a damaged folder of NumPack 0.x": (
        lambda: _make_foreign(**{"metadata.npkm": "NPKB"}),
        CorruptStoreError,
        "NumPack 0",
    ),
    "another format": (
        lambda: _make_foreign(**{"numpack.json": '{"format": "zarr", "version": 1}'}),
        NotAStoreError,
        "'zarr'",
    ),
    "data that is a file": (lambda: _make_foreign(data="mine"), StoreError, "s.npk"),
    "someone's data": (lambda: _make_foreign(data__table="mine"), StoreError, "s.npk"),
    "a newer format": (
        lambda: _make_foreign(**{"numpack.json": '{"format": "numpack", "version": 4}'}),
        NewerFormatError,
        "version 4.*upgrade",
    ),
}


@pytest.mark.parametrize("drop_if_exists", [False, True])
@pytest.mark.parametrize("case", FOREIGN)
def test_path_that_is_not_a_store_is_refused_and_unchanged(case, drop_if_exists):
    make, error, phrase = FOREIGN[case]
    make()
    before = contents()
    with pytest.raises(error, match=phrase) as raised:
        NumPack(FOLDER, drop_if_exists=drop_if_exists).open()
    assert isinstance(raised.value, OSError)
    assert contents() == before


@pytest.mark.parametrize("drop_if_exists", [False, True])
def test_path_below_a_file_is_refused(drop_if_exists):
    FOLDER.write_text("mine")
    with pytest.raises(NotAStoreError, match=r"s\.npk"):
        NumPack(FOLDER / "deeper", drop_if_exists=drop_if_exists).open()
    assert FOLDER.read_text() == "mine"


def test_dangling_symlink_is_refused():
    os.symlink("nowhere", FOLDER)
    with pytest.raises(NotAStoreError, match=r"s\.npk"):
        NumPack(FOLDER).open()
    assert not Path("nowhere").exists()
