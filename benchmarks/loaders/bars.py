"""What `numpack.Loader` aims at: how many times as fast as its rivals, or as small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from measure import quantity

from .c_loop import CLoop, CLoopThreads, ColdCLoop
from .memmaps import Memmap, TorchAlone, TorchLoader, TorchWorkers
from .numpacks import Gather, OurDataset, Ours

if TYPE_CHECKING:
    from .contests import Times
    from .first_batch import First


class Bar(NamedTuple):
    """A line of the first table.

    Attributes
    ----------
    ours, theirs : str
        What is done, and what with.
    our_cost, their_cost : float
        Nanoseconds a batch or in all, or bytes.
    rows : int
        In a batch; 0 if the cost is that of the first batch.
    unit : str
        "ns" or "bytes".
    at_least : float or None
        How many times as much the rival should cost.
    """

    ours: str
    theirs: str
    our_cost: float
    their_cost: float
    rows: int
    unit: str = "ns"
    at_least: float | None = None

    @property
    def times(self) -> float:
        """How many times as much the rival costs."""
        return self.their_cost / self.our_cost

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the line."""
        costs = (self._shown(cost) for cost in (self.our_cost, self.their_cost))
        return self.ours, self.theirs, *costs, f"{times_text(self.times)} ×"

    def figures(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        return {**self._asdict(), "times": self.times}

    def _shown(self, cost: float) -> str:
        if self.unit == "bytes":
            return f"{cost / 1e6:,.1f} MB"
        return f"{rate(cost, self.rows)} rows/s" if self.rows else quantity(cost)


def bars_of(warm: dict[int, Times], cold: Times, dataset: Times) -> list[Bar]:
    """Return the bars on rows of 512 bytes.

    Parameters
    ----------
    warm : dict
        Batch size → label → nanoseconds a batch.
    cold, dataset : dict
        Label → nanoseconds a batch of 4,096 and of 256 rows.
    """
    found, torchs = [], (TorchLoader.label, TorchWorkers.label)
    apart = {Ours.label, Gather.label, CLoop.label, CLoopThreads.label, *torchs}
    aims = {256: 30.0, 4096: 40.0}
    for rows, times in warm.items():
        what, ours = f"batches of {rows:,} rows", times[Ours.label]
        torch = min(torchs, key=lambda label: times[label])
        others = [label for label in times if label not in apart]
        other = min(others, key=lambda label: times[label])
        bound = times[CLoopThreads.label]
        found += [
            Bar(what, torch, ours, times[torch], rows, at_least=aims[rows]),
            Bar(what, f"{other}, the fastest other", ours, times[other], rows, at_least=2.5),
            Bar(what, "a C loop that only copies, 2 threads", ours, bound, rows),
        ]
    what, ours = "batches of 4,096 rows, none in the page cache", cold[Ours.label]
    bound = cold[ColdCLoop.label]
    found += [
        Bar(what, Memmap.label, ours, cold[Memmap.label], 4096, at_least=8),
        Bar(what, "64 threads of C that only read", ours, bound, 4096),
    ]
    what, torch = f"{OurDataset.label}, batches of 256 rows", TorchLoader.label
    ours, alone = dataset[OurDataset.label], dataset[TorchAlone.label]
    found += [
        Bar(what, f"{torch} over a memmap", ours, dataset[torch], 256, at_least=6),
        Bar(what, f"{torch} that reads nothing", ours, alone, 256),
    ]
    return found


def bars_of_first(ours: First, theirs: First) -> list[Bar]:
    """Return the bars on the first batch."""
    what = f"the first batch of {ours.rows:,} rows"
    rival = f"torch's `RandomSampler`, the first of {theirs.rows:,} row numbers"
    return [
        Bar(f"{what}: time", rival, ours.ns, theirs.ns, 0, at_least=100),
        Bar(f"{what}: memory", rival, ours.nbytes, theirs.nbytes, 0, "bytes", 100),
    ]


def rate(ns: float, rows: int) -> str:
    """Format the rows a second of batches that take some time each, to three figures."""
    value = rows / ns * 1e9
    if value >= 1e6:
        value /= 1e6
        return f"{value:.{max(0, 3 - len(str(int(value))))}f} M"
    digits = max(0, len(str(int(value))) - 3)
    return f"{round(value, -digits):,.0f}"


def times_text(times: float) -> str:
    """Format a ratio, to two figures at least."""
    return f"{times:,.0f}" if times >= 10 else f"{times:.2g}"
