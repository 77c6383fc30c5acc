"""Creating a store: its files, interrupted and concurrent creation."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from numpack import NumPack
from numpack.store.format import folder

FOLDER = Path("s.npk")
HEADER = FOLDER / "numpack.json"
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


def test_new_store_has_header_log_lock_and_empty_data_folder(store):
    assert contents().keys() == {
        "s.npk",
        "s.npk/numpack.json",
        "s.npk/commits.log",
        "s.npk/lock",
        "s.npk/data",
    }
    assert json.loads(HEADER.read_text()) == {"format": "numpack", "version": 1}


def test_header_is_written_once(store):
    before = HEADER.stat()
    store.save({"x": ROWS})
    with NumPack(FOLDER, drop_if_exists=True) as other:
        other.save({"x": ROWS})
    assert HEADER.stat().st_ino == before.st_ino
    assert HEADER.stat().st_mtime_ns == before.st_mtime_ns


def test_empty_folder_becomes_a_store():
    FOLDER.mkdir()
    assert usable()


def test_symlink_to_a_store_is_followed(saved):
    os.symlink("s.npk", "link.npk")
    with NumPack("link.npk") as linked, NumPack(FOLDER) as store:
        linked.append({"x": ROWS})
        assert store.get_shape("x") == (6, 2)


def _make_folder(*names: str) -> None:
    FOLDER.mkdir()
    for name in names:
        (FOLDER / name).mkdir() if name == "data" else (FOLDER / name).write_bytes(b"")


UNFINISHED = {
    "folder": lambda: _make_folder(),
    "lock": lambda: _make_folder("lock"),
    "data": lambda: _make_folder("lock", "data"),
    "log begun": lambda: _make_folder("lock", "data", "commits.log.new"),
    "log half written": lambda: (
        _make_folder("lock", "data"),
        Path("s.npk/commits.log.new").write_bytes(b'{"store":"01'),
    ),
    "log": lambda: (NumPack(FOLDER).open(), HEADER.unlink()),
    "header begun": lambda: (
        NumPack(FOLDER).open(),
        HEADER.unlink(),
        Path("s.npk/numpack.json.new").write_bytes(b""),
    ),
    "header written": lambda: (
        NumPack(FOLDER).open(),
        HEADER.rename("s.npk/numpack.json.new"),
    ),
}


@pytest.mark.parametrize("step", UNFINISHED)
@pytest.mark.parametrize("drop_if_exists", [False, True])
def test_interrupted_creation_is_completed(step, drop_if_exists):
    UNFINISHED[step]()
    with NumPack(FOLDER, drop_if_exists=drop_if_exists) as store:
        assert store.get_member_list() == []
    assert usable()
    assert not Path("s.npk/commits.log.new").exists()
    assert not Path("s.npk/numpack.json.new").exists()


def test_threads_create_the_same_store_concurrently():
    for number in range(40):
        path = Path(f"{number}.npk")
        start, failures = threading.Barrier(8), []

        def create(name: str, path=path, start=start, failures=failures):
            start.wait()
            try:
                with NumPack(path) as store:
                    store.save({name: ROWS})
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=create, args=(name,)) for name in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        with NumPack(path) as store:
            assert sorted(store.get_member_list()) == list("abcdefgh")


@pytest.mark.parametrize("filled", [False, True])
def test_store_created_meanwhile_is_opened(monkeypatch, filled):
    check = folder.check_creatable
    calls = []

    def slow(path):
        if not calls:  # between the check of the header and that of the folder
            calls.append(path)
            with NumPack(path) as faster:
                if filled:
                    faster.save({"x": ROWS})
        return check(path)

    monkeypatch.setattr(folder, "check_creatable", slow)
    with NumPack(FOLDER) as store:
        assert store.get_member_list() == (["x"] if filled else [])
    assert calls
