"""Cost of a conversion, beside the framework's own call on the same data.

All calls are timed in turn, a short burst each, for many rounds in one process, so that other
load on the machine affects all of them alike; the median burst counts. A ratio below 1 means
that numpack's call is the cheaper one.

    python benchmarks/exchange.py                     table and, with --json FILE, JSON
    python benchmarks/exchange.py --readme docs/speed.md  write the table into a page as well
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from timeit import Timer
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from measure import Result, Turn, as_table, machine, time_all, write_into

import numpack
import numpack.io

if TYPE_CHECKING:
    from collections.abc import Iterable

ROUNDS, BURST = 201, 500
SWEEP = {"1 KB": 2**10, "1 MB": 2**20, "64 MB": 2**26, "1 GB": 2**30}
PACKAGES = ("numpy", "torch", "pyarrow", "apache-tvm-ffi")


class Contest(NamedTuple):
    """Two statements on the same data, and the target for the ratio of their times."""

    ours: str
    theirs: str
    at_most: float | None = None


CONTESTS = (
    Contest("numpy_to_torch_zero_copy(a)", "torch.from_numpy(a)", 0.95),
    Contest("torch_to_numpy_zero_copy(t)", "t.numpy()", 0.40),
    Contest("from_dlpack(t)", "np.from_dlpack(t)", 0.10),
    Contest("from_dlpack(a)", "np.from_dlpack(a)", 1.0),
    Contest("torch.from_dlpack(to_dlpack(a))", "torch.from_dlpack(a)", 1.1),
    Contest("numpy_to_arrow_zero_copy(f)", "pa.array(f)", 0.85),
    Contest("arrow_to_numpy_zero_copy(ar)", "ar.to_numpy()", 0.55),
    Contest('table_to_numpy_zero_copy(tb, "v")', 'tb.column("v").chunk(0).to_numpy()', 0.75),
    Contest("ZeroCopyArray(a)", "a.view()", 1.5),
)
BEYOND = (
    Contest('share(a, "torch")', "torch.from_numpy(a)"),
    Contest('share(t, "numpy")', "t.numpy()"),
    Contest("z.to_torch()", "torch.from_numpy(a)"),
    Contest("torch_to_numpy_zero_copy(s.clone())", "s.clone().numpy()"),
    Contest("from_dlpack(ar)", "np.from_dlpack(ar)"),
)
TVM_FFI = (
    Contest("from_dlpack(t)", "tvm_ffi.from_dlpack(t)"),
    Contest("tvm_ffi.from_dlpack(z)", "tvm_ffi.from_dlpack(a)"),
)


def names(a: np.ndarray[Any, Any], f: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return the namespace of the statements: `a` and `f`, and the same data elsewhere."""
    public = {name: getattr(numpack.io, name) for name in numpack.io.__all__}
    arrow = pa.array(f)
    modules = {"np": np, "pa": pa, "torch": torch}
    if importlib.util.find_spec("tvm_ffi"):
        modules["tvm_ffi"] = importlib.import_module("tvm_ffi")
    return {
        **public,
        **modules,
        "s": torch.zeros(8),
        "a": a,
        "t": torch.from_numpy(a.copy()),
        "z": numpack.ZeroCopyArray(a),
        "f": f,
        "ar": arrow,
        "tb": pa.table({"v": arrow}),
    }


def time_statements(
    statements: Iterable[tuple[str, dict[str, Any]]], rounds: int
) -> list[float]:
    """Time statements in turn, in bursts; return the medians in nanoseconds per call."""
    timers = [Timer(statement, globals=known) for statement, known in statements]
    for timer in timers:
        timer.timeit(BURST)  # imports, caches
    return time_all([Turn(timer, BURST, rounds) for timer in timers])


def compare(contests: Iterable[Contest], rounds: int = ROUNDS) -> list[Result]:
    """Run contests on float32, 1000 × 128 and 100,000."""
    contests = list(contests)
    known = names(np.zeros((1000, 128), "f4"), np.zeros(100_000, "f4"))
    statements = [(each, known) for contest in contests for each in contest[:2]]
    medians = time_statements(statements, rounds)
    pairs = zip(medians[::2], medians[1::2], strict=True)
    return [
        Result(contest.ours, contest.theirs, *times, contest.at_most)
        for contest, times in zip(contests, pairs, strict=True)
    ]


def sweep(rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Time numpack's calls on arrays of several sizes, whose pages were never touched."""
    known = {}
    for size, nbytes in SWEEP.items():
        array = np.zeros(nbytes // 4, "f4")
        known[size] = names(array.reshape(-1, 128), array)
        known[size]["t"] = torch.zeros(nbytes // 512, 128)
    calls = [contest.ours for contest in CONTESTS]
    medians = time_statements([(call, known[size]) for call in calls for size in SWEEP], rounds)
    rows = iter(medians)
    return {call: {size: next(rows) for size in SWEEP} for call in calls}


def contest_table(results: Iterable[Result]) -> str:
    """Return results as a Markdown table."""
    head = ("numpack", "the framework's own call", "ns", "ns", "ratio")
    rows = [
        (
            f"`{r.ours}`",
            f"`{r.theirs}`",
            f"{r.ours_ns:,.0f}",
            f"{r.theirs_ns:,.0f}",
            f"{r.ratio:.3f}",
        )
        for r in results
    ]
    return as_table(head, rows, left=2)


def sweep_table(swept: dict[str, dict[str, float]]) -> str:
    """Return a sweep as a Markdown table."""
    rows = [
        (f"`{call}`", *(f"{row[size]:,.0f}" for size in SWEEP)) for call, row in swept.items()
    ]
    return as_table(("ns a call", *SWEEP), rows, left=1)


def main() -> None:
    """Measure, and print or write the results."""
    parser = argparse.ArgumentParser(description="Measure the cost of conversions.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--readme", type=Path, help="write the first table into this page")
    options = parser.parse_args()

    known = TVM_FFI if importlib.util.find_spec("tvm_ffi") else ()
    results = compare((*CONTESTS, *BEYOND, *known), options.rounds)
    swept = sweep(options.rounds)
    about = machine(PACKAGES)
    print(", ".join(f"{name} {value}" for name, value in about.items()), end="\n\n")
    print(contest_table(results), sweep_table(swept), sep="\n\n")
    if options.json:
        rows = [result.figures() for result in results]
        figures = {"machine": about, "contests": rows, "sweep": swept}
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    if options.readme:
        aimed = [result for result in results if result.at_most is not None]
        write_into(options.readme, "exchange.py", contest_table(aimed))


if __name__ == "__main__":
    main()
