"""Every framework to every other, with every dtype that both know, made without this package.

What `explain` says is compared with what the frameworks themselves say of their memory.
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
def _quick_collections():
    """Leave what the frameworks have loaded out of the many collections of garbage."""
    for name in NAMES:
        oracle(name)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def given(name: str) -> np.ndarray:
    return values(name).reshape(-1)


def known_to_both(source: str, target: str) -> list[str]:
    return [
        name
        for name in DTYPES
        if oracle(source).make(given(name)) is not None
        and oracle(target).make(given(name)) is not None
    ]


def is_same_memory(source: str, x: object, target: str, result: object) -> bool | None:
    """What the two frameworks say; ``None`` where one of them has nothing to say.

    A file leaves for who may write to it mapped again: other addresses, the same pages.
    """
    one, other = oracle(source).address(x), oracle(target).address(result)
    if one is None or other is None:
        return None
    return one == other or (source in SOURCES_ONLY and shares_pages(one, other))


def quietly(call):
    """Call, and give the categories of the warnings too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, {each.category for each in caught}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", NAMES)
def test_explain_says_what_the_pointers_say(source, target):
    names = known_to_both(source, target)
    assert names, "two frameworks that have no dtype in common"
    kept, wrong = {}, {}
    for name in names:
        kept[name], wrong[name] = handed_over(name, source, target)
    gc.collect()  # of the sources, which nothing holds but the results
    for name, result in kept.items():
        wrong[name] = wrong[name] or ("" if holds(result, name, target) else "values are lost")
    assert {name: what for name, what in wrong.items() if what} == {}


def handed_over(name: str, source: str, target: str) -> tuple[object, str]:
    """Hand an array over; the result, and what is wrong with it."""
    x = oracle(source).make(given(name))
    route = explain(x, target)
    if not route.supported:
        return None, f"refused: {route}"
    result, categories = quietly(lambda: share(x, target))
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
    return result, wrong or policy(x, name, source, target, shared=route.shares_memory)


def policy(x: object, name: str, source: str, target: str, *, shared: bool) -> str:
    try:
        quietly(lambda: share(x, target, copy=False))
    except ZeroCopyError:
        if shared:
            return "copy=False is refused"
    else:
        if not shared:
            return "copy=False is not refused"
    own, categories = quietly(lambda: share(x, target, copy=True))
    if categories:
        return f"copy=True warns: {categories}"
    if is_same_memory(source, x, target, own):
        return "copy=True shares"
    return "" if holds(own, name, target) else f"copy=True gives {oracle(target).values(own)}"


def holds(result: object, name: str, target: str) -> bool:
    found = oracle(target).values(result)
    expected = given(name)
    return found.dtype == expected.dtype and elements(found) == elements(expected)


@pytest.mark.parametrize("target", TARGETS)
def test_a_lazy_array_leaves_without_a_copy_and_cannot_be_harmed(target):
    names = known_to_both("numpy", target)
    with NumPack("lazy.npk") as npk:
        npk.save({name: given(name) for name in names})
    with NumPack("lazy.npk") as npk:
        for name in names:
            lazy = npk.load(name, lazy=True)
            route = explain(lazy, target)
            result, categories = quietly(lambda: share(lazy, target))  # noqa: B023 -- called now
            assert route.supported, name
            assert route.shares_memory or (route.reason and route.fix), name
            assert categories == (set() if route.shares_memory else {CopyWarning}), name
            place = oracle(target).address(result)
            if place is not None:
                pages = shares_pages(np.asarray(lazy).ctypes.data, place)
                assert pages == route.shares_memory, f"{name}: {route}"
                ctypes.memset(place, 0xFF, 1)  # as no framework should, and some do
    with NumPack("lazy.npk") as npk:
        npk.verify()
        for name in names:
            assert elements(npk.load(name)) == elements(given(name)), name


def test_all_that_is_installed_here_is_tested():
    from numpack import frameworks

    untold = {"dlpack", "cuda_array_interface", "scipy", "cupy"}  # no arrays of their own here
    assert {each.name for each in frameworks()} - untold == set(NAMES)
    assert {each.name for each in frameworks() if not each.installed} <= {"cupy"}


def on_the_way() -> dict[str, object]:
    """Arrays whose first step is a copy, by what the second might find in the copy."""
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
@pytest.mark.parametrize("what", list(on_the_way()))
def test_where_a_copy_comes_to_lie_is_no_second_obstacle(what, target):
    """Allocators give other addresses each time, and what is told once has to hold."""
    kept = []
    for _ in range(4):
        x = on_the_way()[what]
        route = explain(x, target)
        kept.append(np.empty(24))  # so that the next addresses are others
        if not route.supported:
            with pytest.raises(UnsupportedError):
                quietly(lambda: share(x, target))  # noqa: B023 -- called now
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kept.append(share(x, target))
        told = [str(each.message) for each in caught if each.category is not CopyWarning]
        copies = len(caught) - len(told)
        assert copies == sum(step.action == "copied" for step in route.steps), route
        assert tuple(told) == route.cautions


@pytest.mark.parametrize(
    ("target", "options"), [("arrow", {"layout": "tensor"}), ("arrow", {}), ("pandas", {})]
)
@pytest.mark.parametrize("count", [0, 2**62, -(2**63)])
def test_explain_looks_at_values_that_decide(target, options, count):
    with NumPack("times.npk") as npk:
        npk.save({"x": np.array([[1], [2], [count]], "M8[D]")})
        npk.drop("x", [1])
        lazy = npk.load("x", lazy=True)
    refused = not explain(lazy, target, **options).supported
    for copy in (None, True):
        try:
            quietly(lambda: share(lazy, target, copy=copy, **options))  # noqa: B023 -- called now
        except UnsupportedError:
            assert refused
        else:
            assert not refused


@pytest.mark.parametrize("nulls", ["convert", "mask"])
@pytest.mark.parametrize("target", TARGETS)
def test_explain_sees_the_mask_of_what_is_gathered(target, nulls):
    import pandas as pd
    import polars as pl

    frame = pl.DataFrame({"a": [1, None], "b": [3, 4]})
    for x in (frame, pd.Series([1, None, 2], dtype="category")):
        route = explain(x, target, nulls=nulls)
        try:
            quietly(lambda: share(x, target, nulls=nulls))  # noqa: B023 -- called now
        except UnsupportedError:
            assert not route.supported
        else:
            assert route.supported


@pytest.mark.parametrize("target", TARGETS)
def test_a_stream_is_read_once(target):
    import nanoarrow
    import pyarrow as pa

    values = np.arange(3, dtype="f4")
    result, _ = quietly(lambda: share(nanoarrow.ArrayStream(pa.array(values)), target))
    assert oracle(target).values(result).tolist() == [0, 1, 2]


@pytest.mark.parametrize("layout", ["C", "K"])
def test_complex_numbers_go_to_compiled_code_on_boundaries_that_it_can_load(run_python, layout):
    """NumPy puts them on any boundary of 8, and torch loads each at once: SIGSEGV."""
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
