/* The coarse operations a VLM is made of, implemented by every backend: `ref` (plain C, the oracle), `cpu`
 * (oneDNN and own kernels) and later `cuda`. Callers see one table and never a dtype, a thread or an #ifdef.
 *
 * Pointers named float * or int32_t * are memory of the backend (alloc): callers pass them on and never
 * dereference them; `download` brings them to the host. Matrices are row-major and dense unless a stride is
 * given. Outputs come first, then inputs, weights, sizes. Activations, norms, softmax and scores are f32.
 *
 * Row invariance (docs/architecture.md, "Numbers"): within one regime (prefill: `linear`, `attention`;
 * decode: `linear_row`, `attention_row`) a row's result depends neither on how many rows are computed with
 * it, nor on its place among them, nor on threads. tests/test_ops.c holds every backend to it bit by bit.
 *
 * Every operation that multiplies adds its multiply-accumulates to compute->macs: that is `flops_counted`.
 */
#ifndef WINNOW_OPS_H
#define WINNOW_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "weights.h"

/* One thread of work (a session): scratch memory, the threads it may use, the counter. Made by `open`. */
struct compute {
    const struct ops *ops;
    uint64_t macs; /* multiply-accumulates since the caller last set it to 0 */
    int n_threads;
    void *backend; /* the backend's own state */
};

/* A weight matrix [n_out, n_in], packed once at load in the layout the backend wants; shared by sessions. */
struct weight {
    int n_out, n_in;
    size_t n_bytes; /* what the packed form occupies */
    void *packed;   /* the backend's own */
};

/* The keys and values of one layer live in pages of KV_PAGE positions counted from position 0 of that layer's
 * sequence. A full page is never written again, so a copy of a sequence shares its pages . Attention reduces
 * over keys page by page, which makes it independent of how a row got there. A page holds, for each kv head,
 * first K transposed [head_dim, KV_PAGE], then V [KV_PAGE, head_dim]. */
enum { KV_PAGE = 64 };

struct kv_view {
    float *const *pages; /* host array of backend pointers, ceil(length / KV_PAGE) of them */
    int length;          /* positions written */
    int n_kv_heads, head_dim;
};

static inline size_t kv_page_floats(int n_kv_heads, int head_dim)
{
    return (size_t)2 * KV_PAGE * (size_t)n_kv_heads * (size_t)head_dim;
}

enum activation { ACTIVATION_QUICK_GELU, ACTIVATION_GELU, ACTIVATION_GELU_TANH, ACTIVATION_SILU };

struct cluster_options {
    int n_clusters;   /* C, at least 1, at most n */
    int n_neighbours; /* in the density, the token itself counted; at most n */
    bool cosine;      /* assign by cosine similarity instead of Euclidean distance */
};

/* What `attention_score` writes; what is NULL is not wanted. */
struct score_output {
    float *mean;  /* [n_keys] mean over rows and heads */
    float *rows;  /* [n_rows, n_keys] head mean of each row */
    float *heads; /* [n_heads, n_keys] row mean of each head */
};

struct ops {
    const char *name;

    /* ---- life ------------------------------------------------------------------------------- */
    enum status (*open)(struct compute *out, int n_threads, struct error *err);
    void (*close)(struct compute *c);
    /* 64-byte aligned, uninitialised; NULL when memory runs out. Sizes in bytes. */
    void *(*alloc)(size_t n_bytes);
    void (*release)(void *memory);
    void (*upload)(struct compute *c, void *to, const void *host, size_t n_bytes);
    void (*download)(struct compute *c, void *host, const void *from, size_t n_bytes); /* waits */
    void (*copy)(struct compute *c, void *to, const void *from, size_t n_bytes);

    /* Whether products can be had in `dtype` on this machine; if not, what it lacks and what to do. */
    enum status (*dtype_check)(enum dtype dtype, struct error *err);
    /* Packs a tensor of a checkpoint viewed as [n_out, n_in], rounded to dtype (F32 or BF16). Owned by the
     * caller (weight_free). */
    enum status (*weight_pack)(struct weight *out, const struct weights_tensor *tensor, int n_out, int n_in,
                               enum dtype dtype, struct error *err);
    void (*weight_free)(struct weight *weight);

    /* ---- dense ------------------------------------------------------------------------------ */
    /* y [n, n_out] = x [n, n_in] · Wᵀ (+ bias [n_out] where not NULL). y must not overlap x. Where W is BF16,
     * x is rounded to it too; sums and y are f32 whatever W is. n·n_out·n_in MACs */
    void (*linear)(struct compute *c, float *y, const float *x, const struct weight *w, const float *bias,
                   int n);
    /* The same for one row of a decode step or the LM head. */
    void (*linear_row)(struct compute *c, float *y, const float *x, const struct weight *w,
                       const float *bias);

    /* ---- rows ------------------------------------------------------------------------------- */
    /* y = x / sqrt(mean x² + eps) · weight; y may be x. [n, d] */
    void (*rms_norm)(struct compute *c, float *y, const float *x, const float *weight, float eps, int n,
                     int d);
    void (*layer_norm)(struct compute *c, float *y, const float *x, const float *weight, const float *bias,
                       float eps, int n, int d);
    void (*add)(struct compute *c, float *y, const float *x, size_t n);            /* y += x */
    void (*activate)(struct compute *c, float *y, enum activation kind, size_t n); /* in place */
    void (*silu_mul)(struct compute *c, float *gate, const float *up, size_t n);   /* gate = silu(gate)·up */
    /* Rotates pairs (j, j + d/2) of each head of x [n, n_heads·d] by row i's angle. `table` [n_positions, d]:
     * d/2 cosines, then d/2 sines per position (rope_table below). Row i stands at positions[i] (backend
     * memory), or at first + i where positions is NULL. */
    void (*rope)(struct compute *c, float *x, const float *table, const int32_t *positions, int first, int n,
                 int n_heads, int head_dim);
    /* y[i] = x[index[i]]; rows of d. */
    void (*gather_rows)(struct compute *c, float *y, const float *x, const int32_t *index, int n, int d);
    /* y[g] = own[g]·y[g] + Σ_{i: group[i] = g} weight[i] · x[index[i]]  for g < n_groups, in the order of i.
     * own [n_groups]; NULL: sums start from zero and what y held is not read. y must not overlap x.
     * n_sources: how many different rows of x are read; one that goes into several groups counts once, so
     * n_sources·d MACs. */
    void (*merge_rows)(struct compute *c, float *y, const float *own, const float *x, const int32_t *index,
                       const int32_t *group, const float *weight, int n, int n_sources, int n_groups, int d);
    /* y [n, d] = mean over heads of x [n, n_heads·d] */
    void (*head_mean)(struct compute *c, float *y, const float *x, int n, int n_heads, int d);
    /* patches [rows·cols, 3·patch²] of pixels [3, height, width], rows = height / patch, cols = width /
     * patch: row-major over the grid, inner order (c, y, x). */
    void (*patchify)(struct compute *c, float *patches, const float *pixels, int width, int height,
                     int patch);

    /* ---- attention -------------------------------------------------------------------------- */
    /* Writes n rows of k and v [n, n_kv_heads·d] at positions first … first+n-1 of the layer. */
    void (*kv_write)(struct compute *c, const struct kv_view *kv, const float *k, const float *v, int first,
                     int n);
    /* y [n_q, n_heads·d] = softmax(q·Kᵀ/√d) V; the rows of q are the last n_q positions of kv where `causal`,
     * anywhere otherwise. lse [n_heads, n_q], natural log-sum-exp of each row's logits, where not NULL.
     * key_bias [length], where not NULL, is added to the logits of each key (ToMe's proportional attention:
     * the log of its group's size), so lse contains it; finite. 2·n_heads·n_q·length·d MACs, masked or not.
     */
    void (*attention)(struct compute *c, float *y, float *lse, const float *q, const struct kv_view *kv,
                      const float *key_bias, bool causal, int n_q, int n_heads);
    /* The same for the one row of a decode step: it sees all of kv. */
    void (*attention_row)(struct compute *c, float *y, const float *q, const struct kv_view *kv, int n_heads);

    /* ---- reduction -------------------------------------------------------------------------- */
    /* Attention that chosen rows pay to chosen keys, through the log-sum-exp of `attention`:
     *   p[h, i, j] = factor[i, j] · exp(q_i·k_j/√d − lse_{h,i}),  0 where key j lies after row i,
     * and of it the means that `out` asks for. factor [n_rows, n_keys]; NULL: 1.
     * rows [n_rows] index q [n_q, n_heads·d] (and lse [n_heads, n_q]), whose first row stands at position
     * `q_first`; keys [n_keys] are positions of kv. n_heads·n_rows·n_keys·d MACs. */
    void (*attention_score)(struct compute *c, const struct score_output *out, const float *factor,
                            const float *q, const float *lse, const struct kv_view *kv, const int32_t *rows,
                            const int32_t *keys, int n_rows, int n_keys, int n_q, int q_first, int n_heads);
    /* p [length] = mean over heads and the rows of q [n_rows, n_heads·d] of softmax over all keys of kv of
     * q·k/√d: for methods that score with the projections of a layer that has not run yet (PyramidDrop,
     * FEATHER). Summed in f64. n_heads·n_rows·length·d MACs */
    void (*query_score)(struct compute *c, float *p, const float *q, const struct kv_view *kv, int n_rows,
                        int n_heads);
    /* share [n_text] = mean over visual rows of softmax over text of visual·textᵀ (sparsevlm 1.1).
     * visual [n_visual, d], text [n_text, d]. n_visual·n_text·d MACs */
    void (*text_share)(struct compute *c, float *share, const float *visual, const float *text, int n_visual,
                       int n_text, int d);
    /* index [k]: the k largest of x [n] by falling value, the lower index first among equals. */
    void (*top_k)(struct compute *c, int32_t *index, const float *x, int k, int n);
    /* DPC-KNN over the n rows x[index[i]] (by falling priority): centres [C] are places 0 … n−1 in insertion
     * order, group [n] the cluster of each place; rules and ties: docs/methods.md. centres[0] = −1 where x
     * holds values that are no finite numbers. n²·d MACs */
    void (*cluster)(struct compute *c, int32_t *centres, int32_t *group, const float *x, const int32_t *index,
                    int n, int d, const struct cluster_options *options);
    /* y [n_rows, n_cols] = cosine of x[rows[i]] and x[cols[j]]; 0 where either is a zero vector. Summed in
     * f64 in one order for every pair: the same value whichever of the two is the row, and exactly 1 for
     * equal vectors. n_rows·n_cols·d MACs */
    void (*cosines)(struct compute *c, float *y, const float *x, const int32_t *rows, int n_rows,
                    const int32_t *cols, int n_cols, int d);
    /* Of each row of y [n_rows, n_cols] the largest value and the first place of it. NaN counts as −∞, and is
     * the best only where nothing is better. */
    void (*row_best)(struct compute *c, float *best, int32_t *to, const float *y, int n_rows, int n_cols);
    /* How many singular values of matrix [rows, cols] lie above tol·σ_max; tol 0: above
     * max(rows, cols)·2⁻²³·σ_max, as numpy and torch count the rank of f32. 0 for zeros; −1 where a value is
     * no finite number. In f64: from the matrix itself, or, gram, from the eigenvalues of matrix·matrixᵀ.
     * These are known to 2⁻⁵³ of σ_max², so a σ below about 1e-8·σ_max drowns: the counts can differ where
     * tol is not well above that. rows·cols·min(rows, cols) MACs; gram: rows²·cols + rows³. Waits. */
    int (*rank)(struct compute *c, const float *matrix, int rows, int cols, double tol, bool gram);
    /* First index of the largest value. Waits. */
    int32_t (*argmax)(struct compute *c, const float *x, int n);

    /* ---- measurement ------------------------------------------------------------------------ */
    /* FLOP/s of the backend's own library on one product [m, k]·[k, n] of dtype with all threads, the best of
     * several runs: what the machine gives, for rooflines. 0 when it cannot be had. */
    double (*gemm_rate)(struct compute *c, enum dtype dtype, int m, int n, int k);
};

/* Backends compiled in, by name; NULL when there is none of that name. */
const struct ops *ops_find(const char *name);
const struct ops *const *ops_all(int *n);

/* Host table [n_positions, head_dim] for `rope`: angles and their cosines in f32 as Hugging Face computes
 * them. factor: of linear scaling, by which positions are divided; 1 without. */
void rope_table(float *host, int n_positions, int head_dim, double theta, double factor);

extern const struct ops ops_ref;
extern const struct ops ops_cpu;

#endif
