/* Reading of JSON as the log has it, without spaces. Each function reads what is next in a text
 * and returns 1; if it is something else, or is written in another way than the log's writer
 * would have, it returns 0. */
#ifndef NUMPACK_JSON_TEXT_H
#define NUMPACK_JSON_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum { NUMPACK_DIGITS = 18 }; /* of a number; fewer than a 64-bit integer may have */

typedef struct {
    const char *at; /* what is not read yet */
    const char *end;
} numpack_text;

static inline int
numpack_skip(numpack_text *self, const char *word)
{
    const char *at = self->at;
    for (; *word; word++, at++) {
        if (at == self->end || *at != *word) {
            return 0;
        }
    }
    self->at = at;
    return 1;
}

/* Read a number without sign, fraction, exponent and leading zeros. */
static inline int
numpack_number(numpack_text *self, int64_t *value)
{
    const char *first = self->at;
    *value = 0;
    for (; self->at < self->end && *self->at >= '0' && *self->at <= '9'; self->at++) {
        if (self->at - first == NUMPACK_DIGITS) {
            return 0;
        }
        *value = 10 * *value + (*self->at - '0');
    }
    return self->at > first && (*first != '0' || self->at == first + 1);
}

/* Read a string without escapes; its characters may be of any encoding. */
static inline int
numpack_string(numpack_text *self, const char **first, size_t *length)
{
    if (!numpack_skip(self, "\"")) {
        return 0;
    }
    *first = self->at;
    for (const char *at = self->at; at < self->end; at++) {
        if (*at == '"') {
            *length = (size_t)(at - self->at);
            self->at = at + 1;
            return 1;
        }
        if ((unsigned char)*at < 0x20 || *at == '\\') {
            return 0;
        }
    }
    return 0;
}

static inline int
numpack_is_hexadecimal(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'))) {
            return 0;
        }
    }
    return 1;
}

#endif
