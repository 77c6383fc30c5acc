"""Rows of an array whose blocks are fetched as needed: which blocks, and which ranges."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from ..._core.memory import aligned_empty
from ..kernels.checksums import BLOCK
from ..kernels.gather import take_rows
from .cache.pool import NoRoomError

if TYPE_CHECKING:
    from ..._core.memory import Array
    from .cache.blocks import ArrayBlocks
    from .cache.file import Numbers

_LARGE = 64 * BLOCK  # bytes of an array
_PER_PAGE = 2  # blocks in a huge page


def copy_rows(
    blocks: ArrayBlocks, memory: Array | None, rows: Numbers, width: int, out: Array
) -> None:
    """Copy rows into memory.

    Blocks of which more than half is asked for are fetched whole, verified and kept, and so are
    those of which as much as their size has been fetched by and by. Other rows are fetched by
    their ranges, which no checksum covers.

    Parameters
    ----------
    blocks : ArrayBlocks
    memory : ndarray of uint8 or None
        The mapped file of the cache.
    rows : ndarray of int64
        Numbers of rows in the data file, in any order.
    width : int
        Of a row in bytes.
    out : ndarray of uint8
        C-contiguous, of the bytes of all rows.
    """
    if not len(rows) or not width:
        return
    ready = _fetch_blocks(blocks, rows, width, is_kept=memory is not None)
    if memory is not None and ready.all():
        _copy_mapped(memory, rows, width, out)
        return
    places = out.reshape(len(rows), width)
    if memory is not None and ready.any():
        part = aligned_empty((int(np.count_nonzero(ready)), width), np.dtype(np.uint8))
        _copy_mapped(memory, rows[ready], width, part.reshape(-1))
        places[ready] = part
    unique, inverse = np.unique(rows[~ready], return_inverse=True)
    places[~ready] = _fetch_rows(blocks, unique, width)[inverse]


def fetch_rows(blocks: ArrayBlocks, rows: Numbers, width: int) -> None:
    """Fetch all blocks of some rows; raise `NoRoomError` if they cannot be kept.

    Of large arrays they are fetched in aligned pairs, so that the file in the cache is written
    by whole huge pages and mapped by them: random rows are copied from these a fifth faster.
    """
    if blocks.is_complete or not len(rows) or not width:
        return
    touched = _touched(rows, width)
    if blocks.nbytes >= _LARGE:
        pairs = np.unique(touched // _PER_PAGE) * _PER_PAGE
        touched = (pairs[:, None] + np.arange(_PER_PAGE)).reshape(-1)
        touched = touched[touched < -(-blocks.nbytes // BLOCK)]
    blocks.ensure(touched)


def _fetch_blocks(blocks: ArrayBlocks, rows: Numbers, width: int, *, is_kept: bool) -> Array:
    """Fetch the blocks that are worth it; return for each row whether it can be copied."""
    if not is_kept:
        return np.zeros(len(rows), np.bool_)
    touched = _touched(rows, width)
    missing = touched[~blocks.are_verified(touched)]
    if len(missing):
        whole = _worth_fetching(blocks, missing, np.unique(rows), width)
        with contextlib.suppress(NoRoomError):
            blocks.ensure(whole)
    counts = np.concatenate([[0], np.cumsum(blocks.are_verified(touched))])
    first = np.searchsorted(touched, rows * width // BLOCK)
    last = np.searchsorted(touched, (rows * width + width - 1) // BLOCK)
    ready: Array = counts[last + 1] - counts[first] == last + 1 - first
    return ready


def _worth_fetching(
    blocks: ArrayBlocks, missing: Numbers, rows: Numbers, width: int
) -> Numbers:
    """Return the missing blocks to fetch whole, and count what is fetched of the others."""
    sizes = np.minimum((missing + 1) * BLOCK, blocks.nbytes) - missing * BLOCK
    if width > BLOCK:
        known = blocks.ranged[missing] > 0
        blocks.ranged[missing] += sizes
        return missing if sizes.sum() <= 2 * len(rows) * width else missing[known]
    starts = rows * width
    first, last = starts // BLOCK, (starts + width - 1) // BLOCK
    asked = np.zeros(len(missing), np.int64)
    low = np.where(first == last, width, (first + 1) * BLOCK - starts)
    for block, nbytes in ((first, low), (last, width - low)):
        at = np.minimum(np.searchsorted(missing, block), len(missing) - 1)
        np.add.at(asked, at, np.where(missing[at] == block, nbytes, 0))
    blocks.ranged[missing] += asked
    whole: Numbers = missing[(2 * asked > sizes) | (blocks.ranged[missing] >= sizes)]
    return whole


def _touched(rows: Numbers, width: int) -> Numbers:
    """Return the blocks that rows are in, ascending and each once."""
    first, last = rows * width // BLOCK, (rows * width + width - 1) // BLOCK
    if width <= BLOCK:
        return np.unique(np.concatenate([first, last]))
    spans = [np.arange(low, high + 1) for low, high in zip(first, last, strict=True)]
    return np.unique(np.concatenate(spans))


def _copy_mapped(memory: Array, rows: Numbers, width: int, out: Array) -> None:
    take_rows(memory, width, len(memory) // width, np.ascontiguousarray(rows), out)


def _fetch_rows(blocks: ArrayBlocks, rows: Numbers, width: int) -> Array:
    """Fetch rows, which ascend, by their ranges."""
    edges = np.flatnonzero(np.diff(rows) != 1) + 1
    starts = rows[np.concatenate([[0], edges])] * width
    ends = (rows[np.concatenate([edges - 1, [len(rows) - 1]])] + 1) * width
    out = aligned_empty((len(rows), width), np.dtype(np.uint8))
    blocks.objects.read(starts, ends, out.reshape(-1))
    return out
