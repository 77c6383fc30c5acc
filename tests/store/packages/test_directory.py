"""Central directories of archives that others have made: read as they are, or refused."""

from __future__ import annotations

import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.packages.archives import Member, archive, members_of, rewrite

import numpack
from numpack import NumPack, errors
from numpack.formats.packages.writer import ArchiveWriter
from numpack.store.packages.directory import Directory
from numpack.store.packages.layout import read_directory

NAME = b"data/00000001-0123abcd.bin"
ROWS = np.arange(300_000, dtype="f8")


@pytest.fixture
def package():
    with NumPack("s.npk", mode="x") as store:
        store.save({"x": ROWS, "y": np.arange(9)})
    return numpack.pack("s.npk")


def parse(data: bytes, tail: int = 1 << 16) -> Directory:
    return read_directory(data[-tail:], len(data), lambda start, end: data[start:end])[0]


def open_and_read(path: str) -> dict:
    with NumPack(path, mode="r") as npk:
        return {name: npk.load(name, verify=True).copy() for name in npk}


def test_members_are_found():
    data = archive(Member(NAME, b"abc"), Member(b"commits.log", b"defg"))
    for tail in (1 << 16, 22, 40, len(data)):
        found = parse(data, tail)
        assert found.names() == [NAME.decode(), "commits.log"]
        header, start, packed, size, method, _ = found.find(NAME.decode())
        assert (header, packed, size, method) == (0, 3, 3, 0)
        assert data[start : start + size] == b"abc"
        assert start == 4096
        start, size = found.find("commits.log")[1:3]
        assert data[start : start + size] == b"defg"
        assert found.find("numpack.json") is None
        assert not found.is_compressed
    assert len(parse(archive())) == 0


def test_sizes_of_64_bits():
    """Of a directory alone: an archive of 5 GiB is not written here."""
    large = 5 << 30
    extra = struct.pack("<2H2Q", 1, 16, large, large)
    lies = {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": extra}
    data = archive(Member(NAME, b"", **lies))
    records = data[data.index(b"PK\1\2") : -22]
    found = Directory(records, 1, large + 8192).find(NAME.decode())
    assert found[1:4] == (8192, large, large)
    for broken in (extra[:12], extra[:4], struct.pack("<2HQ", 1, 8, large), b"\1\0\xff\xff"):
        lies["extra"] = broken
        data = archive(Member(NAME, b"", **lies))
        with pytest.raises(ValueError, match="missing|incomplete"):
            Directory(data[data.index(b"PK\1\2") : -22], 1, large + 8192)


LIES = {
    "a link": {"attributes": 0o120777 << 16},
    "a folder": {"attributes": 0x10},
    "a device": {"attributes": 0o020666 << 16},
    "a name that leaves the folder": {"name": b"../../etc/passwd"},
    "an absolute name": {"name": b"/etc/passwd"},
    "a drive": {"name": b"C:\\windows"},
    "a name within data": {"name": b"data/../../x.bin"},
    "another name": {"name": b"data/1.bin"},
    "another extension": {"name": b"data/00000001-0123abcd.exe"},
    "no name": {"name": b""},
    "a name of NUL": {"name": b"commits.log\0"},
    "encryption": {"flags": 1},
    "a data descriptor": {"flags": 8},
    "deflate": {"method": 8},
    "two sizes": {"size": 4},
    "a comment": {"comment": b"c"},
    "another disk": {"disk": 1},
    "an offset after the end": {"offset": 1 << 20},
    "a length beyond the end": {"packed": 1 << 20, "size": 1 << 20},
    "a negative length": {"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF},
}


@for_each("lie", LIES)
def test_a_record_that_no_package_has_is_refused(lie):
    for members in (
        [Member(NAME, b"abc")._replace(**LIES[lie]), Member(b"commits.log", b"x")],
        [Member(b"commits.log", b"x"), Member(NAME, b"abc")._replace(**LIES[lie])],
    ):
        with pytest.raises(ValueError, match=r"member|name|overlaps|missing|after"):
            parse(archive(*members))


def test_duplicate_and_overlapping_members_are_refused():
    with pytest.raises(ValueError, match="two members are called"):
        parse(archive(Member(NAME, b"a"), Member(NAME, b"b")))
    with pytest.raises(ValueError, match="overlaps"):
        parse(archive(Member(NAME, b"a" * 99), Member(b"commits.log", b"b", offset=0)))
    with pytest.raises(ValueError, match="overlaps"):
        parse(archive(Member(b"commits.log", b"b", offset=4000), Member(NAME, b"a")))


def test_damaged_end_records_are_refused():
    data = archive(Member(NAME, b"abc"))
    for broken in (
        data[:-1],
        data + b"x",
        data[:-22],
        b"",
        data[-22:],
        archive(Member(NAME, b"abc"), count=2),
        archive(Member(NAME, b"abc"), count=0),
        archive(Member(NAME, b"abc"), count=0xFFFF),
        archive(Member(NAME, b"abc"))[:-2] + b"\1\0",
        data[:-12] + struct.pack("<2L", 0xFFFFFFFF, 0xFFFFFFFF) + b"\0\0" + data[-2:],
    ):
        with pytest.raises(ValueError):
            parse(broken)


def test_many_members_have_a_zip64_end_record():
    with open("many", "wb") as file:
        writer = ArchiveWriter(file.fileno())
        for number in range(66_000):
            writer.add(f"data/{number:08d}-0123abcd.sum", b"")
        writer.close()
    data = Path("many").read_bytes()
    assert data[-42:-38] == b"PK\6\7"
    assert len(parse(data)) == 66_000
    with zipfile.ZipFile("many") as package:
        assert len(package.namelist()) == 66_000


def test_a_rewritten_package_is_read(package):
    rewrite(package, "again.npkz")
    assert np.array_equal(open_and_read("again.npkz")["x"], ROWS)


def test_local_headers_that_differ_are_damage(package):
    for number, lie in (
        (1, {"local_name": b"data/00000009-0123abcd.bin"}),
        (1, {"local_method": 93}),
        (2, {"gap": 7}),
        (1, {"align": 1}),
        (1, {"align": 64}),
    ):
        rewrite(package, "lies.npkz", **{f"{number}-{name_end(package)}": lie})
        with pytest.raises(errors.CorruptStoreError, match="is not a package, or is damaged"):
            open_and_read("lies.npkz")


def name_end(package: str) -> str:
    return members_of(package)[0].name.decode().partition("-")[2]


def test_members_of_other_sizes_are_damage(package):
    end = "1-" + name_end(package)
    for data in (ROWS.tobytes()[:-1], ROWS.tobytes() + b"x", b""):
        rewrite(package, "lies.npkz", **{end: {"data": data}})
        with pytest.raises(errors.CorruptStoreError, match="and the log says 2,400,000"):
            open_and_read("lies.npkz")
    rewrite(package, "lies.npkz", **{end: {"data": bytes(ROWS.nbytes)}})
    with pytest.raises(errors.CorruptStoreError, match="checksum is wrong"):
        open_and_read("lies.npkz")
    rewrite(package, "lies.npkz", **{"commits.log": {"data": b"{}"}})
    with pytest.raises(errors.CorruptStoreError, match="its log cannot be read"):
        open_and_read("lies.npkz")
    rewrite(package, "lies.npkz", **{"numpack.json": {"data": b"{}"}})
    with pytest.raises(errors.StoreError):
        open_and_read("lies.npkz")
    rewrite(
        package,
        "lies.npkz",
        **{"numpack.json": {"data": b'{"format": "numpack", "version": 9}'}},
    )
    with pytest.raises(errors.NewerFormatError):
        open_and_read("lies.npkz")


def test_missing_members_are_damage(package):
    members = members_of(package)
    for left_out in members:
        rest = [each for each in members if each is not left_out]
        Path("lies.npkz").write_bytes(archive(*rest))
        if left_out.name.endswith(b".sum"):
            with NumPack("lies.npkz", mode="r") as npk:
                assert not npk.verify().ok
        else:
            with pytest.raises(errors.StoreError, match="missing"):
                open_and_read("lies.npkz")


def test_a_log_of_a_store_that_is_being_written_is_damage(package):
    with NumPack("s.npk") as store:
        store.drop("x", [1])
        store.close()
    log = Path("s.npk/commits.log").read_bytes()
    rewrite(package, "lies.npkz", **{"commits.log": {"data": log}})
    with pytest.raises(errors.CorruptStoreError):
        open_and_read("lies.npkz")


def test_flipped_bits_are_found_or_change_nothing(package, thorough):
    dice, whole = random.Random(3), Path(package).read_bytes()
    directory = whole.index(b"PK\1\2")
    places = [dice.randrange(directory, len(whole)) for _ in range(2000 if thorough else 300)]
    places += [dice.randrange(len(whole)) for _ in range(50)]
    found = 0
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << dice.randrange(8)
        Path("f.npkz").unlink(missing_ok=True)
        Path("f.npkz").write_bytes(data)
        try:
            arrays = open_and_read("f.npkz")
        except errors.NumpackError:
            found += 1
            continue
        assert np.array_equal(arrays["x"], ROWS)
        assert np.array_equal(arrays["y"], np.arange(9))
    assert found > 200


def test_truncated_packages_are_found(package):
    whole = Path(package).read_bytes()
    near_the_end = range(len(whole) - 900, len(whole), 7)
    for size in [0, 1, 21, 22, 100, 4096, len(whole) // 2, *near_the_end]:
        Path("f.npkz").write_bytes(whole[:size])
        with pytest.raises(errors.CorruptStoreError, match="is not a package, or is damaged"):
            NumPack("f.npkz", mode="r").open()
