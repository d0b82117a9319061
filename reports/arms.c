/* Groups cells into panels and arms and judges them: see arms.h. Labels name what is not the default of a
 * parameter; of a method that this program does not know, the parameters on which its cells disagree. */
#include "reports/arms.h"

#include "core/json.h"
#include "core/memory.h"
#include "core/reducer.h"

#include <math.h>   /* NAN, isnan */
#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* qsort */
#include <string.h> /* strcmp */

const struct badge_text badge_texts[] = {
    {BADGE_NOT_SIGNIFICANT, "n.s.",
     "no significant difference to the baseline in which questions are answered correctly (exact McNemar, "
     "questions taken as independent, Holm over the model and benchmark, 5 %)"},
    {BADGE_TESTS_DISAGREE, "tests disagree",
     "the test and the interval of the difference do not say the same: the test looks at single questions, "
     "taken as independent and corrected for many tests, the interval at the headline, with whole images "
     "drawn and uncorrected"},
    {BADGE_LOSES_TO_RANDOM, "loses to random",
     "the 95 % interval of the difference to random tokens on the same schedule lies below 0"},
    {BADGE_TIES_RANDOM, "ties random", "that interval contains 0"},
    {BADGE_SLOWER, "slower than dense",
     "the time to the first token (else the prefill) is longer than the baseline's"},
    {BADGE_BUDGET_OFF, "budget off",
     "the measured figure misses the requested budget by more than 1 token and 1 %"},
    {BADGE_KV_NOT_FREED, "KV not freed",
     "less than 90 % of the cache that the method saves is really given back"},
    {BADGE_FAILED_SAMPLES, "failed samples", "some samples failed; they are outside n and score"},
    {BADGE_TUNED_ON_TEST, "tuned on test",
     "the best of several settings of this method, chosen on the samples it is scored on (use `split: tune`, "
     "then "
     "`confirm`)"},
    {BADGE_GRAVITY_FLOOR, "gravity floor",
     "SparseVLM plus: in some samples the gravity correction reached its floor (`marked` in cells.metrics "
     "says in how "
     "many)"},
    {BADGE_SEVERAL_MACHINES, "several machines", "samples of this cell ran on more than one machine"},
    {0, NULL, NULL}};

static bool is_chance_method(const char *method)
{
    static const char *const names[] = {"random", "uniform", "center", "top", "bottom", "pool", "downsample"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(method, names[i]) == 0)
            return true;
    return false;
}

bool arm_is_chance(const struct arm *arm)
{
    return is_chance_method(arm->members[0]->method);
}

bool arm_is_control_image(const struct arm *arm)
{
    const char *control = arm->members[0]->control;
    return control[0] != '\0' && strcmp(control, "none") != 0;
}

double arm_mean(const struct arm *arm, size_t offset)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < arm->n_members; i++) {
        double value;
        memcpy(&value, (const char *)arm->members[i] + offset, sizeof value);
        if (!isnan(value)) {
            sum += value;
            n++;
        }
    }
    return n > 0 ? sum / n : (double)NAN;
}

/* ---- labels --------------------------------------------------------------------------------- */

static json_t *params_of(const struct cell *cell)
{
    json_t *params = json_loadb(cell->params, strlen(cell->params), 0, NULL);
    if (!json_is_object(params)) {
        json_decref(params);
        params = json_object();
    }
    return params;
}

/* {METHOD: {"seen": {KEY: VALUE}, "varied": {KEY: true}}} of all cells. A key that some cells lack has
 * varied. */
static json_t *find_varied(const struct cells *cells)
{
    json_t *methods = json_object();
    for (int i = 0; i < cells->n; i++) {
        json_t *params = params_of(&cells->cells[i]),
               *method = json_object_get(methods, cells->cells[i].method);
        bool first = method == NULL;
        if (first) {
            method = json_pack("{s:{},s:{}}", "seen", "varied");
            json_object_set_new(methods, cells->cells[i].method, method);
        }
        json_t *seen = json_object_get(method, "seen"), *varied = json_object_get(method, "varied"), *value;
        const char *key;
        json_object_foreach(params, key, value)
        {
            json_t *before = json_object_get(seen, key);
            if (before == NULL)
                json_object_set(seen, key, value);
            if (before == NULL ? !first : !json_equal(before, value))
                json_object_set_new(varied, key, json_true());
        }
        json_object_foreach(seen, key, value)
        {
            if (json_object_get(params, key) == NULL)
                json_object_set_new(varied, key, json_true());
        }
        json_decref(params);
    }
    return methods;
}

/* Every parameter of a method at its default, for a control that of what it shadows, for a mode that of the
 * mode; NULL for a method that is not in the registry. */
static json_t *defaults_of(const struct cell *cell, const json_t *params)
{
    static const char *const shadowing[] = {"at", "like", "mode"};
    struct method method;
    struct error ignored;
    char text[4096], mode[64] = "";
    if (method_init(&method, cell->method, &ignored) != OK)
        return NULL;
    for (int i = 0; i < method.params.n; i++)
        if (strcmp(method.params.table[i].name, "mode") == 0)
            param_format(mode, sizeof mode, &method.params.table[i], &method.params.values[i]);
    for (size_t i = 0; i < sizeof shadowing / sizeof *shadowing; i++) {
        const char *value = json_string_value(json_object_get(params, shadowing[i]));
        if (value != NULL)
            (void)method_set(&method, shadowing[i], value, &ignored); /* a foreign value: the default stays */
    }
    if (cell->budget[0] != '\0') /* pdrop's layers */
        (void)method_set(&method, "budget", cell->budget, &ignored);
    if (method_resolve(&method, 0, &ignored) != OK)
        return NULL;
    int n = params_json(text, sizeof text, &method.params, false);
    json_t *defaults = n > 0 && (size_t)n < sizeof text ? json_loads(text, 0, NULL) : NULL;
    if (mode[0] != '\0' && json_is_object(defaults)) /* a mode is named, what follows from it is not */
        json_object_set_new(defaults, "mode", json_string(mode));
    if (!json_is_object(defaults)) {
        json_decref(defaults);
        return NULL;
    }
    return defaults;
}

static size_t add(char *out, size_t used, size_t size, const char *text)
{
    int n = used < size ? snprintf(out + used, size - used, "%s", text) : 0;
    return n > 0 ? used + (size_t)n : used;
}

/* Whether a list "a, b" holds a name. */
static bool is_listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; at != NULL; at = strstr(at, ", ") ? strstr(at, ", ") + 2 : NULL)
        if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == 0))
            return true;
    return false;
}

static void value_text(char *out, size_t size, const json_t *value)
{
    size_t used = 0;
    out[0] = '\0';
    if (json_is_string(value)) {
        add(out, 0, size, json_string_value(value));
    } else if (json_is_number(value)) {
        snprintf(out, size, "%g", json_number_value(value));
    } else if (json_is_boolean(value)) {
        add(out, 0, size, json_is_true(value) ? "on" : "off");
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            char one[32];
            snprintf(one, sizeof one, "%s%g", i > 0 ? "," : "", json_number_value(json_array_get(value, i)));
            used = add(out, used, size, one);
        }
    } else {
        add(out, 0, size, "none");
    }
}

static void label_cell(char label[ARM_LABEL_MAX], const struct cell *cell, const json_t *methods,
                       bool show_match)
{
    json_t *params = params_of(cell), *defaults = defaults_of(cell, params);
    const json_t *varied = json_object_get(json_object_get(methods, cell->method), "varied");
    size_t used = add(label, 0, ARM_LABEL_MAX, cell->method);
    const char *at = json_string_value(json_object_get(params, "at"));
    const char *like = json_string_value(json_object_get(params, "like"));
    bool shadows = is_chance_method(cell->method) && at != NULL;
    if (shadows && strcmp(at, "decoder") == 0 && like != NULL) {
        used = add(label, used, ARM_LABEL_MAX, " like ");
        used = add(label, used, ARM_LABEL_MAX, like);
    } else if (shadows) {
        used = add(label, used, ARM_LABEL_MAX, " at ");
        used = add(label, used, ARM_LABEL_MAX, at);
    }
    const char *key;
    json_t *value;
    json_object_foreach(params, key, value)
    {
        bool told =
            strcmp(key, "seed") == 0 || (shadows && (strcmp(key, "at") == 0 || strcmp(key, "like") == 0));
        bool usual = defaults != NULL ? json_equal(json_object_get(defaults, key), value)
                                      : json_object_get(varied, key) == NULL;
        if (told || usual)
            continue;
        char text[96];
        value_text(text, sizeof text, value);
        used = add(label, used, ARM_LABEL_MAX, " ");
        used = add(label, used, ARM_LABEL_MAX, key);
        used = add(label, used, ARM_LABEL_MAX, "=");
        used = add(label, used, ARM_LABEL_MAX, text);
    }
    if (show_match && cell->match[0] != '\0' && cell->budget[0] != '\0') {
        used = add(label, used, ARM_LABEL_MAX, ", ");
        add(label, used, ARM_LABEL_MAX, cell->match);
    }
    json_decref(defaults);
    json_decref(params);
}

/* Whether two cells disagree on a number that papers tune. */
static bool tuned_apart(const struct cell *a, const struct cell *b)
{
    static const char *const keys[] = {"tau",   "theta", "lambda", "rater_rule", "knn",
                                       "scale", "bias",  "k",      "heads"};
    json_t *x = params_of(a), *y = params_of(b);
    bool apart = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *own = json_object_get(x, keys[i]), *other = json_object_get(y, keys[i]);
        apart |= own != NULL && other != NULL && !json_equal(own, other);
    }
    json_decref(x);
    json_decref(y);
    return apart;
}

/* ---- grouping ------------------------------------------------------------------------------- */

static bool same_panel(const struct cell *a, const struct cell *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->benchmark, b->benchmark) == 0 &&
           strcmp(a->split, b->split) == 0 && strcmp(a->template_name, b->template_name) == 0 &&
           strcmp(a->image_mode, b->image_mode) == 0 && strcmp(a->device, b->device) == 0 &&
           strcmp(a->dtype, b->dtype) == 0;
}

static void title_panel(struct panel *panel, const struct cells *cells)
{
    const struct cell *cell = panel->cell;
    const struct {
        size_t offset;
        const char *text;
    } parts[] = {{offsetof(struct cell, model), cell->model},
                 {offsetof(struct cell, template_name), cell->template_name},
                 {offsetof(struct cell, image_mode), cell->image_mode},
                 {offsetof(struct cell, device), cell->device},
                 {offsetof(struct cell, dtype), cell->dtype}};
    size_t used = add(panel->title, 0, PANEL_TITLE_MAX, cell->benchmark);
    if (cell->split[0] != '\0' && strcmp(cell->split, "all") != 0) {
        used = add(panel->title, used, PANEL_TITLE_MAX, ", split ");
        used = add(panel->title, used, PANEL_TITLE_MAX, cell->split);
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (int j = 0; j < cells->n; j++) {
            char *other;
            memcpy(&other, (const char *)&cells->cells[j] + parts[i].offset, sizeof other);
            if (strcmp(other, parts[i].text) == 0)
                continue;
            used = add(panel->title, used, PANEL_TITLE_MAX, ", ");
            used = add(panel->title, used, PANEL_TITLE_MAX, parts[i].text);
            break;
        }
}

static double budget_number(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    return end == text ? (double)NAN : value;
}

static enum status panel_of(int *index, struct arms *out, const struct cell *cell, struct error *err)
{
    for (*index = 0; *index < out->n_panels; ++*index)
        if (same_panel(out->panels[*index].cell, cell))
            return OK;
    struct panel *grown = memory_grow(out->panels, (size_t)out->n_panels + 1, sizeof *grown);
    if (grown == NULL)
        return memory_failed(err, "panels", sizeof *grown);
    out->panels = grown;
    out->panels[out->n_panels++] = (struct panel){.cell = cell, .base = -1};
    return OK;
}

/* The baseline's cell that this one is compared to; NULL without. */
static const struct cell *base_of(const struct cells *cells, const struct cell *cell, const char *baseline)
{
    for (int i = 0; i < cells->n_comparisons; i++) {
        const struct comparison *row = &cells->comparisons[i];
        if (strcmp(row->key, cell->key) != 0)
            continue;
        const struct cell *base = cells_find(cells, row->base_key);
        if (base != NULL && strcmp(base->method, baseline) == 0)
            return base;
    }
    return NULL;
}

static bool differ_by_seed_alone(const struct cell *a, const struct cell *b)
{
    json_t *x = params_of(a), *y = params_of(b);
    const json_t *seed_x = json_object_get(x, "seed"), *seed_y = json_object_get(y, "seed");
    bool alone = seed_x != NULL && seed_y != NULL && !json_equal(seed_x, seed_y);
    json_object_del(x, "seed");
    json_object_del(y, "seed");
    alone = alone && json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return alone;
}

static bool same_row(const struct arm *arm, const struct arm *other)
{
    const struct cell *a = arm->members[0], *b = other->members[0];
    return other->panel == arm->panel && strcmp(other->label, arm->label) == 0 &&
           strcmp(a->budget, b->budget) == 0 && strcmp(a->match, b->match) == 0 &&
           strcmp(a->control, b->control) == 0;
}

/* Seeds of one arm also have the same base: that of the same weights, questions and numerics. */
static bool is_seed_of(const struct arm *arm, const struct cell *cell, const struct cells *cells,
                       const char *baseline)
{
    bool seed = arm->n_members < ARM_MEMBERS_MAX;
    for (int i = 0; i < arm->n_members && seed; i++)
        seed = differ_by_seed_alone(arm->members[i], cell);
    return seed && base_of(cells, arm->members[0], baseline) == base_of(cells, cell, baseline);
}

/* Rows that look alike but are not the same run (other weights, questions, numerics) are told apart. */
static void name_editions(struct arms *arms)
{
    for (int i = 0; i < arms->n; i++) {
        struct arm *arm = &arms->arms[i];
        for (int j = 0; j < arms->n; j++)
            if (j != i && same_row(arm, &arms->arms[j]))
                snprintf(arm->edition, EDITION_MAX, "%.40s, %.40s", arm->members[0]->revision,
                         arm->members[0]->created);
    }
}

static enum status take_cell(struct arms *out, const struct cell *cell, const struct cells *cells,
                             const char *baseline, const json_t *methods, bool show_match, struct error *err)
{
    struct arm arm = {.members = {cell}, .n_members = 1, .budget = budget_number(cell->budget)};
    TRY(panel_of(&arm.panel, out, cell, err));
    label_cell(arm.label, cell, methods, show_match);
    for (int i = 0; i < out->n; i++) {
        struct arm *other = &out->arms[i];
        if (same_row(&arm, other) && is_seed_of(other, cell, cells, baseline)) {
            other->members[other->n_members++] = cell;
            return OK;
        }
    }
    struct arm *grown = memory_grow(out->arms, (size_t)out->n + 1, sizeof *grown);
    if (grown == NULL)
        return memory_failed(err, "arms", sizeof *grown);
    out->arms = grown;
    out->arms[out->n++] = arm;
    return OK;
}

static int arm_rank(const struct arm *arm)
{
    const char *method = arm->members[0]->method;
    return arm_is_control_image(arm)              ? 4
           : strcmp(method, "vanilla") == 0       ? 0
           : arm_is_chance(arm)                   ? 3
           : strncmp(method, "sparsevlm", 9) == 0 ? 1
                                                  : 2;
}

static int compare_arms(const void *a, const void *b)
{
    const struct arm *x = a, *y = b;
    if (x->panel != y->panel)
        return x->panel < y->panel ? -1 : 1;
    int rank_x = arm_rank(x), rank_y = arm_rank(y);
    if ((rank_x == 4) != (rank_y == 4) || (rank_x == 0) != (rank_y == 0))
        return rank_x == 4 || (rank_y == 0 && rank_x != 0) ? 1 : -1;
    bool none_x = isnan(x->budget), none_y = isnan(y->budget);
    if (none_x != none_y)
        return none_x ? -1 : 1;
    if (!none_x && (x->budget > y->budget || x->budget < y->budget))
        return x->budget > y->budget ? -1 : 1;
    if (rank_x != rank_y)
        return rank_x < rank_y ? -1 : 1;
    int order = strcmp(x->label, y->label);
    return order != 0 ? order : strcmp(x->members[0]->key, y->members[0]->key);
}

/* ---- judging -------------------------------------------------------------------------------- */

static void score_arm(struct arm *arm)
{
    arm->score = ARM_MEAN(arm, score);
    if (arm->n_members == 1) {
        arm->lo = arm->members[0]->score_lo;
        arm->hi = arm->members[0]->score_hi;
        return;
    }
    arm->lo = arm->hi = (double)NAN;
    for (int i = 0; i < arm->n_members; i++) {
        arm->lo = fmin(arm->lo, arm->members[i]->score); /* fmin, fmax pass over NaN */
        arm->hi = fmax(arm->hi, arm->members[i]->score);
    }
}

/* Mean over the members of what they differ by from cells of `method`; the widest interval and the largest p.
 */
static struct difference difference_to(const struct arm *arm, const struct cells *cells, const char *method)
{
    struct difference out = {.diff = NAN, .lo = NAN, .hi = NAN, .p = NAN, .loyalty = NAN};
    double sum = 0, loyal = 0;
    int n = 0;
    for (int i = 0; i < arm->n_members; i++)
        for (int j = 0; j < cells->n_comparisons; j++) {
            const struct comparison *row = &cells->comparisons[j];
            if (strcmp(row->key, arm->members[i]->key) != 0)
                continue;
            const struct cell *base = cells_find(cells, row->base_key);
            if (base == NULL || strcmp(base->method, method) != 0 || isnan(row->diff))
                continue;
            sum += row->diff;
            loyal += row->loyalty;
            n++;
            out.lo = fmin(out.lo, row->lo);
            out.hi = fmax(out.hi, row->hi);
            out.p = fmax(out.p, isnan(row->holm_p) ? row->mcnemar_p : row->holm_p);
        }
    if (n > 0) {
        out.diff = sum / n;
        out.loyalty = loyal / n;
    }
    return out;
}

static bool budget_is_off(const struct arm *arm)
{
    double off = ARM_MEAN(arm, budget_off);
    if (isnan(off))
        return false;
    bool share = strchr(arm->members[0]->budget, '%') != NULL;
    double one_token = !share && arm->budget > 0 ? 1 / arm->budget : 0;
    return fabs(off) > fmax(0.01, one_token) + 1e-9;
}

static unsigned judge(const struct arm *arm, const struct arm *base)
{
    unsigned badges = 0;
    bool is_base = base != NULL && strcmp(arm->members[0]->method, base->members[0]->method) == 0;
    if (!isnan(arm->to_base.p) && arm->to_base.p >= 0.05)
        badges |= BADGE_NOT_SIGNIFICANT;
    bool apart = arm->to_base.lo > 0 || arm->to_base.hi < 0;
    if (!isnan(arm->to_base.p) && !isnan(arm->to_base.lo) && (arm->to_base.p < 0.05) != apart)
        badges |= BADGE_TESTS_DISAGREE;
    if (!isnan(arm->to_random.diff) && strcmp(arm->members[0]->method, "random") != 0) {
        if (arm->to_random.hi < 0)
            badges |= BADGE_LOSES_TO_RANDOM;
        else if (arm->to_random.lo <= 0)
            badges |= BADGE_TIES_RANDOM;
    }
    if (budget_is_off(arm))
        badges |= BADGE_BUDGET_OFF;
    for (int i = 0; i < arm->n_members; i++) {
        if (arm->members[i]->n_failed > 0)
            badges |= BADGE_FAILED_SAMPLES;
        if (arm->members[i]->n_marked > 0)
            badges |= BADGE_GRAVITY_FLOOR;
        if (arm->members[i]->n_machines > 1)
            badges |= BADGE_SEVERAL_MACHINES;
    }
    if (base == NULL || is_base || arm_is_control_image(arm))
        return badges;
    double own = ARM_MEAN(arm, ttft_ms), dense = ARM_MEAN(base, ttft_ms);
    if (isnan(own) || isnan(dense)) {
        own = ARM_MEAN(arm, prefill_ms);
        dense = ARM_MEAN(base, prefill_ms);
    }
    if (own > dense)
        badges |= BADGE_SLOWER;
    double saved = ARM_MEAN(base, kv_bytes_live) - ARM_MEAN(arm, kv_bytes_live);
    double freed = ARM_MEAN(base, kv_bytes_alloc) - ARM_MEAN(arm, kv_bytes_alloc);
    if (saved > 0 && freed < 0.9 * saved)
        badges |= BADGE_KV_NOT_FREED;
    return badges;
}

/* The best of several settings on the very samples that chose it. */
static bool tuned_on_test(const struct arms *arms, const struct arm *arm)
{
    const struct cell *cell = arm->members[0];
    if (isnan(arm->score) || arm_is_control_image(arm) || arm_is_chance(arm) ||
        strcmp(cell->split, "confirm") == 0)
        return false;
    int rivals = 0;
    for (int i = 0; i < arms->n; i++) {
        const struct arm *other = &arms->arms[i];
        if (other == arm || other->panel != arm->panel ||
            strcmp(other->members[0]->method, cell->method) != 0 ||
            strcmp(other->members[0]->budget, cell->budget) != 0 || arm_is_control_image(other) ||
            !tuned_apart(cell, other->members[0]))
            continue;
        if (other->score > arm->score)
            return false;
        rivals++;
    }
    return rivals > 0;
}

/* The arm that a cell is a member of; −1 without. */
static int arm_of(const struct arms *arms, const struct cell *cell)
{
    for (int i = 0; cell != NULL && i < arms->n; i++)
        for (int m = 0; m < arms->arms[i].n_members; m++)
            if (arms->arms[i].members[m] == cell)
                return i;
    return -1;
}

/* Only what cells were compared to in the store can be asked for. */
static enum status check_baseline(const struct cells *cells, const char *baseline, struct error *err)
{
    char list[512] = "vanilla";
    bool found = strcmp(baseline, "vanilla") == 0;
    for (int i = 0; i < cells->n_comparisons; i++) {
        const struct cell *base = cells_find(cells, cells->comparisons[i].base_key);
        if (base == NULL)
            continue;
        found = found || strcmp(baseline, base->method) == 0;
        if (!is_listed(list, base->method)) {
            size_t used = add(list, strlen(list), sizeof list, ", ");
            add(list, used, sizeof list, base->method);
        }
    }
    return found ? OK
                 : fail(err, BAD_INPUT,
                        "--baseline: nothing in the stores is compared to '%.80s'; there are: %s", baseline,
                        list);
}

enum status arms_build(struct arms *out, const struct cells *cells, const char *baseline, struct error *err)
{
    *out = (struct arms){0};
    TRY(check_baseline(cells, baseline, err));
    json_t *methods = find_varied(cells);
    bool show_match = false;
    const char *match = NULL;
    enum status status = OK;
    for (int i = 0; i < cells->n; i++) {
        const struct cell *cell = &cells->cells[i];
        if (cell->budget[0] == '\0')
            continue;
        if (match != NULL && strcmp(match, cell->match) != 0)
            show_match = true;
        match = cell->match;
    }
    for (int i = 0; i < cells->n && status == OK; i++)
        status = take_cell(out, &cells->cells[i], cells, baseline, methods, show_match, err);
    if (status != OK || out->n == 0) {
        json_decref(methods);
        arms_free(out);
        return status != OK ? status
                            : fail(err, BAD_INPUT, "the store holds no cell yet; run `winnow sweep` first");
    }
    qsort(out->arms, (size_t)out->n, sizeof *out->arms, compare_arms);
    for (int i = 0; i < out->n_panels; i++)
        title_panel(&out->panels[i], cells);
    for (int i = 0; i < out->n; i++) {
        struct arm *arm = &out->arms[i];
        score_arm(arm);
        arm->to_base = difference_to(arm, cells, baseline);
        arm->to_random = difference_to(arm, cells, "random");
        struct panel *panel = &out->panels[arm->panel];
        if (panel->base < 0 && strcmp(arm->members[0]->method, baseline) == 0 && !arm_is_control_image(arm))
            panel->base = i;
        /* Shares, where a headline is one; all zeros say nothing about the unit. */
        if (fabs(arm->score) > 0 && fabs(arm->score) <= 1 && panel->decimals == 0)
            panel->decimals = 3;
        if (fabs(arm->score) > 1)
            panel->decimals = 1;
    }
    for (int p = 0; p < out->n_panels; p++)
        if (out->panels[p].decimals == 0)
            out->panels[p].decimals = 1;
    name_editions(out);
    for (int i = 0; i < out->n; i++) {
        struct arm *arm = &out->arms[i];
        arm->base = arm_of(out, base_of(cells, arm->members[0], baseline));
        if (arm->base < 0)
            arm->base = out->panels[arm->panel].base;
        arm->badges = judge(arm, arm->base >= 0 ? &out->arms[arm->base] : NULL);
        if (tuned_on_test(out, arm))
            arm->badges |= BADGE_TUNED_ON_TEST;
    }
    json_decref(methods);
    return OK;
}

void arms_free(struct arms *arms)
{
    free(arms->arms);
    free(arms->panels);
    *arms = (struct arms){0};
}

const char *arm_schedule(char out[SCHEDULE_MAX], const struct arm *arm, const struct arm *base)
{
    const struct cell *cell = arm->members[0];
    char layers[SCHEDULE_MAX / 2] = "";
    size_t used = 0, used_layers = 0;
    out[0] = '\0';
    if (cell->n_layers == 0)
        return "\xe2\x80\x93";
    double uncut = base != NULL && base->members[0]->n_layers > 0 ? base->members[0]->layers[0].visual_in : 0;
    double now = fmax(uncut, cell->layers[0].visual_in);
    char text[32];
    snprintf(text, sizeof text, "%.0f", now);
    used = add(out, 0, SCHEDULE_MAX, text);
    for (int i = 0; i < cell->n_layers; i++) {
        const struct layer_mean *layer = &cell->layers[i];
        for (int end = 0; end < 2; end++) {
            double next = end == 0 ? layer->visual_in : layer->visual_out;
            if (fabs(next - now) < 0.5)
                continue;
            now = next;
            snprintf(text, sizeof text, "\xe2\x86\x92%.0f", now);
            used = add(out, used, SCHEDULE_MAX, text);
            if ((end == 0 && i == 0) || (end == 1 && layer->layer < 0))
                snprintf(text, sizeof text, "input,");
            else
                snprintf(text, sizeof text, "%d,", end == 0 ? cell->layers[i - 1].layer : layer->layer);
            used_layers = add(layers, used_layers, sizeof layers, text);
        }
    }
    if (used_layers > 0) {
        layers[strlen(layers) - 1] = '\0';
        used = add(out, used, SCHEDULE_MAX, " @");
        add(out, used, SCHEDULE_MAX, layers);
    }
    return out;
}
