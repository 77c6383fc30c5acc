"""Wrappers of arrays: Narwhals and Keras."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import polars as pl
import pytest

from numpack import (
    UnsupportedError,
    WrongTypeError,
    explain,
    share,
)


class Native:
    """Stand-in for a Narwhals frame or series, itself a producer of Arrow data."""

    __module__ = "narwhals.dataframe"

    def __init__(self, native):
        self.native = native

    def to_native(self):
        return self.native

    def __arrow_c_stream__(self, requested_schema=None):
        raise AssertionError("what it wraps is asked, and not the wrapper")


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
