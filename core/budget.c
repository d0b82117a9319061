/* Budgets and plans, see budget.h; the solver itself is in method.c, where the methods are known. */
#include "budget.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const match_names[] = {"official", "tokens_in", "tokens_out", "flops", "latency", NULL};

enum status budget_parse(struct budget *out, const char *text, struct error *err)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    bool share = *end == '%';
    if (end == text || errno == ERANGE || !isfinite(value) || end[share] != 0 || value < 0 ||
        (!share && value != floor(value)) || (share && value > 100))
        return fail(
            err, BAD_INPUT,
            "budget: found '%.40s', expected a number of visual tokens (192) or a share of them (33%%)",
            text);
    if (value == 0)
        return fail(
            err, BAD_INPUT,
            "budget: 0 visual tokens is no reduction; use control no-image to ask without the picture");
    *out = (struct budget){.given = true, .share = share, .value = share ? value / 100 : value};
    return OK;
}

void budget_format(char *out, size_t size, const struct budget *budget)
{
    if (!budget->given)
        snprintf(out, size, "%s", "");
    else if (budget->share)
        snprintf(out, size, "%.10g%%", budget->value * 100);
    else
        snprintf(out, size, "%.0f", budget->value);
}

int plan_cut(struct plan *plan, int layer, int keep, int n, double tau, double theta, int n_layers)
{
    if (layer >= n_layers) {
        plan->n_fallen++;
        return n;
    }
    keep = keep < 1 ? 1 : keep;
    if (keep >= n)
        return n;
    ENSURE(plan->n_cuts < PLAN_CUTS_MAX);
    struct plan_cut *cut = &plan->cuts[plan->n_cuts++];
    *cut = (struct plan_cut){.layer = layer, .keep = keep};
    if (tau >= 0) {
        int n_deleted = n - keep;
        cut->recycled = (int)(tau * n_deleted) + 1;
        cut->recycled = cut->recycled < n_deleted ? cut->recycled : n_deleted;
        cut->clusters = (int)(theta * cut->recycled) + 1;
        cut->clusters = cut->clusters < cut->recycled ? cut->clusters : cut->recycled;
    }
    return keep + cut->clusters;
}

void plan_trajectory(int *visual_in, int *visual_out, const struct plan *plan, int n_visual, int n_layers)
{
    int n = n_visual, next = 0;
    while (next < plan->n_cuts && plan->cuts[next].layer == LAYER_BEFORE) {
        n = plan->cuts[next].keep + plan->cuts[next].clusters;
        next++;
    }
    for (int l = 0; l < n_layers; l++) {
        visual_in[l] = n;
        while (next < plan->n_cuts && plan->cuts[next].layer == l) {
            n = plan->cuts[next].keep + plan->cuts[next].clusters;
            next++;
        }
        visual_out[l] = n;
    }
}

/* Sum over layers of tokens leaving (out) or entering (in). */
static double trajectory_sum(const struct plan *plan, int n_visual, int n_layers, bool out)
{
    double sum = 0;
    int n = n_visual, next = 0;
    for (; next < plan->n_cuts && plan->cuts[next].layer == LAYER_BEFORE; next++)
        n = plan->cuts[next].keep + plan->cuts[next].clusters;
    for (int l = 0; l < n_layers; l++) {
        if (!out)
            sum += n;
        for (; next < plan->n_cuts && plan->cuts[next].layer == l; next++)
            n = plan->cuts[next].keep + plan->cuts[next].clusters;
        if (out)
            sum += n;
    }
    return sum;
}

double plan_tokens_in(const struct plan *plan, int n_visual, int n_layers)
{
    return trajectory_sum(plan, n_visual, n_layers, false) / n_layers;
}

double plan_tokens_out(const struct plan *plan, int n_visual, int n_layers)
{
    return trajectory_sum(plan, n_visual, n_layers, true) / n_layers;
}
