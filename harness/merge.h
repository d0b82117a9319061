/* Stores brought together: shards of one sweep, or sweeps of several machines, into one.
 *
 * What belongs together is found by content, never by row numbers: cells by their key, sources by benchmark
 * and hash of their files, samples by their row in them. Of one sample there is one row:
 *
 *     in one store only                     it is added
 *     failed in one, answered in another    the answer replaces the failure
 *     the same answer and counts            one row; times and a judge's verdict are taken over where it has
 * none another answer, or other counts       a conflict: the row of OUT stays, and both are reported
 *
 * After that scores, intervals, keep rates and comparisons are made as a sweep makes them, for all cells
 * whose benchmark's files are found (source_files.h); a cell whose rows are just those of one input keeps the
 * input's figures without. Merging again changes nothing. Inputs are only read. OUT is changed in one
 * transaction; a new one is made under another name and renamed.
 */
#ifndef WINNOW_MERGE_H
#define WINNOW_MERGE_H

#include "core/error.h"
#include "harness/source_files.h"

struct merge_options {
    const char *out;
    const char *const *inputs;
    int n_inputs;
    struct file_places places; /* besides the folders `data` beside the stores */
};

/* Two answers to one question. Texts are owned. */
struct merge_conflict {
    char *key, *benchmark, *label;
    const char *input; /* whose row was left out */
    int sample_id;
    char differs[32];   /* the first column that does */
    char *kept, *other; /* answers */
};
struct merge_unscored {
    char *benchmark;
    int n_cells;
};

struct merge_report {
    int n_cells, n_samples; /* that OUT holds now */
    /* Rows of the inputs: all of them are one of these, or a conflict. */
    int n_added, n_equal, n_replaced; /* replaced: a failure, or times taken over */
    int n_superseded;                 /* failed, where OUT has an answer */
    int n_verdicts;                   /* of a judge, taken over */
    struct merge_conflict *conflicts;
    int n_conflicts, conflicts_capacity;
    struct merge_unscored
        *unscored; /* benchmarks whose files were not found, and cells that have no figures */
    int n_unscored, unscored_capacity;
};

/* NOT_HELD: it is done, but there are conflicts or cells without figures. The caller merge_report_free's. */
enum status merge_stores(struct merge_report *report, const struct merge_options *options, struct error *err);
void merge_report_free(struct merge_report *report);

/* ---- merge_rows.c --------------------------------------------------------------------------- */
struct store;
/* Rows of one input into the store's open batch. Cells that it wrote to are in temp.merged. */
enum status merge_input(struct merge_report *report, struct store *store, const char *path, const char *name,
                        struct error *err);
/* merged: by cell of OUT, whether its rows changed, in this input (`now`) or before, and whether they are
 * just those of this input; carried: sources of OUT whose comparisons are those of one input. */
#define MERGE_TABLES                                                                                         \
    "PRAGMA temp_store = MEMORY; CREATE TEMP TABLE merged(cell INTEGER PRIMARY KEY, touched INTEGER NOT "    \
    "NULL,"                                                                                                  \
    " now INTEGER NOT NULL, whole INTEGER NOT NULL); CREATE TEMP TABLE carried(source INTEGER PRIMARY KEY);"

#endif
