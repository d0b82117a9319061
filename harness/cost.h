/* What a sweep will cost, before it runs: FLOPs of every cell alone, FLOPs with what cells share counted
 * once, and the time these take at the rate of a short calibration.
 *
 * Shared, for the cells of one model and benchmark that see the same features:
 *     a picture     tower and projector; the rows before the question's text, as deep as any cell goes before
 *                   its first cut
 *     a question    its own rows, equally deep
 *     a cell        the layers behind its first cut, selection, head, decoding
 * Methods in the tower, and those that cut before layer 0, share with themselves only; by chance before layer
 * 0, not even between questions. Sizes are those of a typical sample, the benchmark's first.
 */
#ifndef WINNOW_COST_H
#define WINNOW_COST_H

#include "harness/sweep_run.h"

/* FLOPs of one typical sample. */
struct cell_cost {
    double vision; /* tower and projector */
    double prefix; /* layers up to and with the one before the first cut: rows before the question's text … */
    double own;    /* … and those from there on */
    double rest;   /* layers behind it */
    double select, head, decode;
    int depth; /* layers before the first cut */
};

/* What a run is like on this machine: by a vanilla run of two samples, one thread of work. */
struct calibration {
    bool known;
    double vision_rate, prefill_rate, decode_rate; /* FLOP/s */
    double n_ids, sample_ms;                       /* of an answer */
    size_t session_bytes;
};

struct sweep_cost {
    double apart, shared; /* FLOPs of what is left to run */
    double seconds;       /* with all workers; NaN: not known */
    double timing_seconds;
    size_t session_bytes; /* of each worker; 0: not known */
};

double cost_alone(const struct cell_cost *cost);
/* costs [grid.n_cells] of the model at work; n_left: samples each has still to run. Runs the calibration. */
enum status cost_sweep(struct sweep_cost *out, struct cell_cost *costs, struct run *run, const int *n_left,
                       struct error *err);
/* Distinct pictures among a benchmark's chosen samples. */
int count_pictures(const struct material *material);

#endif
