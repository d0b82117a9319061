/* A sweep: from its file to a store full of answers.
 *
 *     plan      grid.c   axes to cells; key.c  each cell's key
 *     work      sweep_work.c    workers with a session each answer every sample that the store does not hold
 * yet, one picture at a time through all cells, so that its features are computed once timing sweep_timing.c
 * a pass of its own, one session, methods interleaved summary   summary.c       scores, intervals,
 * comparisons, keep maps
 *
 * sweep.c opens and closes what they need.
 */
#ifndef WINNOW_SWEEP_H
#define WINNOW_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/vlm.h"

struct sweep_options {
    const char *file;        /* path, or the name of a built-in grid */
    const char *const *sets; /* --set */
    int n_sets;
    const char *store;          /* NULL: results/NAME/NAME.db */
    const char *data;           /* NULL: the file's */
    const char *model, *device; /* NULL: the file's */
    enum dtype_choice dtype;    /* DTYPE_AUTO: the file's */
    enum image_mode image_mode; /* IMAGE_MODE_FROM_FILE: the sweep file's */
    int max_new_tokens;         /* 0: the sweep file's */
    uint64_t seed;
    int limit;           /* 0: the file's */
    int shard, n_shards; /* 1 … n_shards; n_shards 0: all */
    int n_workers;       /* 0: as many as there are cores (one on a GPU) */
    int n_threads;       /* of computing: of each worker (0: 1), and of the timing pass (0: all cores) */
    bool plan, json;
    bool no_share;       /* every cell runs alone */
    size_t memory_bytes; /* for decoder states that cells share; 0: a quarter of the machine's */
    double timeout_s;    /* of one sample; 0: none */
};

/* OK; NOT_HELD: it ran, but cells were infeasible or samples failed (they are listed on stderr); INTERRUPTED.
 */
enum status sweep_execute(const struct sweep_options *options, struct error *err);

/* Where files of benchmarks lie. */
struct sweep_place {
    const char *option; /* data, questions, annotations: as the commands that score call it */
    char *path;
};
/* What a sweep is before anything runs. Texts are owned: sweep_outline_free. */
struct sweep_outline {
    char *store;                /* where its store will be */
    struct sweep_place *places; /* that the sweep names */
    int n_places;
};
/* Reads the file and finds the models, as the sweep will: what is wrong with them is said here. Nothing is
 * written, no weights are read. */
enum status sweep_outline_make(struct sweep_outline *out, const struct sweep_options *options,
                               struct error *err);
void sweep_outline_free(struct sweep_outline *outline);

#endif
