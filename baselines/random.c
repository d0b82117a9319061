/* Control arm: tokens drawn by chance. A method that does not beat it at its own layers and counts has found
 * nothing (Wen et al. 2025, arXiv 2502.11501).
 *
 * Chance is keyed by (seed, sample, layer), so the draw is the same on every device and in any order.
 */
#include <stdlib.h>

#include "arm.h"
#include "memory.h"
#include "rng.h"

static const struct param random_params[] = {
    PARAM_ROWS_ARM,
    {.name = "seed",
     .type = PARAM_COUNT,
     .low = 0,
     .high = 9007199254740991.0,
     .doc = "seed of the draw; default: --seed"},
};

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    const struct params *params = &view->method->params;
    uint64_t seed = params_has(params, "seed") ? (uint64_t)param_real(params, "seed") : view->seed;
    float *draw = memory_alloc((size_t)view->n_visual, sizeof *draw);
    if (draw == NULL)
        return memory_failed(err, "random draw", (size_t)view->n_visual * sizeof *draw);
    for (int j = 0; j < view->n_visual; j++)
        draw[j] = rng_float(seed, view->sample, (uint64_t)(view->layer + 1), (uint64_t)j);
    enum status status = select_top_host(out, view, draw, view->cut->keep, 0, select_per_image(view), err);
    free(draw);
    return status;
}

const struct reducer reducer_random = {
    .name = "random",
    .doc = "control: tokens drawn by chance, at the input or on the schedule of another method",
    .paper =
        "control arm; Wen et al., Token Pruning in Multimodal LLMs: Are We Solving the Right Problem?, 2025",
    .params = random_params,
    .n_params = sizeof random_params / sizeof *random_params,
    ARM_SLOTS,
    .select = select_tokens,
};
