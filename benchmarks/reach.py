"""Measure what leaving the process costs: arrays that several processes write and read.

Each function compares contenders in turns, in one run, and returns ratios of their best times,
with the most that each may be. Other load on the machine only adds time.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numpack import NumPack
from numpack.store.kernels.checksums import crc32

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpack import ParallelWrite

    Ratios = dict[str, tuple[float, float]]  # ratio and limit, by what is compared

ROUNDS = 15
WORKERS = 2
ROWS, WIDTH, STEP = 32_768, 2048, 4096  # 256 MiB of float32, in parts of 32 MiB
WRITE_LIMIT = 1.15
SUM_ROWS, SUM_STEP = 65_536, 2048  # 512 MiB, in blocks of 16 MiB
ZARR_LIMIT, MEMMAP_LIMIT = 0.65, 0.15

_part: Any = None  # what a worker writes


def best_times(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the shortest time of each call in seconds; they are called in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls)[:: 1 if number % 2 else -1]:
            begin = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - begin)
    return {name: min(each[1:]) for name, each in times.items()}  # the first one warms up


def parallel_write() -> Ratios:
    """Compare a parallel write by two processes with bare `pwrite` calls and checksums."""
    context = multiprocessing.get_context("spawn")
    firsts = range(0, ROWS, STEP)
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
        NumPack(f"{folder}/s.npk") as npk,
        context.Pool(WORKERS, _make_part) as pool,
    ):

        def bare() -> None:
            path = f"{folder}/bare"
            Path(path).write_bytes(b"")
            pool.map(_write_bare, [(path, first) for first in firsts], chunksize=1)
            Path(path).unlink()

        def ours() -> None:
            with npk.begin("x", (ROWS, WIDTH), "f4") as plan:
                pool.map(_write_part, [(plan, first) for first in firsts], chunksize=1)
            npk.drop("x")

        times = best_times({"bare": bare, "ours": ours}, ROUNDS)
    ratio = times["ours"] / times["bare"]
    return {"parallel write / pwrite and checksums": (ratio, WRITE_LIMIT)}


def _make_part() -> None:
    global _part  # noqa: PLW0603 -- of a worker process
    _part = np.random.default_rng(0).random((STEP, WIDTH), np.float32)


def _write_bare(task: tuple[str, int]) -> int:
    """Write a part with a checksum for each MiB, as the store has them."""
    path, first = task
    memory, offset, crc = memoryview(_part).cast("B"), first * WIDTH * 4, 0
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for start in range(0, len(memory), 1 << 20):
            piece = memory[start : start + (1 << 20)]
            crc ^= crc32(piece)
            os.pwrite(descriptor, piece, offset + start)
    finally:
        os.close(descriptor)
    return crc


def _write_part(task: tuple[ParallelWrite, int]) -> None:
    plan, first = task
    plan[first : first + STEP] = _part


def dask_sum() -> Ratios:
    """Compare sums by two Dask workers over a store, uncompressed Zarr, and a memmap."""
    import dask.array as da  # noqa: PLC0415
    from distributed import Client, LocalCluster  # noqa: PLC0415

    from numpack.distributed.dask import from_store  # noqa: PLC0415

    chunks = (SUM_STEP, WIDTH)
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
        LocalCluster(WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        memmap = _save_everywhere(folder, chunks)
        times = best_times(
            {
                "ours": lambda: from_store(f"{folder}/s.npk", "x", chunks).sum().compute(),
                "zarr": lambda: da.from_zarr(f"{folder}/x.zarr").sum().compute(),
            },
            ROUNDS,
        )
        times |= best_times(
            {"memmap": lambda: da.from_array(memmap, chunks).sum().compute()}, rounds=3
        )
    return {
        "Dask sum: store / uncompressed Zarr": (times["ours"] / times["zarr"], ZARR_LIMIT),
        "Dask sum: store / pickled memmap": (times["ours"] / times["memmap"], MEMMAP_LIMIT),
    }


def _save_everywhere(folder: str, chunks: tuple[int, int]) -> Any:
    """Save the same array in a store, in Zarr and as a .npy file; return its memmap."""
    import zarr  # noqa: PLC0415

    array = np.random.default_rng(0).random((SUM_ROWS, WIDTH), np.float32)
    with NumPack(f"{folder}/s.npk") as npk:
        npk.save({"x": array})
    zarr.create_array(f"{folder}/x.zarr", data=array, chunks=chunks, compressors=None)
    np.save(f"{folder}/x.npy", array)
    return np.load(f"{folder}/x.npy", mmap_mode="r")


MEASURES: list[Callable[[], Ratios]] = [parallel_write, dask_sum]


def main() -> int:
    """Print all ratios; return 1 if one exceeds its limit."""
    exceeded = False
    for measure in MEASURES:
        for name, (ratio, limit) in measure().items():
            sys.stdout.write(f"{ratio:8.3f}  at most {limit:.3f}  {name}\n")
            exceeded |= ratio > limit
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
