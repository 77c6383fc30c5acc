"""Contests between loaders: the same shuffled batches, in turns, in one process."""

from __future__ import annotations

import gc
import itertools
from contextlib import ExitStack, closing
from functools import partial
from timeit import Timer
from typing import TYPE_CHECKING, Any

import numpy as np
import page_cache
from measure import fitted, time_all

from .base import COLD_BATCHES
from .c_loop import ColdCLoop
from .memmaps import Memmap
from .numpacks import Ours

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .base import Batches, Data

    Times = dict[str, float]  # label → ns a batch

CALL_BYTES = 2**26  # what a call that is timed reads at most, but a batch in any case
MOST_CALLS = 8  # in a burst


def contest(
    contenders: Iterable[Batches], batch_size: int, seconds: float, fewest: int = 3
) -> Times:
    """Time batches that are read from the page cache; return nanoseconds a batch.

    Parameters
    ----------
    contenders : iterable of Batches
    batch_size : int
    seconds : float
        For each of them.
    fewest : int
        Fewest rounds, even if they take longer.
    """
    contenders = list(contenders)
    counts = [_count(each, batch_size) for each in contenders]
    files = files_in(contenders[0].data.folder)
    page_cache.flush(files)
    page_cache.read_again(files)
    with ExitStack() as stack:
        turns = []
        for each, count in zip(contenders, counts, strict=True):
            reading = stack.enter_context(closing(each.reading(batch_size, count)))
            timer = Timer(reading, reading.settle)
            turns.append(fitted(timer, seconds=seconds, most=MOST_CALLS, fewest=fewest))
        medians = time_all(turns)
    found = zip(contenders, medians, counts, strict=True)
    return {each.label: ns / count for each, ns, count in found}


def _count(contender: Batches, batch_size: int) -> int:
    """Return how many batches a call reads."""
    fit = CALL_BYTES // (contender.data.rows.nbytes * batch_size)
    return max(1, min(contender.call_rows // batch_size, fit))


def cold_contest(data: Data, batch_size: int, seconds: float) -> Times:
    """Time the first batches of an epoch, when none of the rows are in the page cache."""
    ours, theirs, bound = Ours(data), ColdMemmap(data), ColdCLoop(data)
    runs = {
        ours.label: ColdRun(ours, files_in(ours.path), batch_size),
        theirs.label: ColdRun(theirs, [data.file], batch_size),
        bound.label: ColdRun(bound, [data.file], batch_size),
    }

    turns = [
        fitted(Timer(run, partial(cool, run, runs.values())), seconds=seconds, most=1)
        for run in runs.values()
    ]
    medians = time_all(turns)
    for run in runs.values():
        run.close()
    return {label: ns / COLD_BATCHES for label, ns in zip(runs, medians, strict=True)}


class ColdMemmap(Memmap):
    """Indexing of a mapping that is made for the epoch."""

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Map, and iterate over copies of the rows."""
        array = np.asarray(np.load(self.data.file, mmap_mode="r"))
        for start in range(0, self.data.rows.number - batch_size + 1, batch_size):
            yield array[self.data.order[start : start + batch_size]]


class ColdRun:
    """The first batches of an epoch.

    Parameters
    ----------
    contender : Batches
    files : list of Path
        What it reads.
    batch_size : int
    """

    def __init__(self, contender: Batches, files: list[Path], batch_size: int) -> None:
        self._contender, self.files, self._batch_size = contender, files, batch_size
        self._epoch: Any = None

    def __call__(self) -> None:
        """Open the files and take the first batches."""
        self._epoch = self._contender.epoch(self._batch_size)
        for batch in itertools.islice(self._epoch, COLD_BATCHES):
            batch.shape  # noqa: B018

    def close(self) -> None:
        """End the epoch."""
        if self._epoch is not None:
            self._epoch.close()
        self._epoch = None


def cool(run: ColdRun, runs: Iterable[ColdRun]) -> None:
    """End the epochs of all runs, since mapped files stay, and evict the files of one."""
    for each in runs:
        each.close()
    gc.collect()
    page_cache.evict(run.files)
    page_cache.assert_cold(run.files)


def files_in(folder: Path) -> list[Path]:
    """List the files of a folder and those below."""
    return [path for path in folder.rglob("*") if path.is_file()]
