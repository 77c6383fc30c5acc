"""Capsules that are exported: dtypes, strides, flags, versions, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from support.arrays import NATIVE, values
from support.each import for_each
from support.memory import address

from numpack import (
    CopyWarning,
    InvalidValueError,
    UnsupportedError,
    ZeroCopyArray,
    ZeroCopyError,
    share,
)
from numpack._dlpack import importing
from numpack.io import DLPackBuffer, from_dlpack, to_dlpack


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


def test_buffer_has_the_numbers_of_devices_of_dlpack():
    buffer = to_dlpack(np.zeros(3))
    assert buffer.__dlpack_device__() == (DLPackBuffer.kDLCPU, 0) == (1, 0)
    assert (buffer.kDLCUDA, buffer.kDLCUDAHost, buffer.kDLCUDAManaged) == (2, 3, 13)
    assert (buffer.kDLMetal, buffer.kDLROCM, buffer.kDLROCMHost) == (8, 10, 11)
    with pytest.raises(AttributeError):
        buffer.kDLCPU = 2


def describe_capsule(buffer, **keywords):
    return importing.describe(buffer.__dlpack__(**keywords))


@for_each("max_version", [None, (0, 8), (1, 0), (1, 1), (2, 0)])
@for_each("name", NATIVE)
def test_roundtrip_through_a_raw_capsule(name, max_version):
    a = values(name)
    b = from_dlpack(to_dlpack(a).__dlpack__(max_version=max_version), copy=False)
    assert b.dtype == a.dtype
    assert b.tolist() == a.tolist()
    assert address(b) == address(a)
    assert b.flags.writeable


@for_each("name", NATIVE)
def test_buffer_can_be_imported_by_numpy_repeatedly(name):
    a = values(name)
    buffer = to_dlpack(a)
    for _ in range(3):
        assert address(np.from_dlpack(buffer)) == address(a)


@for_each(
    "a",
    [
        np.zeros((2, 3)),
        np.zeros((2, 3)).T,
        np.zeros((1, 5))[::-1],
        np.zeros((0, 4)),
        np.zeros((3, 0, 2)),
        np.array(1.0),
        np.zeros((4, 4))[::2, 1::2],
    ],
    ids=["c", "transposed", "length 1", "empty", "empty middle", "0-d", "sliced"],
)
def test_exported_strides_are_valid(a):
    """Strides are not NULL for ndim > 0, are not negative, and address every element."""
    about = describe_capsule(to_dlpack(a, order="K", copy=False))
    assert about.shape == a.shape
    if a.ndim:
        assert all(stride >= 0 for stride in about.strides)
    if a.size:
        used = [axis for axis, extent in enumerate(a.shape) if extent > 1]
        assert [about.strides[i] * a.itemsize for i in used] == [a.strides[i] for i in used]


def test_order_c_copies_once_and_order_k_keeps_strides():
    a = np.arange(12.0).reshape(3, 4).T
    with pytest.warns(CopyWarning, match="not C-contiguous"):
        buffer = to_dlpack(a)
    assert address(buffer.array) % 64 == 0
    assert np.from_dlpack(buffer).tolist() == a.tolist()
    with pytest.raises(
        ZeroCopyError, match="not C-contiguous.*a copy takes 96 bytes.*order='K'"
    ):
        to_dlpack(a, copy=False)
    assert to_dlpack(a, order="K", copy=False).array is a
    with pytest.raises(InvalidValueError, match="order must be 'C' or 'K'"):
        to_dlpack(a, order="F")


def test_negative_strides_are_not_exported():
    a = np.arange(4.0)[::-1]
    with pytest.raises(ZeroCopyError, match="negative strides"):
        to_dlpack(a, order="K", copy=False)
    with pytest.warns(CopyWarning, match="negative strides"):
        buffer = to_dlpack(a, order="K")
    assert describe_capsule(buffer).strides == (1,)
    assert np.from_dlpack(buffer).tolist() == [3, 2, 1, 0]


def test_requested_copy_is_independent_and_flagged():
    a = np.zeros(3)
    buffer = to_dlpack(a)
    capsule = buffer.__dlpack__(max_version=(1, 0), copy=True)
    assert importing.describe(capsule).copied
    b = from_dlpack(capsule, copy=True)
    b[0] = 7
    assert a[0] == 0
    assert not describe_capsule(buffer, max_version=(1, 0), copy=False).copied


@for_each("device", [(2, 0), (1, 1), (10, 0)])
def test_other_device_is_a_buffer_error(device):
    with pytest.raises(BufferError, match="the memory is on the CPU"):
        to_dlpack(np.zeros(3)).__dlpack__(dl_device=device)
    assert to_dlpack(np.zeros(3)).__dlpack_device__() == (1, 0)


def test_stream_must_be_none():
    with pytest.raises(InvalidValueError, match="the CPU has no streams"):
        to_dlpack(np.zeros(3)).__dlpack__(stream=1)


def test_read_only_array_sets_the_flag_or_is_refused():
    a = np.zeros(3)
    a.flags.writeable = False
    with pytest.raises(BufferError, match="a legacy DLPack capsule cannot say"):
        to_dlpack(a).__dlpack__()
    assert describe_capsule(to_dlpack(a), max_version=(1, 0)).readonly
    b = from_dlpack(to_dlpack(a))
    assert address(b) == address(a)
    assert not b.flags.writeable


@for_each("dtype", ["M8[s]", "m8[ns]", "S3", "U3", "V2", "O", "g", "i4,f8"])
def test_dtype_unknown_to_dlpack_is_refused(dtype):
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match="DLPack has no name for this dtype"):
            to_dlpack(np.zeros(2, dtype), copy=copy)


def test_repr_of_the_buffer():
    assert repr(to_dlpack(np.zeros((2, 3)))) == (
        "DLPackBuffer(float64 array of shape (2, 3), device='cpu')"
    )


def test_share_to_dlpack_and_back_shares_memory():
    a = np.arange(3.0)
    assert address(share(share(a, "dlpack"), "numpy", copy=False)) == address(a)


def test_exported_stride_of_a_length_1_axis():
    odd = np.lib.stride_tricks.as_strided(np.arange(3.0), (1, 3), (1000, 8))
    for make in (ZeroCopyArray, DLPackBuffer):
        assert [np.from_dlpack(make(odd, order="K")).strides for _ in range(3)] == [(24, 8)] * 3
