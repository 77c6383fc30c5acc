"""Rows that are compared with their checksums while they are read in order."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from numpack import CorruptStoreError, NumPack, convert, pack
from numpack.store.reading.checked_rows import CheckedRows

ROWS = np.arange(1_200_000, dtype="i4").reshape(-1, 3)  # four whole blocks and a part


def damage(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


@pytest.fixture
def store():
    with NumPack("s.npk") as npk:
        npk.save({"x": ROWS, "d": ROWS, "zero": np.array(5)})
        npk.drop("d", [1, 7])
    return Path("s.npk")


def files(name):
    with NumPack("s.npk") as npk:
        entry = npk._arrays()[name]
    return Path("s.npk", entry.data_file), Path("s.npk", entry.checksum_file)


@pytest.mark.parametrize("name", ["x", "d", "zero"])
def test_every_damaged_block_is_found(store, name):
    rows, _ = files(name)
    size = rows.stat().st_size
    for at in sorted({0, size // 2, size - 1}):
        damage(rows, at)
        with pytest.raises(CorruptStoreError, match=f"'{name}' is damaged: the checksum of"):
            convert("s.npk", "t.npk", arrays=[name])
        assert not Path("t.npk").exists()
        damage(rows, at)
    convert("s.npk", "t.npk", arrays=[name])


def test_missing_checksums_are_found(store):
    _, checksums = files("x")
    checksums.write_bytes(checksums.read_bytes()[:-4])
    with pytest.raises(CorruptStoreError, match="checksums are missing or truncated"):
        convert("s.npk", "x.npy", arrays="x")


def test_packages_are_compared_too(store):
    pack(store, "s.npkz")
    raw = Path("s.npkz").read_bytes()
    at = raw.index(ROWS[200_000:200_010].tobytes())
    damage(Path("s.npkz"), at)
    with pytest.raises(CorruptStoreError, match="'x' is damaged"):
        convert("s.npkz", "x.npz")
    convert("s.npkz", "x.npz", arrays=["d", "zero"])


def test_other_arrays_and_other_orders_are_read(store):
    shutil.copytree("s.npk", "copy.npk")
    damage(files("x")[0], 100)
    convert("s.npk", "t.npk", arrays=["d", "zero"])
    with NumPack("copy.npk", mode="r") as npk, CheckedRows(npk._session()) as held:
        assert np.array_equal(held.read("x", 5, 9), ROWS[5:9])
        for start in (0, 0, 7, 300_000):
            assert np.array_equal(held.read("x", start), ROWS[start:])


def test_parts_of_any_size_are_compared(store):
    step = 70_001  # rows, so that blocks end within parts
    with NumPack("s.npk", mode="r") as npk, CheckedRows(npk._session(), ["x"]) as held:
        for start in range(0, len(ROWS), step):
            held.read("x", start, min(start + step, len(ROWS)))
        assert held._checks["x"].is_done
    damage(files("x")[0], ROWS.nbytes - 1)
    with NumPack("s.npk", mode="r") as npk, CheckedRows(npk._session(), ["x"]) as held:
        starts = range(0, len(ROWS), step)
        for start in starts[:-1]:
            held.read("x", start, start + step)
        with pytest.raises(CorruptStoreError, match="the checksum of block 4 is wrong"):
            held.read("x", starts[-1])
