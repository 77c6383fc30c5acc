"""What a caller gives, checked before anything on disk changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._policy import wrong_type
from ..errors import InvalidValueError, NotFoundError
from ..io import share
from .schema import storable_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._memory import Array
    from .schema import Entry


def named_arrays(arrays: Mapping[str, Any]) -> dict[str, Array]:
    """Take a dictionary of names and arrays of any framework."""
    if not isinstance(arrays, dict):
        msg = f"arrays must be a dictionary of names and arrays, not {type(arrays).__name__}"
        raise InvalidValueError(msg)
    for name in arrays:
        if not isinstance(name, str):
            wrong_type("numpack", "a str as the name of an array", name, "pass str(name)")
        if not name:
            msg = "the name of an array must not be empty"
            raise InvalidValueError(msg)
    return {name: _as_array(value) for name, value in arrays.items()}


def _as_array(value: Any) -> Array:
    array: Array = np.asarray(value) if isinstance(value, np.generic) else share(value, "numpy")
    storable_dtype(array)
    return array


def entry_of(arrays: Mapping[str, Entry], name: str) -> Entry:
    """Find an array by its name; the error names those there are."""
    entry = arrays.get(name)
    if entry is None:
        known = ", ".join(map(repr, arrays)) or "none yet"
        msg = f"no array is called {name!r}; the arrays are: {known}"
        raise NotFoundError(msg)
    return entry


def check_rows(name: str, entry: Entry, array: Array) -> None:
    """Make sure that an array can be appended: its dtype and row shape are those stored."""
    if not entry.shape:
        msg = f"{name!r} is 0-d: there are no rows to append to; save it anew"
        raise InvalidValueError(msg)
    if array.ndim == 0 or array.shape[1:] != entry.row_shape:
        msg = (
            f"rows of {name!r} have shape {entry.row_shape}, so append takes (rows, "
            f"{str(entry.row_shape)[1:]}, not {array.shape}; reshape the array"
        )
        raise InvalidValueError(msg)
    if storable_dtype(array) != entry.dtype:
        msg = (
            f"{name!r} holds {entry.dtype}, and the rows are {array.dtype}; convert them "
            f"with astype({str(entry.dtype)!r})"
        )
        raise InvalidValueError(msg)
