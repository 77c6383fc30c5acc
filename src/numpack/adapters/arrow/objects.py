"""Python objects to Arrow: of one kind, each kind by its own rule, nothing left to inference.

pyarrow infers one type for all objects and makes the others fit: a float16 among integers loses
its fraction, a datetime among dates its time, a zone among naive times its meaning, a timestamp
its nanoseconds. Here objects have to be of one kind, lists and dictionaries inside of them too,
and the type follows from the kind.
"""

from __future__ import annotations

import datetime as dt
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...errors import UnsupportedError
from .object_kinds import ObjectsError, check_nesting, items, kind_of, prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..._core.memory import Array

_EPOCH = dt.datetime(1970, 1, 1)
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_PLAIN: dict[type, str] = {each: each.__name__ for each in (bool, int, float, str, bytes)}
_NUMBERS = ({"int", "float"}, {"int", "Decimal"})  # where each integer stays what it is
_KIND_ORDER = ("int", "float", "Decimal")
_STRINGS = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}


class Builder:
    """Makes Arrow arrays of Python objects.

    Parameters
    ----------
    typed : callable
        Makes an Arrow array of a 1-D array that is not of objects.
    """

    def __init__(self, typed: Callable[[Array], pa.Array]) -> None:
        self._typed = typed

    def build(self, values: Iterable[Any]) -> pa.Array:
        """Convert objects of one kind, any of which may be missing.

        Raises
        ------
        ObjectsError
            They are of several kinds, or of one that Arrow has no type for.
        """
        values = list(values)
        types = set(map(type, values)) - {type(None)}
        plainly = _PLAIN.get(types.pop()) if len(types) == 1 else None
        if plainly is not None:
            return _CONVERTERS[plainly](values)
        check_nesting(values)
        return self._array(values)

    def _array(self, values: list[Any]) -> pa.Array:
        values = prepared(values)
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
        """Convert scalars of NumPy, all of one dtype, as an array of that dtype."""
        missing = np.array("NaT", dtype)[()]
        return self._of_typed(np.array([missing if v is None else v for v in values], dtype))

    def _of_typed(self, array: Array) -> pa.Array:
        try:
            return self._typed(array)
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
        """Convert what lists hold; arrays of one dtype of numbers or times at once."""
        if all(isinstance(row, np.ndarray) and row.ndim == 1 for row in rows):
            dtypes = {row.dtype for row in rows if row.size}
            if len(dtypes) == 1 and next(iter(dtypes)).kind in "biufmM":
                dtype = dtypes.pop()
                return self._of_typed(np.concatenate([row.astype(dtype) for row in rows]))
        dtypes = {row.dtype for row in rows if isinstance(row, np.ndarray) and row.size}
        if len(dtypes) > 1 and not all(dtype.kind in "OSUT" for dtype in dtypes):
            names = ", ".join(sorted(f"array of {dtype}" for dtype in dtypes))
            raise ObjectsError(f"they are of several kinds: {names}")
        return self._array(list(chain.from_iterable(rows)))

    def _structs(self, values: list[Any]) -> pa.Array:
        present = [value for value in values if value is not None]
        keys = dict.fromkeys(chain.from_iterable(present))
        if not all(isinstance(key, str) for key in keys):
            raise ObjectsError("Arrow has no names of fields but strings")
        mask = pa.array([value is None for value in values], pa.bool_())
        if not keys:
            return pa.array(values, pa.struct([]))
        fields = [
            self._array([None if v is None else v.get(key) for v in values]) for key in keys
        ]
        return pa.StructArray.from_arrays(fields, names=list(map(str, keys)), mask=mask)


def _one_kind(values: list[Any]) -> tuple[str | None, list[Any]]:
    """Find the kind that all present values are of; None if all are missing.

    NaT of NumPy is missing whatever its unit is, and so is NaN among strings, as pandas has it.
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
    if kind in ("datetime64", "timedelta64"):  # NaT that has no unit
        return None, [None] * len(values)
    return kind, values


def _is_nat(value: Any) -> bool:
    return isinstance(value, np.datetime64 | np.timedelta64) and bool(np.isnat(value))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def of_strings(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Convert str or bytes to `kind`, or to the type with wider offsets if they take more."""
    array = pa.array(values, kind)
    return pa.array(values, _STRINGS[kind]) if isinstance(array, pa.ChunkedArray) else array


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
            "Arrow has no long doubles",
            "round them yourself: array.astype(np.float64)",
        )
        raise ObjectsError(reason, fix)
    if len(dtypes) == 1:
        return pa.array(values, pa.from_numpy_dtype(dtypes.pop()))
    if "int" in dtypes and dtypes != {"int", "<f8"}:
        raise ObjectsError(f"they are of several kinds: {', '.join(sorted(dtypes))}")
    numbers = [None if value is None else float(value) for value in values]
    if not all(a == b or a is None or a != a for a, b in zip(values, numbers, strict=True)):  # noqa: PLR0124
        raise ObjectsError("they are of several kinds: int, float, and no float is so exact")
    return pa.array(numbers, pa.float64())


def _float_of(value: Any) -> str:
    """Name the dtype of a float; integers may be among floats."""
    return "int" if isinstance(value, int | np.integer) else _dtype_of(value) or "<f8"


def _dtype_of(value: Any) -> str | None:
    return value.dtype.str if isinstance(value, np.generic) else None


def _decimals(values: list[Any]) -> pa.Array:
    plain = [int(value) if isinstance(value, np.integer) else value for value in values]
    if not all(value is None or isinstance(value, int) or value.is_finite() for value in plain):
        raise ObjectsError("Arrow has no decimals that are not finite")
    return pa.array(plain)


def _datetimes(values: list[Any]) -> pa.Array:
    return _times(list(map(_since_epoch, values)), pa.timestamp)


def _zoned_datetimes(values: list[Any]) -> pa.Array:
    present = [value for value in values if value is not None]
    zones = {_zone_of(value) for value in present}
    if len(zones) > 1:
        reason = f"they are in several zones: {', '.join(sorted(zones))}"
        fix = "bring them to one: np.array([x.astimezone(datetime.UTC) for x in array], object)"
        raise ObjectsError(reason, fix)
    zone = zones.pop()
    return _times(list(map(_since_epoch, values)), lambda unit: pa.timestamp(unit, zone))


def _zone_of(value: Any) -> str:
    """Name the zone of a datetime as Arrow does; refuse one that the name does not tell."""
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
    counts = [None if value is None else _length(value) for value in values]
    return _times(counts, pa.duration)


def _since_epoch(value: Any) -> int | None:
    """Count the nanoseconds since 1970, in UTC if there is a zone."""
    if value is None:
        return None
    if hasattr(value, "to_datetime64"):  # of pandas
        return _count(value.to_datetime64())
    start = _EPOCH if value.tzinfo is None else _EPOCH.replace(tzinfo=dt.UTC)
    return _length(value - start)


def _length(value: Any) -> int:
    """Count the nanoseconds of a duration."""
    if hasattr(value, "to_timedelta64"):
        return _count(value.to_timedelta64())
    seconds: int = value.days * 86_400 + value.seconds
    return (seconds * 10**6 + int(value.microseconds)) * 1000


def _count(scalar: Any) -> int:
    unit, step = np.datetime_data(scalar.dtype)
    return int(scalar.view(np.int64)) * step * _NANOSECONDS[unit]


def _times(counts: list[int | None], kind: Callable[[str], pa.DataType]) -> pa.Array:
    """Make times of counts of nanoseconds: in microseconds, unless that loses something."""
    exact = all(count is None or count % 1000 == 0 for count in counts)
    if exact:
        counts = [None if count is None else count // 1000 for count in counts]
    if not all(count is None or -(2**63) < count < 2**63 for count in counts):
        raise ObjectsError("no unit of Arrow's holds all of their times")
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
    "str": lambda values: of_strings(values, pa.string()),
    "bytes": lambda values: of_strings(values, pa.binary()),
    "bytearray": lambda values: of_strings(values, pa.binary()),
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
