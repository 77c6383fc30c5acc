"""The tables of C functions by which DLPack goes without a Python call: ours and others'.

Ours are called here as a foreign framework does. Those of others are made by hand, and some
of them lie or fail.
"""

from __future__ import annotations

import ctypes
import gc
import sys

import numpy as np
import pytest
from support.arrays import NATIVE, values
from support.dlpack import LEGACY, DLTensor, Tensor
from support.memory import address
from support.native import delete, join, libc, name_of, start_deleter
from support.tables import (
    ATTRIBUTE,
    NAME,
    OUT,
    STREAM,
    VOID,
    Table,
    allocate,
    failed,
    framework,
    from_py_object,
    native,
    publish,
    steady,
    table_of,
    to_py_object,
)

from numpack import (
    CopyWarning,
    InvalidValueError,
    NumpackError,
    UnsupportedError,
    ZeroCopyArray,
    ZeroCopyError,
    explain,
    share,
)
from numpack._dlpack import fast_path
from numpack._dlpack.importing import IS_COPIED, PADDED, READ_ONLY
from numpack.io import DLPackBuffer, from_dlpack

CLASSES = {"buffer": DLPackBuffer, "array": ZeroCopyArray}


@pytest.fixture(params=CLASSES)
def cls(request):
    return CLASSES[request.param]


def described(managed):
    """What a managed tensor says: shape and strides in elements, data type, flags."""
    tensor = managed.tensor
    dtype = tensor.dtype
    return (
        tuple(tensor.shape[: tensor.ndim]),
        tuple(tensor.strides[: tensor.ndim]),
        (dtype.code, dtype.bits, dtype.lanes),
        managed.flags,
    )


# Ours: what is published ------------------------------------------------------------------


def test_table_is_published_on_the_type(cls):
    assert name_of(getattr(cls, ATTRIBUTE)) == NAME
    assert ATTRIBUTE in cls.__dict__
    table = table_of(cls)
    assert table.major == 1
    assert table.minor >= 3
    assert not table.prev_api
    assert not table.borrow  # nothing is lent that could dangle
    assert table.allocator
    assert table.from_py_object
    assert table.to_py_object


def test_each_class_has_a_table_of_its_own():
    assert table_of(DLPackBuffer).to_py_object != table_of(ZeroCopyArray).to_py_object


def test_there_are_no_streams(cls):
    out = VOID(1)
    call = STREAM(table_of(cls).current_work_stream)
    assert call(1, 0, ctypes.byref(out)) == 0
    assert not out


# Ours: from an object ---------------------------------------------------------------------

CODES = {"b": 6, "i": 0, "u": 1, "f": 2, "c": 5}


@pytest.mark.parametrize("name", NATIVE)
def test_from_object_shares(cls, name):
    a = values(name)
    before = sys.getrefcount(a)
    managed = from_py_object(cls, cls(a))
    assert (managed.major, managed.minor) == (1, 3)
    assert managed.tensor.data == address(a)
    assert managed.tensor.byte_offset == 0
    assert (managed.tensor.device_type, managed.tensor.device_id) == (1, 0)
    dtype = (CODES[a.dtype.kind], 8 * a.itemsize, 1)
    assert described(managed) == (a.shape, (6, 1), dtype, 0)
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
    shape, strides, _, flags = described(managed)
    assert shape == a.shape
    assert all(stride >= 0 for stride in strides)
    assert bool(managed.tensor.strides) or not a.ndim
    assert flags == 0
    if a.size:
        used = [axis for axis, extent in enumerate(shape) if extent > 1]
        assert [8 * strides[axis] for axis in used] == [a.strides[axis] for axis in used]
        assert managed.tensor.data == address(a)
    delete(managed)


def test_from_object_that_is_read_only_says_so(cls):
    a = np.arange(3.0)
    a.flags.writeable = False
    before = sys.getrefcount(a)
    managed = from_py_object(cls, cls(a))
    assert managed.flags == READ_ONLY
    assert managed.tensor.data == address(a)
    delete(managed)
    gc.collect()
    assert sys.getrefcount(a) == before


def test_from_object_over_a_mapped_file_cannot_reach_the_file(cls, tmp_path):
    np.arange(5.0).tofile(tmp_path / "x")
    a = np.memmap(tmp_path / "x", "f8", "r")
    managed = from_py_object(cls, cls(a))
    data = (ctypes.c_double * 5).from_address(managed.tensor.data)
    assert list(data) == [0, 1, 2, 3, 4]
    data[0] = 7  # by a consumer that looks at no flag
    assert a[0] == 0
    assert np.fromfile(tmp_path / "x")[0] == 0
    delete(managed)


def test_from_object_brings_negative_strides_to_form(cls):
    a = np.arange(4.0)[::-1]
    with pytest.warns(CopyWarning):
        managed = from_py_object(cls, cls(a, order="K"))
    assert described(managed)[1] == (1,)
    assert list((ctypes.c_double * 4).from_address(managed.tensor.data)) == [3, 2, 1, 0]
    delete(managed)


@pytest.mark.parametrize("wrong", [None, 3, "x", np.zeros(3), object(), DLPackBuffer])
def test_from_object_of_another_type_is_refused(cls, wrong):
    out = VOID()
    with pytest.raises(TypeError):
        table_of_call(cls)(wrong, ctypes.byref(out))
    assert not out


def table_of_call(cls):
    from support.tables import FROM_PY

    return FROM_PY(table_of(cls).from_py_object)


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
def test_from_object_that_dlpack_cannot_name_is_refused(a):
    held = ZeroCopyArray(a)
    before = sys.getrefcount(a)
    for _ in range(3):
        with pytest.raises(UnsupportedError, match="to DLPack failed"):
            from_py_object(ZeroCopyArray, held)
    gc.collect()
    assert sys.getrefcount(a) == before


def test_from_object_that_was_never_initialised_is_refused(cls):
    with pytest.raises(Exception, match="NoneType"):
        from_py_object(cls, cls.__new__(cls))


def test_from_object_that_gives_a_legacy_capsule_of_its_own():
    """A subclass may export as it likes; a legacy tensor is never taken for another."""

    class Legacy(ZeroCopyArray):
        def __dlpack__(self, **keywords):
            return DLPackBuffer(np.arange(4.0)).__dlpack__()

    frozen = np.zeros(4)
    frozen.flags.writeable = False
    door = Legacy(frozen)
    assert name_of(door.__dlpack__()) == LEGACY
    try:
        managed = from_py_object(Legacy, door)
    except NumpackError:
        return
    assert managed.major == 1
    assert managed.tensor.ndim == 1
    delete(managed)


def test_from_object_of_a_subclass_that_exports_something_else():
    class Doubled(ZeroCopyArray):
        def __dlpack__(self, **keywords):
            return ZeroCopyArray(2 * self.array).__dlpack__(**keywords)

    door = Doubled(np.arange(3.0))
    assert np.from_dlpack(door).tolist() == [0, 2, 4]
    managed = from_py_object(Doubled, door)
    assert list((ctypes.c_double * 3).from_address(managed.tensor.data)) == [0, 2, 4]
    delete(managed)


# Ours: to an object -----------------------------------------------------------------------


def test_to_object_shares_and_owns(cls):
    tensor = Tensor(np.arange(6.0).reshape(2, 3))
    door = to_py_object(cls, tensor)
    assert type(door) is cls
    assert address(door.array) == address(tensor.array)
    assert door.array.tolist() == [[0, 1, 2], [3, 4, 5]]
    door.array[0, 0] = 7
    assert tensor.array[0, 0] == 7
    kept = door.array
    del door
    assert tensor.deleted == 0
    del kept
    assert tensor.deleted == 1


@pytest.mark.parametrize("flags", [READ_ONLY, READ_ONLY | IS_COPIED], ids=str)
def test_to_object_keeps_what_is_read_only(cls, flags):
    tensor = Tensor(np.arange(3.0))
    tensor.managed.flags = flags
    door = to_py_object(cls, tensor)
    assert not door.array.flags.writeable
    assert address(door.array) == address(tensor.array)
    del door
    assert tensor.deleted == 1


def test_to_object_takes_a_copy_as_its_own(cls):
    """Whose copy it is does not matter to who gets it: there is nobody to warn."""
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
    """What a consumer is given, it shares, whatever its strides."""
    tensor = Tensor(a)
    door = to_py_object(cls, tensor)
    assert address(door.array) == address(a)
    assert door.array.strides == a.strides
    del door
    assert tensor.deleted == 1


def test_to_object_and_from_it_again_is_the_same_memory(cls):
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


def falsified(**fields) -> Tensor:
    tensor = Tensor(np.arange(6.0).reshape(2, 3))
    for field, value in fields.items():
        if field in ("code", "bits", "lanes"):
            setattr(tensor.managed.tensor.dtype, field, value)
        elif field in ("major", "flags"):
            setattr(tensor.managed, field, value)
        elif field == "extent":
            tensor.shape[0] = value
        elif field == "stride":
            tensor.strides[0] = value
        else:
            setattr(tensor.managed.tensor, field, value)
    return tensor


LIES = {
    "a newer major version": {"major": 2},
    "an older major version": {"major": 0},
    "on a GPU": {"device_type": 2},
    "an unknown type code": {"code": 99},
    "an odd width": {"bits": 24},
    "no width": {"bits": 0},
    "no lanes": {"lanes": 0},
    "two lanes": {"lanes": 2},
    "packed four bits": {"bits": 4, "code": 0},
    "negative ndim": {"ndim": -1},
    "too many dimensions": {"ndim": 65},
    "no shape": {"shape": None},
    "a negative extent": {"extent": -1},
    "a huge extent": {"extent": 2**62},
    "no data": {"data": None},
    "strides that leave memory": {"stride": 2**61},
    "strides that leave it below": {"stride": -(2**61)},
}


@pytest.mark.parametrize("lie", LIES)
def test_to_object_that_numpy_cannot_hold_is_refused_and_freed(cls, lie):
    tensor = falsified(**LIES[lie])
    out = VOID()
    with pytest.raises(BufferError, match="cannot read"):
        to_py_object(cls, tensor)
    assert not out
    assert tensor.deleted == 1


# Ours: memory -----------------------------------------------------------------------------


def prototype(shape, *, code=2, bits=64, lanes=1, device=1, device_id=0, **fields):
    tensor = DLTensor(ndim=len(shape), device_type=device, device_id=device_id, **fields)
    tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = code, bits, lanes
    extents = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    tensor.shape = extents
    tensor.kept = extents
    return tensor


def c_order(shape) -> tuple[int, ...]:
    steps = [1]
    for extent in reversed(shape[1:]):
        steps.append(steps[-1] * extent)
    return tuple(reversed(steps))[: len(shape)]


size_of = libc["malloc_size" if sys.platform == "darwin" else "malloc_usable_size"]
size_of.restype, size_of.argtypes = ctypes.c_size_t, [VOID]


@pytest.mark.parametrize(
    "shape", [(), (1,), (5,), (2, 3, 4), (0,), (3, 0, 2), (1,) * 64, (1000, 1000)], ids=str
)
def test_allocated_memory_is_aligned_and_in_c_order(cls, shape):
    made = allocate(cls, prototype(shape))
    assert (made.major, made.minor) == (1, 3)
    tensor = made.tensor
    assert tensor.data
    assert tensor.data % 64 == 0
    assert tensor.ndim == len(shape)
    assert tensor.byte_offset == 0
    assert (tensor.device_type, tensor.device_id) == (1, 0)
    assert described(made) == (shape, c_order(shape), (2, 64, 1), 0)
    size = 8 * int(np.prod(shape))
    ctypes.memset(tensor.data, 255, size)
    join(start_deleter(made))


def test_allocated_tensor_is_read_by_our_own_class(cls):
    made = allocate(cls, prototype((2, 3), bits=32))
    door = to_py_object(cls, made)
    door.array[...] = 1
    assert door.array.dtype == np.float32
    assert door.array.sum() == 6
    assert address(door.array) == made.tensor.data


def test_shape_of_the_prototype_is_not_kept(cls):
    wanted = prototype((2, 3))
    made = allocate(cls, wanted)
    wanted.shape[0] = 99
    assert described(made)[0] == (2, 3)
    delete(made)


def test_strides_and_data_of_the_prototype_do_not_matter(cls):
    wanted = prototype((2, 3), data=12345, byte_offset=99)
    wanted.strides = (ctypes.c_int64 * 2)(2**62, -(2**62))
    made = allocate(cls, wanted)
    assert described(made)[1] == (3, 1)
    assert made.tensor.data not in (12345, 12345 + 99)
    assert made.tensor.byte_offset == 0
    delete(made)


@pytest.mark.parametrize(
    ("bits", "lanes", "nbytes"),
    [
        (1, 1, 1000),
        (4, 1, 1000),
        (8, 1, 1000),
        (8, 3, 3000),
        (4, 3, 2000),
        (12, 1, 2000),
        (24, 1, 3000),
        (128, 4, 64000),
        (16, 65535, 131_070_000),
    ],
)
def test_allocated_memory_holds_every_element(cls, bits, lanes, nbytes):
    """Each takes whole bytes: `bits` × `lanes`, rounded up."""
    made = allocate(cls, prototype((10, 100), code=0, bits=bits, lanes=lanes))
    if not isinstance(made, list):
        assert size_of(made.tensor.data) >= nbytes
        delete(made)
    else:
        assert made[0][0] == b"BufferError"


def test_less_than_a_byte_is_allocated_padded(cls):
    made = allocate(cls, prototype((3,), code=0, bits=4))
    assert described(made)[2:] == ((0, 4, 1), PADDED)
    delete(made)


@pytest.mark.parametrize(
    "wanted",
    [
        prototype((3,), device=2),
        prototype((3,), device=10),
        prototype((3,), device=0),
        prototype((-1,)),
        prototype((2, -3)),
        prototype((2**61,)),
        prototype((2**40, 2**40)),
        prototype((1,) * 65),
        DLTensor(ndim=-1, device_type=1),
        DLTensor(ndim=2, device_type=1),
        DLTensor(ndim=2**31 - 1, device_type=1),
    ],
    ids=[
        "CUDA",
        "ROCm",
        "no device",
        "negative",
        "negative later",
        "huge",
        "overflow",
        "65 axes",
        "negative ndim",
        "no shape",
        "huge ndim",
    ],
)
def test_what_cannot_be_allocated_is_reported(cls, wanted):
    errors = allocate(cls, wanted)
    assert [kind for kind, _ in errors] == [b"BufferError"]
    assert b"numpack" in errors[0][1]


@pytest.mark.parametrize("shape", [(2**58,), (2**20, 2**20, 2**17)], ids=str)
def test_what_no_memory_is_there_for_is_reported(cls, shape):
    assert [kind for kind, _ in allocate(cls, prototype(shape))] == [b"MemoryError"]


def test_deleter_frees_what_was_allocated(cls):
    from support.memory import resident_bytes

    before = resident_bytes()
    for _ in range(800):
        made = allocate(cls, prototype((2**20,), bits=8))
        ctypes.memset(made.tensor.data, 1, 2**20)
        delete(made)
    assert resident_bytes() - before < 400 * 2**20  # of 800; some tools keep 256 for a while


def test_allocator_works_without_the_gil_and_without_python(cls):
    """It reports by `SetError` alone, so that it may be called on whatever thread."""
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(DLTensor), OUT, VOID, VOID)
    out = VOID()
    wanted = prototype((4,))
    status = call(table_of(cls).allocator)(ctypes.byref(wanted), ctypes.byref(out), None, None)
    assert status == 0
    made = from_address(out)
    assert made.tensor.data % 64 == 0
    delete(made)


def from_address(out):
    from support.dlpack import Versioned

    return Versioned.from_address(out.value)


# Theirs: an honest table ------------------------------------------------------------------


def connected(kind):
    fast_path.register_fast_path(None, (kind,))
    return kind


def twice(kind):
    """Let the first object of a type open its door, as a user's call does."""
    tensor = Tensor(np.zeros(1))
    assert from_dlpack(kind(tensor, tensor)).tolist() == [0]
    assert kind.asked == 1
    kind.asked = kind.calls = 0
    return kind


@pytest.fixture(params=["connect", "from_dlpack"])
def opened(request):
    """Ways to open the door of a type."""
    return connected if request.param == "connect" else twice


def test_honest_table_is_all_that_is_asked(opened):
    kind = opened(framework())
    tensor = Tensor(np.arange(6.0).reshape(2, 3).T)
    a = from_dlpack(kind(tensor))
    assert (kind.calls, kind.asked) == (1, 0)
    assert address(a) == address(tensor.array)
    assert a.strides == tensor.array.strides
    assert a.flags.writeable
    kept = a[1:]
    del a
    gc.collect()
    assert tensor.deleted == 0
    del kept
    assert tensor.deleted == 1


WAYS = {
    "from_dlpack": lambda x: from_dlpack(x),
    "from_dlpack copy=None": lambda x: from_dlpack(x, copy=None),
    "from_dlpack copy=False": lambda x: from_dlpack(x, copy=False),
    "share": lambda x: share(x, "numpy"),
    "share copy=None": lambda x: share(x, "numpy", copy=None),
    "share copy=False": lambda x: share(x, "numpy", copy=False),
    "take": lambda x: fast_path.try_import(x),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_that_shares_uses_the_table(way):
    kind = connected(framework())
    tensor = Tensor(np.arange(3.0))
    a = WAYS[way](kind(tensor, tensor))
    assert a.tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (1, 0)
    del a
    assert tensor.deleted == 1


def test_copy_is_independent_and_frees_the_tensor():
    kind = connected(framework())
    tensor = Tensor(np.arange(3.0))
    a = from_dlpack(kind(tensor, tensor), copy=True)
    a[0] = 7
    assert tensor.array[0] == 0
    assert tensor.deleted == 1


def test_explain_asks_the_protocol_alone():
    kind = connected(framework())
    tensor = Tensor(np.arange(3.0))
    assert explain(kind(tensor, tensor), "numpy").shares_memory
    assert (kind.calls, kind.asked) == (0, 1)
    assert tensor.deleted == 0  # the raw capsule made by hand deletes nothing


def test_subclass_is_asked_by_the_protocol(opened):
    """Its ``__dlpack__`` may do something else, of which the table knows nothing."""
    kind = opened(framework())

    class Sub(kind):
        def __dlpack__(self, **keywords):
            return Tensor_kept(np.array([5.0])).capsule()

    steady(Sub)
    for _ in range(2):
        assert from_dlpack(Sub(Tensor(np.arange(3.0)))).tolist() == [5]
    assert kind.calls == 0


def test_type_that_only_inherits_a_table_is_asked_by_the_protocol():
    kind = framework()
    tensor = Tensor(np.arange(3.0))
    sub = steady(type("Sub", (kind,), {}))
    assert from_dlpack(connected(sub)(None, tensor)).tolist() == [0, 1, 2]
    assert sub.asked == 1
    assert kind.calls == 0


_tensors = []


def Tensor_kept(a):
    _tensors.append(Tensor(a))
    return _tensors[-1]


def test_read_only_flag_is_honoured(opened):
    kind = opened(framework())
    tensor = Tensor(np.arange(3.0))
    tensor.managed.flags = READ_ONLY
    a = from_dlpack(kind(tensor))
    assert not a.flags.writeable
    with pytest.raises(ValueError, match="read-only|WRITEABLE"):
        a.flags.writeable = True
    del a
    assert tensor.deleted == 1


def test_door_may_make_everything_read_only():
    kind = framework()
    fast_path.register_fast_path(None, (kind,), readonly=True)
    assert not from_dlpack(kind(Tensor(np.arange(3.0)))).flags.writeable


@pytest.mark.parametrize("module", ["jax", "jaxlib._jax"])
def test_arrays_of_a_framework_that_never_change_stay_read_only(module):
    """Their capsules do not say so; neither would their table."""
    kind = framework()
    kind.__module__ = module
    for _ in range(3):
        tensor = Tensor(np.arange(3.0))
        assert not from_dlpack(kind(tensor, tensor)).flags.writeable


def test_null_deleter_is_not_called(opened):
    kind = opened(framework())
    tensor = Tensor(np.arange(3.0))
    tensor.managed.deleter = None
    a = from_dlpack(kind(tensor))
    assert a.tolist() == [0, 1, 2]
    del a
    assert tensor.deleted == 0


def test_empty_tensor_is_freed_at_once(opened):
    kind = opened(framework())
    tensor = Tensor(np.empty((2, 0)))
    tensor.managed.tensor.data = None
    assert from_dlpack(kind(tensor)).shape == (2, 0)
    assert tensor.deleted == 1
    assert kind.asked == 0


def test_arrays_and_deleters_on_other_threads(opened):
    import threading

    kind = opened(framework())
    tensors = [Tensor(np.arange(3.0)) for _ in range(20)]
    held = []
    threads = [
        threading.Thread(target=lambda t=t: held.append(from_dlpack(kind(t)))) for t in tensors
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 20
    assert not any(tensor.deleted for tensor in tensors)
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert [tensor.deleted for tensor in tensors] == [1] * 20


def test_many_types_have_a_door_each():
    kinds = [connected(framework()) for _ in range(200)]
    for number, kind in enumerate(kinds):
        assert from_dlpack(kind(Tensor(np.array([float(number)])))).tolist() == [number]
        assert (kind.calls, kind.asked) == (1, 0)


def test_door_that_is_open_stays_as_it_is():
    kind = framework()
    fast_path.register_fast_path(None, (kind,), readonly=True)
    fast_path.register_fast_path(None, (kind,))
    assert not from_dlpack(kind(Tensor(np.arange(3.0)))).flags.writeable


# Theirs: which table is used --------------------------------------------------------------


def test_older_version_behind_a_newer_one_is_used():
    kind = framework()
    old = table_of(kind)
    publish(kind, Table(major=2, minor=0, prev_api=ctypes.addressof(old), from_py_object=1))
    tensor = Tensor(np.arange(3.0))
    assert from_dlpack(connected(kind)(tensor)).tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (1, 0)


def unusable_table(how):
    kind = framework()
    if how == "another major version":
        publish(kind, Table(major=2, minor=0, from_py_object=1))
    elif how == "another name":
        publish(kind, table_of(kind), b"dlpack_exchange_api_v2")
    elif how == "no name":
        publish(kind, table_of(kind), None)
    elif how == "no capsule":
        setattr(kind, ATTRIBUTE, 12345)
    else:
        setattr(kind, ATTRIBUTE, property(lambda self: 1 / 0))
    return kind


@pytest.mark.parametrize(
    "how", ["another major version", "another name", "no name", "no capsule", "a property"]
)
def test_table_that_is_not_known_is_not_used(how):
    kind = unusable_table(how)
    for _ in range(3):
        tensor = Tensor(np.arange(3.0))
        a = from_dlpack(kind(tensor, tensor))
        assert a.tolist() == [0, 1, 2]
        del a
        assert tensor.deleted == 1
    assert kind.calls == 0
    assert kind.asked == 3


def test_type_whose_objects_alone_have_the_protocol():
    """What a user asked for was done; that there is no quicker way is no reason to fail."""
    kind = framework()
    bare = type("Bare", (), {ATTRIBUTE: getattr(kind, ATTRIBUTE)})
    tensor = Tensor(np.arange(3.0))
    obj = bare()
    obj.tensor, obj.__dlpack__ = tensor, lambda **_: tensor.capsule()
    a = from_dlpack(obj)
    assert a.tolist() == [0, 1, 2]
    del a
    assert tensor.deleted == 1


# Theirs: tables that fail or lie ----------------------------------------------------------


def failing(error=None, status=None):
    """A type whose table's function is ``PyObject_AsFileDescriptor``.

    That calls the object's ``fileno``: what it raises is set and -1 is given back; the
    number that it returns is given back too, with no exception set.
    """
    kind = framework(native("PyObject_AsFileDescriptor"))

    def fileno(self):
        type(self).calls += 1
        if error is not None:
            raise error
        return status

    kind.fileno = fileno
    return connected(kind)


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), TypeError("x"), BufferError("x"), MemoryError("x")], ids=repr
)
def test_failure_falls_back_to_the_protocol(error):
    kind = failing(error)
    tensor = Tensor(np.arange(3.0))
    for convert in (from_dlpack, lambda x: share(x, "numpy")):
        assert convert(kind(None, tensor)).tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (2, 2)
    assert tensor.deleted == 2


def test_failure_of_both_is_explained_by_the_protocol():
    def refuse():
        raise BufferError("these are not the values that you look for")

    kind = failing(RuntimeError("from the table"))
    with pytest.raises(ZeroCopyError, match="refuses, these are not the values") as caught:
        from_dlpack(kind(None, refuse))
    assert "from the table" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_is_passed_on(error):
    kind = failing(error())
    with pytest.raises(error):
        from_dlpack(kind(None, Tensor(np.arange(3.0))))
    assert kind.asked == 0


def test_failure_without_an_exception_falls_back_too():
    kind = failing(status=7)
    tensor = Tensor(np.arange(3.0))
    assert from_dlpack(kind(None, tensor)).tolist() == [0, 1, 2]
    assert kind.calls == 1


def test_success_without_a_tensor_does_not_kill_the_process(run_python):
    run_python(
        """
import numpy as np
from numpack._dlpack import fast_path
from numpack.io import from_dlpack
from support.dlpack import Tensor
from support.tables import framework
kind = framework(lambda obj, out: 0)
fast_path.register_fast_path(None, (kind,))
assert from_dlpack(kind(None, Tensor(np.arange(3.0)))).tolist() == [0, 1, 2]
"""
    )


@pytest.mark.parametrize("lie", LIES)
def test_lie_of_a_table_is_freed_once_and_the_protocol_asked(lie, opened):
    kind = opened(framework())
    lying, honest = falsified(**LIES[lie]), Tensor(np.arange(3.0))
    a = from_dlpack(kind(lying, honest))
    assert (kind.calls, kind.asked) == (1, 1)
    assert lying.deleted == 1
    assert a.tolist() == [0, 1, 2]
    del a
    assert honest.deleted == 1


EXPLAINED = {
    "an unknown type code": (UnsupportedError, "no dtype"),
    "two lanes": (UnsupportedError, "no dtype"),
    "a newer major version": (InvalidValueError, "is of DLPack 2"),
    "no data": (InvalidValueError, "pointer is NULL"),
    "a negative extent": (InvalidValueError, "negative extent"),
    "strides that leave memory": (InvalidValueError, "exceed the address space"),
}


@pytest.mark.parametrize("lie", EXPLAINED)
def test_lie_of_both_is_explained(lie, opened):
    kind = opened(framework())
    error, message = EXPLAINED[lie]
    for convert in (from_dlpack, lambda x: share(x, "numpy")):
        tensor, again = falsified(**LIES[lie]), falsified(**LIES[lie])
        with pytest.raises(error, match=message):
            convert(kind(tensor, again))
        assert tensor.deleted == 1
        assert again.deleted == 0  # its capsule was left alone


def test_lie_of_both_about_the_device_is_a_copy_that_the_producer_cannot_make(opened):
    kind = opened(framework())
    tensor, again = falsified(device_type=2), falsified(device_type=2)
    with (
        pytest.warns(CopyWarning, match=r"on device \(2, 0\)"),
        pytest.raises(UnsupportedError, match="its producer cannot move it"),
    ):
        from_dlpack(kind(tensor, again))
    assert tensor.deleted == 1
    assert again.deleted == 0


def test_copy_made_by_a_table_is_not_silent(opened):
    kind = opened(framework())
    tensor, again = Tensor(np.arange(3.0)), Tensor(np.arange(3.0))
    tensor.managed.flags = again.managed.flags = IS_COPIED
    with pytest.warns(CopyWarning, match="its producer made a copy"):
        a = from_dlpack(kind(tensor, again))
    assert a.tolist() == [0, 1, 2]
    del a
    assert (tensor.deleted, again.deleted) == (1, 1)
    with pytest.raises(ZeroCopyError, match="its producer made a copy"):
        from_dlpack(kind(tensor, again), copy=False)
    assert again.deleted == 1


# Theirs: guards ---------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [True, None, 0, 1, "no"])
def test_guard_lets_pass_what_it_says_false_for_alone(answer):
    kind = framework()
    fast_path.register_fast_path(None, (kind,), guard=lambda obj: answer)
    tensor = Tensor(np.arange(3.0))
    assert fast_path.try_import(kind(tensor)) is None
    assert from_dlpack(kind(tensor, tensor)).tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (0, 1)


def test_guard_that_fails_is_no_failure_of_the_call():
    kind = framework()
    fast_path.register_fast_path(None, (kind,), guard=lambda obj: 1 / 0)
    tensor = Tensor(np.arange(3.0))
    assert from_dlpack(kind(tensor, tensor)).tolist() == [0, 1, 2]
    assert kind.calls == 0


def test_dtype_guard_is_asked_for_complex_numbers_and_bytes_alone():
    asked = []
    kind = framework()
    fast_path.register_fast_path(None, (kind,), dtype_guard=lambda obj: asked.append(1) is None)
    real = Tensor(np.arange(3.0))
    assert from_dlpack(kind(real)).tolist() == [0, 1, 2]
    assert not asked
    tensor = Tensor(np.array([1 + 2j]))
    tensor.managed.tensor.dtype.code = 5
    assert from_dlpack(kind(tensor, tensor)).tolist() == [1 + 2j]
    assert asked == [1]
    assert (kind.calls, kind.asked) == (2, 1)
    assert tensor.deleted == 2
    tensor = Tensor(np.array([1, 2], "i1"))
    tensor.managed.tensor.dtype.code = 0
    assert from_dlpack(kind(tensor, tensor)).tolist() == [1, 2]
    assert asked == [1, 1]


# Theirs: objects made by a table ----------------------------------------------------------


class Given:
    """What a consumer by hand does with a managed tensor that it is given."""

    def __init__(self, name, behave):
        self.managed: list[int] = []

        def to_py(managed, out):
            from support.dlpack import Versioned

            tensor = Versioned.from_address(managed)
            self.managed.append(tensor)
            return behave(self, tensor, out)

        kind = framework(to_py=to_py)
        self.result = kind(None, Tensor(np.arange(1.0)))
        fast_path.register_fast_path(name, (kind,))

    def succeed(self, out):
        ctypes.PyDLL(None).Py_IncRef(ctypes.py_object(self.result))
        out[0] = id(self.result)
        return 0


def test_object_made_by_a_table_holds_the_array_until_it_deletes():
    given = Given("keeps", lambda self, tensor, out: self.succeed(out))
    a = np.arange(3.0)
    result = given.result
    before, held = sys.getrefcount(a), sys.getrefcount(result)
    made = fast_path.try_export(a, "keeps")
    assert made is result
    del made
    assert sys.getrefcount(result) == held
    assert sys.getrefcount(a) == before + 1
    assert given.managed[0].tensor.data == address(a)
    delete(given.managed[0])
    assert sys.getrefcount(a) == before


def test_object_that_took_a_copy_and_deleted_at_once():
    def behave(self, tensor, out):
        delete(tensor)
        return self.succeed(out)

    given = Given("copies", behave)
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    assert fast_path.try_export(a, "copies") is given.result
    assert sys.getrefcount(a) == before


@pytest.mark.parametrize("says_why", [True, False])
@pytest.mark.parametrize("deletes", [False, True])
def test_consumer_that_fails_leaves_no_reference(deletes, says_why):
    """On failure the tensor is the consumer's all the same, but some forget it."""

    def behave(self, tensor, out):
        if deletes:
            delete(tensor)
        return failed(says_why)

    name = f"fails {deletes} {says_why}"
    given = Given(name, behave)
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    for _ in range(3):
        assert fast_path.try_export(a, name) is None
        assert sys.getrefcount(a) == before
    assert len(given.managed) == 3


@pytest.mark.parametrize(
    "a",
    [
        np.arange(3.0)[::-1],
        np.arange(3, dtype=">i4"),
        np.zeros(3, "M8[s]"),
        np.frombuffer(b"\0" * 9, "u1")[1:].view("f8"),
        np.broadcast_to(1.0, 3),
        np.zeros(2, "i4,f8"),
        np.ma.array([1.0, 2.0], mask=[False, True]),
        [1.0],
        None,
    ],
    ids=[
        "reversed",
        "swapped",
        "datetime",
        "misaligned",
        "read-only",
        "struct",
        "masked",
        "list",
        "None",
    ],
)
def test_what_a_consumer_cannot_take_as_it_lies_is_not_given(a):
    given = Given("takes all", lambda self, tensor, out: self.succeed(out))
    assert fast_path.try_export(a, "takes all") is None
    assert not given.managed


def test_consumer_that_succeeds_without_an_object_does_not_kill_the_process(run_python):
    run_python(
        """
import sys
import numpy as np
from numpack._dlpack import fast_path
from support.tables import framework
fast_path.register_fast_path("says yes", (framework(to_py=lambda managed, out: 0),))
a = np.arange(3.0)
try:
    made = fast_path.try_export(a, "says yes")
except SystemError:
    made = None
assert made is None
"""
    )


def test_consumer_whose_error_keeps_the_tensor_frees_it_once(run_python):
    """Its traceback holds what was made of the tensor, until the error is forgotten.

    This package's own table is such a consumer, where a warning is an error.
    """
    run_python(
        """
import gc, sys, warnings
import numpy as np
from numpack import ZeroCopyArray
from numpack._dlpack import exchange_api
from numpack._dlpack import fast_path
from support.memory import address

class Careful(ZeroCopyArray):
    def __init__(self, array, *, order="C"):
        if array.ndim == 2:
            raise ValueError("not this one")
        super().__init__(array, order=order)

exchange_api.publish(Careful, 1)
fast_path.register_fast_path("careful", (Careful,))
a = np.arange(12.0)
before = sys.getrefcount(a)
made = fast_path.try_export(a, "careful")
assert type(made) is Careful and address(made.array) == address(a)
del made
assert sys.getrefcount(a) == before
b = a.reshape(3, 4)
before = sys.getrefcount(b)
for _ in range(5):
    assert fast_path.try_export(b, "careful") is None
    gc.collect()
    assert sys.getrefcount(b) == before, sys.getrefcount(b) - before
"""
    )


def test_give_and_take_know_their_framework():
    kind = framework()
    fast_path.register_fast_path("one", (kind,))
    tensor = Tensor(np.arange(3.0))
    assert fast_path.try_import(kind(tensor), "another") is None
    assert kind.calls == 0
    assert fast_path.try_import(kind(tensor), "one").tolist() == [0, 1, 2]
    assert fast_path.try_export(np.zeros(3), "no framework at all") is None
    with pytest.raises(TypeError):
        fast_path.try_export(np.zeros(3), [])
