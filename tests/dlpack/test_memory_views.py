"""Arrays over plain buffers and array interfaces; None for all others, never a crash."""

from __future__ import annotations

import array
import ctypes
import gc

import numpy as np
import pytest
from support.each import for_each

from numpack._dlpack.memory_views import view_buffer, view_interface

VALUES = np.arange(12, dtype="f4").reshape(3, 4)


class Interface:
    def __init__(self, interface):
        self.__array_interface__ = interface


def interface(values=VALUES, **members):
    return Interface({**values.__array_interface__, **members})


# Buffers


@for_each("code", "bBhHiIlLqQefd")
def test_numbers_are_viewed(code):
    values = np.arange(6).astype(code).reshape(2, 3)
    found = view_buffer(memoryview(values))
    assert found.dtype == values.dtype
    assert found.tolist() == values.tolist()
    assert np.shares_memory(found, values)
    assert found.flags.writeable


def test_strides_and_flags_are_kept():
    values = VALUES[::-1, ::2]
    found = view_buffer(memoryview(values).toreadonly())
    assert found.strides == values.strides
    assert found.tolist() == values.tolist()
    assert not found.flags.writeable


def test_view_keeps_the_export_open():
    data = bytearray(b"12345678")
    found = view_buffer(data)
    with pytest.raises(BufferError):
        data.append(1)
    del found
    gc.collect()
    data.append(1)


OTHER_BUFFERS = {
    "bool": np.ones(3, "?"),
    "complex": np.ones(3, "c8"),
    "swapped": np.ones(3, ">f4"),
    "struct": np.ones(3, "i4,f4"),
    "strings": np.array(["a", "b"]),
    "objects": np.array([None, 1]),
    "0-d": np.array(1.0),
    "empty": np.ones(0),
    "no bytes": b"",
    "pointers": (ctypes.c_char_p * 2)(b"a", b"b"),
    "metadata": np.ones(3, np.dtype("f4", metadata={"a": 1})),
}


@for_each("name", OTHER_BUFFERS)
def test_other_buffers_are_left_to_the_adapter(name):
    assert view_buffer(OTHER_BUFFERS[name]) is None


@for_each("obj", [1, "text", None, object()])
def test_objects_without_a_buffer_raise(obj):
    with pytest.raises(TypeError):
        view_buffer(obj)


def test_array_of_the_standard_library():
    data = array.array("d", [1.0, 2.0])
    found = view_buffer(data)
    found[0] = 7
    assert data[0] == 7


# Array interfaces


def test_interface_is_viewed():
    holder = interface()
    found = view_interface(holder)
    assert found.tolist() == VALUES.tolist()
    assert found.ctypes.data == VALUES.ctypes.data
    assert found.flags.writeable
    assert not view_interface(interface(data=(VALUES.ctypes.data, True))).flags.writeable


def test_interface_with_strides():
    values = VALUES[::-1, ::3]
    assert view_interface(interface(values)).tolist() == values.tolist()


OTHER_INTERFACES = {
    "no dict": Interface([1]),
    "no members": Interface({}),
    "version": interface(version=2),
    "typestr": interface(typestr="<M8[s]"),
    "typestr of another type": interface(typestr=4),
    "big-endian": interface(typestr=">f4"),
    "descr": interface(descr=[("a", "<i2"), ("b", "<i2")]),
    "mask": interface(mask=np.ones(3)),
    "offset": interface(offset=4),
    "no data": interface(data=None),
    "buffer": interface(data=b"12345678" * 8),
    "NULL": interface(data=(0, False)),
    "short data": interface(data=(VALUES.ctypes.data,)),
    "flag": interface(data=(VALUES.ctypes.data, 1)),
    "no shape": interface(shape=None),
    "0-d": interface(shape=()),
    "empty": interface(shape=(0, 3)),
    "negative": interface(shape=(-1, 3)),
    "huge": interface(shape=(2**40, 2**40)),
    "far": interface(shape=(2, 2), strides=(2**62, 4)),
    "65 dimensions": interface(shape=(1,) * 65),
    "strides": interface(strides=(4,)),
    "strides of another type": interface(strides=[16, 4]),
}


@for_each("name", OTHER_INTERFACES)
def test_other_interfaces_are_left_to_the_adapter(name):
    assert view_interface(OTHER_INTERFACES[name]) is None


MALFORMED_INTERFACES = {
    "shape of strings": (interface(shape=("a",)), TypeError),
    "large extent": (interface(shape=(2**70,)), OverflowError),
    "negative address": (interface(data=(-1, False)), OverflowError),
    "address of another type": (interface(data=("a", False)), TypeError),
    "absent": (object(), AttributeError),
}


@for_each("name", MALFORMED_INTERFACES)
def test_malformed_interfaces_raise(name):
    holder, error = MALFORMED_INTERFACES[name]
    with pytest.raises(error):
        view_interface(holder)


def test_computed_interface_is_left_to_the_adapter():
    class Computed:
        @property
        def __array_interface__(self):
            self.values = [np.arange(3.0), getattr(self, "values", None)]
            return self.values[0].__array_interface__

    assert view_interface(Computed()) is None
