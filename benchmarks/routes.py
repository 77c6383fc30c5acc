"""Cost of `share` between any two frameworks, beside what a user would call instead.

The array is float32, of 100,000 elements in 64-byte aligned memory, which every framework can
share. The framework's own call of a pair is the public call for that pair if there is one, and
else its conversion to NumPy followed by the target's conversion from NumPy, which may copy. All
calls take turns, a short burst each; the median of nine bursts counts.

    python benchmarks/routes.py                                the table
    python benchmarks/routes.py jax torch                      of these frameworks only
    python benchmarks/routes.py --page docs/benchmarks.md      write the table into a page,
                                --readme docs/speed.md             and the ratios into another
                                --json FILE                    all figures
"""

from __future__ import annotations

import argparse
import json
import math
import os
import warnings
from pathlib import Path
from timeit import Timer
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import arro3.core
import jax.numpy as jnp
import nanoarrow
import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pyarrow as pa
import tensorflow as tf
import torch
import xarray as xr
from measure import Turn, as_table, time_all, write_into

import numpack
from numpack.doctor.own_calls import FROM_NUMPY, namespace, own_call

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUNDS, BURST_SECONDS, LENGTH = 9, 1e-3, 100_000
FACTOR, ALLOWANCE_NS = 1.25, 500  # a route is at the framework's own cost within these


class Producer:
    """An object with ``__dlpack__`` alone."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        """Export the array as a capsule."""
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        """Return the CPU."""
        return self._array.__dlpack_device__()


class Interface:
    """An object with ``__array_interface__`` alone."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.__array_interface__ = array.__array_interface__


class Route(NamedTuple):
    """A pair of frameworks, the call in place of ours, and the times in nanoseconds."""

    source: str
    target: str
    theirs: str
    ours_ns: float
    theirs_ns: float

    @property
    def ratio(self) -> float:
        """Our time divided by theirs."""
        return self.ours_ns / self.theirs_ns

    @property
    def is_at_own_cost(self) -> bool:
        """Whether our call costs what the other one does, within a small allowance."""
        return self.ours_ns <= FACTOR * self.theirs_ns + ALLOWANCE_NS


def sources() -> dict[str, Any]:
    """Return the same values, held by each framework."""
    values = np.arange(LENGTH, dtype=np.float32)

    def fresh() -> Any:
        return numpack.ZeroCopyArray(values, copy=True).array

    return {
        "numpy": fresh(),
        "torch": torch.from_numpy(fresh()),
        "jax": jnp.array(values),
        "tensorflow": tf.constant(values),
        "onnxruntime": onnxruntime.OrtValue.ortvalue_from_numpy(fresh()),
        "xarray": xr.DataArray(fresh()),
        "pandas": pd.Series(fresh(), copy=False),
        "polars": pl.Series("", pa.array(fresh())),
        "arrow": pa.array(values.tolist(), pa.float32()),
        "nanoarrow": nanoarrow.Array(pa.array(fresh())),
        "arro3": arro3.core.Array(pa.array(fresh())),
        "buffer": memoryview(fresh()),
        "array_interface": Interface(fresh()),
        "dlpack": Producer(fresh()),
    }


def measure(names: Sequence[str], rounds: int = ROUNDS) -> list[Route]:
    """Time all pairs of frameworks, or those of some names."""
    known = {**namespace(), "share": numpack.share}
    pairs, turns = [], []
    for source, x in sources().items():
        for target in FROM_NUMPY:
            if source == target or (names and not {source, target} <= {*names}):
                continue
            theirs = own_call(source, target) or ""
            pairs.append((source, target, theirs))
            for statement in (f"share(x, {target!r})", theirs):
                timer = Timer(statement, globals={**known, "x": x})
                turns.append(Turn(timer, _burst(timer), rounds))
    medians = time_all(turns)
    times = zip(medians[::2], medians[1::2], strict=True)
    return [Route(*pair, *both) for pair, both in zip(pairs, times, strict=True)]


def _burst(timer: Timer) -> int:
    """Return how many calls take about a millisecond; the first calls import adapters."""
    timer.timeit(3)
    return max(3, min(500, int(BURST_SECONDS / (timer.timeit(5) / 5))))


def mean_ratio(routes: Sequence[Route]) -> float:
    """Return the geometric mean of the ratios."""
    return math.exp(sum(math.log(route.ratio) for route in routes) / len(routes))


def route_table(routes: Sequence[Route]) -> str:
    """Return the times and the ratio of each route as a Markdown table."""
    rows = [
        (
            f"{route.source} → {route.target}",
            f"`{route.theirs}`",
            f"{route.ours_ns / 1000:,.2f}",
            f"{route.theirs_ns / 1000:,.2f}",
            f"{route.ratio:.2g}",
        )
        for route in routes
    ]
    head = ("`share`", "the framework's own call", "µs", "µs", "ratio")
    return as_table(head, rows, left=2)


def ratio_table(routes: Sequence[Route]) -> str:
    """Return the ratios as a Markdown table, from the framework of a row to the others."""
    ratios = {(route.source, route.target): f"{route.ratio:.2g}" for route in routes}
    names = [name for name in FROM_NUMPY if any(name in pair for pair in ratios)]
    rows = [(a, *(ratios.get((a, b), "") for b in names)) for a in names]
    return as_table(("from / to", *names), rows, left=1)


def summary(routes: Sequence[Route]) -> str:
    """Return how many routes are at the frameworks' own cost, and the mean ratio."""
    good = sum(route.is_at_own_cost for route in routes)
    return (
        f"{good} of {len(routes)} routes take at most {FACTOR} times the framework's own call "
        f"plus {ALLOWANCE_NS / 1000:g} µs; the geometric mean of the ratios is "
        f"{mean_ratio(routes):.2f}."
    )


def above(routes: Sequence[Route]) -> Iterator[Route]:
    """Iterate over the routes that cost more."""
    return (route for route in routes if not route.is_at_own_cost)


def ignore_warnings() -> None:
    """Leave out the text of warnings, which Python shows once a line of code."""
    warnings.showwarning = lambda *_, **__: None


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description="Measure the cost of all routes.")
    parser.add_argument("frameworks", nargs="*", choices=[*FROM_NUMPY, []])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--page", type=Path, help="write the table into this page")
    parser.add_argument("--readme", type=Path, help="write the ratios into this page")
    options = parser.parse_args()
    ignore_warnings()
    routes = measure(options.frameworks, options.rounds)
    print(route_table(routes), summary(routes), sep="\n\n")
    print("\nAbove that:", *(f"{r.source} → {r.target}" for r in above(routes)), sep="\n")
    if options.json:
        figures = {"routes": [route._asdict() for route in routes]}
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    if options.page:
        write_into(options.page, "routes.py", f"{summary(routes)}\n\n{route_table(routes)}")
    if options.readme:
        write_into(options.readme, "routes.py", f"{ratio_table(routes)}\n\n{summary(routes)}")


if __name__ == "__main__":
    main()
