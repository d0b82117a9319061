/* What a sweep's rows say, computed at its end into the tables behind the views: each cell's score with its
 * interval, the medians of its timed rows, how often each patch survived, and its comparisons.
 *
 * A cell is compared, on the samples that both have, with
 *   vanilla      of the same model, benchmark, split, control
 *   random arms  at=decoder, like=METHOD, same budget and match, same counts in every layer: the mean over
 * their seeds; base_key is the arm of the lowest seed
 *
 * Sources: docs/cli.md "The store"; the statistics themselves are stats.c's.
 */
#include <math.h>   /* NAN */
#include <stdlib.h> /* free, qsort */
#include <string.h> /* strcmp */

#include "core/memory.h"
#include "harness/stats.h"
#include "harness/sweep_run.h"

enum { BASES_MAX = 64, N_MEDIANS = 7 };

/* The answered samples of a cell, by ascending row. Texts are owned. */
struct column {
    int n;
    int *rows;
    double *scores; /* NaN without gold */
    char **answers, **parsed;
};

static void column_free(struct column *column)
{
    for (int i = 0; i < column->n; i++) {
        free(column->answers[i]);
        free(column->parsed[i]);
    }
    free(column->rows);
    free(column->scores);
    free(column->answers);
    free(column->parsed);
    *column = (struct column){0};
}

static char *column_text(sqlite3_stmt *s, int i)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    return memory_text(text ? text : "");
}

static double column_real(sqlite3_stmt *s, int i)
{
    return sqlite3_column_type(s, i) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(s, i);
}

static void bind_real(sqlite3_stmt *s, int i, double value)
{
    if (isnan(value))
        sqlite3_bind_null(s, i);
    else
        sqlite3_bind_double(s, i, value);
}

/* n_most: rows of the dataset. */
static enum status column_load(struct column *out, struct store *store, int64_t cell, int n_most,
                               struct error *err)
{
    size_t n = (size_t)n_most;
    sqlite3_stmt *s = NULL;
    enum status status = OK;
    *out = (struct column){.rows = memory_alloc(n, sizeof *out->rows),
                           .scores = memory_alloc(n, sizeof *out->scores),
                           .answers = memory_alloc(n, sizeof *out->answers),
                           .parsed = memory_alloc(n, sizeof *out->parsed)};
    if (!out->rows || !out->scores || !out->answers || !out->parsed)
        TRY_GOTO(status, memory_failed(err, "answers of a cell", n * sizeof *out->scores));
    TRY_GOTO(
        status,
        store_prepare(&s, store,
                      "SELECT sample_id, score, answer, parsed FROM sample WHERE cell = ? AND error IS NULL"
                      " ORDER BY sample_id",
                      err));
    sqlite3_bind_int64(s, 1, cell);
    while (sqlite3_step(s) == SQLITE_ROW) {
        int row = sqlite3_column_int(s, 0);
        if (row < 0 || row >= n_most || out->n == n_most)
            continue;
        int i = out->n++;
        out->rows[i] = row;
        out->scores[i] = column_real(s, 1);
        out->answers[i] = column_text(s, 2);
        out->parsed[i] = column_text(s, 3);
        if (!out->answers[i] || !out->parsed[i])
            TRY_GOTO(status, memory_failed(err, "answers of a cell", 0));
    }
exit:
    sqlite3_finalize(s);
    if (status != OK)
        column_free(out);
    return status;
}

/* ---- one cell ------------------------------------------------------------------------------------------ */

static enum status interval_of(struct interval *out, const struct material *material,
                               const struct column *column, struct error *err)
{
    const struct benchmark *benchmark = material->data.benchmark;
    *out = (struct interval){NAN, NAN, NAN, 0};
    if (!material->data.has_gold || column->n == 0)
        return OK;
    double *sums;
    int n_clusters;
    TRY(benchmark_sums(&sums, &n_clusters, &material->data, column->rows, column->scores, column->n, err));
    enum status status = bootstrap(out, sums, NULL, 0, n_clusters, benchmark->n_sums, benchmark->headline, 0,
                                   BOOTSTRAP_DRAWS, err);
    free(sums);
    return status;
}

/* All that `winnow score` prints of these answers, as JSON text; NULL without golds. The caller frees. */
static enum status metrics_of(char **out, const struct material *material, const struct column *column,
                              int n_failed, struct error *err)
{
    *out = NULL;
    if (!material->data.has_gold || column->n == 0)
        return OK;
    struct answers answers = {.text = memory_zero((size_t)material->data.n, sizeof *answers.text),
                              .n_missing = n_failed};
    if (answers.text == NULL)
        return memory_failed(err, "answers of a cell", (size_t)material->data.n * sizeof *answers.text);
    for (int i = 0; i < column->n; i++)
        answers.text[column->rows[i]] = column->answers[i];
    json_t *figures = NULL;
    enum status status = benchmark_score(&figures, &material->data, &answers, PROTOCOL_OFFICIAL, err);
    free(answers.text);
    TRY(status);
    *out = json_dumps(figures, JSON_COMPACT);
    json_decref(figures);
    return *out ? OK : memory_failed(err, "figures of a cell", 0);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Medians of the timed rows, in the order of the summary's columns. */
static enum status medians_of(double medians[N_MEDIANS], int *n_timed, struct run *run,
                              const struct cell *cell, struct error *err)
{
    size_t n = (size_t)run->materials[cell->benchmark].data.n;
    double *values = memory_alloc(n * N_MEDIANS, sizeof *values);
    int counts[N_MEDIANS] = {0};
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
    while (sqlite3_step(s) == SQLITE_ROW && (size_t)*n_timed < n) {
        ++*n_timed;
        for (int i = 0; i < N_MEDIANS; i++) {
            double value = column_real(s, i);
            if (!isnan(value))
                values[(size_t)i * n + (size_t)counts[i]++] = value;
        }
    }
    for (int i = 0; i < N_MEDIANS; i++) {
        double *own = values + (size_t)i * n;
        qsort(own, (size_t)counts[i], sizeof *own, ascending);
        medians[i] = counts[i] ? (own[(counts[i] - 1) / 2] + own[counts[i] / 2]) / 2 : (double)NAN;
    }
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
    while (sqlite3_step(s) == SQLITE_ROW) {
        int own_layer = sqlite3_column_int(s, 0), own_rows = sqlite3_column_int(s, 1),
            own_cols = sqlite3_column_int(s, 2);
        const uint8_t *bits = sqlite3_column_blob(s, 3);
        if (own_rows < 1 || own_cols < 1 || sqlite3_column_bytes(s, 3) * 8 < own_rows * own_cols)
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

static enum status count_failed(int *n, struct run *run, const struct cell *cell, struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_prepare(&s, run->store, "SELECT count(*) FROM sample WHERE cell = ? AND error IS NOT NULL",
                      err));
    sqlite3_bind_int64(s, 1, cell->id);
    *n = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int(s, 0) : 0;
    sqlite3_finalize(s);
    return OK;
}

static enum status summarise_cell(struct run *run, const struct cell *cell, struct error *err)
{
    const struct material *material = &run->materials[cell->benchmark];
    struct column column;
    struct interval score;
    double medians[N_MEDIANS];
    char *metrics = NULL;
    int n_timed, n_failed;
    TRY(column_load(&column, run->store, cell->id, material->data.n, err));
    enum status status;
    TRY_GOTO(status, count_failed(&n_failed, run, cell, err));
    TRY_GOTO(status, interval_of(&score, material, &column, err));
    TRY_GOTO(status, metrics_of(&metrics, material, &column, n_failed, err));
    TRY_GOTO(status, medians_of(medians, &n_timed, run, cell, err));
    TRY_GOTO(status, put_summary(run, cell, column.n, &score, metrics, medians, n_timed, err));
    TRY_GOTO(status, keep_rates(run, cell, err));
exit:
    column_free(&column);
    free(metrics);
    return status;
}

/* ---- comparisons --------------------------------------------------------------------------------------- */

#define SAME_SETTING                                                                                         \
    "b.weights_sha = c.weights_sha AND b.source = c.source AND b.split = c.split AND b.control = c.control"  \
    " AND b.template = c.template AND b.image_mode = c.image_mode AND b.max_new_tokens = c.max_new_tokens"   \
    " AND b.device = c.device AND b.dtype = c.dtype AND substr(b.canonical, instr(b.canonical, "             \
    "'numerics='))"                                                                                          \
    " = substr(c.canonical, instr(c.canonical, 'numerics='))"

static const char vanilla_base[] = "SELECT b.id FROM cell c JOIN cell b ON " SAME_SETTING
                                   " WHERE c.id = ?1 AND c.method <> 'vanilla' AND b.method = 'vanilla'"
                                   " ORDER BY b.seed <> c.seed, b.id LIMIT 1";

/* ?2: a sample that both must have, with equal counts in all layers. */
static const char random_bases[] =
    "SELECT b.id FROM cell c JOIN cell b ON " SAME_SETTING
    " WHERE c.id = ?1 AND b.method = 'random' AND json_extract(b.params, '$.at') = 'decoder'"
    " AND json_extract(b.params, '$.like') = c.method AND b.budget IS c.budget AND b.match IS c.match"
    " AND EXISTS (SELECT 1 FROM sample WHERE cell = b.id AND sample_id = ?2 AND error IS NULL)"
    " AND NOT EXISTS (SELECT layer, visual_out FROM layer WHERE cell = c.id AND sample_id = ?2"
    "  EXCEPT SELECT layer, visual_out FROM layer WHERE cell = b.id AND sample_id = ?2)"
    " ORDER BY b.seed, b.id";

static enum status find_bases(int64_t *bases, int *n, struct run *run, const char *sql, int64_t cell,
                              int sample_id, struct error *err)
{
    sqlite3_stmt *s;
    *n = 0;
    TRY(store_prepare(&s, run->store, sql, err));
    sqlite3_bind_int64(s, 1, cell);
    if (sqlite3_bind_parameter_count(s) > 1)
        sqlite3_bind_int(s, 2, sample_id);
    while (*n < BASES_MAX && sqlite3_step(s) == SQLITE_ROW)
        bases[(*n)++] = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return OK;
}

/* The cell and its bases, cut down to the samples that all of them have. */
struct matched {
    struct column columns[1 + BASES_MAX]; /* the cell's first */
    int n_columns, n;
    int *rows;
    int *places[1 + BASES_MAX]; /* of rows[i] in each column */
};

static void matched_free(struct matched *matched)
{
    for (int c = 0; c < matched->n_columns; c++) {
        column_free(&matched->columns[c]);
        free(matched->places[c]);
    }
    free(matched->rows);
}

static enum status matched_load(struct matched *out, struct run *run, const struct cell *cell,
                                const int64_t *bases, int n_bases, struct error *err)
{
    int n_most = run->materials[cell->benchmark].data.n;
    *out = (struct matched){0};
    for (int c = 0; c <= n_bases; c++) {
        TRY(column_load(&out->columns[c], run->store, c == 0 ? cell->id : bases[c - 1], n_most, err));
        out->n_columns++;
        out->places[c] = memory_zero((size_t)out->columns[0].n, sizeof(int));
        if (out->places[c] == NULL)
            return memory_failed(err, "a comparison", (size_t)out->columns[0].n * sizeof(int));
    }
    out->rows = memory_zero((size_t)out->columns[0].n, sizeof(int));
    if (out->rows == NULL)
        return memory_failed(err, "a comparison", (size_t)out->columns[0].n * sizeof(int));
    int at[1 + BASES_MAX] = {0};
    for (int i = 0; i < out->columns[0].n; i++) {
        int row = out->columns[0].rows[i];
        bool all = true;
        at[0] = i;
        for (int c = 1; c <= n_bases; c++) {
            const struct column *column = &out->columns[c];
            while (at[c] < column->n && column->rows[at[c]] < row)
                at[c]++;
            all = all && at[c] < column->n && column->rows[at[c]] == row;
        }
        if (!all)
            continue;
        for (int c = 0; c <= n_bases; c++)
            out->places[c][out->n] = at[c];
        out->rows[out->n++] = row;
    }
    return OK;
}

struct comparison {
    struct interval diff;
    int b01, b10;
    double p, loyalty;
};

static bool same_answer(const struct column *a, int i, const struct column *b, int j)
{
    if (a->parsed[i][0] && b->parsed[j][0])
        return strcmp(a->parsed[i], b->parsed[j]) == 0;
    return strcmp(a->answers[i], b->answers[j]) == 0;
}

static void count_pairs(struct comparison *out, const struct matched *matched)
{
    double n_equal = 0;
    int n_bases = matched->n_columns - 1;
    for (int i = 0; i < matched->n; i++) {
        int own = matched->places[0][i];
        double score = matched->columns[0].scores[own], base = 0;
        for (int c = 1; c <= n_bases; c++) {
            int place = matched->places[c][i];
            base += matched->columns[c].scores[place] / n_bases;
            n_equal += same_answer(&matched->columns[0], own, &matched->columns[c], place);
        }
        out->b01 += score > base + 1e-9;
        out->b10 += score < base - 1e-9;
    }
    out->loyalty = matched->n > 0 ? n_equal / n_bases / matched->n : (double)NAN;
}

static enum status difference(struct comparison *out, const struct material *material,
                              const struct matched *matched, struct error *err)
{
    const struct benchmark *benchmark = material->data.benchmark;
    double *sums[1 + BASES_MAX] = {0}, *scores = memory_alloc((size_t)matched->n, sizeof *scores);
    int n_clusters = 0;
    enum status status = OK;
    if (scores == NULL)
        TRY_GOTO(status, memory_failed(err, "a comparison", (size_t)matched->n * sizeof *scores));
    for (int c = 0; c < matched->n_columns; c++) {
        for (int i = 0; i < matched->n; i++)
            scores[i] = matched->columns[c].scores[matched->places[c][i]];
        TRY_GOTO(status, benchmark_sums(&sums[c], &n_clusters, &material->data, matched->rows, scores,
                                        matched->n, err));
    }
    TRY_GOTO(status, bootstrap(&out->diff, sums[0], (const double *const *)(sums + 1), matched->n_columns - 1,
                               n_clusters, benchmark->n_sums, benchmark->headline, 0, BOOTSTRAP_DRAWS, err));
exit:
    for (int c = 0; c < matched->n_columns; c++)
        free(sums[c]);
    free(scores);
    return status;
}

static enum status put_comparison(struct run *run, int64_t cell, int64_t base, int n,
                                  const struct comparison *x, struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_prepare(
        &s, run->store,
        "INSERT OR REPLACE INTO comparison(cell, base, n, diff, lo, hi, b01, b10, mcnemar_p, loyalty)"
        " VALUES(?,?,?,?,?,?,?,?,?,?)",
        err));
    sqlite3_bind_int64(s, 1, cell);
    sqlite3_bind_int64(s, 2, base);
    sqlite3_bind_int(s, 3, n);
    bind_real(s, 4, x->diff.value);
    bind_real(s, 5, x->diff.lo);
    bind_real(s, 6, x->diff.hi);
    sqlite3_bind_int(s, 7, x->b01);
    sqlite3_bind_int(s, 8, x->b10);
    bind_real(s, 9, x->p);
    bind_real(s, 10, x->loyalty);
    enum status status = store_step(run->store, s, err);
    sqlite3_finalize(s);
    return status;
}

static enum status compare(struct run *run, const struct cell *cell, const int64_t *bases, int n_bases,
                           struct error *err)
{
    const struct material *material = &run->materials[cell->benchmark];
    struct comparison x = {.diff = {NAN, NAN, NAN, 0}, .p = NAN, .loyalty = NAN};
    struct matched matched;
    enum status status = matched_load(&matched, run, cell, bases, n_bases, err);
    if (status != OK || matched.n == 0)
        goto exit;
    count_pairs(&x, &matched);
    if (material->data.has_gold) {
        x.p = mcnemar_p(x.b01, x.b10);
        TRY_GOTO(status, difference(&x, material, &matched, err));
    }
    TRY_GOTO(status, put_comparison(run, cell->id, bases[0], matched.n, &x, err));
exit:
    matched_free(&matched);
    return status;
}

static enum status compare_cell(struct run *run, const struct cell *cell, struct error *err)
{
    int64_t bases[BASES_MAX];
    int n_bases;
    sqlite3_stmt *s;
    TRY(store_prepare(&s, run->store, "SELECT min(sample_id) FROM sample WHERE cell = ? AND error IS NULL",
                      err));
    sqlite3_bind_int64(s, 1, cell->id);
    int first = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int(s, 0) : -1;
    sqlite3_finalize(s);
    TRY(store_prepare(&s, run->store, "DELETE FROM comparison WHERE cell = ?", err));
    sqlite3_bind_int64(s, 1, cell->id);
    enum status status = store_step(run->store, s, err);
    sqlite3_finalize(s);
    TRY(status);
    const char *const kinds[] = {vanilla_base, random_bases};
    for (int k = 0; k < 2; k++) {
        TRY(find_bases(bases, &n_bases, run, kinds[k], cell->id, first, err));
        if (n_bases > 0)
            TRY(compare(run, cell, bases, n_bases, err));
    }
    return OK;
}

/* ---- corrections for many tests ------------------------------------------------------------------------ */

struct test {
    int64_t cell, base, family; /* family: one model × benchmark */
    double p, holm, q;
};

static int by_family(const void *a, const void *b)
{
    const struct test *x = a, *y = b;
    return (x->family > y->family) - (x->family < y->family);
}

static enum status adjust(struct test *tests, int n, struct error *err)
{
    double *p = memory_alloc((size_t)n, sizeof *p), *adjusted = memory_alloc((size_t)n, sizeof *adjusted);
    enum status status = OK;
    if (p == NULL || adjusted == NULL)
        TRY_GOTO(status, memory_failed(err, "comparisons", (size_t)n * sizeof *p));
    qsort(tests, (size_t)n, sizeof *tests, by_family);
    for (int i = 0; i < n; i++)
        p[i] = tests[i].p;
    TRY_GOTO(status, benjamini_hochberg(adjusted, p, n, err));
    for (int i = 0; i < n; i++)
        tests[i].q = adjusted[i];
    for (int first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && tests[end].family == tests[first].family;)
            end++;
        TRY_GOTO(status, holm(adjusted + first, p + first, end - first, err));
    }
    for (int i = 0; i < n; i++)
        tests[i].holm = adjusted[i];
exit:
    free(p);
    free(adjusted);
    return status;
}

/* Holm over all comparisons of one model and benchmark, Benjamini-Hochberg over the store. */
static enum status adjust_all(struct run *run, struct error *err)
{
    sqlite3_stmt *read = NULL, *write = NULL;
    struct test *tests = NULL;
    int n = 0, capacity = 0;
    enum status status = OK;
    TRY_GOTO(status,
             store_prepare(&read, run->store,
                           "SELECT x.cell, x.base, x.mcnemar_p, min(d.id) FROM comparison x"
                           " JOIN cell c ON c.id = x.cell JOIN cell d ON d.weights_sha = c.weights_sha"
                           " AND d.source = c.source GROUP BY x.cell, x.base",
                           err));
    while (sqlite3_step(read) == SQLITE_ROW) {
        if (n == capacity) {
            int wanted = capacity ? 2 * capacity : 64;
            struct test *grown = memory_grow(tests, (size_t)wanted, sizeof *grown);
            if (grown == NULL)
                TRY_GOTO(status, memory_failed(err, "comparisons", (size_t)wanted * sizeof *grown));
            tests = grown;
            capacity = wanted;
        }
        tests[n++] = (struct test){.cell = sqlite3_column_int64(read, 0),
                                   .base = sqlite3_column_int64(read, 1),
                                   .p = column_real(read, 2),
                                   .family = sqlite3_column_int64(read, 3)};
    }
    TRY_GOTO(status, adjust(tests, n, err));
    TRY_GOTO(status, store_prepare(
                         &write, run->store,
                         "UPDATE comparison SET holm_p = ?3, bh_q = ?4 WHERE cell = ?1 AND base = ?2", err));
    for (int i = 0; i < n; i++) {
        sqlite3_bind_int64(write, 1, tests[i].cell);
        sqlite3_bind_int64(write, 2, tests[i].base);
        bind_real(write, 3, tests[i].holm);
        bind_real(write, 4, tests[i].q);
        TRY_GOTO(status, store_step(run->store, write, err));
    }
exit:
    sqlite3_finalize(read);
    sqlite3_finalize(write);
    free(tests);
    return status;
}

enum status sweep_summarise(struct run *run, struct error *err)
{
    TRY(store_begin(run->store, err));
    for (int i = 0; i < run->grid.n_cells; i++)
        if (cell_is_runnable(&run->grid.cells[i]))
            TRY(summarise_cell(run, &run->grid.cells[i], err));
    for (int i = 0; i < run->grid.n_cells; i++)
        if (cell_is_runnable(&run->grid.cells[i]))
            TRY(compare_cell(run, &run->grid.cells[i], err));
    TRY(adjust_all(run, err));
    return store_tick(run->store, true, err);
}
