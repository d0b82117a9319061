/* What a sweep has to do, and in which order: every sample of every cell that the store does not hold yet.
 *
 *   item    (cell, row)
 *   unit    one question's items, those cells next to each other whose prefills have most in common
 *   group   the units that are shown one picture
 *
 * A worker goes through the units of its group, then takes a fresh group, then a unit of another's group, and
 * at the very end helps with a unit that is begun. So a picture's features, its prefix and the first layers
 * of a question are computed once, as long as there is other work to be had.
 */
#ifndef WINNOW_WORK_QUEUE_H
#define WINNOW_WORK_QUEUE_H

#include <pthread.h>

#include "harness/sweep_run.h"

struct item {
    int cell, benchmark, row, group;
    int order;            /* among a question's */
    bool trace, answered; /* answered: it is in the store, only its trace is missing */
};

struct unit {
    int next, end; /* of its items */
    int group;
};

struct group {
    int next, end; /* of its units */
    int n;
};

struct work_queue {
    struct item *items;
    int n_items, n_units, n_groups;
    struct unit *units;
    struct group *groups;
    int *taken; /* [n_workers] the unit each is at, -1: none */
    int n_workers;
    int next_group; /* the first that no one has begun */
    int help_group; /* none before it has a unit that no one has begun */
};

/* n_workers: at most; the caller work_queue_free's in any case. */
enum status work_queue_make(struct work_queue *out, struct run *run, int n_workers, struct error *err);
void work_queue_free(struct work_queue *queue);
/* The next item for a worker; NULL when there is none. *share: SHARE_* that are worth while for it. The
 * caller locks. */
const struct item *work_queue_take(unsigned *share, struct work_queue *queue, int worker);
/* Kinds of features that one picture can have in this sweep. */
int count_feature_kinds(const struct run *run);

#endif
