"""The commit log: what is in the store, and since when.

The log is a text file of JSON lines, each of which ends with the CRC-32 of what stands before
it. Its first line, the *mark*, tells how many commits there were at the least; it is the only
one that is ever rewritten. Of the others each is a commit, or a *snapshot* of all arrays after
the commit before it. A commit is one write of one line, after the data it names has been
written: a last line without its end never happened, and is cut off by the next writer. Who
opens the store reads from the last snapshot on. When the log has grown long, a new one is
written beside it and renamed over it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from ...errors import StoreClosedError
from ..fs.directory import write_all
from ..fs.syscalls import has_changed, is_current
from ..kernels.entries import apply_and_install
from .catalog import Catalog, Entry, Record, checked, encode
from .log_reader import NAME, LogCursor, LogReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..fs.directory import Folder

_NAME = NAME.encode()
NEW_LOG = f"{NAME}.new"

_UTF8 = "utf-8", "surrogatepass"  # a name may be any str
_HEADER_LINE = b'{"numpack":1,"commits":%-20d'
_SNAPSHOT_EVERY = 3 * 1024  # bytes of commits, and no less than _SNAPSHOT_FACTOR snapshots:
_SNAPSHOT_FACTOR = 2  # what is read on opening is in proportion to the arrays
_CLOSE_FACTOR = 4  # of commits behind it, for a snapshot when the store is closed
_COMPACT_BYTES = (
    1 << 20
)  # a log is folded when it is longer, and than _COMPACT_FACTOR snapshots:
_COMPACT_FACTOR = 16  # folding costs a constant share of the writing
_SECTOR = 512  # bytes that a device writes whole or not at all
_LONG = 200  # bytes of a name in JSON that is not kept

_keys: dict[str, bytes] = {}  # names in JSON


class Log:
    """An open commit log, for any number of threads; `commit` for who holds the store's lock.

    Parameters
    ----------
    folder : Folder
        The store's.
    writable : bool
        Whether to open it for writing where that is possible.
    durable : bool
        Whether each commit is flushed to the device.

    Attributes
    ----------
    openings : int
        How often the file was opened: more than once if another took its place.
    """

    def __init__(self, folder: Folder, *, writable: bool, durable: bool = False) -> None:
        self._folder = folder
        self._durable = durable
        self._synced = -1  # bytes of the log when it was flushed on demand
        self._reader = LogReader(folder, writable=writable)
        self._lock = threading.RLock()
        self._cursor: LogCursor | None = None
        self._cursor = self._reader.open()
        self.openings = 1

    def __del__(self) -> None:
        """Close the file of a store that was never closed."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            cursor, self._cursor = self._cursor, None
            if cursor is not None:
                os.close(cursor.descriptor)

    def checkpoint(self) -> None:
        """Write a snapshot if the commits behind the last are not few beside it.

        Of a store with few arrays opening reads one line then, and of one with many hardly
        more than a snapshot; but closing it does not write all of them for a single commit.
        For who holds the store's lock. It is an extra: where it cannot be written, the next
        commit does it.
        """
        with self._lock, contextlib.suppress(OSError):
            cursor = self._now()
            behind, length = cursor.end - cursor.snapshot, cursor.snapshot_length
            if behind and (length <= _SNAPSHOT_EVERY or _CLOSE_FACTOR * behind > length):
                self._snapshot(cursor)
            elif behind:
                self.write_header_line()

    def after_fork(self) -> None:
        """Make a new lock."""
        self._lock = threading.RLock()

    @property
    def is_writable(self) -> bool:
        """Whether the log could be opened for writing."""
        return self._reader.is_writable

    @property
    def catalog(self) -> Catalog:
        """What the log said when it was last read."""
        cursor = self._cursor or self._now()
        return cursor.catalog

    def refresh(self) -> Catalog:
        """Read what others committed since, and give the catalog.

        One system call tells whether there is anything: the size grows with each commit, and
        a log that was renamed over, or whose store was removed, has lost its only name.
        """
        cursor = self._cursor
        try:
            if cursor is not None and not has_changed(cursor.descriptor, cursor.end):
                return cursor.catalog
        except OSError:  # another thread has closed it
            pass
        return self.refresh_exactly()

    def refresh_exactly(self) -> Catalog:
        """Do as `refresh`, and make sure as well that the log still has its name."""
        with self._lock:
            cursor = self._now()
            current = is_current(cursor.descriptor, cursor.end, self._folder.descriptor, _NAME)
            if current < 0:
                self._cursor = self._reader.open()
                self.openings += 1
                os.close(cursor.descriptor)
            elif not current:
                apply_and_install(self, *self._reader.read_on(cursor))
            return self._now().catalog

    def commit(
        self,
        *,
        put: Mapping[str, Entry] | None = None,
        changes: Mapping[str, Record] | None = None,
        drop: Iterable[str] = (),
        journal: int | None = None,
    ) -> int:
        """Commit: after this one write, and not before, the change has happened.

        Parameters
        ----------
        put : mapping of str to Entry, optional
            Arrays that are new or take the place of others.
        changes : mapping of str to dict, optional
            Fields of arrays that have changed, see `Entry.changed`.
        drop : iterable of str, optional
            Names to remove.
        journal : int, optional
            CRC-32 of the journal, whose rows are to be written in place now.

        Returns
        -------
        int
            Bytes written.

        Raises
        ------
        OSError
            The line could not be written; nothing has happened.
        """
        catalog, time_us = self._now().catalog, now_us()
        line: Record = {"commit": catalog.commit + 1, "time_us": time_us}
        drop = list(drop)
        if drop:
            line["drop"] = drop
        if put:
            line["put"] = {name: entry.record() for name, entry in put.items()}
        if changes:
            line["set"] = dict(changes)
        if journal is not None:
            line["journal"] = journal
        data = encode(line)
        with self._lock:
            cursor = self._now()
            write_line(cursor, data, durable=self._durable)
            update = cursor.catalog.after(time_us, put or {}, changes or {}, drop, journal)
            end = cursor.end + len(data)
            cursor = cursor._replace(end=end, torn=False, catalog=update.catalog)
            apply_and_install(self, cursor, update)
            self._snapshot_if_due(cursor)
        is_short = self._now().snapshot_length <= _SNAPSHOT_EVERY
        if is_short and not changes and not self._durable:
            self.checkpoint()  # as cheap as the line: who opens the store is spared reading it
        return len(data)

    def commit_growth(
        self, name: str, grow: Callable[..., LogCursor | None], *what: Any
    ) -> int:
        """Commit that a file of an array has grown: `commit`, for what is called most.

        Parameters
        ----------
        name : str
        grow : callable
            `append_and_commit` or `delete_and_commit`.
        *what
            What it takes behind the name in JSON.

        Returns
        -------
        int
            Bytes written to the log; 0 if nothing was done.

        Raises
        ------
        OSError
            Nothing has happened, but the file may be longer.
        """
        with self._lock:
            cursor = self._cursor or self._now()
            if cursor.torn:
                os.ftruncate(cursor.descriptor, cursor.end)
            grown = grow(cursor, name, _keys.get(name) or _key(name), *what)
            if grown is None:
                return 0
            self._cursor = grown
            if grown.end - grown.snapshot > _SNAPSHOT_EVERY:
                self._snapshot_if_due(grown)
            return grown.end - cursor.end

    def write_header_line(self) -> None:
        """Tell in the first line how many commits there are, so that none is lost unseen.

        That a log was cut at the end of a line shows nowhere else. It is an extra: where it
        cannot be written, the next commit does it.
        """
        with self._lock, contextlib.suppress(OSError):
            cursor = self._now()
            if self.is_writable:
                os.pwrite(cursor.descriptor, checked(_HEADER_LINE % cursor.catalog.commit), 0)

    def sync(self) -> None:
        """Flush the log to the device."""
        with self._lock:
            cursor = self._now()
            os.fsync(cursor.descriptor)
            self._synced = cursor.end

    def damage(self) -> list[str]:
        """Check every line, those before the last snapshot too; tell what is wrong."""
        with self._lock:
            return self._reader.damage(self._now())

    def _snapshot_if_due(self, cursor: LogCursor) -> None:
        behind = cursor.end - cursor.snapshot
        if behind > _SNAPSHOT_EVERY and behind > _SNAPSHOT_FACTOR * cursor.snapshot_length:
            with contextlib.suppress(OSError):  # the commit stands; the next tries again
                self._snapshot(cursor)

    def _snapshot(self, cursor: LogCursor) -> None:
        line = encode(cursor.catalog.snapshot())
        if cursor.end > max(_COMPACT_BYTES, _COMPACT_FACTOR * len(line)):
            write_new(self._folder, cursor.catalog, durable=True)
            return  # the new one is opened by the next refresh
        durable = self._durable or cursor.end == self._synced  # it harms nothing that is safe
        write_line(cursor, line, durable=durable)
        end = cursor.end + len(line)
        self._cursor = cursor._replace(
            end=end, torn=False, snapshot=end, snapshot_length=len(line)
        )
        self.write_header_line()

    def _now(self) -> LogCursor:
        if self._cursor is None:
            raise closed_error(self._folder.path)
        return self._cursor


def write_new(folder: Folder, catalog: Catalog, *, durable: bool) -> None:
    """Write a log of a mark and a snapshot beside the log and rename it into place.

    A log that takes the place of another has to be on the device first (`durable`): else a
    loss of power could take what was safe already.
    """
    descriptor = folder.new(NEW_LOG, like=NAME)
    try:
        try:
            data = checked(_HEADER_LINE % catalog.commit) + encode(catalog.snapshot())
            write_all(descriptor, data, 0)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _retire(folder)
        folder.rename(NEW_LOG, NAME)
    except BaseException:
        folder.unlink(NEW_LOG)
        raise
    if durable:
        folder.sync()


def _retire(folder: Folder) -> None:
    """Lengthen the log that is about to be replaced, if there is one, by an empty line.

    Whoever has it open sees then that it has changed, even if it has got another name, as
    in a backup of hard links, and so keeps its length and as many names as before.
    """
    with contextlib.suppress(OSError):
        descriptor = folder.open(NAME, os.O_RDWR)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) == b"\n":  # nothing that is torn
                os.pwrite(descriptor, b"\n", size)
        finally:
            os.close(descriptor)


def write_line(cursor: LogCursor, line: bytes, *, durable: bool = False) -> None:
    """Write a line at the end of the log.

    What a dead writer began is cut off before: written over, it might be read as damage.

    A loss of power may leave some sectors of what was not flushed and not others. So that no
    half of a line is ever read as damage, its end is written when the rest is on the device
    (`durable`), unless all of it lies in one sector.
    """
    if cursor.torn:
        _cut(cursor, durable=durable)
    parts: tuple[bytes, ...] = (line,)
    if durable and cursor.end // _SECTOR != (cursor.end + len(line) - 1) // _SECTOR:
        parts = line[:-1], line[-1:]
    offset = cursor.end
    try:
        for part in parts:
            if offset > cursor.end:
                os.fdatasync(cursor.descriptor)
            count = os.pwrite(cursor.descriptor, part, offset)
            if count < len(part):
                write_all(cursor.descriptor, part[count:], offset + count)
            offset += len(part)
    except OSError:  # the disk is full, say; a signal handler may raise one behind the line
        if os.fstat(cursor.descriptor).st_size < cursor.end + len(line):
            _cut(cursor, durable=durable)
        raise
    if durable:
        os.fdatasync(cursor.descriptor)


def _cut(cursor: LogCursor, *, durable: bool) -> None:
    """Cut what stands behind the last whole line, before anything else is written there."""
    os.ftruncate(cursor.descriptor, cursor.end)
    if durable:
        os.fdatasync(cursor.descriptor)


def closed_error(path: str) -> StoreClosedError:
    """Make the error for a store that is not open."""
    return StoreClosedError(
        f"the store {path} is not opened or has been closed; call open(), or use it in a "
        "with statement"
    )


def now_us() -> int:
    """Give the time in microseconds since 1970."""
    return time.time_ns() // 1000


def _key(name: str) -> bytes:
    key = json.dumps(name, ensure_ascii=False).encode(*_UTF8)
    if len(key) > _LONG:
        return key
    if len(_keys) > 1000:
        _keys.clear()
    _keys[name] = key
    return key
