"""Batches of a numpack store: by its loader, by indexing, and under torch's `DataLoader`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from numpack import Loader, NumPack
from numpack.data import Dataset

from .base import FAST_CALL_ROWS, Batches, Data, Reading, slices

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stored(Batches):
    """Rows in a store, saved once."""

    call_rows = FAST_CALL_ROWS

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self.path = data.folder / "x.npk"
        if not self.path.exists():
            with NumPack(self.path) as npk:
                npk.save({"x": data.mapped})

    def reading(self, batch_size: int, batches: int) -> Reading:
        """Return calls that take some batches each, after an epoch that touches each page."""
        taken = self.endless(batch_size)
        for _ in itertools.islice(taken, self.data.rows.number // batch_size):
            pass
        return Reading(taken, batches, self.ahead)


class Ours(Stored):
    """numpack's loader, as it is without options."""

    label = "`numpack.Loader`"
    ahead = 2

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over its batches."""
        yield from Loader(self.path, "x", batch_size=batch_size)

    def endless(self, batch_size: int) -> Iterator[Any]:
        """Iterate over the epochs of one loader."""
        loader = Loader(self.path, "x", batch_size=batch_size)
        while True:
            yield from loader


class Gather(Stored):
    """The store's indexing with row numbers that are known."""

    label = "`NumPack.getitem`"

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over copies of the rows."""
        with NumPack(self.path) as npk:
            for rows in slices(self.data, batch_size):
                yield npk.getitem("x", rows)


class OurDataset(Stored):
    """numpack's dataset under torch's `DataLoader`."""

    label = "`numpack.data.Dataset`, torch `DataLoader`"

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over its batches."""
        rows: Any = Dataset(self.path, "x")
        yield from DataLoader(rows, batch_size, shuffle=True)
