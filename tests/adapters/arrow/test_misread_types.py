"""Arrow types that Polars, DuckDB, arro3, nanoarrow or pandas misread or refuse."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from support.arrow.reference import reference
from support.each import for_each

from numpack import UnsupportedError, ZeroCopyError, explain, share
from numpack.adapters.arrow.rewrite import Rewriting
from numpack.adapters.arrow.trees import (
    decoded_type,
)

pytestmark = pytest.mark.filterwarnings("ignore::numpack.CopyWarning")


def dictionary(codes: list[int | None], values: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), values)


def fixed(values: pa.Array, size: int = 2) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(values, size)


def test_polars_gets_128_bit_decimals(run_python):
    script = """
import decimal, warnings, pyarrow as pa
warnings.simplefilter("ignore")
from numpack import explain, share
one = decimal.Decimal("1.23")
for kind in (pa.decimal32(5, 2), pa.decimal64(12, 2)):
    for column in (
        pa.array([one], kind),
        pa.array([[one]], pa.list_(kind)),
        pa.array([[one]], pa.list_(kind, 1)),
        pa.array([{"a": one}], pa.struct([("a", kind)])),
        pa.array([[("k", one)]], pa.map_(pa.string(), kind)),
    ):
        assert explain(column, "polars").supported
        assert "1.23" in str(share(column, "polars").to_list())
print("done")
"""
    assert run_python(script) == "done\n"


@pytest.mark.parametrize(
    ("array", "fixed_by"),
    [
        (
            pa.array([pa.MonthDayNano([1, 2, 3]), None]),
            lambda array: pa.array([v and list(v) for v in array.to_pylist()]),
        ),
        (
            pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
            lambda array: array.field(0),
        ),
        (
            pa.array([1], pa.decimal256(50, 2)),
            lambda array: array.cast(pa.decimal128(38, 2)),
        ),
    ],
    ids=["interval", "union", "decimal256"],
)
def test_types_on_which_polars_panics_are_refused(array, fixed_by):
    one = pa.array([0, len(array)], pa.int32())
    for given in (
        array,
        pa.ListArray.from_arrays(one, array),
        pa.StructArray.from_arrays([array], ["x"]),
        fixed(array, 1),
        pa.table({"x": array}),
    ):
        route = explain(given, "polars")
        assert not route.supported
        for copy in (None, False, True):
            with pytest.raises(UnsupportedError, match="Polars has no such type"):
                share(given, "polars", copy=copy)
    assert len(share(fixed_by(array), "polars", copy=True)) == len(array)


@for_each(
    "values",
    [
        pa.array([5, 7]),
        pa.array([True, False]),
        pa.array([b"a", b"b"]),
        pa.array([1.5, None]),
        pa.array(["a", None]),
        pa.array(["a", "b"]),
    ],
    ids=lambda values: str(values.to_pylist()),
)
def test_chunked_dictionaries_to_polars(values):
    column = pa.chunked_array([dictionary([0, 1], values), dictionary([1], values)])
    for given in (column, column.chunk(0)):
        assert share(given, "polars").to_list() == given.to_pylist()
        assert not explain(given, "polars").shares_memory


def test_slices_of_lists_with_nulls_to_polars():
    whole = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))
    for array in (whole, whole[1:], whole[:2], whole[1:2]):
        for copy in (None, True):
            assert share(array, "polars", copy=copy).to_list() == array.to_pylist()
    assert explain(whole, "polars").shares_memory
    assert not explain(whole[1:], "polars").shares_memory
    with pytest.raises(ZeroCopyError, match=r"pa.concat_arrays\(\[array\]\)"):
        share(whole[1:], "polars", copy=False)
    assert explain(pa.concat_arrays([whole[1:]]), "polars").shares_memory
    full = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    assert explain(full[1:], "polars").shares_memory


def test_nested_extension_types_to_polars():
    bools = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, 5], pa.int8()))
    lists = pa.ListArray.from_arrays(pa.array([0, 3], pa.int32()), bools)
    assert share(lists, "polars").to_list() == [[False, True, True]]


MISREAD_BY_DUCKDB = {
    "fixed lists": fixed(dictionary([0, 1, None, 0], pa.array(["a", "b"]))),
    "fixed lists of numbers": fixed(dictionary([0, 1, None, 0], pa.array([5, 7]))),
    "struct": pa.StructArray.from_arrays([dictionary([0, 1], pa.array(["a", "b"]))], ["x"]),
    "dictionary of structs": dictionary([2, 0, None], pa.array([{"a": i} for i in range(3)])),
    "dictionary of dictionaries": dictionary([0, 1], dictionary([1, 0], pa.array([5, 7]))),
    "dictionary of lists": dictionary([0, 1], pa.array([[1], [2, 3]])),
}


@for_each("name", MISREAD_BY_DUCKDB)
def test_dictionaries_that_duckdb_misreads_are_refused(name):
    import duckdb

    array = MISREAD_BY_DUCKDB[name]
    with duckdb.connect() as connection:
        connection.sql("create table mine as select 42 as i")
        assert not explain(array, "duckdb").supported
        with pytest.raises(UnsupportedError) as info:
            share(array, "duckdb", connection=connection)
        if "column.cast(...)" in info.value.fix:
            plain = array.cast(Rewriting(lambda kind, _: decoded_type(kind)).target(array.type))
        else:
            assert "numpack.share(column, 'polars', copy=True)" in info.value.fix
            plain = share(array, "polars", copy=True)
        rows = share(plain, "duckdb", connection=connection).fetchall()
        assert [_listed(row[0]) for row in rows] == array.to_pylist()
        assert connection.sql("from mine").fetchall() == [(42,)]


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_fix_for_run_end_encoding_that_duckdb_misreads():
    ends = pa.RunEndEncodedArray.from_arrays(
        pa.array([1, 2], pa.int32()), dictionary([0, 1], pa.array(["a", "b"]))
    )
    with pytest.raises(UnsupportedError, match=r"numpack.share\(column, 'polars', copy=True\)"):
        share(ends, "duckdb")
    found = share(share(ends, "polars", copy=True), "duckdb")
    assert found.fetchall() == [("a",), ("b",)]


def test_slice_of_nested_structs_to_duckdb():
    table = pa.table({"s": pa.array([{"a": {"b": 1}}, {"a": {"b": 2}}])}).slice(1)
    assert share(table, "duckdb").fetchall() == [({"a": {"b": 2}},)]
    assert not explain(table, "duckdb").shares_memory
    assert explain(table.slice(0, 0), "duckdb").supported
    structs = pa.array([{"a": {"b": i}} for i in range(4)])
    apart = pa.table({"i": pa.chunked_array([[0], [1, 2, 3]]), "s": structs})
    rows = [(i, {"a": {"b": i}}) for i in range(4)]
    assert share(apart, "duckdb").fetchall() == rows
    assert explain(apart, "duckdb").nbytes == structs.nbytes


def test_variant_of_duckdb_is_refused():
    import duckdb

    with duckdb.connect() as connection:
        relation = connection.sql("select 1::variant as x")
        assert not explain(relation, "numpy").supported
        with pytest.raises(UnsupportedError, match="cast it in the query"):
            share(relation, "arrow", copy=True)


def test_slices_to_arro3():
    structs = pa.array([{"a": i, "b": str(i)} for i in range(6)])
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]
    )
    for array in (fixed(structs)[1:], union[1:]):
        assert reference(pa.array(share(array, "arro3"))) == reference(array)
        assert not explain(array, "arro3").shares_memory
        moved = pa.concat_arrays([array])
        assert explain(moved, "arro3").shares_memory
    assert explain(fixed(pa.array(range(6)))[1:], "arro3").shares_memory


@pytest.mark.parametrize("target", ["duckdb", "arro3", "nanoarrow"])
def test_extension_type_stored_as_another_is_refused(target):
    inner = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(["1"]))
    outer = pa.ExtensionArray.from_storage(pa.opaque(inner.type, "t", "v"), inner)
    assert not explain(outer, target).supported
    with pytest.raises(UnsupportedError):
        share(outer, target)
    if target != "duckdb":
        assert share(outer.storage, target, copy=False) is not None
    assert share(outer, "polars", copy=True).to_list() == ["1"]


def test_strings_of_polars_are_usable_in_pandas():
    import polars as pl

    series = pl.Series("s", ["a", "b", None])
    frame = share(series.to_frame(), "pandas")
    for found in (frame["s"], share(series, "pandas", dtype_backend="pyarrow")):
        repr(found)
        assert (found == "a").tolist()[:2] == [True, False]
        assert found.dropna().sort_values().tolist() == ["a", "b"]
    assert explain(series.to_frame(), "pandas").reason.startswith("pandas cannot read")


@for_each(
    ("array", "fixed_by"),
    [
        (
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16], pa.binary(16))),
            lambda array: array.storage,
        ),
        (
            pa.array([1], pa.timestamp("s", "Asia/Tokyo")),
            lambda array: array.cast(pa.timestamp("s", "UTC")),
        ),
        (pa.array([1], pa.decimal256(50, 2)), lambda array: array.cast(pa.decimal128(38, 2))),
        (pa.array([1.5], pa.float16()), lambda array: array.cast(pa.float32())),
        (pa.array([1], pa.duration("ns")), lambda array: array.cast(pa.int64())),
        (
            pa.array([dt.date(2020, 1, 1)], pa.date64()),
            lambda array: array.cast(pa.timestamp("ms")),
        ),
        (
            pa.array([pa.MonthDayNano([1, 2, 3]), None]),
            lambda array: pa.array([v and list(v) for v in array.to_pylist()]),
        ),
        (
            pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
            lambda array: array.field(0),
        ),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_fixes_for_types_that_duckdb_changes(array, fixed_by):
    for given in (array, fixed(array, 1), pa.table({"x": array})):
        assert not explain(given, "duckdb").supported
        with pytest.raises(UnsupportedError, match="would change"):
            share(given, "duckdb")
    assert len(share(fixed_by(array), "duckdb").to_arrow_table()) == len(array)
