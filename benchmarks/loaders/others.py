"""Batches from the files of Hugging Face datasets, Lance and Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import lance
import pyarrow as pa
import tensorstore
from torch.utils.data import DataLoader

from .base import Batches, Data, slices

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK, SHARD = 4096, 2**24  # bytes, of the Zarr array


class HuggingFace(Batches):
    """A dataset of Arrow files, indexed with the row numbers of a batch."""

    label = "HF datasets, `ds[rows]`"

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        datasets.disable_progress_bars()
        path = data.folder / "x.hf"
        if not path.exists():
            datasets.Dataset(pa.table({"x": as_arrow(data)})).save_to_disk(path)
        self._dataset = datasets.load_from_disk(path)

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over arrays of rows whose numbers are known."""
        formatted = self._dataset.with_format("numpy")
        for rows in slices(self.data, batch_size):
            yield formatted[rows]["x"]


class HuggingFaceLoader(HuggingFace):
    """The same dataset under torch's `DataLoader`."""

    label = "HF datasets, `DataLoader`"

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over its batches."""
        formatted: Any = self._dataset.with_format("torch")
        for batch in DataLoader(formatted, batch_size, shuffle=True):
            yield batch["x"]


class Lance(Batches):
    """Lance's random access."""

    label = "Lance, `take`"

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        path = data.folder / "x.lance"
        lance.write_dataset(pa.table({"x": as_arrow(data)}), path)
        self._dataset = lance.dataset(path)

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over arrays of rows whose numbers are known."""
        width = self.data.rows.nbytes // 4
        for rows in slices(self.data, batch_size):
            column = self._dataset.take(rows.tolist())["x"].combine_chunks()
            yield column.flatten().to_numpy().reshape(-1, width)


class TensorStore(Batches):
    """TensorStore's indexing of a sharded Zarr 3 array in small chunks."""

    label = "TensorStore, Zarr 3"

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        columns = data.rows.nbytes // 4
        inner = max(1, CHUNK // data.rows.nbytes)
        outer = -(-SHARD // (inner * data.rows.nbytes)) * inner
        layout = {"write_chunk": [outer, columns], "read_chunk": [inner, columns]}
        self._array: Any = tensorstore.open(
            {"driver": "zarr3", "kvstore": f"file://{Path(data.folder, 'x.zarr').resolve()}/"},
            create=True,
            dtype=tensorstore.float32,
            shape=data.mapped.shape,
            chunk_layout=tensorstore.ChunkLayout(
                write_chunk_shape=layout["write_chunk"], read_chunk_shape=layout["read_chunk"]
            ),
        ).result()
        self._array.write(data.mapped).result()

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over arrays of rows whose numbers are known."""
        for rows in slices(self.data, batch_size):
            yield self._array[rows].read().result()


def as_arrow(data: Data) -> pa.FixedSizeListArray:
    """Return the rows as an Arrow array over the mapping."""
    return pa.FixedSizeListArray.from_arrays(data.mapped.reshape(-1), data.rows.nbytes // 4)
