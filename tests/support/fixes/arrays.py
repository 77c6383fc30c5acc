"""Arrays of NumPy whose layout, dtype or mask a framework does not have."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

from support.fixes.fix import Fix


def objects(*values: Any) -> np.ndarray:
    return np.array([*values, None], dtype=object)[:-1]


def read_only_negative() -> np.ndarray:
    return np.arange(3.0)[::-1]


def misaligned() -> np.ndarray:
    return np.frombuffer(b"\0" * 17, np.uint8)[1:].view("f8")


def unaligned() -> np.ndarray:
    memory = np.zeros(128, np.uint8)
    return memory[-memory.ctypes.data % 64 + 16 :][:8].view("f4")


def unready() -> Any:
    return np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")]))["b"]


TIMES = np.array(["2020", "2021"], "M8[D]")
LONG = np.array([1, 2.5], np.longdouble)
RECORDS = np.zeros(2, [("a", "i4"), ("b", "f4")])
STRINGS = np.array(["a", "b"], np.dtypes.StringDType())
HALVES = np.array([1.5, 2], ml_dtypes.bfloat16)
MASKED = np.ma.array([1.0, 2.0], mask=[False, True])
GENERIC = np.array([1, 2], "m8")

FIXES = {
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
    "unaligned": Fix(
        unaligned, "tensorflow", "numpack.aligned_allocation()(array.copy)()", [0, 0]
    ),
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
}
