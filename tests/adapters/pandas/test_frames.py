"""Frames of pandas: columns, labels, and frames that become one array."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from adapters.conformance import quietly
from support.each import for_each

from numpack import (
    CopyWarning,
    InvalidValueError,
    NotFoundError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)
from numpack.errors import IndexRangeError

ZONED = pd.date_range("2020", periods=3, tz="Europe/Berlin")


def test_columns_by_name_and_position():
    frame = pd.DataFrame({"a": [1], "b": [2.0], "c": ["x"], ("t", 1): [True]})
    for key, position in {"a": 0, "b": 1, -3: 1, np.int64(2): 2, ("t", 1): 3, 3: 3}.items():
        array, _ = quietly(frame, "numpy", column=key)
        assert array[0] == frame.iloc[0, position]
    with pytest.raises(NotFoundError, match="did you mean 'a'"):
        share(frame, "numpy", column="aa")
    with pytest.raises(IndexRangeError):
        share(frame, "numpy", column=4)
    for key in (True, ["a"]):
        with pytest.raises(WrongTypeError):
            share(frame, "numpy", column=key)
    with pytest.raises(WrongTypeError):
        share(frame["a"], "numpy", column="a")


def test_an_integer_is_a_label_where_labels_are_integers():
    frame = pd.DataFrame([[1, 2, 3.5]], columns=[1, 0, "x"])
    for key, value in {0: 2, 1: 1, "x": 3.5, np.int64(1): 1}.items():
        assert share(frame, "numpy", column=key).tolist() == [value]
    for key in (2, -1):
        with pytest.raises(NotFoundError, match=r"\[1, 0, 'x'\]"):
            share(frame, "numpy", column=key)
    twice = pd.DataFrame([[1, 2]], columns=[4, 4])
    with pytest.raises(InvalidValueError, match="pass the column itself: frame.iloc"):
        share(twice, "numpy", column=4)
    assert share(twice.iloc[:, 1], "numpy").tolist() == [2]


def test_unusual_labels():
    for labels in (
        [np.nan, 1.5],
        [pd.NA, "b"],
        [pd.NaT, pd.Timestamp("2020")],
        pd.interval_range(0, 2),
        pd.period_range("2020", periods=2),
        [b"a", "a"],
    ):
        frame = pd.DataFrame([[1, 2]], columns=pd.Index(labels))
        key = frame.columns[0]
        assert share(frame, "numpy", column=key).tolist() == [1], labels
    with pytest.raises(NotFoundError):
        share(frame, "numpy", column=b"b")


def test_columns_of_one_name_are_refused():
    with pytest.raises(InvalidValueError, match="2 columns"):
        share(pd.DataFrame([[1, 2]], columns=["a", "a"]), "numpy", column="a")


def test_frames_of_several_dtypes_are_refused():
    for frame in (
        pd.DataFrame({"a": [1], "b": [2.0]}),
        pd.DataFrame({"a": pd.array([1]), "b": pd.array([2.5])}),
        pd.DataFrame({"a": ZONED, "b": 1}),
        pd.DataFrame({"a": pd.array([1]), "b": pd.array([None], "Int64")}),
    ):
        for copy in (None, False, True):
            with pytest.raises(UnsupportedError, match=r"column=.*'a'"):
                share(frame, "numpy", copy=copy)
        assert share(frame, "numpy", column="a", copy=False).shape == (len(frame),)


FRAMES = {
    "nullable": pd.DataFrame({"a": pd.array([1, 2]), "b": pd.array([3, 4])}),
    "nullable and not": pd.DataFrame({"a": pd.array([1, 2]), "b": [3, 4]}),
    "missing": pd.DataFrame({"a": pd.array([1, None]), "b": pd.array([None, 2])}),
    "Arrow": pd.DataFrame({"a": [1.5, 2], "b": [2.5, 3]}).astype("float64[pyarrow]"),
    "Arrow and not": pd.DataFrame({"a": [1.5, 2.0]}).astype("float64[pyarrow]").assign(b=0.5),
    "bool": pd.DataFrame({"a": pd.array([True, False]), "b": [False, True]}),
    "categories": pd.DataFrame({"a": [1, 2], "b": [2, 2]}).astype("category"),
    "strings": pd.DataFrame({"a": ["x", None], "b": ["y", "z"]}),
    "zoned": pd.DataFrame({"a": ZONED[:2], "b": ZONED[1:3]}),
}


@for_each("kind", FRAMES)
def test_frames_whose_columns_become_one_dtype(kind):
    frame = FRAMES[kind]
    route = explain(frame, "numpy")
    assert route.supported
    assert not route.shares_memory
    with pytest.raises(ZeroCopyError):
        share(frame, "numpy", copy=False)
    with pytest.warns(CopyWarning):
        warned = share(frame, "numpy")
    own = share(frame, "numpy", copy=True)
    assert own.flags.writeable
    for array in (warned, own):
        assert array.shape == frame.shape
        for i in range(frame.shape[1]):
            column = quietly(frame.iloc[:, i], "numpy")[0]
            assert array.dtype == column.dtype
            np.testing.assert_array_equal(array[:, i], column)
    if own.dtype.kind in "bif":
        np.testing.assert_array_equal(share(frame, "torch", copy=True).numpy(), own)


def test_frames_of_one_dtype_are_arrays():
    frame = pd.DataFrame(np.arange(4.0).reshape(2, 2), copy=False)
    assert share(frame, "arrow", copy=False).to_pylist() == [0, 1, 2, 3]
    assert share(frame, "arrow", layout="tensor", copy=False).type.shape == [2]
