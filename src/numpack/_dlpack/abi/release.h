/* Dropping a reference to a Python object from any thread, at any time.
 *
 * A consumer of DLPack may drop a tensor on a thread that never saw Python, in a forked
 * child, or while or after the interpreter ends. Asking for the GIL then can hang the
 * thread or end it in the middle of foreign C++ frames, which aborts the process (CPython
 * docs, "Cautions regarding runtime finalization"); and who holds the GIL may be waiting for
 * that very thread, as TensorFlow does when it ends an executor. So it is asked for only where
 * it will be given: by a thread of Python itself, which does so anyhow when it goes on, and for
 * others by a thread of our own, for which they wait a moment, no longer. What can not be
 * dropped is left to the end of the process.
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

/* An object that a thread without the GIL has left to be dropped. */
struct numpack_left {
    PyObject *object;
    struct numpack_left *next;
};

/* All below is read and written under the mutex, which nobody holds who asks for the GIL. */
static pthread_mutex_t numpack_mutex;
static pthread_cond_t numpack_progress;
static struct numpack_left *numpack_first, **numpack_last;
static uint64_t numpack_taken, numpack_dropped; /* how many objects, ever */
static int numpack_asking;                      /* threads of Python that ask for the GIL */
static int numpack_closed;                      /* no objects are taken any more */
static int numpack_running;                     /* the thread that drops them is there */
static int numpack_stalled;                     /* and somebody waited for it in vain */

/* Called in every child, whoever forks: other threads are not here, and one may hold the GIL
 * or the mutex. */
static void numpack_forget(void) {
    pthread_mutex_init(&numpack_mutex, NULL);
    pthread_cond_init(&numpack_progress, NULL);
    numpack_first = NULL;
    numpack_last = &numpack_first;
    numpack_taken = numpack_dropped = 0;
    numpack_asking = numpack_running = numpack_stalled = 0;
    numpack_closed = 1;
}

/* Called by Python once it runs: when it loads the module, and in each child it forks. */
static void numpack_open(void) {
    pthread_mutex_lock(&numpack_mutex);
    numpack_closed = 0;
    pthread_mutex_unlock(&numpack_mutex);
}

static int numpack_begin(void) {
    numpack_forget();
    numpack_open();
    return pthread_atfork(NULL, NULL, numpack_forget);
}

/* Wait under the mutex until so many objects were dropped, and no more threads than that are
 * asking; 0 if it takes too long. */
static int numpack_wait(uint64_t dropped, int asking, int seconds) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += seconds;
    while (numpack_dropped < dropped || numpack_asking > asking) {
        if (pthread_cond_timedwait(&numpack_progress, &numpack_mutex, &end) == ETIMEDOUT) {
            return 0;
        }
    }
    return 1;
}

/* Called with the GIL when the interpreter begins to end: what was taken is dropped first.
 * The wait is bounded, for an object that never finishes dying. */
static void numpack_end(void) {
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&numpack_mutex);
    numpack_closed = 1;
    numpack_wait(numpack_taken, 0, 2);
    pthread_mutex_unlock(&numpack_mutex);
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

static void numpack_drop(PyObject *object) {
    PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF(object);
    PyGILState_Release(state);
}

/* On a thread of Python that has let go of the GIL. */
static void numpack_ask(PyObject *object) {
    pthread_mutex_lock(&numpack_mutex);
    int closed = numpack_closed;
    numpack_asking += !closed;
    pthread_mutex_unlock(&numpack_mutex);
    if (closed) {
        return;
    }
    numpack_drop(object);
    pthread_mutex_lock(&numpack_mutex);
    numpack_asking--;
    pthread_cond_broadcast(&numpack_progress);
    pthread_mutex_unlock(&numpack_mutex);
}

static void *numpack_drop_all(void *unused) {
    (void)unused;
    pthread_mutex_lock(&numpack_mutex);
    while (numpack_first != NULL) {
        struct numpack_left *left = numpack_first;
        numpack_first = left->next;
        if (numpack_first == NULL) {
            numpack_last = &numpack_first;
        }
        pthread_mutex_unlock(&numpack_mutex);
        numpack_drop(left->object);
        free(left);
        pthread_mutex_lock(&numpack_mutex);
        numpack_dropped++;
        numpack_stalled = 0;
        pthread_cond_broadcast(&numpack_progress);
    }
    numpack_running = 0;
    pthread_mutex_unlock(&numpack_mutex);
    return NULL;
}

/* Start, under the mutex, the thread that drops. It gets no signals: they are for threads
 * that wait for something. If none can be had now, the next object tries again. */
static void numpack_start(void) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, numpack_drop_all, NULL) == 0) {
        pthread_detach(thread);
        numpack_running = 1;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void numpack_leave(struct numpack_left *left) {
    pthread_mutex_lock(&numpack_mutex);
    if (numpack_closed) {
        pthread_mutex_unlock(&numpack_mutex);
        free(left);
        return;
    }
    *numpack_last = left;
    numpack_last = &left->next;
    uint64_t mine = ++numpack_taken;
    if (!numpack_running) {
        numpack_start();
    }
    if (numpack_running && !numpack_stalled && !numpack_wait(mine, INT_MAX, 1)) {
        numpack_stalled = 1;
    }
    pthread_mutex_unlock(&numpack_mutex);
}

static void numpack_release(PyObject *object) {
    struct numpack_left *left;
    if (!Py_IsInitialized()) {
        return;
    }
    if (numpack_is_attached()) {
        Py_DECREF(object);
        return;
    }
    if (PyGILState_GetThisThreadState() != NULL) {
        numpack_ask(object);
        return;
    }
    left = malloc(sizeof *left);
    if (left != NULL) {
        *left = (struct numpack_left){object, NULL};
        numpack_leave(left);
    }
}

#endif
