"""pandas and Arrow: tables, columns with nulls, names, and pandas without pyarrow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from adapters.conformance import quietly
from support.each import for_each
from support.memory import address
from support.oracles import oracle

from numpack import (
    InvalidValueError,
    UnsupportedError,
    ZeroCopyError,
    explain,
    share,
)

ZONED = pd.date_range("2020", periods=3, tz="Europe/Berlin")


def buffers(column: pa.Array | pa.ChunkedArray) -> list:
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return [buffer and buffer.address for chunk in chunks for buffer in chunk.buffers()]


def mixed() -> pa.Table:
    return pa.table(
        {
            "i": pa.chunked_array([[1, None], [2**60]]),
            "s": ["a", None, "é"],
            "z": pa.array([1, 2, None], pa.timestamp("us", "Europe/Berlin")),
            "d": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    )


def test_tables_are_shared_and_round_trip():
    table = mixed()
    assert explain(table, "pandas").shares_memory
    frame = share(table, "pandas", copy=False)
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in frame.dtypes)
    back = share(frame, "arrow", copy=False)
    assert back.equals(table)
    for one, other in zip(back.columns, table.columns, strict=True):
        assert buffers(one) == buffers(other)
    own = share(share(table, "pandas", copy=True), "arrow")
    assert own.equals(table)
    assert not set(buffers(own["i"])) & set(buffers(table["i"])) - {None}


def test_write_to_an_arrow_series_does_not_change_the_source():
    table = mixed()
    frame = share(table, "pandas")
    frame.loc[0, "i"] = 9
    assert table["i"][0].as_py() == 1


def test_columns_with_dtype_backend():
    column = pa.chunked_array([[1, None], [3]])
    series = share(column, "pandas", dtype_backend="pyarrow", copy=False)
    assert series.dtype == pd.ArrowDtype(pa.int64())
    assert buffers(share(series, "arrow", copy=False)) == buffers(column)
    values = np.arange(3.0)
    series = share(values, "pandas", dtype_backend="pyarrow", copy=False)
    assert oracle("pandas").address(series) == address(values)
    with pytest.raises(InvalidValueError, match="dtype_backend"):
        share(values, "pandas", dtype_backend="numpy")
    with pytest.raises(UnsupportedError):
        share(np.zeros((2, 2)), "pandas", dtype_backend="pyarrow")


def test_columns_are_converted_through_numpy_by_default():
    column = pa.array([1, None])
    series, copied = quietly(column, "pandas")
    assert copied
    assert series.dtype == np.float64
    nullable = share(column, "pandas", nulls="mask", copy=False)
    assert nullable.dtype == pd.Int64Dtype()
    assert oracle("pandas").address(nullable) == column.buffers()[1].address


def test_nullable_columns_become_nulls():
    series = pd.Series([2**60, None], dtype="Int64")
    column = share(series, "arrow", copy=False)
    assert column.to_pylist() == [2**60, None]
    assert column.buffers()[1].address == oracle("pandas").address(series)
    strided = pd.Series([1, 2, None], dtype="Int64")[::2]
    flags = pd.Series([True, None], dtype="boolean")
    for source, want in ((strided, [1, None]), (flags, [True, None])):
        assert not explain(source, "arrow").shares_memory
        with pytest.raises(ZeroCopyError):
            share(source, "arrow", copy=False)
        assert quietly(source, "arrow")[0].to_pylist() == want
        assert share(source, "arrow", copy=True).to_pylist() == want


def test_missing_categories_become_nulls():
    for values in ([2, None], [1.5, None], ["a", None], [None]):
        series = pd.Series(values, dtype="category")
        for target in ("arrow", "polars"):
            column = quietly(series, target)[0]
            assert (column.to_list() if target == "polars" else column.to_pylist()) == values
    periods = pd.Series(pd.PeriodIndex(["2020", None], freq="D")).astype("category")
    assert quietly(periods, "numpy")[0].tolist() == [pd.Period("2020-01-01"), None]


def test_name_of_a_series():
    for source in (
        pd.Series([1.5], name="x"),
        pd.Series(["a"], name="x"),
        pl.Series("x", [1.5]),
    ):
        for target in ("polars", "pandas"):
            assert quietly(source, target)[0].name == "x"
    assert (
        share(pd.DataFrame({"x": [1.5], "y": 2.5}), "polars", column="x", copy=True).name == "x"
    )
    assert quietly(pd.Series([1.5], name="x"), "polars", name="y")[0].name == "y"
    assert quietly(pl.Series("x", [1.5]), "xarray")[0].name == "x"
    assert share(np.ones(2), "pandas", name="x").name == "x"
    assert share(pl.Series([1.5]), "pandas").name is None
    with pytest.raises(InvalidValueError, match="columns"):
        share(np.ones((2, 2)), "pandas", name="x")


def test_frames_of_several_dtypes_become_tables():
    frame = pd.DataFrame(
        {
            "f": [1.0, np.nan],
            "i": [1, 2],
            "n": pd.array([1, None]),
            "z": ZONED[:2],
            5: ["a", "b"],
        }
    ).astype({5: "string[pyarrow]"})
    table = share(frame, "arrow", copy=False)
    assert table.column_names == ["f", "i", "n", "z", "5"]
    assert table["f"].null_count == 0  # NaN stays NaN
    assert table["n"].to_pylist() == [1, None]
    assert table["z"].type.tz == "Europe/Berlin"
    assert table["z"].to_pylist() == ZONED[:2].to_pydatetime().tolist()
    for name in ("f", "i"):
        assert buffers(table[name])[1] == oracle("pandas").address(frame[name])
    assert explain(frame, "arrow").shares_memory


MOVED = {
    "bool": [True, False],
    "categories": pd.Categorical(["a", "b"]),
    "codes": pd.Categorical(["a", None], ordered=True),
    "byte order": np.array([1, 2], ">i8"),
    "objects": pd.Series(["x", None], dtype=object),
    "Python strings": pd.array(["x", None], dtype="string[python]"),
    "nullable bool": pd.array([True, None]),
    "days": np.array(["2020", "NaT"], "M8[s]"),
}


@for_each("target", ["arrow", "polars", "nanoarrow", "arro3"])
@for_each("kind", MOVED)
def test_frames_with_a_copied_column(kind, target):
    column = MOVED[kind]
    frame = pd.DataFrame({"f": [1.0, np.nan], "x": column})
    want = [None if pd.isna(value) else value for value in frame["x"]]
    route = explain(frame, target)
    assert route.supported
    if kind != "days":
        assert not route.shares_memory
        with pytest.raises(ZeroCopyError, match="'x'"):
            share(frame, target, copy=False)
    for copy in (None, True):
        table = pa.table(quietly(frame, target, copy=copy)[0])
        got = table["x"].to_pylist()
        assert got == want, got
        assert np.isnan(table["f"].to_pylist()[1])


def test_explain_names_the_copied_column_of_a_frame():
    frame = pd.DataFrame({"f": np.arange(1000.0), "x": np.zeros(1000, bool)})
    route = explain(frame, "arrow")
    assert route.nbytes == 1000
    assert "column 'x': Arrow packs booleans as bits" in route.reason
    table = quietly(frame, "arrow")[0]
    assert buffers(table["f"])[1] == oracle("pandas").address(frame["f"])
    own = share(frame, "arrow", copy=True)
    assert buffers(own["f"])[1] != oracle("pandas").address(frame["f"])


def test_frames_without_an_arrow_type_are_refused():
    frame = pd.DataFrame({"f": [1.0], "x": pd.period_range("2020", periods=1)})
    assert not explain(frame, "arrow").supported
    with pytest.raises(UnsupportedError, match=r"'x'.*column="):
        share(frame, "arrow")


def test_pandas_without_pyarrow(run_python):
    run_python(
        """
import sys
sys.modules["pyarrow"] = None
import numpy as np, pandas as pd, pytest
from numpack import CopyWarning, MissingDependencyError, share
assert share(np.arange(3), "pandas", copy=False).tolist() == [0, 1, 2]
assert share(pd.Series([1, 2], dtype="Int64"), "pandas", copy=False).tolist() == [1, 2]
with pytest.warns(CopyWarning):
    series = share(np.array(["a", "b"]), "pandas")
assert share(series, "numpy", copy=False).tolist() == ["a", "b"]
with pytest.raises(MissingDependencyError, match="pyarrow"):
    share(np.arange(3), "pandas", dtype_backend="pyarrow")
"""
    )
