/* The one budget solver for all methods: of a method's own family of plans the one whose matched figure is
 * nearest to that of a vanilla run with B visual tokens.
 *
 *   figure = Σ over layers of what a layer costs that V_in visual tokens enter and V_out leave, + selection
 *   tokens_in: V_in    tokens_out: V_out    flops: the layer's MACs    latency: its measured milliseconds
 */
#include <math.h>

#include "ledger.h"
#include "limits.h"
#include "reducer.h"

/* Milliseconds of one decoder layer that n tokens enter: measured points joined by straight lines. */
static double layer_ms(const struct latency *latency, double n)
{
    int i = 1;
    while (i < latency->n_points - 1 && latency->tokens[i] < n)
        i++;
    double n0 = latency->tokens[i - 1], n1 = latency->tokens[i];
    double share = (n - n0) / (n1 - n0);
    return fmax(0, latency->layer_ms[i - 1] + share * (latency->layer_ms[i] - latency->layer_ms[i - 1]));
}

static double layer_macs(double n, const struct plan_input *input)
{
    double query = (double)input->n_heads * input->head_dim,
           key = (double)input->n_kv_heads * input->head_dim, d = input->hidden;
    return n * d * (2 * query + 2 * key) + 2 * n * n * query + 3 * n * d * input->intermediate;
}

/* What one layer adds to the figure; counts may be real numbers. */
static double layer_figure(const struct method *method, const struct plan_input *input, double in, double out)
{
    switch (method->match) {
    case MATCH_FLOPS:
        return layer_macs(in + input->n_text, input);
    case MATCH_LATENCY:
        return layer_ms(method->latency, in + input->n_text);
    case MATCH_TOKENS_OUT:
        return out;
    default:
        return in;
    }
}

/* What selection adds: nothing to tokens. */
static double select_figure(const struct plan *plan, const struct method *method,
                            const struct plan_input *input)
{
    if (plan->n_cuts == 0 || (method->match != MATCH_FLOPS && method->match != MATCH_LATENCY))
        return 0;
    if (method->match == MATCH_FLOPS)
        return method->reducer->plan_select_macs(plan, method, input);
    return method->reducer->in_tower ? 0 : plan->n_cuts * method->latency->cut_ms;
}

static double vanilla_figure(const struct method *method, const struct plan_input *input, double n_visual)
{
    return input->n_layers * layer_figure(method, input, n_visual, n_visual);
}

static double plan_figure(const struct plan *plan, const struct method *method,
                          const struct plan_input *input)
{
    int in[LIMIT_LAYERS], out[LIMIT_LAYERS];
    double sum = 0;
    plan_trajectory(in, out, plan, input->n_visual, input->n_layers);
    for (int l = 0; l < input->n_layers; l++)
        sum += layer_figure(method, input, in[l], out[l]);
    return sum + select_figure(plan, method, input);
}

/* The best plan so far, and the range of figures seen. */
struct search {
    double target, miss, figure, size, lowest, highest;
};

/* ---- plans along a curve -------------------------------------------------------------------- */

static void truncate_cuts(struct plan *out, const struct real_cut *cuts, int n,
                          const struct plan_input *input)
{
    int left = input->n_visual;
    *out = (struct plan){0};
    for (int i = 0; i < n; i++)
        left = plan_cut(out, cuts[i].layer, (int)cuts[i].keep, left, -1, 0, input->n_layers);
}

/* The figure of real counts, before they are truncated. */
static double curve_figure(const struct method *method, const struct plan_input *input, double x)
{
    struct real_cut cuts[PLAN_CUTS_MAX];
    struct plan plan;
    double sum = 0, n = input->n_visual;
    int n_cuts = method->reducer->plan_curve(cuts, method, input, x), next = 0;
    for (int l = LAYER_BEFORE; l < input->n_layers; l++) {
        double in = n;
        for (; next < n_cuts && cuts[next].layer == l; next++)
            n = cuts[next].keep;
        sum += l < 0 ? 0 : layer_figure(method, input, in, n);
    }
    truncate_cuts(&plan, cuts, n_cuts, input);
    return sum + select_figure(&plan, method, input);
}

/* The root by bisection, truncated afterwards. */
static void curve_solve(struct plan *out, struct search *search, const struct method *method,
                        const struct plan_input *input)
{
    struct real_cut cuts[PLAN_CUTS_MAX];
    double low = 0, high = 1;
    search->lowest = curve_figure(method, input, low);
    search->highest = curve_figure(method, input, high);
    for (int step = 0; step < 200; step++) {
        double x = (low + high) / 2;
        if (curve_figure(method, input, x) < search->target)
            low = x;
        else
            high = x;
    }
    truncate_cuts(out, cuts, method->reducer->plan_curve(cuts, method, input, high), input);
    search->figure = plan_figure(out, method, input);
}

/* ---- plans by steps ------------------------------------------------------------------------- */

/* Then the smaller figure, then the smaller plan. */
static void steps_solve(struct plan *out, struct search *search, const struct method *method,
                        const struct plan_input *input, double budget, int n_steps)
{
    search->miss = search->lowest = INFINITY;
    for (int step = 0; step < n_steps; step++) {
        struct plan plan = {0};
        double size = 0;
        method->reducer->plan_step(&plan, &size, method, input, budget, step);
        double figure = plan_figure(&plan, method, input), miss = fabs(figure - search->target);
        search->lowest = fmin(search->lowest, figure);
        search->highest = fmax(search->highest, figure);
        bool smaller = figure < search->figure || (figure == search->figure && size < search->size);
        if (miss > search->miss || (miss == search->miss && !smaller))
            continue;
        search->miss = miss;
        search->figure = figure;
        search->size = size;
        *out = plan;
    }
}

enum status plan_solve(struct plan *out, const struct method *method, const struct plan_input *input,
                       double budget, struct error *err)
{
    struct real_cut cuts[PLAN_CUTS_MAX];
    struct search search = {.target = vanilla_figure(method, input, budget)};
    int n_steps = method->reducer->plan_steps(method, input, budget);
    if (method->reducer->plan_curve(cuts, method, input, 0) > 0)
        curve_solve(out, &search, method, input);
    else if (n_steps > 0)
        steps_solve(out, &search, method, input, budget, n_steps);
    else
        return fail(err, BAD_INPUT, "method %s cannot be solved for match %s; give its own counts",
                    method->reducer->name, match_names[method->match]);
    double unit = search.target / budget, tolerance = fmax(1, 0.01 * budget) * unit;
    out->requested = budget;
    out->measured = search.figure / unit;
    if (fabs(search.figure - search.target) > tolerance &&
        (search.target < search.lowest || search.target > search.highest))
        return fail(err, BAD_INPUT,
                    "method %s cannot reach budget %g (match %s) with %d visual tokens and %d layers; the "
                    "nearest possible is %.4g",
                    method->reducer->name, budget, match_names[method->match], input->n_visual,
                    input->n_layers, out->measured);
    return OK;
}
