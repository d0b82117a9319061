/* What reports read of a store: the contract's views `cells`, `comparisons`, `layers` and `samples`, nothing
 * else. Several stores become one collection; a key that two of them hold counts once, where n is larger.
 *
 *     struct cells cells = {0};
 *     TRY(cells_read(&cells, paths, n_paths, &err));
 *     … cells.cells[i].score …
 *     cells_free(&cells);
 */
#ifndef WINNOW_REPORTS_CELLS_H
#define WINNOW_REPORTS_CELLS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "harness/stats.h"

/* A row of the view `cells`: its names, absent text "", absent number NaN. Text is owned. */
struct cell {
    char *key, *model, *family, *method, *params, *benchmark, *split, *control, *template_name, *image_mode,
        *budget, *match, *reason, *metric, *metrics, *device, *dtype, *machine, *revision, *created;
    double seed, n, n_failed, score, score_lo, score_hi, tokens_in, tokens_out, budget_off, macs_paper, flops,
        flops_prefill, flops_select, kv_bytes_live, kv_bytes_alloc, kv_visual_bytes, timed_n, vision_ms,
        prefill_ms, select_ms, ttft_ms, total_ms;
    int store;                 /* index into stores */
    int n_machines;            /* that its samples ran on */
    int n_marked;              /* samples in which the gravity correction reached its floor, from metrics */
    struct layer_mean *layers; /* owned, ascending by layer; means over samples */
    int n_layers;
};

struct layer_mean {
    int layer;
    double visual_in, visual_out;
};

/* A row of the view `comparisons`. */
struct comparison {
    char *key, *base_key;
    double n, diff, lo, hi, b01, b10, mcnemar_p, holm_p, bh_q, loyalty;
};

struct cells {
    struct cell *cells;
    int n;
    struct comparison *comparisons;
    int n_comparisons;
    char **stores; /* paths, owned */
    int n_stores;
};

enum status cells_read(struct cells *out, const char *const *paths, int n_paths, struct error *err);
void cells_free(struct cells *cells);
/* NULL where no cell has this key. */
const struct cell *cells_find(const struct cells *cells, const char *key);

/* Per-sample figures of a cell, asked one by one (they may be many). */
struct sample {
    int64_t id;
    char *question, *image, *answer, *gold;
};
/* Samples of a cell in id order; the caller frees with samples_free. */
enum status samples_read(struct sample **out, int *n, const struct cells *cells, const struct cell *cell,
                         struct error *err);
void samples_free(struct sample *samples, int n);
/* Mean of samples.score (0…1) of `cell` over the samples that `blind` (vanilla without an image) got wrong:
 * those that need the image. *n 0 where they share none. Both must lie in one store. */
enum status samples_needing_image(double *mean, int64_t *n, const struct cells *cells,
                                  const struct cell *cell, const struct cell *blind, struct error *err);
/* Share of questions that `cell` answers correctly minus that of `base`, in points, over the n samples that
 * both have, with its 95 % interval by whole clusters. NaN where they share none. Both must lie in one store.
 */
enum status samples_change(struct interval *out, int *n, const struct cells *cells, const struct cell *cell,
                           const struct cell *base, struct error *err);

#endif
