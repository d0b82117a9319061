/* The operations that reducers are made of, against ops.h on every backend: biases of keys, scores, orders,
 * merges, clusters, cosines, ranks. Ties, equal rows, values far out, and that neither threads nor what
 * stands beside a row shows in its bits. The table of ops_check.h (test_ops.c) compares backends on common
 * shapes. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu_kernels.h"

#include "ops_bench.h"

/* A session on one of the instruction sets of the CPU backend, or, beyond the last, on the reference. Returns
 * false beyond that. */
static bool open_side(struct bench *b, int side, int n_threads)
{
    int n;
    const struct cpu_kernels *const *all = cpu_kernels_all(&n);
    if (side > n)
        return false;
    bench_open(b, side < n ? &ops_cpu : &ops_ref, n_threads);
    if (side < n)
        cpu_kernels_use(&b->c, all[side]);
    return true;
}

/* ---- biases of keys ------------------------------------------------------------------------- */

/* A bias of log 3 stands for three equal keys; a bias of zero for none at all, bit by bit. */
static void test_key_bias_counts_a_key_several_times(void **state)
{
    (void)state;
    enum { N = 70, TIMES = 3, HEADS = 4, KV_HEADS = 2, DIM = 13, N_Q = 9 };
    size_t width = HEADS * DIM, kv_width = KV_HEADS * DIM;
    float *k = random_floats(1, N * kv_width), *v = random_floats(2, N * kv_width);
    float *q = random_floats(3, N_Q * width), bias[N], zeros[N] = {0};
    float *k_all = memory_alloc(TIMES * N * kv_width, sizeof *k);
    float *v_all = memory_alloc(TIMES * N * kv_width, sizeof *v);
    size_t n_all = 0; /* keys with every third one three times */
    for (int i = 0; i < N; i++) {
        bias[i] = i % 3 == 1 ? logf(TIMES) : 0;
        for (int t = 0; t < (i % 3 == 1 ? TIMES : 1); t++, n_all++) {
            memcpy(k_all + n_all * kv_width, k + (size_t)i * kv_width, kv_width * sizeof *k);
            memcpy(v_all + n_all * kv_width, v + (size_t)i * kv_width, kv_width * sizeof *v);
        }
    }
    struct bench b;
    for (int side = 0; open_side(&b, side, 2); side++) {
        struct kv_view kv, kv_all;
        float *pages[MAX_PAGES], *pages_all[MAX_PAGES], *y[4], *lse[4];
        size_t y_bytes = N_Q * width * sizeof(float), lse_bytes = N_Q * HEADS * sizeof(float);
        kv_make(&b, &kv, pages, N, KV_HEADS, DIM);
        kv_make(&b, &kv_all, pages_all, (int)n_all, KV_HEADS, DIM);
        b.ops->kv_write(&b.c, &kv, up(&b, k, N * kv_width * sizeof *k), up(&b, v, N * kv_width * sizeof *v),
                        0, N);
        b.ops->kv_write(&b.c, &kv_all, up(&b, k_all, n_all * kv_width * sizeof *k),
                        up(&b, v_all, n_all * kv_width * sizeof *v), 0, (int)n_all);
        float *rows = up(&b, q, y_bytes), *to = space(&b, y_bytes), *to_lse = space(&b, lse_bytes);
        const float *biases[] = {NULL, up(&b, zeros, sizeof zeros), up(&b, bias, sizeof bias), NULL};
        for (int i = 0; i < 4; i++) {
            b.ops->attention(&b.c, to, to_lse, rows, i == 3 ? &kv_all : &kv, biases[i], false, N_Q, HEADS);
            y[i] = down(&b, to, y_bytes);
            lse[i] = down(&b, to_lse, lse_bytes);
        }
        assert_memory_equal(y[0], y[1], y_bytes);
        assert_memory_equal(lse[0], lse[1], lse_bytes);
        assert_close(y[2], y[3], N_Q * width, 2e-6);
        assert_close(lse[2], lse[3], N_Q * HEADS, 1e-6);
        for (int i = 0; i < 4; i++) {
            free(y[i]);
            free(lse[i]);
        }
        bench_close(&b);
    }
    free(k);
    free(v);
    free(q);
    free(k_all);
    free(v_all);
}

/* ---- scores --------------------------------------------------------------------------------- */

/* Rows of the score matrix alone, on fewer keys; and p of one row is its row of the matrix. */
static void test_score_rows_and_keys_do_not_see_each_other(void **state)
{
    (void)state;
    enum { LENGTH = 200, HEADS = 4, DIM = 32, WIDTH = HEADS * DIM, KEYS = 150, RATERS = 90 };
    float *q = random_floats(4, LENGTH * WIDTH), *k = random_floats(5, LENGTH * WIDTH), *whole = NULL;
    int32_t order[RATERS], keys[KEYS];
    for (int i = 0; i < RATERS; i++)
        order[i] = (i * 37 + 11) % LENGTH;
    for (int j = 0; j < KEYS; j++)
        keys[j] = 20 + j;
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
        struct bench b;
        struct kv_view kv;
        float *pages[MAX_PAGES];
        bench_open(&b, &ops_cpu, n_threads);
        kv_make(&b, &kv, pages, LENGTH, HEADS, DIM);
        float *k_rows = up(&b, k, LENGTH * WIDTH * sizeof *k), *rows = up(&b, q, LENGTH * WIDTH * sizeof *q);
        ops_cpu.kv_write(&b.c, &kv, k_rows, k_rows, 0, LENGTH);
        float *y = space(&b, LENGTH * WIDTH * sizeof *y), *lse = space(&b, LENGTH * HEADS * sizeof *lse);
        ops_cpu.attention(&b.c, y, lse, rows, &kv, NULL, true, LENGTH, HEADS);
        int32_t *raters = up(&b, order, sizeof order), *chosen = up(&b, keys, sizeof keys);
        float *p = space(&b, KEYS * sizeof *p), *matrix = space(&b, RATERS * KEYS * sizeof *matrix);
        if (!whole) {
            ops_cpu.attention_score(&b.c, &(struct score_output){.mean = p, .rows = matrix}, NULL, rows, lse,
                                    &kv, raters, chosen, RATERS, KEYS, LENGTH, 0, HEADS);
            whole = down(&b, matrix, RATERS * KEYS * sizeof *matrix);
            for (int i = 0; i < RATERS; i++)
                for (int j = 0; j < KEYS; j++)
                    assert_true(keys[j] <= order[i] || whole[i * KEYS + j] == 0.0f);
        }
        for (int first = 0; first + 7 <= RATERS; first += 13) {
            int n = first % 2 ? 7 : RATERS - first;
            ops_cpu.attention_score(&b.c, &(struct score_output){.mean = p, .rows = matrix}, NULL, rows, lse,
                                    &kv, raters + first, chosen, n, KEYS, LENGTH, 0, HEADS);
            float *part = down(&b, matrix, (size_t)(n * KEYS) * sizeof *part);
            assert_same_rows("attention_score", part, whole, first, n, KEYS);
            free(part);
        }
        for (int skip = 1; skip < KEYS; skip += 31) {
            int n = KEYS - skip;
            ops_cpu.attention_score(&b.c, &(struct score_output){.mean = p}, NULL, rows, lse, &kv, raters + 3,
                                    chosen + skip, 1, n, LENGTH, 0, HEADS);
            float *part = down(&b, p, (size_t)n * sizeof *part);
            assert_memory_equal(part, whole + 3 * KEYS + skip, (size_t)n * sizeof *part);
            free(part);
        }
        bench_close(&b);
    }
    free(q);
    free(k);
    free(whole);
}

/* What is wanted, alone or together, has the same bits; factors of one leave them, others multiply each row;
 * and the mean of the heads is the mean. */
static void test_scores_by_head_and_with_factors(void **state)
{
    (void)state;
    enum { LENGTH = 140, HEADS = 6, KV_HEADS = 3, DIM = 16, KEYS = 130, RATERS = 70, N_WANTED = 5 };
    size_t n_matrix = RATERS * KEYS, n_heads_out = HEADS * KEYS;
    float *q = random_floats(4, LENGTH * HEADS * DIM), *k = random_floats(5, LENGTH * KV_HEADS * DIM);
    float *factor = random_floats(6, n_matrix), *ones = memory_alloc(n_matrix, sizeof *ones);
    int32_t order[RATERS], keys[KEYS];
    for (int i = 0; i < RATERS; i++)
        order[i] = (i * 37 + 11) % LENGTH;
    for (int j = 0; j < KEYS; j++)
        keys[j] = LENGTH - 1 - j;
    for (size_t i = 0; i < n_matrix; i++)
        ones[i] = 1;
    struct bench b;
    float *first_heads = NULL;
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++)
        for (int side = 0; open_side(&b, side, n_threads); side++) {
            struct kv_view kv;
            float *pages[MAX_PAGES], *found[N_WANTED][3] = {{0}};
            kv_make(&b, &kv, pages, LENGTH, KV_HEADS, DIM);
            float *k_rows = up(&b, k, LENGTH * KV_HEADS * DIM * sizeof *k);
            float *rows = up(&b, q, LENGTH * HEADS * DIM * sizeof *q);
            b.ops->kv_write(&b.c, &kv, k_rows, k_rows, 0, LENGTH);
            float *y = space(&b, LENGTH * HEADS * DIM * sizeof *y);
            float *lse = space(&b, LENGTH * HEADS * sizeof *lse);
            b.ops->attention(&b.c, y, lse, rows, &kv, NULL, true, LENGTH, HEADS);
            int32_t *raters = up(&b, order, sizeof order), *chosen = up(&b, keys, sizeof keys);
            float *factors[] = {NULL, up(&b, ones, n_matrix * sizeof *ones),
                                up(&b, factor, n_matrix * sizeof *factor), NULL, NULL};
            for (int i = 0; i < N_WANTED; i++) { /* all thrice, then the matrix alone, then the heads */
                struct score_output out = {0};
                out.mean = i < 3 ? space(&b, KEYS * sizeof(float)) : NULL;
                out.rows = i < 4 ? space(&b, n_matrix * sizeof(float)) : NULL;
                out.heads = i != 3 ? space(&b, n_heads_out * sizeof(float)) : NULL;
                b.ops->attention_score(&b.c, &out, factors[i], rows, lse, &kv, raters, chosen, RATERS, KEYS,
                                       LENGTH, 0, HEADS);
                found[i][0] = out.mean ? down(&b, out.mean, KEYS * sizeof(float)) : NULL;
                found[i][1] = out.rows ? down(&b, out.rows, n_matrix * sizeof(float)) : NULL;
                found[i][2] = out.heads ? down(&b, out.heads, n_heads_out * sizeof(float)) : NULL;
            }
            assert_memory_equal(found[0][0], found[1][0], KEYS * sizeof(float));
            assert_memory_equal(found[0][1], found[1][1], n_matrix * sizeof(float));
            assert_memory_equal(found[0][2], found[1][2], n_heads_out * sizeof(float));
            assert_memory_equal(found[0][1], found[3][1], n_matrix * sizeof(float));
            assert_memory_equal(found[0][2], found[4][2], n_heads_out * sizeof(float));
            for (int j = 0; j < KEYS; j++) {
                double over_rows = 0;
                for (int i = 0; i < RATERS; i++) {
                    size_t at = (size_t)(i * KEYS + j);
                    double expected = (double)found[0][1][at] * (double)factor[at];
                    assert_true(fabs((double)found[2][1][at] - expected) <= 1.2e-7 * fabs(expected));
                    over_rows += expected;
                }
                assert_true(fabs((double)found[2][0][j] - over_rows / RATERS) < 1e-7);
            }
            for (int with = 0; with < 3; with += 2)
                for (int j = 0; j < KEYS; j++) {
                    double sum = 0;
                    for (int h = 0; h < HEADS; h++)
                        sum += (double)found[with][2][h * KEYS + j];
                    assert_true(fabs(sum / HEADS - (double)found[with][0][j]) < 1e-7);
                }
            if (side == 0 && first_heads == NULL) {
                first_heads = found[2][2];
                found[2][2] = NULL;
            } else if (side == 0) {
                assert_memory_equal(first_heads, found[2][2], n_heads_out * sizeof(float));
            }
            for (int i = 0; i < N_WANTED; i++)
                for (int j = 0; j < 3; j++)
                    free(found[i][j]);
            bench_close(&b);
        }
    free(first_heads);
    free(q);
    free(k);
    free(factor);
    free(ones);
}

/* Against the formula in double, over ends of pages, with garbage behind the last key; the same on any number
 * of threads; and it sums to one. */
static void test_query_scores_by_the_formula(void **state)
{
    (void)state;
    enum { HEADS = 6, KV_HEADS = 2, DIM = 13, ROWS = 5, MOST = 130 };
    static const int LENGTHS[] = {1, 63, 64, 65, 130};
    float *q = random_floats(1, ROWS * HEADS * DIM), *k = random_floats(2, MOST * KV_HEADS * DIM);
    for (size_t i = 0; i < ROWS * HEADS * DIM; i++)
        q[i] *= 12; /* sharp */
    for (size_t l = 0; l < sizeof LENGTHS / sizeof LENGTHS[0]; l++) {
        int n = LENGTHS[l];
        double expected[MOST] = {0};
        for (int i = 0; i < ROWS; i++)
            for (int h = 0; h < HEADS; h++) {
                double p[MOST], total = 0;
                for (int j = 0; j < n; j++) {
                    double dot = 0;
                    for (int e = 0; e < DIM; e++)
                        dot += (double)q[(i * HEADS + h) * DIM + e] *
                               (double)k[(j * KV_HEADS + h / (HEADS / KV_HEADS)) * DIM + e];
                    total += p[j] = exp(dot / sqrt(DIM));
                }
                for (int j = 0; j < n; j++)
                    expected[j] += p[j] / total / (ROWS * HEADS);
            }
        float *before[8] = {0};
        struct bench b;
        for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++)
            for (int side = 0; open_side(&b, side, n_threads); side++) {
                struct kv_view kv;
                float *pages[MAX_PAGES];
                size_t page_bytes = kv_page_floats(KV_HEADS, DIM) * sizeof(float);
                float *poison = memory_alloc(page_bytes, 1);
                memset(poison, 0xFF, page_bytes); /* NaN */
                kv_make(&b, &kv, pages, n, KV_HEADS, DIM);
                for (int i = 0; i * KV_PAGE < n; i++)
                    b.ops->upload(&b.c, pages[i], poison, page_bytes);
                free(poison);
                float *k_rows = up(&b, k, (size_t)(n * KV_HEADS * DIM) * sizeof *k);
                b.ops->kv_write(&b.c, &kv, k_rows, k_rows, 0, n);
                float *p = space(&b, (size_t)n * sizeof *p);
                b.ops->query_score(&b.c, p, up(&b, q, ROWS * HEADS * DIM * sizeof *q), &kv, ROWS, HEADS);
                float *found = down(&b, p, (size_t)n * sizeof *found);
                double sum = 0;
                for (int j = 0; j < n; j++) {
                    assert_true(fabs((double)found[j] - expected[j]) <= 1e-7);
                    sum += (double)found[j];
                }
                assert_true(fabs(sum - 1) < 1e-5);
                if (n_threads > 1)
                    assert_memory_equal(found, before[side], (size_t)n * sizeof *found);
                free(before[side]);
                before[side] = found;
                bench_close(&b);
            }
        for (int side = 0; side < 8; side++)
            free(before[side]);
    }
    free(q);
    free(k);
}

/* ---- orders --------------------------------------------------------------------------------- */

static void test_equal_values_keep_their_order(void **state)
{
    (void)state;
    const float x[] = {1, 3, -0.0f, 3, 0, NAN, 3, -1};
    const int32_t expected[] = {1, 3, 6, 0, 2, 4, 7, 5};
    int n_backends;
    const struct ops *const *all = ops_all(&n_backends);
    for (int o = 0; o < n_backends; o++) {
        struct bench b;
        bench_open(&b, all[o], 1);
        float *values = up(&b, x, sizeof x);
        int32_t *index = space(&b, sizeof expected);
        for (int k = 1; k <= 8; k++) {
            b.ops->top_k(&b.c, index, values, k, 8);
            int32_t *found = down(&b, index, (size_t)k * sizeof *found);
            assert_memory_equal(found, expected, (size_t)k * sizeof *found);
            free(found);
        }
        assert_int_equal(b.ops->argmax(&b.c, values, 8), 1);
        assert_int_equal(b.ops->argmax(&b.c, values + 4, 2), 0);
        assert_int_equal(b.ops->argmax(&b.c, values + 5, 2), 1);
        bench_close(&b);
    }
}

static void test_best_of_a_row_is_the_first(void **state)
{
    (void)state;
    const float x[] = {1,     3,         3,         -1, /* */
                       NAN,   -INFINITY, 2,         2,  /* */
                       NAN,   NAN,       -INFINITY, -5, /* */
                       -0.0f, 0,         0,         -1, /* */
                       -2,    -3,        INFINITY,  INFINITY};
    const int32_t expected[] = {1, 2, 3, 0, 2};
    struct bench b;
    for (int side = 0; open_side(&b, side, 2); side++) {
        float *best = space(&b, sizeof expected);
        int32_t *to = space(&b, sizeof expected);
        b.ops->row_best(&b.c, best, to, up(&b, x, sizeof x), 5, 4);
        int32_t *found = down(&b, to, sizeof expected);
        float *values = down(&b, best, sizeof expected);
        assert_memory_equal(found, expected, sizeof expected);
        for (int i = 0; i < 5; i++)
            assert_true(values[i] == x[4 * i + expected[i]]);
        free(found);
        free(values);
        bench_close(&b);
    }
}

/* ---- merges --------------------------------------------------------------------------------- */

/* In f32 in the order of the members; what was there is not read without its weights; and one row may go into
 * several groups. */
static void test_merges_add_in_order(void **state)
{
    (void)state;
    enum { SOURCES = 5, GROUPS = 4, D = 77, N = 9 };
    const int32_t index[N] = {4, 0, 2, 0, 3, 1, 4, 0, 2},
                  group[N] = {2, 0, 0, 2, 2, 0, 1, 1, 2}; /* 3: empty */
    float *x = random_floats(1, SOURCES * D), *weight = random_floats(2, N), *own = random_floats(3, GROUPS);
    float *there = random_floats(4, GROUPS * D), *nothing = memory_alloc(GROUPS * D, sizeof *nothing);
    for (int i = 0; i < GROUPS * D; i++)
        nothing[i] = NAN;
    for (int with = 0; with < 2; with++) {
        float expected[GROUPS * D];
        for (int i = 0; i < GROUPS * D; i++)
            expected[i] = with ? there[i] * own[i / D] : 0.0f;
        for (int i = 0; i < N; i++)
            for (int e = 0; e < D; e++) {
                float product = weight[i] * x[index[i] * D + e];
                expected[group[i] * D + e] += product;
            }
        struct bench b;
        for (int side = 0; open_side(&b, side, 2); side++) {
            float *y = up(&b, with ? there : nothing, GROUPS * D * sizeof *y);
            b.c.macs = 0;
            b.ops->merge_rows(&b.c, y, with ? up(&b, own, GROUPS * sizeof *own) : NULL,
                              up(&b, x, SOURCES * D * sizeof *x), up(&b, index, sizeof index),
                              up(&b, group, sizeof group), up(&b, weight, N * sizeof *weight), N, SOURCES,
                              GROUPS, D);
            assert_true(b.c.macs == SOURCES * D);
            float *found = down(&b, y, GROUPS * D * sizeof *found);
            if (b.ops == &ops_cpu)
                assert_memory_equal(found, expected, sizeof expected);
            else
                assert_close(found, expected, GROUPS * D, 2e-7);
            free(found);
            bench_close(&b);
        }
    }
    free(x);
    free(weight);
    free(own);
    free(there);
    free(nothing);
}

/* ---- clusters ------------------------------------------------------------------------------- */

struct cluster_case {
    const char *what;
    int n, d;
    float x[8];
    struct cluster_options options;
    int32_t centres[4], group[8];
};

static const struct cluster_case CLUSTER_CASES[] = {
    {"one cluster: all densities are one, the first token is the centre",
     4,
     1,
     {5, 1, 2, 9},
     {1, 1, false},
     {0},
     {0, 0, 0, 0}},
    {"two clusters: of the nearest pair, equally dense, only the earlier is a centre",
     4,
     1,
     {0, 0.1f, 5, 5.3f},
     {2, 2, false},
     {0, 2},
     {0, 0, 1, 1}},
    {"the same in another order: the second centre is the far one that is earlier",
     4,
     1,
     {5.3f, 5, 0.1f, 0},
     {2, 2, false},
     {2, 0},
     {1, 1, 0, 0}},
    {"densities that differ by less than the tie are equal",
     4,
     1,
     {0, 0.001f, 9, 9.0005f},
     {2, 2, false},
     {0, 2},
     {0, 0, 1, 1}},
    {"equal tokens: centres in order, each in its own cluster, the rest in the first",
     4,
     2,
     {1, 1, 1, 1, 1, 1, 1, 1},
     {2, 2, false},
     {0, 1},
     {0, 1, 0, 0}},
    {"as far from either centre: the first centre", 3, 1, {0, 2, 1}, {2, 1, false}, {0, 1}, {0, 1, 0}},
    {"nearest by distance", 3, 2, {1, 0, 0, 10, 0, 1.2f}, {2, 1, false}, {0, 1}, {0, 1, 0}},
    {"nearest by angle", 3, 2, {1, 0, 0, 10, 0, 1.2f}, {2, 1, true}, {0, 1}, {0, 1, 1}},
    {"nothing has an angle to a zero token: the first centre, and itself where it is one",
     3,
     2,
     {3, 0, 0, 0, 0, 2},
     {2, 1, true},
     {0, 1},
     {0, 1, 0}},
    {"one token", 1, 2, {1, 2}, {1, 1, false}, {0}, {0}},
};

static void test_clusters_by_the_rules(void **state)
{
    (void)state;
    int n_backends;
    const struct ops *const *all = ops_all(&n_backends);
    for (int o = 0; o < n_backends; o++)
        for (size_t i = 0; i < sizeof CLUSTER_CASES / sizeof CLUSTER_CASES[0]; i++) {
            const struct cluster_case *t = &CLUSTER_CASES[i];
            struct bench b;
            float shuffled[16] = {0};
            int32_t index[8];
            for (int j = 0; j < t->n; j++) { /* places are not rows */
                index[j] = t->n - 1 - j;
                memcpy(shuffled + index[j] * t->d, t->x + j * t->d, (size_t)t->d * sizeof *shuffled);
            }
            bench_open(&b, all[o], 2);
            float *x = up(&b, shuffled, sizeof shuffled);
            int32_t *places_in = up(&b, index, sizeof index), *centres = space(&b, 64),
                    *group = space(&b, 64);
            b.ops->cluster(&b.c, centres, group, x, places_in, t->n, t->d, &t->options);
            int32_t *found_centres = down(&b, centres, 64), *found_group = down(&b, group, 64);
            for (int c = 0; c < t->options.n_clusters; c++)
                if (found_centres[c] != t->centres[c])
                    fail_msg("%s: %s: centre %d is %d", all[o]->name, t->what, c, found_centres[c]);
            for (int j = 0; j < t->n; j++)
                if (found_group[j] != t->group[j])
                    fail_msg("%s: %s: token %d is in %d", all[o]->name, t->what, j, found_group[j]);
            free(found_centres);
            free(found_group);
            bench_close(&b);
        }
}

/* Far from the origin, and with equal rows among them: what the products of rows lose there must not show. */
static void test_clusters_far_from_the_origin(void **state)
{
    (void)state;
    enum { N = 90, D = 300, C = 8 };
    float *x = random_floats(1, N * D);
    int32_t index[N], *expected[2] = {0};
    for (int i = 0; i < N; i++) {
        index[i] = (i * 7 + 3) % N;
        for (int e = 0; e < D; e++)
            x[i * D + e] = e % 50 == 0 ? 3e7f : 40.0f + x[i * D + e];
        if (i % 5 == 4) /* as the row before it */
            memcpy(x + i * D, x + (i - 1) * D, D * sizeof *x);
    }
    const struct cluster_options options = {.n_clusters = C, .n_neighbours = C};
    struct bench b;
    int n_kernels;
    cpu_kernels_all(&n_kernels);
    for (int i = 0; i < 1 + MAX_THREADS * n_kernels; i++) { /* the reference first */
        assert_true(open_side(&b, i == 0 ? n_kernels : (i - 1) % n_kernels, 1 + i / n_kernels));
        int32_t *centres = space(&b, C * sizeof *centres), *group = space(&b, N * sizeof *group);
        b.ops->cluster(&b.c, centres, group, up(&b, x, N * D * sizeof *x), up(&b, index, sizeof index), N, D,
                       &options);
        int32_t *found[] = {down(&b, centres, C * sizeof *centres), down(&b, group, N * sizeof *group)};
        for (int j = 0; j < 2; j++) {
            if (i == 0)
                expected[j] = found[j];
            else
                assert_memory_equal(found[j], expected[j], (j ? N : C) * sizeof(int32_t));
            if (i > 0)
                free(found[j]);
        }
        bench_close(&b);
    }
    free(expected[0]);
    free(expected[1]);
    free(x);
}

static void test_clusters_of_no_numbers_are_refused(void **state)
{
    (void)state;
    enum { N = 40, D = 20 };
    const float bad[] = {NAN, INFINITY};
    const struct cluster_options options = {.n_clusters = 3, .n_neighbours = 3};
    for (int i = 0; i < 2; i++) {
        float *x = random_floats(1, N * D);
        int32_t index[N], centre;
        for (int j = 0; j < N; j++)
            index[j] = j;
        x[17 * D + 3] = bad[i];
        struct bench b;
        for (int side = 0; open_side(&b, side, 2); side++) {
            int32_t *centres = space(&b, 64), *group = space(&b, N * sizeof *group);
            b.ops->cluster(&b.c, centres, group, up(&b, x, N * D * sizeof *x), up(&b, index, sizeof index), N,
                           D, &options);
            b.ops->download(&b.c, &centre, centres, sizeof centre);
            assert_int_equal(centre, -1);
            bench_close(&b);
        }
        free(x);
    }
}

/* ---- cosines -------------------------------------------------------------------------------- */

/* One value for a pair, bit by bit: whichever is the row, whatever stands beside, on any number of threads
 * and any instruction set. Exactly one for equal rows, zero where there is no angle; any length of a float.
 */
static void test_cosines_of_a_pair_are_one_value(void **state)
{
    (void)state;
    enum { N = 53, D = 333 };
    float *x = random_floats(1, N * D), *whole = NULL;
    for (int e = 0; e < D; e++) {
        x[5 * D + e] = 0;
        x[7 * D + e] = x[6 * D + e];
        x[8 * D + e] = -4 * x[6 * D + e];
        x[9 * D + e] *= 1e38f;
        x[10 * D + e] *= 1e-40f; /* subnormal */
    }
    int32_t order[N];
    for (int i = 0; i < N; i++)
        order[i] = i;
    struct bench b;
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++)
        for (int side = 0; open_side(&b, side, n_threads); side++) {
            float *rows = up(&b, x, N * D * sizeof *x), *y = space(&b, N * N * sizeof *y);
            int32_t *all = up(&b, order, sizeof order), *again = up(&b, order, sizeof order);
            for (int way = 0; way < 2; way++) {
                b.ops->cosines(&b.c, y, rows, all, N, way ? again : all, N, D);
                float *found = down(&b, y, N * N * sizeof *found);
                if (whole == NULL) {
                    whole = found;
                } else {
                    assert_memory_equal(found, whole, N * N * sizeof *found);
                    free(found);
                }
            }
            for (int first = 0; first < N; first += 11) { /* places in a tile change */
                int n_rows = N - first < 19 ? N - first : 19, n_cols = N - 3;
                b.ops->cosines(&b.c, y, rows, all + first, n_rows, all + 3, n_cols, D);
                float *found = down(&b, y, (size_t)(n_rows * n_cols) * sizeof *found);
                for (int i = 0; i < n_rows; i++)
                    for (int j = 0; j < n_cols; j++)
                        assert_true(found[i * n_cols + j] == whole[(first + i) * N + 3 + j]);
                free(found);
            }
            bench_close(&b);
        }
    for (int i = 0; i < N; i++) {
        assert_true(whole[i * N + i] == (i == 5 ? 0.0f : 1.0f));
        assert_true(whole[i * N + 5] == 0.0f && whole[5 * N + i] == 0.0f);
        for (int j = 0; j < N; j++)
            assert_true(whole[i * N + j] == whole[j * N + i] && fabsf(whole[i * N + j]) <= 1.0f);
    }
    assert_true(whole[6 * N + 7] == 1.0f && whole[6 * N + 8] == -1.0f);
    free(x);
    free(whole);
}

/* ---- ranks ---------------------------------------------------------------------------------- */

static int rank_of(struct bench *b, const float *matrix, int rows, int cols, double tol, bool gram)
{
    return b->ops->rank(&b->c, up(b, matrix, (size_t)(rows * cols) * sizeof *matrix), rows, cols, tol, gram);
}

/* On both backends, by both ways. */
static void assert_rank(const char *what, const float *matrix, int rows, int cols, double tol, int expected)
{
    const struct ops *both[] = {&ops_cpu, &ops_ref};
    for (int o = 0; o < 2; o++)
        for (int gram = 0; gram < 2; gram++) {
            struct bench b;
            bench_open(&b, both[o], 2);
            int found = rank_of(&b, matrix, rows, cols, tol, gram);
            if (found != expected)
                fail_msg("%s [%d, %d] on %s%s: rank %d, expected %d", what, rows, cols, both[o]->name,
                         gram ? " by Gram" : "", found, expected);
            bench_close(&b);
        }
}

/* left [rows, rank] · right [rank, cols] of random floats, rounded to f32. */
static float *product_of_rank(int rows, int cols, int rank)
{
    float *left = random_floats(1, (size_t)(rows * rank)), *right = random_floats(2, (size_t)(rank * cols));
    float *product = memory_alloc((size_t)(rows * cols), sizeof *product);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            double sum = 0;
            for (int k = 0; k < rank; k++)
                sum += (double)left[i * rank + k] * (double)right[k * cols + j];
            product[i * cols + j] = (float)sum;
        }
    free(left);
    free(right);
    return product;
}

static void test_ranks_of_products(void **state)
{
    (void)state;
    static const int RANK_SHAPES[][2] = {{12, 576}, {30, 576}, {612, 82}, {1, 77},
                                         {77, 1},   {40, 13},  {13, 13}};
    for (size_t s = 0; s < sizeof RANK_SHAPES / sizeof RANK_SHAPES[0]; s++) {
        int rows = RANK_SHAPES[s][0], cols = RANK_SHAPES[s][1], full = rows < cols ? rows : cols;
        const int ranks[] = {1, 3, 12, full};
        for (int r = 0; r < 4; r++) {
            /* the reference by Gram turns 612 vectors of 612: once is enough */
            if (ranks[r] > full || (rows > 600 && r != 2))
                continue;
            float *product = product_of_rank(rows, cols, ranks[r]);
            assert_rank("product", product, rows, cols, 0, ranks[r]);
            free(product);
        }
    }
}

/* Rows as a softmax makes them, eighteen of thirty copies of others; a loose tolerance; zeros; no numbers. */
static void test_ranks_of_rows_of_attention(void **state)
{
    (void)state;
    enum { ROWS = 30, COLS = 576, DISTINCT = 12 };
    float *x = random_floats(1, ROWS * COLS), *copies = memory_alloc(ROWS * COLS, sizeof *copies);
    float *zeros = memory_zero(ROWS * COLS, sizeof *zeros);
    for (int i = 0; i < ROWS; i++) {
        double total = 0;
        for (int j = 0; j < COLS; j++)
            total += exp(4 * (double)x[i * COLS + j]);
        for (int j = 0; j < COLS; j++)
            x[i * COLS + j] = (float)(exp(4 * (double)x[i * COLS + j]) / total);
    }
    for (int i = 0; i < ROWS; i++)
        memcpy(copies + i * COLS, x + i % DISTINCT * COLS, COLS * sizeof *x);
    assert_rank("softmax", x, ROWS, COLS, 0, ROWS);
    assert_rank("copies", copies, ROWS, COLS, 0, DISTINCT);
    assert_rank("copies", copies, ROWS, COLS, 1e-3, DISTINCT);
    assert_rank("zeros", zeros, ROWS, COLS, 0, 0);
    assert_rank("zeros", zeros, ROWS, COLS, 1e-3, 0);
    zeros[100] = 1e-42f;
    assert_rank("one subnormal", zeros, ROWS, COLS, 0, 1);
    for (int i = 0; i < ROWS; i++) /* one direction, and noise of a thousandth or so */
        for (int j = 0; j < COLS; j++)
            copies[i * COLS + j] = 1.0f + 1e-4f * x[i * COLS + j];
    assert_rank("noise", copies, ROWS, COLS, 1e-3, 1);
    x[5 * COLS + 5] = NAN;
    assert_rank("NaN", x, ROWS, COLS, 0, -1);
    x[5 * COLS + 5] = -INFINITY;
    assert_rank("infinity", x, ROWS, COLS, 0, -1);
    free(x);
    free(copies);
    free(zeros);
}

/* [rows, cols] with these singular values, turned by two reflections on either side and rounded to f32, or as
 * they are on the diagonal. */
static float *matrix_of(const double *sigma, int n, int rows, int cols, bool turned)
{
    size_t n_floats = (size_t)(rows * cols);
    double *a = memory_zero(n_floats, sizeof *a);
    float *out = memory_alloc(n_floats, sizeof *out);
    for (int i = 0; i < n; i++)
        a[i * cols + i] = sigma[i];
    for (int turn = 0; turned && turn < 4; turn++) {
        bool left = turn % 2;
        int length = left ? rows : cols, others = left ? cols : rows, stride = left ? cols : 1;
        float *axis = random_floats((uint64_t)(3 + turn), (size_t)length);
        double norm2 = 0;
        for (int i = 0; i < length; i++)
            norm2 += (double)axis[i] * (double)axis[i];
        for (int o = 0; o < others; o++) {
            double *vector = a + (left ? o : o * cols), along = 0;
            for (int i = 0; i < length; i++)
                along += vector[i * stride] * (double)axis[i];
            for (int i = 0; i < length; i++)
                vector[i * stride] -= 2 * along / norm2 * (double)axis[i];
        }
        free(axis);
    }
    for (size_t i = 0; i < n_floats; i++)
        out[i] = (float)a[i];
    free(a);
    return out;
}

static void test_ranks_on_either_side_of_the_tolerance(void **state)
{
    (void)state;
    enum { ROWS = 12, COLS = 576, N = 12 };
    double tol = COLS * 0x1p-23, sigma[N];
    for (int turned = 0; turned < 2; turned++)
        for (int above = 0; above < 2; above++) {
            double step = turned ? 0.02 : 1e-5; /* rounding to f32 moves singular values */
            for (int i = 0; i < N; i++)
                sigma[i] = i == N - 1 ? tol * (above ? 1 + step : 1 - step) : 1 - 0.05 * i;
            float *matrix = matrix_of(sigma, N, ROWS, COLS, turned);
            assert_rank("near the tolerance", matrix, ROWS, COLS, 0, above ? N : N - 1);
            free(matrix);
        }
    for (int i = 0; i < N; i++) /* 1 … 10^-5.5 */
        sigma[i] = pow(10, -0.5 * i);
    for (int turned = 0; turned < 2; turned++) {
        float *matrix = matrix_of(sigma, N, ROWS, COLS, turned);
        for (int i = 1; i < N; i++) /* between one and the next */
            assert_rank("falling", matrix, ROWS, COLS, sigma[i] * 1.8, i);
        assert_rank("falling", matrix, ROWS, COLS, 2e-6, N);
        free(matrix);
    }
}

/* LAPACK works in the thread that calls it, whatever the number of CPUs: no thread of its own is there. */
static void test_ranks_start_no_threads(void **state)
{
    (void)state;
    float *x = random_floats(1, 200 * 200);
    struct bench b;
    bench_open(&b, &ops_cpu, 1);
    assert_int_equal(rank_of(&b, x, 200, 200, 0, false), 200);
    assert_int_equal(rank_of(&b, x, 200, 200, 1e-5, true), rank_of(&b, x, 200, 200, 1e-5, false));
    bench_close(&b);
    free(x);
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    int n_threads = 1;
    while (file && fgets(line, sizeof line, file))
        sscanf(line, "Threads: %d", &n_threads);
    if (file)
        fclose(file);
    assert_int_equal(n_threads, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks_start_no_threads), /* first: no pool was ever open */
        cmocka_unit_test(test_key_bias_counts_a_key_several_times),
        cmocka_unit_test(test_score_rows_and_keys_do_not_see_each_other),
        cmocka_unit_test(test_scores_by_head_and_with_factors),
        cmocka_unit_test(test_query_scores_by_the_formula),
        cmocka_unit_test(test_equal_values_keep_their_order),
        cmocka_unit_test(test_best_of_a_row_is_the_first),
        cmocka_unit_test(test_merges_add_in_order),
        cmocka_unit_test(test_clusters_by_the_rules),
        cmocka_unit_test(test_clusters_far_from_the_origin),
        cmocka_unit_test(test_clusters_of_no_numbers_are_refused),
        cmocka_unit_test(test_cosines_of_a_pair_are_one_value),
        cmocka_unit_test(test_ranks_of_products),
        cmocka_unit_test(test_ranks_of_rows_of_attention),
        cmocka_unit_test(test_ranks_on_either_side_of_the_tolerance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
