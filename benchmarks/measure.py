"""What the benchmarks share: timing in turns, tables, and filling them into a page."""

from __future__ import annotations

import importlib.util
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from timeit import Timer

END = "<!-- end -->"
_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))
_BURST_NS = 5e6  # long enough for the clock, short enough that others' work hits all alike

_WARMING = 0.5  # seconds: what takes longer is not called twice to choose how often to call


class Result(NamedTuple):
    """Two ways to do the same, in nanoseconds a call, and the ratio that is aimed at."""

    ours: str
    theirs: str
    ours_ns: float
    theirs_ns: float
    at_most: float | None = None

    @property
    def ratio(self) -> float:
        """Our time in units of theirs."""
        return self.ours_ns / self.theirs_ns

    def verdict(self) -> tuple[str, str]:
        """Give the ratio and the aim for a table."""
        return f"{self.ratio:.3f}", "" if self.at_most is None else f"≤ {self.at_most:g}"

    def figures(self) -> dict[str, str | float | None]:
        """Give all there is for JSON."""
        return {**self._asdict(), "ratio": self.ratio}


class Turn(NamedTuple):
    """What is timed: a burst of calls in each of some rounds.

    A timer's setup runs before each burst, outside of the clock.
    """

    timer: Timer
    burst: int
    rounds: int


def time_all(turns: Sequence[Turn]) -> list[float]:
    """Time bursts in turn; give the median ones in nanoseconds a call."""
    bursts: list[list[float]] = [[] for _ in turns]
    for passed in range(max(turn.rounds for turn in turns)):
        for turn, known in zip(turns, bursts, strict=True):
            if passed < turn.rounds:
                known.append(turn.timer.timeit(turn.burst) / turn.burst * 1e9)
    return [statistics.median(known) for known in bursts]


def fitted(timer: Timer, *, seconds: float, most: int, fewest: int = 3) -> Turn:
    """Call a few times, and choose as many calls and rounds as fit into some seconds.

    Parameters
    ----------
    timer : Timer
    seconds : float
        For all rounds, with their setup.
    most : int
        Calls in a burst.
    fewest : int
        Rounds, also if they take longer.
    """
    call, whole = _timed(timer)
    if whole < _WARMING:  # the first one opens and maps what the others find
        call, whole = min(_timed(timer) for _ in range(3))
    burst = max(1, min(most, int(_BURST_NS / 1e9 / call)))
    rounds = int(seconds / (whole + (burst - 1) * call))
    return Turn(timer, burst, max(fewest, min(41, rounds)))


def _timed(timer: Timer) -> tuple[float, float]:
    begin = time.perf_counter()
    call = timer.timeit(1)
    return call, time.perf_counter() - begin


def quantity(ns: float) -> str:
    """Give a time with its unit, three figures of it."""
    size, unit = next((size, unit) for size, unit in _UNITS if ns >= size or unit == "ns")
    value = ns / size
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> str:
    """Give a Markdown table, whose first columns begin at the left."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def machine(packages: Iterable[str]) -> dict[str, str]:
    """Tell what it ran on, and the versions of the packages that are there."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "cpu": _cpu()}
    for package in packages:
        if importlib.util.find_spec(package.replace("apache-", "").replace("-", "_")):
            found[package] = version(package)
    return found


def write_into(page: Path, script: str, text: str) -> None:
    """Replace what is between the two marks of a script in a page."""
    begin = f"<!-- benchmarks/{script} -->"
    before, rest = page.read_text().split(begin)
    after = rest[rest.index(END) :]
    page.write_text(f"{before}{begin}\n{text}\n{after}")


def _cpu() -> str:
    found = Path("/proc/cpuinfo")
    lines = found.read_text().splitlines() if found.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
