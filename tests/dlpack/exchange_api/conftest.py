"""Fixtures of the tests of the C exchange API: its classes, and types with a fast path."""

from __future__ import annotations

import pytest
from support.exchange.tables import import_once, register

from numpack import ZeroCopyArray
from numpack.io import DLPackBuffer

CLASSES = {"buffer": DLPackBuffer, "array": ZeroCopyArray}


@pytest.fixture(params=CLASSES)
def cls(request):
    return CLASSES[request.param]


@pytest.fixture(params=["register", "from_dlpack"])
def register_type(request):
    """Return one of the ways in which a type gets a fast path."""
    return register if request.param == "register" else import_once
