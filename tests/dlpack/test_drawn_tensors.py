"""Tensors drawn by hypothesis, any of whose fields may be invalid."""

from __future__ import annotations

import ctypes

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exchange.dlpack import Tensor
from support.exchange.malformed_tensors import I64, falsify
from support.memory import address
from support.native import name_of

from numpack import NumpackError, explain
from numpack._core.dtypes import DTYPES
from numpack._dlpack import importing
from numpack.io import from_dlpack

MEMORY = (np.arange(4096) * 37 % 251).astype("u1")


ORIGIN = 2048 - address(MEMORY) % 16  # where data point to: in the middle, 16-byte aligned


NUMBERS = {(row.code, row.bits): np.dtype(row.numpy) for row in DTYPES if not row.extension}


EXTENSIONS = {(row.code, row.bits) for row in DTYPES if row.extension}


small = st.integers(0, 5)


wild = st.sampled_from([-(2**63), -1, 2**20, 2**31, 2**32, 2**40, 2**58, 2**61, 2**62, I64])


near = st.integers(-40, 40)


far = st.sampled_from([-(2**63), -(2**61), -(2**60), -(2**32), 2**32, 2**60, 2**61, I64])


@st.composite
def malformed_tensors(draw):
    """Draw a tensor over the middle of `MEMORY`, a few of whose fields may be invalid."""
    rarely = st.integers(0, 9).map(lambda n: n == 0)
    axes = draw(st.integers(0, 4))
    tensor = Tensor(MEMORY[:1], versioned=draw(st.booleans()))
    tensor.shape = (ctypes.c_int64 * 64)(
        *(draw(wild if draw(rarely) else small) for _ in range(axes))
    )
    tensor.strides = (ctypes.c_int64 * 64)(
        *(draw(far if draw(rarely) else near) for _ in range(axes))
    )
    inner = tensor.managed.tensor
    inner.shape, inner.strides, inner.ndim = tensor.shape, tensor.strides, axes
    inner.data = address(MEMORY) + ORIGIN
    code, bits = draw(st.sampled_from(sorted(NUMBERS)))
    inner.dtype.code, inner.dtype.bits, inner.dtype.lanes = code, bits, 1
    if draw(rarely):
        inner.dtype.code = draw(st.integers(0, 255))
    if draw(rarely):
        inner.dtype.bits = draw(st.integers(0, 255))
    if draw(rarely):
        inner.dtype.lanes = draw(st.sampled_from([0, 2, 3, 65535]))
    if draw(rarely):
        inner.ndim = draw(st.sampled_from([-(2**31), -1, 64, 65, 2**31 - 1]))
    if draw(rarely):
        inner.device_type = draw(st.sampled_from([-1, 0, 2, 3, 10, 11, 13, 17]))
    if draw(rarely):
        inner.data = draw(st.sampled_from([None, inner.data + 1, inner.data + 3]))
    if draw(rarely):
        inner.byte_offset = draw(st.integers(0, 200))
    if draw(rarely):
        inner.shape = None
    if draw(rarely) or draw(rarely):
        inner.strides = None
    if hasattr(tensor.managed, "flags"):
        if draw(rarely):
            tensor.managed.major = draw(st.sampled_from([0, 2, 2**32 - 1]))
        if draw(st.booleans()):
            tensor.managed.flags = draw(st.integers(0, 15))
    if draw(rarely):
        tensor.managed.deleter = None
    return tensor


def expected_of(tensor: Tensor):
    """Return the expected dtype, shape and strides in bytes, or the reason of the refusal."""
    managed, inner = tensor.managed, tensor.managed.tensor
    flags = getattr(managed, "flags", 0)
    if getattr(managed, "major", 1) != 1:
        return "version"
    if not 0 <= inner.ndim <= 64 or (inner.ndim and not inner.shape):
        return "dimensions"
    shape = tuple(inner.shape[: inner.ndim]) if inner.ndim else ()
    if min(shape, default=0) < 0:
        return "negative"
    if inner.device_type not in (1, 3, 11, 13):
        return "device"
    name = inner.dtype.code, inner.dtype.bits
    if inner.dtype.lanes != 1 or name not in NUMBERS.keys() | EXTENSIONS:
        return "dtype"
    if inner.dtype.bits < 8 and not flags & importing.PADDED:
        return "packed"
    itemsize = max(inner.dtype.bits, 8) // 8
    steps, step = [], itemsize
    for extent in reversed(shape):
        steps.insert(0, step)
        step *= extent
    if inner.strides:
        given = [itemsize * stride for stride in inner.strides[: inner.ndim]]
        steps = [
            each if n > 1 else step for each, n, step in zip(given, shape, steps, strict=True)
        ]
    size = itemsize * int(np.prod([n for n in shape if n > 1], dtype=object))
    reach = sum((n - 1) * abs(each) for n, each in zip(shape, steps, strict=True) if n > 1)
    if size >= 2**62:
        return "huge"
    if 0 not in shape and not inner.data:
        return "no data"
    if 0 not in shape and reach >= 2**61:
        return "huge" if reach >= 2**62 else "either"
    if name in EXTENSIONS:
        return np.dtype("u1" if itemsize == 1 else "u2"), shape, tuple(steps)
    return NUMBERS[name], shape, tuple(steps)


@settings(max_examples=200)
@given(malformed_tensors())
def test_drawn_tensor_is_refused_without_effect_or_read(tensor):
    valid = expected_of(tensor)
    inner = tensor.managed.tensor
    flags = getattr(tensor.managed, "flags", 0)
    has_deleter = bool(tensor.managed.deleter)
    capsule = tensor.capsule()
    name = name_of(capsule)
    try:
        verdict = explain(capsule, "numpy").shares_memory
    except NumpackError:
        verdict = False
    assert name_of(capsule) == name
    assert tensor.deleted == 0
    try:
        a = from_dlpack(capsule, copy=False)
    except NumpackError:
        assert not verdict
        assert isinstance(valid, str) or flags & importing.IS_COPIED or needs_ml_dtypes(inner)
        assert name_of(capsule) == name
        assert tensor.deleted == 0
        repair(tensor)
        assert from_dlpack(capsule).tolist() == [MEMORY[ORIGIN]]
        assert tensor.deleted == has_deleter
        return
    assert verdict
    assert valid != "version"
    assert valid == "either" or not isinstance(valid, str)
    assert name_of(capsule) == b"used_" + name
    if not isinstance(valid, str):
        compare(a, tensor, *valid)
    empty = a.size == 0
    assert tensor.deleted == (has_deleter and empty)
    del a
    assert tensor.deleted == has_deleter


def needs_ml_dtypes(inner) -> bool:
    return (inner.dtype.code, inner.dtype.bits) in EXTENSIONS


def repair(tensor: Tensor) -> None:
    """Make a tensor describe the first byte of the memory again."""
    inner = tensor.managed.tensor
    tensor.shape[0] = tensor.strides[0] = 1
    inner.shape, inner.strides, inner.ndim = tensor.shape, tensor.strides, 1
    inner.data, inner.byte_offset, inner.device_type = address(MEMORY) + ORIGIN, 0, 1
    falsify(tensor, code=1, bits=8, lanes=1)
    if hasattr(tensor.managed, "flags"):
        falsify(tensor, major=1, flags=0)


def compare(a, tensor, dtype, shape, strides) -> None:
    """Compare an array with what NumPy reads of the same memory, where it is in `MEMORY`."""
    inner, flags = tensor.managed.tensor, getattr(tensor.managed, "flags", 0)
    assert a.shape == shape
    assert a.dtype.itemsize == dtype.itemsize
    if not needs_ml_dtypes(inner):
        assert a.dtype == dtype
    if a.size == 0:
        return
    used = [axis for axis, extent in enumerate(shape) if extent > 1]
    assert [a.strides[axis] for axis in used] == [strides[axis] for axis in used]
    assert address(a) == inner.data + inner.byte_offset
    assert a.flags.writeable == (not flags & importing.READ_ONLY)
    start = inner.data + inner.byte_offset - address(MEMORY)
    reach = [(shape[axis] - 1) * strides[axis] for axis in used]
    lowest = start + sum(each for each in reach if each < 0)
    highest = start + sum(each for each in reach if each > 0) + dtype.itemsize
    if lowest >= 0 and highest <= MEMORY.nbytes and a.size < 10_000:
        expected = np.ndarray(shape, dtype, MEMORY, start, strides)
        assert a.tobytes() == expected.tobytes()


def test_drawn_tensors_are_often_valid():
    """Check that the test above reads enough tensors and refuses enough."""
    counts = {"read": 0, "refused": 0}

    @settings(max_examples=100, database=None)
    @given(malformed_tensors())
    def count(tensor):
        counts["refused" if isinstance(expected_of(tensor), str) else "read"] += 1

    count()
    assert min(counts.values()) > 13
