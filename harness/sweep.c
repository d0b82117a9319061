/* A sweep from its file to its store, see sweep.h: what is opened, in which order, and what is refused before
 * anything is written.
 *
 *     file -> grid -> data -> for each model: weights, keys, work, timing -> verdicts, summary over all
 *
 * The store is made only when file, data and model have been found good.
 */
#include "harness/sweep.h"

#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/json.h"
#include "core/memory.h"
#include "harness/machine.h"
#include "harness/latency.h"
#include "harness/summary.h"
#include "harness/sweep_run.h"
#include "harness/trace_plan.h"

#include "revision.h" /* made by the build */

enum { PATH_SIZE = 4096 };

volatile sig_atomic_t sweep_stop;

/* The first signal asks for an orderly end, a second one of the same kind kills. */
static void on_signal(int number)
{
    sweep_stop = 1;
    signal(number, SIG_DFL);
}

/* ---- one model ------------------------------------------------------------------------------ */

static enum status open_model(struct run *run, int model, struct error *err)
{
    const struct sweep_options *options = run->options;
    char *dir;
    TRY(sweep_find_model(&dir, run->sweep.models[model], err));
    const struct vlm_options wanted = {.dir = dir,
                                       .device = options->device ? options->device : run->sweep.device,
                                       .dtype =
                                           options->dtype != DTYPE_AUTO ? options->dtype : run->sweep.dtype};
    run->model = model;
    enum status status = vlm_open(&run->vlm, &wanted, err);
    if (status == OK)
        status = vlm_weights_sha256(run->weights_sha, run->vlm, err);
    free(dir);
    TRY(status);
    /* auto is what the backends there are compute in. */
    run->dtype = dtype_names[wanted.dtype == DTYPE_AUTO ? DTYPE_CHOICE_F32 : wanted.dtype];
    run->yes_id = tokenizer_find(vlm_tokenizer(run->vlm), "\xe2\x96\x81Yes");
    run->no_id = tokenizer_find(vlm_tokenizer(run->vlm), "\xe2\x96\x81No");
    return OK;
}

static enum status resolve_cell(struct run *run, struct cell *cell, struct error *err)
{
    const struct material *material = &run->materials[cell->benchmark];
    struct plan_input input;
    struct plan plan;
    struct error why;
    TRY(typical_input(&input, run, cell, err));
    const char *reason = material->reason ? material->reason : cell->arm->reason;
    if (reason == NULL && cell->arm->control == CONTROL_MISMATCHED && material->one_picture)
        reason = "control mismatched needs at least two distinct pictures, there is one";
    if (reason == NULL && cell->arm->replay == NULL &&
        method_plan(&plan, &cell->arm->method, &input, &why) != OK)
        reason = why.text;
    if (reason && (cell->reason = memory_text(reason)) == NULL)
        return memory_failed(err, "a reason", strlen(reason));
    const struct key_parts parts = {.weights_sha = run->weights_sha,
                                    /* what is missing has no bytes to hash */
                                    .files_sha =
                                        material->open ? material->data.files_sha256 : material->entry->name,
                                    .template = material->entry->template,
                                    .image_mode = image_mode_names[material->entry->image_mode],
                                    .max_new_tokens = material->max_new_tokens,
                                    .arm = cell->arm->text,
                                    .split = split_names[material->entry->split],
                                    .backend = vlm_device(run->vlm),
                                    .dtype = run->dtype};
    return key_make(cell->key, &cell->canonical, &parts, err);
}

/* Files given by path may turn out to be those of another entry: then the earlier one's cells ask the rows of
 * whichever has more, which hold the other's. */
static bool is_cell_known(struct run *run, int index, int64_t id)
{
    for (int i = 0; i < index; i++) {
        if (run->grid.cells[i].id != id)
            continue;
        struct material *first = &run->materials[run->grid.cells[i].benchmark],
                        *other = &run->materials[run->grid.cells[index].benchmark];
        if (other->n_rows > first->n_rows) {
            int *rows = first->rows, n_rows = first->n_rows;
            first->rows = other->rows;
            first->n_rows = other->n_rows;
            other->rows = rows;
            other->n_rows = n_rows;
        }
        return true;
    }
    return false;
}

/* Cells that were stored while the files of a benchmark were missing are of no files; once these are there,
 * the reason holds no longer. */
static enum status forget_missing(struct run *run, const struct material *material, struct error *err)
{
    sqlite3_stmt *s;
    if (!material->open)
        return OK;
    TRY(store_begin(run->store, err));
    TRY(store_prepare(&s, run->store,
                      "DELETE FROM cell WHERE source IN"
                      " (SELECT id FROM source WHERE benchmark = ? AND files_sha = '')",
                      err));
    sqlite3_bind_text(s, 1, material->entry->name, -1, SQLITE_STATIC);
    enum status status = store_step(run->store, s, err);
    sqlite3_finalize(s);
    return status;
}

static enum status store_cells(struct run *run, struct error *err)
{
    for (int i = 0; i < run->grid.n_cells; i++) {
        struct cell *cell = &run->grid.cells[i];
        if (cell->model != run->model)
            continue;
        struct material *material = &run->materials[cell->benchmark];
        const struct arm *arm = cell->arm;
        if (material->source == 0) {
            TRY(forget_missing(run, material, err));
            TRY(store_source(&material->source, run->store, &material->data, material->entry->name, err));
        }
        const struct store_cell row = {.key = cell->key,
                                       .canonical = cell->canonical,
                                       .source = material->source,
                                       .model = run->sweep.models[run->model],
                                       .weights_sha = run->weights_sha,
                                       .family = vlm_config(run->vlm)->family,
                                       .method = arm->method.reducer->name,
                                       .params = arm->params,
                                       .benchmark = material->entry->name,
                                       .split = split_names[material->entry->split],
                                       .control = control_names[arm->control],
                                       .template = material->entry->template,
                                       .image_mode = image_mode_names[material->entry->image_mode],
                                       .max_new_tokens = material->max_new_tokens,
                                       .budget = arm->budget,
                                       .match = arm->match,
                                       .seed = arm->seed,
                                       .reason = cell->reason,
                                       .metric = material->data.benchmark->metric,
                                       .device = vlm_device(run->vlm),
                                       .dtype = run->dtype,
                                       .revision = WINNOW_REVISION};
        int64_t id;
        TRY(store_cell(&id, run->store, &row, err));
        cell->id = is_cell_known(run, i, id) ? 0 : id;
    }
    return store_tick(run->store, true, err);
}

/* How many samples each cell is to have, for `winnow status`. */
static enum status plan_cells(struct run *run, struct error *err)
{
    bool whole = run->options->n_shards == 0;
    TRY(store_begin(run->store, err));
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        if (cell->model == run->model && cell_is_runnable(cell))
            TRY(activity_plan(run->store, cell->id, whole ? 1 : run->options->shard,
                              whole ? 1 : run->options->n_shards, run->materials[cell->benchmark].n_rows,
                              err));
    }
    return store_tick(run->store, true, err);
}

/* At once, not after minutes of drawing pictures. Where the folder is not there yet, nobody writes in it. */
static enum status lock_store(struct run *run, struct error *err)
{
    char folder[PATH_SIZE];
    size_t n = path_folder_length(run->store_path);
    snprintf(folder, sizeof folder, "%.*s", (int)n, run->store_path);
    if (run->options->plan || (n > 0 && !is_folder(folder)))
        return OK;
    return store_lock(&run->lock, run->store_path, err);
}

static enum status open_outputs(struct run *run, struct error *err)
{
    char folder[PATH_SIZE];
    bool moved = false;
    size_t n = path_folder_length(run->store_path);
    snprintf(folder, sizeof folder, "%.*s", (int)n, run->store_path);
    if (n > 0)
        TRY(make_folder(folder, err));
    if (run->lock == NULL)
        TRY(store_lock(&run->lock, run->store_path, err));
    if (run->sweep.trace.wanted) /* first: what lies there may be refused, and then no store is made */
        TRY(trace_open(&run->trace, run->trace_path, &moved, err));
    if (run->trace)
        trace_limit(run->trace, run->sweep.trace.limit);
    TRY(store_open_locked(&run->store, &run->lock, run->store_path, err));
    if (moved)
        fprintf(stderr, "%s could not be read any more: moved to %s.damaged; its samples are traced anew\n",
                run->trace_path, run->trace_path);
    return OK;
}

/* What `match: latency` stands on; a plan makes none. */
static enum status calibrate_arms(struct run *run, struct error *err)
{
    int n_threads = run->options->n_threads > 0 ? run->options->n_threads : 1;
    for (int i = 0; i < run->grid.n_arms; i++) {
        struct arm *arm = run->grid.arms[i];
        if (arm->reason == NULL)
            TRY(latency_calibrate(&arm->latency, run->vlm, &arm->method, n_threads, run->options->plan, err));
    }
    return OK;
}

static enum status run_model(struct run *run, int model, struct error *err)
{
    enum status status = open_model(run, model, err);
    if (status == OK)
        status = calibrate_arms(run, err);
    for (int i = 0; i < run->grid.n_cells && status == OK; i++)
        if (run->grid.cells[i].model == model)
            status = resolve_cell(run, &run->grid.cells[i], err);
    if (status == OK && run->options->plan)
        status = sweep_print_plan(run, err);
    else if (status == OK) {
        if (run->store == NULL)
            status = open_outputs(run, err);
        if (status == OK && !run->progress.open)
            status = progress_open(&run->progress, run, err);
        if (status == OK)
            status = trace_plan_print(run, stderr, err);
        if (status == OK)
            status = store_cells(run, err);
        if (status == OK)
            status = plan_cells(run, err);
        if (status == OK)
            status = sweep_work(run, err);
        if (status == OK && run->sweep.timing.wanted)
            status = sweep_timing(run, err);
    }
    vlm_close(run->vlm);
    run->vlm = NULL;
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* What did not come about, on stderr; NOT_HELD where there is such a thing. */
static enum status list_failures(struct run *run, struct error *err)
{
    int n_infeasible = sweep_list_infeasible(run);
    if (run->trace)
        trace_report(run->trace, stderr);
    enum { LISTED = 10 };
    int n_failed = 0;
    sqlite3_stmt *s;
    enum status status = OK;
    TRY(store_prepare(&s, run->store,
                      "SELECT sample_id, error FROM sample WHERE cell = ? AND error IS NOT NULL", err));
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        sqlite3_bind_int64(s, 1, cell->id);
        for (bool row;;) {
            TRY_GOTO(status, store_row(&row, run->store, s, err));
            if (!row)
                break;
            if (n_failed++ < LISTED)
                fprintf(stderr, "failed: %s, sample %d of %s: %s\n", cell->key, sqlite3_column_int(s, 0),
                        run->materials[cell->benchmark].entry->name, (const char *)sqlite3_column_text(s, 1));
        }
        sqlite3_reset(s);
    }
    if (n_failed > LISTED)
        fprintf(stderr,
                "... and %d more: winnow sql %s 'SELECT key, sample_id, error FROM samples WHERE error "
                "NOTNULL'\n",
                n_failed - LISTED, run->store_path);
    if (n_infeasible + n_failed + run->n_untraced + run->n_unjudged > 0)
        status = fail(
            err, NOT_HELD,
            "%d cells are infeasible, %d samples failed, %d could not be traced anew, %d have no verdict; "
            "all others are in %s",
            n_infeasible, n_failed, run->n_untraced, run->n_unjudged, run->store_path);
exit:
    sqlite3_finalize(s);
    return status;
}

/* Scores, intervals and comparisons of the cells that ran; in one transaction: a reader sees the figures of
 * the last summary until all of this one are there. */
static enum status summarise_cells(struct run *run, struct error *err)
{
    struct summed *cells = memory_alloc((size_t)run->grid.n_cells, sizeof *cells);
    int n = 0;
    if (cells == NULL)
        return memory_failed(err, "figures of cells", (size_t)run->grid.n_cells * sizeof *cells);
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        if (cell_is_runnable(cell))
            cells[n++] = (struct summed){cell->id, &run->materials[cell->benchmark].data};
    }
    enum status status = store_tick(run->store, true, err);
    if (status == OK)
        status = summarise(run->store, cells, n, err);
    free(cells);
    if (status == OK)
        return store_tick(run->store, true, err);
    (void)store_undo(run->store, &(struct error){0});
    return status;
}

static enum status execute(struct run *run, struct error *err)
{
    TRY(sweep_begin(run, err));
    TRY(lock_store(run, err));
    machine_name(run->machine, sizeof run->machine);
    TRY(sweep_open_materials(run, err));
    if (!run->options->plan) /* a plan is shown first */
        TRY(sweep_check_any_there(run, err));
    enum status status = OK;
    for (int i = 0; i < run->sweep.n_models && status == OK; i++)
        status = run_model(run, i, err);
    if (run->options->plan) {
        enum status there = OK;
        if (status == OK)
            status = sweep_end_plan(run, err);
        if (status == NOT_HELD)
            there = sweep_check_any_there(run, err);
        return there != OK ? there : status;
    }
    if (run->store == NULL || status == INTERRUPTED)
        return status;
    if (status == OK)
        status = sweep_judge(run, err);
    if (status == INTERRUPTED)
        return status;
    /* What was answered before an error is summed up all the same; the error stays what is reported. */
    struct error first = *err;
    enum status after = OK;
    if (run->progress.open)
        after = progress_phase(&run->progress, "summary", 0, err);
    if (after == OK)
        after = summarise_cells(run, err);
    if (after == OK)
        after = sweep_print_result(run, err);
    if (after == OK)
        after = list_failures(run, err);
    if (status == OK)
        return after;
    *err = first;
    return status;
}

enum status sweep_execute(const struct sweep_options *options, struct error *err)
{
    struct sigaction action = {.sa_handler = on_signal}, old_int, old_term, old_size;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, &old_int);
    sigaction(SIGTERM, &action, &old_term);
    /* Under `ulimit -f` a write fails, and says so, instead of killing. */
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, &old_size);
    struct run run = {.options = options};
    enum status status = execute(&run, err);
    progress_close(&run.progress, status, err);
    /* The store last: with it goes the lock, which keeps others from the trace too. */
    struct error close_err = {0};
    enum status closed = trace_close(run.trace, &close_err);
    if (status == OK && closed != OK) {
        *err = close_err;
        status = closed;
    }
    closed = store_close(run.store, &close_err);
    if (status == OK && closed != OK) {
        *err = close_err;
        status = closed;
    }
    lock_give(run.lock);
    for (int i = 0; run.materials && i < run.sweep.n_benchmarks; i++)
        material_close(&run.materials[i]);
    free(run.materials);
    json_decref(run.plan);
    grid_free(&run.grid);
    sweep_free(&run.sweep);
    free(run.store_path);
    free(run.trace_path);
    free(run.data_path);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    sigaction(SIGXFSZ, &old_size, NULL);
    return status;
}
