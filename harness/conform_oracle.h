/* What the references of the conformance suite share: orders with the ties of the house, shares of pictures,
 * dense attention, published counts; and the reference of every method. Each fills `out` for the place that
 * is `seen`; out->margin is how near the nearest decision was.
 */
#ifndef WINNOW_CONFORM_ORACLE_H
#define WINNOW_CONFORM_ORACLE_H

#include "conform.h"

/* A decision between a and b. */
void oracle_margin(struct expected *out, double a, double b);
/* Places by falling score, the earlier among equals. */
void oracle_order(int32_t *order, const double *score, int n);
/* The `keep` largest, ascending; the n_more next ones by falling score. */
void oracle_best(struct expected *out, const struct place_seen *seen, const double *score, int keep,
                 int n_more, bool by_image);

int oracle_image(const struct place_seen *seen, int place);
/* Counts in proportion to each picture's tokens: the largest remainder, the earlier picture first. */
void oracle_shares(int *share, const struct place_seen *seen, int total);
bool oracle_per_image(const struct place_seen *seen);

/* [heads, n, n] of decoder layer `layer` on what enters it; owned by the caller. */
double *oracle_attention(const struct place_seen *seen, int layer, const double *x);
double oracle_probability(const struct place_seen *seen, const double *attention, int head, int row,
                          int place);
double oracle_cosine(const double *a, const double *b, int d);

/* Published counts of the budget; −1: there is none. */
int official_sparsevlm(const struct place_seen *seen, int stage, bool plus);
int official_fastv(const struct place_seen *seen);
int official_pdrop(const struct place_seen *seen, int stage);
/* n_rec = min(n_del, int(τ·n_del) + 1), C = min(n_rec, int(θ·n_rec) + 1) */
void oracle_recycling(int *n_recycled, int *n_clusters, int n_deleted, double tau, double theta);
/* Which entry of a list of layers this one is; −1: none. */
int oracle_stage(const struct params *params, const char *name, int layer);

void sparsevlm_choose(struct expected *out, struct place_seen *seen);
void divprune_choose(struct expected *out, struct place_seen *seen);
void random_choose(struct expected *out, struct place_seen *seen);
void uniform_choose(struct expected *out, struct place_seen *seen);
void center_choose(struct expected *out, struct place_seen *seen);
void top_choose(struct expected *out, struct place_seen *seen);
void bottom_choose(struct expected *out, struct place_seen *seen);
void pool_choose(struct expected *out, struct place_seen *seen);
void downsample_choose(struct expected *out, struct place_seen *seen);
void tome_choose(struct expected *out, struct place_seen *seen);
void visionzip_choose(struct expected *out, struct place_seen *seen);
void fastv_choose(struct expected *out, struct place_seen *seen);
void pdrop_choose(struct expected *out, struct place_seen *seen);

#endif
