"""What changes a store: each function is one commit, for who holds the store's lock."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError, StoreError
from .checks import check_rows, entry_of, selected
from .format import data_files, journal
from .format.catalog import Entry
from .format.schema import decode_dtype, encode_dtype, storable_dtype
from .kernels.append import append_and_commit, delete_and_commit
from .kernels.checksums import BLOCK, checksum_blocks
from .rows import deleted_rows
from .rows.deleted_rows import NO_ROWS, Dropped
from .rows.live_rows import chunks
from .rows.replacing import Replacement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._core.memory import Array
    from .format.catalog import Catalog, Record
    from .format.data_files import Progress
    from .rows.deleted_rows import Numbers
    from .session import Session


_LARGE = 8 << 20  # bytes of a file that it takes long to remove


def save(
    session: Session, values: Mapping[str, Array], progress: Progress = data_files.no_progress
) -> None:
    """Write new files, commit them all, and unlink those that they replace."""
    _save(session, {name: _given(array) for name, array in values.items()}, progress)


def _save(session: Session, values: Mapping[str, _Content], progress: Progress) -> None:
    state = session.log.catalog
    replaced = [state.arrays[name] for name in values if name in state.arrays]
    put: dict[str, Entry] = {}
    try:
        for number, (name, content) in enumerate(values.items()):
            identifier = state.new_id(ahead=number)
            put[name] = _write_new(session, content, identifier, progress)
    except BaseException:  # of the caller's progress, say
        _unlink(session, put.values())
        raise
    if not put:
        return
    try:
        _commit(session, put=put)
    except OSError:
        if not _has_followed(session, state):
            _unlink(session, put.values())
        raise
    _unlink(session, replaced)


def append(session: Session, values: Mapping[str, Array]) -> None:
    """Write rows behind the committed ones, and commit them all."""
    state = session.log.catalog
    found = {name: entry_of(state.arrays, name) for name in values}
    for name, array in values.items():
        check_rows(name, found[name], array)
    changes: dict[str, Record] = {}
    try:
        for name, array in values.items():
            entry, rows = found[name], found[name].stored[0] + len(array)
            changes[name] = {"rows": rows}
            changes[name]["tail"] = _write_more(session, entry, array)
            session.counts["bytes_written"] += array.nbytes
        if changes:
            _commit(session, changes=changes)
    except OSError:
        if not _has_followed(session, state):
            for name in changes:
                _give_back(session, found[name])
        raise


def _write_more(session: Session, entry: Entry, array: Array) -> int:
    pieces, end = data_files.chunks_of(array, entry.dtype), entry.nbytes
    with session.files.pinned(entry.id):
        file = session.files.current(entry)
        return data_files.write(
            session.folder, file, entry, pieces, end, durable=session.durable
        )


def append_plain(session: Session, name: str, array: Array) -> bool:
    """Append to one array, as nearly all calls do, and those that have to be quick.

    Returns
    -------
    bool
        Whether it was done. What has to be looked at more closely, or converted, or reaches
        the end of a block, is left to `append`.
    """
    state = session.log.catalog
    entry = state.arrays.get(name)
    if entry is None or session.durable:
        return False
    file = session.files.descriptor(entry)
    try:
        length = session.log.commit_growth(name, append_and_commit, file, array)
    except OSError:
        if not _has_followed(session, state):
            _give_back(session, entry)
        raise
    return _count(session, length, array.nbytes)


def _has_followed(session: Session, state: Catalog) -> bool:
    """Tell whether a commit may have been made, though an `OSError` was raised.

    A signal handler may raise one too, a `TimeoutError` say, when the line is written.
    """
    try:
        return session.log.refresh_exactly().commit > state.commit
    except (OSError, StoreError):
        return True


def _give_back(session: Session, entry: Entry) -> None:
    """Cut what was not committed, if the disk is full, say; nobody maps it."""
    with contextlib.suppress(OSError):
        os.ftruncate(session.files.descriptor(entry), entry.nbytes)


def drop(session: Session, names: Iterable[str]) -> None:
    """Commit that arrays are gone, and unlink their files."""
    arrays = session.log.catalog.arrays
    present = {name: arrays[name] for name in names if name in arrays}
    if present:
        _commit(session, drop=present)
        _unlink(session, present.values())


def reset(session: Session) -> None:
    """Drop all arrays in one commit."""
    drop(session, list(session.log.catalog.arrays))


def drop_rows(session: Session, names: Iterable[str], indexes: Any) -> None:
    """Commit that rows are gone; they stay in the data files until `update`."""
    arrays = session.log.catalog.arrays
    found = {name: entry_of(arrays, name) for name in names}
    drops = {name: _without(session, name, entry, indexes) for name, entry in found.items()}
    drops = {name: drop for name, drop in drops.items() if len(drop[0])}
    if len(drops) != 1 or not _drop_plain(session, drops):
        _drop_all(session, drops)
    for name, (_, gone) in drops.items():
        session.keep_dropped(session.log.catalog.arrays[name], gone)


def _without(
    session: Session, name: str, entry: Entry, indexes: Any
) -> tuple[Numbers, Dropped]:
    """Give the numbers in the data file of rows to drop, and all that are dropped then."""
    count = _rows_kept(name, entry)
    gone = session.dropped_rows(entry) or Dropped(NO_ROWS, count)
    if type(indexes) is np.ndarray and indexes.dtype == np.int64 and indexes.ndim == 1:
        numbers = indexes.copy()
        numbers.sort()
        with contextlib.suppress(ValueError):  # some are told twice, or from the end, say
            return gone.and_more(numbers)
    rows = selected(name, indexes, count)
    numbers = rows.numbers()
    if not rows.rises:
        numbers = np.sort(numbers)
    try:
        return gone.and_more(numbers)
    except ValueError:  # some are told twice
        return gone.and_more(np.unique(numbers))


def _drop_plain(session: Session, drops: Mapping[str, tuple[Numbers, Dropped]]) -> bool:
    """Drop rows of one array, as `append_plain` appends to one."""
    if session.durable:
        return False
    [(name, (numbers, _))] = drops.items()
    file = session.files.named(session.log.catalog.arrays[name].dropped_file, looks=False)
    numbers = numbers.astype("<i8", copy=False)
    length = session.log.commit_growth(name, delete_and_commit, file, numbers)
    return _count(session, length, numbers.nbytes)


def _drop_all(session: Session, drops: Mapping[str, tuple[Numbers, Dropped]]) -> None:
    changes: dict[str, Record] = {}
    for name, (numbers, _) in drops.items():
        entry = session.log.catalog.arrays[name]
        file = session.files.named(entry.dropped_file)
        crc = deleted_rows.write(file, entry, numbers, durable=session.durable)
        changes[name] = {"dropped": entry.dropped + len(numbers), "dropped_crc32": crc}
        session.counts["bytes_written"] += numbers.nbytes
    if changes:
        _commit(session, changes=changes)


def replace(session: Session, values: Mapping[str, Array], indexes: Any) -> None:
    """Journal new rows, commit them, write them in place, strike out the journal."""
    arrays = session.log.catalog.arrays
    found = {name: entry_of(arrays, name) for name in values}
    changes = {}
    for name, array in values.items():
        entry = found[name]
        rows = selected(name, indexes, _rows_kept(name, entry))
        check_rows(name, entry, array, count=len(rows))
        if entry.nbytes and array.nbytes:
            gone = session.dropped_rows(entry)
            changes[name] = Replacement(session.files, entry, rows, gone, array)
    if not changes:
        return
    commit = session.log.catalog.commit + 1
    record = list(changes.values())
    with session.files.pinned(journal.NAME):
        file = session.files.named(journal.NAME)
        crc = journal.write(file, session.folder, commit, record, durable=session.durable)
    _commit(
        session,
        changes={name: _replaced(found[name], each, commit) for name, each in changes.items()},
        journal=crc,
    )
    for name, change in changes.items():
        session.apply_replacement(found[name], change, looks=False)
        session.counts["bytes_written"] += 2 * change.nbytes
    session.clear_journal(session.log.catalog, looks=False)


def update(session: Session, name: str, progress: Progress = data_files.no_progress) -> None:
    """Write the rows that are left to a new file, if any were dropped.

    Not while somebody writes to the present file in place: that would be lost.
    """
    entry = entry_of(session.log.catalog.arrays, name)
    if entry.dropped and not data_files.is_open_in_place(session.folder, entry):
        _save(session, {name: _kept(session, entry)}, progress)


def clone(
    session: Session, source: str, target: str, progress: Progress = data_files.no_progress
) -> None:
    """Write an array once more, under another name."""
    arrays = session.log.catalog.arrays
    entry = entry_of(arrays, source)
    if target in arrays:
        msg = f"there is an array {target!r} already; drop it first, or choose another name"
        raise InvalidValueError(msg)
    _save(session, {target: _kept(session, entry)}, progress)


def mark_writable(session: Session, name: str) -> Entry:
    """Commit that an array is about to be written in place, without checksums."""
    entry = entry_of(session.log.catalog.arrays, name)
    if not entry.writable:
        _commit(session, changes={name: {"writable": True}})
    return session.log.catalog.arrays[name]


def recompute_checksums(session: Session, name: str) -> None:
    """Bring the checksums of an array up to date, and commit that nobody writes in place."""
    entry = session.log.catalog.arrays[name]
    memory = session.files.memory(entry)
    sums, tail = checksum_blocks(memory, data_files.thread_count())
    if sums:
        data_files.write_checksums(session.folder, entry, 0, sums)
    commit = session.log.catalog.commit + 1
    if session.durable:
        os.fsync(session.files.descriptor(entry))
        session.folder.sync_file(entry.checksum_file)
    _commit(session, changes={name: {"tail": tail, "revision": commit, "writable": False}})


def _write_new(
    session: Session, content: _Content, identifier: str, progress: Progress
) -> Entry:
    entry = Entry(identifier, content.code, content.shape, modified=0)
    folder, durable = session.folder, session.durable
    with data_files.create_files(folder, entry) as descriptor:
        tail = data_files.write(
            folder, descriptor, entry, content.chunks, 0, progress=progress, durable=durable
        )
    session.counts["bytes_written"] += entry.nbytes
    return entry._replace(tail=tail)


class _Content(NamedTuple):
    """What a new data file is to hold.

    Attributes
    ----------
    code : str, list or dict
        The dtype, see `schema.encode_dtype`.
    shape : tuple of int
    chunks : iterable of ndarray
        The bytes, contiguous.
    """

    code: Any
    shape: tuple[int, ...]
    chunks: Iterable[Array]


def _given(array: Array) -> _Content:
    code = encode_dtype(storable_dtype(array))
    return _Content(code, array.shape, data_files.chunks_of(array, decode_dtype(code)))


def _kept(session: Session, entry: Entry) -> _Content:
    """Return the rows that are left of an array, which are read when they are written."""
    gone = session.dropped_rows(entry)
    return _Content(entry.code, entry.shape, chunks(session.folder, entry, gone))


def _commit(session: Session, **what: Any) -> None:
    if session.durable:
        session.folder.sync_data()  # the names of what the commit will name
    _count(session, session.log.commit(**what))
    if session.durable:
        session.note_flushed()


def _count(session: Session, length: int, nbytes: int = 0) -> bool:
    """Count a commit of so many bytes, and those that came with it; tell if it was made."""
    if not length:
        return False
    counts = session.counts
    counts["bytes_written"] += length + nbytes
    counts["commits"] += 1
    return True


def _unlink(session: Session, entries: Iterable[Entry]) -> None:
    for entry in entries:
        session.forget(entry)  # or the room of its files would not be free
        is_large = not entry.is_unusable and entry.nbytes > _LARGE
        unlink = session.folder.unlink_large if is_large else session.folder.unlink
        unlink(entry.data_file)
        session.folder.unlink(entry.checksum_file)  # one of an append that died too
        session.folder.unlink(entry.dropped_file)


def _rows_kept(name: str, entry: Entry) -> int:
    if not entry.stored:
        msg = f"{name!r} is 0-d and has no rows; save it anew"
        raise InvalidValueError(msg)
    count: int = entry.stored[0]
    return count - entry.dropped


def _replaced(entry: Entry, change: Replacement, commit: int) -> Record:
    fields: Record = {"revision": commit}
    last = entry.nbytes // BLOCK - change.first
    if last < len(change.checksums):  # the last block is no whole one
        fields["tail"] = int(change.checksums[last])
    return fields
