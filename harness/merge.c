/* Stores into one, see merge.h: inputs are checked before OUT is opened, rows come together in one
 * transaction (merge_rows.c), and the figures of whole cells are made in the same one.
 *
 * A source all of whose figures stand is left alone, so that a merge that brings nothing writes nothing. */
#include "harness/merge.h"

#include <errno.h>
#include <stdio.h>  /* rename */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */
#include <unistd.h> /* getpid */

#include "core/json.h" /* file_exists */
#include "core/memory.h"
#include "harness/folder.h"
#include "harness/store.h"
#include "harness/summary.h"

enum { PATH_SIZE = 4096 };

/* An input that can be read: the store itself, or a migrated copy of it. Both are owned. */
struct readable {
    char *path, *folder; /* folder: of the copy, NULL without */
};

/* ---- inputs --------------------------------------------------------------------------------- */

/* Every page is looked at: what is damaged must not come to light when half is written. */
static enum status check_whole(sqlite3 *db, const char *path, struct error *err)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &s, NULL) != SQLITE_OK)
        return fail(err, BAD_INPUT, "%s: cannot be read as a store: %s", path, sqlite3_errmsg(db));
    int code = sqlite3_step(s);
    const char *found = code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : sqlite3_errmsg(db);
    enum status status = found && strcmp(found, "ok") == 0
                             ? OK
                             : fail(err, BAD_INPUT,
                                    "%s: the store is damaged: %.300s; `sqlite3 FILE .recover` may "
                                    "save what is left",
                                    path, found ? found : "no memory");
    sqlite3_finalize(s);
    return status;
}

static int schema_of(sqlite3 *db)
{
    sqlite3_stmt *s;
    int schema = 0;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        schema = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return schema;
}

/* A copy of an older store in a folder of its own, where opening it as a store migrates it. */
static enum status migrate_copy(struct readable *out, sqlite3 *db, const char *path, struct error *err)
{
    char name[PATH_SIZE];
    sqlite3_stmt *s;
    struct store *store;
    TRY(folder_scratch(&out->folder, err));
    snprintf(name, sizeof name, "%s/copy.db", out->folder);
    if (sqlite3_prepare_v2(db, "VACUUM INTO ?", -1, &s, NULL) != SQLITE_OK)
        return fail(err, BAD_INPUT, "%s: cannot be read as a store: %s", path, sqlite3_errmsg(db));
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    sqlite3_finalize(s);
    if (code != SQLITE_DONE)
        return fail(err, NO_MACHINE, "%s: the store has an older schema and cannot be copied to %s: %s", path,
                    name, sqlite3_errmsg(db));
    TRY(store_open(&store, name, err));
    TRY(store_close(store, err));
    out->path = memory_text(name);
    return out->path ? OK : memory_failed(err, "a path", sizeof name);
}

static enum status check_input(struct readable *out, const char *path, const char *merged, struct error *err)
{
    sqlite3 *db;
    if (file_same(path, merged))
        return fail(err, BAD_INPUT, "%s: is OUT itself; name it once, as the first: what is in it stays",
                    path);
    TRY(store_open_reader(&db, path, err));
    enum status status = check_whole(db, path, err);
    if (status == OK && schema_of(db) < STORE_SCHEMA)
        status = migrate_copy(out, db, path, err);
    else if (status == OK && (out->path = memory_text(path)) == NULL)
        status = memory_failed(err, "a path", strlen(path));
    sqlite3_close(db);
    return status;
}

static void readable_free(struct readable *inputs, int n)
{
    for (int i = 0; inputs && i < n; i++) {
        if (inputs[i].folder)
            folder_remove(inputs[i].folder);
        free(inputs[i].folder);
        free(inputs[i].path);
    }
    free(inputs);
}

/* ---- figures -------------------------------------------------------------------------------- */

/* The folders in which sweeps draw twins: beside each store, or one higher for those of results/NAME/. */
static enum status find_roots(char ***out, int *n, const struct merge_options *options, struct error *err)
{
    int n_given = options->places.n_roots;
    size_t n_most = (size_t)n_given + 2 * ((size_t)options->n_inputs + 1);
    char **roots = memory_zero(n_most, sizeof *roots);
    *out = roots;
    *n = 0;
    if (roots == NULL)
        return memory_failed(err, "places of files", n_most * sizeof *roots);
    for (int i = 0; i < n_given; i++)
        if ((roots[(*n)++] = memory_text(options->places.roots[i])) == NULL)
            return memory_failed(err, "places of files", 0);
    for (int i = -1; i < options->n_inputs; i++)
        for (int up = 0; up < 2; up++) {
            char path[PATH_SIZE];
            const char *store = i < 0 ? options->out : options->inputs[i], *slash = strrchr(store, '/');
            int folder = slash ? (int)(slash - store) : 0;
            snprintf(path, sizeof path, "%.*s%s%sdata", folder, store, slash ? "/" : "", up ? "../" : "");
            if ((roots[(*n)++] = memory_text(path)) == NULL)
                return memory_failed(err, "places of files", 0);
        }
    return OK;
}

/* A source of which a cell's rows changed or a figure is missing. Texts are owned. */
struct due {
    int64_t source;
    char *benchmark, *files_sha;
    struct dataset data;
    bool found, carried; /* carried: its comparisons stand although the files were not found */
    int n_unscored;
};

/* Figures stand where they were made of as many rows as there are. */
#define FIGURES                                                                                              \
    " FROM cell c LEFT JOIN summary s ON s.cell = c.id LEFT JOIN temp.merged m ON m.cell = c.id"             \
    " JOIN source o ON o.id = c.source"
#define LACKS_SCORE "s.n IS NOT (SELECT coalesce(sum(error IS NULL), 0) FROM sample WHERE sample.cell = c.id)"

static enum status list_due(struct due **out, int *n, struct store *store, struct error *err)
{
    static const char sql[] =
        "SELECT o.id, o.benchmark, o.files_sha, o.id IN temp.carried, sum(" LACKS_SCORE ") " FIGURES
        " WHERE c.reason IS NULL GROUP BY o.id HAVING max(coalesce(m.touched, 0)) OR sum(" LACKS_SCORE ")"
        " ORDER BY o.id";
    sqlite3_stmt *s;
    int capacity = 0;
    TRY(store_prepare(&s, store, sql, err));
    enum status status = OK;
    for (bool row;;) {
        TRY_GOTO(status, store_row(&row, store, s, err));
        if (!row)
            break;
        if (*n == capacity) {
            int wanted = capacity ? 2 * capacity : 16;
            struct due *grown = memory_grow(*out, (size_t)wanted, sizeof *grown);
            if (grown == NULL)
                TRY_GOTO(status, memory_failed(err, "sources", (size_t)wanted * sizeof *grown));
            *out = grown;
            capacity = wanted;
        }
        const char *benchmark = (const char *)sqlite3_column_text(s, 1),
                   *files_sha = (const char *)sqlite3_column_text(s, 2);
        struct due *due = &(*out)[(*n)++];
        *due = (struct due){.source = sqlite3_column_int64(s, 0),
                            .benchmark = memory_text(benchmark ? benchmark : ""),
                            .files_sha = memory_text(files_sha ? files_sha : ""),
                            .carried = sqlite3_column_int(s, 3),
                            .n_unscored = sqlite3_column_int(s, 4)};
        if (!due->benchmark || !due->files_sha)
            TRY_GOTO(status, memory_failed(err, "sources", 0));
    }
exit:
    sqlite3_finalize(s);
    return status;
}

/* All cells of the sources that are due, in the order in which a sweep sums them up. */
static enum status list_cells(struct summed **out, int *n, struct store *store, const struct due *due,
                              int n_due, struct error *err)
{
    sqlite3_stmt *s;
    int capacity = 0;
    TRY(store_prepare(&s, store, "SELECT id, source FROM cell WHERE reason IS NULL ORDER BY id", err));
    enum status status = OK;
    for (bool row;;) {
        TRY_GOTO(status, store_row(&row, store, s, err));
        if (!row)
            break;
        if (*n == capacity) {
            int wanted = capacity ? 2 * capacity : 64;
            struct summed *grown = memory_grow(*out, (size_t)wanted, sizeof *grown);
            if (grown == NULL)
                TRY_GOTO(status, memory_failed(err, "cells", (size_t)wanted * sizeof *grown));
            *out = grown;
            capacity = wanted;
        }
        for (int i = 0; i < n_due; i++)
            if (due[i].source == sqlite3_column_int64(s, 1))
                (*out)[(*n)++] =
                    (struct summed){sqlite3_column_int64(s, 0), due[i].found ? &due[i].data : NULL};
    }
exit:
    sqlite3_finalize(s);
    return status;
}

static enum status report_unscored(struct merge_report *report, const struct due *due, struct error *err)
{
    if (report->n_unscored == report->unscored_capacity) {
        int wanted = report->unscored_capacity ? 2 * report->unscored_capacity : 16;
        struct merge_unscored *grown = memory_grow(report->unscored, (size_t)wanted, sizeof *grown);
        if (grown == NULL)
            return memory_failed(err, "sources", (size_t)wanted * sizeof *grown);
        report->unscored = grown;
        report->unscored_capacity = wanted;
    }
    struct merge_unscored *unscored = &report->unscored[report->n_unscored++];
    *unscored = (struct merge_unscored){memory_text(due->benchmark), due->n_unscored};
    return unscored->benchmark ? OK : memory_failed(err, "sources", 0);
}

/* Without its files a source keeps what came over whole; comparisons of anything else do not hold any more.
 */
static enum status settle_without_files(struct merge_report *report, struct store *store,
                                        const struct due *due, struct error *err)
{
    char sql[160];
    snprintf(sql, sizeof sql,
             "DELETE FROM comparison WHERE cell IN (SELECT id FROM cell WHERE source = %lld)",
             (long long)due->source);
    if (!due->carried)
        TRY(store_exec(store, sql, "cannot be written", err));
    return due->carried && due->n_unscored == 0 ? OK : report_unscored(report, due, err);
}

static enum status make_figures(struct merge_report *report, struct store *store,
                                const struct merge_options *options, struct error *err)
{
    struct file_places places = options->places;
    struct due *due = NULL;
    struct summed *cells = NULL;
    char **roots = NULL;
    int n_due = 0, n_cells = 0, n_roots = 0;
    enum status status = OK;
    TRY_GOTO(status, find_roots(&roots, &n_roots, options, err));
    places.roots = (const char *const *)roots;
    places.n_roots = n_roots;
    TRY_GOTO(status, list_due(&due, &n_due, store, err));
    for (int i = 0; i < n_due; i++) {
        TRY_GOTO(status, source_files_open(&due[i].data, &due[i].found, due[i].benchmark, due[i].files_sha,
                                           &places, err));
        if (!due[i].found)
            TRY_GOTO(status, settle_without_files(report, store, &due[i], err));
    }
    TRY_GOTO(status, list_cells(&cells, &n_cells, store, due, n_due, err));
    if (n_cells > 0)
        status = summarise(store, cells, n_cells, err);
exit:
    for (int i = 0; i < n_due; i++) {
        if (due[i].found)
            dataset_close(&due[i].data);
        free(due[i].benchmark);
        free(due[i].files_sha);
    }
    for (int i = 0; i < n_roots; i++)
        free(roots[i]);
    free(roots);
    free(due);
    free(cells);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static enum status count_rows(struct merge_report *report, struct store *store, struct error *err)
{
    sqlite3_stmt *s;
    bool row;
    TRY(store_prepare(&s, store, "SELECT (SELECT count(*) FROM cell), (SELECT count(*) FROM sample)", err));
    enum status status = store_row(&row, store, s, err);
    report->n_cells = status == OK && row ? sqlite3_column_int(s, 0) : 0;
    report->n_samples = status == OK && row ? sqlite3_column_int(s, 1) : 0;
    sqlite3_finalize(s);
    return status;
}

/* Cells of a benchmark whose files were missing, where another store had them. */
static const char forget_missing[] =
    "DELETE FROM cell WHERE source IN (SELECT o.id FROM source o JOIN source p ON p.benchmark = o.benchmark"
    " AND p.files_sha <> '' WHERE o.files_sha = '')";

/* Into the store of this path, all or nothing. */
static enum status merge_into(struct merge_report *report, const char *path, const struct readable *inputs,
                              const struct merge_options *options, struct error *err)
{
    struct store *store;
    TRY(store_open(&store, path, err));
    enum status status;
    TRY_GOTO(status, store_exec(store, MERGE_TABLES, "cannot be prepared", err));
    TRY_GOTO(status, store_begin(store, err));
    for (int i = 0; i < options->n_inputs; i++)
        TRY_GOTO(status, merge_input(report, store, inputs[i].path, options->inputs[i], err));
    TRY_GOTO(status, store_exec(store, forget_missing, "cannot be written", err));
    TRY_GOTO(status, make_figures(report, store, options, err));
    TRY_GOTO(status, count_rows(report, store, err));
exit:
    struct error close_err = {0};
    if (status != OK)
        (void)store_undo(store, &close_err); /* closing would commit the half of it */
    if (store_close(store, &close_err) != OK && status == OK) {
        *err = close_err;
        status = close_err.status;
    }
    return status;
}

/* The log beside a store's file; SQLite would take one that is left over for that of any file of the name. */
static void remove_log(const char *path)
{
    static const char *const ends[] = {"-wal", "-shm"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char name[PATH_SIZE + 8];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

/* A store that is not there appears when it is whole. */
static enum status merge_new(struct merge_report *report, const struct readable *inputs,
                             const struct merge_options *options, struct error *err)
{
    char path[PATH_SIZE];
    if (snprintf(path, sizeof path, "%s.tmp-%ld", options->out, (long)getpid()) >= PATH_SIZE - 8)
        return fail(err, BAD_INPUT, "%.100s...: the path is too long", options->out);
    enum status status = merge_into(report, path, inputs, options, err);
    if (status == OK && !file_exists(options->out))
        remove_log(options->out);
    /* A link does not replace what another process has put there meanwhile; not every file system has them.
     */
    if (status == OK && link(path, options->out) != 0 && (errno == EEXIST || rename(path, options->out) != 0))
        status = fail(err, NO_MACHINE, "%s: cannot be made: %s", options->out, strerror(errno));
    unlink(path);
    remove_log(path);
    return status;
}

/* OK, or that something asked for attention. */
static enum status verdict_of(const struct merge_report *report, const struct merge_options *options,
                              struct error *err)
{
    if (report->n_conflicts > 0)
        return fail(
            err, NOT_HELD,
            "%d samples have other answers or counts in %s than in the inputs: the rows of %s were kept, "
            "see above; `winnow diff` compares two stores",
            report->n_conflicts, options->out, options->out);
    if (report->n_unscored > 0)
        return fail(
            err, NOT_HELD,
            "the files of %s were not found, so figures of %d cells are missing: give the same command "
            "with --data DIR, or --questions F and --annotations F",
            report->unscored[0].benchmark, report->unscored[0].n_cells);
    return OK;
}

enum status merge_stores(struct merge_report *report, const struct merge_options *options, struct error *err)
{
    *report = (struct merge_report){0};
    struct readable *inputs = memory_zero((size_t)options->n_inputs, sizeof *inputs);
    if (inputs == NULL)
        return memory_failed(err, "inputs", (size_t)options->n_inputs * sizeof *inputs);
    enum status status = OK;
    for (int i = 0; i < options->n_inputs && status == OK; i++)
        status = check_input(&inputs[i], options->inputs[i], options->out, err);
    if (status == OK)
        status = file_exists(options->out) ? merge_into(report, options->out, inputs, options, err)
                                           : merge_new(report, inputs, options, err);
    readable_free(inputs, options->n_inputs);
    return status == OK ? verdict_of(report, options, err) : status;
}

void merge_report_free(struct merge_report *report)
{
    for (int i = 0; i < report->n_conflicts; i++) {
        free(report->conflicts[i].key);
        free(report->conflicts[i].benchmark);
        free(report->conflicts[i].label);
        free(report->conflicts[i].kept);
        free(report->conflicts[i].other);
    }
    for (int i = 0; i < report->n_unscored; i++)
        free(report->unscored[i].benchmark);
    free(report->conflicts);
    free(report->unscored);
    *report = (struct merge_report){0};
}
