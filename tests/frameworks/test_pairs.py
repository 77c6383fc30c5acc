"""Conversions between all pairs of frameworks, for every dtype that both support.

The arrays are created without this package, and the result of `explain` is compared with the
addresses that the frameworks themselves report.
"""

from __future__ import annotations

import ctypes
import gc
import warnings

import numpy as np
import pytest
from support.arrays import LOWPREC, NATIVE, elements, values
from support.memory import shares_pages
from support.oracles import NAMES, SOURCES_ONLY, TARGETS, oracle

from numpack import (
    CopyWarning,
    NumPack,
    ReadOnlyWarning,
    UnsupportedError,
    ZeroCopyError,
    explain,
    share,
)

DTYPES = [*NATIVE, *LOWPREC, *(f"{k}8[{u}]" for k in "Mm" for u in ("s", "ms", "us", "ns"))]


@pytest.fixture(scope="module", autouse=True)
def _frozen_objects():
    """Freeze the objects that the frameworks have loaded, to speed up `gc.collect`."""
    for name in NAMES:
        oracle(name)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def given(name: str) -> np.ndarray:
    return values(name).reshape(-1)


def common_dtypes(source: str, target: str) -> list[str]:
    return [
        name
        for name in DTYPES
        if oracle(source).make(given(name)) is not None
        and oracle(target).make(given(name)) is not None
    ]


def is_same_memory(source: str, x: object, target: str, result: object) -> bool | None:
    """Whether two objects share memory; ``None`` if a framework reports no address.

    A mapped file is mapped again for a writable target: the address differs, the pages do not.
    """
    one, other = oracle(source).address(x), oracle(target).address(result)
    if one is None or other is None:
        return None
    return one == other or (source in SOURCES_ONLY and shares_pages(one, other))


def record_warnings(call):
    """Return the result of a call and the categories of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, {each.category for each in caught}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", NAMES)
def test_explain_matches_the_addresses(source, target):
    names = common_dtypes(source, target)
    assert names, "two frameworks that have no dtype in common"
    kept, wrong = {}, {}
    for name in names:
        kept[name], wrong[name] = convert(name, source, target)
    gc.collect()  # frees the sources, which only the results may keep alive
    for name, result in kept.items():
        wrong[name] = wrong[name] or (
            "" if has_values(result, name, target) else "values are lost"
        )
    assert {name: what for name, what in wrong.items() if what} == {}


def convert(name: str, source: str, target: str) -> tuple[object, str]:
    """Convert an array; return the result and a description of any error."""
    x = oracle(source).make(given(name))
    route = explain(x, target)
    if not route.supported:
        return None, f"refused: {route}"
    result, categories = record_warnings(lambda: share(x, target))
    same = is_same_memory(source, x, target, result)
    wrong = ""
    if same is not None and same != route.shares_memory:
        wrong = f"memory is {'the same' if same else 'other'}: {route}"
    elif (CopyWarning in categories) == route.shares_memory:
        wrong = f"warned with {categories}: {route}"
    elif categories - {CopyWarning, ReadOnlyWarning}:
        wrong = f"warned with {categories}"
    elif (route.nbytes == 0) != route.shares_memory:
        wrong = f"bytes: {route}"
    elif (route.reason == "" or route.fix == "") != route.shares_memory:
        wrong = f"reason: {route}"
    return result, wrong or check_copy_values(
        x, name, source, target, shared=route.shares_memory
    )


def check_copy_values(x: object, name: str, source: str, target: str, *, shared: bool) -> str:
    try:
        record_warnings(lambda: share(x, target, copy=False))
    except ZeroCopyError:
        if shared:
            return "copy=False is refused"
    else:
        if not shared:
            return "copy=False is not refused"
    own, categories = record_warnings(lambda: share(x, target, copy=True))
    if categories:
        return f"copy=True warns: {categories}"
    if is_same_memory(source, x, target, own):
        return "copy=True shares"
    return (
        "" if has_values(own, name, target) else f"copy=True gives {oracle(target).values(own)}"
    )


def has_values(result: object, name: str, target: str) -> bool:
    found = oracle(target).values(result)
    expected = given(name)
    return found.dtype == expected.dtype and elements(found) == elements(expected)


@pytest.mark.parametrize("target", TARGETS)
def test_lazy_array_is_shared_and_protected_from_writes(target):
    names = common_dtypes("numpy", target)
    with NumPack("lazy.npk") as npk:
        npk.save({name: given(name) for name in names})
    with NumPack("lazy.npk") as npk:
        for name in names:
            lazy = npk.load(name, lazy=True)
            route = explain(lazy, target)
            result, categories = record_warnings(lambda: share(lazy, target))  # noqa: B023 -- called now
            assert route.supported, name
            assert route.shares_memory or (route.reason and route.fix), name
            assert categories == (set() if route.shares_memory else {CopyWarning}), name
            place = oracle(target).address(result)
            if place is not None:
                pages = shares_pages(np.asarray(lazy).ctypes.data, place)
                assert pages == route.shares_memory, f"{name}: {route}"
                ctypes.memset(place, 0xFF, 1)  # some frameworks write to read-only memory
    with NumPack("lazy.npk") as npk:
        npk.verify()
        for name in names:
            assert elements(npk.load(name)) == elements(given(name)), name


def test_every_installed_framework_is_tested():
    from numpack import frameworks

    # These have no array type of their own, or need a GPU.
    untested = {"dlpack", "cuda_array_interface", "scipy", "cupy"}
    assert {each.name for each in frameworks()} - untested == set(NAMES)
    assert {each.name for each in frameworks() if not each.installed} <= {"cupy"}


def copied_sources() -> dict[str, object]:
    """Return arrays whose first step is a copy, which the second step may or may not share."""
    import duckdb
    import jax.numpy as jnp
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import tensorflow as tf
    import torch
    from PIL import Image

    updated = tf.Variable([1, 2, 3])
    updated.scatter_nd_update([[0]], [4])
    tensor = pa.fixed_shape_tensor(pa.float32(), (2, 3), permutation=[1, 0])
    rows = pa.array(np.arange(24, dtype="f4").reshape(4, 6).tolist(), tensor.storage_type)
    tensors = pa.ExtensionArray.from_storage(tensor, rows)
    return {
        "immutable bytes": Image.new("RGB", (4, 3), 7),
        "less than a byte": jnp.zeros(5, "int4"),
        "copied when read": updated,
        "no memory": torch._efficientzerotensor((2, 3), dtype=torch.int32),
        "negated when read": torch.ones(5, dtype=torch.complex64).conj().imag,
        "bits": pa.array([True, False, True]),
        "nulls": pa.array([1, None, 3], pa.int32()),
        "chunks": pa.chunked_array([np.arange(3, dtype="f4")] * 2),
        "chunks of permuted tensors": pa.chunked_array([tensors, tensors]),
        "a query": duckdb.sql("select i::float as i from range(5) t(i)"),
        "columns": pl.DataFrame(
            {"a": [1.5, 2], "b": [3.5, 4]}, {"a": pl.Float32, "b": pl.Float32}
        ),
        "strings in columns": pl.DataFrame({"a": ["x", "y"]}),
        "columns of a frame": pd.DataFrame({"a": np.ones(3, "f4")}).assign(b=np.ones(3, "f4")),
        "categories": pd.Series([3, 4, 3], dtype="category").array,
    }


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("what", list(copied_sources()))
def test_address_of_an_intermediate_copy_does_not_matter(what, target):
    """Allocators return a different address each time; the route must not depend on it."""
    kept = []
    for _ in range(4):
        x = copied_sources()[what]
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


@pytest.mark.parametrize("nulls", ["convert", "mask"])
@pytest.mark.parametrize("target", TARGETS)
def test_explain_considers_the_mask_of_an_intermediate_copy(target, nulls):
    import pandas as pd
    import polars as pl

    frame = pl.DataFrame({"a": [1, None], "b": [3, 4]})
    for x in (frame, pd.Series([1, None, 2], dtype="category")):
        route = explain(x, target, nulls=nulls)
        try:
            record_warnings(lambda: share(x, target, nulls=nulls))  # noqa: B023 -- called now
        except UnsupportedError:
            assert not route.supported
        else:
            assert route.supported


@pytest.mark.parametrize("target", TARGETS)
def test_stream_is_read_once(target):
    import nanoarrow
    import pyarrow as pa

    values = np.arange(3, dtype="f4")
    result, _ = record_warnings(lambda: share(nanoarrow.ArrayStream(pa.array(values)), target))
    assert oracle(target).values(result).tolist() == [0, 1, 2]


@pytest.mark.parametrize("layout", ["C", "K"])
def test_complex_numbers_are_16_byte_aligned_for_consumers(run_python, layout):
    """NumPy aligns complex128 to 8 bytes; torch loads 16 aligned bytes at once: SIGSEGV."""
    run_python(f"""
import numpy as np, torch, warnings
from numpack import CopyWarning, ZeroCopyArray, explain, share
from numpack.io import numpy_to_torch_zero_copy, to_dlpack
warnings.simplefilter("ignore", CopyWarning)
raw = np.zeros(40 * 16 + 16, "u1")
start = -raw.ctypes.data % 16 + 8
a = raw[start : start + 33 * 16].view("c16")
a[:] = 1 + 2j
assert a.flags.aligned
for target in ("torch", "dlpack"):
    route = explain(a, target)
    assert route.nbytes == a.nbytes, route
    assert explain(a.copy(), target).shares_memory
    assert explain(a[:0], target).shares_memory
for tensor in (
    share(a, "torch"),
    numpy_to_torch_zero_copy(a),
    torch.from_dlpack(to_dlpack(a, order="{layout}")),
    torch.from_dlpack(ZeroCopyArray(a, order="{layout}")),
):
    assert tensor.clone().tolist() == [1 + 2j] * 33
    tensor[torch.tensor([1, 2])] = 3
""")
