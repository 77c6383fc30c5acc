"""The array interface: producers, targets, and images of Pillow."""

from __future__ import annotations

import ctypes
import gc
import itertools
import weakref

import numpy as np
import pytest
from adapters.conformance import REFUSE, SHARE, FromNumpy, ToNumpy
from PIL import Image
from support.arrays import LOWPREC, NATIVE, TIMES, cells, elements, make
from support.each import assert_each, for_each
from support.oracles.array_interface import Named

from numpack import CopyWarning, UnsupportedError, WrongTypeError, ZeroCopyError, explain, share
from numpack.adapters import array_interface
from numpack.errors import InvalidValueError


class WithInterface:
    """An object with the given array interface."""

    def __init__(self, interface, **kept):
        self.__array_interface__ = interface
        self.__dict__.update(kept)


class Struct:
    """An object with ``__array_struct__`` only."""

    def __init__(self, array):
        self.array = array

    @property
    def __array_struct__(self):
        return self.array.__array_struct__


def interface(array: np.ndarray, **changed) -> dict:
    return {
        "version": 3,
        "shape": array.shape,
        "typestr": array.dtype.str,
        "data": (array.ctypes.data, not array.flags.writeable),
        "strides": array.strides,
    } | changed


# NumPy arrays and producers


def test_owner_is_freed_with_the_array():
    for kind in (Named, Struct):
        owner = kind(np.arange(1000.0))
        gone = weakref.ref(owner)
        part = share(owner, "numpy")[1:3]
        del owner
        gc.collect()
        assert part.tolist() == [1, 2]
        del part
        assert gone() is None


def test_interface_is_read_at_most_twice():
    """The second read checks that the interface still describes the same memory."""

    class Counting(Named):
        reads = 0

        @property
        def __array_interface__(self):
            self.reads += 1
            return super().__array_interface__

    counting = Counting(np.zeros(3))
    share(counting, "torch")
    assert counting.reads == 2


def buffered(data, **changed) -> WithInterface:
    return WithInterface(
        {"version": 3, "shape": (4,), "typestr": "<i2", "data": data} | changed
    )


# Data in a buffer


def test_bytes_are_shared_read_only():
    data = np.arange(4, dtype="<i2").tobytes()
    a = share(buffered(data), "numpy", copy=False)
    assert a.tolist() == [0, 1, 2, 3]
    assert not a.flags.writeable
    assert a.ctypes.data == np.frombuffer(data, "u1").ctypes.data


def test_bytearray_cannot_be_resized_while_it_is_shared():
    """With NumPy it can be resized, and the array then reads freed memory."""
    data = bytearray(8)
    a = share(buffered(data), "numpy", copy=False)
    a[0] = 7
    assert data[0] == 7
    with pytest.raises(BufferError):
        data.extend(bytes(1000))
    del a
    data.extend(bytes(1000))


def test_offset_is_applied_to_the_data():
    data = np.arange(6, dtype="<i2").tobytes()
    assert share(buffered(data, offset=4), "numpy").tolist() == [2, 3, 4, 5]


def test_missing_data_means_the_buffer_of_the_object():
    class Own(ctypes.c_int16 * 4):
        __array_interface__ = property(lambda self: {"shape": (2, 2), "typestr": "<i2"})

    source = Own(*range(4))
    a = array_interface.to_numpy(source).result()  # `share` would use the buffer
    assert a.tolist() == [[0, 1], [2, 3]]
    a[0, 0] = 7
    assert source[0] == 7


OUTSIDE = {
    "too short": (b"1234", {}),
    "empty": (b"", {}),
    "offset beyond": (bytes(8), {"offset": 2}),
    "offset before": (bytes(8), {"offset": -2}),
    "strides beyond": (bytes(8), {"strides": (4,)}),
    "strides before": (bytes(8), {"strides": (-2,)}),
}


@for_each("kind", OUTSIDE)
def test_interface_that_exceeds_its_buffer_is_refused(kind):
    """NumPy does not check this."""
    data, changed = OUTSIDE[kind]
    with pytest.raises(InvalidValueError, match="shape and strides exceed"):
        share(buffered(data, **changed), "numpy")


def test_strides_inside_a_buffer_are_kept():
    data = np.arange(8, dtype="<i2").tobytes()
    assert share(buffered(data, strides=(4,)), "numpy").tolist() == [0, 2, 4, 6]
    assert share(buffered(data, strides=(-2,), offset=6), "numpy").tolist() == [3, 2, 1, 0]
    assert share(buffered(b"", shape=(0,)), "numpy").shape == (0,)


VALUES = np.arange(4.0)
WRONG = {
    "a list": 5,
    "nothing": {},
    "no typestr": {"version": 3, "shape": (4,), "data": (VALUES.ctypes.data, False)},
    "no data": {"version": 3, "shape": (4,), "typestr": "<f8"},
    "shape": interface(VALUES, shape=[4]),
    "negative shape": interface(VALUES, shape=(-1,)),
    "huge shape": interface(VALUES, shape=(2**62, 4), strides=None),
    "typestr": interface(VALUES, typestr="nonsense"),
    "number for typestr": interface(VALUES, typestr=3),
    "bit field": interface(VALUES, typestr="|t4"),
    "number for data": interface(VALUES, data=3),
    "one for data": interface(VALUES, data=(VALUES.ctypes.data,)),
    "text for data": interface(VALUES, data=("0x1", False)),
    "number of strides": interface(VALUES, strides=(8, 8)),
    "strides": interface(VALUES, strides="a"),
    "offset": interface(VALUES, data=bytes(32), offset="a"),
    "short descr": interface(VALUES, typestr="|V8", descr=[("a", "<f4")]),
}


# Invalid interfaces


@for_each("kind", WRONG)
def test_invalid_interfaces_are_refused(kind):
    with pytest.raises(InvalidValueError, match="is not valid"):
        share(WithInterface(WRONG[kind]), "numpy")


def test_invalid_structs_are_refused():
    class Wrong:
        __array_struct__ = 3

    with pytest.raises(InvalidValueError, match="is not valid"):
        share(Wrong(), "numpy")


def test_mask_is_not_lost():
    with pytest.raises(UnsupportedError, match="it has a mask"):
        share(WithInterface(interface(VALUES, mask=VALUES > 2)), "numpy")


@pytest.mark.parametrize("kind", [Named, Struct])
def test_borrowed_references_are_refused(kind):
    with pytest.raises(UnsupportedError, match="references"):
        share(kind(np.array([1, "a"], object)), "numpy")
    with pytest.raises(UnsupportedError, match="references"):
        share(buffered(bytes(32), typestr="|O"), "numpy")


def test_booleans_other_than_0_and_1_are_copied():
    data = WithInterface(
        {"version": 3, "shape": (3,), "typestr": "|b1", "data": b"\x00\xff\x01"}
    )
    assert explain(data, "arrow").reason.startswith("some of its booleans")
    with pytest.warns(CopyWarning, match="other than 0 and 1"):
        assert share(data, "numpy").view("u1").tolist() == [0, 1, 1]


def test_numpy_scalars_are_refused():
    """The memory in their interface is freed immediately."""
    for scalar in (np.float64(3), np.str_("a"), np.zeros(1, "i4,f8")[0]):
        with pytest.raises(WrongTypeError, match=r"np\.asarray"):
            share(scalar, "torch")


MODES = {
    "1": ("?", ()),
    "L": ("u1", ()),
    "P": ("u1", ()),
    "LA": ("u1", (2,)),
    "RGB": ("u1", (3,)),
    "RGBA": ("u1", (4,)),
    "CMYK": ("u1", (4,)),
    "I": ("i4", ()),
    "F": ("f4", ()),
    "I;16": ("<u2", ()),
    "I;16B": (">u2", ()),
}


# Pillow


@for_each("mode", MODES)
def test_image_is_copied(mode):
    image = Image.new(mode, (3, 2), 1)
    dtype, bands = MODES[mode]
    route = explain(image, "numpy")
    assert not route.shares_memory
    with pytest.warns(CopyWarning, match="a copy of the pixels"):
        a = share(image, "numpy")
    assert (a.dtype, a.shape) == (np.dtype(dtype), (2, 3, *bands))
    assert route.nbytes == a.nbytes
    assert np.array_equal(a, np.asarray(image))
    assert mode != "1" or a.view("u1").tolist() == [[1] * 3] * 2
    with pytest.raises(ZeroCopyError, match="image of mode"):
        share(image, "numpy", copy=False)
    own = share(image, "torch", copy=True) if mode[:3] != "I;1" else None
    assert own is None or np.array_equal(own.numpy(), a)


def test_explain_reads_no_pixels(tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGB", (30, 20)).save(path)
    with Image.open(path) as image:
        assert explain(image, "numpy").nbytes == 1800
        assert image.fp is not None  # the pixels have not been read
        assert share(image, "numpy", copy=True).shape == (20, 30, 3)


def test_fix_for_an_image_works():
    pixels = np.zeros((2, 3, 3), "u1")
    image = Image.fromarray(pixels)
    assert image.size == (3, 2)
    assert share(pixels, "torch", copy=False).shape == (2, 3, 3)


def test_image_of_one_pixel_does_not_change_cached_bytes():
    """Python caches bytes objects of length one."""
    own = share(Image.new("L", (1, 1), 5), "numpy", copy=True)
    own[0, 0] = 9
    assert bytes([5]) == b"\x05"


WITHOUT_NAME = {*LOWPREC, "string"}


class TestFromNumpy(FromNumpy):
    target = "array_interface"
    back_is_read_only = False

    def expected(self, name, layout, array):
        return REFUSE if name in WITHOUT_NAME or layout == "masked" else SHARE

    def check_result(self, result, array):
        assert type(result) is np.ndarray

    def check_own(self, own, array):
        assert own.flags.writeable


class TestToNumpy(ToNumpy):
    source = "array_interface"
    names = (*NATIVE, *TIMES, "longdouble", "S5", "U5", "V3")
    writable = True


KINDS = {
    "object": Named,
    "struct": Struct,
    "dict": lambda array: WithInterface(interface(array), owner=array),
}


@pytest.mark.parametrize("name", [*NATIVE, *TIMES, "longdouble", "S5", "U5", "V3", "struct"])
def test_producers_by_dtype_and_layout(name, tmp_path):
    def check(kind, layout, readonly):
        a = make(name, layout, tmp_path, readonly=readonly == "read-only")
        obj = KINDS[kind](a)
        if name in (*TIMES, "U5", "V3", "struct") and kind == "struct":  # NumPy misreads these
            assert not explain(obj, "numpy").supported
            return
        assert explain(obj, "numpy").shares_memory
        result = share(obj, "numpy", copy=False)
        assert result.size == 0 or result.ctypes.data == a.ctypes.data
        assert result.strides == a.strides or 0 in a.shape or 1 in a.shape
        assert result.dtype == a.dtype
        assert result.flags.writeable is a.flags.writeable
        assert elements(result) == elements(a)

    kinds = [kind for kind in KINDS if (name, kind) != ("struct", "dict")]
    layouts = [layout for _, layout in cells([name]) if layout != "masked"]
    assert_each(itertools.product(kinds, layouts, ("writable", "read-only")), check)
