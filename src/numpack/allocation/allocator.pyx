# cython: language_level=3
"""The allocator as the capsule that NumPy takes; allocator.h implements it."""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New

from contextvars import Context, ContextVar

cdef extern from *:
    """
    #include "numpy/arrayobject.h"
    #include "allocator.h"
    static PyDataMem_Handler numpack_handler = {
        "numpack_aligned", 1,
        {NULL, numpack_malloc, numpack_calloc, numpack_realloc, numpack_free}
    };

    /* Replace the reference to an object within a variable of contextvars; return whether it was
     * found. The variable's reference to the old object is kept, as another thread may read it. */
    static int
    numpack_replace_reference(PyObject *variable, PyObject *old, PyObject *now)
    {
        PyObject **slots = (PyObject **)variable;
        size_t end = (size_t)Py_TYPE(variable)->tp_basicsize / sizeof(PyObject *);
        for (size_t slot = sizeof(PyObject) / sizeof(PyObject *); slot < end; slot++) {
            if (slots[slot] == old) {
                slots[slot] = Py_NewRef(now);
                return 1;
            }
        }
        return 0;
    }
    """
    void *numpack_handler_address "((void *)&numpack_handler)"
    void numpack_init_advice()
    bint numpack_replace_reference(object variable, object old, object now)
    object PyDataMem_SetHandler(object handler)

cnp.import_array()
numpack_init_advice()

HANDLER = PyCapsule_New(numpack_handler_address, "mem_handler", NULL)


def set_handler(handler):
    """Set NumPy's allocator in the current context; return the one set before.

    Parameters
    ----------
    handler : capsule
        Named ``mem_handler``.
    """
    return PyDataMem_SetHandler(handler)


def replace_default(variable, old, new):
    """Replace the default of a context variable; return whether it has the new one.

    Python has no function for this, so the variable's memory is searched for the reference to
    the old default. The other reference that may be to the same object is the value last read,
    which comes after it; the caller has set the variable to another.

    Parameters
    ----------
    variable : contextvars.ContextVar
    old, new : object
        The present default and the one to replace it.
    """
    return (
        type(variable) is ContextVar
        and numpack_replace_reference(variable, old, new)
        and Context().run(variable.get) is new
    )
