"""Check that no conversion has become slower than its limit: ``make limits``.

The cost of each call is taken relative to the framework's own in the same run, the cost of a
large array relative to a small one, and the time of ``import numpack`` relative to ``import
numpy``. The best of three measurements counts, since other load on the machine only adds time.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEASUREMENTS, ROUNDS = 3, 31
SLACK = 1.35  # ratios vary between machines, with their load and their clock frequency
IMPORT_RATIO = 1.3
IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"

Ratios = dict[str, tuple[float, float]]  # ratio and limit, by call


def own_calls() -> Ratios:
    """Return the ratios to the frameworks' own calls."""
    limits = {each.ours: (each.at_most or math.inf) * SLACK for each in exchange.CONTESTS}
    results = exchange.compare(exchange.CONTESTS, rounds=ROUNDS)
    return {result.ours: (result.ratio, limits[result.ours]) for result in results}


def sizes() -> Ratios:
    """Return the ratios of the largest array to the smallest."""
    small, *_, large = exchange.SWEEP
    return {
        f"{call}, {large} / {small}": (row[large] / row[small], SLACK)
        for call, row in exchange.sweep(rounds=ROUNDS).items()
    }


def import_time() -> Ratios:
    """Return the ratio of importing numpack to importing NumPy, in fresh interpreters."""
    _seconds("numpack")  # so that the files of both are in the page cache
    pairs = [(_seconds("numpy"), _seconds("numpack")) for _ in range(11)]
    numpy, numpack = map(statistics.median, zip(*pairs, strict=True))
    return {"import numpack": (numpack / numpy, IMPORT_RATIO)}


def _seconds(module: str) -> float:
    command = [sys.executable, "-c", IMPORT.format(module)]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)  # noqa: S603


def exceeded(measure: Callable[[], Ratios]) -> Iterator[str]:
    """Measure up to three times; describe the ratios that exceed their limit each time."""
    best: Ratios = {}
    for _ in range(MEASUREMENTS):
        for call, (ratio, limit) in measure().items():
            best[call] = min(ratio, best.get(call, (ratio, limit))[0]), limit
        if all(ratio <= limit for ratio, limit in best.values()):
            break
    for call, (ratio, limit) in best.items():
        sys.stdout.write(f"{ratio:8.3f}  at most {limit:.3f}  {call}\n")
        if ratio > limit:
            yield call


def main() -> int:
    """Print all ratios; return 1 if one exceeds its limit."""
    calls = [call for measure in (own_calls, sizes, import_time) for call in exceeded(measure)]
    for call in calls:
        sys.stderr.write(f"too slow: {call}\n")
    return bool(calls)


if __name__ == "__main__":
    sys.exit(main())
