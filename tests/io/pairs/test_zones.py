"""Time zones: kept between all frameworks that support them, or refused with a working fix."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr
from support.each import for_each

from numpack import CopyWarning, UnsupportedError, explain, share

ZONE = "Asia/Tokyo"
FIRST = dt.datetime(2020, 1, 1, 12, tzinfo=zoneinfo.ZoneInfo(ZONE))
INSTANT = np.datetime64("2020-01-01T03:00:00")
SERIES = pd.Series(pd.date_range(FIRST.replace(tzinfo=None), periods=2, tz=ZONE))
FRAME = pd.DataFrame({"t": SERIES, "n": [1, 2]})
ARROW = pa.array(SERIES)
SOURCES = {
    "Series": (SERIES, {}),
    "Index": (pd.DatetimeIndex(SERIES), {}),
    "column of a frame": (FRAME, {"column": "t"}),
    "column by position": (FRAME, {"column": 0}),
    "ArrowDtype": (SERIES.astype(f"timestamp[us, tz={ZONE}][pyarrow]"), {}),
    "array": (ARROW, {}),
    "chunks": (pa.chunked_array([ARROW[:1], ARROW[1:]]), {}),
    "column of a table": (pa.table({"n": [1, 2], "t": ARROW}), {"column": "t"}),
    "polars": (pl.Series(ARROW), {}),
    "column of polars": (pl.DataFrame({"t": pl.Series(ARROW)}), {"column": "t"}),
    "index of xarray": (
        xr.DataArray([1, 2], coords={"t": pd.DatetimeIndex(SERIES)}, dims="t")["t"],
        {},
    ),
}


def first_of(found):
    """Return the first value with its zone."""
    if hasattr(found, "to_pandas") and not isinstance(found, pl.Series):
        return found[0].as_py()
    if isinstance(found, pd.Series):
        value = found.iloc[0]
        return value.to_pydatetime() if hasattr(value, "to_pydatetime") else value
    return found[0]


@for_each("target", ["arrow", "polars", "pandas"])
@for_each("name", SOURCES)
def test_zone_is_kept_and_memory_is_shared(name, target):
    source, options = SOURCES[name]
    shared = not (name == "chunks" and target == "pandas")
    assert explain(source, target, **options).shares_memory == shared
    for copy in (False, True) if shared else (True,):
        value = first_of(share(source, target, copy=copy, **options))
        assert value == FIRST
        assert value.tzinfo is not None
        assert value.utcoffset() == FIRST.utcoffset()


@for_each("name", SOURCES)
def test_numpy_gets_utc_times(name):
    source, options = SOURCES[name]
    found = share(source, "numpy", copy=True, **options)
    assert found.dtype.kind == "M"
    assert found[0] == INSTANT


@for_each("name", SOURCES)
def test_zone_is_not_lost_in_xarray(name):
    source, options = SOURCES[name]
    if name == "index of xarray":
        source, options = SERIES, {}
    route = explain(source, "xarray", **options)
    assert not route.supported
    with pytest.raises(
        UnsupportedError, match="NumPy, whose times have no zone; share it"
    ) as info:
        share(source, "xarray", copy=True, **options)
    assert "with 'numpy' first" in info.value.fix
    found = share(share(source, "numpy", copy=True, **options), "xarray")
    assert found.values[0] == INSTANT


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_each_unit_round_trips_with_its_zone(unit):
    series = SERIES.dt.as_unit(unit)
    column = share(series, "arrow", copy=False)
    assert column.type == pa.timestamp(unit, ZONE)
    back = share(column, "pandas", copy=False)
    assert back.dtype == series.dtype
    assert back.tolist() == series.tolist()
    assert np.shares_memory(
        np.asarray(back.array, f"M8[{unit}]"), np.asarray(series.array, f"M8[{unit}]")
    )


def test_missing_times_stay_missing():
    series = pd.Series([SERIES[0], pd.NaT, SERIES[1]])
    column = share(series, "arrow", copy=False)
    assert column.to_pylist() == [FIRST, None, FIRST + dt.timedelta(days=1)]
    with pytest.warns(CopyWarning, match="null"):
        back = share(column, "pandas")
    assert back.isna().tolist() == [False, True, False]
    assert back.dtype == series.dtype


def test_strided_times_are_copied_as_explained():
    series = pd.Series(pd.date_range("2020", periods=6, tz=ZONE))[::2]
    assert not explain(series, "arrow").shares_memory
    with pytest.warns(CopyWarning, match="not C-contiguous"):
        found = share(series, "arrow")
    assert found.to_pylist() == [value.to_pydatetime() for value in series]


@pytest.mark.parametrize(
    "zone", [dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=30)), "Europe/Berlin"]
)
def test_any_kind_of_zone_keeps_its_meaning(zone):
    series = pd.Series(pd.date_range("2020-07-01", periods=2, tz=zone))
    for found in (
        share(series, "arrow", copy=False).to_pylist(),
        share(share(series, "arrow", copy=False), "pandas", copy=False).tolist(),
    ):
        assert [value.utcoffset() for value in found] == [v.utcoffset() for v in series]
        assert found == series.tolist()


@pytest.mark.parametrize("target", ["arrow", "polars", "pandas"])
def test_tables_and_frames_keep_their_zones(target):
    for source in (FRAME, pa.table({"t": ARROW}), pl.DataFrame({"t": pl.Series(ARROW)})):
        found = share(source, target, copy=False)
        column = found.to_series(0) if target == "polars" else found["t"]
        assert first_of(column) == FIRST
        assert first_of(column).utcoffset() == FIRST.utcoffset()


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(ARROW.type),
        pa.struct([("t", ARROW.type)]),
        pa.map_(pa.string(), ARROW.type),
        pa.list_(pa.struct([("t", ARROW.type)])),
    ],
    ids=str,
)
def test_zone_inside_a_nested_type(kind):
    value = FIRST
    if pa.types.is_map(kind):
        value = [("k", value)]
    elif pa.types.is_struct(kind):
        value = {"t": value}
    else:
        value = [{"t": value} if pa.types.is_struct(kind.value_type) else value]
    column = pa.array([value], kind)
    found = share(column, "pandas", copy=False)
    assert found.array.__arrow_array__().to_pylist() == [value]
    assert "Asia/Tokyo" in str(share(column, "polars", copy=True).dtype)
    assert not explain(column, "xarray").supported
    with pytest.raises(UnsupportedError, match="no zone"):
        share(column, "xarray", copy=True)


@pytest.mark.parametrize(
    "options", [{"nulls": "mask"}, {"nulls": "convert"}, {"layout": "flat"}]
)
def test_option_that_requires_numpy_is_refused(options):
    for source in (SERIES, ARROW, pl.Series(ARROW)):
        assert not explain(source, "arrow", **options).supported
        with pytest.raises(UnsupportedError, match="no zone"):
            share(source, "arrow", **options)
    kept = share(SERIES, "arrow", type=pa.timestamp("us", "UTC"), copy=False)
    assert kept.to_pylist() == [v.to_pydatetime() for v in SERIES]


def test_categories_with_a_zone_are_refused_and_the_fix_works():
    series = SERIES.astype("category")
    for target in ("arrow", "polars", "xarray"):
        assert not explain(series, target).supported
        with pytest.raises(UnsupportedError, match="share it with 'numpy' first"):
            share(series, target, copy=True)
    assert share(share(series, "numpy", copy=True), "arrow")[0].as_py() == INSTANT.item()


def test_duckdb_imports_utc_and_exports_its_own_zone():
    for source in (SERIES, ARROW, pl.Series(ARROW)):
        assert not explain(source, "duckdb").supported
        with pytest.raises(UnsupportedError, match="cast it to UTC"):
            share(source, "duckdb")
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'Asia/Tokyo'")
        utc = share(SERIES.dt.tz_convert("UTC"), "duckdb", connection=connection, copy=False)
        assert share(utc, "arrow", copy=True)["value"].to_pylist() == SERIES.tolist()
        assert first_of(share(utc, "pandas", copy=True)["value"]) == FIRST
        assert not explain(utc, "xarray").supported
        with pytest.raises(UnsupportedError, match="no zone"):
            share(utc, "xarray", copy=True)


def test_selected_column_is_converted_like_a_single_column():
    table = pa.table({"a": [1, None], "s": ["x", None]})
    assert share(table, "polars", column="a", copy=False).to_list() == [1, None]
    assert share(table, "arrow", column="s", copy=False).to_pylist() == ["x", None]
    frame = pl.from_arrow(table)
    assert share(frame, "arrow", column=0, copy=False).to_pylist() == [1, None]
    for target in ("arro3", "nanoarrow"):
        own = share(table, target, copy=False)
        assert share(own, "arrow", column="a", copy=False).to_pylist() == [1, None]
