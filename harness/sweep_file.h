/* A sweep file: YAML to `struct sweep`, with file and line in every message. What its keys mean: docs of the
 * command line, "The sweep file".
 *
 *     struct sweep sweep;
 *     TRY(sweep_read(&sweep, "budgets.yaml", (const char *const[]){"benchmarks.pope.limit=100"}, 1, &err));
 *     ...
 *     sweep_free(&sweep);
 *
 * Nothing is believed unread: unknown keys, wrong types, empty axes, methods, parameters and values that do
 * not exist are errors that list the choices. Whether a combination of values is feasible is for the plan to
 * say.
 */
#ifndef WINNOW_SWEEP_FILE_H
#define WINNOW_SWEEP_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/budget.h"
#include "core/error.h"
#include "core/vlm.h"

/* What stands in the place of the question's own picture. */
enum control { CONTROL_NONE, CONTROL_BLANK, CONTROL_MISMATCHED, CONTROL_NO_IMAGE, N_CONTROLS };
extern const char *const control_names[]; /* none, blank, mismatched, no-image; then NULL */

/* Halves of a benchmark by hash of the cluster, so that what was tuned on one is confirmed on the other. */
enum split { SPLIT_ALL, SPLIT_TUNE, SPLIT_CONFIRM };
extern const char *const split_names[];

extern const char *const image_mode_names[]; /* by enum image_mode */
extern const char *const dtype_names[];      /* by enum dtype_choice */

/* Every text below is owned by the sweep. */
struct setting {
    const char *key, *value;
    int line;
};

struct axis {
    const char *key;
    const char **values; /* lists joined by commas */
    int n, line;
};

struct sweep_method {
    const char *name;
    struct setting *settings;
    int n_settings;
    struct axis *axes;
    int n_axes, line;
};

struct sweep_benchmark {
    const char *name;
    const char *questions, *annotations, *images; /* NULL: the usual place */
    const char *template;
    enum image_mode image_mode;
    int max_new_tokens;                  /* 0: the benchmark's own answer limit */
    int limit;                           /* 0: none */
    const char *judge_url, *judge_model; /* NULL: the environment's, then the benchmark's own model */
    enum split split;
    int line;
    /* The entry that is asked in place of this one where no data folder is given; NULL: none is. */
    const struct sweep_benchmark *without_data;
    const char *stands_in_for; /* of such an entry: the name of the other; NULL otherwise */
};

struct sweep {
    const char *path, *name;
    const char **models;
    int n_models;
    const char *data, *device; /* NULL where not given */
    enum dtype_choice dtype;
    enum match match;
    struct sweep_benchmark *benchmarks;
    int n_benchmarks;
    struct sweep_method *methods;
    int n_methods;
    enum control controls[N_CONTROLS];
    int n_controls;
    struct {
        bool wanted;
        int samples, repeats;
    } timing;
    struct {
        bool wanted, cuts_only; /* cuts_only: indices, neither picture nor scores */
        int samples;            /* -1: all */
        int64_t limit;          /* bytes of its file */
        int attention[LIMIT_LAYERS];
        int n_attention;
    } trace;
    struct sweep_text *text; /* what owns the texts and arrays */
};

/* `sets`: "dotted.path=VALUE" overrides (--set), the value in YAML; elements of a list are named by their
 * `name` or their number. They are checked like the file itself. */
enum status sweep_read(struct sweep *out, const char *path, const char *const *sets, int n_sets,
                       struct error *err);
/* Puts its stand-in in the place of every entry that has one, unless the entry names its own questions. For a
 * sweep that is given no data folder. */
void sweep_stand_in(struct sweep *sweep);
void sweep_free(struct sweep *sweep);

#endif
