/* Advice to the kernel to use huge pages for large blocks, as NumPy gives from 4 MiB up. */
#ifndef NUMPACK_HUGE_PAGES_H
#define NUMPACK_HUGE_PAGES_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    NUMPACK_HUGE = 1 << 21,       /* bytes of a huge page */
    NUMPACK_ALWAYS = 1 << 22,     /* bytes from which NumPy too makes the system call each time */
    NUMPACK_CHUNK_HEADER = 1 << 6 /* bytes that malloc may keep before what it maps for a block */
};

typedef struct {
    uintptr_t begin, end;
} numpack_range;

static uintptr_t numpack_page_size; /* 0: no advice */

/* Adjoining pages of malloc's heap that this thread has advised for smaller blocks: a block that lies
 * within needs no other advice. If they were unmapped meanwhile, the block has small pages, as
 * NumPy's have. */
static __thread numpack_range numpack_advised;

/* Read the setting of NumPy. */
static void
numpack_init_advice(void)
{
    const char *setting = getenv("NUMPY_MADVISE_HUGEPAGE");
    long size = sysconf(_SC_PAGESIZE);
    numpack_page_size = (setting == NULL || atoi(setting)) && size > 0 ? (uintptr_t)size : 0;
}

/* Return whether memory is at the beginning of a page, as what malloc maps for a single block. */
static inline int
numpack_is_mapped_alone(uintptr_t begin)
{
    return begin % numpack_page_size <= NUMPACK_CHUNK_HEADER;
}

/* Return the pages of memory: the last one, and the first one if little else is on it. Then the
 * whole of what malloc has mapped for a block is advised, and the kernel need not split it. */
static inline numpack_range
numpack_pages(uintptr_t begin, size_t size)
{
    uintptr_t mask = numpack_page_size - 1;
    numpack_range pages = {begin & ~mask, (begin + size + mask) & ~mask};
    if (!numpack_is_mapped_alone(begin)) {
        pages.begin += numpack_page_size;
    }
    return pages;
}

/* Return whether this thread has advised these pages of the heap; remember them. */
static inline int
numpack_is_advised(numpack_range pages)
{
    numpack_range *known = &numpack_advised;
    if (pages.begin >= known->begin && pages.end <= known->end) {
        return 1;
    }
    if (pages.begin > known->end || pages.end < known->begin) {
        *known = pages;
    } else {
        known->begin = pages.begin < known->begin ? pages.begin : known->begin;
        known->end = pages.end > known->end ? pages.end : known->end;
    }
    return 0;
}

/* Advise memory of malloc; a refusal does no harm. */
static inline void
numpack_advise(void *begin, size_t size)
{
#ifdef MADV_HUGEPAGE
    numpack_range pages;
    if (size < NUMPACK_HUGE || numpack_page_size == 0) {
        return;
    }
    pages = numpack_pages((uintptr_t)begin, size);
    if (size >= NUMPACK_ALWAYS || numpack_is_mapped_alone((uintptr_t)begin) ||
        !numpack_is_advised(pages)) {
        (void)!madvise((void *)pages.begin, pages.end - pages.begin, MADV_HUGEPAGE);
    }
#else
    (void)begin;
    (void)size;
#endif
}

#endif
