"""Fixtures of the tests of deleters: exporters, versions of DLPack, switching of threads."""

from __future__ import annotations

import gc
import sys

import pytest

from numpack import ZeroCopyArray
from numpack.io import DLPackBuffer

EXPORTERS = {"buffer": DLPackBuffer, "array": ZeroCopyArray}


VERSIONS = {"legacy": None, "versioned": (1, 0)}


@pytest.fixture(params=EXPORTERS)
def exporter(request):
    return EXPORTERS[request.param]


@pytest.fixture(params=VERSIONS)
def version(request):
    return VERSIONS[request.param]


@pytest.fixture
def busy_switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def no_switching():
    """Let threads get the GIL only when another releases it, as `join` does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def manual_collection():
    """Disable automatic garbage collection, and exempt existing objects from it."""
    thresholds, was_enabled = gc.get_threshold(), gc.isenabled()
    gc.disable()
    gc.collect()
    gc.freeze()
    yield
    gc.set_threshold(*thresholds)
    if was_enabled:
        gc.enable()
