"""Arrays over exported Arrow arrays of numbers; None for all others."""

from __future__ import annotations

import gc

import numpy as np
import pyarrow as pa
import pytest
from support.each import for_each

from numpack._dlpack.arrow_arrays import exported_numbers, view_arrow

NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
OTHERS = {
    "nulls": pa.array([1, None]),
    "empty": pa.array([], pa.int64()),
    "bool": pa.array([True]),
    "text": pa.array(["a"]),
    "date": pa.array([1], pa.int32()).cast(pa.date32()),
    "timestamp": pa.array([1], pa.timestamp("s")),
    "dictionary": pa.array([1, 1]).dictionary_encode(),
    "list": pa.array([[1]]),
    "struct": pa.array([{"a": 1}]),
    "null": pa.nulls(2),
    "extension": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())),
}


@for_each("name", [*NUMBERS, *FLOATS])
def test_numbers_are_viewed(name):
    column = pa.array(np.arange(5).astype(name))[1:4]
    found = view_arrow(column.__arrow_c_array__())
    assert found.tolist() == [1, 2, 3]
    assert found.dtype == name
    assert not found.flags.writeable
    itemsize = found.itemsize
    assert found.ctypes.data == column.buffers()[1].address + itemsize


def test_view_owns_the_export():
    found = view_arrow(pa.array([1.0, 2.0]).__arrow_c_array__())
    part = found[1:]
    del found
    gc.collect()
    others = [pa.array([0.0, 0.0]) for _ in range(100)]
    assert part.tolist() == [2.0]
    del others


@for_each("name", OTHERS)
def test_others_are_left_unchanged(name):
    exported = OTHERS[name].__arrow_c_array__()
    assert view_arrow(exported) is None
    assert pa.Array._import_from_c_capsule(*exported).equals(OTHERS[name])


def test_consumed_export_is_declined():
    exported = pa.array([1.0]).__arrow_c_array__()
    assert view_arrow(exported) is not None
    assert view_arrow(exported) is None


@for_each("exported", [(1, 2), (None, None)])
def test_what_is_no_capsule_raises(exported):
    with pytest.raises(ValueError, match="PyCapsule"):
        view_arrow(exported)


def test_export_is_passed_on():
    column = pa.array([1, None, 3])
    found = exported_numbers(column.__arrow_c_array__())
    assert pa.array(found).equals(column)
    assert exported_numbers(pa.array(["a"]).__arrow_c_array__()) is None
