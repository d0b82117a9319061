/* The conformance suite (`winnow conform`): every registered method on a tiny model made in memory.
 *
 *   conform.c           the bed: model, pictures, prompts, asking
 *   conform_run.c       the run over one method
 *   conform_check.c     what must hold between answers, records, plans and ledgers; pure functions
 *   conform_dense.c     one layer in double on dense attention: the reference's arithmetic
 *   conform_choose.c    what each method must choose, from its published rule, on that arithmetic: the table,
 *                       the rivals; conform_sparsevlm.c, conform_controls.c; conform_oracle.h what they share
 *   conform_walk.c      a prompt's way through the layers, the choices of the reference beside those made
 *   conform_edge.c      degenerate input, parameters at their ends, budgets
 *   conform_turns.c     dialogues
 *
 * A line a check: `ok|FAIL|skip METHOD CHECK VALUE LIMIT`.
 */
#ifndef WINNOW_CONFORM_H
#define WINNOW_CONFORM_H

#include <stdio.h>

#include "session.h"
#include "vlm.h"

/* ---- bed ------------------------------------------------------------------------------------ */

enum {
    CONFORM_PICTURES = 5, /* there are */
    CONFORM_IMAGES = 3,   /* of a prompt, at most */
    CONFORM_TURNS = 3,    /* of a dialogue, at most */
    CONFORM_IDS = 128,    /* of a prompt, at most */
    CONFORM_TOKENS = 640, /* of a sequence, at most */
    CONFORM_NEW = 3,      /* of an answer */
    CONFORM_SEED = 3      /* of the weights */
};

/* A model on one device, two sessions of it. */
struct bed {
    struct vlm *vlm;
    struct session *session, *other; /* of one thread and of three */
};

struct conform {
    FILE *out;           /* lines, unless … */
    struct json_t *json; /* … they go into this array */
    const char *device;
    struct bed beds[3]; /* the device asked for, ref, and cpu where another was asked for */
    int n_beds;
    struct image images[CONFORM_PICTURES];
    const char *method; /* whose line is written */
    int n_checks, n_failed, n_skipped;
};

struct prompt {
    int n_images, n_turns;
    int n_ids, n_turn_ids[CONFORM_TURNS];
    int32_t ids[CONFORM_IDS];
};
/* n text ids before the pictures, the pictures, n after; later turns are added. */
void prompt_make(struct prompt *out, int n_before, int n_images, int n_after);
void prompt_add_turn(struct prompt *prompt, int n);

/* Copies of every intermediate of one run. */
struct tapped {
    char name[40];
    int first, rows, cols;
    float *data;
};
struct taps {
    struct tapped *list;
    int n, room;
};
/* The last one of this name; NULL: there is none. */
const struct tapped *taps_find(const struct taps *taps, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void taps_free(struct taps *taps);

/* One prompt asked, and what came. */
struct trial {
    const struct method *method; /* NULL: vanilla */
    const struct prompt *prompt;
    uint64_t seed;
    const struct cut_record *replay;
    int n_replay;
    bool want_taps;
    int first_picture;
    int turn, n_candidates; /* for the walk of a later turn: which, and how many ids it adds; 0: the first */

    enum status status;
    struct error err;
    struct answer answer;
    struct features *features[CONFORM_IMAGES];
    struct taps encoded[CONFORM_IMAGES], asked;
};
/* Encodes the pictures and asks; trial->status says how it went. */
void trial_run(struct trial *trial, const struct conform *conform, struct session *session);
void trial_free(struct trial *trial);

/* A method with settings "key=value key=value" ("" or NULL: none), budget too. */
enum status conform_method(struct method *out, const struct reducer *reducer, const char *settings,
                           struct error *err);

bool conform_has_param(const struct reducer *reducer, const char *name);

/* What a check found. */
struct finding {
    bool holds;
    char value[160], limit[64];
};
void finding_set(struct finding *out, bool holds, const char *limit, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void conform_report(struct conform *conform, const struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void conform_skip(struct conform *conform, const char *check, const char *why);

enum status conform_open(struct conform *out, const char *device, FILE *to, struct error *err);
void conform_close(struct conform *conform);
/* One setting on a prompt: against the reference, order, counts, repeats, backends; `more` ends the label. */
void conform_setting(struct conform *conform, const struct reducer *reducer, const char *settings,
                     const char *budget, const struct prompt *prompt, const char *more);
/* All checks of one method. */
void conform_run(struct conform *conform, const struct reducer *reducer);

/* ---- conform_check.c ------------------------------------------------------------------------ */

struct expected;
/* Every id of every turn and the logits of the last one. */
void check_same(struct finding *out, const struct answer *a, const struct answer *b, int vocabulary);
/* The same cuts: kept, clusters, centres. */
void check_same_cuts(struct finding *out, const struct answer *a, const struct answer *b);
/* Kept ascending (in place: any order), no token twice, none of another that goes into a cluster. */
void check_order(struct finding *out, const struct cut_record *record);
/* Kept are the largest of record->score, recycled the next. */
void check_best(struct finding *out, const struct cut_record *record);
void check_choice(struct finding *out, const struct cut_record *record, const struct expected *expected);
/* Plan, ledger, cache lengths and counters of an answer of one turn agree. */
void check_counts(struct finding *out, const struct answer *answer);
void check_numbers(struct finding *out, const struct answer *answer, int vocabulary);

/* ---- conform_dense.c ------------------------------------------------------------------------ */

/* The model's weights are looked up by name and seed. */
struct dense {
    const struct vlm_config *config;
    uint64_t seed;
};
/* Decoder layer: attention [heads, n, n], out [n, hidden] or NULL. */
void dense_decoder(double *attention, double *out, const struct dense *dense, int layer, const double *x,
                   const int *positions, int n);
/* Logits [vocabulary] of one row. */
void dense_head(double *logits, const struct dense *dense, const double *row);
/* The attention half of a vision layer: middle [n, d] = x + attention, attention [heads, n, n], keys [n, d];
 * bias [n] of the keys' logits, or NULL. */
void dense_vision(double *middle, double *attention, double *keys, const struct dense *dense, int layer,
                  const double *x, const double *bias, int n);
/* Its other half. */
void dense_vision_mlp(double *out, const struct dense *dense, int layer, const double *middle, int n);
/* What enters vision layer 0: x [1 + rows·cols, d] from pixels [3, rows·patch, cols·patch]. */
void dense_patches(double *x, const struct dense *dense, const float *pixels, int rows, int cols);
/* out [n, text hidden] of features [n, vision hidden]. */
void dense_project(double *out, const struct dense *dense, const double *features, int n);
/* Singular values [rows] of matrix [rows, cols], rows ≤ cols, falling, by one-sided Jacobi; destroys it. */
void dense_singular_values(double *sigma, double *matrix, int rows, int cols);

/* ---- conform_choose.c ----------------------------------------------------------------------- */

struct walk_token {
    int image; /* −1: text */
    int id, position;
    int size, cell; /* tower */
};

/* What a reference sees where a cut may stand. */
struct place_seen {
    const struct method *method;
    const struct dense *dense;
    const char *mode; /* of the published table: its label */
    enum cut_site site;
    int layer, n, d;
    const struct walk_token *tokens;
    const double *x;         /* [n, d] the layer's output; in the tower of ToMe: before its MLP */
    const double *before;    /* [n, d] what entered the layer */
    const double *keys;      /* SITE_VISION [n, d] */
    const double *attention; /* SITE_VISION [heads, n, n] */
    int n_visual, uncut;     /* uncut: visual tokens of the prompt */
    int visual[CONFORM_TOKENS];
    int positions[CONFORM_TOKENS];
    int n_candidates;
    int *raters, *n_raters; /* places among the candidates; −1: not chosen yet */
    int n_images, vision_layers;
    double budget; /* tokens, 0 without */
};

enum { EXPECTED_MEMBERS = 4 * CONFORM_TOKENS };
struct expected {
    bool cut, free; /* free: which ones is chance, their number is not */
    int n_kept, n_recycled, n_clusters, rank;
    bool in_place, has_own, keep_class, unordered;
    int32_t kept[CONFORM_TOKENS], recycled[EXPECTED_MEMBERS], group[EXPECTED_MEMBERS],
        centres[CONFORM_TOKENS];
    double weight[EXPECTED_MEMBERS], own[CONFORM_TOKENS];
    double margin; /* relative distance of the nearest decision: below MARGIN_LEAST it hangs on rounding */
};
#define MARGIN_LEAST 1e-5

/* The reference of a method, and the settings it is held to. */
struct reference {
    const char *method;
    void (*choose)(struct expected *out, struct place_seen *seen);
    const char *const
        *settings; /* NULL-terminated; each is run at the budgets below unless it brings its own */
    bool no_budget;
};
const struct reference *reference_find(const char *method);

/* ---- conform_walk.c ------------------------------------------------------------------------- */

struct walk_result {
    struct finding choices, layers;
    int n_cuts;
    double margin;
};
/* Follows a trial (one turn, with taps and records) and compares every cut with the reference's. */
void walk(struct walk_result *out, const struct conform *conform, const struct trial *trial,
          const struct reference *reference);
/* Runs a trial on a picture on which no choice hangs on rounding, and walks beside it; out NULL: without. */
void conform_trial(struct walk_result *out, struct trial *trial, const struct conform *conform,
                   const struct reference *reference);

/* ---- conform_edge.c ------------------------------------------------------------------------- */
void conform_degenerate(struct conform *conform, const struct reducer *reducer);
void conform_parameters(struct conform *conform, const struct reducer *reducer);
void conform_budgets(struct conform *conform, const struct reducer *reducer);

/* ---- conform_turns.c ------------------------------------------------------------------------ */
void conform_dialogues(struct conform *conform, const struct reducer *reducer);

#endif
