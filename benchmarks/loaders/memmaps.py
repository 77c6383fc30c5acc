"""Batches of a memory-mapped `.npy` file: by torch's `DataLoader`, by indexing, by Grain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import grain
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from .base import FAST_CALL_ROWS, Array, Batches, Data, slices

if TYPE_CHECKING:
    from collections.abc import Iterator


class MappedRows(Dataset[torch.Tensor]):
    """A map-style dataset: a row at a time, or several by a list of numbers."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._array)

    def __getitem__(self, row: int | list[int]) -> torch.Tensor:
        """Return a row, or rows, as a tensor."""
        return torch.from_numpy(self._array[row])


class TorchLoader(Batches):
    """torch's `DataLoader` with its default collation."""

    label = "torch `DataLoader`"
    workers: ClassVar[int] = 0

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self._dataset = MappedRows(data.mapped)

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over its batches."""
        yield from DataLoader(
            self._dataset,
            batch_size,
            shuffle=True,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )


class PreparedBatch(Dataset[torch.Tensor]):
    """A map-style dataset that returns the same batch for all row numbers."""

    def __init__(self, length: int) -> None:
        self._length, self._batch = length, torch.zeros(1)

    def __len__(self) -> int:
        """Return the number of rows that it claims to have."""
        return self._length

    def __getitems__(self, rows: list[int]) -> torch.Tensor:
        """Return the batch."""
        return self._batch


class TorchAlone(Batches):
    """A bound: what `DataLoader` itself takes, shuffling included, when nothing is read."""

    label = "torch `DataLoader` alone"

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over the batch."""
        rows: Any = PreparedBatch(self.data.rows.number)
        yield from DataLoader(rows, batch_size, shuffle=True, collate_fn=lambda batch: batch)


class TorchWorkers(TorchLoader):
    """The same with two workers."""

    label = "torch `DataLoader`, 2 workers"
    workers = 2
    ahead = 4


class TorchBatches(TorchLoader):
    """torch's `DataLoader`, whose dataset is indexed with the row numbers of a batch."""

    label = "torch `DataLoader`, `BatchSampler`"
    call_rows = FAST_CALL_ROWS

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over its batches."""
        numbers = BatchSampler(RandomSampler(self._dataset), batch_size, drop_last=False)
        yield from DataLoader(self._dataset, batch_size=None, sampler=numbers)


class Memmap(Batches):
    """Nothing but indexing with row numbers that are known."""

    label = "`memmap[rows]`"
    call_rows = FAST_CALL_ROWS

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over copies of the rows."""
        array = self.data.mapped
        for rows in slices(self.data, batch_size):
            yield array[rows]


class Grain(Batches):
    """Grain's pipeline over the mapping, read by two threads.

    By default there are 16, not faster on two cores, and they work 500 batches ahead.
    """

    label = "Grain"
    ahead = 2

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over its batches."""
        source: Any = self.data.mapped
        shuffled = grain.MapDataset.source(source).shuffle(seed=0).batch(batch_size)
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=self.ahead)
        yield from shuffled.to_iter_dataset(options)
