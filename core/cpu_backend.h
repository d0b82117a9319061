/* What the operations of the CPU backend share: the state of a session and the split of work into tasks. */
#ifndef WINNOW_CPU_BACKEND_H
#define WINNOW_CPU_BACKEND_H

#include <stddef.h>

#include "cpu_kernels.h"
#include "cpu_linear.h"
#include "ops.h"
#include "threads.h"

struct cpu {
    const struct cpu_kernels *kernels;
    struct threads *threads;
    struct linear_lane **lanes;   /* [n_threads] */
    struct cpu_scratch **scratch; /* [n_threads] */
    unsigned char *work;          /* for operations that need memory by the size of their input; grows */
    size_t work_bytes;
};

static inline struct cpu *cpu_of(struct compute *c)
{
    return c->backend;
}

/* Runs `run` over n units (rows, elements) of `width` floats: at once where they are few, else in tasks. */
void cpu_split(struct compute *c, size_t n, size_t width, void (*run)(void *args, size_t first, size_t n),
               void *args);

/* Memory of the session for one operation; what was in it is lost. */
void *cpu_work(struct cpu *cpu, size_t n_bytes);

static inline void cpu_attention_check(const struct kv_view *kv, int n_heads)
{
    ENSURE(kv->length > 0 && kv->head_dim <= KERNEL_MAX_HEAD_DIM && n_heads % kv->n_kv_heads == 0);
}

/* cpu_reduce.c */
void cpu_attention_score(struct compute *c, const struct score_output *out, const float *factor,
                         const float *q, const float *lse, const struct kv_view *kv, const int32_t *rows,
                         const int32_t *keys, int n_rows, int n_keys, int n_q, int q_first, int n_heads);
void cpu_query_score(struct compute *c, float *p, const float *q, const struct kv_view *kv, int n_rows,
                     int n_heads);
void cpu_text_share(struct compute *c, float *share, const float *visual, const float *text, int n_visual,
                    int n_text, int d);
void cpu_top_k(struct compute *c, int32_t *index, const float *x, int k, int n);
void cpu_row_best(struct compute *c, float *best, int32_t *to, const float *y, int n_rows, int n_cols);
int32_t cpu_argmax(struct compute *c, const float *x, int n);

/* cpu_gram.c */
void cpu_cluster(struct compute *c, int32_t *centres, int32_t *group, const float *x, const int32_t *index,
                 int n, int d, const struct cluster_options *options);
void cpu_cosines(struct compute *c, float *y, const float *x, const int32_t *rows, int n_rows,
                 const int32_t *cols, int n_cols, int d);
int cpu_rank(struct compute *c, const float *matrix, int rows, int cols, double tol, bool gram);

#endif
