/* FastV (Chen et al., ECCV 2024, arXiv 2403.06764): the last token's attention in layer k−1, head mean over
 * all keys, ranks the visual tokens; after k full layers only the best stay. Ids are kept, nothing is merged.
 *
 * The published code scores with the last row only (query=last); the SparseVLM authors' comparison used every
 * row (query=all). Static set, per-layer KV: the Hugging Face variant of the official code.
 */
#include <math.h>

#include "reducer.h"

static const struct param fastv_params[] = {
    {.name = "k",
     .type = PARAM_COUNT,
     .fallback = "2",
     .low = 1,
     .high = 1024,
     .doc = "full layers; the cut is before layer index k, scores come from layer k-1"},
    PARAM_ROW_KEEP("visual tokens kept; default: from the budget"),
    {.name = "query",
     .type = PARAM_CHOICE,
     .fallback = "last",
     .choices = "last|all",
     .doc = "rows that score: the last, or every row (the SparseVLM authors' variant)"},
    PARAM_ROWS_DROPPING("original"),
};

static void plan_keep(struct plan *out, const struct method *method, const struct plan_input *input, int keep)
{
    plan_cut(out, param_count(&method->params, "k") - 1, keep, input->n_visual, -1, 0, input->n_layers);
}

static bool original_positions(const struct method *method)
{
    (void)method;
    return true;
}

static enum status plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    (void)err;
    plan_keep(out, method, input, param_count(&method->params, "keep"));
    return OK;
}

/* The counts of the SparseVLM authors' comparison, k = 2. */
static enum status plan_official(struct plan *out, const struct method *method,
                                 const struct plan_input *input, double budget, struct error *err)
{
    static const int table[][2] = {{192, 180}, {128, 114}, {64, 48}};
    int key = (int)floor(576 * budget / input->n_visual + 0.5);
    for (unsigned t = 0; t < sizeof table / sizeof *table; t++)
        if (table[t][0] == key) {
            plan_keep(out, method, input, (int)((int64_t)table[t][1] * input->n_visual / 576));
            return OK;
        }
    return fail(err, BAD_INPUT,
                "method fastv has no official setting for %g of %d visual tokens (%d of 576); there are 192, "
                "128 and 64 of "
                "576; use match tokens_in for any budget",
                budget, input->n_visual, key);
}

static int plan_steps(const struct method *method, const struct plan_input *input, double budget)
{
    (void)method;
    (void)budget;
    return input->n_visual;
}

static void plan_step(struct plan *out, double *size, const struct method *method,
                      const struct plan_input *input, double budget, int step)
{
    (void)budget;
    *size = step + 1;
    plan_keep(out, method, input, step + 1);
}

static double plan_select_macs(const struct plan *plan, const struct method *method,
                               const struct plan_input *input)
{
    (void)plan;
    double n = input->n_visual + input->n_text, rows = param_is(&method->params, "query", "all") ? n : 1;
    return rows * n * input->n_heads * input->head_dim;
}

static struct score_request score(const struct method *method, const struct plan_cut *cut)
{
    (void)cut;
    return (struct score_request){.rows = param_is(&method->params, "query", "all") ? ROWS_ALL : ROWS_LAST,
                                  .all_keys = true};
}

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    return select_top(out, view, view->score, view->cut->keep, 0, err);
}

const struct reducer reducer_fastv = {
    .name = "fastv",
    .doc = "after k full layers, keep the visual tokens that the last token attends to most",
    .paper = "Chen et al., An Image is Worth 1/2 Tokens After Layer 2, ECCV 2024",
    .params = fastv_params,
    .n_params = sizeof fastv_params / sizeof *fastv_params,
    .original_positions = original_positions,
    .has_counts = method_has_keep,
    .plan_counts = plan_counts,
    .plan_official = plan_official,
    .plan_steps = plan_steps,
    .plan_step = plan_step,
    .plan_select_macs = plan_select_macs,
    .score = score,
    .select = select_tokens,
};
