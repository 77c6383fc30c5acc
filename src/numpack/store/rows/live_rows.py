"""Reading of live rows, those that are not deleted, without copying all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.memory import aligned_empty
from ..format import data_files
from ..kernels.checksums import read_into
from .indexing import CHUNK_ROWS, Selection, gather_into

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..._core.memory import Array
    from ..format.log.state import Entry
    from ..fs.directory import Folder
    from .deleted_rows import DeletedRows, Numbers

_COPY_NBYTES = 1 << 20  # of whole rows that are copied at a time to index within them
_READ_NBYTES = 8 << 20  # read at a time


def gather_live(stored: Array, deleted: DeletedRows | None, selection: Selection) -> Array:
    """Copy selected live rows into newly allocated memory.

    Parameters
    ----------
    stored : ndarray
        The rows of the data file, C-contiguous.
    deleted : DeletedRows or None
    selection : Selection
        Of the live rows.

    Raises
    ------
    IndexRangeError
        A row number is out of range.
    """
    fresh = aligned_empty((len(selection), *stored.shape[1:]), stored.dtype)
    if selection.is_range and not fresh.nbytes:  # rows of no bytes may be any number
        return fresh
    at = 0
    for numbers in selection.blocks():
        rows = numbers if deleted is None else deleted.to_stored(numbers)
        gather_into(stored, rows, fresh[at : at + len(rows)])
        at += len(rows)
    return fresh[:at]


def index_live(
    stored: Array, deleted: DeletedRows, count: int, keys: tuple[Any, ...]
) -> Array | None:
    """Index the live rows as NumPy does, copying only the selected ones.

    Parameters
    ----------
    stored : ndarray
        The rows of the data file, C-contiguous.
    deleted : DeletedRows
    count : int
        Number of live rows.
    keys : tuple
        One index per axis, that of the rows first.

    Returns
    -------
    ndarray or None
        ``None`` for other kinds of indexes, which need all rows.
    """
    if keys and keys[0] is Ellipsis:
        keys = _without_ellipsis(keys, stored.ndim)
    if len(keys) < 2 or not _selects_rows(keys[0]):
        return _slice_rows(stored, deleted, count, keys)
    index = _row_indexer(stored, keys)
    if index is None:
        return None
    width = max(1, stored.nbytes // max(1, len(stored)))
    selection = Selection(keys[0], count)
    blocks = selection.blocks(max(1, min(CHUNK_ROWS, _COPY_NBYTES // width)))
    result = index(np.empty(0, np.int64))
    result = np.empty((len(selection), *result.shape[1:]), result.dtype)
    if selection.is_range and not result.nbytes:
        return result
    at = 0
    for numbers in blocks:
        result[at : at + len(numbers)] = index(deleted.to_stored(numbers))
        at += len(numbers)
    return result


def _slice_rows(
    stored: Array, deleted: DeletedRows, count: int, keys: tuple[Any, ...]
) -> Array | None:
    if len(keys) != 1 or not isinstance(keys[0], slice):
        return None
    selection = Selection(keys[0], count)
    if selection.span is None:
        return gather_live(stored, deleted, selection)
    fresh = aligned_empty((len(selection), *stored.shape[1:]), stored.dtype)
    if len(selection):
        deleted.copy_live(stored, selection.span.start, fresh)
    return fresh


def _without_ellipsis(keys: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    """Replace an ellipsis that precedes basic indexes by slices of whole axes."""
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


def _row_indexer(stored: Array, keys: tuple[Any, ...]) -> Callable[[Numbers], Array] | None:
    """Return a function that indexes within rows; ``None`` for other kinds of indexes."""
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


def read_live_chunks(
    folder: Folder, entry: Entry, deleted: DeletedRows | None
) -> Iterator[Array]:
    """Read the bytes of the live rows, some MiB at a time.

    Yields
    ------
    ndarray of uint8
        Valid until the next one is yielded.

    Raises
    ------
    CorruptStoreError
        The data file is too short.
    """
    with folder.open_file(entry.data_file) as descriptor:
        try:
            if deleted is None:
                yield from _read(descriptor, 0, entry.nbytes)
            elif entry.row_nbytes > _READ_NBYTES:
                yield from _read_long_rows(descriptor, entry, deleted)
            elif entry.row_nbytes:
                yield from _read_live(descriptor, entry, deleted)
        except EOFError:
            raise data_files.too_short_error(folder, entry) from None


def _read(descriptor: int, start: int, stop: int) -> Iterator[Array]:
    buffer = aligned_empty((min(_READ_NBYTES, stop - start),), np.dtype(np.uint8))
    for offset in range(start, stop, _READ_NBYTES):
        part = buffer[: stop - offset]
        if read_into(descriptor, part, offset, data_files.thread_count()) < len(part):
            raise EOFError
        yield part


def _read_long_rows(descriptor: int, entry: Entry, deleted: DeletedRows) -> Iterator[Array]:
    for row in range(entry.shape[0]):
        start = int(deleted.to_stored(np.array([row], np.int64))[0]) * entry.row_nbytes
        yield from _read(descriptor, start, start + entry.row_nbytes)


def _read_live(descriptor: int, entry: Entry, deleted: DeletedRows) -> Iterator[Array]:
    width, count = entry.row_nbytes, entry.stored[0]
    step = _READ_NBYTES // width
    buffer = aligned_empty((2, min(step, count) * width), np.dtype(np.uint8))
    for start in range(0, count, step):
        stop = min(start + step, count)
        first, rows = deleted.live_before(start), deleted.live_before(stop)
        if first == rows:
            continue
        part, live = buffer[0, : (stop - start) * width], buffer[1, : (rows - first) * width]
        if read_into(descriptor, part, start * width, data_files.thread_count()) < len(part):
            raise EOFError
        deleted.copy_live(part, first, live.reshape(-1, width), offset=start)
        yield live
