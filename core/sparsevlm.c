/* SparseVLM (Zhang et al., ICML 2025, arXiv 2410.04417).
 *
 *   before layer 0   text raters: S = E_v·E_tᵀ, softmax over the text, mean over the image; those above the
 *                    mean                                                                       (eq. 5, 6)
 *   after layer l    priority p = mean over heads and raters of their attention to each visual token (eq. 3)
 *   of 2, 6, 15      the k of largest p stay in order
 *                    the best tau of the dropped are recycled: DPC-KNN clusters of their hidden states, one
 *                    token a cluster, put behind the kept ones                               (section 3.3)
 *
 * How many stay is what the versions differ in (`mode`):
 *   v1.5    a fixed table of the published code
 *   paper   eq. 7: N = λ·(V − rank P) are deleted, P [raters, V] the head mean of the raters' attention
 *   v1.0    rank·scale + bias are kept, the code of the first preprint
 *   plus    another table (code v2.0); attention is divided by what rotary positions alone would give, only
 *           the heads that look at the picture most score, nothing is recycled, ids are kept
 *
 * Where paper and code differ the code is followed (docs/methods.md).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "vlm.h"

static const struct param sparsevlm_params[] = {
    {.name = "mode",
     .type = PARAM_CHOICE,
     .fallback = "v1.5",
     .choices = "v1.5|v1.0|paper|plus",
     .doc = "v1.5: fixed schedule of the published code; v1.0: keep rank * scale + bias; paper: eq. 7; plus: "
            "code v2.0. v1.0 and paper depend on the data and take no budget"},
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
     .doc = "token recycling; off for plus unless said otherwise"},
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
     .doc = "cut after these decoder layers; for v1.0 2,6,15,19 unless said otherwise"},
    {.name = "keep",
     .type = PARAM_COUNTS,
     .low = 0,
     .high = 1e6,
     .doc = "tokens kept at each cut, before clusters; default: from the budget"},
    PARAM_ROWS_DROPPING("compact"),
    {.name = "lambda",
     .type = PARAM_REAL,
     .fallback = "0.5",
     .low = 0,
     .high = 1,
     .low_open = true,
     .doc = "paper: N = int(lambda (V - rank)) are dropped"},
    {.name = "rank_tol",
     .type = PARAM_REAL,
     .fallback = "0",
     .low = 0,
     .high = 1,
     .doc = "singular values above this share of the largest count; 0: max(rows, cols) 2^-23"},
    {.name = "rank_by",
     .type = PARAM_CHOICE,
     .fallback = "svd",
     .choices = "svd|gram",
     .doc = "singular values of P, or roots of the eigenvalues of P P^T (f64)"},
    {.name = "scale",
     .type = PARAM_REAL,
     .fallback = "13.5",
     .low = 0,
     .high = 1e6,
     .doc = "v1.0: int(rank scale + bias) are kept"},
    {.name = "bias", .type = PARAM_REAL, .fallback = "0", .low = -1e6, .high = 1e6, .doc = "v1.0"},
    {.name = "heads",
     .type = PARAM_COUNT,
     .fallback = "14",
     .low = 1,
     .high = 1e6,
     .choices = "half",
     .doc = "plus: how many heads score, those with the largest sums; more than there are: all"},
    {.name = "no_rater",
     .type = PARAM_CHOICE,
     .fallback = "text",
     .choices = "text|skip",
     .doc = "where no text token is above the threshold: all text scores, or no cut"},
};

/* ---- what the mode decides ------------------------------------------------------------------ */

enum mode { MODE_V15, MODE_V10, MODE_PAPER, MODE_PLUS };

static enum mode mode_of(const struct method *method)
{
    return (enum mode)param_get(&method->params, "mode")->choice;
}

static bool recycles(const struct method *method)
{
    if (mode_of(method) == MODE_PLUS && !param_get(&method->params, "recycle")->given)
        return false;
    return param_is(&method->params, "recycle", "on");
}

static bool original_positions(const struct method *method)
{
    return mode_of(method) == MODE_PLUS;
}

static int layers_of(int *out, const struct method *method)
{
    const struct param_value *layers = param_get(&method->params, "layers");
    int n = layers->n;
    for (int i = 0; i < n; i++)
        out[i] = (int)layers->list[i];
    if (mode_of(method) == MODE_V10 && !layers->given)
        out[n++] = 19;
    return n;
}

static const char *resolve(const struct method *method, const char *name)
{
    if (strcmp(name, "recycle") == 0 && mode_of(method) == MODE_PLUS)
        return "off";
    if (strcmp(name, "layers") == 0 && mode_of(method) == MODE_V10)
        return "2,6,15,19";
    return NULL;
}

/* A parameter that the mode does not look at was not meant. */
static enum status check(const struct method *method, struct error *err)
{
    static const struct {
        const char *name, *modes;
        bool means[4]; /* by mode */
    } rows[] = {{"lambda", "paper", {[MODE_PAPER] = true}},
                {"rank_tol", "paper and v1.0", {[MODE_PAPER] = true, [MODE_V10] = true}},
                {"rank_by", "paper and v1.0", {[MODE_PAPER] = true, [MODE_V10] = true}},
                {"scale", "v1.0", {[MODE_V10] = true}},
                {"bias", "v1.0", {[MODE_V10] = true}},
                {"heads", "plus", {[MODE_PLUS] = true}}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        if (param_get(&method->params, rows[i].name)->given && !rows[i].means[mode_of(method)])
            return fail(err, BAD_INPUT,
                        "method sparsevlm: %s means nothing in this mode; it goes with mode %s", rows[i].name,
                        rows[i].modes);
    return OK;
}

/* ---- counts --------------------------------------------------------------------------------- */

enum { N_STAGES_OFFICIAL = 3, N_OFFICIAL = 4 };
struct official {
    int budget, keep[N_STAGES_OFFICIAL];
};
static const struct official official_v15[N_OFFICIAL] = {
    {192, {300, 200, 110}}, {128, {303, 110, 36}}, {96, {238, 48, 26}}, {64, {66, 30, 17}}};
static const struct official official_plus[N_OFFICIAL] = {
    {192, {300, 200, 118}}, {128, {238, 108, 60}}, {96, {246, 54, 28}}, {64, {66, 34, 20}}};

static const struct official *official_of(const struct method *method)
{
    return mode_of(method) == MODE_PLUS ? official_plus : official_v15;
}

static double tau_of(const struct method *method)
{
    return recycles(method) ? param_real(&method->params, "tau") : -1;
}

static void plan_keeps(struct plan *out, const struct method *method, const struct plan_input *input,
                       const int *keep)
{
    int layers[PARAM_LIST_MAX], n_layers = layers_of(layers, method), n = input->n_visual;
    for (int i = 0; i < n_layers; i++)
        n = plan_cut(out, layers[i], keep[i], n, tau_of(method), param_real(&method->params, "theta"),
                     input->n_layers);
}

static enum status layers_check(const struct method *method, int n_counts, const char *what,
                                struct error *err)
{
    int layers[PARAM_LIST_MAX], n_layers = layers_of(layers, method);
    if (n_layers != n_counts)
        return fail(err, BAD_INPUT,
                    "method sparsevlm: %d layers but %s has %d counts; give keep with one count a layer",
                    n_layers, what, n_counts);
    return OK;
}

static bool depends_on_data(const struct method *method)
{
    return mode_of(method) == MODE_PAPER || mode_of(method) == MODE_V10;
}

static bool has_counts(const struct method *method)
{
    return params_has(&method->params, "keep") || depends_on_data(method);
}

static enum status plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    const struct param_value *given = param_get(&method->params, "keep");
    int counts[PARAM_LIST_MAX];
    if (depends_on_data(method)) {
        if (given->present)
            return fail(err, BAD_INPUT,
                        "method sparsevlm: mode %s finds its counts from the rank; leave keep away, or use "
                        "mode v1.5",
                        mode_of(method) == MODE_PAPER ? "paper" : "v1.0");
        int n_layers = layers_of(counts, method);
        for (int i = 0; i < n_layers; i++)
            plan_cut_adaptive(out, counts[i], input->n_layers);
        return OK;
    }
    TRY(layers_check(method, given->n, "keep", err));
    for (int i = 0; i < given->n; i++)
        counts[i] = (int)given->list[i];
    plan_keeps(out, method, input, counts);
    return OK;
}

static enum status plan_official(struct plan *out, const struct method *method,
                                 const struct plan_input *input, double budget, struct error *err)
{
    TRY(layers_check(method, N_STAGES_OFFICIAL, "the official table", err));
    int key = (int)floor(576 * budget / input->n_visual + 0.5);
    for (int t = 0; t < N_OFFICIAL; t++) {
        const struct official *row = &official_of(method)[t];
        if (row->budget != key)
            continue;
        int keep[N_STAGES_OFFICIAL];
        for (int i = 0; i < N_STAGES_OFFICIAL; i++)
            keep[i] = (int)((int64_t)row->keep[i] * input->n_visual / 576);
        plan_keeps(out, method, input, keep);
        return OK;
    }
    return fail(err, BAD_INPUT,
                "method sparsevlm has no official schedule for %g of %d visual tokens (%d of 576); there are "
                "192, 128, 96 and 64 of 576; use match tokens_in for any budget",
                budget, input->n_visual, key);
}

/* The family of `match`: every cut of the nearest official table times f, rounded. Steps of f: 0, and each
 * (m + ½)/table_j up to V/table_0, at which one count changes; f = (2m + 1)/(2 table_j) keeps all exact. */
static const int *nearest_table(const struct method *method, const struct plan_input *input, double budget)
{
    const struct official *official = official_of(method);
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
    int layers[PARAM_LIST_MAX];
    if (layers_of(layers, method) != N_STAGES_OFFICIAL)
        return 0;
    const int *table = nearest_table(method, input, budget);
    return 1 + steps_of(input, table, 0) + steps_of(input, table, 1) + steps_of(input, table, 2);
}

static void plan_step(struct plan *out, double *size, const struct method *method,
                      const struct plan_input *input, double budget, int step)
{
    const int *table = nearest_table(method, input, budget);
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

/* ---- raters --------------------------------------------------------------------------------- */

static enum status choose_rows(int32_t *rows, int *n_rows, const struct view *view, struct error *err)
{
    const struct params *params = &view->method->params;
    const struct ops *ops = view->compute->ops;
    int n_text = view->n_text;
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

/* ---- priority ------------------------------------------------------------------------------- */

/* plus: g(Δ) = (2/√d)·Σ_{j<d/2} cos(Δ·θ^{−2j/d}), the product of all-ones queries and keys rotated to
 * positions Δ apart, from below by √d/16; attention is divided by it. */
static float gravity(bool *mark, const struct view *view, int distance)
{
    int d = view->head_dim;
    double sum = 0, floor_of_g = sqrt(d) / 16;
    for (int j = 0; j < d / 2; j++)
        sum +=
            cos(distance / view->config->text.rope_scale * pow(view->config->text.rope_theta, -2.0 * j / d));
    double g = 2 / sqrt(d) * sum;
    *mark = g < floor_of_g;
    return (float)(1 / (*mark ? floor_of_g : g));
}

static struct score_request score(const struct method *method, const struct plan_cut *cut)
{
    bool plus = mode_of(method) == MODE_PLUS;
    return (struct score_request){.rows = param_is(&method->params, "raters", "select") ? ROWS_CHOSEN
                                          : param_is(&method->params, "raters", "text") ? ROWS_TEXT
                                                                                        : ROWS_ALL,
                                  .by_row = cut->adaptive,
                                  .by_head = plus,
                                  .factor = plus ? gravity : NULL};
}

/* How many heads score. */
static int heads_of(const struct view *view)
{
    const struct param_value *heads = param_get(&view->method->params, "heads");
    int n = heads->choice >= 0 ? view->n_heads / 2 : (int)heads->real;
    return n < 1 ? 1 : n < view->n_heads ? n : view->n_heads;
}

/* plus: the mean over the heads whose attention to the picture, corrected, sums to most. */
static enum status score_by_heads(float *out, const struct view *view, struct error *err)
{
    size_t n = (size_t)view->n_visual, n_heads = (size_t)view->n_heads;
    float *heads = memory_alloc(n * n_heads, sizeof *heads);
    double *sum = memory_zero(n_heads, sizeof *sum);
    if (heads == NULL || sum == NULL) {
        free(heads);
        free(sum);
        return memory_failed(err, "scores by head", n * n_heads * sizeof *heads);
    }
    view->compute->ops->download(view->compute, heads, view->score_heads, n * n_heads * sizeof *heads);
    for (size_t h = 0; h < n_heads; h++)
        for (size_t j = 0; j < n; j++)
            sum[h] += (double)heads[h * n + j];
    int n_chosen = heads_of(view);
    double *mean = memory_zero(n, sizeof *mean);
    enum status status = mean ? OK : memory_failed(err, "scores", n * sizeof *mean);
    for (int k = 0; k < n_chosen && status == OK; k++) {
        size_t best = 0;
        for (size_t h = 1; h < n_heads; h++)
            if (sum[h] > sum[best])
                best = h;
        sum[best] = -INFINITY; /* taken */
        for (size_t j = 0; j < n; j++)
            mean[j] += (double)heads[best * n + j];
    }
    for (size_t j = 0; j < n && status == OK; j++)
        out[j] = (float)(mean[j] / n_chosen);
    free(mean);
    free(heads);
    free(sum);
    return status;
}

/* ---- adaptive counts ------------------------------------------------------------------------ */

/* paper: eq. 7 with N truncated; v1.0: rank·scale + bias. What the rule would make more than V − 1 or less
 * than 1 is no cut or one token (docs/methods.md). */
static enum status adapt(struct plan_cut *cut, struct selection *out, const struct view *view,
                         struct error *err)
{
    const struct method *method = view->method;
    const struct params *params = &method->params;
    struct compute *c = view->compute;
    int n = view->n_visual, n_rows = view->n_rows;
    bool gram = param_is(params, "rank_by", "gram");
    double start = clock_ms();
    out->rank = c->ops->rank(c, view->score_rows, n_rows, n, param_real(params, "rank_tol"), gram);
    out->rank_ms = clock_ms() - start;
    if (out->rank < 0)
        return fail(err, BAD_INPUT,
                    "the attention of decoder layer %d holds values that are no numbers; are the weights "
                    "damaged?",
                    view->layer);
    uint64_t rows = (uint64_t)n_rows, cols = (uint64_t)n;
    out->macs += gram ? rows * rows * cols + rows * rows * rows : rows * cols * (rows < cols ? rows : cols);
    double keep = mode_of(method) == MODE_PAPER
                      ? n - floor(param_real(params, "lambda") * (n - out->rank))
                      : trunc(out->rank * param_real(params, "scale") + param_real(params, "bias"));
    if (out->rank >= n || keep >= n) {
        cut->keep = n;
        return OK;
    }
    plan_cut_counts(cut, keep < 1 ? 1 : (int)keep, n, tau_of(method), param_real(params, "theta"));
    return OK;
}

/* ---- selection ------------------------------------------------------------------------------ */

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
    out->macs += (uint64_t)n * (uint64_t)n * (uint64_t)view->hidden_size;
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
    int32_t *size = visual;
    memset(size, 0, (size_t)n_clusters * sizeof *size);
    c->ops->download(c, host, out->group, n_bytes);
    for (int i = 0; i < n; i++)
        size[host[i]]++;
    bool mean = param_is(params, "merge", "mean");
    float *weight = (float *)(void *)host;
    for (int i = 0; i < n; i++)
        weight[i] = mean ? 1 / (float)size[host[i]] : 1;
    c->ops->upload(c, out->weight, weight, (size_t)n * sizeof *weight);
    free(host);
    return OK;
}

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    out->score = view->score;
    if (mode_of(view->method) == MODE_PLUS) {
        size_t n_bytes = (size_t)view->n_visual * sizeof(float);
        float *host = memory_alloc(n_bytes, 1);
        if (host == NULL)
            return memory_failed(err, "scores", n_bytes);
        enum status status = score_by_heads(host, view, err);
        if (status == OK) /* behind what recycling uses */
            view->compute->ops->upload(view->compute, view->scratch + view->sequence->n, host, n_bytes);
        free(host);
        TRY(status);
        out->score = view->scratch + view->sequence->n;
    }
    TRY(select_top(out, view, out->score, view->cut->keep, view->cut->recycled, err));
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
    .counts = "keep, or mode v1.0 or paper, which depend on the data",
    .original_positions = original_positions,
    .resolve = resolve,
    .check = check,
    .has_counts = has_counts,
    .plan_counts = plan_counts,
    .plan_official = plan_official,
    .plan_steps = plan_steps,
    .plan_step = plan_step,
    .plan_select_macs = plan_select_macs,
    .choose_rows = choose_rows,
    .score = score,
    .adapt = adapt,
    .select = select_tokens,
};
