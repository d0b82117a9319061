/* What the rivals in the decoder and in the tower must choose, written from their published rules
 * (docs/methods.md) in the plainest way, and the table of all references: the oracle of the check
 * `reference`. A method without a row fails it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conform_oracle.h"
#include "memory.h"

/* ---- FastV, PyramidDrop --------------------------------------------------------------------- */

void fastv_choose(struct expected *out, struct place_seen *seen)
{
    const struct params *params = &seen->method->params;
    if (seen->site != SITE_DECODER || seen->layer != param_count(params, "k") - 1)
        return;
    int keep = params_has(params, "keep") ? param_count(params, "keep") : official_fastv(seen);
    keep = keep < 1 ? 1 : keep;
    if (keep >= seen->n_visual)
        return;
    int heads = seen->dense->config->text.n_heads;
    int first = param_is(params, "query", "all") ? 0 : seen->n - 1;
    double *attention = oracle_attention(seen, seen->layer, seen->before), score[CONFORM_TOKENS] = {0};
    for (int h = 0; h < heads; h++)
        for (int row = first; row < seen->n; row++)
            for (int j = 0; j < seen->n_visual; j++)
                score[j] += oracle_probability(seen, attention, h, row, j) / heads / (seen->n - first);
    free(attention);
    oracle_best(out, seen, score, keep, 0, oracle_per_image(seen));
}

void pdrop_choose(struct expected *out, struct place_seen *seen)
{
    static const int usual[] = {8, 16, 24}, with_budget[] = {2, 8, 16};
    static const double ratios[] = {0.5, 0.25, 0.125};
    const struct params *params = &seen->method->params;
    if (seen->site != SITE_DECODER || seen->layer + 1 >= seen->dense->config->text.n_layers)
        return;
    int stage = params_has(params, "layers") ? oracle_stage(params, "layers", seen->layer + 1) : -1;
    for (int i = 0; i < 3 && !params_has(params, "layers"); i++)
        if ((seen->budget > 0 ? with_budget : usual)[i] == seen->layer + 1)
            stage = i;
    if (stage < 0)
        return;
    int keep = params_has(params, "ratios") ? (int)(seen->uncut * param_get(params, "ratios")->list[stage])
               : seen->budget > 0           ? official_pdrop(seen, stage)
                                            : (int)(seen->uncut * ratios[stage]);
    keep = keep < 1 ? 1 : keep;
    if (keep >= seen->n_visual)
        return;
    int heads = seen->dense->config->text.n_heads;
    double *attention = oracle_attention(seen, seen->layer + 1, seen->x), score[CONFORM_TOKENS] = {0};
    for (int h = 0; h < heads; h++)
        for (int j = 0; j < seen->n_visual; j++)
            score[j] += oracle_probability(seen, attention, h, seen->n - 1, j) / heads;
    free(attention);
    oracle_best(out, seen, score, keep, 0, oracle_per_image(seen));
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
void tome_choose(struct expected *out, struct place_seen *seen)
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
            double cosine = oracle_cosine(mean + 2 * i * h, mean + (2 * j + 1) * h, h);
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
    oracle_order(order, best, n_even);
    if (r < n_even - 1)
        oracle_margin(out, best[order[r - 1]], best[order[r]]);
    for (int k = 0; k < r; k++)
        oracle_margin(out, 1 + apart[order[k]], 1);
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

void visionzip_choose(struct expected *out, struct place_seen *seen)
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
    oracle_best(out, seen, score, dominant - 1, 0, false);
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
            double cosine = oracle_cosine(mean + (1 + others[i]) * h, mean + (1 + out->centres[c]) * h, h);
            if (cosine > best) {
                second = best;
                best = cosine;
                out->group[i] = c;
            } else if (cosine > second) {
                second = cosine;
            }
        }
        oracle_margin(out, best, second);
        out->recycled[out->n_recycled++] = others[i];
        size[out->group[i]]++;
    }
    free(mean);
    for (int i = 0; i < n_others; i++)
        out->weight[i] = 1.0 / size[out->group[i]];
    for (int c = 0; c < contextual; c++)
        out->own[c] = 1;
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
