"""Changes of rows in place: each function is one commit, and requires the store's lock."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..checks import check_rows, entry_of, live_row_count, select_rows
from ..format import data_files, journal
from ..kernels.checksums import BLOCK, checksum_blocks
from ..rows.replacing import Replacement
from .committing import commit, commit_files, unlink_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._core.memory import Array
    from ..format.log.lines import Record
    from ..format.log.state import Entry
    from ..session import Session


def replace(session: Session, values: Mapping[str, Array], indexes: Any) -> None:
    """Write new rows to the journal, commit them, write them in place, clear the journal.

    Arrays whose files a snapshot holds get copies of them instead, in the same commit.
    """
    arrays = session.log.catalog.arrays
    found = {name: entry_of(arrays, name) for name in values}
    changes = {}
    for name, array in values.items():
        entry = found[name]
        rows = select_rows(name, indexes, live_row_count(name, entry))
        check_rows(name, entry, array, count=len(rows))
        if entry.nbytes and array.nbytes:
            deleted = session.deleted_rows(entry)
            changes[name] = Replacement(session.files, entry, rows, deleted, array)
    if not changes:
        return
    crc, copies = _write_journal(session, changes), None
    if any(session.files.is_held(found[name]) for name in changes):
        changes, copies, crc = _replace_held(session, found, changes, crc)
    number = session.log.catalog.commit + 1
    records = {
        name: _replacement_record(found[name], each, number) for name, each in changes.items()
    }
    if copies:
        commit_files(session, copies, changes=records, journal=crc)
    else:
        commit(session, changes=records, journal=crc)
    for name, change in changes.items():
        session.apply_replacement(found[name], change, check_name=False)
        session.counts["bytes_written"] += 2 * change.nbytes
    if changes:
        session.clear_journal(session.log.catalog, check_name=False)


def _replace_held(
    session: Session,
    found: Mapping[str, Entry],
    changes: dict[str, Replacement],
    crc: int | None,
) -> tuple[dict[str, Replacement], dict[str, Entry], int | None]:
    """Replace the rows of arrays that snapshots hold in copies of their files.

    The journal is written before it is checked whether files are held, and written again
    without those that are: a snapshot holds its files before it checks the journal, so at
    least one of the two detects the other.

    Parameters
    ----------
    session : Session
    found : mapping of str to Entry
    changes : dict of str to Replacement
    crc : int
        Checksum of the journal, which has been written.

    Returns
    -------
    dict of str to Replacement
        The changes to make in place.
    dict of str to Entry
        The copies, with their rows replaced.
    int or None
        Checksum of the journal; ``None`` if nothing is to be done in place.
    """
    copies: dict[str, Entry] = {}
    try:
        while held := [name for name in changes if _is_held(session, found[name])]:
            journal.clear(session.files.named(journal.NAME), durable=session.durable)
            for name in held:
                identifier = session.log.catalog.new_id(ahead=len(copies))
                copies[name] = _replaced_copy(
                    session, found[name], changes.pop(name), identifier
                )
            changes = {name: change.again(found[name]) for name, change in changes.items()}
            crc = _write_journal(session, changes)
    except BaseException:
        unlink_files(session, copies.values())
        raise
    return changes, copies, crc


def _is_held(session: Session, entry: Entry) -> bool:
    """Return whether a snapshot holds a file that no `writable_batch_mode` has open."""
    return session.files.is_held(entry) and not data_files.is_open_in_place(
        session.folder, entry
    )


def _write_journal(session: Session, changes: Mapping[str, Replacement]) -> int | None:
    """Write the journal of the next commit, and return its checksum.

    From now on a snapshot waits for the commit. Whether files are held is checked after it.
    """
    if not changes:
        return None
    number, record = session.log.catalog.commit + 1, list(changes.values())
    with session.files.pinned(journal.NAME):
        file = session.files.named(journal.NAME)
        return journal.write(file, session.folder, number, record, durable=session.durable)


def _replaced_copy(
    session: Session, entry: Entry, change: Replacement, identifier: str
) -> Entry:
    """Copy the files of an array, and replace rows in the copy."""
    copy = _copy_files(session, entry, identifier)
    try:
        change = change.again(copy)
        session.apply_replacement(copy, change)
    except BaseException:
        unlink_files(session, [copy])
        raise
    session.counts["bytes_written"] += change.nbytes
    fields = _replacement_record(copy, change, session.log.catalog.commit + 1)
    return copy.with_changes(fields, entry.modified)


def _copy_files(session: Session, entry: Entry, identifier: str) -> Entry:
    copy = data_files.copy_files(session.folder, entry, identifier, durable=session.durable)
    session.counts["bytes_written"] += copy.nbytes
    return copy


def _replacement_record(entry: Entry, change: Replacement, number: int) -> Record:
    fields: Record = {"revision": number}
    last = entry.nbytes // BLOCK - change.first
    if last < len(change.checksums):  # the last block is partial
        fields["tail"] = int(change.checksums[last])
    return fields


def mark_writable(session: Session, name: str) -> Entry:
    """Commit that an array is being written in place, and has no checksums meanwhile.

    If a snapshot holds its file, a copy takes its place. Snapshots that are taken later see
    the mark.
    """
    arrays = session.log.catalog.arrays
    if not entry_of(arrays, name).writable:
        commit(session, changes={name: {"writable": True}})
    if _is_held(session, arrays[name]):
        copy = _copy_files(session, arrays[name], session.log.catalog.new_id())
        try:
            session.files.fill(copy)
        except BaseException:
            unlink_files(session, [copy])
            raise
        commit_files(session, {name: copy})
    return session.log.catalog.arrays[name]


def recompute_checksums(session: Session, name: str) -> None:
    """Recompute the checksums of an array, and commit that in-place writing has ended."""
    entry = session.log.catalog.arrays[name]
    memory = session.files.memory(entry)
    sums, tail = checksum_blocks(memory, data_files.thread_count())
    if sums:
        data_files.write_checksums(session.folder, entry, 0, sums)
    number = session.log.catalog.commit + 1
    if session.durable:
        os.fsync(session.files.descriptor(entry))
        session.folder.sync_file(entry.checksum_file)
    commit(session, changes={name: {"tail": tail, "revision": number, "writable": False}})
