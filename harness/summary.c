/* What a sweep's rows say of each cell, computed at its end into the tables behind the views: its score with
 * an interval, the medians of its timed rows, how often each patch survived. Comparisons: compare.c. */
#include <math.h>   /* NAN */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/memory.h"
#include "harness/stats.h"
#include "harness/sweep_run.h"

enum { N_MEDIANS = 7, GRID_SIDE_MAX = 1024 };

void column_free(struct column *column)
{
    for (int i = 0; i < column->n; i++) {
        free(column->answers[i]);
        free(column->parsed[i]);
        free(column->verdicts[i]);
    }
    free(column->rows);
    free(column->scores);
    free(column->answers);
    free(column->parsed);
    free(column->verdicts);
    *column = (struct column){0};
}

static char *column_text(sqlite3_stmt *s, int i)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    return memory_text(text ? text : "");
}

double column_real(sqlite3_stmt *s, int i)
{
    return sqlite3_column_type(s, i) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(s, i);
}

/* n_most: rows of the dataset. */
enum status column_load(struct column *out, struct store *store, int64_t cell, int n_most, struct error *err)
{
    size_t n = (size_t)n_most;
    sqlite3_stmt *s = NULL;
    enum status status = OK;
    *out = (struct column){.rows = memory_alloc(n, sizeof *out->rows),
                           .scores = memory_alloc(n, sizeof *out->scores),
                           .answers = memory_alloc(n, sizeof *out->answers),
                           .parsed = memory_alloc(n, sizeof *out->parsed),
                           .verdicts = memory_zero(n, sizeof *out->verdicts)};
    if (!out->rows || !out->scores || !out->answers || !out->parsed || !out->verdicts)
        TRY_GOTO(status, memory_failed(err, "answers of a cell", n * sizeof *out->scores));
    TRY_GOTO(status, store_prepare(&s, store,
                                   "SELECT sample_id, score, answer, parsed, verdict FROM sample"
                                   " WHERE cell = ? AND error IS NULL ORDER BY sample_id",
                                   err));
    sqlite3_bind_int64(s, 1, cell);
    for (bool more;;) {
        TRY_GOTO(status, store_row(&more, store, s, err));
        if (!more)
            break;
        int row = sqlite3_column_int(s, 0);
        if (row < 0 || row >= n_most || out->n == n_most)
            continue;
        int i = out->n++;
        out->rows[i] = row;
        out->scores[i] = column_real(s, 1);
        out->answers[i] = column_text(s, 2);
        out->parsed[i] = column_text(s, 3);
        bool judged = sqlite3_column_type(s, 4) != SQLITE_NULL;
        out->verdicts[i] = judged ? column_text(s, 4) : NULL;
        if (!out->answers[i] || !out->parsed[i] || (judged && !out->verdicts[i]))
            TRY_GOTO(status, memory_failed(err, "answers of a cell", 0));
    }
exit:
    sqlite3_finalize(s);
    if (status != OK)
        column_free(out);
    return status;
}

bool column_is_scored(const struct column *column, const struct material *material)
{
    if (!material_is_judged(material))
        return material->data.has_gold && column->n > 0;
    for (int i = 0; i < column->n; i++)
        if (isnan(column->scores[i]))
            return false;
    return column->n > 0;
}

/* ---- one cell ------------------------------------------------------------------------------- */

static enum status interval_of(struct interval *out, const struct material *material,
                               const struct column *column, struct error *err)
{
    const struct benchmark *benchmark = material->data.benchmark;
    *out = (struct interval){NAN, NAN, NAN, 0};
    if (!column_is_scored(column, material))
        return OK;
    double *sums;
    int n_clusters;
    TRY(benchmark_sums(&sums, &n_clusters, &material->data, column->rows, column->scores, column->n, err));
    enum status status = bootstrap(out, sums, NULL, 0, n_clusters, benchmark->n_sums, benchmark->headline, 0,
                                   BOOTSTRAP_DRAWS, err);
    free(sums);
    return status;
}

/* Which model gave a cell's verdicts; several: "a + b". NULL: none. */
static enum status add_judge(json_t *figures, struct store *store, int64_t cell, struct error *err)
{
    sqlite3_stmt *s;
    bool row;
    TRY(store_prepare(&s, store,
                      "SELECT CASE WHEN min(judge) = max(judge) THEN min(judge)"
                      " ELSE min(judge) || ' + ' || max(judge) END FROM sample"
                      " WHERE cell = ? AND error IS NULL AND verdict IS NOT NULL",
                      err));
    sqlite3_bind_int64(s, 1, cell);
    enum status status = store_row(&row, store, s, err);
    if (status == OK && row && sqlite3_column_type(s, 0) == SQLITE_TEXT)
        json_object_set_new(figures, "judge", json_string((const char *)sqlite3_column_text(s, 0)));
    sqlite3_finalize(s);
    return status;
}

/* All that `winnow score` prints of these answers, as JSON text; NULL without golds or any verdict. The
 * caller frees. */
static enum status metrics_of(char **out, const struct material *material, struct store *store, int64_t cell,
                              const struct column *column, int n_failed, int n_marked, struct error *err)
{
    int n_verdicts = 0;
    *out = NULL;
    for (int i = 0; i < column->n; i++)
        n_verdicts += column->verdicts[i] != NULL;
    if (column->n == 0 || (material_is_judged(material) ? n_verdicts == 0 : !material->data.has_gold))
        return OK;
    struct answers answers = {.text = memory_zero((size_t)material->data.n, sizeof *answers.text),
                              .n_missing = n_failed};
    if (n_verdicts > 0)
        answers.verdict = memory_zero((size_t)material->data.n, sizeof *answers.verdict);
    json_t *figures = NULL;
    enum status status = OK;
    if (answers.text == NULL || (n_verdicts > 0 && answers.verdict == NULL))
        TRY_GOTO(status,
                 memory_failed(err, "answers of a cell", (size_t)material->data.n * sizeof *answers.text));
    for (int i = 0; i < column->n; i++) {
        answers.text[column->rows[i]] = column->answers[i];
        if (n_verdicts > 0)
            answers.verdict[column->rows[i]] = column->verdicts[i];
    }
    TRY_GOTO(status, benchmark_score(&figures, &material->data, &answers, PROTOCOL_OFFICIAL, err));
    if (n_verdicts > 0)
        TRY_GOTO(status, add_judge(figures, store, cell, err));
    if (n_marked > 0) /* samples in which the gravity correction reached its floor */
        json_object_set_new(figures, "marked", json_integer(n_marked));
    *out = json_dumps(figures, JSON_COMPACT);
    if (*out == NULL)
        status = memory_failed(err, "figures of a cell", 0);
exit:
    json_decref(figures);
    free(answers.text);
    free(answers.verdict);
    return status;
}

/* Medians of the timed rows, in the order of the summary's columns. */
static enum status medians_of(double medians[N_MEDIANS], int *n_timed, struct run *run,
                              const struct cell *cell, struct error *err)
{
    size_t n = (size_t)run->materials[cell->benchmark].data.n;
    double *values = memory_alloc(n * N_MEDIANS, sizeof *values);
    sqlite3_stmt *s = NULL;
    enum status status = OK;
    *n_timed = 0;
    if (values == NULL)
        TRY_GOTO(status, memory_failed(err, "times of a cell", n * N_MEDIANS * sizeof *values));
    TRY_GOTO(status, store_prepare(&s, run->store,
                                   "SELECT preprocess_ms, vision_ms, prefill_ms, select_ms, ttft_ms,"
                                   " decode_ms_per_token, total_ms FROM sample WHERE cell = ? AND timed = 1",
                                   err));
    sqlite3_bind_int64(s, 1, cell->id);
    for (bool row; (size_t)*n_timed < n; ++*n_timed) {
        TRY_GOTO(status, store_row(&row, run->store, s, err));
        if (!row)
            break;
        for (int i = 0; i < N_MEDIANS; i++)
            values[(size_t)i * n + (size_t)*n_timed] = column_real(s, i);
    }
    for (int i = 0; i < N_MEDIANS; i++)
        medians[i] = median(values + (size_t)i * n, *n_timed);
exit:
    sqlite3_finalize(s);
    free(values);
    return status;
}

static enum status put_summary(struct run *run, const struct cell *cell, int n, const struct interval *score,
                               const char *metrics, const double *medians, int n_timed, struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_prepare(
        &s, run->store,
        "INSERT INTO summary VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,NULL)"
        " ON CONFLICT(cell) DO UPDATE SET n = ?2, score = ?3, score_lo = ?4, score_hi = ?5, metrics = ?6,"
        " timed_n = ?7, preprocess_ms = ?8, vision_ms = ?9, prefill_ms = ?10, select_ms = ?11,"
        " ttft_ms = ?12, decode_ms_per_token = ?13, total_ms = ?14",
        err));
    sqlite3_bind_int64(s, 1, cell->id);
    sqlite3_bind_int(s, 2, n);
    bind_real(s, 3, score->value);
    bind_real(s, 4, score->lo);
    bind_real(s, 5, score->hi);
    if (metrics)
        sqlite3_bind_text(s, 6, metrics, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 7, n_timed);
    for (int i = 0; i < N_MEDIANS; i++)
        bind_real(s, 8 + i, medians[i]);
    enum status status = store_step(run->store, s, err);
    sqlite3_finalize(s);
    return status;
}

static enum status put_rates(struct run *run, int64_t cell, int layer, int cols, int n_cells,
                             const int *alive, int n, struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_prepare(&s, run->store, "INSERT OR REPLACE INTO keep_rate VALUES(?,?,?,?,?)", err));
    enum status status = OK;
    for (int i = 0; i < n_cells && status == OK; i++) {
        sqlite3_bind_int64(s, 1, cell);
        sqlite3_bind_int(s, 2, layer);
        sqlite3_bind_int(s, 3, i / cols);
        sqlite3_bind_int(s, 4, i % cols);
        sqlite3_bind_double(s, 5, (double)alive[i] / n);
        status = store_step(run->store, s, err);
    }
    sqlite3_finalize(s);
    return status;
}

/* Rates over the samples in which the cut took place, on the grid of the cell's first sample. */
static enum status keep_rates(struct run *run, const struct cell *cell, struct error *err)
{
    sqlite3_stmt *s = NULL;
    int *alive = NULL, rows = 0, cols = 0, layer = 0, n = 0;
    enum status status = OK;
    TRY_GOTO(status,
             store_prepare(
                 &s, run->store,
                 "SELECT layer, rows, cols, alive FROM keep WHERE cell = ? ORDER BY layer, sample_id", err));
    sqlite3_bind_int64(s, 1, cell->id);
    for (bool row;;) {
        TRY_GOTO(status, store_row(&row, run->store, s, err));
        if (!row)
            break;
        int own_layer = sqlite3_column_int(s, 0), own_rows = sqlite3_column_int(s, 1),
            own_cols = sqlite3_column_int(s, 2);
        const uint8_t *bits = sqlite3_column_blob(s, 3);
        if (own_rows < 1 || own_cols < 1 || own_rows > GRID_SIDE_MAX || own_cols > GRID_SIDE_MAX ||
            sqlite3_column_bytes(s, 3) < (own_rows * own_cols + 7) / 8)
            continue;
        if (alive == NULL) {
            rows = own_rows;
            cols = own_cols;
            alive = memory_zero((size_t)(rows * cols), sizeof *alive);
            if (alive == NULL)
                TRY_GOTO(status, memory_failed(err, "keep map", (size_t)(rows * cols) * sizeof *alive));
        }
        if (n > 0 && own_layer != layer) {
            TRY_GOTO(status, put_rates(run, cell->id, layer, cols, rows * cols, alive, n, err));
            memset(alive, 0, (size_t)(rows * cols) * sizeof *alive);
            n = 0;
        }
        layer = own_layer;
        if (own_rows != rows || own_cols != cols)
            continue;
        n++;
        for (int i = 0; i < rows * cols; i++)
            alive[i] += bits[i / 8] >> (i % 8) & 1;
    }
    if (n > 0)
        TRY_GOTO(status, put_rates(run, cell->id, layer, cols, rows * cols, alive, n, err));
exit:
    sqlite3_finalize(s);
    free(alive);
    return status;
}

static enum status count_failed(int *n_failed, int *n_marked, struct run *run, const struct cell *cell,
                                struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_prepare(
        &s, run->store,
        "SELECT sum(error IS NOT NULL), sum(error IS NULL AND marked) FROM sample WHERE cell = ?", err));
    sqlite3_bind_int64(s, 1, cell->id);
    bool row;
    enum status status = store_row(&row, run->store, s, err);
    *n_failed = status == OK && row ? sqlite3_column_int(s, 0) : 0;
    *n_marked = status == OK && row ? sqlite3_column_int(s, 1) : 0;
    sqlite3_finalize(s);
    return status;
}

static enum status summarise_cell(struct run *run, const struct cell *cell, struct error *err)
{
    const struct material *material = &run->materials[cell->benchmark];
    struct column column;
    struct interval score;
    double medians[N_MEDIANS];
    char *metrics = NULL;
    int n_timed, n_failed, n_marked;
    TRY(column_load(&column, run->store, cell->id, material->data.n, err));
    enum status status;
    TRY_GOTO(status, count_failed(&n_failed, &n_marked, run, cell, err));
    TRY_GOTO(status, interval_of(&score, material, &column, err));
    TRY_GOTO(status, metrics_of(&metrics, material, run->store, cell->id, &column, n_failed, n_marked, err));
    TRY_GOTO(status, medians_of(medians, &n_timed, run, cell, err));
    TRY_GOTO(status, put_summary(run, cell, column.n, &score, metrics, medians, n_timed, err));
    TRY_GOTO(status, keep_rates(run, cell, err));
exit:
    column_free(&column);
    free(metrics);
    return status;
}

static enum status summarise(struct run *run, struct error *err)
{
    for (int i = 0; i < run->grid.n_cells; i++)
        if (cell_is_runnable(&run->grid.cells[i]))
            TRY(summarise_cell(run, &run->grid.cells[i], err));
    for (int i = 0; i < run->grid.n_cells; i++)
        if (cell_is_runnable(&run->grid.cells[i]))
            TRY(compare_cell(run, &run->grid.cells[i], err));
    return compare_adjust(run, err);
}

/* In one transaction: a reader sees the figures of the last summary until all of this one are there. */
enum status sweep_summarise(struct run *run, struct error *err)
{
    TRY(store_tick(run->store, true, err));
    TRY(store_begin(run->store, err));
    enum status status = summarise(run, err);
    if (status == OK)
        return store_tick(run->store, true, err);
    (void)store_undo(run->store, &(struct error){0});
    return status;
}
