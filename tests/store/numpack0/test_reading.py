"""Reading folders of NumPack 0.x: fixtures it wrote, and generated folders."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.files import contents
from support.store.numpack0_store import (
    CODES,
    FIXTURES,
    FOLDER,
    FOLDERS,
    Old,
    bitmap,
    write,
    write_metadata,
)

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


def test_fixtures_are_complete():
    assert FOLDERS == [
        "appended",
        "deleted",
        "deleted_then_appended",
        "dtypes",
        "names",
        "replaced",
        "shapes",
    ]


@pytest.mark.parametrize("name", FOLDERS)
def test_fixture_reads_as_numpack_0_7_read_it(name):
    folder = FIXTURES / f"{name}.npk"
    arrays = reader.read(folder)
    with np.load(FIXTURES / f"{name}.expected.npz") as expected:
        assert sorted(arrays) == sorted(expected)
        for key, array in arrays.items():
            assert equal(rows_of(array, folder), expected[key]), key


def test_shapes_count_stored_rows_and_times_are_microseconds():
    old = reader.read(FIXTURES / "deleted.npk")
    assert list(old) == ["x", "y"]
    assert old["x"].shape == (200, 4)
    assert old["x"].dropped.tolist() == [0, 5, 63, 64, 65, 127, 128, 199]
    assert old["y"].dropped.tolist() == list(range(10, 100))
    assert old["x"].dropped.dtype == np.int64
    assert 1.7e15 < old["x"].modified < 2.0e15


def test_rows_restored_by_an_append_are_live_as_in_numpack_0_7():
    (old,) = reader.read(FIXTURES / "deleted_then_appended.npk").values()
    assert old.shape == (24, 3)
    assert old.dropped.tolist() == []  # although the bitmap still counts 3 deleted rows


@for_each("code", CODES)
def test_dtype_codes(code):
    rows = np.arange(15).reshape(5, 3).astype(code)
    write({"x": rows}, {"x": [1, 4]})
    old = reader.read(FOLDER)["x"]
    assert old.dtype == np.dtype(code).newbyteorder("<")
    assert equal(rows_of(old), rows[[0, 2, 3]])


NAMES = [
    "x",
    "with space",
    "dot.name",
    "..",
    "a..b",
    "",
    "naïve",
    "特征",
    "🎈",
    "-",
    "CON",
    "x" * 240,
]


@for_each("name", NAMES)
def test_names_of_arrays(name):
    write({name: ROWS, "other": -ROWS})
    arrays = reader.read(FOLDER)
    assert list(arrays) == [name, "other"]
    assert equal(rows_of(arrays[name]), ROWS)


def test_name_too_long_for_a_bitmap_file():
    name = "x" * 245  # so that data_….npkd has 255 bytes
    write({name: ROWS})
    assert reader.read(FOLDER)[name].dropped.tolist() == []


def test_bitmap_is_found_by_the_data_file_and_not_by_the_name():
    write({"x": ROWS}, {"x": [2]})
    write_metadata(Old("../a/\0b", file="data_x.npkd"))
    (old,) = reader.read(FOLDER).values()
    assert old.name == "../a/\0b"
    assert old.dropped.tolist() == [2]


@for_each("shape", [(0,), (0, 5), (3, 0), (0, 0), (1,), (2, 2, 3, 2), (1,) * 64, ()])
def test_shapes_are_read(shape):
    rows = np.arange(np.prod(shape), dtype="<f4").reshape(shape)
    write({"x": rows})
    old = reader.read(FOLDER)["x"]
    assert old.shape == shape
    assert equal(rows_of(old), rows)


def test_folder_without_arrays():
    write({})
    assert reader.read(FOLDER) == {}


@for_each("rows", [0, 1, 63, 64, 65, 128, 1000, 600_000])
@for_each("part", ["none", "some", "all"])
def test_clear_bits_are_deleted_rows(rows, part):
    rng = np.random.default_rng(rows)
    some = np.flatnonzero(rng.random(rows) < 0.3).tolist()
    dropped = {"none": [], "some": some, "all": list(range(rows))}[part]
    write({"x": np.arange(rows) % 256 == 7}, {"x": dropped})
    found = reader.read(FOLDER)["x"].dropped
    assert found.dtype == np.int64
    assert found.tolist() == dropped


@pytest.mark.parametrize("deleted", [0, 7, 2**64 - 1])
def test_count_of_deleted_rows_is_ignored(deleted):
    write({"x": ROWS})
    (FOLDER / "deleted_x.npkb").write_bytes(bitmap(6, [0, 3], deleted))
    assert reader.read(FOLDER)["x"].dropped.tolist() == [0, 3]


def test_bits_after_the_last_row_are_ignored():
    write({"x": ROWS})
    (FOLDER / "deleted_x.npkb").write_bytes(struct.pack("<QQQ", 6, 1, (1 << 64) - 1 - 4))
    assert reader.read(FOLDER)["x"].dropped.tolist() == [2]


def test_unused_fields_are_ignored():
    write({"x": ROWS})
    write_metadata(Old(rest=(-3, 5, 2**64 - 1)), total=2**64 - 1)
    assert equal(rows_of(reader.read(FOLDER)["x"]), ROWS)


def test_bytes_after_the_rows_are_ignored():
    write({"x": ROWS})
    with (FOLDER / "data_x.npkd").open("ab") as file:
        file.write(b"of an append that never ended")
    assert equal(rows_of(reader.read(FOLDER)["x"]), ROWS)


def test_reading_changes_no_file_and_keeps_none_open():
    write({"x": ROWS}, {"x": [1]})
    before, times = contents("old.npk"), {p: p.stat().st_mtime_ns for p in FOLDER.iterdir()}
    FOLDER.chmod(0o500)
    descriptors = len(os.listdir("/dev/fd"))
    arrays = reader.read(FOLDER)
    assert len(os.listdir("/dev/fd")) == descriptors
    FOLDER.chmod(0o700)
    assert contents("old.npk") == before
    assert {p: p.stat().st_mtime_ns for p in FOLDER.iterdir()} == times
    os.truncate(FOLDER / "data_x.npkd", 0)  # safe, because nothing is mapped
    assert arrays["x"].dropped.tolist() == [1]
