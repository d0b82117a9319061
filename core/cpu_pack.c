/* Weights for oneDNN matmul primitives, each run by a single thread: the cut of a matrix into blocks, the
 * primitives for them, and the trial that a row's result does not depend on its place.
 *
 * oneDNN's result for a row changes with the number of rows and, for some numbers, with the row's place,
 * since edges have kernels of their own. Hence every product runs in tiles of one fixed number of rows, and
 * packing tries rotated rows bit by bit and takes the first tile height that passes.
 *
 * Groups of outputs are the unit of work beside the tile: a decode step has one row and several groups.
 * Chunks of inputs, added up in rising order, are for oneDNN's plain kernels, which keep their speed only up
 * to some 400 outputs and 640 inputs. The cut depends on the shape alone, never on threads.
 *
 * bf16 needs a CPU with AVX512_BF16: oneDNN takes any AVX-512 for it, but imitates the instructions there and
 * is slower than in f32. */
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

enum status linear_dtype_check(enum dtype dtype, struct error *err)
{
    enum { NEEDED = dnnl_cpu_isa_avx512_core_bf16 }; /* a set of bits */
    if (dtype == DTYPE_F32 || (dtype == DTYPE_BF16 && (dnnl_get_effective_cpu_isa() & NEEDED) == NEEDED))
        return OK;
    if (dtype == DTYPE_BF16)
        return fail(err, NO_MACHINE,
                    "dtype bf16: this CPU has no AVX512_BF16 instructions, or ONEDNN_MAX_CPU_ISA hides them; "
                    "use --dtype f32");
    return fail(err, NO_MACHINE, "dtype f16: the cpu backend computes in f32 or bf16; use --dtype f32");
}

/* ---- kernels -------------------------------------------------------------------------------- */

static dnnl_data_type_t dnnl_dtype(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? dnnl_f32 : dnnl_bf16;
}

/* One primitive; `block` is the layout of the weights, or NULL to ask for oneDNN's own. *out stays empty
 * where oneDNN has nothing for that layout. */
static enum status kernel_make(struct kernel *out, enum dtype dtype, int n, int n_inputs, int n_outputs,
                               int x_stride, int stride, bool accumulate, const dnnl_memory_desc_t *block,
                               struct error *err)
{
    struct kernel kernel = {0};
    dnnl_memory_desc_t any;
    TRY_DNNL(dnnl_memory_desc_init_by_strides(&kernel.x, 2, (dnnl_dims_t){n, n_inputs}, dnnl_dtype(dtype),
                                              (dnnl_dims_t){x_stride, 1}));
    TRY_DNNL(dnnl_memory_desc_init_by_strides(&kernel.y, 2, (dnnl_dims_t){n, n_outputs}, dnnl_f32,
                                              (dnnl_dims_t){stride, 1}));
    TRY_DNNL(dnnl_memory_desc_init_by_tag(&any, 2, (dnnl_dims_t){n_inputs, n_outputs}, dnnl_dtype(dtype),
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

/* The kernels of one kind of block: a tile and, unless our own does it, one row in the tile's layout. */
static enum status kernels_make(struct packed *w, enum chunk chunk, enum group group, struct error *err)
{
    struct kernel *tile = &w->kernels[ROWS_TILE][chunk][group], *one = &w->kernels[ROWS_ONE][chunk][group];
    int n_inputs = chunk_size(w, chunk), n_outputs = group_size(w, group), stride = y_stride(w, group);
    bool accumulate = chunk != CHUNK_FIRST;
    dnnl_memory_desc_t plain;
    TRY_DNNL(dnnl_memory_desc_init_by_tag(&plain, 2, (dnnl_dims_t){n_inputs, n_outputs}, dnnl_dtype(w->dtype),
                                          dnnl_ab));
    TRY(kernel_make(tile, w->dtype, w->tile_rows, n_inputs, n_outputs, w->n_in, stride, accumulate,
                    w->is_plain ? &plain : NULL, err));
    if (tile->primitive && !row_is_ours(w))
        TRY(kernel_make(one, w->dtype, 1, n_inputs, n_outputs, w->n_in, stride, accumulate, &tile->block,
                        err));
    if (!tile->primitive || (!row_is_ours(w) && !one->primitive))
        return fail(err, NO_MACHINE, "oneDNN has no %s kernel for %d × %d weights; use --device ref",
                    w->dtype == DTYPE_F32 ? "f32" : "bf16", n_outputs, n_inputs);
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

static void fill(void *to, enum dtype dtype, uint64_t stream, size_t n)
{
    uint64_t bits = rng_u64(1, 0, stream, 0); /* then a cheap sequence: a model packs hundreds of weights */
    for (size_t i = 0; i < n; i++, bits = bits * 0x5851F42D4C957F2Du + 0x14057B7EF767814Fu) {
        float value = (float)(bits >> 40) * 0x1p-24f - 0.5f;
        uint32_t word;
        memcpy(&word, &value, sizeof word);
        if (dtype == DTYPE_F32)
            ((float *)to)[i] = value;
        else
            ((uint16_t *)to)[i] = (uint16_t)(word >> 16);
    }
}

/* Row i of `to` is row i + rotation of `rows` [n_rows, row_bytes]; rows of `to` are stride_bytes apart. */
static void copy_rotated(void *to, const void *rows, int rotation, int n_rows, size_t row_bytes,
                         size_t stride_bytes)
{
    for (int i = 0; i < n_rows; i++)
        memcpy((unsigned char *)to + (size_t)i * stride_bytes,
               (const unsigned char *)rows + (size_t)((i + rotation) % n_rows) * row_bytes, row_bytes);
}

struct trial {
    dnnl_stream_t stream;
    dnnl_memory_t x, y, block, scratch;
    void *x_rows, *x_source;             /* of the weights' dtype */
    float *y_rows, *y_source, *expected; /* x_rows, y_rows: what the kernel reads and adds to, strided */
};

static enum status trial_run(struct trial *t, const struct packed *w, const struct kernel *kernel,
                             int rotation, struct error *err)
{
    size_t n_inputs = (size_t)kernel->x.dims[1], n_outputs = (size_t)kernel->y.dims[1];
    size_t x_size = dtype_size(w->dtype), stride = (size_t)kernel->y.format_desc.blocking.strides[0];
    copy_rotated(t->x_rows, t->x_source, rotation, w->tile_rows, n_inputs * x_size, (size_t)w->n_in * x_size);
    copy_rotated(t->y_rows, t->y_source, rotation, w->tile_rows, n_outputs * sizeof(float),
                 stride * sizeof(float));
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
    size_t n_inputs = (size_t)kernel->x.dims[1], n_outputs = (size_t)kernel->y.dims[1];
    size_t stride = (size_t)kernel->y.format_desc.blocking.strides[0], n_rows = (size_t)w->tile_rows;
    void *block;
    TRY_DNNL(dnnl_memory_create(&t->x, &kernel->x, engine, t->x_rows));
    TRY_DNNL(dnnl_memory_create(&t->y, &kernel->y, engine, t->y_rows));
    TRY_DNNL(dnnl_memory_create(&t->block, &kernel->block, engine, DNNL_MEMORY_ALLOCATE));
    TRY_DNNL(dnnl_memory_get_data_handle(t->block, &block));
    fill(block, w->dtype, 0, dnnl_memory_desc_get_size(&kernel->block) / dtype_size(w->dtype));
    fill(t->x_source, w->dtype, 1, n_rows * n_inputs);
    fill(t->y_source, DTYPE_F32, 2, n_rows * n_outputs);

    TRY(trial_run(t, w, kernel, 0, err));
    memcpy(t->expected, t->y_rows, n_rows * stride * sizeof(float));
    *holds = true;
    for (int r = 0; r < N_ROTATIONS && *holds; r++) {
        TRY(trial_run(t, w, kernel, ROTATIONS[r], err));
        for (size_t i = 0; i < n_rows; i++)
            if (memcmp(t->y_rows + i * stride, t->expected + (i + (size_t)ROTATIONS[r]) % n_rows * stride,
                       n_outputs * sizeof(float)) != 0)
                *holds = false;
    }
    return OK;
}

static enum status kernel_try_rows(bool *holds, const struct packed *w, const struct kernel *kernel,
                                   struct error *err)
{
    size_t x_bytes = (size_t)w->tile_rows * (size_t)w->n_in * dtype_size(w->dtype);
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

/* Kernels for the first tile height at which every row of every kernel holds. AMX works on 32 rows at a time,
 * so for bf16 a multiple of them comes first. */
static enum status tile_choose(struct packed *w, struct error *err)
{
    enum { N_HEIGHTS = 4 };
    static const int F32[N_HEIGHTS] = {48, 96, 64, 192}, BF16[N_HEIGHTS] = {64, 128, 48, 192};
    for (int i = 0; i < N_HEIGHTS; i++) {
        bool holds = true;
        w->tile_rows = w->dtype == DTYPE_F32 ? F32[i] : BF16[i];
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
static enum status layout_choose(bool *is_plain, bool *is_gemm, enum dtype dtype, int n_out, int n_in,
                                 struct error *err)
{
    struct kernel tile = {0}, one = {0};
    int n_outputs = n_out < GROUP_OUTPUTS ? n_out : GROUP_OUTPUTS;
    int stride = dtype == DTYPE_F32 ? n_out : n_outputs;
    TRY(kernel_make(&tile, dtype, 48, n_in, n_outputs, n_in, stride, false, NULL, err));
    if (tile.maker == MAKER_PACKED)
        TRY(kernel_make(&one, dtype, 1, n_in, n_outputs, n_in, stride, false, &tile.block, err));
    *is_gemm = tile.maker == MAKER_GEMM;
    *is_plain = one.maker != MAKER_PACKED;
    dnnl_primitive_destroy(tile.primitive);
    dnnl_primitive_destroy(one.primitive);
    return OK;
}

static enum status cut(struct packed *w, int n_out, int n_in, struct error *err)
{
    bool is_gemm;
    n_in = w->dtype == DTYPE_F32 ? n_in : round_up(n_in, BF16_INPUTS);
    TRY(layout_choose(&w->is_plain, &is_gemm, w->dtype, n_out, n_in, err));
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

/* The group's weights to rows [outputs, w->n_in]. n_in: inputs of the tensor. */
static void rows_fill(float *rows, const struct packed *w, const struct weights_tensor *tensor, int n_in,
                      int group)
{
    for (int i = 0; i < group_size(w, group_kind(w, group)); i++, rows += w->n_in) {
        weights_to_f32(rows, tensor, (int64_t)(group * w->group_outputs + i) * n_in, n_in);
        memset(rows + n_in, 0, (size_t)(w->n_in - n_in) * sizeof *rows);
    }
}

static enum status blocks_fill(struct packed *w, dnnl_stream_t stream, float *rows,
                               const struct weights_tensor *tensor, int n_in, struct error *err)
{
    unsigned char *at = w->memory;
    for (int group = 0; group < w->n_groups; group++) {
        rows_fill(rows, w, tensor, n_in, group);
        for (int chunk = 0; chunk < w->n_chunks; chunk++) {
            dnnl_memory_t *block = &w->blocks[group * w->n_chunks + chunk];
            const struct kernel *kernel = block_kernel(w, ROWS_TILE, group, chunk);
            TRY_DNNL(dnnl_memory_create(block, &kernel->block, engine, at));
            if (row_is_ours(w))
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
                        enum dtype dtype, struct error *err)
{
    ENSURE(n_out > 0 && n_in > 0 && tensor->n_elements == (int64_t)n_out * n_in);
    TRY(linear_dtype_check(dtype, err));
    dnnl_engine_t same;
    TRY(packed_engine(&same, err)); /* sets `engine` */
    linear_thread_start();
    enum status status = OK;
    size_t n_bytes = 0;
    float *rows = NULL;
    dnnl_stream_t stream = NULL;
    struct packed *w = memory_zero(1, sizeof *w);
    if (!w)
        return memory_failed(err, tensor->name, sizeof *w);
    w->dtype = dtype;
    TRY_GOTO(status, cut(w, n_out, n_in, err));
    TRY_GOTO(status, tile_choose(w, err));

    for (int group = 0; group < w->n_groups; group++)
        n_bytes += group_bytes(w, group);
    w->blocks = memory_zero((size_t)w->n_groups * (size_t)w->n_chunks, sizeof *w->blocks);
    w->memory = ops_cpu.alloc(n_bytes);
    rows = memory_alloc((size_t)w->group_outputs, (size_t)w->n_in * sizeof *rows);
    if (!w->blocks || !w->memory || !rows ||
        dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) != dnnl_success)
        TRY_GOTO(status, memory_failed(err, tensor->name, n_bytes));
    if (!row_is_ours(w))
        memset(w->memory, 0, n_bytes); /* layouts may have padding that is read */
    TRY_GOTO(status, blocks_fill(w, stream, rows, tensor, n_in, err));
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
