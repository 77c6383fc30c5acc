"""Rows of arrays that are compared with their checksums while they are read in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ...errors import CorruptStoreError
from ..format import data_files
from ..format.naming import quoted
from ..kernels.checksums import BLOCK, checksum_blocks, combine_crc32, crc32
from .held import compute_checksums
from .streaming import CommittedRows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._core.memory import Array
    from ..format.log.state import Entry
    from ..session import Session


class CheckedRows(CommittedRows):
    """The rows of arrays as of one commit, compared with their checksums.

    Each block is compared once the rows that it consists of have been read, if these are read
    in order, from the first one on. The blocks of an array that has deleted rows are compared
    before the first one is read. Arrays of NumPack 0.x, those that are written in place or
    journaled, and those of an object store, whose blocks are compared when they are fetched,
    are not.

    Parameters
    ----------
    session : Session
    names : iterable of str, optional
        All arrays by default.
    checks : dict of str to BlockCheck, optional
        What has been compared of the arrays if they were opened before.
    """

    def __init__(
        self,
        session: Session,
        names: Iterable[str] | None = None,
        checks: dict[str, BlockCheck] | None = None,
    ) -> None:
        self._checks: dict[str, BlockCheck] = {} if checks is None else checks
        super().__init__(session, names)

    def _use(self, session: Session, name: str, entry: Entry) -> None:
        super()._use(session, name, entry)
        known = self._checks.get(name)
        if known is not None and _state(known.entry) == _state(entry):
            return
        self._checks.pop(name, None)
        is_unchecked = session.is_numpack0 or session.is_remote or entry.writable
        if not entry.nbytes or is_unchecked or session.pending_change(entry) is not None:
            return
        expected = data_files.read_checksums(session.folder, entry)
        self._checks[name] = BlockCheck(name, entry, expected)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Return live rows of an array, or all of a 0-d one, in memory of their own.

        Raises
        ------
        CorruptStoreError
            The data file is too short, or the checksum of a block is wrong.
        """
        check = self._checks.get(name)
        if check is None:
            return super().read(name, start, stop)
        if check.entry.dropped and not check.is_done and name in self._opened:
            check.compare_file(self._opened[name][0].descriptor)
        rows = super().read(name, start, stop)
        if not check.entry.dropped:
            check.add(rows, start if check.entry.shape else 0)
        return rows


def _state(entry: Entry) -> tuple[object, ...]:
    return entry.id, entry.revision, entry.shape, entry.dropped, entry.tail, entry.writable


class BlockCheck:
    """How far the rows of an array have been compared with its checksums.

    Parameters
    ----------
    name : str
    entry : Entry
    expected : ndarray of uint32
        Checksums of all blocks; fewer if the checksum file is too short.

    Attributes
    ----------
    is_done : bool
        Whether all blocks have been compared.
    """

    def __init__(self, name: str, entry: Entry, expected: Array) -> None:
        self.name, self.entry, self.is_done = name, entry, False
        self._expected = expected
        self._running, self._compared, self._next = RunningChecksums(), 0, 0

    def add(self, rows: Array, start: int) -> None:
        """Compare the blocks that end in some rows; ignore rows that are out of order."""
        if not start:
            self._running, self._compared, self._next = RunningChecksums(), 0, 0
        if start != self._next:
            return
        for chunk in data_files.chunks_of(rows, self.entry.dtype):
            self._running.add(data_files.as_bytes(chunk))
        shape = self.entry.shape
        self._next += len(rows) if shape else 0
        found = self._running.whole_from(self._compared)
        self._compare(found)
        if not shape or self._next == shape[0]:
            if self.entry.nbytes % BLOCK:
                self._compare(np.array([self._running.tail], np.uint32))
            self.is_done = True

    def compare_file(self, descriptor: int) -> None:
        """Compare all blocks of a data file."""
        sums, tail = compute_checksums(descriptor, self.entry.nbytes)
        self._compared = 0
        self._compare(data_files.checksums_from(sums, self.entry.replace(tail=tail)))
        self.is_done = True

    def _compare(self, found: Array) -> None:
        first = self._compared
        expected = self._expected[first : first + len(found)]
        if len(expected) < len(found):
            self._raise_damaged("its checksums are missing or truncated")
        wrong = np.flatnonzero(found != expected)
        if len(wrong):
            self._raise_damaged(f"the checksum of block {first + wrong[0]:,} is wrong")
        self._compared += len(found)

    def _raise_damaged(self, what: str) -> NoReturn:
        msg = (
            f"the array {quoted(self.name)} is damaged: {what}; restore it from a backup, or "
            "choose other arrays"
        )
        raise CorruptStoreError(msg)


class RunningChecksums:
    """Checksums of bytes that come in parts.

    Attributes
    ----------
    sums : bytearray
        Those of the whole blocks.
    tail : int
        That of the bytes after them.
    """

    def __init__(self) -> None:
        self.sums, self.tail = bytearray(), 0
        self._rest = 0  # bytes after the last whole block

    def add(self, part: Array) -> None:
        """Add the next bytes."""
        if self._rest:
            first, part = part[: BLOCK - self._rest], part[BLOCK - self._rest :]
            self.tail, self._rest = crc32(first, self.tail), self._rest + len(first)
            if self._rest < BLOCK:
                return
            self.sums += self.tail.to_bytes(4, "little")
        whole, self.tail = checksum_blocks(part, data_files.thread_count())
        self.sums += whole
        self._rest = len(part) % BLOCK

    def whole_from(self, first: int) -> Array:
        """Return the checksums of the whole blocks from a number on."""
        found: Array = np.frombuffer(bytes(self.sums[4 * first :]), "<u4").astype(np.uint32)
        return found

    @property
    def crc(self) -> int:
        """The CRC-32 of all bytes."""
        found = 0
        for each in np.frombuffer(self.sums, "<u4").tolist():
            found = combine_crc32(combine_crc32(found, 0, BLOCK // 2), each, BLOCK // 2)
        return combine_crc32(found, self.tail, self._rest)
