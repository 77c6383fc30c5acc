"""Validation of arguments, before anything on disk changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidValueError, NumpackError
from ..io import share
from .format.dtype_codes import Unusable, unusable_error
from .format.naming import exact_name, quoted, unknown_name_error
from .format.schema import storable_dtype
from .lazy.array import LazyArray
from .rows.indexing import Selection

if TYPE_CHECKING:
    from .._core.dtypes import DType
    from .._core.memory import Array
    from .format.log.state import Entry


_MOST_ROWS = 2**63 - 1


def named_arrays(arrays: Any) -> dict[str, Array]:
    """Convert a mapping of names to arrays of any framework to a dict of NumPy arrays."""
    if not isinstance(arrays, Mapping):
        msg = f"arrays must be a dictionary of names and arrays, not {type(arrays).__name__}"
        raise InvalidValueError(msg)
    return {checked_name(name): _as_array(name, value) for name, value in arrays.items()}


def checked_name(name: Any) -> str:
    """Return the name of a new array as a plain, non-empty str."""
    plain = exact_name(name)
    if not plain:
        msg = "the name of an array must not be empty"
        raise InvalidValueError(msg)
    return plain


def _as_array(name: str, value: Any) -> Array:
    try:
        if type(value) is not np.ndarray:
            is_ours = isinstance(
                value, np.generic | LazyArray
            )  # converted without a CopyWarning
            value = np.asarray(value) if is_ours else share(value, "numpy")
        storable_dtype(value)
    except NumpackError as error:
        prefix_name(error, name)
        raise
    array: Array = value
    return array


def prefix_name(error: NumpackError, name: str) -> None:
    """Prefix the message of an error with the name of the array."""
    text = f"{quoted(name)}: {error.args[0] if error.args else ''}"
    error.args = (text, *error.args[1:])
    if isinstance(error, ImportError):
        error.msg = text


def entry_of(arrays: Mapping[str, Entry], name: str) -> Entry:
    """Return the entry of an array; the error names existing arrays, or similar names."""
    try:
        entry = arrays.get(name)
    except TypeError:  # an unhashable name
        entry = None
    if entry is None:
        plain = exact_name(name)
        if type(name) is str or plain not in arrays:
            raise unknown_name_error(plain, arrays)
        entry = arrays[plain]
    if type(entry.code) is Unusable:
        raise unusable_error(entry.code)
    return entry


def select_rows(name: str, indexes: Any, count: int) -> Selection:
    """Return the rows that an index selects of an array; errors start with its name."""
    try:
        return Selection(indexes, count, private=True)
    except NumpackError as error:
        prefix_name(error, name)
        raise


def check_rows(name: str, entry: Entry, array: Array, count: int | None = None) -> DType:
    """Check that rows can be appended to an array, or replace `count` of its rows.

    Parameters
    ----------
    name : str
    entry : Entry
    array : ndarray
        Must have the stored dtype and row shape; a single new row may lack the row axis.
    count : int, optional
        Number of rows to replace; rows are appended by default.

    Returns
    -------
    dtype
        The stored dtype.
    """
    stored, dtype = entry.stored, entry.dtype
    if not stored:
        msg = f"{name!r} is 0-d and has no rows to append to; save it again"
        raise InvalidValueError(msg)
    is_single_row = count == 1 and array.shape == stored[1:]
    if not is_single_row and (array.ndim == 0 or array.shape[1:] != stored[1:]):
        extents = ("rows" if count is None else str(count), *map(str, stored[1:]))
        msg = (
            f"rows of {name!r} have shape {stored[1:]}, so an array of shape "
            f"({', '.join(extents)}{',' if len(extents) == 1 else ''}) is needed, not "
            f"{array.shape}; reshape the array"
        )
        raise InvalidValueError(msg)
    if count is None and stored[0] + len(array) > _MOST_ROWS:
        msg = (
            f"{name!r} has {stored[0]:,} rows, and no more than {_MOST_ROWS:,} can be counted; "
            "save the others under another name"
        )
        raise InvalidValueError(msg)
    if count is not None and not is_single_row and len(array) != count:
        msg = (
            f"{count:,} rows of {name!r} are to be replaced, and {len(array):,} rows were "
            "passed; pass one row for each index"
        )
        raise InvalidValueError(msg)
    if storable_dtype(array) != dtype:
        msg = (
            f"{name!r} holds {dtype}, and the rows are {array.dtype}; convert them "
            f"with astype({str(dtype)!r})"
        )
        raise InvalidValueError(msg)
    return dtype


def live_row_count(name: str, entry: Entry) -> int:
    """Return the number of live rows of an array that is not 0-d."""
    if not entry.stored:
        msg = f"{name!r} is 0-d and has no rows; save it again"
        raise InvalidValueError(msg)
    count: int = entry.stored[0]
    return count - entry.dropped
