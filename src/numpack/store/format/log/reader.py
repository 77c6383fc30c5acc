"""Reading the commit log: from its last snapshot on, then the lines that others append."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NoReturn

from ....errors import CorruptStoreError, StoreError
from ...fs.directory import has_hole, read_between
from ...fs.errors import removed_error, store_error
from ...fs.syscalls import open_head_and_tail, size_of
from ..extents import require_whole
from ..naming import listed
from .lines import decode, decode_lines, has_duplicates
from .ordinary.lines import open_ordinary, read_commits, read_header_line, read_snapshot
from .records import CommitReader, commit_count, snapshot
from .state import Catalog, LogCursor, apply_update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...fs.directory import Folder
    from .state import CatalogUpdate

NAME = "commits.log"
HEADER_LINE_LENGTH = 64

_NAME = NAME.encode()
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_SNAPSHOT = b'\n{"store":'  # only a snapshot begins like this: JSON escapes newlines
_WINDOW_BYTES = 8 * 1024  # read from the end of the log when it is opened
_DENSE_BYTES = 1 << 20  # longer ranges are read only if they have no holes
_SEARCHED_BYTES = 1 << 30  # limit of the search for a snapshot, which few commits follow
_BATCH_BYTES = 1 << 18  # of lines decoded at once
_EMPTY_LINES = 1000  # tolerated; interrupted compactions leave some
_REPORTED = 1000  # damaged lines, at most

_HeadAndTail = tuple[int, bytes, int, bytes]  # returned by `open_head_and_tail`


class LogReader:
    """Reader of a store's log.

    Parameters
    ----------
    folder : Folder
        The store's folder.
    writable : bool
        Whether to open the log for writing if possible.
    """

    def __init__(self, folder: Folder, *, writable: bool) -> None:
        self._folder = folder
        self._flags = os.O_RDWR if writable else os.O_RDONLY

    @property
    def is_writable(self) -> bool:
        """Whether the log could be opened for writing."""
        return self._flags == os.O_RDWR

    def open(self) -> LogCursor:
        """Open the log and read it from its last snapshot.

        Raises
        ------
        CorruptStoreError
            The log is damaged, missing, or no regular file.
        StoreError
            The log cannot be opened or read; `errno` holds the reason.
        """
        ordinary = open_ordinary(self._folder.descriptor, _NAME, self._flags)
        return self._open_other() if ordinary is None else ordinary

    def _open_other(self) -> LogCursor:
        """Open a log of any kind, or raise the error."""
        path = f"{self._folder.path}/{NAME}"
        try:
            opened = self._open()
        except OSError as error:
            if self._folder.is_removed():
                raise removed_error(self._folder.path) from None
            found = store_error(path, error)
            if isinstance(found, CorruptStoreError):
                missing = isinstance(found, FileNotFoundError)
                self._damaged(
                    "it is missing" if missing else "it is not a regular file", Catalog()
                )
            raise found from error
        try:
            return self._read(*opened)
        except StoreError:
            os.close(opened[0])
            raise
        except OSError as error:
            os.close(opened[0])
            raise store_error(path, error) from error
        except BaseException:
            os.close(opened[0])
            raise

    def _open(self) -> _HeadAndTail:
        folder, sizes = self._folder.descriptor, (HEADER_LINE_LENGTH, _WINDOW_BYTES)
        try:
            return open_head_and_tail(folder, _NAME, self._flags, *sizes)
        except OSError as error:
            if self._flags == os.O_RDONLY or error.errno not in _READ_ONLY:
                raise
        self._flags = os.O_RDONLY
        return open_head_and_tail(folder, _NAME, self._flags, *sizes)

    def _read(self, descriptor: int, first_line: bytes, size: int, data: bytes) -> LogCursor:
        """Read the lines from the last snapshot on.

        Parameters
        ----------
        descriptor : int
        first_line : bytes
            The header line.
        size : int
        data : bytes
            The last bytes of the file.
        """
        start, at, data = self._find_snapshot(descriptor, size, data)
        if not data:
            self._damaged("it is empty", Catalog())
        stop = data.find(b"\n", at) + 1
        commits, found = read_header_line(first_line), read_snapshot(data, at, stop)
        if found is None or commits < 0:
            commits, found = self._read_snapshot(first_line, data[at:stop], start + at)
            require_whole(self._folder, found.arrays.values())
        cursor = LogCursor(descriptor, start + stop, False, start + stop, stop - at, found)
        if stop < len(data):
            cursor, update = self._advance(cursor, data[stop:])
            apply_update(update)
        if cursor.catalog.commit < commits:  # committed while the log was read, or lost
            cursor, update = self.read_on(cursor)
            apply_update(update)
        if cursor.catalog.commit < commits:
            what = (
                f"commits up to {commits} were made, and it ends with {cursor.catalog.commit}"
            )
            self._damaged(what, cursor.catalog)
        return cursor

    def _find_snapshot(self, descriptor: int, size: int, data: bytes) -> tuple[int, int, bytes]:
        """Search backwards from the end for the last complete snapshot.

        Returns
        -------
        tuple
            Offset of the bytes that were read; position of the snapshot in them; the bytes.
        """
        while True:
            start = size - len(data)
            whole = data.rfind(b"\n") + 1
            at = data.rfind(_SNAPSHOT, 0, whole) + 1
            if at or start <= 0:
                return start, at, data
            start = max(0, size - 4 * len(data))
            if size - start > _SEARCHED_BYTES:
                self._damaged(f"its last {_SEARCHED_BYTES:,} bytes hold no snapshot", Catalog())
            if size - start > _DENSE_BYTES and has_hole(descriptor, start, size):
                self._damaged("it has holes where lines should be", Catalog())
            data = read_between(descriptor, start, size)
            size = start + len(data)  # less if the log was truncated meanwhile

    def read_on(self, cursor: LogCursor) -> tuple[LogCursor, CatalogUpdate]:
        """Read the complete lines appended since; do not change the cursor's catalog."""
        size = size_of(cursor.descriptor)
        if size < cursor.end:
            self._damaged(
                f"it was truncated to {size:,} of {cursor.end:,} bytes", cursor.catalog
            )
        if size - cursor.end > _DENSE_BYTES and has_hole(cursor.descriptor, cursor.end, size):
            self._damaged("it has holes where lines should be", cursor.catalog)
        return self._advance(cursor, read_between(cursor.descriptor, cursor.end, size))

    def _advance(self, cursor: LogCursor, data: bytes) -> tuple[LogCursor, CatalogUpdate]:
        """Return the cursor after the complete lines of `data`, and their changes."""
        whole = data.rfind(b"\n") + 1
        torn = whole < len(data)
        ordinary = read_commits(cursor.catalog, data, 0, whole)
        if ordinary is not None:
            update, at, length = ordinary
            end, last = cursor.end + whole, cursor.end + at
            if at < 0:  # there is no snapshot among the lines
                last, length = cursor.snapshot, cursor.snapshot_length
            return LogCursor(cursor.descriptor, end, torn, last, length, update.catalog), update
        if len(data) > _BATCH_BYTES and data.count(b"\n\n") > _EMPTY_LINES:
            self._damaged(f"more than {_EMPTY_LINES:,} of its lines are empty", cursor.catalog)
        reader = CommitReader(cursor.catalog)
        end, last, length = cursor.end, cursor.snapshot, cursor.snapshot_length
        for batch in _batches(data, whole):
            lines = batch.splitlines(keepends=True)
            self._read_lines(reader, end, lines)
            for line in lines:
                end += len(line)
                if line.startswith(_SNAPSHOT[1:]):
                    last, length = end, len(line)
        update = reader.update()
        require_whole(self._folder, update.changed.values())
        return LogCursor(cursor.descriptor, end, torn, last, length, update.catalog), update

    def _read_lines(self, reader: CommitReader, at: int, lines: list[bytes]) -> None:
        """Read lines that begin at byte `at`; decoding them together is much faster."""
        written = [line for line in lines if line != b"\n"]
        try:
            records = decode_lines(written)
        except ValueError as error:
            self._find_damage(reader, at, lines, error)
        for number, record in enumerate(records):
            try:
                reader.read(record)
            except ValueError as error:
                self._damaged_line(reader, at, lines, written[number], error)

    def _find_damage(
        self, reader: CommitReader, at: int, lines: list[bytes], error: ValueError
    ) -> NoReturn:
        """Raise the error for the first line that is invalid on its own."""
        for line in lines:
            if line != b"\n":
                try:
                    reader.read(decode(line))
                except ValueError as found:
                    self._damaged_line(reader, at, lines, line, found)
        self._damaged_line(reader, at, lines, lines[0], error)

    def _damaged_line(
        self, reader: CommitReader, at: int, lines: list[bytes], wrong: bytes, error: ValueError
    ) -> NoReturn:
        for line in lines:
            if line is wrong:
                break
            at += len(line)
        what = f"the line at byte {at:,} cannot be read ({error})"
        self._damaged(what, reader.catalog, reader.names())

    def _read_snapshot(self, first: bytes, line: bytes, at: int) -> tuple[int, Catalog]:
        """Return the number of commits in the header line, and the snapshot's catalog."""
        try:
            header, record = decode_lines((first, line))
            return commit_count(header), snapshot(record)
        except ValueError:  # the header line may be damaged, or be written at this moment
            pass
        try:
            return 0, snapshot(decode(line))
        except ValueError as error:
            self._damaged(f"the line at byte {at:,} cannot be read ({error})", Catalog())

    def _damaged(self, what: str, catalog: Catalog, names: list[str] | None = None) -> NoReturn:
        readable = listed(catalog.arrays if names is None else names)
        msg = (
            f"the log {self._folder.path}/{NAME} is damaged: {what}; up to commit "
            f"{catalog.commit} it names these arrays: {readable}; restore it from a backup, "
            "and do not modify data/, which holds their rows"
        )
        raise CorruptStoreError(msg)

    def damage(self, cursor: LogCursor) -> list[str]:
        """Check every line, also those before the last snapshot; return what is damaged."""
        where = f"{self._folder.path}/{NAME}"
        if has_hole(cursor.descriptor, 0, cursor.end):
            return [f"{where} has holes where lines should be"]
        found: list[str] = []
        at, rest = 0, b""
        while at + len(rest) < cursor.end and len(found) < _REPORTED:
            begin = at + len(rest)
            part = read_between(cursor.descriptor, begin, min(begin + _BATCH_BYTES, cursor.end))
            if not part:
                break
            data = rest + part
            whole = data.rfind(b"\n") + 1
            for line in data[:whole].splitlines(keepends=True):
                if line != b"\n" and (what := _flaw(line)):
                    found.append(f"the line at byte {at:,} of {where} is damaged ({what})")
                at += len(line)
            rest = data[whole:]
        return found[:_REPORTED]


def _flaw(line: bytes) -> str:
    """Return what is wrong with a line on its own; an empty string if it is valid."""
    try:
        decode(line)
        return "a member occurs twice" if has_duplicates(line) else ""
    except ValueError as error:
        return str(error)


def _batches(data: bytes, whole: int) -> Iterator[bytes]:
    """Split complete lines into batches, to bound the memory needed to decode them."""
    start = 0
    while start < whole:
        stop = data.find(b"\n", start + _BATCH_BYTES, whole) + 1 or whole
        yield data[start:stop]
        start = stop
