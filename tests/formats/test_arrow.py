"""Arrow and Feather files, against pyarrow, pandas and Polars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest
from support.each import assert_each
from support.formats.arrays import COMPLEX, LOWPREC, TEXT, assert_same
from support.formats.conformance import FormatConformance
from support.formats.tables import arrays_of, table_of

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import InvalidValueError


class TestArrow(FormatConformance):
    suffix = ".arrow"
    label = "Arrow"
    holds_attributes = True
    row_rule = True
    refused_dtypes = frozenset({*COMPLEX, *LOWPREC, "struct"})
    refused_shapes = frozenset({()})
    unwritten_dtypes = frozenset(TEXT)  # whose width only the values tell

    @pytest.fixture
    def run(self, run_python, monkeypatch):
        # pyarrow's own allocator reserves a GiB of address space, which the limit forbids
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
        return run_python

    def write(self, path, arrays):
        table = table_of(arrays)
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)

    def read(self, path):
        with pa.ipc.open_file(path) as file:
            return arrays_of(file.read_all())

    def check_read_in_spite_of_damage(self, name, shapes):
        assert not name.startswith("cut")  # neither values nor names have checksums
        found = [each.shape for each in self.stored(f"{name}.npk").values()]
        assert found == list(shapes.values())


def stored(path="s.npk"):
    with NumPack(path, mode="r") as store:
        return dict(store)


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_feather_files(compression):
    frame = pd.DataFrame(
        {"f": [1.5, np.nan], "s": ["a", "日本"], "c": pd.Categorical(["x", "y"])}
    )
    pyarrow.feather.write_feather(frame, "x.feather", compression=compression)
    convert("x.feather", "s.npk")
    found = stored()
    np.testing.assert_array_equal(found["f"], [1.5, np.nan])
    assert found["s"].tolist() == ["a", "日本"]
    assert found["c"].tolist() == ["x", "y"]
    convert("s.npk", "y.feather", columns=["f", "s"])
    again = pd.read_feather("y.feather")
    assert again["s"].tolist() == ["a", "日本"]


def test_files_of_polars():
    frame = pl.DataFrame(
        {
            "n": [1, 2, None],
            "s": ["a", None, "日本"],
            "e": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
            "v": pl.Series([[1.0, 2.0]] * 3, dtype=pl.Array(pl.Float64, 2)),
            "l": [[1, 2], [3, 4], [5, 6]],
            "d": pl.Series([0, 1, 2]).cast(pl.Datetime("us", "UTC")),
        }
    )
    for compression in ("uncompressed", "lz4", "zstd"):
        frame.write_ipc("x.arrow", compression=compression)
        convert("x.arrow", "s.npk", nulls="mask")
        found = stored()
        assert found["n"].tolist() == [1, 2, 0]
        assert found["s.mask"].tolist() == [False, True, False]
        assert found["e"].tolist() == ["x", "y", "x"]
        assert found["v"].shape == (3, 2)
        assert found["l"].tolist() == [[1, 2], [3, 4], [5, 6]]
        with NumPack("s.npk") as store:
            assert store.attrs["d"]["time_zone"] == "UTC"
    convert("s.npk", "y.arrow", columns=["n", "v", "e", "d"])
    again = pl.read_ipc("y.arrow")
    assert again["e"].to_list() == ["x", "y", "x"]
    assert again["v"].to_numpy().tolist() == [[1.0, 2.0]] * 3


def test_streams_of_batches():
    table = pa.table({"x": range(10), "s": [str(i) for i in range(10)]})
    with pa.ipc.new_stream("x.arrow", table.schema) as writer:  # as Hugging Face Datasets do
        writer.write_table(table, max_chunksize=3)
    convert("x.arrow", "s.npk")
    assert_same(stored()["x"], np.arange(10))
    assert_same(stored()["s"], np.arange(10).astype("U1"))
    convert("x.arrow", "x.npz")
    assert np.load("x.npz")["x"].tolist() == list(range(10))


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_compression_of_written_files(compression):
    convert({"x": np.zeros((100_000, 3))}, "x.arrow", compression=compression)
    assert (Path("x.arrow").stat().st_size > 2_000_000) == (compression is None)
    with pa.ipc.open_file("x.arrow") as file:
        assert file.read_all()["x"].combine_chunks().to_numpy_ndarray().shape == (100_000, 3)


def test_offsets_outside_of_their_buffers_are_refused():
    table = pa.table({"s": ["abcd", "efgh"], "n": [[1, 2], [3]]})
    with pa.ipc.new_file("x.arrow", table.schema) as writer:
        writer.write_table(table)
    raw = Path("x.arrow").read_bytes()
    strings = np.array([0, 4, 8], "i4").tobytes()
    lists = np.array([0, 2, 3], "i4").tobytes()
    assert raw.count(strings) == raw.count(lists) == 1

    def check(old, offsets, name):
        bad = np.array(offsets, "i4").tobytes()
        Path("x.arrow").write_bytes(raw.replace(old, bad))
        with pytest.raises(InvalidValueError, match=f"'{name}' is damaged|x.arrow"):
            convert("x.arrow", "s.npk", columns=[name], ragged="offsets")

    cases = [(strings, bad, "s") for bad in ([0, 2**30, 8], [0, -4, 8], [0, 9, 8])]
    cases += [(lists, bad, "n") for bad in ([0, 2**30, 3], [-9, 2, 3], [0, 2, 2**30])]
    assert_each(cases, check)


def test_dictionary_indexes_outside_of_the_dictionary_are_refused():
    indexes = pa.array([0, 1, 77], pa.int8())
    column = pa.DictionaryArray.from_arrays(indexes, ["a", "b"], safe=False)
    table = pa.table({"c": column})
    with pa.ipc.new_file("x.arrow", table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InvalidValueError, match="'c' is damaged"):
        convert("x.arrow", "s.npk")


def test_other_files_are_named():
    Path("x.feather").write_bytes(b"FEA1" + bytes(100))
    with pytest.raises(InvalidValueError, match="version 1.*write_feather"):
        convert("x.feather", "s.npk")
    Path("x.arrow").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(InvalidValueError, match="x.arrow is not a complete Arrow file"):
        convert("x.arrow", "s.npk")
    with pytest.raises(InvalidValueError, match="compression must be"):
        convert({"x": np.zeros(3)}, "x.arrow", compression="gzip")
    with pytest.raises(UnsupportedError, match="complex128"):
        convert({"x": np.zeros(3, complex)}, "x.arrow")


def test_a_file_that_cannot_be_mapped_is_read(run_python):
    rows = np.arange(1 << 20)
    convert({"x": rows, "y": rows}, "x.arrow")
    run_python(
        """
import mmap
def refuse(*args, **kwargs):
    raise OSError(12, "Cannot allocate memory")
mmap.mmap = refuse
import numpack
numpack.convert("x.arrow", "x.npz", columns=["x"])
"""
    )
    assert_same(np.load("x.npz")["x"], rows)
