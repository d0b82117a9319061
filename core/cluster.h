/* DPC-KNN on a matrix of distances: host code shared by the backends whose memory is the host's. They differ
 * in how they come by the distances; the rules of density, centre and tie stand once, in cluster.c. */
#ifndef WINNOW_CLUSTER_H
#define WINNOW_CLUSTER_H

#include <stddef.h>
#include <stdint.h>

#include "ops.h"

/* Doubles of scratch memory that cluster_assign needs for n rows, the distances not counted. */
static inline size_t cluster_scratch(int n)
{
    return (size_t)3 * (size_t)n;
}

/* centres [C] and group [n] from distance2 [n, n], the squared Euclidean distances divided by d: exactly
 * symmetric, with a zero diagonal. x and index as in ops.h, read only where options->cosine. */
void cluster_assign(int32_t *centres, int32_t *group, const double *distance2, double *scratch,
                    const float *x, const int32_t *index, int n, int d,
                    const struct cluster_options *options);

#endif
