"""The time of `import numpack` relative to `import numpy`, and lazy loading of the store."""

from __future__ import annotations

import statistics
import subprocess
import sys

import pytest

AT_MOST = 1.3
SCRIPT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    command = [sys.executable, "-c", SCRIPT.format(module)]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)


def ratio(rounds: int = 11) -> float:
    """Import both in fresh interpreters in turn, and return the ratio of the medians."""
    seconds("numpack")  # so that the files of both are in the page cache
    pairs = [(seconds("numpy"), seconds("numpack")) for _ in range(rounds)]
    numpy, numpack = map(statistics.median, zip(*pairs, strict=True))
    return numpack / numpy


@pytest.mark.alone
def test_import_time_relative_to_numpy():
    # Only a slowdown in all three measurements counts.
    assert min(ratio() for _ in range(3)) < AT_MOST


def test_store_is_imported_on_first_use(run_python):
    out = run_python(
        """
import sys, numpack
early = {name for name in sys.modules if name.startswith("numpack.store")}
assert {"NumPack", "LazyArray"} <= set(numpack.__all__)
from numpack import LazyArray, NumPack
assert numpack.NumPack is NumPack is sys.modules["numpack.store"].NumPack
try:
    numpack.Numpack
except AttributeError as error:
    assert "has no attribute 'Numpack'" in str(error)
print(len(early))
"""
    )
    assert out.strip() == "0"
