"""The option `type=` of Arrow."""

from __future__ import annotations

import datetime as dt
import decimal
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.each import for_each
from support.memory import address

from numpack import (
    CopyWarning,
    UnsupportedError,
    ZeroCopyError,
    explain,
)
from numpack.io import numpy_to_arrow_zero_copy


def last_buffer(array: pa.Array) -> int:
    return [each for each in array.buffers() if each is not None][-1].address


@pytest.mark.parametrize(
    ("a", "kind"),
    [
        (np.zeros(3, "M8[ms]"), pa.timestamp("ms", "UTC")),
        (np.zeros(3, "S16"), pa.uuid()),
        (np.zeros(3, "V16"), pa.uuid()),
        (np.zeros(3, "i8"), pa.int64()),
        (np.zeros(3, bool), pa.bool8()),
    ],
    ids=str,
)
def test_type_of_the_same_layout_is_shared(a, kind):
    assert explain(a, "arrow", type=kind).shares_memory
    array = numpy_to_arrow_zero_copy(a, type=kind, copy=False)
    assert array.type == kind
    assert last_buffer(array) == address(a)


@for_each(
    ("a", "kind", "values"),
    [
        (np.array([1, 2]), pa.int8(), [1, 2]),
        (np.array([1, 2]), pa.float64(), [1, 2]),
        (np.array([1.5, np.nan]), pa.float32(), None),
        (np.array([1, 2]), pa.timestamp("s"), None),
        (np.array([True, False]), pa.int8(), [1, 0]),
        (np.array([True, False]), pa.bool_(), [True, False]),
        (np.array([b"a", b"bc"]), pa.binary(), [b"a", b"bc"]),
        (np.array(["a"]), pa.large_string(), ["a"]),
        (np.array([1, 2]), pa.string(), ["1", "2"]),
    ],
    ids=str,
)
def test_other_type_is_cast_to_new_memory(a, kind, values):
    route = explain(a, "arrow", type=kind)
    assert route.supported
    assert not route.shares_memory
    with pytest.warns(CopyWarning):
        array = numpy_to_arrow_zero_copy(a, type=kind)
    assert array.type == kind
    assert values is None or array.to_pylist() == values
    with pytest.raises(ZeroCopyError):
        numpy_to_arrow_zero_copy(a, type=kind, copy=False)
    if a.dtype.kind == "i":  # pyarrow itself would share the buffer
        assert last_buffer(array) != address(a)


@for_each(
    ("a", "kind"),
    [
        (np.array([300]), pa.int8()),
        (np.array([1.5]), pa.int32()),
        (np.array([0.1]), pa.float32()),
        (np.array([1e300]), pa.float16()),
        (np.array([2**53 + 1]), pa.float64()),
        (np.array(["x"]), pa.int64()),
        (np.array([1]), pa.list_(pa.int64())),
        (np.array([0, 2, 5]), pa.bool_()),
        (np.array([2049, 100000]), pa.float16()),
        (np.array(["2020-01-01T12:34:56"], "M8[s]"), pa.date32()),
        (np.array(["2020-01-01T12:34:56"], "M8[s]"), pa.date64()),
        (np.array(["2020-01-01T12:34:56"], "M8[s]"), pa.time32("s")),
    ],
    ids=str,
)
def test_cast_that_changes_values_is_refused(a, kind):
    assert not explain(a, "arrow", type=kind).supported
    with pytest.raises(UnsupportedError, match="Zero-copy conversion to Arrow failed"):
        numpy_to_arrow_zero_copy(a, type=kind)


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


def _masked(values: list) -> np.ndarray:
    return np.ma.array(np.array(values), mask=[True] * len(values))


PAIRS = pa.map_(pa.string(), pa.int64())
POINT = pa.struct([("x", pa.int64()), ("y", pa.string())])
RUNS = pa.run_end_encoded(pa.int32(), pa.int64())
TYPED = {
    "None as string": (objects(None, None), pa.string(), [None, None]),
    "None as int64": (objects(None, None), pa.int64(), [None, None]),
    "nothing": (objects(), pa.string(), []),
    "uint64": (objects(1, 2**64 - 1), pa.uint64(), [1, 2**64 - 1]),
    "masked bytes": (_masked([b"a"]), pa.binary(), [None]),
    "masked strings": (_masked(["a"]), pa.large_string(), [None]),
    "list_view": (objects([1], None), pa.list_view(pa.int64()), [[1], None]),
    "map": (objects([("a", 1)], None), PAIRS, [[("a", 1)], None]),
    "map of dicts": (objects({"a": 1}), PAIRS, [[("a", 1)]]),
    "tuples": (objects((1, "a"), None), POINT, [{"x": 1, "y": "a"}, None]),
    "fewer keys": (objects({"x": 1}), POINT, [{"x": 1, "y": None}]),
    "runs": (np.array([1, 1, 2]), RUNS, [1, 1, 2]),
    "runs of objects": (objects(1, 1, 2), RUNS, [1, 1, 2]),
    "dictionary": (objects("a", "a"), pa.dictionary(pa.int8(), pa.string()), ["a", "a"]),
    "NaN": (objects("a", np.nan), pa.large_string(), ["a", None]),
    "zone": (objects(NOON), pa.timestamp("us", "UTC"), [NOON.replace(tzinfo=UTC)]),
    "wide list": (objects([1]), pa.large_list(pa.int8()), [[1]]),
}


@for_each("name", TYPED)
def test_requested_type_is_used(name):
    array, kind, want = TYPED[name]
    found = numpy_to_arrow_zero_copy(array, type=kind)
    found.validate(full=True)
    assert found.type == kind
    assert found.to_pylist() == want


@for_each(
    ("values", "kind"),
    [
        ([dt.datetime(2020, 1, 1, 5)], pa.date32()),
        ([EXACT], pa.timestamp("us")),
        ([0.1], pa.float32()),
        ([1.5], pa.int64()),
        ([{"x": 1, "z": 2}], POINT),
        ([(1, "a", 2)], POINT),
        ([decimal.Decimal("1.25")], pa.decimal128(5, 1)),
        ([[1, 2, 3]], pa.list_(pa.int64(), 2)),
        ([300], pa.int8()),
    ],
    ids=str,
)
def test_type_that_would_change_a_value_is_refused(values, kind):
    assert not explain(objects(*values), "arrow", type=kind).supported
    with pytest.raises(UnsupportedError, match="cannot hold"):
        to_arrow(*values, type=kind)
