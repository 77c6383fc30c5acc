"""Symlinks, pipes, folders, devices and sockets in place of the files of a store."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import zlib
from pathlib import Path

import numpy as np
import pytest
from support.store import hostile
from support.store.hostile import (
    BLOCK,
    CALLS,
    CHANGES,
    ID,
    TOKEN,
    entry,
    line,
    raw_errors,
    snapshot,
)

from numpack import CorruptStoreError, NumPack, StoreError

DATA = f"data/{ID}.bin"
STORE = Path("s.npk")
SECRET = b"precious" * 8
ONE_DROPPED = {"dropped": 1, "dropped_crc32": zlib.crc32(bytes(8))}


def write(*lines, **files: bytes) -> None:
    hostile.write(STORE, *lines, files=files.get("files"))


def put_special_file(kind: str, name: str) -> None:
    """Replace a file of the store by a special file."""
    path = STORE / name
    path.unlink(missing_ok=True)
    match kind:
        case "link":
            os.symlink(os.path.abspath("victim"), path)
        case "dangling link":
            os.symlink(os.path.abspath("nothing"), path)
        case "device link":
            os.symlink("/dev/zero", path)
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)


KINDS = ("link", "dangling link", "device link", "fifo", "folder", "socket")
FILES = (
    *("numpack.json", "commits.log", "lock", "journal", "commits.log.new", "numpack.json.new"),
    *(DATA, f"data/{ID}.sum", f"data/{ID}.del", f"data/00000009-{TOKEN}.bin"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_special_files_are_not_opened_written_or_removed(kind):
    content = bytes(BLOCK + 64)
    sums = zlib.crc32(bytes(BLOCK)).to_bytes(4, "little")
    files = {DATA: content, f"data/{ID}.sum": sums, f"data/{ID}.del": bytes(8)}
    for name in FILES:
        more = ONE_DROPPED if name.endswith(".del") else {}
        for mode in ("a", "r", "r+", "w"):
            members = {"journal": 1} if name == "journal" else {}
            write(snapshot({"x": entry(content, **more)}, **members), files=files)
            Path("victim").write_bytes(SECRET)
            put_special_file(kind, name)
            before = os.lstat(STORE / name)
            assert raw_errors(STORE, mode) == [], (name, mode)
            assert Path("victim").read_bytes() == SECRET, (name, mode)
            assert not Path("nothing").exists(), (name, mode)
            # Mode "w" renames a new log over whatever has its name.
            if not (name == "commits.log" and mode == "w"):
                assert os.lstat(STORE / name).st_ino == before.st_ino, (name, mode)


def test_data_folder_that_is_a_symlink_is_not_followed():
    with NumPack("mine.npk") as store:
        store.save({"x": np.arange(4)})
    there = sorted(os.listdir("mine.npk/data"))
    log = Path("mine.npk/commits.log").read_bytes()
    for mode in ("a", "r", "r+", "w"):
        write(snapshot({}))
        (STORE / "commits.log").write_bytes(log)
        (STORE / "data").rmdir()
        os.symlink("../mine.npk/data", STORE / "data")
        assert raw_errors(STORE, mode) == []
        assert sorted(os.listdir("mine.npk/data")) == there
    with NumPack("mine.npk") as store:
        assert store.load("x").tolist() == [0, 1, 2, 3]


def test_data_folder_replaced_by_a_symlink_while_open_is_not_followed():
    with NumPack(STORE) as store, NumPack("mine.npk") as mine:
        mine.save({"x": np.arange(4)})
        store.save({"x": np.arange(3)})
        there = sorted(os.listdir("mine.npk/data"))
        (STORE / "data").rename(STORE / "moved")
        os.symlink("../mine.npk/data", STORE / "data")
        for call in (CALLS | CHANGES).values():
            with contextlib.suppress(StoreError, KeyError, ValueError):
                call(store)
        assert sorted(os.listdir("mine.npk/data")) == there
        assert mine.load("x").tolist() == [0, 1, 2, 3]


def test_data_folder_replaced_while_open_is_reopened():
    with NumPack(STORE) as store:
        store.save({"x": np.arange(3)})
        name = Path(store.get_metadata()["arrays"]["x"]["data_file"])
        content = (STORE / name).read_bytes()
        (STORE / name).unlink()
        with NumPack(STORE, mode="r") as reader:
            with pytest.raises(CorruptStoreError, match="missing"):
                reader.load("x")
            (STORE / "data").rename(STORE / "moved")
            (STORE / "data").mkdir()
            (STORE / name).write_bytes(content)
            assert reader.load("x").tolist() == [0, 1, 2]


def test_symlinks_folders_and_files_of_other_stores_are_not_orphans():
    with NumPack(STORE) as store:
        store.save({"x": np.arange(3)})
        token = json.loads((STORE / "commits.log").read_bytes().splitlines()[1])["store"]
    Path("victim").write_bytes(SECRET)
    data = STORE / "data"
    os.symlink(os.path.abspath("victim"), data / f"00000077-{token}.bin")
    (data / f"00000078-{token}.bin").mkdir()
    (data / f"00000079-{int(token, 16) ^ 1:08x}.bin").write_bytes(b"another's")
    (data / f"00000080-{token}.bin").write_bytes(b"an orphan")
    kept = sorted(each for each in os.listdir(data) if not each.startswith("00000080"))
    with NumPack(STORE) as store:
        store.append({"x": np.arange(3)})
    assert sorted(os.listdir(data)) == kept
    with NumPack(STORE, mode="w"):
        pass
    assert sorted(os.listdir(data)) == kept[1:], "what the emptied store had is removed"


def journal(rows=(0,), fresh=b"abcd", sums=(), extent=(16, 4), **members) -> None:
    content = bytes(extent[0] * extent[1])
    head = {"id": ID, "width": 4, "rows": len(rows), "first": 0, "sums": len(sums), **members}
    record = line({"commit": 1, "arrays": [head]})
    record += np.array(rows, "<i8").tobytes() + fresh + np.array(sums, "<u4").tobytes()
    whole = len(content) // BLOCK
    files = {DATA: content, f"data/{ID}.sum": bytes(4 * whole), "journal": record}
    arrays = {"x": entry(content, shape=list(extent))}
    write(snapshot(arrays, journal=zlib.crc32(record)), files=files)
