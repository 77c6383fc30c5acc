"""Series, indexes and arrays of pandas to NumPy; written from docs/exchange.md."""

from __future__ import annotations

import gc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from adapters.conformance import ToNumpy, quietly
from support.arrays import (
    NATIVE,
    values,
)
from support.each import for_each
from support.memory import address
from support.oracles import oracle
from support.oracles import pandas as of_pandas

from numpack import (
    InvalidValueError,
    NullError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)


def test_source_and_result_keep_the_memory_alive():
    series = share(np.arange(100_000.0), "pandas")
    array = share(pd.Series(np.arange(100_000.0)), "numpy")
    nullable = share(pd.Series(range(100_000), dtype="Int64"), "numpy", nulls="mask")
    frame = share(pa.table({"x": np.arange(100_000.0)}), "pandas")
    gc.collect()
    np.ones(300_000)
    assert series[99_999] == array[99_999] == nullable[99_999] == frame["x"][99_999] == 99_999


ZONED = pd.date_range("2020", periods=3, tz="Europe/Berlin")


def arrow_series(values: list, kind: str) -> pd.Series:
    return pd.Series(values, dtype=f"{kind}[pyarrow]")


SHARED = {
    "float": (lambda: pd.Series([1.5, 2.5]), [1.5, 2.5]),
    "strided": (lambda: pd.Series(np.arange(6))[::-2], [5, 3, 1]),
    "bool": (lambda: pd.Series([True, False]), [True, False]),
    "object": (lambda: pd.Series(["a", None], dtype=object), ["a", None]),
    "index": (lambda: pd.Index([3, 4]), [3, 4]),
    "array": (lambda: pd.array([1, 2], dtype="Int64"), [1, 2]),
    "Int64": (lambda: pd.Series([1, 2], dtype="Int64"), [1, 2]),
    "Float32": (lambda: pd.Series([1, 2], dtype="Float32"), [1, 2]),
    "boolean": (lambda: pd.Series([True, False], dtype="boolean"), [True, False]),
    "arrow": (lambda: arrow_series([1, 2], "int64"), [1, 2]),
    "string": (lambda: pd.Series(["a"], dtype="string[python]"), ["a"]),
    "datetime": (lambda: pd.Series(ZONED.tz_localize(None)), ZONED.tz_localize(None).tolist()),
    "timedelta": (lambda: pd.timedelta_range("1D", periods=2),
        [np.timedelta64(d, "D") for d in (1, 2)]),
    "zoned": (lambda: pd.Series(ZONED), ZONED.tz_convert(None).tolist()),
    "frame": (lambda: pd.DataFrame(np.arange(4).reshape(2, 2)), [[0, 1], [2, 3]]),
    "column": (lambda: pd.DataFrame({"a": [1.0]}), [[1.0]]),
}  # fmt: skip


@for_each("name", SHARED)
def test_shared_from_pandas(name):
    make_one, values = SHARED[name]
    source = make_one()
    assert explain(source, "numpy").shares_memory
    array, again = (share(source, "numpy", copy=False) for _ in range(2))
    assert address(array) == address(again)
    if isinstance(source, pd.Series):
        times = source.dtype.kind in "mM"
        own = address(source.array.asi8) if times else oracle("pandas").address(source)
        assert address(array) == own
    assert not array.flags.writeable  # pandas may share it by copy-on-write
    own = share(source, "numpy", copy=True)
    assert own.flags.writeable
    assert not np.shares_memory(own, array)
    if array.dtype.kind in "mM":
        array, own, values = list(map(pd.Series, (array, own, values)))
    assert array.tolist() == own.tolist() == list(values)


ARRAYS = {
    "several blocks": (lambda: blocks(), [[1.0, 3.0], [2.0, 4.0]]),
    "range": (lambda: pd.RangeIndex(3), [0, 1, 2]),
    "missing": (lambda: pd.Series([1, None], dtype="Int8"), [1.0, np.nan]),
    "missing float": (lambda: pd.Series([1, None], dtype="Float32"), [1.0, np.nan]),
    "missing bool": (lambda: pd.Series([True, None], dtype="boolean"), [True, None]),
    "missing string": (lambda: pd.Series(["a", None], dtype="string[python]"), ["a", None]),
    "missing arrow": (lambda: arrow_series([1, None], "int64"), [1.0, np.nan]),
    "str": (lambda: pd.Series(["a", None], dtype="string[pyarrow]"), ["a", None]),
    "category": (lambda: pd.Series(["b", None, "a"], dtype="category"), ["b", None, "a"]),
    "category of int": (lambda: pd.Series([2, 1, 2], dtype="category"), [2, 1, 2]),
    "category, missing int": (lambda: pd.Categorical([2, None]), [2.0, np.nan]),
    "no category": (lambda: pd.Categorical([None]), [None]),
    "sparse": (lambda: pd.arrays.SparseArray([0, 0, 7]), [0, 0, 7]),
    "period": (lambda: pd.period_range("2020", periods=1, freq="D"), [pd.Period("2020-01-01")]),
    "interval": (lambda: pd.interval_range(0, 1), [pd.Interval(0, 1)]),
}  # fmt: skip


def blocks() -> pd.DataFrame:
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    frame["b"] = [3.0, 4.0]
    return frame


@for_each("name", ARRAYS)
def test_copied_from_pandas(name):
    source, values = ARRAYS[name][0](), ARRAYS[name][1]
    route = explain(source, "numpy")
    assert not route.shares_memory
    assert route.supported
    with pytest.raises(ZeroCopyError):
        share(source, "numpy", copy=False)
    array, copied = quietly(source, "numpy")
    own = share(source, "numpy", copy=True)
    assert copied
    assert own.flags.writeable
    assert array.dtype == own.dtype
    for given in (array, own):
        wanted = np.array(values, given.dtype)
        assert given.shape == wanted.shape
        assert list(map(repr, given.flat)) == list(map(repr, wanted.flat))


def test_fixes_of_copies_avoid_the_copy():
    for fixed in (
        blocks()["a"],
        blocks().copy(),
        pd.Series(["a", "b"], dtype="category").array.codes,
        pd.arrays.SparseArray([0, 7]).sp_values,
        pd.period_range("2020", periods=2, freq="D").array.asi8,
        pd.interval_range(0.0, 2.0).array.left,
    ):
        assert explain(fixed, "numpy").shares_memory, type(fixed)


@pytest.mark.parametrize(
    "source",
    [
        pd.Series([1, None], dtype="Int64"),
        pd.Series([1.5, None], dtype="Float64"),
        pd.Series([True, None], dtype="boolean"),
        pd.Series(["a", None], dtype="string[python]"),
        arrow_series([1, None], "int64"),
    ],
    ids=lambda series: str(series.dtype),
)
def test_nulls(source):
    masked = share(source, "numpy", nulls="mask", copy=False)
    assert explain(source, "numpy", nulls="mask").shares_memory
    assert masked.mask.tolist() == [False, True]
    assert masked.tolist() == [source[0], None]
    assert address(share(source, "numpy", nulls="mask")) == address(masked)
    if isinstance(source.array, pd.arrays.IntegerArray | pd.arrays.FloatingArray):
        assert address(masked) == oracle("pandas").address(source)
    for write in (lambda: masked.__setitem__(0, masked[0]), lambda: masked.data.fill(0)):
        with pytest.raises(ValueError, match="read-only"):
            write()
    own = share(source, "numpy", nulls="mask", copy=True)
    own[1] = own[0]
    assert source.isna().tolist() == [False, True]
    with pytest.raises(NullError, match="1 of its values"):
        share(source, "numpy", nulls="raise")
    assert share(source[:1], "numpy", nulls="raise").shape == (1,)
    with pytest.raises(InvalidValueError):
        share(source, "numpy", nulls="drop")


def test_nulls_of_categories():
    source = pd.Categorical([10, None])
    masked, copied = quietly(source, "numpy", nulls="mask")
    assert copied
    assert masked.dtype == np.int64
    assert masked.tolist() == [10, None]
    with pytest.raises(NullError):
        share(source, "numpy", nulls="raise")


@pytest.mark.parametrize("kind", ["Int64", "UInt64", "category"])
def test_integers_that_float64_would_round_are_refused(kind):
    series = pd.Series([2**53 + 1, None], dtype="Int64").astype(kind)
    with pytest.raises(UnsupportedError, match="nulls='mask'"):
        share(series, "numpy")
    assert quietly(series, "numpy", nulls="mask")[0].tolist() == [2**53 + 1, None]


def test_write_does_not_reach_another_series():
    series = pd.Series([1, 2, None], dtype="Int64")
    other = series.copy(deep=False)
    array = share(series, "numpy", nulls="mask")
    again = share(share(pd.Series([1.0]), "numpy"), "pandas", copy=False)
    for write in (
        lambda: array.__setitem__(0, 9),
        lambda: array.__setitem__(0, np.ma.masked),
        lambda: array.mask.__setitem__(0, True),
        lambda: again.iloc.__setitem__(0, 9),
    ):
        with pytest.raises(ValueError, match="read-only"):
            write()
    assert series.tolist() == other.tolist() == [1, 2, pd.NA]


def test_several_values_a_row_are_refused():
    index = pd.MultiIndex.from_product([[1, 2], ["a"]])
    with pytest.raises(UnsupportedError, match="get_level_values"):
        share(index, "numpy")
    assert share(index.get_level_values(0), "numpy", copy=False).tolist() == [1, 2]


def test_objects_that_are_not_arrays():
    for other in (pd.Timestamp("2020"), pd.Series([1]).groupby([1])):
        with pytest.raises(WrongTypeError, match="pandas"):
            share(other, "numpy")


class TestToNumpy(ToNumpy):
    source = "pandas"
    names = tuple(name for name in NATIVE if of_pandas.make(values(name)) is not None)
    keeps_shape = False
    stays_read_only = False
