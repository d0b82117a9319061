/* VisionZip (Yang et al., CVPR 2025, arXiv 2412.04467): a few dominant tokens and a few merged ones leave the
 * vision tower.
 *
 *   after the last vision layer that runs (attention and features of that layer)
 *     dominant     the class token, and the D − 1 patches that it attends to most (sum over heads), in order
 *     contextual   of the other patches every ⌊n/C⌋-th is a target; each of the rest goes to the target of
 *                  largest cosine (keys, head mean); contextual = target + mean of what went to it (a sum)
 *   the decoder sees [dominant …, contextual …], renumbered
 *
 * D : C is 54 : 10 of 64 tokens. The class token counts as a visual token without a cell.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "reducer.h"

static const struct param visionzip_params[] = {
    {.name = "dominant",
     .type = PARAM_COUNT,
     .low = 1,
     .high = 1e6,
     .doc = "tokens of a picture kept as they are, the class token counted; default: 27/32 of the budget"},
    {.name = "contextual",
     .type = PARAM_COUNT,
     .low = 0,
     .high = 1e6,
     .doc = "merged tokens of a picture; default: the rest of the budget"},
    PARAM_ROWS_DROPPING("compact"),
};

/* ---- counts --------------------------------------------------------------------------------- */

static bool has_counts(const struct method *method)
{
    return params_has(&method->params, "dominant") || params_has(&method->params, "contextual");
}

static enum status plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    const struct params *params = &method->params;
    if (!params_has(params, "dominant") || !params_has(params, "contextual"))
        return fail(err, BAD_INPUT, "method visionzip: give both dominant and contextual, or a budget");
    int keep = param_count(params, "dominant") + param_count(params, "contextual");
    if (keep - 1 > plan_input_patches(input))
        return fail(
            err, BAD_INPUT,
            "method visionzip: dominant and contextual are %d tokens, a picture has %d patches and the "
            "class token",
            keep, plan_input_patches(input));
    plan_cut_vision(out, LAYER_BEFORE, keep * input->n_images, input->n_visual);
    return OK;
}

static enum status plan_tower(struct plan *out, const struct method *method, const struct plan_input *input,
                              int image, int budget, struct error *err)
{
    (void)image;
    (void)err;
    const struct params *params = &method->params;
    if (budget >= input->n_visual / input->n_images)
        return OK;
    int dominant =
        has_counts(method) ? param_count(params, "dominant") : (int)floor(budget * 27 / 32.0 + 0.5);
    dominant = dominant < 1 ? 1 : dominant;
    int contextual = budget - dominant, n_rest = plan_input_patches(input) - (dominant - 1);
    plan_cut_vision(out, input->n_vision_layers - 1, 1, plan_input_patches(input));
    struct plan_cut *cut = &out->cuts[0];
    cut->keep = dominant - 1;
    cut->clusters = contextual;
    cut->recycled = contextual > 0 ? n_rest : 0;
    return OK;
}

/* Class scores, cosines of the rest to the targets, merging. */
static double plan_select_macs(const struct plan *plan, const struct method *method,
                               const struct plan_input *input)
{
    struct plan tower = {0};
    struct error err;
    if (plan_tower(&tower, method, input, 0, plan->cuts[0].keep / input->n_images, &err) != OK ||
        tower.n_cuts == 0)
        return 0;
    double n_merged = tower.cuts[0].recycled - tower.cuts[0].clusters, n = plan_input_patches(input);
    return input->n_images *
           (n * input->vision_hidden +
            n_merged * (tower.cuts[0].clusters * (double)input->vision_head_dim + input->vision_hidden));
}

/* ---- at work -------------------------------------------------------------------------------- */

static struct score_request score(const struct method *method, const struct plan_cut *cut)
{
    (void)method;
    return (struct score_request){.rows = cut->site == SITE_VISION ? ROWS_CLASS : ROWS_NONE};
}

/* The patches that are not kept: every step-th of them is a target, the others are merged. Places. */
static void rest_split(int32_t *targets, int32_t *others, const int32_t *kept, int n_kept, int n_visual,
                       int n_targets)
{
    int n_rest = n_visual - n_kept, step = n_rest / n_targets, at = 0, next = 0, n_to = 0, n_others = 0;
    step = step < 1 ? 1 : step;
    for (int32_t j = 0; j < n_visual; j++) {
        if (next < n_kept && kept[next] == j) {
            next++;
            continue;
        }
        if (at++ % step == 0 && n_to < n_targets)
            targets[n_to++] = j;
        else
            others[n_others++] = j;
    }
}

/* to [n_others]: the target whose key is nearest by cosine. Row of a place: the class token stands before. */
static enum status targets_find(int32_t *to, const struct view *view, const int32_t *targets, int n_targets,
                                const int32_t *others, int n_others, struct error *err)
{
    struct compute *c = view->compute;
    const struct ops *ops = c->ops;
    int n = view->sequence->n, h = view->head_dim;
    size_t n_matrix = (size_t)n_others * (size_t)n_targets,
           n_floats = (size_t)n * (size_t)h + n_matrix + (size_t)n_others,
           n_ints = (size_t)n_targets + 2 * (size_t)n_others;
    float *metric = ops->alloc((n_floats + 1) * sizeof *metric);
    int32_t *rows = ops->alloc((n_ints + 1) * sizeof *rows), *host = memory_alloc(n_ints + 1, sizeof *host);
    enum status status = OK;
    if (metric == NULL || rows == NULL || host == NULL)
        TRY_GOTO(status, memory_failed(err, "contextual tokens", n_floats * sizeof *metric));
    float *matrix = metric + (size_t)n * (size_t)h, *best = matrix + n_matrix;
    int32_t *device_to = rows + n_targets + n_others;
    for (int i = 0; i < n_targets; i++)
        host[i] = targets[i] + 1;
    for (int i = 0; i < n_others; i++)
        host[n_targets + i] = others[i] + 1;
    ops->upload(c, rows, host, (size_t)(n_targets + n_others) * sizeof *host);
    ops->head_mean(c, metric, view->keys, n, view->n_heads, h);
    ops->cosines(c, matrix, metric, rows + n_targets, n_others, rows, n_targets, h);
    ops->row_best(c, best, device_to, matrix, n_others, n_targets);
    ops->download(c, to, device_to, (size_t)n_others * sizeof *to);
exit:
    ops->release(metric);
    ops->release(rows);
    free(host);
    return status;
}

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    struct compute *c = view->compute;
    int n = view->n_visual, n_targets = view->cut->clusters;
    TRY(select_top(out, view, view->score, view->cut->keep, 0, err));
    out->keep_class = true;
    if (n_targets == 0)
        return OK;
    int n_others = n - out->n_kept - n_targets;
    int32_t *kept = memory_alloc(4 * (size_t)n + 1, sizeof *kept), *targets = kept + n, *others = targets + n,
            *to = others + n;
    float *weight = memory_alloc(2 * (size_t)n, sizeof *weight), *own = weight + n;
    int *size = memory_zero((size_t)n_targets, sizeof *size);
    enum status status = OK;
    if (kept == NULL || weight == NULL || size == NULL)
        TRY_GOTO(status, memory_failed(err, "contextual tokens", 4 * (size_t)n * sizeof *kept));
    c->ops->download(c, kept, out->kept, (size_t)out->n_kept * sizeof *kept);
    rest_split(targets, others, kept, out->n_kept, n, n_targets);
    TRY_GOTO(status, targets_find(to, view, targets, n_targets, others, n_others, err));
    out->macs += (uint64_t)n_others * (uint64_t)n_targets * (uint64_t)view->head_dim;
    for (int i = 0; i < n_others; i++)
        size[to[i]]++;
    for (int i = 0; i < n_others; i++)
        weight[i] = 1 / (float)size[to[i]];
    for (int g = 0; g < n_targets; g++)
        own[g] = 1;
    out->n_recycled = n_others;
    out->n_clusters = n_targets;
    out->has_own = true;
    c->ops->upload(c, out->recycled, others, (size_t)n_others * sizeof *others);
    c->ops->upload(c, out->group, to, (size_t)n_others * sizeof *to);
    c->ops->upload(c, out->weight, weight, (size_t)n_others * sizeof *weight);
    c->ops->upload(c, out->centres, targets, (size_t)n_targets * sizeof *targets);
    c->ops->upload(c, out->own, own, (size_t)n_targets * sizeof *own);
exit:
    free(kept);
    free(weight);
    free(size);
    return status;
}

const struct reducer reducer_visionzip = {
    .name = "visionzip",
    .doc = "the patches that the class token attends to stay, the rest is merged into a few",
    .paper =
        "Yang et al., VisionZip: Longer is Better but Not Necessary in Vision Language Models, CVPR 2025",
    .params = visionzip_params,
    .n_params = sizeof visionzip_params / sizeof *visionzip_params,
    .counts = "dominant and contextual",
    .in_tower = true,
    .has_counts = has_counts,
    .plan_counts = plan_counts,
    .plan_official = plan_input_official,
    .plan_steps = plan_input_steps,
    .plan_step = plan_input_step,
    .plan_select_macs = plan_select_macs,
    .plan_tower = plan_tower,
    .score = score,
    .select = select_tokens,
};
