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

const char *const site_names[] = {"vision", "before", "decoder", NULL};

static struct plan_cut *cut_add(struct plan *plan, enum cut_site site, int layer, int keep)
{
    ENSURE(plan->n_cuts < PLAN_CUTS_MAX);
    struct plan_cut *cut = &plan->cuts[plan->n_cuts++];
    *cut = (struct plan_cut){.site = site, .layer = layer, .keep = keep};
    return cut;
}

void plan_cut_counts(struct plan_cut *cut, int keep, int n, double tau, double theta)
{
    cut->keep = keep;
    cut->recycled = cut->clusters = 0;
    if (tau < 0)
        return;
    int n_deleted = n - keep;
    cut->recycled = (int)(tau * n_deleted) + 1;
    cut->recycled = cut->recycled < n_deleted ? cut->recycled : n_deleted;
    cut->clusters = (int)(theta * cut->recycled) + 1;
    cut->clusters = cut->clusters < cut->recycled ? cut->clusters : cut->recycled;
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
    struct plan_cut *cut = cut_add(plan, layer == LAYER_BEFORE ? SITE_BEFORE : SITE_DECODER, layer, keep);
    plan_cut_counts(cut, keep, n, tau, theta);
    return keep + cut->clusters;
}

int plan_cut_vision(struct plan *plan, int layer, int keep, int n)
{
    keep = keep < 1 ? 1 : keep;
    if (keep >= n)
        return n;
    cut_add(plan, SITE_VISION, layer, keep);
    return keep;
}

void plan_cut_adaptive(struct plan *plan, int layer, int n_layers)
{
    if (layer >= n_layers)
        plan->n_fallen++;
    else
        cut_add(plan, SITE_DECODER, layer, 0)->adaptive = true;
}

bool plan_is_adaptive(const struct plan *plan)
{
    for (int i = 0; i < plan->n_cuts; i++)
        if (plan->cuts[i].adaptive)
            return true;
    return false;
}

void apportion(int *out, const int *sizes, int n, int total)
{
    int64_t whole = 0;
    int given = 0;
    for (int i = 0; i < n; i++)
        whole += sizes[i];
    if (whole == 0)
        return;
    total = total < whole ? total : (int)whole;
    for (int i = 0; i < n; i++)
        given += out[i] = (int)((int64_t)total * sizes[i] / whole);
    /* fewer are left than there are images; each takes at most one */
    for (; given < total; given++) {
        int best = -1;
        int64_t most = -1;
        for (int i = 0; i < n; i++) {
            int64_t left = (int64_t)total * sizes[i] - (int64_t)out[i] * whole;
            if (left > most && out[i] < sizes[i]) {
                most = left;
                best = i;
            }
        }
        out[best]++;
    }
}

/* Tokens that leave a cut; an adaptive one is not known and counts as none. */
static int cut_leaves(const struct plan_cut *cut, int n)
{
    return cut->adaptive ? n : cut->keep + cut->clusters;
}

void plan_trajectory(int *visual_in, int *visual_out, const struct plan *plan, int n_visual, int n_layers)
{
    int n = n_visual, next = 0;
    for (; next < plan->n_cuts && plan->cuts[next].site != SITE_DECODER; next++)
        n = cut_leaves(&plan->cuts[next], n);
    for (int l = 0; l < n_layers; l++) {
        visual_in[l] = n;
        for (; next < plan->n_cuts && plan->cuts[next].layer == l; next++)
            n = cut_leaves(&plan->cuts[next], n);
        visual_out[l] = n;
    }
}

/* Sum over layers of tokens leaving (out) or entering (in). */
static double trajectory_sum(const struct plan *plan, int n_visual, int n_layers, bool out)
{
    double sum = 0;
    int n = n_visual, next = 0;
    for (; next < plan->n_cuts && plan->cuts[next].site != SITE_DECODER; next++)
        n = cut_leaves(&plan->cuts[next], n);
    for (int l = 0; l < n_layers; l++) {
        if (!out)
            sum += n;
        for (; next < plan->n_cuts && plan->cuts[next].layer == l; next++)
            n = cut_leaves(&plan->cuts[next], n);
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
