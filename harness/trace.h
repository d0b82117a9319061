/* Traces: what happened to the visual tokens of single samples, in HDF5, next to the store.
 *
 *     /cells/KEY                    attributes method, params, model, units; label, image_mode
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
 * `image` is a hard link: a picture is stored once, in /pictures, by its SHA-256. The root's attribute
 * full_at is the limit in bytes at which a sample was left out, 0 where none was.
 *
 * What is guaranteed: at every moment the file's name stands for a whole file that holds all samples for
 * which trace_sample has returned OK, and nothing of others (trace_pair.h, which also says what is not
 * covered). HDF5 is used by one thread at a time (a lock for all traces); values are compressed outside of
 * it.
 */
#ifndef WINNOW_TRACE_H
#define WINNOW_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h> /* FILE */

#include "core/vlm.h"

struct trace;

/* Opens or makes the file. One of HDF5's that cannot be read any more is moved to PATH.damaged, and *moved
 * says so; with `moved` NULL that is an error too. A file that is not HDF5's is BAD_INPUT, one that is open
 * elsewhere or cannot be written NO_MACHINE; they are left as they are. */
enum status trace_open(struct trace **out, const char *path, bool *moved, struct error *err);
enum status trace_close(struct trace *trace, struct error *err); /* NULL is closed already */

/* The file never gets more bytes than `limit` (0, as opened: no limit). The first sample that does not fit
 * makes the trace full: it and all later ones are left out, in later runs too, until the limit is raised. */
void trace_limit(struct trace *trace, int64_t limit);

/* A cell's group and attributes, written with its first sample, else on closing. `params` is JSON. A cell
 * that is there must be of the same method. */
enum status trace_cell(struct trace *trace, const char *key, const char *method, const char *params,
                       const char *model, struct error *err);
/* One more attribute of a cell that is still to be written: `label`, "sparsevlm budget=64", or `image_mode`,
 * as `winnow show` wants to know them. */
void trace_note(struct trace *trace, const char *key, const char *name, const char *text);
/* Forgets a cell with its samples, for a key that says nothing of its method. */
enum status trace_replace(struct trace *trace, const char *key, struct error *err);
bool trace_has(struct trace *trace, const char *key, int sample_id);
/* Whether the sample is still to be traced: it is not there, and the trace is not full, else it is counted as
 * left out. */
bool trace_wants(struct trace *trace, const char *key, int sample_id);
/* Whether a picture of this name was traced since opening, so that its pixels are not needed any more. */
bool trace_knows(struct trace *trace, const char *picture);

struct trace_sample {
    int sample_id;
    const char *question, *answer;
    const struct image *image;         /* NULL: not written, or known by `picture` */
    const char *picture;               /* names the image in this run (its file); NULL: it comes only once */
    int n_grids, grid_rows, grid_cols; /* pictures, and the grid of each; 0 without */
    const struct answer *result;       /* ledger, records and attention are written */
    bool cuts_only;                    /* indices only: no picture, no scores, no attention */
};
/* Replaces a sample that is there. The cell must have been made. OK too where it was left out. */
enum status trace_sample(struct trace *trace, const char *key, const struct trace_sample *sample,
                         struct error *err);

int trace_n_left_out(struct trace *trace);
/* Says which samples were left out, where there are some. */
void trace_report(struct trace *trace, FILE *out);

#endif
