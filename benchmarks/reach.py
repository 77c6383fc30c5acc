"""Measure what leaving the process costs: arrays that several processes write and read.

Each function compares contenders in turns, in one run, and returns ratios of their best times,
with the most that each may be. Other load on the machine only adds time.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numpack import NumPack, SharedArray
from numpack.store.kernels.checksums import crc32

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from numpack import ParallelWrite

    Ratios = dict[str, tuple[float, float]]  # ratio and limit, by what is compared

ROUNDS = 15
WORKERS = 2
ROWS, WIDTH, STEP = 32_768, 2048, 4096  # 256 MiB of float32, in parts of 32 MiB
WRITE_LIMIT = 1.15
SUM_ROWS, SUM_STEP = 65_536, 2048  # 512 MiB, in blocks of 16 MiB
ZARR_LIMIT, MEMMAP_LIMIT = 0.65, 0.15
PUT_LIMIT, RAY_ROUNDS = 0.01, 300
HANDLE_ROWS, HANDLE_WORKERS = 1 << 22, 8  # 512 MiB
DROPS = 10**6
LIVE_NBYTES = 1 << 30

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


def handles() -> Ratios:
    """Measure pickled references, and the memory of workers that read through them."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        with NumPack(f"{folder}/s.npk") as npk:
            npk.save({"x": np.ones((HANDLE_ROWS, 32), "f4"), "n": np.arange(4 * DROPS)})
            npk.drop("n", np.arange(DROPS) * 3)
            lazy, dropped = (npk.load(name, lazy=True) for name in ("x", "n"))
        parts = [dropped, dropped.rows(5, -7), dropped.rows(10, 20), lazy.rows(1000, 2000)]
        size = max(len(pickle.dumps(each)) for each in parts)
        grown = {name: max(run(lazy)) for name, run in _ENGINES.items()}
    found = {"pickled reference, of 1,024 bytes": (size / 1024, 1.0)}
    for name, nbytes in grown.items():
        found[f"private memory of a worker, {name}, of 2 MB"] = (nbytes / 2e6, 1.0)
    return found


def _private_growth(lazy: Any) -> int:
    """Return by how many private bytes a process grows that reads all rows."""
    lazy[:1000].sum()  # what NumPy itself needs
    before = _private_bytes()
    lazy[...].sum()
    return _private_bytes() - before


def _private_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Anonymous:"))


def _in_pool(method: str, lazy: Any) -> list[int]:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(HANDLE_WORKERS, context) as pool:
        return list(pool.map(_private_growth, [lazy] * HANDLE_WORKERS))


def _in_loky(lazy: Any) -> list[int]:
    from loky import get_reusable_executor  # noqa: PLC0415

    with get_reusable_executor(HANDLE_WORKERS) as pool:
        return list(pool.map(_private_growth, [lazy] * HANDLE_WORKERS))


def _in_dask(lazy: Any) -> list[int]:
    from distributed import Client, LocalCluster  # noqa: PLC0415

    with (
        LocalCluster(HANDLE_WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        return list(client.run(_private_growth, lazy).values())


def _in_ray(lazy: Any) -> list[int]:
    import ray  # noqa: PLC0415

    ray.init(num_cpus=HANDLE_WORKERS, include_dashboard=False, log_to_driver=False)
    try:
        task = ray.remote(_private_growth)
        return list(ray.get([task.remote(lazy) for _ in range(HANDLE_WORKERS)]))
    finally:
        ray.shutdown()


_ENGINES: dict[str, Callable[[Any], list[int]]] = {
    "fork": functools.partial(_in_pool, "fork"),
    "spawn": functools.partial(_in_pool, "spawn"),
    "forkserver": functools.partial(_in_pool, "forkserver"),
    "loky": _in_loky,
    "Dask": _in_dask,
    "Ray": _in_ray,
}


def live_memory() -> Ratios:
    """Compare 1 GB of shared memory that goes to another process with pickling it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_receive, args=(there,))
    child.start()
    shared = SharedArray(LIVE_NBYTES, "u1")
    shared[:] = 1
    seconds = _time_to(here, shared, ROUNDS)
    pickled = _time_to(here, np.asarray(shared), rounds=1)
    here.send(None)
    child.join()
    return {
        "1 GB to another process, of 1 ms": (seconds / 1e-3, 1.0),
        "1 GB to another process: shared / pickled": (seconds / pickled, 0.01),
    }


def _receive(connection: Connection) -> None:
    """Receive arrays, and send one element of each back."""
    while (array := connection.recv()) is not None:
        connection.send(array[-1])


def _time_to(connection: Connection, array: Any, rounds: int) -> float:
    """Return the median time in seconds until the other process has used an array."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        connection.send(array)
        connection.recv()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def ray_handover() -> Ratios:
    """Compare what handing 512 MiB to a Ray task by reference costs with `ray.put` of them.

    That is how much longer a task that maps the array takes than one with as many bytes; the
    reference is passed as `map_rows` passes it.
    """
    import ray  # noqa: PLC0415

    array = np.random.default_rng(0).random((SUM_ROWS, WIDTH), np.float32)
    ray.init(num_cpus=WORKERS, include_dashboard=False, object_store_memory=3 * array.nbytes)
    try:
        with (
            tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
            NumPack(f"{folder}/s.npk") as npk,
        ):
            npk.save({"x": array})
            stored = npk.load("x", lazy=True)
            reference = pickle.dumps(stored)
            bare = ray.remote(lambda reference: float(len(reference)))
            mapped = ray.remote(lambda given: float(pickle.loads(given)[-1, -1]))  # noqa: S301
            times = best_times({"put": lambda: ray.put(array)}, ROUNDS)
            times |= best_times(
                {
                    "bare": lambda: ray.get(bare.remote(reference)),
                    "ours": lambda: ray.get(mapped.remote(pickle.dumps(stored))),
                },
                RAY_ROUNDS,
            )
    finally:
        ray.shutdown()
    ratio = (times["ours"] - times["bare"]) / times["put"]
    return {"Ray: by reference / ray.put": (ratio, PUT_LIMIT)}


MEASURES: list[Callable[[], Ratios]] = [
    parallel_write,
    dask_sum,
    handles,
    live_memory,
    ray_handover,
]


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
