"""The exporting half of the fast path: objects of a framework over an array's memory."""

import sys

from .._core.policy import PACKAGE, warn
from .importing import CPU
from ..errors import ReadOnlyWarning

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject

from numpack._core.owner cimport flat_view, owning_view, writable_view
from numpack._core.writability cimport is_safe_to_write
from numpack._dlpack.abi.dlpack cimport (
    FLAG_PADDED, DLDataType, DLManagedTensorVersioned, kDLFloat,
)
from numpack._dlpack.exporting cimport capsule_or_none, managed_tensor, unwatch
from numpack._dlpack.fast_import cimport call_named, call_or_none, clear_error
from numpack._dlpack.fast_table cimport FastExport
from numpack._dlpack.importing cimport delete_managed, dlpack_dtype


cdef extern from "Python.h":
    int PyErr_WarnEx(object, const char *, Py_ssize_t) except -1
    const char *PyUnicode_AsUTF8(object) except NULL

cdef extern from "calls.h":
    object _stolen "numpack_stolen"(PyObject *)  # takes the reference over

cnp.import_array()


cdef object make_object(FastExport half, cnp.ndarray array, name):
    """Make the object of an array's plan, or return None."""
    cdef bint cautious = False
    if not cnp.PyArray_ISWRITEABLE(array) and (half.api != NULL or half.may_write):
        cautious = half.caution is not None
        if not (cautious or half.may_write) or not is_safe_to_write(array):
            return None
        if cnp.PyArray_SIZE(array) == 0:
            return None
    if half.api != NULL:
        made = _export_by_api(half, writable_view(array) if cautious else array)
    elif half.make is None:
        made = _export_by_protocol(half, array)
    else:
        made = _make(half, array, name)
    if cautious and made is not None:
        _warn(half.caution(array))
    return made


cdef int _warn(str text) except -1:
    """Issue a `ReadOnlyWarning` attributed to the caller's line, as `policy.warn` does."""
    try:
        is_internal = sys._getframe().f_code.co_filename.startswith(PACKAGE)
    except ValueError:  # a thread that has been started with the public function itself
        is_internal = False
    if is_internal:
        warn(text, ReadOnlyWarning)
        return 0
    return PyErr_WarnEx(ReadOnlyWarning, PyUnicode_AsUTF8(text), 1)


cdef object _make(FastExport half, cnp.ndarray array, name):
    if not _is_plain(half, array):
        return None
    return call_named(half.make, array if half.as_is else owning_view(array, None), name)


cdef bint _is_plain(FastExport half, cnp.ndarray array) noexcept:
    """Check the conditions that `register_export` lists."""
    cdef int number = cnp.PyArray_TYPE(array), ndim = cnp.PyArray_NDIM(array)
    cdef size_t address = <size_t>cnp.PyArray_DATA(array)
    return (
        0 <= number < 64
        and half.dtypes >> number & 1
        and half.min_ndim <= ndim <= half.max_ndim
        and cnp.PyArray_ISBEHAVED_RO(array)
        and (not half.order_c or cnp.PyArray_IS_C_CONTIGUOUS(array))
        and cnp.PyArray_SIZE(array) != 0
        and address & (half.alignment - 1) == 0  # a power of two
        and (number != cnp.NPY_CDOUBLE or address % 16 == 0)  # see memory.native_obstacle
    )


cdef object _export_by_api(FastExport half, cnp.ndarray array):
    cdef bint deleted = False
    cdef DLManagedTensorVersioned *managed = managed_tensor(array, 0, &deleted)
    cdef void *made = NULL
    if managed == NULL:
        return None
    if managed.flags & FLAG_PADDED:  # other frameworks expect packed sub-byte values
        delete_managed(managed, True)
        return None
    if half.api.managed_tensor_to_py_object_no_sync(managed, &made) != 0 or made == NULL:
        try:
            clear_error()  # which may release the tensor through the exception's references
        finally:
            if not deleted:  # the consumer owns the tensor, but some leak it on failure
                delete_managed(managed, True)
        return None
    if not deleted:
        unwatch(managed)
    result = _stolen(<PyObject *>made)
    return result if type(result) is half.result_type else None  # e.g. a fake tensor


@cython.final
cdef class _SingleExport:
    """A producer for one consumer that never writes: read-only arrays are not flagged."""

    cdef cnp.ndarray array

    def __dlpack_device__(self):
        return CPU

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return capsule_or_none(self.array, max_version is not None, 0)


cdef object _export_by_protocol(FastExport half, cnp.ndarray array):
    cdef DLDataType dtype
    cdef _SingleExport producer
    if not cnp.PyArray_IS_C_CONTIGUOUS(array) or not cnp.PyArray_ISBEHAVED_RO(array):
        return None
    if not dlpack_dtype(array, &dtype) or dtype.code > kDLFloat or dtype.bits < 8:
        return None
    producer = _SingleExport.__new__(_SingleExport)
    producer.array = array if cnp.PyArray_NDIM(array) == 1 else flat_view(array)
    return call_or_none(half.consumer, producer)
