"""DuckDB: relations over the memory of arrays, and conversions of query results."""

from __future__ import annotations

import gc
import weakref

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from adapters.conformance import REFUSE, FromNumpyToColumns, arrow_verdict, in_another_thread
from support.arrays import LOWPREC, OTHERS, dtype_of
from support.each import for_each
from support.exchange.cells import NUMBERS, TIMES, Owner
from support.oracles import duckdb as oracle

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


@pytest.fixture
def connection():
    with duckdb.connect() as opened:
        yield opened


@for_each("dtype", ["?", "i1", "u8", "f4", "f8", "M8[ns]", "S3"])
def test_change_of_the_source_is_visible_to_the_next_query(dtype):
    array = np.ones((4, 2), "u1").astype(dtype)
    shared = share(array, "duckdb", copy=False)
    own = share(array, "duckdb", copy=True)
    before = oracle.values(shared).tolist()
    array[2] = np.zeros((), dtype)
    assert oracle.values(shared).tolist() != before
    assert oracle.values(own).tolist() == before


def test_registered_name_is_visible_to_sql(connection):
    array = np.arange(5.0)
    relation = share(array, "duckdb", connection=connection, name="xs", copy=False)
    query = "select sum(value) from xs"
    assert connection.sql(query).fetchall() == [(10.0,)]
    array[0] = 5
    assert connection.sql(query).fetchall() == [(15.0,)]
    connection.unregister("xs")
    assert relation.sum("value").fetchall() == [(15.0,)]
    with pytest.raises(duckdb.CatalogException):
        connection.sql(query)


def test_columns_of_a_2d_array():
    array = np.asfortranarray(np.arange(6).reshape(3, 2))
    relation = share(array, "duckdb", columns=["a", "b"], copy=False)
    assert relation.fetchall() == [(0, 1), (2, 3), (4, 5)]
    array[0, 1] = 9
    assert relation.max("b").fetchall() == [(9,)]
    with pytest.warns(CopyWarning, match="Fortran order"):
        share(np.arange(6).reshape(3, 2), "duckdb", columns=["a", "b"])
    for names in (["a"], ["a", "A"], ["a", ""]):
        with pytest.raises(InvalidValueError):
            share(array, "duckdb", columns=names)


def test_rows_are_arrays_of_fixed_size():
    relation = share(np.arange(24.0).reshape(2, 3, 4), "duckdb", copy=False)
    assert str(relation.types[0]) == "DOUBLE[4][3]"
    assert oracle.values(relation).tolist() == np.arange(24.0).reshape(2, 3, 4).tolist()


def test_nan_is_not_null():
    relation = share(np.array([1.0, np.nan, 3.0]), "duckdb", copy=False)
    assert relation.filter("value is null").fetchall() == []
    assert relation.filter("isnan(value)").count("*").fetchall() == [(1,)]
    # DuckDB orders NaN after all numbers.
    assert relation.filter("value > 1").count("*").fetchall() == [(2,)]


def test_query_result_is_a_copy_of_known_size(connection):
    relation = connection.sql("select range as x from range(300000)")
    bytes_of_it = relation.to_arrow_table().nbytes
    route = explain(relation, "numpy")
    assert (route.shares_memory, route.nbytes) == (False, bytes_of_it)
    with pytest.raises(ZeroCopyError, match="from DuckDB failed: relation of 1 columns"):
        share(relation, "numpy", copy=False)
    with pytest.warns(CopyWarning, match=f"a copy takes {bytes_of_it:,} bytes"):
        assert np.array_equal(share(relation, "numpy"), np.arange(300000))
    own = share(relation, "numpy", copy=True)
    own[0] = 7
    assert own.flags.writeable
    one = connection.sql("select 1.5 :: double as x").to_arrow_table()
    assert share(one["x"], "numpy", copy=False).tolist() == [1.5]  # the fix of the message


def test_columns_of_a_relation(connection):
    relation = connection.sql("select 1 as a, 2 as b, 'x' as c, 4 as a")
    assert share(relation, "numpy", column="b", copy=True).tolist() == [2]
    assert share(relation, "numpy", column=-1, copy=True).tolist() == [4]
    with pytest.raises(InvalidValueError, match=r"2 columns are called 'a'.*\[0, 3\]"):
        share(relation, "numpy", column="a")
    with pytest.raises(NotFoundError, match="no column is called 'z'"):
        share(relation, "numpy", column="z")
    with pytest.raises(WrongTypeError, match="they begin with 'a', 'b', 'c'"):
        share(relation, "numpy")


def test_nulls(connection):
    relation = connection.sql("select * from (values (1), (null), (3)) t(x) order by x")
    with pytest.warns(CopyWarning):
        assert share(relation, "numpy", nulls="mask").tolist() == [1, 3, None]
    assert np.isnan(share(relation, "numpy", copy=True)[2])


def relation_over_a_stream(connection, rows: int = 3) -> duckdb.DuckDBPyRelation:
    """Return a relation that can be executed only once."""
    return connection.from_arrow(pa.table({"x": np.arange(rows)}).to_reader())


@for_each("target", ["numpy", "torch", "arrow", "polars", "nanoarrow", "arro3", "duckdb"])
def test_query_runs_once(connection, target):
    share(relation_over_a_stream(connection), target, copy=True)
    with pytest.raises(ZeroCopyError, match="from DuckDB failed: relation of 1 columns"):
        share(relation_over_a_stream(connection), target, copy=False)
    if target != "torch":  # also warns of read-only memory
        with pytest.warns(CopyWarning, match="from DuckDB failed"):
            share(relation_over_a_stream(connection), target)


def test_query_runs_once_with_options_that_require_numpy(connection):
    found = share(relation_over_a_stream(connection), "arrow", layout="list", copy=True)
    assert found.to_pylist() == [0, 1, 2]
    found = share(relation_over_a_stream(connection), "arro3", type=pa.int16(), copy=True)
    assert pa.array(found).to_pylist() == [0, 1, 2]


def test_explain_runs_the_query(connection):
    relation = relation_over_a_stream(connection)
    assert explain(relation, "numpy").nbytes >= 24
    with pytest.raises(duckdb.InvalidInputException, match="already been consumed"):
        relation.fetchall()


def test_statement_that_writes_runs_once_when_planned(connection):
    connection.execute("create table t (x int)")
    relation = connection.sql("insert into t values (1), (2) returning x")
    explain(relation, "numpy")
    assert share(relation, "numpy", copy=True).tolist() == [1, 2]
    assert connection.sql("select count(*) from t").fetchall() == [(2,)]


def test_columns_take_the_direct_route(connection):
    table = pa.table({"a": [1, None], "b": ["x", None]})
    relation = share(table, "duckdb", connection=connection, copy=False)
    assert relation.fetchall() == [(1, "x"), (None, None)]
    with pytest.warns(CopyWarning, match="relation of 2 columns and 2 rows"):
        assert share(relation, "arrow").to_pydict() == table.to_pydict()
    frame = share(relation, "polars", copy=True)
    assert frame.to_dict(as_series=False) == table.to_pydict()
    array = share(pa.chunked_array([[1], [None]]), "duckdb", name="xs", connection=connection)
    assert array.columns == ["value"]
    assert connection.sql("select count(value) from xs").fetchall() == [(1,)]


@for_each(
    "kind",
    [
        *(pa.float16(), pa.duration("ns"), pa.month_day_nano_interval(), pa.date64()),
        *(pa.decimal256(50, 2), pa.decimal128(5, -2), pa.timestamp("us", "Asia/Tokyo")),
        *(pa.uuid(), pa.list_(pa.int8(), 0), pa.list_(pa.duration("us"))),
        pa.struct([("x", pa.float16())]),
    ],
    ids=str,
)
def test_arrow_types_that_duckdb_would_change_are_refused(kind):
    table = pa.table({"x": pa.nulls(2, kind)})
    for source in (table, table["x"]):
        route = explain(source, "duckdb")
        assert not route.supported
        assert route.steps[0].direction == "to DuckDB"
        with pytest.raises(UnsupportedError, match="would change"):
            share(source, "duckdb", copy=True)


@for_each(
    "column",
    [
        pa.array([2**64 - 1, None], pa.uint64()),
        pa.array([2**63 - 2], pa.int64()).view(pa.timestamp("s")),
        pa.array([1, None], pa.time32("s")),
        pa.array([1, None], pa.time64("ns")),
        pa.array([-1, None], pa.date32()),
        pa.array(["a\0b", "", None], pa.large_string()),
        pa.array([b"a\0", None], pa.binary(2)),
        pa.array(["a", "b", None]).dictionary_encode(),
        pa.array([[1, None], None], pa.list_(pa.int8(), 2)),
        pa.array([{"a": 1}, None]),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())),
        pa.array([1, None], pa.timestamp("ns", "UTC")),
    ],
    ids=lambda column: str(column.type),
)
def test_arrow_columns_round_trip(column):
    relation = share(column, "duckdb", copy=False)
    back = share(relation, "arrow", copy=True)["value"].cast(column.type).combine_chunks()
    if pa.types.is_temporal(column.type):
        width = pa.int32() if column.type.bit_width == 32 else pa.int64()
        column, back = column.cast(width), back.cast(width)
    assert back.to_pylist() == column.to_pylist()


@for_each(
    "query",
    [
        *("select 1::uhugeint as x", "select '101'::bit as x", "select 1::bignum as x"),
        *("select '01:00:00+02'::timetz as x", "select [1::uhugeint] as x"),
        *("select {'a': '1'::bit} as x", "select date 'infinity' as x"),
        "select timestamp '-infinity' as x",
    ],
)
@for_each("target", ["numpy", "arrow"])
def test_results_that_the_export_would_change_are_refused(connection, query, target):
    relation = connection.sql(query)
    route = explain(relation, target)
    assert not route.supported
    assert route.fix
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match="from DuckDB failed: column 'x'"):
            share(relation, target, copy=copy)


def test_names_that_duckdb_would_replace_are_refused():
    for names in (["a", "a"], ["a", "A"], ["", "b"]):
        with pytest.raises(InvalidValueError, match="differ in more than case"):
            share(pa.table([[1], [2]], names=names), "duckdb")
    with pytest.raises(InvalidValueError):
        share(pa.table({}), "duckdb")


def test_wrong_arguments(connection):
    with pytest.raises(WrongTypeError, match="a DuckDBPyConnection"):
        share(np.arange(3), "duckdb", connection="x")
    connection.execute("select 1")
    assert not explain(connection, "numpy").supported
    with pytest.raises(UnsupportedError, match="connection.sql"):
        share(connection, "numpy")
    assert connection.fetchall() == [(1,)]  # the pending result was not consumed
    with pytest.raises(WrongTypeError, match="duckdb.DuckDBPyRelation"):
        share(connection.sqltype("INT"), "numpy")


def test_read_only_memory_is_never_written(tmp_path):
    np.arange(6.0).tofile(tmp_path / "x.bin")
    with NumPack(str(tmp_path / "s.npk")) as npk:
        npk.save({"x": np.arange(6.0)})
        stored = npk.load("x")
    for array in (np.memmap(tmp_path / "x.bin", "f8", "r"), stored):
        relation = share(array, "duckdb", copy=False)
        with pytest.raises(duckdb.Error):
            relation.update({"value": 1.0})
        assert relation.sum("value").fetchall() == [(15.0,)]


def test_explain_registers_nothing(connection):
    explain(np.arange(3), "duckdb", connection=connection, name="xs")
    with pytest.raises(duckdb.CatalogException):
        connection.sql("from xs")


class TestFromNumpy(FromNumpyToColumns):
    target = "duckdb"
    dtypes = (*NUMBERS, LOWPREC[0], *TIMES, *OTHERS)

    def expected(self, name, layout, array):
        if dtype_of(name).kind == "m" or name == "float16":
            return REFUSE
        if array.ndim > 1 and 0 in array.shape[1:]:
            return REFUSE
        stored = "uint8" if name == "bool" else name  # DuckDB stores a byte for each
        return arrow_verdict(stored, layout, array)

    def listed(self, result):
        return result.to_arrow_table().column(0)


def test_query_over_a_relation_keeps_only_its_source_alive(connection):
    owner = Owner(10)
    seen = weakref.ref(owner)
    box = [share(np.asarray(owner), "duckdb", copy=False, connection=connection)]
    del owner
    box.append(box.pop().filter("value > 7"))
    gc.collect()
    assert seen() is not None
    assert box[0].fetchall() == [(8.0,), (9.0,)]
    in_another_thread(box.clear)
    gc.collect()
    assert seen() is None
