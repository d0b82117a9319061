/* The store: one SQLite file that holds every answer and every figure of one or many sweeps.
 *
 * The tables are ours and may change with the schema's number (PRAGMA user_version); the views `cells`,
 * `samples`, `layers`, `keep_map` and `comparisons` are the contract for everything that reads. An older
 * store is migrated after a backup, a newer one refused. One writer: a second process is refused
 * (store_lock.h), functions lock among threads, rows are gathered in a transaction that is committed at the
 * latest a second after its first row (store_tick), WAL keeps readers going meanwhile. A write that fails for
 * the disk's sake undoes its batch and ends the store's work: all later calls give the same error.
 *
 *     struct store *store;
 *     TRY(store_open(&store, "S.db", &err));
 *     TRY(store_source(&source, store, &dataset, "mini-pope", &err));
 *     TRY(store_cell(&cell_id, store, &(struct store_cell){...}, &err));
 *     TRY(store_sample(store, cell_id, &(struct store_sample){...}, &err));      // from any thread
 *     TRY(store_close(store, &err));
 */
#ifndef WINNOW_STORE_H
#define WINNOW_STORE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "datasets/benchmark.h"
#include "harness/store_lock.h"
#include "harness/store_reader.h"

enum { STORE_SCHEMA = 4 };

struct store;

/* Makes the file where there is none. */
enum status store_open(struct store **out, const char *path, struct error *err);
/* The same with a lock that was taken before, which becomes the store's in any case. */
enum status store_open_locked(struct store **out, struct lock **lock, const char *path, struct error *err);
/* Commits what is open; the store is gone in any case. NULL is closed already. */
enum status store_close(struct store *store, struct error *err);
/* Commits when the oldest row waiting is a second old; `now`: in any case. */
enum status store_tick(struct store *store, bool now, struct error *err);
/* For queries by the thread that opened the store, between its calls. Sees rows that are not committed yet.
 */
sqlite3 *store_connection(struct store *store);

/* The questions of a benchmark, once for all cells. */
enum status store_source(int64_t *id, struct store *store, const struct dataset *dataset,
                         const char *benchmark, struct error *err);

/* Texts may be NULL where they mean nothing. */
struct store_cell {
    const char *key, *canonical;
    int64_t source;
    const char *model, *weights_sha, *family, *method, *params, *benchmark, *split, *control, *template,
        *image_mode;
    int max_new_tokens;
    const char *budget, *match;
    uint64_t seed;
    const char *reason, *metric, *device, *dtype, *revision;
};
/* Finds the cell of this key or makes it; name, params and reason are brought up to date. */
enum status store_cell(int64_t *id, struct store *store, const struct store_cell *cell, struct error *err);

struct store_layer {
    int layer, visual_in, visual_out, kept, recycled, clusters, dropped;
    int raters, rank; /* -1: NULL */
    int kv_len;
    uint64_t flops;
};

/* Which patches are still tokens of their own after the cut of `layer`: bit i of `alive` is grid cell i. */
struct store_keep {
    int layer, rows, cols;
    uint8_t *alive; /* [(rows * cols + 7) / 8] */
};

/* A finished sample. NaN is stored as NULL. With `error` only that and the question's place are stored. */
struct store_sample {
    int sample_id;
    const char *error, *machine, *image; /* image: shown instead of the question's own; NULL: its own */
    const char *answer, *parsed;
    double score, yes_prob;
    int n_generated, n_visual;
    bool marked; /* SparseVLM plus: the gravity correction reached its floor */
    double tokens_in, tokens_out, requested, measured;
    uint64_t macs_paper, flops_vision, flops_project, flops_prefill, flops_select, flops_head, flops_decode;
    uint64_t kv_bytes_live, kv_bytes_alloc, kv_visual_bytes;
    double wall_ms; /* of a worker, for estimates of time only */
    const struct store_layer *layers;
    int n_layers;
    const struct store_keep *keeps;
    int n_keeps;
};
/* Replaces the row of an earlier attempt. */
enum status store_sample(struct store *store, int64_t cell, const struct store_sample *sample,
                         struct error *err);

struct store_times {
    double preprocess_ms, vision_ms, project_ms, prefill_ms, select_ms, ttft_ms, decode_ms_per_token,
        total_ms;
};
/* Times of a row that is there. */
enum status store_times(struct store *store, int64_t cell, int sample_id, const struct store_times *times,
                        struct error *err);
enum status store_peak(struct store *store, int64_t cell, uint64_t peak_bytes, struct error *err);

enum { STORE_DONE = 1, STORE_FAILED = 2, STORE_TIMED = 4 };
/* What is there of a cell: state[sample_id] |= STORE_*, for ids below n. */
enum status store_states(uint8_t *state, int n, struct store *store, int64_t cell, struct error *err);

/* Runs one or more statements; `what` is for the message. */
enum status store_exec(struct store *store, const char *sql, const char *what, struct error *err);
/* Prepares a statement on the store's connection; the caller sqlite3_finalize's. */
enum status store_prepare(sqlite3_stmt **out, struct store *store, const char *sql, struct error *err);
/* Steps a statement that gives rows: *row is false after the last. */
enum status store_row(bool *row, struct store *store, sqlite3_stmt *statement, struct error *err);
void bind_real(sqlite3_stmt *s, int i, double value); /* NaN as NULL */
/* Steps a statement that gives no rows, and resets it. */
enum status store_step(struct store *store, sqlite3_stmt *statement, struct error *err);
/* Begins a batch where none is open; writes outside the functions above stand after it. */
enum status store_begin(struct store *store, struct error *err);
/* Undoes what was written since the last commit. */
enum status store_undo(struct store *store, struct error *err);

/* For several statements of one's own, from any thread: locks and begins a batch; store_release unlocks and
 * commits as store_tick does. After an error of store_hold nothing is held. */
enum status store_hold(struct store *store, struct error *err);
enum status store_release(struct store *store, bool now, struct error *err);
/* Undoes what was written since the last commit. */
enum status store_undo(struct store *store, struct error *err);

/* ---- store_schema.c ------------------------------------------------------------------------- */
extern const char *const store_schema;
/* store_migrations[i] takes schema i + 1 to i + 2. */
extern const char *const store_migrations[];

#endif
