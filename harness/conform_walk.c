/* A prompt's way through the tower and the decoder, beside the reference: at every place where a cut may
 * stand the reference chooses on what really entered it (taps), its choice is compared with the record, and
 * the walk goes on with its own tokens, positions and merged rows, which are compared with the next taps.
 *
 *   picture  pixel_values ─ vision.embed ─ layers (vision.N.out, vision.N.reduced) ─ projector.out
 *   prompt   embeds ─ [cut] ─ decoder.0.out … decoder.N.reduced … ─ first_logits
 */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "conform.h"
#include "memory.h"

/* Of max |a − b| / max |b|: what f32 layers may be off. */
#define LAYER_TOLERANCE 2e-5

struct walker {
    struct walk_result *out;
    const struct trial *trial;
    const struct reference *reference;
    struct dense dense;
    struct place_seen seen;
    struct expected *expected;
    struct walk_token tokens[CONFORM_TOKENS], spare[CONFORM_TOKENS];
    int n, n_cluster_ids, n_records_seen;
    int raters[CONFORM_TOKENS], n_raters;
    double *x; /* [n, d] where the walk stands */
    bool compact;
    /* what the tower hands on: the place of each token in the uncut picture, and how many that has */
    int place[CONFORM_IMAGES][CONFORM_TOKENS], n_places[CONFORM_IMAGES];
};

static void choices_fail(struct walker *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void choices_fail(struct walker *w, const char *format, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (w->out->choices.holds)
        finding_set(&w->out->choices, false, "equal", "%s", text);
}

/* Holds rows against a tap of n rows; `exact`: bit by bit as floats. */
static void compare(struct walker *w, const struct tapped *tap, const double *want, int n, int d,
                    const char *what)
{
    if (!w->out->layers.holds)
        return;
    if (tap == NULL || tap->rows != n || tap->cols != d) {
        finding_set(&w->out->layers, false, "2e-5", "%s-%dx%d-not-%dx%d", what, tap ? tap->rows : 0,
                    tap ? tap->cols : 0, n, d);
        return;
    }
    double most = 0, apart = 0;
    for (size_t i = 0; i < (size_t)n * (size_t)d; i++) {
        most = fmax(most, fabs(want[i]));
        apart = fmax(apart, fabs((double)tap->data[i] - want[i]));
    }
    double off = most > 0 ? apart / most : apart;
    if (!(off <= LAYER_TOLERANCE))
        finding_set(&w->out->layers, false, "2e-5", "%s-%.3g", what, off);
    else if (strtod(w->out->layers.value, NULL) < off)
        finding_set(&w->out->layers, true, "2e-5", "%.2g", off);
}

static double *rows_of(const struct tapped *tap)
{
    size_t n = (size_t)tap->rows * (size_t)tap->cols;
    double *x = memory_alloc(n + 1, sizeof *x);
    ENSURE(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (double)tap->data[i];
    return x;
}

/* ---- what a choice makes of the tokens ------------------------------------------------------ */

static void row_add(double *to, const double *from, double weight, int d)
{
    for (int k = 0; k < d; k++)
        to[k] += weight * from[k];
}

/* Token and row of cluster g. */
static struct walk_token cluster_make(struct walker *w, double *row, const double *x, int g, int d)
{
    const struct expected *e = w->expected;
    const int *visual = w->seen.visual;
    struct walk_token token = w->tokens[visual[e->centres[g]]];
    memset(row, 0, (size_t)d * sizeof *row);
    if (e->has_own)
        row_add(row, x + visual[e->centres[g]] * d, e->own[g], d);
    if (!e->has_own || e->own[g] == 0)
        token.size = 0;
    for (int i = 0; i < e->n_recycled; i++) {
        if (e->group[i] != g)
            continue;
        const struct walk_token *member = &w->tokens[visual[e->recycled[i]]];
        row_add(row, x + visual[e->recycled[i]] * d, e->weight[i], d);
        token.size += member->size;
        token.cell = member->cell < token.cell ? member->cell : token.cell;
    }
    token.id = -1 - w->n_cluster_ids++;
    return token;
}

/* The successor of tokens and rows; returns the new rows [n, d], owned by the caller. */
static double *successor(struct walker *w, const double *x, int d)
{
    const struct expected *e = w->expected;
    double *y = memory_alloc((size_t)CONFORM_TOKENS * (size_t)d, sizeof *y);
    int n = 0, last_visual = -1, place = 0, next = 0;
    bool stays[CONFORM_TOKENS] = {false};
    ENSURE(y);
    for (int k = 0; k < e->n_kept; k++)
        stays[e->kept[k]] = true;
    for (int i = 0; i < w->n; i++)
        last_visual = w->tokens[i].image >= 0 ? i : last_visual;
    for (int i = 0; i < w->n; i++) {
        if (w->tokens[i].image < 0) {
            memcpy(y + n * d, x + i * d, (size_t)d * sizeof *y);
            w->spare[n] = w->tokens[i];
            if (i == 0 && e->keep_class) {
                w->spare[n].image = 0;
                w->spare[n].id = -1 - w->n_cluster_ids++;
            }
            n++;
        } else if (stays[place++]) {
            int kept = e->kept[next++], cluster = -1;
            for (int g = 0; g < e->n_clusters && e->in_place; g++)
                cluster = e->centres[g] == kept ? g : cluster;
            if (cluster >= 0) {
                w->spare[n] = cluster_make(w, y + n * d, x, cluster, d);
            } else {
                memcpy(y + n * d, x + w->seen.visual[kept] * d, (size_t)d * sizeof *y);
                w->spare[n] = w->tokens[w->seen.visual[kept]];
            }
            n++;
        }
        for (int g = 0; i == last_visual && g < e->n_clusters && !e->in_place; g++) {
            w->spare[n] = cluster_make(w, y + n * d, x, g, d);
            n++;
        }
    }
    memcpy(w->tokens, w->spare, sizeof w->tokens);
    w->n = n;
    return y;
}

/* ---- a place where a cut may stand ---------------------------------------------------------- */

static const struct cut_record *record_at(const struct walker *w, int image)
{
    for (int i = 0; i < w->trial->answer.n_records; i++) {
        const struct cut_record *r = &w->trial->answer.records[i];
        if (r->site == w->seen.site && r->layer == w->seen.layer && r->image == image &&
            r->turn == (r->site == SITE_VISION ? 0 : w->trial->turn))
            return r;
    }
    return NULL;
}

static void ids_compare(struct walker *w, const struct cut_record *r)
{
    for (int j = 0; j < r->n_in; j++)
        if (r->ids_in[j] != w->tokens[w->seen.visual[j]].id) {
            choices_fail(w, "layer-%d-ids_in[%d]=%d-not-%d", r->layer, j, r->ids_in[j],
                         w->tokens[w->seen.visual[j]].id);
            return;
        }
}

static void raters_compare(struct walker *w, const struct cut_record *r)
{
    if (r->n_raters < 0 || w->n_raters < 0)
        return;
    if (r->n_raters != w->n_raters)
        choices_fail(w, "layer-%d-%d-raters-not-%d", r->layer, r->n_raters, w->n_raters);
    for (int i = 0; i < r->n_raters && i < w->n_raters; i++)
        if (r->raters[i] != w->raters[i])
            choices_fail(w, "layer-%d-rater[%d]=%d-not-%d", r->layer, i, r->raters[i], w->raters[i]);
}

/* Asks the reference, compares, and moves on; whether there was a cut. */
static bool place_visit(struct walker *w, int image)
{
    struct expected *e = w->expected;
    memset(e, 0, sizeof *e);
    e->margin = INFINITY;
    e->rank = -1;
    w->seen.n = w->n;
    w->seen.n_visual = 0;
    for (int i = 0; i < w->n; i++) {
        w->seen.positions[i] = w->compact ? i : w->tokens[i].position;
        if (w->tokens[i].image >= 0)
            w->seen.visual[w->seen.n_visual++] = i;
    }
    const struct budget *budget = &w->trial->method->budget;
    bool all = budget->given && (budget->share ? budget->value >= 1 : budget->value >= w->seen.uncut);
    if (!all) /* a budget of all tokens cuts nothing, whatever the method */
        w->reference->choose(e, &w->seen);
    const struct cut_record *r = record_at(w, image);
    if (e->cut != (r != NULL)) {
        choices_fail(w, "%s-layer-%d-%s", site_names[w->seen.site], w->seen.layer,
                     r ? "cut-by-no-rule" : "not-cut");
        return false;
    }
    if (r == NULL)
        return false;
    w->n_records_seen++;
    if (r->n_in != w->seen.n_visual) {
        choices_fail(w, "layer-%d-%d-tokens-came-in-not-%d", r->layer, r->n_in, w->seen.n_visual);
        return false;
    }
    struct finding finding;
    check_choice(&finding, r, e);
    if (w->out->choices.holds)
        w->out->choices = finding;
    ids_compare(w, r);
    if (w->seen.site == SITE_DECODER)
        raters_compare(w, r);
    w->out->margin = fmin(w->out->margin, e->margin);
    w->out->n_cuts++;
    if (e->free && r->n_kept == e->n_kept) /* chance: the walk follows what was drawn */
        memcpy(e->kept, r->kept, (size_t)r->n_kept * sizeof *e->kept);
    return true;
}

/* ---- the tower ------------------------------------------------------------------------------ */

static double *log_sizes(const struct walker *w)
{
    double *bias = memory_zero((size_t)w->n, sizeof *bias);
    ENSURE(bias);
    for (int i = 0; i < w->n; i++)
        bias[i] = w->tokens[i].size > 1 ? log(w->tokens[i].size) : 0;
    return bias;
}

/* One layer of the tower with its cut; ToMe's stands before the MLP. */
static void tower_layer(struct walker *w, int image, int l, bool middle_cut)
{
    const struct vlm_config *c = w->dense.config;
    const struct taps *taps = &w->trial->encoded[image];
    size_t n = (size_t)w->n, d = (size_t)c->vision.hidden;
    double *middle = memory_alloc(n * d, sizeof *middle), *out = memory_alloc(n * d, sizeof *out);
    double *keys = memory_alloc(n * d, sizeof *keys);
    double *attention = memory_alloc((size_t)c->vision.n_heads * n * n, sizeof *attention);
    double *bias = log_sizes(w);
    ENSURE(middle && out && keys && attention);
    const struct params *params = &w->trial->method->params;
    bool proportional = middle_cut && param_is(params, "proportional", "on");
    dense_vision(middle, attention, keys, &w->dense, l, w->x, proportional ? bias : NULL, w->n);
    w->seen.layer = l;
    w->seen.before = w->x;
    w->seen.keys = keys;
    w->seen.attention = attention;
    w->seen.d = c->vision.hidden;
    double *before_mlp = middle;
    if (middle_cut) {
        w->seen.x = middle;
        if (place_visit(w, image)) {
            before_mlp = successor(w, middle, c->vision.hidden);
            compare(w, taps_find(taps, "vision.%d.reduced", l), before_mlp, w->n, c->vision.hidden,
                    "merged-tower");
        }
    }
    dense_vision_mlp(out, &w->dense, l, before_mlp, w->n);
    const struct tapped *tap = taps_find(taps, "vision.%d.out", l);
    compare(w, tap, out, w->n, c->vision.hidden, "vision-layer");
    free(w->x);
    w->x = tap ? rows_of(tap) : memory_zero((size_t)w->n * d, sizeof *w->x);
    if (!middle_cut) {
        w->seen.x = w->x;
        if (place_visit(w, image)) {
            double *reduced = successor(w, w->x, c->vision.hidden);
            compare(w, taps_find(taps, "vision.%d.reduced", l), reduced, w->n, c->vision.hidden,
                    "merged-tower");
            free(w->x);
            w->x = reduced;
        }
    }
    if (before_mlp != middle)
        free(before_mlp);
    free(middle);
    free(out);
    free(keys);
    free(attention);
    free(bias);
}

/* Rows by the first patch of each token. */
static void to_raster(struct walker *w, int d)
{
    double *row = memory_alloc((size_t)d, sizeof *row);
    ENSURE(row);
    for (int i = 1; i < w->n; i++)
        for (int j = i; j > 1 && w->tokens[j - 1].cell > w->tokens[j].cell; j--) {
            struct walk_token token = w->tokens[j];
            w->tokens[j] = w->tokens[j - 1];
            w->tokens[j - 1] = token;
            memcpy(row, w->x + j * d, (size_t)d * sizeof *row);
            memcpy(w->x + j * d, w->x + (j - 1) * d, (size_t)d * sizeof *row);
            memcpy(w->x + (j - 1) * d, row, (size_t)d * sizeof *row);
        }
    free(row);
}

static void tower_walk(struct walker *w, int image)
{
    const struct vlm_config *c = w->dense.config;
    const struct taps *taps = &w->trial->encoded[image];
    const struct tapped *pixels = taps_find(taps, "pixel_values"), *embed = taps_find(taps, "vision.embed");
    bool tome = strcmp(w->reference->method, "tome") == 0;
    if (pixels == NULL || embed == NULL) {
        choices_fail(w, "no-taps-of-picture-%d", image);
        return;
    }
    int rows = pixels->rows / 3 / c->vision.patch, cols = pixels->cols / c->vision.patch;
    if (strcmp(w->reference->method, "downsample") == 0) {
        memset(w->expected, 0, sizeof *w->expected);
        w->seen.site = SITE_VISION;
        w->seen.layer = LAYER_BEFORE;
        w->reference->choose(w->expected, &w->seen);
        if (rows != w->expected->n_kept || cols != w->expected->n_clusters)
            choices_fail(w, "grid-%dx%d-not-%dx%d", rows, cols, w->expected->n_kept, w->expected->n_clusters);
    }
    w->n = 1 + rows * cols;
    double *first = memory_alloc((size_t)w->n * (size_t)c->vision.hidden, sizeof *first);
    ENSURE(first && w->n < CONFORM_TOKENS);
    dense_patches(first, &w->dense, pixels->data, rows, cols);
    compare(w, embed, first, w->n, c->vision.hidden, "patches");
    free(first);
    w->x = rows_of(embed);
    w->tokens[0] = (struct walk_token){.image = -1, .id = INT32_MIN, .cell = -1};
    for (int p = 0; p < rows * cols; p++)
        w->tokens[1 + p] = (struct walk_token){.image = image,
                                               .id = image * c->grid_rows * c->grid_cols + p,
                                               .position = p,
                                               .cell = p,
                                               .size = 1};
    w->seen.site = SITE_VISION;
    w->compact = true;
    for (int l = 0; l < c->vision.n_used_layers; l++)
        tower_layer(w, image, l, tome);
    if (tome && param_is(&w->trial->method->params, "order", "raster"))
        to_raster(w, c->vision.hidden);
    int skip = w->tokens[0].image < 0;
    w->n_places[image] = rows * cols;
    for (int j = 0; skip + j < w->n; j++)
        w->place[image][j] = w->tokens[skip + j].position;
    const struct tapped *projected = taps_find(taps, "projector.out");
    double *features = memory_alloc((size_t)w->n * (size_t)c->text.hidden, sizeof *features);
    ENSURE(features);
    dense_project(features, &w->dense, w->x + skip * c->vision.hidden, w->n - skip);
    compare(w, projected, features, w->n - skip, c->text.hidden, "projector");
    free(features);
    free(w->x);
    w->x = NULL;
}

/* ---- the decoder ---------------------------------------------------------------------------- */

/* The merged sequence: text and the pictures' features, bit by bit what was tapped. */
static void prompt_walk(struct walker *w)
{
    const struct vlm_config *c = w->dense.config;
    const struct prompt *prompt = w->trial->prompt;
    const struct tapped *embeds = taps_find(&w->trial->asked, "embeds");
    int image = 0, patch = 0, n_candidates = 0, position = 0, d = c->text.hidden;
    float *table = memory_alloc((size_t)c->text.vocabulary * (size_t)d, sizeof *table);
    ENSURE(table);
    load_random(table, "language_model.model.embed_tokens.weight", 2, (int64_t[]){c->text.vocabulary, d},
                w->dense.seed, c->query_gain);
    w->n = 0;
    for (int i = 0; i < prompt->n_ids; i++) {
        bool text = prompt->ids[i] != c->image_token;
        int n = text ? 1 : features_count(w->trial->features[image]);
        const struct tapped *from = text ? NULL : taps_find(&w->trial->encoded[image], "projector.out");
        const float *row = text ? table + prompt->ids[i] * d : from ? from->data : NULL;
        for (int j = 0; j < n; j++, w->n++) {
            w->tokens[w->n] = (struct walk_token){.image = text ? -1 : image,
                                                  .id = text ? INT32_MIN : patch + j,
                                                  .cell = text ? -1 : j,
                                                  .position = position + (text ? 0 : w->place[image][j]),
                                                  .size = !text};
            if (embeds == NULL || row == NULL || w->n >= embeds->rows ||
                memcmp(embeds->data + w->n * d, row + j * d, (size_t)d * sizeof *row) != 0)
                choices_fail(w, "row-%d-of-the-merged-prompt", w->n);
        }
        position += text ? 1 : w->n_places[image];
        n_candidates = text ? n_candidates + 1 : 0;
        if (!text) {
            patch += c->grid_rows * c->grid_cols;
            image++;
        }
    }
    free(table);
    w->seen.n_candidates = image > 0 ? n_candidates : w->n;
    if (w->trial->turn > 0)
        w->seen.n_candidates = w->trial->n_candidates;
    w->x = embeds ? rows_of(embeds) : memory_zero((size_t)w->n * (size_t)d, sizeof *w->x);
}

static void positions_renumber(struct walker *w)
{
    for (int i = 0; i < w->n && w->compact; i++)
        w->tokens[i].position = i;
}

static void decoder_walk(struct walker *w)
{
    const struct vlm_config *c = w->dense.config;
    const struct taps *taps = &w->trial->asked;
    const struct ledger *ledger = &w->trial->answer.ledger;
    int d = c->text.hidden;
    w->compact = !method_original_positions(w->trial->method);
    w->seen.d = d;
    positions_renumber(w);
    bool cuts_here = !w->trial->method->reducer->in_tower, cut_before = true;
    for (int l = LAYER_BEFORE; l < c->text.n_layers; l++) {
        double *entered = w->x;
        w->seen.site = l < 0 ? SITE_BEFORE : SITE_DECODER;
        w->seen.layer = l;
        w->seen.before = entered;
        if (l >= 0) {
            const struct tapped *tap = taps_find(taps, "decoder.%d.out", l);
            if (tap == NULL || tap->rows != w->n || ledger->layers[l].kv_len != w->n) {
                choices_fail(w, "layer-%d-%d-rows-not-%d", l, tap ? tap->rows : 0, w->n);
                return;
            }
            w->x = rows_of(tap);
            /* layers behind a cut show whether rows and positions moved as they should */
            if (cut_before || l == c->text.n_layers - 1) {
                int positions[CONFORM_TOKENS];
                for (int i = 0; i < w->n; i++)
                    positions[i] = w->tokens[i].position;
                double *attention = memory_alloc((size_t)c->text.n_heads * (size_t)w->n * (size_t)w->n,
                                                 sizeof *attention),
                       *out = memory_alloc((size_t)w->n * (size_t)d, sizeof *out);
                ENSURE(attention && out);
                dense_decoder(attention, out, &w->dense, l, entered, positions, w->n);
                compare(w, tap, out, w->n, d, "decoder-layer");
                free(attention);
                free(out);
            }
        }
        w->seen.x = w->x;
        cut_before = cuts_here && place_visit(w, -1);
        if (l >= 0)
            free(entered);
        if (!cut_before) {
            cut_before = l < 0;
            continue;
        }
        double *reduced = successor(w, w->x, d);
        compare(w, taps_find(taps, "decoder.%d.reduced", l), reduced, w->n, d, "merged-rows");
        free(w->x);
        w->x = reduced;
        positions_renumber(w);
    }
    double *logits = memory_alloc((size_t)c->text.vocabulary, sizeof *logits);
    ENSURE(logits);
    dense_head(logits, &w->dense, w->x + (w->n - 1) * d);
    struct tapped tap = {.rows = 1, .cols = c->text.vocabulary, .data = w->trial->answer.first_logits};
    compare(w, &tap, logits, 1, c->text.vocabulary, "logits");
    free(logits);
}

void walk(struct walk_result *out, const struct conform *conform, const struct trial *trial,
          const struct reference *reference)
{
    struct walker *w = memory_zero(1, sizeof *w);
    ENSURE(w);
    (void)conform;
    *out = (struct walk_result){.margin = INFINITY};
    finding_set(&out->choices, true, "equal", "no-cut");
    finding_set(&out->layers, true, "2e-5", "0");
    w->expected = memory_alloc(1, sizeof *w->expected);
    ENSURE(w->expected);
    w->out = out;
    w->trial = trial;
    w->reference = reference;
    w->dense = (struct dense){vlm_config(conform->beds[0].vlm), CONFORM_SEED};
    w->n_raters = -1;
    const struct method *method = trial->method;
    int n_images = trial->prompt->n_images;
    w->seen = (struct place_seen){.method = method,
                                  .tokens = w->tokens,
                                  .dense = &w->dense,
                                  .raters = w->raters,
                                  .n_raters = &w->n_raters,
                                  .n_images = n_images,
                                  .vision_layers = w->dense.config->vision.n_used_layers,
                                  .uncut = n_images * w->dense.config->visual_per_image};
    double budget = !method->budget.given  ? 0
                    : method->budget.share ? method->budget.value * w->seen.uncut
                                           : method->budget.value;
    w->seen.budget = method->reducer->in_tower ? budget / n_images : budget;
    for (int i = 0; i < n_images; i++) {
        w->n_places[i] = w->seen.uncut / n_images;
        for (int j = 0; j < w->n_places[i]; j++)
            w->place[i][j] = j;
    }
    for (int i = 0; i < n_images && (method->reducer->in_tower || reference->no_budget); i++)
        tower_walk(w, i);
    w->seen.budget = budget;
    prompt_walk(w);
    decoder_walk(w);
    int n_records = 0;
    for (int i = 0; i < trial->answer.n_records; i++)
        n_records +=
            trial->answer.records[i].site == SITE_VISION || trial->answer.records[i].turn == trial->turn;
    if (w->n_records_seen != n_records)
        choices_fail(w, "%d-cuts-made-%d-by-the-rules", n_records, w->n_records_seen);
    free(w->x);
    free(w->expected);
    free(w);
}
