"""DLPack export: managed tensors and capsules over the memory of NumPy arrays.

A managed tensor owns a reference to its array, which `abi/release.h` releases on any thread.
Functions named ``…_or_none`` either succeed or change nothing; the policy determines and
reports the reason.
"""

import atexit
import os

from .importing import CPU
from ..errors import ZeroCopyError

cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_New
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc

from numpack._dlpack.abi.dlpack cimport (
    DLPACK_MAJOR,
    DLPACK_MINOR,
    FLAG_IS_COPIED,
    FLAG_PADDED,
    FLAG_READ_ONLY,
    LEGACY,
    VERSIONED,
    DLDataType,
    DLManagedTensor,
    DLManagedTensorVersioned,
    DLTensor,
    kDLCPU,
)
from numpack._dlpack.importing cimport delete_managed, dlpack_dtype


cdef extern from "release.h":
    int numpack_begin()
    void numpack_open()
    void numpack_end()
    void numpack_release(PyObject *) noexcept nogil

cnp.import_array()


cdef struct Versioned:  # followed by shape and strides in the same allocation
    DLManagedTensorVersioned managed
    PyObject *owner
    bint *deleted  # set by the deleter unless NULL

cdef struct Legacy:
    DLManagedTensor managed
    PyObject *owner


cdef void _delete_versioned(DLManagedTensorVersioned *managed) noexcept nogil:
    cdef Versioned *tensor = <Versioned *>managed
    if tensor.deleted != NULL:
        tensor.deleted[0] = True
    numpack_release(tensor.owner)
    free(tensor)


cdef void _delete_legacy(DLManagedTensor *managed) noexcept nogil:
    numpack_release((<Legacy *>managed).owner)
    free(managed)


cdef DLManagedTensorVersioned *managed_tensor(
    cnp.ndarray array, uint64_t flags, bint *deleted
) except? NULL:
    """Return a tensor that owns a reference to `array`; NULL if DLPack cannot describe it."""
    cdef Versioned *made
    cdef DLDataType dtype
    if not dlpack_dtype(array, &dtype):
        return NULL
    made = <Versioned *>_allocate(sizeof(Versioned), array)
    if not _fill(&made.managed.dl_tensor, <int64_t *>(made + 1), array, dtype):
        free(made)
        return NULL
    made.managed.version.major, made.managed.version.minor = DLPACK_MAJOR, DLPACK_MINOR
    made.managed.manager_ctx, made.managed.deleter = made, _delete_versioned
    made.managed.flags = flags
    if not cnp.PyArray_ISWRITEABLE(array):
        made.managed.flags |= FLAG_READ_ONLY
    if dtype.bits < 8:
        made.managed.flags |= FLAG_PADDED
    Py_INCREF(array)
    made.owner, made.deleted = <PyObject *>array, deleted
    return &made.managed


cdef void unwatch(DLManagedTensorVersioned *managed) noexcept:
    """Stop reporting the deletion of a tensor of `managed_tensor` through `deleted`."""
    (<Versioned *>managed).deleted = NULL


cdef DLManagedTensor *_legacy_tensor(cnp.ndarray array) except? NULL:
    """Return a legacy tensor, or NULL: it has no flags for read-only or padded memory."""
    cdef Legacy *made
    cdef DLDataType dtype
    if not cnp.PyArray_ISWRITEABLE(array) or not dlpack_dtype(array, &dtype) or dtype.bits < 8:
        return NULL
    made = <Legacy *>_allocate(sizeof(Legacy), array)
    if not _fill(&made.managed.dl_tensor, <int64_t *>(made + 1), array, dtype):
        free(made)
        return NULL
    made.managed.manager_ctx, made.managed.deleter = made, _delete_legacy
    Py_INCREF(array)
    made.owner = <PyObject *>array
    return &made.managed


cdef void *_allocate(size_t head, cnp.ndarray array) except NULL:
    cdef void *memory = malloc(head + 2 * sizeof(int64_t) * cnp.PyArray_NDIM(array))
    if memory == NULL:
        raise MemoryError
    return memory


cdef bint _fill(DLTensor *tensor, int64_t *extents, cnp.ndarray array, DLDataType dtype) noexcept:
    """Describe an array; return false if a consumer may be unable to read its layout."""
    cdef int ndim = cnp.PyArray_NDIM(array), i
    cdef cnp.npy_intp itemsize = cnp.PyArray_ITEMSIZE(array), stride
    cdef bint empty = cnp.PyArray_SIZE(array) == 0
    cdef size_t step = 1
    if not cnp.PyArray_ISBEHAVED_RO(array):  # aligned and in native byte order
        return False
    if dtype.bits > 64 and not empty and <size_t>cnp.PyArray_DATA(array) % <size_t>itemsize:
        return False  # see memory.native_obstacle
    for i in range(ndim - 1, -1, -1):
        extents[i] = cnp.PyArray_DIM(array, i)
        if empty or extents[i] == 1:  # such strides are unused and may have any value
            extents[ndim + i] = step
        else:
            stride = cnp.PyArray_STRIDE(array, i)
            if stride < 0 or stride % itemsize:
                return False
            extents[ndim + i] = stride // itemsize
        step = <size_t>extents[ndim + i] * <size_t>max(extents[i], 1)
    tensor.data = cnp.PyArray_DATA(array)
    tensor.device.device_type, tensor.device.device_id = kDLCPU, 0
    tensor.ndim, tensor.dtype = ndim, dtype
    tensor.shape, tensor.strides, tensor.byte_offset = extents, extents + ndim, 0
    return True


cdef object capsule_or_none(cnp.ndarray array, bint versioned, uint64_t flags):
    cdef void *managed
    if versioned:
        managed = managed_tensor(array, flags, NULL)
    else:
        managed = _legacy_tensor(array)
    if managed == NULL:
        return None
    try:
        if versioned:
            return PyCapsule_New(managed, VERSIONED, _destroy_versioned)
        return PyCapsule_New(managed, LEGACY, _destroy_legacy)
    except MemoryError:
        delete_managed(managed, versioned)
        raise


cdef void _destroy_versioned(object capsule) noexcept:
    if PyCapsule_IsValid(capsule, VERSIONED):  # a consumed capsule has another name
        delete_managed(PyCapsule_GetPointer(capsule, VERSIONED), True)


cdef void _destroy_legacy(object capsule) noexcept:
    if PyCapsule_IsValid(capsule, LEGACY):
        delete_managed(PyCapsule_GetPointer(capsule, LEGACY), False)


def export(array, *, bint versioned, bint copied=False):
    """Return a capsule that shares an array's memory.

    Parameters
    ----------
    array : ndarray
        In native byte order, aligned, of a dtype that DLPack has, with strides that are
        non-negative multiples of the item size.
    versioned : bool
        Whether the consumer accepts ``dltensor_versioned``.
    copied : bool
        Whether the memory was copied for the consumer.

    Raises
    ------
    ZeroCopyError
        The array is read-only or of a sub-byte dtype, for which a legacy capsule has no
        flag. It is a `BufferError`, as the protocol requires.
    """
    capsule = capsule_or_none(array, versioned, FLAG_IS_COPIED if copied else 0)
    if capsule is not None:
        return capsule
    if not versioned and not array.flags.writeable:
        raise ZeroCopyError(
            "a legacy DLPack capsule cannot say that memory is read-only; ask for a versioned "
            "one with max_version=(1, 0), or wrap a copy with copy=True"
        )
    if not versioned and capsule_or_none(array, True, 0) is not None:
        raise ZeroCopyError(
            "a legacy DLPack capsule cannot say that sub-byte values are padded; ask for a "
            "versioned one with max_version=(1, 1)"
        )
    raise ZeroCopyError(
        f"DLPack cannot describe {array.dtype} with strides {array.strides}; wrap the array "
        "again, which makes it contiguous"
    )


cdef class Exporter:
    """Base class of exporters of an array by `__dlpack__`.

    A subclass implements `_export` for requests that need a decision: copies, other devices,
    invalid arguments.

    Attributes
    ----------
    array : ndarray
        The array that is exported.
    """

    def __reduce__(self):
        return wrapped, (type(self), self.array)

    def __dlpack_device__(self):
        """Return the device type and device ID of the CPU, ``(1, 0)``."""
        return CPU

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """Export the array as a capsule.

        Parameters
        ----------
        stream : None
            The CPU has no streams.
        max_version : tuple of int, optional
            The newest DLPack version that the consumer supports. From ``(1, 0)`` on the
            capsule is versioned, otherwise it is a legacy one.
        dl_device : tuple of int, optional
            The CPU, ``(1, 0)``.
        copy : bool or None, optional
            If True, export a copy, flagged as copied.

        Returns
        -------
        capsule
            Named ``dltensor_versioned`` or ``dltensor``.

        Raises
        ------
        ZeroCopyError
            A `BufferError`: another device was requested, or the array is read-only and a
            legacy capsule was requested, or ``copy=False`` and memory cannot be shared.
        InvalidValueError
            A stream was passed.
        """
        if stream is None and dl_device is None and (copy is None or copy is False):
            capsule = _fast_capsule(self.array, max_version)
            if capsule is not None:
                return capsule
        return self._export(stream, max_version, dl_device, copy)


def wrapped(cls, array):
    """Return an exporter of an array that is ready for export, without running its ``__init__``."""
    made = cls.__new__(cls)
    made.array = array
    return made


cdef object _fast_capsule(cnp.ndarray array, max_version):
    cdef bint versioned = False
    if not is_unrestricted(array):
        return None
    if max_version is not None:
        if type(max_version) is not tuple:
            return None
        versioned = max_version >= (1, 0)
    return capsule_or_none(array, versioned, 0)


cdef bint is_unrestricted(cnp.ndarray array) noexcept:
    """Check that any consumer may write to an array: it is writable and has no mask."""
    return array is not None and cnp.PyArray_CheckExact(array) and cnp.PyArray_ISWRITEABLE(array)


# Releasing references after a fork and at exit -------------------------------------------

def _open():
    numpack_open()


def _end():
    numpack_end()


if numpack_begin() != 0:
    raise MemoryError
os.register_at_fork(after_in_child=_open)
atexit.register(_end)
