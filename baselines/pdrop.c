/* PyramidDrop (Xing et al., CVPR 2025, arXiv 2410.17247): visual tokens fall in stages.
 *
 *   before layer ℓ_i   q of the prompt's last token, k of every token, both with layer ℓ_i's own norm and
 *                      projections at the present positions; softmax over all keys, mean over heads
 *                      the int(V·r_i) visual tokens of largest probability stay, V the uncut count
 *
 * The paper words the score with the finished stage's last layer; the published code is followed: the next
 * layer's. Keys are projected once and rotated twice, since positions are renumbered after a cut. Nothing is
 * merged. The budget of a comparison is met by ratios λ, λ², λ³ before layers 2, 8, 16, as the authors answer
 * (issue 10 of their repository).
 */
#include <math.h>

#include "reducer.h"

static const struct param pdrop_params[] = {
    {.name = "layers",
     .rising = true,
     .type = PARAM_COUNTS,
     .low = 1,
     .high = 1024,
     .doc = "cut before these layers; default: 8,16,24, with a budget 2,8,16"},
    {.name = "ratios",
     .type = PARAM_REALS,
     .low = 0,
     .high = 1,
     .doc = "of the uncut count, truncated; default: 0.5,0.25,0.125, or from the budget"},
    PARAM_ROWS_DROPPING("compact"),
};

static const int default_layers[] = {8, 16, 24}, budget_layers[] = {2, 8, 16};
static const double default_ratios[] = {0.5, 0.25, 0.125};

static int layers_of(int *out, const struct method *method)
{
    const struct param_value *given = param_get(&method->params, "layers");
    const int *usual = method->budget.given ? budget_layers : default_layers;
    int n = given->present ? given->n : 3;
    for (int i = 0; i < n; i++)
        out[i] = given->present ? (int)given->list[i] : usual[i];
    return n;
}

/* A cut before layer ℓ needs layer ℓ's projections; one the model does not have falls away. */
static void plan_stages(struct plan *out, const struct method *method, const struct plan_input *input,
                        const int *keep)
{
    int layers[PARAM_LIST_MAX], n_layers = layers_of(layers, method), n = input->n_visual;
    for (int i = 0; i < n_layers; i++)
        if (layers[i] >= input->n_layers)
            out->n_fallen++;
        else
            n = plan_cut(out, layers[i] - 1, keep[i], n, -1, 0, input->n_layers);
}

static bool has_counts(const struct method *method)
{
    return params_has(&method->params, "ratios");
}

static const char *resolve(const struct method *method, const char *name)
{
    if (name[0] == 'l') /* layers */
        return method->budget.given ? "2,8,16" : "8,16,24";
    if (name[0] == 'r' && !method->budget.given) /* ratios */
        return "0.5,0.25,0.125";
    return NULL;
}

static enum status plan_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err)
{
    const struct param_value *given = param_get(&method->params, "ratios");
    int layers[PARAM_LIST_MAX], n_layers = layers_of(layers, method), n = given->present ? given->n : 3;
    int keep[PARAM_LIST_MAX];
    if (n != n_layers)
        return fail(err, BAD_INPUT, "method pdrop: %d layers but %d ratios; give one ratio a layer", n_layers,
                    n);
    for (int i = 0; i < n; i++)
        keep[i] = (int)(input->n_visual * (given->present ? given->list[i] : default_ratios[i]));
    plan_stages(out, method, input, keep);
    return OK;
}

static enum status plan_official(struct plan *out, const struct method *method,
                                 const struct plan_input *input, double budget, struct error *err)
{
    static const struct {
        int budget, keep[3];
    } table[] = {{192, {322, 180, 100}}, {128, {241, 101, 42}}, {64, {110, 21, 4}}};
    int layers[PARAM_LIST_MAX], n_layers = layers_of(layers, method), keep[3];
    if (n_layers != 3)
        return fail(err, BAD_INPUT,
                    "method pdrop: the official settings have 3 stages but layers names %d; give ratios, or "
                    "match tokens_in",
                    n_layers);
    int key = (int)floor(576 * budget / input->n_visual + 0.5);
    for (unsigned t = 0; t < sizeof table / sizeof *table; t++)
        if (table[t].budget == key) {
            for (int i = 0; i < 3; i++)
                keep[i] = (int)((int64_t)table[t].keep[i] * input->n_visual / 576);
            plan_stages(out, method, input, keep);
            return OK;
        }
    return fail(err, BAD_INPUT,
                "method pdrop has no official setting for %g of %d visual tokens (%d of 576); there are 192, "
                "128 and 64 of 576; use match tokens_in for any budget",
                budget, input->n_visual, key);
}

/* Counts V·λ, V·λ², V·λ³ …; λ is the solver's. */
static int plan_curve(struct real_cut *out, const struct method *method, const struct plan_input *input,
                      double lambda)
{
    int layers[PARAM_LIST_MAX], n_layers = layers_of(layers, method), n = 0;
    double keep = input->n_visual;
    for (int i = 0; i < n_layers; i++) {
        keep *= lambda;
        if (layers[i] < input->n_layers)
            out[n++] = (struct real_cut){.layer = layers[i] - 1, .keep = keep};
    }
    return n;
}

static double plan_select_macs(const struct plan *plan, const struct method *method,
                               const struct plan_input *input)
{
    (void)method;
    double sum = 0, d = input->hidden, query = (double)input->n_heads * input->head_dim,
           key = (double)input->n_kv_heads * input->head_dim, n = input->n_visual + input->n_text;
    for (int i = 0; i < plan->n_cuts; i++) {
        double left = plan->cuts[i].keep + input->n_text;
        sum += query * n + d * query + (n - left) * d * key;
        n = left;
    }
    return sum;
}

static struct score_request score(const struct method *method, const struct plan_cut *cut)
{
    (void)method;
    (void)cut;
    return (struct score_request){.rows = ROWS_LAST, .next_layer = true};
}

static enum status select_tokens(struct selection *out, const struct view *view, struct error *err)
{
    return select_top(out, view, view->score, view->cut->keep, 0, err);
}

const struct reducer reducer_pdrop = {
    .name = "pdrop",
    .doc =
        "before layers 8, 16, 24 only a share of the visual tokens stays, ranked by the last token with the "
        "next layer's projections",
    .paper = "Xing et al., PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual "
             "Redundancy Reduction, CVPR 2025",
    .params = pdrop_params,
    .n_params = sizeof pdrop_params / sizeof *pdrop_params,
    .counts = "ratios",
    .budget_free = true,
    .resolve = resolve,
    .has_counts = has_counts,
    .plan_counts = plan_counts,
    .plan_official = plan_official,
    .plan_curve = plan_curve,
    .plan_select_macs = plan_select_macs,
    .score = score,
    .select = select_tokens,
};
