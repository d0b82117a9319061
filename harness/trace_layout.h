/* What stands in the groups of a trace (the layout of trace.h), packed: a cell, a sample, a picture.
 *
 * All return NULL when memory runs out; the caller pack_free's. Private to trace.c.
 */
#ifndef WINNOW_HARNESS_TRACE_LAYOUT_H
#define WINNOW_HARNESS_TRACE_LAYOUT_H

#include "harness/trace.h"
#include "harness/trace_pack.h"

enum { PICTURE_NAME_SIZE = 33 };

/* The attributes of /cells/KEY, and its empty group `samples`. */
struct pack *layout_cell(const char *method, const char *params, const char *model);
/* All of /cells/KEY/samples/ID but its `image`. */
struct pack *layout_sample(const struct trace_sample *sample);
/* A dataset of this name for the group /pictures. */
struct pack *layout_picture(const struct image *image, const char *name);
/* Half of the SHA-256 of its size and pixels. */
void layout_picture_name(char out[PICTURE_NAME_SIZE], const struct image *image);

#endif
