/* A weight matrix as oneDNN multiplies by it: shared by cpu_pack.c, which makes it, and cpu_linear.c, which
 * uses it.
 *
 * W [n_out, n_in] is cut into groups of outputs and chunks of inputs; block (group, chunk) is a matrix
 * [inputs, outputs] in a layout of oneDNN's choice. All but the last group, and all but the last chunk, have
 * one size, so few kernels serve all blocks.
 *
 * W is f32 or bf16, and so is what it multiplies; sums and y are f32. oneDNN 2.6 has its fast bf16 kernels
 * (brgemm, on AMX where there is one) for dense matrices alone, so a tile of bf16 products writes a group's
 * outputs side by side into memory of its thread, and they are copied to y. Inputs of bf16 products are
 * filled up with zeros to whole blocks of 32, which spares the kernels for edges. */
#ifndef WINNOW_CPU_PACKED_H
#define WINNOW_CPU_PACKED_H

#include <stdbool.h>
#include <stddef.h>

#include <dnnl.h>

#include "error.h"
#include "weights.h"

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

enum { BF16_INPUTS = 32 }; /* inputs of bf16 products come in multiples of it */

struct packed {
    enum dtype dtype; /* DTYPE_F32 or DTYPE_BF16 */
    int n_out, n_in;  /* n_in with the zeros, if any */
    int tile_rows;
    int n_chunks, chunk_inputs, n_groups, group_outputs; /* the last ones may be smaller */
    bool is_plain; /* blocks are plain matrices [inputs, outputs]: a single f32 row runs on our own kernel */
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

/* From one row of a tile of y to the next. */
static inline int y_stride(const struct packed *w, enum group kind)
{
    return w->dtype == DTYPE_F32 ? w->n_out : group_size(w, kind);
}

static inline bool row_is_ours(const struct packed *w)
{
    return w->is_plain && w->dtype == DTYPE_F32;
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
