"""What a hand-over costs, beside the framework's own call on the same data.

All calls are timed in turn, a short burst each, for many rounds in one process, so that
whatever else the machine does falls on all of them alike; the median burst counts. A ratio
below 1 means that numpack's call is the cheaper one.

    python benchmarks/exchange.py                     table and, with --json FILE, JSON
    python benchmarks/exchange.py --readme README.md  write the table into a page as well
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import timeit
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

import numpack
import numpack.io

if TYPE_CHECKING:
    from collections.abc import Iterable

ROUNDS, BURST = 201, 500
SWEEP = {"1 KB": 2**10, "1 MB": 2**20, "64 MB": 2**26, "1 GB": 2**30}
PACKAGES = ("numpy", "torch", "pyarrow", "apache-tvm-ffi")
BEGIN, END = "<!-- benchmarks/exchange.py -->", "<!-- end -->"


class Contest(NamedTuple):
    """Two statements on the same data, and the ratio of their times that is aimed at."""

    ours: str
    theirs: str
    at_most: float | None = None


class Result(NamedTuple):
    """Medians in nanoseconds a call."""

    contest: Contest
    ours_ns: float
    theirs_ns: float

    @property
    def ratio(self) -> float:
        """Our time in units of theirs."""
        return self.ours_ns / self.theirs_ns


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
    """Collect what the statements use: `a` and `f` of float32, and the same elsewhere."""
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


def time_all(statements: Iterable[tuple[str, dict[str, Any]]], rounds: int) -> list[float]:
    """Time each statement, in turn, in bursts; give the medians in nanoseconds a call."""
    timers = [timeit.Timer(statement, globals=known) for statement, known in statements]
    for timer in timers:
        timer.timeit(BURST)  # imports, caches
    bursts = [[timer.timeit(BURST) for timer in timers] for _ in range(rounds)]
    return [statistics.median(column) / BURST * 1e9 for column in zip(*bursts, strict=True)]


def compare(contests: Iterable[Contest], rounds: int = ROUNDS) -> list[Result]:
    """Run contests on float32, 1000 × 128 and 100,000."""
    contests = list(contests)
    known = names(np.zeros((1000, 128), "f4"), np.zeros(100_000, "f4"))
    medians = time_all([(side, known) for contest in contests for side in contest[:2]], rounds)
    pairs = zip(medians[::2], medians[1::2], strict=True)
    return [Result(c, ours, theirs) for c, (ours, theirs) in zip(contests, pairs, strict=True)]


def sweep(rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Time our calls over arrays of several sizes, which nobody has touched."""
    known = {}
    for size, nbytes in SWEEP.items():
        array = np.zeros(nbytes // 4, "f4")
        known[size] = names(array.reshape(-1, 128), array)
        known[size]["t"] = torch.zeros(nbytes // 512, 128)
    calls = [contest.ours for contest in CONTESTS]
    medians = time_all([(call, known[size]) for call in calls for size in SWEEP], rounds)
    rows = iter(medians)
    return {call: {size: next(rows) for size in SWEEP} for call in calls}


def as_table(results: Iterable[Result]) -> str:
    """Give results as a Markdown table."""
    lines = [
        "| numpack | the framework's own call | ns | ns | ratio | aim |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for result in results:
        aim = "" if result.contest.at_most is None else f"≤ {result.contest.at_most:g}"
        lines.append(
            f"| `{result.contest.ours}` | `{result.contest.theirs}` | {result.ours_ns:,.0f} "
            f"| {result.theirs_ns:,.0f} | {result.ratio:.3f} | {aim} |"
        )
    return "\n".join(lines)


def sweep_table(swept: dict[str, dict[str, float]]) -> str:
    """Give a sweep as a Markdown table."""
    sizes = list(SWEEP)
    lines = [f"| ns a call | {' | '.join(sizes)} |", "|---|" + "---:|" * len(sizes)]
    for call, row in swept.items():
        figures = " | ".join(f"{row[size]:,.0f}" for size in sizes)
        lines.append(f"| `{call}` | {figures} |")
    return "\n".join(lines)


def machine() -> dict[str, str]:
    """Tell what it ran on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        if importlib.util.find_spec(package.replace("apache-", "").replace("-", "_")):
            found[package] = version(package)
    return found


def write_into(page: Path, text: str) -> None:
    """Replace what is between the two marks of a page."""
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description="What a hand-over costs.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--readme", type=Path, help="write the first table into this page")
    options = parser.parse_args()

    known = TVM_FFI if importlib.util.find_spec("tvm_ffi") else ()
    results = compare((*CONTESTS, *BEYOND, *known), options.rounds)
    swept = sweep(options.rounds)
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()), end="\n\n")
    print(as_table(results), sweep_table(swept), sep="\n\n")
    if options.json:
        rows = [{**r.contest._asdict(), **r._asdict(), "ratio": r.ratio} for r in results]
        for row in rows:
            del row["contest"]
        figures = {"machine": about, "contests": rows, "sweep": swept}
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    if options.readme:
        aimed = [result for result in results if result.contest.at_most is not None]
        write_into(options.readme, as_table(aimed))


if __name__ == "__main__":
    main()
