"""Checking the blocks of a store against their checksums."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.memory import aligned_empty
from ..errors import CorruptStoreError, StoreError
from .checks import entry_of
from .format import data_files
from .format.dtype_codes import unusable_error
from .format.naming import listed
from .fs.lock import SharedLock
from .kernels.checksums import BLOCK, checksum_blocks
from .rows import deleted_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .format.catalog import Entry
    from .format.data_files import Progress
    from .session import Session

Sums = np.ndarray[Any, np.dtype[np.uint32]]

_SHOWN = 100  # damaged blocks that a report prints
_AT_ONCE = 16 * BLOCK  # summed at a time, so that progress can be told
_LOST_BLOCKS = 1000  # behind the end of a file that was cut; further ones are not listed


@dataclass(frozen=True, slots=True)
class Damage:
    """A block that is not what was written, or a file that cannot be read.

    Attributes
    ----------
    array : str
        Name of the array; empty if it is the log.
    block : int
        Number of the block in the data file, of 1 MiB each; -1 if it is no block.
    rows : range
        The rows that lie in it, wholly or in part, as the user numbers them.
    what : str
        What is wrong.
    """

    array: str
    block: int
    rows: range
    what: str

    def __str__(self) -> str:
        """Say it in a line."""
        if self.block < 0:
            return f"{self.array!r}: {self.what}" if self.array else self.what
        rows = f"rows {self.rows.start:,} to {self.rows.stop - 1:,}" if self.rows else "no rows"
        return f"{self.array!r}, block {self.block:,} ({rows}): {self.what}"


@dataclass(slots=True)
class Report:
    """What `NumPack.verify` found; true if nothing is damaged.

    Attributes
    ----------
    damaged : list of Damage
        Iterating over the report gives them too.
    unchecked : list of str
        Names of arrays that have no checksums now: of NumPack 0.x, or open in
        `writable_batch_mode`.
    blocks : int
        How many blocks were checked.
    nbytes : int
        How many bytes they hold.
    """

    damaged: list[Damage] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    blocks: int = 0
    nbytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged

    def __bool__(self) -> bool:
        """Tell whether nothing is damaged."""
        return self.ok

    def __iter__(self) -> Iterator[Damage]:
        """Iterate over what is damaged."""
        return iter(self.damaged)

    def __str__(self) -> str:
        """Say it in lines fit to print."""
        found = f"{len(self.damaged):,} damaged" if self.damaged else "all as written"
        lines = [f"{self.blocks:,} blocks, {self.nbytes:,} bytes: {found}"]
        lines += [f"  {each}" for each in self.damaged[:_SHOWN]]
        if len(self.damaged) > _SHOWN:
            lines.append(f"  and {len(self.damaged) - _SHOWN:,} more")
        if self.unchecked:
            names = listed(self.unchecked)
            lines.append(f"  not checked, for want of checksums: {names}")
        return "\n".join(lines)


def of_array(
    session: Session, name: str, report: Report, progress: Progress = data_files.no_progress
) -> None:
    """Check all blocks of an array, and add what is found to a report.

    What looks damaged is looked at again while nobody writes: a replace may have changed a
    block between its reading and that of its checksum.
    """
    entry = session.arrays().get(name)
    if entry is None:  # dropped meanwhile
        return
    if entry.is_unusable:
        report.damaged.append(Damage(name, -1, range(0), str(unusable_error(entry.code))))
        return
    if _damaged(session, name, entry, progress):
        with SharedLock(session.folder):
            entry = session.arrays().get(name)
            if entry is None:
                return
            damaged = _damaged(session, name, entry, data_files.no_progress)
        if damaged and session.is_numpack0 and session.folder.has("numpack.json"):
            msg = f"{session.folder.path} was upgraded meanwhile; open it again"
            raise StoreError(msg)
        report.damaged += damaged
    if entry.writable or session.is_numpack0:
        report.unchecked.append(name)
    else:
        report.blocks += -(-entry.nbytes // BLOCK)
        report.nbytes += entry.nbytes


def check(session: Session, name: str) -> None:
    """Check all blocks of an array.

    Raises
    ------
    CorruptStoreError
        One is damaged.
    StoreError
        There are no checksums.
    """
    report = Report()
    entry_of(session.arrays(), name)
    of_array(session, name, report)
    if not report:
        raise CorruptStoreError(f"damaged: {report.damaged[0]}; restore it from a backup")
    if report.unchecked:
        msg = (
            f"the array {name!r} has no checksums to verify it with: it is of NumPack 0.x, "
            "or open in writable_batch_mode; load it without verify=True"
        )
        raise StoreError(msg)


def of_log(session: Session, report: Report) -> None:
    """Check all lines of the log, those before the last snapshot too.

    What looks damaged is looked at again while nobody writes.
    """
    found = session.history.damage()
    if found:
        with SharedLock(session.folder):
            session.arrays()
            found = session.history.damage()
    report.damaged += [Damage("", -1, range(0), what) for what in found]


def _damaged(session: Session, name: str, entry: Entry, progress: Progress) -> list[Damage]:
    every = range(entry.shape[0] if entry.shape else 0)
    try:
        if entry.dropped and not session.is_numpack0:
            deleted_rows.read(session.folder, entry)  # what is on the disk, not what is known
        found = _found_sums(session, entry, progress)
        needed = data_files.read_checksums(session.folder, entry)
    except StoreError as error:
        is_damage = isinstance(error, CorruptStoreError)
        if not is_damage and getattr(error, "errno", None) != errno.EIO:
            raise
        return [Damage(name, -1, every, str(error))]
    if entry.writable or session.is_numpack0:
        return []
    change = session.unwritten(entry)
    if change is not None:
        needed[change.first : change.first + len(change.checksums)] = change.checksums
    blocks = -(-entry.nbytes // BLOCK)
    looked_at = min(blocks, len(found) + _LOST_BLOCKS)
    damaged = [
        Damage(name, block, _rows_in(session, entry, block), what)
        for block in range(looked_at)
        if (what := _flaw(block, found, needed, entry))
    ]
    if looked_at < blocks:
        what = f"blocks {looked_at:,} to {blocks - 1:,}: the file was cut"
        damaged.append(Damage(name, -1, every, what))
    return damaged


def _flaw(block: int, found: Sums, needed: Sums, entry: Entry) -> str:
    if block >= len(found):
        return "the file was cut"
    if block == entry.nbytes // BLOCK:  # the log has its checksum
        return "" if found[block] == entry.tail else "its checksum is wrong"
    if block >= len(needed):
        return "its checksum is missing"
    return "" if found[block] == needed[block] else "its checksum is wrong"


def _found_sums(session: Session, entry: Entry, progress: Progress) -> Sums:
    """Sum what is in the data file, as far as it goes."""
    if session.unwritten(entry) is not None:
        whole, tail = checksum_blocks(
            data_files.as_bytes(session.stored(entry)), data_files.thread_count()
        )
        return data_files.checksums_from(whole, entry._replace(tail=tail))
    buffer, sums = aligned_empty((min(_AT_ONCE, entry.nbytes),), np.dtype(np.uint8)), b""
    descriptor = session.folder.open(entry.data_file)
    try:
        for start in range(0, entry.nbytes, _AT_ONCE):
            part = buffer[: entry.nbytes - start]
            count = data_files.read_part(
                session.folder, entry.data_file, descriptor, part, start
            )
            whole, tail = checksum_blocks(part[:count], data_files.thread_count())
            sums += whole
            if count < len(part):
                break
            if count % BLOCK:
                sums += tail.to_bytes(4, "little")
            progress(count)
    finally:
        os.close(descriptor)
    return np.frombuffer(sums, "<u4")


def _rows_in(session: Session, entry: Entry, block: int) -> range:
    """Give the rows that a block touches, as the user numbers them."""
    if not entry.stored:
        return range(0)
    width = entry.row_nbytes
    stop = min(-(-(block + 1) * BLOCK // width), entry.stored[0])
    rows = range(block * BLOCK // width, stop)
    gone = session.dropped_rows(entry)
    if gone is None:
        return rows
    return range(gone.live_before(rows.start), gone.live_before(rows.stop))
