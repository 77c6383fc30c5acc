"""Symlinks, pipes, devices and sockets in folders of NumPack 0.x."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from support.files import contents
from support.store.numpack0_store import FOLDER, write

from numpack import CorruptStoreError, NumPack, StoreError
from numpack.errors import NumpackError
from numpack.store.format.numpack0 import reader

ROWS = np.arange(12.0).reshape(6, 2)
OLD = str(FOLDER)
FILES = ["metadata.npkm", "data_x.npkd", "deleted_x.npkb"]


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


def check_refused(match: str, error: type[Exception] = CorruptStoreError) -> str:
    """Check that the folder is refused and unchanged; return the error message."""
    before = contents("old.npk")
    with pytest.raises(error, match=match) as raised:
        reader.read(FOLDER)
    assert contents("old.npk") == before
    return str(raised.value)


@pytest.mark.parametrize("file", ["metadata.npkm", "data_x.npkd", "deleted_x.npkb"])
@pytest.mark.parametrize("target", ["outside", "old.npk/inside", "/dev/zero", "nowhere"])
def test_symlink_is_refused(file, target):
    write({"x": ROWS}, {"x": [1]})
    path = FOLDER / file
    if target in ("outside", "old.npk/inside"):
        path.rename(target)
    path.unlink(missing_ok=True)
    path.symlink_to(Path(target).absolute())
    check_refused(f"{file}.*is a link.*put the file itself there")


def test_symlink_to_the_folder_is_followed():
    write({"x": ROWS}, {"x": [1]})
    Path("link.npk").symlink_to(FOLDER)
    assert reader.read(Path("link.npk"))["x"].dropped.tolist() == [1]


@pytest.mark.parametrize("file", ["metadata.npkm", "data_x.npkd", "deleted_x.npkb"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_folder_or_fifo_in_place_of_a_file_is_refused(file, make):
    write({"x": ROWS}, {"x": [1]})
    (FOLDER / file).unlink()
    make(FOLDER / file)
    check_refused(f"{file}.*is a folder, pipe or device")
