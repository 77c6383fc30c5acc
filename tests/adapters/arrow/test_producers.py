"""Producers of the Arrow PyCapsule interface, and streams."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.each import for_each
from support.memory import address

from numpack import (
    CopyWarning,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)
from numpack.io import arrow_to_numpy_zero_copy

NUMBERS = np.arange(1, 13)


class Exporter:
    """An Arrow array of another library, which has only the PyCapsule interface."""

    def __init__(self, array):
        self.array = array


class ArrayExporter(Exporter):
    def __arrow_c_array__(self, requested_schema=None):
        return self.array.__arrow_c_array__(requested_schema)


class StreamExporter(Exporter):
    def __len__(self):
        return len(self.array)

    def __arrow_c_stream__(self, requested_schema=None):
        return self.array.__arrow_c_stream__(requested_schema)


def test_pycapsule_interface_of_other_libraries():
    array = pa.array(NUMBERS)
    for foreign in (ArrayExporter(array), StreamExporter(pa.chunked_array([array]))):
        assert explain(foreign, "torch").shares_memory
        result = arrow_to_numpy_zero_copy(foreign, copy=False)
        assert address(result) == array.buffers()[1].address


def test_explain_does_not_consume_a_stream():
    reader = pa.table({"a": [1, 2]}).to_reader()
    with pytest.raises(WrongTypeError, match="read more than once.*pyarrow.chunked_array"):
        explain(reader, "numpy")
    with pytest.warns(CopyWarning):
        assert len(share(reader, "numpy")) == 2


def reader_of_two():
    return pa.table({"a": [1.5, 2.5], "b": [3.5, 4.5]}).to_reader()


@for_each(
    "target", ["numpy", "torch", "arrow", "pandas", "polars", "nanoarrow", "arro3", "xarray"]
)
def test_column_of_a_stream(target):
    column = share(reader_of_two(), target, column="b", copy=True)
    assert share(column, "numpy").tolist() == [3.5, 4.5]


@pytest.mark.parametrize("target", ["arrow", "pandas", "polars", "nanoarrow", "arro3"])
def test_stream_of_structs_is_a_table(target):
    table = share(reader_of_two(), target, copy=True)
    assert share(table, "numpy", column="a").tolist() == [1.5, 2.5]
    assert share(table, "numpy", column="b").tolist() == [3.5, 4.5]


def test_buffers_of_arrow_are_shared():
    values = np.arange(4.0)
    for make in (pa.py_buffer, pa.foreign_buffer):
        given = (values,) if make is pa.py_buffer else (values.ctypes.data, 32, values)
        array = share(make(*given), "numpy", format="f8", copy=False)
        assert np.shares_memory(array, values)
        assert array.tolist() == values.tolist()
    fresh = pa.allocate_buffer(8, resizable=True)
    array = share(fresh, "numpy", copy=False)
    array[:] = 7
    assert fresh.to_pybytes() == bytes([7] * 8)


def test_tensors_of_arrow_are_shared_with_their_strides():
    for values in (np.arange(6.0).reshape(2, 3), np.arange(6, dtype="i2").reshape(2, 3).T):
        array = share(pa.Tensor.from_numpy(values), "numpy", copy=False)
        assert array.strides == values.strides
        assert np.shares_memory(array, values)
        np.testing.assert_array_equal(array, values)
        assert explain(pa.Tensor.from_numpy(values), "torch").shares_memory


class PanicError(BaseException):
    pass


@for_each("protocol", ["__arrow_c_array__", "__arrow_c_stream__"])
@for_each("target", ["numpy", "arrow", "polars", "duckdb"])
def test_errors_of_a_producer_become_unsupported_error(protocol, target):
    for error in (
        RuntimeError("out of cheese"),
        PanicError("out of cheese"),
        KeyError("cheese"),
    ):

        def fail(self, requested_schema=None, error=error):
            raise error

        x = type("Raising", (), {protocol: fail, "__len__": lambda self: 1})()
        route = explain(x, target)
        assert not route.supported
        assert "cheese" in route.reason
        with pytest.raises(UnsupportedError, match="cheese") as caught:
            share(x, target)
        assert caught.value.__cause__ is error


class Converting:
    """A producer whose column is created at each request."""

    def __init__(self, make):
        self.make = make

    def __arrow_c_stream__(self, requested_schema=None):
        return self.make().__arrow_c_stream__(requested_schema)

    def __len__(self):
        return 3


def column():
    return pa.chunked_array([pa.array(np.arange(3.0) + 1)])


@pytest.mark.parametrize("make", [column, lambda: pa.table({"a": column()})])
def test_conversion_by_the_producer_is_reported(make):
    x = Converting(make)
    options = {} if make is column else {"column": "a"}
    for target, more in (("arrow", {}), ("numpy", options), ("polars", {})):
        route = explain(x, target, **more)
        assert route.supported
        assert not route.shares_memory
        assert route.nbytes == 24
        with pytest.raises(ZeroCopyError, match="at every export|at each request"):
            share(x, target, copy=False, **more)
        with pytest.warns(CopyWarning, match="at every export|at each request"):
            share(x, target, **more)
        share(x, target, copy=True, **more)
    assert share(x, "numpy", copy=True, **options).tolist() == [1, 2, 3]


def test_producer_of_the_same_buffers_is_shared():
    kept = column()
    x = Converting(lambda: kept)
    assert explain(x, "numpy").shares_memory
    array = share(x, "numpy", copy=False)
    assert array.ctypes.data == kept.chunk(0).buffers()[1].address
