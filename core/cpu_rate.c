/* What oneDNN itself gives on this machine: one product with all threads, the yardstick of `winnow bench`. */
#include <math.h>
#include <stdlib.h>

#include <dnnl.h>

#include "memory.h"
#include "cpu_linear.h"
#include "cpu_packed.h"

extern void omp_set_num_threads(int n);

enum { N_RUNS = 50 };

/* Shortest of several runs in milliseconds; infinite where there is none. */
static double f32_ms(int m, int n, int k)
{
    size_t sizes[] = {(size_t)m * (size_t)k, (size_t)n * (size_t)k, (size_t)m * (size_t)n};
    float *block = memory_alloc(sizes[0] + sizes[1] + sizes[2], sizeof *block);
    double best = INFINITY;
    if (block == NULL)
        return best;
    float *x = block, *w = x + sizes[0], *y = w + sizes[1];
    for (size_t i = 0; i < sizes[0] + sizes[1]; i++)
        block[i] = (float)(i % 17) * 0.1f;
    for (int r = 0; r < N_RUNS; r++) {
        double start = clock_ms();
        if (dnnl_sgemm('N', 'T', m, n, k, 1.0f, x, k, w, k, 0.0f, y, n) != dnnl_success)
            break;
        best = fmin(best, clock_ms() - start);
    }
    free(block);
    return best;
}

static dnnl_status_t bf16_fill(dnnl_memory_t memory, const dnnl_memory_desc_t *layout)
{
    void *data;
    dnnl_status_t status = dnnl_memory_get_data_handle(memory, &data);
    for (size_t i = 0; status == dnnl_success && i < dnnl_memory_desc_get_size(layout) / 2; i++)
        ((uint16_t *)data)[i] = (uint16_t)(0x3DCC + i % 17); /* 0.1 and a little more */
    return status;
}

/* The same with weights packed as oneDNN likes them. */
static double bf16_ms(int m, int n, int k)
{
    double best = INFINITY;
    struct error err;
    dnnl_engine_t engine;
    dnnl_stream_t stream = NULL;
    dnnl_memory_desc_t layouts[3];
    dnnl_memory_t x = NULL, w = NULL, y = NULL;
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t primitive = NULL;
    if (linear_dtype_check(DTYPE_BF16, &err) != OK || packed_engine(&engine, &err) != OK)
        return best;
    dnnl_memory_desc_init_by_tag(&layouts[0], 2, (dnnl_dims_t){m, k}, dnnl_bf16, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&layouts[1], 2, (dnnl_dims_t){k, n}, dnnl_bf16, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&layouts[2], 2, (dnnl_dims_t){m, n}, dnnl_f32, dnnl_ab);
    if (dnnl_matmul_desc_init(&matmul, &layouts[0], &layouts[1], NULL, &layouts[2]) != dnnl_success ||
        dnnl_primitive_desc_create(&description, &matmul, NULL, engine, NULL) != dnnl_success)
        return best;
    layouts[1] = *dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0);
    if (dnnl_primitive_create(&primitive, description) == dnnl_success &&
        dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success &&
        dnnl_memory_create(&x, &layouts[0], engine, DNNL_MEMORY_ALLOCATE) == dnnl_success &&
        dnnl_memory_create(&w, &layouts[1], engine, DNNL_MEMORY_ALLOCATE) == dnnl_success &&
        dnnl_memory_create(&y, &layouts[2], engine, DNNL_MEMORY_ALLOCATE) == dnnl_success &&
        bf16_fill(x, &layouts[0]) == dnnl_success && bf16_fill(w, &layouts[1]) == dnnl_success) {
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}};
        for (int r = 0; r < N_RUNS; r++) {
            double start = clock_ms();
            if (dnnl_primitive_execute(primitive, stream, 3, arguments) != dnnl_success ||
                dnnl_stream_wait(stream) != dnnl_success)
                break;
            best = fmin(best, clock_ms() - start);
        }
    }
    dnnl_memory_destroy(x);
    dnnl_memory_destroy(w);
    dnnl_memory_destroy(y);
    dnnl_stream_destroy(stream);
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(description);
    return best;
}

double cpu_gemm_rate(struct compute *c, enum dtype dtype, int m, int n, int k)
{
    omp_set_num_threads(c->n_threads);
    double best = dtype == DTYPE_F32 ? f32_ms(m, n, k) : bf16_ms(m, n, k);
    omp_set_num_threads(1); /* as this backend's own calls want it */
    return isfinite(best) ? 2.0 * m * n * k / best * 1e3 : 0;
}
