/* Running of tasks on the calling thread and on helpers, which are started for each call.
 *
 * The tasks are divided into shares of consecutive ones, one share for each thread, so that
 * threads work on different parts of the memory. A thread that has finished its share takes tasks
 * from the ends of the others. The caller waits until the tasks that helpers have begun are done.
 * It does not wait for helpers to begin: if other processes occupy their cores, it runs all tasks
 * itself. A helper that begins afterwards finds no task, and accesses only `numpack_job`, which
 * the last thread frees. It runs for less than a microsecond, so forks and the exit of the
 * interpreter need no special handling.
 */
#ifndef NUMPACK_PARALLEL_H
#define NUMPACK_PARALLEL_H

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define NUMPACK_MAX_THREADS 16

/* Of a helper, in bytes. The C library keeps stacks for later threads, and the usual 8 MiB count
 * against a limit of the address space. */
#define NUMPACK_STACK (1 << 20)

/* Called with each task from 0 on, of different tasks at the same time. */
typedef void (*numpack_work)(void *context, int64_t task);

typedef struct {
    numpack_work work;
    void *context; /* belongs to the caller: only used while there are tasks */
    int threads;
    int users; /* threads that have not finished with this object */
    int begun; /* helpers */
    int64_t left; /* tasks not done */
    uint64_t shares[NUMPACK_MAX_THREADS]; /* tasks not begun: the first << 32 | the end */
    pthread_mutex_t mutex; /* for `done` */
    pthread_cond_t done; /* no task is left */
} numpack_job;

/* Helpers that have not begun, and the process that started them: process << 32 | number. A fork
 * copies the number but not the threads. */
static uint64_t numpack_waiting = 0;

/* Change the number of helpers that have not begun; return the number before. */
static int
numpack_change_waiting(int change)
{
    const uint64_t none = (uint64_t)getpid() << 32;
    uint64_t known = __atomic_load_n(&numpack_waiting, __ATOMIC_RELAXED), base;
    do {
        base = known >> 32 == none >> 32 ? known : none;
    } while (!__atomic_compare_exchange_n(&numpack_waiting, &known, base + (uint64_t)change, 0,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return (int)(base - none);
}

/* Return a task that no thread has begun, or -1. */
static int64_t
numpack_take_task(numpack_job *self, int thread)
{
    for (int i = 0; i < self->threads; i++) {
        uint64_t *share = &self->shares[(thread + i) % self->threads];
        uint64_t known = __atomic_load_n(share, __ATOMIC_RELAXED);
        while (known >> 32 < (known & UINT32_MAX)) {
            uint64_t rest = i == 0 ? known + ((uint64_t)1 << 32) : known - 1;
            if (__atomic_compare_exchange_n(share, &known, rest, 0, __ATOMIC_ACQ_REL,
                                            __ATOMIC_RELAXED)) {
                return (int64_t)(i == 0 ? known >> 32 : rest & UINT32_MAX);
            }
        }
    }
    return -1;
}

static void
numpack_do_tasks(numpack_job *self, int thread)
{
    int64_t task, done = 0;
    for (; (task = numpack_take_task(self, thread)) >= 0; done++) {
        self->work(self->context, task);
    }
    if (done > 0 && __atomic_sub_fetch(&self->left, done, __ATOMIC_ACQ_REL) == 0) {
        pthread_mutex_lock(&self->mutex);
        pthread_cond_signal(&self->done);
        pthread_mutex_unlock(&self->mutex);
    }
}

static void
numpack_leave(numpack_job *self)
{
    if (__atomic_sub_fetch(&self->users, 1, __ATOMIC_ACQ_REL) == 0) {
        pthread_cond_destroy(&self->done);
        pthread_mutex_destroy(&self->mutex);
        free(self);
    }
}

static void *
numpack_help(void *argument)
{
    numpack_job *self = (numpack_job *)argument;
    numpack_change_waiting(-1);
    numpack_do_tasks(self, 1 + __atomic_fetch_add(&self->begun, 1, __ATOMIC_RELAXED));
    numpack_leave(self);
    return NULL;
}

/* Start helpers. If earlier ones have not begun, there are no cores for so many. */
static void
numpack_start_helpers(numpack_job *self)
{
    pthread_attr_t detached;
    if (pthread_attr_init(&detached) != 0) {
        return;
    }
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, NUMPACK_STACK);
    for (int i = 1; i < self->threads; i++) {
        pthread_t thread;
        if (numpack_change_waiting(1) >= self->threads - 1) {
            numpack_change_waiting(-1);
            break;
        }
        __atomic_add_fetch(&self->users, 1, __ATOMIC_RELAXED);
        if (pthread_create(&thread, &detached, numpack_help, self) != 0) {
            __atomic_sub_fetch(&self->users, 1, __ATOMIC_RELAXED);
            numpack_change_waiting(-1);
            break;
        }
    }
    pthread_attr_destroy(&detached);
}

static numpack_job *
numpack_new_job(numpack_work work, void *context, int64_t tasks, int threads)
{
    numpack_job *self = tasks < UINT32_MAX ? malloc(sizeof(numpack_job)) : NULL;
    if (self == NULL) {
        return NULL;
    }
    *self = (numpack_job){
        .work = work, .context = context, .threads = threads, .users = 1, .left = tasks};
    for (int64_t i = 0; i < threads; i++) {
        self->shares[i] = (uint64_t)(tasks * i / threads) << 32 |
                          (uint64_t)(tasks * (i + 1) / threads);
    }
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->done, NULL);
    return self;
}

/* Call work(context, task) for each task from 0 to tasks - 1, on up to `threads` threads, of which
 * the calling one is the first. */
static void
numpack_parallel(numpack_work work, void *context, int64_t tasks, int threads)
{
    numpack_job *job = NULL;
    threads = threads < NUMPACK_MAX_THREADS ? threads : NUMPACK_MAX_THREADS;
    threads = threads < tasks ? threads : (int)tasks;
    if (threads > 1) {
        job = numpack_new_job(work, context, tasks, threads);
    }
    if (job == NULL) {
        for (int64_t task = 0; task < tasks; task++) {
            work(context, task);
        }
        return;
    }
    numpack_start_helpers(job);
    numpack_do_tasks(job, 0);
    pthread_mutex_lock(&job->mutex);
    while (__atomic_load_n(&job->left, __ATOMIC_ACQUIRE) > 0) {
        pthread_cond_wait(&job->done, &job->mutex);
    }
    pthread_mutex_unlock(&job->mutex);
    numpack_leave(job);
}

#endif
