"""Appended and deleted rows: each function is one commit, and requires the store's lock."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_rows, entry_of, live_row_count, select_rows
from ..format import data_files
from ..format.log.append import append_and_commit, delete_and_commit
from ..rows import deleted_rows
from ..rows.contents import Content
from ..rows.deleted_rows import NO_ROWS, DeletedRows
from .attributes import record_of
from .committing import commit, count_commit, may_have_committed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._core.memory import Array
    from ..format.log.lines import Record
    from ..format.log.state import Entry
    from ..rows.deleted_rows import Numbers
    from ..session import Session
    from .attributes import AttributeChange


def append(session: Session, values: Mapping[str, Array]) -> None:
    """Write rows after the committed ones of each array, and commit them."""
    arrays = session.log.catalog.arrays
    found = {name: entry_of(arrays, name) for name in values}
    for name, array in values.items():
        check_rows(name, found[name], array)
    append_contents(
        session,
        {
            name: Content(
                found[name].code, array.shape, data_files.chunks_of(array, found[name].dtype)
            )
            for name, array in values.items()
        },
    )


def append_contents(
    session: Session,
    contents: Mapping[str, Content],
    attributes: Mapping[str | None, AttributeChange] | None = None,
) -> None:
    """Append rows that are read while they are written; commit those of all arrays at once.

    Parameters
    ----------
    session : Session
    contents : mapping of str to Content
        With the dtypes and row shapes of the arrays of the same names.
    attributes : mapping of str or None to AttributeChange
        Changes of attributes that are to be made in the same commit.
    """
    catalog = session.log.catalog
    found = {name: entry_of(catalog.arrays, name) for name in contents}
    record = record_of(catalog, attributes) if attributes else {}
    changes: dict[str, Record] = record.pop("changes", {})
    try:
        for name, content in contents.items():
            entry, rows = found[name], content.shape[0]
            fields = changes.setdefault(name, {})
            fields["rows"] = entry.stored[0] + rows
            fields["tail"] = _write_appended(session, entry, content.chunks)
            session.counts["bytes_written"] += rows * entry.row_nbytes
        if changes or record:
            commit(session, changes=changes, **record)
    except OSError:
        if not may_have_committed(session, catalog):
            for name in changes.keys() & found.keys():
                _truncate_uncommitted(session, found[name])
        raise


def _write_appended(session: Session, entry: Entry, chunks: Iterable[Array]) -> int:
    with session.files.pinned(entry.id):
        file = session.files.current(entry)
        return data_files.write(
            session.folder, file, entry, chunks, entry.nbytes, durable=session.durable
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
        if not may_have_committed(session, catalog):
            _truncate_uncommitted(session, entry)
        raise
    return count_commit(session, length, array.nbytes)


def _truncate_uncommitted(session: Session, entry: Entry) -> None:
    """Truncate uncommitted rows, after a full disk for example; no mapping covers them."""
    with contextlib.suppress(OSError):
        os.ftruncate(session.files.descriptor(entry), entry.nbytes)


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
    count = live_row_count(name, entry)
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
    return count_commit(session, length, numbers.nbytes)


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
        commit(session, changes=changes)
