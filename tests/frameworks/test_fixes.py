"""Every fix in a conversion message is executed: it works, and the values are right.

Each row provokes a message, executes the code that the message contains, and shares the result.
The last tests find all fixes with code in the sources and require a row for each.
"""

from __future__ import annotations

import ast
import ctypes
import datetime as dt
import functools
import io
import multiprocessing
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import duckdb
import jax
import ml_dtypes
import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
import scipy.sparse
import tensorflow as tf
import torch
import xarray as xr
from support.pointers import rows_behind_pointers

import numpack
from numpack import NumpackError, explain, share

ROOT = Path(numpack.__file__).parent
NAMES = {
    "np": np,
    "numpy": np,
    "pa": pa,
    "pyarrow": pa,
    "pd": pd,
    "pandas": pd,
    "pl": pl,
    "polars": pl,
    "torch": torch,
    "tf": tf,
    "jax": jax,
    "jnp": jax.numpy,
    "scipy": scipy,
    "duckdb": duckdb,
    "numpack": numpack,
    "SafetensorsFile": numpack.io.SafetensorsFile,
    "share": share,
    "ml_dtypes": ml_dtypes,
}


class Fix(NamedTuple):
    """An object, the target of its conversion, and the code that the message names.

    In `code`, arguments replace the ellipses and placeholders of the message.
    """

    make: Any
    target: str
    code: str
    want: Any = None
    options: Mapping[str, Any] = MappingProxyType({})
    then: Mapping[str, Any] = MappingProxyType({})


def opaque(name: str, **members: Any) -> Any:
    module, _, kind = name.rpartition(".")
    return type(kind, (), {"__module__": module, **members})()


class Computed:
    @property
    def __array_interface__(self):
        return {"shape": (2,), "typestr": "<f8", "data": np.arange(2.0).tobytes(), "version": 3}


class Copying:
    def __dlpack__(self, **_):
        return np.arange(2.0).__dlpack__()

    def __dlpack_device__(self):
        return (1, 0)


class Converting:
    def __arrow_c_array__(self, requested_schema=None):
        return pa.array(np.arange(2.0) + 0).__arrow_c_array__(requested_schema)


def typed(typestr: str, **more: Any) -> Any:
    interface = {"shape": (2,), "typestr": typestr, "data": bytes(64), "version": 3} | more
    return opaque("here.Array", __array_interface__=interface)


def bits() -> Any:
    fields = [("a", ctypes.c_uint, 3), ("b", ctypes.c_uint, 5)]
    return type("Bits", (ctypes.Structure,), {"_fields_": fields})()


def relation(query: str) -> Any:
    return duckdb.sql(query)


def objects(*values: Any) -> np.ndarray:
    return np.array([*values, None], dtype=object)[:-1]


def read_only_negative() -> np.ndarray:
    return np.arange(3.0)[::-1]


def misaligned() -> np.ndarray:
    return np.frombuffer(b"\0" * 17, np.uint8)[1:].view("f8")


def unready() -> Any:
    return np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")]))["b"]


TIMES = np.array(["2020", "2021"], "M8[D]")
LONG = np.array([1, 2.5], np.longdouble)
RECORDS = np.zeros(2, [("a", "i4"), ("b", "f4")])
STRINGS = np.array(["a", "b"], np.dtypes.StringDType())
HALVES = np.array([1.5, 2], ml_dtypes.bfloat16)
MASKED = np.ma.array([1.0, 2.0], mask=[False, True])
NUMBERS = pl.Series([1, None])
LISTS = [[1.0, 2.0], [3.0, 4.0]]
GENERIC = np.array([1, 2], "m8")
POINTERS = rows_behind_pointers(b"<i")

FIXES = {
    # Objects that are not arrays
    "list": Fix(lambda: [1, 2], "torch", "np.asarray(x)", [1, 2]),
    "number of NumPy": Fix(lambda: np.float32(2), "torch", "np.asarray(x)", 2.0),
    "generator": Fix(lambda: (n for n in (1, 2)), "numpy", "np.fromiter(x, int)", [1, 2]),
    "set": Fix(lambda: {1}, "torch", "np.array(list(x))", [1]),
    "dict": Fix(lambda: {"a": [1]}, "polars", "pyarrow.table(x)"),
    "list of dicts": Fix(lambda: [{"a": 1}], "polars", "pyarrow.Table.from_pylist(x)"),
    "BytesIO": Fix(lambda: io.BytesIO(b"ab"), "numpy", "x.getbuffer()", [97, 98]),
    "locked": Fix(lambda: multiprocessing.Array("i", [1, 2]), "numpy", "x.get_obj()", [1, 2]),
    "untyped storage": Fix(
        lambda: torch.tensor([1], dtype=torch.uint8).untyped_storage(),
        "numpy",
        "torch.empty(0, dtype=torch.uint8, device=x.device).set_(x)",
        [1],
    ),
    "typed storage": Fix(
        lambda: torch.storage.TypedStorage([1, 2], dtype=torch.int32),
        "numpy",
        "torch.empty(0, dtype=x.dtype, device=x.device).set_(x)",
        [1, 2],
    ),
    "UMat": Fix(lambda: opaque("cv2.UMat", get=lambda self: np.ones(2)), "torch", "x.get()"),
    "GpuMat": Fix(
        lambda: opaque("cv2.cuda.GpuMat", download=lambda self: np.ones(2)),
        "torch",
        "x.download()",
    ),
    "h5py": Fix(
        lambda: opaque("h5py._hl.dataset.Dataset", __getitem__=lambda self, key: np.ones(2)),
        "torch",
        "x[...]",
        [1, 1],
    ),
    "group": Fix(
        lambda: opaque("h5py._hl.group.Group", __getitem__=lambda self, key: np.ones((2, 2))),
        "torch",
        "x['a'][...]",
    ),
    "zarr group": Fix(
        lambda: opaque("zarr.core.group.Group", __getitem__=lambda self, key: np.ones((2, 2))),
        "torch",
        "x['a'][...]",
    ),
    "dask": Fix(
        lambda: opaque("dask.array.core.Array", compute=lambda self: np.ones(2)),
        "torch",
        "x.compute()",
    ),
    "narwhals": Fix(
        lambda: opaque("narwhals.expr.Expr", collect=lambda self: np.ones(2)),
        "torch",
        "x.collect()",
    ),
    "layer": Fix(
        lambda: opaque("keras.src.layers.layer.Layer", variables=[np.ones(2)]),
        "torch",
        "x.variables[0]",
    ),
    "Arrow's number": Fix(
        lambda: pa.scalar(3), "torch", "pyarrow.array([x.as_py()], x.type)", [3]
    ),
    "sparse tensor": Fix(
        lambda: pa.SparseCOOTensor.from_dense_numpy(np.eye(2)), "numpy", "x.to_tensor()"
    ),
    "dataset of Arrow": Fix(
        lambda: pa.dataset.dataset(pa.table({"a": [1]})), "polars", "x.to_table()"
    ),
    "expression": Fix(lambda: pl.lit(3), "numpy", "polars.select(x).to_series()", [3]),
    "lazy frame": Fix(lambda: pl.LazyFrame({"a": [1]}), "arrow", "lazy.collect()"),
    "sparse": Fix(lambda: scipy.sparse.csr_array(np.eye(2)), "torch", "x.toarray()"),
    "to scipy": Fix(lambda: np.eye(2), "scipy", "scipy.sparse.csr_array(array)"),
    # Lists
    "objects of arrays": Fix(
        lambda: objects(np.ones(2), np.ones(2)), "torch", "np.stack(array)", [[1, 1], [1, 1]]
    ),
    "objects of lists": Fix(lambda: objects([1], [2]), "torch", "np.stack(array)", [[1], [2]]),
    "ragged objects": Fix(lambda: objects(np.ones(1), np.ones(2)), "torch", "array[0]"),
    "pl.List": Fix(lambda: pl.Series(LISTS), "torch", "series.list.to_array(2)", LISTS),
    "pa.list_": Fix(
        lambda: pa.array(LISTS),
        "torch",
        "array.cast(pyarrow.list_(array.type.value_type, 2))",
        LISTS,
    ),
    "null rows": Fix(
        lambda: pa.array([*LISTS, None]),
        "torch",
        "array.drop_null().cast(pyarrow.list_(array.type.value_type, 2))",
        LISTS,
    ),
    "sequence": Fix(
        lambda: [np.ones(2), np.ones(2)], "torch", "numpack.share(x, 'numpy', copy=True)"
    ),
    # Producers
    "computed": Fix(Computed, "numpy", "np.array(x)", [0, 1]),
    "copying": Fix(Copying, "numpy", "numpack.io.from_dlpack(x, copy=True)", [0, 1]),
    "converting": Fix(Converting, "numpy", "pyarrow.array(x)", [0, 1]),
    "stream": Fix(
        lambda: pa.table({"a": [1]}).to_reader(), "polars", "pyarrow.chunked_array(x)"
    ),
    # Layouts
    "backwards": Fix(read_only_negative, "torch", "np.ascontiguousarray(array)", [2, 1, 0]),
    "strided": Fix(lambda: np.arange(6)[::2], "arrow", "np.ascontiguousarray(array)"),
    "byte order": Fix(
        lambda: np.arange(2, dtype=">i4"),
        "torch",
        "array.astype(array.dtype.newbyteorder('='))",
        [0, 1],
    ),
    "packed": Fix(unready, "torch", "array.copy()", [0, 0, 0]),
    "misaligned": Fix(misaligned, "torch", "array.copy()", [0, 0]),
    "Fortran": Fix(
        lambda: np.ones((2, 3)),
        "polars",
        "np.asfortranarray(array)",
        None,
        {"schema": ["a", "b", "c"]},
        {"schema": ["a", "b", "c"]},
    ),
    # Dtypes
    **{
        f"times to {target}": Fix(lambda: TIMES, target, "array.view('i8')", [18262, 18628])
        for target in ("torch", "buffer", "onnxruntime", "dlpack")
    },
    "durations": Fix(lambda: TIMES - TIMES[0], "onnxruntime", "array.view('i8')"),
    "long": Fix(lambda: LONG, "torch", "array.astype(np.float64)", [1, 2.5]),
    "long to ONNX": Fix(lambda: LONG, "onnxruntime", "array.astype(np.float64)"),
    "long to Arrow": Fix(lambda: LONG, "arrow", "array.astype(np.float64)", [1, 2.5]),
    "long to DLPack": Fix(lambda: LONG, "dlpack", "array.astype(np.float64)", [1, 2.5]),
    "complex to Arrow": Fix(lambda: np.array([1 + 2j]), "arrow", "array.view('f8')", [1, 2]),
    "records": Fix(lambda: RECORDS, "torch", "array['a']", [0, 0]),
    "records to Arrow": Fix(lambda: RECORDS, "arrow", "array['a']", [0, 0]),
    "records to pandas": Fix(lambda: RECORDS, "pandas", "array['a']", [0, 0]),
    "records to DLPack": Fix(
        lambda: RECORDS, "dlpack", "np.frombuffer(array.tobytes(), 'u1')", [0] * 16
    ),
    "objects to torch": Fix(lambda: objects(1, 2), "torch", "array.astype(int)", [1, 2]),
    "objects to JAX": Fix(lambda: objects(1, 2), "jax", "array.astype('i4')", [1, 2]),
    "objects to DLPack": Fix(lambda: objects(1, 2), "dlpack", "array.astype(int)", [1, 2]),
    "objects to a buffer": Fix(lambda: objects(1, 2), "buffer", "array.astype(int)", [1, 2]),
    "objects of two kinds": Fix(lambda: objects(1, "a"), "arrow", "array.astype(str)"),
    "strings to TensorFlow": Fix(
        lambda: STRINGS, "tensorflow", "tf.constant(array.tolist())", [b"a", b"b"]
    ),
    "strings to a buffer": Fix(lambda: STRINGS, "buffer", "np.array(array.tolist())"),
    "strings to an interface": Fix(
        lambda: STRINGS, "array_interface", "np.array(array.tolist())", ["a", "b"]
    ),
    "halves to Arrow": Fix(lambda: HALVES, "arrow", "array.view('u2')"),
    "halves to an interface": Fix(lambda: HALVES, "array_interface", "array.view('u2')"),
    "halves to a buffer": Fix(lambda: HALVES, "buffer", "array.view('u2')"),
    "halves to pandas": Fix(lambda: HALVES, "pandas", "array.astype(np.float32)", [1.5, 2]),
    "void to pandas": Fix(lambda: np.zeros(1, "V3"), "pandas", "array.astype(object)"),
    "float16 to DuckDB": Fix(lambda: np.ones(2, "f2"), "duckdb", "array.astype(np.float32)"),
    "bool to Polars": Fix(lambda: np.array([True]), "polars", "array.view('u1')", [1]),
    "bytes to Polars": Fix(
        lambda: np.array([b"ab"]), "polars", "array.view('u1').reshape(len(array), -1)"
    ),
    "durations of no unit": Fix(lambda: GENERIC, "pandas", "array.view('i8')", [1, 2]),
    "months": Fix(lambda: np.array([1], "m8[M]"), "arrow", "array.view('i8')", [1]),
    "picoseconds": Fix(lambda: np.array([1000], "M8[ps]"), "arrow", "array.view('i8')", [1000]),
    "unit of xarray": Fix(lambda: GENERIC, "xarray", "array.view('i8')", [1, 2]),
    "rows of no width": Fix(lambda: np.ones((2, 0)), "polars", "array.reshape(-1)", []),
    "no dimension": Fix(lambda: np.array(3), "pandas", "array.reshape(1)", [3]),
    "three dimensions": Fix(
        lambda: np.ones((2, 2, 2)), "pandas", "array.reshape(len(array), -1)"
    ),
    "no long strings": Fix(lambda: np.array(["a"]), "pandas", "array.astype(object)", ["a"]),
    "surrogates": Fix(
        lambda: np.array(["\ud800"]), "pandas", "array.astype(object)", ["\ud800"]
    ),
    "surrogates to Arrow": Fix(
        lambda: np.array(["\ud800"]),
        "arrow",
        "np.array([ascii(x) for x in array.ravel().tolist()])",
        ["'\\ud800'"],
    ),
    "complex to ONNX": Fix(
        lambda: np.array([1 + 2j]), "onnxruntime", "np.stack([x.real, x.imag], -1)"
    ),
    "records to ONNX": Fix(lambda: RECORDS, "onnxruntime", "array['a']"),
    "records to TensorFlow": Fix(lambda: RECORDS, "tensorflow", "array['a']"),
    "long to TensorFlow": Fix(lambda: LONG, "tensorflow", "array.astype(float)", [1, 2.5]),
    "long to JAX": Fix(lambda: LONG, "jax", "array.astype(np.float32)", [1, 2.5]),
    "wide to JAX": Fix(
        lambda: np.array([2**40]),
        "jax",
        "array.astype(np.float32)",
        [2**40],
        {"dtype": "int32"},
    ),
    "times to JAX": Fix(lambda: TIMES, "jax", "array.view('i8').astype('i4')", [18262, 18628]),
    "picoseconds to pandas": Fix(
        lambda: np.array([5], "m8[ps]"), "pandas", "array.view('i8')", [5]
    ),
    "durations to DuckDB": Fix(lambda: TIMES - TIMES[0], "duckdb", "array.view('i8')"),
    "odd strides": Fix(
        lambda: np.zeros(3, [("a", "c8"), ("b", "i4")])["a"],
        "torch",
        "np.ascontiguousarray(array)",
        [0, 0, 0],
    ),
    # Masks and nulls
    "mask": Fix(lambda: MASKED, "torch", "array.filled(0)", [1, 0]),
    "mask to pandas": Fix(
        lambda: np.ma.array([1j], mask=[True]), "pandas", "array.filled(0)", [0]
    ),
    "mask of times": Fix(
        lambda: np.ma.array(TIMES.astype("M8[ns]"), mask=[True, False]),
        "pandas",
        "array.filled(np.datetime64('NaT'))",
    ),
    "nulls beside wide integers": Fix(
        lambda: pa.array([2**60, None]), "numpy", "array.fill_null(0)", [2**60, 0]
    ),
    "missing beside wide integers": Fix(
        lambda: pd.Series([2**60, None], dtype="Int64"), "numpy", "array.fillna(0)", [2**60, 0]
    ),
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


@functools.cache
def fix_text(kind: str) -> str:
    """Return the fix in the route of `explain`, or the message of its error."""
    fix = FIXES[kind]
    x = quietly(fix.make)
    try:
        route = explain(x, fix.target, **fix.options)
    except NumpackError as error:
        return str(error)
    return route.fix


def names(fix: Fix) -> list[str]:
    """Return the names in the code of a fix and its options; the message contains one."""
    return [*re.findall(r"[A-Za-z_]\w{2,}|^x\[", fix.code), *fix.then]


def quietly(make: Any) -> Any:
    """Call `make` without the warnings of its library, e.g. for nested or quantized tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


@pytest.mark.parametrize("kind", FIXES)
def test_the_fix_works(kind):
    fix = FIXES[kind]
    text = fix_text(kind)
    assert any(name in text for name in names(fix)), text
    x = quietly(fix.make)
    local = dict.fromkeys(
        ["x", "array", "column", "tensor", "series", "frame", "lazy", "relation", "index"], x
    )
    value = quietly(lambda: eval(fix.code, NAMES | local))
    if (
        fix.target == "scipy" or "tf.constant(" in fix.code
    ):  # the code already makes the target's object
        return
    route = explain(value, fix.target, **fix.then)
    assert route.supported, (text, route)
    result = share(value, fix.target, copy=True, **fix.then)
    if fix.want is None:
        return
    want = fix.want if fix.target != "numpy" else np.asarray(fix.want).tolist()
    assert as_list(result) == want


def as_list(result: Any) -> Any:
    if isinstance(result, duckdb.DuckDBPyRelation):
        return [row[0] for row in result.fetchall()]
    if isinstance(result, tf.Tensor):
        return result.numpy().tolist()
    if isinstance(result, numpack.io.DLPackBuffer):
        return np.from_dlpack(result).tolist()
    if isinstance(result, onnxruntime.OrtValue):
        return result.numpy().tolist()
    if isinstance(result, xr.DataArray):
        return result.values.tolist()
    for name in ("to_pylist", "tolist", "to_list"):
        if hasattr(result, name):
            return getattr(result, name)()
    raise AssertionError(type(result))


# Completeness --------------------------------------------------------------------

VERBS = (
    "add ask bring build call cast choose collect compute convert copy drop encode export "
    "fill filter flatten give install keep leave load make map move open pass put read "
    "rename resolve restore "
    "round save say select share stack store take use widen write"
).split()
CODE = re.compile(r"\w\.\w|\w\(|\w\[|\w=")

# Fixes for packages and devices that are not available here, for files tested elsewhere, and
# for options and functions whose own tests execute the fix.
ELSEWHERE = (
    *("cupy.", "CuPy", "'cuda'", "jax.device_put", "addressable_data", "tf.device"),
    *("tensor.cpu()", "device=None", "copy_to(...)", "safetensors", "Safetensors"),
    *("awkward.", "datasets.", "PIL.", "np.memmap", "ZeroCopyArray(", "store.load"),
    *("column=", "layout=", "dtype=", "format=", "type=", "nulls=", "order=", "name="),
    *("InferenceSession", "session.run", "value.", "array.view('u1')", "isfinite"),
    *("connection.sql", "duckdb.connect", "tf.dequantize", "tf.py_function", "full_tensor"),
    *("as_array(pointer", "numpy.ma.array", "tf.convert_to_tensor(x)", "jax.numpy.asarray"),
    *("x.to_dataarray", "x.load()", "x.compute() or", "x.to_index", "holds one", "`share`"),
    *("full_tensor", ".to_numpy() or .array", "tensor.squeeze", "tensor.clone", "x.read()"),
    *("array.to_numpy()", "astype({})", "variable.value()", "array.todense()", "pass {}"),
    *("frame.iloc", "array.cast(...)", "column.cast(...)", "array.flatten()", "jnp.float32"),
    *("tf.float32", "torch.float32", "numpy.array(x)", "array.view('V{}')", "in the model"),
    *("pass pyarrow.table(x)", "x.data and its indices", "numpack.NumPack", "of its own:"),
    *("materialize(", "view(torch.uint8)", ".dt.tz_convert", "pa.concat_arrays([array])"),
    *("array.storage", "MaskedArray of each", "astimezone(", "astype('c16')", "astype(str)"),
    *("pa.decimal128(", "to_pylist()]", "array.field(0)", "len(array)", "copy it yourself"),
    *("round them yourself",),
    *("share(x, 'numpy')", "with astype", "array[:, i]"),
)


def texts() -> dict[str, str]:
    """Return the fixes in the sources that contain code, and their locations."""
    found = {}
    files = [*ROOT.glob("adapters/**/*.py"), *ROOT.glob("_*/**/*.py"), *ROOT.glob("io/*.py")]
    for path in files:
        tree = ast.parse(path.read_text())
        inside = {
            id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values
        }
        for node in ast.walk(tree):
            text = None if id(node) in inside else template(node)
            if text and len(text) < 200 and text.split(" ")[0] in VERBS and CODE.search(text):
                found[text] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


def template(node: ast.AST) -> str | None:
    """Return a string literal of the sources, with ``{}`` for the fields of an f-string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    return "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)


def test_every_fix_with_code_is_executed():
    said = [fix_text(kind) for kind in FIXES]
    missing = {}
    for text, place in texts().items():
        pattern = ".+".join(map(re.escape, text.split("{}")))
        if any(re.search(pattern, each) for each in said):
            continue
        if not any(word in text for word in ELSEWHERE):
            missing[text] = place
    assert not missing, "\n".join(f"{where}: {text}" for text, where in missing.items())


def test_every_fix_begins_with_a_verb():
    """`test_every_fix_with_code_is_executed` recognizes fixes by their verb."""
    for path in ROOT.glob("adapters/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = getattr(getattr(node, "func", None), "id", "")
            if called not in ("refuse", "Obstacle", "wrong_type") or not node.args:
                continue
            text = template(node.args[-1])
            if text is not None and not text.startswith("{"):
                assert text.split(" ")[0] in VERBS, (path.name, node.lineno, text)
