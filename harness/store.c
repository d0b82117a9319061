/* The store: batches and rows, see store.h. Its file: store_file.c; who may write: store_lock.c; tables and
 * views: store_schema.c.
 *
 * What a write fails for is either its own (a row that breaks a constraint: it is undone, the batch stands)
 * or the disk's. Of the latter the store does not recover: the batch is undone as a whole, and every later
 * write fails with the first one's message, so that nothing goes on over a hole.
 */
#include "harness/store.h"

#include <math.h>    /* isnan */
#include <pthread.h> /* one writer at a time */
#include <stdio.h>   /* snprintf */
#include <stdlib.h>  /* free */
#include <string.h>  /* strcmp */
#include <time.h>    /* created */

#include "core/memory.h" /* memory_*, clock_ms */
#include "harness/store_file.h"

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
    struct lock *claim; /* on the file, among processes; `lock` is among threads */
    bool open_batch;
    double batch_since;
    struct error broken; /* status OK: none */
};

/* ---- opening -------------------------------------------------------------------------------- */

enum status store_open_locked(struct store **out, struct lock **lock, const char *path, struct error *err)
{
    *out = NULL;
    struct store *store = memory_zero(1, sizeof *store);
    if (store == NULL || (store->path = memory_text(path)) == NULL) {
        free(store);
        lock_give(*lock);
        *lock = NULL;
        return memory_failed(err, path, sizeof *store);
    }
    pthread_mutex_init(&store->lock, NULL);
    store->claim = *lock;
    *lock = NULL;
    enum status status = OK;
    TRY_GOTO(status, store_file_open(&store->db, path, err));
    for (int i = 0; i < N_STATEMENTS; i++)
        TRY_GOTO(status, store_prepare(&store->statements[i], store, statement_sql[i], err));
    *out = store;
    return OK;
exit:
    (void)store_close(store, &(struct error){0});
    return status;
}

enum status store_open(struct store **out, const char *path, struct error *err)
{
    struct lock *lock;
    *out = NULL;
    TRY(store_lock(&lock, path, err));
    return store_open_locked(out, &lock, path, err);
}

/* Moves what is in the write-ahead log into the file, as SQLite would in closing, but says what fails. */
static enum status checkpoint(struct store *store, struct error *err)
{
    int code = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return code == SQLITE_OK || code == SQLITE_BUSY || code == SQLITE_LOCKED /* a reader is at work */
               ? OK
               : store_file_fail(err, store->db, store->path,
                                 "what was committed lies in the -wal file beside it, but cannot be moved "
                                 "into the store");
}

enum status store_close(struct store *store, struct error *err)
{
    if (store == NULL)
        return OK;
    enum status status = store->db ? store_tick(store, true, err) : OK;
    for (int i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(store->statements[i]);
    if (store->db && status == OK)
        status = checkpoint(store, err);
    ENSURE(sqlite3_close(store->db) == SQLITE_OK); /* all statements are finalized */
    lock_give(store->claim);
    pthread_mutex_destroy(&store->lock);
    free(store->path);
    free(store);
    return status;
}

sqlite3 *store_connection(struct store *store)
{
    return store->db;
}

/* ---- batches -------------------------------------------------------------------------------- */

/* What a failed write comes to. */
static enum status write_failed(struct store *store, const char *what, struct error *err)
{
    bool broken = store_file_is_broken(store->db);
    enum status status = store_file_fail(err, store->db, store->path, what);
    if (broken || (store->open_batch && sqlite3_get_autocommit(store->db))) {
        store->broken = *err;
        store->open_batch = false;
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL); /* SQLite may have done so already */
    }
    return status;
}

static enum status usable(const struct store *store, struct error *err)
{
    if (store->broken.status == OK)
        return OK;
    *err = store->broken;
    return err->status;
}

static enum status exec(struct store *store, const char *sql, const char *what, struct error *err)
{
    TRY(usable(store, err));
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ? OK : write_failed(store, what, err);
}

static enum status batch_begin(struct store *store, struct error *err)
{
    TRY(usable(store, err));
    if (store->open_batch)
        return OK;
    TRY(exec(store, "BEGIN IMMEDIATE", "cannot be locked for writing", err));
    store->open_batch = true;
    store->batch_since = clock_ms();
    return OK;
}

static enum status batch_end(struct store *store, bool now, struct error *err)
{
    TRY(usable(store, err));
    if (!store->open_batch || (!now && clock_ms() - store->batch_since < batch_ms))
        return OK;
    TRY(exec(store, "COMMIT", "cannot be written", err));
    store->open_batch = false;
    return OK;
}

/* All of a part or nothing: what the batch commits at last must not be a row without its layers. */
static enum status part_begin(struct store *store, struct error *err)
{
    TRY(batch_begin(store, err));
    return exec(store, "SAVEPOINT part", "cannot be written", err);
}

/* Ends a part that went as `status` says, and returns that, or what failed in ending it. */
static enum status part_end(struct store *store, enum status status, struct error *err)
{
    struct error later = {0};
    if (status == OK)
        return exec(store, "RELEASE part", "cannot be written", err);
    if (store->broken.status == OK)
        exec(store, "ROLLBACK TO part; RELEASE part", "cannot be written", &later);
    return status;
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
    pthread_mutex_lock(&store->lock);
    enum status status = usable(store, err);
    if (status == OK && store->open_batch) {
        status = exec(store, "ROLLBACK", "a batch cannot be undone", err);
        store->open_batch = false;
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

enum status store_prepare(sqlite3_stmt **out, struct store *store, const char *sql, struct error *err)
{
    if (sqlite3_prepare_v2(store->db, sql, -1, out, NULL) == SQLITE_OK)
        return OK;
    return store_file_fail(err, store->db, store->path, "does not have the tables of its schema");
}

enum status store_row(bool *row, struct store *store, sqlite3_stmt *statement, struct error *err)
{
    int code = sqlite3_step(statement);
    *row = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? OK
               : store_file_fail(err, store->db, store->path, "cannot be read");
}

enum status store_step(struct store *store, sqlite3_stmt *statement, struct error *err)
{
    enum status status = usable(store, err);
    if (status == OK && sqlite3_step(statement) != SQLITE_DONE)
        status = write_failed(store, "cannot be written", err);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}

enum status store_exec(struct store *store, const char *sql, const char *what, struct error *err)
{
    return exec(store, sql, what, err);
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

static enum status find_source(int64_t *id, bool *there, struct store *store, const char *benchmark,
                               const char *files_sha, struct error *err)
{
    sqlite3_stmt *find;
    TRY(store_prepare(&find, store, "SELECT id FROM source WHERE benchmark = ? AND files_sha = ?", err));
    bind_text(find, 1, benchmark);
    bind_text(find, 2, files_sha);
    enum status status = store_row(there, store, find, err);
    *id = *there ? sqlite3_column_int64(find, 0) : 0;
    sqlite3_finalize(find);
    return status;
}

static enum status put_source(int64_t *id, struct store *store, const struct dataset *dataset,
                              const char *benchmark, struct error *err)
{
    sqlite3_stmt *make;
    TRY(store_prepare(&make, store, "INSERT INTO source(benchmark, files_sha) VALUES(?,?)", err));
    bind_text(make, 1, benchmark);
    bind_text(make, 2, dataset->files_sha256);
    enum status status = store_step(store, make, err);
    sqlite3_finalize(make);
    TRY(status);
    *id = sqlite3_last_insert_rowid(store->db);
    return put_questions(store, *id, dataset, err);
}

enum status store_source(int64_t *id, struct store *store, const struct dataset *dataset,
                         const char *benchmark, struct error *err)
{
    bool there;
    pthread_mutex_lock(&store->lock);
    enum status status = part_begin(store, err);
    if (status != OK)
        goto exit;
    status = find_source(id, &there, store, benchmark, dataset->files_sha256, err);
    if (status == OK && !there)
        status = put_source(id, store, dataset, benchmark, err);
    status = part_end(store, status, err);
exit:
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
    char created[32] = "";
    time_t now = time(NULL);
    struct tm parts;
    if (gmtime_r(&now, &parts)) /* the clock may stand anywhere; nothing is decided by it */
        strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &parts);
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
        TRY_GOTO(status, write_failed(store, "a cell cannot be written", err));
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
    pthread_mutex_lock(&store->lock);
    enum status status = part_begin(store, err);
    if (status != OK)
        goto exit;
    status = drop_children(store, cell, sample->sample_id, err);
    if (status == OK)
        status = put_sample_row(store, cell, sample, err);
    if (status == OK)
        status = put_children(store, cell, sample, err);
    status = part_end(store, status, err);
    if (status == OK)
        status = batch_end(store, false, err);
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
