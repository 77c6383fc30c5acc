"""Files of NumPack 0.x beside a store, and those that an upgrade left."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.files import contents
from support.store.numpack0_store import FOLDER, META, write

from numpack import NumPack
from numpack.store.format.numpack0 import upgrade

ROWS = np.arange(12.0).reshape(6, 2)
OLD = str(FOLDER)


def old_files(folder: str = OLD) -> dict[str, bytes]:
    return {
        name: content
        for name, content in contents(folder).items()
        if name.endswith((".npkd", ".npkb", ".npkm"))
    }


def make_store_with_old_files() -> dict[str, bytes]:
    """Create a store, then let NumPack 0.x save arrays to the same folder."""
    with NumPack("old.npk") as store:
        store.save({"new": ROWS})
    write({"x": ROWS, "y": ROWS[:, 0].copy()}, {"x": [1]})
    return old_files()


WRITES = {
    "save": lambda store: store.save({"z": ROWS}),
    "append": lambda store: store.append({"new": ROWS}),
    "drop": lambda store: store.drop("new"),
    "reset": lambda store: store.reset(),
    "update": lambda store: store.update("new"),
}


@pytest.mark.parametrize("options", [{}, {"upgrade": True}, {"mode": "w"}, {"mode": "r+"}])
def test_files_not_replaced_by_an_upgrade_are_kept(options):
    before = make_store_with_old_files()
    for change in WRITES.values():
        with NumPack(OLD, **options) as store:
            if "new" not in store:
                store.save({"new": ROWS})
            change(store)
    assert old_files() == before


def test_files_written_after_an_upgrade_are_kept():
    write({"x": ROWS})
    with NumPack(OLD, upgrade=True) as store:
        assert list(store) == ["x"]
    assert old_files() == {}
    write({"x": ROWS + 1, "y": ROWS}, {"x": [1]})
    before = old_files()
    with NumPack(OLD) as store:
        store.append({"x": ROWS})
    assert old_files() == before


def interrupt_upgrade(monkeypatch) -> None:
    """Upgrade a folder, but stop before the replaced files are removed."""
    write({"x": ROWS, "y": ROWS}, {"x": [1]})
    with monkeypatch.context() as patched:
        patched.setattr(upgrade, "remove_numpack0_files", lambda source: None)
        NumPack(OLD, upgrade=True).open()
    assert len(old_files()) == 4


def test_files_changed_after_an_interrupted_upgrade_are_kept(monkeypatch):
    """NumPack 0.x saves to the folder before the next writer opens it."""
    interrupt_upgrade(monkeypatch)
    META.write_bytes(META.read_bytes() + b"0.x was here")
    (FOLDER / "data_y.npkd").unlink()
    (FOLDER / "data_y.npkd").write_bytes(ROWS.tobytes())
    (FOLDER / "data_z.npkd").write_bytes(ROWS.tobytes())
    with NumPack(OLD) as store:
        store.append({"x": ROWS})
    assert set(old_files()) == {"metadata.npkm", "data_y.npkd", "data_z.npkd"}
    assert not (FOLDER / "obsolete.json").exists()


def test_next_writer_completes_an_interrupted_upgrade(monkeypatch):
    interrupt_upgrade(monkeypatch)
    with NumPack(OLD, mode="r") as store:
        assert np.array_equal(store.load("y"), ROWS)
    assert len(old_files()) == 4
    with NumPack(OLD) as store:
        store.append({"y": ROWS})
        assert store.verify().ok
    assert old_files() == {}
    assert not (FOLDER / "obsolete.json").exists()


def test_copy_of_an_interrupted_upgrade_keeps_its_files(monkeypatch):
    """The record names inodes, which differ in a copy, so that no file is removed there."""
    interrupt_upgrade(monkeypatch)
    shutil.copytree(OLD, "copy.npk")
    with NumPack("copy.npk") as store:
        store.append({"y": ROWS})
    assert len(old_files("copy.npk")) == 4


RECORDS = {
    "no JSON": b"{",
    "deep": b"[" * 100_000,
    "a number": b"7",
    "no list": b'{"files": 3}',
    "no entries": b'{"files": [3, null]}',
    "short": b'{"files": [["data_x.npkd", 1]]}',
    "a surrogate": b'{"files": [["data_\\ud800.npkd", 1, 2, 3]]}',
    "endless digits": b'{"files": [["data_x.npkd", 1' + b"0" * 5000 + b", 2, 3]]}",
}


def test_malformed_record_removes_nothing():
    before = make_store_with_old_files()
    victim = FOLDER.parent / "data_victim.npkd"
    victim.write_bytes(b"mine")
    Path(OLD, "notes.txt").write_text("mine")
    names = [
        "../data_victim.npkd",
        "notes.txt",
        "numpack.json",
        "data_\0.npkd",
        "data/../notes.txt",
    ]
    made = {name: json.dumps({"files": [[name, *_identity(name)]]}).encode() for name in names}
    for record in (*RECORDS.values(), *made.values()):
        (FOLDER / "obsolete.json").write_bytes(record)
        with NumPack(OLD) as store:
            store.append({"new": ROWS})
    assert old_files() == before
    assert victim.read_bytes() == b"mine"
    assert Path(OLD, "notes.txt").read_text() == "mine"
    assert (FOLDER / "numpack.json").exists()


def _identity(name: str) -> list[int]:
    try:
        status = (FOLDER / name).stat()
    except (OSError, ValueError):
        return [0, 0, 0]
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def test_special_file_in_place_of_the_record_is_ignored():
    before = make_store_with_old_files()
    for make in (os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")):
        make(FOLDER / "obsolete.json")
        with NumPack(OLD) as store:
            store.append({"new": ROWS})
        assert os.path.lexists(FOLDER / "obsolete.json")
        (FOLDER / "obsolete.json").rename("aside")
        shutil.rmtree("aside") if Path("aside").is_dir() else Path("aside").unlink()
    with open(FOLDER / "obsolete.json", "wb") as file:
        file.truncate(2**40)
    with NumPack(OLD) as store:
        store.append({"new": ROWS})
    (FOLDER / "obsolete.json").unlink()
    assert old_files() == before
