/* A queue of copies, done by threads of its own and by the thread that waits for one of them.
 *
 * The threads never run Python. They live as long as the queue: closing it waits for the tasks
 * that have begun and drops the others. Signals are left to Python's threads.
 *
 * A fork copies the queue in an unknown state and without its threads. The child uses nothing of
 * it: a copy that it waits for is done from the beginning, which gives the same bytes.
 */
#ifndef NUMPACK_COPY_QUEUE_H
#define NUMPACK_COPY_QUEUE_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "parallel.h"

typedef struct numpack_submitted {
    numpack_work work;
    void *context; /* must live until the copy is done or the queue is closed */
    int64_t tasks;
    int64_t next; /* the first task that no thread has begun */
    int64_t left; /* tasks not done */
    int is_request; /* left to the threads of the queue: it may wait for a device */
    struct numpack_submitted *link;
} numpack_submitted;

typedef struct {
    pthread_mutex_t mutex; /* for all below, and for the copies */
    pthread_cond_t more; /* a copy was added, or the queue is closing */
    pthread_cond_t done; /* the last task of a copy was done */
    numpack_submitted *first; /* copies with tasks that no thread has begun */
    numpack_submitted *last;
    int closing;
    int threads;
    int forks; /* `numpack_forks` when the threads were started */
    pthread_t ids[NUMPACK_MAX_THREADS];
} numpack_queue;

static int numpack_forks = 0; /* of this process and its ancestors */

static void
numpack_count_fork(void)
{
    numpack_forks++;
}

static inline int
numpack_is_forked(const numpack_queue *self)
{
    return self->forks != numpack_forks;
}

/* Begin a task; requires the mutex. */
static int64_t
numpack_begin_task(numpack_queue *self, numpack_submitted *copy)
{
    int64_t task = copy->next++;
    if (copy->next < copy->tasks) {
        return task;
    }
    numpack_submitted *before = NULL;
    for (numpack_submitted *each = self->first; each != copy; each = each->link) {
        before = each;
    }
    *(before == NULL ? &self->first : &before->link) = copy->link;
    if (self->last == copy) {
        self->last = before;
    }
    return task;
}

/* Begin and do the next task of a copy; requires the mutex, and has it again at the end. */
static void
numpack_do_task(numpack_queue *self, numpack_submitted *copy)
{
    int64_t task = numpack_begin_task(self, copy);
    pthread_mutex_unlock(&self->mutex);
    copy->work(copy->context, task);
    pthread_mutex_lock(&self->mutex);
    if (--copy->left == 0) {
        pthread_cond_broadcast(&self->done);
    }
}

static void *
numpack_serve(void *argument)
{
    numpack_queue *self = (numpack_queue *)argument;
    pthread_mutex_lock(&self->mutex);
    while (!self->closing) {
        if (self->first == NULL) {
            pthread_cond_wait(&self->more, &self->mutex);
        }
        else {
            numpack_do_task(self, self->first);
        }
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

static void
numpack_start_serving(numpack_queue *self, int threads)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    if (threads == 0 || pthread_attr_init(&attributes) != 0) {
        return;
    }
    pthread_attr_setstacksize(&attributes, NUMPACK_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* threads inherit it */
    while (self->threads < threads && self->threads < NUMPACK_MAX_THREADS &&
           pthread_create(&self->ids[self->threads], &attributes, numpack_serve, self) == 0) {
        self->threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

/* Return a new queue with at most `threads` threads, or NULL without memory. With no thread at
 * all, the thread that waits does everything. */
static numpack_queue *
numpack_new_queue(int threads)
{
    pthread_condattr_t monotonic;
    numpack_queue *self = calloc(1, sizeof(numpack_queue));
    if (self == NULL) {
        return NULL;
    }
    self->forks = numpack_forks;
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->more, NULL);
    pthread_condattr_init(&monotonic);
#ifdef __linux__
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
#endif
    pthread_cond_init(&self->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    numpack_start_serving(self, threads);
    return self;
}

/* Add a copy with at least one task. */
static void
numpack_submit(numpack_queue *self, numpack_submitted *copy)
{
    copy->next = 0;
    copy->left = copy->tasks;
    copy->link = NULL;
    if (numpack_is_forked(self)) {
        return;
    }
    pthread_mutex_lock(&self->mutex);
    if (self->first == NULL) {
        self->first = copy;
    }
    else {
        self->last->link = copy;
    }
    self->last = copy;
    pthread_mutex_unlock(&self->mutex);
    pthread_cond_broadcast(&self->more);
}

static void
numpack_wait_briefly(numpack_queue *self)
{
    struct timespec until;
#ifdef __linux__
    clock_gettime(CLOCK_MONOTONIC, &until);
#else
    clock_gettime(CLOCK_REALTIME, &until);
#endif
    until.tv_nsec += 50000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&self->done, &self->mutex, &until);
}

static numpack_submitted *
numpack_first_to_help(const numpack_queue *self)
{
    numpack_submitted *copy = self->first;
    while (copy != NULL && copy->is_request) {
        copy = copy->link;
    }
    return copy;
}

/* Help until a copy is done, or for some milliseconds in which nothing was left to help with.
 * Return whether it is done. */
static int
numpack_wait(numpack_queue *self, numpack_submitted *copy)
{
    if (numpack_is_forked(self)) {
        for (int64_t task = 0; copy->left > 0 && task < copy->tasks; task++) {
            copy->work(copy->context, task);
        }
        copy->left = 0;
        return 1;
    }
    pthread_mutex_lock(&self->mutex);
    while (copy->left > 0) {
        numpack_submitted *other = numpack_first_to_help(self);
        if (other == NULL) {
            numpack_wait_briefly(self);
            break;
        }
        numpack_do_task(self, other);
    }
    int done = copy->left == 0;
    pthread_mutex_unlock(&self->mutex);
    return done;
}

/* Drop the copies that have not begun, wait for the others, and free the queue. */
static void
numpack_close_queue(numpack_queue *self)
{
    if (!numpack_is_forked(self)) {
        pthread_mutex_lock(&self->mutex);
        self->closing = 1;
        pthread_mutex_unlock(&self->mutex);
        pthread_cond_broadcast(&self->more);
        for (int i = 0; i < self->threads; i++) {
            pthread_join(self->ids[i], NULL);
        }
        pthread_cond_destroy(&self->done);
        pthread_cond_destroy(&self->more);
        pthread_mutex_destroy(&self->mutex);
    }
    free(self);
}

#endif
