"""The DLPack C exchange API of this package's own classes.

Consumers that support ``__dlpack_c_exchange_api__`` (DLPack 1.3) read objects of these classes,
and create them, without a Python call.
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
    EXCHANGE_API,
    FLAG_IS_COPIED,
    FLAG_PADDED,
    DLManagedTensorVersioned,
    DLPackExchangeAPI,
    DLTensor,
    FromPyObject,
    SetError,
    ToPyObject,
    kDLCPU,
)
from numpack._dlpack.importing cimport (
    VALID,
    TensorOwner,
    consume_any,
    itemsize_of,
    load_dtype,
    validate,
    view_or_none,
)
from numpack._dlpack.exporting cimport Exporter, is_unrestricted, managed_tensor


cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)

cdef enum:
    N_CLASSES = 2

cdef DLPackExchangeAPI _apis[N_CLASSES]
cdef PyObject *_classes[N_CLASSES]


def publish(cls, int number):
    """Set ``__dlpack_c_exchange_api__`` of a subclass of `Exporter`.

    Parameters
    ----------
    cls : type
    number : {0, 1}
        Selects the C functions, which do not receive the class they are called for.
    """
    cdef DLPackExchangeAPI *api = &_apis[number]
    api.header.version.major, api.header.version.minor = DLPACK_MAJOR, DLPACK_MINOR
    api.managed_tensor_allocator = _allocate
    api.managed_tensor_from_py_object_no_sync = <FromPyObject>_from_py_object
    api.managed_tensor_to_py_object_no_sync = <ToPyObject>(
        _to_first if number == 0 else _to_second
    )
    api.current_work_stream = _no_stream
    # dltensor_from_py_object_no_sync stays NULL: a borrowed tensor could dangle
    Py_INCREF(cls)  # the API, and so the class, live as long as the process
    _classes[number] = <PyObject *>cls
    cls.__dlpack_c_exchange_api__ = PyCapsule_New(api, EXCHANGE_API, NULL)


cdef int _from_py_object(void *obj, DLManagedTensorVersioned **out) except? -1:
    cdef Exporter exporter = <Exporter?><object>obj
    cdef TensorOwner owner
    out[0] = NULL
    if _is_own(Py_TYPE(exporter)) and is_unrestricted(exporter.array):
        out[0] = managed_tensor(exporter.array, 0, NULL)
    if out[0] == NULL:
        owner = consume_any(exporter.__dlpack__(max_version=MAX_VERSION))
        if not owner.versioned:
            raise ZeroCopyError("its __dlpack__ returned a legacy capsule, not a versioned one")
        out[0], owner.managed = <DLManagedTensorVersioned *>owner.managed, NULL
    return 0


cdef bint _is_own(PyTypeObject *kind) noexcept:
    """Check that a class is published itself; a subclass may override `__dlpack__`."""
    return <PyObject *>kind == _classes[0] or <PyObject *>kind == _classes[1]


cdef int _to_first(DLManagedTensorVersioned *managed, void **out) except? -1:
    return _to_class(_classes[0], managed, out)


cdef int _to_second(DLManagedTensorVersioned *managed, void **out) except? -1:
    return _to_class(_classes[1], managed, out)


cdef int _to_class(PyObject *cls, DLManagedTensorVersioned *managed, void **out) except -1:
    cdef TensorOwner owner = TensorOwner.__new__(TensorOwner)
    array = None
    owner.managed, owner.versioned = managed, True  # deletes the tensor also on failure
    cdef uint64_t flags = managed.flags & ~<uint64_t>FLAG_IS_COPIED
    if managed.version.major == DLPACK_MAJOR:
        load_dtype(managed.dl_tensor.dtype, managed.flags)
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


cdef struct Allocated:  # followed by shape and strides in the same allocation
    DLManagedTensorVersioned managed
    void *memory


cdef void _delete_allocated(DLManagedTensorVersioned *managed) noexcept nogil:
    free((<Allocated *>managed).memory)
    free(managed)


cdef int _allocate(
    DLTensor *prototype, DLManagedTensorVersioned **out, void *context, SetError set_error
) noexcept nogil:
    """Allocate a tensor in C order, in 64-byte aligned host memory."""
    cdef DLTensor wanted = prototype[0]
    cdef int64_t *extents
    cdef int64_t step = 1
    cdef Allocated *made
    cdef int i
    wanted.data, wanted.strides, wanted.byte_offset = prototype, NULL, 0
    if wanted.device.device_type != kDLCPU or validate(&wanted) != VALID:
        set_error(
            context, "BufferError", "numpack allocates tensors on the CPU, with 0 to 64 axes"
        )
        return -1
    made = <Allocated *>malloc(sizeof(Allocated) + 2 * sizeof(int64_t) * wanted.ndim)
    if made == NULL:
        set_error(context, "MemoryError", "out of memory for a tensor")
        return -1
    memset(made, 0, sizeof(Allocated))
    extents = <int64_t *>(made + 1)
    for i in range(wanted.ndim - 1, -1, -1):
        extents[i], extents[wanted.ndim + i] = wanted.shape[i], step
        step *= wanted.shape[i]
    if posix_memalign(&made.memory, 64, max(step, 1) * itemsize_of(wanted.dtype)) != 0:
        free(made)
        set_error(context, "MemoryError", "out of memory for the elements of a tensor")
        return -1
    wanted.data, wanted.shape, wanted.strides = made.memory, extents, extents + wanted.ndim
    made.managed.version.major, made.managed.version.minor = DLPACK_MAJOR, DLPACK_MINOR
    made.managed.manager_ctx, made.managed.deleter = made, _delete_allocated
    made.managed.flags = FLAG_PADDED if wanted.dtype.bits * wanted.dtype.lanes < 8 else 0
    made.managed.dl_tensor = wanted
    out[0] = &made.managed
    return 0
