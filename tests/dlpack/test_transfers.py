"""Producers of memory on other devices, which are asked to move it to the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each
from support.exchange.dlpack import Producer, ScriptedProducer, Tensor
from support.exchange.malformed_tensors import (
    ANOTHER_MAJOR,
    MALFORMED,
    UNKNOWN_DTYPES,
    falsify,
    matrix,
)

from numpack import (
    CopyWarning,
    InvalidValueError,
    NumpackError,
    UnsupportedError,
    ZeroCopyError,
    explain,
)
from numpack.io import from_dlpack


def tensor_on_gpu() -> Tensor:
    tensor = matrix()
    falsify(tensor, device_type=2)
    return tensor


def test_transfer_that_stays_on_the_device_is_refused():
    on_gpu, still_on_gpu = tensor_on_gpu(), tensor_on_gpu()
    producer = ScriptedProducer(on_gpu.capsule(), still_on_gpu.capsule())
    with pytest.raises(UnsupportedError, match="its producer cannot move it"):
        from_dlpack(producer, copy=True)
    assert producer.asked[1]["dl_device"] == (1, 0)
    assert (on_gpu.deleted, still_on_gpu.deleted) == (0, 0)


@for_each("case", [*MALFORMED, *UNKNOWN_DTYPES, *ANOTHER_MAJOR])
def test_transfer_to_a_malformed_capsule_is_refused(case):
    on_gpu, on_cpu = tensor_on_gpu(), matrix()
    falsify(on_cpu, **(MALFORMED | UNKNOWN_DTYPES | ANOTHER_MAJOR)[case])
    with pytest.raises(NumpackError):
        from_dlpack(ScriptedProducer(on_gpu.capsule(), on_cpu.capsule()), copy=True)
    assert (on_gpu.deleted, on_cpu.deleted) == (0, 0)


def test_transfer_to_another_shape_and_dtype():
    on_gpu, on_cpu = tensor_on_gpu(), Tensor(np.arange(4, dtype="f8"))
    falsify(on_cpu, bits=32, code=0, ndim=1, extents=(8,))
    with pytest.warns(CopyWarning):
        a = from_dlpack(ScriptedProducer(on_gpu.capsule(), on_cpu.capsule()))
    assert a.tobytes() == np.arange(4.0).tobytes()
    assert a.dtype == np.int32
    del a
    assert on_cpu.deleted == 1


def test_transfer_to_a_consumed_capsule_is_refused():
    on_gpu, on_cpu = tensor_on_gpu(), matrix()
    capsule = on_cpu.capsule()
    a = from_dlpack(capsule)
    with pytest.raises(InvalidValueError, match="was consumed already"):
        from_dlpack(ScriptedProducer(on_gpu.capsule(), capsule), copy=True)
    assert a.sum() == 15
    del a
    assert on_cpu.deleted == 1


class OnDevice(Producer):
    """A producer of memory on another device, which it can copy to the CPU."""

    def __init__(self, can_move: bool):
        there, here = Tensor(np.zeros(3)), Tensor(np.arange(3.0))
        there.managed.tensor.device_type = 2
        super().__init__(there, ("max_version", "dl_device", "stream"), device=(2, 0))
        self.here, self.can_move = here, can_move

    def __dlpack__(self, **keywords):
        if keywords.get("dl_device") == (1, 0):
            if not self.can_move:
                raise BufferError("cannot move")
            return self.here.capsule()
        return super().__dlpack__(**keywords)


def test_memory_on_another_device_is_copied_by_the_producer():
    assert explain(OnDevice(True), "numpy").nbytes == 24
    with pytest.warns(CopyWarning, match=r"on device \(2, 0\).*a copy takes 24 bytes"):
        assert from_dlpack(OnDevice(True)).tolist() == [0, 1, 2]
    with pytest.raises(ZeroCopyError, match=r"on device \(2, 0\)"):
        from_dlpack(OnDevice(True), copy=False)
    assert from_dlpack(OnDevice(True), copy=True).tolist() == [0, 1, 2]
    with pytest.raises(BufferError, match="cannot move"):
        from_dlpack(OnDevice(False), copy=True)
