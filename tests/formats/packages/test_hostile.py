"""Packages of strangers: nothing is written but the files of a store, and those whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard
from support.each import for_each
from support.packages.archives import Member, archive, members_of, rewrite

import numpack
from numpack import NumPack, errors
from numpack.store.format.log.log import new_log
from numpack.store.packages.archive import Archive
from numpack.store.packages.log import catalog_of

ROWS = np.arange(300_000, dtype="f8")


@pytest.fixture
def package():
    with NumPack("s.npk", mode="x") as store:
        store.save({"x": ROWS, "y": np.arange(9)})
    path = numpack.pack("s.npk")
    shutil.rmtree("s.npk")
    return path


def refuse(path: str, kind: type[Exception], words: str = "") -> None:
    before = sorted(os.listdir(".."))
    with pytest.raises(kind, match=words):
        numpack.unpack(path, "u.npk")
    assert "u.npk" not in os.listdir(".")
    assert not any(name.startswith(".") for name in os.listdir("."))
    assert sorted(os.listdir("..")) == before


NAMES = [
    b"../evil",
    b"data/../../evil",
    b"/etc/evil",
    b"data\\..\\..\\evil",
    b"C:evil",
    b"evil",
    b"data/",
    b"lock",
    b"journal",
    b"data/00000001-0123abcd.del",
    b"data/00000001-0123abcd.bin/",
    "data/00000001-0123abcd.bi\u0144".encode(),
    b"Commits.log",
]


@for_each("name", NAMES)
def test_other_names_are_refused(name, tmp_path):
    folder = tmp_path / name.hex()
    folder.mkdir()
    os.chdir(folder)
    with NumPack("s.npk", mode="x") as store:
        store.save({"y": np.arange(9)})
    members = members_of(numpack.pack("s.npk"))
    Path("evil.npkz").write_bytes(archive(*members, Member(name, b"evil")))
    refuse("evil.npkz", errors.CorruptStoreError, "is not a package")
    Path("evil.npkz").write_bytes(
        archive(*members[:-1], members[-1]._replace(local_name=name.ljust(12, b"x")[:12]))
    )
    refuse("evil.npkz", errors.CorruptStoreError, "is not a package")


def test_links_folders_and_devices_are_refused(package):
    for attributes in (0o120777 << 16, 0o040755 << 16, 0o010666 << 16, 0o060666 << 16, 0x10):
        for end in (".bin", "commits.log", "numpack.json"):
            rewrite(package, "evil.npkz", **{end: {"attributes": attributes}})
            refuse("evil.npkz", errors.CorruptStoreError, "a link, a folder or a device")


def test_duplicate_members_are_refused(package):
    members = members_of(package)
    for each in members:
        Path("evil.npkz").write_bytes(archive(*members, each))
        refuse("evil.npkz", errors.CorruptStoreError, "two members are called")


def test_files_that_the_log_does_not_name_are_refused(package):
    members = members_of(package)
    token = members[0].name.decode().partition("-")[2][:8]
    more = Member(f"data/00000099-{token}.bin".encode(), b"x")
    Path("evil.npkz").write_bytes(archive(more, *members))
    refuse("evil.npkz", errors.CorruptStoreError, "its log names no file")
    for left_out in members:
        rest = [each for each in members if each is not left_out]
        Path("evil.npkz").write_bytes(archive(*rest))
        refuse("evil.npkz", errors.StoreError, "missing")


def test_damage_of_each_file_is_found(package):
    for each in members_of(package):
        end = each.name.decode()
        rewrite(package, "evil.npkz", **{end: {"crc": zlib.crc32(each.data) ^ 1}})
        refuse("evil.npkz", errors.CorruptStoreError, f"checksum of {end} is wrong")
        if each.data and "/" in end:
            wrong = bytes([each.data[0] ^ 1]) + each.data[1:]
            fields = {"data": wrong, "crc": zlib.crc32(each.data)}
            rewrite(package, "evil.npkz", **{end: fields})
            refuse("evil.npkz", errors.CorruptStoreError, f"checksum of {end} is wrong")


def compressed(package: str, target: str, data: bytes, size: int) -> None:
    members = members_of(package)
    first = members[0]._replace(data=data, size=size, method=93, crc=zlib.crc32(ROWS.tobytes()))
    Path(target).write_bytes(archive(first, *members[1:]))


def test_sizes_of_compressed_rows_are_those_of_the_log(package):
    whole = ROWS.tobytes()
    frame = zstandard.ZstdCompressor().compress
    compressed(package, "good.npkz", frame(whole), len(whole))
    numpack.unpack("good.npkz", "good.npk")
    with NumPack("good.npk") as store:
        assert np.array_equal(store["x"], ROWS)
    for data, size, words in (
        (frame(whole), len(whole) + 8, "the log says"),
        (frame(whole + b"x"), len(whole), "does not have the"),
        (frame(whole[:-1]), len(whole), "does not have the"),
        (frame(whole)[:-5], len(whole), "does not have the|cannot be decompressed"),
        (b"no frame" * 99, len(whole), "cannot be decompressed"),
        (b"", len(whole), "cannot be"),
        (frame(bytes(len(whole))), len(whole), "checksum of"),
    ):
        compressed(package, "evil.npkz", data, size)
        refuse("evil.npkz", errors.CorruptStoreError, words)


def bomb(target: str, rows: int) -> None:
    """Write a package whose log claims more rows than its bytes can be."""
    with NumPack("b.npk", mode="x") as store:
        store.save({"x": np.zeros(1000)})
    members = members_of(numpack.pack("b.npk", "b.npkz"))
    catalog = catalog_of(Archive(os.path.abspath("b.npkz")))
    entry = catalog.arrays["x"].replace(stored=(rows,), tail=0)
    log = new_log(catalog.with_arrays({"x": entry}))
    data = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    sums = Member(entry.checksum_file.encode(), bytes(4 * (8 * rows >> 20)))
    Path(target).write_bytes(
        archive(
            members[0]._replace(data=data, size=8 * rows, method=93),
            *([sums] if sums.data else []),
            members[1]._replace(data=log),
            members[2],
        )
    )
    shutil.rmtree("b.npk")
    os.unlink("b.npkz")


def test_bombs_are_refused_before_anything_is_written():
    bomb("ratio.npkz", 1 << 28)
    refuse("ratio.npkz", errors.CorruptStoreError, "cannot be the 2,147,483,648 bytes")
    assert numpack.package_info("ratio.npkz")["arrays"]["x"]["size_bytes"] == 2 << 30


def test_limits_of_sizes(package, monkeypatch):
    with pytest.raises(errors.InvalidValueError, match="more than max_bytes=1,000,000"):
        numpack.unpack(package, "u.npk", max_bytes=1_000_000)
    status = os.statvfs(".")
    fields = list(status)
    fields[4] = 10  # f_bavail
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
        with pytest.raises(errors.InvalidValueError, match="are free on the disk"):
            numpack.unpack(package, "u.npk")
    assert os.listdir(".") == [package]
    numpack.unpack(package, "u.npk", max_bytes=3_000_000)


def test_a_stream_that_never_ends_takes_no_memory(package):
    """What is decompressed beyond the size is not kept, let alone written."""
    compressor = zstandard.ZstdCompressor().compressobj()
    data = b"".join(compressor.compress(bytes(64 << 20)) for _ in range(8)) + compressor.flush()
    compressed(package, "evil.npkz", data, ROWS.nbytes)
    script = """
import resource, sys, numpack
from numpack.errors import CorruptStoreError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    numpack.unpack("evil.npkz", "u.npk")
except CorruptStoreError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 50_000
    assert "u.npk" not in os.listdir(".")
