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
#include "harness/builtin.h"
#include "harness/command.h"
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

/* ---- paths ---------------------------------------------------------------------------------- */

/* Length of the folder's part of a path, without the slash; 0: none. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static enum status no_such_grid(const char *name, struct error *err)
{
    char list[512] = "", names[BUILTIN_MAX][BUILTIN_NAME];
    int n = builtin_names(names);
    for (int i = 0; i < n; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", names[i]);
    return fail(err, BAD_INPUT,
                "%.200s: there is neither such a file nor a built-in grid of that name; there are: %s", name,
                list);
}

static enum status find_file(char **out, const char *file, struct error *err)
{
    if (file_exists(file))
        return make_path(out, err, "%s", file);
    if (strchr(file, '/') == NULL && file_exists(builtin_path(file)))
        return make_path(out, err, "%s", builtin_path(file));
    return no_such_grid(file, err);
}

/* A model that is not where the path says is looked for among the built-in ones. */
static enum status find_model(char **out, const char *path, struct error *err)
{
    return make_path(out, err, "%s", is_folder(path) || path[0] == '/' ? path : home_path(path));
}

static enum status make_paths(struct run *run, struct error *err)
{
    const struct sweep_options *options = run->options;
    if (options->store)
        TRY(make_path(&run->store_path, err, "%s", options->store));
    else
        TRY(make_path(&run->store_path, err, "results/%s/%s.db", run->sweep.name, run->sweep.name));
    size_t n = strlen(run->store_path), folder = folder_length(run->store_path);
    size_t stem = n > 3 && strcmp(run->store_path + n - 3, ".db") == 0 ? n - 3 : n;
    TRY(make_path(&run->trace_path, err, "%.*s.h5", (int)stem, run->store_path));
    if (options->store == NULL) /* all sweeps of results/ share their twins */
        return make_path(&run->data_path, err, "results/data");
    return make_path(&run->data_path, err, "%.*s%sdata", (int)folder, run->store_path, folder ? "/" : "");
}

/* ---- one model ------------------------------------------------------------------------------ */

static enum status open_model(struct run *run, int model, struct error *err)
{
    const struct sweep_options *options = run->options;
    char *dir;
    TRY(find_model(&dir, run->sweep.models[model], err));
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
    size_t n = folder_length(run->store_path);
    snprintf(folder, sizeof folder, "%.*s", (int)n, run->store_path);
    if (run->options->plan || (n > 0 && !is_folder(folder)))
        return OK;
    return store_lock(&run->lock, run->store_path, err);
}

static enum status open_outputs(struct run *run, struct error *err)
{
    char folder[PATH_SIZE];
    bool moved = false;
    size_t n = folder_length(run->store_path);
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

static bool is_benchmark_used(const struct run *run, int benchmark)
{
    for (int i = 0; i < run->grid.n_cells; i++)
        if (run->grid.cells[i].benchmark == benchmark)
            return true;
    return false;
}

static bool is_alike(const struct cell *a, const struct cell *b)
{
    return a->benchmark == b->benchmark && b->reason && strcmp(a->reason, b->reason) == 0;
}

/* How many cells cannot run, and why; what many of a benchmark's cells lack is said once. */
static int list_infeasible(const struct run *run)
{
    int n = 0;
    for (int b = 0; b < run->sweep.n_benchmarks; b++)
        if (reason_is_new(run, b))
            fprintf(stderr, "missing: %s\n", run->materials[b].reason);
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        const struct material *material = &run->materials[cell->benchmark];
        bool is_said = material->reason != NULL;
        int n_alike = 0;
        n += cell->reason != NULL;
        for (int j = 0; cell->reason && j < run->grid.n_cells && !is_said; j++) {
            is_said = j < i && is_alike(cell, &run->grid.cells[j]);
            n_alike += j > i && is_alike(cell, &run->grid.cells[j]);
        }
        if (cell->reason == NULL || is_said)
            continue;
        char more[40] = "";
        if (n_alike > 0)
            snprintf(more, sizeof more, " and %d more like it", n_alike);
        fprintf(stderr, "infeasible: %s on %s%s: %s\n", cell->arm->label, material->entry->name, more,
                cell->reason);
    }
    return n;
}

/* What did not come about, on stderr; NOT_HELD where there is such a thing. */
static enum status list_failures(struct run *run, struct error *err)
{
    int n_infeasible = list_infeasible(run);
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

static const char *data_folder(const struct run *run)
{
    return run->options->data ? run->options->data : run->sweep.data;
}

/* A mistyped folder, rather than one that lacks files. Twins need none. */
static enum status check_data_folder(const struct run *run, struct error *err)
{
    const char *data = data_folder(run);
    bool is_needed = run->options->data != NULL, is_twin;
    for (int i = 0; i < run->sweep.n_benchmarks; i++)
        if (benchmark_find(run->sweep.benchmarks[i].name, &is_twin) && !is_twin)
            is_needed = is_needed || run->sweep.benchmarks[i].questions == NULL;
    if (data == NULL || !is_needed || is_folder(data))
        return OK;
    return fail(err, BAD_INPUT,
                "%s %.300s: there is no such folder; expected LLaVA's tree of evaluation data, "
                "playground/data/eval, or a folder above it",
                run->options->data ? "--data" : "data:", data);
}

static enum status read_file(struct run *run, struct error *err)
{
    const struct sweep_options *options = run->options;
    char *path;
    TRY(find_file(&path, options->file, err));
    enum status status = sweep_read(&run->sweep, path, options->sets, options->n_sets, err);
    free(path);
    TRY(status);
    static const char *one_model[1];
    if (options->model || run->sweep.n_models == 0) {
        one_model[0] = options->model ? options->model : "models/miniature";
        run->sweep.models = one_model;
        run->sweep.n_models = 1;
    }
    if (data_folder(run) == NULL)
        sweep_stand_in(&run->sweep);
    TRY(check_data_folder(run, err));
    for (int i = 0; i < run->sweep.n_benchmarks; i++) {
        struct sweep_benchmark *entry = &run->sweep.benchmarks[i];
        if (options->image_mode != IMAGE_MODE_FROM_FILE)
            entry->image_mode = options->image_mode;
        if (options->max_new_tokens > 0)
            entry->max_new_tokens = options->max_new_tokens;
    }
    for (int i = 0; i < run->sweep.n_models; i++) {
        char *dir;
        struct vlm_config config;
        TRY(find_model(&dir, run->sweep.models[i], err));
        if (is_folder(dir))
            status = vlm_describe(&config, &(struct vlm_options){.dir = dir}, err);
        else
            status = fail(err, BAD_INPUT, "model %s: there is no such folder", dir);
        free(dir);
        TRY(status);
    }
    return OK;
}

/* A sweep of which nothing can be asked is no sweep: the error, where each missing thing is said. */
static enum status check_any_there(const struct run *run, struct error *err)
{
    const struct material *only = NULL;
    int n_missing = 0;
    for (int i = 0; i < run->sweep.n_benchmarks; i++) {
        const struct material *material = &run->materials[i];
        if (material->entry && material->reason == NULL)
            return OK;
        n_missing += reason_is_new(run, i);
        only = material->reason ? material : only;
    }
    if (n_missing == 1)
        return fail(err, BAD_INPUT, "%s", only->reason);
    if (!run->options->plan)
        list_infeasible(run);
    return fail(err, BAD_INPUT,
                "none of the %d benchmarks has its files%s%.300s; what is missing is named above", n_missing,
                data_folder(run) ? " under " : ": no data folder is given (--data DIR)",
                data_folder(run) ? data_folder(run) : "");
}

static void say_stand_ins(const struct run *run)
{
    const char *sep = "no data folder is given (--data DIR): ";
    for (int i = 0; i < run->sweep.n_benchmarks; i++) {
        const struct sweep_benchmark *entry = &run->sweep.benchmarks[i];
        if (entry->stands_in_for && run->materials[i].entry) {
            fprintf(stderr, "%s%s stands in for %s", sep, entry->name, entry->stands_in_for);
            sep = ", ";
        }
    }
    if (sep[0] == ',')
        fputc('\n', stderr);
}

static enum status open_materials(struct run *run, struct error *err)
{
    run->materials = memory_zero((size_t)run->sweep.n_benchmarks, sizeof *run->materials);
    if (run->materials == NULL)
        return memory_failed(err, "benchmarks", (size_t)run->sweep.n_benchmarks * sizeof *run->materials);
    for (int i = 0; i < run->sweep.n_benchmarks; i++)
        if (is_benchmark_used(run, i)) {
            TRY(material_open(&run->materials[i], run, &run->sweep.benchmarks[i], err));
            TRY(material_check_judge(&run->materials[i], err));
        }
    if (!run->options->plan) /* which says it of each */
        say_stand_ins(run);
    return OK;
}

static enum status execute(struct run *run, struct error *err)
{
    TRY(read_file(run, err));
    TRY(grid_make(&run->grid, &run->sweep, run->options->seed, err));
    TRY(make_paths(run, err));
    TRY(lock_store(run, err));
    machine_name(run->machine, sizeof run->machine);
    TRY(open_materials(run, err));
    if (!run->options->plan) /* a plan is shown first */
        TRY(check_any_there(run, err));
    enum status status = OK;
    for (int i = 0; i < run->sweep.n_models && status == OK; i++)
        status = run_model(run, i, err);
    if (run->options->plan) {
        enum status there = OK;
        if (status == OK)
            status = sweep_end_plan(run, err);
        if (status == NOT_HELD)
            there = check_any_there(run, err);
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

static enum status add_place(struct sweep_outline *out, const char *option, const char *path,
                             struct error *err)
{
    if (path == NULL)
        return OK;
    char *copy = memory_text(path);
    if (copy == NULL)
        return memory_failed(err, "a path", strlen(path));
    out->places[out->n_places++] = (struct sweep_place){option, copy};
    return OK;
}

static enum status add_places(struct sweep_outline *out, const struct run *run, struct error *err)
{
    size_t n_most = 1 + 2 * (size_t)run->sweep.n_benchmarks;
    out->places = memory_zero(n_most, sizeof *out->places);
    if (out->places == NULL)
        return memory_failed(err, "paths", n_most * sizeof *out->places);
    TRY(add_place(out, "data", run->options->data ? run->options->data : run->sweep.data, err));
    for (int i = 0; i < run->sweep.n_benchmarks; i++) {
        TRY(add_place(out, "questions", run->sweep.benchmarks[i].questions, err));
        TRY(add_place(out, "annotations", run->sweep.benchmarks[i].annotations, err));
    }
    return OK;
}

enum status sweep_outline_make(struct sweep_outline *out, const struct sweep_options *options,
                               struct error *err)
{
    struct run run = {.options = options};
    enum status status = OK;
    *out = (struct sweep_outline){0};
    TRY_GOTO(status, read_file(&run, err));
    TRY_GOTO(status, grid_make(&run.grid, &run.sweep, options->seed, err));
    TRY_GOTO(status, make_paths(&run, err));
    TRY_GOTO(status, add_places(out, &run, err));
    out->store = run.store_path;
    run.store_path = NULL;
exit:
    grid_free(&run.grid);
    sweep_free(&run.sweep);
    free(run.store_path);
    free(run.trace_path);
    free(run.data_path);
    return status;
}

void sweep_outline_free(struct sweep_outline *outline)
{
    for (int i = 0; i < outline->n_places; i++)
        free(outline->places[i].path);
    free(outline->places);
    free(outline->store);
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
