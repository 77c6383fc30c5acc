"""Verification of the blocks of a store against their checksums."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..._core.memory import aligned_empty
from ...errors import CorruptStoreError, StoreError
from ..checks import entry_of
from ..format import data_files
from ..format.dtype_codes import unusable_error
from ..format.naming import listed
from ..fs.lock import SharedLock
from ..kernels.checksums import BLOCK, checksum_blocks
from ..rows import deleted_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from ..._core.memory import Array
    from ..format.data_files import Progress
    from ..format.log.state import Entry
    from ..packages.session import PackageSession
    from ..remote.session import RemoteSession
    from ..session import Session

Checksums = np.ndarray[Any, np.dtype[np.uint32]]

_PRINTED = 100  # damaged blocks that a report prints
_READ_NBYTES = 16 * BLOCK  # read at a time, so that progress is reported
_LISTED_MISSING = 1000  # blocks past the end of a truncated file that are listed


@dataclass(frozen=True, slots=True)
class Damage:
    """A block that differs from what was written, or a file that cannot be read.

    Attributes
    ----------
    array : str
        Name of the array; empty for the log.
    block : int
        Number of the 1 MiB block in the data file; -1 if the damage is not in a block.
    rows : range
        Row numbers of the array that the block contains, wholly or in part.
    what : str
        Description of the damage.

    Examples
    --------
    >>> from numpack.store import Damage
    >>> print(Damage("x", block=2, rows=range(4096, 6144), what="checksum differs"))
    'x', block 2 (rows 4,096 to 6,143): checksum differs
    """

    array: str
    block: int
    rows: range
    what: str

    def __str__(self) -> str:
        """Return a description in one line."""
        if self.block < 0:
            return f"{self.array!r}: {self.what}" if self.array else self.what
        rows = f"rows {self.rows.start:,} to {self.rows.stop - 1:,}" if self.rows else "no rows"
        return f"{self.array!r}, block {self.block:,} ({rows}): {self.what}"


@dataclass(slots=True)
class VerifyReport:
    """Result of `NumPack.verify`; true if nothing is damaged.

    Attributes
    ----------
    damaged : list of Damage
        Iterating over the report yields them too.
    unchecked : list of str
        Names of arrays that currently have no checksums: those of NumPack 0.x, or open in
        `writable_batch_mode`.
    blocks : int
        Number of blocks of the arrays that have checksums.
    nbytes : int
        Number of bytes in these blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack
    >>> with NumPack("report.npk") as npk:
    ...     npk.save({"x": np.arange(4)})
    ...     report = npk.verify()
    >>> report.ok, report.damaged, report.blocks, report.nbytes
    (True, [], 1, 32)
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
        """Return whether nothing is damaged."""
        return self.ok

    def __iter__(self) -> Iterator[Damage]:
        """Iterate over the damage."""
        return iter(self.damaged)

    def __str__(self) -> str:
        """Return a description in lines, for printing."""
        found = f"{len(self.damaged):,} damaged" if self.damaged else "all as written"
        if not self.blocks and self.unchecked and not self.damaged:
            found = "nothing could be checked"
        noun = "block" if self.blocks == 1 else "blocks"
        lines = [f"{self.blocks:,} {noun}, {self.nbytes:,} bytes: {found}"]
        lines += [f"  {each}" for each in self.damaged[:_PRINTED]]
        if len(self.damaged) > _PRINTED:
            lines.append(f"  and {len(self.damaged) - _PRINTED:,} more")
        if self.unchecked:
            names = listed(self.unchecked)
            lines.append(f"  not checked, because they have no checksums: {names}")
        return "\n".join(lines)


def verify_array(
    session: Session,
    name: str,
    report: VerifyReport,
    progress: Progress = data_files.no_progress,
) -> None:
    """Check all blocks of an array, and add any damage to a report.

    An array that seems damaged is checked again with writers excluded: a replace may have
    changed a block after it was read and before its checksum was read.
    """
    entry = session.arrays().get(name)
    if entry is None:  # it was dropped meanwhile
        return
    if entry.is_unusable:
        report.damaged.append(Damage(name, -1, range(0), str(unusable_error(entry.code))))
        return
    session.require_standing(name)
    if _find_damage(session, name, entry, progress):
        with SharedLock(session.folder):
            session.require_standing(name)
            entry = session.arrays().get(name)
            if entry is None:
                return
            damaged = _find_damage(session, name, entry, data_files.no_progress)
        if damaged and session.is_numpack0 and session.folder.has("numpack.json"):
            msg = f"{session.folder.path} was upgraded meanwhile; open it again"
            raise StoreError(msg)
        report.damaged += damaged
    if entry.writable or session.is_numpack0:
        report.unchecked.append(name)
    else:
        report.blocks += -(-entry.nbytes // BLOCK)
        report.nbytes += entry.nbytes


def require_intact(session: Session, name: str) -> None:
    """Check all blocks of an array, and raise if one is damaged.

    Raises
    ------
    CorruptStoreError
        A block is damaged.
    StoreError
        The array has no checksums.
    """
    report = VerifyReport()
    entry = entry_of(session.arrays(), name)
    if session.is_remote and cast("RemoteSession", session).fetch(name, entry):
        return
    verify_array(session, name, report)
    if not report:
        raise CorruptStoreError(f"damaged: {report.damaged[0]}; restore it from a backup")
    if report.unchecked:
        msg = (
            f"the array {name!r} has no checksums to verify it with: it was written by "
            "NumPack 0.x, or is open in writable_batch_mode; load it without verify=True"
        )
        raise StoreError(msg)


def require_undamaged(session: Session, name: str) -> None:
    """Check all blocks of an array before its rows get new checksums; no checksums pass.

    Requires the store's lock.

    Raises
    ------
    CorruptStoreError
        A block is damaged.
    """
    entry = entry_of(session.arrays(), name)
    if entry.writable:
        return
    damaged = _find_damage(session, name, entry, data_files.no_progress)
    if damaged:
        msg = (
            f"{damaged[0]}; a copy would hide that: restore the array from a backup, or save "
            "what load returns"
        )
        raise CorruptStoreError(msg)


def verify_log(session: Session, report: VerifyReport) -> None:
    """Check all lines of the log, including those before the last snapshot.

    A log that seems damaged is checked again with writers excluded.
    """
    found = session.history.damage()
    if found:
        with SharedLock(session.folder):
            session.arrays()
            found = session.history.damage()
    report.damaged += [Damage("", -1, range(0), what) for what in found]


def _find_damage(session: Session, name: str, entry: Entry, progress: Progress) -> list[Damage]:
    """Return the damage of an array; a file that cannot be read as the log says is damage."""
    try:
        return _damaged_blocks(session, name, entry, progress)
    except StoreError as error:
        is_damage = isinstance(error, CorruptStoreError)
        if not is_damage and getattr(error, "errno", None) != errno.EIO:
            raise
        return [Damage(name, -1, _all_rows(entry), str(error))]


def _damaged_blocks(
    session: Session, name: str, entry: Entry, progress: Progress
) -> list[Damage]:
    if entry.dropped and not session.is_numpack0:
        deleted_rows.read(session.folder, entry)  # the list on disk, not the cached one
    if entry.writable or session.is_numpack0:  # there are no checksums
        _read_file(session, entry, progress)
        return []
    expected = data_files.read_checksums(session.folder, entry)
    nbytes = min(entry.nbytes, (len(expected) + 1) * BLOCK)  # a log may claim any size
    computed = _compute_checksums(session, entry, nbytes, progress)
    change = session.pending_change(entry)
    if change is not None:
        expected[change.first : change.first + len(change.checksums)] = change.checksums
    blocks = -(-entry.nbytes // BLOCK)
    shown = min(blocks, len(computed) + _LISTED_MISSING)
    damaged = [
        Damage(name, block, _rows_in(session, entry, block), what)
        for block in range(shown)
        if (what := _block_damage(block, computed, expected, entry))
    ]
    if shown < blocks:
        why = _block_damage(shown, computed, expected, entry)
        what = f"blocks {shown:,} to {blocks - 1:,}: {why}"
        damaged.append(Damage(name, -1, _all_rows(entry), what))
    return damaged


def _all_rows(entry: Entry) -> range:
    return range(entry.shape[0] if entry.shape else 0)


def _block_damage(block: int, computed: Checksums, expected: Checksums, entry: Entry) -> str:
    if block > len(expected):
        return "its checksum is missing"
    if block >= len(computed):
        return "the file is truncated"
    if block == entry.nbytes // BLOCK:  # the partial last block, whose checksum is in the log
        return "" if computed[block] == entry.tail else "its checksum is wrong"
    if block >= len(expected):
        return "its checksum is missing"
    return "" if computed[block] == expected[block] else "its checksum is wrong"


def _compute_checksums(
    session: Session, entry: Entry, nbytes: int, progress: Progress
) -> Checksums:
    """Compute the checksums of the first bytes of the data file, up to its end."""
    if session.pending_change(entry) is not None:
        whole, tail = checksum_blocks(
            data_files.as_bytes(session.read_stored(entry)), data_files.thread_count()
        )
        return data_files.checksums_from(whole, entry.replace(tail=tail))
    sums = b""
    with closing(_every_part(session, entry, nbytes)) as parts:
        for part in parts:
            whole, tail = checksum_blocks(part, data_files.thread_count())
            sums += whole
            if len(part) % BLOCK:
                sums += tail.to_bytes(4, "little")
            progress(len(part))
    return np.frombuffer(sums, "<u4")


def _read_file(session: Session, entry: Entry, progress: Progress) -> None:
    """Read the data file, up to its end, except for its holes."""
    rest = entry.nbytes
    with closing(_parts(session, entry, entry.nbytes, _next_data)) as parts:
        for part in parts:
            progress(len(part))
            rest -= len(part)
    progress(rest)


def _every_part(session: Session, entry: Entry, nbytes: int) -> Generator[Array, None, None]:
    if not session.folder.has_row_files:
        return cast("RemoteSession | PackageSession", session).parts(entry, nbytes)
    return _parts(session, entry, nbytes, _every_byte)


def _parts(
    session: Session, entry: Entry, nbytes: int, next_offset: Callable[[int, int], int | None]
) -> Generator[Array, None, None]:
    """Read the first bytes of the data file in parts, which share one buffer."""
    buffer = aligned_empty((min(_READ_NBYTES, nbytes),), np.dtype(np.uint8))
    descriptor = session.folder.open(entry.data_file)
    try:
        start = next_offset(descriptor, 0)
        while start is not None and start < nbytes:
            part = buffer[: nbytes - start]
            count = data_files.read_part(
                session.folder, entry.data_file, descriptor, part, start
            )
            yield part[:count]
            if count < len(part):
                return
            start = next_offset(descriptor, start + count)
    finally:
        os.close(descriptor)


def _every_byte(_: int, offset: int) -> int:
    return offset


def _next_data(descriptor: int, offset: int) -> int | None:
    """Return the offset of the next byte that is not in a hole; ``None`` if there is none."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        return offset  # the file system does not report holes


def _rows_in(session: Session, entry: Entry, block: int) -> range:
    """Return the row numbers of the array that a block contains, wholly or in part."""
    if not entry.stored:
        return range(0)
    width = entry.row_nbytes
    stop = min(-(-(block + 1) * BLOCK // width), entry.stored[0])
    rows = range(block * BLOCK // width, stop)
    deleted = session.deleted_rows(entry)
    if deleted is None:
        return rows
    return range(deleted.live_before(rows.start), deleted.live_before(rows.stop))
