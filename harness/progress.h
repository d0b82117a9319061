/* What a running sweep says of itself: a line for people on stderr, events for programs on stdout (--json),
 * and a row in the store for `winnow status`.
 *
 *     progress_open(&run->progress, run)         once, when the store is open
 *     progress_phase(&run->progress, "samples", n, &err)
 *       progress_expect(&run->progress, cell)    for each sample that is left to do: a cell is done after its
 * last progress_item(&run->progress, cell, row, why)                       from any thread
 *       progress_show(&run->progress, n_done, n_failed, last, &err)         from the thread that opened,
 * often progress_close(&run->progress, status, &err)
 *
 * On a terminal the line is rewritten once a second and cut to its width; elsewhere there is a
 * line a minute, and a phase's first and last. Time left is that of the phase: only what was left to do.
 */
#ifndef WINNOW_PROGRESS_H
#define WINNOW_PROGRESS_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>

#include "core/error.h"
#include "harness/activity.h"

struct run;

struct progress {
    struct run *run;
    struct activity activity; /* what the store is told */
    bool open, terminal, ended;
    double since, shown; /* of the phase; the last line, clock_ms */
    double beat;         /* the last word to the store and to programs */
    int n_phases;
    pthread_mutex_t lock; /* of what follows, and of stdout */
    int cell;             /* of the last sample; -1: none yet */
    int *n_left;          /* [cells of the grid] samples of the phase */
};

enum status progress_open(struct progress *progress, struct run *run, struct error *err);
enum status progress_phase(struct progress *progress, const char *what, int n_total, struct error *err);
void progress_expect(struct progress *progress, int cell);
/* A sample is finished; why: its error, NULL when it went well. */
void progress_item(struct progress *progress, int cell, int row, const char *why);
/* An error is the store's. */
enum status progress_show(struct progress *progress, int n_done, int n_failed, bool last, struct error *err);
/* The document that ends it all well; takes it. */
enum status progress_end(struct progress *progress, json_t *document, struct error *err);
/* Leaves the last word in the store; `err` is why the sweep ended where `status` is not OK. NULL-safe. */
void progress_close(struct progress *progress, enum status status, const struct error *err);

#endif
