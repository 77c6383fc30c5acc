"""``.npz`` files, against NumPy's own reader and writer."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.each import assert_each
from support.formats.arrays import LOWPREC, NUMBERS, assert_same, values
from support.formats.conformance import FormatConformance

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import InvalidValueError
from numpack.formats import npz


class TestNpz(FormatConformance):
    suffix = ".npz"
    label = ".npz"
    refused_dtypes = frozenset(LOWPREC)

    def write(self, path, arrays):
        np.savez(path, **arrays)

    def read(self, path):
        with np.load(path) as found:
            return dict(found)


def stored(name="x"):
    with NumPack("s.npk", mode="r") as store:
        return store[name]


def test_compressed_archives():
    def check(name, shape):
        array = values(name, shape)
        np.savez_compressed("x.npz", x=array)
        convert("x.npz", "s.npk")
        assert_same(stored(), array)
        convert("s.npk", "y.npz", compress=True)
        with np.load("y.npz") as found, zipfile.ZipFile("y.npz") as archive:
            assert_same(found["x"], array)
            assert archive.infolist()[0].compress_type == zipfile.ZIP_DEFLATED

    assert_each([(name, shape) for name in NUMBERS for shape in [(5,), (2, 3, 2), ()]], check)


def test_members_are_aligned_so_that_they_map():
    arrays = {"x": np.arange(5.0), "日本/é": np.arange(7, dtype="i2"), "z": np.array(3)}
    convert(arrays, "x.npz")
    raw = Path("x.npz").read_bytes()
    with zipfile.ZipFile("x.npz") as archive:
        assert archive.testzip() is None
        for zipped in archive.infolist():
            assert zipped.compress_type == zipfile.ZIP_STORED
            with archive.open(zipped) as member:
                content = member.read()
            start = raw.index(content)
            assert start % 64 == 0
            name = zipped.filename.removesuffix(".npy")
            array = arrays[name]
            offset = start + len(content) - array.nbytes
            assert offset % 64 == 0
            mapped = np.memmap("x.npz", array.dtype, "r", offset, array.shape or (1,))
            assert mapped.tobytes() == array.tobytes()
    convert("x.npz", "s.npk")
    for name, array in arrays.items():
        assert_same(stored(name), array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_fortran_order(save):
    array = np.arange(3 << 18, dtype=">i4").reshape(-1, 3, order="F")
    save("x.npz", x=array, y=np.arange(3))
    convert("x.npz", "s.npk")
    assert_same(stored(), array.astype("<i4"))


def test_arrays_are_read_together_for_a_table():
    arrays = {name: np.arange(1_200_000, dtype="i8") >> len(name) + 4 for name in ("a", "bb")}
    np.savez_compressed("x.npz", **arrays)
    source = npz.open_source(Path("x.npz"))
    parts = list(source.parts(["bb", "a"], together=True))
    source.close()
    assert len(parts) == 3
    for name, array in arrays.items():
        assert_same(np.concatenate([part[name] for part in parts]), array)


def test_pickles_are_never_loaded():
    class Evil:
        def __reduce__(self):
            return Path.touch, (Path("executed"),)

    np.savez("x.npz", x=np.arange(3), evil=np.array([Evil()], object))
    with pytest.raises(InvalidValueError, match="'evil' holds Python objects"):
        convert("x.npz", "s.npk")
    convert("x.npz", "s.npk", arrays=["x"])
    assert_same(stored(), np.arange(3))
    assert not Path("executed").exists()


def test_bombs_are_refused(monkeypatch):
    monkeypatch.setattr(npz, "_FREE_BYTES", 1 << 20)
    with zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (11000000,)}"
        with archive.open("x.npy", "w") as member:
            member.write(b"\x93NUMPY\2\0" + len(header).to_bytes(4, "little") + header)
            for _ in range(11):
                member.write(bytes(1_000_000))
    with pytest.raises(InvalidValueError, match="unpacked to 11,000,0.*max_nbytes=110000"):
        convert("x.npz", "s.npk")
    assert not Path("s.npk").exists()


@pytest.mark.parametrize("kind", ["text", "two", "size", "pickle"])
def test_archives_of_other_things_are_refused(kind):
    content = {
        "text": b"hello",
        "size": b"\x93NUMPY\1\0\x40\0{'descr':'|u1','fortran_order':False,'shape':(9,)}     "
        b"     \n",
        "pickle": b"cposix\nsystem\n(S'touch executed'\ntR.",
        "two": b"",
    }[kind]
    np.savez("x.npz", x=np.arange(3))
    with zipfile.ZipFile("x.npz", "a") as archive:
        if kind == "two":
            with (
                pytest.warns(UserWarning, match="Duplicate name"),
                archive.open("x.npy") as old,
            ):
                archive.writestr("x.npy", old.read())
        else:
            archive.writestr("readme.txt" if kind == "text" else "y.npy", content)
    with pytest.raises(InvalidValueError, match=r"x\.npz"):
        convert("x.npz", "s.npk")
    assert not Path("executed").exists()


def test_names_that_archives_cannot_hold_are_refused():
    for name in ("a\0b", "\ud800", "x" * 70_000):
        with pytest.raises(UnsupportedError, match="cannot hold an array called.*rename="):
            convert({name: np.arange(3)}, "x.npz")
    convert({"../up": np.arange(3)}, "x.npz")
    convert("x.npz", "s.npk")
    assert_same(stored("../up"), np.arange(3))


def test_encrypted_archives_are_refused():
    np.savez("x.npz", x=np.arange(3))
    raw = bytearray(Path("x.npz").read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    Path("x.npz").write_bytes(raw)
    with pytest.raises(InvalidValueError, match=r"x\.npz.*encrypted"):
        convert("x.npz", "s.npk")
