/* Copying of rows in random order from a mapped file, as for training batches.
 *
 * Two latencies are hidden. Rows are scattered in memory, so their cache lines are prefetched
 * some rows ahead. And if the file is not in the page cache, page faults read it with a queue
 * depth of one and with readahead around each fault; so exactly the pages of many rows are
 * requested at once.
 */
#ifndef NUMPACK_GATHER_H
#define NUMPACK_GATHER_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "parallel.h"

enum {
    NUMPACK_STEP = 32,              /* rows copied between two reads of the clock */
    NUMPACK_PROBE = 512,            /* rows copied between two checks of the page cache */
    NUMPACK_SAMPLES = 64,           /* rows checked there after a slow step */
    NUMPACK_SLOW = 1000000,         /* ns; steps rarely take longer without waiting for I/O */
    NUMPACK_WINDOW = 1 << 16,       /* rows whose pages are requested at once; and their bytes, */
    NUMPACK_WINDOW_BYTES = 1 << 28, /* few enough that none is evicted before it is copied */
    NUMPACK_GAP = 2,                /* pages that can be read in the time of another request */
    NUMPACK_THREAD_BYTES = 1 << 21, /* per thread; with less, starting it does not pay off */
    NUMPACK_TASK_BYTES = 1 << 19,   /* dealt to a thread at a time, if there are several */
    NUMPACK_ROW_BYTES = 128,        /* cost of a row, as the number of bytes copied in its time */
    NUMPACK_AHEAD_BYTES = 1 << 12,  /* prefetched; about what a core can have in flight */
    NUMPACK_LINE = 64,              /* bytes of a cache line */
};

typedef struct {
    const char *source;
    size_t width; /* bytes of a row */
    size_t pitch; /* bytes from one row to the next; less than the width if rows overlap */
    int64_t count; /* rows of the source */
    const char *rows; /* int64, possibly misaligned */
    int64_t total; /* number of rows to copy */
    char *out;
    size_t page; /* bytes; 0 if the source is certainly in memory */
    int64_t each; /* rows of a task */
    int64_t wrong; /* the first position out of range; INT64_MAX if there is none */
    int cold; /* whether pages were found that are not in memory */
} numpack_gather;

/* Return the row number at a position, never negative; `count` or more if out of range. */
static inline uint64_t
numpack_row(const numpack_gather *self, int64_t position)
{
    int64_t row;
    memcpy(&row, self->rows + 8 * position, 8);
    return (uint64_t)row + (row < 0 ? (uint64_t)self->count : 0);
}

static inline int64_t
numpack_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t
numpack_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- the page cache ---- */

/* Return whether the first page of a row is known not to be in memory. The kernel reports all
 * pages as resident if the caller does not own the file. */
static int
numpack_is_cold(const numpack_gather *self, int64_t position)
{
    uint64_t row = numpack_row(self, position);
    unsigned char resident = 1;
    if (row >= (uint64_t)self->count) {
        return 0;
    }
    uintptr_t address = (uintptr_t)(self->source + row * self->pitch);
    return mincore((void *)(address & ~(self->page - 1)), 1, (void *)&resident) == 0 &&
           !(resident & 1);
}

static int
numpack_any_cold(const numpack_gather *self, int64_t begin, int64_t end, int64_t samples)
{
    int64_t stride = (end - begin + samples - 1) / samples;
    for (int64_t i = begin; self->page && i < end; i += stride) {
        if (numpack_is_cold(self, i)) {
            return 1;
        }
    }
    return 0;
}

static int
numpack_compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void
numpack_will_need(const numpack_gather *self, uint64_t first, uint64_t last)
{
    uintptr_t begin = (uintptr_t)(self->source + first * self->pitch) & ~(self->page - 1);
    uintptr_t end = (uintptr_t)(self->source + last * self->pitch + self->width);
    madvise((void *)begin, end - begin, MADV_WILLNEED);
}

/* Request the pages of some rows in file order. Neighbouring rows share a request, also across
 * a gap that is read faster than another request is made. */
static void
numpack_request(const numpack_gather *self, int64_t begin, int64_t end)
{
    uint64_t *rows = malloc(sizeof(uint64_t) * (size_t)(end - begin));
    const size_t reach = self->width + NUMPACK_GAP * self->page;
    size_t known = 0;
    if (rows == NULL) {
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        rows[known] = numpack_row(self, i);
        known += rows[known] < (uint64_t)self->count;
    }
    qsort(rows, known, sizeof(uint64_t), numpack_compare);
    for (size_t i = 0, next; i < known; i = next) {
        for (next = i + 1; next < known; next++) {
            if ((rows[next] - rows[next - 1]) * self->pitch > reach) {
                break;
            }
        }
        numpack_will_need(self, rows[i], rows[next - 1]);
    }
    free(rows);
}

/* ---- the copy ---- */

static inline void
numpack_prefetch(const numpack_gather *self, int64_t position, size_t width)
{
    uintptr_t row = (uintptr_t)self->source + numpack_row(self, position) * self->pitch;
    uintptr_t end = row + (width < NUMPACK_AHEAD_BYTES ? width : NUMPACK_AHEAD_BYTES);
    for (uintptr_t line = row & ~(uintptr_t)(NUMPACK_LINE - 1); line < end; line += NUMPACK_LINE) {
        __builtin_prefetch((const void *)line);
    }
}

static inline int64_t
numpack_ahead(size_t width)
{
    size_t lines = (width + NUMPACK_LINE - 1) / NUMPACK_LINE;
    return numpack_min(NUMPACK_STEP, (int64_t)(NUMPACK_AHEAD_BYTES / NUMPACK_LINE / lines) + 1);
}

/* Copy the rows of a range of positions; return the position of one out of range, or -1. */
static inline __attribute__((always_inline)) int64_t
numpack_copy_rows(const numpack_gather *self, int64_t begin, int64_t end, const size_t width)
{
    const int64_t ahead = numpack_ahead(width);
    for (int64_t i = begin; i < end; i++) {
        uint64_t row = numpack_row(self, i);
        if (i + ahead < self->total) {
            numpack_prefetch(self, i + ahead, width);
        }
        if (row >= (uint64_t)self->count) {
            return i;
        }
        memcpy(self->out + i * width, self->source + row * self->pitch, width);
    }
    return -1;
}

#define NUMPACK_WIDTH(n) \
    case n: \
        return numpack_copy_rows(self, begin, end, n);

static int64_t
numpack_copy(const numpack_gather *self, int64_t begin, int64_t end)
{
    switch (self->width) { /* for these constant widths, the compiler inlines memcpy */
        NUMPACK_WIDTH(4)
        NUMPACK_WIDTH(8)
        NUMPACK_WIDTH(12)
        NUMPACK_WIDTH(16)
        NUMPACK_WIDTH(24)
        NUMPACK_WIDTH(32)
        NUMPACK_WIDTH(40)
        NUMPACK_WIDTH(48)
        NUMPACK_WIDTH(64)
        NUMPACK_WIDTH(128)
        default:
            return numpack_copy_rows(self, begin, end, self->width);
    }
}

/* Copy rows until a step takes longer than `limit` nanoseconds; return the position reached, or
 * -1 minus the position of a row out of range. */
static int64_t
numpack_copy_while_fast(const numpack_gather *self, int64_t begin, int64_t end, int64_t limit)
{
    int64_t before = numpack_nanoseconds(), took = 0;
    while (begin < end && took <= limit) {
        int64_t next = numpack_min(end, begin + NUMPACK_STEP);
        int64_t wrong = numpack_copy(self, begin, next), now = numpack_nanoseconds();
        if (wrong >= 0) {
            return -1 - wrong;
        }
        took = now - before;
        before = now;
        begin = next;
    }
    return begin;
}

static void
numpack_note_wrong(numpack_gather *self, int64_t position)
{
    int64_t known = __atomic_load_n(&self->wrong, __ATOMIC_RELAXED);
    while (position < known &&
           !__atomic_compare_exchange_n(&self->wrong, &known, position, 0, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
    }
}

static void
numpack_gather_task(void *context, int64_t task)
{
    numpack_gather *self = (numpack_gather *)context;
    const int64_t most = numpack_min(NUMPACK_WINDOW, NUMPACK_WINDOW_BYTES / self->width + 1);
    int64_t at = self->each * task, samples = 1;
    const int64_t end = at + numpack_min(self->each, self->total - at);
    while (at >= 0 && at < end) {
        int64_t next = numpack_min(end, at + most), limit = INT64_MAX;
        if (numpack_any_cold(self, at, next, samples)) {
            __atomic_store_n(&self->cold, 1, __ATOMIC_RELAXED);
            numpack_request(self, at, next);
        }
        else {
            next = numpack_min(next, at + NUMPACK_PROBE);
            limit = NUMPACK_SLOW;
        }
        at = numpack_copy_while_fast(self, at, next, limit);
        samples = at < next ? NUMPACK_SAMPLES : 1;
    }
    if (at < 0) {
        numpack_note_wrong(self, -1 - at);
    }
}

/* ---- threads ---- */

static int
numpack_thread_count(const numpack_gather *self)
{
    int64_t each = NUMPACK_THREAD_BYTES / (int64_t)(self->width + NUMPACK_ROW_BYTES);
    int64_t threads = self->total / (each + 1);
    if (threads < 2) {
        return 1;
    }
#ifdef __linux__
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
        threads = numpack_min(threads, CPU_COUNT(&allowed));
    }
#else
    threads = numpack_min(threads, sysconf(_SC_NPROCESSORS_ONLN));
#endif
    return threads < 1 ? 1 : (int)numpack_min(threads, NUMPACK_MAX_THREADS);
}

/* Return the first position that is out of range, or -1, for rows without bytes. */
static int64_t
numpack_check(const numpack_gather *self)
{
    for (int64_t i = 0; i < self->total; i++) {
        if (numpack_row(self, i) >= (uint64_t)self->count) {
            return i;
        }
    }
    return -1;
}

/* Divide the copy into tasks; return their number. */
static int64_t
numpack_divide(numpack_gather *self, int threads)
{
    self->each = self->total;
    if (threads > 1) {
        self->each = NUMPACK_TASK_BYTES / (int64_t)(self->width + NUMPACK_ROW_BYTES) + 1;
    }
    self->page = (size_t)sysconf(_SC_PAGESIZE);
    self->wrong = INT64_MAX;
    return self->total > 0 ? (self->total - 1) / self->each + 1 : 0;
}

static inline int64_t
numpack_take_rows(const char *source, size_t width, int64_t count, const char *rows,
                  int64_t total, char *out)
{
    numpack_gather self = {.source = source, .width = width, .pitch = width, .count = count,
                           .rows = rows, .total = total, .out = out};
    if (width == 0) {
        return numpack_check(&self);
    }
    int threads = numpack_thread_count(&self);
    numpack_parallel(numpack_gather_task, &self, numpack_divide(&self, threads), threads);
    return self.wrong < INT64_MAX ? self.wrong : -1;
}

#endif
