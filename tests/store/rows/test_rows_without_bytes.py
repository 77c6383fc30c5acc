"""Arrays whose rows have no bytes: neither memory nor the file limits their number."""

from __future__ import annotations

import copy
import faulthandler
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from numpack import NumPack, share

ARRAYS = {
    "no bytes per element": np.ndarray((2**62,), "V0", buffer=b""),
    "an axis of length 0": np.ndarray((2**50, 0), "f8", buffer=b""),
    "byte-swapped": np.ndarray((2**50,), ">U0", buffer=b""),
}


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Abort the test if an operation visits every element, which takes years."""
    faulthandler.dump_traceback_later(60, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("what", ARRAYS)
@pytest.mark.parametrize("drops", [False, True])
def test_no_operation_visits_every_row(what, drops):
    array = ARRAYS[what]
    with NumPack("s.npk") as store:
        store.save({"x": array})
        if drops:
            store.drop("x", [5])
        count = len(array) - drops
        lazy = store.load("x", lazy=True)
        one = np.ndarray((1, *array.shape[1:]), lazy.dtype, buffer=b"")
        calls: dict[str, Callable[[], Any]] = {
            "load": lambda: store.load("x"),
            "asarray": lambda: np.asarray(lazy),
            "array": lambda: lazy.__array__(copy=True),
            "copied": lazy.copied,
            "deepcopy": lambda: copy.deepcopy(lazy),
            "all rows": lambda: lazy[:],
            "reversed": lambda: lazy[::-1],
            "getitem": lambda: store.getitem("x", slice(None)),
            "take": lambda: lazy.take(slice(None, None, -1)),
            "share": lambda: share(lazy, "numpy", copy=True),
        }
        for name, call in calls.items():
            assert call().shape == (count, *array.shape[1:]), name
        assert store.getitem("x", slice(0, None, 2)).shape[0] == (count + 1) // 2
        assert store.getitem("x", [1, -1]).shape == (2, *array.shape[1:])
        assert bytes(lazy) == b""
        store.replace({"x": one}, 7)
        store.clone("x", "y")
        store.update("x")
        with store.batch_mode():
            store.save({"z": store.load("x")})
        assert store.get_shape("z") == (count, *array.shape[1:])
        assert store.verify().ok
