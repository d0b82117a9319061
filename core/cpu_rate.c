/* What oneDNN itself gives on this machine: one f32 product with all threads, the yardstick of `winnow
 * bench`. */
#include <math.h>
#include <stdlib.h>

#include <dnnl.h>

#include "memory.h"
#include "cpu_linear.h"

extern void omp_set_num_threads(int n);

double cpu_gemm_rate(struct compute *c, int m, int n, int k)
{
    size_t sizes[] = {(size_t)m * (size_t)k, (size_t)n * (size_t)k, (size_t)m * (size_t)n};
    float *block = memory_alloc(sizes[0] + sizes[1] + sizes[2], sizeof *block);
    double best = INFINITY;
    if (block == NULL)
        return 0;
    float *x = block, *w = x + sizes[0], *y = w + sizes[1];
    for (size_t i = 0; i < sizes[0] + sizes[1]; i++)
        block[i] = (float)(i % 17) * 0.1f;
    omp_set_num_threads(c->n_threads);
    for (int r = 0; r < 50; r++) {
        double start = clock_ms();
        if (dnnl_sgemm('N', 'T', m, n, k, 1.0f, x, k, w, k, 0.0f, y, n) != dnnl_success)
            break;
        best = fmin(best, clock_ms() - start);
    }
    omp_set_num_threads(1); /* as this backend's own calls want it */
    free(block);
    return isfinite(best) ? 2.0 * m * n * k / best * 1e3 : 0;
}
