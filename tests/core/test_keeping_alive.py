"""A result keeps the array or the producer alive whose memory it shares."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from support.exchange.subclasses import Owned, owned

from numpack import ZeroCopyArray, share
from numpack.io import from_dlpack, to_dlpack

ROUTES = {
    "numpy": lambda a: share(a, "numpy"),
    "buffer": lambda a: share(a, "buffer"),
    "dlpack": lambda a: np.from_dlpack(share(a, "dlpack")),
    "array interface": lambda a: share(a, "array_interface"),
    "to_dlpack": lambda a: from_dlpack(to_dlpack(a)),
    "wrapper": lambda a: np.from_dlpack(ZeroCopyArray(a)),
    "buffer of it": lambda a: share(memoryview(a), "numpy"),
    "view of a view": lambda a: share(share(a, "buffer"), "numpy")[..., 1:].T,
}


@pytest.mark.parametrize("kind", [Owned, np.ndarray], ids=["subclass", "plain"])
@pytest.mark.parametrize("route", ROUTES)
def test_result_keeps_the_original_array_alive(route, kind):
    gone: list[str] = []
    array = owned(gone, kind=kind)
    result = ROUTES[route](array)
    del array
    gc.collect()
    assert not gone
    del result
    gc.collect()
    assert gone


def test_result_keeps_its_producer_alive():
    class Interface:
        def __init__(self, array):
            self.__array_interface__ = array.__array_interface__
            self.array = array

    class Producer:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **keywords):
            return self.array.__dlpack__(**keywords)

        def __dlpack_device__(self):
            return (1, 0)

    a = np.arange(4.0)
    for make in (Interface, Producer, lambda x: memoryview(x)):
        gone: list[str] = []
        given = make(a)
        weakref.finalize(given, gone.append, "gone")
        result = share(given, "numpy", copy=False)
        del given
        gc.collect()
        assert not gone
        assert np.shares_memory(result, a)
        del result
        gc.collect()
        assert gone
