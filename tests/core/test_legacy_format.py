"""Reading folders of NumPack 0.x: fixtures it wrote, generated folders, and damaged ones."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.files import contents
from support.numpack0_store import CODES, FOLDER, META, Old, bitmap, write, write_metadata

from numpack import CorruptStoreError, NewerFormatError, StoreError
from numpack.errors import NumpackError, UnsupportedError
from numpack.store.format.numpack0 import reader

FIXTURES = Path(__file__).parents[1] / "data" / "numpack-0.7.0"
FOLDERS = sorted(path.name.removesuffix(".npk") for path in FIXTURES.glob("*.npk"))

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


# Fixtures that NumPack 0.7 wrote


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


# Generated folders


@pytest.mark.parametrize("code", CODES)
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


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:20]))
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


@pytest.mark.parametrize(
    "shape", [(0,), (0, 5), (3, 0), (0, 0), (1,), (2, 2, 3, 2), (1,) * 64, ()]
)
def test_shapes_are_read(shape):
    rows = np.arange(np.prod(shape), dtype="<f4").reshape(shape)
    write({"x": rows})
    old = reader.read(FOLDER)["x"]
    assert old.shape == shape
    assert equal(rows_of(old), rows)


def test_folder_without_arrays():
    write({})
    assert reader.read(FOLDER) == {}


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 128, 1000, 600_000])
@pytest.mark.parametrize("part", ["none", "some", "all"])
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


# Refusals

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


@pytest.mark.parametrize("case", REFUSED)
def test_damaged_metadata_is_refused(case):
    make, phrase = REFUSED[case]
    make()
    message = check_refused(phrase)
    assert "metadata.npkm" in message
    assert "restore it from a backup" in message


@pytest.mark.parametrize("file", INVALID_DATA_FILES, ids=repr)
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


@pytest.mark.parametrize("case", BITMAPS)
def test_damaged_bitmap_is_refused(case):
    data, phrase = BITMAPS[case]
    write({"x": ROWS})
    (FOLDER / "deleted_x.npkb").write_bytes(data)
    assert "deleted_x.npkb" in check_refused(phrase)


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


# Arbitrary damage


def check_arrays_or_error() -> None:
    """Check that reading returns valid arrays or raises an error of this package."""
    try:
        arrays = reader.read(FOLDER)
    except NumpackError:
        return
    for array in arrays.values():
        rows_of(array)


def copy_fixture(name: str) -> dict[str, bytes]:
    """Copy a fixture; return its metadata and bitmaps."""
    found = contents(str(FIXTURES / f"{name}.npk"))
    FOLDER.mkdir()
    for file, data in found.items():
        (FOLDER / file).write_bytes(data)
    return {file: data for file, data in found.items() if not file.startswith("data_")}


@pytest.mark.parametrize("name", ["deleted", "deleted_then_appended", "names", "shapes"])
def test_any_flipped_bit(name):
    for file, data in copy_fixture(name).items():
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            (FOLDER / file).write_bytes(flipped)
            check_arrays_or_error()
        (FOLDER / file).write_bytes(data)


@pytest.mark.parametrize("name", ["deleted", "deleted_then_appended", "names", "shapes"])
def test_any_truncation_is_damage(name):
    for file, data in copy_fixture(name).items():
        for length in range(len(data)):
            (FOLDER / file).write_bytes(data[:length])
            check_refused(f"{file}.* damaged")
        (FOLDER / file).write_bytes(data)
    reader.read(FOLDER)


@given(st.data())
def test_drawn_damage(data):
    write({"x": ROWS, "y": np.arange(130)}, {"x": [1], "y": list(range(70))})
    for file in ("metadata.npkm", "deleted_x.npkb", "deleted_y.npkb"):
        damaged = bytearray((FOLDER / file).read_bytes())
        where = st.integers(0, len(damaged) - 1)
        for at, value in data.draw(st.lists(st.tuples(where, st.integers(0, 255)), max_size=6)):
            damaged[at] = value
        at, more = data.draw(st.tuples(where, st.binary(max_size=9)))
        damaged[at:at] = more
        (FOLDER / file).write_bytes(damaged)
    check_arrays_or_error()


@given(st.binary(max_size=200))
def test_drawn_bytes_as_metadata(data):
    write({"x": ROWS})
    META.write_bytes(data)
    check_arrays_or_error()
    META.write_bytes(struct.pack("<4sI", b"NPKB", 1) + data)
    check_arrays_or_error()


LARGE = {
    "metadata": (META, lambda: write_malformed(), 1 << 36),
    "bitmap": (
        FOLDER / "deleted_x.npkb",
        lambda: write({"x": ROWS}, {"x": [1]}),
        1 << 36,
    ),
    "a count": (FOLDER / "data_x.npkd", lambda: write_metadata(Old(), count=2**32 - 1), 96),
    "a name": (
        META,
        lambda: write_metadata(count=1, after=struct.pack("<I", 2**32 - 1)),
        1 << 36,
    ),
}


@pytest.mark.parametrize("case", LARGE)
def test_claimed_sizes_are_not_allocated(case):
    path, make, size = LARGE[case]
    make()
    path.touch()
    os.truncate(path, size)  # as a hole, which takes no disk space
    tracemalloc.start()
    try:
        with pytest.raises(CorruptStoreError):
            reader.read(FOLDER)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
