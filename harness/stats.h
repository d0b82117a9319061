/* Statistics of comparisons: intervals by bootstrap over whole clusters, the exact McNemar test, corrections
 * for many tests, and what a sample of a given size can show.
 *
 *     benchmark_sums(&cell, &n_clusters, &data, rows, cell_scores, n, &err);
 *     benchmark_sums(&base, &n_clusters, &data, rows, base_scores, n, &err);
 *     bootstrap(&diff, cell, (const double *[]){base}, 1, n_clusters, b->n_sums, b->headline, seed,
 * BOOTSTRAP_DRAWS, &err);
 *
 * Sources: Efron & Tibshirani 1993 (percentile interval; clusters are the sampling unit), McNemar 1947 with
 * the exact binomial distribution, Holm 1979, Benjamini & Hochberg 1995, Connor 1987 (sample size for paired
 * proportions).
 */
#ifndef WINNOW_STATS_H
#define WINNOW_STATS_H

#include <stdint.h>

#include "core/error.h"

enum { BOOTSTRAP_DRAWS = 10000 };

struct interval {
    double value;    /* on the sample itself */
    double lo, hi;   /* 2.5 and 97.5 percentiles of the draws; NaN when no draw has a meaning */
    int n_undefined; /* draws left out because the statistic is NaN on them */
};

/* The statistic is a function of sums over clusters: cell[n_clusters, n_sums] holds each cluster's share. A
 * draw is n_clusters clusters with replacement, of which the sums are added and handed to `headline`. With
 * n_bases > 0 the figure is headline(cell) − mean over the bases of headline(base), all on the same draw.
 * Draw d is the same for the same seed and n_clusters, whatever is compared. */
enum status bootstrap(struct interval *out, const double *cell, const double *const *bases, int n_bases,
                      int n_clusters, int n_sums, double (*headline)(const double *sums), uint64_t seed,
                      int n_draws, struct error *err);

/* Of the values that are numbers; NaN without one (or without memory for a copy). */
double median(const double *values, int n);

/* Pairs in which `cell` scores above (b01) and below (b10) its base, over n samples. With several bases each
 * is paired by itself and the counts are their means, rounded: against the mean of the bases' scores every
 * sample on which they disagree would be a discordant pair, mostly in favour of whoever is right more often
 * than not. The test stays on the safe side of its level, as a mean varies less than one base. */
void paired_counts(int *b01, int *b10, const double *cell, const double *const *bases, int n_bases, int n);
/* Two-sided exact p of b01 against b10 discordant pairs under a fair coin: min(1, 2 P(X ≤ min)). */
double mcnemar_p(int b01, int b10);

/* Adjusted p values, in the order of p. NaN stands for a test that was not made: stays NaN and is not
 * counted. */
enum status holm(double *adjusted, const double *p, int n, struct error *err);
enum status benjamini_hochberg(double *adjusted, const double *p, int n, struct error *err);

/* Paired difference of proportions over n samples of which the share `discordant` differ between the two;
 * both as fractions. Samples that come in clusters count n ÷ design_effect; 1: unclustered. Half width of the
 * 95 % interval around a difference near 0. */
double paired_half_width(double n, double discordant, double design_effect);
/* Smallest true difference that a two-sided test at .05 finds with 80 % power. Where even one with all
 * discordant pairs on one side is too small, the discordance is taken to be the difference itself; 1 at most,
 * NaN for n < 1. */
double minimum_detectable(double n, double discordant, double design_effect);

#endif
