/* A sweep from its file to its store, see sweep.h: what is opened, in which order, and what is refused before
 * anything is written.
 *
 *     file -> grid -> data -> for each model: weights, keys, work, timing -> verdicts, summary over all
 *
 * The store is made only when file, data and model have been found good.
 */
#include "harness/sweep.h"

#include <dirent.h> /* the grids there are */
#include <stdio.h>  /* snprintf */
#include <stdlib.h> /* free */
#include <string.h> /* strcmp */

#include "core/json.h"
#include "core/memory.h"
#include "harness/command.h"
#include "harness/machine.h"
#include "harness/latency.h"
#include "harness/sweep_run.h"

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
    char list[512] = "";
    DIR *folder = opendir(home_path("harness/grids"));
    const struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        size_t n = strlen(entry->d_name), used = strlen(list);
        if (n > 5 && strcmp(entry->d_name + n - 5, ".yaml") == 0)
            snprintf(list + used, sizeof list - used, "%s%.*s", used ? ", " : "", (int)(n - 5),
                     entry->d_name);
    }
    if (folder)
        closedir(folder);
    return fail(err, BAD_INPUT,
                "%.200s: there is neither such a file nor a built-in grid of that name; there are: %s", name,
                list);
}

static enum status find_file(char **out, const char *file, struct error *err)
{
    if (file_exists(file))
        return make_path(out, err, "%s", file);
    if (strchr(file, '/') == NULL) {
        char name[300];
        snprintf(name, sizeof name, "harness/grids/%.200s.yaml", file);
        if (file_exists(home_path(name)))
            return make_path(out, err, "%s", home_path(name));
    }
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
    const char *reason = cell->arm->reason;
    if (reason == NULL && cell->arm->control == CONTROL_MISMATCHED && material->one_picture)
        reason = "control mismatched needs at least two distinct pictures, there is one";
    if (reason == NULL && cell->arm->replay == NULL &&
        method_plan(&plan, &cell->arm->method, &input, &why) != OK)
        reason = why.text;
    if (reason && (cell->reason = memory_text(reason)) == NULL)
        return memory_failed(err, "a reason", strlen(reason));
    if (!material->open) /* only when planning */
        return OK;
    const struct key_parts parts = {.weights_sha = run->weights_sha,
                                    .files_sha = material->data.files_sha256,
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

static enum status store_cells(struct run *run, struct error *err)
{
    for (int i = 0; i < run->grid.n_cells; i++) {
        struct cell *cell = &run->grid.cells[i];
        if (cell->model != run->model)
            continue;
        struct material *material = &run->materials[cell->benchmark];
        const struct arm *arm = cell->arm;
        if (material->source == 0)
            TRY(store_source(&material->source, run->store, &material->data, material->entry->name, err));
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
        if (status == OK)
            status = store_cells(run, err);
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

/* What did not come about, on stderr; NOT_HELD where there is such a thing. */
static enum status list_failures(struct run *run, struct error *err)
{
    int n_infeasible = 0;
    for (int i = 0; i < run->grid.n_cells; i++) {
        const struct cell *cell = &run->grid.cells[i];
        if (cell->reason == NULL)
            continue;
        n_infeasible++;
        fprintf(stderr, "infeasible: %s on %s: %s\n", cell->arm->label,
                run->materials[cell->benchmark].entry->name, cell->reason);
    }
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

static enum status execute(struct run *run, struct error *err)
{
    TRY(read_file(run, err));
    TRY(grid_make(&run->grid, &run->sweep, run->options->seed, err));
    TRY(make_paths(run, err));
    TRY(lock_store(run, err));
    machine_name(run->machine, sizeof run->machine);
    run->materials = memory_zero((size_t)run->sweep.n_benchmarks, sizeof *run->materials);
    if (run->materials == NULL)
        return memory_failed(err, "benchmarks", (size_t)run->sweep.n_benchmarks * sizeof *run->materials);
    for (int i = 0; i < run->sweep.n_benchmarks; i++)
        if (is_benchmark_used(run, i)) {
            TRY(material_open(&run->materials[i], run, &run->sweep.benchmarks[i], err));
            TRY(material_check_judge(&run->materials[i], err));
        }
    enum status status = OK;
    for (int i = 0; i < run->sweep.n_models && status == OK; i++)
        status = run_model(run, i, err);
    if (run->options->plan)
        return status == OK ? sweep_end_plan(run, err) : status;
    if (run->store == NULL || status == INTERRUPTED)
        return status;
    if (status == OK)
        status = sweep_judge(run, err);
    if (status == INTERRUPTED)
        return status;
    /* What was answered before an error is summed up all the same; the error stays what is reported. */
    struct error first = *err;
    enum status after = sweep_summarise(run, err);
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
