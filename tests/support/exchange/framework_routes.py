"""Every route of the frameworks other than torch and Arrow, for the counts of `routes`."""

from __future__ import annotations

import array as arrays
import json
import sys
import warnings
from contextlib import closing
from multiprocessing.shared_memory import SharedMemory

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import safetensors.numpy
import scipy.sparse
import tensorflow as tf
import xarray as xr
from PIL import Image

from numpack import explain, share
from numpack.io import SafetensorsFile
from support.exchange.routes import growths, refused

VALUES = np.arange(1000, dtype="f4")
TARGETS = (
    *("jax", "tensorflow", "onnxruntime", "xarray", "pandas", "polars", "nanoarrow", "arro3"),
    *("buffer", "array_interface"),
)


def aligned(dtype: object = "f4") -> np.ndarray:
    """Allocate 64-byte aligned memory, which every framework can share."""
    nbytes = 1000 * np.dtype(dtype).itemsize
    raw = np.ones(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes].view(dtype)


def frozen() -> np.ndarray:
    array = aligned()
    array.flags.writeable = False
    return array


def shared(target: str) -> object:
    return share(aligned(), target, copy=False)


def back(target: str) -> object:
    return share(shared(target), "numpy", copy=False)


def quietly(x: object, target: str, **options: object) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return share(x, target, **options)


def arrived(target: str) -> object:
    """Convert by a copy, unless the framework supports strides and byte order."""
    return quietly(aligned(">f4")[::2], target)


def owned(target: str) -> object:
    return share(share(VALUES, target, copy=True), "numpy", copy=True)


class Foreign:
    """An object that exposes memory by the array interface."""

    def __init__(self) -> None:
        self.owner = aligned()
        self.__array_interface__ = self.owner.__array_interface__


def shared_memory() -> None:
    with closing(SharedMemory(create=True, size=4000)) as memory:
        share(memory, "numpy", format="f4")
        memory.unlink()


def laid_out(path: str) -> SafetensorsFile:
    safetensors.numpy.save_file({"x": VALUES, "half": VALUES.astype("f2")}, path)
    return SafetensorsFile(path)


NULLS = pa.array([1.0, None] * 500)
MASKED = np.ma.MaskedArray(VALUES, mask=VALUES > 5)
MATRIX = np.asfortranarray(np.ones((100, 3)))
STRINGS = np.array(["a", "bc"] * 5)
DAYS = np.arange(10).astype("M8[D]")
INT4 = np.ones(1000, ml_dtypes.int4)
STRUCT = np.zeros(10, "i4,f8")
LONG = np.ones(10, "g")
FILE = laid_out("x.safetensors")
VARIABLE = tf.Variable(VALUES)
IMAGE = Image.new("L", (20, 30))
PACKED = quietly(INT4, "onnxruntime")
SPARSE = scipy.sparse.eye_array(5).tocsr()
REFUSED = (
    *(("jax", DAYS), ("tensorflow", STRINGS), ("onnxruntime", LONG), ("xarray", MASKED)),
    *(("pandas", STRUCT), ("polars", STRUCT), ("nanoarrow", LONG), ("arro3", LONG)),
    *(("buffer", DAYS), ("array_interface", MASKED), ("duckdb", LONG), ("scipy", VALUES)),
    ("safetensors", VALUES),
)

ROUTES = {
    **{f"to {name}": lambda name=name: shared(name) for name in TARGETS},
    **{f"from {name}": lambda name=name: back(name) for name in TARGETS},
    **{f"copied to {name}": lambda name=name: arrived(name) for name in TARGETS},
    **{f"owned by {name}": lambda name=name: owned(name) for name in TARGETS},
    **{
        f"refused by {name}": lambda name=name, x=x: refused(share, x, name)
        for name, x in REFUSED
    },
    **{f"explained to {name}": lambda name=name: explain(VALUES, name) for name in TARGETS},
    "read-only to tensorflow": lambda: share(frozen(), "tensorflow", copy=False),
    "read-only to onnxruntime": lambda: quietly(frozen(), "onnxruntime"),
    "cast to jax": lambda: quietly(VALUES.astype("f8"), "jax", dtype="f4"),
    "int4 to jax": lambda: quietly(INT4, "jax"),
    "int4 to onnxruntime": lambda: quietly(INT4, "onnxruntime"),
    "int4 from onnxruntime": lambda: quietly(PACKED, "numpy"),
    "variable to numpy": lambda: share(VARIABLE, "numpy"),
    "variable owned": lambda: share(VARIABLE, "numpy", copy=True),
    "strings to pandas": lambda: quietly(STRINGS, "pandas"),
    "days to pandas": lambda: quietly(DAYS, "pandas"),
    "masked to pandas": lambda: share(MASKED, "pandas"),
    "masked from pandas": lambda: share(share(MASKED, "pandas"), "numpy", nulls="mask"),
    "frame to numpy": lambda: share(pd.DataFrame(MATRIX, copy=False), "numpy"),
    "column of a frame": lambda: share(pd.DataFrame({"x": VALUES}), "numpy", column="x"),
    "pyarrow in pandas": lambda: share(VALUES, "pandas", dtype_backend="pyarrow"),
    "arrow to pandas": lambda: share(NULLS, "pandas", dtype_backend="pyarrow"),
    "arrow to polars": lambda: share(NULLS, "polars"),
    "arrow to nanoarrow": lambda: share(NULLS, "nanoarrow"),
    "arrow to arro3": lambda: share(NULLS, "arro3"),
    "polars to arrow": lambda: share(pl.Series([1.0, None]), "arrow"),
    "polars to numpy": lambda: quietly(pl.Series([1.0, None]), "numpy"),
    "frame of polars": lambda: share(share(MATRIX, "polars", schema=["x", "y", "z"]), "numpy"),
    "strings to polars": lambda: quietly(STRINGS, "polars"),
    "labelled": lambda: share(MATRIX, "xarray", dims=("x", "y"), coords={"y": [1, 2, 3]}),
    "days to xarray": lambda: quietly(DAYS, "xarray"),
    "dataset": lambda: share(xr.Dataset({"x": ("i", VALUES)}), "numpy", column="x"),
    "index": lambda: share(xr.DataArray(VALUES, {"i": VALUES}, "i").i, "numpy"),
    "arrays of Python": lambda: share(arrays.array("f", [1, 2, 3]), "torch"),
    "bytes as floats": lambda: share(bytes(4000), "numpy", format="f4"),
    "shared memory": shared_memory,
    "foreign object": lambda: share(Foreign(), "numpy"),
    "image": lambda: quietly(IMAGE, "numpy"),
    "tensor of a file": lambda: share(FILE, "numpy", tensor="x"),
    "tensor of a file to torch": lambda: share(FILE, "torch", tensor="x"),
    "no such tensor": lambda: refused(share, FILE, "numpy", tensor="y"),
    "opening a file": lambda: share(SafetensorsFile(FILE.path), "numpy", tensor="x"),
    "sparse": lambda: refused(share, SPARSE, "numpy"),
    # Not DuckDB: version 2.0 itself leaks some 270 bytes per connection.from_arrow().
}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(growths(ROUTES, int(sys.argv[1]))))
