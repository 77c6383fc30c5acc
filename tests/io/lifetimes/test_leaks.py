"""Routes leak neither objects, references, memory nor mappings."""

from __future__ import annotations

import gc
import json
import os

import numpy as np
import torch
from support.exchange.routes import ROUTES

from numpack import NumPack, share

# One leak a pass shows in some hundred passes; ``make leaks`` sets 10,000.
PASSES = int(os.environ.get("PASSES", "500"))
SCRIPT = "import runpy; runpy.run_module('support.exchange.{}', run_name='__main__')"


def limits(passes: int) -> tuple[int, ...]:
    """Return limits that one leak a pass exceeds, as counted by `exchange.routes.counts`."""
    return (
        50,  # objects
        min(500, 150 + passes // 3),  # blocks of Python's allocator
        2400 + passes * 8,  # bytes; the smallest allocation of malloc takes 32
        min(2 * 2**20, passes * 2000),  # resident bytes; the arrays have 4000 or more
        min(500, passes // 2),  # references
    )


def excess(found: dict[str, list[int]], passes: int) -> dict[str, list[int]]:
    """Return the routes whose growth reaches a limit."""
    return {
        route: grown
        for route, grown in found.items()
        if any(each >= limit for each, limit in zip(grown, limits(passes), strict=True))
    }


def test_routes_of_all_frameworks_leak_nothing(run_python):
    """Fewer passes, each of which costs more; all frameworks in one process."""
    passes = PASSES // 2
    found = json.loads(run_python(SCRIPT.format("framework_routes"), str(passes)))
    assert len(found) > 90
    assert excess(found, passes) == {}


def test_routes_of_torch_and_arrow_leak_nothing(run_with_torch):
    """Objects, references, memory and resident size do not grow."""
    found = json.loads(run_with_torch(SCRIPT.format("routes"), str(PASSES)))
    assert found.keys() == ROUTES.keys()
    assert excess(found, PASSES) == {}


def test_growth_of_a_leak_exceeds_the_limits():
    """Each count detects a leak of one object, block, allocation or reference a pass."""
    for count in range(5):
        grown = [0] * 5
        grown[count] = PASSES * (1, 1, 32, 4000, 1)[count]
        assert excess({"leaking": grown}, PASSES)


def test_lazy_routes_leak_no_mapping():
    with NumPack("leak.npk") as npk:
        npk.save({"x": np.arange(1000.0)})

        def routes():
            lazy = npk.load("x", lazy=True)
            return share(lazy, "torch"), share(lazy, "arrow"), torch.from_dlpack(lazy)

        for _ in range(100):
            routes()
        gc.collect()  # frees objects of earlier tests
        before = len(os.listdir("/proc/self/fd")), mapped_files("leak.npk")
        for _ in range(1000):
            routes()
        gc.collect()
        assert (len(os.listdir("/proc/self/fd")), mapped_files("leak.npk")) == before


def mapped_files(name: str) -> int:
    with open("/proc/self/maps") as table:
        return sum(name in line for line in table)
