/* How many visual tokens: what `budget` and `match` mean, the published tables, and the solver that finds
 * each method's own counts. A plan is made per sample, from its numbers of visual and text tokens, before the
 * first token is computed. */
#ifndef WINNOW_BUDGET_H
#define WINNOW_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "params.h"

enum match { MATCH_OFFICIAL, MATCH_TOKENS_IN, MATCH_TOKENS_OUT, MATCH_FLOPS, MATCH_LATENCY };
extern const char *const match_names[]; /* official, tokens_in, tokens_out, flops, latency; then NULL */

struct budget {
    bool given;
    bool share; /* value is a share of the visual tokens (33% → .33) */
    double value;
};

/* "192" or "33%". Budget 0 is an error that points to `no-image`. */
enum status budget_parse(struct budget *out, const char *text, struct error *err);
void budget_format(char *out, size_t size, const struct budget *budget);

/* The sizes a plan depends on. */
struct plan_input {
    int n_visual, n_text; /* of this sample, n_text: all tokens that are not visual */
    int n_text_after;     /* those after the last image */
    int n_layers, hidden, intermediate, n_heads, n_kv_heads, head_dim;
};

enum { PLAN_CUTS_MAX = 64, LAYER_BEFORE = -1 };

struct plan_cut {
    int layer;    /* decoder layer it belongs to; LAYER_BEFORE: before layer 0 */
    int keep;     /* tokens kept, before clusters */
    int recycled; /* dropped tokens that go into clusters */
    int clusters; /* tokens added */
};

struct plan {
    int n_cuts; /* cuts that do something here, ascending by layer */
    struct plan_cut cuts[PLAN_CUTS_MAX];
    int n_fallen;               /* cuts that fell away because the model has fewer layers */
    double requested, measured; /* on the matched figure; requested 0 for official or own counts */
};

/* Adds a cut to `keep` of the n tokens there are (at least 1). A keep ≥ n adds nothing. Recycling: n_rec =
 * min(n_del, int(tau · n_del) + 1) tokens go into C = min(n_rec, int(theta · n_rec) + 1) clusters; tau < 0:
 * none. Returns the tokens that leave; a layer behind the last one falls away. */
int plan_cut(struct plan *plan, int layer, int keep, int n, double tau, double theta, int n_layers);

/* Visual tokens entering each of n_layers layers, and leaving it. */
void plan_trajectory(int *visual_in, int *visual_out, const struct plan *plan, int n_visual, int n_layers);
double plan_tokens_in(const struct plan *plan, int n_visual, int n_layers);
double plan_tokens_out(const struct plan *plan, int n_visual, int n_layers);

#endif
