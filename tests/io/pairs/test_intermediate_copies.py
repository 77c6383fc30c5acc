"""Routes of two steps, whose first step makes a copy."""

from __future__ import annotations

import warnings

import duckdb
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import tensorflow as tf
import torch
from PIL import Image
from support.each import assert_each, for_each
from support.oracles import TARGETS

from numpack import (
    CopyWarning,
    NumPack,
    UnsupportedError,
    explain,
    share,
)


def record_warnings(call):
    """Return the result of a call and the categories of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, {each.category for each in caught}


def updated() -> tf.Variable:
    variable = tf.Variable([1, 2, 3])
    variable.scatter_nd_update([[0]], [4])
    return variable


def permuted_tensors() -> pa.ChunkedArray:
    tensor = pa.fixed_shape_tensor(pa.float32(), (2, 3), permutation=[1, 0])
    rows = pa.array(np.arange(24, dtype="f4").reshape(4, 6).tolist(), tensor.storage_type)
    tensors = pa.ExtensionArray.from_storage(tensor, rows)
    return pa.chunked_array([tensors, tensors])


# Arrays whose first step is a copy, which the second step may or may not share.
COPIED = {
    "immutable bytes": lambda: Image.new("RGB", (4, 3), 7),
    "less than a byte": lambda: jnp.zeros(5, "int4"),
    "copied when read": updated,
    "no memory": lambda: torch._efficientzerotensor((2, 3), dtype=torch.int32),
    "negated when read": lambda: torch.ones(5, dtype=torch.complex64).conj().imag,
    "bits": lambda: pa.array([True, False, True]),
    "nulls": lambda: pa.array([1, None, 3], pa.int32()),
    "chunks": lambda: pa.chunked_array([np.arange(3, dtype="f4")] * 2),
    "chunks of permuted tensors": permuted_tensors,
    "a query": lambda: duckdb.sql("select i::float as i from range(5) t(i)"),
    "columns": lambda: pl.DataFrame(
        {"a": [1.5, 2], "b": [3.5, 4]}, {"a": pl.Float32, "b": pl.Float32}
    ),
    "strings in columns": lambda: pl.DataFrame({"a": ["x", "y"]}),
    "columns of a frame": lambda: pd.DataFrame({"a": np.ones(3, "f4")}).assign(
        b=np.ones(3, "f4")
    ),
    "categories": lambda: pd.Series([3, 4, 3], dtype="category").array,
}


@for_each("target", TARGETS)
def test_address_of_an_intermediate_copy_does_not_matter(target):
    """Allocators return a different address each time; the route must not depend on it."""
    assert_each(COPIED, lambda what: check_route(COPIED[what], target))


def check_route(make, target):
    kept = []
    for _ in range(4):
        x = make()
        route = explain(x, target)
        kept.append(np.empty(24))  # changes the next addresses
        if not route.supported:
            with pytest.raises(UnsupportedError):
                record_warnings(lambda: share(x, target))  # noqa: B023 -- called now
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kept.append(share(x, target))
        cautions = [str(each.message) for each in caught if each.category is not CopyWarning]
        copies = len(caught) - len(cautions)
        assert copies == sum(step.action == "copied" for step in route.steps), route
        assert tuple(cautions) == route.cautions


@pytest.mark.parametrize(
    ("target", "options"), [("arrow", {"layout": "tensor"}), ("arrow", {}), ("pandas", {})]
)
@pytest.mark.parametrize("count", [0, 2**62, -(2**63)])
def test_explain_reads_values_that_decide_the_route(target, options, count):
    with NumPack("times.npk") as npk:
        npk.save({"x": np.array([[1], [2], [count]], "M8[D]")})
        npk.drop("x", [1])
        lazy = npk.load("x", lazy=True)
    refused = not explain(lazy, target, **options).supported
    for copy in (None, True):
        try:
            record_warnings(lambda: share(lazy, target, copy=copy, **options))  # noqa: B023 -- called now
        except UnsupportedError:
            assert refused
        else:
            assert not refused


@for_each("nulls", ["convert", "mask"])
@for_each("target", TARGETS)
def test_explain_considers_the_mask_of_an_intermediate_copy(target, nulls):
    frame = pl.DataFrame({"a": [1, None], "b": [3, 4]})
    for x in (frame, pd.Series([1, None, 2], dtype="category")):
        route = explain(x, target, nulls=nulls)
        try:
            record_warnings(lambda: share(x, target, nulls=nulls))  # noqa: B023 -- called now
        except UnsupportedError:
            assert not route.supported
        else:
            assert route.supported
