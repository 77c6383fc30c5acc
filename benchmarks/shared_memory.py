"""Measure how long an array of 1 GB takes to another process, as a share of pickling it.

Run it with nothing beside it: ``python benchmarks/shared_memory.py``.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from numpack import SharedArray

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

NBYTES = 1 << 30
ROUNDS = 30


def receive(connection: Connection) -> None:
    """Receive arrays, and send one element of each back."""
    while (array := connection.recv()) is not None:
        connection.send(array[-1])


def measure(connection: Connection, array: np.ndarray, rounds: int) -> float:
    """Return the median time in ms until the other process has used an array."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        connection.send(array)
        connection.recv()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Print the times."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=receive, args=(there,))
    child.start()
    shared = SharedArray(NBYTES, "u1")
    shared[:] = 1
    small = measure(here, SharedArray(1), ROUNDS)
    print(f"1 byte, shared: {small:.3f} ms")
    print(f"{NBYTES:,} bytes, shared: {measure(here, shared, ROUNDS):.3f} ms")
    print(f"{NBYTES:,} bytes, pickled: {measure(here, np.asarray(shared), 3):.1f} ms")
    here.send(None)
    child.join()


if __name__ == "__main__":
    main()
