"""Columns and tensors of other frameworks."""

from __future__ import annotations

import ctypes
import datetime as dt
from typing import Any

import duckdb
import jax
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import tensorflow as tf
import torch
import xarray as xr

from support.exchange.pointers import rows_behind_pointers
from support.fixes.fix import Fix


def bits() -> Any:
    fields = [("a", ctypes.c_uint, 3), ("b", ctypes.c_uint, 5)]
    return type("Bits", (ctypes.Structure,), {"_fields_": fields})()


def relation(query: str) -> Any:
    return duckdb.sql(query)


POINTERS = rows_behind_pointers(b"<i")

FIXES = {
    # Arrow
    "Arrow's bool": Fix(
        lambda: pa.array([True, False]),
        "numpy",
        "pa.ExtensionArray.from_storage(pa.bool8(), array.cast(pa.int8()))",
        [True, False],
    ),
    "chunks": Fix(lambda: pa.chunked_array([[1], [2]]), "numpy", "array.chunk(0)", [1]),
    "days": Fix(lambda: pa.array([1], pa.date32()), "numpy", "array.cast(pa.date64())"),
    "dictionary": Fix(
        lambda: pa.array([5, 5]).dictionary_encode(), "numpy", "array.dictionary", [5]
    ),
    # Polars
    "opaque": Fix(
        lambda: pl.Series([object], dtype=pl.Object),
        "numpy",
        "np.array(series.to_list(), object)",
        [object],
    ),
    "Int128": Fix(
        lambda: pl.Series([3], dtype=pl.Int128), "numpy", "series.cast(pl.Int64)", [3]
    ),
    "bits": Fix(lambda: pl.Series([True]), "numpy", "series.cast(pl.UInt8)", [1]),
    "Date": Fix(
        lambda: pl.Series([1]).cast(pl.Date), "numpy", "series.cast(pl.Datetime('ms'))"
    ),
    "categories": Fix(
        lambda: pl.Series(["a"], dtype=pl.Categorical), "numpy", "series.to_physical()", [0]
    ),
    "chunks of Polars": Fix(
        lambda: pl.Series([1]).append(pl.Series([2])), "numpy", "series.rechunk()", [1, 2]
    ),
    # pandas
    "stored": Fix(
        lambda: pd.Series([0, 1], dtype="Sparse[int]"), "numpy", "x.array.sp_values", [1]
    ),
    "ordinals": Fix(
        lambda: pd.Series(pd.period_range("2020", periods=1, freq="D")),
        "numpy",
        "x.array.asi8",
        [18262],
    ),
    "sides": Fix(lambda: pd.Series(pd.interval_range(0, 2)), "numpy", "x.array.left", [0, 1]),
    "blocks": Fix(
        lambda: pd.DataFrame({"a": [1, 2]}).assign(b=[3, 4]), "numpy", "frame.copy()"
    ),
    "dtypes": Fix(
        lambda: pd.DataFrame({"a": [1], "b": [2.5]}), "numpy", "frame.astype(float)", [[1, 2.5]]
    ),
    "levels": Fix(
        lambda: pd.MultiIndex.from_tuples([(1, 2)]), "numpy", "index.get_level_values(0)", [1]
    ),
    "range": Fix(lambda: pd.RangeIndex(2), "numpy", "np.arange(2)", [0, 1]),
    "table": Fix(
        lambda: pd.DataFrame({"a": pd.period_range("2020", periods=1), "b": 1.5}),
        "arrow",
        "pyarrow.Table.from_pandas(frame)",
    ),
    # Arrow to DuckDB
    "zone": Fix(
        lambda: pa.array([0], pa.timestamp("s", "Asia/Tokyo")),
        "duckdb",
        "column.cast(pa.timestamp('s', 'UTC'))",
    ),
    "lists of no width": Fix(
        lambda: pa.array([[], []], pa.list_(pa.int8(), 0)), "duckdb", "np.arange(len(column))"
    ),
    "float16 of Arrow": Fix(
        lambda: pa.array([1.5], pa.float16()), "duckdb", "column.cast(pa.float32())", [1.5]
    ),
    "durations of Arrow": Fix(
        lambda: pa.array([5], pa.duration("s")), "duckdb", "column.cast(pa.int64())", [5]
    ),
    "date64": Fix(
        lambda: pa.array([86400000], pa.date64()),
        "duckdb",
        "column.cast(pa.timestamp('ms'))",
        [dt.datetime(1970, 1, 2)],
    ),
    # Others
    "pointers": Fix(lambda: POINTERS[0], "numpy", "x.tobytes()", [*POINTERS[0].tobytes()]),
    "computed relation": Fix(
        lambda: relation("select 1 as a"), "numpy", "relation.to_arrow_table()['a']", [1]
    ),
    "bit-fields": Fix(bits, "numpy", "x", [0, 0, 0, 0], {}, {"format": "u1"}),
    "ragged tensor": Fix(
        lambda: tf.ragged.constant([[1], [2, 3]]), "numpy", "tensor.to_tensor()"
    ),
    "sparse of TensorFlow": Fix(
        lambda: tf.sparse.from_dense([[1, 0]]), "numpy", "tf.sparse.to_dense(tensor)", [[1, 0]]
    ),
    "strings of TensorFlow": Fix(lambda: tf.constant(["a"]), "numpy", "tensor.numpy()"),
    "slices": Fix(
        lambda: tf.IndexedSlices(tf.ones((1, 2)), tf.constant([0]), tf.constant([2, 2])),
        "numpy",
        "tf.convert_to_tensor(x)",
    ),
    "nested": Fix(
        lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
        "numpy",
        "tensor.to_padded_tensor(0.0)",
        [[1, 0], [1, 1]],
    ),
    "sparse of torch": Fix(
        lambda: torch.eye(2).to_sparse(), "numpy", "tensor.to_dense()", [[1, 0], [0, 1]]
    ),
    "quantized": Fix(
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8),
        "numpy",
        "tensor.dequantize()",
        [1, 1],
    ),
    "complex32": Fix(
        lambda: torch.ones(2, dtype=torch.float16).view(torch.complex32),
        "numpy",
        "tensor.to(torch.complex64)",
        [1 + 1j],
    ),
    "conjugate": Fix(
        lambda: torch.tensor([1 + 2j]).conj(),
        "numpy",
        "tensor.resolve_conj().resolve_neg()",
        [1 - 2j],
    ),
    "keys": Fix(lambda: jax.random.key(0), "numpy", "jax.random.key_data(array)", [0, 0]),
    "index of xarray": Fix(
        lambda: xr.DataArray([1], dims="x").to_dataset(name="a"),
        "numpy",
        "x",
        [1],
        {},
        {"column": "a"},
    ),
}
