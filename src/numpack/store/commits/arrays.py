"""Changes of whole arrays: each function is one commit, and requires the store's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import InvalidValueError
from ..checks import entry_of
from ..format import data_files
from ..format.log.attributes import values_of
from ..format.log.state import Entry
from ..reading.verify import require_undamaged
from ..rows.contents import content_of, live_content
from .attributes import AttributeChange, new_array_attributes
from .committing import commit, commit_files, unlink_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._core.memory import Array
    from ..format.data_files import Progress
    from ..rows.contents import Content
    from ..session import Session


def save(
    session: Session,
    values: Mapping[str, Array],
    progress: Progress = data_files.no_progress,
    attributes: Mapping[str | None, AttributeChange] | None = None,
) -> None:
    """Write new files, commit them, and unlink the files they replace.

    The arrays keep the attributes that their names have. `attributes` are changes of these and
    others that are to be made in the same commit.
    """
    contents = {name: content_of(array) for name, array in values.items()}
    _save(session, contents, progress, attributes or {})


def _save(
    session: Session,
    values: Mapping[str, Content],
    progress: Progress,
    attributes: Mapping[str | None, AttributeChange] = {},
) -> None:
    catalog = session.log.catalog
    texts, record = new_array_attributes(catalog, values, attributes)
    new_entries: dict[str, Entry] = {}
    try:
        for number, (name, content) in enumerate(values.items()):
            identifier = catalog.new_id(ahead=number)
            new_entries[name] = write_contents(
                session, content, identifier, texts[name], progress
            )
    except BaseException:  # the caller's progress callback may raise anything
        unlink_files(session, new_entries.values())
        raise
    if new_entries:
        commit_files(session, new_entries, **record)
    elif record:
        commit(session, **record)


def write_contents(
    session: Session, content: Content, identifier: str, attrs: bytes, progress: Progress
) -> Entry:
    """Write the files of an array; return its entry, which is not committed."""
    entry = Entry(identifier, content.code, content.shape, modified=0, attrs=attrs)
    folder, durable = session.folder, session.durable
    with data_files.create_files(folder, entry) as descriptor:
        tail = data_files.write(
            folder, descriptor, entry, content.chunks, 0, progress=progress, durable=durable
        )
    session.counts["bytes_written"] += entry.nbytes
    return entry.replace(tail=tail)


def drop(session: Session, names: Iterable[str]) -> None:
    """Commit the deletion of arrays, and unlink their files."""
    arrays = session.log.catalog.arrays
    present = {name: arrays[name] for name in names if name in arrays}
    if present:
        commit(session, drop=present)
        unlink_files(session, present.values())


def reset(session: Session) -> None:
    """Delete all arrays, and the attributes of the store, in one commit."""
    arrays = dict(session.log.catalog.arrays)
    record: dict[str, Any] = {"attrs": {}} if session.log.catalog.attrs else {}
    if arrays or record:
        commit(session, drop=arrays, **record)
        unlink_files(session, arrays.values())


def update(session: Session, name: str, progress: Progress = data_files.no_progress) -> None:
    """Write the live rows to a new file, if any rows were deleted.

    Does nothing while the current file is being written in place: later writes would be lost.
    """
    entry = entry_of(session.log.catalog.arrays, name)
    if entry.dropped and not data_files.is_open_in_place(session.folder, entry):
        require_undamaged(session, name)
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
    require_undamaged(session, source)
    copied: dict[str | None, AttributeChange] = {}
    if entry.attrs:
        copied[target] = AttributeChange(values_of(entry.attrs))
    _save(session, {target: _live_content(session, entry)}, progress, copied)


def _live_content(session: Session, entry: Entry) -> Content:
    return live_content(session.folder, entry, session.deleted_rows(entry))
