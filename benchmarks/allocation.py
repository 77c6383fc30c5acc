"""Cost of NumPy's operations under `aligned_allocation`, beside NumPy's own allocator.

Both allocators are timed in turn, a short burst each, in one process and on one heap; the
median burst counts.

    python benchmarks/allocation.py                            the table
    python benchmarks/allocation.py --page docs/benchmarks.md  write it into a page as well,
                                    --json FILE                all figures
"""

from __future__ import annotations

import argparse
import json
from contextvars import Context
from pathlib import Path
from timeit import Timer
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from measure import Result, Turn, as_table, fitted, machine, time_all, write_into

from numpack import aligned_allocation

if TYPE_CHECKING:
    from collections.abc import Iterable

ROUNDS, SECONDS = 101, 1.0  # per allocator, operation and size
BURST = 2000
AT_MOST = 1.1
PACKAGES = ("numpy",)
SIZES = {
    "64 B": 2**6,
    "1 KB": 2**10,
    "64 KB": 2**16,
    "1 MB": 2**20,
    "2 MB": 2**21,
    "16 MB": 2**24,
    "256 MB": 2**28,
    "1 GB": 2**30,
}
ITERATED = 2**20  # bytes: a longer iteration takes its time in Python


class Operation(NamedTuple):
    """A line of the table: a statement about `n` float64, and the most bytes it is run for."""

    label: str
    statement: str
    most: int = max(SIZES.values())


OPERATIONS = (
    Operation("`np.empty(n)`", "np.empty(n)"),
    Operation("`np.zeros(n)`", "np.zeros(n)"),
    Operation("`np.ones(n)`: every page is touched", "np.ones(n)"),
    Operation(
        "`a.resize(n)`, from half of it",
        "a = np.empty(n // 2); a.resize(n, refcheck=False)",
    ),
    Operation(
        "`a.resize(n)`, from twice as much",
        "a = np.empty(2 * n); a.resize(n, refcheck=False)",
    ),
    Operation("`np.fromiter(x, 'f8')`, grown step by step", "np.fromiter(x, 'f8')", ITERATED),
)


class Within(Timer):
    """A timer whose bursts run in a context of their own, with an allocator set or not."""

    def __init__(self, operation: Operation, nbytes: int, *, aligned: bool) -> None:
        n = nbytes // 8
        known = {"np": np, "n": n, "x": [1.0] * n if nbytes <= ITERATED else ()}
        super().__init__(operation.statement, globals=known)
        self._context = Context()
        if aligned:
            self._context.run(aligned_allocation().__enter__)

    def timeit(self, number: int = BURST) -> float:
        """Time a burst."""
        return self._context.run(super().timeit, number)


def compare(rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Result]:
    """Time every operation on every size; return the results by line, then by column."""
    return [
        contest(operation, size, rounds, seconds)
        for operation in OPERATIONS
        for size, nbytes in SIZES.items()
        if nbytes <= operation.most
    ]


def contest(operation: Operation, size: str, rounds: int, seconds: float) -> Result:
    """Time one operation on arrays of one size, with both allocators in turn."""
    timers = [Within(operation, SIZES[size], aligned=aligned) for aligned in (True, False)]
    burst = min(fitted(timer, seconds=seconds, most=BURST).burst for timer in timers)
    call = min(timer.timeit(burst) for timer in timers)
    passes = max(9, min(rounds, int(seconds / call)))
    ours, theirs = time_all([Turn(timer, burst, passes) for timer in timers])
    return Result(operation.label, size, ours, theirs, AT_MOST)


def table(results: Iterable[Result]) -> str:
    """Return the ratios as a Markdown table: a line for each operation."""
    ratios = {(each.ours, each.theirs): f"{each.ratio:.2f}" for each in results}
    rows = [
        (each.label, *(ratios.get((each.label, size), "") for size in SIZES))
        for each in OPERATIONS
    ]
    return as_table(("", *SIZES), rows, left=1)


def main() -> None:
    """Measure, and print or write the results."""
    parser = argparse.ArgumentParser(description="Measure the cost of allocations.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--page", type=Path, help="write the table into this page")
    options = parser.parse_args()

    results = compare(options.rounds, options.seconds)
    about = machine(PACKAGES)
    text = table(results)
    print(", ".join(f"{name} {value}" for name, value in about.items()), text, sep="\n\n")
    if options.json:
        figures = {"machine": about, "results": [each.figures() for each in results]}
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    if options.page:
        write_into(options.page, "allocation.py", text)


if __name__ == "__main__":
    main()
