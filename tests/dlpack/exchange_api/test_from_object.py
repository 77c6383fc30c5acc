"""The published API exports an object: memory, strides, flags and refusals."""

from __future__ import annotations

import ctypes
import gc
import sys

import numpy as np
import pytest
from support.arrays import NATIVE, values
from support.exchange.dlpack import LEGACY
from support.exchange.tables import (
    ATTRIBUTE,
    FROM_PY,
    NAME,
    STREAM,
    VOID,
    describe,
    from_py_object,
    table_of,
)
from support.memory import address
from support.native import delete, join, name_of, start_deleter

from numpack import CopyWarning, NumpackError, UnsupportedError, ZeroCopyArray
from numpack._dlpack.importing import READ_ONLY
from numpack.io import DLPackBuffer


def test_api_is_published_on_the_type(cls):
    assert name_of(getattr(cls, ATTRIBUTE)) == NAME
    assert ATTRIBUTE in cls.__dict__
    table = table_of(cls)
    assert table.major == 1
    assert table.minor >= 3
    assert not table.prev_api
    assert not table.borrow  # no unowned tensor, which could dangle
    assert table.allocator
    assert table.from_py_object
    assert table.to_py_object


def test_each_class_publishes_its_own_api():
    assert table_of(DLPackBuffer).to_py_object != table_of(ZeroCopyArray).to_py_object


def test_current_work_stream_is_null(cls):
    out = VOID(1)
    call = STREAM(table_of(cls).current_work_stream)
    assert call(1, 0, ctypes.byref(out)) == 0
    assert not out


CODES = {"b": 6, "i": 0, "u": 1, "f": 2, "c": 5}


@pytest.mark.parametrize("name", NATIVE)
def test_from_object_shares_memory(cls, name):
    a = values(name)
    before = sys.getrefcount(a)
    managed = from_py_object(cls, cls(a))
    assert (managed.major, managed.minor) == (1, 3)
    assert managed.tensor.data == address(a)
    assert managed.tensor.byte_offset == 0
    assert (managed.tensor.device_type, managed.tensor.device_id) == (1, 0)
    dtype = (CODES[a.dtype.kind], 8 * a.itemsize, 1)
    assert describe(managed) == (a.shape, (6, 1), dtype, 0)
    assert sys.getrefcount(a) == before + 1
    join(start_deleter(managed))
    assert sys.getrefcount(a) == before


@pytest.mark.parametrize(
    "a",
    [
        np.zeros((4, 6)).T,
        np.zeros((4, 6))[::2, 1::3],
        np.lib.stride_tricks.as_strided(np.zeros(6), (4, 6), (0, 8)),
        np.zeros((1, 6))[::-1],
        np.zeros((0, 4)),
        np.zeros((3, 0, 2)).T,
        np.array(1.0),
    ],
    ids=["transposed", "sliced", "broadcast", "length 1", "empty", "empty middle", "0-d"],
)
def test_from_object_keeps_strides(cls, a):
    managed = from_py_object(cls, cls(a, order="K"))
    shape, strides, _, flags = describe(managed)
    assert shape == a.shape
    assert all(stride >= 0 for stride in strides)
    assert bool(managed.tensor.strides) or not a.ndim
    assert flags == 0
    if a.size:
        used = [axis for axis, extent in enumerate(shape) if extent > 1]
        assert [8 * strides[axis] for axis in used] == [a.strides[axis] for axis in used]
        assert managed.tensor.data == address(a)
    delete(managed)


def test_from_object_sets_the_read_only_flag(cls):
    a = np.arange(3.0)
    a.flags.writeable = False
    before = sys.getrefcount(a)
    managed = from_py_object(cls, cls(a))
    assert managed.flags == READ_ONLY
    assert managed.tensor.data == address(a)
    delete(managed)
    gc.collect()
    assert sys.getrefcount(a) == before


def test_from_object_over_a_mapped_file_is_copy_on_write(cls, tmp_path):
    np.arange(5.0).tofile(tmp_path / "x")
    a = np.memmap(tmp_path / "x", "f8", "r")
    managed = from_py_object(cls, cls(a))
    data = (ctypes.c_double * 5).from_address(managed.tensor.data)
    assert list(data) == [0, 1, 2, 3, 4]
    data[0] = 7  # as a consumer that ignores the flags may
    assert a[0] == 0
    assert np.fromfile(tmp_path / "x")[0] == 0
    delete(managed)


def test_from_object_copies_negative_strides(cls):
    a = np.arange(4.0)[::-1]
    with pytest.warns(CopyWarning):
        managed = from_py_object(cls, cls(a, order="K"))
    assert describe(managed)[1] == (1,)
    assert list((ctypes.c_double * 4).from_address(managed.tensor.data)) == [3, 2, 1, 0]
    delete(managed)


@pytest.mark.parametrize("wrong", [None, 3, "x", np.zeros(3), object(), DLPackBuffer])
def test_from_object_of_another_type_is_refused(cls, wrong):
    out = VOID()
    with pytest.raises(TypeError):
        FROM_PY(table_of(cls).from_py_object)(wrong, ctypes.byref(out))
    assert not out


@pytest.mark.parametrize(
    "a",
    [
        np.ma.array([1.0, 2.0], mask=[False, True]),
        np.zeros(2, "M8[s]"),
        np.array(["a", "b"]),
        np.array([1, None], object),
        np.zeros(2, "i4,f8"),
        np.zeros(2, "g"),
    ],
    ids=["masked", "datetime", "string", "object", "struct", "longdouble"],
)
def test_from_object_of_an_unsupported_dtype_is_refused(a):
    held = ZeroCopyArray(a)
    before = sys.getrefcount(a)
    for _ in range(3):
        with pytest.raises(UnsupportedError, match="to DLPack failed"):
            from_py_object(ZeroCopyArray, held)
    gc.collect()
    assert sys.getrefcount(a) == before


def test_from_object_of_an_uninitialized_object_is_refused(cls):
    with pytest.raises(Exception, match="NoneType"):
        from_py_object(cls, cls.__new__(cls))


def test_from_object_of_a_subclass_that_exports_legacy_capsules():
    """A legacy tensor must not be mistaken for a versioned one."""

    class Legacy(ZeroCopyArray):
        def __dlpack__(self, **keywords):
            return DLPackBuffer(np.arange(4.0)).__dlpack__()

    frozen = np.zeros(4)
    frozen.flags.writeable = False
    exporter = Legacy(frozen)
    assert name_of(exporter.__dlpack__()) == LEGACY
    try:
        managed = from_py_object(Legacy, exporter)
    except NumpackError:
        return
    assert managed.major == 1
    assert managed.tensor.ndim == 1
    delete(managed)


def test_from_object_of_a_subclass_that_exports_another_array():
    class Doubled(ZeroCopyArray):
        def __dlpack__(self, **keywords):
            return ZeroCopyArray(2 * self.array).__dlpack__(**keywords)

    exporter = Doubled(np.arange(3.0))
    assert np.from_dlpack(exporter).tolist() == [0, 2, 4]
    managed = from_py_object(Doubled, exporter)
    assert list((ctypes.c_double * 3).from_address(managed.tensor.data)) == [0, 2, 4]
    delete(managed)
