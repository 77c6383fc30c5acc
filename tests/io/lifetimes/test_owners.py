"""A result keeps the source alive whose memory it shares, and frees it."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from support.exchange.dlpack import Tensor
from support.exchange.routes import array

from numpack import NumPack, ZeroCopyArray, share
from numpack.io import (
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    to_dlpack,
)

OWNERS = {
    "torch": (lambda a: numpy_to_torch_zero_copy(a), lambda t: t[5].item()),
    "arrow": (lambda a: numpy_to_arrow_zero_copy(a), lambda r: r[5].as_py()),
    "dlpack": (lambda a: to_dlpack(a), lambda b: torch.from_dlpack(b)[5].item()),
    "capsule": (lambda a: from_dlpack(to_dlpack(a).__dlpack__()), lambda b: b[5]),
    "wrapper": (lambda a: ZeroCopyArray(a), lambda d: d.to_arrow()[5].as_py()),
}


class Memory(bytearray):
    """Memory that supports weak references."""


@pytest.mark.parametrize("name", OWNERS)
def test_source_is_freed_with_the_result(name):
    convert, read = OWNERS[name]
    memory = Memory(array().tobytes())
    end = weakref.ref(memory)
    result = convert(np.frombuffer(memory))
    del memory
    gc.collect()
    assert end() is not None
    assert read(result) == 5
    del result
    gc.collect()
    assert end() is None


def test_results_outlive_a_closed_and_removed_store(tmp_path):
    import shutil

    npk = NumPack("gone.npk")
    npk.open()
    npk.save({"x": np.arange(1000.0)})
    lazy = npk.load("x", lazy=True)
    results = [share(lazy, target) for target in ("torch", "arrow", "dlpack", "numpy")]
    npk.close()
    shutil.rmtree("gone.npk")
    del npk, lazy
    gc.collect()
    t, r, d, a = results
    assert t[999].item() == r[999].as_py() == torch.from_dlpack(d)[999].item() == a[999] == 999


def test_deleter_runs_on_the_thread_that_releases_the_result():
    tensor = Tensor(np.arange(3.0))
    held = [from_dlpack(tensor.capsule())]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert tensor.deleted == 1
