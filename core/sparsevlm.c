/* SparseVLM (Zhang et al., ICML 2025, arXiv 2410.04417), the fixed schedules of the published code (v1.5).
 *
 *   before layer 0   text raters: S = E_v·E_tᵀ, softmax over the text, mean over the image; those above the
 * mean after layer l    priority p = mean over heads and raters of their attention to each visual token (eq.
 * 3, 6) of 2, 6, 15      the k of largest p stay in order                                        (k: official
 * table) the best tau of the dropped are recycled: DPC-KNN clusters of their hidden states, one token a
 * cluster, put behind the kept ones                                      (section 3.3)
 *
 * Where paper and code differ the code is followed (docs/methods.md).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "reducer.h"

static const struct param sparsevlm_params[] = {
    {.name = "mode",
     .type = PARAM_CHOICE,
     .fallback = "v1.5",
     .choices = "v1.5",
     .doc = "v1.5: fixed schedule of the published code"},
    {.name = "raters",
     .type = PARAM_CHOICE,
     .fallback = "select",
     .choices = "select|text|all",
     .doc = "rows that score: selected text, all text after the last image, every row"},
    {.name = "rater_rule",
     .type = PARAM_REAL,
     .fallback = "mean",
     .low = 0,
     .high = 1e6,
     .low_open = true,
     .choices = "mean",
     .doc = "a text token rates if its share is above the mean, or above c times the mean"},
    {.name = "recycle",
     .type = PARAM_CHOICE,
     .fallback = "on",
     .choices = "on|off",
     .doc = "token recycling"},
    {.name = "tau",
     .type = PARAM_REAL,
     .fallback = "0.3",
     .low = 0,
     .high = 1,
     .doc = "share of the dropped that is recycled: min(n_del, int(tau n_del) + 1)"},
    {.name = "theta",
     .type = PARAM_REAL,
     .fallback = "0.1",
     .low = 0,
     .high = 1,
     .doc = "clusters per recycled token: min(n_rec, int(theta n_rec) + 1)"},
    {.name = "merge",
     .type = PARAM_CHOICE,
     .fallback = "mean",
     .choices = "mean|sum",
     .doc = "how a cluster becomes a token"},
    {.name = "assign",
     .type = PARAM_CHOICE,
     .fallback = "euclid",
     .choices = "euclid|cosine",
     .doc = "nearest centre by distance or by cosine"},
    {.name = "knn",
     .type = PARAM_COUNT,
     .fallback = "0",
     .low = 0,
     .high = 1e6,
     .doc = "neighbours in the density, the token itself counted; 0: as many as clusters"},
    {.name = "layers",
     .rising = true,
     .type = PARAM_COUNTS,
     .fallback = "2,6,15",
     .low = 0,
     .high = 1023,
     .doc = "cut after these decoder layers"},
    {.name = "keep",
     .type = PARAM_COUNTS,
     .low = 0,
     .high = 1e6,
     .doc = "tokens kept at each cut, before clusters; default: from the budget"},
    PARAM_ROWS_DROPPING("compact"),
    {.name = "no_rater",
     .type = PARAM_CHOICE,
     .fallback = "text",
     .choices = "text|skip",
     .doc = "where no text token is above the threshold: all text scores, or no cut"},
};

/* ---- counts --------------------------------------------------------------------------------- */

enum { N_STAGES_OFFICIAL = 3, N_OFFICIAL = 4 };
static const struct {
    int budget, keep[N_STAGES_OFFICIAL];
} official[N_OFFICIAL] = {
    {192, {300, 200, 110}}, {128, {303, 110, 36}}, {96, {238, 48, 26}}, {64, {66, 30, 17}}};

static void plan_keeps(struct plan *out, const struct method *method, const struct plan_input *input,
                       const int *keep)
{
    const struct param_value *layers = param_get(&method->params, "layers");
    bool recycle = param_is(&method->params, "recycle", "on");
    double tau = recycle ? param_real(&method->params, "tau") : -1,
           theta = param_real(&method->params, "theta");
    int n = input->n_visual;
    for (int i = 0; i < layers->n; i++)
        n = plan_cut(out, (int)layers->list[i], keep[i], n, tau, theta, input->n_layers);
}

static enum status layers_check(const struct method *method, int n_counts, const char *what,
                                struct error *err)
{
    const struct param_value *layers = param_get(&method->params, "layers");
    if (layers->n != n_counts)
        return fail(err, BAD_INPUT,
                    "method sparsevlm: %d layers but %s has %d counts; give keep with one count a layer",
                    layers->n, what, n_counts);
    return OK;
}

static bool has_counts(const struct method *method)
{
    return params_has(&method->params, "keep");
}

static enum status plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    const struct param_value *given = param_get(&method->params, "keep");
    TRY(layers_check(method, given->n, "keep", err));
    int keep[PARAM_LIST_MAX];
    for (int i = 0; i < given->n; i++)
        keep[i] = (int)given->list[i];
    plan_keeps(out, method, input, keep);
    return OK;
}

static enum status plan_official(struct plan *out, const struct method *method,
                                 const struct plan_input *input, double budget, struct error *err)
{
    TRY(layers_check(method, N_STAGES_OFFICIAL, "the official table", err));
    int key = (int)floor(576 * budget / input->n_visual + 0.5);
    for (int t = 0; t < N_OFFICIAL; t++) {
        if (official[t].budget != key)
            continue;
        int keep[N_STAGES_OFFICIAL];
        for (int i = 0; i < N_STAGES_OFFICIAL; i++)
            keep[i] = (int)((int64_t)official[t].keep[i] * input->n_visual / 576);
        plan_keeps(out, method, input, keep);
        return OK;
    }
    return fail(err, BAD_INPUT,
                "method sparsevlm has no official schedule for %g of %d visual tokens (%d of 576); there are "
                "192, 128, 96 and "
                "64 of 576; use match tokens_in for any budget",
                budget, input->n_visual, key);
}

/* The family of `match`: every cut of the nearest official table times f, rounded. Steps of f: 0, and each
 * (m + ½)/table_j up to V/table_0, at which one count changes; f = (2m + 1)/(2 table_j) keeps all exact. */
static const int *nearest_table(const struct plan_input *input, double budget)
{
    double key = 576 * budget / input->n_visual;
    int best = 0;
    for (int t = 1; t < N_OFFICIAL; t++)
        if (fabs(official[t].budget - key) < fabs(official[best].budget - key))
            best = t;
    return official[best].keep;
}

static int steps_of(const struct plan_input *input, const int *table, int j)
{
    return (int)(((int64_t)2 * input->n_visual * table[j] / table[0] + 1) / 2);
}

static int plan_steps(const struct method *method, const struct plan_input *input, double budget)
{
    if (param_get(&method->params, "layers")->n != N_STAGES_OFFICIAL)
        return 0;
    const int *table = nearest_table(input, budget);
    return 1 + steps_of(input, table, 0) + steps_of(input, table, 1) + steps_of(input, table, 2);
}

static void plan_step(struct plan *out, double *size, const struct method *method,
                      const struct plan_input *input, double budget, int step)
{
    const int *table = nearest_table(input, budget);
    int64_t numerator = 0, denominator = 1; /* f */
    int m = step - 1;
    for (int j = 0; j < N_STAGES_OFFICIAL && m >= 0; j++) {
        if (m < steps_of(input, table, j)) {
            numerator = 2 * m + 1;
            denominator = 2 * table[j];
            break;
        }
        m -= steps_of(input, table, j);
    }
    int keep[N_STAGES_OFFICIAL];
    for (int i = 0; i < N_STAGES_OFFICIAL; i++)
        keep[i] = (int)((2 * numerator * table[i] + denominator) / (2 * denominator));
    plan_keeps(out, method, input, keep);
    *size = (double)numerator / (double)denominator;
}

/* Before the run the number of raters is unknown: half of the text after the image stands for it. */
static double plan_select_macs(const struct plan *plan, const struct method *method,
                               const struct plan_input *input)
{
    double rows = param_is(&method->params, "raters", "select") ? (input->n_text_after + 1) / 2
                  : param_is(&method->params, "raters", "text") ? input->n_text_after
                                                                : input->n_text;
    double sum = 0, d = input->hidden, query = (double)input->n_heads * input->head_dim, n = input->n_visual;
    if (param_is(&method->params, "raters", "select"))
        sum += n * input->n_text_after * d;
    for (int i = 0; i < plan->n_cuts; i++) {
        const struct plan_cut *cut = &plan->cuts[i];
        double scoring = param_is(&method->params, "raters", "all") ? rows + n : rows;
        sum += scoring * n * query + (double)cut->recycled * cut->recycled * d + cut->recycled * d;
        n = cut->keep + cut->clusters;
    }
    return sum;
}

/* ---- at work -------------------------------------------------------------------------------- */

static enum status choose_rows(int32_t *rows, int *n_rows, const struct view *view, struct error *err)
{
    const struct params *params = &view->method->params;
    const struct ops *ops = view->compute->ops;
    int n_text = view->n_text_after;
    *n_rows = 0;
    if (n_text == 0)
        return OK;
    size_t n_bytes = (size_t)n_text * sizeof(float);
    float *visual = view->scratch, *share = visual + (size_t)view->n_visual * (size_t)view->hidden_size;
    ENSURE((size_t)(share - visual) + (size_t)n_text <= view->n_scratch);
    ops->gather_rows(view->compute, visual, view->hidden, view->visual, view->n_visual, view->hidden_size);
    ops->text_share(view->compute, share, visual, view->text, view->n_visual, n_text, view->hidden_size);
    float *host = memory_alloc(n_bytes, 1);
    if (host == NULL)
        return memory_failed(err, "rater shares", n_bytes);
    ops->download(view->compute, host, share, n_bytes);
    const struct param_value *rule = param_get(params, "rater_rule");
    double mean = 0;
    for (int i = 0; i < n_text; i++)
        mean += host[i];
    mean /= n_text;
    float threshold = (float)(rule->choice >= 0 ? mean : mean * rule->real);
    for (int i = 0; i < n_text; i++)
        if (host[i] > threshold)
            rows[(*n_rows)++] = i;
    free(host);
    if (*n_rows == 0 && param_is(params, "no_rater", "text"))
        for (int i = 0; i < n_text; i++)
            rows[(*n_rows)++] = i;
    return OK;
}

static struct score_request score(const struct method *method, const struct plan_cut *cut)
{
    (void)cut;
    return (struct score_request){.rows = param_is(&method->params, "raters", "select") ? ROWS_CHOSEN
                                          : param_is(&method->params, "raters", "text") ? ROWS_TEXT
                                                                                        : ROWS_ALL};
}

/* Section 3.3: the best of the dropped are clustered by their hidden states and merged. */
static enum status recycle(struct selection *out, const struct view *view, struct error *err)
{
    struct compute *c = view->compute;
    const struct params *params = &view->method->params;
    int n = view->cut->recycled, n_clusters = view->cut->clusters, knn = param_count(params, "knn");
    size_t n_bytes = (size_t)n * sizeof(int32_t);
    c->ops->copy(c, out->recycled, out->order + out->n_kept, n_bytes);

    /* rows of the sequence that the recycled tokens are */
    int32_t *host = memory_alloc((size_t)n + (size_t)view->sequence->n, sizeof *host),
            *row = (int32_t *)(void *)view->scratch;
    if (host == NULL)
        return memory_failed(err, "recycling", n_bytes);
    int32_t *visual = host + n;
    sequence_visual(visual, view->sequence);
    c->ops->download(c, host, out->recycled, n_bytes);
    for (int i = 0; i < n; i++)
        host[i] = visual[host[i]];
    c->ops->upload(c, row, host, n_bytes);

    c->ops->cluster(c, out->centres, out->group, view->hidden, row, n, view->hidden_size,
                    &(struct cluster_options){.n_clusters = n_clusters,
                                              .n_neighbours = knn == 0  ? n_clusters
                                                              : knn < n ? knn
                                                                        : n,
                                              .cosine = param_is(params, "assign", "cosine")});
    out->n_recycled = n;
    out->n_clusters = n_clusters;

    /* centres come as places among the recycled; a selection speaks of places in visual order */
    int32_t *centre = visual; /* no longer needed: n_clusters ≤ n ≤ the tokens of the sequence */
    c->ops->download(c, centre, out->centres, (size_t)n_clusters * sizeof *centre);
    if (centre[0] < 0) {
        free(host);
        return fail(err, BAD_INPUT,
                    "hidden states after decoder layer %d are not numbers; are the weights damaged?",
                    view->layer);
    }
    c->ops->download(c, host, out->recycled, n_bytes);
    for (int g = 0; g < n_clusters; g++)
        centre[g] = host[centre[g]];
    c->ops->upload(c, out->centres, centre, (size_t)n_clusters * sizeof *centre);

    /* factors of the sums: 1/size for the mean */
    float *weight = (float *)(void *)visual;
    memset(weight, 0, (size_t)n_clusters * sizeof *weight);
    c->ops->download(c, host, out->group, n_bytes);
    for (int i = 0; i < n; i++)
        weight[host[i]] += 1;
    for (int g = 0; g < n_clusters; g++)
        weight[g] = param_is(params, "merge", "mean") ? 1 / weight[g] : 1;
    c->ops->upload(c, out->weight, weight, (size_t)n_clusters * sizeof *weight);
    free(host);
    return OK;
}

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    TRY(select_top(out, view, view->score, view->cut->keep, view->cut->recycled, err));
    if (view->cut->clusters > 0)
        TRY(recycle(out, view, err));
    return OK;
}

const struct reducer reducer_sparsevlm = {
    .name = "sparsevlm",
    .doc = "text raters score visual tokens after layers 2, 6, 15; the best of the dropped are recycled by "
           "clustering",
    .paper = "Zhang et al., SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model "
             "Inference, ICML 2025",
    .params = sparsevlm_params,
    .n_params = sizeof sparsevlm_params / sizeof *sparsevlm_params,
    .has_counts = has_counts,
    .plan_counts = plan_counts,
    .plan_official = plan_official,
    .plan_steps = plan_steps,
    .plan_step = plan_step,
    .plan_select_macs = plan_select_macs,
    .choose_rows = choose_rows,
    .score = score,
    .select = select_tokens,
};
