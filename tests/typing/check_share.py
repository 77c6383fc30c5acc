"""The types of `share`, `explain` and their options.

Checked by mypy, never run. A line with ``type: ignore`` must be an error: mypy reports an
ignore that is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, assert_type

import duckdb
import jax
import numpy as np
import polars as pl
import torch
import xarray as xr

from numpack import Route, explain, frameworks, share
from numpack._core.memory import Array
from numpack.io import (
    DLPackBuffer,
    ZeroCopyArray,
    safetensors_to_numpy_zero_copy,
    table_to_numpy_zero_copy,
    to_dlpack,
    wrap_for_zero_copy,
)

a = np.zeros((2, 3))


def results() -> None:
    assert_type(share(a, "numpy"), Array)
    assert_type(share(a, "torch"), torch.Tensor)
    assert_type(share(a, "torch", copy=False, device="cuda:0"), torch.Tensor)
    assert_type(share(a, "jax", dtype="bfloat16"), jax.Array)
    assert_type(share(a, "xarray", dims=("x", "y")), xr.DataArray)
    assert_type(share(a, "polars", schema=["x", "y"]), pl.Series | pl.DataFrame)
    assert_type(share(a, "duckdb", name="a"), duckdb.DuckDBPyRelation)
    assert_type(share(a, "dlpack", order="K"), DLPackBuffer)
    assert_type(share(a, "array_interface"), Array)
    assert_type(share(a, "buffer"), memoryview)
    assert_type(explain(a, "torch"), Route)


def options_of_the_source(table: object) -> None:
    assert_type(share(table, "torch", column="x", nulls="mask"), torch.Tensor)
    share(table, "numpy", column=0)
    share(b"1234", "numpy", format="i4", shape=(1,))
    share(table, "torch", tensor="weight")
    share(a, "arrow", layout="list", type=None)
    explain(a, "arrow", layout="list", type=None)


def functions_of_pairs(table: object) -> None:
    assert_type(table_to_numpy_zero_copy(table), dict[str, Array])
    assert_type(table_to_numpy_zero_copy(table, "x", nulls="mask"), Array)
    assert_type(safetensors_to_numpy_zero_copy("model.safetensors", "weight"), Array)
    table_to_numpy_zero_copy(table, nulls="drop")  # type: ignore[call-overload]
    to_dlpack(a, order="F")  # type: ignore[arg-type]
    wrap_for_zero_copy(a, order="F")  # type: ignore[arg-type]
    ZeroCopyArray(a, copy="never")  # type: ignore[arg-type]
    ZeroCopyArray(a).to_arrow(layout="nested")  # type: ignore[arg-type]
    assert_type(ZeroCopyArray(a).to_torch(device="cpu"), torch.Tensor)


def several_targets(name: Literal["torch", "buffer"]) -> None:
    assert_type(share(a, name), torch.Tensor | memoryview)
    explain(a, name)
    for framework in frameworks():
        explain(a, framework.name)
        share(a, framework.name)


def no_framework(share_with: Callable[[], str]) -> None:
    share(a, "trch")  # type: ignore[call-overload]
    share(a, share_with())  # type: ignore[call-overload]
    explain(a, "trch")  # type: ignore[call-overload]
    ZeroCopyArray(a).to("trch")  # type: ignore[arg-type]


def no_option() -> None:
    share(a, "torch", layuot="x")  # type: ignore[call-overload]
    share(a, "torch", layout="list")  # type: ignore[call-overload]
    explain(a, "torch", layuot="x")  # type: ignore[call-overload]
    share(a, "numpy", dtype="f4")  # type: ignore[call-overload]


def no_value() -> None:
    share(a, "torch", copy="never")  # type: ignore[call-overload]
    share(a, "arrow", layout="nested")  # type: ignore[call-overload]
    share(a, "dlpack", order="F")  # type: ignore[call-overload]
    share(a, "torch", nulls="drop")  # type: ignore[call-overload]
    share(a, "torch", device=1.5)  # type: ignore[call-overload]
    share(a, "pandas", dtype_backend="numpy")  # type: ignore[call-overload]
    explain(a, "arrow", layout="nested")  # type: ignore[call-overload]


def never_returns() -> Any:
    share(a, "scipy")
