/* CRC-32 as in zlib, gzip and PNG (ISO 3309), by carry-less multiplication where the processor
 * supports it, as detected when the module is loaded, and by slicing-by-8 tables elsewhere.
 *
 * A CRC is a polynomial over GF(2) modulo P. It is reflected: bit 31 holds the coefficient of
 * x^0, and the least significant bit of a byte comes first. Functions work on the bare
 * remainder, which is linear in the data; zlib's CRC inverts it before and after.
 *
 * Folding follows Gopal, Ozturk et al., "Fast CRC Computation for Generic Polynomials Using
 * PCLMULQDQ Instruction", Intel, 2009.
 */
#ifndef NUMPACK_CRC32_H
#define NUMPACK_CRC32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define NUMPACK_FOLDING
#include <immintrin.h>
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

#define NUMPACK_CRC32_P 0xEDB88320u /* without x^32 */
#define NUMPACK_POWERS 1024

/* The tables are filled when the module is loaded and are read-only afterwards. */
static uint32_t numpack_slices[8][256];      /* [k][b]: byte b, followed by k zero bytes */
static uint32_t numpack_near[NUMPACK_POWERS]; /* [n]: x^(8 n) */
static uint32_t numpack_far[NUMPACK_POWERS];  /* [n]: x^(8 NUMPACK_POWERS n) */

static uint32_t
numpack_multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (int i = 0; i < 32; i++) {
        product ^= b & (0u - (a >> 31));
        a <<= 1;
        b = (b >> 1) ^ (NUMPACK_CRC32_P & (0u - (b & 1)));
    }
    return product;
}

static uint32_t
numpack_power(uint32_t n) /* x^n */
{
    uint32_t power = 1u << 31, square = 1u << 30;
    for (; n; n >>= 1) {
        if (n & 1) {
            power = numpack_multiply(power, square);
        }
        square = numpack_multiply(square, square);
    }
    return power;
}

/* Return the remainder after `count` more zero bytes; count is below NUMPACK_POWERS squared. */
static uint32_t
numpack_advance(uint32_t crc, size_t count)
{
    if (crc == 0) {
        return 0;
    }
    crc = numpack_multiply(numpack_near[count % NUMPACK_POWERS], crc);
    return numpack_multiply(numpack_far[count / NUMPACK_POWERS], crc);
}

static uint32_t
numpack_load(const unsigned char *data) /* little-endian, unaligned */
{
    return data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

static void
numpack_store(unsigned char *data, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        data[i] = (unsigned char)(value >> 8 * i);
    }
}

static uint32_t
numpack_crc32_portable(uint32_t crc, const unsigned char *data, size_t size)
{
    for (; size >= 8; size -= 8, data += 8) {
        uint32_t low = crc ^ numpack_load(data), high = numpack_load(data + 4);
        crc = numpack_slices[7][low & 255] ^ numpack_slices[6][low >> 8 & 255]
            ^ numpack_slices[5][low >> 16 & 255] ^ numpack_slices[4][low >> 24]
            ^ numpack_slices[3][high & 255] ^ numpack_slices[2][high >> 8 & 255]
            ^ numpack_slices[1][high >> 16 & 255] ^ numpack_slices[0][high >> 24];
    }
    for (; size; size--, data++) {
        crc = crc >> 8 ^ numpack_slices[0][(crc ^ *data) & 255];
    }
    return crc;
}

/* Copy bytes and compute the CRC of the copy: another thread may change the original. */
static inline uint32_t
numpack_copy_crc32_portable(
    uint32_t crc, unsigned char *copy, const unsigned char *data, size_t size)
{
    memcpy(copy, data, size);
    return numpack_crc32_portable(crc, copy, size);
}

#ifdef NUMPACK_FOLDING

#define NUMPACK_INLINE static inline __attribute__((always_inline))

/* Advancing 16 bytes by a distance in bits multiplies their halves by powers of x. The product
 * of two reflected polynomials has an extra factor of x, so the exponents are less by one. */
typedef struct {
    uint64_t first, second;
} numpack_fold;

static numpack_fold numpack_by_16, numpack_by_64, numpack_by_256; /* bytes */

static numpack_fold
numpack_fold_by(uint32_t bytes)
{
    numpack_fold fold = {(uint64_t)numpack_power(8 * bytes + 63) << 32,
                         (uint64_t)numpack_power(8 * bytes - 1) << 32};
    return fold;
}

#define NUMPACK_WITH_128 __attribute__((target("pclmul,sse4.1")))
#define NUMPACK_WITH_512 __attribute__((target("pclmul,sse4.1,avx512f,vpclmulqdq")))

NUMPACK_WITH_128 static inline __m128i
numpack_fold_128(__m128i sum, __m128i fold, __m128i next)
{
    __m128i first = _mm_clmulepi64_si128(sum, fold, 0x00);
    __m128i second = _mm_clmulepi64_si128(sum, fold, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

/* Compute the CRC of the rest, once all preceding bytes are folded into 16. */
NUMPACK_WITH_128 static inline uint32_t
numpack_finish_128(__m128i sum, const unsigned char *data, size_t size)
{
    unsigned char last[16];
    __m128i fold = _mm_loadu_si128((const __m128i *)&numpack_by_16);
    for (; size >= 16; size -= 16, data += 16) {
        sum = numpack_fold_128(sum, fold, _mm_loadu_si128((const __m128i *)data));
    }
    _mm_storeu_si128((__m128i *)last, sum);
    return numpack_crc32_portable(numpack_crc32_portable(0, last, 16), data, size);
}

/* Load 16 bytes, and store the same ones to `copy` unless it is NULL. Another thread may change
 * the data meanwhile, so the barrier prevents the compiler from loading it twice. */
NUMPACK_WITH_128 static inline __m128i
numpack_load_128(const unsigned char *data, unsigned char *copy, size_t at)
{
    __m128i loaded = _mm_loadu_si128((const __m128i *)(data + at));
    if (copy != NULL) {
        __asm__ volatile("" : "+x"(loaded));
        _mm_storeu_si128((__m128i *)(copy + at), loaded);
    }
    return loaded;
}

/* Compute the CRC of the rest, from the copy if there is one. */
NUMPACK_WITH_128 static inline uint32_t
numpack_finish_copy_128(
    __m128i sum, const unsigned char *data, unsigned char *copy, size_t at, size_t size)
{
    if (copy != NULL) {
        memcpy(copy + at, data + at, size - at);
        data = copy;
    }
    return numpack_finish_128(sum, data + at, size - at);
}

NUMPACK_WITH_128 NUMPACK_INLINE uint32_t
numpack_crc32_fold_128(
    uint32_t crc, const unsigned char *data, unsigned char *copy, size_t size)
{
    __m128i fold = _mm_loadu_si128((const __m128i *)&numpack_by_64);
    __m128i a = numpack_load_128(data, copy, 0), b = numpack_load_128(data, copy, 16);
    __m128i c = numpack_load_128(data, copy, 32), d = numpack_load_128(data, copy, 48);
    size_t at = 64;
    a = _mm_xor_si128(a, _mm_cvtsi32_si128((int)crc));
    for (; size - at >= 64; at += 64) {
        a = numpack_fold_128(a, fold, numpack_load_128(data, copy, at));
        b = numpack_fold_128(b, fold, numpack_load_128(data, copy, at + 16));
        c = numpack_fold_128(c, fold, numpack_load_128(data, copy, at + 32));
        d = numpack_fold_128(d, fold, numpack_load_128(data, copy, at + 48));
    }
    fold = _mm_loadu_si128((const __m128i *)&numpack_by_16);
    b = numpack_fold_128(a, fold, b);
    c = numpack_fold_128(b, fold, c);
    d = numpack_fold_128(c, fold, d);
    return numpack_finish_copy_128(d, data, copy, at, size);
}

NUMPACK_WITH_128 static uint32_t
numpack_crc32_128(uint32_t crc, const unsigned char *data, size_t size)
{
    if (size < 64) {
        return numpack_crc32_portable(crc, data, size);
    }
    return numpack_crc32_fold_128(crc, data, NULL, size);
}

NUMPACK_WITH_128 static uint32_t
numpack_copy_crc32_128(
    uint32_t crc, unsigned char *copy, const unsigned char *data, size_t size)
{
    if (size < 64) {
        return numpack_copy_crc32_portable(crc, copy, data, size);
    }
    return numpack_crc32_fold_128(crc, data, copy, size);
}

NUMPACK_WITH_512 static inline __m512i
numpack_fold_512(__m512i sum, __m512i fold, __m512i next)
{
    __m512i first = _mm512_clmulepi64_epi128(sum, fold, 0x00);
    __m512i second = _mm512_clmulepi64_epi128(sum, fold, 0x11);
    return _mm512_ternarylogic_epi64(first, second, next, 0x96); /* exclusive or of all three */
}

NUMPACK_WITH_512 static inline __m512i
numpack_each_lane(numpack_fold fold)
{
    return _mm512_broadcast_i32x4(_mm_set_epi64x((long long)fold.second, (long long)fold.first));
}

NUMPACK_WITH_512 static inline __m512i
numpack_load_512(const unsigned char *data, unsigned char *copy, size_t at)
{
    __m512i loaded = _mm512_loadu_si512(data + at);
    if (copy != NULL) {
        __asm__ volatile("" : "+v"(loaded));
        _mm512_storeu_si512(copy + at, loaded);
    }
    return loaded;
}

NUMPACK_WITH_512 NUMPACK_INLINE uint32_t
numpack_crc32_fold_512(
    uint32_t crc, const unsigned char *data, unsigned char *copy, size_t size)
{
    __m512i fold = numpack_each_lane(numpack_by_256);
    __m512i a = numpack_load_512(data, copy, 0), b = numpack_load_512(data, copy, 64);
    __m512i c = numpack_load_512(data, copy, 128), d = numpack_load_512(data, copy, 192);
    size_t at = 256;
    a = _mm512_xor_si512(a, _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    for (; size - at >= 256; at += 256) {
        a = numpack_fold_512(a, fold, numpack_load_512(data, copy, at));
        b = numpack_fold_512(b, fold, numpack_load_512(data, copy, at + 64));
        c = numpack_fold_512(c, fold, numpack_load_512(data, copy, at + 128));
        d = numpack_fold_512(d, fold, numpack_load_512(data, copy, at + 192));
    }
    fold = numpack_each_lane(numpack_by_64);
    b = numpack_fold_512(a, fold, b);
    c = numpack_fold_512(b, fold, c);
    d = numpack_fold_512(c, fold, d);
    unsigned char lanes[64];
    _mm512_storeu_si512(lanes, d);
    __m128i sum = _mm_loadu_si128((const __m128i *)lanes);
    fold = numpack_each_lane(numpack_by_16);
    for (int i = 16; i < 64; i += 16) {
        __m128i lane = _mm_loadu_si128((const __m128i *)(lanes + i));
        sum = numpack_fold_128(sum, _mm512_castsi512_si128(fold), lane);
    }
    return numpack_finish_copy_128(sum, data, copy, at, size);
}

NUMPACK_WITH_512 static uint32_t
numpack_crc32_512(uint32_t crc, const unsigned char *data, size_t size)
{
    if (size < 256) {
        return numpack_crc32_128(crc, data, size);
    }
    return numpack_crc32_fold_512(crc, data, NULL, size);
}

NUMPACK_WITH_512 static uint32_t
numpack_copy_crc32_512(
    uint32_t crc, unsigned char *copy, const unsigned char *data, size_t size)
{
    if (size < 256) {
        return numpack_copy_crc32_128(crc, copy, data, size);
    }
    return numpack_crc32_fold_512(crc, data, copy, size);
}

static uint32_t (*numpack_crc32)(uint32_t, const unsigned char *, size_t)
    = numpack_crc32_portable;
static uint32_t (*numpack_copy_crc32)(uint32_t, unsigned char *, const unsigned char *, size_t)
    = numpack_copy_crc32_portable;

static void
numpack_select_crc32(void)
{
    numpack_by_16 = numpack_fold_by(16);
    numpack_by_64 = numpack_fold_by(64);
    numpack_by_256 = numpack_fold_by(256);
    if (!__builtin_cpu_supports("pclmul") || !__builtin_cpu_supports("sse4.1")) {
        return;
    }
    numpack_crc32 = numpack_crc32_128;
    numpack_copy_crc32 = numpack_copy_crc32_128;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq")) {
        numpack_crc32 = numpack_crc32_512;
        numpack_copy_crc32 = numpack_copy_crc32_512;
    }
}

#elif defined(__ARM_FEATURE_CRC32)

static uint32_t
numpack_crc32(uint32_t crc, const unsigned char *data, size_t size)
{
    for (; size >= 8; size -= 8, data += 8) {
        uint64_t low = numpack_load(data), high = numpack_load(data + 4);
        crc = __crc32d(crc, high << 32 | low);
    }
    for (; size; size--, data++) {
        crc = __crc32b(crc, *data);
    }
    return crc;
}

static inline uint32_t
numpack_copy_crc32(uint32_t crc, unsigned char *copy, const unsigned char *data, size_t size)
{
    memcpy(copy, data, size);
    return numpack_crc32(crc, copy, size);
}

static void numpack_select_crc32(void) {}

#else

#define numpack_crc32 numpack_crc32_portable
#define numpack_copy_crc32 numpack_copy_crc32_portable

static void numpack_select_crc32(void) {}

#endif

static void
numpack_init_crc32(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        numpack_slices[0][i] = numpack_multiply(i, 1u << 23); /* by x^8 */
    }
    for (int k = 1; k < 8; k++) {
        for (int i = 0; i < 256; i++) {
            uint32_t crc = numpack_slices[k - 1][i];
            numpack_slices[k][i] = crc >> 8 ^ numpack_slices[0][crc & 255];
        }
    }
    uint32_t step = numpack_power(8 * NUMPACK_POWERS);
    numpack_near[0] = numpack_far[0] = 1u << 31;
    for (int i = 1; i < NUMPACK_POWERS; i++) {
        numpack_near[i] = numpack_multiply(numpack_near[i - 1], 1u << 23);
        numpack_far[i] = numpack_multiply(numpack_far[i - 1], step);
    }
    numpack_select_crc32();
}

#endif
