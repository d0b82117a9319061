/* The calibration of `match: latency`: what a decoder layer costs on this machine by the tokens that enter it
 * (once for a model, device and number of threads) and what a cut of a method adds (once for each method).
 * Kept in $XDG_CACHE_HOME/winnow (or ~/.cache/winnow), so that a budget means the same counts in later runs.
 */
#ifndef WINNOW_LATENCY_H
#define WINNOW_LATENCY_H

#include "core/vlm.h"

/* Reads the calibration into *out, or makes it (seconds for a small model, minutes for a large one on a CPU),
 * and hands it to the method, which keeps the pointer. With `read_only` one that is not there is left to the
 * plan to complain about. Nothing is done for a method that does not match latency. */
enum status latency_calibrate(struct latency *out, struct vlm *vlm, struct method *method, int n_threads,
                              bool read_only, struct error *err);

#endif
