"""Commits of a write transaction, and the files that they make obsolete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import StoreError
from ..format import folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..format.log.state import Catalog, Entry
    from ..session import Session


_LARGE = 8 << 20  # bytes from which on removing a file takes long


def commit(session: Session, **record: Any) -> None:
    """Commit changes, see `Log.commit`, with the names of new files flushed before."""
    if _has_attributes(record):
        folder.mark_attributes(session.folder, durable=session.durable)
    if session.durable:
        session.folder.sync_data()
    count_commit(session, session.log.commit(**record))
    if session.durable:
        session.note_flushed()


def commit_files(session: Session, new: Mapping[str, Entry], **record: Any) -> None:
    """Commit arrays in new files, besides other changes; unlink the files they replace."""
    catalog = session.log.catalog
    replaced = [catalog.arrays[name] for name in new if name in catalog.arrays]
    try:
        commit(session, put=new, **record)
    except OSError:
        if not may_have_committed(session, catalog):
            unlink_files(session, new.values())
        raise
    unlink_files(session, replaced)


def _has_attributes(record: Mapping[str, Any]) -> bool:
    """Return whether a commit's line names attributes."""
    return (
        "attrs" in record
        or any(entry.attrs for entry in record.get("put", {}).values())
        or any("attrs" in fields for fields in record.get("changes", {}).values())
    )


def count_commit(session: Session, length: int, nbytes: int = 0) -> bool:
    """Count a commit of `length` log bytes and `nbytes` others; return whether it was made."""
    if not length:
        return False
    counts = session.counts
    counts["bytes_written"] += length + nbytes
    counts["commits"] += 1
    return True


def may_have_committed(session: Session, catalog: Catalog) -> bool:
    """Check whether a commit may have been made although an `OSError` was raised.

    A signal handler may raise one (a `TimeoutError`, for example) after the log line was
    written.
    """
    try:
        return session.log.refresh_exactly().commit > catalog.commit
    except (OSError, StoreError):
        return True


def unlink_files(session: Session, entries: Iterable[Entry]) -> None:
    """Unlink the files of arrays, which stay for processes that have mapped them."""
    for entry in entries:
        session.forget(entry)  # open files would keep their disk space allocated
        is_large = not entry.is_unusable and entry.nbytes > _LARGE
        unlink = session.folder.unlink_large if is_large else session.folder.unlink
        unlink(entry.data_file)
        session.folder.unlink(
            entry.checksum_file
        )  # may be left by an append whose process died
        session.folder.unlink(entry.dropped_file)
