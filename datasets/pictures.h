/* What a sample shows, as pixels: a picture file, a picture in a table, or the frames of a clip. */
#ifndef WINNOW_PICTURES_H
#define WINNOW_PICTURES_H

#include "core/image.h"
#include "datasets/benchmark.h"

/* *out: [*n] pictures in the order they are shown; pictures_free. A sample without a picture gives none. */
enum status sample_pictures(struct image **out, int *n, const struct dataset *dataset, int row,
                            struct error *err);
void pictures_free(struct image *pictures, int n);
/* How many those are, without reading them. */
int sample_n_pictures(const struct dataset *dataset, int row);
/* The file they lie in; NULL without a picture. */
const char *sample_file(const struct sample *sample);

#endif
