"""Doors: how memory goes to a framework and comes from it without a Python call.

A framework's module opens its door by `connect` when it is imported. Then `take` views the
memory of its objects and `give` makes its objects over NumPy memory, through the table of C
functions that its type publishes (DLPack 1.3, ``__dlpack_c_exchange_api__``) or by
``__dlpack__``. Both only ever say yes: where there is anything to decide, to convert or to
tell they give None, and the policy takes over.
"""

from .importing import CPU, MAX_VERSION

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject, Py_TYPE
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid

from numpack._dlpack.abi.dlpack cimport (
    DLPACK_MAJOR,
    FLAG_PADDED,
    TABLE,
    DLDataType,
    DLManagedTensorVersioned,
    DLPackExchangeAPI,
    DLPackExchangeAPIHeader,
    DLTensor,
    kDLFloat,
)
from numpack._dlpack.importing cimport (
    Owner,
    delete_managed,
    learn,
    lies_within,
    name_of,
    take_or_none,
    view_or_none,
)
from numpack._dlpack.exporting cimport capsule_or_none, managed_tensor, unwatch
from numpack._core.owner cimport flat, view_kept


cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object, object) except? NULL
    PyObject *PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *)
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    PyObject *PyErr_Occurred()
    int PyErr_ExceptionMatches(object)
    void PyErr_Clear()

cdef extern from *:
    """
    #define numpack_stolen(reference) (reference)
    /* Call a method of a type with an object that is known to be of that type. */
    static PyObject *numpack_ask(PyObject *method, PyObject *self) {
        if (Py_TYPE(method) == &PyMethodDescr_Type) {
            PyMethodDef *definition = ((PyMethodDescrObject *)method)->d_method;
            if (definition->ml_flags == METH_NOARGS) {
                return definition->ml_meth(self, NULL);
            }
        }
        return PyObject_CallOneArg(method, self);
    }
    #define numpack_raised() ((PyObject *)NULL)
    """
    PyObject *ask "numpack_ask"(object, object)
    object _stolen "numpack_stolen"(PyObject *)  # takes the reference over
    object _raised "numpack_raised"()  # passes on the exception that is set

cnp.import_array()


@cython.final
cdef class Memory:
    """How to view the memory of objects that may be given other memory.

    torch's tensors own the `TensorImpl`, whose storage `t.data = …` and `set_` exchange and
    `resize_` moves: what views a tensor's memory by a tensor that owns the object would see
    it freed. A storage that cannot be resized keeps its memory where it is, and making an
    array with torch's own call settles it so.

    Parameters
    ----------
    kind : type
        Of what keeps memory; anything else is not believed.
    keeper : callable
        Gives what keeps an object's memory.
    may_move, address, nbytes : callable
        Of such a keeper: whether its memory may still move; where it is, how long.
    settled : callable
        Makes an array of an object whose memory may not move from then on, or fails.
    """

    cdef object kind
    cdef object keeper
    cdef object may_move
    cdef object address
    cdef object nbytes
    cdef object settled

    def __init__(self, *, type kind, keeper, may_move, address, nbytes, settled):
        self.kind, self.keeper = kind, keeper
        self.may_move, self.settled = may_move, settled
        self.address, self.nbytes = address, nbytes


@cython.final
cdef class _FastPath:
    cdef str framework
    cdef object kind  # of what the table makes
    cdef const DLPackExchangeAPI *table  # NULL: by `producer` and `consumer`
    cdef object guard
    cdef object closer_guard
    cdef Memory memory
    cdef object producer
    cdef object consumer
    cdef bint readonly


cdef dict _by_type = {}
cdef dict _by_framework = {}
cdef tuple _keywords = ("max_version",)


def register_fast_path(
    framework, kinds, *, guard=None, closer_guard=None, Memory memory=None,
    consumer=None, bint readonly=False
):
    """Open the door of objects of some types, and of the framework that the first is of.

    Parameters
    ----------
    framework : str or None
        The name for `take` and `give`; None if there is only the way from its objects.
    kinds : sequence of type
        Exact types, whose objects are asked by the table of functions that the first one
        publishes itself, else by ``__dlpack__``. A table's owning calls are used; what it
        lends is only read, before any other code runs.
    guard, closer_guard : callable, optional
        Called with an object, the second only with one that seems to be of complex numbers
        or of 8-bit integers; what they give False for may pass.
    memory : Memory, optional
        For objects whose memory may be exchanged under a tensor that owns the object.
    consumer : callable, optional
        Makes an object of the framework of a producer of integers or floats that it never
        writes to, where there is no table.
    readonly : bool
        Whether nobody may write to their memory, whether they say so or not.
    """
    cdef _FastPath door = _FastPath()
    door.framework, door.consumer, door.readonly = framework, consumer, readonly
    door.guard, door.closer_guard = guard, closer_guard
    door.memory, door.kind = memory, kinds[0]
    door.table = _table(kinds[0])
    door.producer = getattr(kinds[0], "__dlpack__", None)
    if framework is None and door.table == NULL:
        return
    with cython.critical_section(_by_type):
        for kind in kinds:
            found = _by_type.setdefault(kind, door)  # never replaced: see _remember
            _remember(<PyObject *>kind, <PyObject *>found)
    if framework is not None and (door.table != NULL or consumer is not None):
        _by_framework[framework] = door


# Doors are never closed, so a type's is found by its address, and what two types at one
# place contend for by the dictionary.
cdef enum:
    N_PLACES = 64

cdef PyObject *_kinds[N_PLACES]
cdef PyObject *_fast_paths[N_PLACES]


cdef inline size_t _place(PyObject *kind) noexcept:
    return (<size_t>kind >> 4) % N_PLACES


cdef void _remember(PyObject *kind, PyObject *door) noexcept:
    cdef size_t place = _place(kind)
    if _kinds[place] == NULL:
        _fast_paths[place] = door
        _kinds[place] = kind


cdef inline PyObject *_fast_path_of(PyObject *kind) except? NULL:
    cdef size_t place = _place(kind)
    if _kinds[place] == kind and _fast_paths[place] != NULL:  # two stores, seen in any order
        return _fast_paths[place]
    return PyDict_GetItemWithError(_by_type, <object>kind)


cdef const DLPackExchangeAPI *_table(kind) except? NULL:
    """Find the table that a type itself publishes, of a version that is known here."""
    cdef DLPackExchangeAPIHeader *header
    capsule = kind.__dict__.get("__dlpack_c_exchange_api__")
    if capsule is None or not PyCapsule_IsValid(capsule, TABLE):
        return NULL
    header = <DLPackExchangeAPIHeader *>PyCapsule_GetPointer(capsule, TABLE)
    while header != NULL and header.version.major != DLPACK_MAJOR:
        header = header.prev_api
    return <const DLPackExchangeAPI *>header


# In ---------------------------------------------------------------------------------------

def try_import(obj, framework=None):
    """View an object's memory as an array if there is nothing to tell about it.

    Parameters
    ----------
    obj : object
    framework : str, optional
        Only objects of this framework; else an ndarray too, which is its own view.

    Returns
    -------
    ndarray or None
    """
    return try_import_object(obj, framework)


cdef object try_import_object(obj, framework):
    cdef PyObject *found
    cdef _FastPath door
    if framework is None and cnp.PyArray_CheckExact(obj):
        return obj
    found = _fast_path_of(<PyObject *>Py_TYPE(obj))
    if found == NULL:
        return None
    door = <_FastPath>found
    if framework is not None and door.framework != framework:
        return None
    if door.guard is not None and not _lets_pass(door.guard, obj):
        return None
    array = _import_by_protocol(door, obj) if door.table == NULL else _import_by_api(door, obj)
    if door.closer_guard is None or array is None or not _is_doubtful(array):
        return array
    return array if _lets_pass(door.closer_guard, obj) else None


cdef bint _lets_pass(guard, obj) except -1:
    cdef PyObject *answer = ask(guard, obj)
    return (_unexplained() if answer == NULL else _stolen(answer)) is False


cdef bint _is_doubtful(cnp.ndarray array) noexcept:
    cdef int number = cnp.PyArray_TYPE(array)
    return number in (cnp.NPY_CFLOAT, cnp.NPY_CDOUBLE, cnp.NPY_BYTE, cnp.NPY_UBYTE)


cdef object _import_by_api(_FastPath door, obj):
    cdef DLManagedTensorVersioned *managed = NULL
    cdef Owner owner
    if door.memory is not None:
        return _import_kept(door, obj)
    owner = Owner.__new__(Owner)
    if door.table.managed_tensor_from_py_object_no_sync(<PyObject *>obj, &managed) != 0:
        return _unexplained()
    if managed == NULL:
        return None
    owner.managed, owner.versioned = managed, True  # from here on it is freed once
    owner.given = obj
    if managed.version.major != DLPACK_MAJOR:
        return None
    array = view_or_none(&managed.dl_tensor, managed.flags, door.readonly, owner)
    if array is None and learn(managed.dl_tensor.dtype, managed.flags):
        array = view_or_none(&managed.dl_tensor, managed.flags, door.readonly, owner)
    return array


cdef object _import_kept(_FastPath door, obj):
    """View memory by what keeps it, see `Memory`; the tensor is only borrowed to be read."""
    cdef DLTensor tensor
    cdef Owner owner
    cdef PyObject *asked = ask(door.memory.keeper, obj)
    if asked == NULL:
        return _unexplained()
    keeper = _stolen(asked)
    if type(keeper) is not door.memory.kind:
        return None
    if door.table.dltensor_from_py_object_no_sync == NULL:
        return None
    if door.table.dltensor_from_py_object_no_sync(<PyObject *>obj, &tensor) != 0:
        return _unexplained()
    if not _lets_pass(door.memory.may_move, keeper):
        return _settled(door.memory, obj, keeper, &tensor)
    owner = Owner.__new__(Owner)
    owner.given, owner.kept = obj, keeper
    array = view_or_none(&tensor, 0, door.readonly, owner)
    if array is None and learn(tensor.dtype, 0):  # Python code has run: look at it again
        return _import_kept(door, obj)
    return array


cdef object _settled(Memory memory, obj, keeper, const DLTensor *tensor):
    """Make the first array over some memory, if that is as long as the object needs it."""
    try:
        if lies_within(tensor, memory.address(keeper), memory.nbytes(keeper)):
            return view_kept(memory.settled(obj), None)
    except Exception:  # the policy asks again, and says why
        pass
    return None


cdef object _import_by_protocol(_FastPath door, obj):
    cdef PyObject *arguments[3]
    cdef PyObject *capsule
    arguments[1], arguments[2] = <PyObject *>obj, <PyObject *>MAX_VERSION
    capsule = PyObject_Vectorcall(
        <PyObject *>door.producer, arguments + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
        <PyObject *>_keywords,
    )
    if capsule == NULL:
        return _unexplained()
    return take_or_none(_stolen(capsule), door.readonly, 0, obj)


cdef object _unexplained():
    """Forget why a framework failed: the policy asks again, and says it."""
    if PyErr_Occurred() != NULL and not PyErr_ExceptionMatches(Exception):
        return _raised()  # KeyboardInterrupt and the like
    PyErr_Clear()
    return None


cdef object _table_kind = None


def register_table_fast_path(kind):
    """Open the door of the columns of pyarrow's tables, `kind`."""
    global _table_kind
    _table_kind = kind


cdef object try_import_column(table, name):
    """View the memory of a table's one column of a name; None if there is more to it."""
    if type(table) is not _table_kind or type(name) is not str:
        return None
    position = table.schema.get_field_index(name)  # -1 for none and for several
    if position == -1:
        return None
    column = table.column(position)
    if column.num_chunks != 1:
        return None
    return try_import_object(column.chunk(0), "arrow")


# Out --------------------------------------------------------------------------------------

def try_export(array, framework):
    """Make an object of a framework over an array's memory if there is nothing to tell.

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
    if (<_FastPath>found).table == NULL:
        return _export_by_protocol(<_FastPath>found, array)
    return _export_by_api(<_FastPath>found, array) if cnp.PyArray_ISWRITEABLE(array) else None


cdef object _export_by_api(_FastPath door, cnp.ndarray array):
    cdef bint gone = False
    cdef DLManagedTensorVersioned *managed = managed_tensor(array, 0, &gone)
    cdef void *made = NULL
    if managed == NULL:
        return None
    if managed.flags & FLAG_PADDED:  # which others expect to be packed
        delete_managed(managed, True)
        return None
    if door.table.managed_tensor_to_py_object_no_sync(managed, &made) != 0 or made == NULL:
        try:
            _unexplained()  # which may drop what the exception holds, and so the tensor
        finally:
            if not gone:  # ownership is theirs, but on failure some forget it
                delete_managed(managed, True)
        return None
    if not gone:
        unwatch(managed)
    result = _stolen(<PyObject *>made)
    return result if type(result) is door.kind else None  # such as a tensor without values


@cython.final
cdef class _SingleExport:
    """A producer for one consumer that never writes: read-only arrays go as they are."""

    cdef cnp.ndarray array

    def __dlpack_device__(self):
        return CPU

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return capsule_or_none(self.array, max_version is not None, 0)


cdef object _export_by_protocol(_FastPath door, cnp.ndarray array):
    cdef DLDataType name
    cdef _SingleExport parcel
    if not cnp.PyArray_IS_C_CONTIGUOUS(array) or not cnp.PyArray_ISBEHAVED_RO(array):
        return None
    if not name_of(array, &name) or name.code > kDLFloat or name.bits < 8:
        return None
    parcel = _SingleExport.__new__(_SingleExport)
    parcel.array = array if cnp.PyArray_NDIM(array) == 1 else flat(array)
    try:
        return door.consumer(parcel)
    except Exception:  # the policy goes its own way, and says why
        return None
