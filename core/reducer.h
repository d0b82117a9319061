/* A method of visual-token reduction: it only decides. The runtime asks it at fixed points, hands it a
 * read-only view, and gets a selection back; the runtime gathers, merges, renumbers and counts.
 *
 * A new method is one file with one `const struct reducer` and one line in registry.c, which fills the slots
 * that it leaves out with defaults (no counts of its own, no cut, nothing scores), so callers never test for
 * NULL.
 */
#ifndef WINNOW_REDUCER_H
#define WINNOW_REDUCER_H

#include <stdbool.h>
#include <stdint.h>

#include "budget.h"
#include "error.h"
#include "ops.h"
#include "params.h"
#include "sequence.h"

struct reducer;

/* A method with its parameters: immutable while answers are computed, shared by threads. */
struct method {
    const struct reducer *reducer;
    struct params params;
    struct budget budget;
    enum match match;
};

/* Rows of attention a method wants to see at a cut (through the log-sum-exp, never a dense map). */
enum score_rows {
    ROWS_NONE,   /* no attention is looked at */
    ROWS_CHOSEN, /* those that `choose_rows` picked before layer 0 */
    ROWS_TEXT,   /* all text after the last image */
    ROWS_ALL,    /* every row of the sequence */
    ROWS_LAST    /* the last row */
};
struct score_request {
    enum score_rows rows;
    bool all_keys; /* the rows cover every key, not only the visual ones (counted so; FastV) */
};

/* What the runtime shows a method at a cut. Backend pointers; valid during the call only. */
struct view {
    struct compute *compute;
    const struct method *method;
    const struct plan *plan;
    const struct plan_cut *cut;      /* the cut that is asked for */
    const struct sequence *sequence; /* tokens that enter the cut; host */
    int layer;                       /* LAYER_BEFORE or the decoder layer just run */
    int n_visual, hidden_size;
    const int32_t *visual; /* [n_visual] rows of `hidden` that are visual; backend */
    const float *hidden;   /* [sequence->n, hidden_size] output of the layer (embeddings before layer 0) */
    const float *score;    /* [n_visual] mean attention of the requested rows; NULL without a request */
    int n_rows;
    const float *text; /* [n_text_after, hidden_size] rows of `hidden` after the last image */
    int n_text_after;
    uint64_t seed, sample;
    float *scratch;   /* backend memory for a method's own use, n_scratch floats: at least … */
    size_t n_scratch; /* … hidden_size + 1 per token of the uncut sequence */
};

/* What a method answers. All indices are places in visual order at this cut (0 … n_visual − 1), in backend
 * memory of the session's arena, filled by the method; counts are on the host and were planned. */
struct selection {
    int32_t *order; /* [n_visual] scratch: places by falling score */
    int n_kept;
    int32_t *kept; /* [n_kept] ascending */
    int n_recycled, n_clusters;
    int32_t *recycled; /* [n_recycled] by falling priority */
    int32_t *group;    /* [n_recycled] cluster of each, 0 … n_clusters − 1 in insertion order */
    float *weight;     /* [n_clusters] factor of each cluster's sum (1/size for a mean) */
    int32_t *centres;  /* [n_clusters] the centre's place; a cluster takes its position id */
    int rank;          /* −1 where it means nothing */
    bool skip;         /* no cut after all */
};

struct reducer {
    const char *name, *doc, *paper;
    const struct param *params;
    int n_params;
    bool dense; /* drops nothing: takes no budget and makes no cut */

    /* ---- budget to counts: a plan is made before the first token is computed ---------------- */
    /* Whether the method's own counts (keep, ratios, r) are given, so that it needs no budget. */
    bool (*has_counts)(const struct method *method);
    enum status (*plan_counts)(struct plan *out, const struct method *method, const struct plan_input *input,
                               struct error *err);
    /* The published setting for `budget` tokens; an error lists the settings there are. */
    enum status (*plan_official)(struct plan *out, const struct method *method,
                                 const struct plan_input *input, double budget, struct error *err);
    /* The family of plans that `match` is solved in: step 0 … n−1 for a budget. Returns n; fills *out for
     * `step` and *size, by which steps with equal means are told apart (the smaller is taken). */
    int (*plan_steps)(const struct method *method, const struct plan_input *input, double budget);
    void (*plan_step)(struct plan *out, double *size, const struct method *method,
                      const struct plan_input *input, double budget, int step);
    /* Multiply-accumulates that the method itself adds at a plan's cuts, before the run (match: flops). */
    double (*plan_select_macs)(const struct plan *plan, const struct method *method,
                               const struct plan_input *input);

    /* ---- at work ---------------------------------------------------------------------------- */
    bool original_positions; /* default of `positions` */
    /* Name of the method whose defaults a control takes over, or NULL. */
    const char *(*shadows)(const struct method *method);
    /* Before layer 0: places in the text after the last image whose attention is to score; host array with
     * room for all of it. No row: *n_rows = 0, no cut is made in this sample. */
    enum status (*choose_rows)(int32_t *rows, int *n_rows, const struct view *view, struct error *err);
    struct score_request (*score)(const struct method *method, const struct plan_cut *cut);
    enum status (*select)(struct selection *out, const struct view *view, struct error *err);
};

/* All methods in order; n: how many. */
const struct reducer *const *reducers(int *n);
const struct reducer *reducer_find(const char *name); /* NULL when there is none */

/* A method by name with its defaults; `method_set` takes budget, match and every parameter by key. */
enum status method_init(struct method *out, const char *name, struct error *err);
enum status method_set(struct method *method, const char *key, const char *value, struct error *err);
/* Makes the plan of one sample: no cut where V ≤ B, contradictions refused, fallen cuts counted. */
enum status method_plan(struct plan *out, const struct method *method, const struct plan_input *input,
                        struct error *err);

/* compact: after a cut the sequence is numbered 0 … L'−1; original: kept tokens keep their ids. */
bool method_original_positions(const struct method *method);

/* Fills what depends on other parameters and on the run: `positions` of a control that shadows a method,
 * `seed`; a `like` that shadows nothing goes back to its default. Equal configurations are equal afterwards.
 */
enum status method_resolve(struct method *method, uint64_t seed, struct error *err);

/* Rows that every method which drops tokens has. */
#define PARAM_ROWS_DROPPING(positions_default)                                                               \
    {.name = "positions",                                                                                    \
     .type = PARAM_CHOICE,                                                                                   \
     .fallback = positions_default,                                                                          \
     .choices = "compact|original",                                                                          \
     .doc = "ids after a cut: renumbered 0 ... L'-1, or those of the uncut sequence"},                       \
        {.name = "quota",                                                                                    \
         .type = PARAM_CHOICE,                                                                               \
         .fallback = "union",                                                                                \
         .choices = "union",                                                                                 \
         .doc = "several images: one ranking over all of them"},                                             \
    {                                                                                                        \
        .name = "turns", .type = PARAM_CHOICE, .fallback = "reuse", .choices = "reuse",                      \
        .doc = "several turns: later ones see what the first left"                                           \
    }

/* ---- what methods share when they choose (select.c) ----------------------------------------- */
/* kept: the `keep` largest of score [n_visual], ascending. The order by falling score is left in
 * out->order (n_kept + n_more entries): what follows the kept ones is the order for recycling. */
enum status select_top(struct selection *out, const struct view *view, const float *score, int keep,
                       int n_more, struct error *err);

#endif
