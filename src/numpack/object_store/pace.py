"""How long a request takes until its first byte, and how fast the bytes follow."""

from __future__ import annotations

SMALL = 16 << 10
"""A response of up to this many bytes measures the latency."""
LARGE = 256 << 10
"""A response of at least this many bytes measures the bandwidth."""

_LEAST_GAP, _MOST_GAP = 4 << 10, 8 << 20
_WEIGHT = 0.125  # of a measurement in the moving average
_OUTLIER = 4.0  # times the average: more counts as this much


class Pace:
    """Moving averages of latency and bandwidth of single requests.

    Threads update them without a lock: a lost measurement is no loss.
    """

    def __init__(self) -> None:
        self.latency = 0.02  # seconds, until it is measured
        self.bandwidth = 50e6  # bytes a second
        self._measured = [False, False]

    def note(self, nbytes: int, seconds: float) -> None:
        """Note that a request for `nbytes` took so long."""
        if nbytes <= SMALL:
            self.latency = self._moved(0, self.latency, max(seconds, 1e-5))
        elif nbytes >= LARGE:
            rate = nbytes / max(seconds - self.latency, seconds / 4, 1e-6)
            self.bandwidth = self._moved(1, self.bandwidth, rate)

    def _moved(self, which: int, average: float, value: float) -> float:
        if not self._measured[which]:
            self._measured[which] = True
            return value
        return average + _WEIGHT * (min(value, _OUTLIER * average) - average)

    @property
    def gap(self) -> int:
        """The bytes that arrive in the time that another request would take to begin."""
        return min(max(int(self.latency * self.bandwidth), _LEAST_GAP), _MOST_GAP)
