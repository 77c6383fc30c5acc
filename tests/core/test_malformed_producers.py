"""Capsules that hold nonsense and producers that lie: refused and left alone, or read right.

Each malformed capsule goes in by every door. A refusal is one of the package's own errors;
it consumes nothing, calls no deleter, and the capsule, put right, can still be taken.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dlpack import LEGACY, VERSIONED, Producer, Tensor
from support.memory import address
from support.native import name_of

from numpack import (
    CopyWarning,
    InvalidValueError,
    NumpackError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyArray,
    ZeroCopyError,
    explain,
    share,
)
from numpack._core.dtypes import DTYPES
from numpack._dlpack import importing
from numpack.io import from_dlpack, to_dlpack

DOORS = {
    "from_dlpack": lambda x: from_dlpack(x),
    "copy=False": lambda x: from_dlpack(x, copy=False),
    "copy=True": lambda x: from_dlpack(x, copy=True),
    "wrapper": lambda x: ZeroCopyArray.from_dlpack(x, order="K").array,
    "share": lambda x: share(x, "numpy"),
    "share to dlpack": lambda x: share(x, "dlpack", order="K").array,
    "adopt": importing.consume_capsule,
    "borrow": importing.view_capsule,
}
LOOKS = {"explain": lambda x: explain(x, "numpy"), "to dlpack": lambda x: explain(x, "dlpack")}

I64 = 2**63 - 1


def falsify(tensor: Tensor, **fields) -> None:
    """Set fields of a tensor: of its data type, its shape and strides, or of the whole."""
    inner = tensor.managed.tensor
    for field, value in fields.items():
        if field in ("code", "bits", "lanes"):
            setattr(inner.dtype, field, value)
        elif field in ("extents", "steps"):
            target = tensor.shape if field == "extents" else tensor.strides
            for axis, each in enumerate(value):
                target[axis] = each
        elif field in ("major", "minor", "flags"):
            setattr(tensor.managed, field, value)
        else:
            setattr(inner, field, value)


def matrix(*, versioned: bool = True) -> Tensor:
    return Tensor(np.arange(6.0).reshape(2, 3), versioned=versioned)


# Refused ----------------------------------------------------------------------------------

NONSENSE = {  # no array is like that
    "ndim -1": {"ndim": -1},
    "ndim least": {"ndim": -(2**31)},
    "ndim 65": {"ndim": 65},
    "ndim most": {"ndim": 2**31 - 1},
    "no shape": {"shape": None},
    "no shape, no strides": {"shape": None, "strides": None},
    "extent -1": {"extents": (-1, 3)},
    "extent -1, last": {"extents": (2, -1)},
    "extents -1 and -1": {"extents": (-1, -1)},
    "extents -1 and 0": {"extents": (-1, 0)},
    "extents 0 and -1": {"extents": (0, -1)},
    "extent least": {"extents": (-(2**63), 3)},
    "extent most": {"extents": (I64, 3), "steps": (0, 0)},
    "extent 2**61": {"extents": (2**61, 3), "steps": (0, 0)},
    "extents whose product is 2**64": {"extents": (2**32, 2**32)},
    "extents whose product is 2**64 + 6": {"extents": (2**33, 2**31), "steps": (0, 0)},
    "extents whose bytes are 2**64": {"extents": (2**31, 2**30)},
    "extents of 2**63 bytes without strides": {"extents": (2**30, 2**30), "strides": None},
    "stride 2**60": {"steps": (2**60, 1)},
    "stride most": {"steps": (I64, 1)},
    "stride -2**60": {"steps": (-(2**60), 1)},
    "stride least": {"steps": (-(2**63), 1)},
    "stride least, last": {"steps": (3, -(2**63))},
    "strides that cancel out": {"steps": (2**60, -(2**60))},
    "stride whose bytes are 2**64": {"steps": (2**61, 1)},
    "stride whose bytes are 2**64, negative": {"steps": (-(2**61), 1)},
    "stride that leaves memory at the end": {"extents": (2**30, 3), "steps": (2**30, 1)},
    "no data": {"data": None},
    "no data, offset": {"data": None, "byte_offset": 4096},
    "no data, one element": {"data": None, "extents": (1, 1)},
}
ANOTHER_MAJOR = {f"major {major}": {"major": major} for major in (0, 2, 3, 2**32 - 1)}

UNKNOWN = {  # well made, and NumPy has nothing like that
    "code 3, an opaque handle": {"code": 3},
    "code 18": {"code": 18},
    "code 99": {"code": 99},
    "code 255": {"code": 255},
    "no lanes": {"lanes": 0},
    "2 lanes": {"lanes": 2},
    "65535 lanes": {"lanes": 65535},
    "2 lanes of half the width": {"bits": 32, "lanes": 2},
    "0 bits": {"bits": 0},
    "1 bit": {"code": 0, "bits": 1},
    "7 bits": {"bits": 7},
    "9 bits": {"bits": 9},
    "24 bits": {"bits": 24},
    "63 bits": {"bits": 63},
    "80 bits": {"bits": 80},
    "128 bits": {"bits": 128},
    "255 bits": {"bits": 255},
    "float of 8 bits": {"bits": 8},
    "integer of 128 bits": {"code": 0, "bits": 128},
    "unsigned of 256 bits less one": {"code": 1, "bits": 255},
    "bool of 1 bit": {"code": 6, "bits": 1},
    "bool of 64 bits": {"code": 6, "bits": 64},
    "complex of 32 bits": {"code": 5, "bits": 32},
    "complex of 256 bits less one": {"code": 5, "bits": 255},
    "bfloat of 32 bits": {"code": 4, "bits": 32},
    "float8 of 16 bits": {"code": 10, "bits": 16},
    "packed int4": {"code": 0, "bits": 4},
    "packed uint2": {"code": 1, "bits": 2},
    "packed float4": {"code": 17, "bits": 4},
    "packed float6": {"code": 15, "bits": 6},
}
PADDED = {  # and packed in another way than the flag says
    "padded bool of 1 bit": {"code": 6, "bits": 1, "flags": importing.PADDED},
    "padded integer of 3 bits": {"code": 0, "bits": 3, "flags": importing.PADDED},
    "padded integer of 0 bits": {"code": 0, "bits": 0, "flags": importing.PADDED},
    "two padded int4": {"code": 0, "bits": 4, "lanes": 2, "flags": importing.PADDED},
    "padded float4 of 6 bits": {"code": 17, "bits": 6, "flags": importing.PADDED},
    "padded float64 of 7 bits": {"code": 2, "bits": 7, "flags": importing.PADDED},
}
ELSEWHERE = {
    f"device {device}": {"device_type": device}
    for device in (0, 2, 4, 7, 8, 9, 10, 12, 14, 15, 16, 17, 18, -1, 2**31 - 1, -(2**31))
}


def refused(lie: dict, expected: type[NumpackError], door: str, *, versioned: bool) -> None:
    tensor = matrix(versioned=versioned)
    falsify(tensor, **lie)
    capsule = tensor.capsule()
    name = name_of(capsule)
    for _ in range(2):
        with pytest.raises(expected):
            DOORS[door](capsule)
        assert name_of(capsule) == name
    assert tensor.deleted == 0
    truth = matrix(versioned=versioned)
    for field, _ in type(tensor.managed.tensor)._fields_:
        if field != "data":
            setattr(tensor.managed.tensor, field, getattr(truth.managed.tensor, field))
    tensor.managed.tensor.data = address(tensor.array)
    if name == VERSIONED:
        tensor.managed.major, tensor.managed.flags = 1, 0
    a = DOORS["from_dlpack"](capsule)
    assert a.tolist() == truth.array.tolist()
    assert tensor.deleted == 0
    del a
    assert tensor.deleted == 1


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("lie", NONSENSE)
def test_nonsense_is_refused(lie, door):
    for versioned in (False, True):
        refused(NONSENSE[lie], InvalidValueError, door, versioned=versioned)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("lie", ANOTHER_MAJOR)
def test_another_major_version_is_refused(lie, door):
    refused(ANOTHER_MAJOR[lie], InvalidValueError, door, versioned=True)


def test_nothing_but_the_version_is_read_of_another_major_version():
    """Everything after it may be anything."""
    tensor = matrix()
    falsify(tensor, major=2, ndim=-5, shape=None, data=None, bits=0, device_type=99)
    with pytest.raises(InvalidValueError, match=r"is of DLPack 2\.0, and this version reads"):
        from_dlpack(tensor.capsule())


@pytest.mark.parametrize("minor", [0, 1, 3, 4, 99, 2**32 - 1])
def test_minor_version_does_not_matter(minor):
    tensor = matrix()
    falsify(tensor, minor=minor)
    assert from_dlpack(tensor.capsule()).sum() == 15


def error_of(door: str) -> type[NumpackError]:
    """What these two have no policy for is a wrong value."""
    return InvalidValueError if door in ("adopt", "borrow") else UnsupportedError


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("lie", UNKNOWN)
def test_unknown_dtype_is_refused(lie, door):
    for versioned in (False, True):
        refused(UNKNOWN[lie], error_of(door), door, versioned=versioned)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("lie", PADDED)
def test_padded_dtype_that_is_unknown_is_refused(lie, door):
    refused(PADDED[lie], error_of(door), door, versioned=True)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("lie", ELSEWHERE)
def test_memory_elsewhere_is_refused(lie, door):
    for versioned in (False, True):
        refused(ELSEWHERE[lie], error_of(door), door, versioned=versioned)


@pytest.mark.parametrize("device", [1, 3, 11, 13])
@pytest.mark.parametrize("device_id", [0, 5, -1])
@pytest.mark.parametrize("door", DOORS)
def test_memory_of_the_host_is_read(door, device, device_id):
    tensor = matrix()
    falsify(tensor, device_type=device, device_id=device_id)
    assert DOORS[door](tensor.capsule()).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("lie", [*NONSENSE, *ANOTHER_MAJOR, *UNKNOWN, *PADDED, *ELSEWHERE])
def test_explain_says_what_share_does(lie, look):
    tensor = matrix()
    falsify(tensor, **(NONSENSE | ANOTHER_MAJOR | UNKNOWN | PADDED | ELSEWHERE)[lie])
    capsule = tensor.capsule()
    if lie in NONSENSE or lie in ANOTHER_MAJOR:
        with pytest.raises(InvalidValueError):
            LOOKS[look](capsule)
    else:
        route = LOOKS[look](capsule)
        assert not route.supported
        assert route.reason
        assert route.fix
    assert name_of(capsule) == VERSIONED
    assert tensor.deleted == 0


# Read right -------------------------------------------------------------------------------


def test_one_dimension_less_than_there_are_extents():
    tensor = matrix()
    falsify(tensor, ndim=1)
    assert from_dlpack(tensor.capsule()).tolist() == [0, 3]


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("door", ["from_dlpack", "copy=False", "wrapper", "share", "adopt"])
def test_null_strides_are_c_order(door, versioned):
    tensor = matrix(versioned=versioned)
    falsify(tensor, strides=None)
    a = DOORS[door](tensor.capsule())
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert a.strides == (24, 8)
    assert address(a) == address(tensor.array)
    del a
    assert tensor.deleted == 1


def test_scalar_needs_neither_shape_nor_strides():
    tensor = Tensor(np.array(5.0))
    falsify(tensor, shape=None, strides=None)
    assert from_dlpack(tensor.capsule()).tolist() == 5
    assert tensor.deleted == 1


@pytest.mark.parametrize("extents", [(0, 3), (2, 0), (0, 0), (0, 2**40), (2**40, 0)], ids=str)
@pytest.mark.parametrize("data", ["none", "some"])
@pytest.mark.parametrize("strides", [None, (0, 0), (2**62, -(2**63)), (I64, I64)], ids=str)
def test_without_elements_data_and_strides_do_not_matter(extents, data, strides):
    for door in ("from_dlpack", "copy=False", "copy=True", "share", "adopt", "wrapper"):
        tensor = matrix()
        falsify(tensor, extents=extents)
        if data == "none":
            falsify(tensor, data=None, byte_offset=4096)
        falsify(tensor, **({"strides": None} if strides is None else {"steps": strides}))
        a = DOORS[door](tensor.capsule())
        assert a.shape == extents
        assert a.dtype == float
        assert tensor.deleted == 1  # nothing of it is needed any more


def test_sixty_four_dimensions():
    tensor = Tensor(np.arange(2.0).reshape((1,) * 63 + (2,)))
    a = from_dlpack(tensor.capsule())
    assert a.shape == (1,) * 63 + (2,)
    assert a.ravel().tolist() == [0, 1]


@pytest.mark.parametrize("stride", [0, 2**62, I64, -(2**63), -1])
@pytest.mark.parametrize("door", ["from_dlpack", "copy=False", "share", "adopt", "borrow"])
def test_stride_of_an_axis_of_one_may_be_anything(door, stride):
    tensor = Tensor(np.arange(6.0).reshape(1, 2, 1, 3, 1))
    falsify(tensor, steps=(stride, 3, stride, 1, stride))
    assert DOORS[door](tensor.capsule()).ravel().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
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
@pytest.mark.parametrize("door", ["from_dlpack", "copy=False", "copy=True", "share", "adopt"])
def test_strides_and_offset_are_those_given(door, steps, offset, values):
    tensor = matrix()
    falsify(tensor, steps=steps, byte_offset=offset)
    a = DOORS[door](tensor.capsule())
    assert a.tolist() == values
    if door != "copy=True":
        assert a.strides == (8 * steps[0], 8 * steps[1])
        assert address(a) == address(tensor.array) + offset
    del a
    assert tensor.deleted == 1


@pytest.mark.parametrize("shift", [1, 2, 4, 7])
@pytest.mark.parametrize("by_offset", [False, True])
@pytest.mark.parametrize("door", ["from_dlpack", "copy=False", "copy=True", "share", "adopt"])
def test_misaligned_data_are_read_right(door, by_offset, shift):
    memory = np.zeros(8 * 7, "u1")
    memory[shift : shift + 48] = np.arange(6.0).view("u1")
    tensor = matrix()
    if by_offset:
        falsify(tensor, data=address(memory), byte_offset=shift)
    else:
        falsify(tensor, data=address(memory) + shift)
    a = DOORS[door](tensor.capsule())
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert a.flags.aligned == (door == "copy=True")
    assert (a + 1).sum() == 21


@pytest.mark.parametrize("offset", [2**62, 2**63, 2**64 - 8, 2**64 - 2**40])
def test_offset_that_leaves_any_memory_is_refused(offset):
    tensor = matrix()
    falsify(tensor, byte_offset=offset)
    with pytest.raises(InvalidValueError):
        from_dlpack(tensor.capsule())
    assert tensor.deleted == 0


@pytest.mark.parametrize("flags", [importing.READ_ONLY, 1 | 2**63, 1 | 4, 1 | 8])
@pytest.mark.parametrize("door", ["from_dlpack", "copy=False", "share", "adopt", "wrapper"])
def test_read_only_stays_read_only_beside_flags_that_are_not_known(door, flags):
    tensor = matrix()
    falsify(tensor, flags=flags)
    a = DOORS[door](tensor.capsule())
    assert not a.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        a.flags.writeable = True
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("flags", [0, 4, 8, 2**32, 2**63])
def test_flags_that_are_not_known_change_nothing(flags):
    tensor = matrix()
    falsify(tensor, flags=flags)
    a = from_dlpack(tensor.capsule(), copy=False)
    assert a.flags.writeable
    assert a.dtype == float


def test_deleter_that_is_null_is_not_called():
    for versioned in (False, True):
        for door in DOORS.values():
            tensor = matrix(versioned=versioned)
            tensor.managed.deleter = None
            assert door(tensor.capsule()).tolist() == [[0, 1, 2], [3, 4, 5]]
            assert tensor.deleted == 0


# Capsules that are none of DLPack's -------------------------------------------------------

_new = ctypes.PyDLL(None).PyCapsule_New
_new.restype = ctypes.py_object
_new.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]

_names = [
    ctypes.create_string_buffer(name)
    for name in (
        b"",
        b"dltensor_",
        b"dltensor_versioned_",
        b"dltensor_version",
        b"DLTENSOR",
        b" dltensor",
        b"used",
        b"used_",
        b"arrow_array",
        b"dlpack_exchange_api",
        b"\xff\xfe",
        b"x" * 10_000,
    )
]


@pytest.mark.parametrize("door", [*DOORS, *LOOKS])
@pytest.mark.parametrize(
    "name", [None, *_names], ids=lambda name: repr(name and name.value[:20])
)
def test_capsule_of_another_name_is_refused(name, door):
    tensor = matrix()
    pointer = ctypes.addressof(tensor.managed)
    capsule = _new(pointer, None if name is None else ctypes.addressof(name), None)
    with pytest.raises(InvalidValueError, match="expected a capsule named dltensor or"):
        (DOORS | LOOKS)[door](capsule)
    assert tensor.deleted == 0
    assert name_of(capsule) == (None if name is None else name.value)


@pytest.mark.parametrize("name", [LEGACY, VERSIONED])
def test_name_is_compared_by_its_letters(name):
    """Each producer has a copy of its own."""
    tensor = matrix(versioned=name == VERSIONED)
    copy = ctypes.create_string_buffer(name)
    capsule = _new(ctypes.addressof(tensor.managed), ctypes.addressof(copy), None)
    assert from_dlpack(capsule).sum() == 15
    del copy
    assert name_of(capsule) == b"used_" + name


@pytest.mark.parametrize("name", [b"used_dltensor", b"used_dltensor_versioned"])
@pytest.mark.parametrize("door", [*DOORS, *LOOKS])
def test_used_capsule_is_refused(door, name):
    tensor = matrix()
    held = ctypes.create_string_buffer(name)
    capsule = _new(ctypes.addressof(tensor.managed), ctypes.addressof(held), None)
    for _ in range(2):
        with pytest.raises(InvalidValueError, match="was consumed already"):
            (DOORS | LOOKS)[door](capsule)
    assert tensor.deleted == 0


@pytest.mark.parametrize("first", ["from_dlpack", "copy=False", "copy=True", "share", "adopt"])
@pytest.mark.parametrize("second", [*DOORS, *LOOKS])
@pytest.mark.parametrize("versioned", [False, True])
def test_consumed_capsule_is_refused_by_every_door(first, second, versioned):
    tensor = matrix(versioned=versioned)
    capsule = tensor.capsule()
    a = DOORS[first](capsule)
    assert name_of(capsule) == (b"used_dltensor_versioned" if versioned else b"used_dltensor")
    with pytest.raises(InvalidValueError, match="was consumed already"):
        (DOORS | LOOKS)[second](capsule)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    del a, capsule
    assert tensor.deleted == 1


@pytest.mark.parametrize("door", ["borrow", *LOOKS])
@pytest.mark.parametrize("versioned", [False, True])
def test_looking_takes_nothing(door, versioned):
    tensor = matrix(versioned=versioned)
    capsule = tensor.capsule()
    (DOORS | LOOKS)[door](capsule)
    assert name_of(capsule) == (VERSIONED if versioned else LEGACY)
    assert tensor.deleted == 0
    assert from_dlpack(capsule).sum() == 15
    assert tensor.deleted == 1


def test_copy_gives_the_memory_back_at_once():
    tensor = matrix()
    a = from_dlpack(tensor.capsule(), copy=True)
    assert tensor.deleted == 1
    assert address(a) != address(tensor.array)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]


# Producers that lie -----------------------------------------------------------------------


class Giving:
    """A producer whose `__dlpack__` gives back what it is told, or raises it."""

    def __init__(self, *answers, device=(1, 0)):
        self.answers, self.device, self.asked = list(answers), device, []

    def __dlpack__(self, **keywords):
        self.asked.append(keywords)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def __dlpack_device__(self):
        return self.device


BY_PROTOCOL = {name: DOORS[name] for name in DOORS if name not in ("adopt", "borrow")} | LOOKS


@pytest.mark.parametrize("door", BY_PROTOCOL)
@pytest.mark.parametrize(
    "answer", [None, 0, "dltensor", b"dltensor", object(), (), np.zeros(3), Giving], ids=repr
)
def test_producer_that_gives_no_capsule(answer, door):
    with pytest.raises(InvalidValueError, match="expected a capsule named dltensor or"):
        BY_PROTOCOL[door](Giving(answer))


def refusal_of(door: str, x: object, kind: type[NumpackError]) -> str:
    """Return the reason of a refusal: of the route in `explain`, which raises none of them."""
    if door in LOOKS:
        route = LOOKS[door](x)
        assert not route.supported
        assert route.fix
        return route.reason
    with pytest.raises(kind) as caught:
        BY_PROTOCOL[door](x)
    assert caught.value.__cause__ is x.answers[0]
    return str(caught.value)


@pytest.mark.parametrize("door", BY_PROTOCOL)
def test_producer_that_refuses(door):
    producer = Giving(BufferError("not these"))
    assert "the producer refuses, not these" in refusal_of(door, producer, ZeroCopyError)
    assert len(producer.asked) == 1


@pytest.mark.parametrize("door", BY_PROTOCOL)
def test_producer_that_takes_no_keyword_at_all_and_fails(door):
    producer = Giving(TypeError("my own fault"))
    assert "TypeError: my own fault" in refusal_of(door, producer, UnsupportedError)
    assert producer.asked[-1] == {}


@pytest.mark.parametrize("door", BY_PROTOCOL)
@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x")], ids=repr)
def test_other_errors_of_a_producer_are_refusals(error, door):
    producer = Giving(error)
    assert f"{type(error).__name__}: x" in refusal_of(door, producer, UnsupportedError)
    assert len(producer.asked) == 1


@pytest.mark.parametrize("door", BY_PROTOCOL)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()], ids=repr)
def test_what_ends_a_program_is_let_through(error, door):
    producer = Giving(error)
    with pytest.raises(type(error)) as caught:
        BY_PROTOCOL[door](producer)
    assert caught.value is error
    assert len(producer.asked) == 1


@pytest.mark.parametrize("door", BY_PROTOCOL)
@pytest.mark.parametrize("attribute", [None, 3, "x"])
def test_producer_whose_method_cannot_be_called(attribute, door):
    kind = type("Odd", (), {"__dlpack__": attribute, "__dlpack_device__": lambda self: (1, 0)})
    if door in LOOKS:
        assert not LOOKS[door](kind()).supported
    else:
        with pytest.raises(UnsupportedError):
            BY_PROTOCOL[door](kind())


@pytest.mark.parametrize("door", ["from_dlpack", "copy=False", "copy=True", "share", "wrapper"])
def test_same_capsule_twice(door):
    tensor = matrix()
    producer = Giving(tensor.capsule())
    a = DOORS[door](producer)
    with pytest.raises(InvalidValueError, match="was consumed already"):
        DOORS[door](producer)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    del a
    assert tensor.deleted == 1


@pytest.mark.parametrize("lie", NONSENSE)
def test_capsule_of_a_producer_that_holds_nonsense(lie):
    tensor = matrix()
    falsify(tensor, **NONSENSE[lie])
    producer = Giving(tensor.capsule())
    for door in BY_PROTOCOL.values():
        with pytest.raises(InvalidValueError):
            door(producer)
    assert tensor.deleted == 0


def test_newer_capsule_than_was_asked_for():
    tensor = matrix()
    falsify(tensor, major=2)
    producer = Giving(tensor.capsule())
    with pytest.raises(InvalidValueError, match=r"ask its producer for max_version=\(1, 3\)"):
        from_dlpack(producer)
    assert producer.asked == [{"max_version": (1, 3)}]


def test_what_the_method_says_of_the_device_does_not_matter():
    """The capsule is what is read."""
    tensor = matrix()
    assert from_dlpack(Giving(tensor.capsule(), device=(2, 0)), copy=False).sum() == 15
    assert tensor.deleted == 1


def elsewhere() -> Tensor:
    tensor = matrix()
    falsify(tensor, device_type=2)
    return tensor


def test_transfer_that_never_arrives():
    there, still_there = elsewhere(), elsewhere()
    producer = Giving(there.capsule(), still_there.capsule())
    with pytest.raises(UnsupportedError, match="its producer cannot move it"):
        from_dlpack(producer, copy=True)
    assert producer.asked[1]["dl_device"] == (1, 0)
    assert (there.deleted, still_there.deleted) == (0, 0)


@pytest.mark.parametrize("lie", [*NONSENSE, *UNKNOWN, *ANOTHER_MAJOR])
def test_transfer_that_arrives_as_nonsense(lie):
    there, here = elsewhere(), matrix()
    falsify(here, **(NONSENSE | UNKNOWN | ANOTHER_MAJOR)[lie])
    with pytest.raises(NumpackError):
        from_dlpack(Giving(there.capsule(), here.capsule()), copy=True)
    assert (there.deleted, here.deleted) == (0, 0)


def test_transfer_that_arrives_as_something_else_is_read_right():
    there, here = elsewhere(), Tensor(np.arange(4, dtype="f8"))
    falsify(here, bits=32, code=0, ndim=1, extents=(8,))
    with pytest.warns(CopyWarning):
        a = from_dlpack(Giving(there.capsule(), here.capsule()))
    assert a.tobytes() == np.arange(4.0).tobytes()
    assert a.dtype == np.int32
    del a
    assert here.deleted == 1


def test_transfer_of_a_capsule_that_was_consumed():
    there, here = elsewhere(), matrix()
    capsule = here.capsule()
    a = from_dlpack(capsule)
    with pytest.raises(InvalidValueError, match="was consumed already"):
        from_dlpack(Giving(there.capsule(), capsule), copy=True)
    assert a.sum() == 15
    del a
    assert here.deleted == 1


@pytest.mark.parametrize("keywords", [(), ("max_version",), ("max_version", "copy")])
def test_old_producer_that_lies_is_asked_no_more_than_it_takes(keywords):
    tensor = Tensor(np.arange(3.0), versioned=bool(keywords))
    falsify(tensor, ndim=-1)
    producer = Producer(tensor, keywords)
    with pytest.raises(InvalidValueError):
        from_dlpack(producer)
    assert len(producer.asked) == (1 if keywords else 2)
    assert tensor.deleted == 0


@pytest.mark.parametrize("door", BY_PROTOCOL)
def test_masked_array_is_not_taken_without_its_mask(door):
    """NumPy's own `__dlpack__` forgets it."""
    a = np.ma.array([1.0, 2.0], mask=[False, True])
    try:
        result = BY_PROTOCOL[door](a)
    except UnsupportedError:
        return
    if door in LOOKS:
        assert result.supported == (door == "explain")
    else:
        assert isinstance(result, np.ma.MaskedArray)
        assert result.mask.tolist() == [False, True]


def test_refusals_leak_nothing():
    """The blocks of memory are as many after thousands of lies as before."""
    lies = [*NONSENSE.values(), *UNKNOWN.values(), *ELSEWHERE.values()]
    tensors = [matrix() for _ in lies]
    for tensor, lie in zip(tensors, lies, strict=True):
        falsify(tensor, **lie)
    capsules = [tensor.capsule() for tensor in tensors]

    def growth() -> int:
        gc.collect()
        before = sys.getallocatedblocks()
        for capsule in capsules * 10:
            for take in (from_dlpack, importing.consume_capsule, importing.describe):
                with contextlib.suppress(NumpackError):
                    take(capsule)
        gc.collect()
        return sys.getallocatedblocks() - before

    assert min(growth() for _ in range(3)) < 100


# Anything at all --------------------------------------------------------------------------

MEMORY = (np.arange(4096) * 37 % 251).astype("u1")
ORIGIN = 2048 - address(MEMORY) % 16  # where data point to: in the middle, on 16 bytes
NUMBERS = {(row.code, row.bits): np.dtype(row.numpy) for row in DTYPES if not row.extension}
EXTENSIONS = {(row.code, row.bits) for row in DTYPES if row.extension}

small = st.integers(0, 5)
wild = st.sampled_from([-(2**63), -1, 2**20, 2**31, 2**32, 2**40, 2**58, 2**61, 2**62, I64])
near = st.integers(-40, 40)
far = st.sampled_from([-(2**63), -(2**61), -(2**60), -(2**32), 2**32, 2**60, 2**61, I64])


@st.composite
def lies(draw):
    """A tensor over the middle of `MEMORY`; most of its fields are true, most of the time."""
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


def truth_of(tensor: Tensor):
    """What the tensor says, in whole numbers: dtype, shape, strides in bytes, or why none."""
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


@settings(max_examples=400)
@given(lies())
def test_anything_at_all_is_refused_and_left_alone_or_read_right(tensor):
    truth = truth_of(tensor)
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
        assert isinstance(truth, str) or flags & importing.IS_COPIED or needs_ml_dtypes(inner)
        assert name_of(capsule) == name
        assert tensor.deleted == 0
        put_right(tensor)
        assert from_dlpack(capsule).tolist() == [MEMORY[ORIGIN]]
        assert tensor.deleted == has_deleter
        return
    assert verdict
    assert truth != "version"
    assert truth == "either" or not isinstance(truth, str)
    assert name_of(capsule) == b"used_" + name
    if not isinstance(truth, str):
        compare(a, tensor, *truth)
    empty = a.size == 0
    assert tensor.deleted == (has_deleter and empty)
    del a
    assert tensor.deleted == has_deleter


def needs_ml_dtypes(inner) -> bool:
    return (inner.dtype.code, inner.dtype.bits) in EXTENSIONS


def put_right(tensor: Tensor) -> None:
    """Make it the first byte of the memory, as it was before."""
    inner = tensor.managed.tensor
    tensor.shape[0] = tensor.strides[0] = 1
    inner.shape, inner.strides, inner.ndim = tensor.shape, tensor.strides, 1
    inner.data, inner.byte_offset, inner.device_type = address(MEMORY) + ORIGIN, 0, 1
    falsify(tensor, code=1, bits=8, lanes=1)
    if hasattr(tensor.managed, "flags"):
        falsify(tensor, major=1, flags=0)


def compare(a, tensor, dtype, shape, strides) -> None:
    """Compare an array with what NumPy reads of the same memory, where that is ours."""
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


def test_fuzz_reads_memory_often_enough():
    """Most of what is tried is taken and compared, or the test above tests nothing."""
    counts = {"read": 0, "refused": 0}

    @settings(max_examples=150, database=None)
    @given(lies())
    def count(tensor):
        counts["refused" if isinstance(truth_of(tensor), str) else "read"] += 1

    count()
    assert min(counts.values()) > 20


@pytest.mark.parametrize("wrong", [None, 1, "x", b"x", [1.0], object()])
def test_neither_capsule_nor_producer(wrong):
    for door in (from_dlpack, ZeroCopyArray.from_dlpack):
        with pytest.raises(WrongTypeError, match="a DLPack capsule or an object with __dlpack"):
            door(wrong)
    for take in (
        importing.consume_capsule,
        importing.view_capsule,
        importing.describe,
        importing.try_consume_capsule,
    ):
        with pytest.raises(InvalidValueError, match="expected a capsule named dltensor or"):
            take(wrong)


def test_buffer_of_our_own_is_never_a_liar():
    """What goes out of the package comes in by every door."""
    a = np.arange(6.0).reshape(2, 3)
    for version in (None, (1, 0)):
        for door in DOORS.values():
            assert door(to_dlpack(a).__dlpack__(max_version=version)).tolist() == a.tolist()


def test_dtype_of_somebody_else_is_not_named():
    """Those that are not NumPy's own may have any number, a negative one too."""
    scaled = np._core._multiarray_umath._get_sfloat_dtype()
    a = np.arange(3.0).view(scaled(2.0))
    assert a.dtype.num < 0
    for call in (
        lambda: to_dlpack(a),
        lambda: ZeroCopyArray(a).__dlpack__(),
        lambda: ZeroCopyArray(a).__dlpack__(max_version=(1, 0)),
        lambda: share(a, "dlpack"),
    ):
        with pytest.raises(UnsupportedError, match="DLPack has no name for this dtype"):
            call()
