"""Processes that write one array together, some of which are killed.

Run as ``python -m support.crash.parallel_writers PLAN SEED``, it writes blocks of rows of a
pickled `ParallelWrite`, in an order drawn from the seed, and prints the first row of each.
"""

from __future__ import annotations

import pickle
import random
import sys

import numpy as np

from numpack import ParallelWrite

ROWS, WIDTH, STEP = 6000, 1000, 250  # nearly six blocks; a block of rows is a quarter of one


def expected(first: int, stop: int) -> np.ndarray:
    """Return rows that depend on their numbers."""
    numbers = np.arange(first, stop, dtype=np.uint32)[:, None]
    return (numbers * 7 + np.arange(WIDTH, dtype=np.uint32)).astype(np.uint8)


def write(plan: ParallelWrite, seed: int) -> None:
    firsts = list(range(0, ROWS, STEP))
    random.Random(seed).shuffle(firsts)
    for first in firsts:
        plan[first : first + STEP] = expected(first, first + STEP)
        sys.stdout.write(f"{first}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        write(pickle.load(file), int(sys.argv[2]))
