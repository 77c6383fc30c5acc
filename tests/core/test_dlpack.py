"""DLPack with NumPy alone: both kinds of capsules, old and malformed producers, deleters."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading

import numpy as np
import pytest
from support.arrays import NATIVE, values
from support.dlpack import Producer, Tensor
from support.memory import address

from numpack import (
    CopyWarning,
    InvalidValueError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)
from numpack._dlpack import importing
from numpack.io import from_dlpack, to_dlpack


def describe_capsule(buffer, **keywords):
    return importing.describe(buffer.__dlpack__(**keywords))


@pytest.mark.parametrize("max_version", [None, (0, 8), (1, 0), (1, 1), (2, 0)])
@pytest.mark.parametrize("name", NATIVE)
def test_roundtrip_through_a_raw_capsule(name, max_version):
    a = values(name)
    b = from_dlpack(to_dlpack(a).__dlpack__(max_version=max_version), copy=False)
    assert b.dtype == a.dtype
    assert b.tolist() == a.tolist()
    assert address(b) == address(a)
    assert b.flags.writeable


@pytest.mark.parametrize("name", NATIVE)
def test_buffer_can_be_imported_by_numpy_repeatedly(name):
    a = values(name)
    buffer = to_dlpack(a)
    for _ in range(3):
        assert address(np.from_dlpack(buffer)) == address(a)


@pytest.mark.parametrize(
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


def test_copy_by_the_producer_warns_or_is_refused():
    a = np.zeros(3)
    tensor = Tensor(a)
    tensor.managed.flags = importing.IS_COPIED
    with pytest.warns(CopyWarning, match="its producer made a copy"):
        from_dlpack(tensor.capsule())
    with pytest.raises(ZeroCopyError, match="its producer made a copy"):
        from_dlpack(copied_tensor(a).capsule(), copy=False)


def copied_tensor(a):
    tensor = Tensor(a)
    tensor.managed.flags = importing.IS_COPIED
    return tensor


@pytest.mark.parametrize("device", [(2, 0), (1, 1), (10, 0)])
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


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[ns]", "S3", "U3", "V2", "O", "g", "i4,f8"])
def test_dtype_unknown_to_dlpack_is_refused(dtype):
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match="DLPack has no name for this dtype"):
            to_dlpack(np.zeros(2, dtype), copy=copy)


@pytest.mark.parametrize("versioned", [False, True])
def test_capsule_can_be_consumed_once(versioned):
    tensor = Tensor(np.arange(3.0), versioned=versioned)
    capsule = tensor.capsule()
    a = from_dlpack(capsule)
    with pytest.raises(InvalidValueError, match="was consumed already"):
        from_dlpack(capsule)
    assert a.tolist() == [0, 1, 2]
    b = a[1:]
    del a
    assert tensor.deleted == 0
    del b
    assert tensor.deleted == 1
    del capsule
    gc.collect()
    assert tensor.deleted == 1


def test_capsule_consumed_by_numpy_is_refused():
    class Holder:
        def __init__(self, capsule):
            self.capsule = capsule

        def __dlpack__(self, **_):
            return self.capsule

        def __dlpack_device__(self):
            return (1, 0)

    holder = Holder(to_dlpack(np.zeros(2)).__dlpack__())
    kept = np.from_dlpack(holder)
    with pytest.raises(InvalidValueError, match="capsule"):
        from_dlpack(holder.capsule)
    assert kept.size == 2


def test_explain_does_not_consume_the_capsule():
    capsule = to_dlpack(np.arange(6.0).reshape(2, 3)).__dlpack__()
    assert explain(capsule, "numpy").shares_memory
    assert explain(capsule, "dlpack").shares_memory
    assert from_dlpack(capsule).shape == (2, 3)


@pytest.mark.parametrize(
    "keywords", [(), ("max_version",), ("max_version", "dl_device", "copy")]
)
def test_old_producer_is_called_again_without_unsupported_keywords(keywords):
    tensor = Tensor(np.arange(3.0), versioned=bool(keywords))
    producer = Producer(tensor, keywords)
    assert from_dlpack(producer, copy=False).tolist() == [0, 1, 2]
    assert producer.asked[0] == {"max_version": importing.MAX_VERSION}
    assert tensor.deleted == 1


def test_type_error_of_the_producer_propagates():
    class Broken:
        def __dlpack__(self, **keywords):
            raise TypeError("a fault of my own")

    with pytest.raises(TypeError, match="a fault of my own"):
        from_dlpack(Broken())


def test_buffer_error_of_the_producer_is_a_refusal():
    class Refusing:
        def __dlpack__(self, **keywords):
            raise BufferError("not today")

    with pytest.raises(ZeroCopyError, match="the producer refuses, not today"):
        from_dlpack(Refusing())


def test_read_only_flag_byte_offset_and_null_strides():
    memory = np.arange(6.0)
    tensor = Tensor(memory[:4].reshape(2, 2))
    tensor.managed.flags = importing.READ_ONLY
    tensor.managed.tensor.byte_offset = 16
    tensor.managed.tensor.strides = None
    a = from_dlpack(tensor.capsule(), copy=False)
    assert a.tolist() == [[2, 3], [4, 5]]
    assert not a.flags.writeable
    assert from_dlpack(Tensor(memory).capsule(), copy=True).flags.writeable


def falsify(tensor: Tensor, field: str, value: object) -> None:
    inner = tensor.managed.tensor
    if field in ("code", "bits", "lanes"):
        setattr(inner.dtype, field, value)
    elif field == "extent":
        tensor.shape[0] = value
    elif field == "major":
        tensor.managed.major = value
    else:
        setattr(inner, field, value)


MALFORMED = {
    "unknown type code": ("code", 99, UnsupportedError),
    "odd width": ("bits", 24, UnsupportedError),
    "several lanes": ("lanes", 4, UnsupportedError),
    "no lanes": ("lanes", 0, UnsupportedError),
    "packed four bits": ("bits", 4, UnsupportedError),
    "on a GPU": ("device_type", 2, UnsupportedError),
    "negative ndim": ("ndim", -1, InvalidValueError),
    "huge ndim": ("ndim", 1000, InvalidValueError),
    "no shape": ("shape", None, InvalidValueError),
    "negative extent": ("extent", -5, InvalidValueError),
    "huge extent": ("extent", 2**62, InvalidValueError),
    "no data": ("data", None, InvalidValueError),
    "another major version": ("major", 2, InvalidValueError),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_capsule_is_refused_and_not_consumed(case):
    field, value, error = MALFORMED[case]
    tensor = Tensor(np.arange(4.0).reshape(2, 2))
    falsify(tensor, field, value)
    capsule = tensor.capsule()
    for _ in range(2):  # a refusal does not consume the capsule
        with pytest.raises(error):
            from_dlpack(capsule)
    assert tensor.deleted == 0


def test_null_deleter_is_accepted():
    tensor = Tensor(np.arange(3.0))
    tensor.managed.deleter = None
    assert from_dlpack(tensor.capsule()).tolist() == [0, 1, 2]


def test_empty_tensor_may_have_null_data():
    tensor = Tensor(np.empty((0, 3)))
    tensor.managed.tensor.data = None
    a = from_dlpack(tensor.capsule())
    assert a.shape == (0, 3)
    assert tensor.deleted == 1


class OnDevice(Producer):
    """A producer of memory on another device, which it can copy to the CPU."""

    def __init__(self, can_move: bool):
        there, here = Tensor(np.zeros(3)), Tensor(np.arange(3.0))
        there.managed.tensor.device_type = 2
        super().__init__(there, ("max_version", "dl_device", "stream"), device=(2, 0))
        self.here, self.can_move = here, can_move

    def __dlpack__(self, **keywords):
        if keywords.get("dl_device") == (1, 0):
            if not self.can_move:
                raise BufferError("cannot move")
            return self.here.capsule()
        return super().__dlpack__(**keywords)


def test_memory_on_another_device_is_copied_by_the_producer():
    assert explain(OnDevice(True), "numpy").nbytes == 24
    with pytest.warns(CopyWarning, match=r"on device \(2, 0\).*a copy takes 24 bytes"):
        assert from_dlpack(OnDevice(True)).tolist() == [0, 1, 2]
    with pytest.raises(ZeroCopyError, match=r"on device \(2, 0\)"):
        from_dlpack(OnDevice(True), copy=False)
    assert from_dlpack(OnDevice(True), copy=True).tolist() == [0, 1, 2]
    with pytest.raises(BufferError, match="cannot move"):
        from_dlpack(OnDevice(False), copy=True)


@pytest.mark.parametrize("device", [None, "cpu", (1, 0)])
def test_cpu_device_is_accepted(device):
    assert from_dlpack(to_dlpack(np.zeros(3)), device=device, copy=False).size == 3


@pytest.mark.parametrize("device", ["cuda", (2, 0), 7])
@pytest.mark.parametrize(
    "source", [np.zeros(3), to_dlpack(np.zeros(3))], ids=["array", "buffer"]
)
def test_other_target_device_is_refused(source, device):
    with pytest.raises(InvalidValueError, match="NumPy arrays live on the CPU"):
        from_dlpack(source, device=device)


@pytest.mark.parametrize("wrong", [[1, 2], 3.0, None, "x"])
def test_error_names_the_wrong_type(wrong):
    with pytest.raises(WrongTypeError, match="got (list|float|NoneType|str); pass np.asarray"):
        from_dlpack(wrong)
    with pytest.raises(WrongTypeError, match="to_dlpack expects a numpy.ndarray, got "):
        to_dlpack(wrong)


def test_capsule_of_another_name_is_refused():
    new = ctypes.PyDLL(None).PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    with pytest.raises(InvalidValueError, match="expected a capsule named dltensor"):
        from_dlpack(new(1, b"arrow_array", None))


def test_repr_of_the_buffer():
    assert repr(to_dlpack(np.zeros((2, 3)))) == (
        "DLPackBuffer(float64 array of shape (2, 3), device='cpu')"
    )


def test_share_to_dlpack_and_back_shares_memory():
    a = np.arange(3.0)
    assert address(share(share(a, "dlpack"), "numpy", copy=False)) == address(a)


def test_stride_of_a_length_1_axis_is_ignored():
    tensor = Tensor(np.arange(6.0).reshape(1, 6))
    tensor.strides[0] = 2**62
    assert from_dlpack(tensor.capsule(), copy=False).tolist() == [[0, 1, 2, 3, 4, 5]]


def test_stride_beyond_the_address_space_is_refused():
    tensor = Tensor(np.arange(6.0).reshape(2, 3))
    tensor.strides[0] = 2**62
    with pytest.raises(InvalidValueError, match="which exceed the address space"):
        from_dlpack(tensor.capsule())
    assert tensor.deleted == 0


def test_two_threads_consume_one_capsule():
    """One thread gets the array, the other is refused, and the deleter runs once."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(500):
            tensor, taken = Tensor(np.arange(3.0)), []
            capsule, start = tensor.capsule(), threading.Barrier(2)

            def take(capsule=capsule, start=start, taken=taken):
                start.wait()
                try:
                    taken.append(from_dlpack(capsule))
                except InvalidValueError:
                    taken.append(None)

            threads = [threading.Thread(target=take) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sum(each is not None for each in taken) == 1
            taken.clear()
            assert tensor.deleted == 1
    finally:
        sys.setswitchinterval(before)
