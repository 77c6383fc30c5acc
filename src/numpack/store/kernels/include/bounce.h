/* A bounce buffer: data is copied before it is written and its checksum computed, because the
 * caller's array may change meanwhile, and the checksum must be that of the written bytes. The
 * copy is small enough to stay in the processor's cache, so it costs little. For large writes,
 * a separate thread copies the data and computes the checksums some pieces ahead of the writes.
 *
 * Pieces end at multiples of their size in the file. The kernel makes folios of the page cache no
 * larger than the write that they are made for. Where the file system has large folios, pieces of
 * a large file are thus huge pages when it is mapped, and random rows are read in about two thirds
 * of the time; writing them takes a tenth longer.
 */
#ifndef NUMPACK_BOUNCE_H
#define NUMPACK_BOUNCE_H

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    NUMPACK_BUFFER = 1 << 22,
    NUMPACK_PIECE = 1 << 20,       /* bytes copied and written at a time, */
    NUMPACK_LARGE_PIECE = 1 << 21, /* of large files: a huge page */
    NUMPACK_LARGE_FILE = 1 << 26,
};

/* Copies a piece and updates the checksum with the copy. Called by one thread at a time, in the
 * order of the pieces. */
typedef void (*numpack_checksum_copy)(
    void *context, unsigned char *copy, const unsigned char *piece, size_t size);

typedef struct {
    const unsigned char *source;
    size_t size;
    size_t offset; /* in the file */
    size_t piece; /* bytes */
    size_t pieces; /* in the buffer */
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
    return spare != NULL ? spare : malloc(NUMPACK_BUFFER);
}

static inline void
numpack_give_buffer(unsigned char *buffer)
{
    free(__atomic_exchange_n(&numpack_spare_buffer, buffer, __ATOMIC_ACQ_REL));
}

/* Return where a piece begins in the data. */
static inline size_t
numpack_piece_start(const numpack_bounce *self, size_t piece)
{
    return piece == 0 ? 0 : piece * self->piece - self->offset % self->piece;
}

static inline size_t
numpack_piece_size(const numpack_bounce *self, size_t piece)
{
    size_t end = numpack_piece_start(self, piece + 1);
    return (end < self->size ? end : self->size) - numpack_piece_start(self, piece);
}

static inline size_t
numpack_piece_count(const numpack_bounce *self)
{
    size_t end = self->offset % self->piece + self->size;
    return self->size == 0 ? 0 : (end - 1) / self->piece + 1;
}

static inline unsigned char *
numpack_copy_piece(numpack_bounce *self, size_t piece)
{
    size_t slot = self->threaded ? piece % self->pieces : 0;
    unsigned char *copy = self->buffer + slot * self->piece;
    const unsigned char *start = self->source + numpack_piece_start(self, piece);
    self->checksum_copy(self->context, copy, start, numpack_piece_size(self, piece));
    return copy;
}

static inline void *
numpack_copy_ahead(void *argument)
{
    numpack_bounce *self = argument;
    const size_t count = numpack_piece_count(self);
    for (size_t piece = 0; piece < count; piece++) {
        pthread_mutex_lock(&self->mutex);
        while (piece - self->written >= self->pieces && !self->stopped) {
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

/* Begin; source, size, offset, checksum_copy and context must be set. Returns -1 if out of
 * memory. */
static inline int
numpack_begin_bounce(numpack_bounce *self, int threaded)
{
    int is_large = self->size >= NUMPACK_LARGE_FILE || self->offset >= NUMPACK_LARGE_FILE - self->size;
    self->piece = is_large ? NUMPACK_LARGE_PIECE : NUMPACK_PIECE;
    self->pieces = NUMPACK_BUFFER / self->piece;
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
    return self->buffer + piece % self->pieces * self->piece;
}

/* Release a piece after it was written; call before numpack_next_piece. */
static inline void
numpack_end_piece(numpack_bounce *self)
{
    if (self->threaded) {
        pthread_mutex_lock(&self->mutex);
        self->written++;
        if (self->copied - self->written <= self->pieces / 2) {
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
