"""Arrays made under `aligned_allocation`, for frameworks that need 64-byte alignment."""

from __future__ import annotations

import re

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from support.memory import address
from support.oracles.onnxruntime import address as address_of_value
from support.oracles.tensorflow import address as address_of_tensor

import numpack
from numpack import aligned_allocation, explain, share

SIZES = (1, 3, 1000, 10**6)


def test_arrays_are_shared_with_tensorflow():
    for size in SIZES:
        with aligned_allocation():
            array = np.random.rand(size)  # noqa: NPY002 the function that users call
        route = explain(array, "tensorflow")
        assert route.shares_memory, route
        tensor = share(array, "tensorflow", copy=False)
        assert address_of_tensor(tensor) == address(array)
        assert float(tf.reduce_sum(tensor)) == pytest.approx(array.sum())


def test_arrays_are_shared_with_onnxruntime():
    for size in SIZES:
        with aligned_allocation():
            array = np.random.rand(size)  # noqa: NPY002
        assert explain(array, "onnxruntime").shares_memory
        value = share(array, "onnxruntime", copy=False)
        assert isinstance(value, onnxruntime.OrtValue)
        assert address_of_value(value) == address(array)
        assert np.array_equal(value.numpy(), array)


def test_arrays_are_shared_with_jax(run_python):
    run_python(
        """
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
from numpack import aligned_allocation, explain, share
for size in (1, 3, 1000, 10**6):
    with aligned_allocation():
        array = np.random.rand(size)
    assert explain(array, "jax").shares_memory
    shared = share(array, "jax", copy=False)
    assert shared.unsafe_buffer_pointer() == array.ctypes.data
    assert np.array_equal(np.asarray(shared + 0), array)
"""
    )


def test_arrays_of_a_process_are_shared(run_python):
    run_python(
        """
from concurrent.futures import ThreadPoolExecutor
import numpy as np, numpack
numpack.use_aligned_allocation()
with ThreadPoolExecutor(2) as pool:
    arrays = [np.ones(1001, "f4"), *pool.map(lambda n: np.ones(n, "f4"), range(1, 200))]
for array in arrays:
    for target in ("jax", "tensorflow", "onnxruntime"):
        assert numpack.explain(array, target).shares_memory, (target, array.ctypes.data % 64)
"""
    )


def test_fix_for_unaligned_memory_names_the_allocation_and_works():
    memory = np.arange(1128, dtype="u1")
    array = memory[-address(memory) % 64 + 16 :][:1000].view("f4")
    for target in ("jax", "tensorflow"):
        route = explain(array, target)
        assert route.reason == "its memory is not 64-byte aligned"
        assert route.fix.startswith("make it under numpack.aligned_allocation(), or keep it")
        (code,) = re.findall(r"under (\S+),", route.fix)
        with eval(code, {"numpack": numpack}):
            again = array.copy()
        assert explain(again, target).shares_memory
        share(again, target, copy=False)
