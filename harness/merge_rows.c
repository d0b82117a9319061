/* One input's rows into a store, see merge.h.
 *
 *     sources    questions that OUT has are compared, others copied
 *     cells      found by key, or copied
 *     samples    one by one: added, equal, replaced or a conflict; layers and keep maps come with them
 *     figures    a cell whose rows are now just the input's takes over its score, a source its comparisons
 *
 * Columns are copied by name: a migrated store has them in another order.
 */
#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/memory.h"
#include "harness/activity.h"
#include "harness/cell_label.h"
#include "harness/merge.h"
#include "harness/store.h"

enum { SQL_SIZE = 4096 };

/* Rows of a table of the input as rows of OUT: all its columns but the first ones, which are given. */
struct copier {
    sqlite3_stmt *read, *write;
    int n_given;
};

struct source_pair {
    int64_t in, out;
};

enum statement { FIND_CELL, IN_ROWS, OUT_ROW, PUT_TIMES, PUT_VERDICT, MARK, N_STATEMENTS };

struct input {
    struct merge_report *report;
    struct store *store;
    sqlite3 *db;
    const char *name; /* as it was given */
    sqlite3_stmt *statements[N_STATEMENTS];
    struct copier questions, cells, samples, layers, keeps, summaries;
    struct source_pair *sources;
    int n_sources, sources_capacity;
};

/* The cell at work. */
struct pair {
    int64_t in, out;
    const char *key, *benchmark, *canonical;
    bool fresh, touched; /* fresh: OUT did not have it */
    bool same;           /* so far every row is, score included, that of OUT */
};

/* Columns of a sample that tell whether it is the same; those from ROW_ANSWER on are compared. */
#define ROW_COLUMNS                                                                                          \
    "sample_id, error IS NOT NULL, coalesce(timed, 0), verdict IS NOT NULL, score, answer, n_generated,"     \
    " n_visual, tokens_in, tokens_out, macs_paper, flops_vision, flops_project, flops_prefill, "             \
    "flops_select,"                                                                                          \
    " flops_head, flops_decode, kv_bytes_live, kv_bytes_alloc, kv_visual_bytes"
enum { ROW_ID, ROW_FAILED, ROW_TIMED, ROW_JUDGED, ROW_SCORE, ROW_ANSWER };

/* ---- reading and copying -------------------------------------------------------------------- */

static enum status input_fail(const struct input *input, struct error *err)
{
    return fail(err, BAD_INPUT, "%s: cannot be read as a store: %s", input->name, sqlite3_errmsg(input->db));
}

static enum status prepare(sqlite3_stmt **out, struct input *input, const char *sql, struct error *err)
{
    return sqlite3_prepare_v2(input->db, sql, -1, out, NULL) == SQLITE_OK ? OK : input_fail(input, err);
}

static enum status step(bool *row, struct input *input, sqlite3_stmt *s, struct error *err)
{
    int code = sqlite3_step(s);
    *row = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE ? OK : input_fail(input, err);
}

/* The names of a table's columns joined by ", ", without those in `given` ("cell, id" form). */
static enum status column_names(char out[SQL_SIZE], int *n, struct store *store, const char *table,
                                const char *given, struct error *err)
{
    sqlite3_stmt *s;
    out[0] = 0;
    *n = 0;
    TRY(store_prepare(
        &s, store,
        "SELECT name FROM pragma_table_info(?1) WHERE instr(', ' || ?2 || ',', ', ' || name || ',')"
        " = 0 ORDER BY cid",
        err));
    sqlite3_bind_text(s, 1, table, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, given, -1, SQLITE_STATIC);
    enum status status;
    for (bool row; (status = store_row(&row, store, s, err)) == OK && row; ++*n) {
        size_t used = strlen(out);
        snprintf(out + used, SQL_SIZE - used, "%s%s", *n > 0 ? ", " : "",
                 (const char *)sqlite3_column_text(s, 0));
    }
    sqlite3_finalize(s);
    return status;
}

/* given: the columns that the caller binds for writing; where: of the input's rows. */
static enum status copier_open(struct copier *out, struct input *input, const char *table, const char *given,
                               const char *left_out, const char *where, struct error *err)
{
    char columns[SQL_SIZE], places[SQL_SIZE] = "?1", sql[2 * SQL_SIZE], without[100];
    int n;
    out->n_given = 1;
    for (const char *c = given; *c; c++)
        out->n_given += *c == ',';
    snprintf(without, sizeof without, "%s, %s", given, left_out);
    TRY(column_names(columns, &n, input->store, table, without, err));
    for (int i = 1; i < out->n_given + n; i++)
        snprintf(places + strlen(places), sizeof places - strlen(places), ",?%d", i + 1);
    snprintf(sql, sizeof sql, "SELECT %s FROM %s WHERE %s", columns, table, where);
    TRY(prepare(&out->read, input, sql, err));
    snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO %s(%s, %s) VALUES(%s)", table, given, columns, places);
    return store_prepare(&out->write, input->store, sql, err);
}

static void copier_close(struct copier *copier)
{
    sqlite3_finalize(copier->read);
    sqlite3_finalize(copier->write);
}

/* Both statements are bound but for the copied columns. */
static enum status copier_row(struct copier *copier, struct input *input, const int64_t *given,
                              struct error *err)
{
    for (int i = 0; i < copier->n_given; i++)
        sqlite3_bind_int64(copier->write, i + 1, given[i]);
    for (int i = 0; i < sqlite3_column_count(copier->read); i++)
        sqlite3_bind_value(copier->write, copier->n_given + i + 1, sqlite3_column_value(copier->read, i));
    return store_step(input->store, copier->write, err);
}

static enum status copier_rows(struct copier *copier, struct input *input, const int64_t *given,
                               struct error *err)
{
    enum status status;
    for (bool row; (status = step(&row, input, copier->read, err)) == OK && row;)
        TRY_GOTO(status, copier_row(copier, input, given, err));
exit:
    sqlite3_reset(copier->read);
    return status;
}

/* As SQL's IS, exact. */
static bool same_value(sqlite3_stmt *a, int i, sqlite3_stmt *b, int j)
{
    int type = sqlite3_column_type(a, i), other = sqlite3_column_type(b, j);
    bool numbers = (type == SQLITE_INTEGER || type == SQLITE_FLOAT) &&
                   (other == SQLITE_INTEGER || other == SQLITE_FLOAT);
    if (numbers && (type == SQLITE_FLOAT || other == SQLITE_FLOAT))
        return !(sqlite3_column_double(a, i) < sqlite3_column_double(b, j)) &&
               !(sqlite3_column_double(a, i) > sqlite3_column_double(b, j));
    if (numbers)
        return sqlite3_column_int64(a, i) == sqlite3_column_int64(b, j);
    if (type != other)
        return false;
    if (type == SQLITE_NULL)
        return true;
    const void *left = sqlite3_column_blob(a, i), *right = sqlite3_column_blob(b, j);
    int n = sqlite3_column_bytes(a, i);
    return n == sqlite3_column_bytes(b, j) && (n == 0 || memcmp(left, right, (size_t)n) == 0);
}

/* ---- sources -------------------------------------------------------------------------------- */

/* A question of both: the same hash of the files means the same rows, or one store is damaged. */
static enum status check_question(struct input *input, sqlite3_stmt *in, sqlite3_stmt *out, struct error *err)
{
    for (int i = 0; i < sqlite3_column_count(in); i++)
        if (!same_value(in, i, out, i))
            return fail(
                err, BAD_INPUT,
                "%s: question %d is another one than in OUT (%s differs) though its files have the same "
                "hash; one of the two stores is damaged",
                input->name, sqlite3_column_int(in, 0), sqlite3_column_name(in, i));
    return OK;
}

/* is_number is of schema 3: questions of an older store lack it. */
static enum status take_id_kinds(struct input *input, const struct source_pair *pair, struct error *err)
{
    sqlite3_stmt *read = NULL, *write = NULL;
    enum status status = OK;
    TRY_GOTO(status,
             prepare(&read, input,
                     "SELECT is_number, sample_id FROM question WHERE source = ? AND is_number NOTNULL",
                     err));
    TRY_GOTO(status, store_prepare(&write, input->store,
                                   "UPDATE question SET is_number = ?1 WHERE source = ?2 AND sample_id = ?3"
                                   " AND is_number IS NULL",
                                   err));
    sqlite3_bind_int64(read, 1, pair->in);
    for (bool row;;) {
        TRY_GOTO(status, step(&row, input, read, err));
        if (!row)
            break;
        sqlite3_bind_value(write, 1, sqlite3_column_value(read, 0));
        sqlite3_bind_int64(write, 2, pair->out);
        sqlite3_bind_value(write, 3, sqlite3_column_value(read, 1));
        TRY_GOTO(status, store_step(input->store, write, err));
    }
exit:
    sqlite3_finalize(read);
    sqlite3_finalize(write);
    return status;
}

static enum status check_questions(struct input *input, const struct source_pair *pair, struct error *err)
{
    static const char sql[] = "SELECT sample_id, question_id, image, cluster, question, gold FROM question"
                              " WHERE source = ? ORDER BY sample_id";
    sqlite3_stmt *in = NULL, *out = NULL;
    enum status status = OK;
    TRY_GOTO(status, prepare(&in, input, sql, err));
    TRY_GOTO(status, store_prepare(&out, input->store, sql, err));
    sqlite3_bind_int64(in, 1, pair->in);
    sqlite3_bind_int64(out, 1, pair->out);
    for (bool row, own;;) {
        TRY_GOTO(status, step(&row, input, in, err));
        TRY_GOTO(status, store_row(&own, input->store, out, err));
        if (row != own)
            TRY_GOTO(status, fail(err, BAD_INPUT,
                                  "%s: a source has another number of questions than in OUT though its files "
                                  "have the same hash; one of the two stores is damaged",
                                  input->name));
        if (!row)
            break;
        TRY_GOTO(status, check_question(input, in, out, err));
    }
    status = take_id_kinds(input, pair, err);
exit:
    sqlite3_finalize(in);
    sqlite3_finalize(out);
    return status;
}

static enum status copy_source(struct source_pair *pair, struct input *input, const char *benchmark,
                               const char *files_sha, struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_prepare(&s, input->store, "INSERT INTO source(benchmark, files_sha) VALUES(?,?)", err));
    sqlite3_bind_text(s, 1, benchmark, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, files_sha, -1, SQLITE_STATIC);
    enum status status = store_step(input->store, s, err);
    sqlite3_finalize(s);
    TRY(status);
    pair->out = sqlite3_last_insert_rowid(store_connection(input->store));
    sqlite3_bind_int64(input->questions.read, 1, pair->in);
    return copier_rows(&input->questions, input, &pair->out, err);
}

static enum status merge_source(struct input *input, sqlite3_stmt *in, struct error *err)
{
    const char *benchmark = (const char *)sqlite3_column_text(in, 1),
               *files_sha = (const char *)sqlite3_column_text(in, 2);
    struct source_pair pair = {.in = sqlite3_column_int64(in, 0)};
    sqlite3_stmt *s;
    bool row;
    TRY(store_prepare(&s, input->store, "SELECT id FROM source WHERE benchmark IS ? AND files_sha IS ?",
                      err));
    sqlite3_bind_text(s, 1, benchmark, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, files_sha, -1, SQLITE_STATIC);
    enum status status = store_row(&row, input->store, s, err);
    pair.out = status == OK && row ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    TRY(status);
    TRY(row ? check_questions(input, &pair, err) : copy_source(&pair, input, benchmark, files_sha, err));
    if (input->n_sources == input->sources_capacity) {
        int wanted = input->sources_capacity ? 2 * input->sources_capacity : 16;
        struct source_pair *grown = memory_grow(input->sources, (size_t)wanted, sizeof *grown);
        if (grown == NULL)
            return memory_failed(err, "sources", (size_t)wanted * sizeof *grown);
        input->sources = grown;
        input->sources_capacity = wanted;
    }
    input->sources[input->n_sources++] = pair;
    return OK;
}

static enum status merge_sources(struct input *input, struct error *err)
{
    sqlite3_stmt *s;
    TRY(prepare(&s, input,
                "SELECT DISTINCT o.id, o.benchmark, o.files_sha FROM source o JOIN cell c ON c.source = o.id"
                " ORDER BY o.id",
                err));
    enum status status;
    for (bool row; (status = step(&row, input, s, err)) == OK && row;)
        TRY_GOTO(status, merge_source(input, s, err));
exit:
    sqlite3_finalize(s);
    return status;
}

/* ---- samples -------------------------------------------------------------------------------- */

enum fate { ADDED, EQUAL, FAILURE_REPLACED, TIMES_TAKEN, SUPERSEDED, CONFLICT };

/* What becomes of a row of the input; *column: the first that differs, for a conflict. */
static enum fate fate_of(int *column, sqlite3_stmt *in, sqlite3_stmt *out, bool there)
{
    bool failed = sqlite3_column_int(in, ROW_FAILED);
    if (!there)
        return ADDED;
    if (sqlite3_column_int(out, ROW_FAILED))
        return failed ? EQUAL : FAILURE_REPLACED;
    if (failed)
        return SUPERSEDED;
    for (*column = ROW_ANSWER; *column < sqlite3_column_count(in); ++*column)
        if (!same_value(in, *column, out, *column))
            return CONFLICT;
    return sqlite3_column_int(in, ROW_TIMED) && !sqlite3_column_int(out, ROW_TIMED) ? TIMES_TAKEN : EQUAL;
}

static enum status add_conflict(struct input *input, const struct pair *pair, sqlite3_stmt *in,
                                sqlite3_stmt *out, int column, struct error *err)
{
    struct merge_report *report = input->report;
    if (report->n_conflicts == report->conflicts_capacity) {
        int wanted = report->conflicts_capacity ? 2 * report->conflicts_capacity : 16;
        struct merge_conflict *grown = memory_grow(report->conflicts, (size_t)wanted, sizeof *grown);
        if (grown == NULL)
            return memory_failed(err, "conflicts", (size_t)wanted * sizeof *grown);
        report->conflicts = grown;
        report->conflicts_capacity = wanted;
    }
    char label[CELL_LABEL_SIZE];
    const char *kept = (const char *)sqlite3_column_text(out, ROW_ANSWER),
               *other = (const char *)sqlite3_column_text(in, ROW_ANSWER);
    cell_label(label, pair->canonical);
    struct merge_conflict *conflict = &report->conflicts[report->n_conflicts++];
    *conflict = (struct merge_conflict){.key = memory_text(pair->key),
                                        .benchmark = memory_text(pair->benchmark),
                                        .label = memory_text(label),
                                        .input = input->name,
                                        .sample_id = sqlite3_column_int(in, ROW_ID),
                                        .kept = memory_text(kept ? kept : ""),
                                        .other = memory_text(other ? other : "")};
    snprintf(conflict->differs, sizeof conflict->differs, "%s", sqlite3_column_name(in, column));
    bool ok = conflict->key && conflict->benchmark && conflict->label && conflict->kept && conflict->other;
    return ok ? OK : memory_failed(err, "conflicts", 0);
}

/* The whole row with its layers and keep maps, in the place of a failed one or of none. */
static enum status copy_sample(struct input *input, const struct pair *pair, int64_t sample_id,
                               struct error *err)
{
    struct copier *const copiers[] = {&input->samples, &input->layers, &input->keeps};
    const int64_t given[] = {pair->out, sample_id};
    for (size_t i = 0; i < sizeof copiers / sizeof *copiers; i++) {
        sqlite3_bind_int64(copiers[i]->read, 1, pair->in);
        sqlite3_bind_int64(copiers[i]->read, 2, sample_id);
        TRY(copier_rows(copiers[i], input, given, err));
    }
    return OK;
}

/* Columns of the input's row, by a SELECT of one row and an UPDATE that ends in cell and sample_id. */
static enum status take_columns(struct input *input, const struct pair *pair, int64_t sample_id,
                                const char *select, enum statement update, struct error *err)
{
    sqlite3_stmt *read, *write = input->statements[update];
    bool row;
    TRY(prepare(&read, input, select, err));
    sqlite3_bind_int64(read, 1, pair->in);
    sqlite3_bind_int64(read, 2, sample_id);
    enum status status = step(&row, input, read, err);
    if (status == OK && row) {
        int n = sqlite3_column_count(read);
        for (int i = 0; i < n; i++)
            sqlite3_bind_value(write, i + 1, sqlite3_column_value(read, i));
        sqlite3_bind_int64(write, n + 1, pair->out);
        sqlite3_bind_int64(write, n + 2, sample_id);
        status = store_step(input->store, write, err);
    }
    sqlite3_finalize(read);
    return status;
}

#define TIME_COLUMNS                                                                                         \
    "machine, wall_ms, preprocess_ms, vision_ms, project_ms, prefill_ms, select_ms, ttft_ms,"                \
    " decode_ms_per_token, total_ms"
#define OF_SAMPLE " FROM sample WHERE cell = ? AND sample_id = ?"

static enum status merge_sample(struct input *input, struct pair *pair, sqlite3_stmt *in, struct error *err)
{
    struct merge_report *report = input->report;
    sqlite3_stmt *out = input->statements[OUT_ROW];
    int64_t id = sqlite3_column_int64(in, ROW_ID);
    int column = 0;
    bool there = false;
    enum status status = OK;
    sqlite3_bind_int64(out, 1, pair->out);
    sqlite3_bind_int64(out, 2, id);
    if (!pair->fresh)
        TRY_GOTO(status, store_row(&there, input->store, out, err));
    enum fate fate = fate_of(&column, in, out, there);
    bool verdict = (fate == EQUAL || fate == TIMES_TAKEN) && sqlite3_column_int(in, ROW_JUDGED) &&
                   !sqlite3_column_int(out, ROW_JUDGED);
    if (there && fate != FAILURE_REPLACED && !verdict)
        pair->same = pair->same && fate != CONFLICT && same_value(in, ROW_SCORE, out, ROW_SCORE);
    if (fate == CONFLICT)
        TRY_GOTO(status, add_conflict(input, pair, in, out, column, err));
    sqlite3_reset(out);
    report->n_added += fate == ADDED;
    report->n_equal += fate == EQUAL;
    report->n_replaced += fate == FAILURE_REPLACED || fate == TIMES_TAKEN;
    report->n_superseded += fate == SUPERSEDED;
    report->n_verdicts += verdict;
    pair->touched =
        pair->touched || fate == ADDED || fate == FAILURE_REPLACED || fate == TIMES_TAKEN || verdict;
    if (fate == ADDED || fate == FAILURE_REPLACED)
        TRY_GOTO(status, copy_sample(input, pair, id, err));
    if (fate == TIMES_TAKEN)
        TRY_GOTO(status, take_columns(input, pair, id, "SELECT " TIME_COLUMNS OF_SAMPLE, PUT_TIMES, err));
    if (verdict)
        TRY_GOTO(status, take_columns(input, pair, id, "SELECT verdict, judge, score, parsed" OF_SAMPLE,
                                      PUT_VERDICT, err));
exit:
    sqlite3_reset(out);
    return status;
}

/* ---- cells ---------------------------------------------------------------------------------- */

static enum status source_of(int64_t *out, const struct input *input, int64_t in, struct error *err)
{
    for (int i = 0; i < input->n_sources; i++)
        if (input->sources[i].in == in) {
            *out = input->sources[i].out;
            return OK;
        }
    return fail(err, BAD_INPUT, "%s: a cell has no source; the store is damaged", input->name);
}

/* Finds the input's cell in OUT, or copies it. */
static enum status pair_cell(struct pair *pair, struct input *input, sqlite3_stmt *in, struct error *err)
{
    sqlite3_stmt *find = input->statements[FIND_CELL];
    bool there, infeasible = false;
    enum status status;
    *pair = (struct pair){.in = sqlite3_column_int64(in, 0),
                          .key = (const char *)sqlite3_column_text(in, 1),
                          .canonical = (const char *)sqlite3_column_text(in, 2),
                          .benchmark = (const char *)sqlite3_column_text(in, 3),
                          .same = true};
    if (!pair->key || !pair->canonical || !pair->benchmark)
        return fail(err, BAD_INPUT, "%s: a cell lacks its key; the store is damaged", input->name);
    sqlite3_bind_text(find, 1, pair->key, -1, SQLITE_STATIC);
    status = store_row(&there, input->store, find, err);
    if (status == OK && there) {
        const char *own = (const char *)sqlite3_column_text(find, 1);
        pair->out = sqlite3_column_int64(find, 0);
        infeasible = sqlite3_column_type(find, 2) != SQLITE_NULL;
        if (own == NULL || strcmp(own, pair->canonical) != 0)
            status = fail(err, BAD_INPUT,
                          "%s: cell %s was made of other settings than OUT's of the same key; one of the two "
                          "stores is damaged",
                          input->name, pair->key);
    }
    sqlite3_reset(find);
    TRY(status);
    if (there && infeasible && sqlite3_column_type(in, 5) == SQLITE_NULL) {
        /* What one shard's first question rules out may be possible for the other's. */
        char sql[100];
        snprintf(sql, sizeof sql, "UPDATE cell SET reason = NULL WHERE id = %lld", (long long)pair->out);
        return store_exec(input->store, sql, "cannot be written", err);
    }
    if (there)
        return OK;
    int64_t source;
    TRY(source_of(&source, input, sqlite3_column_int64(in, 4), err));
    sqlite3_bind_int64(input->cells.read, 1, pair->in);
    TRY(copier_rows(&input->cells, input, &source, err));
    pair->out = sqlite3_last_insert_rowid(store_connection(input->store));
    pair->fresh = pair->touched = true;
    return OK;
}

/* Rows answered and failed; of both sides, to know whether OUT's are just the input's. */
static const char counts_sql[] =
    "SELECT coalesce(sum(error IS NULL), 0), coalesce(sum(error IS NOT NULL), 0) FROM sample WHERE cell = ?";

static enum status is_whole(bool *out, struct input *input, const struct pair *pair, struct error *err)
{
    sqlite3_stmt *in = NULL, *own = NULL;
    bool row, own_row;
    enum status status = OK;
    *out = false;
    if (!pair->same)
        return OK;
    TRY_GOTO(status, prepare(&in, input, counts_sql, err));
    TRY_GOTO(status, store_prepare(&own, input->store, counts_sql, err));
    sqlite3_bind_int64(in, 1, pair->in);
    sqlite3_bind_int64(own, 1, pair->out);
    TRY_GOTO(status, step(&row, input, in, err));
    TRY_GOTO(status, store_row(&own_row, input->store, own, err));
    *out = row && own_row && same_value(in, 0, own, 0) && same_value(in, 1, own, 1);
exit:
    sqlite3_finalize(in);
    sqlite3_finalize(own);
    return status;
}

/* What the rows do not tell: a row `read` of one column, where OUT has no value of its own. */
static enum status put_peak(struct input *input, int64_t cell, sqlite3_stmt *read, struct error *err)
{
    sqlite3_stmt *write;
    if (sqlite3_column_type(read, 0) == SQLITE_NULL)
        return OK;
    TRY(store_prepare(&write, input->store,
                      "INSERT INTO summary(cell, peak_bytes) VALUES(?1, ?2) ON CONFLICT(cell) DO UPDATE"
                      " SET peak_bytes = ?2 WHERE peak_bytes IS NULL",
                      err));
    sqlite3_bind_int64(write, 1, cell);
    sqlite3_bind_value(write, 2, sqlite3_column_value(read, 0));
    enum status status = store_step(input->store, write, err);
    sqlite3_finalize(write);
    return status;
}

/* A cell whose rows are the input's own takes over its figures. A score that does not belong to the rows any
 * more is taken off. */
static enum status merge_summary(struct input *input, const struct pair *pair, bool whole, struct error *err)
{
    static const char peak_sql[] = "SELECT peak_bytes FROM summary WHERE cell = ?";
    sqlite3_stmt *own = NULL, *read = NULL;
    char sql[100];
    bool row, own_row;
    enum status status = OK;
    TRY_GOTO(status, prepare(&read, input, peak_sql, err));
    TRY_GOTO(status, store_prepare(&own, input->store, peak_sql, err));
    sqlite3_bind_int64(read, 1, pair->in);
    sqlite3_bind_int64(own, 1, pair->out);
    TRY_GOTO(status, step(&row, input, read, err));
    TRY_GOTO(status, store_row(&own_row, input->store, own, err));
    snprintf(sql, sizeof sql, "UPDATE summary SET n = NULL WHERE cell = %lld", (long long)pair->out);
    sqlite3_bind_int64(input->summaries.read, 1, pair->in);
    if (pair->touched)
        TRY_GOTO(status, whole ? copier_rows(&input->summaries, input, &pair->out, err)
                               : store_exec(input->store, sql, "cannot be written", err));
    if (own_row)
        TRY_GOTO(status, put_peak(input, pair->out, own, err));
    if (row)
        TRY_GOTO(status, put_peak(input, pair->out, read, err));
exit:
    sqlite3_finalize(own);
    sqlite3_finalize(read);
    return status;
}

static enum status merge_planned(struct input *input, const struct pair *pair, struct error *err)
{
    sqlite3_stmt *read, *write = NULL;
    TRY(prepare(&read, input, "SELECT shards, shard, n FROM planned WHERE cell = ?", err));
    sqlite3_bind_int64(read, 1, pair->in);
    enum status status = store_prepare(&write, input->store,
                                       "INSERT INTO planned(cell, shards, shard, n) VALUES(?1, ?2, ?3, ?4)"
                                       " ON CONFLICT DO UPDATE SET n = ?4 WHERE n < ?4",
                                       err);
    for (bool row; status == OK && (status = step(&row, input, read, err)) == OK && row;) {
        sqlite3_bind_int64(write, 1, pair->out);
        for (int i = 0; i < 3; i++)
            sqlite3_bind_value(write, i + 2, sqlite3_column_value(read, i));
        status = store_step(input->store, write, err);
    }
    sqlite3_finalize(read);
    sqlite3_finalize(write);
    return status;
}

static enum status merge_cell(struct input *input, sqlite3_stmt *in, struct error *err)
{
    struct pair pair;
    sqlite3_stmt *rows = input->statements[IN_ROWS], *mark = input->statements[MARK];
    bool whole;
    TRY(pair_cell(&pair, input, in, err));
    sqlite3_bind_int64(rows, 1, pair.in);
    enum status status;
    for (bool row; (status = step(&row, input, rows, err)) == OK && row;)
        TRY_GOTO(status, merge_sample(input, &pair, rows, err));
    TRY_GOTO(status, status);
    TRY_GOTO(status, is_whole(&whole, input, &pair, err));
    TRY_GOTO(status, merge_summary(input, &pair, whole, err));
    TRY_GOTO(status, merge_planned(input, &pair, err));
    sqlite3_bind_int64(mark, 1, pair.out);
    sqlite3_bind_int(mark, 2, pair.touched);
    sqlite3_bind_int(mark, 3, whole);
    status = store_step(input->store, mark, err);
exit:
    sqlite3_reset(rows);
    return status;
}

static enum status merge_cells(struct input *input, struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_exec(input->store, "UPDATE temp.merged SET whole = 0, now = 0", "cannot be written", err));
    TRY(prepare(&s, input, "SELECT id, key, canonical, benchmark, source, reason FROM cell ORDER BY id",
                err));
    enum status status;
    for (bool row; (status = step(&row, input, s, err)) == OK && row;)
        TRY_GOTO(status, merge_cell(input, s, err));
exit:
    sqlite3_finalize(s);
    return status;
}

/* ---- what is left --------------------------------------------------------------------------- */

/* Where all of a source's cells are now just the input's, its comparisons are, too. */
static enum status merge_comparisons(struct input *input, const struct source_pair *source, struct error *err)
{
    sqlite3_stmt *ask = NULL, *read = NULL, *write = NULL;
    bool row, whole = false;
    enum status status = OK;
    TRY_GOTO(status, store_prepare(&ask, input->store,
                                   "SELECT min(coalesce(m.whole, 0)) AND max(m.touched) FROM cell c"
                                   " LEFT JOIN temp.merged m ON m.cell = c.id WHERE c.source = ?",
                                   err));
    sqlite3_bind_int64(ask, 1, source->out);
    TRY_GOTO(status, store_row(&row, input->store, ask, err));
    whole = row && sqlite3_column_int(ask, 0);
    char sql[200];
    snprintf(sql, sizeof sql,
             whole ? "INSERT OR REPLACE INTO temp.carried VALUES(%lld)"
                   : "DELETE FROM temp.carried WHERE source = %lld AND EXISTS (SELECT 1 FROM cell c JOIN"
                     " temp.merged m ON m.cell = c.id WHERE c.source = carried.source AND m.now)",
             (long long)source->out);
    TRY_GOTO(status, store_exec(input->store, sql, "cannot be written", err));
    if (!whole)
        goto exit;
    TRY_GOTO(status,
             prepare(&read, input,
                     "SELECT c.key, b.key, x.n, x.diff, x.lo, x.hi, x.b01, x.b10, x.mcnemar_p, x.holm_p,"
                     " x.bh_q, x.loyalty FROM comparison x JOIN cell c ON c.id = x.cell"
                     " JOIN cell b ON b.id = x.base WHERE c.source = ?",
                     err));
    sqlite3_bind_int64(read, 1, source->in);
    TRY_GOTO(status,
             store_prepare(&write, input->store,
                           "INSERT OR REPLACE INTO comparison(cell, base, n, diff, lo, hi, b01, b10,"
                           " mcnemar_p, holm_p, bh_q, loyalty) SELECT c.id, b.id, ?3, ?4, ?5, ?6, ?7, ?8,"
                           " ?9, ?10, ?11, ?12 FROM cell c JOIN cell b ON b.key = ?2 WHERE c.key = ?1",
                           err));
    for (;;) {
        TRY_GOTO(status, step(&row, input, read, err));
        if (!row)
            break;
        for (int i = 0; i < sqlite3_column_count(read); i++)
            sqlite3_bind_value(write, i + 1, sqlite3_column_value(read, i));
        TRY_GOTO(status, store_step(input->store, write, err));
    }
exit:
    sqlite3_finalize(ask);
    sqlite3_finalize(read);
    sqlite3_finalize(write);
    return status;
}

static enum status merge_replies(struct input *input, struct error *err)
{
    sqlite3_stmt *read, *write = NULL;
    TRY(prepare(&read, input, "SELECT hash, model, reply, created FROM judge_reply", err));
    enum status status =
        store_prepare(&write, input->store,
                      "INSERT OR IGNORE INTO judge_reply(hash, model, reply, created) VALUES(?,?,?,?)", err);
    for (bool row; status == OK && (status = step(&row, input, read, err)) == OK && row;) {
        for (int i = 0; i < 4; i++)
            sqlite3_bind_value(write, i + 1, sqlite3_column_value(read, i));
        status = store_step(input->store, write, err);
    }
    sqlite3_finalize(read);
    sqlite3_finalize(write);
    return status;
}

static enum status input_open(struct input *input, const char *path, struct error *err)
{
    static const char of_sample[] = "cell = ?1 AND sample_id = ?2";
    TRY(store_open_reader(&input->db, path, err));
    if (sqlite3_exec(input->db, "BEGIN", NULL, NULL, NULL) !=
        SQLITE_OK) /* one snapshot, also of a live store */
        return input_fail(input, err);
    TRY(prepare(&input->statements[IN_ROWS], input,
                "SELECT " ROW_COLUMNS " FROM sample WHERE cell = ? ORDER BY sample_id", err));
    static const char *const own[N_STATEMENTS] = {
        [FIND_CELL] = "SELECT id, canonical, reason FROM cell WHERE key = ?",
        [OUT_ROW] = "SELECT " ROW_COLUMNS OF_SAMPLE,
        [PUT_TIMES] = "UPDATE sample SET timed = 1, (" TIME_COLUMNS
                      ") = (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) WHERE cell = ?11 AND sample_id = ?12",
        [PUT_VERDICT] = "UPDATE sample SET verdict = ?1, judge = ?2, score = ?3, parsed = ?4"
                        " WHERE cell = ?5 AND sample_id = ?6",
        [MARK] = "INSERT INTO temp.merged(cell, touched, now, whole) VALUES(?1, ?2, ?2, ?3) ON CONFLICT DO"
                 " UPDATE SET touched = touched OR ?2, now = ?2, whole = ?3"};
    for (int i = 0; i < N_STATEMENTS; i++)
        if (own[i])
            TRY(store_prepare(&input->statements[i], input->store, own[i], err));
    TRY(copier_open(&input->questions, input, "question", "source", "", "source = ?1", err));
    TRY(copier_open(&input->cells, input, "cell", "source", "id", "id = ?1", err));
    TRY(copier_open(&input->samples, input, "sample", "cell, sample_id", "", of_sample, err));
    TRY(copier_open(&input->layers, input, "layer", "cell, sample_id", "", of_sample, err));
    TRY(copier_open(&input->keeps, input, "keep", "cell, sample_id", "", of_sample, err));
    return copier_open(&input->summaries, input, "summary", "cell", "", "cell = ?1", err);
}

static void input_close(struct input *input)
{
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(input->statements[i]);
    copier_close(&input->questions);
    copier_close(&input->cells);
    copier_close(&input->samples);
    copier_close(&input->layers);
    copier_close(&input->keeps);
    copier_close(&input->summaries);
    free(input->sources);
    sqlite3_close(input->db);
}

enum status merge_input(struct merge_report *report, struct store *store, const char *path, const char *name,
                        struct error *err)
{
    struct input input = {.report = report, .store = store, .name = name};
    enum status status;
    TRY_GOTO(status, input_open(&input, path, err));
    TRY_GOTO(status, merge_sources(&input, err));
    TRY_GOTO(status, merge_cells(&input, err));
    for (int i = 0; i < input.n_sources; i++)
        TRY_GOTO(status, merge_comparisons(&input, &input.sources[i], err));
    status = merge_replies(&input, err);
exit:
    input_close(&input);
    return status;
}
