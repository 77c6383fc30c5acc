"""One pass over an epoch: an iterator whose batches are copied ahead by background threads."""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from .copying import CopyQueue
from .resident import exceeds_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .copying import Copy
    from .order import Batch, Numbers, Order
    from .output import Output
    from .samples import RaggedSamples, RowSamples

_AHEAD_SAMPLES = 1 << 14  # whose pages are requested ahead while reading from a device
_CHECKED = 64  # batches from one check of the resident size to the next


class _Requested(NamedTuple):
    """A batch of which nothing is copied yet."""

    batch: Batch
    samples: Numbers
    requests: list[Copy]


class _Begun(NamedTuple):
    """A batch that is being copied."""

    batch: Batch
    arrays: dict[str, Any]
    copies: list[Copy]


class Pass:
    """Iterator over the batches of an epoch.

    The thread that iterates computes which rows are in a batch, and background threads copy
    them, `prefetch` batches ahead; when it would have to wait, it copies as well. Once pages
    are found that are not in memory, those of later batches are requested from the device.

    Parameters
    ----------
    samples : RowSamples or RaggedSamples
    order : Order
    batches : iterator of Batch
    output : Output
    hold : object
        Kept for as long as the pass exists: see `Source.hold`.
    prefetch, threads : int
    note : callable
        Called with each `Batch`, just before its arrays are returned.
    """

    def __init__(
        self,
        samples: RowSamples | RaggedSamples,
        order: Order,
        batches: Iterator[Batch],
        output: Output,
        *,
        hold: object,
        prefetch: int,
        threads: int,
        note: Callable[[Batch], None],
    ) -> None:
        self._samples, self._order, self._batches = samples, order, batches
        self._output, self._prefetch, self._note = output, prefetch, note
        self._hold = hold
        self._pools = output.pools(samples.names, prefetch + 2)
        self._requested: collections.deque[_Requested] = collections.deque()
        self._begun: collections.deque[_Begun] = collections.deque()
        self._queue = CopyQueue(threads if prefetch else 0)
        self._reads_device = False
        self._finished = 0  # batches
        self._lock = threading.RLock()

    def __iter__(self) -> Pass:
        """Return itself."""
        return self

    def __next__(self) -> Any:
        """Return the next batch."""
        with self._lock:
            try:
                self._begin_ahead()
                if self._begun:
                    return self._finish(self._begun.popleft())
            except BaseException:
                self.close()
                raise
            self.close()
        raise StopIteration

    def close(self) -> None:
        """End the background threads; there are no further batches."""
        self._batches = iter(())
        self._requested.clear()
        self._begun.clear()
        self._queue.close()

    def _begin_ahead(self) -> None:
        """Begin with batches until there are `prefetch` besides the next one."""
        while len(self._begun) <= self._prefetch:
            if self._reads_device or not self._requested:
                self._request_ahead()
            if not self._requested:
                return
            self._begun.append(self._begin(self._requested.popleft()))

    def _request_ahead(self) -> None:
        """Compute the samples of a batch, or of several if their pages have to be requested."""
        ahead = sum(len(each.samples) for each in self._requested)
        while not self._requested or (self._reads_device and ahead < _AHEAD_SAMPLES):
            batch = next(self._batches, None)
            if batch is None:
                return
            samples = self._order.between(batch.start, batch.stop)
            requests = self._request(samples) if self._reads_device else []
            self._requested.append(_Requested(batch, samples, requests))
            ahead += len(samples)

    def _request(self, samples: Numbers) -> list[Copy]:
        requests = self._samples.request(samples) if self._queue.threads else []
        for request in requests:
            self._queue.submit(request)
        return requests

    def _begin(self, requested: _Requested) -> _Begun:
        batch, samples, requests = requested
        views = self._views(batch)
        if views is not None:
            return _Begun(batch, views, requests or self._request(samples))
        begun = self._samples.begin(samples, self._pools)
        for copy in begun.copies:
            self._queue.submit(copy)
        return _Begun(batch, begun.arrays, [*requests, *begun.copies])

    def _finish(self, begun: _Begun) -> Any:
        for copy in begun.copies:
            if self._queue.wait(copy):
                self._reads_device = True
        found = self._output(begun.arrays)
        self._note(begun.batch)
        self._finished += 1
        if self._finished % _CHECKED == 0 and exceeds_limit():
            self._samples.unmap_pages()
        if begun.batch.is_last:
            self._queue.close()
        return found

    def _views(self, batch: Batch) -> dict[str, Any] | None:
        """Return a batch as views of the files; ``None`` if it has to be copied."""
        if self._order.is_shuffled or batch.stop > self._samples.count:
            return None
        return self._samples.views(batch.start, batch.stop, self._hold)
