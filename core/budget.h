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

struct cut_record;
struct plan;

/* Measured milliseconds of one decoder layer by the number of tokens that enter it, and what a cut of the
 * method adds: the calibration of `match: latency`. */
enum { LATENCY_POINTS = 8 };
struct latency {
    int n_points;                                            /* at least 2 */
    double tokens[LATENCY_POINTS], layer_ms[LATENCY_POINTS]; /* tokens ascending */
    double cut_ms;
};

/* The sizes a plan depends on. n_visual counts what the pictures of the sample come to uncut. */
struct plan_input {
    int n_visual, n_text; /* of this sample, n_text: all tokens that are not visual */
    int n_text_after;     /* those after the last image */
    int n_images;         /* that the visual tokens belong to, at least 1 */
    int n_layers, hidden, intermediate, n_heads, n_kv_heads, head_dim;
    int n_vision_layers, grid_rows, grid_cols; /* of the tower: layers that run, patches of one picture */
    int vision_hidden, vision_head_dim;
    const struct cut_record *replay; /* [n_replay] method replay: what the trace says of this sample */
    int n_replay;
    const struct plan *shadow; /* of a data-dependent method that is shadowed: what it came to; or NULL */
};

/* Patches of one picture, and its visual tokens that are none: the class token where the family keeps it. */
static inline int plan_input_patches(const struct plan_input *input)
{
    return input->grid_rows * input->grid_cols;
}

static inline int plan_input_extra(const struct plan_input *input)
{
    return input->n_visual / input->n_images == plan_input_patches(input) + 1 ? 1 : 0;
}

enum { PLAN_CUTS_MAX = 64, LAYER_BEFORE = -1 };

enum cut_site { SITE_VISION, SITE_BEFORE, SITE_DECODER };
extern const char *const site_names[]; /* vision, before, decoder; then NULL */

struct plan_cut {
    enum cut_site site;
    int layer;     /* decoder layer it belongs to; LAYER_BEFORE: before layer 0; SITE_VISION: vision layer */
    int keep;      /* tokens kept, before clusters */
    int recycled;  /* dropped tokens that go into clusters */
    int clusters;  /* tokens added */
    bool adaptive; /* the counts depend on the data: they are filled in as the run goes */
};

/* Of a whole sample, or of one picture in the tower (plan_tower of reducer.h). In a sample's plan the tower's
 * work stands as one cut of SITE_VISION: what leaves the tower of what entered it, all pictures together. */
struct plan {
    int n_cuts; /* cuts that do something here, in the order they are made */
    struct plan_cut cuts[PLAN_CUTS_MAX];
    int n_fallen;               /* cuts that fell away because the model has fewer layers */
    double requested, measured; /* on the matched figure; requested 0 for official or own counts */
};

/* Adds a cut to `keep` of the n tokens there are (at least 1). A keep ≥ n adds nothing. Recycling: n_rec =
 * min(n_del, int(tau · n_del) + 1) tokens go into C = min(n_rec, int(theta · n_rec) + 1) clusters; tau < 0:
 * none. Returns the tokens that leave; a layer behind the last one falls away. */
int plan_cut(struct plan *plan, int layer, int keep, int n, double tau, double theta, int n_layers);

/* The same for what leaves the tower (`layer` LAYER_BEFORE, a sample's plan) or one of its layers. */
int plan_cut_vision(struct plan *plan, int layer, int keep, int n);
/* A cut after `layer` whose counts the data decide. */
void plan_cut_adaptive(struct plan *plan, int layer, int n_layers);
/* Whether some count is not known before the run. */
bool plan_is_adaptive(const struct plan *plan);
/* Counts of a cut that keeps `keep` of n, with recycling as in plan_cut. keep < n. */
void plan_cut_counts(struct plan_cut *cut, int keep, int n, double tau, double theta);

/* `total` in proportion to sizes [n]: the largest remainder, the earlier first. Never above a size. */
void apportion(int *out, const int *sizes, int n, int total);

/* Visual tokens entering each of n_layers layers, and leaving it. */
void plan_trajectory(int *visual_in, int *visual_out, const struct plan *plan, int n_visual, int n_layers);
double plan_tokens_in(const struct plan *plan, int n_visual, int n_layers);
double plan_tokens_out(const struct plan *plan, int n_visual, int n_layers);

#endif
