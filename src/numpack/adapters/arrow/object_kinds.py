"""The kinds of Python objects, missing values, and the depth of nesting.

An Arrow column has one type for all values, so objects are classified into kinds that are
narrower than Python's types: a `datetime` with a time zone is of another kind than one without,
and a `bool` is not an `int`.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..._core.memory import hides_values, is_masked_array, normalize_strides

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_DEPTH = 64  # NumPy's limit on dimensions, and that of the Arrow C data interface
_MAX_VALUES = 2**40

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (  # subclasses first
    ((bool, np.bool_), "bool"),
    (np.datetime64, "datetime64"),
    (np.timedelta64, "timedelta64"),
    ((int, np.integer), "int"),
    ((float, np.floating), "float"),
    (str, "str"),
    (bytes, "bytes"),
    (bytearray, "bytearray"),
    (pa.MonthDayNano, "interval"),
    (pa.Scalar, "Arrow scalar"),
    ((list, tuple, np.ndarray), "list"),
    (dict, "dict"),
    (dt.datetime, "datetime"),
    (dt.date, "date"),
    (dt.time, "time"),
    (dt.timedelta, "timedelta"),
    (decimal.Decimal, "Decimal"),
    (uuid.UUID, "UUID"),
)
_CONTAINERS = (list, tuple, dict, np.ndarray)


class ObjectsError(ValueError):
    """Raised for Python objects that no Arrow type can represent.

    Parameters
    ----------
    reason : str
    fix : str
        What to do about it.
    """

    def __init__(
        self,
        reason: str,
        fix: str = "make strings of them: np.array([str(x) for x in array.flat])",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def normalize_missing(values: Iterable[Any]) -> list[Any]:
    """Return objects with None in place of missing values, and scalars of 0-d arrays."""
    return [None if kind_of(each) == "missing" else _unwrapped(each) for each in values]


def kind_of(value: Any) -> str:
    """Return the name of a value's kind; ``"missing"`` for None, pandas' NA and NaT."""
    kind = _kind(type(value))  # type: ignore[arg-type]  # types can be hashed
    if kind in ("datetime64", "timedelta64"):
        return str(value.dtype)
    if kind in ("datetime", "time"):
        return kind if value.tzinfo is None else f"{kind} with zone"
    return kind


@functools.lru_cache(maxsize=256)
def _kind(of: type) -> str:
    name = of.__name__
    if of is type(None):
        return "missing"
    if of.__module__.partition(".")[0] == "pandas" and name in ("NAType", "NaTType"):
        return "missing"
    return next((kind for types, kind in _KINDS if issubclass(of, types)), name)


def _unwrapped(value: Any) -> Any:
    if not isinstance(value, np.ndarray) or np.ndarray.ndim.__get__(value) != 0:
        return value
    _refuse_foreign_mask(value)
    inner = None if hides_values(value) else normalize_strides(value)[()]
    return normalize_missing([inner])[0]


def items(value: Any) -> Any:
    """Return the items of a list, tuple or array, with None in place of masked ones."""
    if not isinstance(value, np.ndarray):
        return value
    _refuse_foreign_mask(value)
    array = normalize_strides(value)
    if not hides_values(value):
        return array
    rows = zip(array, normalize_strides(np.ma.getmaskarray(value)), strict=True)
    if array.ndim > 1:
        return [np.ma.MaskedArray(row, mask) for row, mask in rows]
    return [None if hidden else each for each, hidden in rows]


def _refuse_foreign_mask(value: Any) -> None:
    if not is_masked_array(value) and hides_values(value):
        name = type(value).__name__
        reason = f"a {name} among them has a mask that is not of numpy.ma"
        raise ObjectsError(reason, "make a numpy.ma.MaskedArray of each")


def check_nesting(values: list[Any]) -> None:
    """Raise `ObjectsError` if objects contain themselves or are nested too deeply for Arrow.

    The check does not recurse, and visits each object once even if several others contain it.
    """
    done: dict[int, tuple[int, int]] = {}  # depth and number of values, by ``id()``
    for value in values:
        if isinstance(value, _CONTAINERS):
            _measure(value, done)


def _measure(value: Any, done: dict[int, tuple[int, int]]) -> None:
    path = [(value, _children(value))]
    on_path = {id(value)}
    while path:
        current, rest = path[-1]
        child = next((each for each in rest if id(each) not in done), None)
        if child is None:
            path.pop()
            on_path.discard(id(current))
            done[id(current)] = _size(current, done)
            continue
        if id(child) in on_path:
            raise ObjectsError("they contain themselves", "take the circular references out")
        if len(path) >= MAX_DEPTH:
            reason = f"they are nested more than {MAX_DEPTH} deep"
            raise ObjectsError(reason, "flatten them first")
        on_path.add(id(child))
        path.append((child, _children(child)))


def _size(value: Any, done: dict[int, tuple[int, int]]) -> tuple[int, int]:
    inner = [done[id(each)] for each in _children(value)]
    depth = 1 + max((depth for depth, _ in inner), default=0)
    count = 1 + sum(count for _, count in inner)
    if depth > MAX_DEPTH or count > _MAX_VALUES:
        reason = f"they are nested more than {MAX_DEPTH} deep, or contain too many values"
        raise ObjectsError(reason, "flatten them first")
    return depth, count


def _children(value: Any) -> Iterator[Any]:
    """Iterate over the containers that are direct items of a container."""
    if isinstance(value, np.ndarray):
        array = normalize_strides(value)
        values: Iterable[Any] = array.flat if array.dtype.kind == "O" else ()
    else:
        values = value.values() if isinstance(value, dict) else value
    return (each for each in values if isinstance(each, _CONTAINERS))
