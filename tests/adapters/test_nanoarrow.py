"""nanoarrow: Arrow memory by the PyCapsule interface, in both directions."""

from __future__ import annotations

import nanoarrow
import nanoarrow.device
import pyarrow as pa
import pytest
from adapters.conformance import (
    COPY,
    SHARE,
    ArrowLibrary,
    FromNumpyToColumns,
    ToNumpy,
    arrow_verdict,
)
from adapters.conformance.arrow_library import COLUMNS
from support.arrays import (
    LOWPREC,
    NATIVE,
    OTHERS,
    values,
)
from support.each import assert_each, for_each
from support.exchange.cells import TIMES
from support.oracles import nanoarrow as oracle

from numpack import CopyWarning, UnsupportedError, WrongTypeError, explain, share


def test_stream_is_read_once_and_not_by_explain():
    stream = nanoarrow.ArrayStream(pa.array([1, 2]))
    with pytest.raises(WrongTypeError, match="read more than once"):
        explain(stream, "numpy")
    assert share(stream, "numpy", copy=False).tolist() == [1, 2]
    with pytest.warns(CopyWarning, match="null"):
        share(nanoarrow.ArrayStream(pa.array([1, None])), "arrow", layout="flat")


@for_each("target", ["numpy", "arrow", "pandas", "polars", "arro3", "torch"])
def test_stream_is_read_once_through_numpy(target):
    options = {"arrow": {"layout": "flat"}, "torch": {}}.get(target, {"nulls": "mask"})
    for _ in range(2):
        stream = nanoarrow.ArrayStream(pa.array([1.5, None]))
        values = share(stream, target, copy=True, **options)
        assert share(values, "numpy", copy=True)[0] == 1.5
    table = nanoarrow.ArrayStream(pa.table({"a": [1.5], "b": [2.5]}))
    values = share(table, target, column="b", copy=True)
    assert share(values, "numpy", copy=True)[0] == 2.5


VIEWS = [
    pa.array(["x", "a string of more than twelve bytes"], pa.string_view()),
    pa.array([b"x"], pa.binary_view()),
    pa.array([["x"]], pa.list_(pa.string_view())),
    pa.table({"a": [1], "b": pa.array(["x"], pa.string_view())}),
    pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["x"], pa.string_view())),
]


@pytest.mark.parametrize("column", VIEWS, ids=lambda each: str(getattr(each, "type", "table")))
def test_string_views_are_refused(column):
    assert not explain(column, "nanoarrow").supported
    with pytest.raises(UnsupportedError, match="to nanoarrow failed.*cast them to string"):
        share(column, "nanoarrow", copy=True)


def test_stream_of_views_is_refused_before_it_is_read():
    class Views:
        schema = nanoarrow.c_schema(pa.string_view())

    Views.__module__ = "nanoarrow"  # creating a real one would already corrupt memory
    assert not explain(Views(), "numpy").supported
    for target in ("numpy", "arrow", "polars"):
        with pytest.raises(
            UnsupportedError, match="from nanoarrow failed.*cast them to string"
        ):
            share(Views(), target)


def test_device_array_on_the_host_is_shared():
    column = pa.array([1, 2])
    array = nanoarrow.device.c_device_array(column)
    found = share(array, "numpy", copy=False)
    assert found.__array_interface__["data"][0] == oracle.arrow.address(column)


@pytest.mark.parametrize(
    "obj",
    [nanoarrow.int32(), nanoarrow.c_buffer(b"abc"), nanoarrow.c_schema(nanoarrow.int8())],
)
def test_other_objects_are_refused(obj):
    with pytest.raises(WrongTypeError, match="an array or a table of nanoarrow"):
        share(obj, "numpy")


class TestFromNumpy(FromNumpyToColumns):
    target = "nanoarrow"
    dtypes = (*NATIVE, *LOWPREC[:2], *TIMES, *OTHERS)

    def expected(self, name, layout, array):
        return arrow_verdict(name, layout, array)


class TestToNumpy(ToNumpy):
    source = "nanoarrow"
    names = tuple(n for n in (*NATIVE, *LOWPREC) if oracle.make(values(n)) is not None)
    keeps_shape = False

    def expected(self, name, shape):
        return COPY if name == "bool" else SHARE


class TestColumns(ArrowLibrary):
    name = "nanoarrow"

    def array(self, column):
        return nanoarrow.Array(column)


def test_arrays_without_methods_are_shared_read_only():
    check = TestColumns().check_column
    assert_each(COLUMNS, lambda column: check(nanoarrow.c_array(column), column))
