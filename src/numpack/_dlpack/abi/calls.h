/* Calls of Python objects that Cython has no syntax for. */
#ifndef NUMPACK_CALLS_H
#define NUMPACK_CALLS_H

#include <Python.h>

/* Take over a reference. */
#define numpack_stolen(reference) (reference)

/* Propagate the exception that is set. */
#define numpack_raised() ((PyObject *)NULL)

/* Call a method of a type on an object of that type. */
static inline PyObject *
numpack_call_method(PyObject *method, PyObject *self)
{
    if (Py_TYPE(method) == &PyMethodDescr_Type) {
        PyMethodDef *definition = ((PyMethodDescrObject *)method)->d_method;
        if (definition->ml_flags == METH_NOARGS) {
            return definition->ml_meth(self, NULL);
        }
    }
    return PyObject_CallOneArg(method, self);
}

/* Set the vectorcall function of a type's instances, which is stored in a field of each; `instance`
 * is one of them (PEP 590, tp_vectorcall_offset). */
static inline void
numpack_set_instance_call(PyObject *cls, PyObject *instance, void *field)
{
    PyTypeObject *type = (PyTypeObject *)cls;
    type->tp_vectorcall_offset = (char *)field - (char *)instance;
    type->tp_call = PyVectorcall_Call;
    type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR;
}

/* Set the vectorcall function of a type itself (PEP 590, tp_vectorcall). */
#define numpack_set_class_call(cls, function) \
    (((PyTypeObject *)(cls))->tp_vectorcall = (vectorcallfunc)(function))

/* Call a type as type.__call__ does. */
#define numpack_type_call(cls, args, kwargs) (PyType_Type.tp_call((cls), (args), (kwargs)))

/* Create an object without calling __init__. */
#define numpack_new(cls, args) \
    (((PyTypeObject *)(cls))->tp_new((PyTypeObject *)(cls), (args), NULL))

#endif
