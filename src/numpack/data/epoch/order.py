"""The order of an epoch, and the part of it that each rank gets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..kernels.batches import Batches
from ..kernels.permutation import Permutation

Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Sharding(NamedTuple):
    """How the positions of an epoch are divided among ranks.

    Each rank gets, of every `batch_size` × `world_size` consecutive positions, `batch_size`
    consecutive ones. All ranks have the same number of batches, and of samples in each.

    Attributes
    ----------
    samples : int
        Of an epoch.
    batch_size, rank, world_size : int
    drop_last : bool
        Whether positions at the end that do not fill a batch of every rank are left out.
    """

    samples: int
    batch_size: int
    rank: int
    world_size: int
    drop_last: bool

    def count(self, position: int = 0) -> int:
        """Return the number of batches from a position on."""
        left, step = self.samples - position, self.batch_size * self.world_size
        return left // step if self.drop_last else -(-left // step)

    def padding(self, position: int = 0) -> int:
        """Return how many samples come twice in an epoch, so that all ranks have as many."""
        if self.drop_last:
            return 0
        rest = (self.samples - position) % (self.batch_size * self.world_size)
        return -rest % self.world_size

    def batches(self, position: int, first: int = 0, step: int = 1) -> Batches:
        """Return an iterator over the batches of the rank from a position on.

        Parameters
        ----------
        position : int
        first, step : int
            Leave out batches, as a slice: those of other workers.
        """
        size, count = self.batch_size * self.world_size, self.count(position)
        ranks = self.rank, self.world_size
        return Batches(position, self.samples, size, *ranks, first, step, count)


class Order:
    """The samples of an epoch, by their position.

    Parameters
    ----------
    samples : int
    seed, epoch : int
    shuffle : bool
    """

    def __init__(self, samples: int, seed: int, epoch: int, *, shuffle: bool) -> None:
        self._samples = samples
        self._permutation = Permutation(samples, seed, epoch) if shuffle else None

    @property
    def is_shuffled(self) -> bool:
        """Whether a sample is at another position than that of its number."""
        return self._permutation is not None

    def between(self, start: int, stop: int) -> Numbers:
        """Return the numbers of the samples at some positions.

        Parameters
        ----------
        start, stop : int
            Positions from the number of samples on repeat the order from its beginning.
        """
        if stop <= self._samples:
            return self._before_end(start, stop)
        parts = []
        while start < stop:
            first = start % self._samples
            last = min(first + stop - start, self._samples)
            parts.append(self._before_end(first, last))
            start += last - first
        return np.concatenate(parts)

    def _before_end(self, start: int, stop: int) -> Numbers:
        if self._permutation is None:
            return np.arange(start, stop, dtype=np.int64)
        return self._permutation.between(start, stop)
