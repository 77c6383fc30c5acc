"""Reader the rows of a data file that were not dropped, without a copy of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.memory import aligned_empty
from ..format import data_files
from ..kernels.checksums import read_into
from .indexing import AT_ONCE, Selection, gather_into

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..._core.memory import Array
    from ..format.catalog import Entry
    from ..fs.directory import Folder
    from .deleted_rows import Dropped, Numbers

_BYTES = 1 << 20  # of rows that are copied to take a part of each
_READ = 8 << 20  # bytes that are read at a time


def picked(stored: Array, dropped: Dropped | None, selection: Selection) -> Array:
    """Copy selected rows into memory of their own.

    Parameters
    ----------
    stored : ndarray
        The rows of the data file, C-contiguous.
    dropped : Dropped or None
    selection : Selection
        Of the rows that were not dropped.

    Raises
    ------
    IndexRangeError
        A row number is out of range.
    """
    fresh = aligned_empty((len(selection), *stored.shape[1:]), stored.dtype)
    at = 0
    for numbers in selection.blocks():
        rows = numbers if dropped is None else dropped.stored(numbers)
        gather_into(stored, rows, fresh[at : at + len(rows)])
        at += len(rows)
    return fresh[:at]


def part_of(stored: Array, dropped: Dropped, count: int, keys: tuple[Any, ...]) -> Array | None:
    """Index the rows that were not dropped as NumPy does, copying only what is asked for.

    Parameters
    ----------
    stored : ndarray
        The rows of the data file, C-contiguous.
    dropped : Dropped
    count : int
        How many rows are kept.
    keys : tuple
        An index of each axis, that of the rows first.

    Returns
    -------
    ndarray or None
        ``None`` if the index is of another kind, for which all rows are needed.
    """
    if keys and keys[0] is Ellipsis:
        keys = _without_ellipsis(keys, stored.ndim)
    if len(keys) < 2 or not _selects_rows(keys[0]):
        return _rows(stored, dropped, count, keys)
    pick = _picker(stored, keys)
    if pick is None:
        return None
    width = max(1, stored.nbytes // max(1, len(stored)))
    selection = Selection(keys[0], count)
    blocks = selection.blocks(max(1, min(AT_ONCE, _BYTES // width)))
    found = pick(np.empty(0, np.int64))
    found = np.empty((len(selection), *found.shape[1:]), found.dtype)
    at = 0
    for numbers in blocks:
        found[at : at + len(numbers)] = pick(dropped.stored(numbers))
        at += len(numbers)
    return found


def _rows(stored: Array, dropped: Dropped, count: int, keys: tuple[Any, ...]) -> Array | None:
    if len(keys) != 1 or not isinstance(keys[0], slice):
        return None
    selection = Selection(keys[0], count)
    if selection.span is None:
        return picked(stored, dropped, selection)
    fresh = aligned_empty((len(selection), *stored.shape[1:]), stored.dtype)
    if len(selection):
        dropped.copy(stored, selection.span.start, fresh)
    return fresh


def _without_ellipsis(keys: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    """Put slices of whole axes in the place of an ellipsis before basic indexes."""
    rest = keys[1:]
    if not all(_is_basic(key) for key in rest):
        return keys
    missing = ndim - sum(key is not None for key in rest)
    return (slice(None),) * missing + rest if missing > 0 else keys


def _selects_rows(key: Any) -> bool:
    if isinstance(key, slice):
        return True
    index = np.asarray(key) if isinstance(key, list) else key
    return isinstance(index, np.ndarray) and index.ndim == 1 and index.dtype.kind in "iub"


def _is_basic(key: Any) -> bool:
    if isinstance(key, bool | np.bool):
        return False
    return key is None or isinstance(key, slice | int | np.integer)


def _picker(stored: Array, keys: tuple[Any, ...]) -> Callable[[Numbers], Array] | None:
    """Return what takes the part of some rows that is asked for; ``None`` if it is unclear."""
    rest = keys[1:]
    if all(key is Ellipsis or _is_basic(key) for key in rest):
        view = stored[(slice(None), *rest)]
        return lambda rows: view[rows]
    others = [key for key in rest if not isinstance(key, slice)]
    if (
        isinstance(keys[0], slice)
        and len(others) == 1
        and isinstance(others[0], list | np.ndarray)
    ):
        return lambda rows: stored[rows][(slice(None), *rest)]
    return None


def chunks(folder: Folder, entry: Entry, dropped: Dropped | None) -> Iterator[Array]:
    """Read the bytes of the rows that were not dropped, some MiB at a time.

    Yields
    ------
    ndarray of uint8
        Valid until the next one is asked for.

    Raises
    ------
    CorruptStoreError
        The data file is too short.
    """
    with folder.open_file(entry.data_file) as descriptor:
        try:
            if dropped is None:
                yield from _read(descriptor, 0, entry.nbytes)
            elif entry.row_nbytes > _READ:
                yield from _read_long_rows(descriptor, entry, dropped)
            elif entry.row_nbytes:
                yield from _read_live(descriptor, entry, dropped)
        except EOFError:
            raise data_files.too_short_error(folder, entry) from None


def _read(descriptor: int, start: int, stop: int) -> Iterator[Array]:
    buffer = aligned_empty((min(_READ, stop - start),), np.dtype(np.uint8))
    for offset in range(start, stop, _READ):
        part = buffer[: stop - offset]
        if read_into(descriptor, part, offset, data_files.thread_count()) < len(part):
            raise EOFError
        yield part


def _read_long_rows(descriptor: int, entry: Entry, dropped: Dropped) -> Iterator[Array]:
    for row in range(entry.shape[0]):
        start = int(dropped.stored(np.array([row], np.int64))[0]) * entry.row_nbytes
        yield from _read(descriptor, start, start + entry.row_nbytes)


def _read_live(descriptor: int, entry: Entry, dropped: Dropped) -> Iterator[Array]:
    width, count = entry.row_nbytes, entry.stored[0]
    step = _READ // width
    buffer = aligned_empty((2, min(step, count) * width), np.dtype(np.uint8))
    for start in range(0, count, step):
        stop = min(start + step, count)
        first, rows = dropped.live_before(start), dropped.live_before(stop)
        if first == rows:
            continue
        part, kept = buffer[0, : (stop - start) * width], buffer[1, : (rows - first) * width]
        if read_into(descriptor, part, start * width, data_files.thread_count()) < len(part):
            raise EOFError
        dropped.copy(part, first, kept.reshape(-1, width), offset=start)
        yield kept
