/* What the parts of a running sweep share. Private to sweep*.c. */
#ifndef WINNOW_SWEEP_RUN_H
#define WINNOW_SWEEP_RUN_H

#include <signal.h>

#include "datasets/benchmark.h"
#include "harness/grid.h"
#include "harness/machine.h"
#include "harness/progress.h"
#include "harness/store.h"
#include "harness/sweep.h"
#include "harness/trace.h"

/* A benchmark of the sweep, opened. */
struct material {
    const struct sweep_benchmark *entry;
    struct dataset data;
    int *rows, n_rows; /* the samples that are asked */
    int *mismatched;   /* by row: whose picture it is shown under that control; NULL where none needs it */
    bool one_picture;  /* so none can be exchanged */
    int max_new_tokens;
    int64_t source;       /* in the store */
    int n_images_missing; /* of the chosen rows */
    char *scratch;        /* folder of a twin drawn for a plan only, NULL otherwise */
    char *reason;         /* its files or all its pictures are missing; NULL: it can be asked */
    bool open;            /* not where its files are missing: then `data` is an empty dataset */
};

struct run {
    const struct sweep_options *options;
    struct sweep sweep;
    struct grid grid;
    struct material *materials;                /* by benchmark of the sweep */
    char *store_path, *trace_path, *data_path; /* data_path: where twins are written that are not there */
    struct lock *lock;                         /* until the store has it */
    struct store *store;
    struct trace *trace;
    struct progress progress;

    /* The model at work. */
    int model;
    struct vlm *vlm;
    char weights_sha[65];
    const char *dtype;
    int32_t yes_id, no_id; /* -1 where the tokenizer has no such token */
    char machine[MACHINE_SIZE];

    int n_done, n_failed;
    double flops_alone,
        flops_shared; /* of the answers: each cell's run alone, and of it what was taken over */
    int n_unjudged;   /* answered, but a judge that is named gave no verdict */
    int n_untraced;   /* answered before, but not when they were run again for their trace */
    json_t *plan;     /* of each model, for --plan --json; NULL before */
};

/* Set by SIGINT and SIGTERM: finish what is begun. */
extern volatile sig_atomic_t sweep_stop;

bool cell_is_runnable(const struct cell *cell);
/* The row whose pictures a sample is shown; -1 for none. */
int shown_row(const struct material *material, enum control control, int row);
/* One text for the same pictures; NULL for none. */
const char *shown_image(const struct material *material, enum control control, int row);
/* The final prompt of a sample; the caller frees. */
enum status sample_prompt(char **out, const struct material *material, enum control control, int row,
                          struct error *err);
/* The features of all pictures a sample shows: one, or the frames of a clip. Zero: none. */
struct shown {
    struct features **features;
    int n;
};
/* Those of row `row` (shown_row; -1 gives none) as a control changes them: blank paints them over. */
enum status encode_shown(struct shown *out, struct session *session, const struct vlm *vlm,
                         const struct dataset *dataset, int row, enum control control,
                         const struct encode_options *options, struct error *err);
/* Another reference to each. */
enum status shown_share(struct shown *out, const struct shown *shown, struct error *err);
void shown_release(struct shown *shown);
/* What the encoding of a sample's picture depends on; `replay` is that of the question. */
struct encode_options sample_encoding(const struct run *run, const struct cell *cell,
                                      const struct question *question);
/* Cuts of the trace that a sample is replayed from; NULL where the method is no replay. (replay_free) */
enum status sample_replay(struct question *question, struct cut_record **cuts, int *n,
                          const struct cell *cell, int row, struct error *err);
/* Fills all of a question but its prompt and features. */
struct question sample_question(const struct run *run, const struct cell *cell, int row);
/* Sizes a plan of a typical sample depends on. */
enum status typical_input(struct plan_input *out, const struct run *run, const struct cell *cell,
                          struct error *err);

/* ---- material.c ----------------------------------------------------------------------------- */
enum status make_path(char **out, struct error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool is_folder(const char *path);
enum status make_folder(const char *path, struct error *err); /* and those above it */
/* OK with a reason where files are missing; what is wrong with those that are there is an error. */
enum status material_open(struct material *material, struct run *run, const struct sweep_benchmark *entry,
                          struct error *err);
void material_close(struct material *material);
/* It has a reason, and no benchmark before it has the same: its other split, say. */
bool reason_is_new(const struct run *run, int benchmark);
/* ---- sweep_open.c --------------------------------------------------------------------------- */
size_t path_folder_length(const char *path); /* without the slash; 0: it has none */
/* A model that is not where the path says is looked for among the built-in ones. */
enum status sweep_find_model(char **out, const char *path, struct error *err);
/* Reads the file, makes the grid and the paths. */
enum status sweep_begin(struct run *run, struct error *err);
enum status sweep_open_materials(struct run *run, struct error *err);
/* An error where no benchmark can be asked. */
enum status sweep_check_any_there(const struct run *run, struct error *err);
/* Lists cells that cannot run, on stderr; returns how many. */
int sweep_list_infeasible(const struct run *run);
/* ---- sweep_work.c --------------------------------------------------------------------------- */
enum status sweep_work(struct run *run, struct error *err);
int sweep_workers(const struct run *run);        /* how many there may be */
int sweep_feature_slots(const struct run *run);  /* pictures whose features are kept for others */
size_t sweep_share_bytes(const struct run *run); /* for what they share, all together; 0: nothing */
/* ---- sweep_timing.c ------------------------------------------------------------------------- */
enum status sweep_timing(struct run *run, struct error *err);
/* ---- sweep_judge.c -------------------------------------------------------------------------- */
bool material_is_judged(const struct material *material); /* a language model grades it */
/* Before the runs: an address or a key that cannot be right, or stored grades, which belong to one answer
 * file, are refused. */
enum status material_check_judge(const struct material *material, struct error *err);
/* Asks for the verdicts that the store's answers lack, where a judge is named; else says what to do. */
enum status sweep_judge(struct run *run, struct error *err);
/* ---- sweep_print.c -------------------------------------------------------------------------- */
/* The plan for the model at work; at the end, once: --json's document, NOT_HELD where cells are infeasible.
 */
enum status sweep_print_plan(struct run *run, struct error *err);
enum status sweep_end_plan(struct run *run, struct error *err);
enum status sweep_print_result(struct run *run, struct error *err);

#endif
