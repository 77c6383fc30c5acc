/* Small blocks that a thread has freed and keeps for its next requests. */
#ifndef NUMPACK_CACHED_BLOCKS_H
#define NUMPACK_CACHED_BLOCKS_H

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define NUMPACK_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NUMPACK_SANITIZED
#endif
#endif

#ifdef NUMPACK_SANITIZED /* reports uses of blocks that are in the cache */
#include <sanitizer/asan_interface.h>
#define NUMPACK_POISON ASAN_POISON_MEMORY_REGION
#define NUMPACK_UNPOISON ASAN_UNPOISON_MEMORY_REGION
#else
#define NUMPACK_POISON(block, size)
#define NUMPACK_UNPOISON(block, size)
#endif

enum {
    NUMPACK_ALIGNMENT = 64,
    NUMPACK_CLASSES = 16, /* of cached blocks: 1 to 16 times the alignment */
    NUMPACK_CACHED = 8,   /* blocks of each class */
};

typedef struct {
    int count[NUMPACK_CLASSES];
    void *blocks[NUMPACK_CLASSES][NUMPACK_CACHED];
} numpack_cache;

static pthread_once_t numpack_once = PTHREAD_ONCE_INIT;
static pthread_key_t numpack_cache_key;
static int numpack_has_key;
static __thread numpack_cache *numpack_thread_cache;

/* Return the beginning of malloc's block, of which this one is a part. */
static inline void *
numpack_begin_of(void *block)
{
    return (char *)block - (((uint64_t *)block)[-1] % NUMPACK_ALIGNMENT + 1);
}

/* Return the bytes that may be used: a multiple of the alignment. */
static inline size_t
numpack_capacity(void *block)
{
    uint64_t header = ((uint64_t *)block)[-1];
    return (size_t)(header - header % NUMPACK_ALIGNMENT);
}

/* Return the capacity for a size in multiples of the alignment, at least one. */
static inline size_t
numpack_units(size_t size)
{
    return size ? (size - 1) / NUMPACK_ALIGNMENT + 1 : 1;
}

/* Free the blocks that a thread has kept, when it ends. */
static void
numpack_drop_cache(void *memory)
{
    numpack_cache *cache = memory;
    numpack_thread_cache = NULL;
    for (int class = 0; class < NUMPACK_CLASSES; class++) {
        while (cache->count[class]) {
            void *block = cache->blocks[class][--cache->count[class]];
            NUMPACK_UNPOISON(block, (class + 1) * NUMPACK_ALIGNMENT);
            free(numpack_begin_of(block));
        }
    }
    free(cache);
}

static void
numpack_create_key(void)
{
    numpack_has_key = pthread_key_create(&numpack_cache_key, numpack_drop_cache) == 0;
}

/* Return the cache of this thread; NULL if it cannot have one. */
static numpack_cache *
numpack_new_cache(void)
{
    numpack_cache *cache;
    pthread_once(&numpack_once, numpack_create_key);
    cache = numpack_has_key ? calloc(1, sizeof(numpack_cache)) : NULL;
    if (cache != NULL && pthread_setspecific(numpack_cache_key, cache) != 0) {
        free(cache);
        return NULL;
    }
    return numpack_thread_cache = cache;
}

/* Return a cached block of a capacity; NULL if there is none. */
static inline void *
numpack_take(size_t units)
{
    numpack_cache *cache = numpack_thread_cache;
    void *block;
    if (units > NUMPACK_CLASSES || cache == NULL || cache->count[units - 1] == 0) {
        return NULL;
    }
    block = cache->blocks[units - 1][--cache->count[units - 1]];
    NUMPACK_UNPOISON(block, units * NUMPACK_ALIGNMENT);
    return block;
}

/* Put a block into the cache if it is small and there is room; return whether it was. */
static inline int
numpack_keep(void *block)
{
    size_t class = numpack_capacity(block) / NUMPACK_ALIGNMENT - 1;
    numpack_cache *cache = numpack_thread_cache;
    if (class >= NUMPACK_CLASSES) {
        return 0;
    }
    if (cache == NULL && (cache = numpack_new_cache()) == NULL) {
        return 0;
    }
    if (cache->count[class] == NUMPACK_CACHED) {
        return 0;
    }
    NUMPACK_POISON(block, (class + 1) * NUMPACK_ALIGNMENT);
    cache->blocks[class][cache->count[class]++] = block;
    return 1;
}

#endif
