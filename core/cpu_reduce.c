/* The reduction operations of the CPU backend (ops.h): scores, raters and orders. What needs
 * the products of rows with each other is in cpu_gram.c. */
#include <math.h>
#include <string.h>

#include "cpu_backend.h"

struct score_args {
    const struct cpu *cpu;
    struct score_task all;
};

static float *from_key(float *x, int first)
{
    return x ? x + first : NULL;
}

static void score_run(void *context, int task, int thread)
{
    const struct score_args *a = context;
    struct score_task part = a->all;
    int first = task * SCORE_KEYS;
    part.out.mean = from_key(part.out.mean, first);
    part.out.rows = from_key(part.out.rows, first);
    part.out.heads = from_key(part.out.heads, first);
    part.factor = part.factor ? part.factor + first : NULL;
    part.keys += first;
    part.n_keys = a->all.n_keys - first < SCORE_KEYS ? a->all.n_keys - first : SCORE_KEYS;
    a->cpu->kernels->score(&part, a->cpu->scratch[thread]);
}

void cpu_attention_score(struct compute *c, const struct score_output *out, const float *factor,
                         const float *q, const float *lse, const struct kv_view *kv, const int32_t *rows,
                         const int32_t *keys, int n_rows, int n_keys, int n_q, int q_first, int n_heads)
{
    cpu_attention_check(kv, n_heads);
    struct score_args args = {.cpu = cpu_of(c),
                              .all = {.out = *out,
                                      .factor = factor,
                                      .stride = (size_t)n_keys,
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

struct query_args {
    const struct cpu_kernels *kernels;
    double *sums, *logits; /* [n_heads, length], [n_heads, whole pages] */
    const float *q;
    const struct kv_view *kv;
    int n_rows, n_heads;
};

/* One head: its probabilities, summed over the rows. */
static void query_run(void *context, int h, int thread)
{
    const struct query_args *a = context;
    const struct kv_view *kv = a->kv;
    size_t n = (size_t)kv->length, d = (size_t)kv->head_dim, room = (n + KV_PAGE - 1) / KV_PAGE * KV_PAGE;
    double *sum = a->sums + (size_t)h * n, *row = a->logits + (size_t)h * room;
    size_t head = kv_page_floats(h / (a->n_heads / kv->n_kv_heads), kv->head_dim);
    (void)thread;
    memset(sum, 0, n * sizeof *sum);
    for (size_t i = 0; i < (size_t)a->n_rows; i++) {
        const float *q = a->q + (i * (size_t)a->n_heads + (size_t)h) * d;
        double most = -INFINITY, total = 0;
        for (size_t first = 0; first < n; first += KV_PAGE)
            a->kernels->page_logits(row + first, q, kv->pages[first / KV_PAGE] + head, kv->head_dim);
        for (size_t j = 0; j < n; j++)
            most = fmax(most, row[j]);
        for (size_t j = 0; j < n; j++)
            total += row[j] = exp(row[j] - most);
        for (size_t j = 0; j < n; j++)
            sum[j] += row[j] / total;
    }
}

void cpu_query_score(struct compute *c, float *p, const float *q, const struct kv_view *kv, int n_rows,
                     int n_heads)
{
    cpu_attention_check(kv, n_heads);
    ENSURE(n_rows > 0);
    size_t n = (size_t)kv->length, room = (n + KV_PAGE - 1) / KV_PAGE * KV_PAGE;
    double *sums = cpu_work(cpu_of(c), (size_t)n_heads * (n + room) * sizeof *sums);
    struct query_args args = {.kernels = cpu_of(c)->kernels,
                              .sums = sums,
                              .logits = sums + (size_t)n_heads * n,
                              .q = q,
                              .kv = kv,
                              .n_rows = n_rows,
                              .n_heads = n_heads};
    threads_run(cpu_of(c)->threads, n_heads, query_run, &args);
    for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t h = 0; h < (size_t)n_heads; h++)
            sum += sums[h * n + j];
        p[j] = (float)(sum / ((double)n_rows * n_heads));
    }
    c->macs += (uint64_t)n_heads * (uint64_t)n_rows * n * (uint64_t)kv->head_dim;
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

struct best_args {
    float *best;
    int32_t *to;
    const float *y;
    size_t n_cols;
};

static void best_run(void *context, size_t first, size_t n)
{
    const struct best_args *a = context;
    for (size_t i = first; i < first + n; i++) {
        const float *row = a->y + i * a->n_cols;
        size_t at = 0;
        float most = isnan(row[0]) ? -INFINITY : row[0];
        for (size_t j = 1; j < a->n_cols; j++)
            if (row[j] > most) { /* never so where it is no number */
                most = row[j];
                at = j;
            }
        a->to[i] = (int32_t)at;
        a->best[i] = row[at];
    }
}

void cpu_row_best(struct compute *c, float *best, int32_t *to, const float *y, int n_rows, int n_cols)
{
    ENSURE(n_cols > 0);
    struct best_args args = {.best = best, .to = to, .y = y, .n_cols = (size_t)n_cols};
    cpu_split(c, (size_t)n_rows, (size_t)n_cols, best_run, &args);
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
