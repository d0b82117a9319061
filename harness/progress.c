/* Line, events and the store's row, see progress.h. */
#include "harness/progress.h"

#include <math.h>      /* NAN */
#include <stdio.h>     /* fprintf */
#include <stdlib.h>    /* free */
#include <string.h>    /* strlen */
#include <sys/ioctl.h> /* the terminal's width */
#include <time.h>      /* time */
#include <unistd.h>    /* isatty */

#include "core/memory.h" /* clock_ms */
#include "harness/summary.h"
#include "harness/sweep_run.h"

static const double beat_ms = 1000, plain_ms = 60000;

enum { TAIL_SIZE = 200, LINE_SIZE = 1024, USUAL_WIDTH = 80 };

/* What the store holds of one cell at this moment. */
struct so_far {
    int n, n_failed;
    double accuracy, tokens_in, flops; /* NaN where there is none */
};

/* ---- events --------------------------------------------------------------------------------- */

/* One line of JSON; takes the object. A text in it that is no UTF-8 leaves the line out. */
static void emit(struct progress *progress, json_t *event)
{
    if (progress->run && progress->run->options->json && event) {
        char *text = json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(10));
        if (text)
            puts(text);
        free(text);
        fflush(stdout);
    }
    json_decref(event);
}

static json_t *real_json(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

static const char *benchmark_of(const struct run *run, int cell)
{
    return run->materials[run->grid.cells[cell].benchmark].entry->name;
}

static json_t *cell_event(const struct run *run, const char *event, int cell)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "event", event, "key", run->grid.cells[cell].key, "benchmark",
                     benchmark_of(run, cell), "label", run->grid.cells[cell].arm->label);
}

static enum status read_so_far(struct so_far *out, struct run *run, int cell, struct error *err)
{
    static const char sql[] =
        "SELECT coalesce(sum(error IS NULL), 0), coalesce(sum(error IS NOT NULL), 0), avg(score),"
        " avg(CASE WHEN n_visual > 0 THEN tokens_in END), avg(flops_vision + flops_project + flops_prefill"
        " + flops_select + flops_head + flops_decode) FROM sample WHERE cell = ?";
    sqlite3_stmt *s = NULL;
    bool row = false;
    *out = (struct so_far){.accuracy = NAN, .tokens_in = NAN, .flops = NAN};
    TRY(store_hold(run->store, err));
    enum status status = store_prepare(&s, run->store, sql, err);
    if (status == OK) {
        sqlite3_bind_int64(s, 1, run->grid.cells[cell].id);
        status = store_row(&row, run->store, s, err);
    }
    if (status == OK && row)
        *out = (struct so_far){sqlite3_column_int(s, 0), sqlite3_column_int(s, 1), column_real(s, 2),
                               column_real(s, 3), column_real(s, 4)};
    sqlite3_finalize(s);
    struct error release_err = {0};
    if (store_release(run->store, false, &release_err) != OK && status == OK) {
        *err = release_err;
        status = release_err.status;
    }
    return status;
}

/* Cells whose last sample came in since the last look. */
static enum status announce_cells(struct progress *progress, struct error *err)
{
    struct run *run = progress->run;
    for (int c = 0; c < run->grid.n_cells; c++) {
        struct so_far so_far;
        pthread_mutex_lock(&progress->lock);
        bool done = progress->n_left[c] == 0;
        if (done)
            progress->n_left[c] = -1;
        pthread_mutex_unlock(&progress->lock);
        if (!done)
            continue;
        TRY(read_so_far(&so_far, run, c, err));
        json_t *event = cell_event(run, "cell_done", c);
        if (event) {
            json_object_set_new(event, "n", json_integer(so_far.n));
            json_object_set_new(event, "n_failed", json_integer(so_far.n_failed));
            json_object_set_new(event, "accuracy", real_json(so_far.accuracy));
            json_object_set_new(event, "tokens_in", real_json(so_far.tokens_in));
            json_object_set_new(event, "flops", real_json(so_far.flops));
        }
        pthread_mutex_lock(&progress->lock);
        emit(progress, event);
        pthread_mutex_unlock(&progress->lock);
    }
    return OK;
}

/* ---- the line ------------------------------------------------------------------------------- */

static void format_duration(char *out, size_t size, double seconds)
{
    int s = (int)(seconds + 0.5);
    if (s < 60)
        snprintf(out, size, "%d s", s);
    else if (s < 3600)
        snprintf(out, size, "%d min %02d s", s / 60, s % 60);
    else
        snprintf(out, size, "%d h %02d min", s / 3600, s % 3600 / 60);
}

static size_t terminal_width(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : USUAL_WIDTH;
}

/* "63 of 120, 12.6/s, 5 s left, 2 failed": what is never cut. */
static void format_counts(char out[TAIL_SIZE], const struct progress *progress, bool last)
{
    const struct activity *activity = &progress->activity;
    char time[48] = "", rate[32] = "", failed[32] = "";
    if (last)
        format_duration(time, sizeof time, (clock_ms() - progress->since) / 1e3);
    else if (!isnan(activity->left_s))
        format_duration(time, sizeof time, activity->left_s);
    if (!isnan(activity->rate))
        snprintf(rate, sizeof rate, activity->rate < 1 ? ", %.2f/s" : ", %.1f/s", activity->rate);
    if (activity->failed > 0)
        snprintf(failed, sizeof failed, ", %d failed", activity->failed);
    snprintf(out, TAIL_SIZE, "%d of %d%s%s%s%s%s", activity->done, activity->total, rate, time[0] ? ", " : "",
             time, time[0] && !last ? " left" : "", failed);
}

/* "91.7 % right of 12, mini-pope sparsevlm budget=64", the figures first: a narrow terminal cuts the label.
 */
static void format_cell(char out[LINE_SIZE], const struct run *run, int cell, const struct so_far *so_far)
{
    char right[48] = "";
    out[0] = 0;
    if (cell < 0)
        return;
    if (!isnan(so_far->accuracy))
        snprintf(right, sizeof right, "%.1f %% right of %d, ", 100 * so_far->accuracy, so_far->n);
    snprintf(out, LINE_SIZE, "%s%s %s", right, benchmark_of(run, cell), run->grid.cells[cell].arm->label);
}

static void print_line(struct progress *progress, int cell, const struct so_far *so_far, bool last)
{
    char counts[TAIL_SIZE], at[LINE_SIZE], line[2 * LINE_SIZE];
    format_counts(counts, progress, last);
    format_cell(at, progress->run, last ? -1 : cell, so_far);
    snprintf(line, sizeof line, "%s: %s%s%s", progress->activity.phase, counts, at[0] ? "; " : "", at);
    if (progress->terminal) {
        /* one column stays free, or the cursor wraps */
        size_t width = terminal_width() - 1;
        if (strlen(line) > width)
            line[width] = 0;
        fprintf(stderr, "\r%s\033[K%s", line, last ? "\n" : "");
    } else {
        fprintf(stderr, "%s\n", line);
    }
    fflush(stderr);
}

/* ---- the phases ----------------------------------------------------------------------------- */

enum status progress_open(struct progress *progress, struct run *run, struct error *err)
{
    size_t n_cells = (size_t)run->grid.n_cells;
    *progress = (struct progress){.run = run,
                                  .terminal = isatty(STDERR_FILENO) == 1,
                                  .cell = -1,
                                  .n_left = memory_alloc(n_cells, sizeof(int))};
    if (progress->n_left == NULL)
        return memory_failed(err, "progress of cells", n_cells * sizeof(int));
    for (size_t c = 0; c < n_cells; c++)
        progress->n_left[c] = -1; /* nothing to announce */
    pthread_mutex_init(&progress->lock, NULL);
    progress->open = true;
    progress->activity = activity_begin(run->sweep.name);
    emit(progress, json_pack("{s:s, s:s, s:s, s:s, s:I, s:i}", "event", "start", "sweep", run->sweep.name,
                             "store", run->store_path, "machine", run->machine, "pid",
                             (json_int_t)progress->activity.pid, "cells", run->grid.n_cells));
    return OK;
}

enum status progress_phase(struct progress *progress, const char *what, int n_total, struct error *err)
{
    struct activity *activity = &progress->activity;
    progress->since = progress->shown = progress->beat = clock_ms();
    progress->cell = -1;
    snprintf(activity->phase, sizeof activity->phase, "%s", what);
    activity->total = n_total;
    activity->done = activity->failed = 0;
    activity->rate = activity->left_s = NAN;
    activity->updated = time(NULL);
    emit(progress, json_pack("{s:s, s:s, s:i}", "event", "phase", "phase", what, "total", n_total));
    if (n_total > 0)
        print_line(progress, -1, NULL, false);
    return activity_write(progress->run->store, activity, err);
}

void progress_expect(struct progress *progress, int cell)
{
    pthread_mutex_lock(&progress->lock);
    progress->n_left[cell] = progress->n_left[cell] < 0 ? 1 : progress->n_left[cell] + 1;
    pthread_mutex_unlock(&progress->lock);
}

void progress_item(struct progress *progress, int cell, int row, const char *why)
{
    pthread_mutex_lock(&progress->lock);
    progress->cell = cell;
    progress->n_left[cell]--;
    if (why) {
        json_t *event = cell_event(progress->run, "sample_failed", cell);
        if (event) {
            json_object_set_new(event, "sample_id", json_integer(row));
            json_object_set_new(event, "error", json_string(why));
        }
        emit(progress, event);
    }
    pthread_mutex_unlock(&progress->lock);
}

static void emit_progress(struct progress *progress, int cell, const struct so_far *so_far)
{
    const struct activity *activity = &progress->activity;
    json_t *event =
        json_pack("{s:s, s:s, s:i, s:i, s:i, s:o, s:o}", "event", "progress", "phase", activity->phase,
                  "total", activity->total, "done", activity->done, "failed", activity->failed, "rate",
                  real_json(activity->rate), "left_s", real_json(activity->left_s));
    json_t *at = cell < 0 ? NULL : cell_event(progress->run, "", cell);
    if (event && at) {
        json_object_del(at, "event");
        json_object_set_new(at, "n", json_integer(so_far->n));
        json_object_set_new(at, "accuracy", real_json(so_far->accuracy));
        json_object_set(event, "cell", at);
    }
    json_decref(at);
    pthread_mutex_lock(&progress->lock);
    emit(progress, event);
    pthread_mutex_unlock(&progress->lock);
}

enum status progress_show(struct progress *progress, int n_done, int n_failed, bool last, struct error *err)
{
    struct activity *activity = &progress->activity;
    double now = clock_ms(), seconds = (now - progress->since) / 1e3;
    if (activity->total == 0 || (!last && now - progress->beat < beat_ms))
        return OK;
    progress->beat = now;
    pthread_mutex_lock(&progress->lock);
    int cell = progress->cell;
    pthread_mutex_unlock(&progress->lock);
    activity->updated = time(NULL);
    if (n_done > activity->done)
        activity->written = activity->updated;
    activity->done = n_done;
    activity->failed = n_failed;
    activity->rate = n_done > 0 && seconds > 0 ? n_done / seconds : NAN;
    activity->left_s = n_done > 0 ? seconds / n_done * (activity->total - n_done) : NAN;
    struct so_far so_far = {.accuracy = NAN};
    if (cell >= 0) {
        snprintf(activity->cell, sizeof activity->cell, "%s", progress->run->grid.cells[cell].key);
        TRY(read_so_far(&so_far, progress->run, cell, err));
    }
    TRY(announce_cells(progress, err));
    emit_progress(progress, cell, &so_far);
    if (last || progress->terminal || now - progress->shown >= plain_ms) {
        progress->shown = now;
        print_line(progress, cell, &so_far, last);
    }
    return activity_write(progress->run->store, activity, err);
}

/* ---- the end -------------------------------------------------------------------------------- */

enum status progress_end(struct progress *progress, json_t *document, struct error *err)
{
    if (document == NULL)
        return memory_failed(err, "the result", 0);
    progress->ended = true;
    emit(progress, document);
    return OK;
}

void progress_close(struct progress *progress, enum status status, const struct error *err)
{
    if (!progress->open)
        return;
    struct activity *activity = &progress->activity;
    const char *state = status == OK || status == NOT_HELD ? "finished"
                        : status == INTERRUPTED            ? "interrupted"
                                                           : "failed";
    snprintf(activity->state, sizeof activity->state, "%s", state);
    activity->updated = time(NULL);
    struct error ignored = {0}; /* what counts has been committed; why the store fails has been said */
    (void)activity_write(progress->run->store, activity, &ignored);
    if (!progress->ended)
        emit(progress,
             json_pack("{s:s, s:i, s:s}", "event", state, "status", (int)status, "error", err->text));
    pthread_mutex_destroy(&progress->lock);
    free(progress->n_left);
    *progress = (struct progress){0};
}
