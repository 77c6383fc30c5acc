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
from support.sides import NAMES, SOURCES_ONLY, TARGETS, side

from numpack import CopyWarning, NumPack, ReadOnlyWarning, ZeroCopyError, explain, share

DTYPES = [*NATIVE, *LOWPREC, *(f"{k}8[{u}]" for k in "Mm" for u in ("s", "ms", "us", "ns"))]


@pytest.fixture(scope="module", autouse=True)
def _quick_collections():
    """Leave what the frameworks have loaded out of the many collections of garbage."""
    for name in NAMES:
        side(name)
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
        if side(source).make(given(name)) is not None
        and side(target).make(given(name)) is not None
    ]


def is_same_memory(source: str, x: object, target: str, result: object) -> bool | None:
    """What the two frameworks say; ``None`` where one of them has nothing to say.

    A file leaves for who may write to it mapped again: other addresses, the same pages.
    """
    one, other = side(source).address(x), side(target).address(result)
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
    x = side(source).make(given(name))
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
    return "" if holds(own, name, target) else f"copy=True gives {side(target).values(own)}"


def holds(result: object, name: str, target: str) -> bool:
    found = side(target).values(result)
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
            place = side(target).address(result)
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
