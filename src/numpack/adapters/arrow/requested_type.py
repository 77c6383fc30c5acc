"""Values to an Arrow type that was asked for: converted to it at once, and compared then.

pyarrow converts much that does not come back: a datetime to a date without its time,
nanoseconds to microseconds, dictionaries without the keys that the type lacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .object_kinds import ObjectsError, check_nesting, items, kind_of, prepared
from .trees import contains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ERRORS = (pa.ArrowException, OverflowError, TypeError, ValueError)
_ROUND = "round them yourself with astype(...) first"


def convert_to_type(
    values: Iterable[Any], requested: pa.DataType, build: Callable[[Iterable[Any]], pa.Array]
) -> pa.Array:
    """Convert objects to a type; `build` converts them to the one that is theirs.

    Raises
    ------
    ObjectsError
        The type cannot hold them as they are.
    """
    values = list(values)
    check_nesting(values)
    present = _clean(values)
    try:
        natural = build(values)
    except _ERRORS:
        natural = None
    try:
        result = _array_of(present, requested)
    except _ERRORS:
        if natural is None:
            raise
        return cast(natural, requested)
    if natural is not None and _comes_back(result, natural):
        return result
    if all(map(_agree, present, _as_python(result))):
        return result
    raise ObjectsError(f"{requested} cannot hold its values as they are", _ROUND)


def cast(source: pa.Array, requested: pa.DataType) -> pa.Array:
    """Cast, and refuse what does not come back: pyarrow's safe cast lets much pass."""
    result = _cast(source, requested)
    if not _comes_back(result, source):
        raise ObjectsError(f"{requested} cannot hold its values as they are", _ROUND)
    return result


def _array_of(values: list[Any], requested: pa.DataType) -> pa.Array:
    made = pa.array(values, type=requested)
    if isinstance(made, pa.ChunkedArray):
        raise ObjectsError(
            f"{requested} cannot hold that much", "ask for the type of large offsets"
        )
    return made


def _cast(source: pa.Array, requested: pa.DataType) -> pa.Array:
    if pa.types.is_run_end_encoded(requested):
        values = _cast(source, requested.value_type)
        return pc.run_end_encode(values, run_end_type=requested.run_end_type)
    return source.cast(requested, safe=True)


def _comes_back(result: pa.Array, source: pa.Array) -> bool:
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
    """Tell of types whose values pyarrow 26 loses in a cast."""
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _equal(one: pa.Array, other: pa.Array) -> bool:
    """Compare values; NaN is NaN."""
    if not pa.types.is_floating(other.type):
        return bool(one.equals(other))
    left, right = (each.to_numpy(zero_copy_only=False) for each in (one, other))
    same_nulls = bool(one.is_null().equals(other.is_null()))
    return same_nulls and np.array_equal(left, right, equal_nan=True)


def _as_python(array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _clean(values: list[Any]) -> list[Any]:
    """Write None for what is missing, at any depth: pyarrow knows no other name for it."""
    cleaned = prepared(values)
    strings = {kind_of(each) for each in cleaned} - {"missing", "float"} == {"str"}
    return [_cleaned(each, strings=strings) for each in cleaned]


def _cleaned(value: Any, *, strings: bool) -> Any:
    kind = kind_of(value)
    if kind == "list":
        inner = _clean(list(items(value)))
        return tuple(inner) if isinstance(value, tuple) else inner
    if kind == "dict":
        return {key: _clean([each])[0] for key, each in value.items()}
    if strings and kind == "float" and value != value:  # NaN among strings  # noqa: PLR0124
        return None
    return value


def _agree(value: Any, got: Any) -> bool:
    """Check that a value came back from Arrow as it was."""
    if value is None or got is None:
        return value is None and got is None
    if isinstance(value, bool | np.bool_) or isinstance(got, bool):
        return type(got) is bool and isinstance(value, bool | np.bool_) and got == value
    if isinstance(value, dict):
        return _agree_dict(value, got)
    if isinstance(value, list | tuple) and isinstance(got, dict):  # of a struct
        return len(value) == len(got) and all(map(_agree, value, got.values()))
    if isinstance(value, list | tuple):
        alike = isinstance(got, list | tuple) and len(value) == len(got)
        return alike and all(map(_agree, value, got))
    return bool(value == got) or (value != value and got != got)  # NaN  # noqa: PLR0124


def _agree_dict(value: dict[Any, Any], got: Any) -> bool:
    if isinstance(got, list):  # of a map
        pairs = list(value.items())
        return len(pairs) == len(got) and all(map(_agree, pairs, got))
    if not isinstance(got, dict) or not value.keys() <= got.keys():
        return False
    return all(_agree(value.get(key), each) for key, each in got.items())
