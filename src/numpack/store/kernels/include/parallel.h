/* Run work on threads that are started and joined within one call. No thread outlives a call,
 * so forks and the exit of the interpreter need no special handling. */
#ifndef NUMPACK_PARALLEL_H
#define NUMPACK_PARALLEL_H

#include <pthread.h>

#define NUMPACK_MAX_THREADS 16

/* Call work(context, part) for each part from 0 to parts - 1 in parallel; the last part runs on
 * the calling thread. If a thread cannot be started, its part runs on the calling thread too. */
typedef void (*numpack_work)(void *context, int part);

typedef struct {
    numpack_work work;
    void *context;
    int part;
} numpack_part;

static void *
numpack_run_part(void *argument)
{
    numpack_part *self = (numpack_part *)argument;
    self->work(self->context, self->part);
    return NULL;
}

static void
numpack_parallel(numpack_work work, void *context, int parts)
{
    pthread_t threads[NUMPACK_MAX_THREADS];
    numpack_part each[NUMPACK_MAX_THREADS];
    int started[NUMPACK_MAX_THREADS] = {0};
    for (int i = 0; i < parts - 1; i++) {
        each[i].work = work;
        each[i].context = context;
        each[i].part = i;
        started[i] = pthread_create(&threads[i], NULL, numpack_run_part, &each[i]) == 0;
    }
    work(context, parts - 1);
    for (int i = 0; i < parts - 1; i++) {
        if (started[i]) {
            pthread_join(threads[i], NULL);
        }
        else {
            work(context, i);
        }
    }
}

#endif
