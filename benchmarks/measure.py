"""Shared by the benchmarks: timing in turns, tables, and writing them into a page."""

from __future__ import annotations

import importlib.util
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from timeit import Timer
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_PAIR_SECONDS, _OTHER_SECONDS = 1.5, 0.5  # per contender in a contest
END = "<!-- end -->"
_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))
_BURST_NS = 5e6  # long enough for the clock, short enough that other load affects all alike

_WARMING = 0.5  # seconds: a longer call is not repeated to choose the size of a burst


class Result(NamedTuple):
    """Times of two contenders in nanoseconds per call, and the target for their ratio."""

    ours: str
    theirs: str
    ours_ns: float
    theirs_ns: float
    at_most: float | None = None

    @property
    def ratio(self) -> float:
        """Our time divided by theirs."""
        return self.ours_ns / self.theirs_ns

    def figures(self) -> dict[str, str | float | None]:
        """Return all figures for JSON."""
        return {**self._asdict(), "ratio": self.ratio}


class Turn(NamedTuple):
    """A call to be timed: a burst in each of some rounds.

    A timer's setup runs before each burst, outside the measured time.
    """

    timer: Timer
    burst: int
    rounds: int


def time_all(turns: Sequence[Turn]) -> list[float]:
    """Time bursts in turn, forth and back; return the medians in nanoseconds per call."""
    bursts: list[list[float]] = [[] for _ in turns]
    for passed in range(max(turn.rounds for turn in turns)):
        order = list(zip(turns, bursts, strict=True))
        for turn, known in order if passed % 2 == 0 else reversed(order):
            if passed < turn.rounds:
                known.append(turn.timer.timeit(turn.burst) / turn.burst * 1e9)
    return [statistics.median(known) for known in bursts]


def fitted(timer: Timer, *, seconds: float, most: int, fewest: int = 3) -> Turn:
    """Call a few times, and choose how many calls and rounds fit into some seconds.

    Parameters
    ----------
    timer : Timer
    seconds : float
        For all rounds, including their setup.
    most : int
        Most calls in a burst.
    fewest : int
        Fewest rounds, even if they take longer.
    """
    call, whole = _timed(timer)
    if whole < _WARMING:  # the first call opens and maps what the others reuse
        call, whole = min(_timed(timer) for _ in range(3))
    burst = max(1, min(most, int(_BURST_NS / 1e9 / call)))
    rounds = int(seconds / (whole + (burst - 1) * call))
    return Turn(timer, burst, max(fewest, min(41, rounds)))


class Work(NamedTuple):
    """A contender's call, and the setup before each burst, outside the measured time."""

    call: Callable[[], object]
    setup: Callable[[], object] = lambda: None


def race(works: dict[str, Work], most: int = 1) -> dict[str, float]:
    """Time the first two in turns, for many rounds; then the others, in fewer.

    If all took turns, a call of microseconds would run with the caches that a call of a second
    has left behind.
    """
    timers = {who: Timer(work.call, work.setup) for who, work in works.items()}
    names = list(timers)
    times: dict[str, float] = {}
    for among, seconds, fewest in (
        (names[:2], _PAIR_SECONDS, 5),
        (names[2:], _OTHER_SECONDS, 1),
    ):
        if among:
            turns = [
                fitted(timers[who], seconds=seconds, most=most, fewest=fewest) for who in among
            ]
            times.update(zip(among, time_all(turns), strict=True))
    return times


def _timed(timer: Timer) -> tuple[float, float]:
    begin = time.perf_counter()
    call = timer.timeit(1)
    return call, time.perf_counter() - begin


def quantity(ns: float) -> str:
    """Format a time with its unit, to three figures."""
    size, unit = next((size, unit) for size, unit in _UNITS if ns >= size or unit == "ns")
    value = ns / size
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> str:
    """Return a Markdown table whose first columns are left-aligned."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def machine(packages: Iterable[str]) -> dict[str, str]:
    """Return the machine, and the versions of the installed packages."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "cpu": _cpu()}
    for package in packages:
        if importlib.util.find_spec(package.replace("apache-", "").replace("-", "_")):
            found[package] = version(package)
    return found


def write_into(page: Path, script: str, text: str) -> None:
    """Replace the text between the two markers of a script in a page."""
    begin = f"<!-- benchmarks/{script} -->"
    before, rest = page.read_text().split(begin)
    after = rest[rest.index(END) :]
    page.write_text(f"{before}{begin}\n{text}\n{after}")


def _cpu() -> str:
    found = Path("/proc/cpuinfo")
    lines = found.read_text().splitlines() if found.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
