"""The published API imports a tensor into an object of its class."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import assert_each
from support.exchange.dlpack import Tensor
from support.exchange.malformed_tensors import REFUSED, malformed
from support.exchange.tables import from_py_object, to_py_object
from support.memory import address
from support.native import join, start_deleter

from numpack._dlpack.importing import IS_COPIED, READ_ONLY


def test_to_object_shares_and_owns_the_tensor(cls):
    tensor = Tensor(np.arange(6.0).reshape(2, 3))
    exporter = to_py_object(cls, tensor)
    assert type(exporter) is cls
    assert address(exporter.array) == address(tensor.array)
    assert exporter.array.tolist() == [[0, 1, 2], [3, 4, 5]]
    exporter.array[0, 0] = 7
    assert tensor.array[0, 0] == 7
    kept = exporter.array
    del exporter
    assert tensor.deleted == 0
    del kept
    assert tensor.deleted == 1


@pytest.mark.parametrize("flags", [READ_ONLY, READ_ONLY | IS_COPIED], ids=str)
def test_to_object_keeps_the_read_only_flag(cls, flags):
    tensor = Tensor(np.arange(3.0))
    tensor.managed.flags = flags
    exporter = to_py_object(cls, tensor)
    assert not exporter.array.flags.writeable
    assert address(exporter.array) == address(tensor.array)
    del exporter
    assert tensor.deleted == 1


def test_to_object_accepts_a_copied_tensor(cls):
    """The caller made the copy, so it is not warned."""
    tensor = Tensor(np.arange(3.0))
    tensor.managed.flags = IS_COPIED
    assert to_py_object(cls, tensor).array.tolist() == [0, 1, 2]
    assert tensor.deleted == 1


@pytest.mark.parametrize(
    "a",
    [np.arange(12.0).reshape(3, 4).T, np.arange(12.0)[::3], np.arange(8.0).reshape(2, 4)[:, 1]],
    ids=["transposed", "sliced", "column"],
)
def test_to_object_keeps_strides(cls, a):
    """The tensor is shared whatever its strides are."""
    tensor = Tensor(a)
    exporter = to_py_object(cls, tensor)
    assert address(exporter.array) == address(a)
    assert exporter.array.strides == a.strides
    del exporter
    assert tensor.deleted == 1


def test_to_object_and_from_object_share_memory(cls):
    tensor = Tensor(np.arange(3.0))
    managed = from_py_object(cls, to_py_object(cls, tensor))
    assert managed.tensor.data == address(tensor.array)
    assert tensor.deleted == 0
    join(start_deleter(managed))
    assert tensor.deleted == 1


def test_to_object_without_a_deleter(cls):
    tensor = Tensor(np.arange(3.0))
    tensor.managed.deleter = None
    assert to_py_object(cls, tensor).array.tolist() == [0, 1, 2]


def test_to_object_of_a_malformed_tensor_is_refused_and_freed(cls):
    def check(case):
        tensor = malformed(case)
        with pytest.raises(BufferError, match="cannot read"):
            to_py_object(cls, tensor)
        assert tensor.deleted == 1

    assert_each(REFUSED, check)
