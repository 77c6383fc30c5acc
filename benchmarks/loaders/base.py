"""What each loader is made from, and its one operation: shuffled batches without an end."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Array = np.ndarray[Any, Any]

PAGE = 4096
FAST_CALL_ROWS = 65_536
COLD_BATCHES = 4  # in a call, when none of the rows are in the page cache
SETTLING = 0.1  # seconds, until the background threads and workers of all loaders wait


class Rows(NamedTuple):
    """Some rows of float32."""

    nbytes: int
    number: int

    @property
    def label(self) -> str:
        """Size of a row, as in the tables."""
        return f"{self.nbytes // 1024} KB" if self.nbytes >= 1024 else f"{self.nbytes} B"


class Data:
    """Rows in a `.npy` file, and the folder for the files that are made of it.

    Parameters
    ----------
    rows : Rows
    folder : Path
        Made anew.
    """

    def __init__(self, rows: Rows, folder: Path) -> None:
        folder.mkdir()
        self.rows, self.folder = rows, folder
        self.file = folder / "x.npy"
        shape = rows.number, rows.nbytes // 4
        np.save(self.file, np.random.default_rng(0).random(shape, "f4"))

    @classmethod
    def again(cls, known: Data) -> Data:
        """Return the same files, of which nothing is mapped."""
        self = cls.__new__(cls)
        self.rows, self.folder, self.file = known.rows, known.folder, known.file
        return self

    @cached_property
    def mapped(self) -> Array:
        """The file, mapped, each page touched.

        A plain array over the mapping: `np.memmap` makes an instance of its own of every row.
        It is mapped copy-on-write, because torch warns about memory that is read-only.
        """
        array: Array = np.asarray(np.load(self.file, mmap_mode="c"))
        array[:: max(1, PAGE // self.rows.nbytes)].max(axis=0)
        return array

    @cached_property
    def order(self) -> Array:
        """Row numbers in random order, drawn once."""
        return np.random.default_rng(1).permutation(self.rows.number)


class Reading:
    """Some batches a call, out of an iteration without an end.

    Parameters
    ----------
    batches : iterator
    count : int
        Batches in a call.
    ahead : int
        Most batches that the iterator has ready when no one asks for them.
    """

    def __init__(self, batches: Iterator[Any], count: int, ahead: int = 0) -> None:
        self._batches, self._count, self._ahead = batches, count, ahead

    def __call__(self) -> None:
        """Take some batches, and look at nothing but their shapes."""
        for batch in itertools.islice(self._batches, self._count):
            batch.shape  # noqa: B018

    def settle(self) -> None:
        """Wait until no loader works ahead, and take what this one has ready."""
        time.sleep(SETTLING)
        for _ in itertools.islice(self._batches, self._ahead):
            pass

    def close(self) -> None:
        """End the iteration, its threads and its workers."""
        close: Any = getattr(self._batches, "close", None)
        close()


class Batches(ABC):
    """A way to read shuffled batches.

    Parameters
    ----------
    data : Data

    Attributes
    ----------
    label : str
    note : str or None
        In what its work differs from that of the others.
    ahead : int
        Most batches that it has ready when no one asks for them.
    call_rows : int
        How many to read in a call that is timed, if the batches are not larger.
    """

    label: ClassVar[str]
    note: ClassVar[str | None] = None
    ahead: ClassVar[int] = 0
    call_rows: ClassVar[int] = 16_384

    def __init__(self, data: Data) -> None:
        self.data = data

    @abstractmethod
    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over the batches of an epoch."""

    def endless(self, batch_size: int) -> Iterator[Any]:
        """Iterate over one epoch after another."""
        while True:
            yield from self.epoch(batch_size)

    def reading(self, batch_size: int, batches: int) -> Reading:
        """Return calls that take some batches each."""
        return Reading(self.endless(batch_size), batches, self.ahead)


def slices(data: Data, batch_size: int) -> Iterator[Array]:
    """Iterate over the row numbers of whole batches."""
    for start in range(0, data.rows.number - batch_size + 1, batch_size):
        yield data.order[start : start + batch_size]
