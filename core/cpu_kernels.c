/* Inner loops of the CPU backend, see cpu_kernels.h. The build compiles this file once for each instruction
 * set, with -DCPU_KERNELS=generic, =avx2 (-mavx2 -mfma) and =avx512 (-mavx512f -mavx2 -mfma), always with
 * -ffp-contract=off.
 *
 * Attention is the flash kind: 24 query rows against one page of 64 keys at a time, pages from position 0 on,
 *   S = Q·K (scores over keys: K lies transposed), m' = max(m, S), P = e^(S − m'), sum = sum·e^(m − m') +
 * P·V, both products by one register tile of 6 rows × 2 vectors. A row that sees no key of a page is
 * multiplied by one and added zeros to, which leaves its bits alone, so it does not matter which rows share
 * its task. */
#include "cpu_kernels.h"

#include <math.h>

#include "cpu_functions.h"
#include "cpu_vector.h"

enum { TILE_ROWS = 6, PANEL = 2 * W, ROWS_ROOM = (ATTENTION_ROWS + W - 1) / W * W };
_Static_assert(ATTENTION_ROWS % TILE_ROWS == 0 && SCORE_ROWS % TILE_ROWS == 0, "whole tiles");
_Static_assert(KV_PAGE % PANEL == 0 && SCORE_KEYS % PANEL == 0 && (int)PANEL <= (int)KERNEL_MAX_PANEL,
               "whole panels");

/* ---- products ------------------------------------------------------------------------------- */

#define EACH_TILE_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)

/* c [6, PANEL] = c·rescale[row] (zero where NULL) + a [6, n] · b [n, PANEL]; strides in floats. */
static inline void product_tile(float *c, size_t c_stride, const float *rescale, const float *a,
                                size_t a_stride, const float *b, size_t b_stride, int n)
{
#define START(r)                                                                                             \
    vec left##r = {0}, right##r = {0};                                                                       \
    if (rescale) {                                                                                           \
        left##r = load(c + (r)*c_stride) * splat(rescale[r]);                                                \
        right##r = load(c + (r)*c_stride + W) * splat(rescale[r]);                                           \
    }
#define STEP(r)                                                                                              \
    {                                                                                                        \
        vec factor = splat(a[(r)*a_stride]);                                                                 \
        left##r = fma_vec(factor, b_left, left##r);                                                          \
        right##r = fma_vec(factor, b_right, right##r);                                                       \
    }
#define FINISH(r)                                                                                            \
    store(c + (r)*c_stride, left##r);                                                                        \
    store(c + (r)*c_stride + W, right##r);

    EACH_TILE_ROW(START)
    for (int k = 0; k < n; k++, a++, b += b_stride) {
        vec b_left = load(b), b_right = load(b + W);
        EACH_TILE_ROW(STEP)
    }
    EACH_TILE_ROW(FINISH)
#undef START
#undef STEP
#undef FINISH
}

static int round_up(int n, int to)
{
    return (n + to - 1) / to * to;
}

/* n_rows rows of stride to scratch, zeros up to whole tiles; returns their number. */
static int copy_rows(float *to, const float *from, size_t stride, int n_rows, int d)
{
    int padded = round_up(n_rows, TILE_ROWS);
    for (int i = 0; i < n_rows; i++)
        memcpy(to + (size_t)i * (size_t)d, from + (size_t)i * stride, (size_t)d * sizeof *to);
    memset(to + (size_t)n_rows * (size_t)d, 0, (size_t)(padded - n_rows) * (size_t)d * sizeof *to);
    return padded;
}

/* ---- attention ------------------------------------------------------------------------------ */

static inline ivec lanes_below(int limit)
{
    ivec lane;
    for (int i = 0; i < W; i++)
        lane[i] = i;
    return lane < (limit - (ivec){0});
}

/* What a block of query rows knows while it goes over the pages, by row. */
struct progress {
    float most[ROWS_ROOM];    /* greatest logit so far */
    float total[ROWS_ROOM];   /* Σ e^(logit − most) */
    float rescale[ROWS_ROOM]; /* what the sums before this page are to be multiplied by */
    int n_seen[ROWS_ROOM];    /* keys of this page that the row sees; not positive: none */
    int n_tile[ROWS_ROOM];    /* keys of this page that some row of its tile sees */
};

/* p [n_keys] = scale·p, −∞ from n_seen on; returns the greatest of them and `most`. */
static inline float scale_page(float *p, float most, float scale, int n_seen, int n_keys)
{
    const vec NOTHING = splat(-INFINITY);
    vec most_lanes = splat(most);
    int j = 0;
    for (; j + W <= n_seen; j += W) {
        vec s = load(p + j) * splat(scale);
        store(p + j, s);
        most_lanes = max_vec(s, most_lanes);
    }
    for (; j < n_keys; j += W) {
        vec s = choose(lanes_below(n_seen - j), load(p + j) * splat(scale), NOTHING);
        store(p + j, s);
        most_lanes = max_vec(s, most_lanes);
    }
    return max_lanes(most_lanes);
}

/* p = e^(p − most) over the first n_keys, rounded up to whole vectors; returns their sum. */
static inline float exp_page(float *p, float most, int n_keys)
{
    vec total = {0};
    for (int j = 0; j < n_keys; j += W) {
        vec e = exp_vec(load(p + j) - splat(most));
        store(p + j, e);
        total += e;
    }
    return sum_lanes(total);
}

/* p [n_rows, KV_PAGE] = scale·p + bias. A pass of its own, out of line: attention without biases pays nothing
 * for it (inlined, it cost the compiler's registers 1 to 2 %). */
static __attribute__((noinline)) void add_bias(float *p, const float *bias, float scale, int n_rows,
                                               int n_keys)
{
    float padded[KV_PAGE] = {0};
    memcpy(padded, bias, (size_t)n_keys * sizeof *bias);
    for (int i = 0; i < n_rows; i++, p += KV_PAGE)
        for (int j = 0; j < n_keys; j += W)
            store(p + j, load(p + j) * splat(scale) + load(padded + j));
}

/* Logits of one page for n_rows rows (whole tiles) to e^(logit − most). The rows' own exponentials are taken
 * W rows at a time; where a row sees nothing its own is e^0 = 1. */
static void softmax_page(float *p, struct progress *rows, float scale, int n_rows)
{
    for (int i = 0; i < n_rows; i++) {
        rows->rescale[i] = rows->most[i];
        if (rows->n_tile[i] > 0)
            rows->most[i] =
                scale_page(p + (size_t)i * KV_PAGE, rows->most[i], scale, rows->n_seen[i], rows->n_tile[i]);
    }
    for (int i = 0; i < n_rows; i += W) /* up to W − 1 more than there are: the arrays have room */
        store(rows->rescale + i, exp_vec(load(rows->rescale + i) - load(rows->most + i)));
    for (int i = 0; i < n_rows; i++)
        rows->total[i] = rows->total[i] * rows->rescale[i] +
                         exp_page(p + (size_t)i * KV_PAGE, rows->most[i], rows->n_tile[i]);
}

/* sum [rows, sum_stride] = sum·rescale + p [rows, KV_PAGE] · V [n_keys, d]; the columns that do not fill a
 * panel go through a padded copy. */
static void add_values(float *sum, size_t sum_stride, const struct progress *rows, const float *p,
                       const float *values, float *padded, int n_rows, int n_keys, int d)
{
    for (int column = 0; column < d; column += PANEL) {
        const float *panel = values + column;
        size_t panel_stride = (size_t)d;
        if (d - column < PANEL) {
            for (int j = 0; j < n_keys; j++)
                for (int k = 0; k < PANEL; k++)
                    padded[j * PANEL + k] = column + k < d ? panel[(size_t)j * (size_t)d + (size_t)k] : 0.0f;
            panel = padded;
            panel_stride = PANEL;
        }
        for (int i = 0; i < n_rows; i += TILE_ROWS)
            if (rows->n_tile[i] > 0)
                product_tile(sum + (size_t)i * sum_stride + column, sum_stride, rows->rescale + i,
                             p + (size_t)i * KV_PAGE, KV_PAGE, panel, panel_stride, rows->n_tile[i]);
    }
}

/* y = sum / total. Adding zero makes −0 of an underflow +0, as it is where a hidden page came after it. */
static void finish_row(float *y, const float *sum, float total, int d)
{
    float factor = 1.0f / total;
    for (int k = 0; k < d; k++)
        y[k] = sum[k] * factor + 0.0f;
}

/* What the rows see of the page that begins at `first`; rows of padding see what the last one does. */
static void see_page(struct progress *rows, const struct attention_task *task, int first, int n_rows)
{
    for (int i = 0; i < n_rows; i++) {
        int row = i < task->n_rows ? i : task->n_rows - 1;
        int n = task->first_keys + row * task->more_keys - first;
        rows->n_seen[i] = n < KV_PAGE ? n : KV_PAGE;
    }
    for (int i = 0; i < n_rows; i++) {
        int last = rows->n_seen[i / TILE_ROWS * TILE_ROWS + TILE_ROWS - 1];
        rows->n_tile[i] = last > 0 ? last : 0;
    }
}

static void attention(const struct attention_task *task, struct cpu_scratch *scratch)
{
    const struct kv_view *kv = task->kv;
    int d = kv->head_dim;
    size_t sum_stride = (size_t)round_up(d, PANEL);
    float scale = (float)(1.0 / sqrt((double)d));
    struct progress rows = {.total = {0}};
    for (int i = 0; i < ROWS_ROOM; i++)
        rows.most[i] = -INFINITY;
    int n_rows = copy_rows(scratch->q, task->q, task->stride, task->n_rows, d);
    memset(scratch->sum, 0, (size_t)n_rows * sum_stride * sizeof *scratch->sum);

    int last_keys = task->first_keys + (task->n_rows - 1) * task->more_keys; /* what the last row sees */
    for (int first = 0; first < last_keys; first += KV_PAGE) {
        const float *keys = kv->pages[first / KV_PAGE] + kv_page_floats(task->kv_head, d);
        const float *values = keys + (size_t)KV_PAGE * (size_t)d;
        int n_keys = last_keys - first < KV_PAGE ? last_keys - first : KV_PAGE;
        see_page(&rows, task, first, n_rows);
        for (int j = 0; j < n_keys; j += PANEL)
            for (int i = 0; i < n_rows; i += TILE_ROWS)
                if (rows.n_tile[i] > j)
                    product_tile(scratch->p + (size_t)i * KV_PAGE + j, KV_PAGE, NULL,
                                 scratch->q + (size_t)i * (size_t)d, (size_t)d, keys + j, KV_PAGE, d);
        if (task->key_bias)
            add_bias(scratch->p, task->key_bias + first, scale, n_rows, n_keys);
        softmax_page(scratch->p, &rows, task->key_bias ? 1.0f : scale, n_rows);
        add_values(scratch->sum, sum_stride, &rows, scratch->p, values, scratch->values, n_rows, n_keys, d);
    }

    for (int i = 0; i < task->n_rows; i++) {
        finish_row(task->y + (size_t)i * task->stride, scratch->sum + (size_t)i * sum_stride, rows.total[i],
                   d);
        if (task->lse)
            task->lse[i] = rows.most[i] + logf(rows.total[i]);
    }
}

/* c [n_columns] = c·rescale + a [n] · b [n, n_columns], four vectors of columns at a time. */
static inline void add_product_row(float *c, float rescale, const float *a, const float *b, size_t b_stride,
                                   int n, int n_columns)
{
    int column = 0;
    for (; column + 4 * W <= n_columns; column += 4 * W) {
        vec factor = splat(rescale);
        vec c0 = load(c + column) * factor, c1 = load(c + column + W) * factor;
        vec c2 = load(c + column + 2 * W) * factor, c3 = load(c + column + 3 * W) * factor;
        const float *at = b + column;
        for (int k = 0; k < n; k++, at += b_stride) {
            vec each = splat(a[k]);
            c0 = fma_vec(each, load(at), c0);
            c1 = fma_vec(each, load(at + W), c1);
            c2 = fma_vec(each, load(at + 2 * W), c2);
            c3 = fma_vec(each, load(at + 3 * W), c3);
        }
        store(c + column, c0);
        store(c + column + W, c1);
        store(c + column + 2 * W, c2);
        store(c + column + 3 * W, c3);
    }
    for (; column < n_columns; column += W) {
        int left = n_columns - column < W ? n_columns - column : W;
        vec sum = load_part(c + column, left) * splat(rescale);
        for (int k = 0; k < n; k++) {
            const float *at = b + (size_t)k * b_stride + column;
            sum = fma_vec(splat(a[k]), left == W ? load(at) : load_part(at, left), sum);
        }
        store_part(c + column, sum, left);
    }
}

static void attention_row(float *y, const float *q, const struct kv_view *kv, int kv_head,
                          struct cpu_scratch *scratch)
{
    int d = kv->head_dim;
    float scale = (float)(1.0 / sqrt((double)d));
    float most = -INFINITY, total = 0;
    memset(scratch->sum, 0, (size_t)d * sizeof *scratch->sum);
    for (int first = 0; first < kv->length; first += KV_PAGE) {
        const float *keys = kv->pages[first / KV_PAGE] + kv_page_floats(kv_head, d);
        const float *values = keys + (size_t)KV_PAGE * (size_t)d;
        int n_keys = kv->length - first < KV_PAGE ? kv->length - first : KV_PAGE;
        memset(scratch->p, 0, KV_PAGE * sizeof *scratch->p);
        add_product_row(scratch->p, 0.0f, q, keys, KV_PAGE, d, KV_PAGE);
        float before = most;
        most = scale_page(scratch->p, most, scale, n_keys, n_keys);
        float rescale = exp_vec(splat(before - most))[0];
        total = total * rescale + exp_page(scratch->p, most, n_keys);
        add_product_row(scratch->sum, rescale, scratch->p, values, (size_t)d, n_keys, d);
    }
    finish_row(y, scratch->sum, total, d);
}

/* Eight rows of w side by side: each a stream that the hardware fetches ahead, and y is touched once for
 * eight. */
static void product_row(float *y, const float *x, const float *w, int n_inputs, int n_outputs,
                        bool accumulate)
{
    enum { STREAMS = 8 };
    int k = 0, whole = n_outputs / W * W, left = n_outputs - whole;
    size_t stride = (size_t)n_outputs;
    if (!accumulate)
        memset(y, 0, stride * sizeof *y);
    for (; k + STREAMS <= n_inputs; k += STREAMS, x += STREAMS, w += STREAMS * stride) {
        for (int o = 0; o < whole; o += W) {
            vec sum = load(y + o);
#pragma GCC unroll 8
            for (int r = 0; r < STREAMS; r++)
                sum = fma_vec(splat(x[r]), load(w + (size_t)r * stride + o), sum);
            store(y + o, sum);
        }
        if (left == 0)
            continue;
        vec sum = load_part(y + whole, left);
        for (int r = 0; r < STREAMS; r++)
            sum = fma_vec(splat(x[r]), load_part(w + (size_t)r * stride + whole, left), sum);
        store_part(y + whole, sum, left);
    }
    for (; k < n_inputs; k++, x++, w += stride)
        for (int o = 0; o < n_outputs; o += W) {
            int n = n_outputs - o < W ? n_outputs - o : W;
            store_part(y + o, fma_vec(splat(*x), load_part(w + o, n), load_part(y + o, n)), n);
        }
}

/* ---- scores --------------------------------------------------------------------------------- */

/* The chosen keys of one kv head, side by side: to [head_dim, SCORE_KEYS], zeros behind the last. */
static void gather_keys(float *to, const struct kv_view *kv, int kv_head, const int32_t *keys, int n_keys)
{
    memset(to, 0, (size_t)kv->head_dim * SCORE_KEYS * sizeof *to);
    for (int j = 0; j < n_keys;) {
        int page = keys[j] / KV_PAGE, n_run = 1; /* neighbours in one page are copied together */
        while (j + n_run < n_keys && keys[j + n_run] == keys[j] + n_run && keys[j + n_run] / KV_PAGE == page)
            n_run++;
        const float *from = kv->pages[page] + kv_page_floats(kv_head, kv->head_dim) + keys[j] % KV_PAGE;
        for (int k = 0; k < kv->head_dim; k++)
            memcpy(to + k * SCORE_KEYS + j, from + k * KV_PAGE, (size_t)n_run * sizeof *to);
        j += n_run;
    }
}

/* Adds to head h what n_rows rows from `first` on give to it; their probabilities lie in scratch->p. */
static void score_head(const struct score_task *task, const struct cpu_scratch *scratch, int h, int first,
                       int n_rows)
{
    double sum[SCORE_KEYS] = {0};
    float *head = task->out.heads + (size_t)h * task->stride;
    for (int r = 0; r < n_rows; r++) {
        const float *p = scratch->p + r * SCORE_KEYS;
        const float *factor = task->factor ? task->factor + (size_t)(first + r) * task->stride : NULL;
        int position = task->q_first + task->rows[first + r];
        for (int j = 0; j < task->n_keys; j++)
            if (task->keys[j] <= position)
                sum[j] += factor ? (double)p[j] * (double)factor[j] : (double)p[j];
    }
    for (int j = 0; j < task->n_keys; j++)
        head[j] = (float)((first == 0 ? 0.0 : (double)head[j]) + sum[j] / task->n_rows);
}

/* mean [n_rows, SCORE_KEYS] of up to SCORE_ROWS rows from `first` on: heads in rising order. */
static void score_rows(const struct score_task *task, struct cpu_scratch *scratch, int first, int n_rows)
{
    const struct kv_view *kv = task->kv;
    int d = kv->head_dim, heads_per_kv = task->n_heads / kv->n_kv_heads;
    size_t width = (size_t)task->n_heads * (size_t)d;
    float scale = (float)(1.0 / sqrt((double)d));
    bool by_head = task->out.heads != NULL;
    memset(scratch->mean, 0, (size_t)n_rows * SCORE_KEYS * sizeof *scratch->mean);
    memset(scratch->q, 0, (size_t)round_up(n_rows, TILE_ROWS) * (size_t)d * sizeof *scratch->q);
    for (int h = 0; h < task->n_heads; h++) {
        if (h % heads_per_kv == 0)
            gather_keys(scratch->keys, kv, h / heads_per_kv, task->keys, task->n_keys);
        for (int r = 0; r < n_rows; r++)
            memcpy(scratch->q + r * d, task->q + (size_t)task->rows[first + r] * width + h * d,
                   (size_t)d * sizeof *task->q);
        for (int j = 0; j < task->n_keys; j += PANEL)
            for (int r = 0; r < n_rows; r += TILE_ROWS)
                product_tile(scratch->p + r * SCORE_KEYS + j, SCORE_KEYS, NULL, scratch->q + r * d, (size_t)d,
                             scratch->keys + j, SCORE_KEYS, d);
        for (int r = 0; r < n_rows; r++) {
            vec lse = splat(task->lse[(size_t)h * (size_t)task->n_q + (size_t)task->rows[first + r]]);
            for (int j = 0; j < task->n_keys; j += W) {
                float *mean = scratch->mean + r * SCORE_KEYS + j;
                vec e = exp_vec(load(scratch->p + r * SCORE_KEYS + j) * splat(scale) - lse);
                store(mean, load(mean) + e);
                if (by_head)
                    store(scratch->p + r * SCORE_KEYS + j, e);
            }
        }
        if (by_head)
            score_head(task, scratch, h, first, n_rows);
    }
    for (int r = 0; r < n_rows; r++) {
        float *mean = scratch->mean + r * SCORE_KEYS;
        const float *factor = task->factor ? task->factor + (size_t)(first + r) * task->stride : NULL;
        for (int j = 0; j < task->n_keys; j++) {
            bool is_later = task->keys[j] > task->q_first + task->rows[first + r];
            mean[j] = is_later ? 0.0f : mean[j] / (float)task->n_heads;
        }
        for (int j = 0; factor && j < task->n_keys; j++)
            mean[j] = mean[j] == 0.0f ? 0.0f : mean[j] * factor[j]; /* no −0 for a later key */
    }
}

static void score(const struct score_task *task, struct cpu_scratch *scratch)
{
    double sum[SCORE_KEYS] = {0};
    for (int first = 0; first < task->n_rows; first += SCORE_ROWS) {
        int n_rows = task->n_rows - first < SCORE_ROWS ? task->n_rows - first : SCORE_ROWS;
        score_rows(task, scratch, first, n_rows);
        for (int r = 0; r < n_rows; r++) {
            const float *mean = scratch->mean + r * SCORE_KEYS;
            for (int j = 0; j < task->n_keys; j++)
                sum[j] += (double)mean[j];
            if (task->out.rows)
                memcpy(task->out.rows + (size_t)(first + r) * task->stride, mean,
                       (size_t)task->n_keys * sizeof *mean);
        }
    }
    for (int j = 0; j < task->n_keys && task->out.mean; j++)
        task->out.mean[j] = (float)(sum[j] / task->n_rows);
}

/* ---- dot products --------------------------------------------------------------------------- */

/* Tiles of 2 × 4; a tile at the edge computes its last row again, so that all rows go the same way. */
static void dots(float *out, const float *a, const float *b, int n_a, int n_b, int d)
{
    for (int i = 0; i < n_a; i += 2)
        for (int j = 0; j < n_b; j += 4) {
            const float *a_rows[2], *b_rows[4];
            for (int r = 0; r < 2; r++)
                a_rows[r] = a + (size_t)(i + r < n_a ? i + r : n_a - 1) * (size_t)d;
            for (int r = 0; r < 4; r++)
                b_rows[r] = b + (size_t)(j + r < n_b ? j + r : n_b - 1) * (size_t)d;
            vec sum[2][4] = {{{0}}};
            for (int k = 0; k < d; k += W) {
                bool whole = d - k >= W;
                vec a0 = whole ? load(a_rows[0] + k) : load_part(a_rows[0] + k, d - k);
                vec a1 = whole ? load(a_rows[1] + k) : load_part(a_rows[1] + k, d - k);
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++) {
                    vec each = whole ? load(b_rows[r] + k) : load_part(b_rows[r] + k, d - k);
                    sum[0][r] = fma_vec(a0, each, sum[0][r]);
                    sum[1][r] = fma_vec(a1, each, sum[1][r]);
                }
            }
            for (int r = 0; r < 2 && i + r < n_a; r++)
                for (int s = 0; s < 4 && j + s < n_b; s++)
                    out[(size_t)(i + r) * (size_t)n_b + (size_t)(j + s)] = sum_lanes(sum[r][s]);
        }
}

static void softmax_row(float *x, int n)
{
    float most = -INFINITY;
    for (int i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    vec total = {0};
    for (int i = 0; i < n; i += W) {
        int left = n - i < W ? n - i : W;
        vec e = exp_vec(load_part(x + i, left) - splat(most));
        if (left < W)
            e = choose(lanes_below(left), e, (vec){0});
        store_part(x + i, e, left);
        total += e;
    }
    float factor = 1.0f / sum_lanes(total);
    for (int i = 0; i < n; i++)
        x[i] *= factor;
}

typedef double dvec_any __attribute__((vector_size(4 * W), aligned(8), may_alias));
enum { D = W / 2 }; /* lanes of a dvec */

/* The first floats as doubles, zeros behind them. */
static inline dvec load_double(const float *from, int left)
{
    if (left >= D)
        return __builtin_convertvector((halfvec) * (const halfvec_any *)from, dvec);
    float lanes[D] = {0};
    memcpy(lanes, from, (size_t)left * sizeof *from);
    return __builtin_convertvector((halfvec) * (const halfvec_any *)lanes, dvec);
}

static inline dvec load_dvec(const double *from)
{
    return (dvec) * (const dvec_any *)from;
}

static inline void store_dvec(double *to, dvec x)
{
    *(dvec_any *)to = (dvec_any)x;
}

static inline dvec splat_double(double x)
{
    return x - (dvec){0};
}

/* Products of two floats are exact in double: these sums have the bits of the reference's. */
static void page_logits(double *logits, const float *q, const float *keys, int d)
{
    double scale = sqrt((double)d);
    for (int j = 0; j < KV_PAGE; j += 4 * D) {
        dvec sum[4] = {{0}};
        for (int k = 0; k < d; k++) {
            dvec each = splat_double((double)q[k]);
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++)
                sum[r] = fma_dvec(each, load_double(keys + k * KV_PAGE + j + r * D, D), sum[r]);
        }
        for (int r = 0; r < 4; r++)
            store_dvec(logits + j + r * D, sum[r] / splat_double(scale));
    }
}

/* Register tiles of 4 rows of a × W of b. */
static void gram_block(double *g, const double *a, const double *b, int n)
{
    for (int i = 0; i < GRAM_PANEL; i += 4)
        for (int j = 0; j < GRAM_PANEL; j += W) {
            double *at = g + i * GRAM_PANEL + j;
            dvec left[4], right[4];
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                left[r] = load_dvec(at + r * GRAM_PANEL);
                right[r] = load_dvec(at + r * GRAM_PANEL + D);
            }
            const double *a_row = a + i, *b_row = b + j;
            for (int k = 0; k < n; k++, a_row += GRAM_PANEL, b_row += GRAM_PANEL) {
                dvec b_left = load_dvec(b_row), b_right = load_dvec(b_row + D);
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++) {
                    dvec each = splat_double(a_row[r]);
                    left[r] = fma_dvec(each, b_left, left[r]);
                    right[r] = fma_dvec(each, b_right, right[r]);
                }
            }
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                store_dvec(at + r * GRAM_PANEL, left[r]);
                store_dvec(at + r * GRAM_PANEL + D, right[r]);
            }
        }
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* Σ (x − shift)² or, squared false, Σ x: four vectors of partial sums. */
static inline float sum_row(const float *x, float shift, bool squared, int d)
{
    vec sum[4] = {{0}};
    int k = 0;
    for (; k + 4 * W <= d; k += 4 * W)
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            vec each = load(x + k + r * W) - splat(shift);
            sum[r] = squared ? fma_vec(each, each, sum[r]) : sum[r] + each;
        }
    for (; k < d; k += W) {
        int left = d - k < W ? d - k : W;
        vec each = load_part(x + k, left) - splat(shift);
        if (left < W)
            each = choose(lanes_below(left), each, (vec){0});
        sum[0] = squared ? fma_vec(each, each, sum[0]) : sum[0] + each;
    }
    return sum_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static void rms_norm(float *y, const float *x, const float *weight, float eps, int n, int d)
{
    for (int i = 0; i < n; i++, x += d, y += d) {
        float factor = 1.0f / sqrtf(sum_row(x, 0.0f, true, d) / (float)d + eps);
        for (int k = 0; k < d; k++)
            y[k] = x[k] * factor * weight[k];
    }
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, float eps, int n,
                       int d)
{
    for (int i = 0; i < n; i++, x += d, y += d) {
        float mean = sum_row(x, 0.0f, false, d) / (float)d;
        float factor = 1.0f / sqrtf(sum_row(x, mean, true, d) / (float)d + eps);
        for (int k = 0; k < d; k++)
            y[k] = (x[k] - mean) * factor * weight[k] + bias[k];
    }
}

static void head_mean(float *y, const float *x, int n_heads, int d)
{
    for (int k = 0; k < d; k += D) {
        int left = d - k < D ? d - k : D;
        float lanes[D];
        dvec sum = {0};
        for (int h = 0; h < n_heads; h++)
            sum += load_double(x + h * d + k, left);
        halfvec mean = __builtin_convertvector(sum / splat_double(n_heads), halfvec);
        memcpy(lanes, &mean, sizeof lanes);
        memcpy(y + k, lanes, (size_t)left * sizeof *y);
    }
}

static void add(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void add_scaled(float *y, const float *x, float scale, int n)
{
    for (int i = 0; i < n; i++)
        y[i] += scale * x[i];
}

/* The last elements go through a padded vector: where an element stands does not change its bits. */
#define APPLY(function)                                                                                      \
    for (size_t i = 0; i < n; i += W)                                                                        \
        if (n - i >= W)                                                                                      \
            store(y + i, function(load(y + i)));                                                             \
        else                                                                                                 \
            store_part(y + i, function(load_part(y + i, (int)(n - i))), (int)(n - i));

static void activate(float *y, enum activation kind, size_t n)
{
    switch (kind) {
    case ACTIVATION_QUICK_GELU:
        APPLY(quick_gelu)
        break;
    case ACTIVATION_GELU:
        APPLY(gelu)
        break;
    case ACTIVATION_GELU_TANH:
        APPLY(gelu_tanh)
        break;
    case ACTIVATION_SILU:
        APPLY(silu)
        break;
    }
}

static void silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += W) {
        int left = n - i < W ? (int)(n - i) : W;
        if (left == W)
            store(gate + i, silu(load(gate + i)) * load(up + i));
        else
            store_part(gate + i, silu(load_part(gate + i, left)) * load_part(up + i, left), left);
    }
}

static void rope_row(float *x, const float *angles, int n_heads, int head_dim)
{
    int half = head_dim / 2;
    const float *cosine = angles, *sine = angles + half;
    for (int h = 0; h < n_heads; h++, x += head_dim)
        for (int j = 0; j < half; j++) {
            float a = x[j], b = x[j + half];
            x[j] = a * cosine[j] - b * sine[j];
            x[j + half] = b * cosine[j] + a * sine[j];
        }
}

/* On the bits, not by the instruction for it, which takes small numbers for zero: the same everywhere. */
static inline uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = bits + 0x7FFF + (bits >> 16 & 1);
    uint32_t quiet = bits | 0x400000;
    return (uint16_t)(((bits & 0x7FFFFFFF) > 0x7F800000 ? quiet : rounded) >> 16);
}

static void bf16_row(uint16_t *y, const float *x, int n, int width)
{
    for (int i = 0; i < n; i++)
        y[i] = bf16_of(x[i]);
    memset(y + n, 0, (size_t)(width - n) * sizeof *y);
}

/* ---- the table ------------------------------------------------------------------------------ */

#define TABLE_NAME_(suffix) cpu_kernels_##suffix
#define TABLE_NAME(suffix)  TABLE_NAME_(suffix)
#define TEXT_(suffix)       #suffix
#define TEXT(suffix)        TEXT_(suffix)

const struct cpu_kernels TABLE_NAME(CPU_KERNELS) = {
    .name = TEXT(CPU_KERNELS),
    .attention = attention,
    .attention_row = attention_row,
    .product_row = product_row,
    .score = score,
    .dots = dots,
    .softmax_row = softmax_row,
    .page_logits = page_logits,
    .gram_block = gram_block,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .head_mean = head_mean,
    .add = add,
    .add_scaled = add_scaled,
    .activate = activate,
    .silu_mul = silu_mul,
    .rope_row = rope_row,
    .bf16_row = bf16_row,
};
