/* A growing run of bytes. Failure sticks (`failed`), so that a chain of additions is checked once, at its
 * end. */
#ifndef WINNOW_BUFFER_H
#define WINNOW_BUFFER_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

/* Text may grow on its way through normalizers and decoders (a blank becomes three bytes), but a file must
 * not be able to make it explode. */
#define BUFFER_LIMIT ((size_t)4 * LIMIT_TEXT_BYTES)

struct buffer {
    char *bytes; /* owned; buffer_free. Not terminated */
    size_t n, capacity;
    bool failed; /* memory ran out or BUFFER_LIMIT was reached; bytes are incomplete */
};

static inline void buffer_add(struct buffer *buffer, const char *bytes, size_t n)
{
    if (buffer->failed || n == 0)
        return;
    if (n > BUFFER_LIMIT - buffer->n) {
        buffer->failed = true;
        return;
    }
    if (buffer->n + n > buffer->capacity) {
        size_t capacity = buffer->capacity > 0 ? buffer->capacity : 64;
        while (capacity < buffer->n + n)
            capacity *= 2;
        char *grown = realloc(buffer->bytes, capacity);
        if (grown == NULL) {
            buffer->failed = true;
            return;
        }
        buffer->bytes = grown;
        buffer->capacity = capacity;
    }
    memcpy(buffer->bytes + buffer->n, bytes, n);
    buffer->n += n;
}

/* Empties it and keeps the memory. */
static inline void buffer_clear(struct buffer *buffer)
{
    buffer->n = 0;
    buffer->failed = false;
}

static inline void buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}

#endif
