"""What is to be published: the bytes of the arrays of one commit, verified as they are read."""

from __future__ import annotations

import contextlib
import tempfile
from typing import IO, TYPE_CHECKING, NamedTuple, NoReturn, Self

import numpy as np

from ..._core.memory import aligned_empty
from ...errors import CorruptStoreError, StoreError
from ...object_store.objects import Stream
from ..format import data_files
from ..format.naming import quoted
from ..fs.directory import read_between
from ..fs.errors import store_error
from ..kernels.checksums import BLOCK, checksum_blocks, crc32
from ..reading.held import copy_rows, read_checksums

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..._core.memory import Array
    from ..format.data_files import Progress
    from ..format.extents import Run
    from ..format.log.state import Entry
    from ..fs.syscalls import OpenFile
    from ..reading.held import ArrayFiles, CommittedFiles
    from ..session import Session

PART_BYTES = 8 * BLOCK  # read, verified and sent at a time


class LocalArray(NamedTuple):
    """An array of the local store.

    Attributes
    ----------
    name : str
    entry : Entry
        As it is to be published, except for its id.
    checksums : ndarray of uint32
        Of all blocks, the last of which may be shorter.
    """

    name: str
    entry: Entry
    checksums: Array

    @property
    def whole_checksums(self) -> bytes:
        """The content of the checksum file."""
        count = self.entry.nbytes // BLOCK
        return self.checksums[:count].astype("<u4").tobytes()


class Contents:
    """The arrays of one commit of a local store.

    Arrays whose files do not have the committed rows, or may change, are copied to temporary
    files first.

    Parameters
    ----------
    session : Session
    files : CommittedFiles
    """

    def __init__(self, session: Session, files: CommittedFiles) -> None:
        self.session = session
        self.files = files
        self.catalog = files.catalog
        self._copies: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Self:
        """Return the contents."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Remove the copies."""
        for copy in self._copies.values():
            copy.close()

    def describe(self, name: str) -> LocalArray:
        """Return an array and its checksums."""
        entry = self.catalog.arrays[name]
        with self.files.opened(name) as files:
            if entry.writable or self.session.pending_change(entry) is not None:
                sums, tail = self._copy(name, entry, files)
            else:
                sums, tail = read_checksums(self.session, entry, files), entry.tail
        made = entry.replace(writable=False, tail=tail)
        return LocalArray(name, made, data_files.checksums_from(sums, made))

    def _copy(self, name: str, entry: Entry, files: ArrayFiles) -> tuple[bytes, int]:
        copy = self._copies[name] = tempfile.TemporaryFile()  # noqa: SIM115 -- closed later
        try:
            return copy_rows(self.session, entry, files, copy.fileno(), lambda _: None)
        except StoreError:
            raise
        except OSError as error:
            raise store_error(tempfile.gettempdir(), error) from error

    @contextlib.contextmanager
    def rows(self, array: LocalArray, runs: Sequence[Run], sent: Progress) -> Iterator[Blocks]:
        """Return the bytes of some runs, which are read in the context."""
        copy = self._copies.get(array.name)
        if copy is not None:
            yield Blocks(array, copy.fileno(), runs, sent)
            return
        with self.files.opened(array.name) as files:
            yield Blocks(array, _descriptor(files.rows), runs, sent)

    def deleted(self, array: LocalArray) -> bytes:
        """Return the content of the list of deleted rows, which has its checksum."""
        entry = array.entry
        with self.files.opened(array.name) as files:
            content = read_between(_descriptor(files.deleted), 0, 8 * entry.dropped)
        if len(content) != 8 * entry.dropped or crc32(content) != entry.dropped_crc:
            _damaged(array, "the checksum of its list of deleted rows is wrong")
        return content


class Blocks(Stream):
    """Runs of the bytes of an array, which are compared with its checksums as they are read.

    Parameters
    ----------
    array : LocalArray
    descriptor : int
        Of a file with its rows.
    runs : sequence of Run
        Each begins with a block, and ends with one or with the array.
    sent : callable
        Called with the number of bytes of each part once it is asked for the next one.

    Attributes
    ----------
    nbytes : int
    """

    def __init__(
        self, array: LocalArray, descriptor: int, runs: Sequence[Run], sent: Progress
    ) -> None:
        self._array = array
        self._descriptor = descriptor
        self._runs = runs
        self._sent = sent
        self.nbytes = sum(stop - start for start, stop in runs)

    def __iter__(self) -> Iterator[memoryview]:
        """Read the parts one after another, each into memory of its own.

        Raises
        ------
        CorruptStoreError
            The checksum of a block is wrong.
        """
        for start, stop in self._runs:
            for at in range(start, stop, PART_BYTES):
                part = self._read(at, min(stop, at + PART_BYTES))
                yield part.data
                self._sent(len(part))

    def _read(self, start: int, stop: int) -> Array:
        part = aligned_empty((stop - start,), np.dtype(np.uint8))
        try:
            data_files.read_exactly(self._descriptor, part, start)
        except OSError as error:
            where = f"the rows of the array {quoted(self._array.name)}"
            raise store_error(where, error) from error
        whole, tail = checksum_blocks(part, data_files.thread_count())
        found = np.frombuffer(whole, "<u4")
        if len(part) % BLOCK:
            found = np.append(found, np.uint32(tail))
        first = start // BLOCK
        wrong = np.flatnonzero(found != self._array.checksums[first : first + len(found)])
        if len(wrong):
            _damaged(self._array, f"the checksum of block {first + wrong[0]:,} is wrong")
        return part


def _descriptor(file: OpenFile | None) -> int:
    return -1 if file is None else file.descriptor


def _damaged(array: LocalArray, what: str) -> NoReturn:
    msg = (
        f"the array {quoted(array.name)} cannot be published: {what}; restore it from a "
        "backup, or drop the array"
    )
    raise CorruptStoreError(msg)
