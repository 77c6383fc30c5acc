# cython: language_level=3
"""One pass over an epoch: an iterator whose batches are copied ahead by background threads."""

import collections
import threading

from ...store.fs.forks import register
from ..kernels.copying import CopyQueue, QueueClosedError
from .resident import ResidentLimit

cimport cython
from cpython.pyport cimport PY_SSIZE_T_MAX

from numpack.data.kernels.batches cimport Batch

_AHEAD_SAMPLES = 1 << 14  # whose pages are requested ahead while reading from a device
_WARM_BATCHES = 16  # in a row, all of whose pages were in memory: then no more are requested
_CHECKED = 64  # batches from one check of the resident size to the next


@cython.final
@cython.no_gc
cdef class _Begun:
    """A batch whose copies have been submitted."""

    cdef Batch batch
    cdef dict arrays
    cdef list copies  # what the arrays wait for


@cython.final
cdef class Pass:
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

    cdef object __weakref__
    cdef readonly object _samples, _requested, _limit
    cdef public object _queue
    cdef object _order, _batches, _output, _note, _hold, _pools, _begun, _lock
    cdef Py_ssize_t _prefetch
    cdef readonly int _cold  # batches for which pages are still requested ahead
    cdef Py_ssize_t _finished  # batches
    cdef bint _in_order

    def __init__(self, samples, order, batches, output, *, hold, prefetch, threads, note):
        self._samples, self._order, self._batches = samples, order, batches
        self._output, self._note = output, note
        self._prefetch = min(prefetch, PY_SSIZE_T_MAX)
        self._hold = hold
        self._in_order = not order.is_shuffled
        self._pools = output.pools(samples.names, prefetch + 2)
        self._requested = collections.deque()  # of batch, samples, requests of pages
        self._begun = collections.deque()
        self._queue = CopyQueue(threads if prefetch else 0)
        self._limit = ResidentLimit()
        self._lock = threading.RLock()
        register(self)

    def __iter__(self):
        """Return itself."""
        return self

    def __next__(self):
        """Return the next batch."""
        with self._lock:
            try:
                self._begin_ahead()
                if self._begun:
                    return self._finish(self._begun.popleft())
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

    def after_fork(self):
        """Replace the lock in a forked child, where no other thread can release it."""
        self._lock = threading.RLock()

    def close(self):
        """End the background threads; there are no further batches."""
        with self._lock:
            self._batches = iter(())
            self._requested.clear()
            self._begun.clear()
            self._queue.close()

    cdef int _begin_ahead(self) except -1:
        """Begin with batches until there are `prefetch` besides the next one."""
        cdef Batch batch
        begun = self._begun
        while len(begun) <= self._prefetch:
            if self._cold:
                self._request_ahead()
            if self._requested:
                batch, samples, requests = self._requested.popleft()
                begun.append(self._begin(batch, samples, requests))
                continue
            batch = next(self._batches, None)
            if batch is None:
                return 0
            samples = self._order.between(batch.start, batch.stop)
            begun.append(self._begin(batch, samples, None))
        return 0

    cdef int _request_ahead(self) except -1:
        """Request the pages of later batches."""
        cdef Batch batch
        ahead = sum([len(samples) for _, samples, _ in self._requested])
        while not self._requested or ahead < _AHEAD_SAMPLES:
            batch = next(self._batches, None)
            if batch is None:
                return 0
            samples = self._order.between(batch.start, batch.stop)
            self._requested.append((batch, samples, self._request(samples)))
            ahead += len(samples)
        return 0

    cdef list _request(self, samples):
        cdef list requests = self._samples.request(samples) if self._queue.threads else []
        for request in requests:
            self._queue.submit(request)
        return requests

    cdef _Begun _begin(self, Batch batch, samples, list requests):
        cdef _Begun begun = _Begun.__new__(_Begun)
        begun.batch = batch
        begun.arrays = self._views(batch) if self._in_order else None
        if begun.arrays is not None:
            begun.copies = requests or self._request(samples)
            return begun
        begun.arrays, begun.copies = self._samples.begin(samples, self._pools)
        for copy in begun.copies:
            self._queue.submit(copy)
        if requests:
            begun.copies = requests + begun.copies
        return begun

    cdef object _finish(self, _Begun begun):
        cdef bint found_cold = False
        for copy in begun.copies:
            if self._queue.wait(copy):
                found_cold = True
        if found_cold:
            self._cold = _WARM_BATCHES
        elif self._cold:
            self._cold -= 1
        found = self._output(begun.arrays)
        self._finished += 1
        if self._finished % _CHECKED == 0 and self._limit.is_exceeded():
            self._samples.unmap_pages()
            self._limit.accept()
        if begun.batch.is_last:
            self._queue.close()
        self._note(begun.batch)  # at the end: an interrupted batch does not count
        return found

    cdef dict _views(self, Batch batch):
        """Return a batch as views of the files; None if it has to be copied."""
        if batch.stop > self._samples.count:
            return None
        return self._samples.views(batch.start, batch.stop, self._hold)
