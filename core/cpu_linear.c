/* y [n, n_out] = x [n, n_in] · Wᵀ in tiles of a fixed number of rows, the last one filled up with zero rows:
 * see cpu_pack.c for why, and cpu_packed.h for how W lies. One row of a decode step runs on a kernel of ours
 * where the blocks are plain matrices. Nothing is allocated here once a thread has seen a shape. */
#include "cpu_linear.h"

#include <stdlib.h>
#include <string.h>

#include "cpu_packed.h"
#include "memory.h"

enum { N_BINDINGS = 64 };

/* A thread's memory objects for one shape; the pointers in them are set before each use. */
struct binding {
    enum dtype dtype;
    int n_out, n_in, tile_rows;
    dnnl_memory_t x[N_ROWS][N_CHUNK], y[N_ROWS][N_GROUP], scratch;
};

struct linear_lane {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    float *x_padded, *y_padded;
    size_t x_floats, y_floats;
    int n_bindings; /* ever made; the oldest gives way */
    struct binding bindings[N_BINDINGS];
};

enum status linear_lane_open(struct linear_lane **out, struct error *err)
{
    dnnl_engine_t engine;
    TRY(packed_engine(&engine, err));
    struct linear_lane *lane = memory_zero(1, sizeof *lane);
    if (!lane)
        return memory_failed(err, "matrix products", sizeof *lane);
    lane->engine = engine;
    if (dnnl_stream_create(&lane->stream, engine, dnnl_stream_default_flags) != dnnl_success) {
        free(lane);
        return fail(err, NO_MACHINE, "oneDNN cannot make a stream; memory may have run out");
    }
    *out = lane;
    return OK;
}

static void binding_free(struct binding *binding)
{
    for (int rows = 0; rows < N_ROWS; rows++) {
        for (int chunk = 0; chunk < N_CHUNK; chunk++)
            dnnl_memory_destroy(binding->x[rows][chunk]);
        for (int group = 0; group < N_GROUP; group++)
            dnnl_memory_destroy(binding->y[rows][group]);
    }
    dnnl_memory_destroy(binding->scratch);
    *binding = (struct binding){0};
}

void linear_lane_close(struct linear_lane *lane)
{
    if (!lane)
        return;
    for (int i = 0; i < N_BINDINGS; i++)
        binding_free(&lane->bindings[i]);
    dnnl_stream_destroy(lane->stream);
    free(lane->x_padded);
    free(lane->y_padded);
    free(lane);
}

static void binding_make(struct binding *binding, const struct packed *w, dnnl_engine_t engine)
{
    *binding =
        (struct binding){.dtype = w->dtype, .n_out = w->n_out, .n_in = w->n_in, .tile_rows = w->tile_rows};
    bool ok = true;
    for (int rows = 0; rows < N_ROWS; rows++)
        for (int chunk = 0; chunk < N_CHUNK; chunk++)
            for (int group = 0; group < N_GROUP; group++) {
                const struct kernel *kernel = &w->kernels[rows][chunk][group];
                if (!kernel->primitive)
                    continue;
                dnnl_memory_t *x = &binding->x[rows][chunk], *y = &binding->y[rows][group];
                if (!*x)
                    ok = ok && dnnl_memory_create(x, &kernel->x, engine, DNNL_MEMORY_NONE) == dnnl_success;
                if (!*y)
                    ok = ok && dnnl_memory_create(y, &kernel->y, engine, DNNL_MEMORY_NONE) == dnnl_success;
            }
    dnnl_memory_desc_t scratch;
    dnnl_memory_desc_init_by_tag(&scratch, 1, (dnnl_dims_t){(dnnl_dim_t)w->scratch_bytes + 1}, dnnl_u8,
                                 dnnl_a);
    ok = ok && dnnl_memory_create(&binding->scratch, &scratch, engine, DNNL_MEMORY_ALLOCATE) == dnnl_success;
    ENSURE(ok && "memory for a matrix product");
}

/* This thread's memory objects for the shape of w; made when the shape is first seen. */
static struct binding *binding_find(struct linear_lane *lane, const struct packed *w)
{
    for (int i = 0; i < N_BINDINGS && i < lane->n_bindings; i++) {
        struct binding *binding = &lane->bindings[i];
        if (binding->dtype == w->dtype && binding->n_out == w->n_out && binding->n_in == w->n_in &&
            binding->tile_rows == w->tile_rows)
            return binding;
    }
    struct binding *binding = &lane->bindings[lane->n_bindings++ % N_BINDINGS];
    binding_free(binding);
    binding_make(binding, w, lane->engine);
    return binding;
}

/* y [rows, group] = x · the group's blocks, chunk after chunk; y points at the first row's first output of
 * the group, x at the first row. */
static void group_run(struct linear_lane *lane, float *y, const void *x, const struct packed *w,
                      enum rows rows, int group)
{
    unsigned char *inputs = (unsigned char *)(uintptr_t)x; /* oneDNN's memory knows no const */
    size_t chunk_bytes = (size_t)w->chunk_inputs * dtype_size(w->dtype);
    struct binding *binding = binding_find(lane, w);
    dnnl_memory_t y_memory = binding->y[rows][group_kind(w, group)];
    bool ok = dnnl_memory_set_data_handle(y_memory, y) == dnnl_success;
    for (int chunk = 0; chunk < w->n_chunks; chunk++) {
        const struct kernel *kernel = block_kernel(w, rows, group, chunk);
        dnnl_memory_t x_memory = binding->x[rows][chunk_kind(w, chunk)];
        ok =
            ok && dnnl_memory_set_data_handle(x_memory, inputs + (size_t)chunk * chunk_bytes) == dnnl_success;
        dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, x_memory},
                                       {DNNL_ARG_WEIGHTS, w->blocks[group * w->n_chunks + chunk]},
                                       {DNNL_ARG_DST, y_memory},
                                       {DNNL_ARG_SCRATCHPAD, binding->scratch}};
        ok = ok && dnnl_primitive_execute(kernel->primitive, lane->stream, kernel->scratch_bytes > 0 ? 4 : 3,
                                          arguments) == dnnl_success;
    }
    ENSURE(ok);
}

static void add_bias(float *y, const float *bias, const struct packed *w, int group, int n)
{
    if (!bias)
        return;
    int first = group * w->group_outputs, n_outputs = group_size(w, group_kind(w, group));
    for (int i = 0; i < n; i++) {
        float *row = y + (size_t)i * (size_t)w->n_out + first;
        for (int o = 0; o < n_outputs; o++)
            row[o] += bias[first + o];
    }
}

static void grow_floats(float **buffer, size_t *held, size_t n)
{
    if (*held >= n)
        return;
    free(*buffer);
    *buffer = ops_cpu.alloc(n * sizeof(float));
    *held = n;
    ENSURE(*buffer && "memory for the last tile of a matrix product");
}

/* The first n rows of a tile that is computed in memory of the lane and copied: y points at the group's first
 * output. */
static void group_run_aside(struct linear_lane *lane, float *y, const void *x, const struct packed *w,
                            int group, int n)
{
    enum group kind = group_kind(w, group);
    size_t n_outputs = (size_t)group_size(w, kind), stride = (size_t)y_stride(w, kind);
    grow_floats(&lane->y_padded, &lane->y_floats, (size_t)w->tile_rows * stride);
    group_run(lane, lane->y_padded, x, w, ROWS_TILE, group);
    for (size_t i = 0; i < (size_t)n; i++)
        memcpy(y + i * (size_t)w->n_out, lane->y_padded + i * stride, n_outputs * sizeof *y);
}

/* The last n < tile_rows f32 rows with zeros below. */
static const float *rows_padded(struct linear_lane *lane, const float *x, const struct packed *w, int n)
{
    size_t n_in = (size_t)w->n_in, tile_rows = (size_t)w->tile_rows;
    grow_floats(&lane->x_padded, &lane->x_floats, tile_rows * n_in);
    memcpy(lane->x_padded, x, (size_t)n * n_in * sizeof *x);
    memset(lane->x_padded + (size_t)n * n_in, 0, (tile_rows - (size_t)n) * n_in * sizeof *x);
    return lane->x_padded;
}

int linear_round_width(const struct weight *weight)
{
    const struct packed *w = weight->packed;
    return w->dtype == DTYPE_F32 ? 0 : w->n_in;
}

int linear_round_rows(const struct weight *weight, int n)
{
    const struct packed *w = weight->packed;
    return round_up(n, w->tile_rows);
}

int linear_tasks(const struct weight *weight, int n)
{
    const struct packed *w = weight->packed;
    return divide_up(n, w->tile_rows) * w->n_groups;
}

/* Tiles of one group follow each other, so that its blocks stay in the cache. */
void linear_task(struct linear_lane *lane, float *y, const void *x, const struct weight *weight,
                 const float *bias, int n, int task)
{
    const struct packed *w = weight->packed;
    int n_tiles = divide_up(n, w->tile_rows), group = task / n_tiles, first = task % n_tiles * w->tile_rows;
    int n_rows = n - first < w->tile_rows ? n - first : w->tile_rows;
    const void *rows = (const unsigned char *)x + (size_t)first * (size_t)w->n_in * dtype_size(w->dtype);
    y += (size_t)first * (size_t)w->n_out;
    float *outputs = y + group * w->group_outputs;
    if (w->dtype != DTYPE_F32)
        group_run_aside(lane, outputs, rows, w, group, n_rows);
    else if (n_rows < w->tile_rows)
        group_run_aside(lane, outputs, rows_padded(lane, rows, w, n_rows), w, group, n_rows);
    else
        group_run(lane, outputs, rows, w, ROWS_TILE, group);
    add_bias(y, bias, w, group, n_rows);
}

int linear_row_tasks(const struct weight *weight)
{
    const struct packed *w = weight->packed;
    return w->n_groups;
}

/* One row by the plain blocks of a group. */
static void group_run_row(const struct cpu_kernels *kernels, float *y, const float *x, const struct packed *w,
                          int group)
{
    int n_outputs = group_size(w, group_kind(w, group));
    const float *block = (const float *)(w->memory + (size_t)group * group_bytes(w, 0));
    for (int chunk = 0; chunk < w->n_chunks; chunk++) {
        int n_inputs = chunk_size(w, chunk_kind(w, chunk));
        kernels->product_row(y + group * w->group_outputs, x + chunk * w->chunk_inputs, block, n_inputs,
                             n_outputs, chunk > 0);
        block += block_bytes(w, group, chunk) / sizeof *block;
    }
}

void linear_row_task(struct linear_lane *lane, const struct cpu_kernels *kernels, float *y, const void *x,
                     const struct weight *weight, const float *bias, int task)
{
    const struct packed *w = weight->packed;
    if (row_is_ours(w))
        group_run_row(kernels, y, x, w, task);
    else
        group_run(lane, y + task * w->group_outputs, x, w, ROWS_ONE, task);
    add_bias(y, bias, w, task, 1);
}
