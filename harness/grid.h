/* The grid of a sweep: every method's axes multiplied out to arms, arms × benchmarks × models to cells. Arms
 * that resolve to the same configuration are one.
 */
#ifndef WINNOW_GRID_H
#define WINNOW_GRID_H

#include <stdint.h>

#include "harness/key.h"
#include "harness/sweep_file.h"

/* A method with all its values, and a control. */
struct arm {
    struct method method;
    enum control control;
    uint64_t seed;              /* the method's own where it has one, else the run's */
    char budget[64];            /* as text, "" without */
    const char *match;          /* NULL without a budget: it means nothing then */
    char *params;               /* JSON, every parameter that has a value */
    char *text;                 /* key_arm_text */
    char *label;                /* "sparsevlm budget=64 recycle=off", for people */
    struct replay_file *replay; /* method replay: its trace; NULL otherwise */
    char *reason; /* why its values cannot be had together; NULL: they can, as far as is known here */
};

struct cell {
    const struct arm *arm;
    int model, benchmark; /* indices into the sweep's lists */
    /* Filled by the sweep, once model and data are open: */
    char key[KEY_SIZE];
    char *canonical;
    char *reason;          /* why it is infeasible, NULL otherwise */
    int64_t id;            /* in the store */
    struct cell *shadowed; /* the cell whose counts it takes sample by sample; NULL: none */
    struct plan *
        *plans; /* [n_plans] of a cell that is shadowed, by row: its cuts, NULL where not answered; owned */
    int n_plans;
};

struct grid {
    struct arm **arms;
    int n_arms;
    struct cell *cells; /* by model, then benchmark, then arm */
    int n_cells;
};

enum status grid_make(struct grid *out, const struct sweep *sweep, uint64_t seed, struct error *err);
void grid_free(struct grid *grid);

#endif
