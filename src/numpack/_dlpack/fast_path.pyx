"""The fast path: conversions without Python calls.

An adapter calls `register_fast_path` when it is imported. Then `try_import` views the memory of
the framework's objects and `try_export` creates its objects over NumPy memory, through the DLPack
C exchange API of its type (DLPack 1.3, ``__dlpack_c_exchange_api__``) or by ``__dlpack__``. Both
return None if a conversion needs a copy, a decision or a message; the policy then takes over.
"""

from .importing import CPU, MAX_VERSION

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject, Py_TYPE
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid

from numpack._dlpack.abi.dlpack cimport (
    DLPACK_MAJOR, EXCHANGE_API, FLAG_PADDED, DLDataType, DLManagedTensorVersioned,
    DLPackExchangeAPI, DLPackExchangeAPIHeader, DLTensor, kDLFloat,
)
from numpack._dlpack.importing cimport (
    TensorOwner, consume_or_none, delete_managed, dlpack_dtype, is_within, load_dtype,
    view_or_none,
)
from numpack._dlpack.exporting cimport capsule_or_none, managed_tensor, unwatch
from numpack._core.owner cimport flat_view, owning_view


cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object, object) except? NULL
    PyObject *PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *)
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    PyObject *PyErr_Occurred()
    int PyErr_ExceptionMatches(object)
    void PyErr_Clear()

cdef extern from "calls.h":
    PyObject *call_method "numpack_call_method"(object, object)
    object _stolen "numpack_stolen"(PyObject *)  # takes the reference over
    object _raised "numpack_raised"()  # propagates the exception that is set

cnp.import_array()


@cython.final
cdef class ResizableStorage:
    """How to view the memory of objects whose storage may be replaced or resized.

    A torch tensor owns a `TensorImpl`, whose storage ``t.data = …`` and `set_` replace and
    `resize_` moves. An array that kept only the tensor alive would dangle. A storage that is not
    resizable keeps its address, and torch's own conversion to NumPy makes it so.

    Parameters
    ----------
    storage_type : type
        Exact type of storages; other objects are not viewed.
    storage_of : callable
        Returns the storage of an object.
    is_resizable, address, nbytes : callable
        Called with a storage: whether its memory may move, where it is, and its size.
    pin : callable
        Converts an object to an array and makes its storage non-resizable, or raises.
    """

    cdef object storage_type
    cdef object storage_of
    cdef object is_resizable
    cdef object address
    cdef object nbytes
    cdef object pin

    def __init__(self, *, type storage_type, storage_of, is_resizable, address, nbytes, pin):
        self.storage_type, self.storage_of = storage_type, storage_of
        self.is_resizable, self.pin = is_resizable, pin
        self.address, self.nbytes = address, nbytes


@cython.final
cdef class _FastPath:
    cdef str framework
    cdef object result_type  # of the exchange API
    cdef const DLPackExchangeAPI *api  # NULL: use `producer` and `consumer`
    cdef object guard
    cdef object dtype_guard
    cdef ResizableStorage storage
    cdef object producer
    cdef object consumer
    cdef bint readonly


cdef dict _by_type = {}
cdef dict _by_framework = {}
cdef tuple _keywords = ("max_version",)


def register_fast_path(
    framework, types, *, guard=None, dtype_guard=None, ResizableStorage storage=None,
    consumer=None, bint readonly=False
):
    """Register the fast path of some types of objects, and of the framework of the first type.

    Parameters
    ----------
    framework : str or None
        The name for `try_import` and `try_export`; None to register imports only.
    types : sequence of type
        Exact types. Objects are read through the C exchange API that the first type itself
        publishes, or by ``__dlpack__``. Only functions of the API that return an owning tensor
        are used; a borrowed tensor is read before any other code runs.
    guard, dtype_guard : callable, optional
        Called with an object, the second only if its dtype is complex or an 8-bit integer. The
        fast path is used if they return False.
    storage : ResizableStorage, optional
        For objects whose storage may be replaced or resized.
    consumer : callable, optional
        Creates the framework's object from a producer of integers or floats, which it never
        writes to. Used if there is no C exchange API.
    readonly : bool
        Whether the objects are immutable, whatever their capsules say.
    """
    cdef _FastPath path = _FastPath()
    path.framework, path.consumer, path.readonly = framework, consumer, readonly
    path.guard, path.dtype_guard = guard, dtype_guard
    path.storage, path.result_type = storage, types[0]
    path.api = _exchange_api(types[0])
    path.producer = getattr(types[0], "__dlpack__", None)
    if framework is None and path.api == NULL:
        return
    with cython.critical_section(_by_type):
        for cls in types:
            found = _by_type.setdefault(cls, path)  # never replaced: see _remember
            _remember(<PyObject *>cls, <PyObject *>found)
    if framework is not None and (path.api != NULL or consumer is not None):
        _by_framework[framework] = path


# A cache in front of _by_type, indexed by the address of a type. Entries are never removed; types
# that collide are found in the dictionary.
cdef enum:
    N_SLOTS = 64

cdef PyObject *_types[N_SLOTS]
cdef PyObject *_fast_paths[N_SLOTS]


cdef inline size_t _slot(PyObject *cls) noexcept:
    return (<size_t>cls >> 4) % N_SLOTS


cdef void _remember(PyObject *cls, PyObject *path) noexcept:
    cdef size_t slot = _slot(cls)
    if _types[slot] == NULL:
        _fast_paths[slot] = path
        _types[slot] = cls


cdef inline PyObject *_fast_path_of(PyObject *cls) except? NULL:
    cdef size_t slot = _slot(cls)
    # other threads may see the two stores of _remember in any order
    if _types[slot] == cls and _fast_paths[slot] != NULL:
        return _fast_paths[slot]
    return PyDict_GetItemWithError(_by_type, <object>cls)


cdef const DLPackExchangeAPI *_exchange_api(cls) except? NULL:
    """Return the API that a type itself publishes, in a supported version; NULL if none."""
    cdef DLPackExchangeAPIHeader *header
    capsule = cls.__dict__.get("__dlpack_c_exchange_api__")
    if capsule is None or not PyCapsule_IsValid(capsule, EXCHANGE_API):
        return NULL
    header = <DLPackExchangeAPIHeader *>PyCapsule_GetPointer(capsule, EXCHANGE_API)
    while header != NULL and header.version.major != DLPACK_MAJOR:
        header = header.prev_api
    return <const DLPackExchangeAPI *>header


# Importing --------------------------------------------------------------------------------

def try_import(obj, framework=None):
    """View an object's memory as an array if the fast path applies.

    Parameters
    ----------
    obj : object
    framework : str, optional
        Accept only objects of this framework. By default, accept registered types and ndarray,
        which is returned as it is.

    Returns
    -------
    ndarray or None
    """
    return try_import_object(obj, framework)


cdef object try_import_object(obj, framework):
    cdef PyObject *found
    cdef _FastPath path
    if framework is None and cnp.PyArray_CheckExact(obj):
        return obj
    found = _fast_path_of(<PyObject *>Py_TYPE(obj))
    if found == NULL:
        return None
    path = <_FastPath>found
    if framework is not None and path.framework != framework:
        return None
    if path.guard is not None and not _is_false(path.guard, obj):
        return None
    array = _import_by_protocol(path, obj) if path.api == NULL else _import_by_api(path, obj)
    if path.dtype_guard is None or array is None or not _needs_dtype_guard(array):
        return array
    return array if _is_false(path.dtype_guard, obj) else None


cdef bint _is_false(predicate, obj) except -1:
    cdef PyObject *answer = call_method(predicate, obj)
    return (_clear_error() if answer == NULL else _stolen(answer)) is False


cdef bint _needs_dtype_guard(cnp.ndarray array) noexcept:
    cdef int number = cnp.PyArray_TYPE(array)
    return number in (cnp.NPY_CFLOAT, cnp.NPY_CDOUBLE, cnp.NPY_BYTE, cnp.NPY_UBYTE)


cdef object _import_by_api(_FastPath path, obj):
    cdef DLManagedTensorVersioned *managed = NULL
    cdef TensorOwner owner
    if path.storage is not None:
        return _import_storage(path, obj)
    owner = TensorOwner.__new__(TensorOwner)
    if path.api.managed_tensor_from_py_object_no_sync(<PyObject *>obj, &managed) != 0:
        return _clear_error()
    if managed == NULL:
        return None
    owner.managed, owner.versioned = managed, True  # deletes the tensor from here on
    owner.producer = obj
    if managed.version.major != DLPACK_MAJOR:
        return None
    array = view_or_none(&managed.dl_tensor, managed.flags, path.readonly, owner)
    if array is None and load_dtype(managed.dl_tensor.dtype, managed.flags):
        array = view_or_none(&managed.dl_tensor, managed.flags, path.readonly, owner)
    return array


cdef object _import_storage(_FastPath path, obj):
    """View the memory of an object's storage; the borrowed tensor only describes the layout."""
    cdef DLTensor tensor
    cdef TensorOwner owner
    cdef PyObject *found = call_method(path.storage.storage_of, obj)
    if found == NULL:
        return _clear_error()
    storage = _stolen(found)
    if type(storage) is not path.storage.storage_type:
        return None
    if path.api.dltensor_from_py_object_no_sync == NULL:
        return None
    if path.api.dltensor_from_py_object_no_sync(<PyObject *>obj, &tensor) != 0:
        return _clear_error()
    if not _is_false(path.storage.is_resizable, storage):
        return _pin(path.storage, obj, storage, &tensor)
    owner = TensorOwner.__new__(TensorOwner)
    owner.producer, owner.storage = obj, storage
    array = view_or_none(&tensor, 0, path.readonly, owner)
    if array is None and load_dtype(tensor.dtype, 0):  # Python code has run: read it again
        return _import_storage(path, obj)
    return array


cdef object _pin(ResizableStorage access, obj, storage, const DLTensor *tensor):
    """Pin a storage and return an array over it, if it contains the whole tensor."""
    try:
        if is_within(tensor, access.address(storage), access.nbytes(storage)):
            return owning_view(access.pin(obj), None)
    except Exception:  # the policy repeats the call and reports the reason
        pass
    return None


cdef object _import_by_protocol(_FastPath path, obj):
    cdef PyObject *arguments[3]
    cdef PyObject *capsule
    arguments[1], arguments[2] = <PyObject *>obj, <PyObject *>MAX_VERSION
    capsule = PyObject_Vectorcall(
        <PyObject *>path.producer, arguments + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
        <PyObject *>_keywords,
    )
    if capsule == NULL:
        return _clear_error()
    return consume_or_none(_stolen(capsule), path.readonly, 0, obj)


cdef object _clear_error():
    """Clear an `Exception` of a framework: the policy repeats the call and reports it."""
    if PyErr_Occurred() != NULL and not PyErr_ExceptionMatches(Exception):
        return _raised()  # KeyboardInterrupt and the like
    PyErr_Clear()
    return None


cdef object _table_type = None


def register_table_fast_path(cls):
    """Register the fast path of the columns of `pyarrow.Table`, passed as `cls`."""
    global _table_type
    _table_type = cls


cdef object try_import_column(table, name):
    """View the memory of a column of one chunk with a unique name; return None otherwise."""
    if type(table) is not _table_type or type(name) is not str:
        return None
    position = table.schema.get_field_index(name)  # -1 if the name is missing or ambiguous
    if position == -1:
        return None
    column = table.column(position)
    if column.num_chunks != 1:
        return None
    return try_import_object(column.chunk(0), "arrow")


# Exporting --------------------------------------------------------------------------------

def try_export(array, framework):
    """Create an object of a framework over an array's memory if the fast path applies.

    Parameters
    ----------
    array : ndarray
    framework : str

    Returns
    -------
    object or None
    """
    return try_export_array(array, framework)


cdef object try_export_array(array, framework):
    cdef PyObject *found = PyDict_GetItemWithError(_by_framework, framework)
    if found == NULL:
        return None
    if not cnp.PyArray_CheckExact(array):
        return None
    if (<_FastPath>found).api == NULL:
        return _export_by_protocol(<_FastPath>found, array)
    return _export_by_api(<_FastPath>found, array) if cnp.PyArray_ISWRITEABLE(array) else None


cdef object _export_by_api(_FastPath path, cnp.ndarray array):
    cdef bint deleted = False
    cdef DLManagedTensorVersioned *managed = managed_tensor(array, 0, &deleted)
    cdef void *made = NULL
    if managed == NULL:
        return None
    if managed.flags & FLAG_PADDED:  # other frameworks expect packed sub-byte values
        delete_managed(managed, True)
        return None
    if path.api.managed_tensor_to_py_object_no_sync(managed, &made) != 0 or made == NULL:
        try:
            _clear_error()  # which may release the tensor through the exception's references
        finally:
            if not deleted:  # the consumer owns the tensor, but some leak it on failure
                delete_managed(managed, True)
        return None
    if not deleted:
        unwatch(managed)
    result = _stolen(<PyObject *>made)
    return result if type(result) is path.result_type else None  # e.g. a fake tensor


@cython.final
cdef class _SingleExport:
    """A producer for one consumer that never writes: read-only arrays are not flagged."""

    cdef cnp.ndarray array

    def __dlpack_device__(self):
        return CPU

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return capsule_or_none(self.array, max_version is not None, 0)


cdef object _export_by_protocol(_FastPath path, cnp.ndarray array):
    cdef DLDataType dtype
    cdef _SingleExport producer
    if not cnp.PyArray_IS_C_CONTIGUOUS(array) or not cnp.PyArray_ISBEHAVED_RO(array):
        return None
    if not dlpack_dtype(array, &dtype) or dtype.code > kDLFloat or dtype.bits < 8:
        return None
    producer = _SingleExport.__new__(_SingleExport)
    producer.array = array if cnp.PyArray_NDIM(array) == 1 else flat_view(array)
    try:
        return path.consumer(producer)
    except Exception:  # the policy converts differently and reports the reason
        return None
