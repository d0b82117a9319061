/* What a sweep says on stdout: before (--plan: cells, samples, cost, what can be seen with so many samples)
 * and after (a line a cell, or --json).
 */
#include <jansson.h>
#include <math.h>   /* isnan */
#include <stdio.h>  /* printf */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/json.h"
#include "core/memory.h"
#include "harness/cost.h"
#include "harness/stats.h"
#include "harness/sweep_run.h"
#include "harness/trace_plan.h"

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
    struct sweep_cost cost;
    struct cell_cost *costs; /* by cell */
    int *n_left;
    long long n_samples;
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
        if (material->entry == NULL) /* its like stands further up */
            continue;
        const char *name = material->entry->name, *published = material->data.benchmark->published;
        int n_pictures = count_pictures(material), n_missing = material->n_images_missing;
        double least = minimum_detectable(material->n_rows, discordance, 1);
        bool has_gold = material->data.has_gold || material->data.benchmark->judging;
        json_array_append_new(totals->benchmarks,
                              json_pack("{s:s, s:s?, s:s, s:i, s:i, s:i, s:b, s:s?, s:f, s:s}", "benchmark",
                                        name, "stands_in_for", material->entry->stands_in_for, "split",
                                        split_names[material->entry->split], "samples", material->n_rows,
                                        "pictures", n_pictures, "pictures_missing", n_missing, "gold",
                                        material->open && has_gold, "missing", material->reason,
                                        "smallest_detectable", isnan(least) ? 1.0 : least, "published",
                                        published));
        if (!text)
            continue;
        if (reason_is_new(run, b))
            printf("missing: %s\n", material->reason);
        if (material->reason)
            continue;
        printf("%-14s %8d %9d %9d  %.1f points of accuracy (80 %% power, %.0f %% of pairs differing, no "
               "clustering)\n",
               name, material->n_rows, n_pictures, n_missing, 100 * least, 100 * discordance);
        if (material->entry->stands_in_for)
            printf(
                "%-14s a generated twin; it stands in for %s, since no data folder is given (--data DIR)\n",
                "", material->entry->stands_in_for);
        if (n_missing > 0)
            printf("%-14s pictures are published at %s\n", "", published);
        if (!has_gold)
            printf("%-14s no annotations: answers are kept, the score is NULL; published at %s\n", "",
                   published);
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
    if (run->materials[cell->benchmark].reason)
        printf("infeasible: what it asks is missing, see above\n");
    else if (cell->reason)
        printf("infeasible: %s\n", cell->reason);
    else
        printf("%6d %6d %10.4g\n", n, n_left, flops);
}

/* Samples a cell is asked; of them, those to run. */
static int cell_samples(const struct run *run, const struct cell *cell)
{
    const struct material *material = &run->materials[cell->benchmark];
    return cell->reason ? 0 : material->open ? material->n_rows : material->entry->limit;
}

/* Most bytes of each kind that a sweep holds at once. */
struct memory_plan {
    size_t weights, sessions, features, shared;
};

static struct memory_plan memory_of(const struct run *run, const struct sweep_cost *cost)
{
    const struct vlm_config *config = vlm_config(run->vlm);
    size_t one = (size_t)config->visual_per_image * (size_t)config->text.hidden * sizeof(float);
    return (struct memory_plan){.weights = vlm_weight_bytes(run->vlm),
                                .sessions = cost->session_bytes * (size_t)sweep_workers(run),
                                .features = one * (size_t)sweep_feature_slots(run),
                                .shared = sweep_share_bytes(run)};
}

static double mebibytes(size_t n_bytes)
{
    return (double)n_bytes / (1 << 20);
}

static void plan_totals(struct run *run, const struct totals *totals)
{
    const struct sweep_cost *cost = &totals->cost;
    int n_workers = sweep_workers(run);
    bool known = !isnan(cost->seconds), timed = run->sweep.timing.wanted;
    struct memory_plan memory = memory_of(run, cost);
    json_array_append_new(
        run->plan, json_pack("{s:s, s:s, s:I, s:i, s:{s:I, s:I, s:I, s:I}, s:f, s:f, s:o, s:o, s:O, s:O}",
                             "model", run->sweep.models[run->model], "device", vlm_device(run->vlm),
                             "samples", (json_int_t)totals->n_samples, "workers", n_workers, "memory_bytes",
                             "weights", (json_int_t)memory.weights, "workers", (json_int_t)memory.sessions,
                             "pictures", (json_int_t)memory.features, "shared", (json_int_t)memory.shared,
                             "flops_apart", cost->apart, "flops_shared", cost->shared, "expected_s",
                             known ? json_real(cost->seconds) : json_null(), "expected_timing_s",
                             known && timed && !isnan(cost->timing_seconds) ? json_real(cost->timing_seconds)
                                                                            : json_null(),
                             "benchmarks", totals->benchmarks, "cells", totals->cells));
    if (run->options->json)
        return;
    printf("\n%lld samples to run: %.4g FLOPs apart, %.4g with what cells share (%.0f %%)\n",
           totals->n_samples, cost->apart, cost->shared,
           cost->apart > 0 ? 100 * cost->shared / cost->apart : 100.0);
    if (totals->n_samples > 0 && known)
        printf("expected time: %.0f s with %d workers, by a calibration of two samples%s\n", cost->seconds,
               n_workers, timed ? "" : "; no timing pass");
    if (totals->n_samples > 0 && known && timed)
        printf("timing pass: about %.0f s more\n", cost->timing_seconds);
    if (totals->n_samples > 0 && !known)
        printf("expected time: not known, since no picture can be asked about here\n");
    printf("memory: weights %.0f MiB, workers %.0f, pictures up to %.0f, what cells share up to %.0f%s\n",
           mebibytes(memory.weights), mebibytes(memory.sessions), mebibytes(memory.features),
           mebibytes(memory.shared), run->options->no_share ? " (--no-share)" : "");
}

enum status sweep_print_plan(struct run *run, struct error *err)
{
    sqlite3 *db = NULL;
    if (file_exists(run->store_path))
        TRY(store_open_reader(&db, run->store_path, err));
    size_t n_cells = (size_t)run->grid.n_cells;
    struct totals totals = {.costs = memory_zero(n_cells, sizeof *totals.costs),
                            .n_left = memory_zero(n_cells, sizeof *totals.n_left),
                            .benchmarks = json_array(),
                            .cells = json_array()};
    enum status status = OK;
    if (totals.costs == NULL || totals.n_left == NULL)
        TRY_GOTO(status, memory_failed(err, "a plan", n_cells * sizeof *totals.costs));
    if (run->plan == NULL)
        run->plan = json_array();
    if (!run->options->json)
        printf("sweep %s, model %s (%s), store %s%s\n", run->sweep.name, run->sweep.models[run->model],
               vlm_device(run->vlm), run->store_path, db ? "" : " (to be made)");
    plan_benchmarks(&totals, run);
    if (!run->options->json)
        printf("\n%-32s %-12s %-*s %6s %6s %10s\n", "cell", "benchmark", label_width(run), "method", "n",
               "to run", "FLOPs each");
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        int n = cell_samples(run, cell), n_known = cell->model == run->model ? known_rows(db, cell) : n;
        totals.n_left[i] = n_known < n ? n - n_known : 0;
        totals.n_samples += totals.n_left[i];
    }
    TRY_GOTO(status, cost_sweep(&totals.cost, totals.costs, run, totals.n_left, err));
    for (int i = 0; i < run->grid.n_cells; i++)
        if (run->grid.cells[i].model == run->model)
            plan_line(&totals, run, &run->grid.cells[i], cell_samples(run, &run->grid.cells[i]),
                      totals.n_left[i], cost_alone(&totals.costs[i]));
    plan_totals(run, &totals);
    status = trace_plan_state(run, err);
exit:
    free(totals.costs);
    free(totals.n_left);
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
    fflush(stdout); /* before what stderr says of it */
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
    fflush(stdout);
    return progress_end(&run->progress,
                        json_pack("{s:s, s:s, s:s, s:s*, s:i, s:i, s:f, s:f, s:o}", "event", "end", "sweep",
                                  run->sweep.name, "store", run->store_path, "trace",
                                  run->trace ? run->trace_path : NULL, "n_run", run->n_done, "n_failed",
                                  run->n_failed, "flops_apart", run->flops_alone, "flops_shared",
                                  run->flops_alone - run->flops_shared, "cells", cells),
                        err);
}
