/* Control arm: a stored selection made again. What was kept, recycled and merged comes from a trace
 * (harness/replay.h reads it), so the choice of one method can be run under other positions, or a method's
 * own trace be held against its answers, bit for bit.
 */
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "vlm.h"

static const struct param replay_params[] = {
    {.name = "file", .type = PARAM_TEXT, .doc = "the trace (HDF5)"},
    {.name = "cell", .type = PARAM_TEXT, .doc = "key of the cell in it, or the beginning of one"},
    PARAM_ROWS_DROPPING(NULL),
};

static bool has_counts(const struct method *method)
{
    (void)method;
    return true;
}

/* Tokens that leave a cut. */
static int leaves(const struct cut_record *cut)
{
    if (cut->resized.rows > 0)
        return cut->resized.rows * cut->resized.cols + (cut->keep_class ? 1 : 0);
    return cut->n_kept + (cut->in_place ? 0 : cut->n_clusters) + (cut->keep_class ? 1 : 0);
}

static void add(struct plan *out, const struct cut_record *cut)
{
    ENSURE(out->n_cuts < PLAN_CUTS_MAX);
    out->cuts[out->n_cuts++] = (struct plan_cut){.site = cut->site,
                                                 .layer = cut->layer,
                                                 .keep = cut->n_kept,
                                                 .clusters = cut->in_place ? 0 : cut->n_clusters,
                                                 .recycled = cut->n_recycled};
}

/* The last cut of a picture in the tower, or NULL. */
static const struct cut_record *last_in_tower(const struct plan_input *input, int image)
{
    const struct cut_record *last = NULL;
    for (int i = 0; i < input->n_replay; i++)
        if (input->replay[i].site == SITE_VISION && input->replay[i].image == image)
            last = &input->replay[i];
    return last;
}

static enum status plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    int left = 0, n_tower = 0, turn = 0;
    if (input->replay == NULL)
        return fail(err, BAD_INPUT, "method replay needs a trace: give file and cell (%s)",
                    params_has(&method->params, "file") ? "this sample has no entry" : "neither is given");
    for (int i = 0; i < input->n_images; i++) {
        const struct cut_record *last = last_in_tower(input, i);
        n_tower += last != NULL;
        left += last ? leaves(last) : input->n_visual / input->n_images;
    }
    if (n_tower > 0)
        plan_cut_vision(out, LAYER_BEFORE, left, input->n_visual);
    for (int i = 0; i < input->n_replay; i++) {
        const struct cut_record *cut = &input->replay[i];
        if (cut->site == SITE_VISION || cut->turn != turn)
            continue;
        if (cut->layer >= input->n_layers || out->n_cuts == PLAN_CUTS_MAX ||
            (out->n_cuts > 0 && cut->layer <= out->cuts[out->n_cuts - 1].layer && cut->site == SITE_DECODER))
            return fail(
                err, BAD_INPUT,
                "method replay: the trace cuts after layer %d, which does not fit a model of %d layers",
                cut->layer, input->n_layers);
        add(out, cut);
    }
    return OK;
}

static enum status plan_tower(struct plan *out, const struct method *method, const struct plan_input *input,
                              int image, int budget, struct error *err)
{
    (void)method;
    (void)budget;
    for (int i = 0; i < input->n_replay; i++) {
        const struct cut_record *cut = &input->replay[i];
        if (cut->site != SITE_VISION || cut->image != image || cut->resized.rows > 0)
            continue;
        if (cut->layer >= input->n_vision_layers || out->n_cuts == PLAN_CUTS_MAX)
            return fail(err, BAD_INPUT,
                        "method replay: the trace cuts in vision layer %d, the tower runs %d layers",
                        cut->layer, input->n_vision_layers);
        add(out, cut);
    }
    return OK;
}

static void tower_grid(struct patch_grid *out, const struct method *method, const struct plan_input *input,
                       int image, int budget)
{
    (void)method;
    (void)budget;
    *out = (struct patch_grid){input->grid_rows, input->grid_cols};
    for (int i = 0; i < input->n_replay; i++)
        if (input->replay[i].image == image && input->replay[i].resized.rows > 0)
            *out = input->replay[i].resized;
}

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    struct compute *c = view->compute;
    const struct cut_record *cut = view->replayed;
    if (cut == NULL || cut->n_in != view->n_visual)
        return fail(
            err, BAD_INPUT,
            "method replay: the trace's cut after layer %d saw %d visual tokens, this run has %d; is it "
            "of the same model, prompt and picture?",
            view->layer, cut ? cut->n_in : 0, view->n_visual);
    if (cut->n_recycled > out->room || cut->n_kept + (cut->in_place ? 0 : cut->n_clusters) > view->n_visual)
        return fail(err, BAD_INPUT, "method replay: the trace's cut after layer %d is larger than its tokens",
                    view->layer);
    TRY(select_list(out, view, cut->kept, cut->n_kept, err));
    out->n_recycled = cut->n_recycled;
    out->n_clusters = cut->n_clusters;
    out->in_place = cut->in_place;
    out->keep_class = cut->keep_class;
    out->has_own = cut->own != NULL;
    c->ops->upload(c, out->recycled, cut->recycled, (size_t)cut->n_recycled * sizeof(int32_t));
    c->ops->upload(c, out->group, cut->cluster_of, (size_t)cut->n_recycled * sizeof(int32_t));
    c->ops->upload(c, out->weight, cut->weight, (size_t)cut->n_recycled * sizeof(float));
    c->ops->upload(c, out->centres, cut->centres, (size_t)cut->n_clusters * sizeof(int32_t));
    if (cut->own)
        c->ops->upload(c, out->own, cut->own, (size_t)cut->n_clusters * sizeof(float));
    return OK;
}

const struct reducer reducer_replay = {
    .name = "replay",
    .doc = "control: the stored selection of another run",
    .paper = "control arm",
    .params = replay_params,
    .n_params = sizeof replay_params / sizeof *replay_params,
    .counts = "file and cell",
    .in_tower = true,
    .has_counts = has_counts,
    .plan_counts = plan_counts,
    .plan_tower = plan_tower,
    .tower_grid = tower_grid,
    .select = select_tokens,
};
