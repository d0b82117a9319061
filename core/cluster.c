/* DPC-KNN (density peaks of k nearest neighbours), spec/sparsevlm.md 1.6, with the rules of 1.11 in place of
 * the official code's random tie-break. Places 0 … n−1 are in falling priority, so "the earlier" is "the one
 * of higher priority".
 *
 *   density  ρ_i = exp(−mean of the k smallest D_ij²), the token's own zero among them
 *   denser   j is denser than i if ρ_j − ρ_i > 1e-6, or |ρ_j − ρ_i| ≤ 1e-6 and j comes earlier     (rule 1)
 *   reach    δ_i = min of D_ij over denser j; the largest entry of all of D where none is denser
 *   centres  the C largest ρ·δ, falling; the earlier among equals                                  (rule 2)
 *   group    the nearest centre, Euclidean or cosine; the first centre among equals; a centre its own
 */
#include "cluster.h"

#include <math.h>

/* What the official code's noise can overcome. */
static const double DENSITY_TIE = 1e-6;

/* Mean of the k smallest of row [n]; smallest [k] is scratch, kept sorted by insertion. */
static double mean_of_smallest(const double *row, double *smallest, int k, int n)
{
    int held = 0;
    for (int j = 0; j < n; j++) {
        if (held == k && row[j] >= smallest[k - 1])
            continue;
        int at = held < k ? held++ : k - 1;
        for (; at > 0 && smallest[at - 1] > row[j]; at--)
            smallest[at] = smallest[at - 1];
        smallest[at] = row[j];
    }
    double sum = 0;
    for (int j = 0; j < k; j++)
        sum += smallest[j];
    return sum / k;
}

static int is_denser(const double *density, int j, int i)
{
    double difference = density[j] - density[i];
    return difference > DENSITY_TIE || (fabs(difference) <= DENSITY_TIE && j < i);
}

/* score_i = ρ_i·δ_i */
static void peak_scores(double *score, const double *density, const double *distance2, int n)
{
    double farthest2 = 0;
    for (size_t i = 0; i < (size_t)n * (size_t)n; i++)
        if (distance2[i] > farthest2)
            farthest2 = distance2[i];
    for (int i = 0; i < n; i++) {
        const double *row = distance2 + (size_t)i * (size_t)n;
        double reach2 = -1;
        for (int j = 0; j < n; j++)
            if (j != i && is_denser(density, j, i) && (reach2 < 0 || row[j] < reach2))
                reach2 = row[j];
        score[i] = density[i] * sqrt(reach2 < 0 ? farthest2 : reach2);
    }
}

static double dot(const float *a, const float *b, int d)
{
    double sum = 0;
    for (int k = 0; k < d; k++)
        sum += (double)a[k] * (double)b[k];
    return sum;
}

/* The centre of largest cosine; a zero vector has cosine 0 with everything. norm2 [C] is scratch. */
static void assign_by_cosine(int32_t *group, double *norm2, const int32_t *centres, const float *x,
                             const int32_t *index, int n, int d, int n_clusters)
{
    for (int c = 0; c < n_clusters; c++) {
        const float *centre = x + (size_t)index[centres[c]] * (size_t)d;
        norm2[c] = dot(centre, centre, d);
    }
    for (int i = 0; i < n; i++) {
        const float *row = x + (size_t)index[i] * (size_t)d;
        double own2 = dot(row, row, d), best = 0;
        for (int c = 0; c < n_clusters; c++) {
            double scale = sqrt(own2 * norm2[c]);
            double cosine = scale > 0 ? dot(row, x + (size_t)index[centres[c]] * (size_t)d, d) / scale : 0;
            if (c == 0 || cosine > best) {
                best = cosine;
                group[i] = c;
            }
        }
    }
}

static void assign_by_distance(int32_t *group, const int32_t *centres, const double *distance2, int n,
                               int n_clusters)
{
    for (int i = 0; i < n; i++) {
        const double *row = distance2 + (size_t)i * (size_t)n;
        int best = 0;
        for (int c = 1; c < n_clusters; c++)
            if (row[centres[c]] < row[centres[best]])
                best = c;
        group[i] = best;
    }
}

void cluster_assign(int32_t *centres, int32_t *group, const double *distance2, double *scratch,
                    const float *x, const int32_t *index, int n, int d, const struct cluster_options *options)
{
    int n_clusters = options->n_clusters, k = options->n_neighbours;
    ENSURE(n_clusters >= 1 && n_clusters <= n && k >= 1 && k <= n);
    double *density = scratch, *score = scratch + n, *work = scratch + 2 * (size_t)n;

    for (size_t i = 0; i < (size_t)n * (size_t)n; i++)
        if (!isfinite(
                distance2[i])) { /* no number in x: no order among rows, the caller sees it by the centre */
            centres[0] = -1;
            return;
        }
    for (int i = 0; i < n; i++)
        density[i] = exp(-mean_of_smallest(distance2 + (size_t)i * (size_t)n, work, k, n));
    peak_scores(score, density, distance2, n);

    for (int c = 0; c < n_clusters; c++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (score[i] >= 0 && (best < 0 || score[i] > score[best]))
                best = i;
        ENSURE(best >= 0);
        centres[c] = best;
        score[best] = -1; /* taken */
    }

    if (options->cosine)
        assign_by_cosine(group, work, centres, x, index, n, d, n_clusters);
    else
        assign_by_distance(group, centres, distance2, n, n_clusters);
    for (int c = 0; c < n_clusters; c++)
        group[centres[c]] = c;
}
