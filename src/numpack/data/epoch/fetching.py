"""Fetching the rows of several batches at once from an object store, ahead of their copies."""

from __future__ import annotations

import collections
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from ..kernels.batches import Batch
    from .order import Order
    from .samples import RaggedSamples, RowSamples

_FIRST = 2  # batches that are fetched first, so that the first one is there soon
_BATCHES = 16  # that are fetched at once
_SAMPLES = 1 << 14  # of them, at most, but of one batch at least


class FetchAhead:
    """Iterator over the same batches, whose rows have been fetched.

    A thread fetches those of the next batches meanwhile.

    Parameters
    ----------
    batches : iterator of Batch
    order : Order
    samples : RowSamples or RaggedSamples
    """

    def __init__(
        self, batches: Iterator[Batch], order: Order, samples: RowSamples | RaggedSamples
    ) -> None:
        self._batches, self._order, self._samples = iter(batches), order, samples
        self._ready: collections.deque[Batch] = collections.deque()
        self._next: tuple[int, list[Batch], Future[None]] | None = None
        self._count = _FIRST

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> Batch:
        """Return the next batch, after its rows have been fetched."""
        if not self._ready:
            self._ready.extend(self._fetched())
            self._begin()
        if not self._ready:
            raise StopIteration
        return self._ready.popleft()

    def _fetched(self) -> list[Batch]:
        """Return the batches that the thread has fetched, or fetch some here."""
        begun, self._next = self._next, None
        if begun is not None and begun[0] == os.getpid():
            begun[2].result()
            return begun[1]
        group = self._group() if begun is None else begun[1]  # its thread is of the parent
        self._fetch(group)
        return group

    def _begin(self) -> None:
        if group := self._group():
            threads = ThreadPoolExecutor(1, "numpack-fetch")
            self._next = os.getpid(), group, threads.submit(self._fetch, group)
            threads.shutdown(wait=False)

    def _group(self) -> list[Batch]:
        """Return the next batches to fetch at once."""
        group: list[Batch] = []
        total = 0
        for batch in itertools.islice(self._batches, self._count):
            group.append(batch)
            total += batch.stop - batch.start
            if total >= _SAMPLES:
                break
        self._count = _BATCHES
        return group

    def _fetch(self, group: list[Batch]) -> None:
        if group:
            parts = [self._order.between(each.start, each.stop) for each in group]
            self._samples.fetch(np.concatenate(parts))
