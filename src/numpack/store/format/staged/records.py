"""Records of staged rows: which rows a write was to fill, and whether it has filled them.

Lines are those of the log. A line whose checksum is wrong was not written completely: the write
that it belongs to failed, or its process was killed. So it is ignored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..dtype_codes import InvalidRecordError, brief
from ..log import records
from ..log.line_writer import has_valid_checksum
from ..log.lines import decode_lines, encode

if TYPE_CHECKING:
    from ..log.lines import Record

LIMIT = 1 << 30  # bytes of records

_IDENTIFIER = re.compile("[0-9a-f]{16}", re.ASCII)
_BEGUN = {"begin", "rows", "crc32"}
_DONE = {"done", "head", "tail", "crc32"}
_U32 = 2**32
_UNFINISHED = -1


class Write(NamedTuple):
    """One write of consecutive rows.

    Attributes
    ----------
    first, stop : int
        The first row, and the one after the last.
    begun, done : int
        Positions of its two records; `done` is negative if the write did not finish.
    head : int
        CRC-32 of the bytes from its start up to the end of the block in which it starts; 0 if
        it starts where a block does, or does not reach the end.
    tail : int
        CRC-32 of its bytes in the block that it does not reach the end of; 0 if there are none.
    """

    first: int
    stop: int
    begun: int
    done: int = _UNFINISHED
    head: int = 0
    tail: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether all of its rows are in the file."""
        return self.done >= 0


def begun(identifier: str, first: int, stop: int) -> bytes:
    """Return the record of a write that is about to begin."""
    return _line({"begin": identifier, "rows": [first, stop]})


def done(identifier: str, head: int, tail: int) -> bytes:
    """Return the record of a write that has finished."""
    return _line({"done": identifier, "head": head, "tail": tail})


def _line(record: Record) -> bytes:
    """Encode a record; the line end before it terminates an incomplete one."""
    return b"\n" + encode(record)


def parse(content: bytes, rows: int) -> list[Write]:
    """Return the writes that are recorded.

    Parameters
    ----------
    content : bytes
        Of the file, from an untrusted source.
    rows : int
        Of the array.

    Raises
    ------
    InvalidRecordError
        A record has a valid checksum and is invalid otherwise.
    """
    lines = (line + b"\n" for line in content.split(b"\n") if line)
    whole = [line for line in lines if has_valid_checksum(line)]
    found: dict[str, Write] = {}
    for position, record in enumerate(decode_lines(whole)):
        if type(record) is dict and "begin" in record:
            _add_begun(found, record, position, rows)
        else:
            _add_done(found, record, position)
    return list(found.values())


def _add_begun(found: dict[str, Write], record: Record, position: int, rows: int) -> None:
    records.check_members(record, _BEGUN, _BEGUN)
    identifier, extent = _checked_identifier(record["begin"]), record["rows"]
    if identifier in found:
        raise InvalidRecordError(f"the write {identifier} begins twice")
    if type(extent) is not list or [type(each) for each in extent] != [int, int]:
        raise InvalidRecordError(f"the rows are {brief(extent)}, not a list of two integers")
    if not 0 <= extent[0] < extent[1] <= rows:
        msg = f"rows {brief(extent[0])} to {brief(extent[1])} are not those of {rows:,} rows"
        raise InvalidRecordError(msg)
    found[identifier] = Write(extent[0], extent[1], position)


def _add_done(found: dict[str, Write], record: Any, position: int) -> None:
    records.check_members(record, _DONE, _DONE)
    identifier = _checked_identifier(record["done"])
    write = found.get(identifier)
    if write is None or write.is_finished:
        raise InvalidRecordError(f"a write {identifier} ends that is not in progress")
    head, tail = (records.natural(record, part, _U32) for part in ("head", "tail"))
    found[identifier] = write._replace(done=position, head=head, tail=tail)


def _checked_identifier(value: Any) -> str:
    if type(value) is not str or not _IDENTIFIER.fullmatch(value):
        raise InvalidRecordError(f"a write is {brief(value)}, not sixteen hexadecimal digits")
    return value
