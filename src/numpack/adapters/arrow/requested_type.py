"""Conversion of values to the Arrow type that the caller requests, checked for loss.

Many of pyarrow's conversions lose data: a datetime becomes a date without its time,
nanoseconds become microseconds, dictionaries lose the keys that the type does not have. The
result is therefore compared with the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .object_kinds import ObjectsError, check_nesting, items, kind_of, normalize_missing
from .trees import contains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ERRORS = (pa.ArrowException, OverflowError, TypeError, ValueError)
_ROUND = "round them yourself with astype(...) first"


def convert_to_type(
    values: Iterable[Any], requested: pa.DataType, build: Callable[[Iterable[Any]], pa.Array]
) -> pa.Array:
    """Convert objects to a type; `build` converts them to their natural Arrow type.

    Raises
    ------
    ObjectsError
        The type cannot represent the values exactly.
    """
    values = list(values)
    check_nesting(values)
    present = _with_none(values)
    try:
        natural = build(values)
    except _ERRORS:
        natural = None
    try:
        result = _converted(present, requested)
    except _ERRORS:
        if natural is None:
            raise
        return cast(natural, requested)
    if natural is not None and _is_lossless(result, natural):
        return result
    if all(map(_equal_objects, present, _as_python(result))):
        return result
    raise ObjectsError(f"{requested} cannot hold its values exactly", _ROUND)


def cast(source: pa.Array, requested: pa.DataType) -> pa.Array:
    """Cast an array, and refuse loss of data that pyarrow's safe cast permits."""
    result = _cast(source, requested)
    if not _is_lossless(result, source):
        raise ObjectsError(f"{requested} cannot hold its values exactly", _ROUND)
    return result


def _converted(values: list[Any], requested: pa.DataType) -> pa.Array:
    result = pa.array(values, type=requested)
    if isinstance(result, pa.ChunkedArray):
        raise ObjectsError(
            f"{requested} cannot hold that much data", "ask for the type with large offsets"
        )
    return result


def _cast(source: pa.Array, requested: pa.DataType) -> pa.Array:
    if pa.types.is_run_end_encoded(requested):
        values = _cast(source, requested.value_type)
        return pc.run_end_encode(values, run_end_type=requested.run_end_type)
    return source.cast(requested, safe=True)


def _is_lossless(result: pa.Array, source: pa.Array) -> bool:
    if pa.types.is_null(source.type):
        return bool(result.null_count == len(result))
    if contains(result.type, _is_miscast):
        return False
    if pa.types.is_run_end_encoded(result.type):
        result = pc.run_end_decode(result)
    try:
        return _equal(result.cast(source.type, safe=True), source)
    except pa.ArrowException:
        return False


def _is_miscast(kind: pa.DataType) -> bool:
    """Check whether pyarrow 26 loses the values of a type in a cast."""
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _equal(one: pa.Array, other: pa.Array) -> bool:
    """Check whether two arrays are equal; NaN equals NaN."""
    if not pa.types.is_floating(other.type):
        return bool(one.equals(other))
    left, right = (each.to_numpy(zero_copy_only=False) for each in (one, other))
    same_nulls = bool(one.is_null().equals(other.is_null()))
    return same_nulls and np.array_equal(left, right, equal_nan=True)


def _as_python(array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _with_none(values: list[Any]) -> list[Any]:
    """Replace missing values by None, the only one that pyarrow recognizes, at any depth."""
    cleaned = normalize_missing(values)
    strings = {kind_of(each) for each in cleaned} - {"missing", "float"} == {"str"}
    return [_with_none_inside(each, strings=strings) for each in cleaned]


def _with_none_inside(value: Any, *, strings: bool) -> Any:
    kind = kind_of(value)
    if kind == "list":
        inner = _with_none(list(items(value)))
        return tuple(inner) if isinstance(value, tuple) else inner
    if kind == "dict":
        return {key: _with_none([each])[0] for key, each in value.items()}
    if strings and kind == "float" and value != value:  # NaN among strings  # noqa: PLR0124
        return None
    return value


def _equal_objects(value: Any, result: Any) -> bool:
    """Check whether a value survived the round trip through Arrow."""
    if value is None or result is None:
        return value is None and result is None
    if isinstance(value, bool | np.bool_) or isinstance(result, bool):
        return type(result) is bool and isinstance(value, bool | np.bool_) and result == value
    if isinstance(value, dict):
        return _equal_dict(value, result)
    if isinstance(value, list | tuple) and isinstance(result, dict):  # a struct
        return len(value) == len(result) and all(map(_equal_objects, value, result.values()))
    if isinstance(value, list | tuple):
        alike = isinstance(result, list | tuple) and len(value) == len(result)
        return alike and all(map(_equal_objects, value, result))
    return bool(value == result) or (value != value and result != result)  # NaN  # noqa: PLR0124


def _equal_dict(value: dict[Any, Any], result: Any) -> bool:
    if isinstance(result, list):  # a map
        pairs = list(value.items())
        return len(pairs) == len(result) and all(map(_equal_objects, pairs, result))
    if not isinstance(result, dict) or not value.keys() <= result.keys():
        return False
    return all(_equal_objects(value.get(key), each) for key, each in result.items())
