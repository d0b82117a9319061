/* The picture of a reduction: for every question a row with the image, the priority heat map of the first cut
 * that scored, and the patches after each cut. A patch that is still a token of its own is bright; one that
 * lives on inside a merged token is tinted and framed; a dropped one is greyed.
 *
 *     struct picture pictures[2];           // filled from a trace (trace_view.h) or a run
 *     TRY(survivors_draw(&sheet, pictures, 2, "SparseVLM, 64 tokens", &err));
 */
#ifndef WINNOW_REPORTS_SURVIVORS_H
#define WINNOW_REPORTS_SURVIVORS_H

#include "core/image.h"

enum { PICTURE_CUTS_MAX = 64, SHEET_ROWS_MAX = 16, SHEET_CUTS_MAX = 8 /* columns drawn */ };

/* Visual tokens are numbered in sequence order; −1−c is cluster c, numbered through all cuts. */
struct picture_cut {
    int layer; /* −1: before layer 0 */
    int n_in;  /* visual tokens entering it */
    int n_kept, n_recycled, n_clusters, n_score;
    int32_t *kept, *recycled,
        *cluster_of; /* cluster_of: per recycled, the cluster's number through all cuts */
    float *score;    /* [n_score], in the order of the tokens entering; NULL without */
};

struct picture {
    struct image image;   /* the whole picture, not yet cropped or padded */
    enum image_mode mode; /* how the model saw it */
    int rows, cols;       /* grid of the first image */
    int n_visual;         /* visual tokens of the prompt */
    char *title;          /* method and settings */
    char *question, *answer;
    struct picture_cut cuts[PICTURE_CUTS_MAX];
    int n_cuts;
};

void picture_free(struct picture *picture);
enum status survivors_draw(struct image *out, const struct picture *pictures, int n, const char *title,
                           struct error *err);
/* Share of patches that are kept after the last cut of both among those kept in either; 1 where both keep the
 * same. */
double survivors_overlap(const struct picture *a, const struct picture *b);

#endif
