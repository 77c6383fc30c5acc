/* Copying of ragged samples: consecutive rows each, of different numbers. */
#ifndef NUMPACK_SEGMENTS_H
#define NUMPACK_SEGMENTS_H

#include "gather.h"

/* Request the pages of the rows of a gather, if some are not in memory. */
static void
numpack_request_task(void *context, int64_t task)
{
    numpack_gather *self = (numpack_gather *)context;
    (void)task;
    if (self->total > 0 && numpack_any_cold(self, 0, self->total, NUMPACK_SAMPLES)) {
        __atomic_store_n(&self->cold, 1, __ATOMIC_RELAXED);
        numpack_request(self, 0, self->total);
    }
}

typedef struct {
    const char *source;
    size_t width; /* bytes of a row */
    const int64_t *starts; /* first row of each sample */
    const int64_t *lengths; /* its number of rows */
    const int64_t *places; /* row of the output for the first of them */
    int64_t total; /* samples */
    char *out;
    size_t page; /* bytes; 0 if the source is certainly in memory */
    int64_t each; /* samples of a task */
    int cold; /* whether pages were found that are not in memory */
} numpack_segments;

enum {
    NUMPACK_SEGMENT_AHEAD = 4, /* samples whose first lines are prefetched */
};

static uintptr_t
numpack_segment(const numpack_segments *self, int64_t sample)
{
    return (uintptr_t)(self->source + self->starts[sample] * self->width);
}

static int
numpack_is_segment_cold(const numpack_segments *self, int64_t sample)
{
    unsigned char resident = 1;
    uintptr_t first = numpack_segment(self, sample) & ~(self->page - 1);
    return self->lengths[sample] > 0 && mincore((void *)first, 1, (void *)&resident) == 0 &&
           !(resident & 1);
}

static void
numpack_request_segment(const numpack_segments *self, int64_t sample)
{
    uintptr_t begin = numpack_segment(self, sample);
    uintptr_t end = begin + (size_t)self->lengths[sample] * self->width;
    if (begin < end) {
        begin &= ~(self->page - 1);
        madvise((void *)begin, end - begin, MADV_WILLNEED);
    }
}

static void
numpack_request_segments(numpack_segments *self, int64_t begin, int64_t end)
{
    if (self->page && begin < end && (numpack_is_segment_cold(self, begin) ||
                                      numpack_is_segment_cold(self, (begin + end) / 2))) {
        __atomic_store_n(&self->cold, 1, __ATOMIC_RELAXED);
        for (int64_t i = begin; i < end; i++) {
            numpack_request_segment(self, i);
        }
    }
}

static void
numpack_prefetch_segment(const numpack_segments *self, int64_t sample)
{
    uintptr_t line = numpack_segment(self, sample) & ~(uintptr_t)(NUMPACK_LINE - 1);
    for (int i = 0; i < 4; i++) {
        __builtin_prefetch((const void *)(line + (uintptr_t)i * NUMPACK_LINE));
    }
}

static void
numpack_segments_task(void *context, int64_t task)
{
    numpack_segments *self = (numpack_segments *)context;
    const int64_t begin = self->each * task;
    const int64_t end = begin + numpack_min(self->each, self->total - begin);
    numpack_request_segments(self, begin, end);
    for (int64_t i = begin; i < end; i++) {
        if (i + NUMPACK_SEGMENT_AHEAD < end) {
            numpack_prefetch_segment(self, i + NUMPACK_SEGMENT_AHEAD);
        }
        memcpy(self->out + self->places[i] * self->width, (const char *)numpack_segment(self, i),
               (size_t)self->lengths[i] * self->width);
    }
}

/* Divide the copy of so many bytes into tasks; return their number. */
static int64_t
numpack_divide_segments(numpack_segments *self, int64_t nbytes)
{
    int64_t tasks = numpack_min(nbytes / NUMPACK_TASK_BYTES + 1, self->total);
    self->page = (size_t)sysconf(_SC_PAGESIZE);
    if (tasks == 0) {
        return 0;
    }
    self->each = (self->total - 1) / tasks + 1;
    return (self->total - 1) / self->each + 1;
}

#endif
