"""Batches from shards that are read in order: WebDataset and LitData.

What they read in a second does not depend on how much there is, so they get a part of the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import litdata
import torch
import webdataset
from litdata.streaming import Cache

from .base import Batches, Data

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARDS, SHARD = 4, 4096  # number, and rows in each
BUFFER = 1000  # rows, of the shuffle


class WebDataset(Batches):
    """tar files, read in order, shuffled by a buffer."""

    label = "WebDataset"
    call_rows = 4096
    note = f"{SHARDS * SHARD:,} rows, read in order, shuffled in a buffer of {BUFFER:,}"

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        pattern = str(data.folder / "x-%d.tar")
        with webdataset.ShardWriter(pattern, maxcount=SHARD, verbose=0) as writer:
            for row in range(SHARDS * SHARD):
                writer.write({"__key__": f"{row:09}", "x.npy": data.mapped[row]})

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over its batches."""
        files = [str(path) for path in self.data.folder.glob("x-*.tar")]
        rows = webdataset.WebDataset(files, shardshuffle=SHARDS, empty_check=False)
        shuffled = rows.shuffle(BUFFER).decode().to_tuple("x.npy").batched(batch_size)
        for (batch,) in webdataset.WebLoader(shuffled, batch_size=None):
            yield batch


class LitData(Batches):
    """Chunks of some megabytes, shuffled within."""

    label = "LitData"
    call_rows = 4096
    note = f"{SHARDS * SHARD:,} rows, chunk by chunk, shuffled within each"

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self._path = str(data.folder / "x.litdata")
        cache = Cache(self._path, chunk_size=SHARD)
        for row in range(SHARDS * SHARD):
            cache[row] = torch.from_numpy(data.mapped[row])
        cache.done()
        cache.merge()

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over its batches."""
        rows = litdata.StreamingDataset(self._path, shuffle=True)
        yield from litdata.StreamingDataLoader(rows, batch_size=batch_size, num_workers=0)
