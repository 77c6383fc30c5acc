/* An allocator of NumPy (NEP 49) whose blocks are aligned to 64 bytes.
 *
 * A block lies within a larger one of malloc, at the first multiple of 64 after its beginning.
 * Unlike the blocks of posix_memalign, it can be cleared lazily (calloc) and grown in place or
 * without copying (mremap in realloc), and costs no more than a block of malloc. The eight bytes
 * before a block hold its capacity and the distance from malloc's beginning. The sizes that
 * NumPy passes when it frees are not used: it frees np.empty((2, 0, 2)) as one byte.
 *
 * Freed blocks of up to 1 KiB are kept for the next request, as NumPy's own allocator does; each
 * thread has a cache of its own, so no lock is needed, with the GIL or without.
 */
#ifndef NUMPACK_ALLOCATOR_H
#define NUMPACK_ALLOCATOR_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cached_blocks.h"
#include "huge_pages.h"

_Static_assert(_Alignof(max_align_t) >= sizeof(uint64_t), "a header fits before each block");

static const size_t NUMPACK_LARGEST = (size_t)1 << (sizeof(size_t) * 8 - 2); /* bytes */

/* With this much more, the chunks of glibc, which precedes each by 8 bytes and rounds up to 16, are
 * multiples of 64 bytes. Neighbours then begin at the same distance from a multiple of 64, so that
 * what realloc has moved from one place to the other need not be moved again to be aligned. */
static const size_t NUMPACK_ROUNDING = 48;

/* Return the bytes to request from malloc for a block; 0 if there are too many. */
static inline size_t
numpack_whole(size_t size)
{
    size_t units = numpack_units(size);
    if (size > NUMPACK_LARGEST) {
        return 0;
    }
    return (units + 1) * NUMPACK_ALIGNMENT + (units > NUMPACK_CLASSES ? NUMPACK_ROUNDING : 0);
}

/* Return the block within memory of malloc, with its header. */
static inline void *
numpack_block_in(void *begin, size_t size)
{
    size_t distance = NUMPACK_ALIGNMENT - (uintptr_t)begin % NUMPACK_ALIGNMENT;
    uint64_t *block = (uint64_t *)((char *)begin + distance);
    block[-1] = (uint64_t)numpack_units(size) * NUMPACK_ALIGNMENT | (distance - 1);
    return block;
}

static void *
numpack_malloc(void *context, size_t size)
{
    void *block = numpack_take(numpack_units(size)), *begin;
    size_t whole;
    (void)context;
    if (block != NULL) {
        return block;
    }
    whole = numpack_whole(size);
    begin = whole ? malloc(whole) : NULL;
    if (begin == NULL) {
        return NULL;
    }
    block = numpack_block_in(begin, size);
    numpack_advise(begin, whole);
    return block;
}

static void *
numpack_calloc(void *context, size_t count, size_t size)
{
    void *block, *begin;
    size_t whole;
    (void)context;
    if (size && count > NUMPACK_LARGEST / size) {
        return NULL;
    }
    size *= count;
    block = numpack_take(numpack_units(size));
    if (block != NULL) { /* a constant size is cleared without a call */
        return size <= NUMPACK_ALIGNMENT ? memset(block, 0, NUMPACK_ALIGNMENT)
                                         : memset(block, 0, size);
    }
    whole = numpack_whole(size);
    begin = calloc(1, whole);
    if (begin == NULL) {
        return NULL;
    }
    block = numpack_block_in(begin, size);
    numpack_advise(begin, whole);
    return block;
}

static void
numpack_free(void *context, void *block, size_t size)
{
    (void)context;
    (void)size;
    if (block != NULL && !numpack_keep(block)) {
        free(numpack_begin_of(block));
    }
}

/* Reallocate a small block through the cache. */
static void *
numpack_replace(void *block, size_t size)
{
    size_t before = numpack_capacity(block);
    void *fresh = numpack_malloc(NULL, size);
    if (fresh != NULL) {
        memcpy(fresh, block, before < size ? before : size);
        numpack_free(NULL, block, before);
    }
    return fresh;
}

static void *
numpack_realloc(void *context, void *block, size_t size)
{
    size_t whole = numpack_whole(size), before, distance, kept;
    char *begin, *old;
    void *moved;
    if (block == NULL) {
        return numpack_malloc(context, size);
    }
    before = numpack_capacity(block);
    if (before / NUMPACK_ALIGNMENT <= NUMPACK_CLASSES && numpack_units(size) <= NUMPACK_CLASSES) {
        return numpack_units(size) * NUMPACK_ALIGNMENT == before ? block
                                                                 : numpack_replace(block, size);
    }
    old = numpack_begin_of(block);
    distance = (size_t)((char *)block - old);
    begin = whole ? realloc(old, whole) : NULL;
    if (begin == NULL) {
        return NULL; /* the old block is intact */
    }
    kept = before < size ? before : size;
    moved = begin + NUMPACK_ALIGNMENT - (uintptr_t)begin % NUMPACK_ALIGNMENT;
    if (moved != begin + distance) { /* both are within `whole` bytes */
        memmove(moved, begin + distance, kept);
    }
    numpack_block_in(begin, size);
    if (begin != old || before < NUMPACK_HUGE) {
        numpack_advise(begin, whole);
    }
    return moved;
}

#endif
