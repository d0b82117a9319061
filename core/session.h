/* Inside the runtime: one thread of work. Three lifetimes of memory: the model's (model.h), the session's
 * (here: KV pages and a workspace that only grows) and the answer's. Nothing is allocated while an answer is
 * decoded. */
#ifndef WINNOW_SESSION_H
#define WINNOW_SESSION_H

#include "kv.h"
#include "model.h"
#include "share.h"

/* Backend buffers for n_rows rows through any layer of the model; pointers of one layer at a time. */
struct workspace {
    int n_rows; /* rows there is room for */
    size_t n_bytes;
    float *block;           /* everything below lies in here */
    float *x, *next;        /* [n_rows, d] the residual stream, and its successor after a cut */
    float *h;               /* [n_rows, d] normed input, or a branch's output */
    float *q, *k, *v, *mix; /* [n_rows, heads · head_dim] */
    float *gate, *up;       /* [n_rows, intermediate] */
    float *lse;             /* [n_heads, n_rows] */
    float *score, *own;     /* [n_rows] */
    float *weight;          /* [INDEX_ROOM · n_rows] */
    float *bias;            /* [n_rows] of the tower's keys */
    float *scratch;         /* [n_rows, scratch_width], at least d + 1 */
    int scratch_width;
    int32_t *index; /* lists of cut.h */
    float *logits;  /* [vocabulary] */
};

struct session {
    struct vlm *vlm;
    struct compute compute;
    struct kv_cache kv;     /* of the decoder */
    struct kv_cache vision; /* one layer, reused by every layer of the tower */
    struct workspace work;
    struct share share;
    float *pixels; /* host, [3, crop, crop] */
    float *pixels_device;
    size_t peak_bytes;
};

struct features {
    const struct ops *ops;
    int n, references;                /* references: atomic */
    uint64_t serial;                  /* no two have the same */
    struct patch_grid grid;           /* of the patches that the tower saw */
    int n_uncut;                      /* visual tokens that the picture is counted as in a budget */
    int n_ids;                        /* patches are numbered 0 … n_ids − 1 */
    int n_clusters;                   /* merged tokens are −1 … −n_clusters */
    struct token *tokens;             /* [n] what each is; positions mean nothing */
    const struct reducer *reduced_by; /* method that worked in the tower, or NULL */
    struct cut_record *records;       /* its cuts */
    int n_records;
    float *data; /* [n, d] */
    uint64_t macs_vision, macs_project, counted_vision, counted_project;
    uint64_t macs_select, counted_select;
    double preprocess_ms, vision_ms, project_ms, select_ms;
};

/* Room for n rows; what is in the buffers is lost. */
enum status workspace_reserve(struct session *session, int n_rows, struct error *err);

/* ---- taps ----------------------------------------------------------------------------------- */
static inline bool tap_wants(const struct tap *tap, const char *name)
{
    return tap && tap->want(tap->context, name);
}
enum status tap_give(const struct tap *tap, struct session *session, const char *name, const float *data,
                     int first, int rows, int cols, struct error *err);

/* ---- clip.c --------------------------------------------------------------------------------- */
struct reduction;
/* pixels_device [3, grid.rows · patch, grid.cols · patch] to features [n, d] in work.x, *n rows; `reduction`:
 * the method at work on this picture, whose sequence tells what each row is (the class token first, as text
 * unless it goes on). *macs: by formula, what the method adds aside. */
enum status clip_forward(struct session *session, struct reduction *reduction, const struct patch_grid *grid,
                         const struct tap *tap, float **features, int *n, uint64_t *macs, struct error *err);
/* The same figure before the run: a picture of this grid, cut by `plan` (middle: before the MLP). */
uint64_t clip_macs(const struct vlm_config *config, const struct patch_grid *grid, const struct plan *plan,
                   bool middle);

/* ---- llama.c -------------------------------------------------------------------------------- */
/* n rows of work.x through layer l; row 0 stands at the layer's present cache length. positions: backend ids
 * of the rows, or NULL: first_position + i. lse: where its log-sum-exp goes, or NULL. keys_ready: the rows'
 * unrotated keys are in work.k already. Appends to the cache. */
void llama_layer(struct session *session, int layer, int n, const int32_t *positions, int first_position,
                 bool keys_ready, float *lse);
/* The same for the one row of a decode step. */
void llama_layer_row(struct session *session, int layer, int position);
/* Logits of one row of hidden states into work.logits. */
void llama_head(struct session *session, const float *row);

#endif
