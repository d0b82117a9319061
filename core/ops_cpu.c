/* The CPU backend: ops.h on a pool of threads, oneDNN for products with weights (cpu_linear.c) and own
 * kernels for the rest (cpu_kernels.c). This file, cpu_reduce.c and cpu_gram.c only split operations into
 * tasks.
 *
 * A task owns the rows, heads or keys that it writes and reduces alone, in a fixed order; so neither the
 * number of threads nor the split shows in a result. Small operations stay in the caller's thread: waking
 * another costs more than they do. */
#include "ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "cpu_backend.h"
#include "memory.h"

enum {
    SMALL_FLOATS = 16384,           /* up to here one thread does an operation over elements */
    SMALL_MACS = 1 << 18,           /* and a product with one row */
    HUGE_PAGE = 2 << 20,            /* bytes; larger blocks ask the kernel for huge pages */
    CHUNK_FLOATS = SMALL_FLOATS / 2 /* about what one task over elements gets */
};

/* ---- life ----------------------------------------------------------------------------------- */

const struct cpu_kernels *const *cpu_kernels_all(int *n)
{
    static const struct cpu_kernels *const ALL[] = {
#if defined(__x86_64__)
        &cpu_kernels_avx512,
        &cpu_kernels_avx2,
#endif
        &cpu_kernels_generic,
    };
    int first = 0;
    *n = sizeof ALL / sizeof ALL[0];
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512f"))
        first++;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        first = 2;
#endif
    *n -= first;
    return ALL + first;
}

void cpu_kernels_use(struct compute *c, const struct cpu_kernels *kernels)
{
    cpu_of(c)->kernels = kernels;
}

static void *cpu_alloc(size_t n_bytes)
{
#ifndef NDEBUG
    ENSURE(!memory_guarded());
#endif
    if (n_bytes > SIZE_MAX / 2)
        return NULL;
    size_t alignment = n_bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
    size_t rounded = n_bytes == 0 ? 64 : (n_bytes + 63) / 64 * 64;
    void *memory;
    if (posix_memalign(&memory, alignment, rounded) != 0)
        return NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (alignment == HUGE_PAGE)
        madvise(memory, rounded, MADV_HUGEPAGE); /* advice: a refusal changes nothing */
#endif
    return memory;
}

static void cpu_release(void *memory)
{
    free(memory);
}

static void cpu_close(struct compute *c)
{
    struct cpu *cpu = c->backend;
    if (cpu) {
        threads_close(cpu->threads);
        for (int t = 0; t < c->n_threads; t++) {
            linear_lane_close(cpu->lanes ? cpu->lanes[t] : NULL);
            free(cpu->scratch ? cpu->scratch[t] : NULL);
        }
        free(cpu->lanes);
        free(cpu->scratch);
        free(cpu->work);
        free(cpu);
    }
    *c = (struct compute){0};
}

static enum status cpu_open(struct compute *out, int n_threads, struct error *err)
{
    ENSURE(n_threads >= 1);
    size_t n = (size_t)n_threads;
    enum status status = OK;
    struct cpu *cpu = memory_zero(1, sizeof *cpu);
    *out = (struct compute){.ops = &ops_cpu, .n_threads = n_threads, .backend = cpu};
    if (!cpu)
        return memory_failed(err, "CPU backend", sizeof *cpu);
    int n_kernels;
    cpu->kernels = cpu_kernels_all(&n_kernels)[0];
    cpu->lanes = memory_zero(n, sizeof *cpu->lanes);
    cpu->scratch = memory_zero(n, sizeof *cpu->scratch);
    if (!cpu->lanes || !cpu->scratch)
        TRY_GOTO(status, memory_failed(err, "CPU backend", n * 2 * sizeof(void *)));
    for (int t = 0; t < n_threads; t++) {
        TRY_GOTO(status, linear_lane_open(&cpu->lanes[t], err));
        cpu->scratch[t] = cpu_alloc(sizeof **cpu->scratch);
        if (!cpu->scratch[t])
            TRY_GOTO(status, memory_failed(err, "CPU backend", sizeof **cpu->scratch));
    }
    TRY_GOTO(status, threads_open(&cpu->threads, n_threads, linear_thread_start, err));
exit:
    if (status != OK)
        cpu_close(out);
    return status;
}

static void cpu_move(struct compute *c, void *to, const void *from, size_t n_bytes)
{
    (void)c;
    if (n_bytes > 0)
        memcpy(to, from, n_bytes);
}

void *cpu_work(struct cpu *cpu, size_t n_bytes)
{
    if (cpu->work_bytes < n_bytes) {
        free(cpu->work);
        cpu->work = cpu_alloc(n_bytes);
        cpu->work_bytes = n_bytes;
        ENSURE(cpu->work && "memory for a reduction");
    }
    return cpu->work;
}

/* ---- splitting ------------------------------------------------------------------------------ */

struct split {
    void (*run)(void *args, size_t first, size_t n);
    void *args;
    size_t n, per_task;
};

static void split_task(void *context, int task, int thread)
{
    const struct split *split = context;
    size_t first = (size_t)task * split->per_task;
    (void)thread;
    split->run(split->args, first, split->n - first < split->per_task ? split->n - first : split->per_task);
}

void cpu_split(struct compute *c, size_t n, size_t width, void (*run)(void *, size_t, size_t), void *args)
{
    if (n == 0)
        return;
    if (c->n_threads == 1 || n * width <= SMALL_FLOATS) {
        run(args, 0, n);
        return;
    }
    size_t per_task = width >= CHUNK_FLOATS ? 1 : CHUNK_FLOATS / width;
    size_t even =
        (n + (size_t)c->n_threads * 8 - 1) / ((size_t)c->n_threads * 8); /* 8 tasks a thread at most */
    struct split split = {.run = run, .args = args, .n = n, .per_task = even > per_task ? even : per_task};
    threads_run(cpu_of(c)->threads, (int)((n + split.per_task - 1) / split.per_task), split_task, &split);
}

/* ---- dense ---------------------------------------------------------------------------------- */

struct round_args {
    const struct cpu_kernels *kernels;
    uint16_t *y;
    const float *x;
    int n, n_in, width; /* rows of x; inputs of x and of y */
};

static void round_run(void *context, size_t first, size_t n)
{
    const struct round_args *a = context;
    for (size_t i = first; i < first + n; i++)
        a->kernels->bf16_row(a->y + i * (size_t)a->width, a->x + i * (size_t)a->n_in,
                             i < (size_t)a->n ? a->n_in : 0, a->width);
}

/* The n rows of x as w multiplies them: themselves, or n_rows rounded ones in memory of the session. */
static const void *inputs_of(struct compute *c, const float *x, const struct weight *w, int n, int n_rows)
{
    int width = linear_round_width(w);
    if (width == 0)
        return x;
    struct round_args args = {.kernels = cpu_of(c)->kernels, .x = x, .n = n, .n_in = w->n_in, .width = width};
    args.y = cpu_work(cpu_of(c), (size_t)n_rows * (size_t)width * sizeof *args.y);
    cpu_split(c, (size_t)n_rows, (size_t)width, round_run, &args);
    return args.y;
}

struct linear_args {
    const struct cpu_kernels *kernels;
    struct linear_lane **lanes;
    float *y;
    const void *x; /* rows as the weight takes them */
    const float *bias;
    const struct weight *w;
    int n;
};

static void linear_run(void *context, int task, int thread)
{
    const struct linear_args *a = context;
    linear_task(a->lanes[thread], a->y, a->x, a->w, a->bias, a->n, task);
}

static void linear_row_run(void *context, int task, int thread)
{
    const struct linear_args *a = context;
    linear_row_task(a->lanes[thread], a->kernels, a->y, a->x, a->w, a->bias, task);
}

static void cpu_linear(struct compute *c, float *y, const float *x, const struct weight *w, const float *bias,
                       int n)
{
    struct linear_args args = {.lanes = cpu_of(c)->lanes, .y = y, .bias = bias, .w = w, .n = n};
    if (n == 0)
        return;
    args.x = inputs_of(c, x, w, n, linear_round_rows(w, n));
    linear_thread_start(); /* the session may have moved to another thread since it was opened */
    threads_run(cpu_of(c)->threads, linear_tasks(w, n), linear_run, &args);
    c->macs += (uint64_t)n * (uint64_t)w->n_out * (uint64_t)w->n_in;
}

static void cpu_linear_row(struct compute *c, float *y, const float *x, const struct weight *w,
                           const float *bias)
{
    struct linear_args args = {.kernels = cpu_of(c)->kernels,
                               .lanes = cpu_of(c)->lanes,
                               .y = y,
                               .x = inputs_of(c, x, w, 1, 1),
                               .bias = bias,
                               .w = w,
                               .n = 1};
    uint64_t macs = (uint64_t)w->n_out * (uint64_t)w->n_in;
    int n_tasks = linear_row_tasks(w);
    linear_thread_start();
    if (macs <= SMALL_MACS)
        for (int task = 0; task < n_tasks; task++)
            linear_row_run(&args, task, 0);
    else
        threads_run(cpu_of(c)->threads, n_tasks, linear_row_run, &args);
    c->macs += macs;
}

/* ---- rows ----------------------------------------------------------------------------------- */

struct row_args {
    const struct cpu_kernels *kernels;
    float *y;
    const float *x, *weight, *bias;
    const int32_t *index;
    float eps;
    int d, n_heads, first;
    enum activation kind;
};

static void rms_norm_run(void *context, size_t first, size_t n)
{
    const struct row_args *a = context;
    size_t at = first * (size_t)a->d;
    a->kernels->rms_norm(a->y + at, a->x + at, a->weight, a->eps, (int)n, a->d);
}

static void cpu_rms_norm(struct compute *c, float *y, const float *x, const float *weight, float eps, int n,
                         int d)
{
    struct row_args args = {
        .kernels = cpu_of(c)->kernels, .y = y, .x = x, .weight = weight, .eps = eps, .d = d};
    cpu_split(c, (size_t)n, (size_t)d, rms_norm_run, &args);
}

static void layer_norm_run(void *context, size_t first, size_t n)
{
    const struct row_args *a = context;
    size_t at = first * (size_t)a->d;
    a->kernels->layer_norm(a->y + at, a->x + at, a->weight, a->bias, a->eps, (int)n, a->d);
}

static void cpu_layer_norm(struct compute *c, float *y, const float *x, const float *weight,
                           const float *bias, float eps, int n, int d)
{
    struct row_args args = {
        .kernels = cpu_of(c)->kernels, .y = y, .x = x, .weight = weight, .bias = bias, .eps = eps, .d = d};
    cpu_split(c, (size_t)n, (size_t)d, layer_norm_run, &args);
}

static void add_run(void *context, size_t first, size_t n)
{
    const struct row_args *a = context;
    a->kernels->add(a->y + first, a->x + first, n);
}

static void cpu_add(struct compute *c, float *y, const float *x, size_t n)
{
    struct row_args args = {.kernels = cpu_of(c)->kernels, .y = y, .x = x};
    cpu_split(c, n, 1, add_run, &args);
}

static void activate_run(void *context, size_t first, size_t n)
{
    const struct row_args *a = context;
    a->kernels->activate(a->y + first, a->kind, n);
}

static void cpu_activate(struct compute *c, float *y, enum activation kind, size_t n)
{
    struct row_args args = {.kernels = cpu_of(c)->kernels, .y = y, .kind = kind};
    cpu_split(c, n, 1, activate_run, &args);
}

static void silu_mul_run(void *context, size_t first, size_t n)
{
    const struct row_args *a = context;
    a->kernels->silu_mul(a->y + first, a->x + first, n);
}

static void cpu_silu_mul(struct compute *c, float *gate, const float *up, size_t n)
{
    struct row_args args = {.kernels = cpu_of(c)->kernels, .y = gate, .x = up};
    cpu_split(c, n, 1, silu_mul_run, &args);
}

static void rope_run(void *context, size_t first, size_t n)
{
    const struct row_args *a = context;
    for (size_t i = first; i < first + n; i++) {
        int position = a->index ? a->index[i] : a->first + (int)i;
        a->kernels->rope_row(a->y + i * (size_t)a->n_heads * (size_t)a->d,
                             a->x + (size_t)position * (size_t)a->d, a->n_heads, a->d);
    }
}

static void cpu_rope(struct compute *c, float *x, const float *table, const int32_t *positions, int first,
                     int n, int n_heads, int head_dim)
{
    struct row_args args = {.kernels = cpu_of(c)->kernels,
                            .y = x,
                            .x = table,
                            .index = positions,
                            .first = first,
                            .n_heads = n_heads,
                            .d = head_dim};
    cpu_split(c, (size_t)n, (size_t)n_heads * (size_t)head_dim, rope_run, &args);
}

static void cpu_gather_rows(struct compute *c, float *y, const float *x, const int32_t *index, int n, int d)
{
    (void)c;
    for (size_t i = 0; i < (size_t)n; i++)
        memcpy(y + i * (size_t)d, x + (size_t)index[i] * (size_t)d, (size_t)d * sizeof *y);
}

static void cpu_merge_rows(struct compute *c, float *y, const float *own, const float *x,
                           const int32_t *index, const int32_t *group, const float *weight, int n,
                           int n_sources, int n_groups, int d)
{
    if (!own)
        memset(y, 0, (size_t)n_groups * (size_t)d * sizeof *y);
    for (size_t g = 0; own && g < (size_t)n_groups; g++)
        for (size_t k = 0; k < (size_t)d; k++)
            y[g * (size_t)d + k] *= own[g];
    for (int i = 0; i < n; i++)
        cpu_of(c)->kernels->add_scaled(y + (size_t)group[i] * (size_t)d, x + (size_t)index[i] * (size_t)d,
                                       weight[i], d);
    c->macs += (uint64_t)n_sources * (uint64_t)d;
}

static void head_mean_run(void *context, size_t first, size_t n)
{
    const struct row_args *a = context;
    size_t d = (size_t)a->d;
    for (size_t i = first; i < first + n; i++)
        a->kernels->head_mean(a->y + i * d, a->x + i * (size_t)a->n_heads * d, a->n_heads, a->d);
}

static void cpu_head_mean(struct compute *c, float *y, const float *x, int n, int n_heads, int d)
{
    struct row_args args = {.kernels = cpu_of(c)->kernels, .y = y, .x = x, .n_heads = n_heads, .d = d};
    cpu_split(c, (size_t)n, (size_t)n_heads * (size_t)d, head_mean_run, &args);
}

static void cpu_patchify(struct compute *c, float *patches, const float *pixels, int width, int height,
                         int patch)
{
    (void)c;
    size_t length = (size_t)patch, w = (size_t)width, h = (size_t)height;
    for (size_t row = 0; row < h / length; row++)
        for (size_t column = 0; column < w / length; column++)
            for (size_t channel = 0; channel < 3; channel++)
                for (size_t y = 0; y < length; y++, patches += length)
                    memcpy(patches, pixels + (channel * h + row * length + y) * w + column * length,
                           length * sizeof *patches);
}

/* ---- attention ------------------------------------------------------------------------------ */

struct kv_args {
    const struct kv_view *kv;
    const float *k, *v;
    int first, n;
};

/* One kv head: its columns of k and v to the pages. */
static void kv_write_run(void *context, size_t first_head, size_t n_heads)
{
    const struct kv_args *a = context;
    size_t d = (size_t)a->kv->head_dim, width = d * (size_t)a->kv->n_kv_heads;
    for (size_t g = first_head; g < first_head + n_heads; g++)
        for (int i = 0; i < a->n;) {
            int slot = (a->first + i) % KV_PAGE;
            int n_run = KV_PAGE - slot < a->n - i ? KV_PAGE - slot : a->n - i;
            float *keys =
                a->kv->pages[(a->first + i) / KV_PAGE] + kv_page_floats((int)g, a->kv->head_dim) + slot;
            float *values = keys - slot + (size_t)KV_PAGE * d + (size_t)slot * d;
            for (size_t row = 0; row < (size_t)n_run; row++) {
                const float *k = a->k + ((size_t)i + row) * width + g * d;
                for (size_t j = 0; j < d; j++)
                    keys[j * KV_PAGE + row] = k[j];
                memcpy(values + row * d, a->v + ((size_t)i + row) * width + g * d, d * sizeof *values);
            }
            i += n_run;
        }
}

static void cpu_kv_write(struct compute *c, const struct kv_view *kv, const float *k, const float *v,
                         int first, int n)
{
    struct kv_args args = {.kv = kv, .k = k, .v = v, .first = first, .n = n};
    cpu_split(c, (size_t)kv->n_kv_heads, (size_t)2 * (size_t)n * (size_t)kv->head_dim, kv_write_run, &args);
}

struct attention_args {
    const struct cpu *cpu;
    float *y, *lse;
    const float *q, *key_bias;
    const struct kv_view *kv;
    bool causal;
    int n_q, n_heads, n_blocks;
};

/* The last block of rows sees the most keys: it comes first, so that no thread is left with it at the end. */
static void attention_run(void *context, int task, int thread)
{
    const struct attention_args *a = context;
    int h = task % a->n_heads, block = a->n_blocks - 1 - task / a->n_heads;
    int first = block * ATTENTION_ROWS,
        n_rows = a->n_q - first < ATTENTION_ROWS ? a->n_q - first : ATTENTION_ROWS;
    size_t stride = (size_t)a->n_heads * (size_t)a->kv->head_dim;
    size_t at = (size_t)first * stride + (size_t)h * (size_t)a->kv->head_dim;
    struct attention_task rows = {
        .y = a->y + at,
        .lse = a->lse ? a->lse + (size_t)h * (size_t)a->n_q + first : NULL,
        .q = a->q + at,
        .kv = a->kv,
        .key_bias = a->key_bias,
        .stride = stride,
        .kv_head = h / (a->n_heads / a->kv->n_kv_heads),
        .n_rows = n_rows,
        .first_keys = a->causal ? a->kv->length - a->n_q + first + 1 : a->kv->length,
        .more_keys = a->causal ? 1 : 0,
    };
    a->cpu->kernels->attention(&rows, a->cpu->scratch[thread]);
}

static void cpu_attention(struct compute *c, float *y, float *lse, const float *q, const struct kv_view *kv,
                          const float *key_bias, bool causal, int n_q, int n_heads)
{
    if (n_q == 0)
        return;
    cpu_attention_check(kv, n_heads);
    ENSURE(!causal || n_q <= kv->length);
    struct attention_args args = {.cpu = cpu_of(c),
                                  .y = y,
                                  .lse = lse,
                                  .q = q,
                                  .kv = kv,
                                  .key_bias = key_bias,
                                  .causal = causal,
                                  .n_q = n_q,
                                  .n_heads = n_heads,
                                  .n_blocks = (n_q + ATTENTION_ROWS - 1) / ATTENTION_ROWS};
    threads_run(cpu_of(c)->threads, args.n_blocks * n_heads, attention_run, &args);
    c->macs += 2 * (uint64_t)n_heads * (uint64_t)n_q * (uint64_t)kv->length * (uint64_t)kv->head_dim;
}

static void attention_row_run(void *context, int h, int thread)
{
    const struct attention_args *a = context;
    size_t at = (size_t)h * (size_t)a->kv->head_dim;
    a->cpu->kernels->attention_row(a->y + at, a->q + at, a->kv, h / (a->n_heads / a->kv->n_kv_heads),
                                   a->cpu->scratch[thread]);
}

static void cpu_attention_row(struct compute *c, float *y, const float *q, const struct kv_view *kv,
                              int n_heads)
{
    cpu_attention_check(kv, n_heads);
    struct attention_args args = {.cpu = cpu_of(c), .y = y, .q = q, .kv = kv, .n_heads = n_heads};
    uint64_t macs = 2 * (uint64_t)n_heads * (uint64_t)kv->length * (uint64_t)kv->head_dim;
    if (macs <= SMALL_MACS)
        for (int h = 0; h < n_heads; h++)
            attention_row_run(&args, h, 0);
    else
        threads_run(cpu_of(c)->threads, n_heads, attention_row_run, &args);
    c->macs += macs;
}

const struct ops ops_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .upload = cpu_move,
    .download = cpu_move,
    .copy = cpu_move,
    .dtype_check = linear_dtype_check,
    .weight_pack = linear_pack,
    .weight_free = linear_free,
    .linear = cpu_linear,
    .linear_row = cpu_linear_row,
    .rms_norm = cpu_rms_norm,
    .layer_norm = cpu_layer_norm,
    .add = cpu_add,
    .activate = cpu_activate,
    .silu_mul = cpu_silu_mul,
    .rope = cpu_rope,
    .gather_rows = cpu_gather_rows,
    .merge_rows = cpu_merge_rows,
    .head_mean = cpu_head_mean,
    .patchify = cpu_patchify,
    .kv_write = cpu_kv_write,
    .attention = cpu_attention,
    .attention_row = cpu_attention_row,
    .attention_score = cpu_attention_score,
    .query_score = cpu_query_score,
    .text_share = cpu_text_share,
    .top_k = cpu_top_k,
    .cluster = cpu_cluster,
    .cosines = cpu_cosines,
    .row_best = cpu_row_best,
    .rank = cpu_rank,
    .argmax = cpu_argmax,
    .gemm_rate = cpu_gemm_rate,
};
