"""Time and memory until the first batch of many rows, each measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from numpack import NumPack

if TYPE_CHECKING:
    from collections.abc import Callable

INDEX_BYTES = 48  # of RandomSampler: an int64, a Python integer and its place in a list
OURS = 'held = iter(Loader(argument, "x", batch_size=256)); next(held)'
THEIRS = "held = iter(RandomSampler(range(int(argument)))); next(held)"
PROGRAM = """
import json, sys, time
PAGE = 4096
from pathlib import Path
import torch
from torch.utils.data import RandomSampler
from numpack import Loader

def memory(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))

statement, argument = compile(sys.argv[1], "first", "exec"), sys.argv[2]
known = memory("RssAnon")
begin = time.perf_counter()
exec(statement)
ns = (time.perf_counter() - begin) * 1e9
print(json.dumps([ns, max(memory("RssAnon") - known, PAGE)]))
"""


class First(NamedTuple):
    """Cost of the first batch, or of the first row number.

    Attributes
    ----------
    rows : int
        Out of how many.
    ns, nbytes : float
        Time, and the memory that is held afterwards beyond that of the imports, without the
        pages of the file, which are those of the page cache.
    """

    rows: int
    ns: float
    nbytes: int


def first_batches(folder: Path, rows: int) -> tuple[First, First]:
    """Measure our first batch, and the first number of torch's `RandomSampler`.

    The sampler's rows are a power of ten for which the memory of the machine suffices.
    """
    folder.mkdir()
    with NumPack(folder / "x.npk") as npk:
        npk.save({"x": np.zeros(rows, "i1")})
    fits = rows
    while fits * INDEX_BYTES > _available() / 2:
        fits //= 10
    ours = _best(lambda: _measured(OURS, str(folder / "x.npk")), 3)
    theirs = _best(lambda: _measured(THEIRS, str(fits)), 1)
    return First(rows, *ours), First(fits, *theirs)


def _best(call: Callable[[], tuple[float, int]], times: int) -> tuple[float, int]:
    return min(call() for _ in range(times))


def _measured(statement: str, argument: str) -> tuple[float, int]:
    command = [sys.executable, "-c", PROGRAM, statement, argument]
    found = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    ns, nbytes = json.loads(found.stdout)
    return float(ns), int(nbytes)


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvail"))
