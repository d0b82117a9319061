/* The rank of a matrix in f64 by LAPACK, see rank.h.
 *
 * OpenBLAS would compute with threads of its own, whose number shows in the bits of a sum, and Debian's
 * default build of it starts them as soon as it is loaded: it is told to compute in the calling thread alone,
 * and they are ended, before main. */
#include "rank.h"

#include <math.h>
#include <stdlib.h>

#include <lapacke.h>
#if WINNOW_OPENBLAS
#include <openblas_config.h> /* that it is there; its cblas.h may be another's */
extern void openblas_set_num_threads(int n);
__attribute__((weak)) extern int blas_thread_shutdown_(void); /* builds with threads of their own have it */
#endif

#include "error.h"
#include "memory.h"

#if WINNOW_OPENBLAS
__attribute__((constructor)) static void keep_to_one_thread(void)
{
    openblas_set_num_threads(1);
    if (blas_thread_shutdown_)
        blas_thread_shutdown_();
}
#endif

bool rank_is_finite(const float *matrix, int rows, int cols)
{
    for (size_t i = 0; i < (size_t)rows * (size_t)cols; i++)
        if (!isfinite(matrix[i]))
            return false;
    return true;
}

int rank_count(const double *sigma, int n, int rows, int cols, double tol)
{
    int count = 0;
    double most = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, sigma[i]);
    double least = (tol > 0 ? tol : (rows > cols ? rows : cols) * 0x1p-23) * most;
    for (int i = 0; i < n; i++)
        count += sigma[i] > least;
    return count;
}

int rank_svd(const float *matrix, int rows, int cols, double tol)
{
    size_t n_floats = (size_t)rows * (size_t)cols;
    int n = rows < cols ? rows : cols;
    if (n == 0)
        return 0;
    double *copy = memory_alloc(n_floats + (size_t)n, sizeof *copy), *sigma = copy + n_floats;
    ENSURE(copy && "memory for a rank");
    for (size_t i = 0; i < n_floats; i++)
        copy[i] = (double)matrix[i];
    /* read by columns it is the transposed matrix, whose singular values are the same */
    int status = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', cols, rows, copy, cols, sigma, NULL, 1, NULL, 1);
    int count = status == 0 ? rank_count(sigma, n, rows, cols, tol) : -1;
    free(copy);
    return count;
}

int rank_gram(double *gram, int rows, int cols, double tol)
{
    if (rows == 0 || cols == 0)
        return 0;
    double *sigma = memory_alloc((size_t)rows, sizeof *sigma);
    ENSURE(sigma && "memory for a rank");
    int status = LAPACKE_dsyev(LAPACK_COL_MAJOR, 'N', 'U', rows, gram, rows, sigma);
    for (int i = 0; i < rows; i++)
        sigma[i] = sqrt(fmax(sigma[i], 0));
    int count = status == 0 ? rank_count(sigma, rows, rows, cols, tol) : -1;
    free(sigma);
    return count;
}
