/* What the parts of a running sweep share. Private to sweep*.c and summary.c. */
#ifndef WINNOW_SWEEP_RUN_H
#define WINNOW_SWEEP_RUN_H

#include <signal.h>

#include "datasets/benchmark.h"
#include "harness/grid.h"
#include "harness/machine.h"
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
    bool open;
};

struct run {
    const struct sweep_options *options;
    struct sweep sweep;
    struct grid grid;
    struct material *materials;                /* by benchmark of the sweep */
    char *store_path, *trace_path, *data_path; /* data_path: where twins are written that are not there */
    struct lock *lock;                   /* until the store has it */
    struct store *store;
    struct trace *trace;

    /* The model at work. */
    int model;
    struct vlm *vlm;
    char weights_sha[65];
    const char *dtype;
    int32_t yes_id, no_id; /* -1 where the tokenizer has no such token */
    char machine[MACHINE_SIZE];

    int n_done, n_failed;
    int n_unjudged; /* answered, but a judge that is named gave no verdict */
    int n_untraced; /* answered before, but not when they were run again for their trace */
    json_t *plan;   /* of each model, for --plan --json; NULL before */
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
/* One whose files are missing stays closed when planning, with a line on stdout. */
enum status material_open(struct material *material, struct run *run, const struct sweep_benchmark *entry,
                          struct error *err);
void material_close(struct material *material);
/* ---- sweep_work.c --------------------------------------------------------------------------- */
enum status sweep_work(struct run *run, struct error *err);
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
/* ---- summary.c ------------------------------------------------------------------------------ */
enum status sweep_summarise(struct run *run, struct error *err);
/* The answered samples of a cell, by ascending row. Texts are owned. */
struct column {
    int n;
    int *rows;
    double *scores;                       /* NaN without gold */
    char **answers, **parsed, **verdicts; /* a verdict is NULL where no judge gave one */
};
/* Every answer has its score, as far as the benchmark has golds: half a cell's verdicts make no figure. */
bool column_is_scored(const struct column *column, const struct material *material);
/* n_most: rows of the dataset. */
enum status column_load(struct column *out, struct store *store, int64_t cell, int n_most, struct error *err);
void column_free(struct column *column);
double column_real(sqlite3_stmt *s, int i); /* NaN for NULL */
/* ---- compare.c ------------------------------------------------------------------------------ */
enum status compare_cell(struct run *run, const struct cell *cell, struct error *err);
/* Holm over all comparisons of one model and benchmark, Benjamini-Hochberg over the store. */
enum status compare_adjust(struct run *run, struct error *err);

/* ---- progress.c ----------------------------------------------------------------------------- */
/* One line on stderr: rewritten on a terminal, else a line every few seconds. */
struct progress {
    const char *what;
    int n_total;
    double since, last_shown;
    bool terminal, shown;
};
void progress_start(struct progress *progress, const char *what, int n_total);
void progress_show(struct progress *progress, int n_done, int n_failed, bool last);

#endif
