/* What is written and summed is copied first: the caller's array may change meanwhile, and its
 * checksum has to be that of the bytes that were written. The copy is small and stays in the
 * cache of the processor, so that it costs little; for much data it is made, and summed, on a
 * thread of its own, some pieces ahead of those that are written.
 */
#ifndef NUMPACK_BOUNCE_H
#define NUMPACK_BOUNCE_H

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    NUMPACK_PIECE = 1 << 18, /* bytes that are copied, summed and written at a time */
    NUMPACK_PIECES = 4,      /* of a buffer */
};

/* Copy a piece and sum the copy; called on one thread at a time, in the order of the pieces. */
typedef void (*numpack_sum)(
    void *context, unsigned char *copy, const unsigned char *piece, size_t size);

typedef struct {
    const unsigned char *source;
    size_t size;
    unsigned char *buffer;
    numpack_sum sum;
    void *context;
    size_t copied, written; /* pieces */
    int apart;              /* whether a thread copies them */
    int stopped;
    pthread_t thread;
    pthread_mutex_t mutex; /* of `copied`, `written` and `stopped`, if `apart` */
    pthread_cond_t is_copied, is_written;
} numpack_bounce;

/* One buffer is kept from call to call: fresh memory costs as much as the copy. */
static unsigned char *numpack_spare_buffer = NULL;

static inline unsigned char *
numpack_take_buffer(void)
{
    unsigned char *spare = __atomic_exchange_n(&numpack_spare_buffer, NULL, __ATOMIC_ACQ_REL);
    return spare != NULL ? spare : malloc((size_t)NUMPACK_PIECE * NUMPACK_PIECES);
}

static inline void
numpack_give_buffer(unsigned char *buffer)
{
    free(__atomic_exchange_n(&numpack_spare_buffer, buffer, __ATOMIC_ACQ_REL));
}

static inline size_t
numpack_piece_size(const numpack_bounce *self, size_t piece)
{
    size_t rest = self->size - piece * NUMPACK_PIECE;
    return rest < NUMPACK_PIECE ? rest : NUMPACK_PIECE;
}

static inline size_t
numpack_piece_count(const numpack_bounce *self)
{
    return (self->size + NUMPACK_PIECE - 1) / NUMPACK_PIECE;
}

static inline unsigned char *
numpack_copy_piece(numpack_bounce *self, size_t piece)
{
    size_t place = self->apart ? piece % NUMPACK_PIECES : 0;
    unsigned char *copy = self->buffer + place * NUMPACK_PIECE;
    size_t size = numpack_piece_size(self, piece);
    self->sum(self->context, copy, self->source + piece * NUMPACK_PIECE, size);
    return copy;
}

static inline void *
numpack_copy_ahead(void *argument)
{
    numpack_bounce *self = argument;
    const size_t count = numpack_piece_count(self);
    for (size_t piece = 0; piece < count; piece++) {
        pthread_mutex_lock(&self->mutex);
        while (piece - self->written >= NUMPACK_PIECES && !self->stopped) {
            pthread_cond_wait(&self->is_written, &self->mutex);
        }
        int stopped = self->stopped;
        pthread_mutex_unlock(&self->mutex);
        if (stopped) {
            break;
        }
        numpack_copy_piece(self, piece);
        pthread_mutex_lock(&self->mutex);
        self->copied = piece + 1;
        pthread_cond_signal(&self->is_copied);
        pthread_mutex_unlock(&self->mutex);
    }
    return NULL;
}

/* Begin, with the source, size, sum and context set; -1 if no memory is to be had. */
static inline int
numpack_begin_bounce(numpack_bounce *self, int apart)
{
    self->copied = self->written = 0;
    self->stopped = self->apart = 0;
    self->buffer = numpack_take_buffer();
    if (self->buffer == NULL) {
        return -1;
    }
    if (apart) {
        pthread_mutex_init(&self->mutex, NULL);
        pthread_cond_init(&self->is_copied, NULL);
        pthread_cond_init(&self->is_written, NULL);
        self->apart = 1;
        if (pthread_create(&self->thread, NULL, numpack_copy_ahead, self) != 0) {
            self->apart = 0; /* the pieces are copied when they are asked for */
        }
    }
    return 0;
}

/* The next piece and its size, which hold until the next call; NULL after the last one. */
static inline unsigned char *
numpack_next_piece(numpack_bounce *self, size_t *size)
{
    size_t piece = self->written;
    if (piece == numpack_piece_count(self)) {
        return NULL;
    }
    *size = numpack_piece_size(self, piece);
    if (!self->apart) {
        self->written = piece + 1;
        return numpack_copy_piece(self, piece);
    }
    pthread_mutex_lock(&self->mutex);
    while (self->copied == piece) {
        pthread_cond_wait(&self->is_copied, &self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
    return self->buffer + piece % NUMPACK_PIECES * NUMPACK_PIECE;
}

/* Call when a piece has been written, before the next is asked for. */
static inline void
numpack_end_piece(numpack_bounce *self)
{
    if (self->apart) {
        pthread_mutex_lock(&self->mutex);
        self->written++;
        if (self->copied - self->written <= NUMPACK_PIECES / 2) {
            pthread_cond_signal(&self->is_written);
        }
        pthread_mutex_unlock(&self->mutex);
    }
}

/* End, whether all pieces were written or not: all sums have been made afterwards, or none will
 * be. */
static inline void
numpack_end_bounce(numpack_bounce *self)
{
    if (self->apart) {
        pthread_mutex_lock(&self->mutex);
        self->stopped = 1;
        pthread_cond_signal(&self->is_written);
        pthread_mutex_unlock(&self->mutex);
        pthread_join(self->thread, NULL);
        pthread_cond_destroy(&self->is_copied);
        pthread_cond_destroy(&self->is_written);
        pthread_mutex_destroy(&self->mutex);
    }
    numpack_give_buffer(self->buffer);
}

#endif
