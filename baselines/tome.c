/* Token Merging (Bolya et al., ICLR 2023, arXiv 2210.09461) inside the vision tower, before the decoder.
 *
 *   in every layer that runs, between attention and MLP:
 *     metric   keys of this attention, mean over heads, of length 1
 *     match    places 0, 2, 4, … (the class token among them, which is never merged) against 1, 3, 5, …:
 *              each even place has its nearest odd one by cosine
 *     merge    the r nearest pairs: the odd place becomes the mean of all that go into it, weighted by size
 *     order    unmerged even places, then the odd ones; the next layer splits this order anew
 *   attention is proportional: log(size) is added to the logits of a merged token's key
 *
 * The decoder sees a shorter picture with contiguous positions; sizes are not handed on. In the tower's order
 * neighbours are scrambled, so tokens go on by the first patch of each (order=raster) or as they are
 * (literal); no source says which, hence the switch.
 */
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "vlm.h"

static const struct param tome_params[] = {
    {.name = "r",
     .type = PARAM_COUNTS,
     .low = 0,
     .high = 1e6,
     .doc = "merges at each vision layer of a picture, or one number for all; default: from the budget"},
    {.name = "proportional",
     .type = PARAM_CHOICE,
     .fallback = "on",
     .choices = "on|off",
     .doc = "log size added to the attention logits"},
    {.name = "order",
     .type = PARAM_CHOICE,
     .fallback = "raster",
     .choices = "raster|literal",
     .doc = "order handed to the decoder: by first patch of each group, or as the merging leaves it"},
    PARAM_ROWS_DROPPING("compact"),
};

/* ---- counts --------------------------------------------------------------------------------- */

/* Merges of one layer are limited: T tokens, the class token too, have ⌊(T − 1)/2⌋ that may go. */
static int limited(int r, int n_patches)
{
    return r < n_patches / 2 ? r : n_patches / 2;
}

/* r in all layers, r − 1 in the last e. Returns the patches left. */
static int schedule(int *merges, int r, int e, int n_patches, int n_layers)
{
    for (int l = 0; l < n_layers; l++) {
        int wanted = l < n_layers - e ? r : r - 1, here = limited(wanted > 0 ? wanted : 0, n_patches);
        if (merges)
            merges[l] = here;
        n_patches -= here;
    }
    return n_patches;
}

static int fewest(const struct plan_input *input, int n_patches)
{
    return schedule(NULL, n_patches, 0, n_patches, input->n_vision_layers);
}

/* The smallest r, then the smallest e, that leave exactly `keep`; false: none do. */
static bool solve(int *merges, int keep, int n_patches, int n_layers)
{
    for (int r = 1; r <= n_patches; r++)
        for (int e = 0; e < n_layers; e++)
            if (schedule(merges, r, e, n_patches, n_layers) == keep)
                return true;
    return false;
}

static int merges_given(int *merges, const struct method *method, int n_patches, int n_layers)
{
    const struct param_value *r = param_get(&method->params, "r");
    for (int l = 0; l < n_layers; l++) {
        int wanted = r->n == 1 ? (int)r->list[0] : l < r->n ? (int)r->list[l] : 0;
        int here = limited(wanted, n_patches);
        if (merges)
            merges[l] = here;
        n_patches -= here;
    }
    return n_patches;
}

static bool has_counts(const struct method *method)
{
    return params_has(&method->params, "r");
}

static enum status plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    const struct param_value *r = param_get(&method->params, "r");
    if (r->n > 1 && r->n > input->n_vision_layers)
        return fail(err, BAD_INPUT, "method tome: r names %d layers but %d run in this tower", r->n,
                    input->n_vision_layers);
    int left = merges_given(NULL, method, plan_input_patches(input), input->n_vision_layers) +
               plan_input_extra(input);
    plan_cut_vision(out, LAYER_BEFORE, left * input->n_images, input->n_visual);
    return OK;
}

static enum status plan_tower(struct plan *out, const struct method *method, const struct plan_input *input,
                              int image, int budget, struct error *err)
{
    int merges[LIMIT_LAYERS], n_layers = input->n_vision_layers, n = plan_input_patches(input);
    (void)image;
    if (has_counts(method)) {
        merges_given(merges, method, n, n_layers);
    } else if (budget - plan_input_extra(input) < n &&
               !solve(merges, budget - plan_input_extra(input), n, n_layers)) {
        return fail(err, BAD_INPUT,
                    "method tome cannot leave %d of %d tokens with %d vision layers, each of which merges at "
                    "most half; the nearest possible is %d",
                    budget, n, n_layers, fewest(input, n) + plan_input_extra(input));
    } else if (budget - plan_input_extra(input) >= n) {
        return OK;
    }
    for (int l = 0; l < n_layers; l++)
        n = plan_cut_vision(out, l, n - merges[l], n);
    return OK;
}

static int plan_steps(const struct method *method, const struct plan_input *input, double budget)
{
    (void)method;
    (void)budget;
    int least = (fewest(input, plan_input_patches(input)) + plan_input_extra(input)) * input->n_images;
    return input->n_visual >= least ? input->n_visual - least + 1 : 0;
}

static void plan_step(struct plan *out, double *size, const struct method *method,
                      const struct plan_input *input, double budget, int step)
{
    int keep = step + input->n_visual - plan_steps(method, input, budget) + 1;
    *size = keep;
    plan_cut_vision(out, LAYER_BEFORE, keep, input->n_visual);
}

static double plan_select_macs(const struct plan *plan, const struct method *method,
                               const struct plan_input *input)
{
    int merges[LIMIT_LAYERS], n = plan_input_patches(input);
    struct error err;
    struct plan tower = {0};
    int share = plan->cuts[0].keep / input->n_images;
    double sum = 0;
    if (plan_tower(&tower, method, input, 0, share, &err) != OK)
        return 0;
    memset(merges, 0, sizeof merges);
    for (int i = 0; i < tower.n_cuts; i++) {
        double tokens = n + 1, even = (tokens + 1) / 2;
        sum += (double)(int)even * (double)(int)(tokens / 2) * input->vision_head_dim +
               (double)(n - tower.cuts[i].keep) * input->vision_hidden;
        n = tower.cuts[i].keep;
    }
    return sum * input->n_images;
}

/* ---- at work -------------------------------------------------------------------------------- */

static struct tower_options tower(const struct method *method)
{
    return (struct tower_options){.middle = true,
                                  .proportional = param_is(&method->params, "proportional", "on"),
                                  .raster = param_is(&method->params, "order", "raster")};
}

struct pair {
    float cosine;
    int32_t from, to; /* rows of the sequence */
};

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    if (x->cosine != y->cosine)
        return x->cosine < y->cosine ? 1 : -1;
    return (x->from > y->from) - (x->from < y->from);
}

/* Every even row's nearest odd one, the class token's aside, nearest pairs first. */
static enum status pairs_match(struct pair *pairs, const struct view *view, struct error *err)
{
    struct compute *c = view->compute;
    const struct ops *ops = c->ops;
    int n = view->sequence->n, n_even = (n + 1) / 2, n_odd = n / 2, h = view->head_dim;
    size_t n_floats = (size_t)n * (size_t)h + (size_t)n_even * (size_t)n_odd + (size_t)n_even,
           n_ints = (size_t)n + (size_t)n_even;
    float *metric = ops->alloc(n_floats * sizeof *metric);
    int32_t *rows = ops->alloc(n_ints * sizeof *rows), *host = memory_alloc(n_ints, sizeof *host);
    float *cosine = memory_alloc((size_t)n_even, sizeof *cosine);
    enum status status = OK;
    if (metric == NULL || rows == NULL || host == NULL || cosine == NULL)
        TRY_GOTO(status, memory_failed(err, "matching of tokens", n_floats * sizeof *metric));
    float *matrix = metric + (size_t)n * (size_t)h, *best = matrix + (size_t)n_even * (size_t)n_odd;
    int32_t *even = rows, *odd = rows + n_even, *to = rows + n;
    for (int i = 0; i < n; i++)
        host[i % 2 ? n_even + i / 2 : i / 2] = i;
    ops->upload(c, rows, host, (size_t)n * sizeof *host);
    ops->head_mean(c, metric, view->keys, n, view->n_heads, h);
    ops->cosines(c, matrix, metric, even, n_even, odd, n_odd, h);
    ops->row_best(c, best, to, matrix, n_even, n_odd);
    ops->download(c, cosine, best, (size_t)n_even * sizeof *cosine);
    ops->download(c, host, to, (size_t)n_even * sizeof *host);
    for (int i = 1; i < n_even; i++)
        pairs[i - 1] = (struct pair){cosine[i], 2 * i, 2 * host[i] + 1};
    qsort(pairs, (size_t)n_even - 1, sizeof *pairs, compare_pairs);
exit:
    ops->release(metric);
    ops->release(rows);
    free(host);
    free(cosine);
    return status;
}

/* The r nearest pairs as clusters in the places of their odd tokens. Place = row − 1. */
static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    struct compute *c = view->compute;
    const struct token *tokens = view->sequence->tokens;
    int n = view->sequence->n, r = view->n_visual - view->cut->keep;
    struct pair *pairs = memory_alloc((size_t)n, sizeof *pairs);
    int32_t *list = memory_alloc(5 * (size_t)n, sizeof *list), *cluster = list + n, *centre = cluster + n,
            *group = centre + n, *from = group + n;
    float *share = memory_alloc(3 * (size_t)n, sizeof *share), *own = share + n, *size = own + n;
    enum status status = OK;
    if (pairs == NULL || list == NULL || share == NULL)
        TRY_GOTO(status, memory_failed(err, "merging of tokens", (size_t)n * sizeof *pairs));
    TRY_GOTO(status, pairs_match(pairs, view, err));
    out->macs += (uint64_t)((n + 1) / 2) * (uint64_t)(n / 2) * (uint64_t)view->head_dim;

    /* sizes of the odd rows' groups; cluster: −1 none, −2 merged away, −3 to be numbered */
    for (int i = 0; i < n; i++) {
        cluster[i] = -1;
        size[i] = (float)tokens[i].size;
    }
    for (int k = 0; k < r; k++) {
        cluster[pairs[k].from] = -2;
        cluster[pairs[k].to] = -3;
        size[pairs[k].to] += (float)tokens[pairs[k].from].size;
    }
    int n_kept = 0, n_clusters = 0;
    for (int i = 2; i < n; i += 2)
        if (cluster[i] == -1)
            list[n_kept++] = i - 1;
    for (int i = 1; i < n; i += 2) {
        list[n_kept++] = i - 1;
        if (cluster[i] != -3)
            continue;
        own[n_clusters] = (float)tokens[i].size / size[i];
        centre[n_clusters] = i - 1;
        cluster[i] = n_clusters++;
    }
    for (int k = 0; k < r; k++) {
        from[k] = pairs[k].from - 1;
        group[k] = cluster[pairs[k].to];
        share[k] = (float)tokens[pairs[k].from].size / size[pairs[k].to];
    }
    TRY_GOTO(status, select_list(out, view, list, n_kept, err));
    out->n_recycled = r;
    out->n_clusters = n_clusters;
    out->in_place = out->has_own = true;
    c->ops->upload(c, out->recycled, from, (size_t)r * sizeof *from);
    c->ops->upload(c, out->group, group, (size_t)r * sizeof *group);
    c->ops->upload(c, out->weight, share, (size_t)r * sizeof *share);
    c->ops->upload(c, out->centres, centre, (size_t)n_clusters * sizeof *centre);
    c->ops->upload(c, out->own, own, (size_t)n_clusters * sizeof *own);
exit:
    free(pairs);
    free(list);
    free(share);
    return status;
}

const struct reducer reducer_tome = {
    .name = "tome",
    .doc = "similar tokens are merged in every layer of the vision tower",
    .paper = "Bolya et al., Token Merging: Your ViT But Faster, ICLR 2023",
    .params = tome_params,
    .n_params = sizeof tome_params / sizeof *tome_params,
    .counts = "r",
    .in_tower = true,
    .has_counts = has_counts,
    .plan_counts = plan_counts,
    .plan_official = plan_input_official,
    .plan_steps = plan_steps,
    .plan_step = plan_step,
    .plan_select_macs = plan_select_macs,
    .plan_tower = plan_tower,
    .tower = tower,
    .select = select_tokens,
};
