/* What SparseVLM must choose, from the rules of its paper and published code (docs/methods.md): raters,
 * priority, kept, clusters of the recycled; counts by table or by rank.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conform_oracle.h"
#include "memory.h"

static double distance_of(const double *a, const double *b, int d)
{
    double sum = 0;
    for (int k = 0; k < d; k++)
        sum += (a[k] - b[k]) * (a[k] - b[k]);
    return sqrt(sum / d);
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Density peaks of the recycled, by the rules for ties: within 1e-6 the token of higher priority is denser.
 */
static void cluster_recycled(struct expected *out, const struct place_seen *seen, int n_clusters, int knn,
                             bool cosine, bool sum)
{
    int n = out->n_recycled, d = seen->d, size[CONFORM_TOKENS] = {0};
    double density[CONFORM_TOKENS], peak[CONFORM_TOKENS] = {0}, row[CONFORM_TOKENS], farthest = 0;
    const double *x[CONFORM_TOKENS];
    knn = knn == 0 ? n_clusters : knn < n ? knn : n;
    for (int i = 0; i < n; i++)
        x[i] = seen->x + (size_t)seen->visual[out->recycled[i]] * (size_t)d;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            row[j] = distance_of(x[i], x[j], d);
            farthest = fmax(farthest, row[j]);
        }
        qsort(row, (size_t)n, sizeof *row, compare_double);
        double mean = 0;
        for (int k = 0; k < knn; k++)
            mean += row[k] * row[k] / knn;
        density[i] = exp(-mean);
    }
    for (int i = 0; i < n; i++) {
        double reach = INFINITY;
        for (int j = 0; j < n; j++) {
            double more = density[j] - density[i];
            if (j != i && (more > 1e-6 || (fabs(more) <= 1e-6 && j < i)))
                reach = fmin(reach, distance_of(x[i], x[j], d));
        }
        peak[i] = density[i] * (isinf(reach) ? farthest : reach);
    }
    int32_t centre[CONFORM_TOKENS];
    oracle_order(centre, peak, n);
    out->n_clusters = n_clusters;
    for (int c = 0; c < n_clusters; c++)
        out->centres[c] = out->recycled[centre[c]];
    for (int i = 0; i < n; i++) {
        double best = -INFINITY;
        for (int c = 0; c < n_clusters; c++) {
            double near = cosine ? oracle_cosine(x[i], x[centre[c]], d) : -distance_of(x[i], x[centre[c]], d);
            if (near > best) {
                best = near;
                out->group[i] = c;
            }
        }
    }
    for (int c = 0; c < n_clusters; c++)
        out->group[centre[c]] = c;
    for (int i = 0; i < n; i++)
        size[out->group[i]]++;
    for (int i = 0; i < n; i++)
        out->weight[i] = sum ? 1 : 1.0 / size[out->group[i]];
}

/* Raters from the raw embeddings, before layer 0. */
static void raters_choose(struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    int n_text = seen->n_candidates, n = 0;
    double share[CONFORM_TOKENS] = {0}, weight[CONFORM_TOKENS], mean = 0;
    if (!param_is(params, "raters", "select")) {
        for (int t = 0; t < n_text; t++)
            seen->raters[n++] = t;
        *seen->n_raters = n;
        return;
    }
    for (int j = 0; j < seen->n_visual; j++) {
        const double *visual = seen->x + (size_t)seen->visual[j] * (size_t)seen->d;
        double sum = 0;
        for (int t = 0; t < n_text; t++) {
            const double *text = seen->x + (size_t)(seen->n - n_text + t) * (size_t)seen->d;
            double dot = 0;
            for (int k = 0; k < seen->d; k++)
                dot += visual[k] * text[k];
            sum += weight[t] = exp(dot);
        }
        for (int t = 0; t < n_text; t++)
            share[t] += weight[t] / sum / seen->n_visual;
    }
    for (int t = 0; t < n_text; t++)
        mean += share[t] / n_text;
    const struct param_value *rule = param_get(params, "rater_rule");
    for (int t = 0; t < n_text; t++)
        if (share[t] > mean * (rule->choice >= 0 ? 1 : rule->real) * (1 + 1e-7)) /* T = 1: equal */
            seen->raters[n++] = t;
    if (n == 0 && param_is(params, "no_rater", "text"))
        for (; n < n_text; n++)
            seen->raters[n] = n;
    *seen->n_raters = n;
}

/* Products of all-ones queries and keys that far apart, from below by √d/16. */
static double gravity_of(const struct place_seen *seen, int distance)
{
    int d = seen->dense->config->text.head_dim;
    double sum = 0;
    for (int j = 0; j < d / 2; j++)
        sum += cos(distance * pow(seen->dense->config->text.rope_theta, -2.0 * j / d));
    return fmax(2 / sqrt(d) * sum, sqrt(d) / 16);
}

struct priority {
    double mean[CONFORM_TOKENS];
    double *rows; /* [n_rows, n_visual] head mean */
    int n_rows;
};

static void priority_of(struct priority *out, struct expected *expected, const struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    int heads = seen->dense->config->text.n_heads, n_visual = seen->n_visual, rows[CONFORM_TOKENS], n = 0;
    bool plus = param_is(params, "mode", "plus");
    if (param_is(params, "raters", "all"))
        for (; n < seen->n; n++)
            rows[n] = n;
    else
        for (; n < *seen->n_raters; n++)
            rows[n] = seen->n - seen->n_candidates + seen->raters[n];
    double *attention = oracle_attention(seen, seen->layer, seen->before);
    double *by_head = memory_zero((size_t)heads * (size_t)n_visual, sizeof *by_head), total[64] = {0};
    out->rows = memory_zero((size_t)n * (size_t)n_visual + 1, sizeof *out->rows);
    ENSURE(by_head && out->rows && heads <= 64);
    out->n_rows = n;
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n_visual; j++) {
                double p = oracle_probability(seen, attention, h, rows[i], j);
                if (plus)
                    p /= gravity_of(seen, abs(seen->positions[rows[i]] - seen->positions[seen->visual[j]]));
                by_head[h * n_visual + j] += p / n;
                out->rows[i * n_visual + j] += p / heads;
                total[h] += p;
            }
    const struct param_value *wanted = param_get(params, "heads");
    int n_heads = !plus ? heads : wanted->choice >= 0 ? heads / 2 : (int)wanted->real;
    n_heads = n_heads < heads ? n_heads : heads;
    int32_t order[64];
    oracle_order(order, total, heads);
    if (n_heads < heads)
        oracle_margin(expected, total[order[n_heads - 1]], total[order[n_heads]]);
    memset(out->mean, 0, sizeof out->mean);
    for (int k = 0; k < n_heads; k++)
        for (int j = 0; j < n_visual; j++)
            out->mean[j] += by_head[order[k] * n_visual + j] / n_heads;
    free(attention);
    free(by_head);
}

/* Kept by the rank of P: paper n − int(λ(n − rank)); v1.0 int(rank·scale + bias). */
static double keep_by_rank(struct expected *out, const struct place_seen *seen, const struct priority *p)
{
    const struct params *params = &seen->method->params;
    int rows = p->n_rows, cols = seen->n_visual, n = seen->n_visual;
    double tol = param_real(params, "rank_tol"), sigma[CONFORM_TOKENS];
    double *matrix = memory_alloc((size_t)rows * (size_t)cols + 1, sizeof *matrix);
    ENSURE(matrix);
    bool wide = rows <= cols;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            matrix[wide ? i * cols + j : j * rows + i] = p->rows[i * cols + j];
    int n_sigma = wide ? rows : cols;
    dense_singular_values(sigma, matrix, n_sigma, wide ? cols : rows);
    double least = (tol > 0 ? tol : (rows > cols ? rows : cols) * 0x1p-23) * sigma[0];
    out->rank = 0;
    for (int i = 0; i < n_sigma; i++) {
        out->rank += sigma[i] > least;
        if (i > 0 && sigma[i] > 1e-6 * sigma[0])
            oracle_margin(out, sigma[i], least);
    }
    free(matrix);
    if (out->rank >= n)
        return n;
    if (param_is(params, "mode", "paper"))
        return n - floor(param_real(params, "lambda") * (n - out->rank));
    return trunc(out->rank * param_real(params, "scale") + param_real(params, "bias"));
}

void sparsevlm_choose(struct expected *out, struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    bool plus = param_is(params, "mode", "plus"), v10 = param_is(params, "mode", "v1.0");
    bool adaptive = v10 || param_is(params, "mode", "paper");
    if (seen->site == SITE_BEFORE)
        raters_choose(seen);
    if (seen->site != SITE_DECODER || (*seen->n_raters == 0 && !param_is(params, "raters", "all")))
        return;
    int stage = oracle_stage(params, "layers", seen->layer);
    if (v10 && seen->layer == 19 && !param_get(params, "layers")->given)
        stage = 3;
    if (stage < 0)
        return;
    struct priority priority;
    priority_of(&priority, out, seen);
    double keep = adaptive                     ? keep_by_rank(out, seen, &priority)
                  : params_has(params, "keep") ? param_get(params, "keep")->list[stage]
                                               : official_sparsevlm(seen, stage, plus);
    keep = keep < 1 ? 1 : keep;
    if (keep < seen->n_visual) {
        bool recycle = plus ? param_get(params, "recycle")->given && param_is(params, "recycle", "on")
                            : param_is(params, "recycle", "on");
        int n_recycled = 0, n_clusters = 0;
        if (recycle)
            oracle_recycling(&n_recycled, &n_clusters, seen->n_visual - (int)keep, param_real(params, "tau"),
                             param_real(params, "theta"));
        oracle_best(out, seen, priority.mean, (int)keep, n_recycled, oracle_per_image(seen));
        if (n_clusters > 0)
            cluster_recycled(out, seen, n_clusters, param_count(params, "knn"),
                             param_is(params, "assign", "cosine"), param_is(params, "merge", "sum"));
    }
    free(priority.rows);
}
