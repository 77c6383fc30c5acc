"""Attributes in formats whose metadata is text by name: Parquet, Arrow, safetensors.

An attribute that is a string becomes an entry of its own, which every program shows. All
others, which JSON holds, are members of one JSON object in the entry ``"numpack"``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ...errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ENTRY = "numpack"
_ATTRIBUTES = "attrs"


def entries_of(
    attrs: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
    reserved: Collection[str] = (),
) -> dict[str, str]:
    """Return the entries of text that hold attributes.

    Parameters
    ----------
    attrs : mapping
        Attributes as JSON has them.
    extra : mapping, optional
        Further members of the JSON object.
    reserved : collection of str
        Names of entries that the format itself uses; attributes of such names go into the JSON
        object.
    """
    kept = {*reserved, ENTRY}
    entries = {
        name: value
        for name, value in attrs.items()
        if isinstance(value, str) and name not in kept and _is_text(name + value)
    }
    members: dict[str, Any] = dict(extra or {})
    if rest := {name: value for name, value in attrs.items() if name not in entries}:
        members[_ATTRIBUTES] = rest
    if members:
        entries[ENTRY] = json.dumps(members, allow_nan=False, separators=(",", ":"))
    return entries


def attributes_of(entries: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes in entries of text, and the other members of the JSON object.

    An entry ``"numpack"`` that is not such an object, as another program may have written it,
    is an attribute like the others.
    """
    attrs: dict[str, Any] = dict(entries)
    members = _object(entries.get(ENTRY))
    if members is None:
        return attrs, {}
    attrs.pop(ENTRY, None)
    inner = members.pop(_ATTRIBUTES, {})
    if isinstance(inner, dict):
        attrs.update(inner)
    return attrs, members


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse_constant(name: str) -> None:
    msg = f"{name} is not a number in JSON"
    raise InvalidValueError(msg)


def _is_text(text: str) -> bool:
    """Check whether UTF-8 can encode a string: it holds no surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
