"""The tables of C functions that this package's own classes publish.

Consumers that know ``__dlpack_c_exchange_api__`` (DLPack 1.3) take objects of these classes,
and make them, without a Python call.
"""

from .importing import MAX_VERSION
from ..errors import ZeroCopyError

from cpython.object cimport PyObject, PyTypeObject, Py_TYPE
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from numpack._dlpack.abi.dlpack cimport (
    DLPACK_MAJOR,
    DLPACK_MINOR,
    FLAG_IS_COPIED,
    FLAG_PADDED,
    TABLE,
    DLManagedTensorVersioned,
    DLPackExchangeAPI,
    DLTensor,
    FromPyObject,
    SetError,
    ToPyObject,
    kDLCPU,
)
from numpack._dlpack.importing cimport NONE, Owner, consume, flaw_of, itemsize_of, learn, view_or_none
from numpack._dlpack.exporting cimport Exporter, is_open, managed_tensor


cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)

cdef enum:
    N_CLASSES = 2

cdef DLPackExchangeAPI _tables[N_CLASSES]
cdef PyObject *_classes[N_CLASSES]


def publish(cls, int number):
    """Give a subclass of `Exporter` a table of functions as ``__dlpack_c_exchange_api__``.

    Parameters
    ----------
    cls : type
    number : {0, 1}
        Of its table, as C functions cannot know for which class they are called.
    """
    cdef DLPackExchangeAPI *table = &_tables[number]
    table.header.version.major, table.header.version.minor = DLPACK_MAJOR, DLPACK_MINOR
    table.managed_tensor_allocator = _allocate
    table.managed_tensor_from_py_object_no_sync = <FromPyObject>_from_py_object
    table.managed_tensor_to_py_object_no_sync = <ToPyObject>(
        _to_first if number == 0 else _to_second
    )
    table.current_work_stream = _no_stream
    # dltensor_from_py_object_no_sync stays NULL: nothing is lent that could dangle
    Py_INCREF(cls)  # for good, as the table
    _classes[number] = <PyObject *>cls
    cls.__dlpack_c_exchange_api__ = PyCapsule_New(table, TABLE, NULL)


cdef int _from_py_object(void *obj, DLManagedTensorVersioned **out) except? -1:
    cdef Exporter exporter = <Exporter?><object>obj
    cdef Owner owner
    out[0] = NULL
    if _is_own(Py_TYPE(exporter)) and is_open(exporter.array):
        out[0] = managed_tensor(exporter.array, 0, NULL)
    if out[0] == NULL:
        owner = consume(exporter.__dlpack__(max_version=MAX_VERSION))
        if not owner.versioned:
            raise ZeroCopyError("its __dlpack__ gives a legacy capsule, not a versioned one")
        out[0], owner.managed = <DLManagedTensorVersioned *>owner.managed, NULL
    return 0


cdef bint _is_own(PyTypeObject *kind) noexcept:
    """Tell whether it is a published class itself, whose `__dlpack__` nobody has changed."""
    return <PyObject *>kind == _classes[0] or <PyObject *>kind == _classes[1]


cdef int _to_first(DLManagedTensorVersioned *managed, void **out) except? -1:
    return _to_class(_classes[0], managed, out)


cdef int _to_second(DLManagedTensorVersioned *managed, void **out) except? -1:
    return _to_class(_classes[1], managed, out)


cdef int _to_class(PyObject *cls, DLManagedTensorVersioned *managed, void **out) except -1:
    cdef Owner owner = Owner.__new__(Owner)
    array = None
    owner.managed, owner.versioned = managed, True  # whatever fails, it is freed once
    cdef uint64_t flags = managed.flags & ~<uint64_t>FLAG_IS_COPIED
    if managed.version.major == DLPACK_MAJOR:
        learn(managed.dl_tensor.dtype, managed.flags)
        array = view_or_none(&managed.dl_tensor, flags, False, owner)
    if array is None:
        raise ZeroCopyError("NumPy cannot read this DLPack tensor in place")
    result = (<object>cls)(array, order="K")
    Py_INCREF(result)
    out[0] = <PyObject *>result
    return 0


cdef int _no_stream(int32_t device_type, int32_t device_id, void **out) noexcept:
    out[0] = NULL
    return 0


cdef struct Allocated:  # in one allocation: this, then shape and strides
    DLManagedTensorVersioned managed
    void *memory


cdef void _delete_allocated(DLManagedTensorVersioned *managed) noexcept nogil:
    free((<Allocated *>managed).memory)
    free(managed)


cdef int _allocate(
    DLTensor *prototype, DLManagedTensorVersioned **out, void *context, SetError set_error
) noexcept nogil:
    """Make a new tensor in C order, in 64-byte-aligned memory of the host."""
    cdef DLTensor wanted = prototype[0]
    cdef int64_t *extents
    cdef int64_t step = 1
    cdef Allocated *made
    cdef int i
    wanted.data, wanted.strides, wanted.byte_offset = prototype, NULL, 0
    if wanted.device.device_type != kDLCPU or flaw_of(&wanted) != NONE:
        set_error(context, "BufferError", "numpack makes tensors on the CPU, of 0 to 64 axes")
        return -1
    made = <Allocated *>malloc(sizeof(Allocated) + 2 * sizeof(int64_t) * wanted.ndim)
    if made == NULL:
        set_error(context, "MemoryError", "no memory for a tensor")
        return -1
    memset(made, 0, sizeof(Allocated))
    extents = <int64_t *>(made + 1)
    for i in range(wanted.ndim - 1, -1, -1):
        extents[i], extents[wanted.ndim + i] = wanted.shape[i], step
        step *= wanted.shape[i]
    if posix_memalign(&made.memory, 64, max(step, 1) * itemsize_of(wanted.dtype)) != 0:
        free(made)
        set_error(context, "MemoryError", "no memory for the elements of a tensor")
        return -1
    wanted.data, wanted.shape, wanted.strides = made.memory, extents, extents + wanted.ndim
    made.managed.version.major, made.managed.version.minor = DLPACK_MAJOR, DLPACK_MINOR
    made.managed.manager_ctx, made.managed.deleter = made, _delete_allocated
    made.managed.flags = FLAG_PADDED if wanted.dtype.bits * wanted.dtype.lanes < 8 else 0
    made.managed.dl_tensor = wanted
    out[0] = &made.managed
    return 0
