"""Reader the commit log: from its last snapshot on, and further what others add."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ...errors import CorruptStoreError, StoreError
from ..fs.directory import has_hole, read_between, removed_error, store_error
from ..fs.syscalls import open_head_and_tail, size_of
from ..kernels.entries import apply_update
from .catalog import Catalog, CatalogUpdate, decode, decode_all, has_duplicates
from .naming import listed
from .records import CommitReader, header_line, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..fs.directory import Folder

NAME = "commits.log"
HEADER_LINE_LENGTH = 64

_NAME = NAME.encode()
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
_SNAPSHOT = b'\n{"store":'  # so begins a snapshot, and nothing else: JSON escapes line ends
_WINDOW_BYTES = 16 * 1024  # read from the end of the log when it is opened
_REAL_BYTES = 1 << 20  # of which more are only read if all of them are on the disk
_SEARCHED_BYTES = 1 << 30  # for a snapshot; behind it stand few commits
_BATCH_BYTES = 1 << 18  # of lines that are read at once
_EMPTY_LINES = 1000  # left by folds that were interrupted
_REPORTED = 1000  # damaged lines

_HeadAndTail = tuple[int, bytes, int, bytes]  # what `open_head_and_tail` gives


class LogCursor(NamedTuple):
    """An open log and what was read of it: put in place at once, so never half."""

    descriptor: int
    end: int  # of the last whole line
    torn: bool  # whether something stands behind it
    snapshot: int  # end of the last snapshot
    snapshot_length: int
    catalog: Catalog


class LogReader:
    """What reads the log of a store.

    Parameters
    ----------
    folder : Folder
        The store's.
    writable : bool
        Whether to open it for writing where that is possible.
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
            It cannot be opened or read; its `errno` says why.
        """
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
                    "it is missing" if missing else "it is no regular file", Catalog()
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
            if self._flags == os.O_RDONLY or error.errno not in _NOT_OURS:
                raise
        self._flags = os.O_RDONLY
        return open_head_and_tail(folder, _NAME, self._flags, *sizes)

    def _read(self, descriptor: int, first_line: bytes, size: int, data: bytes) -> LogCursor:
        """Read the lines from the last snapshot on.

        Parameters
        ----------
        descriptor : int
        first_line : bytes
            The mark, read before anything else: commits may be made meanwhile.
        size : int
        data : bytes
            What stands at the end.
        """
        start, at, data = self._found(descriptor, size, data)
        if not data:
            self._damaged("it is empty", Catalog())
        first = data[at : data.find(b"\n", at) + 1]
        commits, catalog = self._begun(first_line, first, start + at)
        end = start + at + len(first)
        cursor = LogCursor(descriptor, end, False, end, len(first), catalog)
        rest = data[at + len(first) :]
        if rest:
            cursor, update = self._with(cursor, rest)
            apply_update(update)
        if cursor.catalog.commit < commits:
            what = (
                f"commits up to {commits} were made, and it ends with {cursor.catalog.commit}"
            )
            self._damaged(what, cursor.catalog)
        return cursor

    def _found(self, descriptor: int, size: int, data: bytes) -> tuple[int, int, bytes]:
        """Search for the last whole snapshot, backwards from the end.

        Returns
        -------
        tuple
            Where the bytes begin that were read; where in them the snapshot does; the bytes.
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
            if size - start > _REAL_BYTES and has_hole(descriptor, start, size):
                self._damaged("it has holes where lines should be", Catalog())
            data = read_between(descriptor, start, size)
            size = start + len(data)  # less if it was cut meanwhile

    def read_on(self, cursor: LogCursor) -> tuple[LogCursor, CatalogUpdate]:
        """Read the whole lines behind what was read already; the catalog stays as it is."""
        size = size_of(cursor.descriptor)
        if size < cursor.end:
            self._damaged(f"it was cut to {size:,} of {cursor.end:,} bytes", cursor.catalog)
        if size - cursor.end > _REAL_BYTES and has_hole(cursor.descriptor, cursor.end, size):
            self._damaged("it has holes where lines should be", cursor.catalog)
        return self._with(cursor, read_between(cursor.descriptor, cursor.end, size))

    def _with(self, cursor: LogCursor, data: bytes) -> tuple[LogCursor, CatalogUpdate]:
        """Return the cursor after the whole lines of `data`."""
        whole = data.rfind(b"\n") + 1
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
        torn = whole < len(data)
        return LogCursor(cursor.descriptor, end, torn, last, length, update.catalog), update

    def _read_lines(self, reader: CommitReader, at: int, lines: list[bytes]) -> None:
        """Read lines that begin at byte `at`; all at once takes a fraction of the time."""
        told = [line for line in lines if line != b"\n"]
        try:
            records = decode_all(told)
        except ValueError as error:
            self._find_damage(reader, at, lines, error)
        for number, record in enumerate(records):
            try:
                reader.read(record)
            except ValueError as error:
                self._damaged_line(reader, at, lines, told[number], error)

    def _find_damage(
        self, reader: CommitReader, at: int, lines: list[bytes], error: ValueError
    ) -> NoReturn:
        """Raise the error for the first of some lines that cannot be read by itself."""
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

    def _begun(self, first: bytes, line: bytes, at: int) -> tuple[int, Catalog]:
        """Read the mark and a snapshot: how many commits there were, and the catalog."""
        try:
            begun, record = decode_all((first, line))
            return header_line(begun), snapshot(record)
        except ValueError:  # a mark that is being written, or is damaged, says nothing
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
            "and touch nothing in data/, which holds their rows"
        )
        raise CorruptStoreError(msg)

    def damage(self, cursor: LogCursor) -> list[str]:
        """Check every line, those before the last snapshot too; tell what is wrong."""
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
    """Tell what is wrong with a line by itself; nothing if it can be read."""
    try:
        decode(line)
        return "a member occurs twice" if has_duplicates(line) else ""
    except ValueError as error:
        return str(error)


def _batches(data: bytes, whole: int) -> Iterator[bytes]:
    """Divide whole lines, so that the memory for them does not depend on their number."""
    start = 0
    while start < whole:
        stop = data.find(b"\n", start + _BATCH_BYTES, whole) + 1 or whole
        yield data[start:stop]
        start = stop
