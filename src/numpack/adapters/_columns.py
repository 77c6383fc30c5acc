"""Columns of tables of any framework, selected by name or by position."""

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
    """Find the position of a column by its name, or by its position, negative from the end.

    Where a column is called by an integer, an integer is a name and never a position.

    Raises
    ------
    NotFoundError
        A `KeyError`: no column has the name.
    InvalidValueError
        A `ValueError`: several columns have it.
    IndexRangeError
        There is no such position.
    WrongTypeError
        It is no name and no position.
    """
    if isinstance(key, bool | np.bool_):
        wrong_type("column", "a name or a position", key, "pass a str or an int")
    if isinstance(key, np.integer):
        key = int(key)
    labelled = any(_is_integer(name) for name in names)
    called = [i for i, name in enumerate(names) if _is_same(name, key)]
    if len(called) == 1:
        return called[0]
    if called:
        where = (
            "pass one itself: frame.iloc[:, i]" if labelled else f"select by position: {called}"
        )
        raise InvalidValueError(f"{len(called)} columns are called {key!r}; {where}")
    if isinstance(key, int) and not labelled:
        return _in_range(key, len(names))
    if not isinstance(key, str | tuple | int) and all(isinstance(n, str) for n in names):
        wrong_type("column", "a name or a position", key, "pass a str or an int")
    words = [name for name in names if isinstance(name, str)]
    hint = did_you_mean(key, words) if isinstance(key, str) else ""
    msg = f"no column is called {key!r}; the columns are {_shown(names)}{hint}"
    raise NotFoundError(msg)


def _is_integer(name: object) -> bool:
    return isinstance(name, int | np.integer) and not isinstance(name, bool)


def _is_same(name: Any, key: Any) -> bool:
    """Compare labels: NaN is NaN, true is not 1, and what cannot be compared differs."""
    if isinstance(name, bool | np.bool_):
        return False
    try:
        return name is key or bool(name == key) or bool(name != name and key != key)  # noqa: PLR0124
    except (TypeError, ValueError):
        return False


def _in_range(place: int, count: int) -> int:
    if not -count <= place < count:
        msg = f"column {place} is out of range: the table has {count} columns"
        raise IndexRangeError(msg)
    return place % count


def _shown(names: Sequence[Hashable], most: int = 20) -> str:
    """List the names, or the first of very many."""
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
