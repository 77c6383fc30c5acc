"""Shapes, strides, offsets, devices and flags of imported tensors."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each
from support.exchange.dlpack import Tensor
from support.exchange.importers import IMPORTERS
from support.exchange.malformed_tensors import I64, falsify, matrix
from support.memory import address

from numpack._dlpack import importing
from numpack.io import from_dlpack


@for_each("device", [1, 3, 11, 13])
@for_each("device_id", [0, 5, -1])
@for_each("importer", IMPORTERS)
def test_host_memory_is_read(importer, device, device_id):
    tensor = matrix()
    falsify(tensor, device_type=device, device_id=device_id)
    assert IMPORTERS[importer](tensor.capsule()).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_ndim_less_than_the_number_of_extents():
    tensor = matrix()
    falsify(tensor, ndim=1)
    assert from_dlpack(tensor.capsule()).tolist() == [0, 3]


@for_each("versioned", [False, True])
@for_each("importer", ["from_dlpack", "copy=False", "wrapper", "share", "consume"])
def test_null_strides_mean_c_order(importer, versioned):
    tensor = matrix(versioned=versioned)
    falsify(tensor, strides=None)
    a = IMPORTERS[importer](tensor.capsule())
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert a.strides == (24, 8)
    assert address(a) == address(tensor.array)
    del a
    assert tensor.deleted == 1


def test_0d_tensor_needs_neither_shape_nor_strides():
    tensor = Tensor(np.array(5.0))
    falsify(tensor, shape=None, strides=None)
    assert from_dlpack(tensor.capsule()).tolist() == 5
    assert tensor.deleted == 1


@for_each("extents", [(0, 3), (2, 0), (0, 0), (0, 2**40), (2**40, 0)], ids=str)
@for_each("data", ["none", "some"])
@for_each("strides", [None, (0, 0), (2**62, -(2**63)), (I64, I64)], ids=str)
def test_data_and_strides_of_an_empty_tensor_are_ignored(extents, data, strides):
    for importer in ("from_dlpack", "copy=False", "copy=True", "share", "consume", "wrapper"):
        tensor = matrix()
        falsify(tensor, extents=extents)
        if data == "none":
            falsify(tensor, data=None, byte_offset=4096)
        falsify(tensor, **({"strides": None} if strides is None else {"steps": strides}))
        a = IMPORTERS[importer](tensor.capsule())
        assert a.shape == extents
        assert a.dtype == float
        assert tensor.deleted == 1  # the tensor is not needed any more


def test_sixty_four_dimensions():
    tensor = Tensor(np.arange(2.0).reshape((1,) * 63 + (2,)))
    a = from_dlpack(tensor.capsule())
    assert a.shape == (1,) * 63 + (2,)
    assert a.ravel().tolist() == [0, 1]


@for_each("stride", [0, 2**62, I64, -(2**63), -1])
@for_each("importer", ["from_dlpack", "copy=False", "share", "consume", "view"])
def test_stride_of_a_length_1_axis_is_ignored(importer, stride):
    tensor = Tensor(np.arange(6.0).reshape(1, 2, 1, 3, 1))
    falsify(tensor, steps=(stride, 3, stride, 1, stride))
    assert IMPORTERS[importer](tensor.capsule()).ravel().tolist() == [0, 1, 2, 3, 4, 5]


@for_each(
    ("steps", "offset", "values"),
    [
        ((3, 1), 0, [[0, 1, 2], [3, 4, 5]]),
        ((1, 2), 0, [[0, 2, 4], [1, 3, 5]]),
        ((0, 1), 8, [[1, 2, 3], [1, 2, 3]]),
        ((0, 0), 40, [[5, 5, 5], [5, 5, 5]]),
        ((-3, -1), 40, [[5, 4, 3], [2, 1, 0]]),
        ((-3, 1), 24, [[3, 4, 5], [0, 1, 2]]),
        ((1, 1), 16, [[2, 3, 4], [3, 4, 5]]),
    ],
    ids=str,
)
@for_each("importer", ["from_dlpack", "copy=False", "copy=True", "share", "consume"])
def test_strides_and_offset_are_applied(importer, steps, offset, values):
    tensor = matrix()
    falsify(tensor, steps=steps, byte_offset=offset)
    a = IMPORTERS[importer](tensor.capsule())
    assert a.tolist() == values
    if importer != "copy=True":
        assert a.strides == (8 * steps[0], 8 * steps[1])
        assert address(a) == address(tensor.array) + offset
    del a
    assert tensor.deleted == 1


@for_each("shift", [1, 2, 4, 7])
@for_each("by_offset", [False, True])
@for_each("importer", ["from_dlpack", "copy=False", "copy=True", "share", "consume"])
def test_misaligned_data(importer, by_offset, shift):
    memory = np.zeros(8 * 7, "u1")
    memory[shift : shift + 48] = np.arange(6.0).view("u1")
    tensor = matrix()
    if by_offset:
        falsify(tensor, data=address(memory), byte_offset=shift)
    else:
        falsify(tensor, data=address(memory) + shift)
    a = IMPORTERS[importer](tensor.capsule())
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert a.flags.aligned == (importer == "copy=True")
    assert (a + 1).sum() == 21


@for_each("flags", [importing.READ_ONLY, 1 | 2**63, 1 | 4, 1 | 8])
@for_each("importer", ["from_dlpack", "copy=False", "share", "consume", "wrapper"])
def test_read_only_flag_with_unknown_flags(importer, flags):
    tensor = matrix()
    falsify(tensor, flags=flags)
    a = IMPORTERS[importer](tensor.capsule())
    assert not a.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        a.flags.writeable = True
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]


@for_each("flags", [0, 4, 8, 2**32, 2**63])
def test_unknown_flags_are_ignored(flags):
    tensor = matrix()
    falsify(tensor, flags=flags)
    a = from_dlpack(tensor.capsule(), copy=False)
    assert a.flags.writeable
    assert a.dtype == float


def test_null_deleter_is_accepted():
    for versioned in (False, True):
        for importer in IMPORTERS.values():
            tensor = matrix(versioned=versioned)
            tensor.managed.deleter = None
            assert importer(tensor.capsule()).tolist() == [[0, 1, 2], [3, 4, 5]]
            assert tensor.deleted == 0
