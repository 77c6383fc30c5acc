"""DLPack into NumPy memory; the way out is in `_export`.

What comes in is a capsule of either kind: `describe` reads it, `adopt` makes an array over
its memory, whose base owns the tensor and calls the producer's deleter exactly once. The
structs are those of DLPack 1.3, in ``_dlpack.pxd``.

Functions whose names say ``or_none``, and `take_capsule`, do a hand-over or leave everything
as it was; why they did is for the policy to find out and to say.
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

# A capsule keeps the address of its name, not the name: these are never freed.
cdef const char *USED_LEGACY = "used_dltensor"
cdef const char *USED_VERSIONED = "used_dltensor_versioned"


# Dtypes: the table of _dtypes, by number where NumPy gives them one -----------------------

cdef enum:
    N_CODES = 18  # kDLFloat4_e2m1fn is the last that has a dtype
    N_WIDTHS = 24  # 1 to 7 bits, then 1 to 16 bytes
    N_NUMBERS = 32

cdef PyObject *_descrs[N_CODES][N_WIDTHS]  # by DLPack's code and width; NULL if not learned
cdef DLDataType _names[N_NUMBERS]  # by NumPy's number; bits == 0 where DLPack has no name
cdef dict _extension_names = {}  # by scalar type: code and bits, or None


cdef _fill_tables():
    for character in np.typecodes["All"]:
        dtype = np.dtype(character)
        row = dtypes.of_numpy(dtype)
        if row is not None:
            _names[<int>dtype.num] = DLDataType(row.code, row.bits, 1)
            learn(_names[<int>dtype.num], 0)


cdef PyObject **_place(DLDataType dtype) noexcept nogil:
    """Find where NumPy's dtype is kept for what NumPy may be able to hold; else NULL."""
    cdef int bits = dtype.bits
    if dtype.lanes != 1 or dtype.code >= N_CODES or bits > 128 or (bits >= 8 and bits % 8):
        return NULL
    return &_descrs[dtype.code][bits if bits < 8 else 7 + bits // 8]


cdef bint learn(DLDataType dtype, uint64_t flags) except -1:
    """Look a dtype up in the table for good; it may import ml_dtypes, or fail to.

    Returns whether it was not known, and now is.
    """
    cdef PyObject **place = _place(dtype)
    if place == NULL or place[0] != NULL or (dtype.bits < 8 and not flags & FLAG_PADDED):
        return False
    row = dtypes.of_dlpack(dtype.code, dtype.bits)
    if row is None:
        return False
    descr = row.dtype
    Py_INCREF(descr)
    place[0] = <PyObject *>descr
    return True


cdef PyObject *_descr(DLDataType dtype, uint64_t flags) noexcept nogil:
    """Find NumPy's dtype for elements that it can hold in place; NULL if none is learned."""
    cdef PyObject **place = _place(dtype)
    if place == NULL or (dtype.bits < 8 and not flags & FLAG_PADDED):
        return NULL
    return place[0]


cdef bint name_of(cnp.ndarray array, DLDataType *name) except -1:
    """Find DLPack's name for an array's dtype; false if it has none."""
    cdef int number = cnp.PyArray_TYPE(array)
    if 0 <= number < N_NUMBERS:  # a dtype of a new kind may have -1
        name[0] = _names[number]
        return name.bits != 0
    kind = (<object><PyObject *>cnp.PyArray_DESCR(array)).type
    found = _extension_names.get(kind, False)
    if found is False:
        row = dtypes.of_numpy(array.dtype)
        found = None if row is None else (row.code, row.bits)
        _extension_names[kind] = found
    if found is None:
        return False
    name[0] = DLDataType(found[0], found[1], 1)
    return True


cdef size_t itemsize_of(DLDataType dtype) noexcept nogil:
    """Count the bytes that an element takes, alone: at least one."""
    cdef size_t bits = <size_t>dtype.bits * dtype.lanes
    return max(1, (bits + 7) // 8)


_fill_tables()


# In: what a producer says, and an array over it ------------------------------------------

cdef double TOO_FAR = 2.0**62  # bytes: beyond any address space


ctypedef struct Layout:  # of a tensor, as NumPy has it
    bint empty
    cnp.npy_intp shape[NPY_MAXDIMS]
    cnp.npy_intp strides[NPY_MAXDIMS]


cdef bint lies_within(const DLTensor *tensor, size_t start, size_t nbytes) noexcept nogil:
    """Tell whether all elements of a flawless tensor lie in some bytes of memory."""
    cdef size_t first = <size_t>tensor.data + tensor.byte_offset, last = first
    cdef size_t itemsize = itemsize_of(tensor.dtype)
    cdef Layout layout
    cdef int i
    if _lay_out(tensor, &layout) != NONE:
        return False
    for i in range(tensor.ndim):
        if layout.strides[i] > 0:
            last += layout.strides[i] * (layout.shape[i] - 1)
        elif layout.strides[i] < 0:
            first += layout.strides[i] * (layout.shape[i] - 1)
    return layout.empty or (start <= first and last + itemsize <= start + nbytes)


cdef Flaw flaw_of(const DLTensor *tensor) noexcept nogil:
    """Find what no array can have."""
    cdef Layout layout
    return _lay_out(tensor, &layout)


cdef Flaw _lay_out(const DLTensor *tensor, Layout *layout) noexcept nogil:
    """Bring shape and strides to NumPy's form, or find what is wrong with them.

    Sizes are added up in floating point, which does not wrap around.
    """
    cdef size_t itemsize = itemsize_of(tensor.dtype), step = itemsize
    cdef double size = itemsize, reach = itemsize
    cdef int64_t extent
    cdef int i
    if tensor.ndim < 0 or tensor.ndim > NPY_MAXDIMS or (tensor.ndim and tensor.shape == NULL):
        return NDIM
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
    if size >= TOO_FAR:
        return HUGE
    if layout.empty:
        return NONE
    if tensor.data == NULL:
        return NO_DATA
    return STRIDES if reach + tensor.byte_offset >= TOO_FAR else NONE


cdef _raise_flaw(const DLTensor *tensor, Flaw flaw):
    if flaw == NDIM:
        raise InvalidValueError(
            f"the DLPack tensor has {tensor.ndim} dimensions and no usable shape; an array has "
            f"0 to {NPY_MAXDIMS}"
        )
    shape = _tuple(tensor.ndim, tensor.shape)
    what = f"the DLPack tensor of shape {shape}"
    if flaw == NEGATIVE:
        raise InvalidValueError(f"the DLPack tensor has a negative extent in its shape {shape}")
    if flaw == HUGE:
        raise InvalidValueError(f"{what} is larger than any memory")
    if flaw == NO_DATA:
        raise InvalidValueError(f"{what} has no data: its pointer is NULL")
    strides = None if tensor.strides == NULL else _tuple(tensor.ndim, tensor.strides)
    raise InvalidValueError(
        f"{what} has strides {strides} and an offset of {tensor.byte_offset} bytes, which leave "
        "any memory"
    )


cdef tuple _tuple(int length, const int64_t *values):
    return tuple([values[i] for i in range(length)])


cdef bint _on_host(const DLTensor *tensor) noexcept nogil:
    return tensor.device.device_type in (kDLCPU, kDLCUDAHost, kDLROCMHost, kDLCUDAManaged)


@cython.final
@cython.no_gc
@cython.freelist(32)
cdef class Owner:
    """Holds a managed tensor, whose deleter it calls when it goes, and objects that live as long.

    These are the object that was given, and what keeps its memory if that is another one.
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
    """View a tensor's memory as an array that keeps `owner` alive; None if there is more."""
    cdef Layout layout
    if flags & FLAG_IS_COPIED or not _on_host(tensor) or _lay_out(tensor, &layout) != NONE:
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
    """Make an array without elements, which has nothing to share."""
    array = np.empty(tuple([layout.shape[i] for i in range(ndim)]), descr)
    if readonly:
        array.flags.writeable = False
    return array


# Capsules ---------------------------------------------------------------------------------

ctypedef struct Content:  # of a capsule that nobody has consumed
    void *managed
    const DLTensor *tensor
    uint64_t flags
    const char *name
    bint versioned


def is_capsule(obj):
    """Tell whether `obj` is a raw capsule of whatever kind."""
    return PyCapsule_CheckExact(obj)


cdef int _look(capsule, Content *content) except -1:
    """Look into a capsule, in which nothing is safe any more once Python code has run."""
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
    """Read what a capsule holds and leave it to its producer.

    Raises
    ------
    InvalidValueError
        The capsule was consumed already, is no DLPack capsule, is of another major
        version, or holds a shape that no array has.
    """
    cdef int64_t shape[NPY_MAXDIMS]
    cdef int64_t strides[NPY_MAXDIMS]
    cdef Content content
    cdef DLTensor copy
    cdef Flaw flaw
    with cython.critical_section(capsule):
        _look(capsule, &content)
        _copy_out(content.tensor, &copy, shape, strides)
    flaw = flaw_of(&copy)
    if flaw != NONE:
        _raise_flaw(&copy, flaw)
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


cdef void _copy_out(
    const DLTensor *tensor, DLTensor *copy, int64_t *shape, int64_t *strides
) noexcept:
    """Copy a tensor that another thread may take, and free, as soon as Python code runs."""
    copy[0] = tensor[0]
    if 0 < tensor.ndim <= NPY_MAXDIMS:
        if tensor.shape != NULL:
            copy.shape = <int64_t *>memcpy(shape, tensor.shape, tensor.ndim * sizeof(int64_t))
        if tensor.strides != NULL:
            copy.strides = <int64_t *>memcpy(
                strides, tensor.strides, tensor.ndim * sizeof(int64_t)
            )


def consume_capsule(capsule, *, bint readonly=False, given=None):
    """Take a capsule over as an array that shares its memory.

    The capsule is marked as used and its deleter runs once, when the last array over the
    memory is gone. Writing is allowed unless the capsule or `readonly` forbids it. What was
    `given`, of which the capsule was asked for, lives as long as the array.

    Raises
    ------
    InvalidValueError
        As `describe`; or NumPy cannot hold the values in place. The capsule is untouched.
    """
    array = take_or_none(capsule, readonly, FLAG_IS_COPIED, given)
    if array is None:
        raise InvalidValueError(f"NumPy cannot read it in place: {describe(capsule)}")
    return array


def take_capsule(capsule, *, bint readonly=False, given=None):
    """Take a capsule over, as `adopt`, if there is nothing to tell about it; else give None."""
    return take_or_none(capsule, readonly, 0, given)


cdef object take_or_none(capsule, bint readonly, uint64_t tolerated, given):
    cdef Owner owner = Owner.__new__(Owner)
    cdef Content content
    with cython.critical_section(capsule):
        _look(capsule, &content)
        if _descr(content.tensor.dtype, content.flags) == NULL:
            learn(content.tensor.dtype, content.flags)
            _look(capsule, &content)
        array = view_or_none(content.tensor, content.flags & ~tolerated, readonly, owner)
        if array is not None:
            _consume(capsule, &content, owner)
            owner.given = given
    return array


cdef int _consume(capsule, const Content *content, Owner owner) except -1:
    """Give `owner` what is in a capsule; raise if somebody was faster."""
    cdef Content other
    if PyCapsule_GetName(capsule) != content.name:
        _look(capsule, &other)
    PyCapsule_SetName(capsule, USED_VERSIONED if content.versioned else USED_LEGACY)
    owner.managed, owner.versioned = content.managed, content.versioned
    return 0


cdef Owner consume(capsule):
    """Take what is in a capsule, whatever it is."""
    cdef Owner owner = Owner.__new__(Owner)
    cdef Content content
    with cython.critical_section(capsule):
        _look(capsule, &content)
        _consume(capsule, &content, owner)
    return owner


def view_capsule(capsule):
    """View a capsule's memory without taking it over, for as long as nobody else does.

    Raises
    ------
    InvalidValueError
        As `adopt`.
    """
    cdef Content content
    cdef Layout layout
    array = None
    with cython.critical_section(capsule):
        _look(capsule, &content)
        learn(content.tensor.dtype, content.flags)
        if _on_host(content.tensor) and _lay_out(content.tensor, &layout) == NONE:
            array = _view(content.tensor, content.flags, &layout, False, capsule)
    if array is None:
        raise InvalidValueError(f"NumPy cannot read it in place: {describe(capsule)}")
    return array
