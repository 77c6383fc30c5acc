"""Python objects to Arrow: each kind is converted exactly or refused, without inference."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.each import for_each
from support.ids import stable_repr

from numpack import (
    CopyWarning,
    UnsupportedError,
    explain,
    share,
)
from numpack.io import numpy_to_arrow_zero_copy

pytestmark = pytest.mark.filterwarnings("ignore::numpack.CopyWarning")
UTC, TOKYO = dt.UTC, zoneinfo.ZoneInfo("Asia/Tokyo")
NOON = dt.datetime(2020, 1, 1, 12)
EXACT = pd.Timestamp("2024-01-01 00:00:00.123456789")


def objects(*values) -> np.ndarray:
    """Return a 1-D array of any objects."""
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def to_arrow(*values, **options) -> pa.Array:
    return numpy_to_arrow_zero_copy(objects(*values), **options)


WHOLE = [
    ([None, None], pa.null()),
    ([np.int8(1), np.int8(2)], pa.int8()),
    ([np.int8(1), 300], pa.int64()),
    ([0, 2**64 - 1], pa.uint64()),
    ([np.float32(0.1), None], pa.float32()),
    ([np.float16(1.5), 0.25], pa.float64()),
    (["a\0b", None, ""], pa.string()),
    ([b"a\0", b""], pa.binary()),
    ([decimal.Decimal("1.10"), decimal.Decimal("2.5")], pa.decimal128(3, 2)),
    ([NOON, None], pa.timestamp("us")),
    ([NOON.replace(tzinfo=TOKYO)], pa.timestamp("us", "Asia/Tokyo")),
    ([NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=-3)))], pa.timestamp("us", "-03:00")),
    ([dt.date(9999, 12, 31)], pa.date32()),
    ([dt.time(1, 2, 3, 4)], pa.time64("us")),
    ([dt.timedelta(days=-1, microseconds=1)], pa.duration("us")),
    ([uuid.UUID(int=5), None], pa.uuid()),
    ([pa.MonthDayNano([1, 2, 3]), None], pa.month_day_nano_interval()),
    ([[["a"], None], None, []], pa.list_(pa.list_(pa.string()))),
    ([{"a": [1]}, None, {"a": None}], pa.struct({"a": pa.list_(pa.int64())})),
    ([{}, None], pa.struct([])),
]


@for_each(("values", "kind"), WHOLE, ids=lambda each: str(each)[:50])
def test_objects_of_one_kind_are_converted_exactly(values, kind):
    assert explain(objects(*values), "arrow").supported
    array = to_arrow(*values)
    array.validate(full=True)
    assert array.type == kind
    assert array.to_pylist() == values
    nested = to_arrow(values, None, [])
    assert nested.to_pylist() == [values, None, []]
    assert to_arrow(*values, type=kind).equals(array)


@for_each(
    ("given", "count", "kind"),
    [
        (EXACT, EXACT.value, pa.timestamp("ns")),
        (EXACT.tz_localize("Asia/Tokyo"), EXACT.value - 9 * 3600 * 10**9, None),
        (pd.Timedelta(1501, "ns"), 1501, pa.duration("ns")),
        (np.datetime64(5, "25s"), 125, pa.timestamp("s")),
        (np.datetime64("2020-01", "M"), 18262, pa.date32()),
        (np.timedelta64(3, "7ms"), 21, pa.duration("ms")),
    ],
)
def test_times_keep_their_nanoseconds_and_multiples(given, count, kind):
    for values in ([given], [given, None], [given, pd.NaT]):
        array = to_arrow(*values)
        assert kind in (None, array.type)
        inner = [array, to_arrow([given]).values, to_arrow({"a": given}).field("a")]
        for each in inner:
            assert each.type == array.type
            width = pa.int32() if pa.types.is_date32(each.type) else pa.int64()
            assert each[:1].cast(width).to_pylist() == [count]
        assert array.null_count == len(values) - 1
    mixed = to_arrow(EXACT.to_pydatetime(warn=False), EXACT)
    assert mixed.cast(pa.int64()).to_pylist() == [EXACT.value - 789, EXACT.value]


MISSING = [
    (["a", np.nan, None, pd.NA, pd.NaT], ["a"] + [None] * 4),
    ([NOON, pd.NaT, pd.NA], [NOON, None, None]),
    ([1, pd.NA], [1, None]),
    ([np.datetime64("2020-01-01", "s"), np.datetime64("NaT"), None], [NOON, None, None]),
    ([["a", np.nan], [pd.NA]], [["a", None], [None]]),
    ([np.datetime64("NaT"), None], [None, None]),
    ([pd.NaT], [None]),
]


@for_each(("values", "want"), MISSING, ids=str)
def test_missing_values_of_pandas_are_null(values, want):
    array = to_arrow(*values)
    found = array.to_pylist()
    assert [each is None for each in found] == [each is None for each in want]
    if isinstance(want[0], str | int | list):
        assert found == want
    if len(values) == 2 and values[0] == 1:
        assert share(pd.Series(values, dtype=object), "arrow").to_pylist() == want


ARRAYS = [
    ([np.array(["a"]), np.array(["bcd"])], [["a"], ["bcd"]]),
    ([np.array([1.5, np.nan], "f4"), None], None),
    ([np.arange(2), np.arange(0), np.arange(3)], [[0, 1], [], [0, 1, 2]]),
    ([np.arange(4).reshape(2, 2)], [[[0, 1], [2, 3]]]),
    ([np.ma.array([1, 2], mask=[0, 1]), np.arange(1)], [[1, None], [0]]),
    ([np.array(5), 6], [5, 6]),
    ([np.arange(2, dtype=">i4")], [[0, 1]]),
    ([np.array([1, 2], "m8[7s]")], [[dt.timedelta(seconds=7), dt.timedelta(seconds=14)]]),
    ([np.array(["a", None], np.dtypes.StringDType(na_object=None))], [["a", None]]),
]


@for_each(("values", "want"), ARRAYS, ids=str)
def test_arrays_inside_objects_are_converted_exactly(values, want):
    array = to_arrow(*values)
    array.validate(full=True)
    if want is None:
        assert array.type == pa.list_(pa.float32())
        assert np.isnan(array[0][1].as_py())
    else:
        assert array.to_pylist() == want


def _itself(kind: type):
    made = kind()
    made.append(made) if kind is list else made.update(a=made)
    return made


def _deep(depth: int):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def _twice(depth: int):
    value = [1]
    for _ in range(depth):
        value = [value, value]
    return value


REFUSED = {
    "long double": [np.longdouble(1)],
    "wider than 64 bits": [2**64],
    "both signs": [-1, 2**63],
    "bool and int": [True, 1],
    "int and float32": [1, np.float32(0.5)],
    "str and bytes": ["a", b"a"],
    "NaN among bytes": [b"a", np.nan],
    "NaN among bools": [True, np.nan],
    "no number": [decimal.Decimal("NaN")],
    "two zones": [NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=TOKYO)],
    "a zone of seconds": [NOON.replace(tzinfo=dt.timezone(dt.timedelta(seconds=5)))],
    "two units": [np.datetime64(1, "s"), np.datetime64(1, "ms")],
    "too long": [dt.timedelta.max],
    "picoseconds": [np.datetime64(1, "ps")],
    "set": [{1}],
    "range": [range(3)],
    "interval": [pd.Interval(1, 2)],
    "numbers as keys": [{1: 2}],
    "half a character": ["\ud800"],
    "struct": [np.zeros(1, "i4,f8")],
    "list in itself": [_itself(list)],
    "dict in itself": [_itself(dict)],
    "5,000 lists": [_deep(5000)],
    "65 lists": [_deep(65)],
    "doubled 60 times": [_twice(60)],
}


@for_each("name", REFUSED)
def test_objects_that_arrow_would_change_are_refused(name):
    array = objects(*REFUSED[name])
    route = explain(array, "arrow")
    assert not route.supported
    for copy in (None, True):
        with pytest.raises(UnsupportedError, match="Arrow cannot hold these values") as caught:
            share(array, "arrow", copy=copy)
        assert caught.value.fix == route.fix
    expression = route.fix.partition(": ")[2]
    if expression:
        fixed = eval(expression, {"array": array, "np": np, "datetime": dt})
        assert explain(fixed, "arrow").supported


def test_array_that_contains_itself_is_refused():
    array = objects(None)
    array[0] = array
    with pytest.raises(UnsupportedError, match="contain themselves"):
        share(array, "arrow")


STRING = np.dtypes.StringDType


@pytest.mark.parametrize(
    "array",
    [
        np.array([], "U5"),
        np.array([], STRING()),
        np.ma.array(np.array(["a"]), mask=[True]),
        np.array([np.nan], STRING(na_object=np.nan)),
        np.array([pd.NA, None], object).astype(STRING(na_object=pd.NA), copy=False)[:1],
    ],
    ids=["U", "StringDType", "masked", "NaN", "NA"],
)
def test_string_arrays_without_strings_keep_their_type(array):
    assert numpy_to_arrow_zero_copy(array).type == pa.string()


def test_nanoseconds_of_objects_reach_polars():
    series = share(pd.Series([EXACT, None], dtype=object), "polars")
    assert series.dtype.time_unit == "ns"
    assert series.to_physical()[0] == EXACT.value


@for_each(
    "objects",
    [[1, "a"], [1j], [2**70], [2**53 + 1, 0.5], ["\ud800"], [object()], [True, 2]],
    ids=stable_repr,
)
def test_objects_that_arrow_cannot_infer_are_refused(objects):
    a = np.array(objects, object)
    assert not explain(a, "arrow").supported
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match="Arrow cannot hold these values"):
            numpy_to_arrow_zero_copy(a, copy=copy)


DAY, UTC = dt.date(2020, 1, 1), dt.UTC


@for_each(
    "objects",
    [
        [1, np.float16(1.5)],
        [DAY, NOON],
        [NOON, NOON.replace(tzinfo=UTC)],
        [dt.time(1, tzinfo=UTC)],
        ["a", b"b"],
        [np.datetime64("2020"), np.datetime64("2020-01-01T05")],
        [[1], [np.float16(1.5)]],
        [{"a": DAY}, {"a": NOON}],
        [np.zeros(1, "f4"), np.zeros(1, "i8")],
    ],
    ids=repr,
)
def test_objects_that_arrow_would_coerce_are_refused(objects):
    a = np.empty(len(objects), object)
    a[:] = objects
    assert not explain(a, "arrow").supported
    with pytest.raises(UnsupportedError, match="several kinds|times of day with a zone"):
        numpy_to_arrow_zero_copy(a)


@for_each(
    "objects",
    [
        [1, 0.5, None],
        [np.int8(1), 2],
        ["a", np.str_("b"), None],
        [True, np.False_],
        [NOON, None],
        [NOON.replace(tzinfo=UTC)],
        [decimal.Decimal("1.5"), 2],
        [[1], [2, None], None],
        [{"a": 1}, {"a": 2, "b": "x"}],
    ],
    ids=repr,
)
def test_objects_of_one_kind_round_trip(objects):
    a = np.empty(len(objects), object)
    a[:] = objects
    with pytest.warns(CopyWarning):
        found = numpy_to_arrow_zero_copy(a).to_pylist()
    if objects[0] == {"a": 1}:
        objects = [{"a": 1, "b": None}, {"a": 2, "b": "x"}]
    assert found == objects
