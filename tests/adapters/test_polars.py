"""Polars: series and frames that share the memory of arrays, and arrays that share theirs."""

from __future__ import annotations

import datetime
import gc

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from adapters.conformance import COPY, REFUSE, SHARE, FromNumpyToColumns, ToNumpy, arrow_verdict
from support.arrays import (
    LOWPREC,
    NATIVE,
    OTHERS,
    values,
)
from support.each import for_each
from support.exchange.cells import NUMBERS, TIMES
from support.oracles import polars as oracle

from numpack import (
    CopyWarning,
    InvalidValueError,
    NotFoundError,
    NumPack,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)

FROM = {
    "f4": (pl.Series(np.arange(5, dtype="f4")), SHARE),
    "u8": (pl.Series([2**64 - 1, 0], dtype=pl.UInt64), SHARE),
    "f2": (pl.Series([1.5, 2], dtype=pl.Float16), SHARE),
    "datetime": (pl.Series([datetime.datetime(2020, 1, 2)]), SHARE),
    "duration": (pl.Series([datetime.timedelta(3)]), SHARE),
    "array": (pl.Series(np.arange(24.0).reshape(4, 3, 2)), SHARE),
    "slice": (pl.Series(np.arange(9.0))[2:5], SHARE),
    "bool": (pl.Series([True, False]), COPY),
    "date": (pl.Series([datetime.date(2020, 1, 2)]), COPY),
    "time": (pl.Series([datetime.time(1, 2, 3)]), COPY),
    "categorical": (pl.Series(["a", "b", "a"], dtype=pl.Categorical), COPY),
    "enum": (pl.Series(["a", "b"], dtype=pl.Enum(["b", "a"])), COPY),
    "decimal": (pl.Series(["1.20"]).cast(pl.Decimal(10, 2)), COPY),
    "string": (pl.Series(["x", "a string that is not inline"]), COPY),
    "binary": (pl.Series([b"a\0", b""]), COPY),
    "list": (pl.Series([[1], [2, 3]]), COPY),
    "nulls": (pl.Series([1.0, None]), COPY),
    "chunks": (pl.concat([pl.Series([1, 2]), pl.Series([3])], rechunk=False), COPY),
}


@for_each("name", FROM)
def test_from_polars(name):
    series, wanted = FROM[name]
    route = explain(series, "numpy")
    assert route.shares_memory == (wanted == SHARE)
    own = share(series, "numpy", copy=True)
    assert own.flags.writeable
    if wanted == COPY:
        with pytest.raises(ZeroCopyError, match="from Polars failed"):
            share(series, "numpy", copy=False)
        with pytest.warns(CopyWarning, match="from Polars failed"):
            found = share(series, "numpy")
    else:
        found = share(series, "numpy", copy=False)
        assert found.__array_interface__["data"] == (oracle.address(series), True)
        assert not np.shares_memory(own, found)
    theirs = series.to_list()
    for each in (own, found):
        if each.dtype.kind in "mM":
            each = each.astype("M8[D]" if name == "date" else f"{each.dtype.kind}8[us]")
        read = [x.tolist() if name == "list" else x for x in each.tolist()]
        assert [None if value != value else value for value in read] == theirs


FIXES = {
    "bool": lambda series: series.cast(pl.UInt8),
    "date": lambda series: series.cast(pl.Datetime("ms")),
    "chunks": lambda series: series.rechunk(),
    "enum": lambda series: series.to_physical(),
    "categorical": lambda series: series.to_physical(),
}


@pytest.mark.parametrize("name", FIXES)
def test_fix_avoids_the_copy(name):
    series, _ = FROM[name]
    assert explain(series, "numpy").fix.split("(")[0].split(".")[-1] in (
        *("UInt8", "Datetime", "rechunk", "to_physical"),
        "cast",
    )
    share(FIXES[name](series), "numpy", copy=False)


def test_fixes_to_polars_avoid_the_copy():
    bools, names = np.array([True, False]), np.array([b"ab", b"c"])
    assert explain(bools, "polars").fix == "pass the bytes: array.view('u1')"
    share(bools.view("u1"), "polars", copy=False)
    assert "array.view('u1').reshape(len(array), -1)" in explain(names, "polars").fix
    share(names.view("u1").reshape(len(names), -1), "polars", copy=False)


@for_each(
    "series",
    [
        pl.Series([object()], dtype=pl.Object),
        pl.Series([2**100], dtype=pl.Int128),
        pl.Series([[2**100]], dtype=pl.List(pl.Int128)),
        pl.Series([{"a": 1}], dtype=pl.Struct({"a": pl.UInt128})),
        pl.DataFrame({"a": [1]}).lazy(),
        pl.col("a"),
    ],
    ids=lambda each: str(getattr(each, "dtype", type(each).__name__)),
)
@for_each("target", ["numpy", "arrow", "polars"])
def test_refused_from_polars(series, target):
    route = explain(series, target)
    assert not route.supported
    assert route.fix
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError):
            share(series, target, copy=copy)


def test_opaque_column_does_not_affect_the_others():
    frame = pl.DataFrame({"a": [1, 2], "b": pl.Series([1, 2], dtype=pl.Int128)})
    assert share(frame, "numpy", column="a", copy=False).tolist() == [1, 2]
    with pytest.raises(UnsupportedError, match="Int128 series 'b'"):
        share(frame, "numpy", column=1)
    with pytest.raises(NotFoundError, match="did you mean 'a'"):
        share(frame, "numpy", column="aa")


def test_frame_of_one_array_is_shared_back():
    array = np.asfortranarray(np.arange(6.0).reshape(3, 2))
    frame = share(array, "polars", schema=["a", "b"], copy=False)
    assert frame.to_dict(as_series=False) == {"a": [0, 2, 4], "b": [1, 3, 5]}
    found = share(frame, "numpy", copy=False)
    assert found.ctypes.data == array.ctypes.data
    assert found.strides == array.strides
    assert not found.flags.writeable
    del frame, array
    gc.collect()
    assert found.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_columns_that_are_not_adjacent_are_copied():
    frame = pl.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})
    assert explain(frame, "torch").steps[0].nbytes == 48
    with pytest.warns(CopyWarning, match="its columns are not adjacent"):
        assert share(frame, "numpy").tolist() == [[1, 4], [2, 5], [3, 6]]
    assert share(frame, "numpy", copy=True).flags.writeable
    assert share(pl.DataFrame({"a": [1, 2]}), "numpy", copy=False).shape == (2, 1)


def test_frames_with_nulls():
    frame = pl.DataFrame({"a": [1.0, None], "b": [None, 2.0]})
    with pytest.warns(CopyWarning, match="1 of its values are null"):
        found = share(frame, "numpy")
    assert np.isnan(found).tolist() == [[False, True], [True, False]]
    with pytest.warns(CopyWarning):
        masked = share(frame, "numpy", nulls="mask")
    assert masked.tolist() == [[1, None], [None, 2]]


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"a": [1], "b": ["x"]}),
        pl.DataFrame({"a": [1, None], "b": [1, 2**60 + 1]}),
        pl.DataFrame(),
    ],
    ids=["mixed", "integers that would be rounded", "none"],
)
def test_frames_of_several_dtypes_are_refused(frame):
    with pytest.raises(UnsupportedError, match="select one with column="):
        share(frame, "numpy")


def test_array_in_c_order_is_copied_and_names_must_match():
    array = np.arange(6.0).reshape(3, 2)
    with pytest.warns(CopyWarning, match=r"shape \(3, 2\), its columns are not contiguous"):
        assert share(array, "polars", schema=["a", "b"]).shape == (3, 2)
    share(np.asfortranarray(array), "polars", schema=["a", "b"], copy=False)
    for names in (["a"], ["a", "a"]):
        with pytest.raises(InvalidValueError, match="name each column"):
            share(array, "polars", schema=names)
    assert share(array[:, 0].copy(), "polars", name="x").name == "x"


def test_seconds_become_milliseconds_only_if_they_can():
    late = np.array([2**60], "M8[s]")
    assert not explain(late, "polars").supported
    assert not explain(pa.array(late), "polars").supported
    assert not explain(pa.array(late).cast(pa.timestamp("s", "UTC")), "polars").supported
    nested = pa.FixedSizeListArray.from_arrays(pa.array(late), 1)
    assert not explain(nested, "polars").supported
    assert not explain(np.array([2**60], "m8[h]"), "polars").supported
    with pytest.warns(CopyWarning, match="another form.*timestamp\\[ms\\]"):
        series = share(pa.array([1], pa.timestamp("s")), "polars")
    assert series.dtype == pl.Datetime("ms")


ARRIVING = {
    "nulls": (pa.array([1, None, 3]), SHARE),
    "slice": (pa.array([1, None, 3, 4]).slice(1, 2), SHARE),
    "bits": (pa.array([True, None]), SHARE),
    "zone": (pa.array([1], pa.timestamp("us", "+01:00")), SHARE),
    "date64": (pa.array([86400000], pa.date64()), SHARE),
    "bool8": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())), SHARE),
    "views": (pa.array(["x", "a string that is not inline"], pa.string_view()), SHARE),
    "large list": (pa.array([[1], None], pa.large_list(pa.int8())), SHARE),
    "chunks": (pa.chunked_array([[1, 2], [3]]), SHARE),
    "struct": (pa.array([{"a": 1}, None]), SHARE),
    "string": (pa.array(["x", None]), COPY),
    "list": (pa.array([[1], [2, 3]]), COPY),
    "dictionary": (pa.array(["a", "b", "a"]).dictionary_encode(), COPY),
    "time32": (pa.array([1], pa.time32("s")), COPY),
    "bytes": (pa.array([b"a\0"], pa.binary(2)), COPY),
    "interval": (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), REFUSE),
    "decimal256": (pa.nulls(2, pa.decimal256(50, 2)), REFUSE),
    "width 0": (pa.nulls(2, pa.list_(pa.int8(), 0)), REFUSE),
    "list view": (pa.nulls(2, pa.list_view(pa.int8())), COPY),
    "bad zone": (pa.array([1], pa.timestamp("us", "+05:30")), REFUSE),
    "late": (pa.array([2**31 - 1], pa.time32("s")), REFUSE),
}


@for_each("name", ARRIVING)
def test_arrow_columns_take_the_direct_route(name):
    column, wanted = ARRIVING[name]
    route = explain(column, "polars")
    assert route.supported == (wanted != REFUSE)
    if wanted == REFUSE:
        assert route.steps[0].direction == "to Polars"
        with pytest.raises(UnsupportedError, match="to Polars failed"):
            share(column, "polars", copy=True)
        return
    assert route.shares_memory == (wanted == SHARE)
    if wanted == COPY:
        with pytest.raises(ZeroCopyError):
            share(column, "polars", copy=False)
        with pytest.warns(CopyWarning):
            series = share(column, "polars")
    else:
        series = share(column, "polars", copy=False)
        if name == "slice":  # whose bitmap begins in the middle of a byte, and is moved
            assert oracle.address(series) == oracle.arrow.address(column)
        else:
            assert not buffers(series) - buffers(column)
    own = share(column, "polars", copy=True)
    assert not buffers(own) & buffers(column)
    for each in (series, own):
        back = share(each, "arrow", copy=False)
        if not pa.types.is_list_view(column.type):  # to which pyarrow casts no list
            back = back.cast(column.type)
        assert back.to_pylist() == column.to_pylist()


def buffers(column: pa.Array | pa.ChunkedArray | pl.Series) -> set[int]:
    """Return the addresses of all buffers, including those of a dictionary."""
    if isinstance(column, pl.Series):
        column = pa.chunked_array(column)
    found = set()
    for chunk in [column] if isinstance(column, pa.Array) else column.chunks:
        inside = chunk.dictionary.buffers() if pa.types.is_dictionary(chunk.type) else []
        found |= {b.address for b in (*chunk.buffers(), *inside) if b is not None and b.size}
    return found


def test_explain_names_the_copied_columns_of_a_table():
    table = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
    assert explain(table, "polars").nbytes == table["b"].nbytes
    with pytest.warns(CopyWarning, match="Polars stores string in another form"):
        frame = share(table, "polars")
    assert frame.to_dict(as_series=False) == table.to_pydict()
    assert oracle.address(frame["a"]) == oracle.arrow.address(table["a"])
    own = share(table, "polars", copy=True)
    assert oracle.address(own["a"]) != oracle.arrow.address(table["a"])
    with pytest.raises(InvalidValueError, match="several columns"):
        share(pa.table([[1], [2]], names=["a", "a"]), "polars")


def test_writes_of_polars_do_not_reach_the_array(tmp_path):
    np.arange(6.0).tofile(tmp_path / "x.bin")
    mapped = np.memmap(tmp_path / "x.bin", "f8", "r")
    with NumPack(str(tmp_path / "s.npk")) as npk:
        npk.save({"x": np.arange(6.0)})
        stored = npk.load("x")
    for array in (mapped, stored, np.arange(6.0)):
        series = share(array, "polars", copy=False)
        assert oracle.address(series) == array.ctypes.data
        series[0] = 100.0
        series.sort(descending=True, in_place=True)
        frame = share(array, "polars", copy=False).to_frame("x")
        frame[1, "x"] = 50.0
        assert array.tolist() == [0, 1, 2, 3, 4, 5]
        assert (series[0], frame["x"][1]) == (100, 50)


def test_error_names_objects_that_are_not_arrays():
    with pytest.raises(WrongTypeError, match=r"polars.Series or polars.DataFrame"):
        share(pl.Schema({"a": pl.Int8}), "numpy")


def test_zero_width_string_is_refused():
    assert not explain(np.zeros(3, "V0"), "polars").supported


@pytest.mark.parametrize(
    "values", [[datetime.datetime(2020, 1, 1)], [b"x"], [1, None], [{"a": 1}], [[1], [2]]]
)
def test_objects_that_polars_supports(values):
    array = np.empty(len(values), object)
    array[:] = values
    with pytest.warns(CopyWarning, match="infer"):
        assert share(array, "polars").to_list() == values


def test_objects_that_polars_does_not_support():
    array = np.empty(1, object)
    array[0] = pa.MonthDayNano([1, 2, 3])
    assert not explain(array, "polars").supported


class TestFromNumpy(FromNumpyToColumns):
    target = "polars"
    dtypes = (*NUMBERS, LOWPREC[0], *TIMES, *OTHERS)

    def expected(self, name, layout, array):
        if array.ndim > 1 and 0 in array.shape[1:]:
            return REFUSE
        if name in ("S5", "V3"):
            return COPY
        return arrow_verdict(name, layout, array, units=("ms", "us", "ns"))

    def place(self, result, array):
        is_binary = array.dtype.kind in "SV"  # whose values have no fixed width
        return None if is_binary else super().place(result, array)


class TestToNumpy(ToNumpy):
    source = "polars"
    names = tuple(n for n in (*NATIVE, *LOWPREC) if oracle.make(values(n)) is not None)
    keeps_shape = False

    def expected(self, name, shape):
        return COPY if name == "bool" else SHARE
