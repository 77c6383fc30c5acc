"""Validation of arguments, before anything on disk changes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.memory import is_masked_array
from .._core.policy import wrong_type
from ..errors import (
    InvalidValueError,
    NumpackError,
    StoreError,
    StoreNotFoundError,
    StorePermissionError,
    UnsupportedError,
)
from ..io import share
from .format.dtype_codes import Unusable, unusable_error
from .format.log.attributes import INT_MAX, INT_MIN, MAX_DEPTH
from .format.naming import exact_name, quoted, unknown_name_error
from .format.schema import storable_dtype
from .lazy.array import LazyArray
from .rows.indexing import Selection

if TYPE_CHECKING:
    from .._core.dtypes import DType
    from .._core.memory import Array
    from .format.log.state import Entry


PACKAGE = ".npkz"  # the suffix of packages

_MOST_ROWS = 2**63 - 1


def checked_path(filename: Any, function: str = "NumPack") -> str:
    """Return the path of a store as a plain, non-empty str."""
    is_plain = type(filename) is str
    path = (
        os.fspath(filename) if not is_plain and isinstance(filename, os.PathLike) else filename
    )
    if not isinstance(path, str):
        fix = "pass os.fsdecode(path)" if isinstance(path, bytes) else "pass the folder's path"
        wrong_type(function, "a str or os.PathLike", path, fix)
    path = str.__str__(path)
    if not path:
        msg = 'the path of a store must not be empty; "." is the current folder'
        raise InvalidValueError(msg)
    if "\0" in path:
        msg = f"the path {path!r} contains a NUL character, which no path may; remove it"
        raise InvalidValueError(msg)
    return path


def is_remote(filename: Any) -> bool:
    """Return whether a store is in an object store: a URL, or an object that has one."""
    if isinstance(filename, str):
        if "://" not in filename:
            return False
    elif filename is None or isinstance(filename, bytes) or hasattr(filename, "__fspath__"):
        return False
    from ..object_store import is_remote as is_location  # noqa: PLC0415 -- not for local stores

    return is_location(filename)


def is_package(filename: Any) -> bool:
    """Return whether the name of a store is that of a package, and not of a folder."""
    if not isinstance(filename, str | os.PathLike):
        return False
    name = os.fspath(filename)
    return isinstance(name, str) and name.endswith(PACKAGE) and not os.path.isdir(name)  # noqa: PTH112 -- as text


def check_no_remote_options(
    storage_options: object, cache: object, cache_bytes: object
) -> None:
    """Refuse options of object stores for a local one."""
    given = {"storage_options": storage_options, "cache": cache, "cache_bytes": cache_bytes}
    for name, value in given.items():
        if value is not None:
            msg = f"{name}= is for stores in an object store, such as s3://…; leave it out"
            raise InvalidValueError(msg)


def absolute_path(path: str) -> str:
    """Return a path that stays valid when the working directory changes."""
    if path.startswith("/"):
        return path
    try:
        folder = os.getcwd()  # noqa: PTH109 -- quick
    except FileNotFoundError:
        msg = (
            f"{path!r} cannot be resolved: the working directory was removed; pass an absolute "
            "path"
        )
        raise StoreNotFoundError(msg) from None
    return folder if path == "." else f"{folder}/{path}"


def named_arrays(arrays: Any) -> dict[str, Array]:
    """Convert a mapping of names to arrays of any framework to a dict of NumPy arrays."""
    if not isinstance(arrays, Mapping):
        msg = f"arrays must be a dictionary of names and arrays, not {type(arrays).__name__}"
        raise InvalidValueError(msg)
    return {checked_name(name): as_array(name, value) for name, value in arrays.items()}


def checked_name(name: Any) -> str:
    """Return the name of a new array as a plain, non-empty str."""
    plain = exact_name(name)
    if not plain:
        msg = "the name of an array must not be empty"
        raise InvalidValueError(msg)
    return plain


def as_array(name: str, value: Any) -> Array:
    """Convert an array of any framework to a NumPy array that can be stored under a name."""
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
        Number of rows to overwrite; rows are appended by default.

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
            f"{count:,} rows of {name!r} are to be written, and {len(array):,} rows were "
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


def checked_key(key: Any) -> str:
    """Return the name of an attribute as a plain str."""
    if not isinstance(key, str):
        wrong_type("attrs", "a str as the name of an attribute", key, "pass str(name)")
    return str.__str__(key)


def checked_attribute(key: str, value: Any) -> Any:
    """Return the value of an attribute as JSON holds it, in new objects.

    Raises
    ------
    UnsupportedError
        JSON cannot hold the value.
    InvalidValueError
        A number is out of range, or the value is nested too deeply.
    """
    try:
        return _as_json(value, 2)  # the first level is the object of all attributes
    except NumpackError as error:
        prefix_name(error, key)
        raise


def _as_json(value: Any, level: int) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = _plain_values(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return _checked_int(int(value))
    if isinstance(value, float):
        return _checked_float(float(value))
    if level > MAX_DEPTH and isinstance(value, list | tuple | Mapping):
        msg = f"lists and dictionaries are nested more than {MAX_DEPTH} levels deep; flatten it"
        raise InvalidValueError(msg)
    if isinstance(value, list | tuple):
        return [_as_json(each, level + 1) for each in value]
    if isinstance(value, Mapping):
        return {checked_key(key): _as_json(each, level + 1) for key, each in value.items()}
    raise _attribute_error(type(value).__name__)


def _plain_values(value: Any) -> Any:
    """Return a NumPy scalar or array of booleans, numbers or strings as Python's values."""
    if value.dtype.kind not in "biufU" or value.dtype == np.longdouble:
        raise _attribute_error(f"{value.dtype} of NumPy")
    if is_masked_array(value):
        raise _attribute_error("a masked array")
    return value.tolist()


def _attribute_error(what: str) -> UnsupportedError:
    reason = "JSON holds strings, numbers, booleans, None, lists and dictionaries"
    fix = "convert it, for example with str() or list(), or save it as an array"
    msg = f"an attribute cannot be {what}: {reason}; {fix}"
    return UnsupportedError(msg, reason=reason, fix=fix)


def _checked_int(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        size = f"an integer of {value.bit_length()} bits"
        msg = f"an attribute cannot be {size}; pass an integer of 64 bits, a float or a str"
        raise InvalidValueError(msg)
    return value


def _checked_float(value: float) -> float:
    if not math.isfinite(value):
        why = f"{value}, which JSON cannot represent"
        msg = f"an attribute cannot be {why}; pass None or str(value)"
        raise InvalidValueError(msg)
    return value


def open_error(path: str, error: OSError) -> StoreError:
    """Return the error for a folder that the operating system does not open."""
    kind = StorePermissionError if isinstance(error, PermissionError) else StoreError
    cause = error.strerror or str(error)
    where = "" if error.filename in (None, path) else f" ({error.filename})"
    is_denied = kind is StorePermissionError
    fix = "get read and search permission on it" if is_denied else "choose another path"
    opening_error = kind(f"the store {path} cannot be opened: {cause}{where}; {fix}")
    opening_error.errno = error.errno
    return opening_error


def checked_commit(at: Any, mode: str, *, upgrade: bool) -> int | None:
    """Return the number of a commit that a store is to be read as of."""
    if at is None:
        return None
    if isinstance(at, bool) or not isinstance(at, int | np.integer):
        wrong_type("NumPack", "the number of a commit as at", at, "pass npk.commit")
    if at < 0:
        msg = f"at must be the number of a commit, which {at} is not; pass npk.commit"
        raise InvalidValueError(msg)
    if mode not in ("a", "r") or upgrade:  # "a" is the default
        given = "upgrade=True" if upgrade else f"mode={mode!r}"
        msg = f"at= reads the store as of a commit, and {given} may change it; leave that out"
        raise InvalidValueError(msg)
    return int(at)
