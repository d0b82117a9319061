/* The store: opening, migrating and writing, see store.h. Tables and views: store_schema.c. */
#include "harness/store.h"

#include <math.h>    /* isnan */
#include <pthread.h> /* one writer at a time */
#include <stdio.h>   /* snprintf */
#include <stdlib.h>  /* free */
#include <string.h>  /* strcmp */
#include <time.h>    /* created */

#include "core/json.h"   /* file_exists */
#include "core/memory.h" /* memory_*, clock_ms */

enum { APPLICATION_ID = 1464421975, BUSY_MS = 30000 };
static const double batch_ms = 1000;

enum statement {
    PUT_SAMPLE,
    PUT_LAYER,
    PUT_KEEP,
    DROP_LAYERS,
    DROP_KEEPS,
    PUT_TIMES,
    PUT_PEAK,
    N_STATEMENTS
};
static const char *const statement_sql[N_STATEMENTS] = {
    [PUT_SAMPLE] =
        ("INSERT OR REPLACE INTO sample(cell, sample_id, machine, image, answer, parsed, score, error,"
         " yes_prob, n_generated, n_visual, tokens_in, tokens_out, requested, measured, macs_paper,"
         " flops_vision, flops_project, flops_prefill, flops_select, flops_head, flops_decode,"
         " kv_bytes_live, kv_bytes_alloc, kv_visual_bytes, wall_ms, marked)"
         " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"),
    [PUT_LAYER] = "INSERT INTO layer VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [PUT_KEEP] = "INSERT INTO keep VALUES(?,?,?,?,?,?)",
    [DROP_LAYERS] = "DELETE FROM layer WHERE cell = ? AND sample_id = ?",
    [DROP_KEEPS] = "DELETE FROM keep WHERE cell = ? AND sample_id = ?",
    [PUT_TIMES] =
        ("UPDATE sample SET timed = 1, preprocess_ms = ?3, vision_ms = ?4, project_ms = ?5, prefill_ms = ?6,"
         " select_ms = ?7, ttft_ms = ?8, decode_ms_per_token = ?9, total_ms = ?10"
         " WHERE cell = ?1 AND sample_id = ?2"),
    [PUT_PEAK] = ("INSERT INTO summary(cell, peak_bytes) VALUES(?1, ?2)"
                  " ON CONFLICT(cell) DO UPDATE SET peak_bytes = ?2"),
};

struct store {
    sqlite3 *db;
    char *path;
    pthread_mutex_t lock;
    sqlite3_stmt *statements[N_STATEMENTS];
    bool open_batch;
    double batch_since;
};

static enum status sqlite_fail(struct error *err, sqlite3 *db, const char *path, const char *what)
{
    int code = sqlite3_errcode(db) & 0xff;
    bool machine = code == SQLITE_FULL || code == SQLITE_IOERR || code == SQLITE_NOMEM ||
                   code == SQLITE_CANTOPEN || code == SQLITE_BUSY || code == SQLITE_READONLY;
    return fail(err, machine ? NO_MACHINE : BAD_INPUT, "%s: %s: %s%s", path, what, sqlite3_errmsg(db),
                code == SQLITE_BUSY                           ? "; another program writes to it"
                : code == SQLITE_FULL || code == SQLITE_IOERR ? "; is the disk full?"
                                                              : "");
}

static enum status exec(sqlite3 *db, const char *path, const char *sql, const char *what, struct error *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? OK : sqlite_fail(err, db, path, what);
}

static enum status query_int(int64_t *out, sqlite3 *db, const char *path, const char *sql, struct error *err)
{
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        return sqlite_fail(err, db, path, "cannot be read as a store");
    int code = sqlite3_step(statement);
    *out = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? OK
               : sqlite_fail(err, db, path, "cannot be read as a store");
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Is it a store, and of which schema? 0: an empty file. */
static enum status schema_of(int64_t *version, sqlite3 *db, const char *path, struct error *err)
{
    int64_t application, n_tables;
    TRY(query_int(&application, db, path, "PRAGMA application_id", err));
    TRY(query_int(version, db, path, "PRAGMA user_version", err));
    TRY(query_int(&n_tables, db, path, "SELECT count(*) FROM sqlite_master", err));
    if (application != APPLICATION_ID && (n_tables > 0 || *version != 0))
        return fail(err, BAD_INPUT, "%s: this SQLite file is no store of winnow; name another file", path);
    if (*version > STORE_SCHEMA)
        return fail(
            err, BAD_INPUT,
            "%s: the store has schema %lld, this build knows up to %d; use the newer winnow that wrote it",
            path, (long long)*version, STORE_SCHEMA);
    return OK;
}

/* A copy beside the file, "S.db.schema-1.bak", that is never overwritten. */
static enum status backup(sqlite3 *db, const char *path, int64_t version, struct error *err)
{
    char name[4096];
    int n = snprintf(name, sizeof name, "%s.schema-%lld.bak", path, (long long)version);
    if (n < 0 || (size_t)n >= sizeof name)
        return fail(err, BAD_INPUT, "%s: the path is too long", path);
    if (file_exists(name))
        return fail(err, BAD_INPUT,
                    "%s: there already; move it away, so that the store can be backed up before its "
                    "migration",
                    name);
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, "VACUUM INTO ?", -1, &statement, NULL) != SQLITE_OK)
        return sqlite_fail(err, db, path, "no backup can be made");
    sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    int code = sqlite3_step(statement);
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? OK : sqlite_fail(err, db, path, "no backup could be made");
}

static enum status migrate(sqlite3 *db, const char *path, int64_t version, struct error *err)
{
    TRY(exec(db, path, "BEGIN IMMEDIATE", "cannot be locked for writing", err));
    int64_t now; /* another process may have been faster */
    enum status status = schema_of(&now, db, path, err);
    if (status == OK && now == 0)
        status = exec(db, path, store_schema, "its tables cannot be made", err);
    for (int64_t v = now; v > 0 && v < STORE_SCHEMA && status == OK; v++)
        status = exec(db, path, store_migrations[v - 1], "cannot be migrated", err);
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", STORE_SCHEMA);
    if (status == OK)
        status = exec(db, path, sql, "cannot be migrated", err);
    if (status == OK)
        return exec(db, path, "COMMIT", "cannot be written", err);
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    (void)version;
    return status;
}

enum status store_open(struct store **out, const char *path, struct error *err)
{
    *out = NULL;
    struct store *store = memory_zero(1, sizeof *store);
    if (store == NULL || (store->path = memory_text(path)) == NULL) {
        free(store);
        return memory_failed(err, path, sizeof *store);
    }
    pthread_mutex_init(&store->lock, NULL);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    enum status status = OK;
    int64_t version = 0;
    if (sqlite3_open_v2(path, &store->db, flags, NULL) != SQLITE_OK)
        TRY_GOTO(status, sqlite_fail(err, store->db, path, "the store cannot be opened"));
    sqlite3_busy_timeout(store->db, BUSY_MS);
    TRY_GOTO(status, schema_of(&version, store->db, path, err));
    TRY_GOTO(status, exec(store->db, path, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
                          "cannot be written", err));
    if (version > 0 && version < STORE_SCHEMA)
        TRY_GOTO(status, backup(store->db, path, version, err));
    if (version < STORE_SCHEMA)
        TRY_GOTO(status, migrate(store->db, path, version, err));
    for (int i = 0; i < N_STATEMENTS; i++)
        TRY_GOTO(status, store_prepare(&store->statements[i], store, statement_sql[i], err));
    *out = store;
    return OK;
exit:
    (void)store_close(store, &(struct error){0});
    return status;
}

enum status store_close(struct store *store, struct error *err)
{
    if (store == NULL)
        return OK;
    enum status status = store_tick(store, true, err);
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(store->statements[i]);
    sqlite3_close(store->db);
    pthread_mutex_destroy(&store->lock);
    free(store->path);
    free(store);
    return status;
}

enum status store_open_reader(sqlite3 **out, const char *path, struct error *err)
{
    *out = NULL;
    if (!file_exists(path))
        return fail(err, BAD_INPUT, "%s: there is no such store", path);
    enum status status = OK;
    int64_t version;
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        TRY_GOTO(status, sqlite_fail(err, db, path, "the store cannot be opened"));
    sqlite3_busy_timeout(db, BUSY_MS);
    TRY_GOTO(status, schema_of(&version, db, path, err));
    if (version == 0)
        TRY_GOTO(status, fail(err, BAD_INPUT, "%s: the file is empty, no store", path));
    *out = db;
    return OK;
exit:
    sqlite3_close(db);
    return status;
}

sqlite3 *store_connection(struct store *store)
{
    return store->db;
}

/* ---- batches -------------------------------------------------------------------------------- */

static enum status batch_begin(struct store *store, struct error *err)
{
    if (store->open_batch)
        return OK;
    TRY(exec(store->db, store->path, "BEGIN IMMEDIATE", "cannot be locked for writing", err));
    store->open_batch = true;
    store->batch_since = clock_ms();
    return OK;
}

static enum status batch_end(struct store *store, bool now, struct error *err)
{
    if (!store->open_batch || (!now && clock_ms() - store->batch_since < batch_ms))
        return OK;
    store->open_batch = false;
    return exec(store->db, store->path, "COMMIT", "cannot be written", err);
}

enum status store_tick(struct store *store, bool now, struct error *err)
{
    pthread_mutex_lock(&store->lock);
    enum status status = batch_end(store, now, err);
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_begin(struct store *store, struct error *err)
{
    pthread_mutex_lock(&store->lock);
    enum status status = batch_begin(store, err);
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_hold(struct store *store, struct error *err)
{
    pthread_mutex_lock(&store->lock);
    enum status status = batch_begin(store, err);
    if (status != OK)
        pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_release(struct store *store, bool now, struct error *err)
{
    enum status status = batch_end(store, now, err);
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_undo(struct store *store, struct error *err)
{
    enum status status = OK;
    pthread_mutex_lock(&store->lock);
    if (store->open_batch)
        status = exec(store->db, store->path, "ROLLBACK", "a batch cannot be undone", err);
    store->open_batch = false;
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_prepare(sqlite3_stmt **out, struct store *store, const char *sql, struct error *err)
{
    if (sqlite3_prepare_v2(store->db, sql, -1, out, NULL) == SQLITE_OK)
        return OK;
    return sqlite_fail(err, store->db, store->path, "does not have the tables of its schema");
}

enum status store_row(bool *row, struct store *store, sqlite3_stmt *statement, struct error *err)
{
    int code = sqlite3_step(statement);
    *row = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? OK
               : sqlite_fail(err, store->db, store->path, "cannot be read");
}

enum status store_step(struct store *store, sqlite3_stmt *statement, struct error *err)
{
    int code = sqlite3_step(statement);
    enum status status =
        code == SQLITE_DONE ? OK : sqlite_fail(err, store->db, store->path, "cannot be written");
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}

enum status store_exec(struct store *store, const char *sql, const char *what, struct error *err)
{
    return exec(store->db, store->path, sql, what, err);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void bind_text(sqlite3_stmt *s, int i, const char *text)
{
    if (text)
        sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(s, i);
}

void bind_real(sqlite3_stmt *s, int i, double value)
{
    if (isnan(value))
        sqlite3_bind_null(s, i);
    else
        sqlite3_bind_double(s, i, value);
}

/* -1 means nothing. */
static void bind_count(sqlite3_stmt *s, int i, int64_t value)
{
    if (value < 0)
        sqlite3_bind_null(s, i);
    else
        sqlite3_bind_int64(s, i, value);
}

static void bind_u64(sqlite3_stmt *s, int i, uint64_t value)
{
    sqlite3_bind_int64(s, i, (sqlite3_int64)(value > INT64_MAX ? INT64_MAX : value));
}

static enum status put_questions(struct store *store, int64_t source, const struct dataset *dataset,
                                 struct error *err)
{
    sqlite3_stmt *s;
    TRY(store_prepare(&s, store, "INSERT INTO question VALUES(?,?,?,?,?,?,?,?)", err));
    enum status status = OK;
    for (int i = 0; i < dataset->n && status == OK; i++) {
        const struct sample *sample = &dataset->samples[i];
        sqlite3_bind_int64(s, 1, source);
        sqlite3_bind_int64(s, 2, i);
        bind_text(s, 3, sample->question_id);
        bind_text(s, 4, sample->image_name);
        bind_text(s, 5, sample->cluster);
        bind_text(s, 6, sample->text);
        bind_text(s, 7, sample->gold);
        sqlite3_bind_int(s, 8, sample->numeric_id);
        status = store_step(store, s, err);
    }
    sqlite3_finalize(s);
    return status;
}

enum status store_source(int64_t *id, struct store *store, const struct dataset *dataset,
                         const char *benchmark, struct error *err)
{
    sqlite3_stmt *find = NULL, *make = NULL;
    enum status status = OK;
    pthread_mutex_lock(&store->lock);
    TRY_GOTO(status, batch_begin(store, err));
    TRY_GOTO(status,
             store_prepare(&find, store, "SELECT id FROM source WHERE benchmark = ? AND files_sha = ?", err));
    bind_text(find, 1, benchmark);
    bind_text(find, 2, dataset->files_sha256);
    if (sqlite3_step(find) == SQLITE_ROW) {
        *id = sqlite3_column_int64(find, 0);
    } else {
        TRY_GOTO(status,
                 store_prepare(&make, store, "INSERT INTO source(benchmark, files_sha) VALUES(?,?)", err));
        bind_text(make, 1, benchmark);
        bind_text(make, 2, dataset->files_sha256);
        TRY_GOTO(status, store_step(store, make, err));
        *id = sqlite3_last_insert_rowid(store->db);
        TRY_GOTO(status, put_questions(store, *id, dataset, err));
    }
exit:
    sqlite3_finalize(find);
    sqlite3_finalize(make);
    pthread_mutex_unlock(&store->lock);
    return status;
}

/* Counts as numbers, shares as texts. */
static void bind_budget(sqlite3_stmt *s, int i, const char *budget)
{
    char *end;
    double value = budget ? strtod(budget, &end) : 0;
    if (budget == NULL || *budget == 0)
        sqlite3_bind_null(s, i);
    else if (*end == 0)
        sqlite3_bind_int64(s, i, (sqlite3_int64)value);
    else
        bind_text(s, i, budget);
}

enum status store_cell(int64_t *id, struct store *store, const struct store_cell *cell, struct error *err)
{
    char created[32];
    time_t now = time(NULL);
    struct tm parts;
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
    sqlite3_stmt *put = NULL;
    enum status status = OK;
    pthread_mutex_lock(&store->lock);
    TRY_GOTO(status, batch_begin(store, err));
    TRY_GOTO(
        status,
        store_prepare(&put, store,
                      "INSERT INTO cell(key, canonical, source, model, weights_sha, family, method, params,"
                      " benchmark, split, control, template, image_mode, max_new_tokens, budget, match, seed,"
                      " reason, metric, device, dtype, revision, created)"
                      " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(key) DO UPDATE SET"
                      " model = excluded.model, params = excluded.params, reason = excluded.reason,"
                      " metric = excluded.metric RETURNING id",
                      err));
    const char *const texts[] = {cell->key,
                                 cell->canonical,
                                 NULL,
                                 cell->model,
                                 cell->weights_sha,
                                 cell->family,
                                 cell->method,
                                 cell->params,
                                 cell->benchmark,
                                 cell->split,
                                 cell->control,
                                 cell->template,
                                 cell->image_mode,
                                 NULL,
                                 NULL,
                                 cell->match,
                                 NULL,
                                 cell->reason,
                                 cell->metric,
                                 cell->device,
                                 cell->dtype,
                                 cell->revision,
                                 created};
    for (int i = 0; i < (int)(sizeof texts / sizeof *texts); i++)
        bind_text(put, i + 1, texts[i]);
    sqlite3_bind_int64(put, 3, cell->source);
    sqlite3_bind_int(put, 14, cell->max_new_tokens);
    bind_budget(put, 15, cell->budget);
    bind_u64(put, 17, cell->seed);
    if (sqlite3_step(put) != SQLITE_ROW)
        TRY_GOTO(status, sqlite_fail(err, store->db, store->path, "a cell cannot be written"));
    *id = sqlite3_column_int64(put, 0);
exit:
    sqlite3_finalize(put);
    pthread_mutex_unlock(&store->lock);
    return status;
}

static enum status put_sample_row(struct store *store, int64_t cell, const struct store_sample *x,
                                  struct error *err)
{
    sqlite3_stmt *s = store->statements[PUT_SAMPLE];
    sqlite3_bind_int64(s, 1, cell);
    sqlite3_bind_int(s, 2, x->sample_id);
    bind_text(s, 3, x->machine);
    bind_text(s, 4, x->image);
    bind_text(s, 8, x->error);
    if (x->error)
        return store_step(store, s, err);
    bind_text(s, 5, x->answer);
    bind_text(s, 6, x->parsed);
    bind_real(s, 7, x->score);
    bind_real(s, 9, x->yes_prob);
    sqlite3_bind_int(s, 10, x->n_generated);
    sqlite3_bind_int(s, 11, x->n_visual);
    const double reals[] = {x->tokens_in, x->tokens_out, x->requested, x->measured};
    for (int i = 0; i < 4; i++)
        bind_real(s, 12 + i, reals[i]);
    const uint64_t counts[] = {x->macs_paper,     x->flops_vision,   x->flops_project, x->flops_prefill,
                               x->flops_select,   x->flops_head,     x->flops_decode,  x->kv_bytes_live,
                               x->kv_bytes_alloc, x->kv_visual_bytes};
    for (int i = 0; i < 10; i++)
        bind_u64(s, 16 + i, counts[i]);
    bind_real(s, 26, x->wall_ms);
    sqlite3_bind_int(s, 27, x->marked);
    return store_step(store, s, err);
}

static enum status drop_children(struct store *store, int64_t cell, int sample_id, struct error *err)
{
    for (int i = DROP_LAYERS; i <= DROP_KEEPS; i++) {
        sqlite3_bind_int64(store->statements[i], 1, cell);
        sqlite3_bind_int(store->statements[i], 2, sample_id);
        TRY(store_step(store, store->statements[i], err));
    }
    return OK;
}

static enum status put_children(struct store *store, int64_t cell, const struct store_sample *x,
                                struct error *err)
{
    sqlite3_stmt *s = store->statements[PUT_LAYER];
    for (int i = 0; i < x->n_layers; i++) {
        const struct store_layer *l = &x->layers[i];
        const int counts[] = {l->layer,    l->visual_in, l->visual_out, l->kept, l->recycled,
                              l->clusters, l->dropped,   l->raters,     l->rank, l->kv_len};
        sqlite3_bind_int64(s, 1, cell);
        sqlite3_bind_int(s, 2, x->sample_id);
        sqlite3_bind_int(s, 3, counts[0]); /* the layer may be -1 */
        for (int j = 1; j < 10; j++)
            bind_count(s, 3 + j, counts[j]);
        bind_u64(s, 13, l->flops);
        TRY(store_step(store, s, err));
    }
    s = store->statements[PUT_KEEP];
    for (int i = 0; i < x->n_keeps; i++) {
        const struct store_keep *k = &x->keeps[i];
        sqlite3_bind_int64(s, 1, cell);
        sqlite3_bind_int(s, 2, x->sample_id);
        sqlite3_bind_int(s, 3, k->layer);
        sqlite3_bind_int(s, 4, k->rows);
        sqlite3_bind_int(s, 5, k->cols);
        sqlite3_bind_blob(s, 6, k->alive, (k->rows * k->cols + 7) / 8, SQLITE_STATIC);
        TRY(store_step(store, s, err));
    }
    return OK;
}

enum status store_sample(struct store *store, int64_t cell, const struct store_sample *sample,
                         struct error *err)
{
    enum status status = OK;
    pthread_mutex_lock(&store->lock);
    TRY_GOTO(status, batch_begin(store, err));
    TRY_GOTO(status, exec(store->db, store->path, "SAVEPOINT sample", "cannot be written", err));
    status = drop_children(store, cell, sample->sample_id, err);
    if (status == OK)
        status = put_sample_row(store, cell, sample, err);
    if (status == OK)
        status = put_children(store, cell, sample, err);
    /* All of a sample or nothing: what the batch commits at last must not be a row without its layers. */
    if (status != OK)
        sqlite3_exec(store->db, "ROLLBACK TO sample", NULL, NULL, NULL);
    sqlite3_exec(store->db, "RELEASE sample", NULL, NULL, NULL);
    TRY_GOTO(status, status);
    TRY_GOTO(status, batch_end(store, false, err));
exit:
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_times(struct store *store, int64_t cell, int sample_id, const struct store_times *times,
                        struct error *err)
{
    const double reals[] = {times->preprocess_ms,       times->vision_ms, times->project_ms,
                            times->prefill_ms,          times->select_ms, times->ttft_ms,
                            times->decode_ms_per_token, times->total_ms};
    enum status status = OK;
    pthread_mutex_lock(&store->lock);
    TRY_GOTO(status, batch_begin(store, err));
    sqlite3_stmt *s = store->statements[PUT_TIMES];
    sqlite3_bind_int64(s, 1, cell);
    sqlite3_bind_int(s, 2, sample_id);
    for (int i = 0; i < 8; i++)
        bind_real(s, 3 + i, reals[i]);
    TRY_GOTO(status, store_step(store, s, err));
    TRY_GOTO(status, batch_end(store, false, err));
exit:
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_peak(struct store *store, int64_t cell, uint64_t peak_bytes, struct error *err)
{
    enum status status = OK;
    pthread_mutex_lock(&store->lock);
    TRY_GOTO(status, batch_begin(store, err));
    sqlite3_bind_int64(store->statements[PUT_PEAK], 1, cell);
    bind_u64(store->statements[PUT_PEAK], 2, peak_bytes);
    TRY_GOTO(status, store_step(store, store->statements[PUT_PEAK], err));
exit:
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_states(uint8_t *state, int n, struct store *store, int64_t cell, struct error *err)
{
    sqlite3_stmt *s = NULL;
    enum status status = OK;
    pthread_mutex_lock(&store->lock);
    TRY_GOTO(status,
             store_prepare(&s, store, "SELECT sample_id, error IS NOT NULL, timed FROM sample WHERE cell = ?",
                           err));
    sqlite3_bind_int64(s, 1, cell);
    for (bool row;;) {
        TRY_GOTO(status, store_row(&row, store, s, err));
        if (!row)
            break;
        int64_t id = sqlite3_column_int64(s, 0);
        if (id < 0 || id >= n)
            continue;
        int bits = (sqlite3_column_int(s, 1) ? STORE_FAILED : STORE_DONE) |
                   (sqlite3_column_int(s, 2) ? STORE_TIMED : 0);
        state[id] = (uint8_t)(state[id] | bits);
    }
exit:
    sqlite3_finalize(s);
    pthread_mutex_unlock(&store->lock);
    return status;
}
