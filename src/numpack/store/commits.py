"""Changes of a store: each function is one commit, and requires the store's lock."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError, StoreError
from .checks import check_rows, entry_of, select_rows
from .format import data_files, journal
from .format.log.append import append_and_commit, delete_and_commit
from .format.log.state import Entry
from .format.schema import decode_dtype, encode_dtype, storable_dtype
from .kernels.checksums import BLOCK, checksum_blocks
from .rows import deleted_rows
from .rows.deleted_rows import NO_ROWS, DeletedRows
from .rows.live_rows import read_live_chunks
from .rows.replacing import Replacement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._core.memory import Array
    from .format.data_files import Progress
    from .format.log.lines import Record
    from .format.log.state import Catalog
    from .rows.deleted_rows import Numbers
    from .session import Session


_LARGE = 8 << 20  # bytes from which on removing a file takes long


def save(
    session: Session, values: Mapping[str, Array], progress: Progress = data_files.no_progress
) -> None:
    """Write new files, commit them, and unlink the files they replace."""
    _save(session, {name: _content_of(array) for name, array in values.items()}, progress)


def _save(session: Session, values: Mapping[str, _Content], progress: Progress) -> None:
    catalog = session.log.catalog
    replaced = [catalog.arrays[name] for name in values if name in catalog.arrays]
    new_entries: dict[str, Entry] = {}
    try:
        for number, (name, content) in enumerate(values.items()):
            identifier = catalog.new_id(ahead=number)
            new_entries[name] = _write_new(session, content, identifier, progress)
    except BaseException:  # the caller's progress callback may raise anything
        _unlink(session, new_entries.values())
        raise
    if not new_entries:
        return
    try:
        _commit(session, put=new_entries)
    except OSError:
        if not _may_have_committed(session, catalog):
            _unlink(session, new_entries.values())
        raise
    _unlink(session, replaced)


def append(session: Session, values: Mapping[str, Array]) -> None:
    """Write rows after the committed ones of each array, and commit them."""
    catalog = session.log.catalog
    found = {name: entry_of(catalog.arrays, name) for name in values}
    for name, array in values.items():
        check_rows(name, found[name], array)
    changes: dict[str, Record] = {}
    try:
        for name, array in values.items():
            entry, rows = found[name], found[name].stored[0] + len(array)
            changes[name] = {"rows": rows}
            changes[name]["tail"] = _write_appended(session, entry, array)
            session.counts["bytes_written"] += array.nbytes
        if changes:
            _commit(session, changes=changes)
    except OSError:
        if not _may_have_committed(session, catalog):
            for name in changes:
                _truncate_uncommitted(session, found[name])
        raise


def _write_appended(session: Session, entry: Entry, array: Array) -> int:
    pieces, end = data_files.chunks_of(array, entry.dtype), entry.nbytes
    with session.files.pinned(entry.id):
        file = session.files.current(entry)
        return data_files.write(
            session.folder, file, entry, pieces, end, durable=session.durable
        )


def append_plain(session: Session, name: str, array: Array) -> bool:
    """Append to one array by the native fast path, which most calls take.

    Neither `name` nor `array`, an exact ndarray, need be validated before.

    Returns
    -------
    bool
        Whether the rows were committed. `append` has to be called instead if they need
        validation or conversion, or reach the end of a block.
    """
    catalog = session.log.catalog
    entry = catalog.arrays.get(name)
    if entry is None or session.durable:
        return False
    file = session.files.descriptor(entry)
    try:
        length = session.log.commit_growth(name, append_and_commit, file, array)
    except OSError:
        if not _may_have_committed(session, catalog):
            _truncate_uncommitted(session, entry)
        raise
    return _count_commit(session, length, array.nbytes)


def _may_have_committed(session: Session, catalog: Catalog) -> bool:
    """Check whether a commit may have been made although an `OSError` was raised.

    A signal handler may raise one (a `TimeoutError`, for example) after the log line was
    written.
    """
    try:
        return session.log.refresh_exactly().commit > catalog.commit
    except (OSError, StoreError):
        return True


def _truncate_uncommitted(session: Session, entry: Entry) -> None:
    """Truncate uncommitted rows, after a full disk for example; no mapping covers them."""
    with contextlib.suppress(OSError):
        os.ftruncate(session.files.descriptor(entry), entry.nbytes)


def drop(session: Session, names: Iterable[str]) -> None:
    """Commit the deletion of arrays, and unlink their files."""
    arrays = session.log.catalog.arrays
    present = {name: arrays[name] for name in names if name in arrays}
    if present:
        _commit(session, drop=present)
        _unlink(session, present.values())


def reset(session: Session) -> None:
    """Delete all arrays in one commit."""
    drop(session, list(session.log.catalog.arrays))


def drop_rows(session: Session, names: Iterable[str], indexes: Any) -> None:
    """Commit the deletion of rows, which stay in the data files until `update`."""
    arrays = session.log.catalog.arrays
    found = {name: entry_of(arrays, name) for name in names}
    drops = {
        name: _prepare_deletion(session, name, entry, indexes) for name, entry in found.items()
    }
    drops = {name: drop for name, drop in drops.items() if len(drop[0])}
    if len(drops) != 1 or not _drop_rows_of_one(session, drops):
        _drop_rows_of_all(session, drops)
    for name, (_, deleted) in drops.items():
        session.cache_deleted_rows(session.log.catalog.arrays[name], deleted)


def _prepare_deletion(
    session: Session, name: str, entry: Entry, indexes: Any
) -> tuple[Numbers, DeletedRows]:
    """Return the file rows to delete, and all deleted rows afterwards."""
    count = _live_row_count(name, entry)
    deleted = session.deleted_rows(entry) or DeletedRows(NO_ROWS, count)
    if type(indexes) is np.ndarray and indexes.dtype == np.int64 and indexes.ndim == 1:
        numbers = indexes.copy()
        numbers.sort()
        with contextlib.suppress(ValueError):  # repeated or negative numbers
            return deleted.with_more(numbers)
    rows = select_rows(name, indexes, count)
    numbers = rows.numbers()
    if not rows.is_ascending:
        numbers = np.sort(numbers)
    try:
        return deleted.with_more(numbers)
    except ValueError:  # repeated numbers
        return deleted.with_more(np.unique(numbers))


def _drop_rows_of_one(
    session: Session, drops: Mapping[str, tuple[Numbers, DeletedRows]]
) -> bool:
    """Delete rows of one array by the native fast path, as `append_plain` does."""
    if session.durable:
        return False
    [(name, (numbers, _))] = drops.items()
    file = session.files.named(session.log.catalog.arrays[name].dropped_file, check_name=False)
    numbers = numbers.astype("<i8", copy=False)
    length = session.log.commit_growth(name, delete_and_commit, file, numbers)
    return _count_commit(session, length, numbers.nbytes)


def _drop_rows_of_all(
    session: Session, drops: Mapping[str, tuple[Numbers, DeletedRows]]
) -> None:
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
    """Write new rows to the journal, commit them, write them in place, clear the journal."""
    arrays = session.log.catalog.arrays
    found = {name: entry_of(arrays, name) for name in values}
    changes = {}
    for name, array in values.items():
        entry = found[name]
        rows = select_rows(name, indexes, _live_row_count(name, entry))
        check_rows(name, entry, array, count=len(rows))
        if entry.nbytes and array.nbytes:
            deleted = session.deleted_rows(entry)
            changes[name] = Replacement(session.files, entry, rows, deleted, array)
    if not changes:
        return
    commit = session.log.catalog.commit + 1
    record = list(changes.values())
    with session.files.pinned(journal.NAME):
        file = session.files.named(journal.NAME)
        crc = journal.write(file, session.folder, commit, record, durable=session.durable)
    _commit(
        session,
        changes={
            name: _replacement_record(found[name], each, commit)
            for name, each in changes.items()
        },
        journal=crc,
    )
    for name, change in changes.items():
        session.apply_replacement(found[name], change, check_name=False)
        session.counts["bytes_written"] += 2 * change.nbytes
    session.clear_journal(session.log.catalog, check_name=False)


def update(session: Session, name: str, progress: Progress = data_files.no_progress) -> None:
    """Write the live rows to a new file, if any rows were deleted.

    Does nothing while the current file is being written in place: later writes would be lost.
    """
    entry = entry_of(session.log.catalog.arrays, name)
    if entry.dropped and not data_files.is_open_in_place(session.folder, entry):
        _save(session, {name: _live_content(session, entry)}, progress)


def clone(
    session: Session, source: str, target: str, progress: Progress = data_files.no_progress
) -> None:
    """Write a copy of an array under another name."""
    arrays = session.log.catalog.arrays
    entry = entry_of(arrays, source)
    if target in arrays:
        msg = f"there is an array {target!r} already; drop it first, or choose another name"
        raise InvalidValueError(msg)
    _save(session, {target: _live_content(session, entry)}, progress)


def mark_writable(session: Session, name: str) -> Entry:
    """Commit that an array is being written in place, and has no checksums meanwhile."""
    entry = entry_of(session.log.catalog.arrays, name)
    if not entry.writable:
        _commit(session, changes={name: {"writable": True}})
    return session.log.catalog.arrays[name]


def recompute_checksums(session: Session, name: str) -> None:
    """Recompute the checksums of an array, and commit that in-place writing has ended."""
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
    return entry.replace(tail=tail)


class _Content(NamedTuple):
    """Content of a new data file.

    Attributes
    ----------
    code : str, list or dict
        The dtype as `schema.encode_dtype` encodes it.
    shape : tuple of int
    chunks : iterable of ndarray
        The bytes, each chunk contiguous.
    """

    code: Any
    shape: tuple[int, ...]
    chunks: Iterable[Array]


def _content_of(array: Array) -> _Content:
    code = encode_dtype(storable_dtype(array))
    return _Content(code, array.shape, data_files.chunks_of(array, decode_dtype(code)))


def _live_content(session: Session, entry: Entry) -> _Content:
    """Return the live rows of an array; they are read while they are written."""
    deleted = session.deleted_rows(entry)
    return _Content(entry.code, entry.shape, read_live_chunks(session.folder, entry, deleted))


def _commit(session: Session, **record: Any) -> None:
    if session.durable:
        session.folder.sync_data()  # and the names of new files
    _count_commit(session, session.log.commit(**record))
    if session.durable:
        session.note_flushed()


def _count_commit(session: Session, length: int, nbytes: int = 0) -> bool:
    """Count a commit of `length` log bytes and `nbytes` others; return whether it was made."""
    if not length:
        return False
    counts = session.counts
    counts["bytes_written"] += length + nbytes
    counts["commits"] += 1
    return True


def _unlink(session: Session, entries: Iterable[Entry]) -> None:
    for entry in entries:
        session.forget(entry)  # open files would keep their disk space allocated
        is_large = not entry.is_unusable and entry.nbytes > _LARGE
        unlink = session.folder.unlink_large if is_large else session.folder.unlink
        unlink(entry.data_file)
        session.folder.unlink(
            entry.checksum_file
        )  # may be left by an append whose process died
        session.folder.unlink(entry.dropped_file)


def _live_row_count(name: str, entry: Entry) -> int:
    if not entry.stored:
        msg = f"{name!r} is 0-d and has no rows; save it again"
        raise InvalidValueError(msg)
    count: int = entry.stored[0]
    return count - entry.dropped


def _replacement_record(entry: Entry, change: Replacement, commit: int) -> Record:
    fields: Record = {"revision": commit}
    last = entry.nbytes // BLOCK - change.first
    if last < len(change.checksums):  # the last block is partial
        fields["tail"] = int(change.checksums[last])
    return fields
