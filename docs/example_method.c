/* The patches that the class token attends to most, after the last layer of the tower that runs, go on in
 * order (FasterVLM). Text plays no part. */
#include "reducer.h"

static const struct param example_params[] = {
    PARAM_ROW_KEEP("tokens kept; default: from the budget"),
    PARAM_ROWS_DROPPING("compact"),
};

static enum status plan_tower(struct plan *out, const struct method *method, const struct plan_input *input,
                              int image, int budget, struct error *err)
{
    (void)method, (void)image, (void)err;
    plan_cut_vision(out, input->n_vision_layers - 1, budget - plan_input_extra(input),
                    plan_input_patches(input));
    return OK;
}

static struct score_request score(const struct method *method, const struct plan_cut *cut)
{
    (void)method, (void)cut;
    return (struct score_request){.rows = ROWS_CLASS};
}

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    return select_top(out, view, view->score, view->cut->keep, 0, err);
}

const struct reducer reducer_example = {
    .name = "example",
    .doc = "the patches that the class token attends to most stay",
    .paper = "Zhang et al., FasterVLM, 2024",
    .params = example_params,
    .n_params = sizeof example_params / sizeof *example_params,
    .in_tower = true,
    .has_counts = method_has_keep,
    .plan_counts = plan_input_counts,
    .plan_official = plan_input_official,
    .plan_steps = plan_input_steps,
    .plan_step = plan_input_step,
    .plan_tower = plan_tower,
    .score = score,
    .select = select_tokens,
};
