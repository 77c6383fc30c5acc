"""Wrappers of arrays and tables, lists of arrays, and buffers and tensors of pyarrow."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from numpack import (
    CopyWarning,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)

# Stand-ins for packages that need not be installed: adapters match the names of types


class Native:
    """Stand-in for a Narwhals frame or series, itself a producer of Arrow data."""

    __module__ = "narwhals.dataframe"

    def __init__(self, native):
        self.native = native

    def to_native(self):
        return self.native

    def __arrow_c_stream__(self, requested_schema=None):
        raise AssertionError("what it wraps is asked, and not the wrapper")


class Dataset:
    """Stand-in for a Hugging Face dataset: a table and the indices of the selected rows."""

    __module__ = "datasets.arrow_dataset"

    def __init__(self, table, indices=None):
        self.data = type("Table", (), {"table": table})()
        self._indices = indices

    def with_format(self, kind):
        assert kind == "arrow"
        return self

    def __getitem__(self, key):
        return self.data.table.take(self._indices) if isinstance(key, slice) else None

    def flatten_indices(self):
        return Dataset(self[:])

    def __len__(self):
        return len(self.data.table if self._indices is None else self._indices)


class Column:
    __module__ = "datasets.arrow_dataset"

    def __init__(self, source, column_name):
        self.source, self.column_name = source, column_name

    def __len__(self):
        return len(self.source)


TABLE = pa.table({"a": [1, 2, 3], "s": [{"u": 1.5}, None, {"u": 2.5}]})


def test_narwhals_objects_are_unwrapped():
    for native in (pl.Series([1.0, 2.0]), pd.Series([1.0, 2.0])):
        array = share(Native(native), "numpy", copy=False)
        assert np.shares_memory(array, share(native, "numpy"))
    for copy in (None, False):
        kept = share(Native(pd.Series([1.0, np.nan])), "arrow", copy=copy)
        assert kept.null_count == 0
    route = explain(Native(pd.Series([True])), "arrow")
    assert (route.source, route.shares_memory) == ("pandas", False)
    frame = Native(pl.DataFrame({"a": [1, 2], "b": [1.5, 2.5]}))
    assert share(frame, "torch", column="a", copy=True).tolist() == [1, 2]
    with pytest.raises(UnsupportedError):
        share(frame, "numpy")
    with pytest.raises(UnsupportedError, match=r"lazy\.collect"):
        share(Native(pl.LazyFrame({"a": [1]})), "numpy")


def test_wrapper_without_an_array_is_refused():
    expression = type("Expr", (), {"__module__": "narwhals.expr"})()
    for call in (share, explain):
        with pytest.raises(WrongTypeError, match="computed"):
            call(expression, "numpy")
    with pytest.raises(WrongTypeError):
        share(Native(Native(expression)), "numpy")


def test_datasets_share_their_table():
    whole = Dataset(TABLE)
    assert share(whole, "arrow", copy=False) is TABLE
    for column in (Column(whole, "a"), Dataset(TABLE.select(["a"]))):
        array = share(column, "numpy", copy=False)
        assert array.tolist() == [1, 2, 3]
        assert array.ctypes.data == TABLE["a"].chunk(0).buffers()[1].address
        assert explain(column, "torch").shares_memory
    assert share(whole, "numpy", column="a", copy=False).tolist() == [1, 2, 3]
    nested = share(Column(Column(whole, "s"), "u"), "arrow", copy=False)
    assert nested.to_pylist() == [1.5, None, 2.5]
    with pytest.raises(WrongTypeError, match="column="):
        share(whole, "numpy")


def test_selected_rows_of_a_dataset_are_gathered_with_a_warning():
    chosen = Dataset(TABLE, pa.array([2, 0]))
    for x, options in ((chosen, {"column": "a"}), (Column(chosen, "a"), {})):
        route = explain(x, "numpy", **options)
        assert not route.shares_memory
        assert "flatten_indices()" in route.fix
        with pytest.raises(ZeroCopyError, match="gathered"):
            share(x, "numpy", copy=False, **options)
        with pytest.warns(CopyWarning):
            assert share(x, "numpy", **options).tolist() == [3, 1]
        own = share(x, "numpy", copy=True, **options)
        assert (own.tolist(), own.flags.writeable) == ([3, 1], True)
    assert not explain(chosen, "polars").shares_memory
    with pytest.warns(CopyWarning):
        assert share(chosen, "polars")["a"].to_list() == [3, 1]
    assert explain(chosen.flatten_indices(), "arrow").shares_memory


def test_other_objects_of_datasets_are_refused():
    stream = type("IterableDataset", (), {"__module__": "datasets.iterable_dataset"})()
    with pytest.raises(WrongTypeError, match="collect its rows"):
        share(stream, "numpy")


def test_keras_variables_are_unwrapped():
    variable = keras.Variable(np.arange(3, dtype="f4"))
    one, other = share(variable, "numpy"), share(variable, "numpy")
    assert one.tolist() == [0, 1, 2]
    assert np.shares_memory(one, other) == explain(variable, "numpy").shares_memory
    assert share(variable, "torch", copy=True).tolist() == [0, 1, 2]
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert share(layer.kernel, "numpy").shape == (3, 2)
    with pytest.raises(WrongTypeError, match=r"x\.variables\[0\]"):
        share(layer, "numpy")
    with pytest.raises(WrongTypeError, match="has a value"):
        share(keras.KerasTensor((2,)), "numpy")


def test_lists_of_tensors_are_stacked():
    for each in (torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.bfloat16)):
        stacked = share([each, each], "numpy", copy=True)
        assert stacked.tolist() == [[1, 1], [1, 1]]
        with pytest.warns(CopyWarning):
            back = share([each, each], "torch")
        assert torch.equal(back, torch.stack([each, each]))
    mixed = share([np.zeros(2, "f4"), torch.ones(2)], "numpy", copy=True)
    assert mixed.tolist() == [[0, 0], [1, 1]]


# Memory of pyarrow other than columns -----------------------------------------------------


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


# Producers of the Arrow PyCapsule interface -----------------------------------------------


class PanicError(BaseException):
    pass


@pytest.mark.parametrize("protocol", ["__arrow_c_array__", "__arrow_c_stream__"])
@pytest.mark.parametrize("target", ["numpy", "arrow", "polars", "duckdb"])
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
