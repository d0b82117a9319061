/* Methods with their parameters and their plans: a budget B of V visual tokens becomes counts per cut, the
 * published ones (match: official) or those that the solver finds (solve.c).
 */
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

/* The plan of a sample, the tower's part as one count. */
static enum status plan_sample(struct plan *out, const struct method *method, const struct plan_input *input,
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
    TRY(reducer->check(method, err));
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
        if (method->latency == NULL)
            return fail(err, BAD_INPUT,
                        "match latency needs a calibration of this model on this machine; `winnow ask` and "
                        "`winnow sweep` make one, here use tokens_in or flops");
        return plan_solve(out, method, input, budget, err);
    default:
        return plan_solve(out, method, input, budget, err);
    }
}

/* ---- in the tower --------------------------------------------------------------------------- */

/* Tokens of one picture's share of the sample's budget; 0: the method's own counts decide. */
static enum status picture_budget(int *out, const struct method *method, const struct plan_input *input,
                                  int image, int n_images, struct error *err)
{
    int sizes[LIMIT_IMAGES], shares[LIMIT_IMAGES];
    ENSURE(n_images >= 1 && n_images <= LIMIT_IMAGES && image >= 0 && image < n_images);
    struct plan plan;
    TRY(plan_sample(&plan, method, input, err));
    *out = input->n_visual / n_images;
    if (plan.n_cuts == 0 || plan.cuts[0].adaptive) /* adaptive: the tower's own cuts find the count */
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

enum status method_tower_tokens(int *out, const struct method *method, const struct plan_input *input,
                                int image, int n_images, struct error *err)
{
    struct patch_grid grid;
    int n_patches = input->grid_rows * input->grid_cols, n_uncut = input->n_visual / n_images;
    *out = n_uncut;
    if (!method->reducer->in_tower)
        return OK;
    TRY(picture_budget(out, method, input, image, n_images, err));
    TRY(method_tower_grid(&grid, method, input, image, n_images, err));
    if (grid.rows * grid.cols != n_patches) /* the class token, where it is one, stays */
        *out = grid.rows * grid.cols + n_uncut - n_patches;
    return OK;
}

enum status method_plan(struct plan *out, const struct method *method, const struct plan_input *input,
                        struct error *err)
{
    TRY(plan_sample(out, method, input, err));
    if (!method->reducer->in_tower || out->n_cuts == 0 || out->cuts[0].site != SITE_VISION)
        return OK;
    struct plan tower; /* whether the tower can do its part is known only to its layers */
    int n_images = input->n_images < 1 ? 1 : input->n_images;
    TRY(method_plan_tower(&tower, method, input, 0, n_images, err));
    return method_plan_tower(&tower, method, input, n_images - 1, n_images, err);
}
