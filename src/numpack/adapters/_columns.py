"""Selection of a table's column by name or position, for every framework with tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.memory import aligned_empty
from .._core.policy import did_you_mean, wrong_type
from ..errors import IndexRangeError, InvalidValueError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from .._core.dtypes import DType
    from .._core.memory import Array
    from .._core.policy import Plan


def position(key: Hashable, names: Sequence[Hashable]) -> int:
    """Return the position of a column, given its name or position (negative from the end).

    If some column's name is an integer, an integer is always a name.

    Raises
    ------
    NotFoundError
        A `KeyError`: no column has the name.
    InvalidValueError
        A `ValueError`: several columns have the name.
    IndexRangeError
        The position is out of range.
    WrongTypeError
        The key is neither a name nor a position.
    """
    if isinstance(key, bool | np.bool_):
        wrong_type("column", "a name or a position", key, "pass a str or an int")
    if isinstance(key, np.integer):
        key = int(key)
    has_integer_names = any(_is_integer(name) for name in names)
    matches = [i for i, name in enumerate(names) if _is_same(name, key)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        where = (
            "pass the column itself: frame.iloc[:, i]"
            if has_integer_names
            else f"select by position: {matches}"
        )
        raise InvalidValueError(f"{len(matches)} columns are called {key!r}; {where}")
    if isinstance(key, int) and not has_integer_names:
        return _in_range(key, len(names))
    if not isinstance(key, str | tuple | int) and all(isinstance(n, str) for n in names):
        wrong_type("column", "a name or a position", key, "pass a str or an int")
    words = [name for name in names if isinstance(name, str)]
    hint = did_you_mean(key, words) if isinstance(key, str) else ""
    msg = f"no column is called {key!r}; the columns are {_listed(names)}{hint}"
    raise NotFoundError(msg)


def _is_integer(name: object) -> bool:
    return isinstance(name, int | np.integer) and not isinstance(name, bool)


def _is_same(name: Any, key: Any) -> bool:
    """Compare labels: NaN equals NaN, True differs from 1, incomparable labels differ."""
    if isinstance(name, bool | np.bool_):
        return False
    try:
        return name is key or bool(name == key) or bool(name != name and key != key)  # noqa: PLR0124
    except (TypeError, ValueError):
        return False


def _in_range(index: int, count: int) -> int:
    if not -count <= index < count:
        msg = f"column {index} is out of range: the table has {count} columns"
        raise IndexRangeError(msg)
    return index % count


def _listed(names: Sequence[Hashable], most: int = 20) -> str:
    """Format the names, or the first `most` of them."""
    if len(names) <= most:
        return str(list(names))
    return f"{list(names[:most])} and {len(names) - most:,} more"


def stack_columns(
    plans: Sequence[Plan[Array]], shape: tuple[int, ...], dtype: DType, *, masked: bool
) -> Array:
    """Copy planned columns into a new 2-D array, masked if any column may be.

    `shape` is that of the result, whose second axis counts the columns.
    """
    arrays = [plan.result() for plan in plans]
    stacked = aligned_empty(shape, dtype)
    for i, array in enumerate(arrays):
        stacked[:, i] = np.ma.getdata(array)
    if not masked:
        return stacked
    mask = np.stack(list(map(np.ma.getmaskarray, arrays)), axis=1)
    return np.ma.MaskedArray(stacked, mask=mask, copy=False)
