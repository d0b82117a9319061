/* Reads the HDF5 trace that a sweep leaves next to its store (layout: docs, "The trace") into pictures. The
 * file is foreign: every shape is checked against limits before memory is asked for, and nothing outside the
 * file is followed.
 *
 *     struct trace_view *trace;
 *     TRY(trace_view_open(&trace, "budgets.h5", &err));
 *     TRY(trace_view_picture(&picture, trace, key, "17", &err));
 *     picture_free(&picture); trace_view_close(trace);
 */
#ifndef WINNOW_REPORTS_TRACE_VIEW_H
#define WINNOW_REPORTS_TRACE_VIEW_H

#include "reports/survivors.h"

struct trace_view;
struct names {
    char **names; /* owned; names_free */
    int n;
};

enum status trace_view_open(struct trace_view **out, const char *path, struct error *err);
void trace_view_close(struct trace_view *trace);
/* Keys of the cells; sample IDs of one cell, numbers in rising order. */
enum status trace_view_cells(struct names *out, struct trace_view *trace, struct error *err);
enum status trace_view_samples(struct names *out, struct trace_view *trace, const char *key,
                               struct error *err);
bool trace_view_has(struct trace_view *trace, const char *key, const char *id);
/* title: METHOD and the beginning of the key; the caller may replace it. A sample that was asked without an
 * image has image.rgb NULL and no cuts. */
enum status trace_view_picture(struct picture *out, struct trace_view *trace, const char *key, const char *id,
                               struct error *err);
void names_free(struct names *names);

#endif
