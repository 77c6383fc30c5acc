/* A bounce buffer: data is copied before it is written and its checksum computed, because the
 * caller's array may change meanwhile, and the checksum must be that of the written bytes. The
 * copy is small enough to stay in the processor's cache, so it costs little. For large writes,
 * a separate thread copies the data and computes the checksums some pieces ahead of the writes.
 */
#ifndef NUMPACK_BOUNCE_H
#define NUMPACK_BOUNCE_H

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    NUMPACK_PIECE = 1 << 20, /* bytes copied and written at a time */
    NUMPACK_PIECES = 4,      /* pieces in a buffer */
};

/* Copies a piece and updates the checksum with the copy. Called by one thread at a time, in the
 * order of the pieces. */
typedef void (*numpack_checksum_copy)(
    void *context, unsigned char *copy, const unsigned char *piece, size_t size);

typedef struct {
    const unsigned char *source;
    size_t size;
    unsigned char *buffer;
    numpack_checksum_copy checksum_copy;
    void *context;
    size_t copied, written; /* pieces */
    int threaded;           /* whether a separate thread copies them */
    int stopped;
    pthread_t thread;
    pthread_mutex_t mutex; /* protects `copied`, `written` and `stopped`, if `threaded` */
    pthread_cond_t is_copied, is_written;
} numpack_bounce;

/* One buffer is reused between calls: new memory costs as much as the copy. */
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
    size_t slot = self->threaded ? piece % NUMPACK_PIECES : 0;
    unsigned char *copy = self->buffer + slot * NUMPACK_PIECE;
    size_t size = numpack_piece_size(self, piece);
    self->checksum_copy(self->context, copy, self->source + piece * NUMPACK_PIECE, size);
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

/* Begin; source, size, checksum_copy and context must be set. Returns -1 if out of memory. */
static inline int
numpack_begin_bounce(numpack_bounce *self, int threaded)
{
    self->copied = self->written = 0;
    self->stopped = self->threaded = 0;
    self->buffer = numpack_take_buffer();
    if (self->buffer == NULL) {
        return -1;
    }
    if (threaded) {
        pthread_mutex_init(&self->mutex, NULL);
        pthread_cond_init(&self->is_copied, NULL);
        pthread_cond_init(&self->is_written, NULL);
        self->threaded = 1;
        if (pthread_create(&self->thread, NULL, numpack_copy_ahead, self) != 0) {
            self->threaded = 0; /* numpack_next_piece copies the pieces */
        }
    }
    return 0;
}

/* Return the next piece and its size, valid until the next call; NULL after the last one. */
static inline unsigned char *
numpack_next_piece(numpack_bounce *self, size_t *size)
{
    size_t piece = self->written;
    if (piece == numpack_piece_count(self)) {
        return NULL;
    }
    *size = numpack_piece_size(self, piece);
    if (!self->threaded) {
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

/* Release a piece after it was written; call before numpack_next_piece. */
static inline void
numpack_end_piece(numpack_bounce *self)
{
    if (self->threaded) {
        pthread_mutex_lock(&self->mutex);
        self->written++;
        if (self->copied - self->written <= NUMPACK_PIECES / 2) {
            pthread_cond_signal(&self->is_written);
        }
        pthread_mutex_unlock(&self->mutex);
    }
}

/* End, whether or not all pieces were written. The callback is not called afterwards. */
static inline void
numpack_end_bounce(numpack_bounce *self)
{
    if (self->threaded) {
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
