/* The inner loops of the CPU backend, without threads, memory or dnnl: cpu_kernels.c is compiled once for
 * each instruction set into one table of this kind, and a session takes the widest that the machine runs.
 *
 * Every function computes a row by the same instructions wherever the row stands and whatever stands beside
 * it: register tiles are padded to full size, and what a mask hides adds an exact zero. */
#ifndef WINNOW_CPU_KERNELS_H
#define WINNOW_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ops.h"

enum {
    KERNEL_MAX_HEAD_DIM = 1024,
    ATTENTION_ROWS = 24, /* query rows of one task; a multiple of the register tile's 6 */
    SCORE_ROWS = 48,
    SCORE_KEYS = 64,
    KERNEL_MAX_PANEL = 32, /* columns of the widest register tile */
    GRAM_PANEL = 16        /* rows that a product of rows takes side by side */
};

/* Scratch memory of one thread; 64-byte aligned. */
struct cpu_scratch {
    float q[SCORE_ROWS * KERNEL_MAX_HEAD_DIM];
    float sum[ATTENTION_ROWS * (KERNEL_MAX_HEAD_DIM + KERNEL_MAX_PANEL)]; /* unnormalised y */
    float keys[SCORE_KEYS * KERNEL_MAX_HEAD_DIM]; /* gathered, [head_dim, SCORE_KEYS] */
    float values[KV_PAGE * KERNEL_MAX_PANEL];     /* the last columns of V, padded */
    float p[SCORE_ROWS * KV_PAGE];
    float mean[SCORE_ROWS * SCORE_KEYS];
};

/* Query rows of one head against the pages of a layer. */
struct attention_task {
    float *y;       /* row i at y + i·stride */
    float *lse;     /* [n_rows] or NULL */
    const float *q; /* row i at q + i·stride */
    const struct kv_view *kv;
    const float *key_bias; /* [kv->length] or NULL */
    size_t stride;
    int kv_head;
    int n_rows;     /* at most ATTENTION_ROWS */
    int first_keys; /* keys that row 0 sees */
    int more_keys;  /* and how many more each next row: 1 causal, 0 not */
};

/* Up to SCORE_KEYS chosen keys against all chosen rows. */
struct score_task {
    struct score_output out;
    const float *factor;  /* NULL: 1 */
    size_t stride;        /* from one row or head of out, or row of factor, to the next */
    const float *q, *lse; /* [n_q, n_heads·head_dim], [n_heads, n_q] */
    const struct kv_view *kv;
    const int32_t *rows, *keys;
    int n_rows, n_keys, n_q, q_first, n_heads;
};

struct cpu_kernels {
    const char *name;
    void (*attention)(const struct attention_task *task, struct cpu_scratch *scratch);
    /* One row of one head over all of kv: the arithmetic of a decode step. */
    void (*attention_row)(float *y, const float *q, const struct kv_view *kv, int kv_head,
                          struct cpu_scratch *scratch);
    /* y [n_outputs] = x [n_inputs] · w [n_inputs, n_outputs], added to y where accumulate: a decode step's
     * product, which reads w once and in order. */
    void (*product_row)(float *y, const float *x, const float *w, int n_inputs, int n_outputs,
                        bool accumulate);
    void (*score)(const struct score_task *task, struct cpu_scratch *scratch);
    /* logits [KV_PAGE] = q·k/√d of one page of one head, in double; garbage where nothing was written */
    void (*page_logits)(double *logits, const float *q, const float *keys, int d);
    /* out [n_a, n_b] = a · bᵀ over d, both row-major and dense */
    void (*dots)(float *out, const float *a, const float *b, int n_a, int n_b, int d);
    void (*softmax_row)(float *x, int n); /* in place */
    /* g [GRAM_PANEL, GRAM_PANEL] += aᵀ · b of panels [n, GRAM_PANEL]: each sum over rising k by one fused
     * multiply-add a step, so that neither the place in the block nor the order of a and b shows */
    void (*gram_block)(double *g, const double *a, const double *b, int n);
    void (*rms_norm)(float *y, const float *x, const float *weight, float eps, int n, int d);
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias, float eps, int n,
                       int d);
    /* y [d] = mean of the rows of x [n_heads, d], summed in double */
    void (*head_mean)(float *y, const float *x, int n_heads, int d);
    void (*add)(float *y, const float *x, size_t n);
    void (*add_scaled)(float *y, const float *x, float scale, int n); /* y += scale·x */
    void (*activate)(float *y, enum activation kind, size_t n);
    void (*silu_mul)(float *gate, const float *up, size_t n);
    void (*rope_row)(float *x, const float *angles, int n_heads, int head_dim);
    /* y [width] = x [n] rounded to bf16, to even where two are equally near, then zeros. NaN stays NaN. */
    void (*bf16_row)(uint16_t *y, const float *x, int n, int width);
};

extern const struct cpu_kernels cpu_kernels_generic;
#if defined(__x86_64__)
extern const struct cpu_kernels cpu_kernels_avx2;
extern const struct cpu_kernels cpu_kernels_avx512;
#endif

/* Those compiled in that this machine runs, the widest first. */
const struct cpu_kernels *const *cpu_kernels_all(int *n);

/* Makes a session of the CPU backend, which opens with the first of them, use another: for tests. */
void cpu_kernels_use(struct compute *c, const struct cpu_kernels *kernels);

#endif
