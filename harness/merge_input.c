/* An input's statements, its rows copied, its questions and its judges' replies, see merge_input.h. */
#include "harness/merge_input.h"

#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strlen */

#include "core/memory.h"

enum { SQL_SIZE = 4096 };

/* ---- reading and copying -------------------------------------------------------------------- */

static enum status input_fail(const struct input *input, struct error *err)
{
    return fail(err, BAD_INPUT, "%s: cannot be read as a store: %s", input->name, sqlite3_errmsg(input->db));
}

enum status input_prepare(sqlite3_stmt **out, struct input *input, const char *sql, struct error *err)
{
    return sqlite3_prepare_v2(input->db, sql, -1, out, NULL) == SQLITE_OK ? OK : input_fail(input, err);
}

enum status input_row(bool *row, struct input *input, sqlite3_stmt *s, struct error *err)
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
    TRY(input_prepare(&out->read, input, sql, err));
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

enum status copier_rows(struct copier *copier, struct input *input, const int64_t *given, struct error *err)
{
    enum status status;
    for (bool row; (status = input_row(&row, input, copier->read, err)) == OK && row;)
        TRY_GOTO(status, copier_row(copier, input, given, err));
exit:
    sqlite3_reset(copier->read);
    return status;
}

bool same_value(sqlite3_stmt *a, int i, sqlite3_stmt *b, int j)
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
             input_prepare(&read, input,
                           "SELECT is_number, sample_id FROM question WHERE source = ? AND is_number NOTNULL",
                           err));
    TRY_GOTO(status, store_prepare(&write, input->store,
                                   "UPDATE question SET is_number = ?1 WHERE source = ?2 AND sample_id = ?3"
                                   " AND is_number IS NULL",
                                   err));
    sqlite3_bind_int64(read, 1, pair->in);
    for (bool row;;) {
        TRY_GOTO(status, input_row(&row, input, read, err));
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
    TRY_GOTO(status, input_prepare(&in, input, sql, err));
    TRY_GOTO(status, store_prepare(&out, input->store, sql, err));
    sqlite3_bind_int64(in, 1, pair->in);
    sqlite3_bind_int64(out, 1, pair->out);
    for (bool row, own;;) {
        TRY_GOTO(status, input_row(&row, input, in, err));
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

enum status input_sources(struct input *input, struct error *err)
{
    sqlite3_stmt *s;
    TRY(input_prepare(
        &s, input,
        "SELECT DISTINCT o.id, o.benchmark, o.files_sha FROM source o JOIN cell c ON c.source = o.id"
        " ORDER BY o.id",
        err));
    enum status status;
    for (bool row; (status = input_row(&row, input, s, err)) == OK && row;)
        TRY_GOTO(status, merge_source(input, s, err));
exit:
    sqlite3_finalize(s);
    return status;
}

enum status input_replies(struct input *input, struct error *err)
{
    sqlite3_stmt *read, *write = NULL;
    TRY(input_prepare(&read, input, "SELECT hash, model, reply, created FROM judge_reply", err));
    enum status status =
        store_prepare(&write, input->store,
                      "INSERT OR IGNORE INTO judge_reply(hash, model, reply, created) VALUES(?,?,?,?)", err);
    for (bool row; status == OK && (status = input_row(&row, input, read, err)) == OK && row;) {
        for (int i = 0; i < 4; i++)
            sqlite3_bind_value(write, i + 1, sqlite3_column_value(read, i));
        status = store_step(input->store, write, err);
    }
    sqlite3_finalize(read);
    sqlite3_finalize(write);
    return status;
}

/* ---- opening -------------------------------------------------------------------------------- */

enum status input_open(struct input *input, const char *path, struct error *err)
{
    static const char of_sample[] = "cell = ?1 AND sample_id = ?2";
    TRY(store_open_reader(&input->db, path, err));
    if (sqlite3_exec(input->db, "BEGIN", NULL, NULL, NULL) !=
        SQLITE_OK) /* one snapshot, also of a live store */
        return input_fail(input, err);
    TRY(input_prepare(&input->statements[IN_ROWS], input,
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

void input_close(struct input *input)
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
