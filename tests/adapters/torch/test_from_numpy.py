"""NumPy to torch: every dtype and layout, refusals, and lifetimes."""

from __future__ import annotations

import contextlib
import gc
import pickle
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from support.arrays import LAYOUTS, LOWPREC, values
from support.each import for_each
from support.exchange.tensors import TO_TORCH, TORCH_NAMES
from support.memory import address

from numpack import CopyWarning, UnsupportedError, ZeroCopyError
from numpack._core.dtypes import DTYPES
from numpack.io import numpy_to_torch_zero_copy


@for_each(
    "layout",
    [
        "c",
        "fortran",
        "sliced",
        "transposed",
        "broadcast_writable",
        "zero_d",
        "empty_first",
        "empty_last",
        "empty_middle",
        "empty_odd_strides",
        "inside",
        "memmap_c",
        "memmap_r+",
    ],
)
@pytest.mark.parametrize(
    "name", [row.numpy for row in DTYPES if row.torch and not row.extension]
)
def test_tensor_matches_from_numpy(name, layout, tmp_path):
    a = LAYOUTS[layout](values(name), tmp_path)
    for way, convert in TO_TORCH.items():
        if layout == "empty_odd_strides":
            expected = torch.from_numpy(np.empty(a.shape, a.dtype))  # it refuses these strides
        else:
            expected = torch.from_numpy(a)
        t = convert(a)
        assert type(t) is torch.Tensor, way
        assert t.dtype == expected.dtype, way
        assert t.shape == expected.shape, way
        assert not t.requires_grad, way
        assert not t.is_inference(), way
        assert t.device.type == "cpu", way
        assert torch.equal(t, expected), way
        if a.size:
            assert t.data_ptr() == expected.data_ptr(), way
            used = [axis for axis in range(a.ndim) if a.shape[axis] > 1]
            assert [t.stride(i) for i in used] == [expected.stride(i) for i in used], way


@for_each("name", [row.numpy for row in DTYPES if row.torch and row.extension])
@for_each("layout", ["c", "transposed", "sliced", "zero_d", "empty_last"])
def test_low_precision_floats_are_shared(to_torch, name, layout):
    a = LAYOUTS[layout](values(name), None)
    t = to_torch(a)
    assert t.dtype == getattr(torch, name)
    assert t.shape == a.shape
    if a.size:
        assert t.data_ptr() == address(a)
        assert t.to(torch.float32).tolist() == a.astype("f4").tolist()
        a[...] = a.dtype.type(2)
        assert (t.to(torch.float32) == 2).all()


@for_each("name", ["float32", "int64", "bool", "complex64", "bfloat16"])
def test_tensor_supports_operations_autograd_and_pickle(to_torch, name):
    t = to_torch(values(name))
    assert (t == t.clone()).all()
    assert torch.cat([t, t]).shape == (8, 6)
    assert t.contiguous().data_ptr() == t.data_ptr()
    if t.is_floating_point():
        x = t.requires_grad_()
        (x * 2).sum().backward()
        assert x.grad.sum() == 48
    assert pickle.loads(pickle.dumps(t.detach())).shape == (4, 6)


@for_each("name", sorted(set(LOWPREC) - set(TORCH_NAMES)))
def test_dtype_that_torch_lacks_is_refused_without_a_leak(to_torch, name):
    a = values(name)
    before = sys.getrefcount(a)
    for _ in range(5):
        with pytest.raises(UnsupportedError, match="torch has no such dtype"):
            to_torch(a)
    gc.collect(1)
    assert sys.getrefcount(a) == before


@for_each(
    "a",
    [
        np.zeros(3, "M8[s]"),
        np.zeros(3, "m8[ns]"),
        np.zeros(3, "S3"),
        np.zeros(3, "U3"),
        np.zeros(3, "O"),
        np.zeros(3, "i4,f8"),
        np.zeros(3, "g"),
        np.zeros(3, np.dtypes.StringDType()),
    ],
    ids=lambda a: str(a.dtype),
)
def test_other_dtypes_are_refused_without_a_leak(to_torch, a):
    before = sys.getrefcount(a)
    for _ in range(5):
        with pytest.raises(UnsupportedError, match="to torch failed"):
            to_torch(a)
    gc.collect(1)
    assert sys.getrefcount(a) == before


@for_each(
    "make",
    [
        lambda: np.arange(6.0)[::-1],
        lambda: np.arange(6, dtype=">f8"),
        lambda: np.zeros(6, "u1,f8")["f1"],
        lambda: np.frombuffer(bytearray(49), "u1")[1:].view("f8"),
    ],
    ids=["reversed", "swapped", "field", "misaligned"],
)
def test_copy_keeps_no_reference_to_the_array(make):
    a = make()
    before = sys.getrefcount(a)
    for _ in range(5):
        with pytest.warns(CopyWarning, match="to torch failed"):
            t = numpy_to_torch_zero_copy(a)
        assert t.tolist() == a.tolist()
        with pytest.raises(ZeroCopyError):
            numpy_to_torch_zero_copy(a, copy=False)
    del t
    gc.collect(1)
    assert sys.getrefcount(a) == before


def test_array_is_freed_with_the_last_view_of_the_tensor(to_torch):
    a = np.arange(1000.0)
    before, end = sys.getrefcount(a), weakref.ref(a)
    t = to_torch(a)
    assert sys.getrefcount(a) > before
    views = [t[5:], t.view(10, 100), t.untyped_storage()]
    del t
    del a
    assert end() is not None
    assert views[0][0] == 5
    views.clear()
    assert end() is None


def test_array_is_released_when_the_tensor_gets_other_memory(to_torch):
    a = np.arange(1000.0)
    before = sys.getrefcount(a)
    for change in (lambda t: t.set_(), lambda t: setattr(t, "data", torch.zeros(2))):
        t = to_torch(a)
        change(t)
        assert sys.getrefcount(a) == before


def test_resizing_a_tensor_does_not_write_past_the_array(to_torch):
    """torch refuses to resize foreign memory, or allocates its own and releases the array."""
    a = np.arange(1000.0)
    t = to_torch(a)
    with contextlib.suppress(RuntimeError):
        t.resize_(100_000)
        t.fill_(-1)
    assert np.array_equal(a, np.arange(1000.0))


def test_tensor_is_freed_on_another_thread(to_torch):
    a = np.arange(1000.0)
    before = sys.getrefcount(a)
    held = [to_torch(a) for _ in range(50)]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert sys.getrefcount(a) == before
