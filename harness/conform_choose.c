/* What each method must choose, written from the published rules (docs/methods.md) in the plainest way, on
 * the dense attention of conform_dense.c: the oracle of the check `reference`. A method without a row in the
 * table at the end fails it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "memory.h"

/* ---- orders --------------------------------------------------------------------------------- */

static void margin_of(struct expected *out, double a, double b)
{
    double scale = fmax(fabs(a), fabs(b));
    if (scale > 0 && !isinf(a) && !isinf(b))
        out->margin = fmin(out->margin, fabs(a - b) / scale);
}

/* Places by falling score, the earlier among equals. */
static void order_of(int32_t *order, const double *score, int n)
{
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && score[order[at - 1]] < score[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

static int image_of(const struct place_seen *seen, int place)
{
    return seen->tokens[seen->visual[place]].image;
}

/* Counts in proportion to each picture's tokens: the largest remainder, the earlier picture first. */
static void shares_of(int *share, const struct place_seen *seen, int total)
{
    int size[CONFORM_IMAGES] = {0};
    double rest[CONFORM_IMAGES];
    for (int j = 0; j < seen->n_visual; j++)
        size[image_of(seen, j)]++;
    int given = 0;
    for (int i = 0; i < CONFORM_IMAGES; i++) {
        double exact = (double)total * size[i] / seen->n_visual;
        share[i] = (int)floor(exact + 1e-9);
        rest[i] = exact - share[i];
        given += share[i];
    }
    for (; given < total; given++) {
        int best = 0;
        for (int i = 1; i < CONFORM_IMAGES; i++)
            if (rest[i] > rest[best] + 1e-9)
                best = i;
        share[best]++;
        rest[best] = -1;
    }
}

static bool per_image(const struct place_seen *seen)
{
    return param_is(&seen->method->params, "quota", "per-image");
}

static int compare_int32(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The `keep` largest, ascending; the n_more next ones by falling score. */
static void take_best(struct expected *out, const struct place_seen *seen, const double *score, int keep,
                      int n_more, bool by_image)
{
    int32_t order[CONFORM_TOKENS];
    int share[CONFORM_IMAGES] = {keep}, n_rest = 0;
    double last[CONFORM_IMAGES], last_rest = INFINITY;
    bool full[CONFORM_IMAGES] = {false};
    if (by_image)
        shares_of(share, seen, keep);
    for (int i = 0; i < CONFORM_IMAGES; i++)
        last[i] = INFINITY;
    order_of(order, score, seen->n_visual);
    out->cut = true;
    for (int k = 0; k < seen->n_visual; k++) {
        int place = order[k], i = by_image ? image_of(seen, place) : 0;
        if (share[i] > 0) {
            share[i]--;
            out->kept[out->n_kept++] = place;
            last[i] = score[place];
            continue;
        }
        if (!full[i])
            margin_of(out, last[i], score[place]);
        full[i] = true;
        if (n_rest <= n_more && n_more > 0)
            margin_of(out, last_rest, score[place]);
        last_rest = score[place];
        if (n_rest++ < n_more)
            out->recycled[out->n_recycled++] = place;
    }
    qsort(out->kept, (size_t)out->n_kept, sizeof *out->kept, compare_int32);
}

/* ---- attention ------------------------------------------------------------------------------ */

/* [heads, n, n] of decoder layer `layer` on what enters it. Owned by the caller. */
static double *attention_of(const struct place_seen *seen, int layer, const double *x)
{
    size_t n = (size_t)seen->n;
    double *attention = memory_alloc((size_t)seen->dense->config->text.n_heads * n * n, sizeof *attention);
    ENSURE(attention);
    dense_decoder(attention, NULL, seen->dense, layer, x, seen->positions, seen->n);
    return attention;
}

static double attention_at(const struct place_seen *seen, const double *attention, int head, int row,
                           int place)
{
    size_t n = (size_t)seen->n;
    return attention[((size_t)head * n + (size_t)row) * n + (size_t)seen->visual[place]];
}

/* ---- SparseVLM ------------------------------------------------------------------------------ */

static double distance_of(const double *a, const double *b, int d)
{
    double sum = 0;
    for (int k = 0; k < d; k++)
        sum += (a[k] - b[k]) * (a[k] - b[k]);
    return sqrt(sum / d);
}

static double cosine_of(const double *a, const double *b, int d)
{
    double ab = 0, aa = 0, bb = 0;
    for (int k = 0; k < d; k++) {
        ab += a[k] * b[k];
        aa += a[k] * a[k];
        bb += b[k] * b[k];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
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
    order_of(centre, peak, n);
    out->n_clusters = n_clusters;
    for (int c = 0; c < n_clusters; c++)
        out->centres[c] = out->recycled[centre[c]];
    for (int i = 0; i < n; i++) {
        double best = -INFINITY;
        for (int c = 0; c < n_clusters; c++) {
            double near = cosine ? cosine_of(x[i], x[centre[c]], d) : -distance_of(x[i], x[centre[c]], d);
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
    double *attention = attention_of(seen, seen->layer, seen->before);
    double *by_head = memory_zero((size_t)heads * (size_t)n_visual, sizeof *by_head), total[64] = {0};
    out->rows = memory_zero((size_t)n * (size_t)n_visual + 1, sizeof *out->rows);
    ENSURE(by_head && out->rows && heads <= 64);
    out->n_rows = n;
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n_visual; j++) {
                double p = attention_at(seen, attention, h, rows[i], j);
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
    order_of(order, total, heads);
    if (n_heads < heads)
        margin_of(expected, total[order[n_heads - 1]], total[order[n_heads]]);
    memset(out->mean, 0, sizeof out->mean);
    for (int k = 0; k < n_heads; k++)
        for (int j = 0; j < n_visual; j++)
            out->mean[j] += by_head[order[k] * n_visual + j] / n_heads;
    free(attention);
    free(by_head);
}

static int sparsevlm_official(const struct place_seen *seen, int stage, bool plus)
{
    static const int v15[4][4] = {{192, 300, 200, 110},
                                  {128, 303, 110, 36},
                                  {96, 238, 48, 26},
                                  {64, 66, 30, 17}},
                     v20[4][4] = {
                         {192, 300, 200, 118}, {128, 238, 108, 60}, {96, 246, 54, 28}, {64, 66, 34, 20}};
    int key = (int)lround(576 * seen->budget / seen->uncut);
    for (int t = 0; t < 4; t++)
        if (v15[t][0] == key)
            return (int)((int64_t)(plus ? v20 : v15)[t][1 + stage] * seen->uncut / 576);
    return -1;
}

/* n_rec = min(n_del, int(τ·n_del) + 1), C = min(n_rec, int(θ·n_rec) + 1) */
static void recycling_of(int *n_recycled, int *n_clusters, int n_deleted, double tau, double theta)
{
    int n = (int)(tau * n_deleted) + 1;
    *n_recycled = n < n_deleted ? n : n_deleted;
    n = (int)(theta * *n_recycled) + 1;
    *n_clusters = n < *n_recycled ? n : *n_recycled;
}

/* Which of the layers is this one; −1: none. */
static int stage_of(const struct params *params, const char *name, int layer)
{
    const struct param_value *list = param_get(params, name);
    for (int i = 0; i < list->n; i++)
        if ((int)list->list[i] == layer)
            return i;
    return -1;
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
            margin_of(out, sigma[i], least);
    }
    free(matrix);
    if (out->rank >= n)
        return n;
    if (param_is(params, "mode", "paper"))
        return n - floor(param_real(params, "lambda") * (n - out->rank));
    return trunc(out->rank * param_real(params, "scale") + param_real(params, "bias"));
}

static void sparsevlm_choose(struct expected *out, struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    bool plus = param_is(params, "mode", "plus"), v10 = param_is(params, "mode", "v1.0");
    bool adaptive = v10 || param_is(params, "mode", "paper");
    if (seen->site == SITE_BEFORE)
        raters_choose(seen);
    if (seen->site != SITE_DECODER || (*seen->n_raters == 0 && !param_is(params, "raters", "all")))
        return;
    int stage = stage_of(params, "layers", seen->layer);
    if (v10 && seen->layer == 19 && !param_get(params, "layers")->given)
        stage = 3;
    if (stage < 0)
        return;
    struct priority priority;
    priority_of(&priority, out, seen);
    double keep = adaptive                     ? keep_by_rank(out, seen, &priority)
                  : params_has(params, "keep") ? param_get(params, "keep")->list[stage]
                                               : sparsevlm_official(seen, stage, plus);
    keep = keep < 1 ? 1 : keep;
    if (keep < seen->n_visual) {
        bool recycle = plus ? param_get(params, "recycle")->given && param_is(params, "recycle", "on")
                            : param_is(params, "recycle", "on");
        int n_recycled = 0, n_clusters = 0;
        if (recycle)
            recycling_of(&n_recycled, &n_clusters, seen->n_visual - (int)keep, param_real(params, "tau"),
                         param_real(params, "theta"));
        take_best(out, seen, priority.mean, (int)keep, n_recycled, per_image(seen));
        if (n_clusters > 0)
            cluster_recycled(out, seen, n_clusters, param_count(params, "knn"),
                             param_is(params, "assign", "cosine"), param_is(params, "merge", "sum"));
    }
    free(priority.rows);
}

/* ---- FastV, PyramidDrop --------------------------------------------------------------------- */

static int fastv_official(const struct place_seen *seen)
{
    static const int table[3][2] = {{192, 180}, {128, 114}, {64, 48}};
    int key = (int)lround(576 * seen->budget / seen->uncut);
    for (int t = 0; t < 3; t++)
        if (table[t][0] == key)
            return (int)((int64_t)table[t][1] * seen->uncut / 576);
    return -1;
}

static int pdrop_official(const struct place_seen *seen, int stage)
{
    static const int table[3][4] = {{192, 322, 180, 100}, {128, 241, 101, 42}, {64, 110, 21, 4}};
    int key = (int)lround(576 * seen->budget / seen->uncut);
    for (int t = 0; t < 3; t++)
        if (table[t][0] == key)
            return (int)((int64_t)table[t][1 + stage] * seen->uncut / 576);
    return -1;
}

static void fastv_choose(struct expected *out, struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    if (seen->site != SITE_DECODER || seen->layer != param_count(params, "k") - 1)
        return;
    int keep = params_has(params, "keep") ? param_count(params, "keep") : fastv_official(seen);
    keep = keep < 1 ? 1 : keep;
    if (keep >= seen->n_visual)
        return;
    int heads = seen->dense->config->text.n_heads;
    int first = param_is(params, "query", "all") ? 0 : seen->n - 1;
    double *attention = attention_of(seen, seen->layer, seen->before), score[CONFORM_TOKENS] = {0};
    for (int h = 0; h < heads; h++)
        for (int row = first; row < seen->n; row++)
            for (int j = 0; j < seen->n_visual; j++)
                score[j] += attention_at(seen, attention, h, row, j) / heads / (seen->n - first);
    free(attention);
    take_best(out, seen, score, keep, 0, per_image(seen));
}

static void pdrop_choose(struct expected *out, struct place_seen *seen)
{
    static const int usual[] = {8, 16, 24}, with_budget[] = {2, 8, 16};
    static const double ratios[] = {0.5, 0.25, 0.125};
    const struct params *params = &seen->method->params;
    if (seen->site != SITE_DECODER || seen->layer + 1 >= seen->dense->config->text.n_layers)
        return;
    int stage = params_has(params, "layers") ? stage_of(params, "layers", seen->layer + 1) : -1;
    for (int i = 0; i < 3 && !params_has(params, "layers"); i++)
        if ((seen->budget > 0 ? with_budget : usual)[i] == seen->layer + 1)
            stage = i;
    if (stage < 0)
        return;
    int keep = params_has(params, "ratios") ? (int)(seen->uncut * param_get(params, "ratios")->list[stage])
               : seen->budget > 0           ? pdrop_official(seen, stage)
                                            : (int)(seen->uncut * ratios[stage]);
    keep = keep < 1 ? 1 : keep;
    if (keep >= seen->n_visual)
        return;
    int heads = seen->dense->config->text.n_heads;
    double *attention = attention_of(seen, seen->layer + 1, seen->x), score[CONFORM_TOKENS] = {0};
    for (int h = 0; h < heads; h++)
        for (int j = 0; j < seen->n_visual; j++)
            score[j] += attention_at(seen, attention, h, seen->n - 1, j) / heads;
    free(attention);
    take_best(out, seen, score, keep, 0, per_image(seen));
}

/* ---- in the tower --------------------------------------------------------------------------- */

/* Keys [n, h], mean over heads. */
static double *key_means(const struct place_seen *seen)
{
    int heads = seen->dense->config->vision.n_heads, h = seen->d / heads;
    double *mean = memory_zero((size_t)seen->n * (size_t)h, sizeof *mean);
    ENSURE(mean);
    for (int i = 0; i < seen->n; i++)
        for (int k = 0; k < seen->d; k++)
            mean[i * h + k % h] += seen->keys[i * seen->d + k] / heads;
    return mean;
}

static int merges_at(int layer, int r, int e, int n_patches, int n_layers, int *left)
{
    int here = 0, at_layer = 0;
    for (int l = 0; l < n_layers; l++) {
        here = l < n_layers - e ? r : r - 1;
        here = here < n_patches / 2 ? here : n_patches / 2;
        at_layer = l == layer ? here : at_layer;
        n_patches -= here;
    }
    *left = n_patches;
    return at_layer;
}

/* Merges in this layer: the given ones, or the smallest r, then the smallest e, that leave the budget. */
static int merges_of(const struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    int n = seen->n_visual, left, n_layers = seen->vision_layers,
        n_patches = seen->dense->config->grid_rows * seen->dense->config->grid_cols;
    if (params_has(params, "r")) {
        const struct param_value *r = param_get(params, "r");
        int wanted = r->n == 1 ? (int)r->list[0] : seen->layer < r->n ? (int)r->list[seen->layer] : 0;
        return wanted < n / 2 ? wanted : n / 2;
    }
    for (int r = 1; r <= n_patches; r++)
        for (int e = 0; e < n_layers; e++) {
            int here = merges_at(seen->layer, r, e, n_patches, n_layers, &left);
            if (left == (int)floor(seen->budget + 0.5))
                return here;
        }
    return 0;
}

/* Rows 0, 2, … against 1, 3, …; the nearest pairs are merged by size. */
static void tome_choose(struct expected *out, struct place_seen *seen)
{
    if (seen->site != SITE_VISION)
        return;
    int r = merges_of(seen), n = seen->n, h = seen->d / seen->dense->config->vision.n_heads;
    if (r == 0)
        return;
    double *mean = key_means(seen), best[CONFORM_TOKENS], apart[CONFORM_TOKENS], size[CONFORM_TOKENS];
    int to[CONFORM_TOKENS], goes_to[CONFORM_TOKENS], cluster[CONFORM_TOKENS];
    int32_t order[CONFORM_TOKENS];
    int n_even = (n + 1) / 2;
    best[0] = -INFINITY; /* the class token is never merged */
    for (int i = 1; i < n_even; i++) {
        double second = -INFINITY;
        best[i] = -INFINITY;
        for (int j = 0; j < n / 2; j++) {
            double cosine = cosine_of(mean + 2 * i * h, mean + (2 * j + 1) * h, h);
            if (cosine > best[i]) {
                second = best[i];
                best[i] = cosine;
                to[i] = 2 * j + 1;
            } else if (cosine > second) {
                second = cosine;
            }
        }
        apart[i] = best[i] - second;
    }
    free(mean);
    order_of(order, best, n_even);
    if (r < n_even - 1)
        margin_of(out, best[order[r - 1]], best[order[r]]);
    for (int k = 0; k < r; k++)
        margin_of(out, 1 + apart[order[k]], 1);
    for (int i = 0; i < n; i++) {
        goes_to[i] = cluster[i] = -1;
        size[i] = seen->tokens[i].size;
    }
    for (int k = 0; k < r; k++) {
        int from = 2 * order[k], target = to[order[k]];
        goes_to[from] = target;
        cluster[target] = 0;
        size[target] += seen->tokens[from].size;
    }
    out->cut = out->in_place = out->has_own = out->unordered = true;
    for (int i = 2; i < n; i += 2)
        if (goes_to[i] < 0)
            out->kept[out->n_kept++] = i - 1;
    for (int i = 1; i < n; i += 2) {
        out->kept[out->n_kept++] = i - 1;
        if (cluster[i] < 0)
            continue;
        cluster[i] = out->n_clusters;
        out->centres[out->n_clusters] = i - 1;
        out->own[out->n_clusters++] = seen->tokens[i].size / size[i];
    }
    for (int k = 0; k < r; k++) {
        int from = 2 * order[k], target = goes_to[from];
        out->recycled[out->n_recycled] = from - 1;
        out->group[out->n_recycled] = cluster[target];
        out->weight[out->n_recycled++] = seen->tokens[from].size / size[target];
    }
}

static void visionzip_choose(struct expected *out, struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    if (seen->site != SITE_VISION || seen->layer != seen->vision_layers - 1)
        return;
    int budget = (int)floor(seen->budget + 0.5), dominant = (int)floor(27 * budget / 32.0 + 0.5),
        contextual = budget - dominant, n = seen->n_visual, heads = seen->dense->config->vision.n_heads;
    if (params_has(params, "dominant")) {
        dominant = param_count(params, "dominant");
        contextual = param_count(params, "contextual");
    }
    double score[CONFORM_TOKENS] = {0};
    for (int h = 0; h < heads; h++)
        for (int j = 0; j < n; j++)
            score[j] += seen->attention[(size_t)h * (size_t)seen->n * (size_t)seen->n + (size_t)(1 + j)];
    take_best(out, seen, score, dominant - 1, 0, false);
    out->keep_class = true;
    if (contextual == 0)
        return;
    bool kept[CONFORM_TOKENS] = {false};
    int others[CONFORM_TOKENS], n_others = 0, at = 0, step = (n - (dominant - 1)) / contextual;
    int size[CONFORM_TOKENS] = {0}, h = seen->d / heads;
    for (int k = 0; k < out->n_kept; k++)
        kept[out->kept[k]] = true;
    for (int j = 0; j < n; j++)
        if (!kept[j] && at++ % step == 0 && out->n_clusters < contextual)
            out->centres[out->n_clusters++] = j;
        else if (!kept[j])
            others[n_others++] = j;
    double *mean = key_means(seen);
    out->has_own = true;
    for (int i = 0; i < n_others; i++) {
        double best = -INFINITY, second = -INFINITY;
        for (int c = 0; c < contextual; c++) {
            double cosine = cosine_of(mean + (1 + others[i]) * h, mean + (1 + out->centres[c]) * h, h);
            if (cosine > best) {
                second = best;
                best = cosine;
                out->group[i] = c;
            } else if (cosine > second) {
                second = cosine;
            }
        }
        margin_of(out, best, second);
        out->recycled[out->n_recycled++] = others[i];
        size[out->group[i]]++;
    }
    free(mean);
    for (int i = 0; i < n_others; i++)
        out->weight[i] = 1.0 / size[out->group[i]];
    for (int c = 0; c < contextual; c++)
        out->own[c] = 1;
}

/* ---- before the decoder, and controls ------------------------------------------------------- */

static int input_keep(const struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    int keep = params_has(params, "keep") ? param_count(params, "keep") : (int)floor(seen->budget + 0.5);
    return keep < 1 ? 1 : keep;
}

static void diverse(struct expected *out, const struct place_seen *seen, int first, int n, int keep)
{
    bool chosen[CONFORM_TOKENS] = {false};
    for (int k = 0; k < keep; k++) {
        double best = -INFINITY, second = -INFINITY;
        int at = -1;
        for (int i = 0; i < n; i++) {
            double nearest = INFINITY;
            for (int j = 0; j < n; j++)
                if (j != i && (k == 0 || chosen[j]))
                    nearest =
                        fmin(nearest, 1 - cosine_of(seen->x + seen->visual[first + i] * seen->d,
                                                    seen->x + seen->visual[first + j] * seen->d, seen->d));
            if (chosen[i])
                continue;
            if (nearest > best) {
                second = best;
                best = nearest;
                at = i;
            } else if (nearest > second) {
                second = nearest;
            }
        }
        if (k > 0) /* two tokens that are each other's nearest tie at first, by rule the earlier */
            margin_of(out, best, second);
        chosen[at] = true;
    }
    for (int i = 0; i < n; i++)
        if (chosen[i])
            out->kept[out->n_kept++] = first + i;
}

static void divprune_choose(struct expected *out, struct place_seen *seen)
{
    int keep = input_keep(seen), share[CONFORM_IMAGES], first = 0;
    if (seen->site != SITE_BEFORE || keep >= seen->n_visual)
        return;
    out->cut = true;
    if (!per_image(seen)) {
        diverse(out, seen, 0, seen->n_visual, keep);
        return;
    }
    shares_of(share, seen, keep);
    for (int i = 0; i < seen->n_images; i++) {
        int n = 0;
        while (first + n < seen->n_visual && image_of(seen, first + n) == i)
            n++;
        diverse(out, seen, first, n, share[i]);
        first += n;
    }
}

/* How many a control keeps here; −1: no cut. */
static int control_keep(const struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    if (param_is(params, "at", "input"))
        return seen->site == SITE_BEFORE ? input_keep(seen) : -1;
    if (seen->site != SITE_DECODER)
        return -1;
    if (param_is(params, "like", "fastv"))
        return seen->layer == 1 ? fastv_official(seen) : -1;
    if (param_is(params, "like", "pdrop")) {
        int stage = seen->layer == 1 ? 0 : seen->layer == 7 ? 1 : seen->layer == 15 ? 2 : -1;
        return stage < 0 ? -1 : pdrop_official(seen, stage);
    }
    int stage = seen->layer == 2 ? 0 : seen->layer == 6 ? 1 : seen->layer == 15 ? 2 : -1;
    bool plus = param_is(params, "like", "sparsevlm-plus");
    if (stage < 0)
        return -1;
    int keep = sparsevlm_official(seen, stage, plus), n_recycled, n_clusters = 0;
    if (!plus && keep < seen->n_visual)
        recycling_of(&n_recycled, &n_clusters, seen->n_visual - keep, 0.3, 0.1);
    return keep + n_clusters;
}

static bool control_cuts(const struct place_seen *seen, int *keep)
{
    *keep = control_keep(seen);
    return *keep >= 0 && *keep < seen->n_visual;
}

static void random_choose(struct expected *out, struct place_seen *seen)
{
    int keep;
    if (!control_cuts(seen, &keep))
        return;
    out->cut = out->free = true;
    out->n_kept = keep;
}

static void uniform_choose(struct expected *out, struct place_seen *seen)
{
    int keep, share[CONFORM_IMAGES], first = 0;
    if (!control_cuts(seen, &keep))
        return;
    out->cut = true;
    bool split = per_image(seen);
    if (split)
        shares_of(share, seen, keep);
    for (int i = 0; i < (split ? seen->n_images : 1); i++) {
        int n = 0, b = split ? share[i] : keep;
        while (first + n < seen->n_visual && (!split || image_of(seen, first + n) == i))
            n++;
        for (int k = 0; k < b; k++)
            out->kept[out->n_kept++] = first + (int)floor((k + 0.5) * n / b + 1e-9);
        first += n;
    }
}

/* Tokens by a score of their cell. */
static void by_cell(struct expected *out, struct place_seen *seen,
                    double (*score)(int row, int col, int side), bool split)
{
    double scores[CONFORM_TOKENS];
    int keep, side = seen->dense->config->grid_rows;
    if (!control_cuts(seen, &keep))
        return;
    for (int j = 0; j < seen->n_visual; j++) {
        int cell = seen->tokens[seen->visual[j]].cell;
        scores[j] = score(cell / side, cell % side, side);
    }
    take_best(out, seen, scores, keep, 0, split);
    out->margin = INFINITY; /* whole numbers */
}

static double nearness(int row, int col, int side)
{
    double down = row - (side - 1) / 2.0, across = col - (side - 1) / 2.0;
    return -(down * down + across * across);
}

static double earliness(int row, int col, int side)
{
    return -(row * side + col);
}

static double lateness(int row, int col, int side)
{
    return row * side + col;
}

static void center_choose(struct expected *out, struct place_seen *seen)
{
    by_cell(out, seen, nearness, per_image(seen));
}

static void top_choose(struct expected *out, struct place_seen *seen)
{
    by_cell(out, seen, earliness, true);
}

static void bottom_choose(struct expected *out, struct place_seen *seen)
{
    by_cell(out, seen, lateness, true);
}

/* The grid r × c ≤ budget with most cells, then nearest to a square, then the wider one. */
static void grid_of(int *rows, int *cols, int budget, int side)
{
    *rows = *cols = 1;
    for (int r = 1; r <= side; r++)
        for (int c = 1; c <= side; c++) {
            double off = fabs(log((double)c / r)), best = fabs(log((double)*cols / *rows));
            if (r * c <= budget && (r * c > *rows * *cols || (r * c == *rows * *cols && off < best - 1e-9))) {
                *rows = r;
                *cols = c;
            }
        }
}

static void pool_choose(struct expected *out, struct place_seen *seen)
{
    int keep = input_keep(seen), side = seen->dense->config->grid_rows, share[CONFORM_IMAGES];
    if (seen->site != SITE_BEFORE || keep >= seen->n_visual)
        return;
    out->cut = out->in_place = out->has_own = true;
    shares_of(share, seen, keep);
    for (int image = 0; image < seen->n_images; image++) {
        int rows, cols, first = image * side * side;
        if (share[image] < 1)
            continue;
        grid_of(&rows, &cols, share[image], side);
        for (int i = 0; i < rows * cols; i++) {
            int top = i / cols * side / rows, left = i % cols * side / cols;
            int bottom = ((i / cols + 1) * side + rows - 1) / rows,
                right = ((i % cols + 1) * side + cols - 1) / cols;
            for (int row = top; row < bottom; row++)
                for (int col = left; col < right; col++) {
                    out->recycled[out->n_recycled] = first + row * side + col;
                    out->group[out->n_recycled] = out->n_clusters;
                    out->weight[out->n_recycled++] = 1.0 / ((bottom - top) * (right - left));
                }
            out->centres[out->n_clusters++] = out->kept[out->n_kept++] = first + top * side + left;
        }
    }
}

/* Its grid is the tower's; nothing is cut. */
static void downsample_choose(struct expected *out, struct place_seen *seen)
{
    if (seen->site != SITE_VISION || seen->layer != LAYER_BEFORE)
        return;
    int rows, cols;
    grid_of(&rows, &cols, input_keep(seen), seen->dense->config->grid_rows);
    out->n_kept = rows;
    out->n_clusters = cols;
}

static void nothing_chosen(struct expected *out, struct place_seen *seen)
{
    (void)out;
    (void)seen;
}

/* ---- table ---------------------------------------------------------------------------------- */

static const struct reference table[] = {
    {"vanilla", nothing_chosen, (const char *const[]){"", NULL}, true},
    {"sparsevlm", sparsevlm_choose,
     (const char *const[]){"",
                           "mode=plus",
                           "raters=text",
                           "raters=all",
                           "rater_rule=1.02",
                           "recycle=off",
                           "positions=original",
                           "merge=sum",
                           "assign=cosine",
                           "knn=3",
                           "tau=0.6 theta=0.3",
                           "layers=0,4,9 keep=60,30,8",
                           "mode=plus positions=compact recycle=on",
                           "mode=plus heads=half",
                           "mode=plus heads=3",
                           "mode=paper",
                           "mode=paper lambda=0.9 rank_tol=0.2 rank_by=gram",
                           "mode=v1.0",
                           "mode=v1.0 scale=4 bias=3 rank_by=gram",
                           NULL},
     false},
    {"fastv", fastv_choose,
     (const char *const[]){"", "query=all", "positions=compact", "k=5 keep=20", "k=1 keep=1", NULL}, false},
    {"pdrop", pdrop_choose,
     (const char *const[]){"", "positions=original", "layers=1,3,19 ratios=0.4,0.2,0.05",
                           "ratios=0.5,0.25,0.125", NULL},
     false},
    {"tome", tome_choose,
     (const char *const[]){"", "proportional=off", "order=literal", "positions=original", "r=10",
                           "r=20,0,7,3", NULL},
     false},
    {"visionzip", visionzip_choose,
     (const char *const[]){"", "positions=original", "dominant=9 contextual=5", "dominant=12 contextual=0",
                           "dominant=1 contextual=4", NULL},
     false},
    {"divprune", divprune_choose, (const char *const[]){"", "keep=10", "positions=original", NULL}, false},
#define CONTROL                                                                                              \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        "", "at=decoder", "at=decoder like=fastv", "at=decoder like=pdrop",                                  \
            "at=decoder like=sparsevlm-plus", "keep=7", "positions=original", NULL                           \
    }
    {"random", random_choose, CONTROL, false},
    {"uniform", uniform_choose, CONTROL, false},
    {"center", center_choose, CONTROL, false},
    {"top", top_choose, CONTROL, false},
    {"bottom", bottom_choose, CONTROL, false},
    {"pool", pool_choose, (const char *const[]){"", "keep=50", "positions=original", NULL}, false},
    {"downsample", downsample_choose, (const char *const[]){"", "positions=original", "keep=30", NULL},
     false},
    /* what it must choose is what the other methods chose: the check `replay` */
    {"replay", NULL, NULL, true},
};

const struct reference *reference_find(const char *method)
{
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].method, method) == 0)
            return &table[i];
    return NULL;
}
