/* Release a reference to a Python object from any thread, at any time.
 *
 * A consumer of DLPack may delete a tensor on a thread unknown to Python, in a forked child, or
 * during or after finalization of the interpreter. Acquiring the GIL there may hang the thread or
 * terminate it inside foreign C++ frames, which aborts the process (CPython documentation,
 * "Cautions regarding runtime finalization"). The holder of the GIL may also be waiting for that
 * very thread, as TensorFlow does when it destroys an executor. The GIL is therefore acquired only
 * by Python's own threads, which have to acquire it anyway to continue, and by one background
 * thread that releases references on behalf of all others, which wait for it for a bounded time.
 * References that cannot be released leak until the process exits.
 */
#ifndef NUMPACK_RELEASE_H
#define NUMPACK_RELEASE_H

#include <Python.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* An object queued by a thread that does not acquire the GIL. */
struct numpack_queued {
    PyObject *object;
    struct numpack_queued *next;
};

/* All variables are protected by the mutex. No thread acquires the GIL while holding it. */
static pthread_mutex_t numpack_mutex;
static pthread_cond_t numpack_progress;
static struct numpack_queued *numpack_first, **numpack_last;
static uint64_t numpack_n_queued, numpack_n_released; /* totals */
static int numpack_n_acquiring; /* Python threads that are acquiring the GIL */
static int numpack_closed;      /* no more objects are accepted */
static int numpack_running;     /* the background thread exists */
static int numpack_stalled;     /* a thread waited for it until the timeout */

/* Called in every forked child, also of a fork by C code: the other threads are gone, and one of
 * them may have held the GIL or the mutex. */
static void numpack_reset(void) {
    pthread_mutex_init(&numpack_mutex, NULL);
    pthread_cond_init(&numpack_progress, NULL);
    numpack_first = NULL;
    numpack_last = &numpack_first;
    numpack_n_queued = numpack_n_released = 0;
    numpack_n_acquiring = numpack_running = numpack_stalled = 0;
    numpack_closed = 1;
}

/* Called when Python loads the module, and by Python in each child that it forks. */
static void numpack_open(void) {
    pthread_mutex_lock(&numpack_mutex);
    numpack_closed = 0;
    pthread_mutex_unlock(&numpack_mutex);
}

static int numpack_begin(void) {
    numpack_reset();
    numpack_open();
    return pthread_atfork(NULL, NULL, numpack_reset);
}

/* Wait, with the mutex held, until `released` objects were released and at most `acquiring`
 * threads are acquiring the GIL. Return 0 after a timeout. */
static int numpack_wait(uint64_t released, int acquiring, int seconds) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += seconds;
    while (numpack_n_released < released || numpack_n_acquiring > acquiring) {
        if (pthread_cond_timedwait(&numpack_progress, &numpack_mutex, &end) == ETIMEDOUT) {
            return 0;
        }
    }
    return 1;
}

/* Called with the GIL held at exit, before finalization: wait for the queued objects. The wait is
 * bounded, since a finalizer may never return. */
static void numpack_end(void) {
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&numpack_mutex);
    numpack_closed = 1;
    numpack_wait(numpack_n_queued, 0, 2);
    pthread_mutex_unlock(&numpack_mutex);
    Py_END_ALLOW_THREADS
}

/* Return whether this thread holds the GIL. PyGILState_Check always returns 1 after a
 * subinterpreter was created. */
static int numpack_is_attached(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked() != NULL;
#elif PY_VERSION_HEX >= 0x030C0000
    return _PyThreadState_UncheckedGet() != NULL;
#else
    PyThreadState *current = _PyThreadState_UncheckedGet(); /* of the holder of the GIL */
    return current != NULL && current == PyGILState_GetThisThreadState();
#endif
}

static void numpack_decref(PyObject *object) {
    PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF(object);
    PyGILState_Release(state);
}

/* Release on a Python thread that does not hold the GIL at the moment. */
static void numpack_acquire_and_decref(PyObject *object) {
    pthread_mutex_lock(&numpack_mutex);
    int closed = numpack_closed;
    numpack_n_acquiring += !closed;
    pthread_mutex_unlock(&numpack_mutex);
    if (closed) {
        return;
    }
    numpack_decref(object);
    pthread_mutex_lock(&numpack_mutex);
    numpack_n_acquiring--;
    pthread_cond_broadcast(&numpack_progress);
    pthread_mutex_unlock(&numpack_mutex);
}

/* The background thread. */
static void *numpack_release_queued(void *unused) {
    (void)unused;
    pthread_mutex_lock(&numpack_mutex);
    while (numpack_first != NULL) {
        struct numpack_queued *queued = numpack_first;
        numpack_first = queued->next;
        if (numpack_first == NULL) {
            numpack_last = &numpack_first;
        }
        pthread_mutex_unlock(&numpack_mutex);
        numpack_decref(queued->object);
        free(queued);
        pthread_mutex_lock(&numpack_mutex);
        numpack_n_released++;
        numpack_stalled = 0;
        pthread_cond_broadcast(&numpack_progress);
    }
    numpack_running = 0;
    pthread_mutex_unlock(&numpack_mutex);
    return NULL;
}

/* Start the background thread, with the mutex held. Signals are blocked in it, so that threads which
 * wait for them receive them. If it cannot be created, the next object tries again. */
static void numpack_start(void) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, numpack_release_queued, NULL) == 0) {
        pthread_detach(thread);
        numpack_running = 1;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void numpack_enqueue(struct numpack_queued *queued) {
    pthread_mutex_lock(&numpack_mutex);
    if (numpack_closed) {
        pthread_mutex_unlock(&numpack_mutex);
        free(queued);
        return;
    }
    *numpack_last = queued;
    numpack_last = &queued->next;
    uint64_t position = ++numpack_n_queued;
    if (!numpack_running) {
        numpack_start();
    }
    if (numpack_running && !numpack_stalled && !numpack_wait(position, INT_MAX, 1)) {
        numpack_stalled = 1;
    }
    pthread_mutex_unlock(&numpack_mutex);
}

static void numpack_release(PyObject *object) {
    struct numpack_queued *queued;
    if (!Py_IsInitialized()) {
        return;
    }
    if (numpack_is_attached()) {
        Py_DECREF(object);
        return;
    }
    if (PyGILState_GetThisThreadState() != NULL) {
        numpack_acquire_and_decref(object);
        return;
    }
    queued = malloc(sizeof *queued);
    if (queued != NULL) {
        *queued = (struct numpack_queued){object, NULL};
        numpack_enqueue(queued);
    }
}

#endif
