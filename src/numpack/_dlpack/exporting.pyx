"""DLPack out of NumPy memory; the way in is in `_exchange`.

What goes out is a managed tensor that owns a reference to its array, which `_release.h` drops
on whatever thread. Functions whose names say ``or_none`` make one or leave everything as it
was; why they did is for the policy to find out and to say.
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
from numpack._dlpack.importing cimport delete_managed, name_of


cdef extern from "release.h":
    int numpack_begin()
    void numpack_open()
    void numpack_end()
    void numpack_release(PyObject *) noexcept nogil

cnp.import_array()


cdef struct Versioned:  # in one allocation: this, then shape and strides
    DLManagedTensorVersioned managed
    PyObject *owner
    bint *gone  # is set when the deleter runs, if somebody watches

cdef struct Legacy:
    DLManagedTensor managed
    PyObject *owner


cdef void _delete_versioned(DLManagedTensorVersioned *managed) noexcept nogil:
    cdef Versioned *ours = <Versioned *>managed
    if ours.gone != NULL:
        ours.gone[0] = True
    numpack_release(ours.owner)
    free(ours)


cdef void _delete_legacy(DLManagedTensor *managed) noexcept nogil:
    numpack_release((<Legacy *>managed).owner)
    free(managed)


cdef DLManagedTensorVersioned *managed_tensor(
    cnp.ndarray array, uint64_t flags, bint *gone
) except? NULL:
    """Make a tensor that owns a reference to `array`; NULL if none describes it as it lies."""
    cdef Versioned *made
    cdef DLDataType name
    if not name_of(array, &name):
        return NULL
    made = <Versioned *>_allocate(sizeof(Versioned), array)
    if not _fill(&made.managed.dl_tensor, <int64_t *>(made + 1), array, name):
        free(made)
        return NULL
    made.managed.version.major, made.managed.version.minor = DLPACK_MAJOR, DLPACK_MINOR
    made.managed.manager_ctx, made.managed.deleter = made, _delete_versioned
    made.managed.flags = flags
    if not cnp.PyArray_ISWRITEABLE(array):
        made.managed.flags |= FLAG_READ_ONLY
    if name.bits < 8:
        made.managed.flags |= FLAG_PADDED
    Py_INCREF(array)
    made.owner, made.gone = <PyObject *>array, gone
    return &made.managed


cdef void unwatch(DLManagedTensorVersioned *managed) noexcept:
    """Say that nobody watches any more for the deleter of a tensor of `managed_tensor`."""
    (<Versioned *>managed).gone = NULL


cdef DLManagedTensor *_legacy_tensor(cnp.ndarray array) except? NULL:
    """Make a legacy one, which can tell neither read-only nor padded; NULL if none does."""
    cdef Legacy *made
    cdef DLDataType name
    if not cnp.PyArray_ISWRITEABLE(array) or not name_of(array, &name) or name.bits < 8:
        return NULL
    made = <Legacy *>_allocate(sizeof(Legacy), array)
    if not _fill(&made.managed.dl_tensor, <int64_t *>(made + 1), array, name):
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


cdef bint _fill(DLTensor *tensor, int64_t *extents, cnp.ndarray array, DLDataType name) noexcept:
    """Describe an array; false if a consumer may not be able to read it as it lies."""
    cdef int ndim = cnp.PyArray_NDIM(array), i
    cdef cnp.npy_intp itemsize = cnp.PyArray_ITEMSIZE(array), stride
    cdef bint empty = cnp.PyArray_SIZE(array) == 0
    cdef size_t step = 1
    if not cnp.PyArray_ISBEHAVED_RO(array):  # aligned and in native byte order
        return False
    if name.bits > 64 and not empty and <size_t>cnp.PyArray_DATA(array) % <size_t>itemsize:
        return False  # see native_obstacle in _memory
    for i in range(ndim - 1, -1, -1):
        extents[i] = cnp.PyArray_DIM(array, i)
        if empty or extents[i] == 1:  # such strides reach nothing and may be anything
            extents[ndim + i] = step
        else:
            stride = cnp.PyArray_STRIDE(array, i)
            if stride < 0 or stride % itemsize:
                return False
            extents[ndim + i] = stride // itemsize
        step = <size_t>extents[ndim + i] * <size_t>max(extents[i], 1)
    tensor.data = cnp.PyArray_DATA(array)
    tensor.device.device_type, tensor.device.device_id = kDLCPU, 0
    tensor.ndim, tensor.dtype = ndim, name
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
            return PyCapsule_New(managed, VERSIONED, _drop_versioned)
        return PyCapsule_New(managed, LEGACY, _drop_legacy)
    except MemoryError:
        delete_managed(managed, versioned)
        raise


cdef void _drop_versioned(object capsule) noexcept:
    if PyCapsule_IsValid(capsule, VERSIONED):  # else a consumer has it
        delete_managed(PyCapsule_GetPointer(capsule, VERSIONED), True)


cdef void _drop_legacy(object capsule) noexcept:
    if PyCapsule_IsValid(capsule, LEGACY):
        delete_managed(PyCapsule_GetPointer(capsule, LEGACY), False)


def export(array, *, bint versioned, bint copied=False):
    """Make a capsule over an array's memory.

    Parameters
    ----------
    array : ndarray
        Native, aligned, of a dtype that DLPack can name, with strides that are multiples
        of the item size from zero up.
    versioned : bool
        Whether the consumer takes ``dltensor_versioned``.
    copied : bool
        Whether the memory was copied for the consumer.

    Raises
    ------
    ZeroCopyError
        The array is read-only, or its values take less than a byte each, and a legacy
        capsule cannot say so. It is a `BufferError`, as the protocol asks for.
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
            "a legacy DLPack capsule cannot say that values of less than a byte are padded; "
            "ask for a versioned one with max_version=(1, 1)"
        )
    raise ZeroCopyError(
        f"DLPack cannot describe {array.dtype} of strides {array.strides} as it lies; wrap "
        "the array again, which brings it to form"
    )


cdef class Exporter:
    """What `__dlpack__` is, for a class that holds an array.

    A subclass says in `_export` what is done where memory cannot just be shared, and what
    is wrong with what a consumer asks for.

    Attributes
    ----------
    array : ndarray
        The array that is exported.
    """

    def __reduce__(self):
        return _restored, (type(self), self.array)

    def __dlpack_device__(self):
        """Give DLPack's device: the CPU, ``(1, 0)``."""
        return CPU

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """Export the array as a capsule.

        Parameters
        ----------
        stream : None
            The CPU has no streams.
        max_version : tuple of int, optional
            The newest DLPack version that the consumer takes; from ``(1, 0)`` on it gets
            a versioned capsule, else a legacy one.
        dl_device : tuple of int, optional
            The CPU, ``(1, 0)``.
        copy : bool or None, optional
            True: memory of the consumer's own, flagged as copied.

        Returns
        -------
        capsule
            Named ``dltensor_versioned`` or ``dltensor``.

        Raises
        ------
        ZeroCopyError
            A `BufferError`: another device was asked for, or the array is read-only and
            the consumer cannot be told so, or ``copy=False`` and memory cannot be shared.
        InvalidValueError
            A stream was given.
        """
        if stream is None and dl_device is None and (copy is None or copy is False):
            capsule = _quick_capsule(self.array, max_version)
            if capsule is not None:
                return capsule
        return self._export(stream, max_version, dl_device, copy)


def _restored(cls, array):
    """Make what was pickled again, of the array as it was."""
    made = cls.__new__(cls)
    made.array = array
    return made


cdef object _quick_capsule(cnp.ndarray array, max_version):
    cdef bint versioned = False
    if not is_open(array):
        return None
    if max_version is not None:
        if type(max_version) is not tuple:
            return None
        versioned = max_version >= (1, 0)
    return capsule_or_none(array, versioned, 0)


cdef bint is_open(cnp.ndarray array) noexcept:
    """Tell whether anybody may write to an array's memory: no mask, no mapping to fear."""
    return array is not None and cnp.PyArray_CheckExact(array) and cnp.PyArray_ISWRITEABLE(array)


# Deleters, as long as the process lives ---------------------------------------------------

def _open():
    numpack_open()


def _end():
    numpack_end()


if numpack_begin() != 0:
    raise MemoryError
os.register_at_fork(after_in_child=_open)
atexit.register(_end)
