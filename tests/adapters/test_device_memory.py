"""Producers of memory on a device, which the host must not read."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each
from support.exchange.dlpack import Tensor

from numpack import (
    CopyWarning,
    UnsupportedError,
    ZeroCopyError,
    explain,
    share,
)


class DeviceProducer:
    """A DLPack producer on a device, with an address that the host must not read."""

    def __init__(self, *, moves: bool):
        self.moves = moves
        self.asked = []

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **keywords):
        self.asked.append(keywords)
        if keywords.get("dl_device") == (1, 0) and not self.moves:
            raise BufferError("cannot move to the CPU")
        tensor = Tensor(np.arange(3.0))
        if keywords.get("dl_device") != (1, 0):
            tensor.managed.tensor.device_type = 2
            tensor.managed.tensor.data = 16
        self.kept = tensor
        return tensor.capsule()


@for_each("target", ["numpy", "torch", "jax", "arrow", "buffer", "dlpack"])
def test_device_memory_is_not_read_by_the_host(target):
    producer = DeviceProducer(moves=False)
    options = {"dtype": "float32"} if target == "jax" else {}
    if options:  # a cast depends on the values
        route = explain(producer, target, **options)
        assert not route.supported
        assert "cannot move to the CPU" in route.reason
    else:
        assert explain(producer, target).nbytes >= 24
    with pytest.raises(ZeroCopyError, match="cannot move to the CPU"):
        share(producer, target, copy=True, **options)
    with pytest.raises(ZeroCopyError, match=r"on device \(2, 0\)"):
        share(producer, target, copy=False, **options)
    with pytest.warns(CopyWarning, match=r"on device \(2, 0\)"):
        moved = share(DeviceProducer(moves=True), "numpy")
    assert moved.tolist() == [0, 1, 2]


def test_capsule_of_device_memory_is_refused():
    producer = DeviceProducer(moves=False)  # owns the tensor
    capsule = producer.__dlpack__()
    with pytest.raises(UnsupportedError, match="and a raw capsule cannot be transferred"):
        share(capsule, "numpy")
