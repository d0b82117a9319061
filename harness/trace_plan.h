/* How large a sweep's trace becomes, before anything runs: an estimate for the model at work, from counts of
 * typical samples, without compression, so that what is written is rather smaller.
 */
#ifndef WINNOW_HARNESS_TRACE_PLAN_H
#define WINNOW_HARNESS_TRACE_PLAN_H

#include "harness/sweep_run.h"

struct trace_plan {
    long long n_samples, n_fit; /* n_fit: as many as the limit surely holds */
    double bytes, limit;
};
enum status trace_plan_make(struct trace_plan *out, const struct run *run, struct error *err);

/* States it where the sweep is traced: one line, or two where it is over the limit. */
enum status trace_plan_print(const struct run *run, FILE *out, struct error *err);
/* The same for --plan: on stdout, or with --json as `trace` of the model's plan. */
enum status trace_plan_state(struct run *run, struct error *err);

/* Whether the sample at this place in the order of tracing is traced at all. */
bool trace_plan_takes(const struct run *run, int place);

#endif
