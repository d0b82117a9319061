/* Weights for oneDNN matmul primitives, each run by a single thread: the cut of a matrix into blocks, the
 * primitives for them, and the trial that a row's result does not depend on its place.
 *
 * oneDNN's result for a row changes with the number of rows and, for some numbers, with the row's place,
 * since edges have kernels of their own. Hence every product runs in tiles of one fixed number of rows, and
 * packing tries rotated rows bit by bit and takes the first tile height that passes.
 *
 * Groups of outputs are the unit of work beside the tile: a decode step has one row and several groups.
 * Chunks of inputs, added up in rising order, are for oneDNN's plain kernels, which keep their speed only up
 * to some 400 outputs and 640 inputs. The cut depends on the shape alone, never on threads. */
#include "cpu_linear.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_packed.h"
#include "memory.h"
#include "rng.h"

extern void omp_set_num_threads(int n);

enum {
    GROUP_OUTPUTS = 384,
    CHUNK_INPUTS = 512,
    WHOLE_INPUTS = 640, /* up to here one chunk */
    N_ROTATIONS = 5,
};

/* ---- the engine ----------------------------------------------------------------------------- */

/* Written once, kept until the process ends. */
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;
static dnnl_engine_t engine;

static void engine_open(void)
{
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success)
        engine = NULL;
}

#define TRY_DNNL(call)                                                                                       \
    do {                                                                                                     \
        dnnl_status_t dnnl_status_ = (call);                                                                 \
        if (dnnl_status_ != dnnl_success)                                                                    \
            return fail(err, NO_MACHINE, "oneDNN refuses %s (status %d); memory may have run out", #call,    \
                        (int)dnnl_status_);                                                                  \
    } while (0)

enum status packed_engine(dnnl_engine_t *out, struct error *err)
{
    pthread_once(&engine_once, engine_open);
    *out = engine;
    return engine ? OK : fail(err, NO_MACHINE, "oneDNN cannot be started on this CPU; use --device ref");
}

void linear_thread_start(void)
{
    omp_set_num_threads(1); /* per thread in OpenMP; the pool spreads the work instead */
}

/* ---- kernels -------------------------------------------------------------------------------- */

/* One primitive; `block` is the layout of the weights, or NULL to ask for oneDNN's own. *out stays empty
 * where oneDNN has nothing for that layout. */
static enum status kernel_make(struct kernel *out, int n, int n_inputs, int n_outputs, int x_stride,
                               int y_stride, bool accumulate, const dnnl_memory_desc_t *block,
                               struct error *err)
{
    struct kernel kernel = {0};
    dnnl_memory_desc_t any;
    TRY_DNNL(dnnl_memory_desc_init_by_strides(&kernel.x, 2, (dnnl_dims_t){n, n_inputs}, dnnl_f32,
                                              (dnnl_dims_t){x_stride, 1}));
    TRY_DNNL(dnnl_memory_desc_init_by_strides(&kernel.y, 2, (dnnl_dims_t){n, n_outputs}, dnnl_f32,
                                              (dnnl_dims_t){y_stride, 1}));
    TRY_DNNL(dnnl_memory_desc_init_by_tag(&any, 2, (dnnl_dims_t){n_inputs, n_outputs}, dnnl_f32,
                                          dnnl_format_tag_any));

    dnnl_matmul_desc_t matmul;
    dnnl_primitive_attr_t attributes;
    dnnl_post_ops_t post_ops;
    dnnl_primitive_desc_t description;
    TRY_DNNL(dnnl_matmul_desc_init(&matmul, &kernel.x, block ? block : &any, NULL, &kernel.y));
    TRY_DNNL(dnnl_primitive_attr_create(&attributes));
    dnnl_status_t status = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && accumulate && (status = dnnl_post_ops_create(&post_ops)) == dnnl_success) {
        dnnl_post_ops_append_sum(post_ops, 1.0f);
        status = dnnl_primitive_attr_set_post_ops(attributes, post_ops);
        dnnl_post_ops_destroy(post_ops);
    }
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&description, &matmul, attributes, engine, NULL);
    dnnl_primitive_attr_destroy(attributes);
    *out = (struct kernel){0};
    if (status == dnnl_unimplemented)
        return OK;
    TRY_DNNL(status);

    const char *name = "";
    dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, &name);
    kernel.maker = strncmp(name, "gemm", 4) == 0  ? MAKER_GEMM
                   : strncmp(name, "ref", 3) == 0 ? MAKER_REFERENCE
                                                  : MAKER_PACKED;
    kernel.block = *dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0);
    kernel.block_bytes = (dnnl_memory_desc_get_size(&kernel.block) + 63) / 64 * 64;
    kernel.scratch_bytes =
        dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0));
    status = dnnl_primitive_create(&kernel.primitive, description);
    dnnl_primitive_desc_destroy(description);
    TRY_DNNL(status);
    *out = kernel;
    return OK;
}

/* The kernels of one kind of block: a tile and, unless blocks are plain, one row in the tile's layout. */
static enum status kernels_make(struct packed *w, enum chunk chunk, enum group group, struct error *err)
{
    struct kernel *tile = &w->kernels[ROWS_TILE][chunk][group], *one = &w->kernels[ROWS_ONE][chunk][group];
    int n_inputs = chunk_size(w, chunk), n_outputs = group_size(w, group);
    bool accumulate = chunk != CHUNK_FIRST;
    dnnl_memory_desc_t plain;
    TRY_DNNL(dnnl_memory_desc_init_by_tag(&plain, 2, (dnnl_dims_t){n_inputs, n_outputs}, dnnl_f32, dnnl_ab));
    TRY(kernel_make(tile, w->tile_rows, n_inputs, n_outputs, w->n_in, w->n_out, accumulate,
                    w->is_plain ? &plain : NULL, err));
    if (!w->is_plain)
        TRY(kernel_make(one, 1, n_inputs, n_outputs, w->n_in, w->n_out, accumulate, &tile->block, err));
    if (!tile->primitive || (!w->is_plain && !one->primitive))
        return fail(err, NO_MACHINE, "oneDNN has no f32 kernel for %d × %d weights; use --device ref",
                    n_outputs, n_inputs);
    for (int rows = 0; rows < N_ROWS; rows++)
        if (w->kernels[rows][chunk][group].scratch_bytes > w->scratch_bytes)
            w->scratch_bytes = w->kernels[rows][chunk][group].scratch_bytes;
    return OK;
}

static void kernels_free(struct packed *w)
{
    for (int rows = 0; rows < N_ROWS; rows++)
        for (int chunk = 0; chunk < N_CHUNK; chunk++)
            for (int group = 0; group < N_GROUP; group++) {
                struct kernel *kernel = &w->kernels[rows][chunk][group];
                if (kernel->primitive)
                    dnnl_primitive_destroy(kernel->primitive);
                *kernel = (struct kernel){0};
            }
    w->scratch_bytes = 0;
}

/* The chunk of a middle block has the size of the first, but adds; all chunks of one group share a layout
 * only where their sizes agree, so each kind of chunk asks for its own. */
static enum status kernels_make_all(struct packed *w, struct error *err)
{
    for (int chunk = 0; chunk < N_CHUNK; chunk++)
        for (int group = 0; group < N_GROUP; group++)
            if (has_kernel(w, (enum chunk)chunk, (enum group)group))
                TRY(kernels_make(w, (enum chunk)chunk, (enum group)group, err));
    return OK;
}

/* ---- row invariance ------------------------------------------------------------------------- */

static void fill(float *to, uint64_t stream, size_t n)
{
    uint64_t bits = rng_u64(1, 0, stream, 0); /* then a cheap sequence: a model packs hundreds of weights */
    for (size_t i = 0; i < n; i++, bits = bits * 0x5851F42D4C957F2Du + 0x14057B7EF767814Fu)
        to[i] = (float)(bits >> 40) * 0x1p-24f - 0.5f;
}

/* Row i of `to` is row i + rotation of `rows` [n_rows, d]; rows of `to` are `stride` apart. */
static void copy_rotated(float *to, const float *rows, int rotation, int n_rows, int d, int stride)
{
    for (int i = 0; i < n_rows; i++)
        memcpy(to + (size_t)i * (size_t)stride, rows + (size_t)((i + rotation) % n_rows) * (size_t)d,
               (size_t)d * sizeof *to);
}

struct trial {
    dnnl_stream_t stream;
    dnnl_memory_t x, y, block, scratch;
    float *x_rows, *y_rows; /* what the kernel reads and adds to, strided as in a product */
    float *x_source, *y_source, *expected;
};

static enum status trial_run(struct trial *t, const struct packed *w, const struct kernel *kernel,
                             int rotation, int n_inputs, int n_outputs, struct error *err)
{
    copy_rotated(t->x_rows, t->x_source, rotation, w->tile_rows, n_inputs, w->n_in);
    copy_rotated(t->y_rows, t->y_source, rotation, w->tile_rows, n_outputs, w->n_out);
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, t->x},
                                   {DNNL_ARG_WEIGHTS, t->block},
                                   {DNNL_ARG_DST, t->y},
                                   {DNNL_ARG_SCRATCHPAD, t->scratch}};
    TRY_DNNL(
        dnnl_primitive_execute(kernel->primitive, t->stream, kernel->scratch_bytes > 0 ? 4 : 3, arguments));
    TRY_DNNL(dnnl_stream_wait(t->stream));
    return OK;
}

/* Whether each row of a tile comes out the same wherever it stands: *holds. */
static enum status trial_compare(bool *holds, struct trial *t, const struct packed *w,
                                 const struct kernel *kernel, struct error *err)
{
    static const int ROTATIONS[N_ROTATIONS] = {1, 2, 3, 7, 24};
    int n_inputs = (int)kernel->x.dims[1], n_outputs = (int)kernel->y.dims[1];
    size_t y_floats = (size_t)w->tile_rows * (size_t)w->n_out;
    void *block;
    TRY_DNNL(dnnl_memory_create(&t->x, &kernel->x, engine, t->x_rows));
    TRY_DNNL(dnnl_memory_create(&t->y, &kernel->y, engine, t->y_rows));
    TRY_DNNL(dnnl_memory_create(&t->block, &kernel->block, engine, DNNL_MEMORY_ALLOCATE));
    TRY_DNNL(dnnl_memory_get_data_handle(t->block, &block));
    fill(block, 0, dnnl_memory_desc_get_size(&kernel->block) / sizeof(float));
    fill(t->x_source, 1, (size_t)w->tile_rows * (size_t)n_inputs);
    fill(t->y_source, 2, (size_t)w->tile_rows * (size_t)n_outputs);

    TRY(trial_run(t, w, kernel, 0, n_inputs, n_outputs, err));
    memcpy(t->expected, t->y_rows, y_floats * sizeof(float));
    *holds = true;
    for (int r = 0; r < N_ROTATIONS && *holds; r++) {
        TRY(trial_run(t, w, kernel, ROTATIONS[r], n_inputs, n_outputs, err));
        for (int i = 0; i < w->tile_rows; i++)
            if (memcmp(t->y_rows + (size_t)i * (size_t)w->n_out,
                       t->expected + (size_t)((i + ROTATIONS[r]) % w->tile_rows) * (size_t)w->n_out,
                       (size_t)n_outputs * sizeof(float)) != 0)
                *holds = false;
    }
    return OK;
}

static enum status kernel_try_rows(bool *holds, const struct packed *w, const struct kernel *kernel,
                                   struct error *err)
{
    size_t x_bytes = (size_t)w->tile_rows * (size_t)w->n_in * sizeof(float);
    size_t y_bytes = (size_t)w->tile_rows * (size_t)w->n_out * sizeof(float);
    struct trial t = {.x_rows = memory_zero(x_bytes, 1),
                      .y_rows = memory_zero(y_bytes, 1),
                      .x_source = memory_alloc(x_bytes, 1),
                      .y_source = memory_alloc(y_bytes, 1),
                      .expected = memory_alloc(y_bytes, 1)};
    enum status status = OK;
    if (!t.x_rows || !t.y_rows || !t.x_source || !t.y_source || !t.expected)
        TRY_GOTO(status, memory_failed(err, "trial of a matrix product", 2 * x_bytes + 3 * y_bytes));
    dnnl_memory_desc_t scratch;
    dnnl_memory_desc_init_by_tag(&scratch, 1, (dnnl_dims_t){(dnnl_dim_t)kernel->scratch_bytes + 1}, dnnl_u8,
                                 dnnl_a);
    if (dnnl_stream_create(&t.stream, engine, dnnl_stream_default_flags) != dnnl_success ||
        dnnl_memory_create(&t.scratch, &scratch, engine, DNNL_MEMORY_ALLOCATE) != dnnl_success)
        TRY_GOTO(status, memory_failed(err, "trial of a matrix product", kernel->scratch_bytes));
    TRY_GOTO(status, trial_compare(holds, &t, w, kernel, err));
exit:
    dnnl_memory_destroy(t.x);
    dnnl_memory_destroy(t.y);
    dnnl_memory_destroy(t.block);
    dnnl_memory_destroy(t.scratch);
    dnnl_stream_destroy(t.stream);
    free(t.x_rows);
    free(t.y_rows);
    free(t.x_source);
    free(t.y_source);
    free(t.expected);
    return status;
}

/* Kernels for the first tile height at which every row of every kernel holds. */
static enum status tile_choose(struct packed *w, struct error *err)
{
    static const int HEIGHTS[] = {48, 96, 64, 192};
    for (size_t i = 0; i < sizeof HEIGHTS / sizeof HEIGHTS[0]; i++) {
        bool holds = true;
        w->tile_rows = HEIGHTS[i];
        TRY(kernels_make_all(w, err));
        for (int chunk = 0; chunk < N_CHUNK && holds; chunk++)
            for (int group = 0; group < N_GROUP && holds; group++)
                if (has_kernel(w, (enum chunk)chunk, (enum group)group))
                    TRY(kernel_try_rows(&holds, w, &w->kernels[ROWS_TILE][chunk][group], err));
        if (holds)
            return OK;
        kernels_free(w);
    }
    return fail(
        err, NO_MACHINE,
        "oneDNN on this CPU gives a row of a %d × %d product other bits in another place; use --device ref",
        w->n_out, w->n_in);
}

/* ---- packing -------------------------------------------------------------------------------- */

/* Whether blocks are to be plain: oneDNN has no layout of its own for a tile, or cannot multiply one row by
 * it. */
static enum status layout_choose(bool *is_plain, bool *is_gemm, int n_out, int n_in, struct error *err)
{
    struct kernel tile = {0}, one = {0};
    int n_outputs = n_out < GROUP_OUTPUTS ? n_out : GROUP_OUTPUTS;
    TRY(kernel_make(&tile, 48, n_in, n_outputs, n_in, n_out, false, NULL, err));
    if (tile.maker == MAKER_PACKED)
        TRY(kernel_make(&one, 1, n_in, n_outputs, n_in, n_out, false, &tile.block, err));
    *is_gemm = tile.maker == MAKER_GEMM;
    *is_plain = one.maker != MAKER_PACKED;
    dnnl_primitive_destroy(tile.primitive);
    dnnl_primitive_destroy(one.primitive);
    return OK;
}

static enum status cut(struct packed *w, int n_out, int n_in, struct error *err)
{
    bool is_gemm;
    TRY(layout_choose(&w->is_plain, &is_gemm, n_out, n_in, err));
    w->n_out = n_out;
    w->n_in = n_in;
    w->n_groups = divide_up(n_out, GROUP_OUTPUTS);
    w->group_outputs = round_up(divide_up(n_out, w->n_groups), 16);
    w->n_groups = divide_up(n_out, w->group_outputs);
    w->n_chunks = is_gemm && n_in > WHOLE_INPUTS ? divide_up(n_in, CHUNK_INPUTS) : 1;
    w->chunk_inputs = w->n_chunks > 1 ? round_up(divide_up(n_in, w->n_chunks), 8) : n_in;
    w->n_chunks = divide_up(n_in, w->chunk_inputs);
    return OK;
}

/* block [n_inputs, n_outputs] = the transpose of rows [n_outputs, ·]: squares of one cache line by half of
 * one. */
static void block_fill_plain(float *block, const float *rows, size_t n_inputs, size_t n_outputs,
                             size_t stride)
{
    enum { LINE = 16, HALF = 8 };
    for (size_t first = 0; first < n_inputs; first += LINE)
        for (size_t o = 0; o < n_outputs; o += HALF) {
            size_t n_k = n_inputs - first < LINE ? n_inputs - first : LINE;
            size_t n_o = n_outputs - o < HALF ? n_outputs - o : HALF;
            const float *from = rows + o * stride + first;
            float *to = block + first * n_outputs + o;
            for (size_t k = 0; k < n_k; k++)
                for (size_t r = 0; r < n_o; r++)
                    to[k * n_outputs + r] = from[r * stride + k];
        }
}

/* rows: the group's weights [outputs, n_in] in f32; the block takes its inputs, transposed and laid out. */
static enum status block_fill(dnnl_memory_t block, dnnl_stream_t stream, const struct packed *w, float *rows,
                              int group, int chunk, struct error *err)
{
    const struct kernel *kernel = block_kernel(w, ROWS_TILE, group, chunk);
    dnnl_memory_desc_t from_layout;
    dnnl_memory_t from = NULL;
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t reorder = NULL;
    TRY_DNNL(dnnl_memory_desc_init_by_strides(&from_layout, 2, kernel->block.dims, dnnl_f32,
                                              (dnnl_dims_t){1, w->n_in}));
    dnnl_status_t status = dnnl_memory_create(&from, &from_layout, engine, rows + chunk * w->chunk_inputs);
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&description, &from_layout, engine, &kernel->block,
                                                    engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&reorder, description);
    if (status == dnnl_success) {
        dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, block}};
        status = dnnl_primitive_execute(reorder, stream, 2, arguments);
    }
    if (status == dnnl_success)
        status = dnnl_stream_wait(stream);
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(description);
    dnnl_memory_destroy(from);
    TRY_DNNL(status);
    return OK;
}

static enum status blocks_fill(struct packed *w, dnnl_stream_t stream, float *rows,
                               const struct weights_tensor *tensor, struct error *err)
{
    unsigned char *at = w->memory;
    for (int group = 0; group < w->n_groups; group++) {
        int64_t first = (int64_t)group * w->group_outputs * w->n_in;
        weights_to_f32(rows, tensor, first, (int64_t)group_size(w, group_kind(w, group)) * w->n_in);
        for (int chunk = 0; chunk < w->n_chunks; chunk++) {
            dnnl_memory_t *block = &w->blocks[group * w->n_chunks + chunk];
            const struct kernel *kernel = block_kernel(w, ROWS_TILE, group, chunk);
            TRY_DNNL(dnnl_memory_create(block, &kernel->block, engine, at));
            if (w->is_plain)
                block_fill_plain((float *)(void *)at, rows + chunk * w->chunk_inputs,
                                 (size_t)kernel->block.dims[0], (size_t)kernel->block.dims[1],
                                 (size_t)w->n_in);
            else
                TRY(block_fill(*block, stream, w, rows, group, chunk, err));
            at += block_bytes(w, group, chunk);
        }
    }
    return OK;
}

static void packed_free(struct packed *w)
{
    if (!w)
        return;
    for (int i = 0; w->blocks && i < w->n_groups * w->n_chunks; i++)
        dnnl_memory_destroy(w->blocks[i]);
    kernels_free(w);
    free(w->blocks);
    free(w->memory);
    free(w);
}

enum status linear_pack(struct weight *out, const struct weights_tensor *tensor, int n_out, int n_in,
                        struct error *err)
{
    ENSURE(n_out > 0 && n_in > 0 && tensor->n_elements == (int64_t)n_out * n_in);
    dnnl_engine_t same;
    TRY(packed_engine(&same, err)); /* sets `engine` */
    linear_thread_start();
    enum status status = OK;
    size_t n_bytes = 0, row_bytes = (size_t)n_in * sizeof(float);
    float *rows = NULL;
    dnnl_stream_t stream = NULL;
    struct packed *w = memory_zero(1, sizeof *w);
    if (!w)
        return memory_failed(err, tensor->name, sizeof *w);
    TRY_GOTO(status, cut(w, n_out, n_in, err));
    TRY_GOTO(status, tile_choose(w, err));

    for (int group = 0; group < w->n_groups; group++)
        n_bytes += group_bytes(w, group);
    w->blocks = memory_zero((size_t)w->n_groups * (size_t)w->n_chunks, sizeof *w->blocks);
    w->memory = ops_cpu.alloc(n_bytes);
    rows = memory_alloc((size_t)w->group_outputs, row_bytes);
    if (!w->blocks || !w->memory || !rows ||
        dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) != dnnl_success)
        TRY_GOTO(status, memory_failed(err, tensor->name, n_bytes));
    if (!w->is_plain)
        memset(w->memory, 0, n_bytes); /* layouts may have padding that is read */
    TRY_GOTO(status, blocks_fill(w, stream, rows, tensor, err));
    *out = (struct weight){.n_out = n_out, .n_in = n_in, .n_bytes = n_bytes, .packed = w};
    w = NULL;
exit:
    dnnl_stream_destroy(stream);
    free(rows);
    packed_free(w);
    return status;
}

void linear_free(struct weight *weight)
{
    packed_free(weight->packed);
    *weight = (struct weight){0};
}
