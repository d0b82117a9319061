/* Methods with their parameters, and the one budget solver for all of them (budget.h, reducer.h).
 *
 * A budget B of V visual tokens becomes counts per cut: the published ones (match: official), or those of the
 * method's own family of plans whose measured figure is nearest B.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ledger.h"
#include "limits.h"
#include "reducer.h"

enum status method_init(struct method *out, const char *name, struct error *err)
{
    memset(out, 0, sizeof *out);
    out->reducer = reducer_find(name);
    if (out->reducer == NULL) {
        char names[512];
        int n, used = 0;
        const struct reducer *const *all = reducers(&n);
        for (int i = 0; i < n; i++)
            used += snprintf(names + used, sizeof names - (size_t)used, "%s%s", i ? ", " : "", all[i]->name);
        return fail(err, BAD_INPUT, "unknown method '%.80s'; the methods: %s", name, names);
    }
    params_init(&out->params, out->reducer->params, out->reducer->n_params);
    return OK;
}

enum status method_set(struct method *method, const char *key, const char *value, struct error *err)
{
    if (strcmp(key, "budget") == 0)
        return budget_parse(&method->budget, value, err);
    if (strcmp(key, "match") == 0) {
        for (int m = 0; match_names[m]; m++)
            if (strcmp(match_names[m], value) == 0) {
                method->match = (enum match)m;
                return OK;
            }
        return fail(err, BAD_INPUT,
                    "match: found '%.40s', expected one of official, tokens_in, tokens_out, flops, latency",
                    value);
    }
    char who[96];
    snprintf(who, sizeof who, "method %s", method->reducer->name);
    return params_set(&method->params, key, value, who, err);
}

static const struct param_value *given_value(const struct method *method, const char *name)
{
    for (int i = 0; i < method->params.n; i++)
        if (strcmp(method->params.table[i].name, name) == 0 && method->params.values[i].given)
            return &method->params.values[i];
    return NULL;
}

bool method_original_positions(const struct method *method)
{
    if (given_value(method, "positions"))
        return param_is(&method->params, "positions", "original");
    struct method like;
    if (method->reducer->shadows(&like, method))
        return method_original_positions(&like);
    return method->reducer->original_positions(method);
}

enum turns method_turns(const struct method *method)
{
    for (int i = 0; i < method->params.n; i++)
        if (strcmp(method->params.table[i].name, "turns") == 0)
            return (enum turns)method->params.values[i].choice;
    return TURNS_REUSE;
}

/* Tokens of one picture's share of the sample's budget; 0: the method's own counts decide. */
static enum status picture_budget(int *out, const struct method *method, const struct plan_input *input,
                                  int image, int n_images, struct error *err)
{
    int sizes[LIMIT_IMAGES], shares[LIMIT_IMAGES];
    ENSURE(n_images >= 1 && n_images <= LIMIT_IMAGES && image >= 0 && image < n_images);
    struct plan plan;
    TRY(method_plan(&plan, method, input, err));
    *out = input->n_visual / n_images;
    if (plan.n_cuts == 0)
        return OK;
    for (int i = 0; i < n_images; i++)
        sizes[i] = input->n_visual / n_images;
    apportion(shares, sizes, n_images, plan.cuts[0].keep);
    *out = shares[image];
    if (*out < 1)
        return fail(err, BAD_INPUT,
                    "method %s: a budget of %d tokens leaves picture %d of %d without any; give at least one "
                    "token a picture",
                    method->reducer->name, plan.cuts[0].keep, image + 1, n_images);
    return OK;
}

enum status method_plan_tower(struct plan *out, const struct method *method, const struct plan_input *input,
                              int image, int n_images, struct error *err)
{
    memset(out, 0, sizeof *out);
    if (!method->reducer->in_tower)
        return OK;
    int budget;
    TRY(picture_budget(&budget, method, input, image, n_images, err));
    return method->reducer->plan_tower(out, method, input, image, budget, err);
}

enum status method_tower_grid(struct patch_grid *out, const struct method *method,
                              const struct plan_input *input, int image, int n_images, struct error *err)
{
    *out = (struct patch_grid){input->grid_rows, input->grid_cols};
    if (!method->reducer->in_tower)
        return OK;
    int budget;
    TRY(picture_budget(&budget, method, input, image, n_images, err));
    method->reducer->tower_grid(out, method, input, image, budget);
    return OK;
}

enum status method_resolve(struct method *method, uint64_t seed, struct error *err)
{
    struct method like;
    bool shadows = method->reducer->shadows(&like, method);
    for (int i = 0; i < method->params.n; i++) {
        const struct param *row = &method->params.table[i];
        const struct param_value *value = &method->params.values[i];
        if (strcmp(row->name, "like") == 0 && !shadows)
            TRY(method_set(method, "like", row->fallback, err));
        if (value->given)
            continue;
        char text[32];
        snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
        const char *resolved =
            strcmp(row->name, "seed") == 0 ? text : method->reducer->resolve(method, row->name);
        if (strcmp(row->name, "positions") == 0)
            resolved = method_original_positions(method) ? "original" : "compact";
        if (resolved && !(row->fallback && strcmp(resolved, row->fallback) == 0))
            TRY(method_set(method, row->name, resolved, err));
    }
    return OK;
}

/* MACs of prefill and selection of a plan, before the run. */
static double plan_macs(const struct plan *plan, const struct method *method, const struct plan_input *input)
{
    double sum = 0;
    int in[LIMIT_LAYERS], out[LIMIT_LAYERS];
    plan_trajectory(in, out, plan, input->n_visual, input->n_layers);
    for (int l = 0; l < input->n_layers; l++) {
        int n = in[l] + input->n_text;
        sum += (double)macs_layer(n, n, input->hidden, input->intermediate, input->n_heads, input->n_kv_heads,
                                  input->head_dim);
    }
    return sum + (plan->n_cuts ? method->reducer->plan_select_macs(plan, method, input) : 0);
}

/* What a vanilla run with n visual tokens, n a real number, would cost. */
static double vanilla_macs(double n_visual, const struct plan_input *input)
{
    double n = n_visual + input->n_text, query = (double)input->n_heads * input->head_dim,
           key = (double)input->n_kv_heads * input->head_dim, d = input->hidden;
    return input->n_layers *
           (n * d * (2 * query + 2 * key) + 2 * n * n * query + 3 * n * d * input->intermediate);
}

static double plan_measure(const struct plan *plan, const struct method *method,
                           const struct plan_input *input)
{
    if (method->match == MATCH_TOKENS_IN)
        return plan_tokens_in(plan, input->n_visual, input->n_layers) * input->n_layers;
    if (method->match == MATCH_TOKENS_OUT)
        return plan_tokens_out(plan, input->n_visual, input->n_layers) * input->n_layers;
    return plan_macs(plan, method, input);
}

/* The figure of real counts, before they are truncated. */
static double curve_measure(const struct real_cut *cuts, int n_cuts, const struct method *method,
                            const struct plan_input *input)
{
    double sum = 0, n = input->n_visual;
    int next = 0;
    for (int l = LAYER_BEFORE; l < input->n_layers; l++) {
        double in = n;
        for (; next < n_cuts && cuts[next].layer == l; next++)
            n = cuts[next].keep;
        if (l < 0)
            continue;
        sum += method->match == MATCH_TOKENS_IN    ? in
               : method->match == MATCH_TOKENS_OUT ? n
                                                   : vanilla_macs(in, input) / input->n_layers;
    }
    if (method->match != MATCH_FLOPS)
        return sum;
    struct plan plan = {0};
    for (int i = 0, left = input->n_visual; i < n_cuts; i++)
        left = plan_cut(&plan, cuts[i].layer, (int)cuts[i].keep, left, -1, 0, input->n_layers);
    return sum + method->reducer->plan_select_macs(&plan, method, input);
}

/* The root of a rising curve of plans by bisection, truncated afterwards. */
static void curve_solve(struct plan *out, const struct method *method, const struct plan_input *input,
                        double target)
{
    struct real_cut cuts[PLAN_CUTS_MAX];
    double low = 0, high = 1;
    for (int step = 0; step < 200; step++) {
        double x = (low + high) / 2;
        int n = method->reducer->plan_curve(cuts, method, input, x);
        if (curve_measure(cuts, n, method, input) < target)
            low = x;
        else
            high = x;
    }
    int n = method->reducer->plan_curve(cuts, method, input, high), left = input->n_visual;
    for (int i = 0; i < n; i++)
        left = plan_cut(out, cuts[i].layer, (int)cuts[i].keep, left, -1, 0, input->n_layers);
}

/* Enters what the plan comes to; an error where the budget lies outside of what can be reached. Figures are
 * sums over layers. */
static enum status solution_check(struct plan *out, const struct method *method,
                                  const struct plan_input *input, double budget, double figure, double lowest,
                                  double highest, struct error *err)
{
    bool flops = method->match == MATCH_FLOPS;
    double target = flops ? vanilla_macs(budget, input) : budget * input->n_layers;
    double unit = flops ? target / budget : input->n_layers;
    out->requested = budget;
    out->measured = figure / unit;
    double tolerance = fmax(1, 0.01 * budget) * unit;
    if (fabs(figure - target) > tolerance && (target < lowest || target > highest))
        return fail(err, BAD_INPUT,
                    "method %s cannot reach budget %g (match %s) with %d visual tokens and %d layers; the "
                    "nearest possible is %.4g",
                    method->reducer->name, budget, match_names[method->match], input->n_visual,
                    input->n_layers, out->measured);
    return OK;
}

/* The plan of the family whose figure is nearest; then the smaller figure, then the smaller plan. Figures are
 * sums over layers, exact in double. */
static enum status plan_solve(struct plan *out, const struct method *method, const struct plan_input *input,
                              double budget, struct error *err)
{
    bool flops = method->match == MATCH_FLOPS;
    double target = flops ? vanilla_macs(budget, input) : budget * input->n_layers;
    double best = INFINITY, best_figure = 0, best_size = 0, lowest = INFINITY, highest = 0;
    struct real_cut cuts[PLAN_CUTS_MAX];
    if (method->reducer->plan_curve(cuts, method, input, 0) > 0) {
        curve_solve(out, method, input, target);
        best_figure = plan_measure(out, method, input);
        best = fabs(best_figure - target);
        lowest = curve_measure(cuts, method->reducer->plan_curve(cuts, method, input, 0), method, input);
        highest = curve_measure(cuts, method->reducer->plan_curve(cuts, method, input, 1), method, input);
        return solution_check(out, method, input, budget, best_figure, lowest, highest, err);
    }
    int n_steps = method->reducer->plan_steps(method, input, budget);
    if (n_steps <= 0)
        return fail(err, BAD_INPUT, "method %s cannot be solved for match %s; give its own counts",
                    method->reducer->name, match_names[method->match]);
    for (int step = 0; step < n_steps; step++) {
        struct plan plan = {0};
        double size = 0;
        method->reducer->plan_step(&plan, &size, method, input, budget, step);
        double figure = plan_measure(&plan, method, input), miss = fabs(figure - target);
        lowest = fmin(lowest, figure);
        highest = fmax(highest, figure);
        if (miss < best ||
            (miss == best && (figure < best_figure || (figure == best_figure && size < best_size)))) {
            best = miss;
            best_figure = figure;
            best_size = size;
            *out = plan;
        }
    }
    return solution_check(out, method, input, budget, best_figure, lowest, highest, err);
}

enum status method_plan(struct plan *out, const struct method *method, const struct plan_input *input,
                        struct error *err)
{
    memset(out, 0, sizeof *out);
    const struct reducer *reducer = method->reducer;
    struct plan_input sizes = *input;
    if (sizes.n_images < 1)
        sizes.n_images = 1;
    input = &sizes;
    if (reducer->dense)
        return OK;
    bool counts = reducer->has_counts(method);
    if (method->budget.given && counts)
        return fail(err, BAD_INPUT,
                    "method %s: budget and its own counts (%s) are both given; give one of them",
                    reducer->name, reducer->counts);
    if (!method->budget.given && !counts && !reducer->budget_free)
        return fail(
            err, BAD_INPUT,
            "method %s needs a budget (visual tokens, or a share such as 33%%) or its own counts (%s)",
            reducer->name, reducer->counts);
    if (input->n_visual == 0)
        return OK;
    if (counts || !method->budget.given)
        return reducer->plan_counts(out, method, input, err);
    double budget = method->budget.share ? method->budget.value * input->n_visual : method->budget.value;
    if (input->n_visual <= budget)
        return OK;
    struct method like;
    if (reducer->shadows(&like, method)) /* its counts are the shadowed method's, whatever the match */
        return reducer->plan_official(out, method, input, budget, err);
    switch (method->match) {
    case MATCH_OFFICIAL:
        return reducer->plan_official(out, method, input, budget, err);
    case MATCH_LATENCY:
        return fail(
            err, BAD_INPUT,
            "match latency needs a calibration run on this machine, which is not built yet; use tokens_in or "
            "flops");
    default:
        return plan_solve(out, method, input, budget, err);
    }
}
