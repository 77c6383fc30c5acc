"""Folders of NumPack 0.x with flipped bits, truncated files, drawn bytes and false claims."""

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
from support.store.numpack0_store import FIXTURES, FOLDER, META, Old, write, write_metadata

from numpack import CorruptStoreError, NumPack
from numpack.errors import NumpackError
from numpack.store.format.numpack0 import reader

ROWS = np.arange(12, dtype="<f8").reshape(6, 2)


def rows_of(array: reader.Numpack0Array, folder: Path = FOLDER) -> np.ndarray:
    """Return the live rows of an array, read with NumPy alone."""
    stored = np.fromfile(folder / array.file, array.dtype, int(np.prod(array.shape)))
    rows = stored.reshape(array.shape)
    return np.delete(rows, array.dropped, axis=0) if array.shape else rows


def write_malformed(**fields) -> None:
    """Write a folder of one array whose metadata has the given fields."""
    write({"x": ROWS})
    write_metadata(Old(**fields))


def check_refused(match: str, error: type[Exception] = CorruptStoreError) -> str:
    """Check that the folder is refused and unchanged; return the error message."""
    before = contents("old.npk")
    with pytest.raises(error, match=match) as raised:
        reader.read(FOLDER)
    assert contents("old.npk") == before
    return str(raised.value)


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
def test_any_flipped_bit(name, thorough):
    for file, data in copy_fixture(name).items():
        for bit in range(0, 8 * len(data), 1 if thorough else 11):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            (FOLDER / file).write_bytes(flipped)
            check_arrays_or_error()
        (FOLDER / file).write_bytes(data)


@pytest.mark.parametrize("name", ["deleted", "deleted_then_appended", "names", "shapes"])
def test_any_truncation_is_damage(name, thorough):
    for file, data in copy_fixture(name).items():
        for length in range(0, len(data), 1 if thorough else 3):
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


OLD = str(FOLDER)
HUGE = 2**63 - 1
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


def test_claim_larger_than_the_files_is_refused_quickly(run_python):
    """Memory and time are bounded by the sizes of the files, not by what they claim."""
    for claim, make in CLAIMS.items():
        write({"x": ROWS})
        make()
        FOLDER.rename(claim)
    run_python(
        """
import resource, sys, time
from numpack import CorruptStoreError, NumPack
pages = int(open("/proc/self/statm").read().split()[0])
room = pages * resource.getpagesize() + 300_000_000
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for claim in sys.argv[1:]:
    for options in ({}, {"mode": "r"}, {"upgrade": True}):
        began = time.process_time()
        try:
            NumPack(claim, **options).open()
        except CorruptStoreError as error:
            assert "damaged" in str(error), (claim, error)
        else:
            raise AssertionError((claim, options))
        assert time.process_time() - began < 1, claim
""",
        *CLAIMS,
    )


def test_bitmap_of_many_deleted_rows():
    rows = 64 * 40_000
    write({"x": np.zeros(rows, "u1")})
    (FOLDER / "deleted_x.npkb").write_bytes(struct.pack("<QQ", rows, rows) + bytes(rows // 8))
    assert len(reader.read(FOLDER)["x"].dropped) == rows
    with NumPack(OLD) as store:
        assert store.get_shape("x") == (0,)
