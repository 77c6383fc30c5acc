"""Validation of dtype codes in the log, before they are passed to NumPy.

A code is accepted if `schema.encode_dtype` can produce it. NumPy's parser accepts many others,
including objects and sizes that overflow. Neither NumPy nor ml_dtypes is used, so the size of
an array is known even if ml_dtypes is not installed.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from ..._core.dtypes import STORED
from ...errors import CorruptStoreError

MAX_NDIM = 64  # NumPy's limit

_INT_MAX = 2**31 - 1  # NumPy stores item sizes, offsets and subarray extents as C int
_MAX_DEPTH = 64  # of nested structs and subarrays
_KNOWN_CODES = 4096  # limit of the cache

_NUMPY = ("|b1", "|i1", "|u1", *(f"<{kind}{size}" for kind in "iu" for size in (2, 4, 8)))
_NUMPY += ("<f2", "<f4", "<f8", "<c8", "<c16", "<M8", "<m8")
_EXTENSIONS = {row.numpy: max(row.bits, 8) // 8 for row in STORED if row.extension}
_FIXED = {code: int(code[2:]) for code in _NUMPY} | _EXTENSIONS
_TEXT = re.compile(r"(?:\|S|\|V|<U)(0|[1-9][0-9]{0,9})", re.ASCII)
_TIME = re.compile(r"<[Mm]8\[([1-9][0-9]{0,9})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\]", re.ASCII)
_STRUCT = {"names", "formats", "offsets", "itemsize"}

SIZES = dict(_FIXED)  # item sizes of codes that are strings, as nearly all are


class InvalidRecordError(ValueError):
    """A record in a file of the store is invalid."""


class Unusable(NamedTuple):
    """Placeholder for the code of an unusable array: the reason, and its record in the log."""

    why: str
    record: dict[str, Any]


def brief(value: Any) -> str:
    """Return a short description of a JSON value for a message, whatever its size or depth."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:60]!r}…"
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 2**70 else f"an integer of {value.bit_length()} bits"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def itemsize(code: Any) -> int:
    """Return the size of an element in bytes.

    Raises
    ------
    InvalidRecordError
        The format does not allow the code.
    """
    if type(code) is str:
        known = SIZES.get(code)
        return _of_string(code) if known is None else known
    if type(code) is Unusable:
        raise unusable_error(code)
    if type(code) is not dict:
        raise InvalidRecordError(f"the dtype is {brief(code)}, not a string or an object")
    return _of_struct(code, 1)


def unusable_error(code: Unusable) -> CorruptStoreError:
    """Return the error for an array whose record in the log is invalid."""
    identifier = code.record["id"]
    return CorruptStoreError(
        f"the log's record of the array with the id {identifier} is damaged: {code.why}; "
        "restore the store from a backup, or drop the array"
    )


def is_extension(code: Any) -> bool:
    """Return whether a code is the name of a dtype of ml_dtypes."""
    return type(code) is str and code in _EXTENSIONS


def _itemsize(code: Any, depth: int) -> int:
    if type(code) is str:
        return itemsize(code)
    if depth > _MAX_DEPTH:
        raise InvalidRecordError(f"the dtype is nested more than {_MAX_DEPTH} levels deep")
    if type(code) is list:
        return _of_subarray(code, depth + 1)
    if type(code) is dict:
        return _of_struct(code, depth + 1)
    raise InvalidRecordError(f"the dtype of a field is {brief(code)}")


def _of_string(code: str) -> int:
    text, time = _TEXT.fullmatch(code), _TIME.fullmatch(code)
    if text is not None:
        size = int(text[1]) * (4 if code[1] == "U" else 1)
    elif time is not None and int(time[1] or 2) in range(2, _INT_MAX + 1):
        size = 8
    else:
        raise InvalidRecordError(f"the dtype {brief(code)} is unknown")
    if len(SIZES) > _KNOWN_CODES:
        SIZES.clear()
        SIZES.update(_FIXED)
    SIZES[code] = _checked_size(size)
    return size


def _of_subarray(code: list[Any], depth: int) -> int:
    if len(code) != 2 or type(code[1]) is not list:
        raise InvalidRecordError("a subarray's dtype is not a list of a dtype and its extents")
    extents = code[1]
    if not 1 <= len(extents) <= MAX_NDIM:
        raise InvalidRecordError(f"a subarray has {len(extents)} axes, not 1 to {MAX_NDIM}")
    for extent in extents:
        if type(extent) is not int or not 0 <= extent <= _INT_MAX:
            raise InvalidRecordError(f"the extent of a subarray is {brief(extent)}")
    size = _itemsize(code[0], depth)
    _checked_size(math.prod(max(extent, 1) for extent in extents) * max(size, 1))
    return math.prod(extents) * size


def _of_struct(code: dict[str, Any], depth: int) -> int:
    if code.keys() - {"titles"} != _STRUCT:
        wanted = ", ".join(sorted(_STRUCT))
        raise InvalidRecordError(
            f"a struct's dtype has members other than {wanted} and, optionally, titles"
        )
    size = _checked_size(code["itemsize"])
    names, formats, offsets = code["names"], code["formats"], code["offsets"]
    titles = code.get("titles", names)
    columns = (names, formats, offsets, titles)
    if any(type(column) is not list or len(column) != len(names) for column in columns):
        raise InvalidRecordError(
            "names, formats, offsets and titles are not lists of the same length"
        )
    _check_names(names, titles if "titles" in code else [])
    for each, offset in zip(formats, offsets, strict=True):
        if type(offset) is not int or offset < 0 or offset + _itemsize(each, depth) > size:
            raise InvalidRecordError(
                f"a field at byte {brief(offset)} does not fit in {size:,} bytes"
            )
    return size


def _check_names(names: list[Any], titles: list[Any]) -> None:
    if not all(isinstance(name, str) for name in names):
        raise InvalidRecordError("the name of a field is not a string")
    if not all(title is None or isinstance(title, str) for title in titles):
        raise InvalidRecordError("the title of a field is neither a string nor null")
    every = names + [title for title in titles if title is not None]
    if len(set(every)) != len(every):
        raise InvalidRecordError("two fields have the same name or title")


def _checked_size(size: Any) -> int:
    if type(size) is not int or not 0 <= size <= _INT_MAX:
        raise InvalidRecordError(
            f"an element has {brief(size)} bytes, not 0 to {_INT_MAX:,} bytes"
        )
    return size
