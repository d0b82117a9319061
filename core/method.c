/* Methods with their parameters, and the one budget solver for all of them (budget.h, reducer.h).
 *
 * A budget B of V visual tokens becomes counts per cut: the published ones (match: official), or those of the
 * method's own family of plans whose measured figure is nearest B.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ledger.h"
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

bool method_original_positions(const struct method *method)
{
    if (params_has(&method->params, "positions"))
        return param_is(&method->params, "positions", "original");
    const char *shadowed = method->reducer->shadows(method);
    return shadowed ? reducer_find(shadowed)->original_positions : method->reducer->original_positions;
}

enum status method_resolve(struct method *method, uint64_t seed, struct error *err)
{
    for (int i = 0; i < method->params.n; i++) {
        const struct param *row = &method->params.table[i];
        if (strcmp(row->name, "like") == 0 && method->reducer->shadows(method) == NULL)
            TRY(method_set(method, "like", row->fallback, err));
        if (method->params.values[i].present)
            continue;
        char text[32];
        snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
        if (strcmp(row->name, "positions") == 0)
            TRY(method_set(method, "positions", method_original_positions(method) ? "original" : "compact",
                           err));
        else if (strcmp(row->name, "seed") == 0)
            TRY(method_set(method, "seed", text, err));
    }
    return OK;
}

/* MACs of prefill and selection of a plan, before the run. */
static double plan_macs(const struct plan *plan, const struct method *method, const struct plan_input *input)
{
    double sum = 0;
    int n = input->n_visual, next = 0;
    for (int l = LAYER_BEFORE; l < input->n_layers; l++) {
        if (l >= 0)
            sum +=
                (double)macs_layer(n + input->n_text, n + input->n_text, input->hidden, input->intermediate,
                                   input->n_heads, input->n_kv_heads, input->head_dim);
        for (; next < plan->n_cuts && plan->cuts[next].layer == l; next++)
            n = plan->cuts[next].keep + plan->cuts[next].clusters;
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

/* The plan of the family whose figure is nearest; then the smaller figure, then the smaller plan. Figures are
 * sums over layers, exact in double. */
static enum status plan_solve(struct plan *out, const struct method *method, const struct plan_input *input,
                              double budget, struct error *err)
{
    bool flops = method->match == MATCH_FLOPS;
    double target = flops ? vanilla_macs(budget, input) : budget * input->n_layers;
    double best = INFINITY, best_figure = 0, best_size = 0, lowest = INFINITY, highest = 0;
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
    double unit = flops ? target / budget : input->n_layers;
    out->requested = budget;
    out->measured = best_figure / unit;
    double tolerance = fmax(1, 0.01 * budget) * unit;
    if (best > tolerance && (target < lowest || target > highest))
        return fail(err, BAD_INPUT,
                    "method %s cannot reach budget %g (match %s) with %d visual tokens and %d layers; the "
                    "nearest possible "
                    "is %.4g",
                    method->reducer->name, budget, match_names[method->match], input->n_visual,
                    input->n_layers, out->measured);
    return OK;
}

enum status method_plan(struct plan *out, const struct method *method, const struct plan_input *input,
                        struct error *err)
{
    memset(out, 0, sizeof *out);
    const struct reducer *reducer = method->reducer;
    if (reducer->dense)
        return OK;
    bool counts = reducer->has_counts(method);
    if (method->budget.given && counts)
        return fail(err, BAD_INPUT,
                    "method %s: budget and its own counts (keep) are both given; give one of them",
                    reducer->name);
    if (!method->budget.given && !counts)
        return fail(
            err, BAD_INPUT,
            "method %s needs a budget (visual tokens, or a share such as 33%%) or its own counts (keep)",
            reducer->name);
    if (input->n_visual == 0)
        return OK;
    if (counts)
        return reducer->plan_counts(out, method, input, err);
    double budget = method->budget.share ? method->budget.value * input->n_visual : method->budget.value;
    if (input->n_visual <= budget)
        return OK;
    if (reducer->shadows(method)) /* its counts are the shadowed method's, whatever the match */
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
