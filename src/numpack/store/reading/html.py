"""What a notebook shows of a store: a table of its arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._core.html import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..format.log.state import Entry

_MOST_ARRAYS = 100


def store_html(path: str, arrays: Mapping[str, Entry], commit: int) -> str:
    """Return the representation of an open store, for which no rows are read."""
    shown = list(arrays.items())[:_MOST_ARRAYS]
    rows = [
        (name, entry.dtype_name, str(entry.shape), f"{entry.live_nbytes:,}")
        for name, entry in shown
    ]
    if len(shown) < len(arrays):
        rows.append((f"… and {len(arrays) - len(shown):,} more", "", "", ""))
    total = sum(entry.live_nbytes for entry in arrays.values())
    caption = f"NumPack {path}: {len(arrays):,} arrays, {total:,} bytes, commit {commit:,}"
    return table(caption, rows, ("array", "dtype", "shape", "bytes"))
