"""Decorators that try the fast path before running a public function.

A decorated function first tries `try_import`, `try_export` or wrapping the array if it is called
with its positional arguments and at most ``copy=None`` or ``copy=False``. If that returns None,
and for all other calls, the function itself runs. `fast_class` does the same for a class and its
``__init__``. The result of a call is the same either way, only its cost differs.
"""

import functools
from types import MethodType

cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from numpack._core.writability cimport is_safe_to_write
from numpack._dlpack.abi.dlpack cimport DLDataType
from numpack._dlpack.fast_path cimport (
    try_export_array, try_import_column, try_import_object, try_share,
)
from numpack._dlpack.importing cimport dlpack_dtype
from numpack._dlpack.exporting cimport Exporter


cdef extern from "Python.h":
    PyObject *PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *) except NULL
    size_t PyVectorcall_NARGS(size_t) noexcept
    ctypedef PyObject *(*vectorcallfunc)(PyObject *, PyObject **, size_t, PyObject *) except NULL

cdef extern from "calls.h":
    void set_instance_call "numpack_set_instance_call"(object, object, vectorcallfunc *)
    void set_class_call "numpack_set_class_call"(object, vectorcallfunc)
    object type_call "numpack_type_call"(PyObject *, object, object)
    object new "numpack_new"(PyObject *, tuple)

cnp.import_array()

cdef tuple _no_arguments = ()
cdef tuple _only_copy = ("copy",)


# Functions --------------------------------------------------------------------------------

ctypedef object (*Attempt)(object, object)


cdef class FastFunction:
    """A function that runs `attempt` first, and `function` if that returns None."""

    cdef vectorcallfunc call
    cdef size_t n_arguments
    cdef Attempt attempt
    cdef object target  # the second argument of `attempt` if the call has only one
    cdef object function
    cdef dict __dict__
    cdef object __weakref__

    def __call__(self, *arguments, **keywords):  # for introspection; calls go to _call
        return self.function(*arguments, **keywords)

    def __get__(self, instance, owner):
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self):
        return self.__qualname__

    def __repr__(self):
        return repr(self.function)


cdef PyObject *_call(
    PyObject *called, PyObject **arguments, size_t count, PyObject *keywords
) except NULL:
    cdef FastFunction fast = <FastFunction>called
    cdef size_t n_arguments = PyVectorcall_NARGS(count)
    if n_arguments == fast.n_arguments and _may_share(arguments + n_arguments, keywords):
        target = fast.target if n_arguments == 1 else <object>arguments[1]
        result = fast.attempt(<object>arguments[0], target)
        if result is not None:
            Py_INCREF(result)
            return <PyObject *>result
    return PyObject_Vectorcall(<PyObject *>fast.function, arguments, count, keywords)


cdef bint _may_share(PyObject **values, PyObject *keywords) except -1:
    """Check that there are no keyword arguments but ``copy=None`` or ``copy=False``."""
    if keywords == NULL or len(<tuple>keywords) == 0:
        return True
    copy = <object>values[0]
    return (copy is None or copy is False) and <object>keywords == _only_copy


cdef object _fast(function, Attempt attempt, target, size_t n_arguments=1):
    cdef FastFunction fast = FastFunction()
    fast.n_arguments = n_arguments
    fast.call, fast.attempt = <vectorcallfunc>_call, attempt
    fast.target, fast.function = target, function
    return functools.update_wrapper(fast, function)


def fast_import(framework=None):
    """Decorate a function of a framework's object: call `try_import_object` first."""
    return lambda function: _fast(function, try_import_object, framework)


def fast_import_column(function):
    """Decorate a function of a table and a column's name: view the column's memory first."""
    return _fast(function, try_import_column, None, 2)


def fast_share(function):
    """Decorate a function of an object and a target: call `try_share` first."""
    return _fast(function, try_share, None, 2)


def fast_export(framework):
    """Decorate a function of an array: call `try_export` first."""
    return lambda function: _fast(function, try_export_array, framework)


def fast_wrap(cls):
    """Decorate a function of an array: wrap it in a `fast_class` first."""
    return lambda function: _fast(function, _wrap_array, cls)


cdef FastFunction _instance = FastFunction()
set_instance_call(FastFunction, _instance, &_instance.call)


# Classes ----------------------------------------------------------------------------------

cdef dict _exported = {}


def fast_class(cls, *, bint exported):
    """Let a subclass of `Exporter` skip its ``__init__`` for arrays that it would not change.

    Parameters
    ----------
    cls : type
    exported : bool
        Whether its ``__init__`` prepares the array for export.
    """
    _exported[cls] = exported
    set_class_call(cls, _make_exported if exported else _make_wrapper)


cdef PyObject *_make_exported(
    PyObject *cls, PyObject **arguments, size_t count, PyObject *keywords
) except NULL:
    return _make(cls, arguments, PyVectorcall_NARGS(count), keywords, True)


cdef PyObject *_make_wrapper(
    PyObject *cls, PyObject **arguments, size_t count, PyObject *keywords
) except NULL:
    return _make(cls, arguments, PyVectorcall_NARGS(count), keywords, False)


cdef inline PyObject *_make(
    PyObject *cls, PyObject **arguments, size_t count, PyObject *keywords, bint exported
) except NULL:
    if keywords == NULL and count == 1 and _is_ready(<object>arguments[0], exported):
        made = _wrap(cls, <object>arguments[0])
    else:
        made = _call_type(cls, arguments, count, keywords)
    Py_INCREF(made)
    return <PyObject *>made


cdef object _wrap_array(array, cls):
    return _wrap(<PyObject *>cls, array) if _is_ready(array, _exported[cls]) else None


cdef bint _is_ready(array, bint exported) except -1:
    """Check that ``__init__`` would not change an array: C-contiguous, native and aligned.

    The fields of a struct may differ in byte order. To be exported, an array needs a DLPack
    dtype and memory that a consumer may write to.
    """
    cdef DLDataType dtype
    return (
        cnp.PyArray_CheckExact(array)
        and cnp.PyArray_IS_C_CONTIGUOUS(array)
        and cnp.PyArray_ISBEHAVED_RO(array)
        and cnp.PyArray_TYPE(array) != cnp.NPY_VOID
        and (not exported or (is_safe_to_write(array) and dlpack_dtype(array, &dtype)))
        and (not exported or dtype.bits <= 64 or _is_item_aligned(array))
    )


cdef bint _is_item_aligned(cnp.ndarray array) noexcept:
    """Check that compiled code can load a complex128; see `memory.native_obstacle`."""
    return <size_t>cnp.PyArray_DATA(array) % <size_t>cnp.PyArray_ITEMSIZE(array) == 0


cdef inline object _wrap(PyObject *cls, array):
    cdef Exporter made = <Exporter>new(cls, _no_arguments)
    made.array = array
    return made


cdef object _call_type(PyObject *cls, PyObject **arguments, size_t count, PyObject *keywords):
    cdef dict named = {}
    if keywords != NULL:
        for i, key in enumerate(<tuple>keywords):
            named[key] = <object>arguments[count + i]
    return type_call(cls, tuple([<object>arguments[i] for i in range(count)]), named)
