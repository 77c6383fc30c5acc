"""What `import numpack` costs beside `import numpy`, which it needs."""

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
    """Import one after the other in fresh interpreters, and compare the medians."""
    seconds("numpack")  # its files are in memory from now on, and NumPy's
    pairs = [(seconds("numpy"), seconds("numpack")) for _ in range(rounds)]
    numpy, numpack = map(statistics.median, zip(*pairs, strict=True))
    return numpack / numpy


@pytest.mark.alone
def test_import_takes_little_longer_than_numpy():
    assert min(ratio() for _ in range(3)) < AT_MOST  # what is slow three times is slow


def test_the_store_is_loaded_when_it_is_asked_for(run_python):
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
