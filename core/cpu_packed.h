/* A weight matrix as oneDNN multiplies by it: shared by cpu_pack.c, which makes it, and cpu_linear.c, which
 * uses it.
 *
 * W [n_out, n_in] is cut into groups of outputs and chunks of inputs; block (group, chunk) is a matrix
 * [inputs, outputs] in a layout of oneDNN's choice. All but the last group, and all but the last chunk, have
 * one size, so few kernels serve all blocks. */
#ifndef WINNOW_CPU_PACKED_H
#define WINNOW_CPU_PACKED_H

#include <stdbool.h>
#include <stddef.h>

#include <dnnl.h>

#include "error.h"

enum rows { ROWS_TILE, ROWS_ONE, N_ROWS };
enum chunk { CHUNK_FIRST, CHUNK_MIDDLE, CHUNK_LAST, N_CHUNK }; /* all but the first add to y */
enum group { GROUP_WHOLE, GROUP_LAST, N_GROUP };

enum maker { MAKER_NONE, MAKER_GEMM, MAKER_REFERENCE, MAKER_PACKED }; /* the last has a layout of its own */

/* One primitive: so many rows, a kind of chunk, a kind of group. */
struct kernel {
    dnnl_primitive_t primitive; /* NULL where the shape has no such block */
    enum maker maker;
    dnnl_memory_desc_t x, y, block;
    size_t block_bytes, scratch_bytes;
};

struct packed {
    int n_out, n_in;
    int tile_rows;
    int n_chunks, chunk_inputs, n_groups, group_outputs; /* the last ones may be smaller */
    bool is_plain; /* blocks are plain matrices [inputs, outputs]: a single row runs on our own kernel */
    struct kernel kernels[N_ROWS][N_CHUNK][N_GROUP];
    size_t scratch_bytes;  /* of the greediest kernel */
    dnnl_memory_t *blocks; /* [n_groups, n_chunks] */
    unsigned char *memory;
};

static inline int divide_up(int n, int by)
{
    return (n + by - 1) / by;
}

static inline int round_up(int n, int to)
{
    return divide_up(n, to) * to;
}

static inline enum chunk chunk_kind(const struct packed *w, int chunk)
{
    return chunk == 0 ? CHUNK_FIRST : chunk + 1 < w->n_chunks ? CHUNK_MIDDLE : CHUNK_LAST;
}

static inline int chunk_size(const struct packed *w, enum chunk kind)
{
    bool is_last = kind == CHUNK_LAST || w->n_chunks == 1;
    return is_last ? w->n_in - (w->n_chunks - 1) * w->chunk_inputs : w->chunk_inputs;
}

static inline enum group group_kind(const struct packed *w, int group)
{
    return group + 1 < w->n_groups ? GROUP_WHOLE : GROUP_LAST;
}

static inline int group_size(const struct packed *w, enum group kind)
{
    return kind == GROUP_LAST ? w->n_out - (w->n_groups - 1) * w->group_outputs : w->group_outputs;
}

static inline bool has_kernel(const struct packed *w, enum chunk chunk, enum group group)
{
    int least_chunks = chunk == CHUNK_FIRST ? 1 : chunk == CHUNK_MIDDLE ? 3 : 2;
    return w->n_chunks >= least_chunks && (group == GROUP_LAST || w->n_groups > 1);
}

static inline const struct kernel *block_kernel(const struct packed *w, enum rows rows, int group, int chunk)
{
    return &w->kernels[rows][chunk_kind(w, chunk)][group_kind(w, group)];
}

static inline size_t block_bytes(const struct packed *w, int group, int chunk)
{
    return block_kernel(w, ROWS_TILE, group, chunk)->block_bytes;
}

static inline size_t group_bytes(const struct packed *w, int group)
{
    size_t n_bytes = 0;
    for (int chunk = 0; chunk < w->n_chunks; chunk++)
        n_bytes += block_bytes(w, group, chunk);
    return n_bytes;
}

/* The process's engine, which oneDNN wants primitives, streams and memory to share; opened when first asked
 * for. */
enum status packed_engine(dnnl_engine_t *out, struct error *err);

#endif
