"""pandas: sharing, copies and refusals in both directions; written from docs/exchange.md."""

from __future__ import annotations

import gc
import threading
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.arrays import (
    LAYOUTS,
    LOWPREC,
    NATIVE,
    NEEDS_BYTES,
    OTHERS,
    TIMES,
    aligned,
    cells,
    dtype_of,
    elements,
    make,
)
from support.memory import address
from support.oracles import oracle

from numpack import (
    CopyWarning,
    InvalidValueError,
    NotFoundError,
    NullError,
    NumPack,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)
from numpack.errors import IndexRangeError

ALL = [*NATIVE, *LOWPREC, *TIMES, *OTHERS]
SHARE, COPY, REFUSE = "share", "copy", "refuse"
NULLABLE = {"bool", "float32", "float64"} | {
    f"{u}int{8 << i}" for u in ("", "u") for i in range(4)
}


def expected_time(name: str, layout: str) -> str:
    unit, count = np.datetime_data(dtype_of(name))
    exact = ["s", "ms", "us", "ns", "m", "h", "D", "W"]
    if dtype_of(name).kind == "M":
        exact += ["M", "Y"]
    if unit not in exact:
        return REFUSE
    if unit not in exact[:4] or count != 1 or layout in ("masked", "swapped"):
        return COPY
    return SHARE if aligned(name, layout) else COPY


def expected(name: str, layout: str) -> str:
    if layout in ("zero_d", "empty_middle") or name in ("V3", "struct", *LOWPREC):
        return REFUSE
    if name in ("U5", "string"):
        return COPY
    if name in TIMES:
        return expected_time(name, layout)
    if layout == "masked" and name not in NULLABLE:
        return REFUSE
    return COPY if layout == "swapped" or not aligned(name, layout) else SHARE


def quietly(*args, **options):
    """Return the result of `share` and whether it warned of a copy, its only warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("always", CopyWarning)
        result = share(*args, **options)
    return result, bool(caught)


def memory(held: pd.Series | pd.DataFrame) -> np.ndarray:
    """Return the values of a pandas object, including those under a mask."""
    columns = [held] if held.ndim == 1 else [held.iloc[:, i] for i in range(held.shape[1])]
    if columns and isinstance(columns[0].dtype, pd.api.extensions.ExtensionDtype):
        found = [getattr(c.array, "_data", c.to_numpy()) for c in columns]
        return found[0] if held.ndim == 1 else np.stack(found, axis=1)
    return held.to_numpy()


def check(array: np.ndarray, verdict: str) -> None:
    route = explain(array, "pandas")
    found = REFUSE if not route.supported else SHARE if route.shares_memory else COPY
    assert found == verdict, route
    if verdict == REFUSE:
        for copy in (None, False, True):
            with pytest.raises(UnsupportedError):
                share(array, "pandas", copy=copy)
        return
    result, copied = quietly(array, "pandas")
    assert result.shape == array.shape
    assert copied == (verdict == COPY)
    own = share(array, "pandas", copy=True)
    check_values(array, result)
    check_values(array, own)
    if verdict == COPY:
        with pytest.raises(ZeroCopyError):
            share(array, "pandas", copy=False)
    elif array.size:
        first = share(array, "pandas", copy=False)
        column = first if array.ndim == 1 else first.iloc[:, 0]
        assert oracle("pandas").address(column) == address(array)
        assert not np.may_share_memory(memory(own), np.ma.getdata(array))


def check_values(array: np.ndarray, result: pd.Series | pd.DataFrame) -> None:
    missing = np.ma.getmaskarray(array) if array.dtype.names is None else np.False_
    if array.dtype.kind in "mM":
        missing = missing | np.isnat(np.ma.getdata(array))
    assert np.array_equal(result.isna(), missing)
    if array.size == 0:  # pandas forgets the dtype of a frame without columns
        return
    if missing.any():
        array, kept = np.ma.getdata(array)[~missing], memory(result)[~missing]
    else:
        kept = memory(result)
    if array.dtype.kind in "mM":
        kept = kept.astype(array.dtype)
    if array.dtype.kind in "UT":
        assert list(map(str, kept.flat)) == list(map(str, array.flat))
    else:
        assert elements(kept) == elements(array)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("readonly", [False, True], ids=["writable", "readonly"])
def test_frames_of_every_dtype_and_layout(name, readonly, tmp_path):
    for dtype, layout in cells([name]):
        check(make(dtype, layout, tmp_path, readonly=readonly), expected(dtype, layout))


@pytest.mark.parametrize("name", ALL)
def test_series_of_every_dtype_and_layout(name, tmp_path):
    for dtype, layout in cells([name]):
        array = make(dtype, layout, tmp_path)
        if array.ndim == 2 and array.shape[1] and name != "struct" and layout != "matrix":
            column = array[:, 2]
            known = layout == "masked" and not np.ma.getmaskarray(column).any()
            check(column, expected(dtype, "c" if known else layout))


def test_table_covers_every_layout():
    assert {"masked", "swapped", *NEEDS_BYTES} < set(LAYOUTS)


def test_a_write_through_a_series_or_frame_is_seen():
    flat, table = np.zeros(3), np.zeros((2, 3), order="F")
    series, frame = share(flat, "pandas"), share(table, "pandas")
    series.iloc[1] = 7
    frame.iloc[1, 2] = 8
    assert flat[1] == 7
    assert table[1, 2] == 8


def test_objects_are_not_inferred():
    """pandas would infer its str dtype for strings and datetime64 for datetimes."""
    for values in (["a", None], [pd.Timestamp("2020")], [None, float("nan")]):
        array = np.array(values, object)
        for held in (share(array, "pandas"), share(array[:, None], "pandas")[0]):
            assert held.dtype == object
            assert all(one is other for one, other in zip(held, values, strict=True))


# Strings


def test_strings_keep_their_contents():
    array = np.array(["", "é\0x", "nan", "None", "NA"])
    with pytest.warns(CopyWarning, match=r"array.astype\(object\)"):
        series = share(array, "pandas")
    assert series.tolist() == array.tolist()
    assert explain(array.astype(object), "pandas").shares_memory  # the fix


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=str)
def test_missing_strings_stay_missing(missing):
    array = np.array(["a", missing, "nan"], np.dtypes.StringDType(na_object=missing))
    series, _ = quietly(array, "pandas")
    assert series.isna().tolist() == [False, True, False]
    assert series[2] == "nan"


def test_na_object_that_is_a_string_stays_a_string():
    series, _ = quietly(np.array(["a", "-"], np.dtypes.StringDType(na_object="-")), "pandas")
    assert series.tolist() == ["a", "-"]


def test_strings_that_utf_8_cannot_hold_are_refused():
    array = np.array(["\ud800"])
    with pytest.raises(UnsupportedError, match="astype"):
        share(array, "pandas")
    assert share(array.astype(object), "pandas", copy=False)[0] == "\ud800"


def test_masked_strings_are_missing():
    series, _ = quietly(np.ma.array(["a", "b"], mask=[0, 1]), "pandas")
    assert series.isna().tolist() == [False, True]


# Times


@pytest.mark.parametrize(
    ("value", "unit"), [(2**61, "M8[h]"), (2**60, "m8[D]"), (2**62, "M8[Y]")]
)
def test_times_out_of_range_are_refused(value, unit):
    """In NumPy they would overflow silently."""
    with pytest.raises(UnsupportedError, match="out of the range"):
        share(np.array([value]).view(unit), "pandas")


def test_fix_of_times_avoids_the_copy():
    days = np.array(["2020-02-29", "NaT"], "M8[D]")
    route = explain(days, "pandas")
    assert "datetime64[s]" in route.fix
    assert explain(days.astype("M8[s]"), "pandas").shares_memory
    masked = np.ma.array(days.astype("M8[s]"), mask=[1, 0])
    assert "array.filled(np.datetime64('NaT'))" in explain(masked, "pandas").fix
    assert explain(masked.filled(np.datetime64("NaT")), "pandas").shares_memory


# Masks


def test_a_mask_becomes_a_nullable_column_and_nan_stays_a_number():
    array = np.ma.array([1.0, np.nan, 3.0], mask=[0, 0, 1])
    series = share(array, "pandas", copy=False)
    assert series.dtype == pd.Float64Dtype()
    assert series.isna().tolist() == [False, False, True]
    assert np.isnan(series[1])
    series.iloc[2] = 9
    assert array.tolist()[2] == 9  # the mask is shared as well


def test_an_independent_nullable_column_has_its_own_mask():
    array = np.ma.array([1, 2], mask=[0, 1])
    series = share(array, "pandas", copy=True)
    series.iloc[1] = 9
    assert array.mask.tolist() == [False, True]


def test_only_masked_values_may_be_overwritten():
    """Sums in pandas write to the values under the mask, which have no meaning."""
    array = np.ma.array([1, 2, 3], mask=[0, 1, 0])
    series = share(array, "pandas", copy=False)
    assert series.cumsum().tolist() == [1, pd.NA, 4]
    assert array.tolist() == [1, None, 3]


def test_masks_of_read_only_values_are_read_only():
    values = np.array([1, 2])
    values.flags.writeable = False
    array = np.ma.MaskedArray(values, mask=[0, 1], copy=False)
    series = share(array, "pandas", copy=False)
    for new in (5, pd.NA):
        with pytest.raises(ValueError, match="read-only"):
            series.iloc[0] = new
    assert array.mask.tolist() == [False, True]


@pytest.mark.parametrize("dtype", ["f2", "c8", "g", "O", "S2"])
def test_fix_of_other_masks(dtype):
    array = np.ma.array(np.zeros(2, dtype), mask=[0, 1])
    with pytest.raises(UnsupportedError, match="filled"):
        share(array, "pandas")
    assert explain(array.filled(array.data[0]), "pandas").shares_memory


# Read-only memory and lifetimes

WRITES = {
    "iloc": lambda s: s.iloc.__setitem__(0, 9.0),
    "values": lambda s: s.values.__setitem__(0, 9.0),
    "fillna": lambda s: s.fillna(0, inplace=True),
    "ffill": lambda s: s.ffill(inplace=True),
    "where": lambda s: s.where(s > 1, 0, inplace=True),
    "replace": lambda s: s.replace(3.0, 5.0, inplace=True),
    "boolean": lambda s: s.__setitem__(s > 1, 0),
    "flag": lambda s: s.values.setflags(write=True),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("kind", ["memmap", "store", "ndarray"])
def test_read_only_memory_is_shared_and_unchanged(write, kind):
    values = np.array([3.0, np.nan, 1.0, 2.0])
    array = {"memmap": mapped, "store": stored, "ndarray": closed}[kind](values)
    series = share(array, "pandas", copy=False)
    assert oracle("pandas").address(series) == address(np.asarray(array))
    with pytest.raises(ValueError, match=r"read-only|WRITEABLE"):
        WRITES[write](series)
    assert np.array_equal(np.asarray(array), values, equal_nan=True)


def mapped(values: np.ndarray) -> np.ndarray:
    values.tofile("values.bin")
    return np.memmap("values.bin", values.dtype, "r", shape=values.shape)


def stored(values: np.ndarray) -> object:
    with NumPack("values.npk") as npk:
        npk.save({"x": values})
        return npk.load("x", lazy=True)


def closed(values: np.ndarray) -> np.ndarray:
    array = values.copy()
    array.flags.writeable = False
    return array


def test_source_and_result_keep_the_memory_alive():
    series = share(np.arange(100_000.0), "pandas")
    array = share(pd.Series(np.arange(100_000.0)), "numpy")
    nullable = share(pd.Series(range(100_000), dtype="Int64"), "numpy", nulls="mask")
    frame = share(pa.table({"x": np.arange(100_000.0)}), "pandas")
    gc.collect()
    np.ones(300_000)
    assert series[99_999] == array[99_999] == nullable[99_999] == frame["x"][99_999] == 99_999


def test_released_in_another_thread():
    held = [share(np.arange(1000.0), "pandas"), share(pd.Series([1.0]), "numpy")]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert not held


# From pandas

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


@pytest.mark.parametrize("name", SHARED)
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


@pytest.mark.parametrize("name", ARRAYS)
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


@pytest.mark.parametrize("kind", FRAMES)
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


def test_several_values_a_row_are_refused():
    index = pd.MultiIndex.from_product([[1, 2], ["a"]])
    with pytest.raises(UnsupportedError, match="get_level_values"):
        share(index, "numpy")
    assert share(index.get_level_values(0), "numpy", copy=False).tolist() == [1, 2]


def test_objects_that_are_not_arrays():
    for other in (pd.Timestamp("2020"), pd.Series([1]).groupby([1])):
        with pytest.raises(WrongTypeError, match="pandas"):
            share(other, "numpy")


# Arrow


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


@pytest.mark.parametrize("target", ["arrow", "polars", "nanoarrow", "arro3"])
@pytest.mark.parametrize("kind", MOVED)
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


def test_frames_of_one_dtype_are_arrays():
    frame = pd.DataFrame(np.arange(4.0).reshape(2, 2), copy=False)
    assert share(frame, "arrow", copy=False).to_pylist() == [0, 1, 2, 3]
    assert share(frame, "arrow", layout="tensor", copy=False).type.shape == [2]


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
