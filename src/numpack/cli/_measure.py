"""Measurements for ``numpack bench``: calls of the store and of NumPy, in turns."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..data import Loader
from ..errors import InvalidValueError
from ._errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..store import NumPack

_LEAST_NS = 2_000_000  # a turn repeats quick calls for so long
_BATCHES = 64  # of an epoch that are read in a turn


class Result(NamedTuple):
    """The median durations of a call.

    Attributes
    ----------
    what : str
    seconds : float
        Of the store.
    numpy_seconds : float
        Of NumPy with the same bytes.
    numpy_call : str
    rows : int
        That one call reads.
    """

    what: str
    seconds: float
    numpy_seconds: float
    numpy_call: str
    rows: int


class _Case(NamedTuple):
    """A call of the store and the same of NumPy, each of which returns what was read."""

    what: str
    ours: Callable[[_Bench], object]
    theirs: Callable[[_Bench], object]
    numpy_call: str
    rows: Callable[[_Bench], int]


class _Bench:
    """An open array, and the same bytes as NumPy maps them."""

    def __init__(self, store: NumPack, options: argparse.Namespace) -> None:
        self.path, self.name = options.store, options.name
        metadata = store.get_metadata()["arrays"]
        if self.name not in metadata:
            store.get_shape(self.name)  # raises, with the nearest names
        self.file = Path(options.store) / metadata[self.name]["data_file"]
        if not self.file.is_file():
            msg = f"{options.store} is not a folder; unpack or download the store first"
            raise UsageError(msg)
        self.store = store
        self.lazy = store.load(self.name, lazy=True)
        if not self.lazy.nbytes or not self.lazy.ndim:
            raise InvalidValueError(f"the array {self.name!r} has no rows to read")
        self.row_nbytes = self.lazy.nbytes // len(self.lazy)
        self.stored = self.map()
        rng = np.random.default_rng(0)
        count = min(options.rows, len(self.lazy))
        self.numbers = rng.integers(0, len(self.lazy), count)
        self.batch = min(options.batch, len(self.lazy))
        self.batches = min(_BATCHES, len(self.lazy) // self.batch)
        self.order = rng.permutation(len(self.lazy))[: self.batches * self.batch]
        self._folder = tempfile.TemporaryDirectory()

    def map(self) -> Any:
        """Map the data file as NumPy does; its rows include deleted ones."""
        rows = self.file.stat().st_size // self.row_nbytes
        shape = (rows, *self.lazy.shape[1:])
        return np.memmap(self.file, self.lazy.dtype, "r", shape=shape)

    @functools.cached_property
    def npy_file(self) -> Path:
        """A .npy file of the same shape, of which only the header is read."""
        path = Path(self._folder.name) / "x.npy"
        np.lib.format.open_memmap(path, "w+", self.lazy.dtype, self.lazy.shape)
        return path

    def close(self) -> None:
        """Remove the temporary file."""
        self._folder.cleanup()

    def one_by_one(self, rows: Any) -> int:
        """Read one value of each of some rows, and return how many."""
        count = 0
        for number in self.numbers.tolist():
            np.asarray(rows[number]).reshape(-1)[0].item()
            count += 1
        return count

    def batches_of_loader(self) -> int:
        """Read the first batches of an epoch in random order."""
        loader = Loader(self.store, self.name, batch_size=self.batch, target="numpy")
        count = 0
        for batch in loader:
            count += len(batch)
            if count >= self.batches * self.batch:
                break
        return count

    def batches_of_memmap(self) -> int:
        """Read as many batches of random rows by NumPy."""
        count = 0
        for start in range(0, len(self.order), self.batch):
            count += len(self.stored[self.order[start : start + self.batch]])
        return count


def _open(bench: _Bench) -> Any:
    from ..store import NumPack  # noqa: PLC0415

    with NumPack(bench.path, mode="r") as store:
        return store.load(bench.name, lazy=True)


_CASES = (
    _Case(
        "open the store, load lazily",
        _open,
        lambda bench: np.load(bench.npy_file, mmap_mode="r"),
        'np.load(mmap_mode="r")',
        lambda _: 0,
    ),
    _Case(
        "load all rows",
        lambda bench: bench.store.load(bench.name),
        lambda bench: np.fromfile(bench.file, bench.lazy.dtype),
        "np.fromfile, as np.load reads",
        lambda bench: len(bench.lazy),
    ),
    _Case(
        "lazy rows, one by one",
        lambda bench: bench.one_by_one(bench.lazy),
        lambda bench: bench.one_by_one(bench.stored),
        "memmap[i]",
        lambda bench: len(bench.numbers),
    ),
    _Case(
        "gather random rows",
        lambda bench: bench.store.getitem(bench.name, bench.numbers),
        lambda bench: bench.stored[bench.numbers],
        "memmap[rows]",
        lambda bench: len(bench.numbers),
    ),
    _Case(
        "shuffled batches of a Loader",
        lambda bench: bench.batches_of_loader(),
        lambda bench: bench.batches_of_memmap(),
        "memmap[rows] of each batch",
        lambda bench: bench.batches * bench.batch,
    ),
)


def measure(
    options: argparse.Namespace,
    opened: Callable[[], contextlib.AbstractContextManager[NumPack]],
    progress: Callable[[int, int | None], object] | None,
) -> list[Result]:
    """Measure each call of the store in turns with that of NumPy; return the medians.

    Parameters
    ----------
    options : argparse.Namespace
        With ``store``, ``name``, ``rounds``, ``rows``, ``batch`` and ``cold``.
    opened : callable
        Opens the store.
    progress : callable or None
    """
    for name in ("rounds", "rows", "batch"):
        if getattr(options, name) < 1:
            msg = f"--{name} must be positive, not {getattr(options, name)}"
            raise UsageError(msg)
    results, total = [], 2 * options.rounds * len(_CASES)
    for number, case in enumerate(_CASES):
        times: tuple[list[float], list[float]] = ([], [])
        rows = 0
        for turn in range(2 * options.rounds):
            ours = (turn + turn // 2) % 2 == 0  # neither always follows the other
            with opened() as store, contextlib.closing(_Bench(store, options)) as bench:
                rows = case.rows(bench)
                call = case.ours if ours else case.theirs
                times[not ours].append(_duration(call, bench, is_cold=options.cold))
            del bench  # and with it the mappings
            if progress is not None:
                progress(number * 2 * options.rounds + turn + 1, total)
        ours_median, theirs_median = map(statistics.median, times)
        results.append(Result(case.what, ours_median, theirs_median, case.numpy_call, rows))
    return results


def _duration(call: Callable[[_Bench], object], bench: _Bench, *, is_cold: bool) -> float:
    """Return the seconds of one call; quick ones are repeated, unless the disk is read."""
    if is_cold:
        _drop_from_cache(bench)
    else:
        call(bench)  # so that all pages are in memory
    was_enabled = gc.isenabled()
    gc.disable()  # as timeit does
    try:
        count, start = 0, time.perf_counter_ns()
        while True:
            call(bench)
            count += 1
            spent = time.perf_counter_ns() - start
            if is_cold or spent > _LEAST_NS:
                return spent / count / 1e9
    finally:
        if was_enabled:
            gc.enable()


def _drop_from_cache(bench: _Bench) -> None:
    """Drop the file from the page cache; mapped pages stay, so nothing was read yet."""
    descriptor = os.open(bench.file, os.O_RDONLY)
    try:
        with contextlib.suppress(AttributeError):  # not on macOS
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
