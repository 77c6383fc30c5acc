"""Objects that are not arrays, lists of arrays, and producers."""

from __future__ import annotations

import io
import multiprocessing
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import scipy.sparse
import torch

from support.fixes.fix import Fix


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


def objects(*values: Any) -> np.ndarray:
    return np.array([*values, None], dtype=object)[:-1]


LISTS = [[1.0, 2.0], [3.0, 4.0]]
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
}
