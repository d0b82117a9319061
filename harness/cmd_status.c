/* `winnow status`: whether a sweep works on a store, how far it is, and what each cell has so far. Read-only,
 * and safe while the sweep runs: one snapshot of what it has committed, at most two seconds old. */
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/json.h"
#include "core/memory.h"
#include "harness/activity.h"
#include "harness/cell_label.h"
#include "harness/command.h"
#include "harness/store_reader.h"

enum { TIME_SIZE = 32 };

/* Texts are owned. */
struct row {
    char *key, *benchmark, *reason;
    char label[CELL_LABEL_SIZE];
    int n, n_failed, n_planned; /* n_planned -1: not known */
    double accuracy, score;     /* mean over the rows so far; the headline once it is made; NaN without */
};

struct overview {
    const char *path;
    struct activity activity;
    bool found; /* a sweep has left word */
    struct row *rows;
    int n_rows, capacity;
    int n, n_failed, n_left, n_infeasible; /* over all cells */
};

static void view_free(struct overview *view)
{
    for (int i = 0; i < view->n_rows; i++) {
        free(view->rows[i].key);
        free(view->rows[i].benchmark);
        free(view->rows[i].reason);
    }
    free(view->rows);
}

/* ---- reading -------------------------------------------------------------------------------- */

static char *text_copy(sqlite3_stmt *s, int i)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    return memory_text(text ? text : "");
}

static double real_or_nan(sqlite3_stmt *s, int i)
{
    return sqlite3_column_type(s, i) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(s, i);
}

static enum status add_row(struct overview *view, sqlite3_stmt *s, struct error *err)
{
    if (view->n_rows == view->capacity) {
        int wanted = view->capacity ? 2 * view->capacity : 64;
        struct row *grown = memory_grow(view->rows, (size_t)wanted, sizeof *grown);
        if (grown == NULL)
            return memory_failed(err, "cells", (size_t)wanted * sizeof *grown);
        view->rows = grown;
        view->capacity = wanted;
    }
    struct row *row = &view->rows[view->n_rows++];
    *row =
        (struct row){.key = text_copy(s, 0),
                     .benchmark = text_copy(s, 1),
                     .n = sqlite3_column_int(s, 4),
                     .n_failed = sqlite3_column_int(s, 5),
                     .accuracy = real_or_nan(s, 6),
                     .score = real_or_nan(s, 7),
                     .n_planned = sqlite3_column_type(s, 8) == SQLITE_NULL ? -1 : sqlite3_column_int(s, 8)};
    cell_label(row->label, (const char *)sqlite3_column_text(s, 2));
    bool infeasible = sqlite3_column_type(s, 3) != SQLITE_NULL;
    row->reason = infeasible ? text_copy(s, 3) : NULL;
    if (!row->key || !row->benchmark || (infeasible && !row->reason))
        return memory_failed(err, "cells", 0);
    int left = row->n_planned - row->n - row->n_failed; /* a smaller limit plans less than there is */
    view->n += row->n;
    view->n_failed += row->n_failed;
    view->n_infeasible += infeasible;
    view->n_left += !infeasible && left > 0 ? left : 0;
    return OK;
}

/* Planned samples are told from schema 4 on. */
#define CELLS_SQL(planned)                                                                                   \
    "SELECT c.key, c.benchmark, c.canonical, c.reason, coalesce(a.n, 0), coalesce(a.n_failed, 0), "          \
    "a.accuracy,"                                                                                            \
    " CASE WHEN s.n = a.n THEN s.score END, " planned " FROM cell c LEFT JOIN summary s ON s.cell = c.id"    \
    " LEFT JOIN (SELECT cell, sum(error IS NULL) AS n, sum(error IS NOT NULL) AS n_failed,"                  \
    " avg(score) AS accuracy FROM sample GROUP BY cell) a ON a.cell = c.id ORDER BY c.id"

static enum status read_rows(struct overview *view, sqlite3 *db, struct error *err)
{
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(db, CELLS_SQL(PLANNED_OF("c.id")), -1, &s, NULL) != SQLITE_OK &&
        sqlite3_prepare_v2(db, CELLS_SQL("NULL"), -1, &s, NULL) != SQLITE_OK)
        return fail(err, BAD_INPUT, "%s: %s", view->path, sqlite3_errmsg(db));
    int code;
    enum status status = OK;
    while (status == OK && (code = sqlite3_step(s)) == SQLITE_ROW)
        status = add_row(view, s, err);
    if (status == OK && code != SQLITE_DONE)
        status = fail(err, BAD_INPUT, "%s: %s", view->path, sqlite3_errmsg(db));
    sqlite3_finalize(s);
    return status;
}

static enum status read_view(struct overview *view, struct error *err)
{
    sqlite3 *db;
    TRY(store_open_reader(&db, view->path, err));
    /* One snapshot for both. */
    enum status status = sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK
                             ? OK
                             : fail(err, BAD_INPUT, "%s: %s", view->path, sqlite3_errmsg(db));
    if (status == OK)
        status = activity_read(&view->activity, &view->found, db, view->path, err);
    if (status == OK)
        status = read_rows(view, db, err);
    sqlite3_close(db);
    return status;
}

/* ---- showing -------------------------------------------------------------------------------- */

static const char *utc(char out[TIME_SIZE], int64_t seconds)
{
    time_t when = (time_t)seconds;
    struct tm parts;
    if (seconds <= 0 || gmtime_r(&when, &parts) == NULL)
        snprintf(out, TIME_SIZE, "-");
    else
        strftime(out, TIME_SIZE, "%Y-%m-%d %H:%M:%S UTC", &parts);
    return out;
}

static const char *duration(char out[TIME_SIZE], double seconds)
{
    long s = seconds > 0 && seconds < 1e9 ? (long)(seconds + 0.5) : 0;
    if (s < 60)
        snprintf(out, TIME_SIZE, "%ld s", s);
    else if (s < 3600)
        snprintf(out, TIME_SIZE, "%ld min %02ld s", s / 60, s % 60);
    else
        snprintf(out, TIME_SIZE, "%ld h %02ld min", s / 3600, s % 3600 / 60);
    return out;
}

static void print_running(const struct overview *view)
{
    const struct activity *a = &view->activity;
    char text[TIME_SIZE];
    printf("%s: %d of %d", a->phase, a->done, a->total);
    if (!isnan(a->rate))
        printf(a->rate < 1 ? ", %.2f/s" : ", %.1f/s", a->rate);
    if (!isnan(a->left_s))
        printf(", %s left", duration(text, a->left_s - (double)(time(NULL) - a->updated)));
    if (a->failed > 0)
        printf(", %d failed", a->failed);
    for (int i = 0; i < view->n_rows; i++)
        if (a->cell[0] && strcmp(view->rows[i].key, a->cell) == 0)
            printf("; at %s %s", view->rows[i].benchmark, view->rows[i].label);
    putchar('\n');
}

/* Who works on it, or how the last sweep ended. */
static void print_state(const struct overview *view)
{
    const struct activity *a = &view->activity;
    const char *state = view->found ? activity_state(a) : "";
    char at[TIME_SIZE], text[TIME_SIZE];
    if (!view->found) {
        printf("%s: no sweep has left word in it: it was merged, or is of an earlier schema\n", view->path);
    } else if (strcmp(state, "running") == 0) {
        printf("%s: running since %s, process %lld on %s\n", a->name, utc(at, a->started), (long long)a->pid,
               a->host);
        if (a->total > 0)
            print_running(view);
        else
            printf("%s\n", a->phase);
    } else if (strcmp(state, "silent") == 0) {
        printf("%s: not heard of for %s; it ran as process %lld on %s, where it may have been stopped\n",
               a->name, duration(text, (double)(time(NULL) - a->updated)), (long long)a->pid, a->host);
    } else {
        printf("%s: %s, last heard of %s, on %s\n", a->name,
               strcmp(state, "failed") == 0 ? "ended with an error" : state, utc(at, a->updated), a->host);
    }
    const char *next = view->n_left > 0     ? "; the same command goes on where it stopped"
                       : view->n_failed > 0 ? "; the same command asks the failed ones again"
                                            : "";
    printf("store: %d samples answered, %d failed, %d left%s\n", view->n, view->n_failed, view->n_left,
           strcmp(state, "running") == 0 ? "" : next);
    if (view->found && a->written > 0)
        printf("last sample: %s\n", utc(at, a->written));
}

static void print_row(const struct row *row, int width)
{
    char of[16] = "-", right[16] = "-", score[16] = "-";
    if (row->n_planned >= 0)
        snprintf(of, sizeof of, "%d", row->n_planned);
    if (!isnan(row->accuracy))
        snprintf(right, sizeof right, "%.1f", 100 * row->accuracy);
    if (!isnan(row->score))
        snprintf(score, sizeof score, "%.2f", row->score);
    printf("%-8.8s %-*s %6d %6s %6d %7s %8s  %s%s\n", row->key, width, row->benchmark, row->n, of,
           row->n_failed, right, score, row->label, row->reason ? " (infeasible)" : "");
}

static void print_view(const struct overview *view)
{
    int width = 9;
    for (int i = 0; i < view->n_rows; i++) {
        int n = (int)strlen(view->rows[i].benchmark);
        width = n > width ? n : width;
    }
    print_state(view);
    if (view->n_rows > 0)
        printf("\n%-8s %-*s %6s %6s %6s %7s %8s  %s\n", "cell", width, "benchmark", "n", "of", "failed",
               "right %", "score", "method");
    for (int i = 0; i < view->n_rows; i++)
        print_row(&view->rows[i], width);
}

static json_t *real_json(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *time_json(int64_t seconds)
{
    return seconds > 0 ? json_integer(seconds) : json_null();
}

static json_t *row_json(const struct row *row)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:o, s:o, s:o, s:s?}", "key", row->key, "benchmark",
                     row->benchmark, "label", row->label, "n", row->n, "n_failed", row->n_failed, "n_planned",
                     row->n_planned < 0 ? json_null() : json_integer(row->n_planned), "accuracy",
                     real_json(row->accuracy), "score", real_json(row->score), "reason", row->reason);
}

static json_t *sweep_json(const struct activity *a)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:i, s:i, s:i, s:o, s:o, s:o, s:o}", "name", a->name,
                     "host", a->host, "machine", a->machine, "pid", (json_int_t)a->pid, "phase", a->phase,
                     "cell", a->cell, "total", a->total, "done", a->done, "failed", a->failed, "rate",
                     real_json(a->rate), "left_s", real_json(a->left_s), "started", time_json(a->started),
                     "updated", time_json(a->updated));
}

static enum status print_json(const struct overview *view, struct error *err)
{
    json_t *cells = json_array();
    for (int i = 0; i < view->n_rows; i++)
        json_array_append_new(cells, row_json(&view->rows[i]));
    const struct activity *a = &view->activity;
    return command_json(json_pack("{s:s, s:s, s:o, s:i, s:i, s:i, s:i, s:o, s:o}", "store", view->path,
                                  "state", view->found ? activity_state(a) : "unknown", "sweep",
                                  view->found ? sweep_json(a) : json_null(), "n", view->n, "n_failed",
                                  view->n_failed, "n_left", view->n_left, "n_infeasible", view->n_infeasible,
                                  "last_sample", time_json(a->written), "cells", cells),
                        err);
}

int cmd_status(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, OPTION_JSON}, {"help", no_argument, NULL, 'h'}, {0}};
    bool json = false;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') {
            printf("%s", command_find("status")->usage);
            return OK;
        }
        if (c == '?')
            return command_option("status", argc, argv);
        json = json || c == OPTION_JSON;
    }
    if (optind + 1 != argc)
        return command_usage("status", "expected one store, found %d", argc - optind);
    struct overview view = {.path = argv[optind]};
    struct error err = {0};
    enum status status = read_view(&view, &err);
    if (status == OK && json)
        status = print_json(&view, &err);
    else if (status == OK)
        print_view(&view);
    view_free(&view);
    return status == OK ? OK : command_fail(&err);
}
