/* The picture of a reduction: for every question a row with the image, the priority heat map of the first cut
 * that scored, and the patches after each cut; the vision tower's cuts are one. A patch that is still a token
 * of its own is bright; those that live on inside a merged token have its mean colour and an outline; a
 * dropped one is greyed. A picture that was resized before the tower is shown in the patches that it was
 * resized to.
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
    int layer;  /* −1: before layer 0 */
    bool tower; /* what the tower's cuts came to */
    int n_in, n_out;
    int n_kept, n_recycled, n_clusters, n_score, n_group_of;
    int32_t *kept; /* tokens of their own, clusters of earlier cuts among them; not those made by this cut */
    int32_t *recycled, *cluster_of; /* cluster_of: per recycled, the cluster's number through all cuts */
    int32_t *group_of;              /* tower: [n_group_of] per patch the token it is in, −1: dropped */
    float *score;                   /* [n_score], in the order of the tokens entering; NULL without */
};
/* A cut as it was recorded (clusters counted within it, centres that stay in place among the kept) to one of
 * a picture. n_clusters: of the cuts before, and of this one afterwards. */
struct picture_centres {
    const int32_t *centres; /* [cut->n_clusters] */
    bool in_place, keep_class;
};
enum status picture_cut_number(struct picture_cut *cut, int *n_clusters,
                               const struct picture_centres *centres, struct error *err);
void picture_cut_free(struct picture_cut *cut);

struct picture {
    struct image image;   /* the whole picture, not yet cropped or padded */
    enum image_mode mode; /* how the model saw it */
    int rows, cols;       /* grid of the first image */
    bool resized;         /* to that grid, before the tower */
    int n_visual;         /* visual tokens of the prompt, uncut */
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
