"""Tensors that have plain memory are shared: values, address, strides and dtype."""

from __future__ import annotations

import sys
import threading

import ml_dtypes
import numpy as np
import pytest
import torch
from support.arrays import dtype_of
from support.each import for_each
from support.exchange.tensors import (
    TO_NUMPY,
    TORCH_NAMES,
    Plain,
    complexes,
    tensor,
    without_warnings,
)
from support.memory import address

from numpack import InvalidValueError, UnsupportedError, explain, share
from numpack.io import from_dlpack, numpy_to_torch_zero_copy, torch_to_numpy_zero_copy

SHAPES = {
    "c": lambda t: t,
    "transposed": lambda t: t.t(),
    "sliced": lambda t: t[1::2, ::3],
    "expanded": lambda t: t[0].expand(7, 6),
    "one row": lambda t: t[2:3],
    "0-d": lambda t: t[1, 2],
    "empty": lambda t: t[:, 6:],
    "offset": lambda t: t.reshape(-1)[5:],
    "unfolded": lambda t: t.reshape(-1).unfold(0, 5, 2),
    "permuted": lambda t: t.reshape(2, 2, 6).permute(2, 0, 1),
    "as_strided": lambda t: t.as_strided((3, 2), (2, 5), 4),
    "requires grad": lambda t: t.clone().requires_grad_() if t.is_floating_point() else t,
    "parameter": lambda t: torch.nn.Parameter(t, requires_grad=False),
    "grad parameter": lambda t: torch.nn.Parameter(t, t.is_floating_point()),
    "detached": lambda t: t.detach(),
    "subclass": lambda t: t.as_subclass(Plain),
}


@pytest.mark.parametrize("name", TORCH_NAMES)
@for_each("shape", SHAPES)
def test_values_address_and_strides_match_torch(name, shape):
    t = SHAPES[shape](tensor(name))
    carrier = f"uint{8 * t.element_size()}" if t.element_size() < 16 else "complex128"
    expected = t.detach().view(getattr(torch, carrier)).numpy() if t.ndim else t.detach()
    for way, convert in TO_NUMPY.items():
        a = convert(t)
        assert type(a) is np.ndarray, way
        assert a.dtype == dtype_of(name), way
        assert a.shape == tuple(t.shape), way
        assert a.flags.writeable, way
        if t.ndim:
            assert a.tobytes() == expected.tobytes(), way
        else:
            assert a.tolist() == t.tolist(), way
        if a.size:
            assert address(a) == t.data_ptr(), way
            used = [axis for axis in range(a.ndim) if a.shape[axis] > 1]
            assert [a.strides[i] for i in used] == [
                t.stride(i) * t.element_size() for i in used
            ], way
    assert explain(t, "numpy").shares_memory
    for convert in (torch_to_numpy_zero_copy, from_dlpack):
        own = convert(t, copy=True)
        assert own.tobytes() == convert(t).tobytes()
        assert own.flags.writeable
        if own.size:
            assert address(own) != t.data_ptr()
            shared = convert(t, copy=None)
            assert shared.strides == tuple(step * t.element_size() for step in t.stride())


def test_tensor_that_requires_grad_is_shared(to_numpy):
    t = torch.arange(3.0, requires_grad=True)
    a = to_numpy(t)
    assert a.tolist() == [0, 1, 2]
    assert address(a) == t.data_ptr()
    assert address(to_numpy(t * 2)) != t.data_ptr()


def test_inference_tensor_is_shared(to_numpy):
    with torch.inference_mode():
        t = torch.arange(3.0)
        assert address(to_numpy(t)) == t.data_ptr()
    assert address(to_numpy(t)) == t.data_ptr()


def test_dual_tensor_of_forward_mode_ad():
    from torch.autograd import forward_ad

    with forward_ad.dual_level():
        t = without_warnings(lambda: forward_ad.make_dual(torch.arange(3.0), torch.ones(3)))()
        assert torch_to_numpy_zero_copy(t).tolist() == [0, 1, 2]


@pytest.mark.parametrize("axes", [64, 65])
def test_more_than_64_dimensions_are_refused(to_numpy, axes):
    t = torch.zeros((1,) * axes)
    if axes == 64:
        assert to_numpy(t).ndim == 64
    else:
        with pytest.raises((UnsupportedError, InvalidValueError), match="64"):
            to_numpy(t)


def test_default_device_is_ignored(to_numpy):
    t = torch.arange(3.0)
    with torch.device("meta"):
        assert address(to_numpy(t)) == t.data_ptr()
        assert torch_device_of(np.zeros(3)) == "cpu"


def torch_device_of(a):
    return numpy_to_torch_zero_copy(a).device.type


def test_double_negation_and_double_conjugation_are_shared(to_numpy):
    t = torch._neg_view(torch._neg_view(torch.arange(3.0)))
    assert address(to_numpy(t)) == t.data_ptr()
    t = complexes().conj().conj()
    assert address(to_numpy(t)) == t.data_ptr()


def test_torch_function_and_fake_tensor_modes_are_ignored(to_numpy):
    """A mode that intercepts operations does not change the memory of a tensor."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.overrides import TorchFunctionMode

    class Watching(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    t = torch.arange(3.0)
    with Watching():
        assert address(to_numpy(t)) == t.data_ptr()
    with FakeTensorMode():
        assert torch_to_numpy_zero_copy(t).tolist() == [0, 1, 2]


def test_mode_that_returns_wrong_types_does_not_crash(run_with_torch):
    """A mode that intercepts operations may return any object."""
    run_with_torch(
        """
import torch
from torch.overrides import TorchFunctionMode
from numpack.io import from_dlpack, numpy_to_torch_zero_copy, torch_to_numpy_zero_copy

class Answering(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.untyped_storage:
            return answer
        return func(*args, **(kwargs or {}))

t, z = torch.arange(3.0), torch.zeros(2, dtype=torch.complex64)
torch_to_numpy_zero_copy(t)
for answer in (None, 3, [1], object(), "x", False, True, torch.zeros(3), torch.float32):
    for convert in (torch_to_numpy_zero_copy, from_dlpack):
        for each in (t, z):
            with Answering():
                try:
                    convert(each)
                except Exception:
                    pass
assert torch_to_numpy_zero_copy(t).tolist() == [0, 1, 2]
"""
    )


def test_write_to_a_lazy_clone_does_not_reach_the_original(to_numpy):
    """Both tensors share memory until one is written; the array shares that of the clone."""
    original = torch.zeros(3)
    clone = torch._lazy_clone(original)
    to_numpy(clone)[0] = 7
    assert original.tolist() == [0, 0, 0]
    assert clone.tolist() == [7, 0, 0]


def test_round_trip_shares_memory(to_numpy, to_torch):
    a = np.arange(12.0).reshape(3, 4)
    b = to_numpy(to_torch(a.T))
    assert address(b) == address(a)
    assert b.strides == a.T.strides
    b[0, 0] = 7
    assert a[0, 0] == 7


def test_concurrent_conversions_of_one_array():
    a = np.arange(1000.0)
    before = sys.getrefcount(a)

    def work():
        for _ in range(300):
            t = numpy_to_torch_zero_copy(a)
            b = torch_to_numpy_zero_copy(t)
            assert address(b) == address(a)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.getrefcount(a) == before


def test_bfloat16_becomes_an_ml_dtypes_array(to_numpy):
    t = torch.ones(3, dtype=torch.bfloat16)
    assert to_numpy(t).dtype == ml_dtypes.bfloat16


def test_writes_go_both_ways():
    t = torch.zeros(3)
    a = torch_to_numpy_zero_copy(t)
    a[0], t[1] = 1, 2
    assert t.tolist() == [1, 2, 0]
    assert a.tolist() == [1, 2, 0]


@pytest.mark.parametrize("target", ["arrow", "dlpack", "torch"])
def test_tensor_is_shared_with_other_targets(target):
    t = torch.arange(6.0).reshape(2, 3)
    assert explain(t, target).shares_memory
    back = (
        share(share(t, target, copy=False), "torch", copy=False) if target != "arrow" else None
    )
    if back is not None:
        assert back.data_ptr() == t.data_ptr()


DTYPES = sorted(
    {each for each in vars(torch).values() if isinstance(each, torch.dtype)}, key=str
)


@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning")
@for_each("dtype", DTYPES)
def test_torch_dtypes_are_preserved_or_refused(dtype):
    """All dtypes of the installed torch: NumPy has one of the same name, or it is refused."""
    try:
        t = torch.zeros(16, dtype=torch.uint8).view(dtype)
    except (RuntimeError, TypeError):
        t = torch.zeros(2, dtype=dtype)
    for _ in range(2):
        try:
            a = share(t, "numpy", copy=False)
        except UnsupportedError:
            continue
        assert a.dtype.name == str(dtype).removeprefix("torch.")
        assert address(a) == t.data_ptr()
