/* Two stores compared by content: which cells and rows only one has, and which rows of the same cell differ
 * in anything that two runs of it must have in common: everything but times, machine, judge, revision and
 * when.
 */
#ifndef WINNOW_DIFF_H
#define WINNOW_DIFF_H

#include <jansson.h>

#include "core/error.h"

/* What makes two cells the same: the key; or the settings alone, whatever the weights (the model's name
 * counts) and the numerics, to compare revisions or checkpoints. */
enum diff_by { DIFF_BY_KEY, DIFF_BY_CONFIG };
extern const char *const diff_by_names[]; /* "key", "config" */

/* {a, b, by, equal, n_both, n_samples, only_a: [cell], only_b: [cell], cells: [pair]}
 *   cell  {key, benchmark, label, n}
 *   pair  of a cell that differs: {key, key_b (by config), benchmark, label, n_a, n_b, n_failed_a,
 * n_failed_b, score_a, score_b, only_a, only_b, layers, keep_maps, comparisons, figures, rows:
 *         [{sample_id, differs: {column: [a, b]}}]}
 * only_a … comparisons count rows; figures: score, interval or metrics differ. The caller json_decref's. */
enum status diff_stores(json_t **out, const char *a, const char *b, enum diff_by by, struct error *err);

#endif
