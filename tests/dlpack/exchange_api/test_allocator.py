"""The published API allocates tensors from a prototype."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import pytest
from support.exchange.dlpack import DLTensor, Versioned
from support.exchange.tables import OUT, VOID, allocate, describe, table_of, to_py_object
from support.memory import address, resident_bytes
from support.native import delete, join, libc, start_deleter

from numpack._dlpack.importing import PADDED


def prototype(shape, *, code=2, bits=64, lanes=1, device=1, device_id=0, **fields):
    tensor = DLTensor(ndim=len(shape), device_type=device, device_id=device_id, **fields)
    tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = code, bits, lanes
    extents = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    tensor.shape = extents
    tensor.kept = extents
    return tensor


def c_order(shape) -> tuple[int, ...]:
    steps = [1]
    for extent in reversed(shape[1:]):
        steps.append(steps[-1] * extent)
    return tuple(reversed(steps))[: len(shape)]


size_of = libc["malloc_size" if sys.platform == "darwin" else "malloc_usable_size"]


size_of.restype, size_of.argtypes = ctypes.c_size_t, [VOID]


@pytest.mark.parametrize(
    "shape", [(), (1,), (5,), (2, 3, 4), (0,), (3, 0, 2), (1,) * 64, (1000, 1000)], ids=str
)
def test_allocated_tensor_is_aligned_and_in_c_order(cls, shape):
    made = allocate(cls, prototype(shape))
    assert (made.major, made.minor) == (1, 3)
    tensor = made.tensor
    assert tensor.data
    assert tensor.data % 64 == 0
    assert tensor.ndim == len(shape)
    assert tensor.byte_offset == 0
    assert (tensor.device_type, tensor.device_id) == (1, 0)
    assert describe(made) == (shape, c_order(shape), (2, 64, 1), 0)
    size = 8 * int(np.prod(shape))
    ctypes.memset(tensor.data, 255, size)
    join(start_deleter(made))


def test_allocated_tensor_is_imported_by_its_class(cls):
    made = allocate(cls, prototype((2, 3), bits=32))
    exporter = to_py_object(cls, made)
    exporter.array[...] = 1
    assert exporter.array.dtype == np.float32
    assert exporter.array.sum() == 6
    assert address(exporter.array) == made.tensor.data


def test_shape_of_the_prototype_is_copied(cls):
    wanted = prototype((2, 3))
    made = allocate(cls, wanted)
    wanted.shape[0] = 99
    assert describe(made)[0] == (2, 3)
    delete(made)


def test_strides_and_data_of_the_prototype_are_ignored(cls):
    wanted = prototype((2, 3), data=12345, byte_offset=99)
    wanted.strides = (ctypes.c_int64 * 2)(2**62, -(2**62))
    made = allocate(cls, wanted)
    assert describe(made)[1] == (3, 1)
    assert made.tensor.data not in (12345, 12345 + 99)
    assert made.tensor.byte_offset == 0
    delete(made)


@pytest.mark.parametrize(
    ("bits", "lanes", "nbytes"),
    [
        (1, 1, 1000),
        (4, 1, 1000),
        (8, 1, 1000),
        (8, 3, 3000),
        (4, 3, 2000),
        (12, 1, 2000),
        (24, 1, 3000),
        (128, 4, 64000),
        (16, 65535, 131_070_000),
    ],
)
def test_allocated_memory_is_large_enough(cls, bits, lanes, nbytes):
    """Each element takes `bits` × `lanes`, rounded up to whole bytes."""
    made = allocate(cls, prototype((10, 100), code=0, bits=bits, lanes=lanes))
    if not isinstance(made, list):
        assert size_of(made.tensor.data) >= nbytes
        delete(made)
    else:
        assert made[0][0] == b"BufferError"


def test_sub_byte_dtype_is_allocated_padded(cls):
    made = allocate(cls, prototype((3,), code=0, bits=4))
    assert describe(made)[2:] == ((0, 4, 1), PADDED)
    delete(made)


@pytest.mark.parametrize(
    "wanted",
    [
        prototype((3,), device=2),
        prototype((3,), device=10),
        prototype((3,), device=0),
        prototype((-1,)),
        prototype((2, -3)),
        prototype((2**61,)),
        prototype((2**40, 2**40)),
        prototype((1,) * 65),
        DLTensor(ndim=-1, device_type=1),
        DLTensor(ndim=2, device_type=1),
        DLTensor(ndim=2**31 - 1, device_type=1),
    ],
    ids=[
        "CUDA",
        "ROCm",
        "no device",
        "negative",
        "negative later",
        "huge",
        "overflow",
        "65 axes",
        "negative ndim",
        "no shape",
        "huge ndim",
    ],
)
def test_invalid_prototype_is_a_buffer_error(cls, wanted):
    errors = allocate(cls, wanted)
    assert [kind for kind, _ in errors] == [b"BufferError"]
    assert b"numpack" in errors[0][1]


@pytest.mark.parametrize("shape", [(2**58,), (2**20, 2**20, 2**17)], ids=str)
def test_allocation_failure_is_a_memory_error(cls, shape):
    assert [kind for kind, _ in allocate(cls, prototype(shape))] == [b"MemoryError"]


def test_deleter_frees_the_allocated_memory(cls):
    before = resident_bytes()
    for _ in range(800):
        made = allocate(cls, prototype((2**20,), bits=8))
        ctypes.memset(made.tensor.data, 1, 2**20)
        delete(made)
    # Of 800 MiB; some tools keep 256 MiB for a while.
    assert resident_bytes() - before < 400 * 2**20


def test_allocator_works_without_the_gil(cls):
    """It reports errors by `SetError` only, so that any thread may call it."""
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(DLTensor), OUT, VOID, VOID)
    out = VOID()
    wanted = prototype((4,))
    status = call(table_of(cls).allocator)(ctypes.byref(wanted), ctypes.byref(out), None, None)
    assert status == 0
    made = Versioned.from_address(out.value)
    assert made.tensor.data % 64 == 0
    delete(made)
