"""Stored arrays in the processes of the standard library's pools, of loky and of joblib."""

from __future__ import annotations

import multiprocessing
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from numpack import LazyArray, NumPack
from numpack._core.file_mapping import origin_of

ROWS = np.arange(400_000.0).reshape(100_000, 4)


@contextmanager
def loky_pool() -> Iterator[Executor]:
    from loky import ProcessPoolExecutor as LokyExecutor

    with LokyExecutor(2) as pool:
        yield pool


def standard_pool(method: str) -> Callable[[], Executor]:
    return lambda: ProcessPoolExecutor(2, multiprocessing.get_context(method))


POOLS = {
    **{method: standard_pool(method) for method in ("fork", "spawn", "forkserver")},
    "loky": loky_pool,
}


def look(array: LazyArray) -> tuple[float, int, int]:
    """Return the sum, the inode of the mapped file, and the private bytes of its mappings."""
    total = float(array.sum())
    inode = origin_of(array[...].ctypes.data)[2][1]
    return total, inode, private_bytes_of(inode)


def private_bytes_of(inode: int) -> int:
    found, is_file = 0, False
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            words = line.split()
            if "-" in words[0]:
                is_file = words[4] == str(inode)
            elif words[0] == "Anonymous:" and is_file:
                found += int(words[1]) << 10
    return found


def read_all(npk: NumPack) -> tuple[int, str]:
    """Return a sum, and what becomes of a write."""
    with npk:
        total = int(npk.load("n").sum())
        try:
            npk.save({"other": ROWS[:2]})
        except Exception as error:
            return total, type(error).__name__
        return total, "saved"


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "n": np.arange(1000)})
        opened.drop("n", np.arange(0, 1000, 3))
        yield opened


@pytest.mark.parametrize("name", POOLS)
def test_arrays_are_mapped_in_place(store, name):
    lazy, dropped = store.load("x", lazy=True), store.load("n", lazy=True)
    inode = origin_of(lazy[...].ctypes.data)[2][1]
    with POOLS[name]() as pool:
        for part in (lazy, lazy.rows(1000, -5), lazy.rows(7, 8)):
            assert pool.submit(look, part).result(60) == (float(np.sum(part)), inode, 0)
        assert pool.submit(np.sum, dropped).result(60) == dropped.sum()
        assert pool.submit(read_all, NumPack("s.npk", mode="r")).result(60)[1] != "saved"
        total, outcome = pool.submit(read_all, store).result(60)
    assert (total, outcome) == (int(dropped.sum()), "saved")
    assert np.array_equal(store.load("other"), ROWS[:2])


@pytest.mark.parametrize("name", ["spawn", "loky"])
def test_references_follow_the_array(store, name):
    lazy = store.load("x", lazy=True)
    lazy.__reduce__()  # holds the file
    with POOLS[name]() as pool:
        assert pool.submit(np.sum, lazy).result(60) == ROWS.sum()
        store.replace({"x": ROWS[:1]}, [5])
        assert (
            pool.submit(np.sum, lazy).result(60) == ROWS.sum() + ROWS[0].sum() - ROWS[5].sum()
        )
        store.close()
        shutil.rmtree("s.npk")
        assert pool.submit(np.sum, lazy).result(60) == lazy.sum()  # through this process


def test_joblib_passes_references():
    from joblib import Parallel, delayed
    from joblib import hash as digest

    with NumPack("s.npk") as store:
        store.save({"x": ROWS})
        lazy = store.load("x", lazy=True)
        before = digest(lazy)
        parts = [lazy.rows(start, start + 25_000) for start in range(0, 100_000, 25_000)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib's, about how many cores there are
            sums = Parallel(n_jobs=2)(delayed(np.sum)(part) for part in parts)
        assert sums == [part.sum() for part in parts]
        store.replace({"x": ROWS[:1] + 1}, [5])
        assert digest(store.load("x", lazy=True)) != before
