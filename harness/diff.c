/* Two stores, see diff.h: the second is attached to a reading connection of the first, cells are paired in a
 * temporary table, and SQL finds the rows that differ. Columns are those that both have, so that stores of
 * different schemas can be compared. */
#include "harness/diff.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "harness/cell_label.h"
#include "harness/store_reader.h"

enum { SQL_SIZE = 16384, COLUMNS_MAX = 64, NAME_SIZE = 64 };

const char *const diff_by_names[] = {"key", "config", NULL};

/* Columns of a table that are compared. */
struct columns {
    char names[COLUMNS_MAX][NAME_SIZE];
    int n;
};

struct diff {
    const char *a, *b;
    enum diff_by by;
    sqlite3 *db;
    struct columns samples, layers, keeps;
    sqlite3_stmt *rows, *only_a, *only_b, *layer_counts, *keep_counts, *comparisons; /* of one pair: ?1, ?2 */
};

static enum status diff_fail(const struct diff *diff, struct error *err)
{
    return fail(err, BAD_INPUT, "%s, %s: cannot be compared: %s", diff->a, diff->b, sqlite3_errmsg(diff->db));
}

static enum status prepare(sqlite3_stmt **out, const struct diff *diff, const char *sql, struct error *err)
{
    return sqlite3_prepare_v2(diff->db, sql, -1, out, NULL) == SQLITE_OK ? OK : diff_fail(diff, err);
}

static enum status step(bool *row, const struct diff *diff, sqlite3_stmt *s, struct error *err)
{
    int code = sqlite3_step(s);
    *row = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE ? OK : diff_fail(diff, err);
}

/* ---- opening -------------------------------------------------------------------------------- */

static enum status read_columns(struct columns *out, const struct diff *diff, const char *table,
                                const char *left_out, struct error *err)
{
    sqlite3_stmt *s;
    bool row;
    enum status status;
    out->n = 0;
    TRY(prepare(
        &s, diff,
        "SELECT name FROM pragma_table_info(?1, 'main') WHERE name IN (SELECT name FROM"
        " pragma_table_info(?1, 'b')) AND instr(' ' || ?2 || ' ', ' ' || name || ' ') = 0 ORDER BY cid",
        err));
    sqlite3_bind_text(s, 1, table, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, left_out, -1, SQLITE_STATIC);
    while ((status = step(&row, diff, s, err)) == OK && row && out->n < COLUMNS_MAX)
        snprintf(out->names[out->n++], NAME_SIZE, "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return status;
}

/* "x.a IS NOT y.a OR x.b IS NOT y.b" */
static void any_differs(char *out, const struct columns *columns)
{
    size_t used = strlen(out);
    for (int i = 0; i < columns->n; i++)
        used += (size_t)snprintf(out + used, SQL_SIZE - used, "%sx.%s IS NOT y.%s", i ? " OR " : "",
                                 columns->names[i], columns->names[i]);
}

/* Of each compared column: whether it differs, and both values. */
static enum status prepare_rows(struct diff *diff, struct error *err)
{
    char sql[SQL_SIZE] = "SELECT x.sample_id, (x.error IS NULL) <> (y.error IS NULL), x.error, y.error";
    for (int i = 0; i < diff->samples.n; i++) {
        const char *name = diff->samples.names[i];
        snprintf(sql + strlen(sql), SQL_SIZE - strlen(sql), ", x.%s IS NOT y.%s, x.%s, y.%s", name, name,
                 name, name);
    }
    snprintf(
        sql + strlen(sql), SQL_SIZE - strlen(sql),
        " FROM main.sample x JOIN b.sample y ON y.cell = ?2 AND y.sample_id = x.sample_id WHERE x.cell = ?1"
        " AND ((x.error IS NULL) <> (y.error IS NULL) OR ");
    any_differs(sql, &diff->samples);
    snprintf(sql + strlen(sql), SQL_SIZE - strlen(sql), ") ORDER BY x.sample_id");
    return prepare(&diff->rows, diff, sql, err);
}

/* Rows of a table by (cell, sample_id, layer) that differ, or that one side lacks, of samples that both
 * answered. */
static enum status prepare_children(sqlite3_stmt **out, const struct diff *diff, const char *table,
                                    const struct columns *columns, struct error *err)
{
    char sql[SQL_SIZE];
    snprintf(
        sql, SQL_SIZE,
        "WITH common AS (SELECT x.sample_id FROM main.sample x JOIN b.sample y ON y.cell = ?2 AND y.sample_id"
        " = x.sample_id WHERE x.cell = ?1 AND x.error IS NULL AND y.error IS NULL)"
        " SELECT (SELECT count(*) FROM common k JOIN b.%s y ON y.cell = ?2 AND y.sample_id = k.sample_id"
        " LEFT JOIN main.%s x ON x.cell = ?1 AND x.sample_id = y.sample_id AND x.layer = y.layer"
        " WHERE x.cell IS NULL) + (SELECT count(*) FROM common k JOIN main.%s x ON x.cell = ?1 AND "
        "x.sample_id"
        " = k.sample_id LEFT JOIN b.%s y ON y.cell = ?2 AND y.sample_id = x.sample_id AND y.layer = x.layer"
        " WHERE y.cell IS NULL OR ",
        table, table, table, table);
    any_differs(sql, columns);
    snprintf(sql + strlen(sql), SQL_SIZE - strlen(sql), ")");
    return prepare(out, diff, sql, err);
}

#define COMPARED                                                                                             \
    "k.key, x.n, x.diff, x.lo, x.hi, x.b01, x.b10, x.mcnemar_p, x.holm_p, x.bh_q, x.loyalty FROM "
#define COMPARISONS_OF(db, cell)                                                                             \
    "SELECT " COMPARED db ".comparison x JOIN " db ".cell k ON k.id = x.base WHERE x.cell = " cell
/* Their bases are named by key, which means nothing between revisions. */
static const char comparisons_sql[] =
    "SELECT count(*) FROM (SELECT * FROM (" COMPARISONS_OF("main", "?1") " EXCEPT " COMPARISONS_OF(
        "b", "?2") ") UNION ALL SELECT * FROM (" COMPARISONS_OF("b",
                                                                "?2") " EXCEPT " COMPARISONS_OF("main",
                                                                                                "?1") "))";

/* The canonical text without its first lines and its last: weights, numerics. */
#define CONFIG(cell)                                                                                         \
    "coalesce(" cell ".model, '') || char(10) || substr(" cell ".canonical, instr(" cell                     \
    ".canonical, 'files='), instr(" cell ".canonical, 'numerics=') - instr(" cell ".canonical, 'files='))"

static enum status pair_cells(struct diff *diff, struct error *err)
{
    static const char by_key[] = "CREATE TEMP TABLE pair AS SELECT x.id AS a, y.id AS b FROM main.cell x"
                                 " JOIN b.cell y ON y.key = x.key;";
    /* Of several generations in one store the latest. */
    static const char by_config[] = "CREATE TEMP TABLE ours AS SELECT max(id) AS id, " CONFIG(
        "x") " AS config FROM main.cell x GROUP BY config;"
             "CREATE TEMP TABLE theirs AS SELECT max(id) AS id, " CONFIG(
                 "y") " AS config FROM b.cell y GROUP BY config;"
                      "CREATE TEMP TABLE pair AS SELECT x.id AS a, y.id AS b FROM ours x JOIN theirs y USING "
                      "(config);";
    return sqlite3_exec(diff->db, diff->by == DIFF_BY_KEY ? by_key : by_config, NULL, NULL, NULL) == SQLITE_OK
               ? OK
               : diff_fail(diff, err);
}

static enum status diff_open(struct diff *diff, struct error *err)
{
    sqlite3 *other;
    sqlite3_stmt *s;
    TRY(store_open_reader(&other, diff->b, err)); /* for what it says of a file that is no store */
    sqlite3_close(other);
    TRY(store_open_reader(&diff->db, diff->a, err));
    sqlite3_exec(diff->db, "PRAGMA temp_store = MEMORY", NULL, NULL, NULL);
    TRY(prepare(&s, diff, "ATTACH ? AS b", err));
    sqlite3_bind_text(s, 1, diff->b, -1, SQLITE_STATIC);
    bool row;
    enum status status = step(&row, diff, s, err);
    sqlite3_finalize(s);
    TRY(status);
    if (sqlite3_exec(diff->db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
        return diff_fail(diff, err);
    TRY(pair_cells(diff, err));
    TRY(read_columns(
        &diff->samples, diff, "sample",
        "cell sample_id error machine wall_ms timed preprocess_ms vision_ms project_ms prefill_ms"
        " select_ms ttft_ms decode_ms_per_token total_ms verdict judge",
        err));
    TRY(read_columns(&diff->layers, diff, "layer", "cell sample_id layer", err));
    TRY(read_columns(&diff->keeps, diff, "keep", "cell sample_id layer", err));
    TRY(prepare_rows(diff, err));
    TRY(prepare_children(&diff->layer_counts, diff, "layer", &diff->layers, err));
    TRY(prepare_children(&diff->keep_counts, diff, "keep", &diff->keeps, err));
    TRY(prepare(&diff->comparisons, diff, comparisons_sql, err));
    TRY(prepare(
        &diff->only_a, diff,
        "SELECT count(*) FROM main.sample x WHERE x.cell = ?1 AND NOT EXISTS (SELECT 1 FROM b.sample y"
        " WHERE y.cell = ?2 AND y.sample_id = x.sample_id)",
        err));
    return prepare(
        &diff->only_b, diff,
        "SELECT count(*) FROM b.sample y WHERE y.cell = ?2 AND NOT EXISTS (SELECT 1 FROM main.sample x"
        " WHERE x.cell = ?1 AND x.sample_id = y.sample_id)",
        err);
}

static void diff_close(struct diff *diff)
{
    sqlite3_finalize(diff->rows);
    sqlite3_finalize(diff->only_a);
    sqlite3_finalize(diff->only_b);
    sqlite3_finalize(diff->layer_counts);
    sqlite3_finalize(diff->keep_counts);
    sqlite3_finalize(diff->comparisons);
    sqlite3_close(diff->db);
}

/* ---- comparing ------------------------------------------------------------------------------ */

static json_t *value_json(sqlite3_stmt *s, int i)
{
    json_t *text;
    switch (sqlite3_column_type(s, i)) {
    case SQLITE_INTEGER:
        return json_integer(sqlite3_column_int64(s, i));
    case SQLITE_FLOAT:
        return json_real(sqlite3_column_double(s, i));
    case SQLITE_TEXT:
        text = json_string((const char *)sqlite3_column_text(s, i));
        return text ? text : json_string("(no UTF-8)");
    default:
        return json_null();
    }
}

static json_t *row_json(const struct diff *diff, sqlite3_stmt *s)
{
    json_t *differs = json_object();
    for (int i = 0; i <= diff->samples.n; i++)
        if (sqlite3_column_int(s, 1 + 3 * i))
            json_object_set_new(differs, i == 0 ? "error" : diff->samples.names[i - 1],
                                json_pack("[o, o]", value_json(s, 2 + 3 * i), value_json(s, 3 + 3 * i)));
    return json_pack("{s:i, s:o}", "sample_id", sqlite3_column_int(s, 0), "differs", differs);
}

static void bind_pair(sqlite3_stmt *s, int64_t a, int64_t b)
{
    sqlite3_reset(s);
    sqlite3_bind_int64(s, 1, a);
    sqlite3_bind_int64(s, 2, b);
}

static enum status count(int *out, const struct diff *diff, sqlite3_stmt *s, int64_t a, int64_t b,
                         struct error *err)
{
    bool row;
    bind_pair(s, a, b);
    enum status status = step(&row, diff, s, err);
    *out = status == OK && row ? sqlite3_column_int(s, 0) : 0;
    sqlite3_reset(s);
    return status;
}

static enum status differing_rows(json_t *out, const struct diff *diff, int64_t a, int64_t b,
                                  struct error *err)
{
    enum status status;
    bind_pair(diff->rows, a, b);
    for (bool row; (status = step(&row, diff, diff->rows, err)) == OK && row;)
        json_array_append_new(out, row_json(diff, diff->rows));
    sqlite3_reset(diff->rows);
    return status;
}

/* Columns of pairs_sql. */
enum {
    PAIR_A,
    PAIR_B,
    PAIR_KEY,
    PAIR_KEY_B,
    PAIR_BENCHMARK,
    PAIR_CANONICAL,
    PAIR_N_A,
    PAIR_N_B,
    PAIR_FAILED_A,
    PAIR_FAILED_B,
    PAIR_SCORE_A,
    PAIR_SCORE_B,
    PAIR_FIGURES
};
static const char pairs_sql[] =
    "SELECT p.a, p.b, x.key, y.key, x.benchmark, c.canonical, x.n, y.n, x.n_failed, y.n_failed, x.score, "
    "y.score,"
    " x.score IS NOT y.score OR x.score_lo IS NOT y.score_lo OR x.score_hi IS NOT y.score_hi"
    " OR x.metrics IS NOT y.metrics OR (x.reason IS NULL) <> (y.reason IS NULL)"
    " FROM pair p JOIN main.cell c ON c.id = p.a JOIN main.cells x ON x.key = c.key"
    " JOIN b.cell d ON d.id = p.b JOIN b.cells y ON y.key = d.key ORDER BY p.a";

/* Adds the pair where it differs. */
static enum status compare_pair(json_t *cells, const struct diff *diff, sqlite3_stmt *s, struct error *err)
{
    int64_t a = sqlite3_column_int64(s, PAIR_A), b = sqlite3_column_int64(s, PAIR_B);
    int only_a, only_b, layers, keeps, comparisons = 0;
    char label[CELL_LABEL_SIZE];
    bool figures = sqlite3_column_int(s, PAIR_FIGURES);
    TRY(count(&only_a, diff, diff->only_a, a, b, err));
    TRY(count(&only_b, diff, diff->only_b, a, b, err));
    TRY(count(&layers, diff, diff->layer_counts, a, b, err));
    TRY(count(&keeps, diff, diff->keep_counts, a, b, err));
    if (diff->by == DIFF_BY_KEY)
        TRY(count(&comparisons, diff, diff->comparisons, a, b, err));
    json_t *rows = json_array();
    enum status status = differing_rows(rows, diff, a, b, err);
    bool differs = figures || only_a + only_b + layers + keeps + comparisons > 0 || json_array_size(rows) > 0;
    if (status != OK || !differs) {
        json_decref(rows);
        return status;
    }
    cell_label(label, (const char *)sqlite3_column_text(s, PAIR_CANONICAL));
    json_t *pair = json_pack(
        "{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:i, s:i, s:i, s:b, s:o}", "key",
        value_json(s, PAIR_KEY), "benchmark", value_json(s, PAIR_BENCHMARK), "label", label, "n_a",
        value_json(s, PAIR_N_A), "n_b", value_json(s, PAIR_N_B), "n_failed_a", value_json(s, PAIR_FAILED_A),
        "n_failed_b", value_json(s, PAIR_FAILED_B), "score_a", value_json(s, PAIR_SCORE_A), "score_b",
        value_json(s, PAIR_SCORE_B), "only_a", only_a, "only_b", only_b, "layers", layers, "keep_maps", keeps,
        "comparisons", comparisons, "figures", (int)figures, "rows", rows);
    if (pair && diff->by == DIFF_BY_CONFIG)
        json_object_set_new(pair, "key_b", value_json(s, PAIR_KEY_B));
    return json_array_append_new(cells, pair) == 0 ? OK : memory_failed(err, "differences", 0);
}

static enum status compare_pairs(json_t *cells, int *n_both, const struct diff *diff, struct error *err)
{
    sqlite3_stmt *s;
    enum status status;
    *n_both = 0;
    TRY(prepare(&s, diff, pairs_sql, err));
    for (bool row; (status = step(&row, diff, s, err)) == OK && row; ++*n_both)
        TRY_GOTO(status, compare_pair(cells, diff, s, err));
exit:
    sqlite3_finalize(s);
    return status;
}

/* Cells of one store that are in no pair. */
static enum status lonely_cells(json_t *out, const struct diff *diff, const char *db, const char *side,
                                struct error *err)
{
    char sql[400], label[CELL_LABEL_SIZE];
    sqlite3_stmt *s;
    enum status status;
    snprintf(sql, sizeof sql,
             "SELECT key, benchmark, canonical, (SELECT coalesce(sum(error IS NULL), 0) FROM %s.sample"
             " WHERE cell = c.id) FROM %s.cell c WHERE id NOT IN (SELECT %s FROM pair) ORDER BY id",
             db, db, side);
    TRY(prepare(&s, diff, sql, err));
    for (bool row; (status = step(&row, diff, s, err)) == OK && row;) {
        cell_label(label, (const char *)sqlite3_column_text(s, 2));
        json_array_append_new(out, json_pack("{s:o, s:o, s:s, s:o}", "key", value_json(s, 0), "benchmark",
                                             value_json(s, 1), "label", label, "n", value_json(s, 3)));
    }
    sqlite3_finalize(s);
    return status;
}

static enum status count_common(int *out, const struct diff *diff, struct error *err)
{
    sqlite3_stmt *s;
    bool row;
    TRY(prepare(
        &s, diff,
        "SELECT count(*) FROM pair p JOIN main.sample x ON x.cell = p.a JOIN b.sample y ON y.cell = p.b"
        " AND y.sample_id = x.sample_id",
        err));
    enum status status = step(&row, diff, s, err);
    *out = status == OK && row ? sqlite3_column_int(s, 0) : 0;
    sqlite3_finalize(s);
    return status;
}

enum status diff_stores(json_t **out, const char *a, const char *b, enum diff_by by, struct error *err)
{
    struct diff diff = {.a = a, .b = b, .by = by};
    json_t *only_a = json_array(), *only_b = json_array(), *cells = json_array();
    int n_both = 0, n_samples = 0;
    enum status status;
    *out = NULL;
    TRY_GOTO(status, diff_open(&diff, err));
    TRY_GOTO(status, lonely_cells(only_a, &diff, "main", "a", err));
    TRY_GOTO(status, lonely_cells(only_b, &diff, "b", "b", err));
    TRY_GOTO(status, compare_pairs(cells, &n_both, &diff, err));
    TRY_GOTO(status, count_common(&n_samples, &diff, err));
    bool equal = json_array_size(only_a) + json_array_size(only_b) + json_array_size(cells) == 0;
    *out = json_pack("{s:s, s:s, s:s, s:b, s:i, s:i, s:O, s:O, s:O}", "a", a, "b", b, "by", diff_by_names[by],
                     "equal", (int)equal, "n_both", n_both, "n_samples", n_samples, "only_a", only_a,
                     "only_b", only_b, "cells", cells);
    if (*out == NULL)
        status = fail(err, BAD_INPUT, "%s, %s: a path is no valid UTF-8; rename it", a, b);
exit:
    json_decref(only_a);
    json_decref(only_b);
    json_decref(cells);
    diff_close(&diff);
    return status;
}
