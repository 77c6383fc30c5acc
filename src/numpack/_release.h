/* Dropping a reference to a Python object from any thread, at any time.
 *
 * A consumer of DLPack may drop a tensor on a thread that never saw Python, in a forked
 * child, or while or after the interpreter ends. Asking for the GIL then can hang the
 * thread or end it in the middle of foreign C++ frames, which aborts the process (CPython
 * docs, "Cautions regarding runtime finalization"). So it is asked for only where it will
 * be given, and otherwise the object is left to the end of the process.
 */
#ifndef NUMPACK_RELEASE_H
#define NUMPACK_RELEASE_H

#include <Python.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_int numpack_closed;  /* nobody asks for the GIL any more */
static atomic_int numpack_waiting; /* threads that ask for the GIL below, or have it */

/* Called in every child, whoever forks: the GIL may be held by a thread that is not here. */
static void numpack_close(void) { atomic_store(&numpack_closed, 1); }

/* Called by Python once it runs: when it loads the module, and in each child it forks. */
static void numpack_open(void) {
    atomic_store(&numpack_waiting, 0);
    atomic_store(&numpack_closed, 0);
}

static int numpack_begin(void) {
    numpack_open();
    return pthread_atfork(NULL, NULL, numpack_close);
}

/* Called with the GIL when the interpreter begins to end: who asked for it already gets it.
 * The wait is bounded, for an object that never finishes dying. */
static void numpack_end(void) {
    numpack_close();
    Py_BEGIN_ALLOW_THREADS
    for (int i = 0; i < 2000 && atomic_load(&numpack_waiting) > 0; i++) {
        usleep(1000);
    }
    Py_END_ALLOW_THREADS
}

/* PyGILState_Check says yes to everybody once there has been a subinterpreter. */
static int numpack_is_attached(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked() != NULL;
#elif PY_VERSION_HEX >= 0x030C0000
    return _PyThreadState_UncheckedGet() != NULL;
#else
    PyThreadState *current = _PyThreadState_UncheckedGet(); /* of whoever has the GIL */
    return current != NULL && current == PyGILState_GetThisThreadState();
#endif
}

static void numpack_release(PyObject *object) {
    if (!Py_IsInitialized()) {
        return;
    }
    if (numpack_is_attached()) {
        Py_DECREF(object);
        return;
    }
    atomic_fetch_add(&numpack_waiting, 1);
    if (!atomic_load(&numpack_closed)) {
        PyGILState_STATE state = PyGILState_Ensure();
        Py_DECREF(object);
        PyGILState_Release(state);
    }
    atomic_fetch_sub(&numpack_waiting, 1);
}

#endif
