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

/* How a method works inside the vision tower. */
struct tower_options {
    bool middle;       /* it cuts between attention and MLP of a layer, else after the layer */
    bool proportional; /* log(size) is added to the attention logits of merged tokens */
    bool raster;       /* tokens go to the decoder by the first patch of each, not as the cuts left them */
};

/* A method with its parameters: immutable while answers are computed, shared by threads. */
struct method {
    const struct reducer *reducer;
    struct params params;
    struct budget budget;
    enum match match;
    const struct latency *latency; /* of this model on this machine (match latency); NULL: not calibrated */
};

struct vlm_config;

/* Rows of attention a method wants to see at a cut (through the log-sum-exp, never a dense map). */
enum score_rows {
    ROWS_NONE,   /* no attention is looked at */
    ROWS_CHOSEN, /* those that `choose_rows` picked before layer 0 */
    ROWS_TEXT,   /* all rater candidates: the text after the last image, or the new turn's */
    ROWS_ALL,    /* every row of the sequence */
    ROWS_LAST,   /* the last row */
    ROWS_CLASS   /* SITE_VISION: the class token's */
};

struct view;

struct score_request {
    enum score_rows rows;
    bool all_keys; /* the rows cover every key, not only the visual ones (counted so; FastV) */
    /* Score with the projections of the layer that comes next, as it would see the uncut sequence: its keys
     * are kept for the tokens that stay. Rows: ROWS_LAST. (PyramidDrop) */
    bool next_layer;
    bool unrotated, visual_only; /* with next_layer: no rotary angles; softmax over visual keys (FEATHER) */
    bool by_row, by_head;        /* view->score_rows, view->score_heads are wanted too */
    /* factor [n]: what the probability of a key 0 … n − 1 positions before its row is multiplied by; NULL: 1.
     * mark [n]: true where a sample that has the distance is to be marked. */
    void (*factors)(float *factor, bool *mark, const struct view *view, int n);
};

struct patch_grid {
    int rows, cols;
};

/* What the runtime shows a method at a cut. Backend pointers; valid during the call only. In the tower the
 * sequence is the class token (as text) and the patches. */
struct view {
    struct compute *compute;
    const struct method *method;
    const struct vlm_config *config;
    const struct plan *plan;
    const struct plan_cut *cut;      /* the cut that is asked for */
    const struct sequence *sequence; /* tokens that enter the cut; host */
    const struct patch_grid *grids;  /* of each picture, by token.image; host */
    enum cut_site site;
    int layer; /* LAYER_BEFORE, the decoder layer just run, or the vision layer */
    int n_visual, hidden_size;
    const int32_t *visual; /* [n_visual] rows of `hidden` that are visual; backend */
    const float *hidden;   /* [sequence->n, hidden_size] output of the layer (embeddings before layer 0) */
    const float *keys;     /* SITE_VISION: [sequence->n, n_heads · head_dim] keys of this layer … */
    const float *queries;  /* … and its queries */
    const float
        *final_norm; /* [text hidden] weight of the decoder's last norm (DART compares normed states) */
    const struct kv_view *kv; /* SITE_DECODER: the layer's rotated keys, and its values */
    int n_heads, head_dim;
    const float *score;       /* [n_visual] mean attention of the requested rows; NULL without a request */
    const float *score_rows;  /* [n_rows, n_visual] head mean of each row (request.by_row) */
    const float *score_heads; /* [n_heads, n_visual] row mean of each head (request.by_head) */
    int n_rows;
    const float *text; /* [n_text, hidden_size] rows of `hidden` that are rater candidates */
    int n_text;
    uint64_t seed, sample;
    int image;                         /* SITE_VISION: which picture */
    const struct cut_record *replayed; /* method replay: this cut in the trace; NULL: none there */
    float *scratch;   /* backend memory for a method's own use, n_scratch floats: at least … */
    size_t n_scratch; /* … hidden_size + 1 per token of the uncut sequence */
};

/* What a method answers. All indices are places in visual order at this cut (0 … n_visual − 1), in backend
 * memory of the session's arena, filled by the method; counts are on the host.
 *
 * A cluster is a token made of others: own · x[centre] + Σ weight · x[recycled]. It follows the kept tokens
 * at the end of the last visual span (SparseVLM), or takes the place of its centre, which is then among the
 * kept (in_place: ToMe, PruMerge). */
struct selection {
    int32_t *order; /* [n_visual] scratch: places by falling score */
    int n_kept;
    int32_t *kept; /* [n_kept] in the order in which they go on: ascending unless the method says otherwise */
    int n_recycled, n_clusters, room; /* room: how many `recycled`, `group` and `weight` hold */
    int32_t *recycled; /* [n_recycled] by falling priority; a token may stand in several clusters (pool) */
    int32_t *group;    /* [n_recycled] cluster of each, 0 … n_clusters − 1 in insertion order */
    float *weight;     /* [n_recycled] factor of each */
    int32_t *centres;  /* [n_clusters] the centre's place; a cluster takes its position id */
    float *own;        /* [n_clusters] factor of the centre's row, read where has_own */
    bool has_own, in_place;
    bool keep_class;    /* SITE_VISION: the class token goes on, as the first visual token */
    const float *score; /* [n_visual] the priority that decided, where it is not view->score; backend */
    int rank;           /* −1 where it means nothing */
    double rank_ms;
    uint64_t macs; /* multiply-accumulates of the method itself, by formula (cosines, ranks) */
    bool skip;     /* no cut after all */
};

/* A cut whose count is a real number yet. */
struct real_cut {
    int layer;
    double keep;
};

struct reducer {
    const char *name, *doc, *paper;
    const struct param *params;
    int n_params;
    const char *counts; /* names of the parameters that are its own counts, for messages; NULL: keep */
    bool dense;         /* drops nothing: takes no budget and makes no cut */
    bool in_tower;      /* works in the tower or before it: a picture's features depend on the method */
    bool budget_free;   /* has a setting of its own without budget and counts (plan_counts) */

    /* ---- budget to counts: a plan is made before the first token is computed ---------------- */
    /* Parameters that contradict each other. */
    enum status (*check)(const struct method *method, struct error *err);
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
    /* Instead of steps: a curve of plans with real counts, rising with x in [0, 1]; returns their number. The
     * root is truncated afterwards. (PyramidDrop's λ) */
    int (*plan_curve)(struct real_cut *out, const struct method *method, const struct plan_input *input,
                      double x);
    /* Multiply-accumulates that the method itself adds at a plan's cuts, before the run (match: flops). */
    double (*plan_select_macs)(const struct plan *plan, const struct method *method,
                               const struct plan_input *input);

    /* Picture `image` in the tower: cuts of SITE_VISION that leave `budget` of its tokens. */
    enum status (*plan_tower)(struct plan *out, const struct method *method, const struct plan_input *input,
                              int image, int budget, struct error *err);

    /* ---- at work ---------------------------------------------------------------------------- */
    /* Default of `positions`: original or compact. */
    bool (*original_positions)(const struct method *method);
    /* The value of a parameter that was not given and whose default depends on others; NULL: none. */
    const char *(*resolve)(const struct method *method, const char *name);
    /* The method, with its budget, whose schedule and defaults a control takes over; false: none. */
    bool (*shadows)(struct method *out, const struct method *method);
    struct tower_options (*tower)(const struct method *method);
    /* The grid of patches that the tower is to make of a picture, at most input's; `budget` as above. */
    void (*tower_grid)(struct patch_grid *out, const struct method *method, const struct plan_input *input,
                       int image, int budget);
    /* Before layer 0: places in the text after the last image whose attention is to score; host array with
     * room for all of it. No row: *n_rows = 0, no cut is made in this sample. */
    enum status (*choose_rows)(int32_t *rows, int *n_rows, const struct view *view, struct error *err);
    struct score_request (*score)(const struct method *method, const struct plan_cut *cut);
    /* Counts of an adaptive cut, from the scores; cut->keep ≥ n_visual: no cut. */
    enum status (*adapt)(struct plan_cut *cut, struct selection *out, const struct view *view,
                         struct error *err);
    enum status (*select)(struct selection *out, const struct view *view, struct error *err);
};

/* All methods in order; n: how many. */
const struct reducer *const *reducers(int *n);
const struct reducer *reducer_find(const char *name); /* NULL when there is none */
/* For tests (docs/example_method.c): one more method, before another thread looks for one. */
void reducer_add(const struct reducer *reducer);

/* A method by name with its defaults; `method_set` takes budget, match and every parameter by key. */
enum status method_init(struct method *out, const char *name, struct error *err);
enum status method_set(struct method *method, const char *key, const char *value, struct error *err);
/* Makes the plan of one sample: no cut where V ≤ B, contradictions refused, fallen cuts counted. */
enum status method_plan(struct plan *out, const struct method *method, const struct plan_input *input,
                        struct error *err);

/* solve.c: the plan for `match` other than official. */
enum status plan_solve(struct plan *out, const struct method *method, const struct plan_input *input,
                       double budget, struct error *err);

/* compact: after a cut the sequence is numbered 0 … L'−1; original: kept tokens keep their ids. */
bool method_original_positions(const struct method *method);

/* Fills what depends on other parameters and on the run: `positions` of a control that shadows a method,
 * `seed`; a `like` that shadows nothing goes back to its default. Equal configurations are equal afterwards.
 */
enum status method_resolve(struct method *method, uint64_t seed, struct error *err);

/* Plan of one picture in the tower, of n_images; the sample's budget is shared out among them. */
enum status method_plan_tower(struct plan *out, const struct method *method, const struct plan_input *input,
                              int image, int n_images, struct error *err);
/* Visual tokens of it that leave the tower. */
enum status method_tower_tokens(int *out, const struct method *method, const struct plan_input *input,
                                int image, int n_images, struct error *err);
/* The same for the grid that the tower makes of it. */
enum status method_tower_grid(struct patch_grid *out, const struct method *method,
                              const struct plan_input *input, int image, int n_images, struct error *err);

enum turns { TURNS_REUSE, TURNS_RESELECT, TURNS_FULL };
enum turns method_turns(const struct method *method);

/* The count of methods that have one. */
#define PARAM_ROW_KEEP(text)                                                                                 \
    {                                                                                                        \
        .name = "keep", .type = PARAM_COUNT, .low = 0, .high = 1e6, .doc = text                              \
    }

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
         .choices = "union|per-image",                                                                       \
         .doc = "several images: one ranking over all, or counts in proportion to each image's tokens"},     \
    {                                                                                                        \
        .name = "turns", .type = PARAM_CHOICE, .fallback = "reuse", .choices = "reuse|reselect|full",        \
        .doc = "later turns: see what the first left, choose anew, or see all tokens"                        \
    }

/* ---- what methods share when they choose (select.c) ----------------------------------------- */
/* kept: the `keep` largest of score [n_visual], ascending; with quota per-image each image's share of them.
 * The order by falling score is left in out->order (n_kept + n_more entries): what follows the kept ones is
 * the order for recycling. */
enum status select_top(struct selection *out, const struct view *view, const float *score, int keep,
                       int n_more, struct error *err);
/* The same from a host array; per_image whatever the method's quota says. */
enum status select_top_host(struct selection *out, const struct view *view, const float *score, int keep,
                            int n_more, bool per_image, struct error *err);
/* kept: the places of list [n], host, in this order. */
enum status select_list(struct selection *out, const struct view *view, const int32_t *list, int n,
                        struct error *err);
/* Whether the method's quota is per-image. */
bool select_per_image(const struct view *view);
/* Numbers of visual tokens of each picture, [LIMIT_IMAGES]; returns how many pictures. */
int select_image_sizes(int *sizes, const struct view *view);

/* has_counts of a method whose own count is `keep`. */
bool method_has_keep(const struct method *method);

/* Plans of methods whose only count is what enters layer 0. */
enum status plan_input_counts(struct plan *out, const struct method *method, const struct plan_input *input,
                              struct error *err);
enum status plan_input_official(struct plan *out, const struct method *method, const struct plan_input *input,
                                double budget, struct error *err);
int plan_input_steps(const struct method *method, const struct plan_input *input, double budget);
void plan_input_step(struct plan *out, double *size, const struct method *method,
                     const struct plan_input *input, double budget, int step);

#endif
