"""The DLPack C exchange API: the one that this package publishes, and those of others.

The published API is called as a foreign framework would call it. Those of others are
hand-made, and some of them are malformed or fail.
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


def describe(managed):
    """Return shape, strides in elements, dtype and flags of a managed tensor."""
    tensor = managed.tensor
    dtype = tensor.dtype
    return (
        tuple(tensor.shape[: tensor.ndim]),
        tuple(tensor.strides[: tensor.ndim]),
        (dtype.code, dtype.bits, dtype.lanes),
        managed.flags,
    )


# Published API ----------------------------------------------------------------------------


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


# Published API: exporting an object -------------------------------------------------------

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


# Published API: importing into an object --------------------------------------------------


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


def make_malformed(**fields) -> Tensor:
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


MALFORMED = {
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


@pytest.mark.parametrize("case", MALFORMED)
def test_to_object_of_a_malformed_tensor_is_refused_and_freed(cls, case):
    tensor = make_malformed(**MALFORMED[case])
    out = VOID()
    with pytest.raises(BufferError, match="cannot read"):
        to_py_object(cls, tensor)
    assert not out
    assert tensor.deleted == 1


# Published API: allocating ----------------------------------------------------------------


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
def test_allocated_tensor_is_aligned_and_in_c_order(cls, shape):
    made = allocate(cls, prototype(shape))
    assert (made.major, made.minor) == (1, 3)
    tensor = made.tensor
    assert tensor.data
    assert tensor.data % 64 == 0
    assert tensor.ndim == len(shape)
    assert tensor.byte_offset == 0
    assert (tensor.device_type, tensor.device_id) == (1, 0)
    assert describe(made) == (shape, c_order(shape), (2, 64, 1), 0)
    size = 8 * int(np.prod(shape))
    ctypes.memset(tensor.data, 255, size)
    join(start_deleter(made))


def test_allocated_tensor_is_imported_by_its_class(cls):
    made = allocate(cls, prototype((2, 3), bits=32))
    exporter = to_py_object(cls, made)
    exporter.array[...] = 1
    assert exporter.array.dtype == np.float32
    assert exporter.array.sum() == 6
    assert address(exporter.array) == made.tensor.data


def test_shape_of_the_prototype_is_copied(cls):
    wanted = prototype((2, 3))
    made = allocate(cls, wanted)
    wanted.shape[0] = 99
    assert describe(made)[0] == (2, 3)
    delete(made)


def test_strides_and_data_of_the_prototype_are_ignored(cls):
    wanted = prototype((2, 3), data=12345, byte_offset=99)
    wanted.strides = (ctypes.c_int64 * 2)(2**62, -(2**62))
    made = allocate(cls, wanted)
    assert describe(made)[1] == (3, 1)
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
def test_allocated_memory_is_large_enough(cls, bits, lanes, nbytes):
    """Each element takes `bits` × `lanes`, rounded up to whole bytes."""
    made = allocate(cls, prototype((10, 100), code=0, bits=bits, lanes=lanes))
    if not isinstance(made, list):
        assert size_of(made.tensor.data) >= nbytes
        delete(made)
    else:
        assert made[0][0] == b"BufferError"


def test_sub_byte_dtype_is_allocated_padded(cls):
    made = allocate(cls, prototype((3,), code=0, bits=4))
    assert describe(made)[2:] == ((0, 4, 1), PADDED)
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
def test_invalid_prototype_is_a_buffer_error(cls, wanted):
    errors = allocate(cls, wanted)
    assert [kind for kind, _ in errors] == [b"BufferError"]
    assert b"numpack" in errors[0][1]


@pytest.mark.parametrize("shape", [(2**58,), (2**20, 2**20, 2**17)], ids=str)
def test_allocation_failure_is_a_memory_error(cls, shape):
    assert [kind for kind, _ in allocate(cls, prototype(shape))] == [b"MemoryError"]


def test_deleter_frees_the_allocated_memory(cls):
    from support.memory import resident_bytes

    before = resident_bytes()
    for _ in range(800):
        made = allocate(cls, prototype((2**20,), bits=8))
        ctypes.memset(made.tensor.data, 1, 2**20)
        delete(made)
    # Of 800 MiB; some tools keep 256 MiB for a while.
    assert resident_bytes() - before < 400 * 2**20


def test_allocator_works_without_the_gil(cls):
    """It reports errors by `SetError` only, so that any thread may call it."""
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


# Foreign API: valid -----------------------------------------------------------------------


def register(kind):
    fast_path.register_fast_path(None, (kind,))
    return kind


def import_once(kind):
    """Import one object, after which its type has a fast path, and reset the counters."""
    tensor = Tensor(np.zeros(1))
    assert from_dlpack(kind(tensor, tensor)).tolist() == [0]
    assert kind.asked == 1
    kind.asked = kind.calls = 0
    return kind


@pytest.fixture(params=["register", "from_dlpack"])
def register_type(request):
    """Return one of the ways in which a type gets a fast path."""
    return register if request.param == "register" else import_once


def test_only_the_exchange_api_is_called(register_type):
    kind = register_type(framework())
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


IMPORTERS = {
    "from_dlpack": lambda x: from_dlpack(x),
    "from_dlpack copy=None": lambda x: from_dlpack(x, copy=None),
    "from_dlpack copy=False": lambda x: from_dlpack(x, copy=False),
    "share": lambda x: share(x, "numpy"),
    "share copy=None": lambda x: share(x, "numpy", copy=None),
    "share copy=False": lambda x: share(x, "numpy", copy=False),
    "try_import": lambda x: fast_path.try_import(x),
}


@pytest.mark.parametrize("importer", IMPORTERS)
def test_every_importer_that_shares_uses_the_exchange_api(importer):
    kind = register(framework())
    tensor = Tensor(np.arange(3.0))
    a = IMPORTERS[importer](kind(tensor, tensor))
    assert a.tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (1, 0)
    del a
    assert tensor.deleted == 1


def test_copy_is_independent_and_frees_the_tensor():
    kind = register(framework())
    tensor = Tensor(np.arange(3.0))
    a = from_dlpack(kind(tensor, tensor), copy=True)
    a[0] = 7
    assert tensor.array[0] == 0
    assert tensor.deleted == 1


def test_explain_uses_the_python_protocol():
    kind = register(framework())
    tensor = Tensor(np.arange(3.0))
    assert explain(kind(tensor, tensor), "numpy").shares_memory
    assert (kind.calls, kind.asked) == (0, 1)
    assert tensor.deleted == 0  # the hand-made capsule has no destructor


def test_subclass_is_imported_by_the_python_protocol(register_type):
    """Its ``__dlpack__`` may be overridden, which the exchange API does not know."""
    kind = register_type(framework())

    class Sub(kind):
        def __dlpack__(self, **keywords):
            return kept_tensor(np.array([5.0])).capsule()

    steady(Sub)
    for _ in range(2):
        assert from_dlpack(Sub(Tensor(np.arange(3.0)))).tolist() == [5]
    assert kind.calls == 0


def test_type_that_inherits_an_exchange_api_uses_the_python_protocol():
    kind = framework()
    tensor = Tensor(np.arange(3.0))
    sub = steady(type("Sub", (kind,), {}))
    assert from_dlpack(register(sub)(None, tensor)).tolist() == [0, 1, 2]
    assert sub.asked == 1
    assert kind.calls == 0


_tensors = []


def kept_tensor(a):
    _tensors.append(Tensor(a))
    return _tensors[-1]


def test_read_only_flag_is_applied(register_type):
    kind = register_type(framework())
    tensor = Tensor(np.arange(3.0))
    tensor.managed.flags = READ_ONLY
    a = from_dlpack(kind(tensor))
    assert not a.flags.writeable
    with pytest.raises(ValueError, match="read-only|WRITEABLE"):
        a.flags.writeable = True
    del a
    assert tensor.deleted == 1


def test_fast_path_can_make_all_arrays_read_only():
    kind = framework()
    fast_path.register_fast_path(None, (kind,), readonly=True)
    assert not from_dlpack(kind(Tensor(np.arange(3.0)))).flags.writeable


@pytest.mark.parametrize("module", ["jax", "jaxlib._jax"])
def test_arrays_of_jax_are_read_only(module):
    """JAX arrays are immutable, but neither their capsules nor an exchange API says so."""
    kind = framework()
    kind.__module__ = module
    for _ in range(3):
        tensor = Tensor(np.arange(3.0))
        assert not from_dlpack(kind(tensor, tensor)).flags.writeable


def test_null_deleter_is_accepted(register_type):
    kind = register_type(framework())
    tensor = Tensor(np.arange(3.0))
    tensor.managed.deleter = None
    a = from_dlpack(kind(tensor))
    assert a.tolist() == [0, 1, 2]
    del a
    assert tensor.deleted == 0


def test_empty_tensor_is_freed_at_once(register_type):
    kind = register_type(framework())
    tensor = Tensor(np.empty((2, 0)))
    tensor.managed.tensor.data = None
    assert from_dlpack(kind(tensor)).shape == (2, 0)
    assert tensor.deleted == 1
    assert kind.asked == 0


def test_arrays_and_deleters_on_other_threads(register_type):
    import threading

    kind = register_type(framework())
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


def test_many_types_have_a_fast_path():
    kinds = [register(framework()) for _ in range(200)]
    for number, kind in enumerate(kinds):
        assert from_dlpack(kind(Tensor(np.array([float(number)])))).tolist() == [number]
        assert (kind.calls, kind.asked) == (1, 0)


def test_fast_path_is_registered_once():
    kind = framework()
    fast_path.register_fast_path(None, (kind,), readonly=True)
    fast_path.register_fast_path(None, (kind,))
    assert not from_dlpack(kind(Tensor(np.arange(3.0)))).flags.writeable


# Foreign API: versions and names ----------------------------------------------------------


def test_previous_version_of_a_newer_api_is_used():
    kind = framework()
    old = table_of(kind)
    publish(kind, Table(major=2, minor=0, prev_api=ctypes.addressof(old), from_py_object=1))
    tensor = Tensor(np.arange(3.0))
    assert from_dlpack(register(kind)(tensor)).tolist() == [0, 1, 2]
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
def test_unknown_exchange_api_is_not_used(how):
    kind = unusable_table(how)
    for _ in range(3):
        tensor = Tensor(np.arange(3.0))
        a = from_dlpack(kind(tensor, tensor))
        assert a.tolist() == [0, 1, 2]
        del a
        assert tensor.deleted == 1
    assert kind.calls == 0
    assert kind.asked == 3


def test_dlpack_method_on_the_object_only():
    """The import succeeds although no fast path can be registered for the type."""
    kind = framework()
    bare = type("Bare", (), {ATTRIBUTE: getattr(kind, ATTRIBUTE)})
    tensor = Tensor(np.arange(3.0))
    obj = bare()
    obj.tensor, obj.__dlpack__ = tensor, lambda **_: tensor.capsule()
    a = from_dlpack(obj)
    assert a.tolist() == [0, 1, 2]
    del a
    assert tensor.deleted == 1


# Foreign API: failing or malformed --------------------------------------------------------


def failing(error=None, status=None):
    """Return a type whose exchange API exports with ``PyObject_AsFileDescriptor``.

    That function calls the object's ``fileno``: if it raises, -1 is returned with the
    exception set; if it returns a number, that is returned without an exception.
    """
    kind = framework(native("PyObject_AsFileDescriptor"))

    def fileno(self):
        type(self).calls += 1
        if error is not None:
            raise error
        return status

    kind.fileno = fileno
    return register(kind)


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), TypeError("x"), BufferError("x"), MemoryError("x")], ids=repr
)
def test_failure_falls_back_to_the_python_protocol(error):
    kind = failing(error)
    tensor = Tensor(np.arange(3.0))
    for convert in (from_dlpack, lambda x: share(x, "numpy")):
        assert convert(kind(None, tensor)).tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (2, 2)
    assert tensor.deleted == 2


def test_failure_of_both_raises_the_error_of_the_python_protocol():
    def refuse():
        raise BufferError("these are not the values that you look for")

    kind = failing(RuntimeError("from the table"))
    with pytest.raises(ZeroCopyError, match="refuses, these are not the values") as caught:
        from_dlpack(kind(None, refuse))
    assert "from the table" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_base_exceptions_propagate(error):
    kind = failing(error())
    with pytest.raises(error):
        from_dlpack(kind(None, Tensor(np.arange(3.0))))
    assert kind.asked == 0


def test_failure_without_an_exception_falls_back():
    kind = failing(status=7)
    tensor = Tensor(np.arange(3.0))
    assert from_dlpack(kind(None, tensor)).tolist() == [0, 1, 2]
    assert kind.calls == 1


def test_success_without_a_tensor_does_not_crash(run_python):
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


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_tensor_is_freed_once_and_falls_back(case, register_type):
    kind = register_type(framework())
    malformed, valid = make_malformed(**MALFORMED[case]), Tensor(np.arange(3.0))
    a = from_dlpack(kind(malformed, valid))
    assert (kind.calls, kind.asked) == (1, 1)
    assert malformed.deleted == 1
    assert a.tolist() == [0, 1, 2]
    del a
    assert valid.deleted == 1


EXPECTED_ERRORS = {
    "an unknown type code": (UnsupportedError, "no dtype"),
    "two lanes": (UnsupportedError, "no dtype"),
    "a newer major version": (InvalidValueError, "is of DLPack 2"),
    "no data": (InvalidValueError, "pointer is NULL"),
    "a negative extent": (InvalidValueError, "negative extent"),
    "strides that leave memory": (InvalidValueError, "exceed the address space"),
}


@pytest.mark.parametrize("case", EXPECTED_ERRORS)
def test_malformed_tensor_of_both_is_refused(case, register_type):
    kind = register_type(framework())
    error, message = EXPECTED_ERRORS[case]
    for convert in (from_dlpack, lambda x: share(x, "numpy")):
        tensor, again = make_malformed(**MALFORMED[case]), make_malformed(**MALFORMED[case])
        with pytest.raises(error, match=message):
            convert(kind(tensor, again))
        assert tensor.deleted == 1
        assert again.deleted == 0  # its capsule is not consumed


def test_tensor_on_another_device_from_both_is_refused(register_type):
    kind = register_type(framework())
    tensor, again = make_malformed(device_type=2), make_malformed(device_type=2)
    with (
        pytest.warns(CopyWarning, match=r"on device \(2, 0\)"),
        pytest.raises(UnsupportedError, match="its producer cannot move it"),
    ):
        from_dlpack(kind(tensor, again))
    assert tensor.deleted == 1
    assert again.deleted == 0


def test_copy_by_the_exchange_api_warns_or_is_refused(register_type):
    kind = register_type(framework())
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


# Foreign API: guards ----------------------------------------------------------------------


@pytest.mark.parametrize("answer", [True, None, 0, 1, "no"])
def test_guard_allows_the_fast_path_only_if_it_returns_false(answer):
    kind = framework()
    fast_path.register_fast_path(None, (kind,), guard=lambda obj: answer)
    tensor = Tensor(np.arange(3.0))
    assert fast_path.try_import(kind(tensor)) is None
    assert from_dlpack(kind(tensor, tensor)).tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (0, 1)


def test_guard_that_raises_disables_the_fast_path():
    kind = framework()
    fast_path.register_fast_path(None, (kind,), guard=lambda obj: 1 / 0)
    tensor = Tensor(np.arange(3.0))
    assert from_dlpack(kind(tensor, tensor)).tolist() == [0, 1, 2]
    assert kind.calls == 0


def test_dtype_guard_is_called_for_complex_and_int8_only():
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


# Foreign API: exporting -------------------------------------------------------------------


class RecordingConsumer:
    """A hand-made consumer that records the managed tensors that it receives."""

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


def test_exported_array_is_alive_until_the_deleter_runs():
    recorder = RecordingConsumer("keeps", lambda self, tensor, out: self.succeed(out))
    a = np.arange(3.0)
    result = recorder.result
    before, held = sys.getrefcount(a), sys.getrefcount(result)
    made = fast_path.try_export(a, "keeps")
    assert made is result
    del made
    assert sys.getrefcount(result) == held
    assert sys.getrefcount(a) == before + 1
    assert recorder.managed[0].tensor.data == address(a)
    delete(recorder.managed[0])
    assert sys.getrefcount(a) == before


def test_consumer_that_copies_and_deletes_at_once():
    def behave(self, tensor, out):
        delete(tensor)
        return self.succeed(out)

    recorder = RecordingConsumer("copies", behave)
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    assert fast_path.try_export(a, "copies") is recorder.result
    assert sys.getrefcount(a) == before


@pytest.mark.parametrize("sets_error", [True, False])
@pytest.mark.parametrize("deletes", [False, True])
def test_failing_consumer_leaks_no_reference(deletes, sets_error):
    """A consumer owns the tensor even if it fails, but some do not delete it then."""

    def behave(self, tensor, out):
        if deletes:
            delete(tensor)
        return failed(sets_error)

    name = f"fails {deletes} {sets_error}"
    recorder = RecordingConsumer(name, behave)
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    for _ in range(3):
        assert fast_path.try_export(a, name) is None
        assert sys.getrefcount(a) == before
    assert len(recorder.managed) == 3


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
def test_array_that_needs_a_copy_is_not_exported(a):
    recorder = RecordingConsumer("takes all", lambda self, tensor, out: self.succeed(out))
    assert fast_path.try_export(a, "takes all") is None
    assert not recorder.managed


def test_consumer_that_succeeds_without_an_object_does_not_crash(run_python):
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


def test_consumer_whose_exception_keeps_the_tensor_frees_it_once(run_python):
    """The traceback refers to what was made of the tensor, until the exception is freed.

    This package's own exchange API is such a consumer if warnings are errors.
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


def test_fast_path_is_per_framework():
    kind = framework()
    fast_path.register_fast_path("one", (kind,))
    tensor = Tensor(np.arange(3.0))
    assert fast_path.try_import(kind(tensor), "another") is None
    assert kind.calls == 0
    assert fast_path.try_import(kind(tensor), "one").tolist() == [0, 1, 2]
    assert fast_path.try_export(np.zeros(3), "no framework at all") is None
    with pytest.raises(TypeError):
        fast_path.try_export(np.zeros(3), [])
