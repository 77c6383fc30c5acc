"""The table of the fast path: what adapters register when they are imported.

`register_fast_path` registers types that publish the DLPack C exchange API (DLPack 1.3,
``__dlpack_c_exchange_api__``) or have ``__dlpack__``. `register_import` and `register_export`
register the two halves of any other framework: how to view the memory of an object of an exact
type, and how to make an object over the memory of an array.

A half only says yes. It returns None, or raises, for a conversion that needs a copy, a decision or
a message; the policy then takes over.
"""

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject, Py_TYPE
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.stdint cimport uint64_t

from numpack._dlpack.abi.dlpack cimport (
    DLPACK_MAJOR, EXCHANGE_API, DLPackExchangeAPI, DLPackExchangeAPIHeader,
)

import numpy as np


cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object, object) except? NULL

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

    def __init__(self, *, type storage_type, storage_of, is_resizable, address, nbytes, pin):
        self.storage_type, self.storage_of = storage_type, storage_of
        self.is_resizable, self.pin = is_resizable, pin
        self.address, self.nbytes = address, nbytes


@cython.final
cdef class FastImport:
    """How to read objects of some types."""


@cython.final
cdef class FastExport:
    """How to make objects of a framework over an array's memory."""


cdef dict _imports = {}  # by type
cdef dict _exports = {}  # by framework


def register_fast_path(
    framework, types, *, guard=None, dtype_guard=None, ResizableStorage storage=None,
    consumer=None, bint readonly=False, caution=None
):
    """Register types that are exchanged by DLPack, and the framework of the first one.

    Parameters
    ----------
    framework : str or None
        The name for `try_import` and `try_export`; None to register imports only.
    types : sequence of type
        Exact types. Objects are read through the C exchange API that the first type itself
        publishes, or by ``__dlpack__``, in which case `try_import` accepts them only with a
        framework: `from_dlpack` asks them once by itself. Only functions of the API that return an owning tensor
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
    caution : callable, optional
        As for `register_export`; read-only arrays are not exported otherwise.
    """
    cdef FastImport half = FastImport()
    cdef FastExport made = FastExport()
    half.framework, half.readonly = framework, readonly
    half.guard, half.dtype_guard, half.storage = guard, dtype_guard, storage
    half.api = made.api = _exchange_api(types[0])
    half.producer = getattr(types[0], "__dlpack__", None)
    if half.api == NULL and half.producer is None:
        return
    half.exchanged = half.api != NULL or framework is not None
    _add_types(types, half)
    if framework is not None and (made.api != NULL or consumer is not None):
        made.consumer, made.result_type, made.caution = consumer, types[0], caution
        _exports[framework] = made


def register_import(
    framework, types, *, view=None, str dtypes="", bint readonly=False, bint owned=False,
    columns=None, bint named=False
):
    """Register how to read objects of exact types that have no DLPack C exchange API.

    Parameters
    ----------
    framework : str
    types : sequence of type
    view : callable, optional
        Returns an ndarray over the memory of an object: the array that the plan of the adapter's
        `to_numpy` without options results in.
    dtypes : str
        The type characters of the dtypes that the array may have; empty for any.
    readonly : bool
        Whether a writable array is viewed as read-only, because the objects are immutable.
    owned : bool
        Whether the array does not keep the object alive, and is viewed by one that does. An array
        that owns its memory is a copy and not used.
    columns : callable, optional
        Returns an object with the Arrow PyCapsule interface for the direct route to frameworks
        that `register_columns` has registered; `view` is not used for these.
    named : bool
        Whether the objects have a ``name``, which a target with names takes over.
    """
    cdef FastImport half = FastImport()
    half.framework, half.view, half.columns, half.named = framework, view, columns, named
    half.dtypes, half.readonly, half.owned = _mask(dtypes), readonly, owned
    _add_types(types, half)


def register_export(
    framework, make, *, str dtypes, order="C", size_t alignment=1, ndim=(1, 64),
    bint may_write=False, caution=None, bint as_is=False, bint named=False
):
    """Register how to make objects of a framework over the memory of plain arrays.

    Parameters
    ----------
    framework : str
    make : callable
        Called with an array that meets the conditions below, in normalized strides, and with its
        name if `named`. Returns what the plan of the adapter's `from_numpy` results in. The
        array is native, aligned to its items and not empty.
    dtypes : str
        The type characters of the dtypes.
    order : {"C", "K"}
        Whether the array has to be C-contiguous.
    alignment : int
        Of the address, in bytes: a power of two.
    ndim : tuple of int
        The lowest and the highest number of dimensions.
    may_write : bool
        Whether the framework may write to read-only memory, so that a file mapped read-only is
        left to the policy.
    caution : callable, optional
        Returns the warning about read-only memory passed to such a framework.
    as_is : bool
        Pass the array itself instead of a view with normalized strides.
    named : bool
        Whether the objects have names.
    """
    cdef FastExport made = _exports.get(framework) or FastExport()
    made.make, made.order_c, made.alignment = make, order == "C", alignment
    made.min_ndim, made.max_ndim = ndim
    made.may_write, made.caution, made.as_is, made.named = may_write, caution, as_is, named
    made.dtypes = _mask(dtypes)
    _exports[framework] = made


cdef uint64_t _mask(str dtypes) except? 0:
    """Return a bit for each type number."""
    cdef uint64_t mask = 0
    for char in dtypes:
        mask |= <uint64_t>1 << <int>np.dtype(char).num
    return mask


def register_columns(framework, make, *, columns=None, types=(), bint named=False):
    """Register the direct route of Arrow columns of numbers to a framework.

    Parameters
    ----------
    framework : str
    make : callable
        Called with the object that a source's `columns` returns, and with its name if
        `named`.
    columns : callable, optional
        The `columns` of `register_import`, for types that `register_fast_path` has registered.
    types : sequence of type
        These types.
    named : bool
    """
    cdef FastExport made = _exports.get(framework) or FastExport()
    made.from_columns, made.named = make, named
    _exports[framework] = made
    for cls in types:
        (<FastImport>_imports[cls]).columns = columns


cdef int _add_types(types, FastImport half) except -1:
    with cython.critical_section(_imports):
        for cls in types:
            found = _imports.setdefault(cls, half)  # never replaced: see _remember
            _remember(<PyObject *>cls, <PyObject *>found)
    return 0


# A cache in front of _imports, indexed by the address of a type. Entries are never removed; types
# that collide are found in the dictionary.
cdef enum:
    N_SLOTS = 64

cdef PyObject *_types[N_SLOTS]
cdef PyObject *_halves[N_SLOTS]


cdef inline size_t _slot(PyObject *cls) noexcept:
    return (<size_t>cls >> 4) % N_SLOTS


cdef void _remember(PyObject *cls, PyObject *half) noexcept:
    cdef size_t slot = _slot(cls)
    if _types[slot] == NULL:
        _halves[slot] = half
        _types[slot] = cls


cdef PyObject *import_of(PyObject *cls) except? NULL:
    cdef size_t slot = _slot(cls)
    # other threads may see the two stores of _remember in any order
    if _types[slot] == cls and _halves[slot] != NULL:
        return _halves[slot]
    return PyDict_GetItemWithError(_imports, <object>cls)


cdef PyObject *export_of(framework) except? NULL:
    return PyDict_GetItemWithError(_exports, framework)


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
