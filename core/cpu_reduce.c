/* The reduction operations of the CPU backend (ops.h, last part): scores, raters, orders and clusters. */
#include <math.h>
#include <string.h>

#include "cluster.h"
#include "cpu_backend.h"

struct score_args {
    const struct cpu *cpu;
    struct score_task all;
};

static void score_run(void *context, int task, int thread)
{
    const struct score_args *a = context;
    struct score_task part = a->all;
    int first = task * SCORE_KEYS;
    part.p += first;
    part.keys += first;
    if (part.matrix)
        part.matrix += first;
    part.n_keys = a->all.n_keys - first < SCORE_KEYS ? a->all.n_keys - first : SCORE_KEYS;
    a->cpu->kernels->score(&part, a->cpu->scratch[thread]);
}

void cpu_attention_score(struct compute *c, float *p, float *matrix, const float *q, const float *lse,
                         const struct kv_view *kv, const int32_t *rows, const int32_t *keys, int n_rows,
                         int n_keys, int n_q, int q_first, int n_heads)
{
    cpu_attention_check(kv, n_heads);
    struct score_args args = {.cpu = cpu_of(c),
                              .all = {.p = p,
                                      .matrix = matrix,
                                      .matrix_stride = (size_t)n_keys,
                                      .q = q,
                                      .lse = lse,
                                      .kv = kv,
                                      .rows = rows,
                                      .keys = keys,
                                      .n_rows = n_rows,
                                      .n_keys = n_keys,
                                      .n_q = n_q,
                                      .q_first = q_first,
                                      .n_heads = n_heads}};
    threads_run(cpu_of(c)->threads, (n_keys + SCORE_KEYS - 1) / SCORE_KEYS, score_run, &args);
    c->macs += (uint64_t)n_heads * (uint64_t)n_rows * (uint64_t)n_keys * (uint64_t)kv->head_dim;
}

struct share_args {
    const struct cpu_kernels *kernels;
    float *weights; /* [n_visual, n_text] */
    const float *visual, *text;
    int n_text, d;
};

static void share_run(void *context, size_t first, size_t n)
{
    const struct share_args *a = context;
    float *weights = a->weights + first * (size_t)a->n_text;
    a->kernels->dots(weights, a->visual + first * (size_t)a->d, a->text, (int)n, a->n_text, a->d);
    for (size_t i = 0; i < n; i++)
        a->kernels->softmax_row(weights + i * (size_t)a->n_text, a->n_text);
}

void cpu_text_share(struct compute *c, float *share, const float *visual, const float *text, int n_visual,
                    int n_text, int d)
{
    size_t n = (size_t)n_text, weight_floats = ((size_t)n_visual * n + 1) / 2 * 2; /* even: doubles follow */
    double *sum = cpu_work(cpu_of(c), n * sizeof(double) + weight_floats * sizeof(float));
    float *weights = (float *)(sum + n);
    struct share_args args = {.kernels = cpu_of(c)->kernels,
                              .weights = weights,
                              .visual = visual,
                              .text = text,
                              .n_text = n_text,
                              .d = d};
    cpu_split(c, (size_t)n_visual, n * (size_t)d, share_run, &args);
    memset(sum, 0, n * sizeof *sum);
    for (size_t i = 0; i < (size_t)n_visual; i++)
        for (size_t t = 0; t < n; t++)
            sum[t] += (double)weights[i * n + t];
    for (size_t t = 0; t < n; t++)
        share[t] = (float)(sum[t] / n_visual);
    c->macs += (uint64_t)n_visual * (uint64_t)n_text * (uint64_t)d;
}

/* What sorts rising as (falling value, rising index); NaN as −∞ (callers refuse it, an order must still
 * exist). */
static uint64_t order_key(float x, int index)
{
    float value = isnan(x) ? -INFINITY : x + 0.0f; /* −0 and 0 are equals */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u; /* rises with the value */
    return (uint64_t)~bits << 32 | (uint32_t)index;
}

/* Restores the heap (largest on top) of keys [n] below `at`. */
static void sift_down(uint64_t *keys, int at, int n)
{
    uint64_t key = keys[at];
    for (int child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && keys[child + 1] > keys[child])
            child++;
        if (keys[child] <= key)
            break;
        keys[at] = keys[child];
        at = child;
    }
    keys[at] = key;
}

/* A heap of the k best so far, the worst of them on top; then sorted. */
void cpu_top_k(struct compute *c, int32_t *index, const float *x, int k, int n)
{
    ENSURE(k <= n);
    if (k <= 0)
        return;
    uint64_t *keys = cpu_work(cpu_of(c), (size_t)k * sizeof *keys);
    for (int i = 0; i < k; i++)
        keys[i] = order_key(x[i], i);
    for (int at = k / 2 - 1; at >= 0; at--)
        sift_down(keys, at, k);
    for (int i = k; i < n; i++) {
        uint64_t key = order_key(x[i], i);
        if (key < keys[0]) {
            keys[0] = key;
            sift_down(keys, 0, k);
        }
    }
    for (int end = k - 1; end >= 0; end--) {
        index[end] = (int32_t)(uint32_t)keys[0];
        keys[0] = keys[end];
        if (end > 0)
            sift_down(keys, 0, end);
    }
}

struct distance_args {
    const struct cpu_kernels *kernels;
    double *distance2;
    const float *x;
    const int32_t *index;
    int n, d;
};

/* Row i against the rows before it. */
static void distance_run(void *context, int task, int thread)
{
    const struct distance_args *a = context;
    int i = a->n - 1 - task; /* the longest first */
    (void)thread;
    a->kernels->distances(a->distance2 + (size_t)i * (size_t)a->n, a->x + (size_t)a->index[i] * (size_t)a->d,
                          a->x, a->index, i, a->d);
}

void cpu_cluster(struct compute *c, int32_t *centres, int32_t *group, const float *x, const int32_t *index,
                 int n, int d, const struct cluster_options *options)
{
    size_t rows = (size_t)n;
    double *distance2 = cpu_work(cpu_of(c), (rows * rows + cluster_scratch(n)) * sizeof *distance2);
    struct distance_args args = {
        .kernels = cpu_of(c)->kernels, .distance2 = distance2, .x = x, .index = index, .n = n, .d = d};
    threads_run(cpu_of(c)->threads, n, distance_run, &args);
    for (size_t i = 0; i < rows; i++) {
        distance2[i * rows + i] = 0;
        for (size_t j = 0; j < i; j++) { /* each pair was computed once: exactly symmetric */
            distance2[i * rows + j] /= d;
            distance2[j * rows + i] = distance2[i * rows + j];
        }
    }
    cluster_assign(centres, group, distance2, distance2 + rows * rows, x, index, n, d, options);
    c->macs += (uint64_t)n * (uint64_t)n * (uint64_t)d;
}

int32_t cpu_argmax(struct compute *c, const float *x, int n)
{
    (void)c;
    uint64_t best = order_key(x[0], 0);
    for (int i = 1; i < n; i++) {
        uint64_t key = order_key(x[i], i);
        best = key < best ? key : best;
    }
    return (int32_t)(uint32_t)best;
}
