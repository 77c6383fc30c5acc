"""Standardize the columns of an array that no worker could hold, on Dask and on Ray.

The array is in a store. Two worker processes map its rows where they are and compute the mean
and the standard deviation of each column; then they write the standardized rows, each its own,
as a new array of the store, which one commit makes visible. The rows never pass through the
scheduler or the object store.

1. Dask: a memory limit of a worker below the size of the array.
2. Ray: an object store that is smaller than the array; tasks get references to rows.

It fails if a result differs from NumPy's. It needs the extras ``dask`` and ``ray``. Run it with
``python examples/cluster.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from numpack import LazyArray, NumPack, ParallelWrite

ROWS, COLUMNS = 3_200_000, 32  # 410 MB of float32
STEP = 50_000  # rows saved, or read by a task, at a time
DASK_MEMORY = "320 MiB"  # of a worker
RAY_MEMORY = 100 * 2**20  # of the object store

Array = np.ndarray[Any, Any]


def write_store(path: Path) -> None:
    """Save columns of different means and deviations, a part at a time."""
    rng = np.random.default_rng(0)
    scale, shift = rng.uniform(1, 10, COLUMNS), rng.uniform(-5, 5, COLUMNS)
    with NumPack(path, mode="x") as npk, npk.begin("x", (ROWS, COLUMNS), "f4") as plan:
        for start in range(0, ROWS, STEP):
            part = rng.standard_normal((min(STEP, ROWS - start), COLUMNS)) * scale + shift
            plan[start : start + len(part)] = part.astype("f4")
    print(f"stored {ROWS:,} rows, {ROWS * COLUMNS * 4 / 1e6:.0f} MB, in {path}")


def standardize_with_dask(path: Path) -> None:
    """Compute and write with Dask arrays."""
    import dask  # noqa: PLC0415 -- only for this part
    from dask.distributed import Client, LocalCluster  # noqa: PLC0415

    from numpack.distributed.dask import from_store, to_store  # noqa: PLC0415

    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=DASK_MEMORY,
            dashboard_address=None,
        ) as cluster,
        Client(cluster),
    ):
        x = from_store(path, "x", chunks=(STEP, COLUMNS))
        mean, deviation = dask.compute(x.mean(axis=0, dtype="f8"), x.std(axis=0, dtype="f8"))
        to_store(((x - mean) / deviation).astype("f4"), path, "by dask")


def standardize_with_ray(path: Path) -> None:
    """Compute and write with Ray tasks, which get references to rows."""
    import ray  # noqa: PLC0415 -- only for this part

    from numpack.distributed.ray import map_rows  # noqa: PLC0415

    ray.init(
        num_cpus=2,
        object_store_memory=RAY_MEMORY,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    try:
        parts = ray.get(map_rows(path, "x", sums, rows=STEP))
        total, squares = np.sum(parts, axis=0)
        mean = total / ROWS
        deviation = np.sqrt(squares / ROWS - mean**2)
        write = ray.remote(write_part)
        with NumPack(path) as npk, npk.begin("by ray", (ROWS, COLUMNS), "f4") as plan:
            x = npk.load("x", lazy=True)
            tasks = [
                write.remote(plan, start, x.rows(start, start + STEP), mean, deviation)
                for start in range(0, ROWS, STEP)
            ]
            ray.get(tasks)
    finally:
        ray.shutdown()


def sums(x: Array) -> tuple[Array, Array]:
    """Return the sum of each column, and that of its squares."""
    return x.sum(axis=0, dtype="f8"), np.square(x, dtype="f8").sum(axis=0)


def write_part(
    plan: ParallelWrite, start: int, rows: LazyArray, mean: Array, deviation: Array
) -> None:
    """Standardize some rows and write them to their place."""
    plan[start : start + len(rows)] = ((rows - mean) / deviation).astype("f4")


def check(path: Path, name: str) -> None:
    """Compare a result with NumPy's."""
    with NumPack(path, mode="r") as npk:
        x, found = npk.load("x", lazy=True), npk.load(name, lazy=True)
        mean, deviation = x.mean(axis=0, dtype="f8"), x.std(axis=0, dtype="f8")
        for start in range(0, ROWS, STEP):
            expected = ((x[start : start + STEP] - mean) / deviation).astype("f4")
            np.testing.assert_allclose(found[start : start + STEP], expected, atol=1e-5)
    print(f"{name}: {ROWS:,} rows, each column with mean 0 and deviation 1, in one commit")


def main() -> None:
    """Run both parts."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder, "columns.npk")
        write_store(path)
        standardize_with_dask(path)
        check(path, "by dask")
        standardize_with_ray(path)
        check(path, "by ray")


if __name__ == "__main__":
    main()
