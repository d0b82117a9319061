/* What a sweep says on stdout: before (--plan: cells, samples, cost, what can be seen with so many samples)
 * and after (a line a cell, or --json).
 *
 * Cost is estimated for a typical sample, the first of each benchmark, with answers of ANSWER_TOKENS ids;
 * "shared" counts each picture's vision tower once, as the sweep does it.
 */
#include <jansson.h>
#include <math.h>   /* isnan */
#include <stdio.h>  /* printf */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */
#include <unistd.h> /* sysconf */

#include "core/json.h"
#include "core/map.h"
#include "core/memory.h"
#include "harness/stats.h"
#include "harness/sweep_run.h"

enum { ANSWER_TOKENS = 4 };

/* Share of samples that two methods answer differently, taken for the smallest detectable difference. */
static const double discordance = 0.08;

static int label_width(const struct run *run)
{
    int width = 6;
    for (int i = 0; i < run->grid.n_arms; i++) {
        int n = (int)strlen(run->grid.arms[i]->label);
        width = n > width ? n : width;
    }
    return width;
}

struct cost {
    double vision, rest; /* FLOPs of one sample */
};

/* Tower and projector of one picture. */
static double vision_flops(const struct vlm_config *config)
{
    double d = config->vision.hidden, m = config->vision.intermediate, w = config->text.hidden;
    double patches = (double)config->grid_rows * config->grid_cols, t = patches + 1;
    double layer = 4 * t * d * d + 2 * t * t * d + 2 * t * d * m;
    double embed = patches * 3 * config->vision.patch * config->vision.patch * d;
    return 2 * (embed + layer * config->vision.n_used_layers + patches * (d * w + w * w));
}

static enum status cost_of(struct cost *out, const struct run *run, const struct cell *cell,
                           struct error *err)
{
    const struct vlm_config *config = vlm_config(run->vlm);
    const struct method *method = &cell->arm->method;
    struct plan_input input;
    struct plan plan = {0};
    TRY(typical_input(&input, run, cell, err));
    if (cell->reason == NULL && cell->arm->replay == NULL)
        TRY(method_plan(&plan, method, &input, err));
    int *visual_in = memory_zero((size_t)input.n_layers, sizeof *visual_in);
    int *visual_out = memory_zero((size_t)input.n_layers, sizeof *visual_out);
    if (visual_in && visual_out) {
        plan_trajectory(visual_in, visual_out, &plan, input.n_visual, input.n_layers);
        double macs = plan.n_cuts > 0 ? method->reducer->plan_select_macs(&plan, method, &input) : 0;
        for (int l = 0; l < input.n_layers; l++) {
            int n = visual_in[l] + input.n_text;
            macs += (double)macs_layer(n, n, input.hidden, input.intermediate, input.n_heads,
                                       input.n_kv_heads, input.head_dim);
            macs += (ANSWER_TOKENS - 1.0) * (double)macs_layer(1, visual_out[l] + input.n_text, input.hidden,
                                                               input.intermediate, input.n_heads,
                                                               input.n_kv_heads, input.head_dim);
        }
        macs += ANSWER_TOKENS * (double)config->text.hidden * config->text.vocabulary;
        *out = (struct cost){.vision = input.n_visual > 0 ? vision_flops(config) : 0, .rest = 2 * macs};
    }
    bool ok = visual_in && visual_out;
    free(visual_in);
    free(visual_out);
    return ok ? OK : memory_failed(err, "a plan", (size_t)input.n_layers * sizeof(int));
}

/* Distinct pictures among a benchmark's chosen samples. */
static int count_pictures(const struct material *material)
{
    struct map map;
    if (!map_init(&map, (size_t)material->n_rows + 1))
        return material->n_rows;
    int n = 0;
    for (int i = 0; i < material->n_rows; i++) {
        const char *image = material->data.samples[material->rows[i]].image;
        if (image && map_put(&map, image, strlen(image), 1) < 0)
            n++;
    }
    map_free(&map);
    return n;
}

/* Milliseconds of a worker per sample, from what the store holds of this model; NaN where it holds nothing.
 */
static double known_rate(sqlite3 *db, const struct run *run, const char *method)
{
    static const char sql[] =
        "SELECT coalesce((SELECT avg(s.wall_ms) FROM sample s JOIN cell c ON c.id = s.cell WHERE"
        " c.weights_sha = ?1 AND s.machine = ?2 AND c.method = ?3),"
        " (SELECT avg(s.wall_ms) FROM sample s JOIN cell c ON c.id = s.cell WHERE"
        " c.weights_sha = ?1 AND s.machine = ?2))";
    sqlite3_stmt *s;
    double rate = NAN;
    if (db == NULL || sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        return rate;
    sqlite3_bind_text(s, 1, run->weights_sha, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, run->machine, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 3, method, -1, SQLITE_STATIC);
    if (sqlite3_step(s) == SQLITE_ROW && sqlite3_column_type(s, 0) != SQLITE_NULL)
        rate = sqlite3_column_double(s, 0);
    sqlite3_finalize(s);
    return rate;
}

/* Rows of a cell that the store holds already. */
static int known_rows(sqlite3 *db, const struct cell *cell)
{
    sqlite3_stmt *s;
    int n = 0;
    if (db == NULL || sqlite3_prepare_v2(db, "SELECT count(*) FROM samples WHERE key = ? AND error IS NULL",
                                         -1, &s, NULL) != SQLITE_OK)
        return 0;
    sqlite3_bind_text(s, 1, cell->key, -1, SQLITE_STATIC);
    if (sqlite3_step(s) == SQLITE_ROW)
        n = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return n;
}

/* What one model's plan comes to; `benchmarks` and `cells` go into --json. */
struct totals {
    double apart, shared, wall_ms;
    long long n_samples;
    bool rate_known;
    json_t *benchmarks, *cells;
};

static void plan_benchmarks(struct totals *totals, const struct run *run)
{
    bool text = !run->options->json;
    if (text)
        printf("\n%-14s %8s %9s %9s  %s\n", "benchmark", "samples", "pictures", "missing",
               "smallest detectable difference");
    for (int b = 0; b < run->sweep.n_benchmarks; b++) {
        const struct material *material = &run->materials[b];
        if (!material->open)
            continue;
        const char *name = material->entry->name, *published = material->data.benchmark->published;
        int n_pictures = count_pictures(material), n_missing = material->n_images_missing;
        double least = minimum_detectable(material->n_rows, discordance, 1);
        json_array_append_new(totals->benchmarks,
                              json_pack("{s:s, s:i, s:i, s:i, s:f, s:s}", "benchmark", name, "samples",
                                        material->n_rows, "pictures", n_pictures, "pictures_missing",
                                        n_missing, "smallest_detectable", isnan(least) ? 1.0 : least,
                                        "published", published));
        if (!text)
            continue;
        printf("%-14s %8d %9d %9d  %.1f points of accuracy (80 %% power, %.0f %% of pairs differing, no "
               "clustering)\n",
               name, material->n_rows, n_pictures, n_missing, 100 * least, 100 * discordance);
        if (n_missing > 0)
            printf("%-14s pictures are published at %s\n", "", published);
    }
}

static void plan_line(struct totals *totals, const struct run *run, const struct cell *cell, int n,
                      int n_left, double flops)
{
    const char *benchmark = run->materials[cell->benchmark].entry->name, *label = cell->arm->label;
    json_array_append_new(totals->cells, json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:s?}", "key",
                                                   cell->key, "benchmark", benchmark, "method",
                                                   cell->arm->method.reducer->name, "label", label, "n", n,
                                                   "to_run", n_left, "flops", flops, "reason", cell->reason));
    if (run->options->json)
        return;
    printf("%-32s %-12s %-*s ", cell->key[0] ? cell->key : "-", benchmark, label_width(run), label);
    if (cell->reason)
        printf("infeasible: %s\n", cell->reason);
    else
        printf("%6d %6d %10.4g\n", n, n_left, flops);
}

static enum status plan_cell(struct totals *totals, const struct run *run, const struct cell *cell,
                             sqlite3 *db, struct error *err)
{
    const struct material *material = &run->materials[cell->benchmark];
    int n = material->open ? material->n_rows : material->entry->limit;
    if (cell->reason) {
        plan_line(totals, run, cell, 0, 0, 0);
        return OK;
    }
    struct cost cost = {0};
    TRY(cost_of(&cost, run, cell, err));
    int n_known = known_rows(db, cell);
    int n_left = n_known < n ? n - n_known : 0;
    double rate = known_rate(db, run, cell->arm->method.reducer->name);
    plan_line(totals, run, cell, n, n_left, cost.vision + cost.rest);
    totals->n_samples += n_left;
    totals->apart += n_left * (cost.vision + cost.rest);
    totals->shared += n_left * cost.rest;
    totals->rate_known = totals->rate_known && !isnan(rate);
    totals->wall_ms += isnan(rate) ? 0 : rate * n_left;
    return OK;
}

/* Each picture once, and once more where a control changes it. */
static double shared_vision(const struct run *run)
{
    double sum = 0;
    for (int b = 0; b < run->sweep.n_benchmarks; b++) {
        bool own = false, blank = false;
        for (int i = 0; i < run->grid.n_cells; i++) {
            const struct cell *cell = &run->grid.cells[i];
            if (cell->benchmark != b || cell->model != run->model || cell->reason)
                continue;
            own = own || cell->arm->control == CONTROL_NONE || cell->arm->control == CONTROL_MISMATCHED;
            blank = blank || cell->arm->control == CONTROL_BLANK;
        }
        if (run->materials[b].open)
            sum += count_pictures(&run->materials[b]) * (own + blank) * vision_flops(vlm_config(run->vlm));
    }
    return sum;
}

static void plan_totals(struct run *run, struct totals *totals)
{
    long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    int n_workers = run->options->n_workers > 0 ? run->options->n_workers : n_cores > 0 ? (int)n_cores : 1;
    double shared = totals->shared + shared_vision(run), seconds = totals->wall_ms / 1e3 / n_workers;
    shared = shared < totals->apart ? shared : totals->apart;
    json_array_append_new(run->plan, json_pack("{s:s, s:s, s:I, s:f, s:f, s:o, s:O, s:O}", "model",
                                               run->sweep.models[run->model], "device", vlm_device(run->vlm),
                                               "samples", (json_int_t)totals->n_samples, "flops_apart",
                                               totals->apart, "flops_shared", shared, "expected_s",
                                               totals->rate_known ? json_real(seconds) : json_null(),
                                               "benchmarks", totals->benchmarks, "cells", totals->cells));
    if (run->options->json)
        return;
    printf("\n%lld samples to run; %.4g FLOPs apart, %.4g shared (answers of %d tokens)\n", totals->n_samples,
           totals->apart, shared, ANSWER_TOKENS);
    if (totals->rate_known && totals->n_samples > 0)
        printf("expected time: %.0f s with %d workers, by what the store holds of this model and machine%s\n",
               seconds, n_workers, run->sweep.timing.wanted ? ", timing pass not counted" : "");
    else if (totals->n_samples > 0)
        printf("expected time: not known before the store holds answers of this model on this machine\n");
}

enum status sweep_print_plan(struct run *run, struct error *err)
{
    sqlite3 *db = NULL;
    if (file_exists(run->store_path))
        TRY(store_open_reader(&db, run->store_path, err));
    struct totals totals = {.rate_known = true, .benchmarks = json_array(), .cells = json_array()};
    if (run->plan == NULL)
        run->plan = json_array();
    if (!run->options->json)
        printf("sweep %s, model %s (%s), store %s%s\n", run->sweep.name, run->sweep.models[run->model],
               vlm_device(run->vlm), run->store_path, db ? "" : " (to be made)");
    plan_benchmarks(&totals, run);
    if (!run->options->json)
        printf("\n%-32s %-12s %-*s %6s %6s %10s\n", "cell", "benchmark", label_width(run), "method", "n",
               "to run", "FLOPs each");
    enum status status = OK;
    for (int i = 0; i < run->grid.n_cells && status == OK; i++)
        if (run->grid.cells[i].model == run->model)
            status = plan_cell(&totals, run, &run->grid.cells[i], db, err);
    if (status == OK)
        plan_totals(run, &totals);
    json_decref(totals.benchmarks);
    json_decref(totals.cells);
    sqlite3_close(db);
    return status;
}

enum status sweep_end_plan(struct run *run, struct error *err)
{
    if (run->options->json) {
        json_t *document = json_pack("{s:s, s:s, s:O}", "sweep", run->sweep.name, "store", run->store_path,
                                     "models", run->plan);
        if (document == NULL)
            return memory_failed(err, "the plan", 0);
        json_dumpf(document, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(10));
        putchar('\n');
        json_decref(document);
    }
    int n_infeasible = 0;
    for (int i = 0; i < run->grid.n_cells; i++)
        n_infeasible += run->grid.cells[i].reason != NULL;
    return n_infeasible == 0 ? OK : fail(err, NOT_HELD, "%d cells are infeasible, see above", n_infeasible);
}

/* ---- after ---------------------------------------------------------------------------------- */

static const char result_sql[] =
    "SELECT key, model, benchmark, method, budget, match, control, seed, params, n, n_failed, reason, "
    "metric, score,"
    " score_lo, score_hi, tokens_in, tokens_out, budget_off, flops, prefill_ms FROM cells WHERE key = ?";

static json_t *row_json(sqlite3_stmt *s)
{
    json_t *object = json_object();
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        json_t *value = json_null();
        int type = sqlite3_column_type(s, i);
        const char *text = type == SQLITE_TEXT ? (const char *)sqlite3_column_text(s, i) : NULL;
        if (type == SQLITE_INTEGER)
            value = json_integer(sqlite3_column_int64(s, i));
        else if (type == SQLITE_FLOAT)
            value = json_real(sqlite3_column_double(s, i));
        else if (text && strcmp(sqlite3_column_name(s, i), "params") == 0)
            value = json_loads(text, 0, NULL);
        else if (text)
            value = json_string(text);
        json_object_set_new(object, sqlite3_column_name(s, i), value ? value : json_null());
    }
    return object;
}

static void print_row(sqlite3_stmt *s, const struct cell *cell, int width)
{
    if (sqlite3_column_type(s, 13) == SQLITE_NULL)
        printf("%-12s %-*s %6d  %s\n", sqlite3_column_text(s, 2), width, cell->arm->label,
               sqlite3_column_int(s, 9), cell->reason ? "infeasible" : "no score");
    else
        printf("%-12s %-*s %6d %8.2f [%.2f, %.2f] %8.1f\n", sqlite3_column_text(s, 2), width,
               cell->arm->label, sqlite3_column_int(s, 9), sqlite3_column_double(s, 13),
               sqlite3_column_double(s, 14), sqlite3_column_double(s, 15), sqlite3_column_double(s, 16));
}

enum status sweep_print_result(struct run *run, struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_prepare(&s, run->store, result_sql, err));
    bool json = run->options->json;
    json_t *cells = json_array();
    if (!json)
        printf("%-12s %-*s %6s %8s %-16s %8s\n", "benchmark", label_width(run), "method", "n", "score",
               "95 % interval", "tokens in");
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        sqlite3_bind_text(s, 1, cell->key, -1, SQLITE_STATIC);
        if (cell->id != 0 && sqlite3_step(s) == SQLITE_ROW) {
            if (json)
                json_array_append_new(cells, row_json(s));
            else
                print_row(s, cell, label_width(run));
        }
        sqlite3_reset(s);
    }
    sqlite3_finalize(s);
    if (!json)
        printf("store: %s\n", run->store_path);
    return progress_end(&run->progress,
                        json_pack("{s:s, s:s, s:s, s:s*, s:i, s:i, s:o}", "event", "end", "sweep",
                                  run->sweep.name, "store", run->store_path, "trace",
                                  run->trace ? run->trace_path : NULL, "n_run", run->n_done, "n_failed",
                                  run->n_failed, "cells", cells),
                        err);
}
