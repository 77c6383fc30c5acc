"""Attributes in the log: JSON objects of limited size and depth.

In memory, the attributes of an array or of the store are the JSON text of their object: it is
as immutable as the entry that holds it, and whoever reads it decodes values of their own.
"""

from __future__ import annotations

import json
from typing import Any

from ..dtype_codes import InvalidRecordError, brief

LIMIT = 1 << 20  # bytes of the JSON text of one object
TOTAL_LIMIT = 64 << 20  # bytes of all objects of a store, which every snapshot repeats
MAX_DEPTH = 32  # lists and objects inside each other, the outermost object included
INT_MIN, INT_MAX = -(2**63), 2**64 - 1  # integers that other languages can hold

_UTF8 = "utf-8", "surrogatepass"  # a string may be any str, as a name may
_format = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_parse = json.JSONDecoder().decode


def text_of(attributes: Any) -> bytes:
    """Return the JSON text of attributes; empty if there are none.

    Raises
    ------
    InvalidRecordError
        They are not a JSON object within the limits.
    """
    if type(attributes) is not dict:
        raise InvalidRecordError(f"the attributes are {brief(attributes)}, not an object")
    if not attributes:
        return b""
    check_depth_and_numbers(attributes)
    text = _format(attributes).encode(*_UTF8)
    if len(text) > LIMIT:
        raise InvalidRecordError(f"the attributes take {len(text):,} bytes, over {LIMIT:,}")
    return text


def values_of(text: bytes) -> dict[str, Any]:
    """Return the attributes of a text that `text_of` has returned, as new objects."""
    values: dict[str, Any] = _parse(text.decode(*_UTF8)) if text else {}
    return values


def check_depth_and_numbers(attributes: dict[str, Any]) -> None:
    """Check that a JSON object is not nested too deeply and holds no number out of range."""
    level: list[Any] = [attributes]
    for _ in range(MAX_DEPTH):
        members = [
            member
            for each in level
            for member in (each.values() if type(each) is dict else each)
        ]
        for member in members:
            if type(member) is int and not INT_MIN <= member <= INT_MAX:
                raise InvalidRecordError(f"the attribute {brief(member)} is not of 64 bits")
        level = [member for member in members if type(member) in (dict, list)]
        if not level:
            return
    raise InvalidRecordError(f"the attributes are nested more than {MAX_DEPTH} levels deep")
