/* Features of the pictures at work, shared by all workers, questions and cells: each picture goes through the
 * tower once (once more per control that changes it, and per method that works in the tower). */
#ifndef WINNOW_SHOWN_CACHE_H
#define WINNOW_SHOWN_CACHE_H

#include <pthread.h>

#include "harness/sweep_run.h"

struct shown_slot;

struct shown_cache {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct shown_slot *slots;
    int n_slots; /* 0: nothing is kept */
    unsigned clock;
};

/* More slots than workers, or none. */
enum status shown_cache_open(struct shown_cache *cache, int n_slots, struct error *err);
void shown_cache_close(struct shown_cache *cache);
/* The pictures of row `row` for a cell's question; the caller shown_release's *out. *computed: they went
 * through the tower now. One that another worker computes is waited for. */
enum status shown_cache_get(struct shown *out, bool *computed, struct shown_cache *cache,
                            struct session *session, const struct vlm *vlm, const struct dataset *dataset,
                            int row, const struct cell *cell, const struct encode_options *options,
                            struct error *err);

#endif
