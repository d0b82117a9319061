/* Inputs and calls for ops_check.c, see ops_calls.h. Inputs come from rng.h: the same everywhere. */
#include "ops_calls.h"

#include <math.h>
#include <stdlib.h>

#include "memory.h"
#include "rng.h"

/* ---- inputs --------------------------------------------------------------------------------- */

static void *buffer(struct side *side, size_t n_bytes)
{
    ENSURE(side->n_buffers < MAX_BUFFERS);
    void *memory = side->ops->alloc(n_bytes);
    ENSURE(memory);
    side->buffers[side->n_buffers++] = memory;
    return memory;
}

static float *host_random(uint64_t stream, size_t n, float low, float high)
{
    float *host = memory_alloc(n, sizeof *host);
    ENSURE(host);
    for (size_t i = 0; i < n; i++)
        host[i] = low + (high - low) * rng_float(7, 0, stream, i);
    return host;
}

static float *input(struct side *side, int slot, size_t n, float low, float high)
{
    float *host = host_random((uint64_t)slot, n, low, high);
    side->in[slot] = buffer(side, n * sizeof *host);
    side->ops->upload(side->c, side->in[slot], host, n * sizeof *host);
    free(host);
    return side->in[slot];
}

/* index [n] = first + i·step modulo `modulo` */
static void index_input(struct side *side, int slot, int n, int first, int step, int modulo)
{
    int32_t *host = memory_alloc((size_t)n, sizeof *host);
    ENSURE(host);
    for (int i = 0; i < n; i++)
        host[i] = (int32_t)(((int64_t)first + (int64_t)i * step) % modulo);
    side->index[slot] = buffer(side, (size_t)n * sizeof *host);
    side->ops->upload(side->c, side->index[slot], host, (size_t)n * sizeof *host);
    free(host);
}

static void output(struct side *side, int slot, size_t n)
{
    side->out[slot] = buffer(side, n * sizeof(float));
    side->n_out[slot] = n;
    if (slot >= side->n_outputs)
        side->n_outputs = slot + 1;
}

static void index_output(struct side *side, int slot, size_t n)
{
    side->index_out[slot] = buffer(side, n * sizeof(int32_t));
    side->n_index_out[slot] = n;
    if (slot >= side->n_outputs)
        side->n_outputs = slot + 1;
}

static size_t area(int a, int b)
{
    return (size_t)a * (size_t)b;
}

static void weight_input(struct side *side, int n_out, int n_in)
{
    float *host = host_random(9, area(n_out, n_in), -1, 1);
    struct weights_tensor tensor = {.name = "check",
                                    .dtype = DTYPE_F32,
                                    .rank = 2,
                                    .shape = {n_out, n_in},
                                    .n_elements = (int64_t)n_out * n_in,
                                    .data = (const unsigned char *)host,
                                    .n_bytes = area(n_out, n_in) * sizeof *host};
    if (side->ops->weight_pack(&side->weight, &tensor, n_out, n_in, DTYPE_F32, &side->err) != OK)
        side->failed = true;
    free(host);
}

/* `length` positions of keys and values in pages of their own, poisoned beyond: what was not written must not
 * be seen. */
static void kv_input(struct side *side, int length, int n_kv_heads, int head_dim)
{
    size_t page = kv_page_floats(n_kv_heads, head_dim), width = area(n_kv_heads, head_dim);
    int n_pages = (length + KV_PAGE - 1) / KV_PAGE;
    ENSURE(n_pages <= MAX_PAGES);
    float *poison = memory_alloc(page, sizeof *poison),
          *all = buffer(side, (size_t)n_pages * page * sizeof *all);
    ENSURE(poison);
    for (size_t i = 0; i < page; i++)
        poison[i] = NAN;
    for (int i = 0; i < n_pages; i++) {
        side->pages[i] = all + (size_t)i * page;
        side->ops->upload(side->c, side->pages[i], poison, page * sizeof *poison);
    }
    free(poison);
    side->kv = (struct kv_view){
        .pages = side->pages, .length = length, .n_kv_heads = n_kv_heads, .head_dim = head_dim};
    float *k = input(side, 2, (size_t)length * width, -1, 1),
          *v = input(side, 3, (size_t)length * width, -1, 1);
    side->ops->kv_write(side->c, &side->kv, k, v, 0, length);
}

/* ---- the ops -------------------------------------------------------------------------------- */

static void linear_prepare(struct side *t) /* n, n_out, n_in, bias */
{
    input(t, 0, area(t->s[0], t->s[2]), -1, 1);
    input(t, 1, (size_t)t->s[1], -1, 1);
    weight_input(t, t->s[1], t->s[2]);
    output(t, 0, area(t->s[0], t->s[1]));
}

static void linear_execute(struct side *t)
{
    t->ops->linear(t->c, t->out[0], t->in[0], &t->weight, t->s[3] ? t->in[1] : NULL, t->s[0]);
}

static void linear_row_execute(struct side *t)
{
    t->ops->linear_row(t->c, t->out[0], t->in[0], &t->weight, t->s[3] ? t->in[1] : NULL);
}

static double linear_macs(const int *s)
{
    return (double)s[0] * s[1] * s[2];
}

static double linear_bytes(const int *s)
{
    return 4.0 * ((double)s[0] * s[2] + (double)s[0] * s[1] + (double)s[1] * s[2]);
}

static void norm_prepare(struct side *t) /* n, d */
{
    input(t, 0, area(t->s[0], t->s[1]), -3, 5);
    input(t, 1, (size_t)t->s[1], -1, 1);
    input(t, 2, (size_t)t->s[1], -1, 1);
    output(t, 0, area(t->s[0], t->s[1]));
}

static void rms_norm_execute(struct side *t)
{
    t->ops->rms_norm(t->c, t->out[0], t->in[0], t->in[1], 1e-5f, t->s[0], t->s[1]);
}

static void layer_norm_execute(struct side *t)
{
    t->ops->layer_norm(t->c, t->out[0], t->in[0], t->in[1], t->in[2], 1e-5f, t->s[0], t->s[1]);
}

static double no_macs(const int *s)
{
    (void)s;
    return 0;
}

static double two_bytes(const int *s)
{
    return 8.0 * s[0] * s[1];
}

static double three_bytes(const int *s)
{
    return 12.0 * s[0] * s[1];
}

static void pair_prepare(struct side *t) /* n, d, kind of activation */
{
    input(t, 0, area(t->s[0], t->s[1]), -12, 12);
    input(t, 1, area(t->s[0], t->s[1]), -12, 12);
    output(t, 0, area(t->s[0], t->s[1]));
}

static void restore(struct side *t)
{
    t->ops->copy(t->c, t->out[0], t->in[0], t->n_out[0] * sizeof(float));
}

static void add_execute(struct side *t)
{
    restore(t);
    t->ops->add(t->c, t->out[0], t->in[1], t->n_out[0]);
}

static void activate_execute(struct side *t)
{
    restore(t);
    t->ops->activate(t->c, t->out[0], (enum activation)t->s[2], t->n_out[0]);
}

static void silu_mul_execute(struct side *t)
{
    restore(t);
    t->ops->silu_mul(t->c, t->out[0], t->in[1], t->n_out[0]);
}

static void rope_prepare(struct side *t) /* n, n_heads, head_dim, positions given */
{
    int n_positions = 2 * t->s[0] + 3, d = t->s[2];
    float *table = memory_alloc(area(n_positions, d), sizeof *table);
    ENSURE(table);
    rope_table(table, n_positions, d, 10000.0, 1.0);
    t->in[1] = buffer(t, area(n_positions, d) * sizeof *table);
    t->ops->upload(t->c, t->in[1], table, area(n_positions, d) * sizeof *table);
    free(table);
    input(t, 0, area(t->s[0], t->s[1] * d), -1, 1);
    index_input(t, 0, t->s[0], 1, 2, n_positions);
    output(t, 0, area(t->s[0], t->s[1] * d));
}

static void rope_execute(struct side *t)
{
    restore(t);
    t->ops->rope(t->c, t->out[0], t->in[1], t->s[3] ? t->index[0] : NULL, 3, t->s[0], t->s[1], t->s[2]);
}

static double rope_bytes(const int *s)
{
    return 8.0 * s[0] * s[1] * s[2];
}

static void gather_prepare(struct side *t) /* n, d */
{
    input(t, 0, area(t->s[0], t->s[1]), -1, 1);
    index_input(t, 0, t->s[0], 5, 7, t->s[0]);
    output(t, 0, area(t->s[0], t->s[1]));
}

static void gather_execute(struct side *t)
{
    t->ops->gather_rows(t->c, t->out[0], t->in[0], t->index[0], t->s[0], t->s[1]);
}

static void merge_prepare(struct side *t) /* n, d, n_groups, n_sources, weights of what is there */
{
    input(t, 0, area(t->s[3], t->s[1]), -1, 1);
    input(t, 1, (size_t)t->s[0], 0, 1);
    input(t, 2, area(t->s[2], t->s[1]), -1, 1);
    input(t, 3, (size_t)t->s[2], -1, 1);
    index_input(t, 0, t->s[0], 5, 7, t->s[3]);
    index_input(t, 1, t->s[0], 0, 1, t->s[2]);
    output(t, 0, area(t->s[2], t->s[1]));
}

static void merge_execute(struct side *t)
{
    if (t->s[4])
        t->ops->copy(t->c, t->out[0], t->in[2], t->n_out[0] * sizeof(float));
    t->ops->merge_rows(t->c, t->out[0], t->s[4] ? t->in[3] : NULL, t->in[0], t->index[0], t->index[1],
                       t->in[1], t->s[0], t->s[3], t->s[2], t->s[1]);
}

static double merge_macs(const int *s)
{
    return (double)s[3] * s[1];
}

static double merge_bytes(const int *s)
{
    return 4.0 * s[1] * (s[0] + (s[4] ? 2 : 1) * s[2]);
}

static void head_mean_prepare(struct side *t) /* n, n_heads, d */
{
    input(t, 0, area(t->s[0], t->s[1] * t->s[2]), -1, 1);
    output(t, 0, area(t->s[0], t->s[2]));
}

static void head_mean_execute(struct side *t)
{
    t->ops->head_mean(t->c, t->out[0], t->in[0], t->s[0], t->s[1], t->s[2]);
}

static double head_mean_bytes(const int *s)
{
    return 4.0 * s[0] * s[2] * (s[1] + 1);
}

static void patchify_prepare(struct side *t) /* width, height, patch */
{
    size_t n = 3 * area(t->s[0], t->s[1]);
    input(t, 0, n, -1, 1);
    output(t, 0, 3 * area(t->s[0] / t->s[2], t->s[1] / t->s[2]) * area(t->s[2], t->s[2]));
}

static void patchify_execute(struct side *t)
{
    t->ops->patchify(t->c, t->out[0], t->in[0], t->s[0], t->s[1], t->s[2]);
}

static double patchify_bytes(const int *s)
{
    return 24.0 * s[0] * s[1];
}

/* length, n_q (negative: not causal), n_heads, n_kv_heads, head_dim, key_bias given */
static void attention_prepare(struct side *t)
{
    int n_q = abs(t->s[1]), width = t->s[2] * t->s[4];
    kv_input(t, t->s[0], t->s[3], t->s[4]);
    input(t, 0, area(n_q, width), -2, 2);
    input(t, 1, (size_t)t->s[0], -1, 4);
    output(t, 0, area(n_q, width));
    output(t, 1, area(t->s[2], n_q));
}

static void attention_execute(struct side *t)
{
    t->ops->attention(t->c, t->out[0], t->out[1], t->in[0], &t->kv, t->s[5] ? t->in[1] : NULL, t->s[1] > 0,
                      abs(t->s[1]), t->s[2]);
}

static double attention_macs(const int *s)
{
    return 2.0 * s[0] * abs(s[1]) * s[2] * s[4];
}

static double attention_bytes(const int *s)
{
    return 8.0 * s[0] * s[3] * s[4] + 8.0 * abs(s[1]) * s[2] * s[4];
}

static void attention_row_prepare(struct side *t)
{
    attention_prepare(t);
    t->n_outputs = 1;
}

static void attention_row_execute(struct side *t)
{
    t->ops->attention_row(t->c, t->out[0], t->in[0], &t->kv, t->s[2]);
}

/* length, n_rows, n_heads, n_kv_heads, head_dim, 1: by head too, 2: that and with factors; the keys are all
 * but the last ten positions, the rows spread over the whole sequence, so that the mask matters. */
static void score_prepare(struct side *t)
{
    int length = t->s[0], width = t->s[2] * t->s[4];
    kv_input(t, length, t->s[3], t->s[4]);
    input(t, 0, area(length, width), -2, 2);
    output(t, 0, (size_t)(length - 10));
    output(t, 1, area(t->s[1], length - 10));
    if (t->s[5])
        output(t, 2, area(t->s[2], length - 10));
    input(t, 4, area(t->s[1], length - 10), -1, 2);
    index_input(t, 0, t->s[1], length - 1, length - 7, length);
    index_input(t, 1, length - 10, 0, 1, length);
    float *lse = buffer(t, area(t->s[2], length) * sizeof *lse),
          *y = buffer(t, area(length, width) * sizeof *y);
    t->in[1] = lse;
    t->ops->attention(t->c, y, lse, t->in[0], &t->kv, NULL, true, length, t->s[2]);
}

static void score_execute(struct side *t)
{
    int length = t->s[0];
    struct score_output out = {.mean = t->out[0], .rows = t->out[1], .heads = t->s[5] ? t->out[2] : NULL};
    t->ops->attention_score(t->c, &out, t->s[5] == 2 ? t->in[4] : NULL, t->in[0], t->in[1], &t->kv,
                            t->index[0], t->index[1], t->s[1], length - 10, length, 0, t->s[2]);
}

static double score_macs(const int *s)
{
    return (double)s[2] * s[1] * (s[0] - 10) * s[4];
}

static double score_bytes(const int *s)
{
    return 4.0 * s[0] * s[3] * s[4] + 4.0 * s[1] * s[2] * s[4];
}

static void query_prepare(struct side *t) /* length, n_rows, n_heads, n_kv_heads, head_dim */
{
    kv_input(t, t->s[0], t->s[3], t->s[4]);
    input(t, 0, area(t->s[1], t->s[2] * t->s[4]), -3, 3);
    output(t, 0, (size_t)t->s[0]);
}

static void query_execute(struct side *t)
{
    t->ops->query_score(t->c, t->out[0], t->in[0], &t->kv, t->s[1], t->s[2]);
}

static double query_macs(const int *s)
{
    return (double)s[2] * s[1] * s[0] * s[4];
}

static void share_prepare(struct side *t) /* n_visual, n_text, d */
{
    input(t, 0, area(t->s[0], t->s[2]), -1, 1);
    input(t, 1, area(t->s[1], t->s[2]), -0.5f, 0.5f);
    output(t, 0, (size_t)t->s[1]);
}

static void share_execute(struct side *t)
{
    t->ops->text_share(t->c, t->out[0], t->in[0], t->in[1], t->s[0], t->s[1], t->s[2]);
}

static double share_bytes(const int *s)
{
    return 4.0 * s[2] * (s[0] + s[1]);
}

static void top_k_prepare(struct side *t) /* n, k */
{
    input(t, 0, (size_t)t->s[0], -1, 1);
    index_output(t, 0, (size_t)t->s[1]);
}

static void top_k_execute(struct side *t)
{
    t->ops->top_k(t->c, t->index_out[0], t->in[0], t->s[1], t->s[0]);
}

static double top_k_bytes(const int *s)
{
    return 4.0 * s[0];
}

static void cluster_prepare(struct side *t) /* n, d, C, cosine */
{
    input(t, 0, area(t->s[0] + 20, t->s[1]), -1, 1);
    index_input(t, 0, t->s[0], 3, 1, t->s[0] + 20);
    index_output(t, 0, (size_t)t->s[2]);
    index_output(t, 1, (size_t)t->s[0]);
}

static void cluster_execute(struct side *t)
{
    struct cluster_options options = {.n_clusters = t->s[2], .n_neighbours = t->s[2], .cosine = t->s[3]};
    t->ops->cluster(t->c, t->index_out[0], t->index_out[1], t->in[0], t->index[0], t->s[0], t->s[1],
                    &options);
}

static double cluster_macs(const int *s)
{
    return (double)s[0] * s[0] * s[1];
}

static double cluster_bytes(const int *s)
{
    return 4.0 * s[0] * s[1];
}

static void cosines_prepare(struct side *t) /* n_rows, n_cols, d, columns are the rows */
{
    int n = t->s[0] + t->s[1];
    input(t, 0, area(n, t->s[2]), -1, 1);
    index_input(t, 0, t->s[0], 1, 2, n);
    index_input(t, 1, t->s[1], 0, 2, n);
    output(t, 0, area(t->s[0], t->s[1]));
}

static void cosines_execute(struct side *t)
{
    t->ops->cosines(t->c, t->out[0], t->in[0], t->index[0], t->s[0], t->index[t->s[3] ? 0 : 1], t->s[1],
                    t->s[2]);
}

static double cosines_bytes(const int *s)
{
    return 4.0 * ((double)s[2] * (s[3] ? s[0] : s[0] + s[1]) + (double)s[0] * s[1]);
}

static void row_best_prepare(struct side *t) /* n_rows, n_cols */
{
    input(t, 0, area(t->s[0], t->s[1]), -1, 1);
    output(t, 0, (size_t)t->s[0]);
    index_output(t, 0, (size_t)t->s[0]);
}

static void row_best_execute(struct side *t)
{
    t->ops->row_best(t->c, t->out[0], t->index_out[0], t->in[0], t->s[0], t->s[1]);
}

static double row_best_bytes(const int *s)
{
    return 4.0 * s[0] * s[1];
}

/* rows, cols, rank, by the Gram matrix: a product [rows, rank] · [rank, cols] */
static void rank_prepare(struct side *t)
{
    int rows = t->s[0], cols = t->s[1], rank = t->s[2];
    float *left = host_random(1, area(rows, rank), -1, 1), *right = host_random(2, area(rank, cols), -1, 1);
    float *product = memory_alloc(area(rows, cols), sizeof *product);
    ENSURE(product);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            double sum = 0;
            for (int k = 0; k < rank; k++)
                sum += (double)left[area(i, rank) + (size_t)k] * (double)right[area(k, cols) + (size_t)j];
            product[area(i, cols) + (size_t)j] = (float)sum;
        }
    t->in[0] = buffer(t, area(rows, cols) * sizeof *product);
    t->ops->upload(t->c, t->in[0], product, area(rows, cols) * sizeof *product);
    free(left);
    free(right);
    free(product);
    index_output(t, 0, 1);
}

static void rank_execute(struct side *t)
{
    int32_t rank = t->ops->rank(t->c, t->in[0], t->s[0], t->s[1], 0, t->s[3]);
    t->ops->upload(t->c, t->index_out[0], &rank, sizeof rank);
}

static double rank_ops_macs(const int *s)
{
    double least = s[0] < s[1] ? s[0] : s[1];
    return s[3] ? (double)s[0] * s[0] * (s[1] + s[0]) : (double)s[0] * s[1] * least;
}

static void argmax_prepare(struct side *t) /* n */
{
    input(t, 0, (size_t)t->s[0], -1, 1);
    index_output(t, 0, 1);
}

static void argmax_execute(struct side *t)
{
    int32_t best = t->ops->argmax(t->c, t->in[0], t->s[0]);
    t->ops->upload(t->c, t->index_out[0], &best, sizeof best);
}

#define ATTENTION_SIZES "length n_q heads kv_heads head_dim bias"

const struct op OP_LINEAR = {"linear",       "n n_out n_in bias", linear_prepare,
                             linear_execute, linear_macs,         linear_bytes};
const struct op OP_LINEAR_ROW = {"linear_row",       "1 n_out n_in bias", linear_prepare,
                                 linear_row_execute, linear_macs,         linear_bytes};
const struct op OP_RMS_NORM = {"rms_norm", "n d", norm_prepare, rms_norm_execute, no_macs, two_bytes};
const struct op OP_LAYER_NORM = {"layer_norm", "n d", norm_prepare, layer_norm_execute, no_macs, two_bytes};
const struct op OP_ADD = {"add", "n d", pair_prepare, add_execute, no_macs, three_bytes};
const struct op OP_ACTIVATE = {"activate", "n d kind", pair_prepare, activate_execute, no_macs, two_bytes};
const struct op OP_SILU_MUL = {"silu_mul", "n d", pair_prepare, silu_mul_execute, no_macs, three_bytes};
const struct op OP_ROPE = {"rope",    "n heads head_dim positions", rope_prepare, rope_execute, no_macs,
                           rope_bytes};
const struct op OP_GATHER_ROWS = {"gather_rows", "n d", gather_prepare, gather_execute, no_macs, two_bytes};
const struct op OP_MERGE_ROWS = {
    "merge_rows", "n d groups sources own", merge_prepare, merge_execute, merge_macs, merge_bytes};
const struct op OP_HEAD_MEAN = {"head_mean",       "n heads d", head_mean_prepare,
                                head_mean_execute, no_macs,     head_mean_bytes};
const struct op OP_PATCHIFY = {"patchify", "width height patch", patchify_prepare, patchify_execute,
                               no_macs,    patchify_bytes};
const struct op OP_ATTENTION = {"attention",       ATTENTION_SIZES, attention_prepare,
                                attention_execute, attention_macs,  attention_bytes};
const struct op OP_ATTENTION_ROW = {"attention_row",       ATTENTION_SIZES, attention_row_prepare,
                                    attention_row_execute, attention_macs,  attention_bytes};
const struct op OP_ATTENTION_SCORE = {"attention_score", "length n_rows heads kv_heads head_dim more",
                                      score_prepare,     score_execute,
                                      score_macs,        score_bytes};
const struct op OP_QUERY_SCORE = {"query_score", "length n_rows heads kv_heads head_dim",
                                  query_prepare, query_execute,
                                  query_macs,    score_bytes};
const struct op OP_TEXT_SHARE = {"text_share",  "visual text d", share_prepare,
                                 share_execute, linear_macs,     share_bytes};
const struct op OP_TOP_K = {"top_k", "n k", top_k_prepare, top_k_execute, no_macs, top_k_bytes};
const struct op OP_CLUSTER = {"cluster",       "n d C cosine", cluster_prepare,
                              cluster_execute, cluster_macs,   cluster_bytes};
const struct op OP_COSINES = {"cosines",       "rows cols d same", cosines_prepare,
                              cosines_execute, linear_macs,        cosines_bytes};
const struct op OP_ROW_BEST = {"row_best",       "rows cols", row_best_prepare,
                               row_best_execute, no_macs,     row_best_bytes};
const struct op OP_RANK = {"rank",       "rows cols rank gram", rank_prepare,
                           rank_execute, rank_ops_macs,         row_best_bytes};
const struct op OP_ARGMAX = {"argmax", "n", argmax_prepare, argmax_execute, no_macs, top_k_bytes};
