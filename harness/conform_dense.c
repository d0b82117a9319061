/* One layer at a time in double, straight from the formulas, with the whole attention map: what the
 * conformance suite holds the runtime's layers and scores to. Slow and plain on purpose; shares no operation
 * with the backends, only the pseudo-random weights.
 *
 *   decoder   h = x + o(attention(rope q(norm x), rope k(norm x), v(norm x)));  out = h + down(silu(gate) ·
 * up) vision    m = x + out(attention(LN1 x));  out = m + fc2(quick_gelu(fc1(LN2 m)))
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "memory.h"
#include "model.h"

#define TOWER "vision_tower.vision_model."

static double *doubles(size_t n)
{
    double *out = memory_zero(n + 1, sizeof *out);
    ENSURE(out && "memory of the reference"); /* a few megabytes */
    return out;
}

/* A weight by name; n_in 0: a vector. Owned by the caller. */
static double *tensor(const struct dense *dense, int n_out, int n_in, const char *format, int layer,
                      const char *name)
{
    char full[128];
    snprintf(full, sizeof full, format, layer, name);
    size_t n = (size_t)n_out * (size_t)(n_in ? n_in : 1);
    float *values = memory_alloc(n, sizeof *values);
    ENSURE(values);
    bool patches = strstr(full, "patch_embedding") != NULL;
    int side = dense->config->vision.patch;
    if (patches)
        load_random(values, full, 4, (int64_t[]){n_out, 3, side, side}, dense->seed,
                    dense->config->query_gain);
    else
        load_random(values, full, n_in ? 2 : 1, (int64_t[]){n_out, n_in}, dense->seed,
                    dense->config->query_gain);
    double *out = doubles(n);
    for (size_t i = 0; i < n; i++)
        out[i] = (double)values[i];
    free(values);
    return out;
}

#define DECODER_LAYER "language_model.model.layers.%d.%s.weight"
#define VISION_WEIGHT TOWER "encoder.layers.%d.%s.weight"
#define VISION_BIAS   TOWER "encoder.layers.%d.%s.bias"

/* y [n, n_out] = x [n, n_in] · wᵀ + b; takes w and b. */
static double *linear(const double *x, double *w, double *b, int n, int n_in, int n_out)
{
    double *y = doubles((size_t)n * (size_t)n_out);
    for (int i = 0; i < n; i++)
        for (int o = 0; o < n_out; o++) {
            double sum = b ? b[o] : 0;
            for (int k = 0; k < n_in; k++)
                sum += x[(size_t)i * (size_t)n_in + (size_t)k] * w[(size_t)o * (size_t)n_in + (size_t)k];
            y[(size_t)i * (size_t)n_out + (size_t)o] = sum;
        }
    free(w);
    free(b);
    return y;
}

static double *rms_norm(const double *x, double *weight, double eps, int n, int d)
{
    double *y = doubles((size_t)n * (size_t)d);
    for (int i = 0; i < n; i++) {
        const double *row = x + (size_t)i * (size_t)d;
        double sum = 0;
        for (int k = 0; k < d; k++)
            sum += row[k] * row[k];
        for (int k = 0; k < d; k++)
            y[(size_t)i * (size_t)d + (size_t)k] = row[k] / sqrt(sum / d + eps) * weight[k];
    }
    free(weight);
    return y;
}

static double *layer_norm(const double *x, double *weight, double *bias, double eps, int n, int d)
{
    double *y = doubles((size_t)n * (size_t)d);
    for (int i = 0; i < n; i++) {
        const double *row = x + (size_t)i * (size_t)d;
        double mean = 0, variance = 0;
        for (int k = 0; k < d; k++)
            mean += row[k] / d;
        for (int k = 0; k < d; k++)
            variance += (row[k] - mean) * (row[k] - mean) / d;
        for (int k = 0; k < d; k++)
            y[(size_t)i * (size_t)d + (size_t)k] =
                (row[k] - mean) / sqrt(variance + eps) * weight[k] + bias[k];
    }
    free(weight);
    free(bias);
    return y;
}

/* Pairs (j, j + h/2) of every head turn by position · θ^(−2j/h). */
static void rotate(double *x, const int *positions, int n, int n_heads, int h, double theta)
{
    for (int i = 0; i < n; i++)
        for (int head = 0; head < n_heads; head++)
            for (int j = 0; j < h / 2; j++) {
                double angle = positions[i] * pow(theta, -2.0 * j / h);
                double *a = x + ((size_t)i * (size_t)n_heads + (size_t)head) * (size_t)h + j, *b = a + h / 2;
                double first = *a, second = *b;
                *a = first * cos(angle) - second * sin(angle);
                *b = second * cos(angle) + first * sin(angle);
            }
}

/* attention [H, n, n] and its mix [n, H·h] of the values. */
static double *attend(double *attention, const double *q, const double *k, const double *v,
                      const double *bias, bool causal, int n, int n_heads, int n_kv_heads, int h)
{
    double *mix = doubles((size_t)n * (size_t)n_heads * (size_t)h);
    for (int head = 0; head < n_heads; head++) {
        int shared = head / (n_heads / n_kv_heads);
        for (int i = 0; i < n; i++) {
            double *row = attention + ((size_t)head * (size_t)n + (size_t)i) * (size_t)n;
            const double *query = q + ((size_t)i * (size_t)n_heads + (size_t)head) * (size_t)h;
            int n_keys = causal ? i + 1 : n;
            double most = -INFINITY, sum = 0;
            memset(row, 0, (size_t)n * sizeof *row);
            for (int j = 0; j < n_keys; j++) {
                const double *key = k + ((size_t)j * (size_t)n_kv_heads + (size_t)shared) * (size_t)h;
                double dot = 0;
                for (int c = 0; c < h; c++)
                    dot += query[c] * key[c];
                row[j] = dot / sqrt(h) + (bias ? bias[j] : 0);
                most = fmax(most, row[j]);
            }
            for (int j = 0; j < n_keys; j++)
                sum += row[j] = exp(row[j] - most);
            double *to = mix + ((size_t)i * (size_t)n_heads + (size_t)head) * (size_t)h;
            for (int j = 0; j < n_keys; j++) {
                row[j] /= sum;
                const double *value = v + ((size_t)j * (size_t)n_kv_heads + (size_t)shared) * (size_t)h;
                for (int c = 0; c < h; c++)
                    to[c] += row[j] * value[c];
            }
        }
    }
    return mix;
}

void dense_decoder(double *attention, double *out, const struct dense *dense, int layer, const double *x,
                   const int *positions, int n)
{
    const struct vlm_config *c = dense->config;
    int d = c->text.hidden, m = c->text.intermediate, h = c->text.head_dim, heads = c->text.n_heads,
        kv_heads = c->text.n_kv_heads;
    double eps = (double)c->text.eps;
#define WEIGHT(name, n_out, n_in) tensor(dense, n_out, n_in, DECODER_LAYER, layer, name)
    double *normed = rms_norm(x, WEIGHT("input_layernorm", d, 0), eps, n, d);
    double *q = linear(normed, WEIGHT("self_attn.q_proj", heads * h, d), NULL, n, d, heads * h);
    double *k = linear(normed, WEIGHT("self_attn.k_proj", kv_heads * h, d), NULL, n, d, kv_heads * h);
    double *v = linear(normed, WEIGHT("self_attn.v_proj", kv_heads * h, d), NULL, n, d, kv_heads * h);
    rotate(q, positions, n, heads, h, c->text.rope_theta);
    rotate(k, positions, n, kv_heads, h, c->text.rope_theta);
    double *mix = attend(attention, q, k, v, NULL, true, n, heads, kv_heads, h);
    free(normed);
    free(q);
    free(k);
    free(v);
    if (out) {
        double *branch = linear(mix, WEIGHT("self_attn.o_proj", d, heads * h), NULL, n, heads * h, d);
        for (size_t i = 0; i < (size_t)n * (size_t)d; i++)
            out[i] = x[i] + branch[i];
        free(branch);
        normed = rms_norm(out, WEIGHT("post_attention_layernorm", d, 0), eps, n, d);
        double *gate = linear(normed, WEIGHT("mlp.gate_proj", m, d), NULL, n, d, m);
        double *up = linear(normed, WEIGHT("mlp.up_proj", m, d), NULL, n, d, m);
        for (size_t i = 0; i < (size_t)n * (size_t)m; i++)
            gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
        branch = linear(gate, WEIGHT("mlp.down_proj", d, m), NULL, n, m, d);
        for (size_t i = 0; i < (size_t)n * (size_t)d; i++)
            out[i] += branch[i];
        free(normed);
        free(gate);
        free(up);
        free(branch);
    }
    free(mix);
#undef WEIGHT
}

void dense_head(double *logits, const struct dense *dense, const double *row)
{
    const struct vlm_config *c = dense->config;
    int d = c->text.hidden, n = c->text.vocabulary;
    double *normed = rms_norm(row, tensor(dense, d, 0, "language_model.model.norm.weight", 0, ""),
                              (double)c->text.eps, 1, d);
    double *all = linear(normed, tensor(dense, n, d, "language_model.lm_head.weight", 0, ""), NULL, 1, d, n);
    memcpy(logits, all, (size_t)n * sizeof *logits);
    free(normed);
    free(all);
}

/* ---- the tower ------------------------------------------------------------------------------ */

#define WEIGHT(name, n_out, n_in) tensor(dense, n_out, n_in, VISION_WEIGHT, layer, name)
#define BIAS(name, n_out)         tensor(dense, n_out, 0, VISION_BIAS, layer, name)

void dense_vision(double *middle, double *attention, double *keys, const struct dense *dense, int layer,
                  const double *x, const double *bias, int n)
{
    const struct vlm_config *c = dense->config;
    int d = c->vision.hidden, heads = c->vision.n_heads;
    double *normed =
        layer_norm(x, WEIGHT("layer_norm1", d, 0), BIAS("layer_norm1", d), (double)c->vision.eps, n, d);
    double *q = linear(normed, WEIGHT("self_attn.q_proj", d, d), BIAS("self_attn.q_proj", d), n, d, d);
    double *k = linear(normed, WEIGHT("self_attn.k_proj", d, d), BIAS("self_attn.k_proj", d), n, d, d);
    double *v = linear(normed, WEIGHT("self_attn.v_proj", d, d), BIAS("self_attn.v_proj", d), n, d, d);
    memcpy(keys, k, (size_t)n * (size_t)d * sizeof *keys);
    double *mix = attend(attention, q, k, v, bias, false, n, heads, heads, d / heads);
    double *branch = linear(mix, WEIGHT("self_attn.out_proj", d, d), BIAS("self_attn.out_proj", d), n, d, d);
    for (size_t i = 0; i < (size_t)n * (size_t)d; i++)
        middle[i] = x[i] + branch[i];
    free(normed);
    free(q);
    free(k);
    free(v);
    free(mix);
    free(branch);
}

void dense_vision_mlp(double *out, const struct dense *dense, int layer, const double *middle, int n)
{
    const struct vlm_config *c = dense->config;
    int d = c->vision.hidden, m = c->vision.intermediate;
    double *normed =
        layer_norm(middle, WEIGHT("layer_norm2", d, 0), BIAS("layer_norm2", d), (double)c->vision.eps, n, d);
    double *inner = linear(normed, WEIGHT("mlp.fc1", m, d), BIAS("mlp.fc1", m), n, d, m);
    for (size_t i = 0; i < (size_t)n * (size_t)m; i++)
        inner[i] = inner[i] / (1 + exp(-1.702 * inner[i]));
    double *branch = linear(inner, WEIGHT("mlp.fc2", d, m), BIAS("mlp.fc2", d), n, m, d);
    for (size_t i = 0; i < (size_t)n * (size_t)d; i++)
        out[i] = middle[i] + branch[i];
    free(normed);
    free(inner);
    free(branch);
}

/* Keys' cubic, A = −0.75, as torch's bicubic has it. */
static double cubic(double x)
{
    x = fabs(x);
    return x <= 1 ? (1.25 * x - 2.25) * x * x + 1 : x < 2 ? ((-0.75 * x + 3.75) * x - 6) * x + 3 : 0;
}

/* One entry of the position table read at (row, col) of a grid of rows × cols. */
static double position_at(const double *table, int side, int row, int col, int rows, int cols, int d, int k)
{
    double y = (row + 0.5) * side / rows - 0.5, x = (col + 0.5) * side / cols - 0.5, sum = 0;
    for (int i = (int)floor(y) - 1; i <= (int)floor(y) + 2; i++)
        for (int j = (int)floor(x) - 1; j <= (int)floor(x) + 2; j++) {
            int r = i < 0 ? 0 : i >= side ? side - 1 : i, c = j < 0 ? 0 : j >= side ? side - 1 : j;
            sum += cubic(y - i) * cubic(x - j) * table[(1 + (size_t)(r * side + c)) * (size_t)d + (size_t)k];
        }
    return sum;
}

void dense_patches(double *x, const struct dense *dense, const float *pixels, int rows, int cols)
{
    const struct vlm_config *c = dense->config;
    int d = c->vision.hidden, p = c->vision.patch, side = c->grid_rows, n = 1 + rows * cols;
    double *weight = tensor(dense, d, 3 * p * p, TOWER "embeddings.patch_embedding.weight", 0, "");
    double *class = tensor(dense, d, 0, TOWER "embeddings.class_embedding", 0, "");
    double *table = tensor(dense, 1 + side * side, d, TOWER "embeddings.position_embedding.weight", 0, "");
    double *sum = doubles((size_t)n * (size_t)d);
    for (int k = 0; k < d; k++)
        sum[k] = class[k] + table[k];
    for (int t = 0; t < rows * cols; t++)
        for (int k = 0; k < d; k++) {
            double dot = position_at(table, side, t / cols, t % cols, rows, cols, d, k);
            for (int e = 0; e < 3 * p * p; e++) {
                int channel = e / (p * p), down = t / cols * p + e / p % p, across = t % cols * p + e % p;
                dot += weight[(size_t)k * (size_t)(3 * p * p) + (size_t)e] *
                       (double)
                           pixels[((size_t)channel * (size_t)(rows * p) + (size_t)down) * (size_t)(cols * p) +
                                  (size_t)across];
            }
            sum[(size_t)(1 + t) * (size_t)d + (size_t)k] = dot;
        }
    double *normed =
        layer_norm(sum, tensor(dense, d, 0, TOWER "pre_layrnorm.weight", 0, ""),
                   tensor(dense, d, 0, TOWER "pre_layrnorm.bias", 0, ""), (double)c->vision.eps, n, d);
    memcpy(x, normed, (size_t)n * (size_t)d * sizeof *x);
    free(weight);
    free(class);
    free(table);
    free(sum);
    free(normed);
}

void dense_project(double *out, const struct dense *dense, const double *features, int n)
{
    const struct vlm_config *c = dense->config;
    int d = c->text.hidden, v = c->vision.hidden;
    const char *name = "multi_modal_projector.linear_%d.%s";
    double *inner = linear(features, tensor(dense, d, v, name, 1, "weight"),
                           tensor(dense, d, 0, name, 1, "bias"), n, v, d);
    for (size_t i = 0; i < (size_t)n * (size_t)d; i++)
        inner[i] = inner[i] / 2 * (1 + erf(inner[i] / sqrt(2)));
    double *y =
        linear(inner, tensor(dense, d, d, name, 2, "weight"), tensor(dense, d, 0, name, 2, "bias"), n, d, d);
    memcpy(out, y, (size_t)n * (size_t)d * sizeof *out);
    free(inner);
    free(y);
}

/* ---- rank ----------------------------------------------------------------------------------- */

void dense_singular_values(double *sigma, double *matrix, int rows, int cols)
{
    bool turned = true;
    for (int sweep = 0; turned && sweep < 60; sweep++) {
        turned = false;
        for (int i = 0; i < rows; i++)
            for (int j = i + 1; j < rows; j++) {
                double *x = matrix + (size_t)i * (size_t)cols, *y = matrix + (size_t)j * (size_t)cols;
                double a = 0, b = 0, c = 0;
                for (int k = 0; k < cols; k++) {
                    a += x[k] * x[k];
                    b += y[k] * y[k];
                    c += x[k] * y[k];
                }
                if (fabs(c) <= 1e-15 * sqrt(a * b))
                    continue;
                turned = true;
                double zeta = (b - a) / (2 * c);
                double t = (zeta >= 0 ? 1 : -1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
                double cosine = 1 / sqrt(1 + t * t), sine = cosine * t;
                for (int k = 0; k < cols; k++) {
                    double first = x[k];
                    x[k] = cosine * first - sine * y[k];
                    y[k] = sine * first + cosine * y[k];
                }
            }
    }
    for (int i = 0; i < rows; i++) {
        double sum = 0, value;
        for (int k = 0; k < cols; k++)
            sum +=
                matrix[(size_t)i * (size_t)cols + (size_t)k] * matrix[(size_t)i * (size_t)cols + (size_t)k];
        value = sqrt(sum);
        int at = i;
        for (; at > 0 && sigma[at - 1] < value; at--)
            sigma[at] = sigma[at - 1];
        sigma[at] = value;
    }
}
