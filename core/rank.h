/* The rank of a matrix by its singular values: host code shared by the backends whose memory is the host's.
 */
#ifndef WINNOW_RANK_H
#define WINNOW_RANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What ops.rank adds to compute->macs. */
static inline uint64_t rank_macs(int rows, int cols, bool gram)
{
    uint64_t m = (uint64_t)rows, n = (uint64_t)cols;
    return gram ? m * m * n + m * m * m : m * n * (m < n ? m : n);
}

bool rank_is_finite(const float *matrix, int rows, int cols);

/* How many of sigma [n], in any order, lie above the tolerance of ops.rank. */
int rank_count(const double *sigma, int n, int rows, int cols, double tol);

/* ops.rank of a finite matrix by LAPACK: from itself (dgesdd), and from its Gram matrix [rows, rows] (dsyev),
 * which is overwritten. −1 where LAPACK does not converge. */
int rank_svd(const float *matrix, int rows, int cols, double tol);
int rank_gram(double *gram, int rows, int cols, double tol);

#endif
