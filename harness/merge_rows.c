/* One input's rows into a store, see merge.h.
 *
 *     cells      found by key, or copied
 *     samples    one by one: added, equal, replaced or a conflict; layers and keep maps come with them
 *     figures    a cell whose rows are now just the input's takes over its score, a source its comparisons
 */
#include <stdio.h>  /* snprintf */
#include <string.h> /* strcmp */

#include "core/memory.h"
#include "harness/cell_label.h"
#include "harness/merge_input.h"

/* The cell at work. */
struct pair {
    int64_t in, out;
    const char *key, *benchmark, *canonical;
    bool fresh, touched; /* fresh: OUT did not have it */
    bool same;           /* so far every row is, score included, that of OUT */
};

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
    TRY(input_prepare(&read, input, select, err));
    sqlite3_bind_int64(read, 1, pair->in);
    sqlite3_bind_int64(read, 2, sample_id);
    enum status status = input_row(&row, input, read, err);
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
    TRY_GOTO(status, input_prepare(&in, input, counts_sql, err));
    TRY_GOTO(status, store_prepare(&own, input->store, counts_sql, err));
    sqlite3_bind_int64(in, 1, pair->in);
    sqlite3_bind_int64(own, 1, pair->out);
    TRY_GOTO(status, input_row(&row, input, in, err));
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
    TRY_GOTO(status, input_prepare(&read, input, peak_sql, err));
    TRY_GOTO(status, store_prepare(&own, input->store, peak_sql, err));
    sqlite3_bind_int64(read, 1, pair->in);
    sqlite3_bind_int64(own, 1, pair->out);
    TRY_GOTO(status, input_row(&row, input, read, err));
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
    TRY(input_prepare(&read, input, "SELECT shards, shard, n FROM planned WHERE cell = ?", err));
    sqlite3_bind_int64(read, 1, pair->in);
    enum status status = store_prepare(&write, input->store,
                                       "INSERT INTO planned(cell, shards, shard, n) VALUES(?1, ?2, ?3, ?4)"
                                       " ON CONFLICT DO UPDATE SET n = ?4 WHERE n < ?4",
                                       err);
    for (bool row; status == OK && (status = input_row(&row, input, read, err)) == OK && row;) {
        sqlite3_bind_int64(write, 1, pair->out);
        for (int i = 0; i < 3; i++)
            sqlite3_bind_value(write, i + 2, sqlite3_column_value(read, i));
        status = store_step(input->store, write, err);
    }
    sqlite3_finalize(read);
    sqlite3_finalize(write);
    return status;
}

/* A cell that was stored while its benchmark's files were missing, of which OUT has cells with files now:
 * what was missing is there, as when a sweep goes on (sweep.c). */
static enum status is_outdated(bool *out, struct input *input, sqlite3_stmt *in, struct error *err)
{
    sqlite3_stmt *s;
    *out = false;
    if (!sqlite3_column_int(in, 6))
        return OK;
    TRY(store_prepare(&s, input->store, "SELECT 1 FROM source WHERE benchmark = ? AND files_sha <> ''", err));
    sqlite3_bind_value(s, 1, sqlite3_column_value(in, 3));
    enum status status = store_row(out, input->store, s, err);
    sqlite3_finalize(s);
    return status;
}

static enum status merge_cell(struct input *input, sqlite3_stmt *in, struct error *err)
{
    struct pair pair;
    sqlite3_stmt *rows = input->statements[IN_ROWS], *mark = input->statements[MARK];
    bool whole, outdated;
    TRY(is_outdated(&outdated, input, in, err));
    if (outdated)
        return OK;
    TRY(pair_cell(&pair, input, in, err));
    sqlite3_bind_int64(rows, 1, pair.in);
    enum status status;
    for (bool row; (status = input_row(&row, input, rows, err)) == OK && row;)
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
    TRY(input_prepare(
        &s, input,
        "SELECT c.id, c.key, c.canonical, c.benchmark, c.source, c.reason, o.files_sha = '' FROM cell c"
        " JOIN source o ON o.id = c.source ORDER BY c.id",
        err));
    enum status status;
    for (bool row; (status = input_row(&row, input, s, err)) == OK && row;)
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
    TRY_GOTO(status, input_prepare(
                         &read, input,
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
        TRY_GOTO(status, input_row(&row, input, read, err));
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

enum status merge_input(struct merge_report *report, struct store *store, const char *path, const char *name,
                        struct error *err)
{
    struct input input = {.report = report, .store = store, .name = name};
    enum status status;
    TRY_GOTO(status, input_open(&input, path, err));
    TRY_GOTO(status, input_sources(&input, err));
    TRY_GOTO(status, merge_cells(&input, err));
    for (int i = 0; i < input.n_sources; i++)
        TRY_GOTO(status, merge_comparisons(&input, &input.sources[i], err));
    status = input_replies(&input, err);
exit:
    input_close(&input);
    return status;
}
