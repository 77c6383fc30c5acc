"""Malicious folders of NumPack 0.x, and files of NumPack 0.x beside a store."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from support.files import contents
from support.numpack0_store import FOLDER, META, Old, bitmap, write, write_metadata

from numpack import CorruptStoreError, NumPack, StoreError
from numpack.errors import NumpackError
from numpack.store.format.numpack0 import reader, upgrade

ROWS = np.arange(12.0).reshape(6, 2)
OLD = str(FOLDER)
FILES = ["metadata.npkm", "data_x.npkd", "deleted_x.npkb"]
HUGE = 2**63 - 1


def old_files(folder: str = OLD) -> dict[str, bytes]:
    return {
        name: content
        for name, content in contents(folder).items()
        if name.endswith((".npkd", ".npkb", ".npkm"))
    }


# Malformed folders


def test_special_files_are_refused_without_blocking():
    """A special file in place of each file is refused by every way of opening the folder."""
    outside = Path("outside")
    for file in FILES:
        for kind in ("link", "dangling", "device", "loop", "fifo", "folder", "socket"):
            shutil.rmtree(FOLDER, ignore_errors=True)
            write({"x": ROWS}, {"x": [1]})
            path = FOLDER / file
            shutil.copy(path, outside)
            before = outside.stat()
            path.unlink()
            match kind:
                case "fifo":
                    os.mkfifo(path)
                case "folder":
                    path.mkdir()
                case "socket":
                    with socket.socket(socket.AF_UNIX) as listening:
                        listening.bind(str(path))
                case _:
                    targets = {"link": outside.absolute(), "device": "/dev/zero", "loop": file}
                    path.symlink_to(targets.get(kind, "nowhere"))
            for options in ({}, {"mode": "r"}, {"upgrade": True}):
                with pytest.raises(StoreError):
                    NumPack(OLD, **options).open()
            assert path.is_symlink() or path.exists(), kind
            now = outside.stat()
            assert (now.st_size, now.st_mtime_ns, now.st_nlink) == (
                before.st_size,
                before.st_mtime_ns,
                before.st_nlink,
            )


def test_file_replaced_by_a_special_file_between_stat_and_open(monkeypatch):
    """Anyone who may write to the folder can replace the file between the two calls."""
    stat = os.stat

    for file in ("metadata.npkm", "deleted_x.npkb"):
        for make in (lambda path: path.symlink_to("/dev/zero"), os.mkfifo):
            shutil.rmtree(FOLDER, ignore_errors=True)
            write({"x": ROWS}, {"x": [1]})

            def replace_after_stat(path, *args, file=file, make=make, **kwargs):
                found = stat(path, *args, **kwargs)
                if path == file:
                    (FOLDER / file).unlink()
                    make(FOLDER / file)
                return found

            monkeypatch.setattr(os, "stat", replace_after_stat)
            with pytest.raises(StoreError, match=f"{file}.*cannot be read"):
                reader.read(FOLDER)
            monkeypatch.setattr(os, "stat", stat)


CLAIMS = {
    "rows": lambda: write_metadata(Old(shape=(2**40, 2), size=2**44)),
    "arrays": lambda: write_metadata(Old(), count=2**32 - 1),
    "extents": lambda: write_metadata(Old(ndim=2**32 - 1)),
    "empty rows": lambda: write_metadata(Old(shape=(0, HUGE), size=0)),
    "name": lambda: write_metadata(count=1, after=struct.pack("<I", 2**32 - 1)),
    "bitmap": lambda: (FOLDER / "deleted_x.npkb").write_bytes(struct.pack("<QQ", HUGE, HUGE)),
    "sparse metadata": lambda: os.truncate(META, 2**40),
    "sparse bitmap": lambda: (
        write_metadata(Old(shape=(2**40, 0), size=0)),
        (FOLDER / "deleted_x.npkb").write_bytes(struct.pack("<QQ", 2**40, 2**40)),
        os.truncate(FOLDER / "deleted_x.npkb", 16 + 2**37),
    ),
    "sparse rows and bitmap": lambda: (
        write_metadata(Old(shape=(2**36,), size=2**36, code=1)),
        os.truncate(FOLDER / "data_x.npkd", 2**36),
        (FOLDER / "deleted_x.npkb").write_bytes(struct.pack("<QQ", 2**36, 2**36)),
        os.truncate(FOLDER / "deleted_x.npkb", 16 + 2**33),
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_claim_larger_than_the_files_is_refused_quickly(claim, run_python):
    """Memory and time are bounded by the sizes of the files, not by what they claim."""
    write({"x": ROWS})
    CLAIMS[claim]()
    run_python(
        """
import resource, time
from numpack import CorruptStoreError, NumPack
pages = int(open("/proc/self/statm").read().split()[0])
room = pages * resource.getpagesize() + 300_000_000
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for options in ({}, {"mode": "r"}, {"upgrade": True}):
    began = time.process_time()
    try:
        NumPack("old.npk", **options).open()
    except CorruptStoreError as error:
        assert "damaged" in str(error), error
    else:
        raise AssertionError(options)
    assert time.process_time() - began < 1
"""
    )


def test_bitmap_of_many_deleted_rows():
    rows = 64 * 40_000
    write({"x": np.zeros(rows, "u1")})
    (FOLDER / "deleted_x.npkb").write_bytes(struct.pack("<QQ", rows, rows) + bytes(rows // 8))
    assert len(reader.read(FOLDER)["x"].dropped) == rows
    with NumPack(OLD) as store:
        assert store.get_shape("x") == (0,)


def test_upgrade_does_not_write_through_symlinks():
    """Folders, files and symlinks exist already at the paths that the upgrade writes."""
    Path("outside").mkdir()
    Path("victim").write_bytes(b"mine")
    for name, make in (
        ("data", lambda path: path.symlink_to(Path("outside").absolute())),
        ("data", lambda path: path.write_bytes(b"")),
        ("obsolete.json", lambda path: path.symlink_to(Path("victim").absolute())),
        ("obsolete.json", Path.mkdir),
        ("obsolete.json", os.mkfifo),
    ):
        shutil.rmtree(FOLDER, ignore_errors=True)
        write({"x": ROWS})
        make(FOLDER / name)
        refused = name
        try:
            with NumPack(OLD, upgrade=True) as store:
                assert np.array_equal(store.load("x"), ROWS)
        except StoreError as error:
            refused = str(error)
            (FOLDER / name).is_dir() or (FOLDER / name).unlink()
            shutil.rmtree(FOLDER / name, ignore_errors=True)
            with NumPack(OLD) as store:
                assert np.array_equal(store.load("x"), ROWS)
        assert name in refused
        assert os.listdir("outside") == []
        assert Path("victim").read_bytes() == b"mine"


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


def test_copy_without_hard_links_does_not_follow_symlinks(monkeypatch):
    def refuse(*arguments, **keywords):
        raise PermissionError(1, "Operation not permitted")

    read = reader.read

    def read_and_replace(*arguments):
        found = read(*arguments)
        (FOLDER / "data_x.npkd").unlink()
        (FOLDER / "data_x.npkd").symlink_to(Path("outside").absolute())
        return found

    Path("outside").write_bytes(bytes(ROWS.nbytes))
    write({"x": ROWS})
    assert NumPack(OLD) is not None
    monkeypatch.setattr(reader, "read", read_and_replace)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises((NumpackError, OSError)):
        NumPack(OLD, upgrade=True).open()
    assert not list(FOLDER.glob("data/*.bin"))


# Files of NumPack 0.x beside a store


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


def test_bitmap_must_match_its_array():
    write({"x": ROWS})
    for content in (bitmap(5), bitmap(6) + bytes(8), bitmap(6)[:-1]):
        (FOLDER / "deleted_x.npkb").write_bytes(content)
        with pytest.raises(CorruptStoreError, match="deleted_x"):
            NumPack(OLD).open()
