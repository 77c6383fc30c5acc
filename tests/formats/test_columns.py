"""What becomes of the columns of Parquet and Arrow files."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
from pathlib import Path

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.each import assert_each
from support.formats.arrays import assert_same

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import InvalidValueError, NullError

FILES = ("x.parquet", "x.arrow")


def write(table, path):
    if path.endswith("parquet"):
        pq.write_table(table, path, row_group_size=3)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)


def read(columns, path, /, **options):
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    write(table, path)
    convert(path, "s.npk", **options)
    with NumPack("s.npk", mode="r") as store:
        arrays = dict(store)
    Path(path).unlink()
    with NumPack("s.npk", drop_if_exists=True):
        pass
    return arrays


each_file = pytest.mark.parametrize("path", FILES)


@each_file
def test_types_of_arrow(path):
    days = [dt.date(2020, 1, 2), dt.date(1960, 1, 1)]
    cases = [
        (pa.array([1, 2], pa.uint16()), np.array([1, 2], "u2")),
        (pa.array([0.5, 2], pa.float16()), np.array([0.5, 2], "f2")),
        (pa.array([True, False]), np.array([True, False])),
        (pa.array([True, False], pa.bool_()).cast(pa.bool8()), np.array([True, False])),
        (pa.array(days, pa.date32()), np.array(days, "M8[D]")),
        (pa.array(days, pa.date64()), np.array(days, "M8[D]")),
        (pa.array([1, 2], pa.timestamp("ns")), np.array([1, 2], "M8[ns]")),
        (pa.array([1, 2], pa.duration("us")), np.array([1, 2], "m8[us]")),
        (pa.array(["a", "日本"]), np.array(["a", "日本"])),
        (pa.array(["a", "bc"], pa.large_string()), np.array(["a", "bc"])),
        (pa.array(["a", "bc"], pa.string_view()), np.array(["a", "bc"])),
        (pa.array([b"a", b"\0\xff"]), np.array([b"a", b"\0\xff"])),
        (pa.array([b"a\0", b"bc"], pa.binary(2)), np.array([b"a\0", b"bc"]).view("V2")),
        (pa.array(["x", "yz", "x"]).dictionary_encode(), np.array(["x", "yz", "x"])),
        (pa.array([5, 5, 7]).dictionary_encode(), np.array([5, 5, 7])),
        (
            pa.array([b"0123456789abcdef"], pa.uuid()),
            np.array([b"0123456789abcdef"]).view("V16"),
        ),
    ]

    def check(column, expected):
        found = read({"x": column}, path)["x"]
        if column.type == pa.date64():
            assert found.tolist() == expected.tolist() or (found == expected).all()
        else:
            assert_same(found, expected)

    assert_each(cases, check)


@each_file
def test_types_without_a_dtype_are_refused_when_they_are_chosen(path):
    cases = {
        "price": (pa.array([decimal.Decimal("1.25")]), "float64", 1.25),
        "t": (pa.array([dt.time(0, 0, 1)]), "int64", 1_000_000),
        "m": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), None, None),
    }

    def check(name):
        column, type_, value = cases[name]
        columns = {"n": pa.array([1]), name: column}
        with pytest.raises(UnsupportedError, match=f"'{name}'.*NumPy has no dtype"):
            read(columns, path)
        assert list(read(columns, path, columns=["n"])) == ["n"]
        if type_ is not None:
            assert read(columns, path, types={name: type_})[name].tolist() == [value]

    assert_each(cases, check)
    column = pa.array([decimal.Decimal("1.25")])
    assert read({"x": column}, path, types={"x": "string"})["x"].tolist() == ["1.25"]
    with pytest.raises(InvalidValueError, match="'x' of decimal.*cannot be cast to int64"):
        read({"x": column}, path, types={"x": "int64"})


@each_file
def test_nulls(path):
    columns = {
        "f": pa.array([1.5, None, 3, 4]),
        "i": pa.array([1, None, 3, 4]),
        "whole": pa.array([1, 2, 3, 4]),
        "t": pa.array([1, None, 3, 4], pa.timestamp("s" if path == "x.arrow" else "ms")),
    }
    found = read(columns, path)
    nan = np.nan
    np.testing.assert_array_equal(found["f"], [1.5, nan, 3, 4])
    np.testing.assert_array_equal(found["i"], [1.0, nan, 3, 4])
    assert found["i"].dtype == "f8"
    assert found["whole"].dtype == "i8"
    assert np.isnat(found["t"]).tolist() == [False, True, False, False]
    with pytest.raises(NullError, match="1 values of the column 'f' are null.*nulls='mask'"):
        read(columns, path, nulls="raise")
    found = read(columns, path, nulls="mask")
    assert list(found) == ["f", "f.mask", "i", "i.mask", "whole", "t", "t.mask"]
    assert_same(found["i"], np.array([1, 0, 3, 4]))
    assert_same(found["i.mask"], np.array([False, True, False, False]))
    with pytest.raises(InvalidValueError, match="nulls must be one of"):
        read(columns, path, nulls="drop")


@each_file
def test_nulls_without_a_value(path):
    for column in (["a", None], [True, None], [b"a", None], [2**53 + 1, None]):
        columns = {"x": pa.array(column)}
        with pytest.raises(UnsupportedError, match="'x'.*null.*nulls='mask'"):
            read(columns, path)
        found = read(columns, path, nulls="mask")
        assert found["x.mask"].tolist() == [False, True]
        assert found["x"][0] == column[0]
        assert not found["x"][1]
    assert np.isnan(read({"x": pa.nulls(2)}, path)["x"]).all()


@each_file
def test_lists_become_axes(path):
    rows = np.arange(24.0).reshape(4, 3, 2)
    expected = {
        "list": pa.array(rows.tolist()),
        "large": pa.array(rows.tolist(), pa.large_list(pa.large_list(pa.float64()))),
        "fixed": pa.array(rows.tolist(), pa.list_(pa.list_(pa.float64(), 2), 3)),
        "mixed": pa.array(rows.tolist(), pa.list_(pa.list_(pa.float64(), 2))),
        "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(rows),
    }
    for name, array in read(expected, path).items():
        assert array.shape == rows.shape, name
        np.testing.assert_array_equal(array, rows)
    transposed = np.ascontiguousarray(rows.transpose(0, 2, 1)).transpose(0, 2, 1)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(transposed)
    assert column.type.permutation
    assert_same(read({"x": column}, path)["x"], rows)
    words = pa.array([["a", "bcd"], ["", "é"]])
    assert_same(read({"x": words}, path)["x"], np.array([["a", "bcd"], ["", "é"]]))
    flags = pa.array([[True, False]] * 5)
    assert read({"x": flags}, path)["x"].shape == (5, 2)
    empty = pa.array([], pa.list_(pa.int32()))
    assert read({"x": empty}, path)["x"].shape == (0, 0)


@each_file
def test_nulls_in_lists(path):
    columns = {"x": pa.array([[1.0, None], None, [5, 6]], pa.list_(pa.float64(), 2))}
    columns["y"] = pa.array([None, [1.0, None], [5, 6]])
    found = read(columns, path)
    nan = np.nan
    np.testing.assert_array_equal(found["x"], [[1, nan], [nan, nan], [5, 6]])
    np.testing.assert_array_equal(found["y"], [[nan, nan], [1, nan], [5, 6]])
    mask = read(columns, path, nulls="mask")["x.mask"]
    assert mask.tolist() == [[False, True], [True, True], [False, False]]


@each_file
def test_ragged_lists(path):
    tokens = [[1, 2, 3], [], [4], [5, 6], [7]]
    columns = {"n": pa.array(range(5)), "tokens": pa.array(tokens, pa.list_(pa.int32()))}
    with pytest.raises(UnsupportedError, match=r"'tokens'.*0 and 3.*ragged='offsets'"):
        read(columns, path)
    found = read(columns, path, ragged="offsets")
    assert list(found) == ["n", "tokens", "tokens.offsets"]
    assert_same(found["tokens"], np.arange(1, 8, dtype="i4"))
    assert_same(found["tokens.offsets"], np.array([0, 3, 3, 4, 6, 7]))
    points = pa.array([[[1.0, 2]], [], [[3, 4], [5, 6]]])
    found = read({"x": points}, path, ragged="offsets")
    assert_same(found["x"], np.array([[1.0, 2], [3, 4], [5, 6]]))
    nulls = {"x": pa.array([[1], None])}
    with pytest.raises(NullError, match="'x'"):
        read(nulls, path, ragged="offsets")
    found = read(nulls, path, ragged="offsets", nulls="mask")
    assert found["x.mask"].tolist() == [False, True]
    assert found["x.offsets"].tolist() == [0, 1, 1]
    empty = pa.array([], pa.list_(pa.int32()))
    assert read({"x": empty}, path, ragged="offsets")["x.offsets"].tolist() == [0]
    with pytest.raises(InvalidValueError, match="ragged must be one of"):
        read(columns, path, ragged="pad")


@each_file
def test_strings_end_to_end(path):
    texts = ["a", "", "日本\0", "xyz"]
    columns = {"s": pa.array(texts), "b": pa.array([b"\0", b"", b"q", b"rs"])}
    found = read(columns, path, strings="offsets")
    assert list(found) == ["s", "s.offsets", "b", "b.offsets"]
    offsets = found["s.offsets"]
    raw = found["s"].tobytes()
    assert [raw[i:j].decode() for i, j in itertools.pairwise(offsets)] == texts
    with pytest.raises(UnsupportedError, match="'s'.*end in a NUL.*strings='offsets'"):
        read({"s": columns["s"]}, path)


@each_file
def test_one_long_string_does_not_widen_all_others(path):
    columns = {"s": pa.array(["x" * 200_000, *["y"] * 5000])}
    with pytest.raises(UnsupportedError, match=r"'s'.*200,000.*strings='offsets'"):
        read(columns, path)
    assert len(read(columns, path, strings="offsets")["s"]) == 205_000


@each_file
def test_structs_are_taken_apart(path):
    points = [{"x": 1, "y": {"z": "a"}}, None, {"x": 3, "y": {"z": "bc"}}]
    columns = {"p": pa.array(points), "q": pa.array([1, 2, 3])}
    found = read(columns, path, nulls="mask")
    assert list(found) == ["p.x", "p.x.mask", "p.y.z", "p.y.z.mask", "q"]
    assert found["p.x"].tolist() == [1, 0, 3]
    assert found["p.y.z.mask"].tolist() == [False, True, False]
    assert list(read(columns, path, columns=["p.x"])) == ["p.x"]
    with pytest.raises(InvalidValueError, match=r"two columns are called 'p.x'"):
        read({"p": pa.array([{"x": 1}]), "p.x": pa.array([1])}, path)


@each_file
def test_names_with_dots(path):
    found = read({"a.b": pa.array([1]), "a": pa.array([2]), "b": pa.array([3])}, path)
    assert {name: array.tolist() for name, array in found.items()} == {
        "a.b": [1],
        "a": [2],
        "b": [3],
    }


@each_file
def test_time_zones_are_attributes(path):
    column = pa.array([0, 3_600_000], pa.timestamp("ms", "Europe/Berlin"))
    write(pa.table({"t": column}), path)
    convert(path, "s.npk")
    with NumPack("s.npk", mode="r") as store:
        assert_same(store["t"], np.array([0, 3_600_000], "M8[ms]"))
        assert dict(store.attrs["t"]) == {"time_zone": "Europe/Berlin"}
    convert("s.npk", f"y{path}")
    again = pq.read_table(f"y{path}") if "parquet" in path else pa.ipc.open_file(f"y{path}")
    assert again.schema.field("t").type == column.type


@each_file
def test_units_strings_and_nat_return_exactly(path):
    arrays = {
        "h": np.array([1, 2, 3], "M8[h]"),
        "Y": np.array([1, 2, 3], "M8[Y]"),
        "W": np.array([1, 2, 3], "m8[W]"),
        "nat": np.array(["NaT", "2020-01-01", "NaT"], "M8[ms]"),
        "wide": np.array(["a", "b", "c"], "U9"),
        "inner": np.array(["a\0b", "b", "c"]),
        "bytes": np.array([b"a", b"b\0c", b""], "S7"),
        "pairs": np.array([["NaT", "2020-01-01"]] * 3, "M8[s]"),
    }
    convert(arrays, path)
    convert(path, "s.npk")
    with NumPack("s.npk", mode="r") as store:
        assert list(store) == list(arrays)
        for name, array in arrays.items():
            assert_same(store[name], array)


@each_file
def test_notes_that_do_not_fit_are_ignored_or_named(path):
    for dtype in ("<U2000000000", "O", "V8", "no dtype", ["f4"]):
        text = pa.field("x", pa.string(), metadata={"numpack": f'{{"dtype": "{dtype}"}}'})
        table = pa.table([pa.array(["abc"])], schema=pa.schema([text]))
        assert_same(read(table, path)["x"], np.array(["abc"]))
    field = pa.field("x", pa.timestamp("ms"), metadata={"numpack": '{"dtype": "<M8[D]"}'})
    table = pa.table([pa.array([1], pa.timestamp("ms"))], schema=pa.schema([field]))
    with pytest.raises(InvalidValueError, match="'x' is noted as"):
        read(table, path)


@each_file
def test_metadata_of_a_schema(path):
    schema = pa.schema(
        [pa.field("x", pa.int64(), metadata={"unit": "K"})],
        metadata={"source": "lab", b"\xff": b"\xff", "pandas": "{}"},
    )
    write(pa.table([pa.array([1])], schema=schema), path)
    convert(path, "s.npk")
    with NumPack("s.npk", mode="r") as store:
        assert dict(store.attrs.store) == {"source": "lab"}
        assert dict(store.attrs["x"]) == {"unit": "K"}


@each_file
def test_row_groups_of_any_size_make_the_same_array(path):
    rows = np.arange(1000)
    strings = np.array([f"{i:03d}" for i in range(1000)])
    table = pa.table({"n": rows, "s": strings.tolist()})
    found = read(table, path)
    assert_same(found["n"], rows)
    assert_same(found["s"], strings)


@each_file
def test_arrays_that_no_table_holds(path):
    with pytest.raises(UnsupportedError, match=r"'x'.*struct|'x'.*'a'.*each field"):
        convert({"x": np.zeros(3, [("a", "i4")])}, path)
    with pytest.raises(InvalidValueError, match="0-d arrays, such as 'x'"):
        convert({"x": np.array(1)}, path)
    with pytest.raises(UnsupportedError, match="'x'.*float32"):
        convert({"x": np.zeros(3, ml_dtypes.bfloat16)}, path)
    with pytest.raises(UnsupportedError, match=r"'x' is \|V0.*no bytes"):
        convert({"x": np.zeros(3, "V0")}, path)
    for text in (["a", "\ud800"], ["a", "b\0\ud800"], [["a", "\ud800"]]):
        with pytest.raises(UnsupportedError, match="'x'.*a surrogate"):
            convert({"x": np.array(text)}, path)
    with pytest.raises(UnsupportedError, match="a name with a surrogate"):
        convert({"x\ud800": np.zeros(3)}, path)
    assert not Path(path).exists()
