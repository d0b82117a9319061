/* The reference backend: every operation of ops.h as its formula reads, in one thread, with f64 accumulation
 * and f32 storage. It is the oracle that tests/test_ops.c holds the other backends to; clarity comes before
 * speed.
 *
 * A row is computed alone, so row invariance holds by construction. Softmax is two passes over the keys, the
 * second of which computes each logit again: no memory is needed for a row of logits. */
#include "ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "memory.h"
#include "rank.h"

enum { MAX_HEAD_DIM = 1024 };

/* ---- life ----------------------------------------------------------------------------------- */

static enum status ref_open(struct compute *out, int n_threads, struct error *err)
{
    (void)err;
    (void)n_threads; /* one, whatever is asked for */
    *out = (struct compute){.ops = &ops_ref, .n_threads = 1};
    return OK;
}

static void ref_close(struct compute *c)
{
    *c = (struct compute){0};
}

static void *ref_alloc(size_t n_bytes)
{
#ifndef NDEBUG
    ENSURE(!memory_guarded());
#endif
    if (n_bytes > SIZE_MAX / 2)
        return NULL;
    return aligned_alloc(64, (n_bytes + 63) / 64 * 64 + (n_bytes == 0 ? 64 : 0));
}

static void ref_release(void *memory)
{
    free(memory);
}

static void ref_move(struct compute *c, void *to, const void *from, size_t n_bytes)
{
    (void)c;
    if (n_bytes > 0)
        memcpy(to, from, n_bytes);
}

static enum status ref_dtype_check(enum dtype dtype, struct error *err)
{
    return dtype == DTYPE_F32
               ? OK
               : fail(err, NO_MACHINE, "dtype %s: the ref backend computes in f32; use --dtype f32",
                      dtype == DTYPE_BF16 ? "bf16" : "f16");
}

static enum status ref_weight_pack(struct weight *out, const struct weights_tensor *tensor, int n_out,
                                   int n_in, enum dtype dtype, struct error *err)
{
    ENSURE(n_out > 0 && n_in > 0 && tensor->n_elements == (int64_t)n_out * n_in);
    TRY(ref_dtype_check(dtype, err));
    size_t n_bytes = (size_t)n_out * (size_t)n_in * sizeof(float);
    float *packed = ref_alloc(n_bytes);
    if (!packed)
        return memory_failed(err, tensor->name, n_bytes);
    weights_to_f32(packed, tensor, 0, tensor->n_elements);
    *out = (struct weight){.n_out = n_out, .n_in = n_in, .n_bytes = n_bytes, .packed = packed};
    return OK;
}

static void ref_weight_free(struct weight *weight)
{
    free(weight->packed);
    *weight = (struct weight){0};
}

/* ---- dense ---------------------------------------------------------------------------------- */

static double dot(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void ref_linear(struct compute *c, float *y, const float *x, const struct weight *w, const float *bias,
                       int n)
{
    const float *rows = w->packed; /* (n_out, n_in) */
    size_t n_out = (size_t)w->n_out, n_in = (size_t)w->n_in;
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t o = 0; o < n_out; o++)
            y[i * n_out + o] =
                (float)(dot(x + i * n_in, rows + o * n_in, w->n_in) + (bias ? (double)bias[o] : 0.0));
    c->macs += (uint64_t)n * n_out * n_in;
}

static void ref_linear_row(struct compute *c, float *y, const float *x, const struct weight *w,
                           const float *bias)
{
    ref_linear(c, y, x, w, bias, 1);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void ref_rms_norm(struct compute *c, float *y, const float *x, const float *weight, float eps, int n,
                         int d)
{
    (void)c;
    for (int i = 0; i < n; i++, x += d, y += d) {
        double scale = 1.0 / sqrt(dot(x, x, d) / d + (double)eps);
        for (int k = 0; k < d; k++)
            y[k] = (float)((double)x[k] * scale * (double)weight[k]);
    }
}

static void ref_layer_norm(struct compute *c, float *y, const float *x, const float *weight,
                           const float *bias, float eps, int n, int d)
{
    (void)c;
    for (int i = 0; i < n; i++, x += d, y += d) {
        double mean = 0, variance = 0;
        for (int k = 0; k < d; k++)
            mean += (double)x[k];
        mean /= d;
        for (int k = 0; k < d; k++)
            variance += ((double)x[k] - mean) * ((double)x[k] - mean);
        double scale = 1.0 / sqrt(variance / d + (double)eps);
        for (int k = 0; k < d; k++)
            y[k] = (float)(((double)x[k] - mean) * scale * (double)weight[k] + (double)bias[k]);
    }
}

static void ref_add(struct compute *c, float *y, const float *x, size_t n)
{
    (void)c;
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double quick_gelu(double x)
{
    return x * sigmoid(1.702 * x);
}

static double gelu(double x)
{
    return 0.5 * x * erfc(-x * 0.70710678118654752440);
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

static double silu(double x)
{
    return x * sigmoid(x);
}

static void ref_activate(struct compute *c, float *y, enum activation kind, size_t n)
{
    static double (*const FUNCTIONS[])(double) = {
        [ACTIVATION_QUICK_GELU] = quick_gelu,
        [ACTIVATION_GELU] = gelu,
        [ACTIVATION_GELU_TANH] = gelu_tanh,
        [ACTIVATION_SILU] = silu,
    };
    (void)c;
    for (size_t i = 0; i < n; i++)
        y[i] = (float)FUNCTIONS[kind]((double)y[i]);
}

static void ref_silu_mul(struct compute *c, float *gate, const float *up, size_t n)
{
    (void)c;
    for (size_t i = 0; i < n; i++)
        gate[i] = (float)(silu((double)gate[i]) * (double)up[i]);
}

static void ref_rope(struct compute *c, float *x, const float *table, const int32_t *positions, int first,
                     int n, int n_heads, int head_dim)
{
    (void)c;
    int half = head_dim / 2;
    for (int i = 0; i < n; i++) {
        const float *cosine = table + (size_t)(positions ? positions[i] : first + i) * (size_t)head_dim;
        const float *sine = cosine + half;
        for (int h = 0; h < n_heads; h++, x += head_dim)
            for (int j = 0; j < half; j++) {
                double a = (double)x[j], b = (double)x[j + half];
                x[j] = (float)(a * (double)cosine[j] - b * (double)sine[j]);
                x[j + half] = (float)(b * (double)cosine[j] + a * (double)sine[j]);
            }
    }
}

static void ref_gather_rows(struct compute *c, float *y, const float *x, const int32_t *index, int n, int d)
{
    (void)c;
    for (size_t i = 0; i < (size_t)n; i++)
        memcpy(y + i * (size_t)d, x + (size_t)index[i] * (size_t)d, (size_t)d * sizeof(float));
}

static void ref_merge_rows(struct compute *c, float *y, const float *own, const float *x,
                           const int32_t *index, const int32_t *group, const float *weight, int n,
                           int n_sources, int n_groups, int d)
{
    for (int g = 0; g < n_groups; g++)
        for (int k = 0; k < d; k++) {
            float *at = y + (size_t)g * (size_t)d + (size_t)k;
            double sum = own ? (double)own[g] * (double)*at : 0;
            for (int i = 0; i < n; i++)
                if (group[i] == g)
                    sum += (double)weight[i] * (double)x[(size_t)index[i] * (size_t)d + (size_t)k];
            *at = (float)sum;
        }
    c->macs += (uint64_t)n_sources * (uint64_t)d;
}

static void ref_head_mean(struct compute *c, float *y, const float *x, int n, int n_heads, int d)
{
    (void)c;
    for (int i = 0; i < n; i++, x += (size_t)n_heads * (size_t)d)
        for (int k = 0; k < d; k++) {
            double sum = 0;
            for (int h = 0; h < n_heads; h++)
                sum += (double)x[(size_t)h * (size_t)d + (size_t)k];
            *y++ = (float)(sum / n_heads);
        }
}

static void ref_patchify(struct compute *c, float *patches, const float *pixels, int width, int height,
                         int patch)
{
    (void)c;
    for (int row = 0; row < height / patch; row++)
        for (int column = 0; column < width / patch; column++)
            for (int channel = 0; channel < 3; channel++)
                for (int y = 0; y < patch; y++)
                    for (int x = 0; x < patch; x++)
                        *patches++ = pixels[((size_t)channel * (size_t)height + (size_t)(row * patch + y)) *
                                                (size_t)width +
                                            (size_t)(column * patch + x)];
}

/* ---- attention ------------------------------------------------------------------------------ */

/* Element k of the key and of the value that kv head g has at a position. */
static float *key_at(const struct kv_view *kv, int g, int position, int k)
{
    float *head = kv->pages[position / KV_PAGE] + kv_page_floats(g, kv->head_dim);
    return head + (size_t)k * KV_PAGE + position % KV_PAGE;
}

static float *value_at(const struct kv_view *kv, int g, int position, int k)
{
    float *head = kv->pages[position / KV_PAGE] + kv_page_floats(g, kv->head_dim);
    return head + ((size_t)KV_PAGE + (size_t)(position % KV_PAGE)) * (size_t)kv->head_dim + k;
}

static void ref_kv_write(struct compute *c, const struct kv_view *kv, const float *k, const float *v,
                         int first, int n)
{
    (void)c;
    for (int i = 0; i < n; i++)
        for (int g = 0; g < kv->n_kv_heads; g++)
            for (int j = 0; j < kv->head_dim; j++) {
                *key_at(kv, g, first + i, j) = *k++;
                *value_at(kv, g, first + i, j) = *v++;
            }
}

static double logit(const float *q, const struct kv_view *kv, int g, int position)
{
    double sum = 0;
    for (int k = 0; k < kv->head_dim; k++)
        sum += (double)q[k] * (double)*key_at(kv, g, position, k);
    return sum / sqrt((double)kv->head_dim);
}

/* One row of one head over keys 0 … n_keys−1; returns its log-sum-exp. */
static double attend(float *y, const float *q, const struct kv_view *kv, const float *key_bias, int g,
                     int n_keys)
{
    double most = -INFINITY, total = 0, sum[MAX_HEAD_DIM] = {0};
    for (int j = 0; j < n_keys; j++)
        most = fmax(most, logit(q, kv, g, j) + (key_bias ? (double)key_bias[j] : 0.0));
    for (int j = 0; j < n_keys; j++) {
        double p = exp(logit(q, kv, g, j) + (key_bias ? (double)key_bias[j] : 0.0) - most);
        total += p;
        for (int k = 0; k < kv->head_dim; k++)
            sum[k] += p * (double)*value_at(kv, g, j, k);
    }
    for (int k = 0; k < kv->head_dim; k++)
        y[k] = (float)(sum[k] / total);
    return most + log(total);
}

static void ref_attention(struct compute *c, float *y, float *lse, const float *q, const struct kv_view *kv,
                          const float *key_bias, bool causal, int n_q, int n_heads)
{
    ENSURE(kv->head_dim <= MAX_HEAD_DIM && n_heads % kv->n_kv_heads == 0 && (!causal || n_q <= kv->length));
    int heads_per_kv = n_heads / kv->n_kv_heads;
    for (int i = 0; i < n_q; i++)
        for (int h = 0; h < n_heads; h++) {
            size_t at = ((size_t)i * (size_t)n_heads + (size_t)h) * (size_t)kv->head_dim;
            int n_keys = causal ? kv->length - n_q + i + 1 : kv->length;
            double row_lse = attend(y + at, q + at, kv, key_bias, h / heads_per_kv, n_keys);
            if (lse)
                lse[(size_t)h * (size_t)n_q + (size_t)i] = (float)row_lse;
        }
    c->macs += 2 * (uint64_t)n_heads * (uint64_t)n_q * (uint64_t)kv->length * (uint64_t)kv->head_dim;
}

static void ref_attention_row(struct compute *c, float *y, const float *q, const struct kv_view *kv,
                              int n_heads)
{
    ref_attention(c, y, NULL, q, kv, NULL, false, 1, n_heads);
}

/* ---- reduction ------------------------------------------------------------------------------ */

/* exp(q_i·k_j/√d − lse) of head h, 0 where key j lies after row i. */
static double probability(const float *q, const float *lse, const struct kv_view *kv, int i, int j, int n_q,
                          int q_first, int h, int n_heads)
{
    const float *row = q + ((size_t)i * (size_t)n_heads + (size_t)h) * (size_t)kv->head_dim;
    if (j > q_first + i)
        return 0;
    return exp(logit(row, kv, h / (n_heads / kv->n_kv_heads), j) -
               (double)lse[(size_t)h * (size_t)n_q + (size_t)i]);
}

static void ref_attention_score(struct compute *c, const struct score_output *out, const float *factor,
                                const float *q, const float *lse, const struct kv_view *kv,
                                const int32_t *rows, const int32_t *keys, int n_rows, int n_keys, int n_q,
                                int q_first, int n_heads)
{
    double *over_rows = memory_alloc((size_t)n_heads, sizeof *over_rows);
    ENSURE(over_rows);
    for (int j = 0; j < n_keys; j++) {
        double total = 0;
        memset(over_rows, 0, (size_t)n_heads * sizeof *over_rows);
        for (int r = 0; r < n_rows; r++) {
            size_t at = (size_t)r * (size_t)n_keys + (size_t)j;
            double over_heads = 0;
            for (int h = 0; h < n_heads; h++) {
                double p = probability(q, lse, kv, rows[r], keys[j], n_q, q_first, h, n_heads) *
                           (factor ? (double)factor[at] : 1.0);
                over_heads += p;
                over_rows[h] += p;
            }
            if (out->rows)
                out->rows[at] = (float)(over_heads / n_heads);
            total += over_heads / n_heads;
        }
        if (out->mean)
            out->mean[j] = (float)(total / n_rows);
        for (int h = 0; h < n_heads && out->heads; h++)
            out->heads[(size_t)h * (size_t)n_keys + (size_t)j] = (float)(over_rows[h] / n_rows);
    }
    free(over_rows);
    c->macs += (uint64_t)n_heads * (uint64_t)n_rows * (uint64_t)n_keys * (uint64_t)kv->head_dim;
}

static void ref_query_score(struct compute *c, float *p, const float *q, const struct kv_view *kv, int n_rows,
                            int n_heads)
{
    size_t n = (size_t)kv->length, d = (size_t)kv->head_dim;
    double *sum = memory_zero(n, sizeof *sum), *row = memory_alloc(n, sizeof *row);
    ENSURE(sum && row && kv->length > 0 && n_rows > 0 && n_heads % kv->n_kv_heads == 0);
    for (int i = 0; i < n_rows * n_heads; i++) { /* row i / n_heads, head i % n_heads */
        double most = -INFINITY, total = 0;
        for (size_t j = 0; j < n; j++) {
            row[j] = logit(q + (size_t)i * d, kv, i % n_heads / (n_heads / kv->n_kv_heads), (int)j);
            most = fmax(most, row[j]);
        }
        for (size_t j = 0; j < n; j++)
            total += row[j] = exp(row[j] - most);
        for (size_t j = 0; j < n; j++)
            sum[j] += row[j] / total;
    }
    for (size_t j = 0; j < n; j++)
        p[j] = (float)(sum[j] / ((double)n_rows * n_heads));
    free(sum);
    free(row);
    c->macs += (uint64_t)n_heads * (uint64_t)n_rows * n * d;
}

static void ref_text_share(struct compute *c, float *share, const float *visual, const float *text,
                           int n_visual, int n_text, int d)
{
    double *sum = memory_zero((size_t)n_text, sizeof *sum);
    double *row = memory_alloc((size_t)n_text, sizeof *row);
    ENSURE(sum && row);
    for (int i = 0; i < n_visual; i++) {
        double most = -INFINITY, total = 0;
        for (int t = 0; t < n_text; t++) {
            row[t] = dot(visual + (size_t)i * (size_t)d, text + (size_t)t * (size_t)d, d);
            most = fmax(most, row[t]);
        }
        for (int t = 0; t < n_text; t++)
            total += row[t] = exp(row[t] - most);
        for (int t = 0; t < n_text; t++)
            sum[t] += row[t] / total;
    }
    for (int t = 0; t < n_text; t++)
        share[t] = (float)(sum[t] / n_visual);
    free(sum);
    free(row);
    c->macs += (uint64_t)n_visual * (uint64_t)n_text * (uint64_t)d;
}

/* What an order of values sees: NaN below everything (callers refuse it, an order must still exist). */
static float ordered(float x)
{
    return isnan(x) ? -INFINITY : x;
}

/* The next one is the largest that comes after the one before it in (falling value, rising index). */
static void ref_top_k(struct compute *c, int32_t *index, const float *x, int k, int n)
{
    (void)c;
    ENSURE(k <= n);
    int last = -1;
    for (int m = 0; m < k; m++) {
        int best = -1;
        for (int i = 0; i < n; i++) {
            bool left = last < 0 || ordered(x[i]) < ordered(x[last]) ||
                        (ordered(x[i]) == ordered(x[last]) && i > last);
            if (left && (best < 0 || ordered(x[i]) > ordered(x[best])))
                best = i;
        }
        index[m] = last = best;
    }
}

static void ref_cluster(struct compute *c, int32_t *centres, int32_t *group, const float *x,
                        const int32_t *index, int n, int d, const struct cluster_options *options)
{
    double *distance2 = memory_zero((size_t)n * (size_t)n, sizeof *distance2);
    double *scratch = memory_alloc(cluster_scratch(n), sizeof *scratch);
    ENSURE(distance2 && scratch);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) { /* each pair once: exactly symmetric */
            const float *a = x + (size_t)index[i] * (size_t)d, *b = x + (size_t)index[j] * (size_t)d;
            double sum = 0;
            for (int k = 0; k < d; k++) {
                double difference = (double)a[k] - (double)b[k];
                sum += difference * difference;
            }
            distance2[(size_t)i * (size_t)n + (size_t)j] = distance2[(size_t)j * (size_t)n + (size_t)i] =
                sum / d;
        }
    cluster_assign(centres, group, distance2, scratch, x, index, n, d, options);
    free(distance2);
    free(scratch);
    c->macs += (uint64_t)n * (uint64_t)n * (uint64_t)d;
}

static void ref_cosines(struct compute *c, float *y, const float *x, const int32_t *rows, int n_rows,
                        const int32_t *cols, int n_cols, int d)
{
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < n_cols; j++) {
            const float *a = x + (size_t)rows[i] * (size_t)d, *b = x + (size_t)cols[j] * (size_t)d;
            double scale = sqrt(dot(a, a, d) * dot(b, b, d));
            *y++ = scale > 0 ? (float)(dot(a, b, d) / scale) : isnan(scale) ? NAN : 0.0f;
        }
    c->macs += (uint64_t)n_rows * (uint64_t)n_cols * (uint64_t)d;
}

static void ref_row_best(struct compute *c, float *best, int32_t *to, const float *y, int n_rows, int n_cols)
{
    (void)c;
    ENSURE(n_cols > 0);
    for (int i = 0; i < n_rows; i++, y += n_cols) {
        to[i] = 0;
        for (int j = 1; j < n_cols; j++)
            if (ordered(y[j]) > ordered(y[to[i]]))
                to[i] = j;
        best[i] = y[to[i]];
    }
}

/* Singular values of a [n, length], the norms of its rows once every two of them are at right angles:
 * one-sided Jacobi (Hestenes 1958). Rows of rounding error alone may turn for ever, hence the limit. */
static void singular_values(double *sigma, double *a, int n, int length)
{
    enum { MAX_SWEEPS = 60 };
    bool turned = true;
    for (int sweep = 0; sweep < MAX_SWEEPS && turned; sweep++) {
        turned = false;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < i; j++) {
                double *x = a + (size_t)i * (size_t)length, *y = a + (size_t)j * (size_t)length;
                double xx = 0, yy = 0, xy = 0;
                for (int k = 0; k < length; k++) {
                    xx += x[k] * x[k];
                    yy += y[k] * y[k];
                    xy += x[k] * y[k];
                }
                if (fabs(xy) <= 1e-15 * sqrt(xx * yy))
                    continue;
                double zeta = (yy - xx) / (2 * xy);
                double tangent = copysign(1 / (fabs(zeta) + hypot(1, zeta)), zeta);
                double cosine = 1 / hypot(1, tangent), sine = cosine * tangent;
                for (int k = 0; k < length; k++) {
                    double old = x[k];
                    x[k] = cosine * old - sine * y[k];
                    y[k] = sine * old + cosine * y[k];
                }
                turned = true;
            }
    }
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int k = 0; k < length; k++)
            sum += a[(size_t)i * (size_t)length + (size_t)k] * a[(size_t)i * (size_t)length + (size_t)k];
        sigma[i] = sqrt(sum);
    }
}

/* Not rank.c's LAPACK: two ways that check each other. */
static int ref_rank(struct compute *c, const float *matrix, int rows, int cols, double tol, bool gram)
{
    c->macs += rank_macs(rows, cols, gram);
    if (!rank_is_finite(matrix, rows, cols))
        return -1;
    int n = gram || rows < cols ? rows : cols, length = gram ? rows : rows < cols ? cols : rows;
    double *a = memory_alloc((size_t)n * (size_t)length + (size_t)n, sizeof *a);
    ENSURE(a);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < length; k++) {
            const float *row = matrix + (size_t)i * (size_t)cols;
            a[(size_t)i * (size_t)length + (size_t)k] =
                gram          ? dot(row, matrix + (size_t)k * (size_t)cols, cols)
                : rows < cols ? (double)row[k]
                              : (double)matrix[(size_t)k * (size_t)cols + (size_t)i];
        }
    double *sigma = a + (size_t)n * (size_t)length;
    singular_values(sigma, a, n, length);
    for (int i = 0; i < n && gram; i++)
        sigma[i] = sqrt(sigma[i]); /* those of the Gram matrix are the squares */
    int count = rank_count(sigma, n, rows, cols, tol);
    free(a);
    return count;
}

static int32_t ref_argmax(struct compute *c, const float *x, int n)
{
    (void)c;
    int best = 0;
    for (int i = 1; i < n; i++)
        if (ordered(x[i]) > ordered(x[best]))
            best = i;
    return best;
}

static double ref_gemm_rate(struct compute *c, enum dtype dtype, int m, int n, int k)
{
    (void)c;
    (void)dtype;
    (void)m;
    (void)n;
    (void)k;
    return 0; /* no library behind it */
}

const struct ops ops_ref = {
    .name = "ref",
    .open = ref_open,
    .close = ref_close,
    .alloc = ref_alloc,
    .release = ref_release,
    .upload = ref_move,
    .download = ref_move,
    .copy = ref_move,
    .dtype_check = ref_dtype_check,
    .weight_pack = ref_weight_pack,
    .weight_free = ref_weight_free,
    .linear = ref_linear,
    .linear_row = ref_linear_row,
    .rms_norm = ref_rms_norm,
    .layer_norm = ref_layer_norm,
    .add = ref_add,
    .activate = ref_activate,
    .silu_mul = ref_silu_mul,
    .rope = ref_rope,
    .gather_rows = ref_gather_rows,
    .merge_rows = ref_merge_rows,
    .head_mean = ref_head_mean,
    .patchify = ref_patchify,
    .kv_write = ref_kv_write,
    .attention = ref_attention,
    .attention_row = ref_attention_row,
    .attention_score = ref_attention_score,
    .query_score = ref_query_score,
    .text_share = ref_text_share,
    .top_k = ref_top_k,
    .cluster = ref_cluster,
    .cosines = ref_cosines,
    .row_best = ref_row_best,
    .rank = ref_rank,
    .argmax = ref_argmax,
    .gemm_rate = ref_gemm_rate,
};
