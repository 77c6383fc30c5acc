"""NumPy to pandas; written from docs/exchange.md."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from adapters.conformance import COPY, REFUSE, SHARE, FromNumpy, quietly
from support.arrays import (
    LOWPREC,
    TIMES,
    aligned,
    cells,
    dtype_of,
    elements,
    make,
)
from support.each import assert_each
from support.memory import address
from support.oracles import oracle

from numpack import (
    CopyWarning,
    NumPack,
    UnsupportedError,
    explain,
    share,
)


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


def memory(held: pd.Series | pd.DataFrame) -> np.ndarray:
    """Return the values of a pandas object, including those under a mask."""
    columns = [held] if held.ndim == 1 else [held.iloc[:, i] for i in range(held.shape[1])]
    if columns and isinstance(columns[0].dtype, pd.api.extensions.ExtensionDtype):
        found = [getattr(c.array, "_data", c.to_numpy()) for c in columns]
        return found[0] if held.ndim == 1 else np.stack(found, axis=1)
    return held.to_numpy()


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


class TestFromNumpy(FromNumpy):
    target = "pandas"

    def expected(self, name, layout, array):
        if array.ndim not in (1, 2):
            return REFUSE
        return expected(name, layout)

    def has_values(self, result, array):
        check_values(array, result)
        return True

    def check_own(self, own, array):
        assert array.size == 0 or not np.may_share_memory(memory(own), np.ma.getdata(array))

    def address(self, result):
        return self.oracle.address(result) if result.size else None

    def test_columns_of_every_layout(self, name, tmp_path):
        def check(layout):
            array = make(name, layout, tmp_path)
            if array.ndim == 2 and array.shape[1] and name != "struct" and layout != "matrix":
                column = array[:, 2]
                known = layout == "masked" and not np.ma.getmaskarray(column).any()
                self.check(name, "c" if known else layout, column)

        assert_each([layout for _, layout in cells([name])], check)
