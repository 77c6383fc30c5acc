"""Every fix in a conversion message is executed: it works, and the values are right.

Each row of `support.fixes` provokes a message; the code that the message contains is executed,
and its result is shared. The last tests find all fixes with code in the sources and require a
row for each.
"""

from __future__ import annotations

import ast
import functools
import re
import warnings
from pathlib import Path
from typing import Any

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
import scipy.sparse
import tensorflow as tf
import torch
import xarray as xr
from support.each import for_each
from support.fixes import FIXES, Fix

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


@for_each("kind", FIXES)
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


# Completeness


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
