/* A keyed bijection of [0, count), computed one index at a time in constant memory.
 *
 * An index is written as two digits, of `columns` and `lines`, about the square root of the count
 * each. Every round adds to one digit a hash of the other and of a key, modulo the digit's range:
 * a Feistel network, which is a bijection whatever the hash is. The few results that are not less
 * than the count are passed through again ("cycle walking") until they are. `columns` is even, so
 * that odd permutations come as often as even ones.
 *
 * Source: J. Black and P. Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, for
 * digits of any range and for cycle walking; the constants of the hash are those of the Murmur3
 * finalizer and of the golden ratio; those of the keys, of SplitMix64.
 *
 * The order of every seed and epoch is part of the interface: a change of anything here needs a new
 * number of the order, see `state.py`.
 */
#ifndef NUMPACK_PERMUTATION_H
#define NUMPACK_PERMUTATION_H

#include <stdint.h>

enum {
    NUMPACK_ROUNDS = 12,            /* half of them change one digit, half the other */
    NUMPACK_SMALL_ROUNDS = 32,      /* of small counts, whose hashes differ in few bits */
    NUMPACK_SMALL_COUNT = 1 << 16,
    NUMPACK_LANES = 128,            /* indexes computed at a time, by vector instructions */
};

typedef struct {
    uint64_t count;
    uint32_t columns, lines;
    int rounds;
    uint32_t keys[NUMPACK_SMALL_ROUNDS];
} numpack_permutation;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__) && \
    !defined(__SANITIZE_ADDRESS__)
#define NUMPACK_VECTORIZED __attribute__((target_clones("avx2", "default")))
#else
#define NUMPACK_VECTORIZED
#endif

static inline uint64_t
numpack_split_mix(uint64_t *state)
{
    uint64_t bits = *state += 0x9E3779B97F4A7C15u;
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9u;
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EBu;
    return bits ^ bits >> 31;
}

/* Return the least even number whose square is at least `count`. */
static uint32_t
numpack_even_root(uint64_t count)
{
    uint64_t low = 1, high = (uint64_t)1 << 31; /* half of the root is in (low - 1, high] */
    while (low < high) {
        uint64_t half = (low + high) / 2;
        if (4 * half * half >= count) {
            high = half;
        }
        else {
            low = half + 1;
        }
    }
    return (uint32_t)(2 * low);
}

/* Requires a count from 1 to 2**62. */
static void
numpack_init_permutation(numpack_permutation *self, uint64_t count, uint64_t seed, uint64_t epoch)
{
    uint64_t state = seed;
    state = numpack_split_mix(&state) ^ epoch;
    state = numpack_split_mix(&state);
    self->count = count;
    self->columns = numpack_even_root(count);
    self->lines = (uint32_t)((count - 1) / self->columns + 1);
    self->rounds = count < NUMPACK_SMALL_COUNT ? NUMPACK_SMALL_ROUNDS : NUMPACK_ROUNDS;
    for (int i = 0; i < NUMPACK_SMALL_ROUNDS; i++) {
        self->keys[i] = (uint32_t)(numpack_split_mix(&state) >> 32);
    }
}

/* Return a hash of a digit, less than `range`. `narrow` promises that the range is at most 2**16:
 * then no product needs more than 32 bits, for which vector instructions are several times as
 * fast. That some values come a little more often does not show after several rounds. */
static inline uint32_t
numpack_shift(uint32_t digit, uint32_t key, uint32_t range, const int narrow)
{
    uint32_t bits = (digit ^ key) * 0x9E3779B1u;
    bits = (bits ^ bits >> 15) * 0x85EBCA6Bu;
    return narrow ? (bits >> 16) * range >> 16 : (uint32_t)((uint64_t)bits * range >> 32);
}

static inline uint32_t
numpack_add(uint32_t digit, uint32_t shift, uint32_t range)
{
    uint32_t sum = digit + shift, reduced = sum - range; /* huge if the sum is less */
    return sum < reduced ? sum : reduced;
}

static inline __attribute__((always_inline)) void
numpack_mix_round(const numpack_permutation *self, int round, uint32_t *column, uint32_t *line,
                  const int narrow)
{
    uint32_t shift = numpack_shift(*line, self->keys[round], self->columns, narrow);
    *column = numpack_add(*column, shift, self->columns);
    shift = numpack_shift(*column, self->keys[round + 1], self->lines, narrow);
    *line = numpack_add(*line, shift, self->lines);
}

static inline int
numpack_is_narrow(const numpack_permutation *self)
{
    return self->columns <= 1 << 16; /* of which there are at least as many as lines */
}

NUMPACK_VECTORIZED static void
numpack_mix_narrow(const numpack_permutation *self, uint32_t *restrict column,
                   uint32_t *restrict line)
{
    const numpack_permutation own = *self;
    for (int round = 0; round < own.rounds; round += 2) {
        for (int i = 0; i < NUMPACK_LANES; i++) {
            numpack_mix_round(&own, round, &column[i], &line[i], 1);
        }
    }
}

NUMPACK_VECTORIZED static void
numpack_mix_wide(const numpack_permutation *self, uint32_t *restrict column,
                 uint32_t *restrict line)
{
    const numpack_permutation own = *self;
    for (int round = 0; round < own.rounds; round += 2) {
        for (int i = 0; i < NUMPACK_LANES; i++) {
            numpack_mix_round(&own, round, &column[i], &line[i], 0);
        }
    }
}

/* Return what an index is mapped to. */
static uint64_t
numpack_permute(const numpack_permutation *self, uint64_t index)
{
    const int narrow = numpack_is_narrow(self);
    do {
        uint32_t column = (uint32_t)(index % self->columns);
        uint32_t line = (uint32_t)(index / self->columns);
        for (int round = 0; round < self->rounds; round += 2) {
            numpack_mix_round(self, round, &column, &line, narrow);
        }
        index = (uint64_t)line * self->columns + column;
    } while (index >= self->count);
    return index;
}

/* Map consecutive indexes. */
static void
numpack_permute_range(const numpack_permutation *self, uint64_t begin, int64_t total, int64_t *out)
{
    uint32_t column[NUMPACK_LANES], line[NUMPACK_LANES];
    const uint32_t columns = self->columns;
    for (int64_t at = 0; at < total; at += NUMPACK_LANES) {
        const uint64_t index = begin + (uint64_t)at;
        uint32_t next_column = (uint32_t)(index % columns), next_line = (uint32_t)(index / columns);
        for (int i = 0; i < NUMPACK_LANES; i++) {
            column[i] = next_column;
            line[i] = next_line;
            if (++next_column == columns) {
                next_column = 0;
                next_line++;
            }
        }
        if (numpack_is_narrow(self)) {
            numpack_mix_narrow(self, column, line);
        }
        else {
            numpack_mix_wide(self, column, line);
        }
        for (int64_t i = 0; i < NUMPACK_LANES && at + i < total; i++) {
            uint64_t found = (uint64_t)line[i] * columns + column[i];
            out[at + i] = (int64_t)(found < self->count ? found : numpack_permute(self, found));
        }
    }
}

#endif
