"""Validation of a journal's first line, which describes the rows that a commit replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..kernels.checksums import BLOCK
from .dtype_codes import InvalidRecordError, brief
from .log.records import check_members, natural

if TYPE_CHECKING:
    from .log.lines import Record
    from .log.state import Catalog, Entry

_MEMBERS = {"id", "width", "rows", "first", "sums"}


class ChangeHeader(NamedTuple):
    """The part of a journal's first line that describes one array."""

    entry: Entry
    rows: int
    first: int
    checksums: int

    @property
    def nbytes(self) -> int:
        """Size in the journal of row numbers, rows and checksums together, in bytes."""
        return self.rows * (8 + self.entry.row_nbytes) + 4 * self.checksums


def journal_header(record: Any, catalog: Catalog) -> list[ChangeHeader]:
    """Return the descriptions of arrays in the first line of the last commit's journal."""
    check_members(record, {"commit", "arrays"}, {"commit", "arrays", "crc32"})
    if type(record["arrays"]) is not list:
        raise InvalidRecordError(f"the arrays are {brief(record['arrays'])}, not a list")
    known = {
        entry.id: entry for entry in list(catalog.arrays.values()) if not entry.is_unusable
    }
    headers = []
    for each in record["arrays"]:
        check_members(each, _MEMBERS, _MEMBERS)
        identifier = each["id"]
        entry = known.pop(identifier, None) if type(identifier) is str else None
        if entry is None:
            raise InvalidRecordError(
                f"no array has the id {brief(identifier)}, or it occurs twice"
            )
        headers.append(_change_header(each, entry))
    return headers


def commit_of(record: Any) -> int:
    """Return the number of the commit to which a journal belongs."""
    if type(record) is not dict:
        raise InvalidRecordError(f"it begins with {brief(record)}, not an object")
    return natural(record, "commit")


def _change_header(each: Record, entry: Entry) -> ChangeHeader:
    width, rows = natural(each, "width"), natural(each, "rows")
    first, sums = natural(each, "first"), natural(each, "sums")
    if not entry.stored or not width or width != entry.row_nbytes:
        raise InvalidRecordError(f"rows of {entry.id} do not have {width:,} bytes")
    if not 1 <= rows <= entry.stored[0]:
        raise InvalidRecordError(f"{rows:,} rows of {entry.stored[0]:,} of {entry.id} change")
    if first + sums > -(-entry.nbytes // BLOCK):
        raise InvalidRecordError(f"{entry.id} has no {sums:,} blocks from block {first:,} on")
    return ChangeHeader(entry, rows, first, sums)
