/* Figures of whole cells, made of their rows: score with a 95 % interval, medians of times, keep rates,
 * comparisons with vanilla and with random arms. A sweep makes them at its end, a merge of stores once the
 * rows are together; equal rows give equal figures, whichever of them it was.
 *
 * The benchmark's files are needed: headline and bootstrap are functions of its scoring groups.
 */
#ifndef WINNOW_SUMMARY_H
#define WINNOW_SUMMARY_H

#include "datasets/benchmark.h"
#include "harness/store.h"

struct summed {
    int64_t id;                 /* of the cell in the store */
    const struct dataset *data; /* NULL: not at hand; score and comparisons stay what they are */
};
/* All cells, then all their comparisons, then the corrections for many tests over the store. In the store's
 * open batch: the caller commits. */
enum status summarise(struct store *store, const struct summed *cells, int n, struct error *err);

bool dataset_is_judged(const struct dataset *data); /* a language model grades it */

/* The answered samples of a cell, by ascending row. Texts are owned. */
struct column {
    int n;
    int *rows;
    double *scores;                       /* NaN without gold */
    char **answers, **parsed, **verdicts; /* a verdict is NULL where no judge gave one */
};
/* Every answer has its score, as far as the benchmark has golds: half a cell's verdicts make no figure. */
bool column_is_scored(const struct column *column, const struct dataset *data);
/* n_most: rows of the dataset. */
enum status column_load(struct column *out, struct store *store, int64_t cell, int n_most, struct error *err);
void column_free(struct column *column);
double column_real(sqlite3_stmt *s, int i); /* NaN for NULL */

/* ---- compare.c ------------------------------------------------------------------------------ */
enum status compare_cell(struct store *store, const struct summed *cell, struct error *err);
/* Holm over all comparisons of one model and benchmark, Benjamini-Hochberg over the store. */
enum status compare_adjust(struct store *store, struct error *err);

#endif
