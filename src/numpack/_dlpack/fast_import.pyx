"""The importing half of the fast path: objects of a framework as views of their memory."""

from .importing import MAX_VERSION

cimport numpy as cnp
from cpython.object cimport PyObject, Py_TYPE

from numpack._core.owner cimport owning_view, readonly_view
from numpack._dlpack.abi.dlpack cimport DLPACK_MAJOR, DLManagedTensorVersioned, DLTensor
from numpack._dlpack.fast_table cimport FastImport, ResizableStorage
from numpack._dlpack.importing cimport (
    TensorOwner, consume_or_none, is_within, load_dtype, view_or_none,
)


cdef extern from "Python.h":
    PyObject *PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *)
    PyObject *PyObject_CallFunctionObjArgs(PyObject *, PyObject *, PyObject *, void *)
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    PyObject *PyErr_Occurred()
    int PyErr_ExceptionMatches(object)
    void PyErr_Clear()

cdef extern from "calls.h":
    PyObject *call_method "numpack_call_method"(object, object)
    object _stolen "numpack_stolen"(PyObject *)  # takes the reference over
    object _raised "numpack_raised"()  # propagates the exception that is set

cnp.import_array()

cdef tuple _keywords = ("max_version",)


cdef object view_object(FastImport half, obj):
    """View the memory of an object as the array of its plan, or return None."""
    if half.view is not None:
        array = call_or_none(half.view, obj)
        return _checked(half, array, obj) if cnp.PyArray_CheckExact(array) else None
    if half.guard is not None and not _is_false(half.guard, obj):
        return None
    array = _import_by_protocol(half, obj) if half.api == NULL else _import_by_api(half, obj)
    if half.dtype_guard is None or array is None or not _needs_dtype_guard(array):
        return array
    return array if _is_false(half.dtype_guard, obj) else None


cdef object _checked(FastImport half, cnp.ndarray array, obj):
    """Return what an adapter's function has returned, in the form that `half` asks for."""
    cdef int number = cnp.PyArray_TYPE(array)
    if half.dtypes and not (
        0 <= number < 64 and half.dtypes >> number & 1 and cnp.PyArray_SIZE(array)
    ):
        return None
    if half.owned:
        if cnp.PyArray_CHKFLAGS(array, cnp.NPY_ARRAY_OWNDATA):
            return None
        return owning_view(array, obj)
    return readonly_view(array) if half.readonly else array


cdef object call_or_none(function, argument):
    """Call a function of an adapter; return None if it raises an `Exception`."""
    cdef PyObject *result = call_method(function, argument)
    return clear_error() if result == NULL else _stolen(result)


cdef object call_named(function, argument, name):
    """Call a function of an adapter as `call_or_none` does, with the name of an array if any."""
    cdef PyObject *result
    if name is None:
        return call_or_none(function, argument)
    result = PyObject_CallFunctionObjArgs(
        <PyObject *>function, <PyObject *>argument, <PyObject *>name, NULL
    )
    return clear_error() if result == NULL else _stolen(result)


cdef bint _is_false(predicate, obj) except -1:
    return call_or_none(predicate, obj) is False


cdef bint _needs_dtype_guard(cnp.ndarray array) noexcept:
    cdef int number = cnp.PyArray_TYPE(array)
    return number in (cnp.NPY_CFLOAT, cnp.NPY_CDOUBLE, cnp.NPY_BYTE, cnp.NPY_UBYTE)


cdef object _import_by_api(FastImport half, obj):
    cdef DLManagedTensorVersioned *managed = NULL
    cdef TensorOwner owner
    if half.storage is not None:
        return _import_storage(half, obj)
    owner = TensorOwner.__new__(TensorOwner)
    if half.api.managed_tensor_from_py_object_no_sync(<PyObject *>obj, &managed) != 0:
        return clear_error()
    if managed == NULL:
        return None
    owner.managed, owner.versioned = managed, True  # deletes the tensor from here on
    owner.producer = obj
    if managed.version.major != DLPACK_MAJOR:
        return None
    array = view_or_none(&managed.dl_tensor, managed.flags, half.readonly, owner)
    if array is None and load_dtype(managed.dl_tensor.dtype, managed.flags):
        array = view_or_none(&managed.dl_tensor, managed.flags, half.readonly, owner)
    return array


cdef object _import_storage(FastImport half, obj):
    """View the memory of an object's storage; the borrowed tensor only describes the layout."""
    cdef DLTensor tensor
    cdef TensorOwner owner
    cdef PyObject *found = call_method(half.storage.storage_of, obj)
    if found == NULL:
        return clear_error()
    storage = _stolen(found)
    if type(storage) is not half.storage.storage_type:
        return None
    if half.api.dltensor_from_py_object_no_sync == NULL:
        return None
    if half.api.dltensor_from_py_object_no_sync(<PyObject *>obj, &tensor) != 0:
        return clear_error()
    if not _is_false(half.storage.is_resizable, storage):
        return _pin(half.storage, obj, storage, &tensor)
    owner = TensorOwner.__new__(TensorOwner)
    owner.producer, owner.storage = obj, storage
    array = view_or_none(&tensor, 0, half.readonly, owner)
    if array is None and load_dtype(tensor.dtype, 0):  # Python code has run: read it again
        return _import_storage(half, obj)
    return array


cdef object _pin(ResizableStorage access, obj, storage, const DLTensor *tensor):
    """Pin a storage and return an array over it, if it contains the whole tensor."""
    try:
        if is_within(tensor, access.address(storage), access.nbytes(storage)):
            return owning_view(access.pin(obj), None)
    except Exception:  # the policy repeats the call and reports the reason
        pass
    return None


cdef object _import_by_protocol(FastImport half, obj):
    cdef PyObject *arguments[3]
    cdef PyObject *capsule
    arguments[1], arguments[2] = <PyObject *>obj, <PyObject *>MAX_VERSION
    capsule = PyObject_Vectorcall(
        <PyObject *>half.producer, arguments + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
        <PyObject *>_keywords,
    )
    if capsule == NULL:
        return clear_error()
    return consume_or_none(_stolen(capsule), half.readonly, 0, obj)


cdef object clear_error():
    """Clear an `Exception` of a framework: the policy repeats the call and reports it.

    A panic of Rust code is none.
    """
    cdef PyObject *error = PyErr_Occurred()
    if error != NULL and not PyErr_ExceptionMatches(Exception):
        if (<object>error).__name__ != "PanicException":
            return _raised()  # KeyboardInterrupt and the like
    PyErr_Clear()
    return None
