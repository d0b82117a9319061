/* `winnow bench`: methods timed side by side on a checkpoint or a known geometry with random weights.
 *
 * Every repeat runs every row once, in turn, so that a slow second of the machine falls on all of them.
 * --plan computes what needs no run (counts, FLOPs, bytes) and allocates nothing.
 */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "machine.h"
#include "memory.h"
#include "rng.h"
#include "stats.h"

#include <jansson.h>

enum {
    MAX_ROWS = 256,
    MAX_REPEATS = 1000,
    OPTION_PLAN = OPTION_OWN,
    OPTION_GEOMETRY,
    OPTION_METHODS,
    OPTION_BUDGETS,
    OPTION_MATCH,
    OPTION_VISUAL,
    OPTION_TEXT,
    OPTION_BATCH,
    OPTION_DECODE,
    OPTION_REPEATS,
    OPTION_SPREAD
};

/* One method at one budget and number of visual tokens, and what its runs gave. */
struct row {
    struct method method;
    int n_visual, n_runs;
    struct plan plan;
    struct ledger ledger; /* of the last run, without layers */
    double tokens_in, tokens_out;
    double macs_prefill, macs_select, macs_paper, kv_live, kv_alloc, roofline_ms, peak_bytes;
    double *prefill, *select, *ttft, *decode; /* [repeats] */
};

struct bench {
    struct common_options common;
    const char *geometry, *methods, *budgets, *match, *visual, *device;
    int n_text, n_decode, n_repeats, n_room; /* n_room: runs a row has room for */
    double spread;
    bool plan;
    const char *set[64];
    bool set_used[64]; /* some method has this parameter */
    int n_set;
    struct vlm_config config;
    struct row *rows;
    int n_rows;
    double gemm_flops, read_bytes, vision_ms, project_ms;
};

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static const struct row *dense_of(const struct bench *b, int n_visual)
{
    for (int i = 0; i < b->n_rows; i++)
        if (b->rows[i].method.reducer->dense && b->rows[i].n_visual == n_visual)
            return &b->rows[i];
    return NULL;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static enum status row_add(struct bench *b, const char *method, const char *budget, int n_visual,
                           struct error *err)
{
    if (b->n_rows == MAX_ROWS)
        return fail(err, BAD_INPUT, "more than %d rows", MAX_ROWS);
    struct row *row = &b->rows[b->n_rows];
    memset(row, 0, sizeof *row);
    TRY(method_init(&row->method, method, err));
    row->n_visual = n_visual;
    if (budget)
        TRY(method_set(&row->method, "budget", budget, err));
    TRY(method_set(&row->method, "match", b->match, err));
    for (int i = 0; i < b->n_set; i++) {
        char key[64];
        const char *equals = strchr(b->set[i], '=');
        if (equals == NULL || (size_t)(equals - b->set[i]) >= sizeof key)
            return fail(err, BAD_INPUT, "-p '%s': expected KEY=VALUE", b->set[i]);
        snprintf(key, sizeof key, "%.*s", (int)(equals - b->set[i]), b->set[i]);
        bool known = strcmp(key, "budget") == 0 || strcmp(key, "match") == 0;
        for (int p = 0; p < row->method.reducer->n_params; p++)
            known = known || strcmp(row->method.reducer->params[p].name, key) == 0;
        b->set_used[i] = b->set_used[i] || known;
        if (known) /* with several methods a parameter is for those that have it */
            TRY(method_set(&row->method, key, equals + 1, err));
    }
    struct plan_input input = vlm_plan_input(&b->config, n_visual, b->n_text, b->n_text - 1);
    TRY(method_plan(&row->plan, &row->method, &input, err));
    b->n_rows++;
    return OK;
}

/* FLOPs of a layer's products over the machine's rate, or their bytes over its bandwidth, whichever is
 * longer. */
static double roofline_layer(const struct bench *b, double n)
{
    const struct vlm_config *c = &b->config;
    double d = c->text.hidden, m = c->text.intermediate, q = (double)c->text.n_heads * c->text.head_dim,
           k = (double)c->text.n_kv_heads * c->text.head_dim;
    double weight_size = b->common.dtype == DTYPE_CHOICE_BF16 ? 2 : 4;
    const double products[][2] = {{d, q}, {d, k}, {d, k}, {q, d}, {d, m}, {d, m}, {m, d}};
    double seconds = fmax(4 * n * n * q / b->gemm_flops, 4 * n * (2 * q + 2 * k) / b->read_bytes);
    for (unsigned i = 0; i < sizeof products / sizeof *products; i++)
        seconds +=
            fmax(2 * n * products[i][0] * products[i][1] / b->gemm_flops,
                 (weight_size * products[i][0] * products[i][1] + 4 * n * (products[i][0] + products[i][1])) /
                     b->read_bytes);
    return seconds;
}

/* Everything that the plan alone tells. */
static void row_plan(struct row *row, const struct bench *b)
{
    const struct vlm_config *c = &b->config;
    int in[LIMIT_LAYERS], out[LIMIT_LAYERS], n_layers = c->text.n_layers;
    plan_trajectory(in, out, &row->plan, row->n_visual, n_layers);
    double token = 2.0 * c->text.n_kv_heads * c->text.head_dim * 4;
    for (int l = 0; l < n_layers; l++) {
        int n = in[l] + b->n_text;
        row->tokens_in += (double)in[l] / n_layers;
        row->tokens_out += (double)out[l] / n_layers;
        row->macs_prefill += (double)macs_layer(n, n, c->text.hidden, c->text.intermediate, c->text.n_heads,
                                                c->text.n_kv_heads, c->text.head_dim);
        row->kv_live += n * token;
        row->kv_alloc += (n + KV_PAGE - 1) / KV_PAGE * KV_PAGE * token;
        row->roofline_ms += b->gemm_flops > 0 ? 1e3 * roofline_layer(b, n) : 0;
    }
    row->macs_paper = row->macs_prefill;
    struct plan_input input = vlm_plan_input(c, row->n_visual, b->n_text, b->n_text - 1);
    if (row->plan.n_cuts > 0)
        row->macs_select = row->method.reducer->plan_select_macs(&row->plan, &row->method, &input);
}

/* One row a budget; a method with its own counts, and vanilla, one row. Vanilla is always there, to compare
 * with. */
static enum status method_rows(struct bench *b, const char *name, int n_visual, struct error *err)
{
    struct method probe;
    TRY(method_init(&probe, name, err));
    if (probe.reducer->dense)
        return dense_of(b, n_visual) ? OK : row_add(b, name, NULL, n_visual, err);
    bool counts = false;
    for (int i = 0; i < b->n_set; i++)
        counts = counts || strncmp(b->set[i], "keep=", 5) == 0;
    if (counts)
        return row_add(b, name, NULL, n_visual, err);
    char *budgets = memory_text(b->budgets), *state;
    if (budgets == NULL)
        return memory_failed(err, "budgets", strlen(b->budgets));
    enum status status = OK;
    for (char *t = strtok_r(budgets, ",", &state); t && status == OK; t = strtok_r(NULL, ",", &state))
        status = row_add(b, name, t, n_visual, err);
    free(budgets);
    return status;
}

static enum status rows_make(struct bench *b, struct error *err)
{
    char usual[32];
    snprintf(usual, sizeof usual, "%d", b->config.visual_per_image);
    char *visual = memory_text(b->visual ? b->visual : usual), *methods = memory_text(b->methods),
         *names = NULL;
    char *visual_state, *name_state;
    enum status status = visual && methods ? OK : memory_failed(err, "rows", strlen(b->methods));
    for (char *v = status == OK ? strtok_r(visual, ",", &visual_state) : NULL; v && status == OK;
         v = strtok_r(NULL, ",", &visual_state)) {
        int64_t n_visual;
        free(names);
        names = memory_text(b->methods);
        TRY_GOTO(status, parse_int(&n_visual, v, 1, LIMIT_SEQUENCE, "--visual-tokens", err));
        TRY_GOTO(status, method_rows(b, "vanilla", (int)n_visual, err));
        for (char *m = strtok_r(names, ",", &name_state); m && status == OK;
             m = strtok_r(NULL, ",", &name_state))
            status = method_rows(b, m, (int)n_visual, err);
    }
    for (int i = 0; i < b->n_set && status == OK; i++)
        if (!b->set_used[i])
            status = fail(err, BAD_INPUT,
                          "-p %s: none of the methods %s has this parameter; see `winnow list params`",
                          b->set[i], b->methods);
exit:
    free(visual);
    free(methods);
    free(names);
    return status;
}

/* ---- runs ----------------------------------------------------------------------------------- */

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

static enum status row_run(struct row *row, const struct bench *b, struct session *session, bool keep,
                           struct error *err)
{
    int n_ids = b->n_text + 1;
    int32_t *ids = memory_alloc((size_t)n_ids, sizeof *ids);
    struct features *features = NULL;
    struct answer answer = {0};
    enum status status = OK;
    if (ids == NULL)
        return memory_failed(err, "prompt", (size_t)n_ids * sizeof *ids);
    for (int i = 0; i < n_ids; i++) /* ids that are neither eos nor the picture's */
        ids[i] = i == 1 ? b->config.image_token : text_id(b, (uint64_t)i);
    TRY_GOTO(status, features_random(&features, session, row->n_visual, &row->method, b->common.seed, err));
    TRY_GOTO(status, session_ask(&answer, session,
                                 &(struct question){.prompt_ids = ids,
                                                    .n_prompt_ids = n_ids,
                                                    .n_turns = 1,
                                                    .images = &features,
                                                    .n_images = 1,
                                                    .method = &row->method,
                                                    .max_new_tokens = b->n_decode + 1},
                                 err));
    if (keep) {
        const struct ledger *ledger = &answer.ledger;
        int i = row->n_runs++;
        row->prefill[i] = ledger->prefill_ms;
        row->select[i] = ledger->select_ms;
        row->ttft[i] = ledger->ttft_ms + b->vision_ms + b->project_ms;
        row->decode[i] = ledger->n_decode_steps ? ledger->decode_ms / ledger->n_decode_steps : NAN;
        row->macs_prefill = (double)ledger->macs[STAGE_PREFILL];
        row->macs_select = (double)ledger->macs[STAGE_SELECT];
    }
exit:
    answer_free(&answer);
    features_release(features);
    free(ids);
    return status;
}

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

/* One picture through the tower, median of the repeats. */
static enum status vision_measure(struct bench *b, struct session *session, struct error *err)
{
    double vision[MAX_REPEATS], project[MAX_REPEATS];
    struct image image = {0};
    int size = b->config.vision.image_size, n = b->n_repeats < 20 ? b->n_repeats : 20;
    TRY(image_new(&image, size, size, (const uint8_t[3]){90, 120, 60}, err));
    enum status status = OK;
    for (int r = -1; r < n && status == OK; r++) {
        double start = clock_ms();
        struct features *features;
        double times[2];
        status = session_encode(&features, session, &image, &(struct encode_options){0}, err);
        if (status != OK)
            break;
        features_times(features, &times[0], &times[1]);
        features_release(features);
        if (r >= 0) {
            vision[r] = times[0];
            project[r] = times[1];
        }
        if (r >= 4 && clock_ms() - start > 2000) { /* a big tower is slow and steady */
            n = r + 1;
        }
    }
    image_free(&image);
    TRY(status);
    b->vision_ms = median(vision, n);
    b->project_ms = median(project, n);
    return OK;
}

/* Interquartile range over median of the noisiest row. */
static double widest_spread(const struct bench *b)
{
    double widest = 0;
    for (int i = 0; i < b->n_rows; i++) {
        double sorted[MAX_REPEATS];
        int n = b->rows[i].n_runs;
        memcpy(sorted, b->rows[i].prefill, (size_t)n * sizeof *sorted);
        qsort(sorted, (size_t)n, sizeof *sorted, compare_double);
        widest = fmax(widest, (sorted[3 * n / 4] - sorted[n / 4]) / sorted[n / 2]);
    }
    return widest;
}

static enum status bench_run(struct bench *b, struct error *err)
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
    b->n_room =
        b->spread > 0 ? 10 * b->n_repeats < MAX_REPEATS ? 10 * b->n_repeats : MAX_REPEATS : b->n_repeats;
    TRY_GOTO(status, vision_measure(b, session, err));
    for (int i = 0; i < b->n_rows; i++) {
        struct row *row = &b->rows[i];
        row->prefill = memory_alloc((size_t)b->n_room * 4, sizeof *row->prefill);
        if (row->prefill == NULL)
            TRY_GOTO(status, memory_failed(err, "timings", (size_t)b->n_repeats * 32));
        row->select = row->prefill + b->n_room;
        row->ttft = row->select + b->n_room;
        row->decode = row->ttft + b->n_room;
        row_plan(row, b);
        TRY_GOTO(status, row_run(row, b, session, false, err)); /* warm-up */
        /* what this row alone needs: weights, activations of one layer, its own KV pages */
        row->peak_bytes = (double)vlm_weight_bytes(vlm) + (double)session_work_bytes(session) + row->kv_alloc;
    }
    for (int r = 0; r < b->n_repeats; r++)
        for (int i = 0; i < b->n_rows; i++)
            TRY_GOTO(status, row_run(&b->rows[(i + r) % b->n_rows], b, session, true, err));
    /* --spread: on until every row's middle half is that narrow, or ten times the repeats are done */
    for (int r = b->n_repeats; b->spread > 0 && r < b->n_room && widest_spread(b) > b->spread; r++)
        for (int i = 0; i < b->n_rows; i++)
            TRY_GOTO(status, row_run(&b->rows[(i + r) % b->n_rows], b, session, true, err));
exit:
    session_close(session);
    vlm_close(vlm);
    return status;
}

/* ---- output --------------------------------------------------------------------------------- */

static json_t *real_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* Vision, projector and prefill together, over what the same multiply-accumulates take at the library's rate
 * on 640×352×128 in this run. */
static double over_gemm(const struct bench *b, const struct row *row)
{
    double macs = row->macs_prefill + row->macs_select + (double)vlm_image_macs(&b->config);
    double ms = b->vision_ms + b->project_ms + median(row->prefill, row->n_runs);
    return ms / (1e3 * 2 * macs / b->gemm_flops);
}

static json_t *row_json(const struct bench *b, const struct row *row)
{
    char params[4096], budget[32];
    params_json(params, sizeof params, &row->method.params, false);
    budget_format(budget, sizeof budget, &row->method.budget);
    const struct row *dense = dense_of(b, row->n_visual);
    bool ran = row->n_runs > 0;
    double prefill = ran ? median(row->prefill, row->n_runs) : NAN,
           ttft = ran ? median(row->ttft, row->n_runs) : NAN;
    double speedup = dense && ran ? median(dense->prefill, dense->n_runs) / prefill : NAN;
    double ratio = dense ? dense->macs_prefill / row->macs_prefill : NAN;
    json_t *out = json_object(), *times = json_null();
    json_object_set_new(out, "method", json_string(row->method.reducer->name));
    json_object_set_new(out, "params", json_loads(params, 0, NULL));
    json_object_set_new(out, "budget", row->method.budget.given ? json_string(budget) : json_null());
    json_object_set_new(out, "budget_off",
                        row->plan.requested > 0 ? json_real(row->plan.measured / row->plan.requested - 1)
                                                : json_null());
    json_object_set_new(out, "cuts_fallen", json_integer(row->plan.n_fallen));
    json_object_set_new(out, "visual_tokens", json_integer(row->n_visual));
    json_object_set_new(out, "tokens_in", json_real(row->tokens_in));
    json_object_set_new(out, "tokens_out", json_real(row->tokens_out));
    json_object_set_new(out, "macs_paper", json_integer((json_int_t)row->macs_paper));
    json_object_set_new(out, "flops_prefill", json_integer((json_int_t)(2 * row->macs_prefill)));
    json_object_set_new(out, "flops_select", json_integer((json_int_t)(2 * row->macs_select)));
    if (ran) {
        double low = INFINITY, high = 0;
        for (int i = 0; i < row->n_runs; i++) {
            low = fmin(low, row->prefill[i]);
            high = fmax(high, row->prefill[i]);
        }
        times =
            json_pack("{s:f, s:f, s:f, s:i}", "median", prefill, "min", low, "max", high, "n", row->n_runs);
    }
    json_object_set_new(out, "prefill_ms", times);
    json_object_set_new(out, "select_ms", real_or_null(ran ? median(row->select, row->n_runs) : NAN));
    json_object_set_new(out, "vision_ms", real_or_null(ran ? b->vision_ms : NAN));
    json_object_set_new(out, "ttft_ms", real_or_null(ttft));
    json_object_set_new(out, "decode_ms_per_token",
                        real_or_null(ran && b->n_decode ? median(row->decode, row->n_runs) : NAN));
    json_object_set_new(out, "kv_bytes_live", json_integer((json_int_t)row->kv_live));
    json_object_set_new(out, "kv_bytes_alloc", json_integer((json_int_t)row->kv_alloc));
    json_object_set_new(out, "peak_bytes", ran ? json_integer((json_int_t)row->peak_bytes) : json_null());
    json_object_set_new(out, "speedup", real_or_null(speedup));
    json_object_set_new(out, "speedup_ttft",
                        real_or_null(dense && ran ? median(dense->ttft, dense->n_runs) / ttft : NAN));
    json_object_set_new(out, "flop_ratio", real_or_null(ratio));
    json_object_set_new(out, "ceiling_realised", real_or_null(speedup / ratio));
    json_object_set_new(out, "over_gemm", real_or_null(ran && b->gemm_flops > 0 ? over_gemm(b, row) : NAN));
    json_object_set_new(out, "roofline_ms", real_or_null(ran ? row->roofline_ms : NAN));
    json_object_set_new(out, "roofline_realised",
                        real_or_null(dense && ran ? speedup / (dense->roofline_ms / row->roofline_ms) : NAN));
    return out;
}

static enum status print_json(const struct bench *b, const char *machine, struct error *err)
{
    json_t *rows = json_array();
    for (int i = 0; i < b->n_rows; i++)
        json_array_append_new(rows, row_json(b, &b->rows[i]));
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:o, s:o}", "machine", machine, "device", b->device,
                  "dtype", b->common.dtype == DTYPE_CHOICE_BF16 ? "bf16" : "f32", "geometry",
                  b->geometry ? b->geometry : b->common.model, "layers", b->config.text.n_layers,
                  "text_tokens", b->n_text, "batch", 1, "peaks",
                  json_pack("{s:o, s:o}", "gemm_flops", real_or_null(b->plan ? NAN : b->gemm_flops),
                            "read_bytes_per_s", real_or_null(b->plan ? NAN : b->read_bytes)),
                  "rows", rows);
    return command_json(root, err);
}

static enum status print_table(const struct bench *b, const char *machine, struct error *err)
{
    (void)err;
    printf("%s; %s, %d layers, %d text tokens\n", machine, b->geometry ? b->geometry : b->common.model,
           b->config.text.n_layers, b->n_text);
    if (!b->plan)
        printf("gemm %.1f GFLOP/s, reading %.1f GB/s; vision %.2f ms, project %.2f ms\n",
               1e-9 * b->gemm_flops, 1e-9 * b->read_bytes, b->vision_ms, b->project_ms);
    printf("%-10s %7s %7s %9s %9s %9s %9s %9s %9s %9s %8s %8s\n", "method", "budget", "visual", "tokens_in",
           "GFLOP", "selGFLOP", "KV MB", "prefill", "select", "decode", "speedup", "ceiling");
    for (int i = 0; i < b->n_rows; i++) {
        const struct row *row = &b->rows[i], *dense = dense_of(b, row->n_visual);
        char budget[32];
        budget_format(budget, sizeof budget, &row->method.budget);
        printf("%-10s %7s %7d %9.2f %9.3f %9.4f %9.2f", row->method.reducer->name, budget, row->n_visual,
               row->tokens_in, 2e-9 * row->macs_prefill, 2e-9 * row->macs_select, 1e-6 * row->kv_live);
        if (row->n_runs) {
            double prefill = median(row->prefill, row->n_runs),
                   speedup = dense ? median(dense->prefill, dense->n_runs) / prefill : NAN;
            printf(" %9.2f %9.2f %9.3f %8.2f %8.2f", prefill, median(row->select, row->n_runs),
                   median(row->decode, row->n_runs), speedup,
                   dense ? speedup * row->macs_prefill / dense->macs_prefill : NAN);
        }
        if (row->n_runs && dense == row && row->n_visual == b->config.visual_per_image)
            printf("   vision + project + prefill: %.2f of gemm time", over_gemm(b, row));
        if (row->plan.n_fallen)
            printf("   %d cuts fall away: only %d layers", row->plan.n_fallen, b->config.text.n_layers);
        putchar('\n');
    }
    return OK;
}

static enum status option_take(struct bench *b, int option, char *argument, struct error *err)
{
    bool taken;
    int64_t number = 0;
    TRY(common_option(&b->common, option, argument, &taken, err));
    if (taken)
        return OK;
    switch (option) {
    case OPTION_PLAN:
        b->plan = true;
        return OK;
    case OPTION_GEOMETRY:
        b->geometry = argument;
        return OK;
    case OPTION_METHODS:
        b->methods = argument;
        return OK;
    case OPTION_BUDGETS:
        b->budgets = argument;
        return OK;
    case OPTION_MATCH:
        b->match = argument;
        return OK;
    case OPTION_VISUAL:
        b->visual = argument;
        return OK;
    case OPTION_TEXT:
        TRY(parse_int(&number, argument, 2, LIMIT_SEQUENCE, "--text-tokens", err));
        b->n_text = (int)number;
        return OK;
    case OPTION_BATCH:
        return parse_int(&number, argument, 1, 1, "--batch (one sequence at a time so far)", err);
    case OPTION_DECODE:
        TRY(parse_int(&number, argument, 0, LIMIT_NEW_TOKENS - 1, "--decode", err));
        b->n_decode = (int)number;
        return OK;
    case OPTION_REPEATS:
        TRY(parse_int(&number, argument, 1, MAX_REPEATS, "--repeats", err));
        b->n_repeats = (int)number;
        return OK;
    case OPTION_SPREAD:
        return parse_real(&b->spread, argument, 0, 1, "--spread", err);
    case 'p':
        if (b->n_set == (int)(sizeof b->set / sizeof *b->set))
            return fail(err, BAD_INPUT, "more than %d parameters", b->n_set);
        b->set[b->n_set++] = argument;
        return OK;
    default:
        return fail(err, BAD_INPUT, "unknown option; see `winnow help bench`");
    }
}

int cmd_bench(int argc, char **argv)
{
    static const struct option table[] = {COMMON_OPTIONS,
                                          {"plan", no_argument, NULL, OPTION_PLAN},
                                          {"geometry", required_argument, NULL, OPTION_GEOMETRY},
                                          {"methods", required_argument, NULL, OPTION_METHODS},
                                          {"budgets", required_argument, NULL, OPTION_BUDGETS},
                                          {"match", required_argument, NULL, OPTION_MATCH},
                                          {"visual-tokens", required_argument, NULL, OPTION_VISUAL},
                                          {"text-tokens", required_argument, NULL, OPTION_TEXT},
                                          {"batch", required_argument, NULL, OPTION_BATCH},
                                          {"decode", required_argument, NULL, OPTION_DECODE},
                                          {"repeats", required_argument, NULL, OPTION_REPEATS},
                                          {"spread", required_argument, NULL, OPTION_SPREAD},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct bench b = {.methods = "vanilla,sparsevlm,fastv,random",
                      .budgets = "192,128,64",
                      .match = "official",
                      .n_text = 64,
                      .n_decode = 8,
                      .n_repeats = 7};
    struct error err;
    common_init(&b.common);
    for (int o; (o = getopt_long(argc, argv, "hp:", table, NULL)) != -1;) {
        if (o == 'h')
            return printf("%s", command_find("bench")->usage), OK;
        if (o == '?')
            return command_option("bench", argc, argv);
        if (option_take(&b, o, optarg, &err) != OK)
            return command_fail(&err);
    }
    if (optind < argc)
        return command_usage("bench", "unexpected '%s'", argv[optind]);
    b.device = b.common.device ? b.common.device : "cpu";
    char machine[MACHINE_SIZE];
    machine_name(machine, sizeof machine);
    b.rows = memory_zero(MAX_ROWS, sizeof *b.rows);
    enum status status = b.rows ? OK : memory_failed(&err, "rows", MAX_ROWS * sizeof *b.rows);
    if (status == OK)
        status = vlm_describe(&b.config, &(struct vlm_options){.dir = b.common.model, .geometry = b.geometry},
                              &err);
    if (status == OK)
        status = rows_make(&b, &err);
    if (status == OK && b.plan)
        for (int i = 0; i < b.n_rows; i++)
            row_plan(&b.rows[i], &b);
    else if (status == OK)
        status = bench_run(&b, &err);
    if (status == OK)
        status = (b.common.json ? print_json : print_table)(&b, machine, &err);
    for (int i = 0; b.rows && i < b.n_rows; i++)
        free(b.rows[i].prefill);
    free(b.rows);
    return status == OK ? OK : command_fail(&err);
}
