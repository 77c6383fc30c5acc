"""The commit log, which records what the store contains.

The log is a text file of JSON lines, each of which ends with the CRC-32 of the preceding bytes
of the line. The first line, the *header line*, holds a lower bound for the number of commits
and is the only line that is ever rewritten. Every other line is a commit, or a *snapshot* of
all arrays after the preceding commit.

A commit is one complete line, written after the data that it names. An incomplete last line (a
*torn* line) is no commit; the next writer truncates it. Opening a store reads the log from its
last snapshot on. A long log is compacted: a new one is written to another file and renamed over
it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from ....errors import StoreClosedError
from ...fs.directory import write_all
from ...fs.syscalls import has_changed, is_current
from .line_writer import add_checksum, write_line
from .lines import encode
from .past import catalog_at
from .reader import NAME, LogReader
from .state import apply_and_install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ...fs.directory import Folder
    from .lines import Record
    from .state import Catalog, Entry, LogCursor

_NAME = NAME.encode()
NEW_LOG = f"{NAME}.new"

_UTF8 = "utf-8", "surrogatepass"  # a name may be any str
_HEADER_LINE = b'{"numpack":1,"commits":%-20d'
# A snapshot is written after this many bytes of commits, but no fewer than _SNAPSHOT_FACTOR
# snapshots: opening a store reads a number of bytes proportional to the number of arrays.
_SNAPSHOT_EVERY = 3 * 1024
_SNAPSHOT_FACTOR = 2
# Closing a store writes a snapshot if it is shorter than this many times the commits after the
# last one.
_CLOSE_FACTOR = 4
# A log longer than this and than _COMPACT_FACTOR snapshots is compacted, which accounts for
# a constant share of the bytes written.
_COMPACT_BYTES = 1 << 20
_COMPACT_FACTOR = 16
_LONG = 200  # longer names in JSON, in bytes, are not cached

_keys: dict[str, bytes] = {}  # cache of names in JSON


class Log:
    """An open commit log.

    All methods are thread-safe. Those that write require the store's lock.

    Parameters
    ----------
    folder : Folder
        The store's folder.
    writable : bool
        Whether to open the log for writing if possible.
    durable : bool
        Whether to flush each commit to the device.

    Attributes
    ----------
    openings : int
        How often the file was opened: more than once if it was replaced.
    """

    def __init__(self, folder: Folder, *, writable: bool, durable: bool = False) -> None:
        self._folder = folder
        self._durable = durable
        self._synced = -1  # length of the log when `sync` flushed it last
        self._reader = LogReader(folder, writable=writable)
        self._lock = threading.RLock()
        self._cursor: LogCursor | None = None
        self._cursor = self._reader.open()
        self.openings = 1

    def __del__(self, _is_exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        """Close the file if the store was not closed; at exit the system does."""
        if _is_exiting():  # modules such as os may be gone
            return
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            cursor, self._cursor = self._cursor, None
            if cursor is not None:
                os.close(cursor.descriptor)

    def checkpoint(self) -> None:
        """Write a snapshot, unless it is long compared with the commits since the last one.

        Afterwards, opening a store with few arrays reads a single line, and opening one with
        many arrays reads little more than a snapshot; yet closing a store after one commit
        does not rewrite the entries of many arrays. Requires the store's lock. Errors of the
        system are ignored, because a later commit writes the snapshot.
        """
        with self._lock, contextlib.suppress(OSError):
            cursor = self._current()
            since, length = cursor.end - cursor.snapshot, cursor.snapshot_length
            if since and (length <= _SNAPSHOT_EVERY or _CLOSE_FACTOR * since > length):
                self._snapshot(cursor)
            elif since:
                self.write_header_line()

    def after_fork(self) -> None:
        """Replace the lock, which another thread of the parent may have held."""
        self._lock = threading.RLock()

    @property
    def is_writable(self) -> bool:
        """Whether the log could be opened for writing."""
        return self._reader.is_writable

    @property
    def catalog(self) -> Catalog:
        """The catalog when the log was last read."""
        cursor = self._cursor or self._current()
        return cursor.catalog

    def refresh(self) -> Catalog:
        """Read the commits of other processes and return the catalog.

        A single system call detects whether there are any: each commit lengthens the log, and
        a log that was replaced, or whose store was removed, has no link left.
        """
        cursor = self._cursor
        try:
            if cursor is not None and not has_changed(cursor.descriptor, cursor.end):
                return cursor.catalog
        except OSError:  # closed by another thread
            pass
        return self.refresh_exactly()

    def refresh_exactly(self) -> Catalog:
        """Do the same as `refresh`, and also check that the log still has its name."""
        with self._lock:
            cursor = self._current()
            current = is_current(cursor.descriptor, cursor.end, self._folder.descriptor, _NAME)
            if current < 0:
                self._cursor = self._reader.open()
                self.openings += 1
                os.close(cursor.descriptor)
            elif not current:
                apply_and_install(self, *self._reader.read_on(cursor))
            return self._current().catalog

    def commit(
        self,
        *,
        put: Mapping[str, Entry] | None = None,
        changes: Mapping[str, Record] | None = None,
        drop: Iterable[str] = (),
        journal: int | None = None,
        attrs: Record | None = None,
    ) -> int:
        """Append a commit to the log; the change takes effect with its complete line.

        Parameters
        ----------
        put : mapping of str to Entry, optional
            Arrays that are new or replace others.
        changes : mapping of str to dict, optional
            Changed fields of arrays, see `Entry.with_changes`.
        drop : iterable of str, optional
            Names of arrays to remove.
        journal : int, optional
            CRC-32 of the journal, if rows are to be written in place after the commit.
        attrs : dict, optional
            The store's own attributes from now on.

        Returns
        -------
        int
            Bytes written to the log.

        Raises
        ------
        OSError
            The line could not be written, and nothing was committed; or, if the store is
            durable, it was written and could not be flushed.
        """
        catalog, time_us = self._current().catalog, now_us()
        line: Record = {"commit": catalog.commit + 1, "time_us": time_us}
        drop = list(drop)
        if drop:
            line["drop"] = drop
        if put:
            line["put"] = {name: entry.to_record() for name, entry in put.items()}
        if changes:
            line["set"] = dict(changes)
        if journal is not None:
            line["journal"] = journal
        if attrs is not None:
            line["attrs"] = attrs
        data = encode(line)
        with self._lock:
            cursor = self._current()
            write_line(cursor, data, durable=self._durable)
            update = cursor.catalog.after_commit(
                time_us, put or {}, changes or {}, drop, journal, attrs
            )
            cursor = cursor.after_commit(len(data), update.catalog)
            apply_and_install(self, cursor, update)
            self._snapshot_if_due(cursor)
        is_short = self._current().snapshot_length <= _SNAPSHOT_EVERY
        if is_short and not changes and not self._durable:
            self.checkpoint()  # as cheap as the commit, which opening the store then skips
        return len(data)

    def commit_growth(
        self, name: str, grow: Callable[..., LogCursor | None], *what: Any
    ) -> int:
        """Extend a file of an array and commit it: the fast path of appends and deletions.

        Parameters
        ----------
        name : str
        grow : callable
            `append_and_commit` or `delete_and_commit`.
        *what
            Its arguments after the name in JSON.

        Returns
        -------
        int
            Bytes written to the log; 0 if nothing was done.

        Raises
        ------
        OSError
            Nothing was committed, but the file may be longer than before.
        """
        with self._lock:
            cursor = self._cursor or self._current()
            grown = grow(cursor, name, _keys.get(name) or _key(name), *what)
            if grown is None:
                return 0
            self._cursor = grown
            if grown.end - grown.snapshot > _SNAPSHOT_EVERY:
                self._snapshot_if_due(grown)
            return grown.end - cursor.end

    def write_header_line(self) -> None:
        """Record the number of commits in the header line.

        Nothing else shows that a log was truncated at the end of a line. Errors of the system
        are ignored, because a later commit writes the header line.
        """
        with self._lock, contextlib.suppress(OSError):
            cursor = self._current()
            if self.is_writable:
                os.pwrite(
                    cursor.descriptor, add_checksum(_HEADER_LINE % cursor.catalog.commit), 0
                )

    def sync(self) -> None:
        """Flush the log to the device."""
        with self._lock:
            cursor = self._current()
            os.fsync(cursor.descriptor)
            self._synced = cursor.end

    def catalog_at(self, commit: int) -> Catalog:
        """Return the catalog as of an earlier commit, see `past.catalog_at`."""
        with self._lock:
            return catalog_at(self._folder, self._current(), commit)

    def damage(self) -> list[str]:
        """Check every line, also those before the last snapshot; return what is damaged."""
        with self._lock:
            return self._reader.damage(self._current())

    def _snapshot_if_due(self, cursor: LogCursor) -> None:
        since = cursor.end - cursor.snapshot
        if since > _SNAPSHOT_EVERY and since > _SNAPSHOT_FACTOR * cursor.snapshot_length:
            with contextlib.suppress(OSError):  # the commit is valid; the next one retries
                self._snapshot(cursor)

    def _snapshot(self, cursor: LogCursor) -> None:
        line = encode(cursor.catalog.snapshot())
        if cursor.end > max(_COMPACT_BYTES, _COMPACT_FACTOR * len(line)):
            write_new(self._folder, cursor.catalog, durable=True)
            return  # the next refresh opens the new log
        # Unflushed, the snapshot could become a damaged line after commits that `sync` flushed.
        durable = self._durable or cursor.end == self._synced
        write_line(cursor, line, durable=durable)
        self._cursor = cursor.after_snapshot(len(line))
        self.write_header_line()

    def _current(self) -> LogCursor:
        if self._cursor is None:
            raise closed_error(self._folder.path)
        return self._cursor


def new_log(catalog: Catalog) -> bytes:
    """Return the content of a log of a header line and a snapshot."""
    return add_checksum(_HEADER_LINE % catalog.commit) + encode(catalog.snapshot())


def write_new(folder: Folder, catalog: Catalog, *, durable: bool) -> None:
    """Write a log of a header line and a snapshot to another file and rename it into place.

    A log that replaces another must be flushed first (`durable`): otherwise a power loss could
    lose commits that were durable.
    """
    descriptor = folder.new(NEW_LOG, like=NAME)
    try:
        try:
            write_all(descriptor, new_log(catalog), 0)
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
    """Append an empty line to the log that is about to be replaced, if there is one.

    Processes that have it open then notice the change even if it has another hard link, as in
    some backups, and so would keep its length and its link count.
    """
    with contextlib.suppress(OSError):
        descriptor = folder.open(NAME, os.O_RDWR)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) == b"\n":  # not after a torn line
                os.pwrite(descriptor, b"\n", size)
        finally:
            os.close(descriptor)


def closed_error(path: str) -> StoreClosedError:
    """Return the error for a store that is not open."""
    return StoreClosedError(
        f"the store {path} is not opened or has been closed; call open(), or use it in a "
        "with statement"
    )


def now_us() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1000


def _key(name: str) -> bytes:
    key = json.dumps(name, ensure_ascii=False).encode(*_UTF8)
    if len(key) > _LONG:
        return key
    if len(_keys) > 1000:
        _keys.clear()
    _keys[name] = key
    return key
