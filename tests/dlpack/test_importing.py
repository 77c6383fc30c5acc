"""Capsules and producers are consumed once; copies, devices and wrong arguments."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from support.each import for_each
from support.exchange.dlpack import Producer, Tensor

from numpack import CopyWarning, InvalidValueError, WrongTypeError, ZeroCopyError, explain
from numpack._dlpack import importing
from numpack.io import from_dlpack, to_dlpack


def test_copy_by_the_producer_warns_or_is_refused():
    a = np.zeros(3)
    tensor = copied_tensor(a)
    with pytest.warns(CopyWarning, match="its producer made a copy"):
        from_dlpack(tensor.capsule())
    tensor = copied_tensor(a)
    with pytest.raises(ZeroCopyError, match="its producer made a copy"):
        from_dlpack(tensor.capsule(), copy=False)


def copied_tensor(a):
    tensor = Tensor(a)
    tensor.managed.flags = importing.IS_COPIED
    return tensor


@for_each("versioned", [False, True])
def test_capsule_can_be_consumed_once(versioned):
    tensor = Tensor(np.arange(3.0), versioned=versioned)
    capsule = tensor.capsule()
    a = from_dlpack(capsule)
    with pytest.raises(InvalidValueError, match="was consumed already"):
        from_dlpack(capsule)
    assert a.tolist() == [0, 1, 2]
    b = a[1:]
    del a
    assert tensor.deleted == 0
    del b
    assert tensor.deleted == 1
    del capsule
    gc.collect()
    assert tensor.deleted == 1


def test_capsule_consumed_by_numpy_is_refused():
    class Holder:
        def __init__(self, capsule):
            self.capsule = capsule

        def __dlpack__(self, **_):
            return self.capsule

        def __dlpack_device__(self):
            return (1, 0)

    holder = Holder(to_dlpack(np.zeros(2)).__dlpack__())
    kept = np.from_dlpack(holder)
    with pytest.raises(InvalidValueError, match="capsule"):
        from_dlpack(holder.capsule)
    assert kept.size == 2


def test_explain_does_not_consume_the_capsule():
    capsule = to_dlpack(np.arange(6.0).reshape(2, 3)).__dlpack__()
    assert explain(capsule, "numpy").shares_memory
    assert explain(capsule, "dlpack").shares_memory
    assert from_dlpack(capsule).shape == (2, 3)


@for_each("keywords", [(), ("max_version",), ("max_version", "dl_device", "copy")])
def test_old_producer_is_called_again_without_unsupported_keywords(keywords):
    tensor = Tensor(np.arange(3.0), versioned=bool(keywords))
    producer = Producer(tensor, keywords)
    assert from_dlpack(producer, copy=False).tolist() == [0, 1, 2]
    assert producer.asked[0] == {"max_version": importing.MAX_VERSION}
    assert tensor.deleted == 1


def test_read_only_flag_byte_offset_and_null_strides():
    memory = np.arange(6.0)
    tensor = Tensor(memory[:4].reshape(2, 2))
    tensor.managed.flags = importing.READ_ONLY
    tensor.managed.tensor.byte_offset = 16
    tensor.managed.tensor.strides = None
    a = from_dlpack(tensor.capsule(), copy=False)
    assert a.tolist() == [[2, 3], [4, 5]]
    assert not a.flags.writeable
    tensor = Tensor(memory)
    assert from_dlpack(tensor.capsule(), copy=True).flags.writeable


@for_each("device", [None, "cpu", (1, 0)])
def test_cpu_device_is_accepted(device):
    assert from_dlpack(to_dlpack(np.zeros(3)), device=device, copy=False).size == 3


@for_each("device", ["cuda", (2, 0), 7])
@for_each("source", [np.zeros(3), to_dlpack(np.zeros(3))], ids=["array", "buffer"])
def test_other_target_device_is_refused(source, device):
    with pytest.raises(InvalidValueError, match="NumPy arrays live on the CPU"):
        from_dlpack(source, device=device)


@for_each("wrong", [[1, 2], 3.0, None, "x"])
def test_error_names_the_wrong_type(wrong):
    with pytest.raises(WrongTypeError, match="got (list|float|NoneType|str); pass np.asarray"):
        from_dlpack(wrong)
    with pytest.raises(WrongTypeError, match="to_dlpack expects a numpy.ndarray, got "):
        to_dlpack(wrong)


def test_stride_beyond_the_address_space_is_refused():
    tensor = Tensor(np.arange(6.0).reshape(2, 3))
    tensor.strides[0] = 2**62
    with pytest.raises(InvalidValueError, match="which exceed the address space"):
        from_dlpack(tensor.capsule())
    assert tensor.deleted == 0
