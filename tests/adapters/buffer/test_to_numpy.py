"""Objects with a buffer to NumPy."""

from __future__ import annotations

import array as arrays
import ctypes
import pickle
import sys

import ml_dtypes
import numpy as np
import pytest
import torch
from adapters.conformance import ToNumpy
from support.arrays import NATIVE, elements, values
from support.each import for_each
from support.oracles import buffer as oracle
from support.oracles.buffer import address

import numpack
from numpack import (
    CopyWarning,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)
from numpack.errors import InvalidValueError


class Base(ctypes.Structure):
    _fields_ = (("k", ctypes.c_byte),)


class Derived(Base):
    """NumPy omits the fields of the base and misplaces the others."""

    _fields_ = (
        ("a", ctypes.c_int),
        ("b", ctypes.c_double * 2),
        ("c", ctypes.c_char * 3),
        ("w", ctypes.c_wchar * 2),
    )


class Packed(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("a", ctypes.c_int8), ("b", ctypes.c_double))


class Big(ctypes.BigEndianStructure):
    _fields_ = (("a", ctypes.c_int16), ("b", ctypes.c_double))


class Either(ctypes.Union):
    _fields_ = (("i", ctypes.c_int32), ("d", ctypes.c_double))


class Nested(ctypes.Structure):
    """NumPy computes an item size that is too small."""

    _fields_ = (("u", Either), ("x", ctypes.c_int))


class Bits(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int, 3), ("b", ctypes.c_int, 5))


class Pointing(ctypes.Structure):
    _fields_ = (("p", ctypes.c_void_p),)


CHARACTERS = "w" if "w" in arrays.typecodes else "u"  # since Python 3.13
SOURCES = {
    "bytes": (lambda: b"\x01\x02", "u1", (2,), [1, 2]),
    "no bytes": (lambda: b"", "u1", (0,), []),
    "bytearray": (lambda: bytearray(b"\x01\x02"), "u1", (2,), [1, 2]),
    "array of doubles": (lambda: arrays.array("d", [1, 2]), "f8", (2,), [1, 2]),
    "array of longs": (lambda: arrays.array("L", [1]), "L", (1,), [1]),
    "array of nothing": (lambda: arrays.array("q"), "i8", (0,), []),
    "array of characters": (lambda: arrays.array(CHARACTERS, "aé"), "U1", (2,), ["a", "é"]),
    "scalar": (lambda: ctypes.c_double(3), "f8", (), 3.0),
    "big-endian scalar": (lambda: ctypes.c_int32.__ctype_be__(3), ">i4", (), 3),
    "bool": (lambda: ctypes.c_bool(True), "?", (), True),
    "long double": (lambda: ctypes.c_longdouble(3), "g", (), np.longdouble(3)),
    "array of arrays": (
        lambda: ((ctypes.c_int * 3) * 2)((1, 2, 3)),
        "i4",
        (2, 3),
        [[1, 2, 3], [0, 0, 0]],
    ),
    "array of no arrays": (lambda: ((ctypes.c_int * 0) * 3)(), "i4", (3, 0), [[], [], []]),
    "bytes one by one": (lambda: (ctypes.c_char * 2)(b"a", b"b"), "S1", (2,), [b"a", b"b"]),
    "wide characters": (lambda: (ctypes.c_wchar * 2)("a", "é"), "U1", (2,), ["a", "é"]),
    "chars by cast": (lambda: memoryview(b"ab").cast("c"), "S1", (2,), [b"a", b"b"]),
    "cast": (lambda: memoryview(bytes(8)).cast("f", (1, 2)), "f4", (1, 2), [[0, 0]]),
    "reversed": (lambda: memoryview(b"abc")[::-1], "u1", (3,), [99, 98, 97]),
    "void": (lambda: memoryview(np.array([b"ab"], "V2")), "V2", (1,), [b"ab"]),
    "strided void": (lambda: memoryview(np.zeros((4, 2), "V2"))[::-2], "V2", (2, 2), None),
    "complex": (lambda: memoryview(np.array([1j])), "c16", (1,), [1j]),
    "half": (lambda: memoryview(np.array([1], "e")), "f2", (1,), [1]),
    "objects of NumPy": (lambda: memoryview(np.array([1, "a"], object)), "O", (2,), [1, "a"]),
    "pickle buffer": (lambda: pickle.PickleBuffer(b"\x07"), "u1", (1,), [7]),
}


@for_each("kind", SOURCES)
def test_buffers_are_shared(kind):
    made, dtype, shape, values = SOURCES[kind]
    source = made()
    assert explain(source, "numpy").shares_memory
    a = share(source, "numpy", copy=False)
    assert a.dtype == np.dtype(dtype)
    assert a.shape == shape
    assert values is None or a.tolist() == values
    assert a.size == 0 or a.ctypes.data == address(source)
    assert a.flags.writeable is not memoryview(source).readonly
    own = share(source, "numpy", copy=True)
    assert own.flags.writeable
    assert elements(own) == elements(a)
    assert a.size == 0 or not np.shares_memory(own, a)


@for_each("kind", [Base, Derived, Packed, Big, Either, Nested])
def test_ctypes_structure_becomes_the_dtype_of_its_layout(kind):
    source = (kind * 3)()
    a = share(source, "numpy", copy=False)
    assert a.dtype.itemsize == ctypes.sizeof(kind)
    for name in a.dtype.names:
        assert a.dtype.fields[name][1] == getattr(kind, name).offset
    a.view(f"V{a.itemsize}")[1] = b"\xff" * a.itemsize
    assert bytes(source)[a.itemsize : 2 * a.itemsize] == b"\xff" * a.itemsize
    assert share(kind(), "numpy").shape == ()


def test_fields_of_a_structure_keep_their_offsets():
    source = (Derived * 2)()
    source[1].k, source[1].a, source[1].b[1], source[1].c = 1, 2, 3, b"ab"
    a = share(source, "numpy")
    assert a[1]["k"] == 1
    assert a[1]["a"] == 2
    assert a[1]["b"].tolist() == [0, 3]
    assert a[1]["c"].tolist() == [b"a", b"b", b""]
    a["a"][0] = 9
    assert source[0].a == 9


@pytest.mark.parametrize(
    "dtype",
    [
        [("a", "f8"), ("b", ">i2"), ("c", "S3")],
        {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 8], "itemsize": 16},
        {"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 12},
    ],
)
def test_structured_dtype_keeps_its_padding(dtype):
    a = np.zeros(3, np.dtype(dtype))
    a["a"] = [1, 2, 3]
    back = share(memoryview(a), "numpy", copy=False)
    assert back.dtype == a.dtype
    assert back["a"].tolist() == [1, 2, 3]
    assert np.shares_memory(back, a)


REFUSED = {
    "pointer": lambda: ctypes.pointer(ctypes.c_int(3)),
    "void pointer": lambda: ctypes.c_void_p(3),
    "char pointer": lambda: ctypes.c_char_p(b"ab"),
    "function": lambda: ctypes.CFUNCTYPE(None)(list),
    "object": lambda: ctypes.py_object([]),
    "objects": lambda: (ctypes.py_object * 2)(),
    "pointers": lambda: (ctypes.POINTER(ctypes.c_int) * 2)(),
    "pointers by cast": lambda: memoryview(bytes(8)).cast("P"),
    "pointer in a structure": lambda: Pointing(),
    "bit-fields": lambda: Bits(),
    "structures with a step": lambda: memoryview((Derived * 3)())[::2],
}


@for_each("kind", REFUSED)
def test_pointers_and_bit_fields_are_refused(kind):
    source = REFUSED[kind]()
    assert not explain(source, "numpy").supported
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match="from buffer failed"):
            share(source, "numpy", copy=copy)


def test_fix_for_bit_fields_works():
    bits = Bits(a=1, b=2)
    assert share(bits, "numpy", format="u1").tobytes() == bytes(bits)


def test_booleans_other_than_0_and_1_are_copied():
    source = (ctypes.c_bool * 3).from_buffer_copy(b"\x02\x00\x01")
    assert explain(source, "torch").nbytes == 3
    with pytest.warns(CopyWarning, match="bytes other than 0 and 1"):
        a = share(source, "numpy")
    assert a.view("u1").tolist() == [1, 0, 1]
    assert share(source, "numpy", copy=True).view("u1").tolist() == [1, 0, 1]
    with pytest.raises(ZeroCopyError):
        share(source, "numpy", copy=False)


def test_bytes_are_read_as_another_dtype():
    raw = np.arange(6, dtype="f4").tobytes()
    a = share(raw, "numpy", format="f", shape=(2, 3), copy=False)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert a.ctypes.data == address(raw)
    assert share(raw, "numpy", format=np.float32, shape=-1).shape == (6,)
    assert share(raw, "numpy", shape=(4, -1)).shape == (4, 6)
    assert share(raw, "numpy", format="bfloat16").dtype == ml_dtypes.bfloat16
    assert share(bytearray(raw), "torch", format="f4", shape=(3, 2)).shape == (3, 2)
    assert share(b"", "numpy", format="f4", shape=(0, 3)).shape == (0, 3)


@for_each(
    "options",
    [
        {"format": "f8"},
        {"format": "nonsense"},
        {"format": "O"},
        {"format": "V0"},
        {"format": [("a", "O")]},
        {"shape": (4,)},
        {"shape": "x"},
        {"format": "u2", "shape": (6,)},
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(InvalidValueError):
        share(b"abcdef", "numpy", **options)
    with pytest.raises(InvalidValueError):
        explain(b"abcdef", "numpy", **options)


def test_options_need_contiguous_memory():
    with pytest.raises(InvalidValueError, match="C-contiguous"):
        share(memoryview(b"abcdef")[::2], "numpy", format="u1")


def test_unaligned_bytes_are_copied_where_alignment_is_required():
    raw = memoryview(bytearray(9))[1:]
    assert not share(raw, "numpy", format="f4").flags.aligned
    with pytest.warns(CopyWarning, match="not aligned"):
        share(raw, "torch", format="f4")


class Exporter:
    """An object with ``__buffer__``, which Python supports since 3.12."""

    def __buffer__(self, flags):
        return memoryview(b"abc")


def test_object_with_buffer_method():
    if sys.version_info >= (3, 12):
        assert share(Exporter(), "numpy").tobytes() == b"abc"
    else:
        with pytest.raises(WrongTypeError):
            share(Exporter(), "numpy")


def test_released_memoryview():
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(InvalidValueError, match="released"):
        share(view, "numpy")


def test_bytes_are_shared_with_other_frameworks():
    with pytest.warns(numpack.ReadOnlyWarning):
        t = share(b"abc", "torch")
    assert isinstance(t, torch.Tensor)
    assert t.tolist() == [97, 98, 99]


class TestToNumpy(ToNumpy):
    source = "buffer"
    names = tuple(name for name in NATIVE if oracle.make(values(name)) is not None)
    writable = True
