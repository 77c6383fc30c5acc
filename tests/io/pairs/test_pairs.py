"""Conversions between all pairs of frameworks, for every dtype that both support.

The arrays are created without this package, and the result of `explain` is compared with the
addresses that the frameworks themselves report.
"""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pytest
from support.arrays import LOWPREC, NATIVE, elements, values
from support.each import for_each
from support.memory import shares_pages
from support.oracles import NAMES, SOURCES_ONLY, TARGETS, oracle

from numpack import (
    CopyWarning,
    ReadOnlyWarning,
    ZeroCopyError,
    explain,
    share,
)

DTYPES = [*NATIVE, *LOWPREC, *(f"{k}8[{u}]" for k in "Mm" for u in ("s", "ms", "us", "ns"))]


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


@pytest.mark.parametrize("source", NAMES)
@for_each("target", TARGETS)
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


def test_every_installed_framework_is_tested():
    from numpack import frameworks

    # These have no array type of their own, or need a GPU.
    untested = {"dlpack", "cuda_array_interface", "scipy", "cupy"}
    known = frameworks()
    assert {each.name for each in known} - untested == set(NAMES)
    assert {each.name for each in known if not each.installed} <= {"cupy"}


@for_each("target", TARGETS)
def test_stream_is_read_once(target):
    import nanoarrow
    import pyarrow as pa

    values = np.arange(3, dtype="f4")
    result, _ = record_warnings(lambda: share(nanoarrow.ArrayStream(pa.array(values)), target))
    assert oracle(target).values(result).tolist() == [0, 1, 2]


def test_complex_numbers_are_16_byte_aligned_for_consumers(run_python):
    """NumPy aligns complex128 to 8 bytes; torch loads 16 aligned bytes at once: SIGSEGV."""
    run_python("""
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
    *(torch.from_dlpack(to_dlpack(a, order=order)) for order in "CK"),
    *(torch.from_dlpack(ZeroCopyArray(a, order=order)) for order in "CK"),
):
    assert tensor.clone().tolist() == [1 + 2j] * 33
    tensor[torch.tensor([1, 2])] = 3
""")
