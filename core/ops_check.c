/* The table of op × shape × tolerance, see ops_check.h. A check prepares the same inputs for two backends
 * (from rng.h, so the same everywhere), executes the op on both, and compares what it wrote.
 *
 * Errors of floats are relative to the largest value of the reference's output. */
#include "ops_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "rng.h"

enum { MAX_BUFFERS = 16, MAX_OUTPUTS = 3, MAX_PAGES = 512, N_SIZES = 5 };

/* One backend at work on one check: s are the sizes of the table's row. */
struct side {
    const struct ops *ops;
    struct compute *c;
    int s[N_SIZES];
    int n_buffers, n_outputs;
    void *buffers[MAX_BUFFERS];
    float *in[4], *out[MAX_OUTPUTS];
    int32_t *index[3], *index_out[MAX_OUTPUTS];
    size_t n_out[MAX_OUTPUTS], n_index_out[MAX_OUTPUTS];
    struct weight weight;
    float *pages[MAX_PAGES];
    struct kv_view kv;
    bool failed;
    struct error err;
};

struct op {
    const char *name;
    const char *sizes; /* what s[0], s[1], … are */
    void (*prepare)(struct side *side);
    void (*execute)(struct side *side);
    double (*macs)(const int *s);
    double (*bytes)(const int *s); /* read and written, each once */
};

/* ---- inputs ------------------------------------------------------------------------------------------ */

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
    if (side->ops->weight_pack(&side->weight, &tensor, n_out, n_in, &side->err) != OK)
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

/* ---- the ops ----------------------------------------------------------------------------------------- */

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

static void rows_prepare(struct side *t) /* n, d, n_groups */
{
    input(t, 0, area(t->s[0], t->s[1]), -1, 1);
    input(t, 1, (size_t)t->s[2], 0, 1);
    index_input(t, 0, t->s[0], 5, 7, t->s[0]);
    index_input(t, 1, t->s[0], 0, 1, t->s[2]);
    output(t, 0, area(t->s[0], t->s[1]));
    t->n_out[0] = t->s[2] > 1 ? area(t->s[2], t->s[1]) : t->n_out[0];
}

static void gather_execute(struct side *t)
{
    t->ops->gather_rows(t->c, t->out[0], t->in[0], t->index[0], t->s[0], t->s[1]);
}

static void merge_execute(struct side *t)
{
    t->ops->merge_rows(t->c, t->out[0], t->in[0], t->index[0], t->index[1], t->in[1], t->s[0], t->s[2],
                       t->s[1]);
}

static double merge_macs(const int *s)
{
    return (double)s[0] * s[1];
}

static void patchify_prepare(struct side *t) /* size, patch */
{
    size_t n = 3 * area(t->s[0], t->s[0]);
    input(t, 0, n, -1, 1);
    output(t, 0, 3 * area(t->s[0] / t->s[1], t->s[0] / t->s[1]) * area(t->s[1], t->s[1]));
}

static void patchify_execute(struct side *t)
{
    t->ops->patchify(t->c, t->out[0], t->in[0], t->s[0], t->s[1]);
}

static double patchify_bytes(const int *s)
{
    return 24.0 * s[0] * s[0];
}

static void
attention_prepare(struct side *t) /* length, n_q (negative: not causal), n_heads, n_kv_heads, head_dim */
{
    int n_q = abs(t->s[1]), width = t->s[2] * t->s[4];
    kv_input(t, t->s[0], t->s[3], t->s[4]);
    input(t, 0, area(n_q, width), -2, 2);
    output(t, 0, area(n_q, width));
    output(t, 1, area(t->s[2], n_q));
}

static void attention_execute(struct side *t)
{
    t->ops->attention(t->c, t->out[0], t->out[1], t->in[0], &t->kv, t->s[1] > 0, abs(t->s[1]), t->s[2]);
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

/* length, n_rows, n_heads, n_kv_heads, head_dim; the keys are all but the last ten positions, the rows spread
 * over the whole sequence, so that the mask matters. */
static void score_prepare(struct side *t)
{
    int length = t->s[0], width = t->s[2] * t->s[4];
    kv_input(t, length, t->s[3], t->s[4]);
    input(t, 0, area(length, width), -2, 2);
    output(t, 0, (size_t)(length - 10));
    output(t, 1, area(t->s[1], length - 10));
    index_input(t, 0, t->s[1], length - 1, length - 7, length);
    index_input(t, 1, length - 10, 0, 1, length);
    float *lse = buffer(t, area(t->s[2], length) * sizeof *lse),
          *y = buffer(t, area(length, width) * sizeof *y);
    t->in[1] = lse;
    t->ops->attention(t->c, y, lse, t->in[0], &t->kv, true, length, t->s[2]);
}

static void score_execute(struct side *t)
{
    int length = t->s[0];
    t->ops->attention_score(t->c, t->out[0], t->out[1], t->in[0], t->in[1], &t->kv, t->index[0], t->index[1],
                            t->s[1], length - 10, length, 0, t->s[2]);
}

static double score_macs(const int *s)
{
    return (double)s[2] * s[1] * (s[0] - 10) * s[4];
}

static double score_bytes(const int *s)
{
    return 4.0 * s[0] * s[3] * s[4] + 4.0 * s[1] * s[2] * s[4];
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

#define ATTENTION_SIZES "length n_q heads kv_heads head_dim"

static const struct op LINEAR = {"linear",       "n n_out n_in bias", linear_prepare,
                                 linear_execute, linear_macs,         linear_bytes};
static const struct op LINEAR_ROW = {"linear_row",       "1 n_out n_in bias", linear_prepare,
                                     linear_row_execute, linear_macs,         linear_bytes};
static const struct op RMS_NORM = {"rms_norm", "n d", norm_prepare, rms_norm_execute, no_macs, two_bytes};
static const struct op LAYER_NORM = {"layer_norm",       "n d",   norm_prepare,
                                     layer_norm_execute, no_macs, two_bytes};
static const struct op ADD = {"add", "n d", pair_prepare, add_execute, no_macs, three_bytes};
static const struct op ACTIVATE = {"activate",       "n d kind", pair_prepare,
                                   activate_execute, no_macs,    two_bytes};
static const struct op SILU_MUL = {"silu_mul", "n d", pair_prepare, silu_mul_execute, no_macs, three_bytes};
static const struct op ROPE = {"rope",    "n heads head_dim positions", rope_prepare, rope_execute, no_macs,
                               rope_bytes};
static const struct op GATHER_ROWS = {"gather_rows", "n d", rows_prepare, gather_execute, no_macs, two_bytes};
static const struct op MERGE_ROWS = {"merge_rows",  "n d groups", rows_prepare,
                                     merge_execute, merge_macs,   two_bytes};
static const struct op PATCHIFY = {"patchify",       "size patch", patchify_prepare,
                                   patchify_execute, no_macs,      patchify_bytes};
static const struct op ATTENTION = {"attention",       ATTENTION_SIZES, attention_prepare,
                                    attention_execute, attention_macs,  attention_bytes};
static const struct op ATTENTION_ROW = {"attention_row",       ATTENTION_SIZES, attention_row_prepare,
                                        attention_row_execute, attention_macs,  attention_bytes};
static const struct op ATTENTION_SCORE = {"attention_score", "length n_rows heads kv_heads head_dim",
                                          score_prepare,     score_execute,
                                          score_macs,        score_bytes};
static const struct op TEXT_SHARE = {"text_share",  "visual text d", share_prepare,
                                     share_execute, linear_macs,     share_bytes};
static const struct op TOP_K = {"top_k", "n k", top_k_prepare, top_k_execute, no_macs, top_k_bytes};
static const struct op CLUSTER = {"cluster",       "n d C cosine", cluster_prepare,
                                  cluster_execute, cluster_macs,   cluster_bytes};
static const struct op ARGMAX = {"argmax", "n", argmax_prepare, argmax_execute, no_macs, top_k_bytes};

/* ---- the table --------------------------------------------------------------------------------------- */

struct check {
    const struct op *op;
    int s[N_SIZES];
    double tolerance; /* 0: bit by bit */
    bool is_large;    /* timed only */
};

static const struct check CHECKS[] = {
    /* the built-in miniature: tower 64 wide, decoder 128 wide, MLP 384 */
    {&LINEAR, {1, 128, 128}, 2e-6, false},
    {&LINEAR, {600, 128, 128}, 2e-6, false},
    {&LINEAR, {600, 384, 128}, 2e-6, false},
    {&LINEAR, {600, 128, 384}, 2e-6, false},
    {&LINEAR, {576, 64, 588}, 2e-6, false},
    {&LINEAR, {577, 64, 64, 1}, 2e-6, false},
    {&LINEAR, {50, 640, 128}, 2e-6, false},
    /* odd sizes, several groups and chunks */
    {&LINEAR, {49, 401, 77, 1}, 2e-6, false},
    {&LINEAR, {97, 1, 3, 1}, 2e-6, false},
    {&LINEAR, {5, 9, 1}, 2e-6, false},
    {&LINEAR, {100, 1000, 1100, 1}, 4e-6, false},
    {&LINEAR, {30, 770, 2048}, 4e-6, false},
    {&LINEAR, {640, 1024, 1024}, 0, true},
    {&LINEAR, {640, 1024, 2752}, 0, true},
    {&LINEAR, {640, 4096, 4096}, 0, true},
    {&LINEAR, {640, 4096, 11008}, 0, true},
    {&LINEAR_ROW, {1, 128, 128}, 2e-6, false},
    {&LINEAR_ROW, {1, 384, 128}, 2e-6, false},
    {&LINEAR_ROW, {1, 128, 384, 1}, 2e-6, false},
    {&LINEAR_ROW, {1, 401, 77, 1}, 2e-6, false},
    {&LINEAR_ROW, {1, 1000, 1100, 1}, 4e-6, false},
    {&LINEAR_ROW, {1, 640, 128}, 2e-6, false},
    {&LINEAR_ROW, {1, 4096, 4096}, 0, true},
    {&LINEAR_ROW, {1, 32000, 4096}, 0, true},
    {&RMS_NORM, {600, 128}, 1e-6, false},
    {&RMS_NORM, {3, 77}, 1e-6, false},
    {&RMS_NORM, {640, 4096}, 2e-6, false},
    {&LAYER_NORM, {577, 64}, 2e-6, false},
    {&LAYER_NORM, {3, 77}, 2e-6, false},
    {&LAYER_NORM, {577, 1024}, 2e-6, false},
    {&ADD, {600, 128}, 0, false},
    {&ADD, {1, 7}, 0, false},
    {&ACTIVATE, {577, 256, ACTIVATION_QUICK_GELU}, 1e-6, false},
    {&ACTIVATE, {576, 128, ACTIVATION_GELU}, 1e-6, false},
    {&ACTIVATE, {1, 77, ACTIVATION_GELU}, 1e-6, false},
    {&ACTIVATE, {576, 128, ACTIVATION_GELU_TANH}, 1e-6, false},
    {&ACTIVATE, {576, 129, ACTIVATION_SILU}, 1e-6, false},
    {&SILU_MUL, {600, 384}, 1e-6, false},
    {&SILU_MUL, {1, 77}, 1e-6, false},
    {&ROPE, {600, 4, 32}, 1e-6, false},
    {&ROPE, {600, 4, 32, 1}, 1e-6, false},
    {&ROPE, {33, 3, 10, 1}, 1e-6, false},
    {&GATHER_ROWS, {300, 128, 1}, 0, false},
    {&MERGE_ROWS, {83, 128, 9}, 1e-6, false},
    {&MERGE_ROWS, {154, 4096, 16}, 1e-6, false},
    {&PATCHIFY, {336, 14}, 0, false},
    {&ATTENTION, {620, 620, 4, 4, 32}, 4e-6, false},
    {&ATTENTION, {577, -577, 4, 4, 16}, 4e-6, false},
    {&ATTENTION, {1, 1, 4, 4, 32}, 4e-6, false},
    {&ATTENTION, {64, 64, 2, 2, 8}, 4e-6, false},
    {&ATTENTION, {65, 65, 2, 1, 64}, 4e-6, false},
    {&ATTENTION, {129, 70, 4, 2, 80}, 4e-6, false},
    {&ATTENTION, {200, 30, 2, 1, 128}, 4e-6, false},
    {&ATTENTION, {150, 150, 2, 2, 72}, 4e-6, false},
    {&ATTENTION, {70, -9, 2, 2, 13}, 4e-6, false},
    {&ATTENTION, {640, 640, 32, 32, 128}, 0, true},
    {&ATTENTION, {577, -577, 16, 16, 64}, 0, true},
    {&ATTENTION, {4096, 4096, 4, 4, 128}, 0, true},
    {&ATTENTION_ROW, {1, -1, 4, 4, 32}, 4e-6, false},
    {&ATTENTION_ROW, {620, -1, 4, 4, 32}, 4e-6, false},
    {&ATTENTION_ROW, {65, -1, 4, 2, 80}, 4e-6, false},
    {&ATTENTION_ROW, {128, -1, 2, 1, 13}, 4e-6, false},
    {&ATTENTION_ROW, {640, -1, 32, 32, 128}, 0, true},
    {&ATTENTION_SCORE, {620, 12, 4, 4, 32}, 1e-5, false},
    {&ATTENTION_SCORE, {75, 75, 4, 2, 13}, 1e-5, false},
    {&ATTENTION_SCORE, {130, 1, 2, 1, 80}, 1e-5, false},
    {&ATTENTION_SCORE, {640, 20, 32, 32, 128}, 0, true},
    {&ATTENTION_SCORE, {640, 640, 32, 32, 128}, 0, true},
    {&TEXT_SHARE, {576, 30, 128}, 1e-5, false},
    {&TEXT_SHARE, {17, 5, 77}, 1e-5, false},
    {&TEXT_SHARE, {576, 60, 4096}, 0, true},
    {&TOP_K, {576, 300}, 0, false},
    {&TOP_K, {576, 576}, 0, false},
    {&TOP_K, {5, 1}, 0, false},
    {&CLUSTER, {83, 128, 9}, 0, false},
    {&CLUSTER, {16, 128, 2}, 0, false},
    {&CLUSTER, {154, 77, 16}, 0, false},
    {&CLUSTER, {61, 128, 7, 1}, 0, false},
    {&CLUSTER, {1, 13, 1}, 0, false},
    {&CLUSTER, {154, 4096, 16}, 0, false},
    {&CLUSTER, {612, 4096, 62}, 0, true},
    {&ARGMAX, {640}, 0, false},
    {&ARGMAX, {152064}, 0, false},
};
enum { N_CHECKS = sizeof CHECKS / sizeof CHECKS[0] };

/* ---- the runner -------------------------------------------------------------------------------------- */

static void side_open(struct side *side, const struct ops *ops, struct compute *c, const struct check *check)
{
    *side = (struct side){.ops = ops, .c = c};
    memcpy(side->s, check->s, sizeof side->s);
    check->op->prepare(side);
    c->macs = 0;
}

static void side_close(struct side *side)
{
    for (int i = 0; i < side->n_buffers; i++)
        side->ops->release(side->buffers[i]);
    if (side->weight.packed)
        side->ops->weight_free(&side->weight);
}

/* Largest difference relative to the largest expected value; infinite where a value is no number. */
static double float_error(const float *found, const float *expected, size_t n)
{
    double most = 0, difference = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)found[i] - (double)expected[i]);
        if (!(d <= difference))
            difference = isnan(d) ? INFINITY : d;
        most = fmax(most, fabs((double)expected[i]));
    }
    return difference == 0 ? 0 : difference / most;
}

static void *fetch(struct side *side, const void *from, size_t n_bytes)
{
    void *host = memory_alloc(n_bytes, 1);
    ENSURE(host);
    side->ops->download(side->c, host, from, n_bytes);
    return host;
}

/* The error of one slot of outputs; indices: infinite unless all are equal. */
static double output_error(struct side *tested, struct side *reference, int slot)
{
    double error = 0;
    if (tested->out[slot]) {
        size_t n = tested->n_out[slot];
        float *found = fetch(tested, tested->out[slot], n * sizeof *found);
        float *expected = fetch(reference, reference->out[slot], n * sizeof *expected);
        error = float_error(found, expected, n);
        free(found);
        free(expected);
    }
    if (tested->index_out[slot]) {
        size_t n_bytes = tested->n_index_out[slot] * sizeof(int32_t);
        void *found = fetch(tested, tested->index_out[slot], n_bytes);
        void *expected = fetch(reference, reference->index_out[slot], n_bytes);
        error = memcmp(found, expected, n_bytes) == 0 ? error : INFINITY;
        free(found);
        free(expected);
    }
    return error;
}

/* Best of some repetitions, in milliseconds. */
static double best_ms(struct side *side, const struct check *check)
{
    double best = INFINITY, begin = clock_ms();
    float word;
    for (int i = 0; i < 200 && (i < 3 || clock_ms() - begin < 300); i++) {
        double start = clock_ms();
        check->op->execute(side);
        if (side->out[0])
            side->ops->download(side->c, &word, side->out[0], sizeof word); /* waits */
        double ms = clock_ms() - start;
        best = ms < best ? ms : best;
    }
    return best;
}

static int run_check(const struct check *check, const struct ops *ops, struct compute *c,
                     struct compute *c_ref, bool perf, FILE *out)
{
    struct side tested, reference;
    double error = 0, macs = check->op->macs(check->s);
    const char *verdict = check->is_large ? "" : "ok";
    int n_bad = 0;
    side_open(&tested, ops, c, check);
    if (tested.failed) {
        if (out)
            fprintf(out, "%-16s %s\n", check->op->name, tested.err.text);
        side_close(&tested);
        return 1;
    }
    check->op->execute(&tested);
    if ((double)c->macs != macs) {
        verdict = "MACS";
        n_bad = 1;
    }
    if (!check->is_large) {
        side_open(&reference, &ops_ref, c_ref, check);
        check->op->execute(&reference);
        for (int slot = 0; slot < tested.n_outputs; slot++)
            error = fmax(error, output_error(&tested, &reference, slot));
        side_close(&reference);
        if (!(error <= check->tolerance)) {
            verdict = "WRONG";
            n_bad = 1;
        }
    }
    if (out && (perf || n_bad)) {
        char sizes[96];
        snprintf(sizes, sizeof sizes, "%d %d %d %d %d", check->s[0], check->s[1], check->s[2], check->s[3],
                 check->s[4]);
        fprintf(out, "%-16s %-26s error %8.1e of %7.0e  %-5s", check->op->name, sizes, error,
                check->tolerance, verdict);
        if (perf) {
            double ms = best_ms(&tested, check);
            fprintf(out, "  %10.4f ms  %8.2f GFLOP/s  %8.2f GB/s", ms, 2e-6 * macs / ms,
                    1e-6 * check->op->bytes(check->s) / ms);
        }
        fprintf(out, "   (%s)\n", check->op->sizes);
    }
    side_close(&tested);
    return n_bad;
}

int ops_check(const struct ops *ops, int n_threads, bool perf, const char *filter, FILE *out)
{
    struct compute c, c_ref;
    struct error err;
    if (ops->open(&c, n_threads, &err) != OK) {
        if (out)
            fprintf(out, "%s: %s\n", ops->name, err.text);
        return 1;
    }
    if (ops_ref.open(&c_ref, 1, &err) != OK) {
        ops->close(&c);
        return 1;
    }
    int n_bad = 0;
    for (int i = 0; i < N_CHECKS; i++)
        if ((perf || !CHECKS[i].is_large) && (!filter || strstr(CHECKS[i].op->name, filter)))
            n_bad += run_check(&CHECKS[i], ops, &c, &c_ref, perf, out);
    ops_ref.close(&c_ref);
    ops->close(&c);
    return n_bad;
}
