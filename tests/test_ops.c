/* The backends against ops.h: the table of ops_check.h, row invariance bit by bit (the promise that makes a
 * shared prefix, another batch and another number of threads give the same answer), pages, and the pool. What
 * reduces (scores, orders, clusters, cosines, ranks) is in test_reduce.c.
 *
 *     test_ops            all tests
 *     test_ops --perf [FILTER]   the table with times, on as many threads as there are CPUs */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cpu_kernels.h"
#include "ops_check.h"
#include "threads.h"

#include "ops_bench.h"

/* ---- the table ------------------------------------------------------------------------------ */

static const struct cpu_kernels *open_with; /* what open_kernels below chooses */

static enum status open_kernels(struct compute *out, int n_threads, struct error *err)
{
    TRY(ops_cpu.open(out, n_threads, err));
    cpu_kernels_use(out, open_with);
    return OK;
}

static void test_table_holds_for_every_thread_count(void **state)
{
    (void)state;
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++)
        assert_int_equal(ops_check(&ops_cpu, n_threads, false, NULL, stderr), 0);
}

static void test_table_holds_for_every_instruction_set(void **state)
{
    (void)state;
    int n;
    const struct cpu_kernels *const *all = cpu_kernels_all(&n);
    struct ops ops = ops_cpu;
    ops.open = open_kernels;
    for (int i = 0; i < n; i++) {
        open_with = all[i];
        assert_int_equal(ops_check(&ops, 1, false, NULL, stderr), 0);
    }
}

static void test_backends_are_found_by_name(void **state)
{
    (void)state;
    int n;
    const struct ops *const *all = ops_all(&n);
    assert_true(n >= 2);
    for (int i = 0; i < n; i++)
        assert_ptr_equal(ops_find(all[i]->name), all[i]);
    assert_null(ops_find("abacus"));
}

/* ---- row invariance ------------------------------------------------------------------------- */

static const int COUNTS[] = {1,  2,  3,  5,  6,  7,  23, 24,  25,  47,  48, 49,
                             50, 63, 64, 65, 95, 96, 97, 100, 144, 199, 200};
enum { N_COUNTS = sizeof COUNTS / sizeof COUNTS[0], N_ROWS = 200 };

/* Where a run of n rows out of N_ROWS may begin. */
static int places(int *first, int n)
{
    int n_places = 0, last = N_ROWS - n, all[] = {0, 1, 5, 47, 64, 100, last - 1, last};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i] >= 0 && all[i] <= last)
            first[n_places++] = all[i];
    return n_places;
}

static void linear_invariance(const struct ops *ops, int n_out, int n_in, enum dtype dtype)
{
    float *w = random_floats(1, (size_t)n_out * (size_t)n_in),
          *x = random_floats(2, (size_t)N_ROWS * (size_t)n_in);
    float *bias = random_floats(3, (size_t)n_out), *whole = NULL;
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
        struct bench b;
        bench_open(&b, ops, n_threads);
        pack(&b, w, n_out, n_in, dtype);
        float *rows = up(&b, x, (size_t)N_ROWS * (size_t)n_in * sizeof *x);
        float *offset = up(&b, bias, (size_t)n_out * sizeof *bias);
        float *y = space(&b, (size_t)N_ROWS * (size_t)n_out * sizeof *y);
        if (!whole) {
            ops->linear(&b.c, y, rows, &b.weight, offset, N_ROWS);
            whole = down(&b, y, (size_t)N_ROWS * (size_t)n_out * sizeof *y);
        }
        for (int i = 0; i < N_COUNTS; i++) {
            int first[8], n_places = places(first, COUNTS[i]);
            for (int p = 0; p < n_places; p++) {
                ops->linear(&b.c, y, rows + (size_t)first[p] * (size_t)n_in, &b.weight, offset, COUNTS[i]);
                float *part = down(&b, y, (size_t)COUNTS[i] * (size_t)n_out * sizeof *y);
                assert_same_rows("linear", part, whole, first[p], COUNTS[i], n_out);
                free(part);
            }
        }
        bench_close(&b);
    }
    free(w);
    free(x);
    free(bias);
    free(whole);
}

static const int SHAPES[][2] = {{128, 128}, {384, 128}, {128, 384}, {352, 128}, {640, 128}, {64, 588},
                                {64, 64},   {401, 77},  {1, 3},     {9, 1},     {33, 700},  {1000, 1100}};
enum { N_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

static void test_linear_rows_do_not_see_each_other(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        linear_invariance(&ops_cpu, SHAPES[i][0], SHAPES[i][1], DTYPE_F32);
}

/* ---- bf16 ----------------------------------------------------------------------------------- */

/* Skips where the CPU has no bf16, once the refusal has been looked at. */
static void need_bf16(void)
{
    struct error err = {0};
    struct weight weight;
    float one = 1;
    struct weights_tensor tensor = {
        .name = "w", .dtype = DTYPE_F32, .n_elements = 1, .data = (unsigned char *)&one};
    if (ops_cpu.dtype_check(DTYPE_BF16, &err) == OK)
        return;
    assert_int_equal(err.status, NO_MACHINE);
    assert_non_null(strstr(err.text, "AVX512_BF16"));
    assert_non_null(strstr(err.text, "--dtype f32"));
    assert_int_equal(ops_cpu.weight_pack(&weight, &tensor, 1, 1, DTYPE_BF16, &err), NO_MACHINE);
    print_message("%s\n", err.text);
    skip();
}

static void test_bf16_rows_do_not_see_each_other(void **state)
{
    (void)state;
    need_bf16();
    for (int i = 0; i < N_SHAPES; i++)
        linear_invariance(&ops_cpu, SHAPES[i][0], SHAPES[i][1], DTYPE_BF16);
}

/* On values that bf16 holds, products are exact and only the order of the sum is oneDNN's own. */
static void test_bf16_products_agree_with_ref(void **state)
{
    (void)state;
    enum { ROWS = 100 };
    need_bf16();
    for (int i = 0; i < N_SHAPES; i++) {
        size_t n_out = (size_t)SHAPES[i][0], n_in = (size_t)SHAPES[i][1];
        float *host[] = {random_floats(1, n_out * n_in), random_floats(2, ROWS * n_in),
                         random_floats(3, n_out)};
        float *many[2], *one[2];
        for (size_t j = 0; j < ROWS * n_in || j < n_out * n_in; j++) {
            float *at[] = {j < n_out * n_in ? host[0] + j : NULL, j < ROWS * n_in ? host[1] + j : NULL};
            for (int k = 0; k < 2; k++)
                if (at[k])
                    *at[k] = roundf(*at[k] * 128) / 128;
        }
        for (int side = 0; side < 2; side++) {
            struct bench b;
            bench_open(&b, side ? &ops_ref : &ops_cpu, 2);
            pack(&b, host[0], (int)n_out, (int)n_in, side ? DTYPE_F32 : DTYPE_BF16);
            float *x = up(&b, host[1], ROWS * n_in * sizeof *x), *bias = up(&b, host[2], n_out * sizeof *x);
            float *y = space(&b, ROWS * n_out * sizeof *y);
            b.ops->linear(&b.c, y, x, &b.weight, bias, ROWS);
            many[side] = down(&b, y, ROWS * n_out * sizeof *y);
            b.ops->linear_row(&b.c, y, x, &b.weight, bias);
            one[side] = down(&b, y, n_out * sizeof *y);
            bench_close(&b);
        }
        assert_close(many[0], many[1], ROWS * n_out, 4e-6);
        assert_close(one[0], one[1], n_out, 4e-6);
        for (int side = 0; side < 2; side++) {
            free(many[side]);
            free(one[side]);
        }
        for (int k = 0; k < 3; k++)
            free(host[k]);
    }
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* By definition: of the two bf16 that enclose x, the nearer; of two equally near, the even one. */
static uint16_t bf16_by_definition(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t towards_zero = (uint16_t)(bits >> 16);
    if (isnan(x))
        return towards_zero | 0x40;
    if (isinf(x))
        return towards_zero;
    double low = (double)float_of((uint32_t)towards_zero << 16);
    uint32_t next_bits = (uint32_t)(towards_zero + 1) << 16;
    /* beyond the largest finite one comes what would be the next power of two */
    double next = isinf(float_of(next_bits)) ? copysign(0x1p128, (double)x) : (double)float_of(next_bits);
    double to_low = fabs((double)x - low), to_next = fabs(next - (double)x);
    bool up = to_next < to_low || (to_next == to_low && towards_zero % 2 == 1);
    return (uint16_t)(towards_zero + up);
}

static void test_bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    static const struct {
        uint32_t bits;
        uint16_t expected;
    } ROWS[] = {
        {0x3F800000, 0x3F80},
        {0x3F808000, 0x3F80} /* tie, down to even */,
        {0x3F818000, 0x3F82} /* up */,
        {0x3F808001, 0x3F81},
        {0x3F807FFF, 0x3F80},
        {0xBF818000, 0xBF82},
        {0x00000000, 0},
        {0x80000000, 0x8000},
        {0x7F800000, 0x7F80} /* infinity */,
        {0xFF800000, 0xFF80},
        {0x7F7FFFFF, 0x7F80} /* too large */,
        {0x7F7F7FFF, 0x7F7F},
        {0x7F800001, 0x7FC0} /* signalling NaN */,
        {0x7FFFFFFF, 0x7FFF},
        {0xFFFFFFFF, 0xFFFF},
        {0xFF80FFFF, 0xFFC0},
        {0x00000001, 0} /* subnormal */,
        {0x00008000, 0},
        {0x00018000, 2},
        {0x00008001, 1},
        {0x007FFFFF, 0x0080},
        {0x80012345, 0x8001},
    };
    enum { N_KNOWN = sizeof ROWS / sizeof ROWS[0], N = 100003, WIDTH = N + 29 };
    float *x = memory_alloc(N, sizeof *x);
    uint16_t *y = memory_alloc(WIDTH, sizeof *y);
    assert_true(x && y);
    for (uint32_t i = 0; i < N; i++) /* known ones, ties of every exponent and both signs, then any bits */
        x[i] = float_of(i < N_KNOWN ? ROWS[i].bits
                        : i < 40000 ? i * 0xD3650000u + 0x8000u
                                    : (uint32_t)rng_u64(5, 0, 0, i));
    int n_kernels;
    const struct cpu_kernels *const *all = cpu_kernels_all(&n_kernels);
    for (int k = 0; k < n_kernels; k++) {
        memset(y, 0xAA, WIDTH * sizeof *y);
        all[k]->bf16_row(y, x, N, WIDTH);
        for (int i = 0; i < WIDTH; i++) {
            uint16_t expected = i < N ? bf16_by_definition(x[i]) : 0;
            if (i < N_KNOWN)
                assert_int_equal(expected, ROWS[i].expected);
            if (y[i] != expected)
                fail_msg("%s: %a at %d became %04x, expected %04x", all[k]->name, (double)x[i < N ? i : 0], i,
                         y[i], expected);
        }
        for (int n = 0; n <= 40; n++) { /* short rows: nothing behind them is touched */
            memset(y, 0xAA, 64 * sizeof *y);
            all[k]->bf16_row(y, x + 1, n, n + n % 3);
            for (int i = 0; i < 64; i++)
                assert_int_equal(y[i], i < n ? bf16_by_definition(x[1 + i]) : i < n + n % 3 ? 0 : 0xAAAA);
        }
    }
    free(x);
    free(y);
}

static void test_ref_refuses_bf16(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(ops_ref.dtype_check(DTYPE_F32, &err), OK);
    assert_int_equal(ops_cpu.dtype_check(DTYPE_F32, &err), OK);
    assert_int_equal(ops_ref.dtype_check(DTYPE_BF16, &err), NO_MACHINE);
    assert_non_null(strstr(err.text, "computes in f32"));
    assert_int_equal(ops_cpu.dtype_check(DTYPE_F16, &err), NO_MACHINE);
    assert_non_null(strstr(err.text, "f16"));
}

/* ---- row invariance of the rest ------------------------------------------------------------- */

/* A chunk of a prefill: positions first … first+n−1 in a cache that ends there must come out as in the whole
 * run, though the same pages hold other keys behind them. */
static void attention_invariance(const struct ops *ops, int n_heads, int n_kv_heads, int head_dim,
                                 bool causal, bool biased)
{
    size_t width = (size_t)(n_heads * head_dim), kv_width = (size_t)(n_kv_heads * head_dim);
    float *q = random_floats(4, N_ROWS * width), *k = random_floats(5, N_ROWS * kv_width);
    float *v = random_floats(6, N_ROWS * kv_width), *bias = random_floats(7, N_ROWS);
    float *whole = NULL, *whole_lse = NULL;
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
        struct bench b;
        struct kv_view kv;
        float *pages[MAX_PAGES];
        bench_open(&b, ops, n_threads);
        kv_make(&b, &kv, pages, N_ROWS, n_kv_heads, head_dim);
        float *k_rows = up(&b, k, N_ROWS * kv_width * sizeof *k),
              *v_rows = up(&b, v, N_ROWS * kv_width * sizeof *v);
        float *key_bias = biased ? up(&b, bias, N_ROWS * sizeof *bias) : NULL;
        ops->kv_write(&b.c, &kv, k_rows, v_rows, 0, N_ROWS);
        float *rows = up(&b, q, N_ROWS * width * sizeof *q), *y = space(&b, N_ROWS * width * sizeof *y);
        float *lse = space(&b, (size_t)(N_ROWS * n_heads) * sizeof *lse);
        if (!whole) {
            ops->attention(&b.c, y, lse, rows, &kv, key_bias, causal, N_ROWS, n_heads);
            whole = down(&b, y, N_ROWS * width * sizeof *y);
            whole_lse = down(&b, lse, (size_t)(N_ROWS * n_heads) * sizeof *lse);
        }
        for (int i = 0; i < N_COUNTS; i++) {
            int first[8], n = COUNTS[i], n_places = places(first, n);
            for (int p = 0; p < n_places; p++) {
                kv.length = causal ? first[p] + n : N_ROWS;
                ops->attention(&b.c, y, lse, rows + (size_t)first[p] * width, &kv, key_bias, causal, n,
                               n_heads);
                float *part = down(&b, y, (size_t)n * width * sizeof *y);
                float *part_lse = down(&b, lse, (size_t)(n * n_heads) * sizeof *lse);
                assert_same_rows("attention", part, whole, first[p], n, (int)width);
                for (int h = 0; h < n_heads; h++)
                    assert_same_rows("log-sum-exp", part_lse + h * n, whole_lse + h * N_ROWS, first[p], n, 1);
                free(part);
                free(part_lse);
            }
        }
        bench_close(&b);
    }
    free(q);
    free(k);
    free(v);
    free(bias);
    free(whole);
    free(whole_lse);
}

static void test_attention_rows_do_not_see_each_other(void **state)
{
    (void)state;
    attention_invariance(&ops_cpu, 4, 4, 32, true, false);
    attention_invariance(&ops_cpu, 4, 2, 16, true, false);
    attention_invariance(&ops_cpu, 2, 1, 80, true, false);
    attention_invariance(&ops_cpu, 2, 2, 13, true, false);
    attention_invariance(&ops_cpu, 4, 4, 16, false, false);
    attention_invariance(&ops_cpu, 4, 2, 13, true, true);
    attention_invariance(&ops_cpu, 4, 4, 16, false, true);
}

/* ops over rows of d, by number, with x as input */
static void row_op(struct bench *b, int op, float *y, const float *x, const float *weight, int n, int d)
{
    switch (op) {
    case 0:
        b->ops->rms_norm(&b->c, y, x, weight, 1e-6f, n, d);
        return;
    case 1:
        b->ops->layer_norm(&b->c, y, x, weight, weight, 1e-5f, n, d);
        return;
    case 2:
        b->ops->copy(&b->c, y, x, (size_t)(n * d) * sizeof *y);
        b->ops->silu_mul(&b->c, y, x, (size_t)(n * d));
        return;
    case 3:
        b->ops->copy(&b->c, y, x, (size_t)(n * d) * sizeof *y);
        b->ops->add(&b->c, y, x, (size_t)(n * d));
        return;
    default:
        b->ops->copy(&b->c, y, x, (size_t)(n * d) * sizeof *y);
        b->ops->activate(&b->c, y, (enum activation)(op - 4), (size_t)(n * d));
        return;
    }
}

static void test_other_rows_do_not_see_each_other(void **state)
{
    (void)state;
    static const int WIDTHS[] = {128, 77, 3, 500};
    for (size_t i = 0; i < sizeof WIDTHS / sizeof WIDTHS[0]; i++) {
        int d = WIDTHS[i];
        size_t n_bytes = (size_t)(N_ROWS * d) * sizeof(float);
        float *x = random_floats(8, (size_t)(N_ROWS * d)), *weight = random_floats(9, (size_t)d),
              *whole[8] = {0};
        for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
            struct bench b;
            bench_open(&b, &ops_cpu, n_threads);
            float *rows = up(&b, x, n_bytes), *w = up(&b, weight, (size_t)d * sizeof *weight),
                  *y = space(&b, n_bytes);
            for (int op = 0; op < 8; op++) {
                if (!whole[op]) {
                    row_op(&b, op, y, rows, w, N_ROWS, d);
                    whole[op] = down(&b, y, n_bytes);
                }
                for (int j = 0; j < N_COUNTS; j++) {
                    int first = (N_ROWS - COUNTS[j]) / 2;
                    row_op(&b, op, y, rows + first * d, w, COUNTS[j], d);
                    float *part = down(&b, y, (size_t)(COUNTS[j] * d) * sizeof *part);
                    assert_same_rows("row op", part, whole[op], first, COUNTS[j], d);
                    free(part);
                }
            }
            bench_close(&b);
        }
        for (int op = 0; op < 8; op++)
            free(whole[op]);
        free(x);
        free(weight);
    }
}

/* ---- decode --------------------------------------------------------------------------------- */

/* A decode row is near the prefill row, the same on any number of threads, and allocates nothing. */
static void test_decode_rows(void **state)
{
    (void)state;
    enum { OUT = 900, IN = 700, HEADS = 6, KV_HEADS = 2, DIM = 64, LENGTH = 131 };
    size_t width = HEADS * DIM, kv_width = KV_HEADS * DIM;
    float *w = random_floats(1, OUT * IN), *x = random_floats(2, IN),
          *kv_rows = random_floats(3, LENGTH * kv_width);
    float *q = random_floats(4, width), *linear = NULL, *attention = NULL;
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
        struct bench b;
        struct kv_view kv;
        float *pages[MAX_PAGES];
        bench_open(&b, &ops_cpu, n_threads);
        pack(&b, w, OUT, IN, DTYPE_F32);
        kv_make(&b, &kv, pages, LENGTH, KV_HEADS, DIM);
        float *row = up(&b, x, IN * sizeof *x), *heads = up(&b, q, width * sizeof *q);
        float *kept = up(&b, kv_rows, LENGTH * kv_width * sizeof *kept);
        float *y = space(&b, OUT * sizeof *y), *z = space(&b, width * sizeof *z);
        ops_cpu.kv_write(&b.c, &kv, kept, kept, 0, LENGTH);
        if (!linear) {
            ops_cpu.linear(&b.c, y, row, &b.weight, NULL, 1);
            ops_cpu.attention(&b.c, z, NULL, heads, &kv, NULL, true, 1, HEADS);
            float *prefill_linear = down(&b, y, OUT * sizeof *y), *prefill = down(&b, z, width * sizeof *z);
            ops_cpu.linear_row(&b.c, y, row, &b.weight, NULL);
            ops_cpu.attention_row(&b.c, z, heads, &kv, HEADS);
            linear = down(&b, y, OUT * sizeof *y);
            attention = down(&b, z, width * sizeof *z);
            assert_close(linear, prefill_linear, OUT, 2e-6);
            assert_close(attention, prefill, width, 2e-6);
            free(prefill_linear);
            free(prefill);
        }
        memory_guard(true);
        ops_cpu.kv_write(&b.c, &kv, kept + (LENGTH - 1) * kv_width, kept + (LENGTH - 1) * kv_width,
                         LENGTH - 1, 1);
        ops_cpu.linear_row(&b.c, y, row, &b.weight, NULL);
        ops_cpu.attention_row(&b.c, z, heads, &kv, HEADS);
        int32_t best = ops_cpu.argmax(&b.c, y, OUT);
        memory_guard(false);
        float *again = down(&b, y, OUT * sizeof *y), *again_attention = down(&b, z, width * sizeof *z);
        assert_memory_equal(again, linear, OUT * sizeof *again);
        assert_memory_equal(again_attention, attention, width * sizeof *again);
        assert_in_range(best, 0, OUT - 1);
        free(again);
        free(again_attention);
        bench_close(&b);
    }
    free(w);
    free(x);
    free(kv_rows);
    free(q);
    free(linear);
    free(attention);
}

/* ---- pages: every backend -------------------------------------------------------------------- */

/* Written at once or in pieces across the ends of pages: the same pages, and the layout of ops.h. */
static void test_kv_write_in_pieces(void **state)
{
    (void)state;
    enum { LENGTH = 150, HEADS = 3, DIM = 10, WIDTH = HEADS * DIM, PAGES = 3 };
    static const int PIECES[] = {1, 62, 2, 64, 20, 1};
    float *k = random_floats(1, LENGTH * WIDTH), *v = random_floats(2, LENGTH * WIDTH);
    size_t n_bytes = kv_page_floats(HEADS, DIM) * sizeof(float);
    int n_backends;
    const struct ops *const *all = ops_all(&n_backends);
    for (int o = 0; o < n_backends; o++) {
        struct bench b;
        struct kv_view kv;
        float *pages[MAX_PAGES], *zero = memory_zero(1, n_bytes);
        bench_open(&b, all[o], 2);
        kv_make(&b, &kv, pages, LENGTH, HEADS, DIM);
        float *k_rows = up(&b, k, LENGTH * WIDTH * sizeof *k),
              *v_rows = up(&b, v, LENGTH * WIDTH * sizeof *v);
        for (int i = 0; i < PAGES; i++)
            b.ops->upload(&b.c, pages[i], zero, n_bytes);
        for (int i = 0, first = 0; i < 6; first += PIECES[i++])
            b.ops->kv_write(&b.c, &kv, k_rows + first * WIDTH, v_rows + first * WIDTH, first, PIECES[i]);
        for (int i = 0; i < PAGES; i++) {
            float *page = down(&b, pages[i], n_bytes);
            for (int j = 0; j < KV_PAGE && i * KV_PAGE + j < LENGTH; j++)
                for (int h = 0; h < HEADS; h++)
                    for (int e = 0; e < DIM; e++) {
                        int at = (i * KV_PAGE + j) * WIDTH + h * DIM + e;
                        const float *head = page + kv_page_floats(h, DIM);
                        assert_true(head[e * KV_PAGE + j] == k[at]);
                        assert_true(head[KV_PAGE * DIM + j * DIM + e] == v[at]);
                    }
            free(page);
        }
        free(zero);
        bench_close(&b);
    }
    free(k);
    free(v);
}

/* ---- functions far out ---------------------------------------------------------------------- */

static void test_activations_far_out(void **state)
{
    (void)state;
    const float x[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 20,   -20,  60,    -60,   87,
                       -87,  89,    -89,    104,     -104, 1e4f, -1e4f, 1e30f, -1e30f};
    enum { N = sizeof x / sizeof x[0] };
    for (int kind = 0; kind < 4; kind++) {
        float *found[2];
        const struct ops *both[] = {&ops_ref, &ops_cpu};
        for (int o = 0; o < 2; o++) {
            struct bench b;
            bench_open(&b, both[o], 1);
            float *y = up(&b, x, sizeof x);
            b.ops->activate(&b.c, y, (enum activation)kind, N);
            found[o] = down(&b, y, sizeof x);
            bench_close(&b);
        }
        for (int i = 0; i < N; i++) {
            double expected = (double)found[0][i], error = fabs((double)found[1][i] - expected);
            if (!(error <= 1e-6 * fabs(expected) + 1e-30))
                fail_msg("kind %d of %g: %g, expected %g", kind, (double)x[i], (double)found[1][i], expected);
        }
        free(found[0]);
        free(found[1]);
    }
}

static void test_rope_table(void **state)
{
    (void)state;
    enum { N = 700, DIM = 32 };
    float *table = memory_alloc(N * DIM, sizeof *table), *scaled = memory_alloc(N * DIM, sizeof *scaled);
    rope_table(table, N, DIM, 10000.0, 1.0);
    rope_table(scaled, N, DIM, 10000.0, 4.0);
    for (int p = 0; p < N; p++)
        for (int j = 0; j < DIM / 2; j++) {
            double angle = p * pow(10000.0, -2.0 * j / DIM);
            /* the angle is rounded to f32, as its model was trained */
            assert_true(fabs((double)table[p * DIM + j] - cos(angle)) < 2e-7 * p + 1e-6);
            assert_true(fabs((double)table[p * DIM + DIM / 2 + j] - sin(angle)) < 2e-7 * p + 1e-6);
            assert_true(p % 4 != 0 || scaled[p * DIM + j] == table[p / 4 * DIM + j]);
        }
    free(table);
    free(scaled);
}

/* ---- the pool ------------------------------------------------------------------------------- */

struct tally {
    atomic_int runs[100];
    atomic_int of_thread[8];
};

static void tally_run(void *context, int task, int thread)
{
    struct tally *tally = context;
    atomic_fetch_add(&tally->runs[task], 1);
    atomic_fetch_add(&tally->of_thread[thread], 1);
}

static atomic_int n_starts;

static void count_start(void)
{
    atomic_fetch_add(&n_starts, 1);
}

static void test_pool_runs_each_task_once(void **state)
{
    (void)state;
    for (int n = 1; n <= 5; n++) {
        struct threads *threads;
        struct error err;
        atomic_store(&n_starts, 0);
        assert_int_equal(threads_open(&threads, n, count_start, &err), OK);
        assert_int_equal(threads_count(threads), n);
        for (int round = 0; round < 200; round++) {
            struct tally tally = {0};
            int n_tasks = round % 101, total = 0;
            threads_run(threads, n_tasks, tally_run, &tally);
            for (int i = 0; i < 100; i++)
                assert_int_equal(atomic_load(&tally.runs[i]), i < n_tasks);
            for (int i = 0; i < n; i++)
                total += atomic_load(&tally.of_thread[i]);
            assert_int_equal(total, n_tasks);
            if (round % 50 == 0)
                usleep(2000); /* long enough for the others to go to sleep */
        }
        threads_close(threads);
        assert_int_equal(atomic_load(&n_starts), n);
    }
}

int main(int n_arguments, char **arguments)
{
    if (n_arguments > 1 && strcmp(arguments[1], "--perf") == 0)
        return ops_check(&ops_cpu, (int)sysconf(_SC_NPROCESSORS_ONLN), true,
                         n_arguments > 2 ? arguments[2] : NULL, stdout) != 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backends_are_found_by_name),
        cmocka_unit_test(test_pool_runs_each_task_once),
        cmocka_unit_test(test_table_holds_for_every_thread_count),
        cmocka_unit_test(test_table_holds_for_every_instruction_set),
        cmocka_unit_test(test_linear_rows_do_not_see_each_other),
        cmocka_unit_test(test_bf16_rounds_to_nearest_even),
        cmocka_unit_test(test_bf16_rows_do_not_see_each_other),
        cmocka_unit_test(test_bf16_products_agree_with_ref),
        cmocka_unit_test(test_ref_refuses_bf16),
        cmocka_unit_test(test_attention_rows_do_not_see_each_other),
        cmocka_unit_test(test_other_rows_do_not_see_each_other),
        cmocka_unit_test(test_decode_rows),
        cmocka_unit_test(test_kv_write_in_pieces),
        cmocka_unit_test(test_activations_far_out),
        cmocka_unit_test(test_rope_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
