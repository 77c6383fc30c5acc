"""Sparse data files, as ``cp --sparse`` makes them: a write in place may need new blocks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from support.files import contents

from numpack import NumPack
from numpack._core.pages import allocate, first_hole
from numpack.store.format import data_files, open_files

pytestmark = pytest.mark.system
SHAPE = 3000, 64  # zeros: 1.5 MB, more than a block
ROWS = np.ones((3, 64))
MANY = np.random.default_rng(1).permutation(SHAPE[0])[:500]


@pytest.fixture
def sparse():
    """Create a store in which the zeros of an array are one hole."""
    with NumPack("s.npk") as store:
        store.save({"x": np.zeros(SHAPE), "y": ROWS})
    (path,) = (each for each in Path("s.npk/data").glob("*.bin") if each.stat().st_size > 9999)
    size = path.stat().st_size
    path.unlink()
    with open(path, "wb") as file:
        file.truncate(size)
    with open(path, "rb") as file:
        assert first_hole(file.fileno(), 0, size) == 0, "this file system has no holes"
    return path


@pytest.fixture
def full(monkeypatch):
    """Patch the allocation of blocks so that it fails with ENOSPC."""

    def refuse(descriptor, offset, length):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(open_files, "allocate", refuse)


def is_allocated(path: Path, start: int, end: int) -> bool:
    """Return whether a part of a file has blocks, written or not."""
    return path.stat().st_blocks * 512 >= end - start


@pytest.mark.parametrize("rows", [[0], [5, 2999], slice(None), slice(100, 2000), MANY])
def test_replace_rows_in_holes(sparse, rows):
    expected = np.zeros(SHAPE)
    new = np.ones_like(expected[rows])
    expected[rows] = new
    with NumPack("s.npk") as store:
        store.replace({"x": new}, rows)
        assert np.array_equal(store.load("x"), expected)
        assert store.verify().ok
        store.replace({"x": new * 2}, rows)
        assert np.array_equal(store.load("x"), expected * 2)
        assert store.verify().ok


def test_holes_are_not_written_through_a_mapping(sparse, monkeypatch):
    def refuse(*args):
        raise AssertionError

    monkeypatch.setattr(open_files, "scatter", refuse)
    with NumPack("s.npk") as store:
        store.replace({"x": ROWS}, [1, 2, 2000])
        assert store.load("x")[2000].all()


def test_blocks_are_allocated_before_the_commit(sparse, full):
    before = contents()
    with NumPack("s.npk") as store:
        with pytest.raises(OSError, match="No space") as info:
            store.replace({"x": ROWS}, [1, 2, 2000])
        assert info.value.errno == errno.ENOSPC
        with (
            pytest.raises(OSError, match="No space"),
            store.writable_batch_mode() as batch,
        ):
            batch.load("x")
        assert not store.load("x").any()
        assert store.verify().ok
        assert not store.verify().unchecked
        store.replace({"y": -ROWS}, [0, 1, 2])
        assert store.load("y").tolist() == (-ROWS).tolist()
    assert before["numpack.json"] == contents()["numpack.json"]


def test_all_blocks_of_a_writable_array_are_allocated(sparse):
    assert not is_allocated(sparse, 0, sparse.stat().st_size)
    with NumPack("s.npk") as store:
        with store.writable_batch_mode() as batch:
            batch.load("x")[:] = 1
            assert is_allocated(sparse, 0, sparse.stat().st_size)
        assert store.load("x").all()
        assert store.verify().ok


def test_copy_on_write_file_system_needs_room_for_all_blocks(monkeypatch):
    with NumPack("s.npk") as store:
        store.save({"x": np.zeros(SHAPE), "small": ROWS})
        monkeypatch.setattr(open_files, "is_written_in_place", lambda _: False)
        real = os.fstatvfs

        def nearly_full(descriptor):
            found = list(real(descriptor))
            found[4] = 4  # f_bavail
            return os.statvfs_result(found)

        monkeypatch.setattr(os, "fstatvfs", nearly_full)
        with (
            pytest.raises(OSError, match=r"1,536,000 bytes may be needed .* are free") as info,
            store.writable_batch_mode() as batch,
        ):
            batch.load("x")
        assert info.value.errno == errno.ENOSPC
        with store.writable_batch_mode() as batch:
            batch.load("small")[:] = 3
        assert (store.load("small") == 3).all()


def test_file_that_cannot_be_mapped_safely_is_read(sparse, monkeypatch):
    monkeypatch.setattr(data_files, "reading_may_allocate", lambda *_: True)
    with NumPack("s.npk", mode="r") as store:
        lazy = store.load("x", lazy=True)
        assert lazy.shape == SHAPE
        assert not np.asarray(lazy).any()
        assert not np.asarray(lazy).flags.writeable


def test_allocate_and_first_hole_of_a_part_of_a_file(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with open(path, "r+b") as file:
        allocate(file.fileno(), 0, 0)
        file.truncate(1 << 20)
        assert first_hole(file.fileno(), 1 << 20, 1 << 20) == 1 << 20
        allocate(file.fileno(), 8192, 4096)
        assert path.stat().st_size == 1 << 20
        with pytest.raises(OSError, match="descriptor"):
            allocate(-1, 0, 1)
