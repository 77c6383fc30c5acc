"""Conversion of Python objects to Arrow by explicit rules, without type inference.

pyarrow infers one type for all objects and coerces them to it: a float16 among integers loses
its fraction, a datetime among dates its time, an aware time among naive ones its zone, a
timestamp its nanoseconds. Here all objects have to be of one kind, also inside of lists and
dictionaries, and the kind determines the Arrow type.
"""

from __future__ import annotations

import datetime as dt
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...errors import UnsupportedError
from .object_kinds import ObjectsError, check_nesting, items, kind_of, normalize_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..._core.memory import Array

_EPOCH = dt.datetime(1970, 1, 1)
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_BUILTINS: dict[type, str] = {each: each.__name__ for each in (bool, int, float, str, bytes)}
_NUMBERS = ({"int", "float"}, {"int", "Decimal"})  # mixtures that keep integers exact
_KIND_ORDER = ("int", "float", "Decimal")
_LARGE_TYPES = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}


class Builder:
    """Converts Python objects to Arrow arrays.

    Parameters
    ----------
    from_numpy : callable
        Converts a 1-D NumPy array, not of objects, to an Arrow array.
    """

    def __init__(self, from_numpy: Callable[[Array], pa.Array]) -> None:
        self._from_numpy = from_numpy

    def build(self, values: Iterable[Any]) -> pa.Array:
        """Convert objects of one kind, with missing values among them.

        Raises
        ------
        ObjectsError
            The objects are of several kinds, or Arrow has no type for their kind.
        """
        values = list(values)
        types = set(map(type, values)) - {type(None)}
        builtin = _BUILTINS.get(types.pop()) if len(types) == 1 else None
        if builtin is not None:
            return _CONVERTERS[builtin](values)
        check_nesting(values)
        return self._array(values)

    def _array(self, values: list[Any]) -> pa.Array:
        values = normalize_missing(values)
        kind, values = _one_kind(values)
        if kind is None:
            return pa.nulls(len(values))
        if kind.startswith(("datetime64", "timedelta64")):
            return self._scalars(values, kind)
        if kind == "list":
            return self._lists(values)
        if kind == "dict":
            return self._structs(values)
        convert = _CONVERTERS.get(kind)
        if convert is None:
            raise ObjectsError(f"Arrow has no type for {kind} objects")
        return convert(values)

    def _scalars(self, values: list[Any], dtype: str) -> pa.Array:
        """Convert NumPy scalars of one dtype through an array of that dtype."""
        missing = np.array("NaT", dtype)[()]
        return self._convert_array(
            np.array([missing if v is None else v for v in values], dtype)
        )

    def _convert_array(self, array: Array) -> pa.Array:
        try:
            return self._from_numpy(array)
        except UnsupportedError as error:
            raise ObjectsError(
                error.reason, "make strings of them: np.array([str(x) for x in array.flat])"
            ) from error

    def _lists(self, values: list[Any]) -> pa.Array:
        rows = [None if value is None else items(value) for value in values]
        present = [row for row in rows if row is not None]
        offsets = np.cumsum([0, *(0 if row is None else len(row) for row in rows)])
        mask = pa.array([row is None for row in rows], pa.bool_())
        inner = self._inner(present)
        if offsets[-1] > np.iinfo(np.int32).max:
            return pa.LargeListArray.from_arrays(offsets, inner, mask=mask)
        return pa.ListArray.from_arrays(offsets.astype(np.int32), inner, mask=mask)

    def _inner(self, rows: list[Any]) -> pa.Array:
        """Convert the items of lists; arrays of numbers or times of one dtype in one step."""
        if all(isinstance(row, np.ndarray) and row.ndim == 1 for row in rows):
            dtypes = {row.dtype for row in rows if row.size}
            if len(dtypes) == 1 and next(iter(dtypes)).kind in "biufmM":
                dtype = dtypes.pop()
                return self._convert_array(np.concatenate([row.astype(dtype) for row in rows]))
        dtypes = {row.dtype for row in rows if isinstance(row, np.ndarray) and row.size}
        if len(dtypes) > 1 and not all(dtype.kind in "OSUT" for dtype in dtypes):
            names = ", ".join(sorted(f"array of {dtype}" for dtype in dtypes))
            raise ObjectsError(f"they are of several kinds: {names}")
        return self._array(list(chain.from_iterable(rows)))

    def _structs(self, values: list[Any]) -> pa.Array:
        present = [value for value in values if value is not None]
        keys = dict.fromkeys(chain.from_iterable(present))
        if not all(isinstance(key, str) for key in keys):
            raise ObjectsError("the names of Arrow fields are strings")
        mask = pa.array([value is None for value in values], pa.bool_())
        if not keys:
            return pa.array(values, pa.struct([]))
        fields = [
            self._array([None if v is None else v.get(key) for v in values]) for key in keys
        ]
        return pa.StructArray.from_arrays(fields, names=list(map(str, keys)), mask=mask)


def _one_kind(values: list[Any]) -> tuple[str | None, list[Any]]:
    """Return the kind of all values that are not missing, or None, and the values.

    NumPy's NaT counts as missing whatever its unit; so does NaN among strings, as in pandas.
    """
    kinds = {kind_of(value) for value in values} - {"missing"}
    if len(kinds) > 1:
        values = [None if _is_nat(value) else value for value in values]
        kinds = {kind_of(value) for value in values} - {"missing"}
    if kinds in _NUMBERS:
        return max(kinds, key=_KIND_ORDER.index), values
    if kinds == {"str", "float"}:
        values = [None if _is_nan(value) else value for value in values]
        kinds = {kind_of(value) for value in values} - {"missing"}
    if len(kinds) > 1:
        raise ObjectsError(f"they are of several kinds: {', '.join(sorted(kinds))}")
    kind = next(iter(kinds), None)
    if kind in ("datetime64", "timedelta64"):  # NaT without a unit
        return None, [None] * len(values)
    return kind, values


def _is_nat(value: Any) -> bool:
    return isinstance(value, np.datetime64 | np.timedelta64) and bool(np.isnat(value))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def strings_to_arrow(values: list[Any], type_: pa.DataType) -> pa.Array:
    """Convert str or bytes to `type_`, or to its variant with 64-bit offsets if necessary."""
    array = pa.array(values, type_)
    return (
        pa.array(values, _LARGE_TYPES[type_]) if isinstance(array, pa.ChunkedArray) else array
    )


def _integers(values: list[Any]) -> pa.Array:
    dtypes = {_dtype_of(value) for value in values if value is not None}
    if len(dtypes) == 1 and None not in dtypes:
        return pa.array(values, pa.from_numpy_dtype(dtypes.pop()))
    numbers = [None if value is None else int(value) for value in values]
    lowest = min(number for number in numbers if number is not None)
    highest = max(number for number in numbers if number is not None)
    if lowest >= -(2**63) and highest < 2**63:
        return pa.array(numbers, pa.int64())
    if lowest >= 0 and highest < 2**64:
        return pa.array(numbers, pa.uint64())
    raise ObjectsError("Arrow has no integers of more than 64 bits")


def _floats(values: list[Any]) -> pa.Array:
    dtypes = {_float_of(value) for value in values if value is not None}
    if any(np.dtype(dtype).itemsize > 8 for dtype in dtypes - {"int"}):
        reason, fix = (
            "Arrow has no long double type",
            "round them yourself: array.astype(np.float64)",
        )
        raise ObjectsError(reason, fix)
    if len(dtypes) == 1:
        return pa.array(values, pa.from_numpy_dtype(dtypes.pop()))
    if "int" in dtypes and dtypes != {"int", "<f8"}:
        raise ObjectsError(f"they are of several kinds: {', '.join(sorted(dtypes))}")
    numbers = [None if value is None else float(value) for value in values]
    if not all(a == b or a is None or a != a for a, b in zip(values, numbers, strict=True)):  # noqa: PLR0124
        reason = "they are of several kinds: int, float, and no float represents the integers"
        raise ObjectsError(reason)
    return pa.array(numbers, pa.float64())


def _float_of(value: Any) -> str:
    """Return the dtype of a float, or ``"int"``: integers may be among floats."""
    return "int" if isinstance(value, int | np.integer) else _dtype_of(value) or "<f8"


def _dtype_of(value: Any) -> str | None:
    return value.dtype.str if isinstance(value, np.generic) else None


def _decimals(values: list[Any]) -> pa.Array:
    plain = [int(value) if isinstance(value, np.integer) else value for value in values]
    if not all(value is None or isinstance(value, int) or value.is_finite() for value in plain):
        raise ObjectsError("Arrow has no decimals for NaN and infinity")
    return pa.array(plain)


def _datetimes(values: list[Any]) -> pa.Array:
    return _times(list(map(_epoch_nanoseconds, values)), pa.timestamp)


def _zoned_datetimes(values: list[Any]) -> pa.Array:
    present = [value for value in values if value is not None]
    zones = {_zone_of(value) for value in present}
    if len(zones) > 1:
        reason = f"they are in several zones: {', '.join(sorted(zones))}"
        fix = "bring them to one: np.array([x.astimezone(datetime.UTC) for x in array], object)"
        raise ObjectsError(reason, fix)
    zone = zones.pop()
    return _times(list(map(_epoch_nanoseconds, values)), lambda unit: pa.timestamp(unit, zone))


def _zone_of(value: Any) -> str:
    """Return Arrow's name of a datetime's zone; refuse a zone that no name identifies."""
    fix = "bring it to UTC: np.array([x.astimezone(datetime.UTC) for x in array], object)"
    try:
        name: str = pa.lib.tzinfo_to_string(value.tzinfo)
        same = value.astimezone(pa.lib.string_to_tzinfo(name)).utcoffset() == value.utcoffset()
    except (pa.ArrowException, ValueError, KeyError, OverflowError) as error:
        raise ObjectsError(
            f"Arrow has no name for the zone {value.tzinfo} ({error})", fix
        ) from error
    if not same:
        raise ObjectsError(f"Arrow has no name for the zone {value.tzinfo}", fix)
    return name


def _durations(values: list[Any]) -> pa.Array:
    counts = [None if value is None else _nanoseconds(value) for value in values]
    return _times(counts, pa.duration)


def _epoch_nanoseconds(value: Any) -> int | None:
    """Return the nanoseconds since 1970-01-01, in UTC if the value has a time zone."""
    if value is None:
        return None
    if hasattr(value, "to_datetime64"):  # a pandas Timestamp
        return _scalar_nanoseconds(value.to_datetime64())
    start = _EPOCH if value.tzinfo is None else _EPOCH.replace(tzinfo=dt.UTC)
    return _nanoseconds(value - start)


def _nanoseconds(value: Any) -> int:
    """Return the length of a duration in nanoseconds."""
    if hasattr(value, "to_timedelta64"):
        return _scalar_nanoseconds(value.to_timedelta64())
    seconds: int = value.days * 86_400 + value.seconds
    return (seconds * 10**6 + int(value.microseconds)) * 1000


def _scalar_nanoseconds(scalar: Any) -> int:
    unit, step = np.datetime_data(scalar.dtype)
    return int(scalar.view(np.int64)) * step * _NANOSECONDS[unit]


def _times(counts: list[int | None], kind: Callable[[str], pa.DataType]) -> pa.Array:
    """Convert nanoseconds to times in microseconds, or in nanoseconds where necessary."""
    exact = all(count is None or count % 1000 == 0 for count in counts)
    if exact:
        counts = [None if count is None else count // 1000 for count in counts]
    if not all(count is None or -(2**63) < count < 2**63 for count in counts):
        raise ObjectsError("no Arrow unit can represent all of the times")
    return pa.array(counts, pa.int64()).cast(kind("us" if exact else "ns"))


def _no_zones(_: list[Any]) -> pa.Array:
    raise ObjectsError("Arrow has no times of day with a zone")


def _uuids(values: list[Any]) -> pa.Array:
    storage = pa.array([None if v is None else v.bytes for v in values], pa.binary(16))
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def _arrow_scalars(values: list[Any]) -> pa.Array:
    types = {value.type for value in values if value is not None}
    if len(types) > 1:
        raise ObjectsError(f"they are of several types: {', '.join(sorted(map(str, types)))}")
    return pa.array(values, types.pop())


_CONVERTERS: dict[str, Callable[[list[Any]], pa.Array]] = {
    "bool": lambda values: pa.array(values, pa.bool_()),
    "int": _integers,
    "float": _floats,
    "str": lambda values: strings_to_arrow(values, pa.string()),
    "bytes": lambda values: strings_to_arrow(values, pa.binary()),
    "bytearray": lambda values: strings_to_arrow(values, pa.binary()),
    "interval": lambda values: pa.array(values, pa.month_day_nano_interval()),
    "Arrow scalar": _arrow_scalars,
    "datetime": _datetimes,
    "datetime with zone": _zoned_datetimes,
    "date": lambda values: pa.array(values, pa.date32()),
    "time": lambda values: pa.array(values, pa.time64("us")),
    "time with zone": _no_zones,
    "timedelta": _durations,
    "Decimal": _decimals,
    "UUID": _uuids,
}
