/* Control arm: tokens drawn by chance, before layer 0, or after the same layers and to the same sequence
 * lengths (kept + clusters) as the method it shadows. A method that does not beat it has found nothing.
 *
 * Chance is keyed by (seed, sample, layer), so the draw is the same on every device and in any order.
 */
#include <math.h>
#include <stdlib.h>

#include "memory.h"
#include "reducer.h"
#include "rng.h"

static const struct param random_params[] = {
    {.name = "at",
     .type = PARAM_CHOICE,
     .fallback = "input",
     .choices = "input|decoder",
     .doc = "before layer 0, or after the layers of the method named by like"},
    {.name = "like",
     .type = PARAM_CHOICE,
     .fallback = "sparsevlm",
     .choices = "sparsevlm|fastv",
     .doc = "the method shadowed with at=decoder"},
    {.name = "keep",
     .type = PARAM_COUNT,
     .low = 0,
     .high = 1e6,
     .doc = "tokens kept with at=input; default: from the budget"},
    {.name = "seed",
     .type = PARAM_COUNT,
     .low = 0,
     .high = 9007199254740991.0,
     .doc = "seed of the draw; default: --seed"},
    PARAM_ROWS_DROPPING(NULL),
};

static const char *shadows(const struct method *method)
{
    if (param_is(&method->params, "at", "input"))
        return NULL;
    return param_is(&method->params, "like", "fastv") ? "fastv" : "sparsevlm";
}

/* The shadowed method at the same budget, with its own defaults. */
static enum status shadow(struct method *out, const struct method *method, struct error *err)
{
    TRY(method_init(out, shadows(method), err));
    out->budget = method->budget;
    out->match = method->match;
    return OK;
}

static enum status plan_shadow(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    struct method shadowed;
    TRY(shadow(&shadowed, method, err));
    TRY(method_plan(out, &shadowed, input, err));
    for (int i = 0; i < out->n_cuts; i++) {
        struct plan_cut *cut = &out->cuts[i];
        cut->keep += cut->clusters;
        cut->recycled = cut->clusters = 0;
    }
    return OK;
}

static bool has_counts(const struct method *method)
{
    return params_has(&method->params, "keep");
}

static enum status plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    if (param_is(&method->params, "at", "decoder"))
        return fail(
            err, BAD_INPUT,
            "method random: keep goes with at=input; at=decoder takes the counts of the method shadowed");
    plan_cut(out, LAYER_BEFORE, param_count(&method->params, "keep"), input->n_visual, -1, 0,
             input->n_layers);
    return OK;
}

static enum status plan_official(struct plan *out, const struct method *method,
                                 const struct plan_input *input, double budget, struct error *err)
{
    if (param_is(&method->params, "at", "decoder"))
        return plan_shadow(out, method, input, err);
    plan_cut(out, LAYER_BEFORE, (int)floor(budget + 0.5), input->n_visual, -1, 0, input->n_layers);
    return OK;
}

/* Cuts at the input; the shadow's plan is solved by the method it shadows. */
static int plan_steps(const struct method *method, const struct plan_input *input, double budget)
{
    (void)method;
    (void)budget;
    return input->n_visual;
}

static void plan_step(struct plan *out, double *size, const struct method *method,
                      const struct plan_input *input, double budget, int step)
{
    (void)method;
    (void)budget;
    *size = step + 1;
    plan_cut(out, LAYER_BEFORE, step + 1, input->n_visual, -1, 0, input->n_layers);
}

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    size_t n_bytes = (size_t)view->n_visual * sizeof(float);
    float *draw = memory_alloc(n_bytes, 1);
    if (draw == NULL)
        return memory_failed(err, "random draw", n_bytes);
    const struct params *params = &view->method->params;
    uint64_t seed = params_has(params, "seed") ? (uint64_t)param_real(params, "seed") : view->seed;
    for (int j = 0; j < view->n_visual; j++)
        draw[j] = rng_float(seed, view->sample, (uint64_t)(view->layer + 1), (uint64_t)j);
    view->compute->ops->upload(view->compute, view->scratch, draw, n_bytes);
    free(draw);
    return select_top(out, view, view->scratch, view->cut->keep, 0, err);
}

const struct reducer reducer_random = {
    .name = "random",
    .doc = "control: tokens drawn by chance, at the input or on the schedule of another method",
    .paper =
        "control arm; Wen et al., Token Pruning in Multimodal LLMs: Are We Solving the Right Problem?, 2025",
    .params = random_params,
    .n_params = sizeof random_params / sizeof *random_params,
    .shadows = shadows,
    .has_counts = has_counts,
    .plan_counts = plan_counts,
    .plan_official = plan_official,
    .plan_steps = plan_steps,
    .plan_step = plan_step,
    .select = select_tokens,
};
