/* `winnow bench`, the runs: pseudo-random pictures and prompts through the runtime, timed.
 *
 * Every repeat runs every row once, in turn, so that a slow second of the machine falls on all of them. The
 * tower is timed apart, on one picture of the checkpoint's size: once for all methods that leave it alone,
 * and for each row whose method works in it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "core/limits.h" /* LIMIT_IMAGES */
#include "memory.h"
#include "rng.h"
#include "stats.h"

static void add(struct series *series, double ms)
{
    series->ms[series->n++] = ms;
}

static enum status series_new(struct series *const *series, int n_series, int room, struct error *err)
{
    size_t n_bytes = (size_t)n_series * (size_t)room * sizeof(double);
    double *block = memory_alloc(n_bytes, 1);
    if (block == NULL)
        return memory_failed(err, "timings", n_bytes);
    for (int i = 0; i < n_series; i++)
        *series[i] = (struct series){.ms = block + (size_t)i * (size_t)room};
    return OK;
}

static enum status tower_times_new(struct tower_times *times, struct error *err)
{
    struct series *const all[] = {&times->preprocess, &times->vision, &times->project, &times->select};
    return series_new(all, sizeof all / sizeof *all, BENCH_TOWER_REPEATS, err);
}

void bench_free(struct bench *b)
{
    for (int i = 0; b->rows && i < b->n_rows; i++) {
        free(b->rows[i].prefill.ms);
        free(b->rows[i].own_tower.preprocess.ms);
    }
    free(b->tower.preprocess.ms);
    free(b->rows);
    free(b->names);
}

/* ---- the decoder ---------------------------------------------------------------------------- */

/* Some id that is neither the picture's nor an end. */
static int32_t text_id(const struct bench *b, uint64_t i)
{
    int32_t n = b->config.text.vocabulary, id = (int32_t)(rng_u64(b->common.seed, 1, 0, i) % (uint64_t)n);
    for (int step = 0; step < 16; step++, id = (id + 1) % n) {
        bool taken = id == b->config.image_token;
        for (int e = 0; e < b->config.n_eos; e++)
            taken = taken || id == b->config.eos[e];
        if (!taken)
            break;
    }
    return id;
}

/* The figures that the ledger knows better than the plan: all of them, where counts depend on the data. */
static void row_take(struct row *row, const struct bench *b, const struct ledger *ledger)
{
    row->tokens_in = ledger_tokens_in(ledger);
    row->tokens_out = ledger_tokens_out(ledger);
    row->macs_prefill = (double)ledger->macs[STAGE_PREFILL];
    row->macs_select = (double)ledger->macs[STAGE_SELECT] +
                       (double)row->n_images * (double)row->macs_select_tower; /* features were random */
    row->macs_paper = (double)ledger->macs_paper;
    row->kv_live = (double)ledger->kv_bytes_live;
    row->kv_alloc = (double)ledger->kv_bytes_alloc;
    row->roofline_ms = 0;
    for (int l = 0; l < ledger->n_layers && b->gemm_flops > 0; l++)
        row->roofline_ms += 1e3 * bench_roofline(b, ledger->layers[l].tokens_in);
}

static void row_times(struct row *row, const struct ledger *ledger)
{
    add(&row->prefill, ledger->prefill_ms);
    add(&row->select, ledger->select_ms);
    add(&row->rank, ledger->rank_ms);
    add(&row->ttft, ledger->ttft_ms);
    add(&row->decode, ledger->n_decode_steps ? ledger->decode_ms / ledger->n_decode_steps : NAN);
}

static enum status row_run(struct row *row, const struct bench *b, struct session *session, bool keep,
                           struct error *err)
{
    int n_ids = b->n_text + row->n_images;
    int32_t *ids = memory_alloc((size_t)n_ids, sizeof *ids);
    struct features *pictures[LIMIT_IMAGES] = {NULL};
    struct answer answer = {0};
    enum status status = OK;
    if (ids == NULL)
        return memory_failed(err, "prompt", (size_t)n_ids * sizeof *ids);
    for (int i = 0; i < n_ids; i++) /* the pictures stand behind the first id */
        ids[i] = i >= 1 && i <= row->n_images ? b->config.image_token : text_id(b, (uint64_t)i);
    for (int i = 0; i < row->n_images; i++)
        TRY_GOTO(status, features_random(&pictures[i], session, row->n_visual / row->n_images,
                                         &(struct encode_options){.method = &row->method,
                                                                  .image = i,
                                                                  .n_images = row->n_images,
                                                                  .seed = b->common.seed},
                                         err));
    TRY_GOTO(status, session_ask(&answer, session,
                                 &(struct question){.prompt_ids = ids,
                                                    .n_prompt_ids = n_ids,
                                                    .n_turns = 1,
                                                    .images = pictures,
                                                    .n_images = row->n_images,
                                                    .method = &row->method,
                                                    .max_new_tokens = b->n_decode + 1},
                                 err));
    if (keep)
        row_times(row, &answer.ledger);
    else
        row_take(row, b, &answer.ledger);
exit:
    answer_free(&answer);
    for (int i = 0; i < row->n_images; i++)
        features_release(pictures[i]);
    free(ids);
    return status;
}

/* Room for the times, and one run to warm up. */
static enum status row_prepare(struct row *row, const struct bench *b, const struct vlm *vlm,
                               struct session *session, struct error *err)
{
    struct series *const all[] = {&row->prefill, &row->select, &row->rank, &row->ttft, &row->decode};
    TRY(series_new(all, sizeof all / sizeof *all, b->n_room, err));
    TRY(row_run(row, b, session, false, err));
    /* what this row alone needs: weights, activations of one layer, its own KV pages */
    row->peak_bytes = (double)vlm_weight_bytes(vlm) + (double)session_work_bytes(session) + row->kv_alloc;
    return OK;
}

/* ---- the tower ------------------------------------------------------------------------------ */

static enum status tower_run(struct tower_times *times, struct row *row, const struct bench *b,
                             struct session *session, const struct image *picture, bool keep,
                             struct error *err)
{
    struct features *features;
    TRY(session_encode(&features, session, picture,
                       &(struct encode_options){.method = row ? &row->method : NULL,
                                                .n_images = row ? row->n_images : 1,
                                                .seed = b->common.seed},
                       err));
    struct features_cost cost = features_cost(features);
    features_release(features);
    if (row)
        row->macs_select_tower = cost.macs_select;
    if (!keep)
        return OK;
    add(&times->preprocess, cost.preprocess_ms);
    add(&times->vision, cost.vision_ms);
    add(&times->project, cost.project_ms);
    add(&times->select, cost.select_ms);
    return OK;
}

/* A picture of noise, so that no two patches are the same. */
static enum status picture_new(struct image *out, const struct bench *b, struct error *err)
{
    int size = b->config.vision.image_size;
    TRY(image_new(out, size, size, (const uint8_t[3]){0, 0, 0}, err));
    for (size_t i = 0; i < (size_t)3 * (size_t)size * (size_t)size; i++)
        out->rgb[i] = (uint8_t)rng_u64(b->common.seed, 2, 0, i);
    return OK;
}

static enum status towers_measure(struct bench *b, struct session *session, struct error *err)
{
    struct image picture = {0};
    enum status status = OK;
    int n = b->n_repeats < BENCH_TOWER_REPEATS ? b->n_repeats : BENCH_TOWER_REPEATS;
    TRY(picture_new(&picture, b, err));
    TRY_GOTO(status, tower_times_new(&b->tower, err));
    for (int i = 0; i < b->n_rows; i++)
        if (b->rows[i].method.reducer->in_tower)
            TRY_GOTO(status, tower_times_new(&b->rows[i].own_tower, err));
    for (int r = -1; r < n; r++) {
        double start = clock_ms();
        TRY_GOTO(status, tower_run(&b->tower, NULL, b, session, &picture, r >= 0, err));
        if (r >= 4 && clock_ms() - start > 2000) /* a big tower is slow and steady */
            n = r + 1;
        for (int i = 0; i < b->n_rows; i++)
            if (b->rows[i].method.reducer->in_tower)
                TRY_GOTO(status,
                         tower_run(&b->rows[i].own_tower, &b->rows[i], b, session, &picture, r >= 0, err));
    }
exit:
    image_free(&picture);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------ */

/* Rates of this machine in this run: a product of 640×352×128, and reading 256 MB. */
static void peaks_measure(struct bench *b, struct session *session)
{
    struct compute *c = session_compute(session);
    b->gemm_flops =
        c->ops->gemm_rate(c, b->common.dtype == DTYPE_CHOICE_BF16 ? DTYPE_BF16 : DTYPE_F32, 640, 352, 128);
    size_t n = 32u << 20;
    double *block = memory_alloc(n, sizeof *block), best = INFINITY;
    if (block == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        block[i] = (double)i;
    for (int r = 0; r < 3; r++) {
        double start = clock_ms(), sum[8] = {0};
        for (size_t i = 0; i < n; i += 8)
            for (int j = 0; j < 8; j++)
                sum[j] += block[i + (size_t)j];
        volatile double keep = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
        (void)keep;
        best = fmin(best, clock_ms() - start);
    }
    b->read_bytes = (double)(n * sizeof *block) / best * 1e3;
    free(block);
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Interquartile range over median of the noisiest row. */
static double widest_spread(const struct bench *b)
{
    double widest = 0;
    for (int i = 0; i < b->n_rows; i++) {
        double sorted[BENCH_MAX_REPEATS];
        int n = b->rows[i].prefill.n;
        memcpy(sorted, b->rows[i].prefill.ms, (size_t)n * sizeof *sorted);
        qsort(sorted, (size_t)n, sizeof *sorted, compare_double);
        widest = fmax(widest, (sorted[3 * n / 4] - sorted[n / 4]) / sorted[n / 2]);
    }
    return widest;
}

enum status bench_run(struct bench *b, struct error *err)
{
    struct vlm *vlm = NULL;
    struct session *session = NULL;
    enum status status;
    int threads = b->common.threads ? b->common.threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    TRY_GOTO(status, vlm_open(&vlm,
                              &(struct vlm_options){.dir = b->common.model,
                                                    .device = b->common.device,
                                                    .dtype = b->common.dtype,
                                                    .geometry = b->geometry,
                                                    .random_seed = b->common.seed},
                              err));
    TRY_GOTO(status, session_open(&session, vlm, threads, err));
    peaks_measure(b, session);
    b->device = vlm_device(vlm);
    b->n_room = b->spread > 0 ? 10 * b->n_repeats < BENCH_MAX_REPEATS ? 10 * b->n_repeats : BENCH_MAX_REPEATS
                              : b->n_repeats;
    TRY_GOTO(status, towers_measure(b, session, err));
    for (int i = 0; i < b->n_rows; i++)
        TRY_GOTO(status, row_prepare(&b->rows[i], b, vlm, session, err));
    /* --spread: on until every row's middle half is that narrow, or ten times the repeats are done */
    for (int r = 0; r < b->n_room && (r < b->n_repeats || widest_spread(b) > b->spread); r++)
        for (int i = 0; i < b->n_rows; i++)
            TRY_GOTO(status, row_run(&b->rows[(i + r) % b->n_rows], b, session, true, err));
exit:
    session_close(session);
    vlm_close(vlm);
    return status;
}
