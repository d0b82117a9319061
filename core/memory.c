/* Checked allocation and the allocation guard, see memory.h. */
#include "memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static _Thread_local bool guard_held;

void memory_guard(bool hold)
{
    guard_held = hold;
}

bool memory_guarded(void)
{
    return guard_held;
}

static void guard_check(void)
{
#ifndef NDEBUG
    ENSURE(!guard_held && "no allocation between the first and the last token of an answer");
#endif
}

void *memory_alloc(size_t n, size_t size)
{
    guard_check();
    if (size != 0 && n > SIZE_MAX / 2 / size)
        return NULL;
    return malloc(n * size > 0 ? n * size : 1);
}

void *memory_zero(size_t n, size_t size)
{
    guard_check();
    return calloc(n ? n : 1, size ? size : 1);
}

void *memory_grow(void *old, size_t n, size_t size)
{
    guard_check();
    if (size != 0 && n > SIZE_MAX / 2 / size)
        return NULL;
    return realloc(old, n * size > 0 ? n * size : 1);
}

char *memory_text(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = memory_alloc(n, 1);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}

enum status memory_failed(struct error *err, const char *what, size_t n_bytes)
{
    return fail(err, NO_MACHINE,
                "%s: %zu bytes of memory cannot be had; close other programs or use a smaller model", what,
                n_bytes);
}

double clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}
