/* Reads the views of one or more stores (SQLite, read only) into plain structs. Columns are asked for by
 * name, from tables that say where each goes; a store without one of them is an error that says so. */
#include "reports/cells.h"

#include "core/limits.h"
#include "core/memory.h"
#include "harness/store_reader.h"

#include <jansson.h> /* metrics */
#include <math.h>    /* NAN */
#include <stddef.h>  /* offsetof */
#include <stdio.h>   /* snprintf */
#include <stdlib.h>  /* free */
#include <string.h>  /* strcmp */

enum { SAMPLES_MAX = 4 << 20, COMPARISONS_MAX = LIMIT_CELLS * 8 };

struct column {
    const char *name;
    bool text;
    size_t offset;
};

#define CELL_TEXT(member, column)                                                                            \
    {                                                                                                        \
        column, true, offsetof(struct cell, member)                                                          \
    }
#define CELL_REAL(member)                                                                                    \
    {                                                                                                        \
#member, false, offsetof(struct cell, member)                                                        \
    }
static const struct column cell_columns[] = {CELL_TEXT(key, "key"),
                                             CELL_TEXT(model, "model"),
                                             CELL_TEXT(family, "family"),
                                             CELL_TEXT(method, "method"),
                                             CELL_TEXT(params, "params"),
                                             CELL_TEXT(benchmark, "benchmark"),
                                             CELL_TEXT(split, "split"),
                                             CELL_TEXT(control, "control"),
                                             CELL_TEXT(template_name, "template"),
                                             CELL_TEXT(image_mode, "image_mode"),
                                             CELL_TEXT(budget, "budget"),
                                             CELL_TEXT(match, "match"),
                                             CELL_TEXT(reason, "reason"),
                                             CELL_TEXT(metric, "metric"),
                                             CELL_TEXT(metrics, "metrics"),
                                             CELL_TEXT(device, "device"),
                                             CELL_TEXT(dtype, "dtype"),
                                             CELL_TEXT(machine, "machine"),
                                             CELL_TEXT(revision, "revision"),
                                             CELL_TEXT(created, "created"),
                                             CELL_REAL(seed),
                                             CELL_REAL(n),
                                             CELL_REAL(n_failed),
                                             CELL_REAL(score),
                                             CELL_REAL(score_lo),
                                             CELL_REAL(score_hi),
                                             CELL_REAL(tokens_in),
                                             CELL_REAL(tokens_out),
                                             CELL_REAL(budget_off),
                                             CELL_REAL(macs_paper),
                                             CELL_REAL(flops),
                                             CELL_REAL(flops_prefill),
                                             CELL_REAL(flops_select),
                                             CELL_REAL(kv_bytes_live),
                                             CELL_REAL(kv_bytes_alloc),
                                             CELL_REAL(kv_visual_bytes),
                                             CELL_REAL(timed_n),
                                             CELL_REAL(vision_ms),
                                             CELL_REAL(prefill_ms),
                                             CELL_REAL(select_ms),
                                             CELL_REAL(ttft_ms),
                                             CELL_REAL(total_ms)};
enum { N_CELL_COLUMNS = sizeof cell_columns / sizeof *cell_columns };

#define COMPARISON_TEXT(member)                                                                              \
    {                                                                                                        \
#member, true, offsetof(struct comparison, member)                                                   \
    }
#define COMPARISON_REAL(member)                                                                              \
    {                                                                                                        \
#member, false, offsetof(struct comparison, member)                                                  \
    }
static const struct column comparison_columns[] = {
    COMPARISON_TEXT(key),       COMPARISON_TEXT(base_key), COMPARISON_REAL(n),    COMPARISON_REAL(diff),
    COMPARISON_REAL(lo),        COMPARISON_REAL(hi),       COMPARISON_REAL(b01),  COMPARISON_REAL(b10),
    COMPARISON_REAL(mcnemar_p), COMPARISON_REAL(holm_p),   COMPARISON_REAL(bh_q), COMPARISON_REAL(loyalty)};
enum { N_COMPARISON_COLUMNS = sizeof comparison_columns / sizeof *comparison_columns };

static const struct column sample_columns[] = {{"question", true, offsetof(struct sample, question)},
                                               {"image", true, offsetof(struct sample, image)},
                                               {"answer", true, offsetof(struct sample, answer)},
                                               {"gold", true, offsetof(struct sample, gold)}};
enum { N_SAMPLE_COLUMNS = sizeof sample_columns / sizeof *sample_columns };

static enum status prepare(sqlite3_stmt **out, sqlite3 *db, const char *sql, const char *path,
                           struct error *err)
{
    if (sqlite3_prepare_v2(db, sql, -1, out, NULL) != SQLITE_OK)
        return fail(err, BAD_INPUT,
                    "%s: not a store of this version: %s; expected the views cells, samples, layers and "
                    "comparisons",
                    path, sqlite3_errmsg(db));
    return OK;
}

static enum status prepare_columns(sqlite3_stmt **out, sqlite3 *db, const struct column *columns, int n,
                                   const char *rest, const char *path, struct error *err)
{
    char sql[2048] = "SELECT ";
    size_t used = strlen(sql);
    for (int i = 0; i < n; i++)
        used +=
            (size_t)snprintf(sql + used, sizeof sql - used, "%s\"%s\"", i > 0 ? ", " : "", columns[i].name);
    snprintf(sql + used, sizeof sql - used, " FROM %s", rest);
    return prepare(out, db, sql, path, err);
}

static enum status read_row(void *row, sqlite3_stmt *statement, const struct column *columns, int n,
                            int first, struct error *err)
{
    for (int i = 0; i < n; i++) {
        void *at = (char *)row + columns[i].offset;
        if (columns[i].text) {
            const unsigned char *text = sqlite3_column_text(statement, first + i);
            char *copy = memory_text(text != NULL ? (const char *)text : "");
            if (copy == NULL)
                return memory_failed(err, "a row of the store", 1);
            memcpy(at, &copy, sizeof copy);
        } else {
            double value = sqlite3_column_type(statement, first + i) == SQLITE_NULL
                               ? (double)NAN
                               : sqlite3_column_double(statement, first + i);
            memcpy(at, &value, sizeof value);
        }
    }
    return OK;
}

static void free_row(void *row, const struct column *columns, int n)
{
    for (int i = 0; i < n; i++)
        if (columns[i].text) {
            char *text;
            memcpy(&text, (char *)row + columns[i].offset, sizeof text);
            free(text);
        }
}

/* One more element of `size` bytes, zeroed. */
static void *grow(void *array, int n, size_t size)
{
    if (n > 0 && (n & (n - 1)) != 0)
        return array; /* capacity is the next power of two */
    return memory_grow(array, n > 0 ? (size_t)n * 2 : 1, size);
}

static struct cell *find(const struct cells *cells, const char *key)
{
    for (int i = 0; i < cells->n; i++)
        if (strcmp(cells->cells[i].key, key) == 0)
            return &cells->cells[i];
    return NULL;
}

const struct cell *cells_find(const struct cells *cells, const char *key)
{
    return find(cells, key);
}

static void cell_free(struct cell *cell)
{
    free_row(cell, cell_columns, N_CELL_COLUMNS);
    free(cell->layers);
}

/* Adds or, where the key is known and this one has more samples, replaces. */
static enum status take_cell(struct cells *out, struct cell *cell, struct error *err)
{
    struct cell *known = find(out, cell->key);
    if (known != NULL) {
        bool better = cell->n > known->n;
        struct cell worse = better ? *known : *cell;
        if (better)
            *known = *cell;
        cell_free(&worse);
        *cell = (struct cell){0};
        return OK;
    }
    if (out->n >= LIMIT_CELLS)
        return fail(err, BAD_INPUT, "the stores hold more than %d cells", LIMIT_CELLS);
    struct cell *grown = grow(out->cells, out->n, sizeof *grown);
    if (grown == NULL)
        return memory_failed(err, "cells", sizeof *grown);
    out->cells = grown;
    out->cells[out->n++] = *cell;
    *cell = (struct cell){0};
    return OK;
}

static enum status step(bool *row, sqlite3 *db, sqlite3_stmt *statement, const char *path, struct error *err)
{
    int rc = sqlite3_step(statement);
    *row = rc == SQLITE_ROW;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return fail(err, BAD_INPUT, "%s: reading failed: %s", path, sqlite3_errmsg(db));
    return OK;
}

static int marked_in(const char *metrics)
{
    json_t *figures = json_loadb(metrics, strlen(metrics), 0, NULL);
    json_int_t n = json_integer_value(json_object_get(figures, "marked"));
    json_decref(figures);
    return n > 0 && n < INT32_MAX ? (int)n : 0;
}

static enum status read_cells(struct cells *out, sqlite3 *db, int store, struct error *err)
{
    const char *path = out->stores[store];
    sqlite3_stmt *statement = NULL;
    struct cell cell = {0};
    enum status status;
    TRY_GOTO(status, prepare_columns(&statement, db, cell_columns, N_CELL_COLUMNS,
                                     "cells ORDER BY created, benchmark, key", path, err));
    for (bool row;;) {
        TRY_GOTO(status, step(&row, db, statement, path, err));
        if (!row)
            break;
        cell = (struct cell){.store = store, .n_machines = 1};
        TRY_GOTO(status, read_row(&cell, statement, cell_columns, N_CELL_COLUMNS, 0, err));
        cell.n_marked = marked_in(cell.metrics);
        TRY_GOTO(status, take_cell(out, &cell, err));
    }
exit:
    cell_free(&cell);
    sqlite3_finalize(statement);
    return status;
}

static enum status read_layers(struct cells *out, sqlite3 *db, int store, struct error *err)
{
    const char *path = out->stores[store];
    sqlite3_stmt *statement = NULL;
    enum status status;
    /* As all token figures, over the samples that have visual tokens: some benchmarks ask without a picture.
     */
    TRY_GOTO(status,
             prepare(&statement, db,
                     "SELECT key, layer, coalesce(AVG(CASE WHEN visual_in > 0 THEN visual_in END), 0),"
                     " coalesce(AVG(CASE WHEN visual_in > 0 THEN visual_out END), 0)"
                     " FROM layers GROUP BY key, layer ORDER BY key, layer",
                     path, err));
    for (bool row;;) {
        TRY_GOTO(status, step(&row, db, statement, path, err));
        if (!row)
            break;
        const char *key = (const char *)sqlite3_column_text(statement, 0);
        struct cell *cell = key != NULL ? find(out, key) : NULL;
        if (cell == NULL || cell->store != store || cell->n_layers >= LIMIT_LAYERS)
            continue;
        struct layer_mean *grown = grow(cell->layers, cell->n_layers, sizeof *grown);
        if (grown == NULL) {
            status = memory_failed(err, "layers", sizeof *grown);
            goto exit;
        }
        cell->layers = grown;
        cell->layers[cell->n_layers++] =
            (struct layer_mean){.layer = sqlite3_column_int(statement, 1),
                                .visual_in = sqlite3_column_double(statement, 2),
                                .visual_out = sqlite3_column_double(statement, 3)};
    }
    sqlite3_finalize(statement);
    statement = NULL;
    TRY_GOTO(status, prepare(&statement, db, "SELECT key, COUNT(DISTINCT machine) FROM samples GROUP BY key",
                             path, err));
    for (bool row;;) {
        TRY_GOTO(status, step(&row, db, statement, path, err));
        if (!row)
            break;
        const char *key = (const char *)sqlite3_column_text(statement, 0);
        struct cell *cell = key != NULL ? find(out, key) : NULL;
        if (cell != NULL && cell->store == store)
            cell->n_machines = sqlite3_column_int(statement, 1);
    }
exit:
    sqlite3_finalize(statement);
    return status;
}

static enum status read_comparisons(struct cells *out, sqlite3 *db, int store, struct error *err)
{
    const char *path = out->stores[store];
    sqlite3_stmt *statement = NULL;
    struct comparison row_read = {0};
    enum status status;
    TRY_GOTO(status, prepare_columns(&statement, db, comparison_columns, N_COMPARISON_COLUMNS, "comparisons",
                                     path, err));
    for (bool row;;) {
        TRY_GOTO(status, step(&row, db, statement, path, err));
        if (!row)
            break;
        row_read = (struct comparison){0};
        TRY_GOTO(status, read_row(&row_read, statement, comparison_columns, N_COMPARISON_COLUMNS, 0, err));
        const struct cell *cell = find(out, row_read.key);
        if (cell == NULL || cell->store != store || out->n_comparisons >= COMPARISONS_MAX) {
            free_row(&row_read, comparison_columns, N_COMPARISON_COLUMNS);
            row_read = (struct comparison){0};
            continue;
        }
        struct comparison *grown = grow(out->comparisons, out->n_comparisons, sizeof *grown);
        if (grown == NULL) {
            status = memory_failed(err, "comparisons", sizeof *grown);
            goto exit;
        }
        out->comparisons = grown;
        out->comparisons[out->n_comparisons++] = row_read;
        row_read = (struct comparison){0};
    }
exit:
    free_row(&row_read, comparison_columns, N_COMPARISON_COLUMNS);
    sqlite3_finalize(statement);
    return status;
}

enum status cells_read(struct cells *out, const char *const *paths, int n_paths, struct error *err)
{
    *out = (struct cells){0};
    out->stores = memory_zero((size_t)n_paths, sizeof *out->stores);
    if (out->stores == NULL)
        return memory_failed(err, "store names", (size_t)n_paths);
    enum status status = OK;
    for (int i = 0; i < n_paths && status == OK; i++) {
        out->stores[i] = memory_text(paths[i]);
        if (out->stores[i] == NULL)
            status = memory_failed(err, "store names", strlen(paths[i]));
        out->n_stores++;
        sqlite3 *db = NULL;
        if (status == OK)
            status = store_open_reader(&db, paths[i], err);
        if (status == OK)
            status = read_cells(out, db, i, err);
        if (db != NULL)
            sqlite3_close(db);
    }
    /* Only when every store has had its say is it clear whose rows count. */
    for (int i = 0; i < n_paths && status == OK; i++) {
        sqlite3 *db = NULL;
        status = store_open_reader(&db, paths[i], err);
        if (status == OK)
            status = read_layers(out, db, i, err);
        if (status == OK)
            status = read_comparisons(out, db, i, err);
        if (db != NULL)
            sqlite3_close(db);
    }
    if (status != OK)
        cells_free(out);
    return status;
}

void cells_free(struct cells *cells)
{
    for (int i = 0; i < cells->n; i++)
        cell_free(&cells->cells[i]);
    for (int i = 0; i < cells->n_comparisons; i++)
        free_row(&cells->comparisons[i], comparison_columns, N_COMPARISON_COLUMNS);
    for (int i = 0; i < cells->n_stores; i++)
        free(cells->stores[i]);
    free(cells->cells);
    free(cells->comparisons);
    free(cells->stores);
    *cells = (struct cells){0};
}

enum status samples_read(struct sample **out, int *n, const struct cells *cells, const struct cell *cell,
                         struct error *err)
{
    *out = NULL;
    *n = 0;
    const char *path = cells->stores[cell->store];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    enum status status;
    TRY_GOTO(status, store_open_reader(&db, path, err));
    TRY_GOTO(status, prepare(&statement, db,
                             "SELECT question, image, answer, gold, sample_id FROM samples WHERE key = ?1 "
                             "ORDER BY sample_id",
                             path, err));
    sqlite3_bind_text(statement, 1, cell->key, -1, SQLITE_STATIC);
    for (bool row;;) {
        TRY_GOTO(status, step(&row, db, statement, path, err));
        if (!row)
            break;
        if (*n >= SAMPLES_MAX) {
            status =
                fail(err, BAD_INPUT, "%s: cell %.64s has more than %d samples", path, cell->key, SAMPLES_MAX);
            goto exit;
        }
        struct sample *grown = grow(*out, *n, sizeof *grown);
        if (grown == NULL) {
            status = memory_failed(err, "samples", sizeof *grown);
            goto exit;
        }
        *out = grown;
        struct sample *sample = &(*out)[(*n)++];
        *sample = (struct sample){.id = sqlite3_column_int64(statement, N_SAMPLE_COLUMNS)};
        TRY_GOTO(status, read_row(sample, statement, sample_columns, N_SAMPLE_COLUMNS, 0, err));
    }
exit:
    if (status != OK) {
        samples_free(*out, *n);
        *out = NULL;
        *n = 0;
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return status;
}

void samples_free(struct sample *samples, int n)
{
    for (int i = 0; i < n; i++)
        free_row(&samples[i], sample_columns, N_SAMPLE_COLUMNS);
    free(samples);
}

enum status samples_needing_image(double *mean, int64_t *n, const struct cells *cells,
                                  const struct cell *cell, const struct cell *blind, struct error *err)
{
    *mean = (double)NAN;
    *n = 0;
    if (cell->store != blind->store)
        return OK;
    const char *path = cells->stores[cell->store];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum status status;
    TRY_GOTO(status, store_open_reader(&db, path, err));
    TRY_GOTO(status,
             prepare(&statement, db,
                     "SELECT AVG(s.score), COUNT(s.score) FROM samples s JOIN samples b ON b.sample_id = "
                     "s.sample_id WHERE s.key = ?1 AND b.key = ?2 AND b.score < 0.5 AND s.score IS NOT NULL",
                     path, err));
    sqlite3_bind_text(statement, 1, cell->key, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, blind->key, -1, SQLITE_STATIC);
    TRY_GOTO(status, step(&row, db, statement, path, err));
    if (row) {
        *n = sqlite3_column_int64(statement, 1);
        if (*n > 0)
            *mean = sqlite3_column_double(statement, 0);
    }
exit:
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return status;
}

static double points(const double *sums)
{
    return 100 * sums[0] / sums[1];
}

enum status samples_change(struct interval *out, int *n, const struct cells *cells, const struct cell *cell,
                           const struct cell *base, struct error *err)
{
    enum { N_SUMS = 2 }; /* difference, samples */
    const char *path = cells->stores[cell->store];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    double *sums = NULL;
    int n_clusters = 0;
    enum status status;
    *n = 0;
    *out = (struct interval){.value = NAN, .lo = NAN, .hi = NAN};
    TRY_GOTO(status, store_open_reader(&db, path, err));
    TRY_GOTO(
        status,
        prepare(&statement, db,
                "SELECT SUM(s.score - b.score), COUNT(*) FROM samples s JOIN samples b ON b.sample_id = "
                "s.sample_id WHERE s.key = ?1 AND b.key = ?2 AND s.score IS NOT NULL AND b.score IS NOT NULL "
                "GROUP BY s.cluster ORDER BY s.cluster",
                path, err));
    sqlite3_bind_text(statement, 1, cell->key, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, base->key, -1, SQLITE_STATIC);
    for (bool row; n_clusters < SAMPLES_MAX; n_clusters++) {
        TRY_GOTO(status, step(&row, db, statement, path, err));
        if (!row)
            break;
        double *grown = grow(sums, n_clusters, N_SUMS * sizeof *grown);
        if (grown == NULL)
            TRY_GOTO(status, memory_failed(err, "samples", N_SUMS * sizeof *grown));
        sums = grown;
        sums[N_SUMS * n_clusters] = sqlite3_column_double(statement, 0);
        sums[N_SUMS * n_clusters + 1] = sqlite3_column_double(statement, 1);
        *n += sqlite3_column_int(statement, 1);
    }
    TRY_GOTO(status, bootstrap(out, sums, NULL, 0, n_clusters, N_SUMS, points, 0, BOOTSTRAP_DRAWS, err));
exit:
    free(sums);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return status;
}
