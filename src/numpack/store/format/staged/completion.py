"""Completing staged files before their commit: missing rows, and checksums of blocks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from ...._core.memory import aligned_empty
from ....errors import IncompleteWriteError
from ...fs.directory import read_between, write_all
from ...fs.syscalls import size_of
from ...kernels.checksums import BLOCK, crc32
from .. import data_files
from ..naming import quoted
from .coverage import blocks_written_twice, combined, missing_rows, parts_of_blocks

if TYPE_CHECKING:
    from ...._core.memory import Array
    from ..log.state import Entry
    from .files import StagedFiles
    from .records import Write

_LISTED = 5
_CHECKSUM_BYTES = 4


def complete(
    files: StagedFiles, name: str, entry: Entry, checksums: int, *, durable: bool
) -> int:
    """Complete the checksums of an array of which all rows have been written.

    Writes to it have to be excluded.

    Parameters
    ----------
    files : StagedFiles
    name : str
        Of the array.
    entry : Entry
        Its dtype and shape; the id is not used.
    checksums : int
        The descriptor of the checksums.
    durable : bool
        Whether to flush data and checksums to the device.

    Returns
    -------
    int
        CRC-32 of the bytes after the last whole block.

    Raises
    ------
    IncompleteWriteError
        Rows are missing.
    CorruptStoreError
        A file is damaged.
    """
    rows, width = entry.stored[0], entry.row_nbytes
    writes = files.read_records(rows)
    missing = missing_rows(writes, rows) if width else []
    if missing:
        raise _incomplete_error(name, missing, rows)
    if size_of(files.data) < entry.nbytes:
        raise files.damaged_error("bin", f"it should have {entry.nbytes:,} bytes")
    tail = _complete_checksums(files, entry, writes, checksums)
    if durable:
        os.fdatasync(files.data)
        os.fdatasync(checksums)
    return tail


def _complete_checksums(
    files: StagedFiles, entry: Entry, writes: list[Write], descriptor: int
) -> int:
    """Compute the checksums of blocks to which more than one write has contributed."""
    width, nbytes, tail = entry.row_nbytes, entry.nbytes, 0
    length = _CHECKSUM_BYTES * (nbytes // BLOCK)
    content = read_between(descriptor, 0, length)
    if len(content) < length:
        raise files.damaged_error("sum", f"it should have {length:,} bytes")
    if not nbytes:
        return 0
    sums = np.frombuffer(content, "<u4").copy()
    written_twice = blocks_written_twice(writes, width)
    parts = parts_of_blocks((each for each in writes if each.is_finished), width)
    buffer = aligned_empty((BLOCK,), np.dtype(np.uint8)) if written_twice else None
    for block in sorted(parts.keys() | written_twice):
        if block in written_twice and buffer is not None:
            crc = _recomputed(files.data, block, buffer[: nbytes - block * BLOCK])
        else:
            crc = combined(parts[block])
        if block < len(sums):
            sums[block] = crc
        else:
            tail = crc
    if len(sums):
        write_all(descriptor, sums, 0)
    return tail


def _recomputed(descriptor: int, block: int, buffer: Array) -> int:
    data_files.read_exactly(descriptor, buffer, block * BLOCK)
    return crc32(buffer)


def _incomplete_error(
    name: str, missing: list[tuple[int, int]], rows: int
) -> IncompleteWriteError:
    count = sum(stop - first for first, stop in missing)
    listed = ", ".join(f"{first}:{stop}" for first, stop in missing[:_LISTED])
    more = f" and {len(missing) - _LISTED:,} more ranges" if len(missing) > _LISTED else ""
    return IncompleteWriteError(
        f"{count:,} of {rows:,} rows of {quoted(name)} have not been written: {listed}{more}; "
        "nothing was committed: write them, and commit again",
        missing,
    )
