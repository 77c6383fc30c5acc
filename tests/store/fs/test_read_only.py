"""A store without write permission: everything can be read, and nothing is created."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.store.numpack0_store import FIXTURES

# The script drops root's privileges, since root may write everywhere.
READ = """
import json, os, sys
import numpy as np
from numpack import NumPack
from numpack.errors import StoreError

def read(path, mode):
    assert not os.access(path, os.W_OK)
    seen = {"refused": 0}
    with NumPack(path, mode=mode) as store:
        seen["loaded"] = {name: store.load(name).tolist() for name in store}
        seen["verified"] = {name: store.load(name, verify=True).tolist() for name in store}
        seen["lazy"] = {name: store.load(name, lazy=True)[()].tolist() for name in store}
        seen["rows"] = {name: store.getitem(name, [0, -1]).tolist() for name in store}
        seen["streamed"] = {name: np.concatenate(list(store.stream_load(name, 2))).tolist()
                            for name in store}
        report = store.verify()
        seen["ok"], seen["report"] = report.ok, str(report)
        rows = np.zeros((1, 2))
        def writable():
            with store.writable_batch_mode() as batch:
                batch.load("x")
        def batch():
            with store.batch_mode():
                store.save({"x": rows})
        for write in (
            lambda: store.save({"new": rows}), lambda: store.append({"x": rows}),
            lambda: store.replace({"x": rows}, [0]), lambda: store.drop("x"),
            lambda: store.drop("x", [0]), lambda: store.update("x"), store.reset,
            lambda: store.clone("x", "new"), writable, batch, store.sync,
        ):
            try:
                write()
            except StoreError as error:
                seen["refused"] += 1
                assert path in str(error), error
            else:
                raise AssertionError("nothing refused")
            store._batch.forget()
    return seen

if os.geteuid() == 0:
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
paths = sys.argv[1::2]
print(json.dumps([read(*each) for each in zip(paths, sys.argv[2::2])]))
"""
BUILD = """
import sys
import numpy as np
from numpack import NumPack
from numpack.store import session
ROWS = np.arange(8.0).reshape(4, 2)
with NumPack(sys.argv[1]) as store:
    store.save({"x": ROWS, "y": ROWS + 10})
    store.drop("y", [1])
    if sys.argv[2] == "replace":
        session.Session.apply_replacement = lambda *args, **options: sys.exit()
        store.replace({"x": -ROWS[:2], "y": -ROWS[:2]}, [0, 1])
"""
WHOLE = {
    "x": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]],
    "y": [[10.0, 11.0], [14.0, 15.0], [16.0, 17.0]],
}
REPLACED = {
    "x": [[0.0, -1.0], [-2.0, -3.0], [4.0, 5.0], [6.0, 7.0]],
    "y": [[0.0, -1.0], [-2.0, -3.0], [16.0, 17.0]],
}


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Create a temporary folder that every user can read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for each in folder.rglob("*"):
        if each.is_dir():
            each.chmod(0o755)
    shutil.rmtree(folder)


def snapshot(folder: Path) -> dict[str, tuple]:
    """Return all paths in a folder with their times, sizes and inodes."""
    return {
        str(each): (each.stat().st_mtime_ns, each.stat().st_size, each.stat().st_ino)
        for each in [folder, *folder.rglob("*")]
    }


def remove_write_permission(folder: Path, lock: bool) -> None:
    """Remove the write permissions, and the lock file if `lock` is false, as on some media."""
    if not lock:
        (folder / "lock").unlink()
    for each in [*folder.rglob("*"), folder]:
        each.chmod(0o555 if stat.S_ISDIR(each.stat().st_mode) else 0o444)


def test_store_without_write_permission_can_be_read(public_folder, run_python):
    cells = list(itertools.product(["r", "a", "r+"], ["whole", "replace"], [True, False]))
    for state in ("whole", "replace"):
        run_python(BUILD, str(public_folder / state), state)
    folders = []
    for mode, state, lock in cells:
        folders.append(public_folder / f"{mode} {state} {lock}.npk")
        shutil.copytree(public_folder / state, folders[-1])
        remove_write_permission(folders[-1], lock)
    before = [snapshot(folder) for folder in folders]
    modes = [mode for mode, _, _ in cells]
    arguments = [str(each) for pair in zip(folders, modes, strict=True) for each in pair]
    results = json.loads(run_python(READ, *arguments))
    assert [snapshot(folder) for folder in folders] == before
    for cell, result in zip(cells, results, strict=True):
        expected = WHOLE if cell[1] == "whole" else REPLACED
        for key in ("loaded", "verified", "lazy", "streamed"):
            assert result[key] == expected, (cell, key)
        ends = {name: [rows[0], rows[-1]] for name, rows in expected.items()}
        assert result["rows"] == ends, cell
        assert result["ok"], (cell, result["report"])
        assert result["refused"] == 11, cell


def test_numpack_0_x_folder_without_write_permission_can_be_read(public_folder, run_python):
    source = FIXTURES / "deleted.npk"
    folder = public_folder / "old.npk"
    shutil.copytree(source, folder)
    for each in [*folder.iterdir(), folder]:
        each.chmod(0o555 if each.is_dir() else 0o444)
    before = snapshot(folder)
    script = READ.replace(", verify=True", "")
    (result,) = json.loads(run_python(script, str(folder), "a"))
    assert snapshot(folder) == before
    assert result["loaded"] == result["lazy"] == result["streamed"]
    assert result["refused"] == 11
    assert os.listdir(public_folder) == ["old.npk"]
