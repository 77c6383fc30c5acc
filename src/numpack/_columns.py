"""Columns of tables of any framework, selected by name or by position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._policy import did_you_mean, wrong_type
from .errors import IndexRangeError, InvalidValueError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


def position(key: Hashable, names: Sequence[Hashable]) -> int:
    """Find the position of a column by its name, or by its position, negative from the end.

    Raises
    ------
    NotFoundError
        A `KeyError`: no column has the name.
    InvalidValueError
        A `ValueError`: several columns have it, or it is one's name and another's position.
    IndexRangeError
        There is no such position.
    WrongTypeError
        It is no name and no position.
    """
    if isinstance(key, bool):
        wrong_type("column", "a name or a position", key, "pass a str or an int")
    called = [i for i, name in enumerate(names) if type(name) is not bool and name == key]
    found = set(called)
    if isinstance(key, int) and -len(names) <= key < len(names):
        found.add(key % len(names))
    if len(found) == 1:
        return found.pop()
    if len(called) > 1:
        msg = f"{len(called)} columns are called {key!r}; select by position: {called}"
        raise InvalidValueError(msg)
    if found:
        msg = f"{key!r} is the name of one column and the position of another; pass the column"
        raise InvalidValueError(msg)
    if isinstance(key, int):
        msg = f"column {key} is out of range: the table has {len(names)} columns"
        raise IndexRangeError(msg)
    if not isinstance(key, str | tuple):
        wrong_type("column", "a name or a position", key, "pass a str or an int")
    words = [name for name in names if isinstance(name, str)]
    hint = did_you_mean(key, words) if isinstance(key, str) else ""
    msg = f"no column is called {key!r}; the columns are {list(names)}{hint}"
    raise NotFoundError(msg)
