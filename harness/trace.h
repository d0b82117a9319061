/* Traces: what happened to the visual tokens of single samples, in HDF5, next to the store.
 *
 *     /cells/KEY                    attributes method, params, model, units
 *     /cells/KEY/samples/ID         question, answer, image u8 [H, W, 3], grid i32 [images, 2],
 *                                   visual_count i32 [layers]; attribute visual (uncut)
 *         cuts/N                    attributes layer, site, image, turn, in_place, keep_class; of the tower:
 *                                   middle, proportional, raster (struct tower_options);
 *                                   kept, recycled, centres, cluster_of, ids_in, raters, rank, group_of i32,
 *                                   weight, own, score f32
 *         attention/L               f32 [text after the last image, visual tokens entering L]
 *
 * `kept`, `recycled`, `centres` and `ids_in` name visual tokens: their number in the uncut sequence, -1-c for
 * cluster c, numbered through all cuts of a sample. `cluster_of` gives the place in `centres`. `raters` [-1]:
 * every row. `weight` stands where something was recycled, `own` where centres go into their clusters, and
 * `group_of` at the last cut of a picture's tower; all but `score` is what a replay needs (replay.h).
 *
 * A sample is flushed as a whole: nothing of it reaches the file before, so that after a crash the file opens
 * and holds every sample up to the last one flushed. HDF5 is used by one thread at a time (a lock for all
 * traces).
 */
#ifndef WINNOW_TRACE_H
#define WINNOW_TRACE_H

#include <stdbool.h>

#include "core/vlm.h"

struct trace;

/* Opens or makes the file. One of HDF5's that cannot be read any more is moved to PATH.damaged (-2 and so
 * on where that is taken), and *moved says so; with `moved` NULL that is an error too. A file that is not
 * HDF5's is BAD_INPUT, one that is open elsewhere NO_MACHINE; they are left as they are. */
enum status trace_open(struct trace **out, const char *path, bool *moved, struct error *err);
enum status trace_close(struct trace *trace, struct error *err); /* NULL is closed already */

/* A cell's group and attributes, made where they are not there. `params` is JSON. */
enum status trace_cell(struct trace *trace, const char *key, const char *method, const char *params,
                       const char *model, struct error *err);
bool trace_has(struct trace *trace, const char *key, int sample_id);

struct trace_sample {
    int sample_id;
    const char *question, *answer;
    const struct image *image;         /* NULL: not written */
    int n_grids, grid_rows, grid_cols; /* pictures, and the grid of each; 0 without */
    const struct answer *result;       /* ledger, records and attention are written */
    bool cuts_only;                    /* indices only: no picture, no scores, no attention */
};
/* Replaces a sample that is there. The cell must have been made. */
enum status trace_sample(struct trace *trace, const char *key, const struct trace_sample *sample,
                         struct error *err);

#endif
