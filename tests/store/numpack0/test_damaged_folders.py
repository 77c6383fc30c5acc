"""Damaged folders of NumPack 0.x are refused and unchanged."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.files import contents
from support.store.numpack0_store import FOLDER, META, Old, bitmap, write, write_metadata

from numpack import CorruptStoreError, NewerFormatError, NumPack, StoreError
from numpack.errors import UnsupportedError
from numpack.store.format.numpack0 import reader

ROWS = np.arange(12, dtype="<f8").reshape(6, 2)


def rows_of(array: reader.Numpack0Array, folder: Path = FOLDER) -> np.ndarray:
    """Return the live rows of an array, read with NumPy alone."""
    stored = np.fromfile(folder / array.file, array.dtype, int(np.prod(array.shape)))
    rows = stored.reshape(array.shape)
    return np.delete(rows, array.dropped, axis=0) if array.shape else rows


def equal(found: np.ndarray, expected: np.ndarray) -> bool:
    return (
        found.dtype == expected.dtype
        and found.shape == expected.shape
        and found.tobytes() == expected.tobytes()
    )


def write_malformed(**fields) -> None:
    """Write a folder of one array whose metadata has the given fields."""
    write({"x": ROWS})
    write_metadata(Old(**fields))


HUGE = 2**64 - 1
REFUSED = {
    "another magic": (lambda: write_metadata(magic=b"NPKC"), "begins with b'NPKC'"),
    "version 0": (lambda: write_metadata(version=0), "version 0"),
    "an empty file": (lambda: (write({}), META.write_bytes(b"")), "ends at byte 0, 8 bytes"),
    "trailing bytes": (lambda: write_metadata(after=b"\0"), "1 bytes follow the last of 0"),
    "a count too large": (lambda: write_metadata(Old(), count=2**32 - 1), "it ends at byte"),
    "a count too small": (lambda: write_metadata(Old(), count=0), "bytes follow the last of 0"),
    "a name beyond the end": (
        lambda: write_metadata(count=1, after=struct.pack("<I", 40_000) + b"x"),
        "it ends at byte 25, 40,000 bytes are needed at 24",
    ),
    "an endless name": (
        lambda: write_metadata(count=1, after=struct.pack("<I", 2**32 - 1) + b"x"),
        "name of an array has 4,294,967,295 bytes",
    ),
    "an endless file name": (
        lambda: write_malformed(file=b"x" * 70_000),
        "data file of 'x' has 70,000 bytes",
    ),
    "a name that is no UTF-8": (
        lambda: write_malformed(name=b"\xff", file="data_x.npkd"),
        "not valid UTF-8",
    ),
    "a surrogate": (
        lambda: write_malformed(name=b"\xed\xa0\x80", file="data_x.npkd"),
        "not valid UTF-8",
    ),
    "a file that is no UTF-8": (
        lambda: write_malformed(file=b"data_\xc3.npkd"),
        "not valid UTF-8",
    ),
    "a name twice": (
        lambda: write_metadata(Old(), Old(file="data_y.npkd")),
        "the array 'x' or its data file 'data_y.npkd' twice",
    ),
    "a data file twice": (
        lambda: write_metadata(Old(), Old("y", file="data_x.npkd")),
        "the array 'y' or its data file 'data_x.npkd' twice",
    ),
    "an unknown dtype": (lambda: write_malformed(code=14), "code 14, not one up to 13"),
    "more dimensions than NumPy has": (lambda: write_malformed(ndim=65), "65 dimensions"),
    "dimensions beyond the end": (
        lambda: write_malformed(ndim=2**32 - 1),
        "4,294,967,295 dimensions",
    ),
    "an endless array": (
        lambda: write_malformed(shape=(HUGE, HUGE)),
        "which exceeds the address space",
    ),
    "2**63 bytes": (
        lambda: write_malformed(shape=(2**60,), size=2**63),
        "exceeds the address space",
    ),
    "a product that overflows to the size": (
        lambda: write_malformed(shape=(2**61 + 12,), size=96),
        "exceeds the address space",
    ),
    "an empty array of endless rows": (
        lambda: write_malformed(shape=(0, HUGE), size=0),
        "exceeds the address space",
    ),
    "a size too small": (lambda: write_malformed(size=95), "need 96 bytes, but its size is 95"),
    "a size too large": (lambda: write_malformed(size=97), "need 96 bytes, but its size is 97"),
    "a size of other dtype": (
        lambda: write_malformed(code=10),
        "need 48 bytes, but its size is 96",
    ),
}
INVALID_DATA_FILES = [
    "",
    ".",
    "..",
    "data_",
    ".npkd",
    "data_npkd",
    "/etc/passwd",
    "../data_x.npkd",
    "data_/../../data_x.npkd",
    "data_sub/x.npkd",
    "data_sub\\x.npkd",
    "data_x\0.npkd",
    "data_x.npkd\0",
    "data_x.npkd/",
    "metadata.npkm",
    "deleted_x.npkb",
    "numpack.json",
    "commits.log",
    "Data_x.npkd",
]


def check_refused(match: str, error: type[Exception] = CorruptStoreError) -> str:
    """Check that the folder is refused and unchanged; return the error message."""
    before = contents("old.npk")
    with pytest.raises(error, match=match) as raised:
        reader.read(FOLDER)
    assert contents("old.npk") == before
    return str(raised.value)


@for_each("case", REFUSED)
def test_damaged_metadata_is_refused(case):
    make, phrase = REFUSED[case]
    make()
    message = check_refused(phrase)
    assert "metadata.npkm" in message
    assert "restore it from a backup" in message


@for_each("file", INVALID_DATA_FILES)
def test_invalid_data_file_name_is_refused(file):
    write_malformed(file=file)
    for escape in ("data_x.npkd", "data_sub/x.npkd", "data_sub\\x.npkd"):
        for folder in (Path(), FOLDER):
            (folder / escape).parent.mkdir(exist_ok=True)
            (folder / escape).write_bytes(ROWS.tobytes())
    message = check_refused("the data file of 'x' is")
    assert repr(file) in message


def test_newer_version_is_not_reported_as_damage():
    write_metadata(version=2, after=b"who knows")
    assert "metadata.npkm" in check_refused("version 2.*upgrade numpack", NewerFormatError)


@pytest.mark.parametrize(
    "overrides", [{"compression": 1}, {"compression": 9}, {"flag": 1}], ids=str
)
def test_compressed_array_is_refused(overrides):
    write_malformed(rest=(3, 96, 50), **overrides)
    message = check_refused("'x'.*is compressed", UnsupportedError)
    assert "load it with NumPack 0.x and save it again without compression" in message


@pytest.mark.parametrize("shape", [(6, 2), (0, 2)])
def test_missing_data_file_is_damage(shape):
    write({"x": np.zeros(shape)})
    (FOLDER / "data_x.npkd").unlink()
    check_refused(r"data_x\.npkd.*is missing")


def test_overlong_data_file_name_is_reported_as_missing():
    write_malformed(file=f"data_{'x' * 5000}.npkd")
    check_refused("is missing")


@pytest.mark.parametrize("size", [0, 95])
def test_truncated_data_file_is_damage(size):
    write({"x": ROWS})
    os.truncate(FOLDER / "data_x.npkd", size)
    check_refused(rf"data_x\.npkd.*should have 96 bytes and has {size};")


@pytest.mark.parametrize("missing", ["old.npk", "old.npk/metadata.npkm"])
def test_missing_metadata_is_damage(missing):
    write({})
    Path("old.npk").rename("gone.npk") if missing == "old.npk" else META.unlink()
    check_refused(r"metadata\.npkm.*is missing")


BITMAPS = {
    "empty": (b"", r"ends at byte 0, 16 bytes are needed"),
    "half a head": (bitmap(6)[:15], r"ends at byte 15, 16 bytes are needed"),
    "no words": (bitmap(6)[:16], "6 rows need 8 bytes, not 0"),
    "half a word": (bitmap(6)[:23], "6 rows need 8 bytes, not 7"),
    "a word too many": (bitmap(6) + bytes(8), "6 rows need 8 bytes, not 16"),
    "fewer rows": (bitmap(5), "for 5 rows, and its array has 6"),
    "more rows": (bitmap(7), "for 7 rows, and its array has 6"),
    "endless rows": (struct.pack("<QQ", HUGE, 0), "for 18,446,744,073,709,551,615 rows"),
}


@for_each("case", BITMAPS)
def test_damaged_bitmap_is_refused(case):
    data, phrase = BITMAPS[case]
    write({"x": ROWS})
    (FOLDER / "deleted_x.npkb").write_bytes(data)
    assert "deleted_x.npkb" in check_refused(phrase)
    with pytest.raises(CorruptStoreError, match="deleted_x"):
        NumPack(str(FOLDER)).open()


def test_removing_a_bitmap_of_another_length_restores_all_rows():
    write({"x": ROWS})
    (FOLDER / "deleted_x.npkb").write_bytes(bitmap(5, [1]))
    check_refused("or remove it to restore all rows, including deleted ones")
    (FOLDER / "deleted_x.npkb").unlink()
    assert equal(rows_of(reader.read(FOLDER)["x"]), ROWS)


def test_bitmap_of_a_0d_array_is_refused():
    write({"x": np.float64(1).reshape(())})
    (FOLDER / "deleted_x.npkb").write_bytes(bitmap(1, [0]))
    check_refused("for 1 rows, and its array has 0")


@pytest.mark.parametrize("file", ["metadata.npkm", "deleted_x.npkb"])
def test_unreadable_file_is_reported(file, monkeypatch):
    write({"x": ROWS}, {"x": [1]})
    opened = os.open

    def refuse(path, *args, **kwargs):  # patched, because root may read every file
        if path == file:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match=f"{file}.*Permission denied; make it readable"):
        reader.read(FOLDER)


@pytest.mark.parametrize("call", ["stat", "open"])
def test_inaccessible_folder_is_reported(monkeypatch, call):
    write({"x": ROWS})

    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StoreError, match=r"metadata\.npkm.*Permission denied"):
        reader.read(FOLDER)
