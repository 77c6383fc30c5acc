"""`publish`: one commit of a store becomes the newest one of an object store."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ...errors import (
    CommitNotFoundError,
    ConflictError,
    CorruptStoreError,
    MissingFileError,
    ObjectChangedError,
    RemoteError,
    StoreError,
    StorePermissionError,
    UnsupportedError,
)
from ..format.extents import number_of
from ..format.folder import HEADER, header_text, read_header, version_of
from ..format.log.log import new_log
from ..format.log.reader import NAME as LOG
from ..format.log.state import Catalog
from ..format.naming import quoted
from ..reading.held import committed_files
from ..reading.reader import ProgressCounter
from .contents import Contents
from .plan import plan
from .published import Published
from .report import PublishReport
from .sending import Sender

if TYPE_CHECKING:
    from ...object_store.objects import ObjectStore
    from ..format.log.state import Entry
    from ..reading.reader import ProgressCallback
    from ..session import Session
    from .plan import ArrayPlan

# Errors after which it is certain that nothing was committed.
_UNCOMMITTED = (ConflictError, CorruptStoreError, StorePermissionError, UnsupportedError)
_HEADER_ATTEMPTS = 5  # beside other publishers, each of which writes it once


def publish(
    session: Session,
    objects: ObjectStore,
    callback: ProgressCallback | None,
    *,
    overwrite: bool,
) -> PublishReport:
    """Publish the newest commit of a store, see `Publisher.publish`."""
    _require_local_commits(session)
    before = Published(objects)
    progress = ProgressCounter(callback, 0)
    sender = Sender(objects, progress)
    try:
        with committed_files(session) as files, Contents(session, files) as contents:
            if not overwrite:
                _require_successor(session, contents.catalog, before)
            plans = _planned(contents, before, overwrite=overwrite)
            catalog, log = _log_of(plans, contents.catalog, before)
            sent = [each for each in plans or () if each.is_sent]
            progress.total = sum(each.nbytes for each in sent)
            sender.write_arrays(sent, contents)
        if before.header and before.header < version_of(catalog):
            _write_header(sender, objects, version_of(catalog))
        if log != before.log:
            _write_log(sender, before, log)
    except _UNCOMMITTED:
        sender.remove_made()
        raise
    if not before.header:
        _write_header(sender, objects, version_of(catalog))
    if plans is not None:
        _remove_obsolete(objects, before, catalog, plans)
    names = tuple(each.array.name for each in sent)
    return PublishReport(catalog.commit, sender.bytes_sent, sender.objects_sent, names)


def _planned(
    contents: Contents, before: Published, *, overwrite: bool
) -> list[ArrayPlan] | None:
    """Plan what to send of each array; ``None`` if the commit was published before."""
    there = before.catalog
    if there is not None and there.commit == contents.catalog.commit and not overwrite:
        return None
    arrays = [contents.describe(name) for name in contents.catalog.arrays]
    known = before.arrays_like((each.name, each.entry) for each in arrays)
    return [plan(each, known.get(each.name), before) for each in arrays]


def _log_of(
    plans: list[ArrayPlan] | None, local: Catalog, before: Published
) -> tuple[Catalog, bytes]:
    """Return the catalog to publish and the log that has it."""
    if plans is None:
        return before.catalog or local, before.log
    arrays = {each.array.name: each.entry for each in plans}
    numbers = [number_of(each.id) for each in arrays.values()]
    next_id = max([local.next_id - 1, *numbers]) + 1
    catalog = Catalog(local.token, local.commit, next_id, arrays, attrs=local.attrs)
    return catalog, new_log(catalog)


# What is there ----------------------------------------------------------------------------


def _require_local_commits(session: Session) -> None:
    if session.is_numpack0:
        msg = (
            f"{session.folder.path} is a folder of NumPack 0.x, which has no commits to "
            "publish; upgrade it with NumPack(path, upgrade=True)"
        )
        raise StoreError(msg)
    if not session.folder.has_row_files:
        what = "published itself" if session.is_remote else "a package"
        msg = (
            f"{session.folder.path} is {what}, and publish() sends a store on disk; make one "
            "with backup(path)"
        )
        raise UnsupportedError(msg)


def _require_successor(session: Session, local: Catalog, before: Published) -> None:
    """Check that a commit of this store, or none, is what was published before."""
    there, where = before.catalog, before.objects.location
    if before.damage:
        msg = (
            f"the log {where}/{LOG} is damaged: {before.damage}; pass overwrite=True to "
            "replace it"
        )
        raise CorruptStoreError(msg)
    if there is None:
        return
    if there.token != local.token:
        _conflict(where, f"it is another store, with the token {there.token}")
    if there.commit > local.commit:
        what = f"it has commit {there.commit:,}, and this store commit {local.commit:,}"
        _conflict(where, what)
    try:
        then = local
        if there.commit < local.commit:
            then = session.log.catalog_at(there.commit)
    except CommitNotFoundError:  # compacted since
        return
    for name in {**then.arrays, **there.arrays}:  # in this order
        here, now = then.arrays.get(name), there.arrays.get(name)
        if here is None or now is None or _state(here, now) != _state(now, here):
            what = f"it has another array {quoted(name)} as of commit {there.commit:,}"
            _conflict(where, f"{what}: two copies of this store have changed")


def _state(entry: Entry, other: Entry) -> tuple[object, ...]:
    """Return what two copies of a commit have in common; not of rows that change in place."""
    if entry.is_unusable or other.is_unusable:
        return (entry.modified,)
    tail = 0 if entry.writable or other.writable else entry.tail
    rows = entry.dropped, entry.dropped_crc, entry.revision
    return entry.modified, entry.code, entry.stored, tail, rows


def _conflict(where: str, what: str) -> None:
    msg = (
        f"the store was not published to {where}: {what}; publish to another URL, or pass "
        "overwrite=True to replace what is there"
    )
    raise ConflictError(msg)


# Commit -----------------------------------------------------------------------------------


def _write_log(sender: Sender, before: Published, log: bytes) -> None:
    try:
        if before.log_version is None:
            sender.write(LOG, log, create=True)
        else:
            sender.write(LOG, log, replaces=before.log_version)
    except ObjectChangedError:
        objects = before.objects
        with contextlib.suppress(MissingFileError):
            if objects.read(LOG)[0] == log:
                return  # it was written by a request whose answer was lost
        msg = (
            f"the store was not published to {objects.location}: another process has published "
            "there meanwhile; publish again"
        )
        raise ConflictError(msg) from None


def _write_header(sender: Sender, objects: ObjectStore, version: int) -> None:
    """Write the header, unless another publisher has; its version never decreases."""
    for attempt in range(_HEADER_ATTEMPTS):
        try:
            text, there = objects.read(HEADER)
        except MissingFileError:
            condition: dict[str, object] = {"create": True}
        else:
            if read_header(text, objects.location) >= version:
                return
            condition = {"replaces": there}
        try:
            sender.write(HEADER, header_text(version), **condition)
        except ObjectChangedError:
            if attempt == _HEADER_ATTEMPTS - 1:
                raise
        else:
            return


def _remove_obsolete(
    objects: ObjectStore, before: Published, catalog: Catalog, plans: list[ArrayPlan]
) -> None:
    """Remove what no reader needs; what cannot be removed now may be by the next call."""
    needed = {name for each in plans for name in each.extents.object_names()}
    names = before.obsolete(catalog, needed)
    if names:
        with contextlib.suppress(RemoteError, StorePermissionError):
            objects.remove(names)
