"""A full check of one conversion: its values, its warnings, and the route of `explain`."""

from __future__ import annotations

import datetime as dt
import decimal
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from numpack import CopyWarning, NumpackError, ZeroCopyError, explain, share

TARGETS = (
    *("numpy", "torch", "jax", "tensorflow", "arrow", "polars", "pandas", "duckdb"),
    *("nanoarrow", "arro3", "xarray", "dlpack", "buffer", "array_interface"),
)
STRICT = frozenset({"arrow", "polars", "duckdb", "nanoarrow", "arro3"})  # which have nulls
_EPOCH = dt.datetime(1970, 1, 1)
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1, "m": 60 * 10**9, "h": 3600 * 10**9}
_UNITS |= {"D": 86400 * 10**9, "W": 7 * 86400 * 10**9, "ps": None, "fs": None, "as": None}


def check(x: Any, target: str, want: list[Any] | None = None) -> None:
    """Convert `x` under every policy, and compare the results with the route of `explain`."""
    route, _ = _attempt(lambda: explain(x, target))
    result, warned = _attempt(lambda: share(x, target))
    own, warned_too = _attempt(lambda: share(x, target, copy=True))
    shared, _ = _attempt(lambda: share(x, target, copy=False))
    assert not warned_too, "copy=True does not warn"
    if isinstance(route, NumpackError):
        assert type(route) is type(result) is type(own), (route, result, own)
        return
    if not route.supported:
        for each in (result, own, shared):
            assert isinstance(each, NumpackError), f"{route}\nbut got {each!r}"
        return
    for each in (result, own):
        assert not isinstance(each, NumpackError), f"{route}\nbut raised {each!r}"
    assert warned != route.shares_memory, route
    assert isinstance(shared, ZeroCopyError) != route.shares_memory, (route, shared)
    if want is None:
        return
    for each in (result, own):
        got = values_of(each, target)
        if got is not None:
            assert same(got, want, loosely=target not in STRICT), (route, got, want)


def _attempt(call: Any) -> tuple[Any, bool]:
    """Return the result, or the package's error, and whether it warned of a copy.

    Every other exception fails the test.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call()
        except NumpackError as error:
            result = error
    return result, any(issubclass(each.category, CopyWarning) for each in caught)


def values_of(result: Any, target: str) -> list[Any] | None:
    """List the values of a result of `share`; ``None`` where its library cannot list them."""
    if target == "duckdb":
        return [row[0] for row in result.fetchall()]
    if target == "polars":
        return of_arrow(pa.chunked_array(result)) if hasattr(result, "to_list") else None
    if target in ("nanoarrow", "arro3"):
        return of_arrow(pa.chunked_array(result))
    if target == "arrow":
        return of_arrow(result)
    if target == "pandas":
        return list(result.to_numpy(object)) if result.ndim == 1 else None
    return of_numpy(_array(result, target))


def _array(result: Any, target: str) -> np.ndarray:
    if target == "torch":
        return share(result, "numpy", copy=False)
    if target == "tensorflow":
        return result.numpy()
    if target == "xarray":
        return result.values
    return np.from_dlpack(result) if target == "dlpack" else np.ma.asanyarray(result)


def of_numpy(array: np.ndarray) -> list[Any]:
    """List the values of an array, times with their units."""
    if not isinstance(array, np.ma.MaskedArray):
        array = np.asarray(array)
    return list(array) if array.ndim else [array[()]]


def of_arrow(column: Any) -> list[Any] | None:
    """List the values of a column; ``None`` where Python cannot represent them."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        unit = _UNITS[kind.unit]
        counts = column.cast(pa.int64()).to_pylist()
        return [None if each is None else Instant(each * unit) for each in counts]
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        return None


class Instant(int):
    """A time or duration in nanoseconds."""


def same(got: Any, want: Any, *, loosely: bool = False) -> bool:
    """Compare values by meaning; `loosely`, NaN, NaT and None are all missing."""
    got, want = canonical(got, loosely), canonical(want, loosely)
    return bool(got == want)


def canonical(value: Any, loosely: bool) -> Any:
    """Convert a value to a form in which equal meanings compare equal."""
    missing = "missing" if loosely else None
    if value is None or value is pd.NA or value is np.ma.masked:
        return missing
    if isinstance(value, np.datetime64 | np.timedelta64):
        if np.isnat(value):
            return missing
        unit, count = np.datetime_data(value.dtype)
        factor = _UNITS.get(unit)
        whole = int(value.astype("i8")) * count
        return ("ns", whole * factor) if factor else (unit, whole)
    if value is pd.NaT:
        return missing
    for kinds, convert in _CONVERTERS:
        if isinstance(value, kinds):
            return convert(value, loosely)
    return value


def _number(value: Any, loosely: bool) -> Any:
    found = value.item() if hasattr(value, "item") else value
    if isinstance(found, float) and np.isnan(found):
        return "missing" if loosely else "NaN"
    if isinstance(found, complex):
        return repr(found)
    return found


def _instant(value: dt.datetime, _: bool) -> Any:
    if isinstance(value, pd.Timestamp):
        return ("ns", int(value.asm8.astype("i8")) * _UNITS[value.unit])
    if value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    return ("ns", (value - _EPOCH) // dt.timedelta(microseconds=1) * 1000)


def _span(value: dt.timedelta, _: bool) -> Any:
    if isinstance(value, pd.Timedelta):
        return ("ns", int(value.asm8.astype("i8")) * _UNITS[value.unit])
    return ("ns", value // dt.timedelta(microseconds=1) * 1000)


def _mapping(value: dict[Any, Any], loosely: bool) -> Any:
    return [[key, canonical(each, loosely)] for key, each in value.items()]


def _sequence(value: Any, loosely: bool) -> Any:
    return [canonical(each, loosely) for each in value]


_CONVERTERS: tuple[tuple[Any, Any], ...] = (
    (Instant, lambda value, _: ("ns", int(value))),
    (dt.datetime, _instant),
    (dt.date, lambda value, _: ("ns", (value - _EPOCH.date()).days * _UNITS["D"])),
    (dt.timedelta, _span),
    (decimal.Decimal, lambda value, _: value.normalize()),
    (np.void, lambda value, _: value.tobytes() if value.dtype.names is None else value.item()),
    (bool | int | float | complex | np.number | np.bool_, _number),
    (str | bytes, lambda value, _: value),
    (dict, _mapping),
    (list | tuple | np.ndarray | pd.Series, _sequence),
)
