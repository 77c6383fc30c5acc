"""What a loader for CUDA refers to; no device is needed."""

from __future__ import annotations

import gc
import weakref

from numpack.data.output import CudaOutput


def test_a_transform_that_refers_to_its_pools_is_collected():
    output = CudaOutput.__new__(CudaOutput)
    output.kept = output.pools(["x"], 2)  # as a transform does whose object keeps the pass
    found = weakref.ref(output)
    del output
    gc.collect()
    assert found() is None
