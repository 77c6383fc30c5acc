"""Calls that try the fast path before any Python runs.

The decorators make of a public function one that first tries `take`, `give` or to keep the
array, when it is called with one argument and at most ``copy=None`` or ``copy=False``; where
that says no, and for every other call, the function itself runs. `fast_class` does the same
for a class and its ``__init__``. Neither changes what a call does, only what it costs.
"""

import functools
from types import MethodType

cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from numpack._dlpack.abi.dlpack cimport DLDataType
from numpack._dlpack.fast_path cimport try_export_array, try_import_column, try_import_object
from numpack._dlpack.importing cimport name_of
from numpack._dlpack.exporting cimport Exporter


cdef extern from "Python.h":
    PyObject *PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *) except NULL
    size_t PyVectorcall_NARGS(size_t) noexcept
    ctypedef PyObject *(*vectorcallfunc)(PyObject *, PyObject **, size_t, PyObject *) except NULL

# What Cython has no words for: `tp_vectorcall` and `tp_vectorcall_offset` are documented
# slots of types (PEP 590), which a type may set for itself.
cdef extern from *:
    """
    static void numpack_call_instances(PyObject *cls, PyObject *any, void *function) {
        PyTypeObject *type = (PyTypeObject *)cls;
        type->tp_vectorcall_offset = (char *)function - (char *)any;
        type->tp_call = PyVectorcall_Call;
        type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR;
    }
    #define numpack_call_class(cls, function) \
        (((PyTypeObject *)(cls))->tp_vectorcall = (vectorcallfunc)(function))
    #define numpack_type_call(cls, args, kwargs) (PyType_Type.tp_call((cls), (args), (kwargs)))
    #define numpack_new(cls, args) \
        (((PyTypeObject *)(cls))->tp_new((PyTypeObject *)(cls), (args), NULL))
    """
    void set_call_of_instances "numpack_call_instances"(object, object, vectorcallfunc *)
    void set_call_of_class "numpack_call_class"(object, vectorcallfunc)
    object type_call "numpack_type_call"(PyObject *, object, object)
    object new "numpack_new"(PyObject *, tuple)

cnp.import_array()

cdef tuple _nothing = ()
cdef tuple _copy_alone = ("copy",)


# Functions --------------------------------------------------------------------------------

ctypedef object (*Attempt)(object, object)


cdef class FastFunction:
    """A function that makes an attempt first."""

    cdef vectorcallfunc call
    cdef size_t takes
    cdef Attempt attempt
    cdef object subject
    cdef object function
    cdef dict __dict__
    cdef object __weakref__

    def __call__(self, *arguments, **keywords):  # for who looks for it; calls go to _call
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
    cdef FastFunction quick = <FastFunction>called
    cdef size_t given = PyVectorcall_NARGS(count)
    if given == quick.takes and _may_share(arguments + given, keywords):
        subject = quick.subject if given == 1 else <object>arguments[1]
        result = quick.attempt(<object>arguments[0], subject)
        if result is not None:
            Py_INCREF(result)
            return <PyObject *>result
    return PyObject_Vectorcall(<PyObject *>quick.function, arguments, count, keywords)


cdef bint _may_share(PyObject **named, PyObject *keywords) except -1:
    """Tell whether there are no keywords but ``copy=None`` or ``copy=False``."""
    if keywords == NULL or len(<tuple>keywords) == 0:
        return True
    copy = <object>named[0]
    return (copy is None or copy is False) and <object>keywords == _copy_alone


cdef object _quick(function, Attempt attempt, subject, size_t takes=1):
    cdef FastFunction quick = FastFunction()
    quick.takes = takes
    quick.call, quick.attempt = <vectorcallfunc>_call, attempt
    quick.subject, quick.function = subject, function
    return functools.update_wrapper(quick, function)


def fast_import(framework=None):
    """Decorate a function of an object of a framework: `take` first."""
    return lambda function: _quick(function, try_import_object, framework)


def fast_import_column(function):
    """Decorate a function of a table and a name: view the column's memory first."""
    return _quick(function, try_import_column, None, 2)


def fast_share(function):
    """Decorate a function of an object and a framework's name: `take`, then `give`, first."""
    return _quick(function, _share_object, None, 2)


cdef object _share_object(obj, target):
    if type(target) is not str:
        return None
    array = try_import_object(obj, None)
    return array if array is None or target == "numpy" else try_export_array(array, target)


def fast_export(framework):
    """Decorate a function of an array: `give` first."""
    return lambda function: _quick(function, try_export_array, framework)


def fast_wrap(cls):
    """Decorate a function of an array: keep it in a `fast_class` first."""
    return lambda function: _quick(function, _keep_array, cls)


cdef FastFunction _any = FastFunction()
set_call_of_instances(FastFunction, _any, &_any.call)


# Classes ----------------------------------------------------------------------------------

cdef dict _exported = {}


def fast_class(cls, *, bint exported):
    """Let a subclass of `Exporter` keep, without its ``__init__``, what that would keep too.

    Parameters
    ----------
    cls : type
    exported : bool
        Whether its ``__init__`` prepares the array for other frameworks.
    """
    _exported[cls] = exported
    set_call_of_class(cls, _make_exported if exported else _make_kept)


cdef PyObject *_make_exported(
    PyObject *cls, PyObject **arguments, size_t count, PyObject *keywords
) except NULL:
    return _make(cls, arguments, PyVectorcall_NARGS(count), keywords, True)


cdef PyObject *_make_kept(
    PyObject *cls, PyObject **arguments, size_t count, PyObject *keywords
) except NULL:
    return _make(cls, arguments, PyVectorcall_NARGS(count), keywords, False)


cdef inline PyObject *_make(
    PyObject *cls, PyObject **arguments, size_t count, PyObject *keywords, bint exported
) except NULL:
    if keywords == NULL and count == 1 and _is_ready(<object>arguments[0], exported):
        made = _keeper(cls, <object>arguments[0])
    else:
        made = _call_as_python_does(cls, arguments, count, keywords)
    Py_INCREF(made)
    return <PyObject *>made


cdef object _keep_array(array, cls):
    return _keeper(<PyObject *>cls, array) if _is_ready(array, _exported[cls]) else None


cdef bint _is_ready(array, bint exported) except -1:
    """Tell whether nothing is to be done: C-contiguous, native and aligned.

    The fields of a struct may each be in another byte order, and what is exported needs a
    name and must not be mapped read-only.
    """
    cdef DLDataType name
    return (
        cnp.PyArray_CheckExact(array)
        and cnp.PyArray_IS_C_CONTIGUOUS(array)
        and cnp.PyArray_ISBEHAVED_RO(array)
        and cnp.PyArray_TYPE(array) != cnp.NPY_VOID
        and (not exported or (cnp.PyArray_ISWRITEABLE(array) and name_of(array, &name)))
        and (not exported or name.bits <= 64 or _is_on_boundary(array))
    )


cdef bint _is_on_boundary(cnp.ndarray array) noexcept:
    """Tell whether compiled code can load a complex128: see native_obstacle in _memory."""
    return <size_t>cnp.PyArray_DATA(array) % <size_t>cnp.PyArray_ITEMSIZE(array) == 0


cdef inline object _keeper(PyObject *cls, array):
    cdef Exporter made = <Exporter>new(cls, _nothing)
    made.array = array
    return made


cdef object _call_as_python_does(
    PyObject *cls, PyObject **arguments, size_t count, PyObject *keywords
):
    cdef dict named = {}
    if keywords != NULL:
        for i, key in enumerate(<tuple>keywords):
            named[key] = <object>arguments[count + i]
    return type_call(cls, tuple([<object>arguments[i] for i in range(count)]), named)
