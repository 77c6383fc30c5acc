"""Encoding and decoding of lines: JSON objects that end with their own checksum."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from ....errors import CorruptStoreError
from ..dtype_codes import InvalidRecordError
from .line_writer import add_checksum, has_valid_checksum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Record = dict[str, Any]

_format = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def encode(line: Mapping[str, Any]) -> bytes:
    """Encode a line of the log, checksum included."""
    try:
        text = _format(line)[:-1]
    except RecursionError:  # raised by the record of an unusable array
        raise CorruptStoreError("the log is damaged: it is nested too deeply") from None
    return add_checksum(text.encode("utf-8", "surrogatepass"))  # names may hold surrogates


def decode(line: bytes) -> Record:
    """Decode a line of the log.

    Raises
    ------
    ValueError
        The line is damaged.
    """
    return decode_lines((line,))[0]


def decode_lines(lines: Sequence[bytes]) -> list[Record]:
    """Decode several lines of the log in one call to the JSON parser, which is much faster.

    Only the checksums are verified. `records` validates the contents.
    """
    for line in lines:
        if not has_valid_checksum(line):
            raise InvalidRecordError("its checksum is wrong")
    text = b"".join((b"[", b",".join(lines), b"]")).decode("utf-8", "surrogatepass")
    try:
        decoded, end = _parse(text)
    except (RecursionError, MemoryError):
        raise InvalidRecordError("it is nested too deeply, or too long") from None
    if end != len(text) or len(decoded) != len(lines):
        raise InvalidRecordError("it is not a single object")
    records: list[Record] = decoded
    return records


def has_duplicates(line: bytes) -> bool:
    """Return whether an object in a valid line has the same member twice."""
    found = False

    def check(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len(dict(pairs)) != len(pairs)

    json.loads(line.decode("utf-8", "surrogatepass"), object_pairs_hook=check)
    return found


def _refuse(constant: str) -> Any:
    raise InvalidRecordError(f"{constant} is not a JSON number")


def _finite(number: str) -> float:
    """Return a float; refuse one that this package could not write again."""
    value = float(number)
    if not math.isfinite(value):
        raise InvalidRecordError(f"the number {number[:60]} is too large")
    return value


# For short lines, json.loads spends more time on setup than on parsing.
_parse = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite).raw_decode
