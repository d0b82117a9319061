/* DivPrune (Alvar et al., CVPR 2025, arXiv 2503.02175): the most diverse subset, before the decoder.
 *
 *   distance of two projected tokens: 1 − cosine
 *   first    the token whose nearest neighbour is farthest
 *   then     greedily the token whose nearest chosen one is farthest (max–min)
 *
 * Text plays no part. Kept tokens go on in sequence order, as the public code sorts them (the paper's own
 * runs did not), and are renumbered. Ties: the lower index.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "memory.h"
#include "reducer.h"

static const struct param divprune_params[] = {
    PARAM_ROW_KEEP("tokens kept; default: from the budget"),
    PARAM_ROWS_DROPPING("compact"),
};

static double plan_select_macs(const struct plan *plan, const struct method *method,
                               const struct plan_input *input)
{
    (void)plan;
    (void)method;
    return (double)input->n_visual * input->n_visual * input->hidden;
}

/* Chooses `keep` of tokens first … first + n − 1. cosine [n_all, n_all]; nearest [n] is scratch. */
static void choose_far(bool *chosen, float *nearest, const float *cosine, int n_all, int first, int n,
                       int keep)
{
    for (int i = 0; i < n; i++) {
        nearest[i] = INFINITY; /* distance to the nearest other token, for the first choice */
        for (int j = 0; j < n; j++) {
            float distance = 1 - cosine[(size_t)(first + i) * (size_t)n_all + (size_t)(first + j)];
            if (j != i && distance < nearest[i])
                nearest[i] = distance;
        }
    }
    for (int k = 0; k < keep; k++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (!chosen[first + i] && (best < 0 || nearest[i] > nearest[best]))
                best = i;
        chosen[first + best] = true;
        const float *row = cosine + (size_t)(first + best) * (size_t)n_all + (size_t)first;
        for (int i = 0; i < n; i++) {
            float distance = 1 - row[i];
            if (k == 0 || distance < nearest[i])
                nearest[i] = distance;
        }
    }
}

/* cosine [n, n] of all visual tokens to the host. */
static enum status cosines_of(float *host, const struct view *view, struct error *err)
{
    struct compute *c = view->compute;
    size_t n = (size_t)view->n_visual, n_bytes = n * n * sizeof(float);
    float *device = c->ops->alloc(n_bytes);
    if (device == NULL)
        return memory_failed(err, "cosines of all tokens", n_bytes);
    c->ops->cosines(c, device, view->hidden, view->visual, view->n_visual, view->visual, view->n_visual,
                    view->hidden_size);
    c->ops->download(c, host, device, n_bytes);
    c->ops->release(device);
    for (size_t i = 0; i < n * n; i++)
        if (!isfinite(host[i]))
            return fail(err, BAD_INPUT,
                        "visual token %d of the projector is not a number; are the weights damaged?",
                        (int)(i / n));
    return OK;
}

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    int n = view->n_visual, sizes[LIMIT_IMAGES], shares[LIMIT_IMAGES], first = 0, n_list = 0;
    int n_images = select_image_sizes(sizes, view);
    float *cosine = memory_alloc((size_t)n * (size_t)n + (size_t)n, sizeof *cosine);
    bool *chosen = memory_zero((size_t)n, sizeof *chosen);
    int32_t *list = memory_alloc((size_t)n, sizeof *list);
    enum status status = OK;
    if (cosine == NULL || chosen == NULL || list == NULL)
        TRY_GOTO(status, memory_failed(err, "cosines of all tokens", (size_t)n * (size_t)n * sizeof *cosine));
    TRY_GOTO(status, cosines_of(cosine, view, err));
    out->macs += (uint64_t)n * (uint64_t)n * (uint64_t)view->hidden_size;
    if (!select_per_image(view)) {
        n_images = 1;
        sizes[0] = n;
    }
    apportion(shares, sizes, n_images, view->cut->keep);
    for (int i = 0; i < n_images; first += sizes[i++])
        choose_far(chosen, cosine + (size_t)n * (size_t)n, cosine, n, first, sizes[i], shares[i]);
    for (int i = 0; i < n; i++)
        if (chosen[i])
            list[n_list++] = i;
    TRY_GOTO(status, select_list(out, view, list, n_list, err));
exit:
    free(cosine);
    free(chosen);
    free(list);
    return status;
}

const struct reducer reducer_divprune = {
    .name = "divprune",
    .doc = "before the decoder, the tokens farthest from each other stay",
    .paper =
        "Alvar et al., DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models, CVPR 2025",
    .params = divprune_params,
    .n_params = sizeof divprune_params / sizeof *divprune_params,
    .has_counts = method_has_keep,
    .plan_counts = plan_input_counts,
    .plan_official = plan_input_official,
    .plan_steps = plan_input_steps,
    .plan_step = plan_input_step,
    .plan_select_macs = plan_select_macs,
    .select = select_tokens,
};
