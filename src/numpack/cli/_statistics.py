"""Statistics of an array, computed from a few MiB at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._core.dtypes import is_extension
from ..errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._core.memory import Array
    from ._selection import Rows

_PART_BYTES = 2 << 20  # of which computing takes several times as much
_TIMES = "mM"
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-:=+*#"


class Statistics(NamedTuple):
    """Statistics of values; those that are NaN or NaT do not count but in `nan`.

    Attributes
    ----------
    values : int
        How many there are.
    nan : int
        Of the values that are NaN, or NaT.
    infinite : int
    min, max : int, float, bool, datetime64, timedelta64 or None
        ``None`` if there are no values, or they have no order.
    mean, std : float, complex, datetime64, timedelta64 or None
        ``None`` as well if a value is infinite; the standard deviation also for times.
    histogram : tuple of int
        Counts of finite values in bins of the same width between `low` and `high`.
    low, high : as `min` and `max`
        The least and the greatest finite value.
    """

    values: int
    nan: int
    infinite: int
    min: Any
    max: Any
    mean: Any
    std: Any
    histogram: tuple[int, ...]
    low: Any
    high: Any


def statistics(
    rows: Rows, bins: int, progress: Callable[[int, int], object] | None
) -> Statistics:
    """Compute statistics, reading the rows twice: the histogram needs the extremes.

    Raises
    ------
    UnsupportedError
        The values are not numbers, booleans or times.
    """
    dtype, kind = rows.dtype, _kind(rows.dtype)
    if not has_statistics(dtype):
        msg = f"values of dtype {dtype} have no statistics; numbers, booleans and times have"
        raise UnsupportedError(msg)
    found = _Moments(kind)
    reader = _Reader(rows, kind, progress)
    for part in reader.parts():
        found.add(part)
    counts: tuple[int, ...] = ()
    if kind != "c" and found.low is not None:
        counts = _histogram(reader, kind, (found.low, found.high), bins)
    return found.result(dtype, counts)


def has_statistics(dtype: np.dtype[Any]) -> bool:
    """Return whether values are numbers, booleans or times."""
    return _kind(dtype) in "biufcmM"


def sparkline(counts: tuple[int, ...], *, is_ascii: bool = False) -> str:
    """Return a bar for each count; an empty bin is a space, and no other is.

    Examples
    --------
    >>> sparkline((0, 1, 5, 10, 4, 0, 1))
    ' ▁▄█▄ ▁'
    """
    bars, highest = _ASCII_BARS if is_ascii else _BARS, max(counts, default=0)
    return "".join(
        bars[math.ceil(count * len(bars) / highest) - 1] if count else " " for count in counts
    )


class _Reader:
    """Reads the values, in a dtype to compute with, twice."""

    def __init__(
        self, rows: Rows, kind: str, progress: Callable[[int, int], object] | None
    ) -> None:
        self._rows, self._kind, self._progress = rows, kind, progress
        passes = 1 if kind == "c" else 2
        self._total = passes * rows.row_nbytes * len(rows)
        self._done = 0

    def parts(self) -> Iterator[Array]:
        for part in self._rows.parts(_PART_BYTES):
            self._done += self._rows.row_nbytes * (len(part) if self._rows.has_rows else 1)
            if part.size:
                yield _computable(part.reshape(-1), self._kind)
            if self._progress is not None:
                self._progress(self._done, self._total)


class _Moments:
    """Running extremes, counts and moments.

    Means and squared deviations of parts are combined as Chan, Golub and LeVeque do
    ("Algorithms for computing the sample variance", 1983).
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.count = self.nan = self.infinite = 0
        self.min = self.max = self.low = self.high = None
        self._known, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, part: Array) -> None:
        self.count += part.size
        if self._kind in "fcmM":
            missing = np.isnat(part) if self._kind in _TIMES else np.isnan(part)
            count = int(missing.sum())
            self.nan += count
            part = part[~missing] if count else part
        if not part.size:
            return
        if self._kind != "c":
            self.min, self.max = _wider(self.min, self.max, part)
        if self._kind in "fc":
            finite = np.isfinite(part)
            count = part.size - int(finite.sum())
            self.infinite += count
            part = part[finite] if count else part
        if part.size:
            if self._kind != "c":
                self.low, self.high = _wider(self.low, self.high, part)
            self._add_moments(part)

    def _add_moments(self, part: Array) -> None:
        if self._kind in _TIMES:
            part = part.view("i8")
        wide = part.astype("c16" if self._kind == "c" else "f8", copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = wide.mean()
            squares = float((np.abs(wide - mean) ** 2).sum())
            known = self._known + part.size
            change = mean - self._mean
            self._squares += squares + abs(change) ** 2 * self._known * part.size / known
            self._mean += change * (part.size / known)
        self._known = known

    def result(self, dtype: np.dtype[Any], counts: tuple[int, ...]) -> Statistics:
        mean: Any = None
        std: Any = None
        if self._known and not self.infinite:
            mean, std = self._mean, math.sqrt(self._squares / self._known)
            if self._kind in _TIMES:
                mean, std = np.array(round(mean), "i8").astype(dtype)[()], None
            else:
                mean = complex(mean) if self._kind == "c" else float(mean)
        extremes = (self.min, self.max)
        return Statistics(
            self.count,
            self.nan,
            self.infinite,
            *extremes,
            mean,
            std,
            counts,
            self.low,
            self.high,
        )


def _wider(low: Any, high: Any, part: Array) -> tuple[Any, Any]:
    """Return the extremes of values and of those seen before."""
    least, most = part.min(), part.max()
    if low is None:
        return least, most
    return min(low, least), max(high, most)


def _computable(part: Array, kind: str) -> Array:
    """Return values in a dtype that NumPy computes with at its full range."""
    if is_extension(part.dtype):
        return part.astype("f4" if kind == "f" else "i8")
    if kind == "f" and part.dtype.itemsize < 4:
        return part.astype("f4")
    return part


def _kind(dtype: np.dtype[Any]) -> str:
    """Return the kind of a dtype as NumPy names it, also of those of ml_dtypes."""
    if not is_extension(dtype):
        return dtype.kind
    return "f" if "float" in dtype.name else "i"


def _histogram(reader: _Reader, kind: str, ends: tuple[Any, Any], bins: int) -> tuple[int, ...]:
    low, high = (_number(end, kind) for end in ends)
    if kind in "biumM":
        bins = min(bins, high - low + 1)
    if low == high:
        bins = 1
    counts = np.zeros(bins, np.int64)
    for part in reader.parts():
        values = part.view("i8") if kind in _TIMES else part
        if kind in _TIMES:
            values = values[~np.isnat(part)]
        elif kind == "f":
            values = values[np.isfinite(values)]
        counts += _binned(values.astype("f8", copy=False), float(low), float(high), bins)
    return tuple(counts.tolist())


def _binned(values: Array, low: float, high: float, bins: int) -> Array:
    """Count values in bins of the same width; they may have been replaced since."""
    with np.errstate(over="ignore", invalid="ignore"):
        width = high / bins - low / bins  # the difference itself may overflow
        if width == 0 or not math.isfinite(width):
            return np.bincount(np.zeros(values.size, np.intp), minlength=bins)
        numbers = np.floor(values / width - low / width)
    numbers = np.nan_to_num(numbers, nan=0.0)
    return np.bincount(np.clip(numbers, 0, bins - 1).astype(np.intp), minlength=bins)


def _number(value: Any, kind: str) -> Any:
    if kind in _TIMES:
        return int(value.view("i8"))
    return float(value) if kind == "f" else int(value)
