# cython: language_level=3
"""The batches of one rank, as positions in the order of an epoch."""

cimport cython
from libc.stdint cimport int64_t


@cython.final
@cython.no_gc
cdef class Batch:
    """One batch of one rank.

    Attributes
    ----------
    start, stop : int
        Positions in the order of the epoch; those from the number of samples on are the
        padding: they repeat the order from its beginning.
    end : int
        Number of positions that all ranks have consumed after this batch.
    is_last : bool
        Whether the rank, or the worker, has no batch after it.
    """


@cython.final
@cython.no_gc
cdef class Batches:
    """Iterator over the batches of a rank from a position on.

    Of every `size` consecutive positions, each of `world_size` ranks gets an equal part.

    Parameters
    ----------
    position, samples : int
        Where the batches begin, and where the last one ends.
    size, rank, world_size : int
    first, step, count : int
        Every `step`-th batch from the `first` on, of `count`.
    """

    cdef int64_t _position, _samples, _size, _rank, _world_size
    cdef int64_t _number, _step, _count

    def __init__(
        self, position, samples, size, int64_t rank, world_size, first, step, count
    ):
        self._position, self._samples, self._rank = position, samples, rank
        self._size = min(size, samples)  # if it is more, there is one batch at most
        self._world_size = world_size
        self._number, self._step, self._count = min(first, count), step, count

    def __iter__(self):
        return self

    def __next__(self):
        if self._number >= self._count:
            raise StopIteration
        cdef Batch batch = Batch.__new__(Batch)
        cdef int64_t begin = self._position + self._number * self._size, size
        batch.end = self._samples if self._samples - begin < self._size else begin + self._size
        size = (batch.end - begin + self._world_size - 1) // self._world_size
        batch.start = begin + self._rank * size
        batch.stop = batch.start + size
        batch.is_last = self._count - self._number <= self._step
        self._number = self._count if batch.is_last else self._number + self._step
        return batch
