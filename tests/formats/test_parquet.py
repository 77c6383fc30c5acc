"""Parquet files, against pyarrow, pandas, Polars and DuckDB."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.each import assert_each
from support.formats.arrays import COMPLEX, LOWPREC, TEXT, assert_same
from support.formats.conformance import FormatConformance
from support.formats.tables import arrays_of, table_of

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import InvalidValueError


class TestParquet(FormatConformance):
    suffix = ".parquet"
    label = "Parquet"
    holds_attributes = True
    row_rule = True
    refused_dtypes = frozenset({*COMPLEX, *LOWPREC, "struct"})
    refused_shapes = frozenset({()})
    unwritten_dtypes = frozenset({*TEXT, "M8[s]"})  # widths, and seconds

    @pytest.fixture
    def run(self, run_python, monkeypatch):
        # pyarrow's own allocator reserves a GiB of address space, which the limit forbids
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
        return run_python

    def write(self, path, arrays):
        pq.write_table(table_of(arrays), path, row_group_size=1 << 17)

    def read(self, path):
        return arrays_of(pq.read_table(path))


def stored(path="s.npk"):
    with NumPack(path, mode="r") as store:
        return dict(store)


def test_files_of_pandas():
    frame = pd.DataFrame(
        {
            "f": [1.5, np.nan, 3],
            "i": pd.array([1, None, 3], "Int64"),
            "s": ["a", None, "日本"],
            "c": pd.Categorical(["x", "y", "x"]),
            "t": pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
            "v": [np.arange(2.0)] * 3,
        },
        index=pd.Index([7, 8, 9], name="id"),
    )
    frame.to_parquet("x.parquet")
    convert("x.parquet", "s.npk", nulls="mask")
    found = stored()
    assert found["i"].tolist() == [1, 0, 3]
    assert found["s"].tolist() == ["a", "", "日本"]
    assert found["s.mask"].tolist() == [False, True, False]
    assert found["c"].tolist() == ["x", "y", "x"]
    assert found["v"].tolist() == [[0, 1]] * 3
    assert found["id"].tolist() == [7, 8, 9]
    assert found["t"].dtype.kind == "M"
    with NumPack("s.npk") as store:
        assert not store.attrs.store  # the description of that frame would be wrong for others
    convert("s.npk", "y.parquet")
    again = pd.read_parquet("y.parquet")
    assert again["s"].tolist() == ["a", "", "日本"]
    assert np.stack(again["v"]).tolist() == [[0, 1]] * 3


def test_files_of_polars():
    frame = pl.DataFrame(
        {
            "n": [1, 2, 3],
            "s": ["a", "日本", ""],
            "v": pl.Series([[1.0, 2.0]] * 3, dtype=pl.Array(pl.Float64, 2)),
            "p": [{"x": 1, "y": 2.5}] * 3,
            "d": [0, 1, 2],
        },
        schema_overrides={"d": pl.Duration("us")},
    )
    frame.write_parquet("x.parquet")
    convert("x.parquet", "s.npk")
    found = stored()
    assert found["s"].tolist() == ["a", "日本", ""]
    assert found["v"].shape == (3, 2)
    assert found["p.y"].tolist() == [2.5] * 3
    convert("s.npk", "y.parquet")
    again = pl.read_parquet("y.parquet")
    assert again["n"].to_list() == [1, 2, 3]
    assert again["v"].to_list() == [[1.0, 2.0]] * 3


def test_files_of_duckdb():
    duckdb.sql(
        """
        COPY (SELECT i, i / 2 AS half, i::VARCHAR AS s, [i, i + 1] AS pair,
              i::FLOAT[2] IS NULL AS no, DATE '2020-01-01' + i::INTEGER AS day,
              {'a': i, 'b': i::TINYINT} AS st, i::DECIMAL(9, 2) AS price, i::HUGEINT AS huge
              FROM range(5) t(i))
        TO 'x.parquet' (FORMAT parquet)
        """.replace("i::FLOAT[2] IS NULL", "i IS NULL")
    )
    convert("x.parquet", "s.npk", types={"price": "float64"})
    found = stored()
    assert found["half"].tolist() == [0, 0.5, 1, 1.5, 2]
    assert found["s"].dtype == "U1"
    assert found["pair"].tolist() == [[i, i + 1] for i in range(5)]
    assert found["st.b"].dtype == "i1"
    assert found["day"][1] == np.datetime64("2020-01-02")
    assert found["price"].tolist() == list(range(5))
    convert("s.npk", "y.parquet")
    names = duckdb.sql("SELECT s, pair FROM 'y.parquet' WHERE i = 3").fetchall()
    assert [(s, list(pair)) for s, pair in names] == [("3", [3, 4])]


def test_row_groups_that_are_written():
    rows = np.arange(1000)
    convert({"x": rows}, "x.parquet", row_group_size=300, compression="zstd")
    groups = pq.ParquetFile("x.parquet").metadata
    assert [groups.row_group(i).num_rows for i in range(4)] == [300, 300, 300, 100]
    assert groups.row_group(0).column(0).compression == "ZSTD"
    convert("x.parquet", "y.parquet", row_group_size=400, compression=None)
    groups = pq.ParquetFile("y.parquet").metadata
    assert [groups.row_group(i).num_rows for i in range(3)] == [400, 400, 200]
    assert groups.row_group(0).column(0).compression == "UNCOMPRESSED"
    assert_same(pq.read_table("y.parquet")["x"].to_numpy(), rows)
    with pytest.raises(InvalidValueError, match="compression='nonsense'"):
        convert({"x": rows}, "z.parquet", compression="nonsense")
    assert not Path("z.parquet").exists()


def test_a_column_without_statistics():
    table = pa.table({"i": [1, None, 3], "whole": [1, 2, 3]})
    pq.write_table(table, "x.parquet", write_statistics=False)
    convert("x.parquet", "s.npk")
    assert stored()["i"].dtype == "f8"
    assert stored()["whole"].dtype == "i8"


def test_rows_without_values_are_refused():
    with pytest.raises(UnsupportedError, match=r"'x'.*Parquet.*at least one value"):
        convert({"x": np.zeros((3, 0))}, "x.parquet")
    assert not Path("x.parquet").exists()


def test_seconds_beyond_milliseconds_are_named():
    far = np.array([0, 2**62], "M8[s]")
    with pytest.raises(UnsupportedError, match=r"'t'.*milliseconds.*dtype={'t': 'int64'}"):
        convert({"n": np.arange(2), "t": far}, "x.parquet")
    assert not Path("x.parquet").exists()
    convert({"t": far}, "x.parquet", dtype={"t": "int64"})


def test_files_that_are_not_complete_or_not_parquet():
    pq.write_table(pa.table({"x": range(1000)}), "x.parquet")
    raw = Path("x.parquet").read_bytes()
    cases = [
        (raw[:-4], "its end is missing"),
        (raw[:-1], "its end is missing"),
        (raw[4:], "begins with"),
        (b"PAR1" + bytes(4) + b"PAR1", "not a complete Parquet file"),
        (b"PAR1" + (2**31 - 1).to_bytes(4, "little") + b"PAR1", "not a complete Parquet file"),
        (raw[:-4] + b"PARE", "encrypted"),
        (b"a,b\n1,2\n", "not with b'PAR1'"),
    ]

    def check(content, message):
        Path("x.parquet").write_bytes(content)
        with pytest.raises(InvalidValueError, match=message):
            convert("x.parquet", "s.npk")
        assert not Path("s.npk").exists()

    assert_each(cases, check)
    Path("x.parquet").unlink()
    Path("x.parquet").mkdir()
    with pytest.raises(IsADirectoryError):
        convert("x.parquet", "s.npk")


def test_pages_are_verified():
    convert({"x": np.random.default_rng(0).random(1000)}, "x.parquet")
    raw = bytearray(Path("x.parquet").read_bytes())
    raw[4000] ^= 1
    Path("x.parquet").write_bytes(raw)
    with pytest.raises(InvalidValueError, match="(?i)checksum|crc"):
        convert("x.parquet", "s.npk")
