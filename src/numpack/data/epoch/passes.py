"""One pass over an epoch: an iterator whose batches are copied ahead by background threads."""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

from ...store.fs.forks import register
from ..kernels.copying import CopyQueue, QueueClosedError
from .resident import ResidentLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..kernels.copying import Copy
    from ..output import Output
    from .order import Batch, Numbers, Order
    from .samples import RaggedSamples, RowSamples

    Requested: TypeAlias = tuple[Batch, Numbers, list[Copy]]  # its samples; requests of pages
    Begun: TypeAlias = tuple[Batch, dict[str, Any], list[Copy]]  # what its arrays wait for

_AHEAD_SAMPLES = 1 << 14  # whose pages are requested ahead while reading from a device
_WARM_BATCHES = 16  # in a row, all of whose pages were in memory: then no more are requested
_CHECKED = 64  # batches from one check of the resident size to the next


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
        self._requested: collections.deque[Requested] = collections.deque()
        self._begun: collections.deque[Begun] = collections.deque()
        self._queue = CopyQueue(threads if prefetch else 0)
        self._cold = 0  # batches for which pages are still requested ahead
        self._finished = 0  # batches
        self._limit = ResidentLimit()
        self._lock = threading.RLock()
        register(self)

    def __iter__(self) -> Pass:
        """Return itself."""
        return self

    def __next__(self) -> Any:
        """Return the next batch."""
        with self._lock:
            try:
                self._begin_ahead()
                if self._begun:
                    return self._finish(*self._begun.popleft())
            except QueueClosedError:  # by a signal handler that called `close`
                pass
            except StopIteration as error:  # which would seem to be the end of the epoch
                self.close()
                msg = "transform raised StopIteration"
                raise RuntimeError(msg) from error
            except BaseException:
                self.close()
                raise
            self.close()
        raise StopIteration

    def after_fork(self) -> None:
        """Replace the lock in a forked child, where no other thread can release it."""
        self._lock = threading.RLock()

    def close(self) -> None:
        """End the background threads; there are no further batches."""
        with self._lock:
            self._batches = iter(())
            self._requested.clear()
            self._begun.clear()
            self._queue.close()

    def _begin_ahead(self) -> None:
        """Begin with batches until there are `prefetch` besides the next one."""
        begun = self._begun
        while len(begun) <= self._prefetch:
            if self._cold:
                self._request_ahead()
            if self._requested:
                begun.append(self._begin(*self._requested.popleft()))
                continue
            batch = next(self._batches, None)
            if batch is None:
                return
            begun.append(self._begin(batch, self._order.between(batch.start, batch.stop), []))

    def _request_ahead(self) -> None:
        """Request the pages of later batches."""
        ahead = sum(len(samples) for _, samples, _ in self._requested)
        while not self._requested or ahead < _AHEAD_SAMPLES:
            batch = next(self._batches, None)
            if batch is None:
                return
            samples = self._order.between(batch.start, batch.stop)
            self._requested.append((batch, samples, self._request(samples)))
            ahead += len(samples)

    def _request(self, samples: Numbers) -> list[Copy]:
        requests = self._samples.request(samples) if self._queue.threads else []
        for request in requests:
            self._queue.submit(request)
        return requests

    def _begin(self, batch: Batch, samples: Numbers, requests: list[Copy]) -> Begun:
        views = self._views(batch)
        if views is not None:
            return batch, views, requests or self._request(samples)
        arrays, copies = self._samples.begin(samples, self._pools)
        for copy in copies:
            self._queue.submit(copy)
        return batch, arrays, requests + copies

    def _finish(self, batch: Batch, arrays: dict[str, Any], copies: list[Copy]) -> Any:
        found_cold = [self._queue.wait(copy) for copy in copies]
        self._cold = _WARM_BATCHES if any(found_cold) else max(0, self._cold - 1)
        found = self._output(arrays)
        self._finished += 1
        if self._finished % _CHECKED == 0 and self._limit.is_exceeded():
            self._samples.unmap_pages()
            self._limit.accept()
        if batch.is_last:
            self._queue.close()
        self._note(batch)  # at the end: an interrupted batch does not count
        return found

    def _views(self, batch: Batch) -> dict[str, Any] | None:
        """Return a batch as views of the files; ``None`` if it has to be copied."""
        if self._order.is_shuffled or batch.stop > self._samples.count:
            return None
        return self._samples.views(batch.start, batch.stop, self._hold)
