/* An arena of strings in chunks, see text_pool.h. */
#include "datasets/text_pool.h"

#include <stdarg.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { CHUNK_BYTES = 1 << 16 };

struct chunk {
    struct chunk *next;
    size_t n, capacity;
    alignas(max_align_t) char bytes[];
};

struct text_pool {
    struct chunk *chunks; /* the one that is being filled first */
    bool failed;
};

enum status text_pool_new(struct text_pool **out, struct error *err)
{
    *out = memory_zero(1, sizeof **out);
    return *out ? OK : memory_failed(err, "texts of a dataset", sizeof **out);
}

void text_pool_free(struct text_pool *pool)
{
    if (!pool)
        return;
    for (struct chunk *chunk = pool->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(pool);
}

enum status text_pool_check(const struct text_pool *pool, struct error *err)
{
    return pool->failed ? fail(err, NO_MACHINE, "no memory for the texts of a dataset") : OK;
}

static void *take(struct text_pool *pool, size_t n, size_t alignment)
{
    struct chunk *chunk = pool->chunks;
    size_t at = chunk ? (chunk->n + alignment - 1) / alignment * alignment : 0;
    if (!chunk || at > chunk->capacity || n > chunk->capacity - at) {
        size_t capacity = n > CHUNK_BYTES ? n : CHUNK_BYTES;
        if (pool->failed || capacity > SIZE_MAX / 4 || !(chunk = memory_alloc(1, sizeof *chunk + capacity))) {
            pool->failed = true;
            return NULL;
        }
        *chunk = (struct chunk){.next = pool->chunks, .capacity = capacity};
        pool->chunks = chunk;
        at = 0;
    }
    chunk->n = at + n;
    return chunk->bytes + at;
}

const char *text_pool_add_bytes(struct text_pool *pool, const char *bytes, size_t n)
{
    char *copy = n < SIZE_MAX ? take(pool, n + 1, 1) : NULL;
    if (!copy)
        return "";
    memcpy(copy, bytes, n);
    copy[n] = '\0';
    return copy;
}

const char *text_pool_add(struct text_pool *pool, const char *text)
{
    return text_pool_add_bytes(pool, text, strlen(text));
}

const char *text_pool_format(struct text_pool *pool, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = n < 0 ? NULL : take(pool, (size_t)n + 1, 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return text ? text : "";
}

void *text_pool_zero(struct text_pool *pool, size_t n, size_t size)
{
    void *bytes = size != 0 && n > SIZE_MAX / 4 / size ? NULL : take(pool, n * size, alignof(max_align_t));
    if (!bytes)
        pool->failed = true;
    else
        memset(bytes, 0, n * size);
    return bytes;
}
