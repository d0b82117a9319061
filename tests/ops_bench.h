/* A session of some backend with the memory that a test uses of it. */
#ifndef WINNOW_TESTS_OPS_BENCH_H
#define WINNOW_TESTS_OPS_BENCH_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "memory.h"
#include "ops.h"
#include "rng.h"

#include <cmocka.h> /* last: its fail() takes the name of ours */

enum { MAX_HELD = 64, MAX_THREADS = 3, MAX_PAGES = 16 };

struct bench {
    struct compute c;
    const struct ops *ops;
    int n_held;
    void *held[MAX_HELD];
    struct weight weight;
};

static inline void bench_open(struct bench *b, const struct ops *ops, int n_threads)
{
    struct error err;
    *b = (struct bench){.ops = ops};
    assert_int_equal(ops->open(&b->c, n_threads, &err), OK);
}

static inline void bench_close(struct bench *b)
{
    for (int i = 0; i < b->n_held; i++)
        b->ops->release(b->held[i]);
    if (b->weight.packed)
        b->ops->weight_free(&b->weight);
    b->ops->close(&b->c);
}

static inline void *space(struct bench *b, size_t n_bytes)
{
    assert_true(b->n_held < MAX_HELD);
    void *memory = b->ops->alloc(n_bytes);
    assert_non_null(memory);
    b->held[b->n_held++] = memory;
    return memory;
}

static inline void *up(struct bench *b, const void *host, size_t n_bytes)
{
    void *memory = space(b, n_bytes);
    b->ops->upload(&b->c, memory, host, n_bytes);
    return memory;
}

/* The caller frees it. */
static inline void *down(struct bench *b, const void *from, size_t n_bytes)
{
    void *host = memory_alloc(n_bytes, 1);
    assert_non_null(host);
    b->ops->download(&b->c, host, from, n_bytes);
    return host;
}

static inline float *random_floats(uint64_t stream, size_t n)
{
    float *x = memory_alloc(n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = 2 * rng_float(11, 0, stream, i) - 1;
    return x;
}

static inline void pack(struct bench *b, const float *w, int n_out, int n_in, enum dtype dtype)
{
    struct error err = {0};
    struct weights_tensor tensor = {.name = "w",
                                    .dtype = DTYPE_F32,
                                    .rank = 2,
                                    .shape = {n_out, n_in},
                                    .n_elements = (int64_t)n_out * n_in,
                                    .data = (const unsigned char *)w,
                                    .n_bytes = (size_t)n_out * (size_t)n_in * sizeof *w};
    if (b->ops->weight_pack(&b->weight, &tensor, n_out, n_in, dtype, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(b->weight.n_out, n_out);
    assert_int_equal(b->weight.n_in, n_in);
    assert_true(b->weight.n_bytes >= (size_t)n_out * (size_t)n_in * dtype_size(dtype));
}

static inline void kv_make(struct bench *b, struct kv_view *kv, float **pages, int length, int n_kv_heads,
                           int head_dim)
{
    int n_pages = (length + KV_PAGE - 1) / KV_PAGE;
    assert_true(n_pages <= MAX_PAGES);
    for (int i = 0; i < n_pages; i++)
        pages[i] = space(b, kv_page_floats(n_kv_heads, head_dim) * sizeof(float));
    *kv = (struct kv_view){.pages = pages, .length = length, .n_kv_heads = n_kv_heads, .head_dim = head_dim};
}

/* Rows first … first+n−1 of `whole` [·, width] are the n rows of `part`, bit by bit. */
static inline void assert_same_rows(const char *what, const float *part, const float *whole, int first, int n,
                                    int width)
{
    for (int i = 0; i < n; i++)
        if (memcmp(part + (size_t)i * (size_t)width, whole + (size_t)(first + i) * (size_t)width,
                   (size_t)width * sizeof *part) != 0)
            fail_msg("%s: row %d of a run of %d rows from row %d has other bits than in the whole run", what,
                     i, n, first);
}

static inline void assert_close(const float *found, const float *expected, size_t n, double tolerance)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)expected[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)found[i] - (double)expected[i]) <= tolerance * most))
            fail_msg("element %zu: %.9g, expected %.9g within %g", i, (double)found[i], (double)expected[i],
                     tolerance * most);
}

#endif
