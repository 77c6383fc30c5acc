"""DLPack import: NumPy arrays over the memory of DLPack tensors.

`describe` reads a capsule, legacy or versioned; `consume_capsule` makes an array over its memory,
whose base owns the tensor and calls the producer's deleter exactly once. The structs are those of
DLPack 1.3, declared in ``abi/dlpack.pxd``.

Functions named ``…_or_none``, and `try_consume_capsule`, either succeed or change nothing; the
policy determines and reports the reason.
"""

import numpy as np

from .._core import dtypes
from .._core.dlpack_description import Description
from ..errors import InvalidValueError

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject
from cpython.pycapsule cimport (
    PyCapsule_CheckExact,
    PyCapsule_GetName,
    PyCapsule_GetPointer,
    PyCapsule_SetName,
)
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, strcmp

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
    kDLCUDAHost,
    kDLCUDAManaged,
    kDLROCMHost,
)


cdef extern from "numpy/arrayobject.h":
    enum:
        NPY_MAXDIMS
    PyTypeObject PyArray_Type
    object PyArray_NewFromDescr(
        PyTypeObject *, cnp.PyArray_Descr *, int, const cnp.npy_intp *, const cnp.npy_intp *,
        void *, int, PyObject *
    )
    int PyArray_SetBaseObject(cnp.ndarray, PyObject *) except -1

cnp.import_array()

CPU = (kDLCPU, 0)
MAX_VERSION = (DLPACK_MAJOR, DLPACK_MINOR)
READ_ONLY, IS_COPIED, PADDED = FLAG_READ_ONLY, FLAG_IS_COPIED, FLAG_PADDED

# A capsule stores a pointer to its name, so the names must never be freed.
cdef const char *USED_LEGACY = "used_dltensor"
cdef const char *USED_VERSIONED = "used_dltensor_versioned"


include "abi/dtype_table.pxi"


# Tensors ----------------------------------------------------------------------------------

cdef double ADDRESS_LIMIT = 2.0**62  # in bytes, beyond any address space


ctypedef struct Layout:  # of a tensor, in NumPy's terms
    bint empty
    cnp.npy_intp shape[NPY_MAXDIMS]
    cnp.npy_intp strides[NPY_MAXDIMS]


cdef bint is_within(const DLTensor *tensor, size_t start, size_t nbytes) noexcept nogil:
    """Check that a tensor is valid and all its elements are in a range of memory."""
    cdef size_t first = <size_t>tensor.data + tensor.byte_offset, last = first
    cdef size_t itemsize = itemsize_of(tensor.dtype)
    cdef Layout layout
    cdef int i
    if _convert_layout(tensor, &layout) != VALID:
        return False
    for i in range(tensor.ndim):
        if layout.strides[i] > 0:
            last += layout.strides[i] * (layout.shape[i] - 1)
        elif layout.strides[i] < 0:
            first += layout.strides[i] * (layout.shape[i] - 1)
    return layout.empty or (start <= first and last + itemsize <= start + nbytes)


cdef TensorError validate(const DLTensor *tensor) noexcept nogil:
    """Check that an array can have the shape and the strides of a tensor."""
    cdef Layout layout
    return _convert_layout(tensor, &layout)


cdef TensorError _convert_layout(const DLTensor *tensor, Layout *layout) noexcept nogil:
    """Convert shape and strides to NumPy's terms, or return an error.

    Sizes are computed in floating point, which does not wrap around.
    """
    cdef size_t itemsize = itemsize_of(tensor.dtype), step = itemsize
    cdef double size = itemsize, reach = itemsize
    cdef int64_t extent
    cdef int i
    if tensor.ndim < 0 or tensor.ndim > NPY_MAXDIMS or (tensor.ndim and tensor.shape == NULL):
        return BAD_NDIM
    layout.empty = False
    for i in range(tensor.ndim - 1, -1, -1):
        extent = layout.shape[i] = tensor.shape[i]
        layout.strides[i] = step
        if extent > 1:
            if tensor.strides != NULL:
                layout.strides[i] = <size_t>tensor.strides[i] * itemsize
                reach += <double>itemsize * (extent - 1) * abs(<double>tensor.strides[i])
            size *= extent
        elif extent < 0:
            return NEGATIVE
        elif extent == 0:
            layout.empty = True
        step = <size_t>layout.strides[i] * <size_t>extent
    if size >= ADDRESS_LIMIT:
        return TOO_LARGE
    if layout.empty:
        return VALID
    if tensor.data == NULL:
        return NO_DATA
    return BAD_STRIDES if reach + tensor.byte_offset >= ADDRESS_LIMIT else VALID


cdef _raise_invalid(const DLTensor *tensor, TensorError error):
    if error == BAD_NDIM:
        raise InvalidValueError(
            f"the DLPack tensor has {tensor.ndim} dimensions and no usable shape; an array has "
            f"0 to {NPY_MAXDIMS}"
        )
    shape = _tuple(tensor.ndim, tensor.shape)
    subject = f"the DLPack tensor of shape {shape}"
    if error == NEGATIVE:
        raise InvalidValueError(f"the DLPack tensor has a negative extent in its shape {shape}")
    if error == TOO_LARGE:
        raise InvalidValueError(f"{subject} exceeds the address space")
    if error == NO_DATA:
        raise InvalidValueError(f"{subject} has no data: its pointer is NULL")
    strides = None if tensor.strides == NULL else _tuple(tensor.ndim, tensor.strides)
    raise InvalidValueError(
        f"{subject} has strides {strides} and an offset of {tensor.byte_offset} bytes, which "
        "exceed the address space"
    )


cdef tuple _tuple(int length, const int64_t *values):
    return tuple([values[i] for i in range(length)])


cdef bint _on_host(const DLTensor *tensor) noexcept nogil:
    return tensor.device.device_type in (kDLCPU, kDLCUDAHost, kDLROCMHost, kDLCUDAManaged)


@cython.final
@cython.no_gc
@cython.freelist(32)
cdef class TensorOwner:
    """The base of an array over a DLPack tensor.

    It owns the managed tensor and calls its deleter when it is collected. It also keeps alive
    the producer, and the producer's storage if that is an object of its own.
    """

    def __dealloc__(self):
        if self.managed != NULL:
            delete_managed(self.managed, self.versioned)


cdef void delete_managed(void *managed, bint versioned) noexcept:
    if versioned:
        if (<DLManagedTensorVersioned *>managed).deleter != NULL:
            (<DLManagedTensorVersioned *>managed).deleter(<DLManagedTensorVersioned *>managed)
    elif (<DLManagedTensor *>managed).deleter != NULL:
        (<DLManagedTensor *>managed).deleter(<DLManagedTensor *>managed)


cdef object view_or_none(const DLTensor *tensor, uint64_t flags, bint readonly, object owner):
    """View a valid tensor in host memory as an array that keeps `owner` alive, or return None."""
    cdef Layout layout
    if flags & FLAG_IS_COPIED or not _on_host(tensor) or _convert_layout(tensor, &layout) != VALID:
        return None
    return _view(tensor, flags, &layout, readonly, owner)


cdef object _view(
    const DLTensor *tensor, uint64_t flags, const Layout *layout, bint readonly, object owner
):
    cdef PyObject *descr = _descr(tensor.dtype, flags)
    if descr == NULL:
        return None
    if layout.empty:
        return _empty(tensor.ndim, layout, <object>descr, readonly or flags & FLAG_READ_ONLY)
    Py_INCREF(<object>descr)
    array = PyArray_NewFromDescr(
        &PyArray_Type, <cnp.PyArray_Descr *>descr, tensor.ndim, layout.shape, layout.strides,
        <char *>tensor.data + tensor.byte_offset,
        0 if readonly or flags & FLAG_READ_ONLY else cnp.NPY_ARRAY_WRITEABLE, NULL,
    )
    Py_INCREF(owner)
    PyArray_SetBaseObject(<cnp.ndarray>array, <PyObject *>owner)
    return array


cdef object _empty(int ndim, const Layout *layout, descr, bint readonly):
    """Return an empty array, which has no memory to share."""
    array = np.empty(tuple([layout.shape[i] for i in range(ndim)]), descr)
    if readonly:
        array.flags.writeable = False
    return array


# Capsules ---------------------------------------------------------------------------------

ctypedef struct Content:  # of a capsule that was not consumed
    void *managed
    const DLTensor *tensor
    uint64_t flags
    const char *name
    bint versioned


def is_capsule(obj):
    """Check whether an object is a capsule of any name."""
    return PyCapsule_CheckExact(obj)


cdef int _read(capsule, Content *content) except -1:
    """Read a capsule. Once Python code runs, another thread may consume it and free the tensor."""
    cdef const char *name = PyCapsule_GetName(capsule) if PyCapsule_CheckExact(capsule) else NULL
    cdef DLManagedTensorVersioned *managed
    cdef DLManagedTensor *legacy
    if name != NULL and strcmp(name, VERSIONED) == 0:
        managed = <DLManagedTensorVersioned *>PyCapsule_GetPointer(capsule, name)
        if managed.version.major != DLPACK_MAJOR:
            raise InvalidValueError(
                f"the capsule is of DLPack {managed.version.major}.{managed.version.minor}, and "
                f"this version reads DLPack {DLPACK_MAJOR}; ask its producer for "
                f"max_version={MAX_VERSION}"
            )
        content[0] = Content(managed, &managed.dl_tensor, managed.flags, name, True)
    elif name != NULL and strcmp(name, LEGACY) == 0:
        legacy = <DLManagedTensor *>PyCapsule_GetPointer(capsule, name)
        content[0] = Content(legacy, &legacy.dl_tensor, 0, name, False)
    elif name != NULL and (strcmp(name, USED_VERSIONED) == 0 or strcmp(name, USED_LEGACY) == 0):
        raise InvalidValueError(
            "the DLPack capsule was consumed already; ask its producer for another one"
        )
    else:
        raise InvalidValueError(
            f"expected a capsule named dltensor or dltensor_versioned, got {capsule!r}"
        )
    return 0


def describe(capsule):
    """Return a description of a capsule's tensor without consuming the capsule.

    Raises
    ------
    InvalidValueError
        The capsule was consumed already, is not a DLPack capsule, has another major version,
        or its tensor has a shape that no array can have.
    """
    cdef int64_t shape[NPY_MAXDIMS]
    cdef int64_t strides[NPY_MAXDIMS]
    cdef Content content
    cdef DLTensor copy
    cdef TensorError error
    with cython.critical_section(capsule):
        _read(capsule, &content)
        _snapshot(content.tensor, &copy, shape, strides)
    error = validate(&copy)
    if error != VALID:
        _raise_invalid(&copy, error)
    return Description(
        shape=_tuple(copy.ndim, shape),
        strides=None if copy.strides == NULL else _tuple(copy.ndim, strides),
        code=copy.dtype.code,
        bits=copy.dtype.bits,
        lanes=copy.dtype.lanes,
        device=(copy.device.device_type, copy.device.device_id),
        readonly=bool(content.flags & FLAG_READ_ONLY),
        copied=bool(content.flags & FLAG_IS_COPIED),
        padded=bool(content.flags & FLAG_PADDED),
    )


cdef void _snapshot(
    const DLTensor *tensor, DLTensor *copy, int64_t *shape, int64_t *strides
) noexcept:
    """Copy a tensor, which another thread may consume and free as soon as Python code runs."""
    copy[0] = tensor[0]
    if 0 < tensor.ndim <= NPY_MAXDIMS:
        if tensor.shape != NULL:
            copy.shape = <int64_t *>memcpy(shape, tensor.shape, tensor.ndim * sizeof(int64_t))
        if tensor.strides != NULL:
            copy.strides = <int64_t *>memcpy(
                strides, tensor.strides, tensor.ndim * sizeof(int64_t)
            )


def consume_capsule(capsule, *, bint readonly=False, producer=None):
    """Consume a capsule and return an array that shares its memory.

    The capsule is marked as used; its deleter runs once, when the last array over the memory is
    collected. The array is writable unless the capsule or `readonly` forbids it. It keeps
    `producer`, the object that exported the capsule, alive.

    Raises
    ------
    InvalidValueError
        As `describe`, or NumPy cannot read the values in place. The capsule is unchanged.
    """
    array = consume_or_none(capsule, readonly, FLAG_IS_COPIED, producer)
    if array is None:
        raise InvalidValueError(f"NumPy cannot read it in place: {describe(capsule)}")
    return array


def try_consume_capsule(capsule, *, bint readonly=False, producer=None):
    """Do as `consume_capsule` if no policy decision is needed; return None otherwise."""
    return consume_or_none(capsule, readonly, 0, producer)


cdef object consume_or_none(capsule, bint readonly, uint64_t ignored_flags, producer):
    cdef TensorOwner owner = TensorOwner.__new__(TensorOwner)
    cdef Content content
    with cython.critical_section(capsule):
        _read(capsule, &content)
        if _descr(content.tensor.dtype, content.flags) == NULL:
            load_dtype(content.tensor.dtype, content.flags)
            _read(capsule, &content)
        array = view_or_none(content.tensor, content.flags & ~ignored_flags, readonly, owner)
        if array is not None:
            _consume(capsule, &content, owner)
            owner.producer = producer
    return array


cdef int _consume(capsule, const Content *content, TensorOwner owner) except -1:
    """Move a capsule's tensor to `owner`; raise if another thread has consumed it."""
    cdef Content other
    if PyCapsule_GetName(capsule) != content.name:
        _read(capsule, &other)
    PyCapsule_SetName(capsule, USED_VERSIONED if content.versioned else USED_LEGACY)
    owner.managed, owner.versioned = content.managed, content.versioned
    return 0


cdef TensorOwner consume_any(capsule):
    """Consume a capsule without checking its tensor."""
    cdef TensorOwner owner = TensorOwner.__new__(TensorOwner)
    cdef Content content
    with cython.critical_section(capsule):
        _read(capsule, &content)
        _consume(capsule, &content, owner)
    return owner


def view_capsule(capsule):
    """View a capsule's memory without consuming it; invalid once a consumer does.

    Raises
    ------
    InvalidValueError
        As `consume_capsule`.
    """
    cdef Content content
    cdef Layout layout
    array = None
    with cython.critical_section(capsule):
        _read(capsule, &content)
        load_dtype(content.tensor.dtype, content.flags)
        if _on_host(content.tensor) and _convert_layout(content.tensor, &layout) == VALID:
            array = _view(content.tensor, content.flags, &layout, False, capsule)
    if array is None:
        raise InvalidValueError(f"NumPy cannot read it in place: {describe(capsule)}")
    return array
