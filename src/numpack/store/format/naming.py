"""Array names: validation, and error messages of bounded length."""

from __future__ import annotations

import difflib
import heapq
from typing import TYPE_CHECKING, Any

from ..._core.policy import wrong_type
from ...errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_LISTED = 20
_NEAREST = 3
_COMPARED = 200  # candidates passed to `difflib`
_LENGTH = 80


def quoted(name: str) -> str:
    """Return the ``repr`` of a name, shortened in the middle if it is long."""
    text = repr(name[: 2 * _LENGTH] if len(name) > _LENGTH else name)
    if len(text) <= _LENGTH:
        return text
    return f"{text[: _LENGTH - 20]}…' ({len(name):,} characters)"


def listed(names: Collection[str], empty: str = "none") -> str:
    """Return a list of names as text: the first 20, and the number of further ones."""
    names = list(names)  # other threads may change the collection
    text = ", ".join(map(quoted, names[:_LISTED])) or empty
    rest = len(names) - _LISTED
    return f"{text} and {rest:,} more" if rest > 0 else text


def unknown_name_error(name: str, arrays: Mapping[str, Any]) -> NotFoundError:
    """Return the error for a name of no array."""
    text = f"no array is called {quoted(name)}"
    if len(arrays) <= _LISTED:
        return NotFoundError(f"{text}; the arrays are: {listed(arrays, 'none yet')}")

    def hint() -> str:
        found = _nearest(name, list(arrays))
        return f"; the nearest names are: {', '.join(map(quoted, found))}" if found else ""

    return NotFoundError(f"{text}; there are {len(arrays):,} arrays", hint)


def exact_name(name: Any, function: str = "numpack") -> str:
    """Return the name of an array as a plain `str`.

    Subclasses of `str`, such as enumerations, are accepted; they may hash differently.

    Raises
    ------
    WrongTypeError
        The name is not a string.
    """
    if isinstance(name, str):
        return str.__str__(name)
    fix = "pass str(name)"
    if isinstance(name, list | tuple | set | frozenset | dict):
        fix = "pass one name at a time: {name: npk[name] for name in names}"
    wrong_type(function, "a str as the name of an array", name, fix)


def _nearest(name: str, names: list[str]) -> list[str]:
    """Return the most similar names, best match first."""
    if len(names) > _COMPARED:
        names = heapq.nlargest(_COMPARED, names, key=lambda each: _shared_ends(name, each))
    return difflib.get_close_matches(name, names, _NEAREST)


def _shared_ends(one: str, other: str) -> int:
    """Return the number of characters in the common prefix and suffix of two names."""
    one, other = one[:_LENGTH], other[:_LENGTH]
    return _shared_start(one, other) + _shared_start(one[::-1], other[::-1])


def _shared_start(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
