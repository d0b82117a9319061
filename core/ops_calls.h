/* The operations of ops.h as rows of a table can name them: how to make inputs, how to call, what it should
 * count. */
#ifndef WINNOW_OPS_CALLS_H
#define WINNOW_OPS_CALLS_H

#include <stdbool.h>

#include "ops.h"

enum { MAX_BUFFERS = 16, MAX_OUTPUTS = 3, MAX_PAGES = 512, N_SIZES = 6 };

/* One backend at work on one check: s are the sizes of the table's row. */
struct side {
    const struct ops *ops;
    struct compute *c;
    int s[N_SIZES];
    int n_buffers, n_outputs;
    void *buffers[MAX_BUFFERS];
    float *in[5], *out[MAX_OUTPUTS];
    int32_t *index[3], *index_out[MAX_OUTPUTS];
    size_t n_out[MAX_OUTPUTS], n_index_out[MAX_OUTPUTS];
    struct weight weight;
    float *pages[MAX_PAGES];
    struct kv_view kv;
    bool failed;
    struct error err;
};

struct op {
    const char *name;
    const char *sizes; /* what s[0], s[1], … are */
    void (*prepare)(struct side *side);
    void (*execute)(struct side *side);
    double (*macs)(const int *s);
    double (*bytes)(const int *s); /* read and written, each once */
};

extern const struct op OP_LINEAR, OP_LINEAR_ROW, OP_RMS_NORM, OP_LAYER_NORM, OP_ADD, OP_ACTIVATE, OP_SILU_MUL,
    OP_ROPE, OP_GATHER_ROWS, OP_MERGE_ROWS, OP_HEAD_MEAN, OP_PATCHIFY, OP_ATTENTION, OP_ATTENTION_ROW,
    OP_ATTENTION_SCORE, OP_QUERY_SCORE, OP_TEXT_SHARE, OP_TOP_K, OP_CLUSTER, OP_COSINES, OP_ROW_BEST, OP_RANK,
    OP_ARGMAX;

#endif
