"""Malformed capsules and malformed producers: refused without effect, or read correctly.

Each malformed capsule is passed to every importer. A refusal is one of the package's own
errors; it neither consumes the capsule nor calls the deleter, and the capsule, once repaired,
can still be consumed.
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
from support.ids import stable_repr
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

IMPORTERS = {
    "from_dlpack": lambda x: from_dlpack(x),
    "copy=False": lambda x: from_dlpack(x, copy=False),
    "copy=True": lambda x: from_dlpack(x, copy=True),
    "wrapper": lambda x: ZeroCopyArray.from_dlpack(x, order="K").array,
    "share": lambda x: share(x, "numpy"),
    "share to dlpack": lambda x: share(x, "dlpack", order="K").array,
    "consume": importing.consume_capsule,
    "view": importing.view_capsule,
}
EXPLAINERS = {
    "explain": lambda x: explain(x, "numpy"),
    "to dlpack": lambda x: explain(x, "dlpack"),
}

I64 = 2**63 - 1


def falsify(tensor: Tensor, **fields) -> None:
    """Set fields of a tensor: of its dtype, its shape and strides, its header, or itself."""
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


# Refusals ---------------------------------------------------------------------------------

MALFORMED = {  # no tensor may have these
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

UNKNOWN_DTYPES = {  # valid, but unknown to NumPy
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
PADDED = {  # and packed differently from what the flag says
    "padded bool of 1 bit": {"code": 6, "bits": 1, "flags": importing.PADDED},
    "padded integer of 3 bits": {"code": 0, "bits": 3, "flags": importing.PADDED},
    "padded integer of 0 bits": {"code": 0, "bits": 0, "flags": importing.PADDED},
    "two padded int4": {"code": 0, "bits": 4, "lanes": 2, "flags": importing.PADDED},
    "padded float4 of 6 bits": {"code": 17, "bits": 6, "flags": importing.PADDED},
    "padded float64 of 7 bits": {"code": 2, "bits": 7, "flags": importing.PADDED},
}
OTHER_DEVICES = {
    f"device {device}": {"device_type": device}
    for device in (0, 2, 4, 7, 8, 9, 10, 12, 14, 15, 16, 17, 18, -1, 2**31 - 1, -(2**31))
}


def check_refused(
    case: dict, expected: type[NumpackError], importer: str, *, versioned: bool
) -> None:
    tensor = matrix(versioned=versioned)
    falsify(tensor, **case)
    capsule = tensor.capsule()
    name = name_of(capsule)
    for _ in range(2):
        with pytest.raises(expected):
            IMPORTERS[importer](capsule)
        assert name_of(capsule) == name
    assert tensor.deleted == 0
    valid = matrix(versioned=versioned)
    for field, _ in type(tensor.managed.tensor)._fields_:
        if field != "data":
            setattr(tensor.managed.tensor, field, getattr(valid.managed.tensor, field))
    tensor.managed.tensor.data = address(tensor.array)
    if name == VERSIONED:
        tensor.managed.major, tensor.managed.flags = 1, 0
    a = IMPORTERS["from_dlpack"](capsule)
    assert a.tolist() == valid.array.tolist()
    assert tensor.deleted == 0
    del a
    assert tensor.deleted == 1


@pytest.mark.parametrize("importer", IMPORTERS)
@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_capsule_is_refused(case, importer):
    for versioned in (False, True):
        check_refused(MALFORMED[case], InvalidValueError, importer, versioned=versioned)


@pytest.mark.parametrize("importer", IMPORTERS)
@pytest.mark.parametrize("case", ANOTHER_MAJOR)
def test_another_major_version_is_refused(case, importer):
    check_refused(ANOTHER_MAJOR[case], InvalidValueError, importer, versioned=True)


def test_only_the_version_is_read_of_another_major_version():
    """The layout after the version is unknown."""
    tensor = matrix()
    falsify(tensor, major=2, ndim=-5, shape=None, data=None, bits=0, device_type=99)
    with pytest.raises(InvalidValueError, match=r"is of DLPack 2\.0, and this version reads"):
        from_dlpack(tensor.capsule())


@pytest.mark.parametrize("minor", [0, 1, 3, 4, 99, 2**32 - 1])
def test_any_minor_version_is_read(minor):
    tensor = matrix()
    falsify(tensor, minor=minor)
    assert from_dlpack(tensor.capsule()).sum() == 15


def error_of(importer: str) -> type[NumpackError]:
    """Return the error expected of an importer: two raise InvalidValueError for everything."""
    return InvalidValueError if importer in ("consume", "view") else UnsupportedError


@pytest.mark.parametrize("importer", IMPORTERS)
@pytest.mark.parametrize("case", UNKNOWN_DTYPES)
def test_unknown_dtype_is_refused(case, importer):
    for versioned in (False, True):
        check_refused(UNKNOWN_DTYPES[case], error_of(importer), importer, versioned=versioned)


@pytest.mark.parametrize("importer", IMPORTERS)
@pytest.mark.parametrize("case", PADDED)
def test_unknown_padded_dtype_is_refused(case, importer):
    check_refused(PADDED[case], error_of(importer), importer, versioned=True)


@pytest.mark.parametrize("importer", IMPORTERS)
@pytest.mark.parametrize("case", OTHER_DEVICES)
def test_memory_on_other_devices_is_refused(case, importer):
    for versioned in (False, True):
        check_refused(OTHER_DEVICES[case], error_of(importer), importer, versioned=versioned)


@pytest.mark.parametrize("device", [1, 3, 11, 13])
@pytest.mark.parametrize("device_id", [0, 5, -1])
@pytest.mark.parametrize("importer", IMPORTERS)
def test_host_memory_is_read(importer, device, device_id):
    tensor = matrix()
    falsify(tensor, device_type=device, device_id=device_id)
    assert IMPORTERS[importer](tensor.capsule()).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("explainer", EXPLAINERS)
@pytest.mark.parametrize(
    "case", [*MALFORMED, *ANOTHER_MAJOR, *UNKNOWN_DTYPES, *PADDED, *OTHER_DEVICES]
)
def test_explain_agrees_with_share(case, explainer):
    tensor = matrix()
    falsify(
        tensor, **(MALFORMED | ANOTHER_MAJOR | UNKNOWN_DTYPES | PADDED | OTHER_DEVICES)[case]
    )
    capsule = tensor.capsule()
    if case in MALFORMED or case in ANOTHER_MAJOR:
        with pytest.raises(InvalidValueError):
            EXPLAINERS[explainer](capsule)
    else:
        route = EXPLAINERS[explainer](capsule)
        assert not route.supported
        assert route.reason
        assert route.fix
    assert name_of(capsule) == VERSIONED
    assert tensor.deleted == 0


# Values -----------------------------------------------------------------------------------


def test_ndim_less_than_the_number_of_extents():
    tensor = matrix()
    falsify(tensor, ndim=1)
    assert from_dlpack(tensor.capsule()).tolist() == [0, 3]


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize(
    "importer", ["from_dlpack", "copy=False", "wrapper", "share", "consume"]
)
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


@pytest.mark.parametrize("extents", [(0, 3), (2, 0), (0, 0), (0, 2**40), (2**40, 0)], ids=str)
@pytest.mark.parametrize("data", ["none", "some"])
@pytest.mark.parametrize("strides", [None, (0, 0), (2**62, -(2**63)), (I64, I64)], ids=str)
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


@pytest.mark.parametrize("stride", [0, 2**62, I64, -(2**63), -1])
@pytest.mark.parametrize("importer", ["from_dlpack", "copy=False", "share", "consume", "view"])
def test_stride_of_a_length_1_axis_is_ignored(importer, stride):
    tensor = Tensor(np.arange(6.0).reshape(1, 2, 1, 3, 1))
    falsify(tensor, steps=(stride, 3, stride, 1, stride))
    assert IMPORTERS[importer](tensor.capsule()).ravel().tolist() == [0, 1, 2, 3, 4, 5]


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
@pytest.mark.parametrize(
    "importer", ["from_dlpack", "copy=False", "copy=True", "share", "consume"]
)
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


@pytest.mark.parametrize("shift", [1, 2, 4, 7])
@pytest.mark.parametrize("by_offset", [False, True])
@pytest.mark.parametrize(
    "importer", ["from_dlpack", "copy=False", "copy=True", "share", "consume"]
)
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


@pytest.mark.parametrize("offset", [2**62, 2**63, 2**64 - 8, 2**64 - 2**40])
def test_offset_beyond_the_address_space_is_refused(offset):
    tensor = matrix()
    falsify(tensor, byte_offset=offset)
    with pytest.raises(InvalidValueError):
        from_dlpack(tensor.capsule())
    assert tensor.deleted == 0


@pytest.mark.parametrize("flags", [importing.READ_ONLY, 1 | 2**63, 1 | 4, 1 | 8])
@pytest.mark.parametrize(
    "importer", ["from_dlpack", "copy=False", "share", "consume", "wrapper"]
)
def test_read_only_flag_with_unknown_flags(importer, flags):
    tensor = matrix()
    falsify(tensor, flags=flags)
    a = IMPORTERS[importer](tensor.capsule())
    assert not a.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        a.flags.writeable = True
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("flags", [0, 4, 8, 2**32, 2**63])
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


# Capsules of other names and consumed capsules --------------------------------------------

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


@pytest.mark.parametrize("importer", [*IMPORTERS, *EXPLAINERS])
@pytest.mark.parametrize(
    "name", [None, *_names], ids=lambda name: repr(name and name.value[:20])
)
def test_capsule_of_another_name_is_refused(name, importer):
    tensor = matrix()
    pointer = ctypes.addressof(tensor.managed)
    capsule = _new(pointer, None if name is None else ctypes.addressof(name), None)
    with pytest.raises(InvalidValueError, match="expected a capsule named dltensor or"):
        (IMPORTERS | EXPLAINERS)[importer](capsule)
    assert tensor.deleted == 0
    assert name_of(capsule) == (None if name is None else name.value)


@pytest.mark.parametrize("name", [LEGACY, VERSIONED])
def test_capsule_name_is_compared_by_value(name):
    """Each producer may have its own copy of the name."""
    tensor = matrix(versioned=name == VERSIONED)
    copy = ctypes.create_string_buffer(name)
    capsule = _new(ctypes.addressof(tensor.managed), ctypes.addressof(copy), None)
    assert from_dlpack(capsule).sum() == 15
    del copy
    assert name_of(capsule) == b"used_" + name


@pytest.mark.parametrize("name", [b"used_dltensor", b"used_dltensor_versioned"])
@pytest.mark.parametrize("importer", [*IMPORTERS, *EXPLAINERS])
def test_used_capsule_is_refused(importer, name):
    tensor = matrix()
    held = ctypes.create_string_buffer(name)
    capsule = _new(ctypes.addressof(tensor.managed), ctypes.addressof(held), None)
    for _ in range(2):
        with pytest.raises(InvalidValueError, match="was consumed already"):
            (IMPORTERS | EXPLAINERS)[importer](capsule)
    assert tensor.deleted == 0


@pytest.mark.parametrize(
    "first", ["from_dlpack", "copy=False", "copy=True", "share", "consume"]
)
@pytest.mark.parametrize("second", [*IMPORTERS, *EXPLAINERS])
@pytest.mark.parametrize("versioned", [False, True])
def test_consumed_capsule_is_refused_by_every_importer(first, second, versioned):
    tensor = matrix(versioned=versioned)
    capsule = tensor.capsule()
    a = IMPORTERS[first](capsule)
    assert name_of(capsule) == (b"used_dltensor_versioned" if versioned else b"used_dltensor")
    with pytest.raises(InvalidValueError, match="was consumed already"):
        (IMPORTERS | EXPLAINERS)[second](capsule)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    del a, capsule
    assert tensor.deleted == 1


@pytest.mark.parametrize("importer", ["view", *EXPLAINERS])
@pytest.mark.parametrize("versioned", [False, True])
def test_view_and_explain_do_not_consume(importer, versioned):
    tensor = matrix(versioned=versioned)
    capsule = tensor.capsule()
    (IMPORTERS | EXPLAINERS)[importer](capsule)
    assert name_of(capsule) == (VERSIONED if versioned else LEGACY)
    assert tensor.deleted == 0
    assert from_dlpack(capsule).sum() == 15
    assert tensor.deleted == 1


def test_copy_releases_the_tensor_at_once():
    tensor = matrix()
    a = from_dlpack(tensor.capsule(), copy=True)
    assert tensor.deleted == 1
    assert address(a) != address(tensor.array)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]


# Malformed producers ----------------------------------------------------------------------


class ScriptedProducer:
    """A producer whose `__dlpack__` returns or raises the given answers in turn."""

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


BY_PROTOCOL = {
    name: IMPORTERS[name] for name in IMPORTERS if name not in ("consume", "view")
} | EXPLAINERS


@pytest.mark.parametrize("importer", BY_PROTOCOL)
@pytest.mark.parametrize(
    "answer",
    [None, 0, "dltensor", b"dltensor", object(), (), np.zeros(3), ScriptedProducer],
    ids=stable_repr,
)
def test_producer_that_returns_no_capsule(answer, importer):
    with pytest.raises(InvalidValueError, match="expected a capsule named dltensor or"):
        BY_PROTOCOL[importer](ScriptedProducer(answer))


def refusal_of(importer: str, x: object, kind: type[NumpackError]) -> str:
    """Return the reason of a refusal, which `explain` returns and the others raise."""
    if importer in EXPLAINERS:
        route = EXPLAINERS[importer](x)
        assert not route.supported
        assert route.fix
        return route.reason
    with pytest.raises(kind) as caught:
        BY_PROTOCOL[importer](x)
    assert caught.value.__cause__ is x.answers[0]
    return str(caught.value)


@pytest.mark.parametrize("importer", BY_PROTOCOL)
def test_buffer_error_of_a_producer_is_a_refusal(importer):
    producer = ScriptedProducer(BufferError("not these"))
    assert "the producer refuses, not these" in refusal_of(importer, producer, ZeroCopyError)
    assert len(producer.asked) == 1


@pytest.mark.parametrize("importer", BY_PROTOCOL)
def test_producer_that_accepts_no_keyword_and_fails(importer):
    producer = ScriptedProducer(TypeError("my own fault"))
    assert "TypeError: my own fault" in refusal_of(importer, producer, UnsupportedError)
    assert producer.asked[-1] == {}


@pytest.mark.parametrize("importer", BY_PROTOCOL)
@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x")], ids=repr)
def test_other_error_of_a_producer_is_a_refusal(error, importer):
    producer = ScriptedProducer(error)
    assert f"{type(error).__name__}: x" in refusal_of(importer, producer, UnsupportedError)
    assert len(producer.asked) == 1


@pytest.mark.parametrize("importer", BY_PROTOCOL)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()], ids=repr)
def test_keyboard_interrupt_and_system_exit_propagate(error, importer):
    producer = ScriptedProducer(error)
    with pytest.raises(type(error)) as caught:
        BY_PROTOCOL[importer](producer)
    assert caught.value is error
    assert len(producer.asked) == 1


@pytest.mark.parametrize("importer", BY_PROTOCOL)
@pytest.mark.parametrize("attribute", [None, 3, "x"])
def test_producer_whose_dlpack_is_not_callable(attribute, importer):
    kind = type("Odd", (), {"__dlpack__": attribute, "__dlpack_device__": lambda self: (1, 0)})
    if importer in EXPLAINERS:
        assert not EXPLAINERS[importer](kind()).supported
    else:
        with pytest.raises(UnsupportedError):
            BY_PROTOCOL[importer](kind())


@pytest.mark.parametrize(
    "importer", ["from_dlpack", "copy=False", "copy=True", "share", "wrapper"]
)
def test_producer_that_returns_the_same_capsule_twice(importer):
    tensor = matrix()
    producer = ScriptedProducer(tensor.capsule())
    a = IMPORTERS[importer](producer)
    with pytest.raises(InvalidValueError, match="was consumed already"):
        IMPORTERS[importer](producer)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    del a
    assert tensor.deleted == 1


@pytest.mark.parametrize("case", MALFORMED)
def test_producer_of_a_malformed_capsule(case):
    tensor = matrix()
    falsify(tensor, **MALFORMED[case])
    producer = ScriptedProducer(tensor.capsule())
    for importer in BY_PROTOCOL.values():
        with pytest.raises(InvalidValueError):
            importer(producer)
    assert tensor.deleted == 0


def test_capsule_newer_than_requested_is_refused():
    tensor = matrix()
    falsify(tensor, major=2)
    producer = ScriptedProducer(tensor.capsule())
    with pytest.raises(InvalidValueError, match=r"ask its producer for max_version=\(1, 3\)"):
        from_dlpack(producer)
    assert producer.asked == [{"max_version": (1, 3)}]


def test_dlpack_device_is_ignored():
    """Only the device in the capsule counts."""
    tensor = matrix()
    assert (
        from_dlpack(ScriptedProducer(tensor.capsule(), device=(2, 0)), copy=False).sum() == 15
    )
    assert tensor.deleted == 1


def tensor_on_gpu() -> Tensor:
    tensor = matrix()
    falsify(tensor, device_type=2)
    return tensor


def test_transfer_that_stays_on_the_device_is_refused():
    on_gpu, still_on_gpu = tensor_on_gpu(), tensor_on_gpu()
    producer = ScriptedProducer(on_gpu.capsule(), still_on_gpu.capsule())
    with pytest.raises(UnsupportedError, match="its producer cannot move it"):
        from_dlpack(producer, copy=True)
    assert producer.asked[1]["dl_device"] == (1, 0)
    assert (on_gpu.deleted, still_on_gpu.deleted) == (0, 0)


@pytest.mark.parametrize("case", [*MALFORMED, *UNKNOWN_DTYPES, *ANOTHER_MAJOR])
def test_transfer_to_a_malformed_capsule_is_refused(case):
    on_gpu, on_cpu = tensor_on_gpu(), matrix()
    falsify(on_cpu, **(MALFORMED | UNKNOWN_DTYPES | ANOTHER_MAJOR)[case])
    with pytest.raises(NumpackError):
        from_dlpack(ScriptedProducer(on_gpu.capsule(), on_cpu.capsule()), copy=True)
    assert (on_gpu.deleted, on_cpu.deleted) == (0, 0)


def test_transfer_to_another_shape_and_dtype():
    on_gpu, on_cpu = tensor_on_gpu(), Tensor(np.arange(4, dtype="f8"))
    falsify(on_cpu, bits=32, code=0, ndim=1, extents=(8,))
    with pytest.warns(CopyWarning):
        a = from_dlpack(ScriptedProducer(on_gpu.capsule(), on_cpu.capsule()))
    assert a.tobytes() == np.arange(4.0).tobytes()
    assert a.dtype == np.int32
    del a
    assert on_cpu.deleted == 1


def test_transfer_to_a_consumed_capsule_is_refused():
    on_gpu, on_cpu = tensor_on_gpu(), matrix()
    capsule = on_cpu.capsule()
    a = from_dlpack(capsule)
    with pytest.raises(InvalidValueError, match="was consumed already"):
        from_dlpack(ScriptedProducer(on_gpu.capsule(), capsule), copy=True)
    assert a.sum() == 15
    del a
    assert on_cpu.deleted == 1


@pytest.mark.parametrize("keywords", [(), ("max_version",), ("max_version", "copy")])
def test_malformed_old_producer_is_called_as_often_as_needed(keywords):
    tensor = Tensor(np.arange(3.0), versioned=bool(keywords))
    falsify(tensor, ndim=-1)
    producer = Producer(tensor, keywords)
    with pytest.raises(InvalidValueError):
        from_dlpack(producer)
    assert len(producer.asked) == (1 if keywords else 2)
    assert tensor.deleted == 0


@pytest.mark.parametrize("importer", BY_PROTOCOL)
def test_masked_array_keeps_its_mask_or_is_refused(importer):
    """NumPy's own `__dlpack__` drops the mask."""
    a = np.ma.array([1.0, 2.0], mask=[False, True])
    try:
        result = BY_PROTOCOL[importer](a)
    except UnsupportedError:
        return
    if importer in EXPLAINERS:
        assert result.supported == (importer == "explain")
    else:
        assert isinstance(result, np.ma.MaskedArray)
        assert result.mask.tolist() == [False, True]


def test_refusals_do_not_leak():
    """The number of allocated blocks is the same after thousands of refusals."""
    malformed_tensors = [*MALFORMED.values(), *UNKNOWN_DTYPES.values(), *OTHER_DEVICES.values()]
    tensors = [matrix() for _ in malformed_tensors]
    for tensor, case in zip(tensors, malformed_tensors, strict=True):
        falsify(tensor, **case)
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


# Drawn tensors ----------------------------------------------------------------------------

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


@settings(max_examples=400)
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

    @settings(max_examples=150, database=None)
    @given(malformed_tensors())
    def count(tensor):
        counts["refused" if isinstance(expected_of(tensor), str) else "read"] += 1

    count()
    assert min(counts.values()) > 20


@pytest.mark.parametrize("wrong", [None, 1, "x", b"x", [1.0], object()])
def test_neither_capsule_nor_producer_is_refused(wrong):
    for importer in (from_dlpack, ZeroCopyArray.from_dlpack):
        with pytest.raises(WrongTypeError, match="a DLPack capsule or an object with __dlpack"):
            importer(wrong)
    for take in (
        importing.consume_capsule,
        importing.view_capsule,
        importing.describe,
        importing.try_consume_capsule,
    ):
        with pytest.raises(InvalidValueError, match="expected a capsule named dltensor or"):
            take(wrong)


def test_own_exports_are_accepted_by_every_importer():
    """What the package exports can be imported in every way."""
    a = np.arange(6.0).reshape(2, 3)
    for version in (None, (1, 0)):
        for importer in IMPORTERS.values():
            assert importer(to_dlpack(a).__dlpack__(max_version=version)).tolist() == a.tolist()


def test_user_defined_dtype_is_refused():
    """User-defined dtypes may have any type number, even a negative one."""
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
